"""`tailrace verify --level state` of snapshots: several of one collection, and what one has twice."""

import time

from bridge import Bridge, configuration, tailrace
from load import client, make_collections, settle
from test_verify import found
from test_verify_state import state


def snapshot(bridge, *arguments):
    done = tailrace("snapshot", "-c", bridge.file, *arguments, cwd=bridge.folder, seconds=60)
    assert done.returncode == 0, (done.stdout, done.stderr)


def last_snapshot(jetstream, name):
    told = [m for m in jetstream.messages(name) if "Tailrace-Snapshot" in m.headers]
    return [m for m in told if m.position[:2] == told[-1].position[:2]]


def with_two_snapshots(lab, folder, name, **stream):
    """Documents of which the tail tells, then two snapshots with changes between and behind them."""
    make_collections(lab, name)
    bridge = Bridge(folder, configuration(lab, name, stream={"duplicate_window": "300ms"} | stream))
    assert bridge.run("--until", "now") == 0
    with client(lab) as mongo:
        messages = mongo[name].messages
        messages.insert_many([{"_id": n, "n": 0} for n in range(8)])
        settle(lab)
        assert bridge.run("--until", "now") == 0
        snapshot(bridge)
        messages.update_one({"_id": 0}, {"$inc": {"n": 1}})
        messages.replace_one({"_id": 1}, {"n": 5})
        messages.delete_one({"_id": 2})
        settle(lab)
        snapshot(bridge)
        # What is made, deleted, or made again behind it needs no repetition.
        messages.insert_one({"_id": "new"})
        messages.delete_one({"_id": 3})
        messages.insert_one({"_id": 3, "again": True})
        messages.delete_one({"_id": 4})
        messages.update_one({"_id": 5}, {"$set": {"n": 7}})
        mongo[name].later.insert_one({"_id": 1})
        settle(lab)
        assert bridge.run("--until", "now") == 0
    return bridge


def test_two_snapshots(lab, jetstream, tmp_path, name):
    bridge = with_two_snapshots(lab, tmp_path, name)
    report = state(bridge)
    assert report["verdict"] == "PASS" and found(report) == {}, report
    keys = [m.json["documentKey"]["_id"] for m in last_snapshot(jetstream, name)]
    assert sorted(keys) == [0, 1, 3, 4, 5, 6, 7]


def test_limited_stream(lab, jetstream, tmp_path, name):
    """The stream has lost what came before the last snapshot, which is all there."""
    bridge = with_two_snapshots(lab, tmp_path, name, max_msgs=17)
    assert state(bridge)["verdict"] == "PASS"
    assert len(last_snapshot(jetstream, name)) == 7


def test_twice(lab, jetstream, tmp_path, name):
    bridge = with_two_snapshots(lab, tmp_path, name)
    message = last_snapshot(jetstream, name)[0]
    time.sleep(0.5)  # the dedup window is over
    headers = {k: v for k, v in message.headers.items()
               if not k.startswith("Nats-") or k == "Nats-Msg-Id"}
    jetstream.publish(message.subject, message.body, headers)
    report = state(bridge, "--timeout", "1", code=1)
    assert found(report) == {"duplicate": 1}, report["mismatches"]
    assert report["mismatches"][0]["stream_seq"] == jetstream.state(name)["last_seq"]
    assert report["mismatches"][0]["msg_id"] == message.id


def test_removed_from_the_last(lab, jetstream, tmp_path, name):
    """A document that the last snapshot should have repeated is missing, whatever older messages tell."""
    bridge = with_two_snapshots(lab, tmp_path, name)

    def remove(message):
        jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": message.sequence})

    last = last_snapshot(jetstream, name)
    # Of an older one, none is wanted.
    remove(next(m for m in jetstream.messages(name)
                if "Tailrace-Snapshot" in m.headers and m.json["documentKey"]["_id"] == 6))
    report = state(bridge)
    assert report["verdict"] == "PASS" and found(report) == {}, report
    missing = set()
    for message in last:
        remove(message)
        key = message.json["documentKey"]["_id"]
        # 3 was deleted and made again since, 4 was deleted.
        if key not in (3, 4):
            missing.add(f'{{"_id":{key}}}')
        report = state(bridge, code=1 if missing else 0)
        assert found(report).get("missing", 0) == len(missing) == sum(found(report).values()), (
            key, report["mismatches"])
        assert {m["msg_id"].split(" ", 1)[1] for m in report["mismatches"]} == missing
    assert len(missing) == 5


def test_removed_and_renamed(lab, jetstream, tmp_path, name):
    """Where the collection was renamed since, it can't be told whether the snapshot has to have it."""
    bridge = with_two_snapshots(lab, tmp_path, name)
    with client(lab) as mongo:
        mongo[name].messages.rename("moved")
        settle(lab)
    assert bridge.run("--until", "now") == 0
    removed = next(m for m in last_snapshot(jetstream, name) if m.json["documentKey"]["_id"] == 6)
    jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": removed.sequence})
    report = state(bridge)
    assert report["verdict"] == "PASS", report["mismatches"]
    assert "have no message of the last snapshot" in " ".join(report["notes"]), report["notes"]


def test_partial_and_renamed(lab, jetstream, tmp_path, name):
    """A snapshot of some collections says nothing of the others; documents move with their collection."""
    bridge = with_two_snapshots(lab, tmp_path, name)
    with client(lab) as mongo:
        mongo[name].later.insert_many([{"_id": n} for n in range(10, 15)])
        settle(lab)
        snapshot(bridge, "--namespace", f"{name}.later")
        report = state(bridge)
        assert report["verdict"] == "PASS" and found(report) == {}, report
        mongo[name].messages.rename("moved")
        mongo[name].later.rename("messages")
        mongo[name].messages.insert_one({"_id": 99})
        settle(lab)
        assert bridge.run("--until", "now") == 0
        assert found(state(bridge)) == {}
        snapshot(bridge)
        mongo[name].moved.update_one({"_id": 6}, {"$set": {"n": 9}})
        settle(lab)
        assert bridge.run("--until", "now") == 0
        assert found(state(bridge)) == {}
