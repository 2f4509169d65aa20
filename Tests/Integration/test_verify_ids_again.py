"""`tailrace verify` where an id comes again for another event, since the stream's dedup window is over; and
where other producers publish under the same ids."""

import json
import time

import pytest
from bridge import Bridge, configuration, wait_until
from ids import outcomes
from load import client, make_collections
from test_verify import found, older_than, verify

WINDOW = "300ms"
PAUSE = 1  # seconds: the window is over then, however fast the machine


def again(lab, folder, name, steps, subject="{operationType}", **stream):
    """A bridge that has published `steps`, changes of one document with pauses in between, under ids that
    name document and operation only."""
    make_collections(lab, name)
    rule = {"id": "{documentKey._id}.{operationType}", "subject": f"{name}.{subject}",
            "match": {"namespace": f"{name}.messages"}}
    bridge = Bridge(folder, configuration(
        lab, name, rule=rule, stream={"duplicate_window": WINDOW} | stream))
    with bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        messages = mongo[name].messages
        done = 0
        for step in steps:
            if step == "pause":
                wait_until(lambda: outcomes(bridge)["matched"] >= done, "events", 30)
                time.sleep(PAUSE)
                continue
            done += 1
            if step == "insert":
                messages.insert_one({"_id": "k"})
            elif step == "delete":
                messages.delete_one({"_id": "k"})
            else:
                messages.update_one({"_id": "k"}, {"$inc": {"n": 1}})
        wait_until(lambda: outcomes(bridge)["matched"] >= done, "events", 30)
        time.sleep(PAUSE)
        assert bridge.terminate() == 0
    return bridge


def readers(lab):
    return ["oplog"] if older_than(lab, 6) else ["oplog", "change_stream"]


@pytest.mark.parametrize("ownership", ["exclusive", "shared"])
def test_again_after_the_window(lab, jetstream, tmp_path, name, ownership):
    """All are there; of several with one id, each that is removed or altered is found."""
    life = ["insert", "delete", "pause"]
    bridge = again(lab, tmp_path, name, life * 3, ownership=ownership)
    stored = jetstream.messages(name)
    assert [m.id for m in stored] == ["k.insert", "k.delete"] * 3
    for reader in readers(lab):
        report = verify(bridge, "--reader", reader)
        assert report["verdict"] == "PASS" and found(report) == {}, report
        assert report["counts"]["expected"] == report["counts"]["observed"] == 6
    jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": stored[2].sequence})
    for reader in readers(lab):
        report = verify(bridge, "--reader", reader, code=1)
        assert found(report) in ({"gap": 1}, {"missing": 1}), report["mismatches"]
        assert report["mismatches"][0]["position"] == str(stored[2].headers["Tailrace-Position"])
    jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": stored[5].sequence})
    report = verify(bridge, code=1)
    assert {m["position"] for m in report["mismatches"]} == {
        stored[n].headers["Tailrace-Position"] for n in (2, 5)}, report["mismatches"]


@pytest.mark.parametrize("ownership", ["exclusive", "shared"])
def test_again_with_conflicts(lab, jetstream, tmp_path, name, ownership):
    """Within the window an event's id is another's, and it is a dead letter; behind it, it is stored."""
    steps = ["insert"] + ["update"] * 3 + ["pause", "update", "pause"] + ["update"] * 2
    bridge = again(lab, tmp_path, name, steps, ownership=ownership)
    stored = jetstream.messages(name)
    letters = jetstream.messages(f"DLQ_{name}") if jetstream.state(f"DLQ_{name}") else []
    assert len(stored) + len(letters) == 7 and len(stored) >= 4
    for reader in readers(lab):
        report = verify(bridge, "--reader", reader)
        assert report["verdict"] == "PASS" and found(report) == {}, report
        assert report["id_conflicts"] == len(letters), report


