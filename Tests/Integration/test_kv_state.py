"""`tailrace verify --level state` of buckets: the last entry under each key is the document that the collection holds.

COURSE_ROUNDS (2) sets how many random courses, COURSE_SEED (1) where their seeds begin."""

import json
import random
import signal
from contextlib import suppress

import pytest
from nats.js.errors import NotFoundError

from bridge import Bridge, tailrace
from buckets import bucket, ready, with_bucket
from load import client, make_collections, now, settle
from test_state_random import FIELDS, ROUNDS, SEED, STEADY, Changes
from test_verify import found
from test_verify_state import state


def entries(lab, name):
    """Of each key the newest message, as the bridge stored it."""
    async def work(kv):
        jetstream = kv._js
        info = await jetstream.stream_info(f"KV_{name}", subjects_filter=">")
        newest = {}
        for subject in info.state.subjects or {}:
            with suppress(NotFoundError):  # It has expired meanwhile.
                newest[subject] = await jetstream.get_last_msg(f"KV_{name}", subject)
        return newest

    return with_bucket(lab, name, work)


def put(lab, name, subject, body, headers):
    """As another process with the bridge's name would."""
    kept = {k: v for k, v in headers.items() if not k.startswith("Nats-")}
    if not body:
        kept |= {"KV-Operation": "PURGE", "Nats-Rollup": "sub"}

    async def work(kv):
        await kv._js.publish(subject, body, headers=kept)

    with_bucket(lab, name, work)


def stopped(bridge):
    assert bridge.run("--until", "now") == 0
    return bridge


def test_entries_are_the_documents(lab, tmp_path, name):
    """Puts, updates, purges; each kind of difference is found and named."""
    make_collections(lab, name)
    whole = bucket(lab, name)
    whole["source"]["start"] = "snapshot"
    with client(lab) as mongo:
        users = mongo[name].users
        users.insert_many([{"_id": n, "n": n} for n in range(20)])
        settle(lab)
        with Bridge(tmp_path, whole) as bridge:
            ready(bridge)
            users.update_one({"_id": 1}, {"$set": {"deep": {"a": [1, 2]}}})
            users.replace_one({"_id": 2}, {"n": "two"})
            users.delete_one({"_id": 3})
            settle(lab)
            # Beside the running bridge, and of the stopped one.
            assert state(bridge)["verdict"] == "PASS"
            assert bridge.terminate() == 0
        stopped(bridge)
        report = state(bridge)
        assert report["verdict"] == "PASS" and report["counts"]["expected"] == 19, report
        assert report["notes"] == [], report["notes"]
    last = entries(lab, name)
    one = f"$KV.{name}."
    put(lab, name, f"{one}4", json.dumps({"_id": 4, "n": 5}).encode(), last[f"{one}4"].headers)
    put(lab, name, f"{one}5", b"", last[f"{one}5"].headers)
    put(lab, name, f"{one}none", last[f"{one}6"].data, last[f"{one}6"].headers)
    report = state(bridge, "--timeout", "1", code=1)
    assert {(m["class"], m["subject"], m["pointer"]) for m in report["mismatches"]} == {
        ("payload_mismatch", f"{one}4", "/n"), ("missing", f"{one}5", None), ("extra", f"{one}none", None)}, report
    assert all(m["stream"] == f"KV_{name}" and m["rule"] == "state" for m in report["mismatches"])


