"""Snapshots: the documents that are there, then every change behind them. Folding the stream (each
message applied by its document key, in order) gives the collections; no id is stored twice."""

import json
import random
import subprocess
import time
from collections import Counter

import pytest
from bson import Binary, ObjectId, Timestamp
import yaml
from bridge import BINARY, Bridge, configuration, tailrace, wait_until
from jetstream import JetStream
from lab import Lab, die_with_parent
from load import COLLECTIONS, Writer, client, expected, make_collections, observed, settle
from test_oplog_rolled_over import SMALL, roll_over


def fill(lab, database, count):
    """`count` documents in each of the collections."""
    make_collections(lab, database)
    with client(lab) as mongo:
        for name in COLLECTIONS:
            for first in range(0, count, 5000):
                mongo[database][name].insert_many([
                    {"_id": f"old-{number}", "text": "x" * 100, "serial": number, "edits": 0}
                    for number in range(first, min(first + 5000, count))])
    settle(lab)


def collections(lab, database):
    with client(lab) as mongo:
        return {(name, str(document["_id"])): json.loads(json.dumps(document, default=str))
                for name in mongo[database].list_collection_names()
                for document in mongo[database][name].find()}


def fold(messages):
    state = {}
    for message in messages:
        body, collection = message.json, message.subject.split(".")[1]
        key = (collection, str(body["documentKey"]["_id"]))
        kind = body["operationType"]
        if kind == "delete":
            state.pop(key, None)
        elif kind == "update":
            described = body["updateDescription"]
            assert not described.get("truncatedArrays")
            # Of a document that was deleted before an overlapping snapshot read it.
            document = state.setdefault(key, {})
            document.update(described["updatedFields"])
            for field in described.get("removedFields", []):
                document.pop(field, None)
        else:
            state[key] = body["fullDocument"]
    return state


def parts(messages):
    """The snapshot's messages and the tail's."""
    marked = [m for m in messages if m.headers.get("Tailrace-Snapshot") == "true"]
    return marked, [m for m in messages if "Tailrace-Snapshot" not in m.headers]


def check_ids(messages):
    doubled = [name for name, count in Counter(m.id for m in messages).items() if count > 1]
    assert not doubled, f"{len(doubled)} ids stored twice: {doubled[:3]}"


def settled(lab, jetstream, name, bridge):
    """Waits until the bridge has read all that is written."""
    with client(lab) as mongo:
        mongo.admin.command("appendOplogNote", 1, data={"end": name},
                            writeConcern={"w": "majority", "wtimeout": 10000})
        end = mongo.admin.command("hello")["lastWrite"]["majorityOpTime"]["ts"]

    def is_there():
        bridge.alive()
        _, status = bridge.json("/status")
        place = status.get("checkpoint") and status["checkpoint"]["position"]
        return place and tuple(map(int, place.split("."))) >= (end.time, end.inc)

    wait_until(is_there, "everything is published", seconds=120, every=0.2)


def reads_the_past(lab):
    """Servers do from 5.0 on; older ones' snapshots overlap with the tail."""
    with client(lab) as mongo:
        return tuple(mongo.server_info()["versionArray"]) >= (5, 0)


def check_exact(lab, jetstream, name):
    """An exact snapshot: every document once, and the tail from its position on, event by event."""
    messages = jetstream.messages(name)
    check_ids(messages)
    if not reads_the_past(lab):
        assert fold(messages) == collections(lab, name)
        return len(messages), 0
    snapshot, tail = parts(messages)
    place = snapshot[0].position[:2]
    assert {m.position[:2] for m in snapshot} == {place}, "one cluster time"
    keys = Counter((m.subject, m.json["documentKey"]["_id"]) for m in snapshot)
    assert max(keys.values()) == 1, "each document once"
    assert observed(tail) == expected(lab, name, Timestamp(*place)), "neither gap nor overlap"
    assert fold(messages) == collections(lab, name)
    return len(snapshot), len(tail)


