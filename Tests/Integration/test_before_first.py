"""The checkpoint is lost before anything was published. The streams' metadata say since when they are to get
what matches: that is published, and nothing from before."""

import json

import pytest
import yaml
from bridge import Bridge, configuration, tailrace, wait_until
from jetstream import JetStream
from lab import Lab
from load import check, client, make_collections, now, settle
from test_verify import found, rebuild, verify


def lose(jetstream, name):
    jetstream.delete_stream(f"KV_STATE_{name}")


def keys(jetstream, stream):
    return [message.json["documentKey"]["_id"] for message in jetstream.messages(stream)]


def mark(jetstream, name, stream):
    return jetstream.config(stream).get("metadata", {}).get(f"tailrace.holds.{name}", "")


def remark(jetstream, name, stream, text):
    """Another version's mark, or that of an earlier start."""
    config = jetstream.config(stream)
    config["metadata"][f"tailrace.holds.{name}"] = text
    jetstream.api(f"STREAM.UPDATE.{stream}", config)


def checkpoint(bridge):
    """(seconds, increment)"""
    position = bridge.json("/status")[1]["checkpoint"]["position"]
    return tuple(int(part) for part in position.split("."))


def change(bridge, **changes):
    bridge.configuration.update(changes)
    bridge.file.write_text(yaml.safe_dump(bridge.configuration, sort_keys=False))


def insert(lab, name, collection, *identifiers):
    with client(lab) as mongo:
        for identifier in identifiers:
            mongo[name][collection].insert_one({"_id": identifier})
    settle(lab)


@pytest.mark.parametrize("reader", ["oplog", "change_stream"])
@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_resumes(lab, jetstream, tmp_path, name, reader, end):
    make_collections(lab, name)
    insert(lab, name, "messages", "before")
    with Bridge(tmp_path, configuration(lab, name, source={"reader": reader})) as bridge:
        bridge.start().wait_ready()
        begin = now(lab)
        assert mark(jetstream, name, name).startswith("unused after ")
        assert mark(jetstream, name, f"DLQ_{name}") == mark(jetstream, name, name)
        getattr(bridge, end)()
        lose(jetstream, name)
        insert(lab, name, "messages", "meanwhile")
        bridge.start().wait_ready()
        assert "before anything was published" in bridge.log.read_text()
        insert(lab, name, "messages", "then")
        assert check(lab, jetstream, name, name, begin) == 2
        assert keys(jetstream, name) == ["meanwhile", "then"]
        wait_until(lambda: mark(jetstream, name, name).split()[0] in ("after", "from"),
                   "the mark of a stream that has messages")


