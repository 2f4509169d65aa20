"""Payloads that differ from their events: renamed, redacted, with constants, in other envelopes; and
outboxes, whose documents are events themselves."""

import hashlib
import hmac
import json
import random

from bridge import Bridge, configuration, tailrace, wait_until
from load import client, make_collections

KEY = "0123456789abcdef0123456789abcdef"


def hashed(value):
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return hmac.new(KEY.encode(), text.encode(), hashlib.sha256).hexdigest()


def published(lab, jetstream, tmp_path, name, count, write, **changes):
    """The stream after `write(database)`."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name, **changes)) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            write(mongo[name])
        wait_until(lambda: jetstream.holds(name, count), f"{count} messages")
        assert bridge.terminate() == 0
    return jetstream.messages(name)


def payload(**changes):
    return {"rule": {"payload": {"envelope": "cloudevents"} | changes},
            "redaction": {"key": KEY}}


def test_rename(lab, jetstream, tmp_path, name):
    def write(database):
        users = database.users
        users.insert_one({"_id": 1, "u": {"username": "a", "x": 1}, "list": [{"id": 1}, {"id": 2}]})
        users.update_one({"_id": 1}, {"$set": {"u.username": "b", "list.1.id": 5}})
        users.update_one({"_id": 1}, {"$set": {"u": {"username": "c"}}})
        users.update_one({"_id": 1}, {"$unset": {"u.username": "", "list": ""}})

    messages = published(lab, jetstream, tmp_path, name, 4, write, **payload(rename={
        "fullDocument.u.username": "author", "fullDocument.list.id": "number"}))
    insert, one, two, three = [m.json for m in messages]
    assert insert["fullDocument"] == {"_id": 1, "u": {"author": "a", "x": 1},
                                      "list": [{"number": 1}, {"number": 2}]}
    assert list(insert["fullDocument"]["u"]) == ["author", "x"], "in the same place"
    assert one["updateDescription"]["updatedFields"] == {"u.author": "b", "list.1.number": 5}
    assert two["updateDescription"]["updatedFields"] == {"u": {"author": "c"}}
    assert three["updateDescription"]["removedFields"] == ["list", "u.author"]


def test_redact(lab, jetstream, tmp_path, name):
    def write(database):
        users = database.users
        users.insert_one({"_id": 1, "email": "a@b", "emails": [{"address": "x@y", "ok": True}],
                          "secret": {"deep": 1}, "gone": 5, "age": 42, "none": None})
        users.update_one({"_id": 1}, {"$set": {"email": "c@d", "emails.0.address": "z@z",
                                               "secret.deep": 2, "gone": 6}})
        users.update_one({"_id": 1}, {"$set": {"emails": [{"address": "q@q", "ok": False}]},
                                      "$unset": {"secret": "", "gone": ""}})

    messages = published(lab, jetstream, tmp_path, name, 3, write, **payload(redact={
        "fullDocument.email": "hash", "fullDocument.emails.address": "mask",
        "fullDocument.secret": "mask", "fullDocument.gone": "drop", "fullDocument.age": "hash",
        "fullDocument.none": "hash"}))
    insert, one, two = [m.json for m in messages]
    assert insert["fullDocument"] == {
        "_id": 1, "email": hashed("a@b"), "emails": [{"address": "***", "ok": True}],
        "secret": "***", "age": hashed(42), "none": None}
    assert one["updateDescription"]["updatedFields"] == {
        "email": hashed("c@d"), "emails.0.address": "***", "secret": "***"}
    assert two["updateDescription"] == {
        "updatedFields": {"emails": [{"address": "***", "ok": False}]}, "removedFields": ["secret"],
        "truncatedArrays": []}


def test_nothing_redacted_gets_through(lab, jetstream, tmp_path, name):
    """Over random documents and updates of all shapes, no body holds a value of a redacted field."""
    dice = random.Random(11)
    serial = 0

    def mark():
        nonlocal serial
        serial += 1
        return f"SECRET-{serial}"

    def hidden(depth=0):
        return dice.choice([mark, mark, lambda: [mark(), {"x": mark()}],
                            lambda: {"a": mark(), "b": [mark()]}])()

    def document(depth=0):
        found = {}
        for field in dice.sample(["email", "profile", "list", "open", "name"], dice.randrange(1, 6)):
            if field == "email":
                found[field] = hidden()
            elif field == "profile" and depth < 2:
                found[field] = {"email": hidden(), "open": 1}
            elif field == "list":
                found[field] = [{"token": hidden(), "n": n} for n in range(dice.randrange(3))]
            else:
                found[field] = dice.randrange(100)
        return found

    def write(database):
        users = database.users
        for number in range(60):
            users.insert_one({"_id": number} | document())
        for _ in range(300):
            key = {"_id": dice.randrange(60)}
            users.update_one(key, dice.choice([
                lambda: {"$set": document()},
                lambda: {"$set": {"email": hidden()}},
                lambda: {"$set": {"profile": {"email": hidden(), "open": 2}}},
                lambda: {"$set": {"list": [{"token": hidden()} for _ in range(4)]}},
                lambda: {"$unset": {"email": ""}},
                lambda: [{"$set": {"list": {"$slice": [{"$ifNull": ["$list", []]}, 1]}}}],
                lambda: [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"$literal": document()}]}}],
            ])())
            if dice.random() < 0.1:
                users.replace_one(key, document())
        users.insert_one({"_id": "end"})

    for redaction in ["mask", "hash", "drop"]:
        stream = f"{name}_{redaction}"
        make_collections(lab, stream)
        whole = configuration(lab, stream, **payload(
            full_document="when_available", redact={
                "fullDocument.email": redaction, "fullDocument.profile.email": redaction,
                "fullDocument.list.token": redaction}))
        folder = tmp_path / redaction
        folder.mkdir()
        with Bridge(folder, whole) as bridge:
            bridge.start().wait_ready()
            with client(lab) as mongo:
                write(mongo[stream])
            wait_until(lambda: (jetstream.last_sequence(stream) or 0) > 0 and jetstream.messages(
                stream)[-1].json["documentKey"]["_id"] == "end", "all", every=0.3)
            assert bridge.terminate() == 0
        messages = jetstream.messages(stream)
        assert len(messages) > 200
        leaked = [m.body for m in messages if b"SECRET" in m.body]
        assert not leaked, leaked[:2]
        assert any(b"updatedFields" in m.body for m in messages)


def test_redaction_covers_the_document_key(lab, jetstream, tmp_path, name):
    messages = published(
        lab, jetstream, tmp_path, name, 1, lambda db: db.users.insert_one({"_id": "a@b"}),
        **payload(redact={"fullDocument._id": "hash"}))
    assert messages[0].json["documentKey"] == {"_id": hashed("a@b")}
    assert b"a@b" not in messages[0].body


def test_constants(lab, jetstream, tmp_path, name):
    def write(database):
        database.users.insert_one({"_id": 1, "tenant": "mine", "x": 1})

    constants = {"tenant": "eu", "version": 2, "live": True, "none": None, "text": "2"}
    first = published(lab, jetstream, tmp_path, name, 1, write, **payload(set=constants))
    assert first[0].json["tenant"] == "eu" and first[0].json["fullDocument"]["tenant"] == "mine"
    other = f"{name}_document"
    folder = tmp_path / "other"
    folder.mkdir()
    second = published(lab, jetstream, folder, other, 1, write,
                       **payload(set=constants, envelope="document"))
    assert second[0].json == {"_id": 1, "x": 1} | constants
    assert second[0].body.count(b'"tenant"') == 1


def test_structured(lab, jetstream, tmp_path, name):
    def write(database):
        database.users.insert_one({"_id": 'a"b\\', "x": 1})
        database.users.delete_one({"_id": 'a"b\\'})

    messages = published(lab, jetstream, tmp_path, name, 2, write,
                         **payload(envelope="cloudevents_structured", set={"tenant": "eu"}))
    for message, kind in zip(messages, ["insert", "delete"]):
        event = message.json
        assert message.headers["Content-Type"] == "application/cloudevents+json"
        assert not any(key.startswith("ce-") for key in message.headers)
        assert list(event) == ["specversion", "id", "source", "type", "time", "subject",
                               "datacontenttype", "data"]
        assert event["id"] == message.id and event["specversion"] == "1.0"
        assert event["source"] == f"/mongodb/rs0/{name}" and event["type"] == f"users.{kind}"
        assert event["subject"] == 'a"b\\' and event["time"].endswith("Z")
        assert event["data"]["operationType"] == kind and event["data"]["tenant"] == "eu"


def test_debezium(lab, jetstream, tmp_path, name):
    def write(database):
        database.users.insert_one({"_id": 1, "x": "é", "list": [1, 2, 3], "more": "m" * 200})
        database.users.update_one({"_id": 1}, [
            {"$set": {"list": {"$slice": ["$list", 2]}, "y": 2}}, {"$unset": "x"}])
        database.users.delete_one({"_id": 1})

    insert, update, delete = [m.json for m in published(
        lab, jetstream, tmp_path, name, 3, write, **payload(envelope="debezium", json="relaxed"))]
    assert list(insert) == ["before", "after", "updateDescription", "documentKey", "source", "op",
                            "ts_ms"]
    assert (insert["op"], update["op"], delete["op"]) == ("c", "u", "d")
    assert json.loads(insert["after"]) == {"_id": 1, "x": "é", "list": [1, 2, 3], "more": "m" * 200}
    assert insert["before"] is None and update["after"] is None and delete["after"] is None
    assert json.loads(delete["documentKey"]) == {"_id": 1}
    described = update["updateDescription"]
    assert json.loads(described["updatedFields"]) == {"y": 2}
    assert described["removedFields"] == ["x"]
    assert described["truncatedArrays"] == [{"field": "list", "newSize": 2}]
    source = insert["source"]
    assert (source["connector"], source["db"], source["collection"]) == ("mongodb", name, "users")
    assert source["snapshot"] == "false" and insert["ts_ms"] // 1000 >= source["ts_ms"] // 1000 - 1


def test_outbox(lab, jetstream, tmp_path, name):
    """Documents name their own subject, id and type; what can't be published is a dead letter."""
    def write(database):
        with database.client.start_session() as session, session.start_transaction():
            database.users.insert_one({"_id": 1}, session=session)
            database.outbox.insert_many([
                {"_id": "e1", "subject": f"{name}.user.created", "type": "user.created",
                 "payload": {"id": 1, "tags": ["a"]}},
                {"_id": "e2", "subject": f"{name}.user.named", "type": "user named",
                 "payload": "text"},
            ], session=session)
        database.outbox.insert_many([
            {"_id": "bad1", "subject": "elsewhere.x", "type": "t", "payload": 1},
            {"_id": "bad2", "subject": f"{name}.*", "type": "t", "payload": 1},
            {"_id": "bad3", "subject": f"{name}..x", "type": "t", "payload": 1},
            {"_id": "bad4", "type": "t", "payload": 1},
            {"_id": "bad5", "subject": f"{name}.x", "type": "t"},
            {"_id": {"a": 1}, "subject": f"{name}.x", "type": "t", "payload": 1},
            {"_id": "bad7", "subject": f"{name}.x", "payload": 1},
            {"_id": "e3", "subject": f"{name}.x", "type": "t", "payload": [1, None]}])
        database.outbox.delete_many({})

    make_collections(lab, name)
    whole = configuration(lab, name)
    whole["rules"] = [{"name": "events", "match": {"namespace": f"{name}.outbox"}, "outbox": {},
                       "payload": {"envelope": "cloudevents"}}]
    with Bridge(tmp_path, whole) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            mongo[name].create_collection("outbox")
            write(mongo[name])
        wait_until(lambda: jetstream.holds(name, 3), "3 messages")
        wait_until(lambda: jetstream.holds(f"DLQ_{name}", 7), "7 dead letters")
        assert bridge.terminate() == 0
    one, two, three = jetstream.messages(name)
    assert [m.id for m in (one, two, three)] == ["e1", "e2", "e3"]
    assert (one.subject, two.subject) == (f"{name}.user.created", f"{name}.user.named")
    assert one.json == {"id": 1, "tags": ["a"]} and two.json == "text" and three.json == [1, None]
    assert one.headers["ce-type"] == "user.created" and two.headers["ce-type"] == "user%20named"
    assert one.headers["ce-id"] == "e1"
    letters = jetstream.messages(f"DLQ_{name}")
    assert [m.headers["Tailrace-Error"] for m in letters] == [
        "subject_invalid", "subject_invalid", "subject_invalid", "path_missing", "path_missing",
        "value_unsupported", "path_missing"]
    assert "does not take elsewhere.x" in letters[0].headers["Tailrace-Error-Detail"]