def test_fold_equals_collections_while_writes_go_on(lab, jetstream, tmp_path, name):
    fill(lab, name, 10_000)
    with Bridge(tmp_path, configuration(lab, name, source={"start": "snapshot"})) as bridge:
        with Writer(lab, name, seed=1, rate=1000):
            time.sleep(0.5)
            bridge.start()
            wait_until(lambda: (bridge.json("/status")[1].get("snapshot") or {}).get("phase")
                       == "all is read", "the snapshot is over", seconds=60)
            time.sleep(1)
        settled(lab, jetstream, name, bridge)
        status = bridge.json("/status")[1]
        assert status["snapshot"]["exact"] is reads_the_past(lab)
        assert status["outcomes"]["published"] == jetstream.last_sequence(name)
        assert bridge.terminate() == 0
    print("%d documents, then %d changes" % check_exact(lab, jetstream, name))


def test_then_a_change_stream(lab, jetstream, tmp_path, name):
    """The tail behind a snapshot may be the server's change stream."""
    fill(lab, name, 2_000)
    whole = configuration(lab, name, source={"start": "snapshot", "reader": "change_stream"})
    with Bridge(tmp_path, whole) as bridge:
        with Writer(lab, name, seed=4, rate=500):
            bridge.start().wait_ready()
            time.sleep(2)
            bridge.kill()
            bridge.start().wait_ready()
            time.sleep(1)
        settled(lab, jetstream, name, bridge)
        assert bridge.terminate() == 0
    check_exact(lab, jetstream, name)


def test_kill_during_snapshot(lab, jetstream, tmp_path, name):
    """kill -9 again and again: what is behind the last checkpoint is not sent twice, and not because
    the server remembers the ids."""
    fill(lab, name, 10_000)
    dice = random.Random(5)
    with Bridge(tmp_path, configuration(lab, name, source={"start": "snapshot"},
                                        stream={"duplicate_window": "100ms"})) as bridge:
        kills, last = 0, 0
        with Writer(lab, name, seed=2, rate=500):
            while kills < 30 and (jetstream.last_sequence(name) or 0) < 35_000:
                bridge.start()
                time.sleep(dice.uniform(0.1, 0.5))
                bridge.kill()
                time.sleep(0.15)
                kills += 1
            last = jetstream.last_sequence(name)
            bridge.start().wait_ready()
        # On a slow machine no process before this one may have come as far as to lead.
        wait_until(lambda: (jetstream.last_sequence(name) or 0) >= 10_000, "the snapshot")
        settled(lab, jetstream, name, bridge)
        assert bridge.terminate() == 0
    snapshot, tail = check_exact(lab, jetstream, name)
    print(f"{kills} kills, {last} stored by then, {snapshot} documents, then {tail} changes")


def test_beyond_the_history_window(lab, tmp_path, name):
    """The state at the snapshot's position can't be read any more: documents come as they are, the
    tail repeats some of what they have seen, and folding still gives the collections."""
    if not reads_the_past(lab):
        pytest.skip("servers read the past from 5.0 on; on older ones every snapshot is like this")
    with Lab(parameters={"minSnapshotHistoryWindowInSeconds": 1}) as lab:
        jetstream = JetStream(lab.nats_url)
        fill(lab, name, 10_000)
        dice = random.Random(7)
        with Bridge(tmp_path, configuration(lab, name, source={"start": "snapshot"})) as bridge:
            with Writer(lab, name, seed=3, rate=500):
                for kill in range(4):
                    bridge.start()
                    if kill == 0:
                        # Or a slow machine begins only with the last process, and that may be quick enough.
                        wait_until(lambda: jetstream.last_sequence(name), "the snapshot has begun", every=0.01)
                    else:
                        time.sleep(dice.uniform(0.2, 0.4))
                    bridge.kill()
                    time.sleep(2)
                bridge.start().wait_ready()
                time.sleep(2)
            settled(lab, jetstream, name, bridge)
            status = bridge.json("/status")[1]["snapshot"]
            assert bridge.terminate() == 0
        messages = jetstream.messages(name)
        check_ids(messages)
        assert status is None or status["exact"] is False
        assert fold(messages) == collections(lab, name)


