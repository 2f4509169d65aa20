"""A checkpoint that was lost and found again keeps where the bridge began: what was compared before is
compared still, and rules that may have changed in between make nothing a fault."""

import json

import pytest
from bridge import OPERATIONS, Bridge, configuration, tailrace, wait_until
from lab import Lab
from load import client, now, settle
from test_verify import found, verify
from test_verify_state import state


def insert(lab, name, ids):
    with client(lab) as mongo:
        mongo[name].things.insert_many([{"_id": n, "n": n} for n in ids])
    settle(lab)


def publish(bridge, lab):
    """What is there by now, and no more."""
    settle(lab)
    assert bridge.run("--until", "now") == 0, bridge.tail()


def checkpoint(jetstream, name):
    return json.loads(jetstream.get(f"STATE_{name}", f"{name}.checkpoint"))


def begin(lab, tmp_path, name, *arguments, **changes):
    after = now(lab)
    insert(lab, name, range(30))
    bridge = Bridge(tmp_path, configuration(lab, name, **changes))
    assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now", *arguments) == 0
    return bridge


def lose(jetstream, name):
    jetstream.delete_stream(f"KV_STATE_{name}")


def both(bridge, *arguments, code=0):
    for reader in ("oplog", "change_stream"):
        yield verify(bridge, "--reader", reader, *arguments, code=code)


@pytest.mark.parametrize("removed", [[3], [1, 2], [30]])
def test_a_gap_from_before_stays_one(lab, jetstream, tmp_path, name, removed):
    bridge = begin(lab, tmp_path, name)
    for sequence in removed:
        jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": sequence})
    for report in both(bridge, code=1):
        assert found(report) == {"gap": len(removed)}
    whole = report["counts"]["expected"]
    # Twice: the second time from what a recovered checkpoint has written.
    for times in (1, 2):
        lose(jetstream, name)
        insert(lab, name, range(100 * times, 100 * times + 5))
        publish(bridge, lab)
        for report in both(bridge, code=1):
            assert found(report) == {"gap": len(removed)}
            assert report["counts"]["expected"] == whole + 5 * times


def test_a_clean_run_stays_clean(lab, jetstream, tmp_path, name):
    bridge = begin(lab, tmp_path, name)
    origin = verify(bridge)["from"]
    lose(jetstream, name)
    insert(lab, name, range(100, 105))
    publish(bridge, lab)
    for report in both(bridge):
        assert report["counts"]["expected"] == 35 and report["from"] == origin
        assert not report["notes"]
    # Documents of before are made of their messages again, and one that is wrong is not passed over.
    report = state(bridge)
    assert report["not_held"] == 0
    assert report["counts"]["expected"] == report["counts"]["observed"] == 35
    with client(lab) as mongo:
        mongo[name].things.update_one({"_id": 4}, {"$set": {"n": "x"}})
    publish(bridge, lab)
    last = jetstream.messages(name)[-1]
    assert last.json["operationType"] == "update"
    jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": last.sequence})
    report = state(bridge, "--timeout", "1", code=2)
    assert found(report) == {"payload_mismatch": 1} and report["unproven"] == 1
    assert any("was found again" in reason for reason in report["reasons"])


def test_other_rules_before_are_no_fault(lab, jetstream, tmp_path, name):
    """The lost checkpoint knew that the rules had changed; nobody does any more."""
    rule = {"match": {"namespace": f"{name}.*", "operations": ["insert"]}}
    bridge = begin(lab, tmp_path, name, rule=rule)
    with client(lab) as mongo:
        mongo[name].things.update_many({"_id": {"$lt": 5}}, {"$set": {"n": -1}})
    publish(bridge, lab)
    bridge = Bridge(tmp_path, configuration(lab, name))
    insert(lab, name, range(100, 105))
    publish(bridge, lab)
    assert "another configuration" in " ".join(verify(bridge, code=2)["reasons"])
    lose(jetstream, name)
    insert(lab, name, range(200, 205))
    publish(bridge, lab)
    for report in both(bridge, code=2):
        assert found(report) == {"missing": 5} and report["unproven"] == 5
        assert any("was found again" in reason for reason in report["reasons"])
    # What came since is certain.
    since = checkpoint(jetstream, name)["found_again_at"]
    assert verify(bridge, "--from", f"{since.split('.')[0]}.{int(since.split('.')[1]) + 1}")
    last = jetstream.messages(name)[-1].sequence
    jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": last})
    report = verify(bridge, code=1)
    assert found(report) == {"missing": 5, "gap": 1} and report["unproven"] == 5


