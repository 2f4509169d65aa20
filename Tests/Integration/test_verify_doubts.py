"""What `tailrace verify` can't know is neither a FAIL nor an excuse: documents that are gone since, changes
that change streams leave out, messages of snapshots."""

import time

import pytest

from bridge import Bridge, configuration, wait_until
from lab import Lab
from load import client, make_collections, now, settle
from test_verify import found, older_than, verify

SCHEMA = {"properties": {"fullDocument": {"properties": {"n": {"maximum": 5}}}}}


def place(after):
    return f"{after.time}.{after.inc}"


def updates(lab, name, count=12):
    """Inserts, and an update of each document: where they began."""
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo:
        messages = mongo[name].messages
        messages.insert_many([{"_id": n, "rid": f"r{n % 3}", "n": n} for n in range(count)])
        for n in range(count):
            messages.update_one({"_id": n}, {"$set": {"n": n + 0.5}})
    settle(lab)
    return after


def is_update(message):
    return message.headers.get("ce-type", message.subject).endswith("update")


def payload(full_document):
    return {"envelope": "cloudevents", "json": "simplified", "full_document": full_document}


def test_snapshot_beside_a_difference(lab, jetstream, tmp_path, name):
    """One message that is gone makes none of a snapshot's messages wrong."""
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo, Bridge(tmp_path, configuration(lab, name)) as bridge:
        mongo[name].messages.insert_many([{"_id": n} for n in range(5)])
        mongo[name].messages.update_one({"_id": 0}, {"$set": {"a": 1}})
        settle(lab)
        assert bridge.run("--from", place(after), "--until", "now") == 0
        from bridge import tailrace
        done = tailrace("snapshot", "-c", bridge.file, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        mongo[name].messages.insert_one({"_id": 5})
        settle(lab)
        assert bridge.run("--until", "now") == 0
        report = verify(bridge)
        stream = next(s for s in report["streams"] if s["name"] == name)
        assert report["verdict"] == "PASS" and stream["snapshot"] == 5
        for count, sequence in enumerate((3, 12), 1):  # before and behind the snapshot
            jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": sequence})
            assert found(verify(bridge, code=1)) == {"gap": count}


@pytest.mark.parametrize("kind", ["required", "where", "schema", "subject", "id", "document"])
def test_documents_that_are_gone(lab, jetstream, tmp_path, name, kind):
    """What became of an event by a document that is gone can't be told; that it became something can."""
    if older_than(lab, 5):
        pytest.skip("servers read the past from 5.0 on")
    rule = {"match": {"namespace": f"{name}.messages", "operations": ["insert", "update"]},
            "payload": payload("required" if kind == "required" else "when_available")}
    if kind == "where":
        rule["match"]["where"] = {"fullDocument.n": {"$gt": 3}}
    elif kind == "schema":
        import json
        (tmp_path / "s.json").write_text(json.dumps(SCHEMA))
        rule["schema"] = "s.json"
    elif kind == "subject":
        rule["subject"] = name + ".{fullDocument.rid}"
    elif kind == "id":
        rule["id"] = "{documentKey._id}.{fullDocument.n}"
    elif kind == "document":
        rule["payload"]["envelope"] = "document"
    after = updates(lab, name)
    with Bridge(tmp_path, configuration(lab, name, rule=rule)) as bridge:
        assert bridge.run("--from", place(after), "--until", "now") == 0
        assert found(verify(bridge)) == {}
        with client(lab) as mongo:
            mongo[name].messages.drop()
        settle(lab)
        assert bridge.run("--until", "now") == 0
        report = verify(bridge)
        assert report["verdict"] == "PASS", report["mismatches"]
        # Of each update, if its outcome can be another now: a rule whose condition holds of nothing has
        # no other trace than its message.
        stored = [m for m in jetstream.messages(name) if is_update(m)]
        letters = [m for m in jetstream.messages(f"DLQ_{name}") if m.json["operationType"] == "update"]
        assert report["images_not_compared"] == len(stored) + len(letters) > 0
        # An insert's message that is gone is missed, and an update's that must have had one.
        insert = next(m for m in jetstream.messages(name) if not is_update(m))
        for message in (insert, stored[0]):
            jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": message.sequence})
        wanted = 1 if kind == "where" else 2
        # Where a letter is expected now, in the other stream, there it has left no hole.
        classes = found(verify(bridge, code=1))
        assert sum(classes.values()) == wanted and set(classes) <= {"gap", "missing"}


def test_exact_documents_are_compared(lab, jetstream, tmp_path, name):
    """As long as the document can be read as it was, it is compared like the rest."""
    if older_than(lab, 5):
        pytest.skip("servers read the past from 5.0 on")
    after = updates(lab, name, count=6)
    rule = {"payload": payload("when_available")}
    with Bridge(tmp_path, configuration(lab, name, rule=rule)) as bridge:
        assert bridge.run("--from", place(after), "--until", "now") == 0
        from test_verify import rebuild
        rebuild(jetstream, name, lambda messages: [
            (m, {"body": m.body.replace(b'"rid":"r0"', b'"rid":"r9"')}) if n == 6 else m
            for n, m in enumerate(messages)])
        report = verify(bridge, code=1)
        assert found(report) == {"payload_mismatch": 1}
        assert report["mismatches"][0]["pointer"] == "/fullDocument/rid"
        assert report["images_not_compared"] == 0


def test_subject_by_a_document_beyond_the_history(tmp_path, name):
    """A room that is read beyond the server's history may be another one than it was."""
    with Lab(parameters={"minSnapshotHistoryWindowInSeconds": 1}) as lab:
        if older_than(lab, 5):
            pytest.skip("servers read the past from 5.0 on")
        rule = {"match": {"namespace": f"{name}.messages", "operations": ["insert", "update"]},
                "subject": name + ".{fullDocument.rid}", "payload": payload("required")}
        after = updates(lab, name)
        with Bridge(tmp_path, configuration(lab, name, rule=rule)) as bridge:
            assert bridge.run("--from", place(after), "--until", "now") == 0
            with client(lab) as mongo:
                messages = mongo[name].messages
                messages.update_many({"_id": {"$lt": 4}}, {"$set": {"rid": "moved"}})
                messages.delete_many({"_id": {"$gte": 8}})
                settle(lab)
                until = time.monotonic() + 3
                while time.monotonic() < until:  # The history ends when the server writes on.
                    mongo[name].rooms.insert_one({})
                    time.sleep(0.2)
            settle(lab)
            report = verify(bridge)
            assert report["verdict"] == "PASS", report["mismatches"]
            assert report["images_not_compared"] >= 8


def test_apply_ops_by_a_change_stream(lab, jetstream, tmp_path, name):
    """Change streams leave a user's own `applyOps` out: that is a note, and what it did is compared."""
    if older_than(lab, 6):
        pytest.skip("change streams tell all that is in messages from 6.0 on")
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo:
        mongo[name].messages.insert_one({"_id": 1})
        mongo.admin.command({"applyOps": [
            {"op": "i", "ns": f"{name}.messages", "o": {"_id": n}} for n in (2, 3)]})
        mongo[name].messages.insert_one({"_id": 4})
    settle(lab)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        assert bridge.run("--from", place(after), "--until", "now") == 0
        assert verify(bridge)["counts"]["observed"] == 4
        report = verify(bridge, "--reader", "change_stream")
        assert report["verdict"] == "PASS", report["mismatches"]
        assert "2 messages are of a user's own applyOps" in report["notes"][0]
        # What nothing explains is found as before, and so is a spoilt one of these.
        from test_verify import FAULTS, forge, rebuild
        rebuild(jetstream, name, lambda messages: [
            (m, {"body": m.body.replace(b"insert", b"update")}) if n == 1 else m
            for n, m in enumerate(messages)])
        forge(jetstream, jetstream.messages(name)[0], headers={"Nats-Msg-Id": "rs0:1.1.0"})
        report = verify(bridge, "--reader", "change_stream", code=1)
        assert found(report) == {"extra": 1, "payload_mismatch": 1}


def test_large_transaction_at_the_end(lab, tmp_path, name):
    """A change stream's last reply that is full is known to be the last, and not only when the server
    writes something more: that may take 20 s."""
    if older_than(lab, 6):
        pytest.skip("change streams tell all that is in messages from 6.0 on")
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo:
        with mongo.start_session() as session, session.start_transaction():
            for n in range(3):
                mongo[name].messages.insert_one({"_id": n, "x": "y" * (4 << 20)}, session=session)
    settle(lab)
    source = {"reader": "change_stream"}
    rule = {"payload": {"exclude": ["fullDocument.x"]}}
    with Bridge(tmp_path, configuration(lab, name, source=source, rule=rule)) as bridge:
        began = time.monotonic()
        assert bridge.run("--from", place(after), "--until", "now") == 0
        assert verify(bridge)["verdict"] == "PASS"
        assert time.monotonic() - began < 8


def test_outcomes_add_up_after_a_kill(lab, jetstream, tmp_path, name):
    """What is read again after a crash is derived again, and has an outcome again."""
    make_collections(lab, name)
    whole = configuration(lab, name, bridge={"name": name, "state_bucket": f"STATE_{name}",
                                             "checkpoint_interval": "60s"})
    with Bridge(tmp_path, whole) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        mongo[name].messages.insert_many([{"_id": n} for n in range(500)])
        wait_until(lambda: jetstream.holds(name, 500), "all messages")
        bridge.kill()
        bridge.start().wait_ready()

        def outcomes():
            page = bridge.get("/metrics")[1]
            return sum(float(line.split()[-1]) for line in page.splitlines()
                       if line.startswith("tailrace_events_total{"))

        derived = wait_until(lambda: bridge.metric("tailrace_events_derived_total"), "events again")
        wait_until(lambda: (derived := bridge.metric("tailrace_events_derived_total"))
                   and outcomes() == derived, "outcomes of all of them", 10)
        mongo[name].messages.insert_one({"_id": "more"})
        wait_until(lambda: jetstream.holds(name, 501), "one message more")
        wait_until(lambda: outcomes() == bridge.metric("tailrace_events_derived_total") > derived,
                   "its outcome", 10)
        assert bridge.terminate() == 0