def test_command(lab, jetstream, tmp_path, name):
    """`tailrace snapshot` ends where the tail begins; on a bridge that has run, it comes behind what
    the tail still had to publish; the reports tell how it went."""
    fill(lab, name, 500)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        def snapshot(*arguments):
            done = tailrace("snapshot", "-c", bridge.file, "--json", *arguments, cwd=tmp_path,
                            seconds=60)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        first = snapshot()
        assert first["finished"] and first["documents"] == 2000
        assert first["exact"] is reads_the_past(lab)
        assert jetstream.last_sequence(name) == 2000
        with client(lab) as mongo:
            rooms = mongo[name].rooms
            rooms.update_many({"serial": {"$lt": 100}}, {"$inc": {"edits": 1}})
            rooms.delete_many({"serial": {"$gte": 400}})
        settle(lab)
        second = snapshot()
        assert second["documents"] == 1900 and second["position"] != first["position"]
        messages = jetstream.messages(name)
        kinds = [("snapshot" if "Tailrace-Snapshot" in m.headers else m.json["operationType"])
                 for m in messages]
        assert kinds == ["snapshot"] * 2000 + ["update"] * 100 + ["delete"] * 100 \
            + ["snapshot"] * 1900
        check_ids(messages)
        with client(lab) as mongo:
            mongo[name].rooms.insert_one({"_id": "new"})
        settle(lab)
        assert bridge.run("--until", "now") == 0
        messages = jetstream.messages(name)
        assert [m.json["documentKey"]["_id"] for m in messages[4100:]] == ["new"]
        assert fold(messages) == collections(lab, name)
        shown = tailrace("checkpoint", "show", "-c", bridge.file, "--json", cwd=tmp_path)
        assert json.loads(shown.stdout)["snapshot"] == {
            "position": second["position"], "over": True,
            "term": json.loads(shown.stdout)["snapshot"]["term"]}


def test_all_kinds_of_ids(lab, jetstream, tmp_path, name):
    """Ids of messages tell documents apart whose `_id`s look alike, and are valid headers."""
    keys = ["1", 1, 1.5, "1.5", ObjectId("6741b7c0e0c917e9c4714161"), "6741b7c0e0c917e9c4714161",
            {"a": 1}, {"a": "1"}, Binary(b"\0" * 16, 4), True, "true", None, "null", "ü ∞\n",
            "long" * 500, "long" * 501]
    with client(lab) as mongo:
        mongo[name].things.insert_many([{"_id": key} for key in keys])
        mongo[name].create_collection("events", capped=True, size=100_000)
        mongo[name].events.insert_many([{"_id": number} for number in range(10)])
    with Bridge(tmp_path, configuration(lab, name, source={"start": "snapshot"})) as bridge:
        assert bridge.run("--until", "now") == 0
        messages = jetstream.messages(name)
        assert len(messages) == len(keys) + 10
        check_ids(messages)
        uuids = {m.id.split(":")[3] for m in messages}
        assert len(uuids) == 2 and all(m.id.startswith("rs0:snapshot:") for m in messages)
        assert all(m.headers["ce-id"] == m.id for m in messages)


def test_what_cannot_be_mapped_is_a_dead_letter_once(lab, jetstream, tmp_path, name):
    with client(lab) as mongo:
        mongo[name].things.insert_many(
            [{"_id": number, **({"rid": f"r{number}"} if number % 10 else {})}
             for number in range(300)])
    whole = configuration(lab, name, source={"start": "snapshot"},
                          rule={"subject": name + ".{ns.coll}.{fullDocument.rid}",
                                "match": {"namespace": f"{name}.*", "operations": ["insert"]}})
    with Bridge(tmp_path, whole) as bridge:
        for _ in range(8):
            bridge.start()
            time.sleep(0.12)
            bridge.kill()
        assert bridge.run("--until", "now") == 0
    messages, letters = jetstream.messages(name), jetstream.messages(f"DLQ_{name}")
    check_ids(messages + letters)
    assert (len(messages), len(letters)) == (270, 30)
    assert {m.headers["Tailrace-Error"] for m in letters} == {"path_missing"}
    assert all(m.headers["Tailrace-Snapshot"] == "true" for m in letters)