def test_after_a_snapshot(lab, jetstream, tmp_path, name):
    """A bridge that began with a snapshot: its first message says where."""
    insert(lab, name, range(20))
    bridge = Bridge(tmp_path, configuration(lab, name))
    assert tailrace("snapshot", "-c", bridge.file, cwd=tmp_path, seconds=60).returncode == 0
    insert(lab, name, range(100, 110))
    publish(bridge, lab)
    with client(lab) as mongo:
        mongo[name].things.delete_one({"_id": 101})
    publish(bridge, lab)
    jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": 25})
    assert found(verify(bridge, code=1)) == {"gap": 1}
    lose(jetstream, name)
    insert(lab, name, range(200, 205))
    publish(bridge, lab)
    for report in both(bridge, code=1):
        assert found(report) == {"gap": 1}


def test_a_shared_stream(lab, jetstream, tmp_path, name):
    stream = {"ownership": "shared"}
    after = now(lab)
    bridge = Bridge(tmp_path, configuration(lab, name, stream=stream))
    insert(lab, name, range(5))
    assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
    for n in range(50):
        jetstream.publish(f"{name}.other", b"{}")
    insert(lab, name, range(10, 20))
    publish(bridge, lab)
    jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": 3})
    assert found(verify(bridge, code=1)) == {"gap": 1}
    lose(jetstream, name)
    insert(lab, name, range(100, 105))
    publish(bridge, lab)
    # Other rules may have published it elsewhere, and what is gone may have been another's.
    report = verify(bridge, code=2)
    assert found(report) == {"gap": 1} and report["counts"]["expected"] == 20


def test_without_marks(tmp_path, name):
    """Servers before 2.10 keep no metadata: the first message says where the bridge began."""
    from jetstream import JetStream

    with Lab(nats_version="2.9.10") as servers:
        jetstream = JetStream(servers.nats_url)
        after = now(servers)
        insert(servers, name, range(10))
        bridge = Bridge(tmp_path, configuration(servers, name))
        assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
        jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": 4})
        lose(jetstream, name)
        insert(servers, name, range(100, 105))
        settle(servers)
        assert bridge.run("--until", "now") == 0, bridge.tail()
        report = verify(bridge, code=1)
        assert found(report) == {"gap": 1} and report["counts"]["expected"] == 15


def test_the_operators_place(lab, jetstream, tmp_path, name):
    """`checkpoint set` where there is none leaves the beginning where it was; a forced start moves it, and
    the report says so."""
    bridge = begin(lab, tmp_path, name)
    origin = verify(bridge)["from"]
    jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": 7})
    lose(jetstream, name)
    insert(lab, name, range(100, 103))
    place = now(lab)
    set_ = tailrace("checkpoint", "set", f"{place.time}.{place.inc}", "-c", bridge.file, cwd=tmp_path)
    assert set_.returncode == 0, set_.stderr
    insert(lab, name, range(200, 205))
    publish(bridge, lab)
    report = verify(bridge, code=1)
    assert report["from"] == origin and report["counts"]["gap"] == 1
    place = now(lab)
    insert(lab, name, range(300, 305))
    settle(lab)
    assert bridge.run(
        "--from", f"{place.time}.{place.inc}", "--force", "--until", "now") == 0
    report = verify(bridge)
    note = f"--from {origin} does"
    assert any(note in line for line in report["notes"]), report["notes"]
    # The message that was removed keeps it from saying more.
    assert any(note in line for line in state(bridge, code=2)["notes"])


def test_a_stream_lost_after_the_checkpoint(lab, jetstream, tmp_path, name):
    """What a recovered checkpoint says of the beginning serves the refill, too."""
    bridge = begin(lab, tmp_path, name)
    lose(jetstream, name)
    insert(lab, name, range(100, 105))
    publish(bridge, lab)
    jetstream.delete_stream(name)
    insert(lab, name, range(200, 205))
    publish(bridge, lab)
    wait_until(lambda: jetstream.holds(name, 40), "everything is filled in again")
    assert verify(bridge)["counts"]["expected"] == 40
    assert OPERATIONS[0] == jetstream.messages(name)[0].json["operationType"]
