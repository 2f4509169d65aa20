"""`tailrace verify --level state`: what the messages come to is what the collections hold."""

import json
import random
from contextlib import suppress

from bridge import Bridge, configuration, wait_until
from load import Writer, client, make_collections, now, settle
from pymongo.errors import WriteError
from test_verify import found, older_than, rebuild, verify


def state(bridge, *arguments, code=0):
    return verify(bridge, "--level", "state", *arguments, code=code)


def change(things, key, choice, step, dice):
    if choice == 0:
        things.replace_one(key, {"n": step, "list": list(range(dice.randrange(6))),
                                 "deep": {"a": {"b": step}}}, upsert=True)
    elif choice == 1:
        things.delete_one(key)
    else:
        things.update_one(key, dice.choice([
            {"$set": {"n": step}}, {"$set": {f"deep.{dice.choice('abc')}.b": step}},
            {"$push": {"list": step}}, {"$pop": {"list": 1}}, {"$pop": {"list": -1}},
            {"$unset": {f"deep.{dice.choice('abc')}": 1}}, {"$set": {"list.2": "x"}},
            {"$push": {"list": {"$each": [step, {"deep": step}], "$slice": -4}}},
            [{"$set": {"list": {"$reverseArray": {"$ifNull": ["$list", []]}}}}],
            [{"$set": {"copy": "$deep", "n": {"$add": [{"$ifNull": ["$n", 0]}, 1]}}}],
            {"$rename": {"n": "m"}}, {"$inc": {"count": 1}},
        ]), upsert=dice.random() < 0.3)


def nested(lab, name, seed, steps):
    """Updates of all shapes: paths, arrays, pushes, pops, unsets, pipelines, replacements."""
    dice = random.Random(seed)
    with client(lab) as mongo:
        things = mongo[name].things
        for step in range(steps):
            key = {"_id": dice.randrange(30)}
            choice = dice.randrange(10)
            # What an earlier step has made of the document may not allow it.
            with suppress(WriteError):
                change(things, key, choice, step, dice)
    settle(lab)
    with client(lab) as mongo:  # Something behind it, so that all of it is acknowledged.
        mongo[name].other.insert_one({"_id": "last"})
    settle(lab)


def test_folded_from_the_beginning(lab, jetstream, tmp_path, name):
    """Every update is shown so that the document can be made again; a lost or altered message shows."""
    make_collections(lab, name)
    after = now(lab)
    nested(lab, name, 1, 800)
    with Writer(lab, name, seed=4, rate=1000) as writer:
        wait_until(lambda: writer.written >= 1000, "writes")
    with client(lab) as mongo:
        mongo[name].other.insert_one({"_id": "very last"})
    settle(lab)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
        report = state(bridge)
        with client(lab) as mongo:
            held = sum(mongo[name][c].count_documents({}) for c in mongo[name].list_collection_names())
        assert report["verdict"] == "PASS" and found(report) == {}
        assert report["counts"]["observed"] >= held - 1
        # An insert whose document is there still, and an update of the last value.
        ids = {}
        with client(lab) as mongo:
            for document in mongo[name].messages.find():
                ids[str(document["_id"])] = document
        messages = jetstream.messages(name)
        lost = next(m for m in messages if m.json["operationType"] == "insert"
                    and m.subject.split(".")[1] == "messages" and str(m.json["documentKey"]["_id"]) in ids
                    and not any(o is not m and o.json["documentKey"] == m.json["documentKey"]
                                for o in messages))
        deleted = next(m for m in messages if m.json["operationType"] == "delete"
                       and m.subject.split(".")[1] == "messages")
        rebuild(jetstream, name, lambda ms: [
            m for m in ms if m.id not in (lost.id, deleted.id)])
        report = state(bridge, "--timeout", "1", code=1)
        # Not told is not the same as gone: the bridge made no snapshot, so only what is too much shows.
        assert found(report) == {"extra": 1}, report["mismatches"]
        assert report["not_held"] >= 1
        altered = next(m for m in messages if m.id not in (lost.id, deleted.id)
                       and m.json["operationType"] == "insert"
                       and str(m.json["documentKey"]["_id"]) in ids
                       and m.subject.split(".")[1] == "messages"
                       and not any(o is not m and o.json["documentKey"] == m.json["documentKey"]
                                   for o in messages))
        body = altered.json
        body["fullDocument"]["extra"] = 1
        rebuild(jetstream, name, lambda ms: [
            (m, {"body": json.dumps(body).encode()}) if m.id == altered.id else m for m in ms])
        report = state(bridge, "--timeout", "1", code=1)
        assert found(report) == {"extra": 1, "payload_mismatch": 1}
        assert "/extra" in {m["pointer"] for m in report["mismatches"]}