def test_a_letter_once_wherever_its_document_is_read(lab, jetstream, tmp_path, name):
    """What is read again, after a kill or because the next snapshot is the same one, has another index."""
    with client(lab) as mongo:
        for collection in ("a", "b", "c"):
            mongo[name][collection].insert_many(
                [{"_id": f"{collection}{n}", **({"rid": "r"} if n % 2 else {})} for n in range(6)])
    settle(lab)
    with Bridge(tmp_path, configuration(lab, name, rule={
            "subject": name + ".{fullDocument.rid}",
            "match": {"namespace": f"{name}.*", "operations": ["insert"]}})) as bridge:
        for part in ([f"--namespace={name}.b"], [f"--namespace={name}.c"], [f"--namespace={name}.a"], [], []):
            done = tailrace("snapshot", *part, "-c", bridge.file, cwd=tmp_path, seconds=60)
            assert done.returncode == 0, done.stderr[-2000:]
    letters = jetstream.messages(f"DLQ_{name}")
    assert len({m.json["documentKey"]["_id"] for m in letters}) == 9
    # Of the documents at one position.
    told = Counter((m.position[:2], m.json["documentKey"]["_id"]) for m in letters)
    assert max(told.values()) == 1, told


def test_position_lost_then_snapshot(tmp_path, name):
    """`on_position_lost: snapshot`: what the oplog no longer tells, the documents do."""
    with Lab(**SMALL) as lab:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        whole = configuration(lab, name, source={"on_position_lost": "snapshot"})
        with Bridge(tmp_path, whole) as bridge:
            bridge.start().wait_ready()
            with client(lab) as mongo:
                mongo[name].users.insert_many([{"_id": number} for number in range(10)])
            wait_until(lambda: jetstream.last_sequence(name) == 10, "10 messages")
            assert bridge.terminate() == 0
            roll_over(lab, name, 2)
            assert bridge.run("--until", "now", seconds=60) == 0
            assert "a snapshot closes the gap" in bridge.log.read_text()
        messages = jetstream.messages(name)
        check_ids(messages)
        assert fold(messages) == collections(lab, name)


def test_lost_checkpoint_during_snapshot(lab, jetstream, tmp_path, name):
    """How far it came can't be told: 75, and the command that helps."""
    fill(lab, name, 10_000)
    whole = configuration(lab, name, source={"start": "snapshot"})
    with Bridge(tmp_path, whole) as bridge:
        bridge.start()
        wait_until(lambda: (jetstream.last_sequence(name) or 0) > 0, "messages")
        bridge.kill()
        assert jetstream.last_sequence(name) < 40_000
        jetstream.delete_stream(f"KV_STATE_{name}")
        assert bridge.run(seconds=30) == 75
        assert "tailrace snapshot" in bridge.tail()
        with client(lab) as mongo:
            mongo[name].rooms.update_one({"_id": "old-1"}, {"$inc": {"edits": 1}})
        settle(lab)
        done = tailrace("snapshot", "-c", bridge.file, cwd=tmp_path, seconds=60)
        assert done.returncode == 0, done.stderr
        assert "40000 of about 40000" in done.stdout
        check_ids(jetstream.messages(name))
        assert fold(jetstream.messages(name)) == collections(lab, name)


