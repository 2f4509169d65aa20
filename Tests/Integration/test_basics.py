"""The main job on real servers: what is written arrives, as written, once."""

import re

import pytest
from bridge import Bridge, configuration, wait_until
from jetstream import JetStream
from lab import Lab
from load import Writer, check, client, expected, make_collections, now

PROTOCOLS = ["auto", "chain", "atomic", "fast", "single"]


def arrived(jetstream, stream, count):
    wait_until(lambda: jetstream.holds(stream, count), f"{count} messages in {stream}")
    return jetstream.messages(stream)


def event_headers(message):
    """Without those by which the publish protocol asserts the order."""
    return {key: value for key, value in message.headers.items()
            if not key.startswith(("Nats-Expected-", "Nats-Batch-"))}


@pytest.mark.parametrize("publish", PROTOCOLS)
def test_operations(lab, jetstream, tmp_path, name, publish):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name, stream={"publish": publish})) as bridge:
        bridge.start().wait_ready()
        after = now(lab)
        with client(lab) as mongo:
            rooms, users = mongo[name].rooms, mongo[name].users
            rooms.insert_one({"_id": "r1", "topic": 'say "hi"\n', "members": [1, 2.5, None]})
            rooms.update_one({"_id": "r1"}, {"$set": {"topic": "new"}, "$unset": {"members": 1}})
            rooms.replace_one({"_id": "r1"}, {"kind": "other"})
            rooms.delete_one({"_id": "r1"})
            with mongo.start_session() as session, session.start_transaction():
                rooms.insert_one({"_id": "r2"}, session=session)
                users.insert_one({"_id": "u1", "at": "r2"}, session=session)
                rooms.update_one({"_id": "r2"}, {"$set": {"owner": "u1"}}, session=session)
        messages = arrived(jetstream, name, 7)
        check(lab, jetstream, name, name, after)
        assert bridge.terminate() == 0

    assert [message.subject for message in messages] == [
        f"{name}.rooms.insert", f"{name}.rooms.update", f"{name}.rooms.replace",
        f"{name}.rooms.delete", f"{name}.rooms.insert", f"{name}.users.insert",
        f"{name}.rooms.update"]
    bodies = [message.json for message in messages]
    assert bodies[0]["fullDocument"] == {
        "_id": "r1", "topic": 'say "hi"\n', "members": [1, 2.5, None]}
    assert bodies[0]["documentKey"] == {"_id": "r1"}
    assert bodies[1]["updateDescription"]["updatedFields"] == {"topic": "new"}
    assert bodies[1]["updateDescription"]["removedFields"] == ["members"]
    assert bodies[2]["fullDocument"] == {"_id": "r1", "kind": "other"}
    assert bodies[3]["operationType"] == "delete" and "fullDocument" not in bodies[3]
    # One transaction is one oplog position, its events are counted.
    transaction = [message.position for message in messages[4:]]
    assert [index for _, _, index in transaction] == [0, 1, 2]
    assert len({position[:2] for position in transaction}) == 1


