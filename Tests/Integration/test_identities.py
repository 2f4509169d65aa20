"""Documents whose keys look alike: each is its own in snapshots and in the comparison of states."""

import hashlib
from datetime import datetime, timezone

import pymongo
from bridge import Bridge, configuration, tailrace
from bson import (Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp, encode,
                  json_util)
from load import client, settle
from test_verify import found, verify
from test_verify_state import state

SIXTEEN = bytes(range(16))
LONG = "long" * 100
DIGEST = "sha256-" + hashlib.sha256(encode({"": LONG})[6:-1]).hexdigest()

# Ids that a collection can hold side by side; in each line they print alike in one way or another.
ALIKE = [
    Binary(b"x", 0), Binary(b"x", 128), Binary(b"x", 5), "eA==", Binary(b"", 0), Binary(b"", 128), "",
    Binary(SIXTEEN, 0), Binary(SIXTEEN, 3), Binary(SIXTEEN, 4), Binary(SIXTEEN, 5),
    "00010203-0405-0607-0809-0a0b0c0d0e0f", "AAECAwQFBgcICQoLDA0ODw==",
    ObjectId("56e1fc72e0c917e9c4714161"), "56e1fc72e0c917e9c4714161",
    1, "1", True, "true", None, "null", Int64(2), "2",
    datetime(1970, 1, 1, tzinfo=timezone.utc), "1970-01-01T00:00:00.000Z", Timestamp(1, 2),
    {"t": 1, "i": 2}, {"i": 2, "t": 1},
    0.1, Decimal128("0.1"), "0.1", Decimal128("NaN"), "NaN",
    "\u00e9", "e\u0301", {"\u00e9": 1}, {"e\u0301": 1},
    {"a": Binary(b"x", 0)}, {"a": Binary(b"x", 128)}, {"a": "eA=="}, {"a": 1}, {"a": "1"},
    Code("a"), "a", Code("a", {}), Code("a", {"b": 1}), "a:second", "a b", "a%20b",
    MinKey(), MaxKey(), LONG, LONG + "g", DIGEST,
]
PLACES = ["plain", "a b", "a%20b", "a.b", "\u00e9", "e\u0301", "plain {", "a:second"]


def fill(lab, name):
    """Every id in the first collection, a few in others whose names look alike; how many."""
    with client(lab) as mongo:
        mongo[name].plain.insert_many([{"_id": key, "n": n} for n, key in enumerate(ALIKE)])
        for place in PLACES[1:]:
            mongo[name][place].insert_many([{"_id": key, "n": place} for key in ("a", 1, "1")])
    settle(lab)
    return len(ALIKE) + 3 * len(PLACES[1:])


def twice(lab, name, json_style="canonical"):
    """Two rules take every event, and both go to one stream."""
    whole = configuration(lab, name, rule={
        "match": {"namespace": f"{name}.*", "operations": ["insert", "update", "replace", "delete"],
                  }, "continue": True,
        "payload": {"envelope": "change_event", "json": json_style}})
    second = dict(whole["rules"][0])
    del second["continue"]
    whole["rules"].append(second | {"name": "second", "subject": name + ".second"})
    return whole


def snapshot(bridge, *arguments):
    done = tailrace("snapshot", "-c", bridge.file, *arguments, cwd=bridge.folder, seconds=60)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr[-3000:])


def documents(messages, rule):
    return [(m.json["ns"]["coll"], json_util.dumps(m.json["documentKey"])) for m in messages
            if m.headers["Tailrace-Rule"] == rule]


