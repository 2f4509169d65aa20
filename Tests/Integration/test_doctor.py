"""`tailrace doctor` fails for whatever `run` cannot work with, and for that alone."""

import json

import pytest
import yaml
from bridge import ROOT, Bridge, configuration, tailrace, wait_until
from jetstream import JetStream
from lab import Lab, free_ports
from load import client, make_collections


def doctor(bridge):
    done = tailrace("doctor", "-c", bridge.file, "--json", seconds=60)
    checks = json.loads(done.stdout)["checks"]
    assert done.returncode == (1 if any(c["verdict"] == "fail" for c in checks) else 0)
    return checks


def of(checks, name):
    return [check for check in checks if check["id"] == name]


def failed(checks):
    return [check for check in checks if check["verdict"] == "fail"]


def test_nothing_to_complain_of(lab, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        checks = doctor(bridge)
        assert failed(checks) == []
        assert of(checks, "mongodb.namespaces")[0]["verdict"] == "ok"
        # A lab's oplog is minutes old.
        assert of(checks, "mongodb.oplog_window")[0]["verdict"] == "warn"


@pytest.mark.parametrize("stream,words", ids=["replicas", "overlap"], argvalues=[
    ({"num_replicas": 3}, "num_replicas is 3"),
    ({"subjects": ["{name}.>", "{name}.a.*"]}, "overlap"),
])
def test_impossible_stream(lab, jetstream, tmp_path, name, stream, words):
    stream = json.loads(json.dumps(stream).replace("{name}", name))
    with Bridge(tmp_path, configuration(lab, name, stream=stream)) as bridge:
        found = failed(doctor(bridge))
        assert [check["id"] for check in found] == [f"nats.stream.{name}"], found
        assert words in found[0]["evidence"] and found[0]["remedy"]
        assert jetstream.state(name) is None, "nothing is made"
        # As run finds, too.
        assert bridge.run("--until", "now", "--no-wait") != 0


def test_unchangeable_stream(lab, jetstream, tmp_path, name):
    jetstream.api(f"STREAM.CREATE.{name}", {
        "name": name, "subjects": [f"{name}.>"], "storage": "file", "retention": "workqueue"})
    for settings, words in [({"storage": "memory"}, "storage"), ({"retention": "limits"}, "retention")]:
        with Bridge(tmp_path, configuration(lab, name, stream=settings)) as bridge:
            found = failed(doctor(bridge))
            assert [check["id"] for check in found] == [f"nats.stream.{name}"], found
            assert words in found[0]["evidence"]


def test_another_bridges_stream(lab, jetstream, tmp_path, name):
    jetstream.api(f"STREAM.CREATE.{name}", {
        "name": name, "subjects": [f"{name}.>"], "metadata": {"tailrace-bridge": "other"}})
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        found = failed(doctor(bridge))
        assert [check["id"] for check in found] == [f"nats.stream.{name}"], found
        assert "other" in found[0]["evidence"]


def test_rules_without_a_collection(lab, tmp_path, name):
    with client(lab) as mongo:
        mongo[name].create_collection("Rooms")
    whole = configuration(lab, name)
    rule = whole["rules"][0]
    whole["rules"] = [
        rule | {"name": "there", "match": {"namespace": f"{name}.Rooms"}},
        rule | {"name": "slip", "match": {"namespace": f"{name}.rooms"}}]
    with Bridge(tmp_path, whole) as bridge:
        check, = of(doctor(bridge), "mongodb.namespaces")
    assert check["verdict"] == "warn"
    assert "rule slip" in check["evidence"] and f"there is {name}.Rooms" in check["evidence"]
    assert "rule there" not in check["evidence"]


def test_the_first_example_of_the_readme(tmp_path):
    """As it is there, on one mongod and one nats-server."""
    text = (ROOT / "README.md").read_text().split("```yaml\n")[1].split("```")[0]
    whole = yaml.safe_load(text)
    with Lab() as lab:
        whole["source"]["uri"] = lab.uri
        whole["nats"]["servers"] = [lab.nats_url]
        whole["http"] = {"listen": f"127.0.0.1:{free_ports(1)[0]}"}
        with client(lab) as mongo, Bridge(tmp_path, whole) as bridge:
            mongo.rocketchat.create_collection("rocketchat_message")
            assert tailrace("validate", "--strict", "-c", bridge.file).returncode == 0
            assert failed(doctor(bridge)) == []
            bridge.start().wait_ready()
            mongo.rocketchat.rocketchat_message.insert_one({"_id": "m", "rid": "GENERAL"})
            jetstream = JetStream(lab.nats_url)
            wait_until(lambda: jetstream.holds("CHAT", 1), "the message")
            assert jetstream.messages("CHAT")[0].subject == "chat.GENERAL.message.created"
            assert failed(doctor(bridge)) == []
            assert bridge.terminate() == 0


# May do all but see streams, which it learns by its missing right alone.
BLIND = """
authorization { users [
  { user: all, password: p }
  { user: blind, password: p, permissions {
    publish { allow: [">"], deny: ["$JS.API.STREAM.INFO.>"] }, subscribe { allow: ["_INBOX.>"] } } }
] }
"""


def test_a_stream_that_may_not_be_seen(tmp_path, name):
    """It is no other stream that takes the bridge's subjects."""
    with Lab(nats_conf=BLIND) as lab:
        make_collections(lab, name)
        for user in ("all", "blind"):
            nats = {"servers": [lab.nats_url], "user": user, "password": "p"}
            with Bridge(tmp_path, configuration(lab, name, nats=nats)) as bridge:
                checks = failed(doctor(bridge))
                assert [c["id"] for c in checks] == (["nats.permissions.api"] if user == "blind" else [])
                assert bridge.run("--no-wait", "--until", "now") == (69 if user == "blind" else 0)
    assert "STREAM.INFO" in checks[0]["evidence"]
