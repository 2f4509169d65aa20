"""Documents that were written without a change event are no difference, and their neighbours are still
compared."""

import pytest
from bridge import Bridge, configuration, tailrace
from load import client, now, settle
from test_verify import found, older_than, verify
from test_verify_state import state

EVERYTHING = ["insert", "update", "replace", "delete", "drop", "rename", "drop_database", "create",
              "modify", "create_indexes", "drop_indexes"]
DOCUMENTS = EVERYTHING[:4]
SAID = "written without a change event"


def copied(db):
    db.command("cloneCollectionAsCapped", "src", toCollection="dst", size=100_000)
    return "dst"


def converted(db):
    db.command("convertToCapped", "src", size=100_000)
    return "src"


def too_small(db):
    db.big.insert_many([{"_id": n, "pad": "x" * 1000} for n in range(20)])
    db.command("convertToCapped", "big", size=4096)
    return "big"


def renamed(db):
    db.command("convertToCapped", "src", size=100_000)
    db.src.rename("away")
    db.command("cloneCollectionAsCapped", "away", toCollection="more", size=100_000)
    return "away"


def moved(db):
    db.client.admin.command("renameCollection", f"{db.name}.src", to=f"{db.name}2.src")
    return "other"


def restored(db):
    db.client.admin.command("applyOps", [
        {"op": "i", "ns": f"{db.name}.src", "o": {"_id": "silent"}, "fromMigrate": True},
        {"op": "u", "ns": f"{db.name}.src", "o2": {"_id": 1},
         "o": {"$v": 2, "diff": {"i": {"more": 1}}}, "fromMigrate": True},
        {"op": "d", "ns": f"{db.name}.src", "o": {"_id": 2}, "fromMigrate": True},
        {"op": "i", "ns": f"{db.name}.src", "o": {"_id": "told"}},
    ])
    return "src"


def begin(lab, tmp_path, name, operations, act, **payload):
    after = now(lab)
    with client(lab) as mongo:
        db = mongo[name]
        db.create_collection("src")
        db.src.insert_many([{"_id": n, "n": n} for n in range(5)])
        db.src.insert_one({"_id": "s", "n": 5})
        db.other.insert_many([{"_id": n} for n in range(5)])
        collection = act(db)
        db.end.insert_one({})
    settle(lab)
    rule = {"match": {"namespace": f"{name}*.*", "operations": operations}, "subject": f"{name}.x",
            "payload": {"envelope": "change_event"} | payload}
    bridge = Bridge(tmp_path, configuration(lab, name, rule=rule))
    assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0, bridge.tail()
    return bridge, collection


@pytest.mark.parametrize("operations", [EVERYTHING, DOCUMENTS], ids=["all", "four"])
@pytest.mark.parametrize("act", [copied, converted, too_small, renamed,
                                 moved, restored])
def test_clean(lab, jetstream, tmp_path, name, act, operations):
    if act is restored and older_than(lab, 6):
        pytest.skip("updates are written otherwise")
    bridge, collection = begin(lab, tmp_path, name, operations, act)
    for reader in ("oplog", "change_stream"):
        if act is not restored:
            assert verify(bridge, "--reader", reader)["verdict"] == "PASS"
    report = state(bridge)
    assert report["verdict"] == "PASS" and not found(report), report
    silent = act is restored or (operations is EVERYTHING and (
        act is not moved or older_than(lab, 6)))
    assert any(SAID in note for note in report["notes"]) == silent, report["notes"]
    # What is reported again since is compared again.
    with client(lab) as mongo:
        mongo[name][collection].insert_one({"_id": "later", "n": 1})
        mongo[name][collection].update_one({"_id": "later"}, {"$set": {"n": 2}})
        mongo[name].end.insert_one({})
    settle(lab)
    assert bridge.run("--until", "now") == 0
    assert state(bridge)["verdict"] == "PASS"
    gone = [m for m in jetstream.messages(name)
            if m.json.get("documentKey") == {"_id": "later"} and m.json["operationType"] == "update"]
    jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": gone[0].sequence})
    report = state(bridge, "--timeout", "1", code=1)
    assert found(report) == {"payload_mismatch": 1} and "later" in report["mismatches"][0]["msg_id"]


def test_others_are_compared(lab, jetstream, tmp_path, name):
    """One whose message is gone is found beside a hundred that never had one, whatever its key is."""
    bridge, collection = begin(lab, tmp_path, name, EVERYTHING, copied, json="canonical")
    with client(lab) as mongo:
        mongo[name][collection].insert_many([{"_id": 4.5}, {"_id": "4"}, {"_id": "lost"}])
        mongo[name].end.insert_one({})
    settle(lab)
    assert bridge.run("--until", "now") == 0
    assert state(bridge)["verdict"] == "PASS"
    lost = [m for m in jetstream.messages(name) if m.json.get("documentKey") == {"_id": "lost"}]
    jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": lost[0].sequence})
    report = state(bridge, "--timeout", "1", code=1)
    assert found(report) == {"missing": 1} and "lost" in report["mismatches"][0]["msg_id"]
    # A snapshot tells of all of them.
    done = tailrace("snapshot", "-c", bridge.file, cwd=tmp_path, seconds=60)
    assert done.returncode == 0, done.stderr[-2000:]
    report = state(bridge)
    assert not any(SAID in note for note in report["notes"]), report["notes"]
    assert report["counts"]["expected"] == report["counts"]["observed"]


def test_a_dropped_copy_excuses_nothing(lab, jetstream, tmp_path, name):
    """The keys of a copy that is gone say nothing of a collection of the same name."""
    def act(db):
        db.command("cloneCollectionAsCapped", "src", toCollection="dst", size=100_000)
        db.dst.drop()
        db.create_collection("dst")
        db.dst.insert_many([{"_id": n, "n": n} for n in range(5)])
        return "dst"

    bridge, _ = begin(lab, tmp_path, name, EVERYTHING, act)
    assert not state(bridge)["notes"]
    gone = [m for m in jetstream.messages(name)
            if m.json.get("documentKey") == {"_id": 3} and m.json["ns"]["coll"] == "dst"]
    jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": gone[0].sequence})
    assert found(state(bridge, "--timeout", "1", code=1)) == {"missing": 1}


def test_capped_by_itself(lab, tmp_path, name):
    """Servers log that, so that messages tell it."""
    if older_than(lab, 5):
        pytest.skip("older servers don't log it")

    def act(db):
        db.create_collection("few", capped=True, size=100_000, max=3)
        db.few.insert_many([{"_id": n} for n in range(10)])
        if not older_than(lab, 6):
            db.command("collMod", "few", cappedMax=2)
            db.few.insert_one({"_id": 10})
        return "few"

    bridge, _ = begin(lab, tmp_path, name, EVERYTHING, act)
    report = state(bridge)
    assert report["verdict"] == "PASS" and not report["notes"], report