def test_headers(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            mongo[name].rooms.insert_one({"_id": "a b.c*>"})
        message, = arrived(jetstream, name, 1)
    headers = event_headers(message)
    assert list(headers) == [
        "Nats-Msg-Id", "Tailrace-Position", "Tailrace-Rule", "ce-specversion", "ce-id",
        "ce-source", "ce-type", "ce-time", *(["ce-subject"] if "ce-subject" in headers else [])]
    assert re.fullmatch(r"\d+\.\d+\.0", headers["Tailrace-Position"])
    assert headers["Nats-Msg-Id"] == headers["ce-id"] == "rs0:" + headers["Tailrace-Position"]
    assert headers["Tailrace-Rule"] == "all"
    assert headers["ce-specversion"] == "1.0"
    assert headers["ce-type"] == "rooms.insert"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", headers["ce-time"])
    assert message.json["documentKey"] == {"_id": "a b.c*>"}


def test_subject_values_are_one_token(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    rule = {"subject": name + ".{ns.coll}.{documentKey._id}"}
    with Bridge(tmp_path, configuration(lab, name, rule=rule)) as bridge:
        bridge.start().wait_ready()
        keys = ["plain", "a.b", "a b", "*", ">", "é", "a\tb"]
        with client(lab) as mongo:
            mongo[name].rooms.insert_many([{"_id": key} for key in keys])
        messages = arrived(jetstream, name, len(keys))
    subjects = [message.subject for message in messages]
    assert subjects[0] == f"{name}.rooms.plain"
    assert all(subject.count(".") == 2 for subject in subjects), subjects
    assert len(set(subjects)) == len(keys), "two different values became one subject"


@pytest.mark.parametrize("nats", ["2.9.10", "2.10.26", "2.12.8"])
def test_older_nats_servers(lab, tmp_path, name, nats):
    """The shared replica set, a NATS of its own; the protocol is the bridge's choice."""
    with Lab(mongod=0, nats_version=nats) as other:
        other.mongod = lab.mongod
        try:
            exact_under_load(other, tmp_path, name)
        finally:
            other.mongod = []


@pytest.mark.parametrize("mongod", ["4.4.2", "5.0.4", "6.0.27"])
def test_other_mongod_versions(lab, tmp_path, name, mongod):
    with Lab(nats=0, mongod_version=mongod) as other:
        other.nats = lab.nats
        try:
            exact_under_load(other, tmp_path, name)
        finally:
            other.nats = []


def exact_under_load(lab, folder, name, writes=3000, **changes):
    make_collections(lab, name)
    jetstream = JetStream(lab.nats_url)
    with Bridge(folder, configuration(lab, name, **changes)) as bridge:
        bridge.start().wait_ready()
        after = now(lab)
        with Writer(lab, name, name) as writer:
            wait_until(lambda: writer.written >= writes, f"{writes} writes", seconds=60)
        assert check(lab, jetstream, name, name, after) >= writes
        assert bridge.terminate() == 0


def test_three_replicas(tmp_path, name):
    with Lab(mongod=3, nats=3) as lab:
        exact_under_load(lab, tmp_path, name, stream={"num_replicas": 3})
        for stream in (name, f"KV_STATE_{name}", f"DLQ_{name}"):
            assert JetStream(lab.nats_url).config(stream)["num_replicas"] == 3, stream


def test_until_now_is_bounded_and_repeatable(lab, jetstream, tmp_path, name):
    """The same oplog gives the same ids, subjects and bodies, whoever asks."""
    make_collections(lab, name)
    after = now(lab)
    with Writer(lab, name, 7) as writer:
        wait_until(lambda: writer.written >= 4000, "4000 writes", seconds=60)
    expected(lab, name, after)  # returns when a majority has it all: that is "now"
    runs = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        own = configuration(lab, name, bridge={"name": f"{name}_{number}"},
                            dead_letter={"stream": f"DLQ_{name}_{number}",
                                         "subject": f"dlq_{name}_{number}" + ".{rule}"})
        with Bridge(folder, own) as bridge:
            assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
        check(lab, jetstream, name, name, after)
        # Where a batch ends, and so how its order is asserted, is a matter of time.
        runs.append([(m.subject, event_headers(m), m.body) for m in jetstream.messages(name)])
        jetstream.delete_stream(name)
    assert runs[0] == runs[1]


def test_sigterm_and_resume(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        after = now(lab)
        with Writer(lab, name, 3) as writer:
            for stop in range(1, 4):
                wait_until(lambda: writer.written > stop * 1500, "more writes", seconds=60)
                assert bridge.terminate() == 0
                bridge.start().wait_ready()
        check(lab, jetstream, name, name, after)


def test_changes_while_stopped_arrive(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        after = now(lab)
        assert bridge.terminate() == 0
        with client(lab) as mongo:
            mongo[name].rooms.insert_many([{"_id": number} for number in range(100)])
        bridge.start()
        arrived(jetstream, name, 100)
        check(lab, jetstream, name, name, after)


def test_from_needs_force_where_a_checkpoint_is(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        after = now(lab)
        with client(lab) as mongo:
            mongo[name].rooms.insert_many([{"_id": number} for number in range(10)])
        arrived(jetstream, name, 10)
        assert bridge.terminate() == 0
        begin = f"{after.time}.{after.inc}"
        assert bridge.run("--from", begin, "--until", "now") != 0
        assert "--force" in bridge.tail()
        # Forced back, it still publishes nothing twice: the stream has it.
        assert bridge.run("--from", begin, "--force", "--until", "now") == 0
        check(lab, jetstream, name, name, after)


def test_first_rule_takes_the_event(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    base = configuration(lab, name)
    narrow = {**base["rules"][0], "name": "rooms", "subject": name + ".rooms.{operationType}",
              "match": {"namespace": f"{name}.rooms", "operations": ["insert"]}}
    with Bridge(tmp_path, base | {"rules": [narrow, base["rules"][0]]}) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            mongo[name].rooms.insert_one({"_id": 1})
            mongo[name].rooms.delete_one({"_id": 1})
            mongo[name].users.insert_one({"_id": 1})
        messages = arrived(jetstream, name, 3)
    assert [message.headers["Tailrace-Rule"] for message in messages] == ["rooms", "all", "all"]


def test_new_collections_do_not_stop_it(lab, jetstream, tmp_path, name):
    """Nobody creates collections by hand: the first insert does, in the middle of the tail."""
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            mongo[name].fresh.insert_one({"_id": 1})
            mongo[name].fresh.create_index("at")
            mongo[name].fresh.insert_one({"_id": 2})
        messages = arrived(jetstream, name, 2)
        bridge.alive()
    assert [message.json["documentKey"]["_id"] for message in messages] == [1, 2]