def test_stopped_and_gone_on_with(lab, jetstream, tmp_path, name):
    """SIGTERM in the middle: exit 0, and the next start continues after the last document."""
    fill(lab, name, 10_000)
    with Bridge(tmp_path, configuration(lab, name, source={"start": "snapshot"})) as bridge:
        bridge.start()
        wait_until(lambda: (jetstream.last_sequence(name) or 0) > 0, "messages")
        assert bridge.terminate() == 0
        stored = jetstream.last_sequence(name)
        assert 0 < stored < 40_000
        done = tailrace("checkpoint", "show", "-c", bridge.file, "--json", cwd=tmp_path)
        assert json.loads(done.stdout)["snapshot"]["over"] is False
        assert bridge.run("--from", "now") == 78, "that would leave it without a word"
        assert bridge.run("--until", "now") == 0
    check_exact(lab, jetstream, name)


def created(name):
    return {"id": "{documentKey._id}.created",
            "match": {"namespace": f"{name}.*", "operations": ["insert"]}}


def test_repeats_everything_within_the_dedup_window(lab, jetstream, tmp_path, name):
    """Consumers drop what a snapshot does not repeat: so it repeats all, under ids of its own, whether
    the stream knows the document from its insert or from the last snapshot."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name, rule=created(name))) as bridge, \
            client(lab) as mongo:
        bridge.start().wait_ready()
        mongo[name].messages.insert_many([{"_id": n} for n in range(50)])
        wait_until(lambda: jetstream.holds(name, 50), "inserts")
        assert bridge.terminate() == 0
        mongo[name].messages.update_many({"_id": {"$lt": 3}}, {"$set": {"edited": True}})
        for number in (1, 2):
            settle(lab)
            done = tailrace("snapshot", "--force", "-c", bridge.file, "--json", cwd=tmp_path,
                            seconds=60)
            assert done.returncode == 0, done.stderr
            report = json.loads(done.stdout)
            assert report["outcomes"]["published"] == 50 and report["dead_letters"] == 0
            assert jetstream.last_sequence(name) == 50 + 50 * number
            marked = [m for m in jetstream.messages(name)
                      if "Tailrace-Snapshot" in m.headers][-50:]
            assert {m.id for m in marked} == {
                f"{n}.created:snapshot:{report['position']}" for n in range(50)}
            assert sum("edited" in m.json["fullDocument"] for m in marked) == 3
    check_ids(jetstream.messages(name))
    assert jetstream.messages(f"DLQ_{name}") == []


def test_template_ids_survive_kills(lab, jetstream, tmp_path, name):
    """What is behind the checkpoint is found by those ids and not sent twice."""
    with client(lab) as mongo:
        mongo[name].things.insert_many([{"_id": n, "x": "x" * 200} for n in range(20_000)])
    dice = random.Random(11)
    with Bridge(tmp_path, configuration(
            lab, name, source={"start": "snapshot"}, rule=created(name),
            stream={"duplicate_window": "100ms"})) as bridge:
        for _ in range(5):
            bridge.start()
            time.sleep(dice.uniform(0.1, 0.4))
            bridge.kill()
            time.sleep(0.15)
        assert bridge.run("--until", "now") == 0
    messages = jetstream.messages(name)
    check_ids(messages)
    assert len(messages) == 20_000


def test_parts(lab, jetstream, tmp_path, name):
    """By rule, group and collection; rules that say `snapshot: false` are left out, also where another
    rule takes the same collection."""
    with client(lab) as mongo:
        for collection in ("rooms", "users", "typing"):
            mongo[name][collection].insert_many(
                [{"_id": n, "odd": bool(n % 2)} for n in range(10)])
    settle(lab)
    whole = configuration(lab, name)
    template = whole["rules"][0]

    def rule(title, collection, **more):
        return template | {"name": title, "match": {"namespace": f"{name}.{collection}"},
                           "subject": f"{name}.{title}.{{documentKey._id}}"} | more

    odd = {"namespace": f"{name}.users", "where": {"fullDocument.odd": True}}
    whole["rules"] = [rule("room", "rooms", group="chat"), rule("typing", "typing", snapshot=False),
                      rule("odd", "users", match=odd, snapshot=False), rule("user", "users")]

    def taken(*arguments, code=0):
        # At one position it would be the same snapshot again.
        settle(lab)
        before = jetstream.last_sequence(name) or 0
        done = tailrace("snapshot", "--force", "-c", bridge.file, "--json", *arguments, cwd=tmp_path,
                        seconds=60)
        assert done.returncode == code, done.stderr
        if code:
            return done.stderr
        found = Counter(m.subject.split(".")[1] for m in jetstream.messages(name)[before:])
        assert json.loads(done.stdout)["outcomes"]["published"] == found.total()
        return dict(found)

    with Bridge(tmp_path, whole) as bridge:
        assert taken() == {"room": 10, "user": 5}
        assert taken("--rule", "user") == {"user": 5}
        assert taken("--group", "chat") == {"room": 10}
        assert taken("--namespace", f"{name}.r*") == {"room": 10}
        assert taken("--rule", "user", "--group", "chat") == {"room": 10, "user": 5}
        assert "snapshot: false" in taken("--rule", "typing", code=64)
        assert "did you mean user" in taken("--rule", "usre", code=64)
        assert f"no rule takes collections nope.x (there are {name}.rooms" in \
            taken("--namespace", "nope.x", code=64)
        # One that a rule takes, and that is not there; what is there is published all the same.
        whole["rules"].append(rule("late", "late*"))
        bridge.file.write_text(yaml.safe_dump(whole, sort_keys=False))
        before = jetstream.last_sequence(name)
        assert f"--namespace {name}.late1: no collection" in \
            taken("--namespace", f"{name}.late1", "--namespace", f"{name}.rooms", code=64)
        assert jetstream.last_sequence(name) == before + 10
        done = tailrace("snapshot", "--force", "--rule", "late", "-c", bridge.file, cwd=tmp_path)
        assert done.returncode == 0 and "there is no collection to read" in done.stderr


def test_a_part_goes_on_as_it_was_begun(lab, jetstream, tmp_path, name):
    """Killed in the middle: the next start reads what was chosen, and no more."""
    fill(lab, name, 10_000)
    whole = configuration(lab, name)
    with Bridge(tmp_path, whole) as bridge:
        part = subprocess.Popen([BINARY, "snapshot", "--namespace", f"{name}.rooms", "-c", bridge.file],
                                cwd=tmp_path, preexec_fn=die_with_parent)
        wait_until(lambda: (jetstream.last_sequence(name) or 0) > 0, "messages")
        part.kill()
        part.wait()
        assert jetstream.last_sequence(name) < 10_000
        done = tailrace("snapshot", "--namespace", f"{name}.users", "-c", bridge.file, cwd=tmp_path)
        assert done.returncode == 78 and "is not finished" in done.stderr
        assert bridge.run("--until", "now", seconds=60) == 0
    messages = jetstream.messages(name)
    check_ids(messages)
    assert Counter(m.subject.split(".")[1] for m in messages) == {"rooms": 10_000}


def test_summary_counts_dead_letters(lab, jetstream, tmp_path, name):
    with client(lab) as mongo:
        mongo[name].things.insert_many(
            [{"_id": n, **({"rid": "r"} if n % 10 else {})} for n in range(100)])
    settle(lab)
    whole = configuration(lab, name, rule={
        "subject": name + ".{ns.coll}.{fullDocument.rid}",
        "match": {"namespace": f"{name}.*", "operations": ["insert"]}})
    with Bridge(tmp_path, whole) as bridge:
        done = tailrace("snapshot", "-c", bridge.file, cwd=tmp_path, seconds=60)
        assert done.returncode == 0 and "10 dead letters" in done.stdout
        done = tailrace("snapshot", "--force", "--json", "-c", bridge.file, cwd=tmp_path, seconds=60)
        report = json.loads(done.stdout)
        assert report["dead_letters"] == 10 and report["outcomes"]["published"] == 90