def test_snapshot_and_writes(lab, jetstream, tmp_path, name):
    """After a snapshot all documents must be told; no false alarm while writes go on."""
    make_collections(lab, name)
    nested(lab, name, 2, 300)
    with Bridge(tmp_path, configuration(lab, name, source={"start": "snapshot"})) as bridge:
        bridge.start().wait_ready()
        with Writer(lab, name, seed=6, rate=300) as writer:
            wait_until(lambda: writer.written >= 1000, "writes")
            for _ in range(3):
                report = state(bridge)
                assert report["verdict"] == "PASS" and report["not_held"] == 0
                assert report["counts"]["observed"] > 0
                # Servers read the past from 5.0 on; before, there are newer documents among them.
                if not older_than(lab, 5):
                    assert report["counts"]["expected"] == report["counts"]["observed"]
        bridge.terminate()
        # Of the snapshot's messages the oplog tells nothing, which is no fault of theirs.
        events = verify(bridge)
        stream = next(s for s in events["streams"] if s["name"] == name)
        assert events["verdict"] == "PASS" and stream["snapshot"] > 0
        # A document that no message tells of.
        first = jetstream.messages(name)[0]
        assert first.headers["Tailrace-Snapshot"] == "true"
        rebuild(jetstream, name, lambda ms: [m for m in ms if m.json["documentKey"]
                                             != first.json["documentKey"]
                                             or m.subject.split(".")[1] != first.subject.split(".")[1]])
        report = state(bridge, "--timeout", "1", code=1)
        assert set(found(report)) <= {"missing"} and report["verdict"] == "FAIL"


def test_shapes(lab, tmp_path, name):
    """Compared in the mapped shape; what can't be made again is said so."""
    make_collections(lab, name)
    after = now(lab)
    nested(lab, name, 3, 300)
    rule = {"match": {"namespace": f"{name}.things"}, "subject": name + ".things", "payload": {
        "exclude": ["fullDocument.count"], "rename": {"fullDocument.deep": "tief"},
        "redact": {"fullDocument.copy": "drop"}}}
    whole = configuration(lab, name, rule=rule)
    whole["rules"].append({"name": "some", "match": {"namespace": f"{name}.messages",
                                                     "operations": ["insert"]},
                           "subject": name + ".messages", "stream": name})
    with client(lab) as mongo:
        mongo[name].messages.insert_one({"_id": 1})
        mongo[name].things.insert_one({"_id": "last"})
    settle(lab)
    with Bridge(tmp_path, whole) as bridge:
        assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
        report = state(bridge)
        assert report["verdict"] == "PASS" and report["counts"]["observed"] > 5
        note, = report["notes"]
        assert f"{name}.messages is not compared" in note and "no rule takes its updates" in note


def test_two_fields_of_one_name(lab, jetstream, tmp_path, name):
    """Of two fields that a rule gives one name, an update that removes one does not say which: a note. A lost
    message of a document that never had two is a difference."""
    make_collections(lab, name)
    bridge = Bridge(tmp_path, configuration(
        lab, name, rule={"payload": {"rename": {"fullDocument.b": "given"}}}))
    assert bridge.run("--until", "now") == 0
    with client(lab) as mongo:
        messages = mongo[name].messages
        messages.insert_many([{"_id": 1, "given": 2}, {"_id": 2, "b": 1}, {"_id": 3, "b": 1}])
        for change in ({"$set": {"b": 1}}, {"$unset": {"b": 1}}):
            messages.update_one({"_id": 1}, change)
        for change in ({"$set": {"b": 2}}, {"$unset": {"b": 1}}):
            messages.update_one({"_id": 2}, change)
        messages.update_one({"_id": 3}, {"$set": {"b": 2, "c": 1}})
        settle(lab)
    assert bridge.run("--until", "now") == 0
    report = state(bridge)
    assert report["verdict"] == "PASS" and found(report) == {}, report["mismatches"]
    assert "two of their fields may have had one name" in " ".join(report["notes"]), report["notes"]
    for key in (2, 3):
        last = [m for m in jetstream.messages(name) if m.json["documentKey"]["_id"] == key][-1]
        jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": last.sequence})
    report = state(bridge, code=1)
    assert found(report) == {"payload_mismatch": 2}, report["mismatches"]
    assert {m["pointer"] for m in report["mismatches"]} == {"/given", "/c"}


def test_inconclusive(lab, tmp_path, name):
    """A stream that lost its beginning says nothing of documents."""
    make_collections(lab, name)
    after = now(lab)
    nested(lab, name, 5, 300)
    with Bridge(tmp_path, configuration(lab, name, stream={"max_msgs": 100})) as bridge:
        assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
        report = state(bridge, code=2)
        assert "does not hold all its messages" in report["reasons"][0]
