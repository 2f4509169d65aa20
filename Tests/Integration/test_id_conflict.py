"""Template ids that come again for another event: the server drops the second message without a word.
Nothing may be lost by that: the event becomes a dead letter, is dropped and counted, or halts the bridge,
as its rule says; `verify` agrees; a true repetition stays one."""

import json

import pytest
from bridge import Bridge, configuration, tailrace, wait_until
from ids import check_checkpoint, metric, outcomes, ours, produce, servers
from jetstream import JetStream
from load import client, make_collections, now, settle

INSERTS = ["insert"]


def rule(name, **changes):
    return {"id": "{documentKey._id}.created", "subject": name + ".{ns.coll}.created",
            "match": {"namespace": f"{name}.messages", "operations": INSERTS}} | changes


def letters(jetstream, name):
    return [m for m in jetstream.messages(f"DLQ_{name}")] if jetstream.state(f"DLQ_{name}") else []


def again(messages, key):
    """The application inserts a document once more under the id of one that it has deleted."""
    messages.delete_one({"_id": key})
    messages.insert_one({"_id": key, "again": True})


def verify(bridge, code=0):
    done = tailrace("verify", "-c", bridge.file, "--json", "--to", "now", cwd=bridge.folder,
                    seconds=60)
    report = json.loads(done.stdout)
    assert done.returncode == code, report
    return report


def conflicts(lab, folder, name, stream):
    make_collections(lab, name)
    jetstream = JetStream(lab.nats_url)
    with Bridge(folder, configuration(lab, name, rule=rule(name), stream=stream)) as bridge, \
            client(lab) as mongo:
        bridge.start().wait_ready()
        messages = mongo[name].messages
        repeated = list(range(0, 200, 20))
        messages.insert_many([{"_id": n} for n in range(200)])
        wait_until(lambda: jetstream.holds(name, 200), "first inserts")
        for key in repeated:
            again(messages, key)
        messages.insert_many([{"_id": n} for n in range(200, 400)])
        # Both events at once, and both in one transaction.
        messages.insert_one({"_id": "near"})
        again(messages, "near")
        with mongo.start_session() as session, session.start_transaction():
            messages.insert_one({"_id": "within"}, session=session)
            messages.delete_one({"_id": "within"}, session=session)
            messages.insert_one({"_id": "within", "again": True}, session=session)
        # Different documents whose ids print alike.
        messages.insert_one({"_id": "7"})
        messages.insert_one({"_id": "last"})
        lost = repeated + ["near", "within", "7"]
        wait_until(lambda: outcomes(bridge)["matched"] >= 403 + len(lost), "every event", 40)
        stored = jetstream.messages(name)
        expected = [f"{n}.created" for n in range(400)] + [
            f"{key}.created" for key in ("near", "within", "last")]
        assert [m.id for m in stored] == expected
        assert [m.position for m in stored] == sorted(m.position for m in stored)
        dead = letters(jetstream, name)
        assert [m.headers["Tailrace-Error"] for m in dead] == ["id_conflict"] * len(lost)
        documents = [m.json["fullDocument"] for m in dead]
        assert [d.get("again", False) for d in documents] == [key != "7" for key in lost]
        assert all(m.position not in {s.position for s in stored} for m in dead)
        counted = outcomes(bridge)
        assert counted["id_conflicts"] == counted["dead_lettered"] == len(lost), counted
        assert counted["published"] == 403 and counted["duplicate"] == 0, counted
        assert metric(bridge, "tailrace_id_conflicts_total", '{rule="all"}') == len(lost)
        health = bridge.json("/healthz")[1]
        assert health["status"] == "degraded", health
        assert f"ids of {len(lost)} events" in health["checks"]["pipeline"]["detail"]
        check_checkpoint(lab, jetstream, bridge, name)
        assert bridge.log.read_text().count("id is taken by another event") <= 5
        report = verify(bridge)
        assert report["verdict"] == "PASS" and report["id_conflicts"] == len(lost), report
        # A new life changes nothing of it.
        bridge.kill()
        bridge.start().wait_ready()
        messages.insert_one({"_id": "after"})
        wait_until(lambda: jetstream.holds(name, len(expected) + 1), "the next event")
        assert len(letters(jetstream, name)) == len(lost)
        assert bridge.terminate() == 0
        # A dead letter that is gone is a loss, and verification says so.
        jetstream.purge(f"DLQ_{name}")
        report = verify(bridge, code=1)
        assert report["counts"]["missing"] == len(lost), report


