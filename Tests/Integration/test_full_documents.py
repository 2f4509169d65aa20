"""`full_document` and `full_document_before_change`: the document that an update left, exactly, and
the one that was there before; marked where it can only be looked up."""

import threading
import time

from bridge import Bridge, configuration, wait_until
from lab import Lab
from load import client, now


def payload(**changes):
    return {"envelope": "cloudevents", "json": "simplified", "full_document": "when_available"} | changes


def test_every_update_has_its_own_document(lab, jetstream, tmp_path, name):
    """Few documents under many updates: each message shows the one that its update left."""
    with client(lab) as mongo:
        database = mongo[name]
        database.counters.insert_many([{"_id": key, "n": 0} for key in range(5)])
        after = now(lab)
        whole = configuration(lab, name, rule={"payload": payload()},
                              source={"start": f"{after.time}.{after.inc}"})
        with Bridge(tmp_path, whole) as bridge:
            bridge.start().wait_ready()

            def write(key):
                with client(lab) as own:
                    for number in range(1, 301):
                        own[name].counters.update_one({"_id": key}, {"$set": {"n": number}})
                        if number % 100 == 0:
                            own[name].counters.delete_one({"_id": key})
                            own[name].counters.insert_one({"_id": key, "n": number})

            threads = [threading.Thread(target=write, args=(key,)) for key in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            wait_until(lambda: jetstream.holds(name, 5 * (300 + 6)), "all messages")
            _, status = bridge.json("/status")
            assert bridge.terminate() == 0
    updates = [m for m in jetstream.messages(name) if m.json["operationType"] == "update"]
    assert len(updates) == 1500
    for message in updates:
        assert message.headers["Tailrace-Image"] == "post"
        set_to = message.json["updateDescription"]["updatedFields"]["n"]
        assert message.json["fullDocument"] == {
            "_id": message.json["documentKey"]["_id"], "n": set_to}


def test_catching_up_takes_few_round_trips(lab, jetstream, tmp_path, name):
    with client(lab) as mongo:
        database = mongo[name]
        database.messages.insert_many([{"_id": key, "n": 0} for key in range(2000)])
        after = now(lab)
        for key in range(2000):
            database.messages.update_one({"_id": key}, {"$inc": {"n": 1}})
    whole = configuration(lab, name, rule={"payload": payload(full_document="required")},
                          source={"start": f"{after.time}.{after.inc}"})
    with Bridge(tmp_path, whole) as bridge:
        bridge.start().wait_ready()
        wait_until(lambda: jetstream.holds(name, 2001), "all messages")
        page = bridge.get("/metrics")[1]
        trips = int(next(line.split()[1] for line in page.splitlines()
                         if line.startswith("tailrace_image_round_trips_total ")))
        assert trips < 100, "documents are fetched many at a time"
        assert bridge.terminate() == 0
    assert all(m.json["fullDocument"]["n"] == 1 for m in jetstream.messages(name)
               if m.json["operationType"] == "update")


def test_beyond_the_history_window_it_says_lookup(tmp_path, name):
    with Lab(parameters={"minSnapshotHistoryWindowInSeconds": 1}) as lab:
        from jetstream import JetStream
        jetstream = JetStream(lab.nats_url)
        with client(lab) as mongo:
            database = mongo[name]
            database.rooms.insert_many([{"_id": "a", "n": 0}, {"_id": "b", "n": 0}])
            after = now(lab)
            database.rooms.update_one({"_id": "a"}, {"$set": {"n": 1}})
            database.rooms.update_one({"_id": "b"}, {"$set": {"n": 1}})
            for _ in range(8):
                time.sleep(1)  # the window moves with writes
                database.rooms.update_one({"_id": "a"}, {"$inc": {"n": 1}})
            database.rooms.delete_one({"_id": "b"})
            time.sleep(3)
            mongo.admin.command("appendOplogNote", 1, data={"end": 1})
        source = {"start": f"{after.time}.{after.inc}"}
        with Bridge(tmp_path, configuration(lab, name, rule={"payload": payload(
                full_document="required")}, source=source)) as bridge:
            assert bridge.run("--until", "now") == 0
        first = next(m for m in jetstream.messages(name)
                     if m.json["operationType"] == "update"
                     and m.json["updateDescription"]["updatedFields"] == {"n": 1})
        assert first.headers["Tailrace-Image"] == "lookup"
        letters = jetstream.messages(f"DLQ_{name}")
        assert [letter.headers["Tailrace-Error"] for letter in letters] == ["image_missing"]
        assert letters[0].json["documentKey"] == {"_id": "b"}


def test_documents_before_the_change(lab, jetstream, tmp_path, name):
    with client(lab) as mongo:
        database = mongo[name]
        database.create_collection("users", changeStreamPreAndPostImages={"enabled": True})
        database.users.insert_one({"_id": 1, "n": 0})
        after = now(lab)
        database.users.update_one({"_id": 1}, {"$set": {"n": 1}})
        database.users.replace_one({"_id": 1}, {"n": 2})
        with mongo.start_session() as session, session.start_transaction():
            database.users.update_one({"_id": 1}, {"$set": {"n": 3}}, session=session)
            database.users.update_one({"_id": 1}, {"$set": {"n": 4}}, session=session)
        database.users.delete_one({"_id": 1})
    whole = configuration(
        lab, name, source={"start": f"{after.time}.{after.inc}"},
        rule={"payload": payload(full_document="off", full_document_before_change="required")})
    with Bridge(tmp_path, whole) as bridge:
        assert bridge.run("--until", "now") == 0
    changes = [m for m in jetstream.messages(name) if m.json["operationType"] != "insert"]
    assert [m.json["fullDocumentBeforeChange"]["n"] for m in changes] == [0, 1, 2, 3, 4]