def test_again_and_superseded(lab, jetstream, tmp_path, name):
    """With one message a subject, the newest of an id is not taken for the one before."""
    bridge = again(lab, tmp_path, name, ["insert"] + ["update", "pause"] * 3,
                   max_msgs_per_subject=1)
    assert len(jetstream.messages(name)) == 2
    report = verify(bridge)
    assert report["verdict"] == "PASS" and report["superseded"] == 2, report


def test_altered_position(lab, jetstream, tmp_path, name):
    """A message with the right id and another position is none of that id's other events."""
    bridge = again(lab, tmp_path, name, ["insert", "delete", "pause"] * 2, ownership="shared")
    first = jetstream.messages(name)[0]
    headers = {k: v for k, v in first.headers.items() if not k.startswith("Nats-")}
    headers |= {"Nats-Msg-Id": first.id}
    body = first.json | {"altered": True}
    jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": first.sequence})
    jetstream.publish(first.subject, json.dumps(body).encode(), headers)
    report = verify(bridge, code=1)
    assert found(report) == {"payload_mismatch": 1}, report["mismatches"]
    assert report["mismatches"][0]["position"] == first.headers["Tailrace-Position"]


def test_producers(lab, jetstream, tmp_path, name):
    """A producer's message under a shared id has to have the event's body and subject; a later copy of what
    is there is one too many, whoever was first."""
    make_collections(lab, name)
    rule = {"id": "{documentKey._id}.made", "subject": f"{name}." + "{fullDocument.kind}",
            "match": {"namespace": f"{name}.messages", "operations": ["insert"]},
            "payload": {"envelope": "document"}}
    with Bridge(tmp_path, configuration(
            lab, name, rule=rule, stream={"ownership": "shared", "duplicate_window": WINDOW})) as bridge, \
            client(lab) as mongo:
        bridge.start().wait_ready()
        matched = 0

        def insert(key):
            nonlocal matched
            matched += 1
            mongo[name].messages.insert_one({"_id": key, "kind": "a"})
            wait_until(lambda: outcomes(bridge)["matched"] >= matched, "the event", 30)
            time.sleep(PAUSE)

        def produce(key, kind):
            jetstream.publish(f"{name}.{kind}", json.dumps(
                {"_id": key, "kind": "a"}, separators=(",", ":")).encode(),
                {"Nats-Msg-Id": f"{key}.made"})

        insert("own")
        produce("nobody", "a")
        assert verify(bridge)["verdict"] == "PASS"
        produce("own", "a")
        for reader in readers(lab):
            report = verify(bridge, "--reader", reader, code=1)
            assert found(report) == {"duplicate": 1}, report["mismatches"]
            assert report["mismatches"][0]["stream_seq"] == jetstream.state(name)["last_seq"]
        assert bridge.terminate() == 0


@pytest.mark.parametrize("kind", ["a", "b"])
def test_producer_first(lab, jetstream, tmp_path, name, kind):
    make_collections(lab, name)
    rule = {"id": "{documentKey._id}.made", "subject": f"{name}." + "{fullDocument.kind}",
            "match": {"namespace": f"{name}.messages", "operations": ["insert"]},
            "payload": {"envelope": "document"}}
    with Bridge(tmp_path, configuration(
            lab, name, rule=rule, stream={"ownership": "shared"})) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        jetstream.publish(f"{name}.{kind}", b'{"_id":"x","kind":"a"}', {"Nats-Msg-Id": "x.made"})
        mongo[name].messages.insert_one({"_id": "x", "kind": "a"})
        mongo[name].messages.insert_one({"_id": "y", "kind": "a"})
        wait_until(lambda: jetstream.holds(name, 2), "the next event")
        assert bridge.terminate() == 0
        for reader in readers(lab):
            report = verify(bridge, "--reader", reader, code=0 if kind == "a" else 1)
            assert found(report) == ({} if kind == "a" else {"payload_mismatch": 1}), report
            if kind == "b":
                assert report["mismatches"][0]["detail"].startswith("subject:"), report["mismatches"]