@pytest.mark.parametrize("level", ["events", "state"])
def test_no_other_rules_before(lab, jetstream, tmp_path, name, level):
    """Where nothing was published before the checkpoint was lost, other rules explain no difference."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        bridge.kill()
        lose(jetstream, name)
        insert(lab, name, "messages", "one", "two", "three")
        assert bridge.run("--until", "now") == 0
        assert "before anything was published" in bridge.log.read_text()
        verify(bridge, "--level", level)
        rebuild(jetstream, name, lambda ms: [
            (m, {"body": m.body.replace(b'"_id":"two"}}', b'"_id":"two","x":1}}')}) for m in ms])
        report = verify(bridge, "--level", level, "--timeout", "1", code=1)
        assert found(report)["payload_mismatch"] == 1 and report["unproven"] == 0


def test_later_rule(lab, jetstream, tmp_path, name):
    """Each stream gets what came since its own beginning."""
    other = f"other_{name}"
    make_collections(lab, name)
    with client(lab) as mongo:
        mongo[name].create_collection("late")
    settle(lab)
    whole = configuration(lab, name, rule={
        "match": {"namespace": f"{name}.messages", "operations": ["insert"]}})
    with Bridge(tmp_path, whole) as bridge:
        bridge.start().wait_ready()
        first = mark(jetstream, name, name)
        # Nobody wants it yet.
        insert(lab, name, "late", "too early")
        passed = now(lab)
        wait_until(lambda: checkpoint(bridge) >= (passed.time, passed.inc), "a checkpoint behind it")
        assert bridge.terminate() == 0
        change(
            bridge,
            streams=[*whole["streams"], {"name": other, "subjects": [f"{other}.>"]}],
            rules=[*whole["rules"], {
                "name": "late", "match": {"namespace": f"{name}.late", "operations": ["insert"]},
                "subject": f"{other}.inserted", "stream": other}])
        bridge.start().wait_ready()
        assert mark(jetstream, name, other).startswith("unused from ")
        assert mark(jetstream, name, name) == mark(jetstream, name, other)
        bridge.kill()
        # As if the first stream's could not be written.
        remark(jetstream, name, name, first)
        lose(jetstream, name)
        insert(lab, name, "messages", "a")
        insert(lab, name, "late", "b")
        bridge.start().wait_ready()
        insert(lab, name, "late", "c")
        wait_until(lambda: jetstream.holds(name, 1), "the first stream's event")
        wait_until(lambda: jetstream.holds(other, 2), "the other's events")
        assert keys(jetstream, name) == ["a"]
        assert keys(jetstream, other) == ["b", "c"]


def test_older_mark(lab, jetstream, tmp_path, name):
    """It is of an older version, and the configuration decides."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        assert bridge.terminate() == 0
        for stream in name, f"DLQ_{name}":
            remark(jetstream, name, stream, "unused")
        lose(jetstream, name)
        insert(lab, name, "messages", "meanwhile")
        bridge.start().wait_ready()
        insert(lab, name, "messages", "then")
        wait_until(lambda: jetstream.holds(name, 1), "what came after the start")
        assert keys(jetstream, name) == ["then"]
        # With a checkpoint, the mark learns where the bridge is.
        assert bridge.terminate() == 0
        bridge.start().wait_ready()
        assert mark(jetstream, name, f"DLQ_{name}").startswith("unused from ")


def test_rolled_over(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        assert bridge.terminate() == 0
        for stream in name, f"DLQ_{name}":
            remark(jetstream, name, stream, "unused after 1000000000.1")
        lose(jetstream, name)
        assert bridge.run(seconds=60) == 75
        assert "1000000000.1" in bridge.tail()
        # What is left of it, as an operator decides.
        insert(lab, name, "messages", "meanwhile")
        assert bridge.run("--from", "now", "--until", "now") == 78
        insert(lab, name, "messages", "late")
        bridge.start("--from", "now", "--force").wait_ready()
        insert(lab, name, "messages", "then")
        wait_until(lambda: jetstream.holds(name, 1), "what came after the start")
        assert keys(jetstream, name) == ["then"]
        # The decision holds from then on, whatever the marks said.
        bridge.kill()
        assert "1000000000.1" not in mark(jetstream, name, f"DLQ_{name}")


def test_doctor(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        position = mark(jetstream, name, name).split()[-1]
        assert bridge.terminate() == 0
        lose(jetstream, name)
        report = json.loads(tailrace("doctor", "-c", bridge.file, "--json").stdout)
        place, = (check for check in report["checks"] if check["id"] == "bridge.place")
        assert place["verdict"] == "ok" and position in place["evidence"]


def test_replicated(tmp_path, name):
    """Replicated streams, and a leader that goes away in between."""
    with Lab(nats=3) as lab:
        jetstream = JetStream(lab.nats_url)
        make_collections(lab, name)
        with Bridge(tmp_path, configuration(lab, name, stream={"num_replicas": 3})) as bridge:
            bridge.start().wait_ready(seconds=60)
            bridge.kill()
            lose(jetstream, name)
            insert(lab, name, "messages", "meanwhile")
            lab.kill("nats", 0)
            lab.start("nats", 0)
            bridge.start().wait_ready(seconds=60)
            wait_until(lambda: jetstream.holds(name, 1), "what came meanwhile", seconds=120)
            assert keys(jetstream, name) == ["meanwhile"]