def test_each_document_once_in_snapshots(lab, jetstream, tmp_path, name):
    count = fill(lab, name)
    with Bridge(tmp_path, twice(lab, name)) as bridge:
        snapshot(bridge)
        messages = jetstream.messages(name)
        for rule in ("all", "second"):
            told = documents(messages, rule)
            assert len(told) == len(set(told)) == count
        assert len({m.id for m in messages}) == len(messages) == 2 * count
        assert max(len(m.id) for m in messages) < 400
        assert jetstream.state(f"DLQ_{name}")["messages"] == 0
        # Again: at the same position, and at a later one.
        snapshot(bridge)
        assert len(jetstream.messages(name)) in (2 * count, 4 * count)
        settle(lab)
        snapshot(bridge)
        messages = jetstream.messages(name)
        assert len(messages) % (2 * count) == 0 and len({m.id for m in messages}) == len(messages)
        # Changes of all of them, and the proof.
        with client(lab) as mongo:
            for key in ALIKE:
                mongo[name].plain.update_one({"_id": key}, {"$set": {"changed": True}})
        settle(lab)
        assert bridge.run("--until", "now") == 0
        report = verify(bridge)
        assert report["verdict"] == "PASS" and report["counts"]["observed"] >= 2 * len(ALIKE)


def test_states(lab, jetstream, tmp_path, name):
    """With types in the messages every document is compared; without, none is taken for another."""
    count = fill(lab, name)
    rule = {"payload": {"envelope": "change_event", "json": "canonical"}}
    with Bridge(tmp_path, configuration(lab, name, rule=rule)) as bridge:
        snapshot(bridge)
        with client(lab) as mongo:
            plain = mongo[name].plain
            for key in ALIKE[::2]:
                plain.update_one({"_id": key}, {"$set": {"changed": {"e\u0301": 1, "\u00e9": 2}}})
            for key in ALIKE[1::4]:
                plain.delete_one({"_id": key})
            # The same document to a server, under another number type.
            plain.replace_one({"_id": 2}, {"n": "replaced"})
            plain.delete_one({"_id": 1})
            plain.insert_one({"_id": 1.0})
        settle(lab)
        with client(lab) as mongo:  # Something behind it, so that all of it is acknowledged.
            mongo[name]["a b"].insert_one({"_id": "last"})
        settle(lab)
        assert bridge.run("--until", "now") == 0
        with client(lab) as mongo:
            held = sum(mongo[name][place].count_documents({}) for place in PLACES)
        report = state(bridge)
        assert report["verdict"] == "PASS" and found(report) == {} and report["not_held"] == 0
        assert held - 1 <= report["counts"]["observed"] <= held < count
        # A message of one document altered: it is named, and nothing else.
        assert report["counts"]["expected"] == report["counts"]["observed"]

    folder = tmp_path / "simplified"
    folder.mkdir()
    whole = configuration(lab, f"{name}_s", rule={
        "match": {"namespace": f"{name}.*", "operations": ["insert", "update", "replace", "delete"]},
        "payload": {"envelope": "change_event", "json": "simplified"}})
    with Bridge(folder, whole) as bridge:
        snapshot(bridge)
        with client(lab) as mongo:
            mongo[name]["a b"].insert_one({"_id": "behind it"})
        settle(lab)
        assert bridge.run("--until", "now") == 0
        report = state(bridge, "--timeout", "1", code=2)
        assert found(report) == {}, report["mismatches"]
        assert any("can't be told apart" in reason for reason in report["reasons"])
        with client(lab) as mongo:
            mongo[name].plain.delete_many({"_id": {"$type": ["binData", "objectId", "date", "decimal"]}})
            mongo[name].plain.delete_many({"_id": {"$type": ["object", "javascript", "timestamp"]}})
            mongo[name].plain.delete_many({"_id": {"$type": "javascriptWithScope"}})
            mongo[name].plain.delete_many({"_id": {"$in": [MinKey(), MaxKey()]}})
            mongo[name].plain.find_one_and_delete({}, sort=[("_id", pymongo.ASCENDING)])
            mongo[name].plain.insert_one({"_id": "last"})
        settle(lab)
        assert bridge.run("--until", "now") == 0
        # What is left can be told apart, but some of it is where others were.
        report = state(bridge, "--timeout", "1", code=2)
        assert found(report) == {}, report["mismatches"]
