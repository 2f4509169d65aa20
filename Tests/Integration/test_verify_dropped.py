"""`tailrace verify` where an operator has dropped dead letters of events that are messages by today's limits."""

import pytest

from bridge import Bridge, configuration, tailrace
from load import client, make_collections, now, settle
from test_verify import found, older_than, verify
from test_verify_alterations import limit, sized
from test_verify_ids_again import again


def drop(bridge, *which):
    done = tailrace("dlq", "drop", "-c", bridge.file, *which, cwd=bridge.folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_limit_raised_and_letters_dropped(lab, jetstream, tmp_path, name):
    """What the operator has dropped is resolved; what went in another way is missing."""
    bridge = sized(lab, tmp_path, jetstream, name)
    letters = jetstream.messages(f"DLQ_{name}")
    limit(jetstream, name, 20_000)
    drop(bridge, "--sequence", str(letters[0].sequence))
    drop(bridge, "--sequence", str(letters[2].sequence), "--sequence", str(letters[3].sequence))
    for reader in ["oplog"] if older_than(lab, 6) else ["oplog", "change_stream"]:
        report = verify(bridge, "--reader", reader)
        assert report["verdict"] == "PASS", report["mismatches"]
        assert report["dead_letters_resolved"] == 3
    jetstream.api(f"STREAM.MSG.DELETE.DLQ_{name}", {"seq": letters[4].sequence})
    report = verify(bridge, code=1)
    assert found(report) == {"missing": 1} and report["dead_letters_resolved"] == 3
    assert report["mismatches"][0]["position"] == letters[4].headers["Tailrace-Position"]
    drop(bridge, "--all")
    report = verify(bridge, code=1)
    assert found(report) == {"missing": 1}
    assert report["dead_letters_resolved"] == len(letters) - 1


def test_state(lab, jetstream, tmp_path, name):
    """The document lacks the change of a letter that was dropped: a note, as while the letter is there."""
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo:
        mongo[name].messages.insert_many([{"_id": "a"}, {"_id": "b"}])
        mongo[name].messages.update_one({"_id": "a"}, {"$set": {"x": "y" * 3000}})
    settle(lab)
    bridge = Bridge(tmp_path, configuration(lab, name, stream={"max_msg_size": 2000}))
    assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
    for act in (lambda: None, lambda: drop(bridge, "--all")):
        act()
        state = verify(bridge, "--level", "state")
        assert state["verdict"] == "PASS", state["mismatches"]
        assert "a change of them is a dead letter" in " ".join(state["notes"]), state["notes"]


@pytest.mark.parametrize("ownership", ["exclusive", "shared"])
def test_id_conflict_dropped(lab, jetstream, tmp_path, name, ownership):
    bridge = again(lab, tmp_path, name, ["insert"] + ["update"] * 3 + ["pause"],
                   ownership=ownership, duplicate_window="10s")
    letters = jetstream.messages(f"DLQ_{name}")
    assert [m.headers["Tailrace-Error"] for m in letters] == ["id_conflict"] * 2
    assert verify(bridge)["id_conflicts"] == 2
    drop(bridge, "--sequence", "1")
    report = verify(bridge)
    assert report["verdict"] == "PASS", report["mismatches"]
    assert (report["id_conflicts"], report["dead_letters_resolved"]) == (1, 1)


def test_many_dropped(lab, jetstream, tmp_path, name):
    """More than fit into one key of the state bucket, with long ids."""
    bridge = again(lab, tmp_path, name, ["insert"] + ["update"] * 200, duplicate_window="100s")
    letters = jetstream.messages(f"DLQ_{name}")
    assert len(letters) == 199
    drop(bridge, "--limit", "150", "--all")
    drop(bridge, "--all")
    report = verify(bridge)
    assert report["verdict"] == "PASS", report["mismatches"]
    assert report["dead_letters_resolved"] == 199