def test_what_can_not_be_told(lab, tmp_path, name):
    """Neither FAIL nor silence: other writers, rules for a part of the documents."""
    make_collections(lab, name)
    whole = bucket(lab, name, ownership="shared", key="{ns.coll}.{documentKey._id}")
    whole["rules"].insert(0, {
        "name": "some", "match": {"namespace": f"{name}.picked", "where": {"fullDocument.n": {"$gt": 0}},
                                  "operations": ["insert", "update", "replace"]},
        "delivery": "kv", "kv": {"bucket": name, "key": "picked.{documentKey._id}"},
        "payload": {"envelope": "document", "full_document": "when_available"}})
    with client(lab) as mongo, Bridge(tmp_path, whole) as bridge:
        ready(bridge)
        for coll in ("users", "picked"):
            mongo[name][coll].insert_many([{"_id": n, "n": n} for n in range(5)])
        settle(lab)
        assert bridge.terminate() == 0
        stopped(bridge)

        async def other(kv):
            await kv.put("users.1", b"{}")

        with_bucket(lab, name, other)
        report = state(bridge)
        assert report["verdict"] == "PASS" and found(report) == {}, report
        notes = "\n".join(report["notes"])
        assert "somebody else wrote them last" in notes and "users.1" in notes
        assert f"entries of {name}.picked are not compared: rule some takes no deletes" in notes, notes


def test_dropped_collection(lab, tmp_path, name):
    """Nothing purges its keys; a rename takes entries to no other key."""
    make_collections(lab, name)
    whole = bucket(lab, name, key="{ns.coll}.{documentKey._id}")
    with client(lab) as mongo, Bridge(tmp_path, whole) as bridge:
        ready(bridge)
        for coll in ("gone", "old", "kept"):
            mongo[name][coll].insert_many([{"_id": n, "n": n} for n in range(5)])
        mongo[name].gone.drop()
        mongo[name].old.rename("new")
        settle(lab)
        assert bridge.terminate() == 0
        stopped(bridge)
        report = state(bridge)
        assert report["verdict"] == "PASS" and found(report) == {}, report
        assert any(note.startswith("10 keys") and "dropped" in note for note in report["notes"]), report["notes"]
        # Without a snapshot, what came by the rename need have no entry.
        assert report["not_held"] == 5 and report["counts"]["observed"] == 15, report


def test_expired_entries(lab, tmp_path, name):
    make_collections(lab, name)
    whole = bucket(lab, name, ttl="1s")
    with client(lab) as mongo, Bridge(tmp_path, whole) as bridge:
        ready(bridge)
        mongo[name].users.insert_many([{"_id": n} for n in range(5)])
        settle(lab)
        assert bridge.terminate() == 0
        stopped(bridge)
        while entries(lab, name):
            pass
        report = state(bridge)
        assert found(report) == {} and report["verdict"] == "PASS", report
        assert any("may have expired" in note for note in report["notes"]), report["notes"]


def test_beside_a_stream(lab, tmp_path, name):
    """A rule that continues puts entries, another one publishes messages: both are compared."""
    make_collections(lab, name)
    whole = bucket(lab, name)
    whole["rules"][0]["continue"] = True
    whole["streams"] = [{"name": name, "subjects": [f"{name}.>"], "duplicate_window": "2m"}]
    whole["rules"].append({
        "name": "all", "match": {"namespace": f"{name}.*"}, "subject": name + ".{ns.coll}.{operationType}",
        "stream": name, "payload": {"exclude": ["fullDocument.hidden"]}})
    with client(lab) as mongo, Bridge(tmp_path, whole) as bridge:
        ready(bridge)
        mongo[name].users.insert_many([{"_id": n, "hidden": n} for n in range(5)])
        mongo[name].users.update_one({"_id": 1}, {"$set": {"hidden": "x", "n": 2}})
        settle(lab)
        assert bridge.terminate() == 0
        stopped(bridge)
        report = state(bridge)
        assert report["verdict"] == "PASS" and report["counts"]["expected"] == 10, report