@pytest.mark.parametrize("ownership, publish", [
    ("exclusive", "auto"), ("exclusive", "chain"), ("exclusive", "fast"), ("shared", "auto")])
def test_dead_letter(lab, tmp_path, name, ownership, publish):
    conflicts(lab, tmp_path, name, {"ownership": ownership, "publish": publish})


def test_older_server(lab, tmp_path, name):
    with servers(lab, version="2.9.10") as other:
        conflicts(other, tmp_path, name, {})


def test_drop(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(
            lab, name, rule=rule(name, on_id_conflict="drop"))) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        for n in range(5):
            mongo[name].messages.insert_one({"_id": n})
            again(mongo[name].messages, n)
        mongo[name].messages.insert_one({"_id": "last"})
        wait_until(lambda: outcomes(bridge)["matched"] >= 11, "every event")
        counted = outcomes(bridge)
        assert counted["dropped"] == counted["id_conflicts"] == 5, counted
        assert counted["published"] == 6 and not letters(jetstream, name)
        check_checkpoint(lab, jetstream, bridge, name)
        assert verify(bridge)["id_conflicts"] == 5


def test_halt(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(
            lab, name, rule=rule(name, on_id_conflict="halt"))) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        mongo[name].messages.insert_one({"_id": 1})
        again(mongo[name].messages, 1)
        assert bridge.wait(20) == 70
        assert "id_conflict" in bridge.log.read_text()
        assert jetstream.last_sequence(name) == 1


def test_beyond_the_window(lab, jetstream, tmp_path, name):
    """What the server has forgotten is simply stored."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(
            lab, name, rule=rule(name), stream={"duplicate_window": "1s"})) as bridge, \
            client(lab) as mongo:
        bridge.start().wait_ready()
        mongo[name].messages.insert_one({"_id": 1})
        wait_until(lambda: jetstream.holds(name, 1), "the first")

        def is_forgotten():
            return jetstream.publish(f"{name}.probe", b"", {
                "Nats-Msg-Id": "1.created", "Nats-Expected-Last-Msg-Id": "none"}).get("error")

        wait_until(is_forgotten, "the end of the window", every=0.2)
        again(mongo[name].messages, 1)
        wait_until(lambda: jetstream.holds(name, 2), "the second")
        assert outcomes(bridge)["id_conflicts"] == 0


def test_one_producers_message_for_two_events(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(
            lab, name, rule=rule(name), stream={"ownership": "shared"})) as bridge, \
            client(lab) as mongo:
        bridge.start().wait_ready()
        produce(jetstream, f"{name}.messages.created", ["1.created"])
        mongo[name].messages.insert_one({"_id": 1})
        again(mongo[name].messages, 1)
        mongo[name].messages.insert_one({"_id": 2})
        wait_until(lambda: outcomes(bridge)["matched"] >= 3, "every event")
        dead, = letters(jetstream, name)
        assert dead.json["fullDocument"]["again"] and dead.headers["Tailrace-Error"] == "id_conflict"
        counted = outcomes(bridge)
        assert (counted["duplicate"], counted["published"], counted["dead_lettered"]) == (1, 1, 1)
        assert bridge.terminate() == 0
        # The producer's message is no proof that the second event was ever published.
        done = tailrace("dlq", "replay", "--all", "--json", "-c", bridge.file, cwd=tmp_path)
        assert done.returncode == 1 and "id_conflict" in done.stdout, done.stdout
        assert len(letters(jetstream, name)) == 1


@pytest.mark.parametrize("same", [True, False])
def test_letter_of_what_a_producer_published(lab, jetstream, tmp_path, name, same):
    """A letter goes for a producer's message only if that has the same content: under an id that comes
    again it may be another event's."""
    make_collections(lab, name)
    schema = tmp_path / "strict.json"
    schema.write_text('{"required": ["never"]}')
    checked = rule(name, schema=str(schema))
    with Bridge(tmp_path, configuration(
            lab, name, rule=checked, stream={"ownership": "shared"})) as bridge, \
            client(lab) as mongo:
        bridge.start().wait_ready()
        mongo[name].messages.insert_one({"_id": 1, "text": "a"})
        wait_until(lambda: letters(jetstream, name), "the letter")
        assert bridge.terminate() == 0
        body = {"fullDocument": {"_id": 1, "text": "a" if same else "b"}}
        jetstream.publish(f"{name}.messages.created", json.dumps(body).encode(),
                          {"Nats-Msg-Id": "1.created"})
        schema.write_text("true")
        done = tailrace("dlq", "replay", "--all", "--json", "-c", bridge.file, cwd=tmp_path)
        outcome = "duplicate" if same else "id_conflict"
        assert done.returncode == (0 if same else 1) and outcome in done.stdout, done.stdout
        assert len(letters(jetstream, name)) == (0 if same else 1)