def test_mistakes(lab, tmp_path, name):
    for changes, said in [
        (payload(rename={"fullDocument.a": "b.c"}), "has a dot"),
        (payload(rename={"fullDocument": "x"}), "is a whole document"),
        (payload(redact={"fullDocument.a": "hsh"}), "did you mean hash"),
        ({"rule": {"payload": {"redact": {"fullDocument.a": "hash"}}}}, "no key to hash with"),
        (payload(redact={"fullDokument.a": "mask"}), "did you mean fullDocument"),
        (payload(set={"operationType": 1}), "already"),
        (payload(set={"x": [1]}), "single value"),
        ({"rule": {"outbox": {}, "subject": "x"}}, "an outbox's documents have their own subject"),
        ({"rule": {"outbox": {"typ": "x"}}}, "did you mean type"),
        ({"redaction": {"key": "short"}}, "fewer than 16 bytes"),
        ({"redaction": {"kye": KEY}}, "did you mean key"),
    ]:
        bridge = Bridge(tmp_path, configuration(lab, name, **json.loads(json.dumps(changes))))
        done = tailrace("validate", "-c", bridge.file)
        printed = done.stdout + done.stderr
        assert done.returncode == 78, (changes, printed)
        assert said.lower() in printed.lower(), (changes, printed)
        assert KEY not in printed