def course(lab, folder, name, dice):
    """A bridge that has put all of what happened, whatever happened to it."""
    with client(lab) as mongo:
        changes = Changes(mongo, name, dice.randrange(1 << 30), tuple(mongo.server_info()["versionArray"]))
        after = now(lab)
        begins_with_snapshot = dice.random() < 0.5
        if begins_with_snapshot:
            changes.run(dice.randrange(40))
            settle(lab)
        whole = bucket(lab, name, key="{ns.coll}.{documentKey._id}", history=dice.choice([1, 1, 3, 64]))
        whole["source"]["start"] = "snapshot" if begins_with_snapshot else f"{after.time}.{after.inc}"
        payload = {"envelope": dice.choice(["document", "change_event", "cloudevents", "debezium"]),
                   "json": dice.choice(["simplified", "relaxed", "canonical"]),
                   "full_document": dice.choice(["when_available", "required"])}
        paths = [f"fullDocument.{field}" for field in FIELDS]
        if dice.random() < 0.4:
            payload["exclude"] = dice.sample(paths, dice.randrange(1, 4))
        if dice.random() < 0.3:
            payload["redact"] = {path: "mask" for path in dice.sample(paths, 2)}
        whole["rules"][0]["payload"] = payload
        bridge = Bridge(folder, whole)
        with bridge:
            for _ in range(dice.randrange(1, 4)):
                bridge.start()
                if dice.random() < 0.5:
                    bridge.wait_ready()
                changes.run(dice.randrange(10, 70))
                if dice.random() < 0.6:
                    bridge.kill()
                else:
                    assert bridge.terminate() in (0, -signal.SIGTERM)
                changes.run(dice.randrange(30))
                if dice.random() < 0.3:
                    settle(lab)
                    done = tailrace("snapshot", "-c", bridge.file, cwd=folder, seconds=60)
                    assert done.returncode == 0, done.stderr[-2000:]
            settle(lab)
            mongo[name][STEADY].insert_one({"_id": "last", "n": 1})
            settle(lab)
            assert bridge.run("--until", "now") == 0
        return bridge


def faults(last, name):
    """Of entries that can be changed so that it must show: the class, subject, and the body instead."""
    for subject, message in last.items():
        if not subject.startswith(f"$KV.{name}.{STEADY}.") or not message.data:
            continue
        body = json.loads(message.data)
        yield "missing", subject, b""
        # The others don't say of which collection they are, and some were dropped since.
        if "after" in body or "ns" in body:
            yield "extra", subject + "forged", message.data
        if "after" in body and body["after"]:
            yield "payload_mismatch", subject, json.dumps(
                body | {"after": json.dumps(json.loads(body["after"]) | {"zz": 1})}).encode()
        elif "operationType" in body and body.get("fullDocument"):
            body["fullDocument"]["zz"] = 1
            yield "payload_mismatch", subject, json.dumps(body).encode()
        elif "_id" in body:
            yield "payload_mismatch", subject, json.dumps(body | {"zz": 1}).encode()


@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
def test_random_courses(lab, tmp_path, name, seed):
    dice = random.Random(seed)
    bridge = course(lab, tmp_path, name, dice)
    done = tailrace("verify", "--level", "state", "--json", "-c", bridge.file, cwd=tmp_path, seconds=90)
    report = json.loads(done.stdout)
    assert (done.returncode, report["verdict"], found(report)) == (0, "PASS", {}), "\n".join(
        [json.dumps(bridge.configuration["rules"][0]), str(report.get("reasons")), *report["notes"],
         *map(str, report["mismatches"][:5])])
    compared = report["counts"]["observed"]
    last = entries(lab, name)
    if "found again" in bridge.log.read_text():
        return
    with client(lab) as mongo:
        there = {str(d["_id"]) for d in mongo[name][STEADY].find({}, {"_id": 1}) if isinstance(d["_id"], str | int)}
    choices = [one for one in faults(last, name) if one[1].removesuffix("forged").rsplit(".", 1)[1] in there]
    if not choices:
        return
    kind, subject, body = dice.choice(choices)
    print(f"seed {seed}: {compared} entries; {kind} of {subject}: {body}")
    put(lab, name, subject, body, last[subject.removesuffix("forged")].headers)
    report = state(bridge, "--timeout", "1", code=1)
    assert found(report) == {kind: 1} and report["mismatches"][0]["subject"] == subject, report