def test_killed_before_the_ack_is_a_repetition(lab, jetstream, tmp_path, name):
    """An event of our own that is sent again is no conflict."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(
            lab, name, rule=rule(name), bridge={"checkpoint_interval": "1m"})) as bridge, \
            client(lab) as mongo:
        bridge.start().wait_ready()
        for round in range(3):
            mongo[name].messages.insert_many([{"_id": round * 500 + n} for n in range(500)])
            wait_until(lambda: jetstream.last_sequence(name) or 0 > round * 500, "some of them")
            bridge.kill()
            bridge.start().wait_ready()
        wait_until(lambda: jetstream.holds(name, 1500), "all of them")
        assert [m.id for m in ours(jetstream.messages(name))] == [f"{n}.created" for n in range(1500)]
        assert not letters(jetstream, name)
        assert outcomes(bridge)["id_conflicts"] == 0


@pytest.mark.parametrize("publish", ["auto", "chain", "single"])
def test_other_letters_behind_a_conflict(lab, jetstream, tmp_path, name, publish):
    """A conflict is known when the server answers. A letter of another kind that comes behind it must not
    be written before, or that of the conflict would be taken for one that is there."""
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo:
        messages = mongo[name].messages
        messages.insert_many([{"_id": n, "rid": "r"} for n in range(5)])
        messages.delete_many({})
        for n in range(5):
            messages.insert_one({"_id": n, "rid": "r"})
            messages.insert_one({"_id": f"roomless{n}"})
        with mongo.start_session() as session, session.start_transaction():
            messages.insert_one({"_id": "within", "rid": "r"}, session=session)
            messages.delete_one({"_id": "within"}, session=session)
            messages.insert_one({"_id": "within", "rid": "r"}, session=session)
            messages.insert_one({"_id": "roomless within"}, session=session)
            messages.insert_one({"_id": "behind", "rid": "r"}, session=session)
    settle(lab)
    with Bridge(tmp_path, configuration(lab, name, stream={"publish": publish}, rule=rule(
            name, subject=name + ".{fullDocument.rid}"))) as bridge:
        assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
        dead = [(m.headers["Tailrace-Error"], m.json["documentKey"]["_id"])
                for m in letters(jetstream, name)]
        wanted = []
        for n in range(5):
            wanted += [("id_conflict", {"$numberInt": str(n)}), ("path_missing", f"roomless{n}")]
        assert dead == wanted + [("id_conflict", "within"), ("path_missing", "roomless within")]
        assert [m.id for m in jetstream.messages(name)] == [
            f"{key}.created" for key in [0, 1, 2, 3, 4, "within", "behind"]]
        assert verify(bridge)["verdict"] == "PASS"
