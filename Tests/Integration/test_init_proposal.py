"""`tailrace init --from-mongodb` and `--from-events`: what is proposed is valid and runs without an edit."""

import datetime
import json
import os
import random
import uuid

import bson
import bson.json_util
import jsonschema_rs
import yaml
from bridge import tailrace
from lab import free_ports
from load import client, now, settle

UTC = datetime.timezone.utc
ROOMS = ["GENERAL"] + [f"r{number:016}" for number in range(7)]
SECRET = "$2b$10$abcdefghijklmnopqrstuuJ9p8ZB3iVxL0V7h0g6C1w2e3r4t5y6u"


def moment(number):
    return datetime.datetime(2026, 11, 23, tzinfo=UTC) + datetime.timedelta(seconds=number)


def key(rng):
    """As Meteor makes them: an application knows it before it writes."""
    return "".join(rng.choices("23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz", k=17))


def message(rng, number):
    made = {"_id": key(rng), "rid": rng.choice(ROOMS), "msg": "x" * rng.randrange(1, 80), "ts": moment(number),
            "u": {"_id": f"user{number % 20:012}", "username": f"user{number % 20}"}, "_updatedAt": moment(number)}
    if number % 5 == 0:
        made |= {"t": "uj"}
    if number % 7 == 0:
        made |= {"editedAt": moment(number + 1), "reactions": {":smile:": {"usernames": ["a"]}}}
    return made


def chat(rng):
    """A database of the Rocket.Chat kind: collection -> documents."""
    users = [{"_id": f"user{n:012}", "username": f"user{n}", "active": True, "createdAt": moment(n), "roles": ["user"],
              "services": {"password": {"bcrypt": SECRET},
                           "resume": {"loginTokens": [{"when": moment(n), "hashedToken": "x" * 43}]}},
              "emails": [{"address": f"u{n}@example.org", "verified": True}]} for n in range(40)]
    rooms = [{"_id": rid, "t": "c", "name": rid.lower(), "usersCount": n, "u": {"_id": f"user{n:012}", "username": "x"},
              "_updatedAt": moment(n)} for n, rid in enumerate(ROOMS)]
    return {
        "users": users,
        "rocketchat_room": rooms,
        "rocketchat_message": [message(rng, n) for n in range(400)],
        "rocketchat_subscription": [
            {"_id": key(rng), "rid": rng.choice(ROOMS), "u": {"_id": f"user{n % 40:012}", "username": "x"}, "open": True,
             "unread": n % 3, "alert": None if n % 2 else True, "ls": moment(n)} for n in range(150)],
        "rocketchat_uploads": [
            {"_id": key(rng), "rid": rng.choice(ROOMS), "userId": f"user{n % 20:012}", "name": "a.png", "size": n * 1000,
             "token": key(rng)} for n in range(40)],
        "rocketchat_settings": [
            {"_id": f"Setting_{n}", "value": [True, "text", n, None, ["a"]][n % 5], "type": "any", "blocked": False}
            for n in range(60)],
        "rocketchat_roles": [{"_id": name, "scope": "Users", "description": ""} for name in ("admin", "user", "bot")],
        "rocketchat_permissions": [{"_id": f"perm-{n}", "roles": ["admin"], "_updatedAt": moment(n)} for n in range(30)],
        "rocketchat_livechat_inquiry": [
            {"_id": key(rng), "rid": rng.choice(ROOMS), "department": f"d{n % 3}", "v": {"_id": key(rng), "token": key(rng)},
             "queuedAt": moment(n)} for n in range(30)],
        "rocketchat_statistics": [{"_id": bson.ObjectId(rng.randbytes(12)), "totalUsers": n, "load": n / 7,
                                   "createdAt": moment(n)} for n in range(25)],
        "rocketchat_sessions": [{"_id": uuid.UUID(int=rng.getrandbits(128)), "userId": f"user{n % 9:012}",
                                 "sessionId": key(rng), "ip": "10.0.0.1", "day": n % 30} for n in range(50)],
        "rocketchat_avatars": [],
    }


def propose(*arguments, code=0, **variables):
    done = tailrace("init", *arguments, env=os.environ | variables)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


def rules(file):
    return {rule["name"]: rule for rule in yaml.safe_load(file.read_text())["rules"]}


def test_a_chat_runs_without_an_edit(lab, jetstream, tmp_path, name):
    rng = random.Random(19)
    began = now(lab)
    with client(lab, uuidRepresentation="standard") as mongo:
        database = mongo[name]
        collections = chat(rng)
        assert len(collections) == 12
        for collection, documents in collections.items():
            database.create_collection(collection)
            if documents:
                database[collection].insert_many(documents)
        database["files.chunks"].insert_one({"_id": 1, "data": b"x" * 1000})
        # What an application does: edits, deletions, a password that is changed, a role that comes back.
        database.rocketchat_message.update_many({"t": "uj"}, {"$set": {"msg": "y", "_updatedAt": moment(9)}})
        database.rocketchat_message.delete_many({"editedAt": {"$exists": True}, "t": "uj"})
        database.users.update_one({"username": "user1"}, {"$set": {"services.password.bcrypt": SECRET + "2"}})
        database.users.update_one({"username": "user2"}, {"$set": {"active": False}})
        database.rocketchat_permissions.delete_one({"_id": "perm-1"})
        database.rocketchat_permissions.insert_one({"_id": "perm-1", "roles": [], "_updatedAt": moment(1)})
        database.rocketchat_message.insert_one({"_id": "homeless", "msg": "of no room"})
    settle(lab)
    folder = tmp_path / "etc"
    done = propose(folder, "--from-mongodb", lab.uri, "--database", name, "--sample", 200, "--window", "5m")
    assert "PASS" in done.stdout and "24 rules to 1 streams, 0 warnings" in done.stdout
    assert f"{name}.files.chunks: no rules" in done.stdout
    file = folder / "tailrace.yaml"
    whole = yaml.safe_load(file.read_text())
    found = rules(file)
    inserts = found["rocketchat_message_inserted"]
    # Rooms before users, keys that an application can make, secrets of all depths.
    assert inserts["subject"] == name + ".{ns.coll}.insert.rid.{fullDocument.rid}"
    assert inserts["id"] == "{ns.coll}.{documentKey._id}.insert"
    assert found["rocketchat_sessions_inserted"]["payload"]["exclude"] == ["fullDocument.sessionId"]
    assert found["rocketchat_sessions_inserted"]["subject"].endswith("userId.{fullDocument.userId}")
    assert found["users_inserted"]["payload"]["exclude"] == [
        "fullDocument.services.password", "fullDocument.services.resume.loginTokens"]
    assert "left out: services.password, services.resume.loginTokens" in done.stdout
    assert found["rocketchat_livechat_inquiry_inserted"]["payload"]["exclude"] == ["fullDocument.v.token"]
    assert "exclude" not in inserts["payload"]
    # Its _id was given twice; three documents and none are too few for a schema.
    assert found["rocketchat_permissions_inserted"]["id"] == "positional"
    assert "schema" not in found["rocketchat_roles_inserted"] | found["rocketchat_avatars_inserted"]
    assert "schema" in inserts and SECRET not in "".join(
        path.read_text() for path in folder.rglob("*") if path.is_file())
    size = whole["streams"][0].get("max_bytes")
    assert size is None and "too short" in file.read_text() or size >= 64 << 20

    variables = {"NATS_URL": lab.nats_url, "HTTP_LISTEN": f"127.0.0.1:{free_ports(1)[0]}"}
    place = f"{began.time}.{began.inc}"
    run = ["-c", file, "--from", place, "--until", "now"]
    environment = os.environ | variables
    assert tailrace("validate", "--strict", "-c", file, env=environment).returncode == 0
    dry = tailrace("run", "--dry-run", "--json", *run, env=environment)
    assert dry.returncode == 0, dry.stdout
    done = tailrace("run", *run, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    stream = whole["streams"][0]["name"]
    messages = jetstream.messages(stream)
    assert len(messages) == sum(rule["messages"] for rule in json.loads(dry.stdout)["rules"])
    subjects = {message.subject for message in messages}
    assert {f"{name}.rocketchat_message.insert.rid.{rid}" for rid in ROOMS} <= subjects
    # Without a room: by its key; with a secret changed alone: nothing.
    assert f"{name}.rocketchat_message.insert.homeless" in subjects
    assert f"{name}.users.update.user000000000002" in subjects
    assert f"{name}.users.update.user000000000001" not in subjects
    assert all(SECRET not in message.body.decode() and "loginTokens" not in message.body.decode()
               for message in messages)
    schema = json.loads((folder / inserts["schema"]).read_text())
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    bodies = [message.json for message in messages if message.subject.startswith(f"{name}.rocketchat_message.insert.rid")]
    assert len(bodies) == 400 and all(validator.is_valid(body) for body in bodies)
    assert not validator.is_valid(bodies[0] | {"fullDocument": bodies[0]["fullDocument"] | {"rid": 7}})

    # Nothing is replaced unasked, and no credentials are written.
    before = file.read_text()
    assert "--force" in propose(folder, "--from-mongodb", lab.uri, "--database", name, code=1).stderr
    assert file.read_text() == before
    hidden = lab.uri + "&appName=password"
    done = propose(folder, "--from-mongodb", hidden, "--database", name, "--force", "--json", "--window", "5m")
    assert hidden not in file.read_text() and "  uri: ${MONGODB_URI}\n" in file.read_text()
    report = json.loads(done.stdout)
    assert report["dry_run"]["verdict"] == "PASS" and len(report["collections"]) == 12
    assert {collection["namespace"].split(".")[1]: collection["parent"] for collection in report["collections"]}[
        "rocketchat_room"] is None
    assert tailrace("validate", "-c", file, env=os.environ | {"MONGODB_URI": hidden}).returncode == 0


def test_recorded_events(tmp_path):
    """Of a change stream, as applications write them down; and oplog entries: without any server."""
    rng = random.Random(20)
    documents = [message(rng, number) | {"authToken": "t"} for number in range(60)]
    events = [{"_id": {"_data": "x"}, "operationType": "insert", "ns": {"db": "chat", "coll": "messages"},
               "clusterTime": bson.Timestamp(1_700_000_000 + 10 * number, 1), "documentKey": {"_id": document["_id"]},
               "fullDocument": document} for number, document in enumerate(documents)]
    events += [{"operationType": "update", "ns": {"db": "chat", "coll": "messages"}, "clusterTime": bson.Timestamp(1_700_000_900, 1),
                "documentKey": {"_id": documents[0]["_id"]},
                "updateDescription": {"updatedFields": {"msg": "z"}, "removedFields": []}}]
    entries = [{"ts": bson.Timestamp(1_700_000_000 + number, 1), "t": bson.Int64(1), "v": bson.Int64(2), "op": "i",
                "wall": document["ts"], "ns": "chat.messages", "ui": bson.Binary(bytes(16), 4), "o": document,
                "o2": {"_id": document["_id"]}} for number, document in enumerate(documents)]
    untimed = [{field: value for field, value in event.items() if field != "clusterTime"} for event in events]
    for number, lines in enumerate([events, entries, untimed]):
        source = tmp_path / f"events{number}.ndjson"
        source.write_text("".join(bson.json_util.dumps(line) + "\n" for line in lines))
        folder = tmp_path / str(number)
        done = propose(folder, "--from-events", source)
        assert "PASS" in done.stdout and "0 warnings" in done.stdout
        text = (folder / "tailrace.yaml").read_text()
        inserts = rules(folder / "tailrace.yaml")["messages_inserted"]
        assert inserts["subject"] == "chat.{ns.coll}.insert.rid.{fullDocument.rid}"
        assert inserts["payload"]["exclude"] == ["fullDocument.authToken"]
        schema = json.loads((folder / inserts["schema"]).read_text())
        # These were all inserts, so that what all have can be asked for.
        assert "rid" in schema["properties"]["fullDocument"]["required"]
        assert ("max_bytes: 67108864" in text) == (number == 0)
        assert tailrace("validate", "--strict", "-c", folder / "tailrace.yaml").returncode == 0
    (tmp_path / "wrong").write_text('{"a": 1}\n')
    done = propose(tmp_path / "x", "--from-events", tmp_path / "wrong", code=64)
    assert f"{tmp_path}/wrong:1: neither a change event" in done.stderr
    assert not (tmp_path / "x" / "tailrace.yaml").exists()


TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLW9mLWl0"


def changes(namespace, documents):
    database, collection = namespace.split(".", 1)
    return [{"operationType": "insert", "ns": {"db": database, "coll": collection},
             "clusterTime": bson.Timestamp(1_700_000_000 + number, 1), "documentKey": {"_id": document["_id"]},
             "fullDocument": document} for number, document in enumerate(documents)]


def from_events(folder, events, *options, code=0):
    source = folder / "events.ndjson"
    source.write_text("".join(bson.json_util.dumps(event) + "\n" for event in events))
    return propose(folder / "etc", "--from-events", source, *options, code=code)


def test_events_without_a_document(tmp_path):
    """What a change stream has besides is passed over and counted; what nothing is known of is refused, by its line."""
    events = changes("app.notes", [{"_id": f"k{n}", "n": n} for n in range(25)])
    namespace = {"db": "app", "coll": "notes"}
    time = bson.Timestamp(1_700_000_100, 1)
    others = [
        {"operationType": "invalidate", "clusterTime": time}, {"operationType": "drop", "clusterTime": time, "ns": namespace},
        {"operationType": "rename", "clusterTime": time, "ns": namespace, "to": {"db": "app", "coll": "old"}},
        {"operationType": "dropDatabase", "clusterTime": time, "ns": {"db": "app"}},
        {"operationType": "create", "ns": namespace, "operationDescription": {"idIndex": {"v": 2}}},
        {"operationType": "modify", "clusterTime": time, "ns": namespace},
        {"operationType": "shardCollection", "clusterTime": time, "ns": namespace},
        {"operationType": "refineCollectionShardKey", "clusterTime": time, "ns": namespace},
        {"operationType": "reshardCollection", "clusterTime": time, "ns": namespace},
        {"operationType": "drop", "clusterTime": time, "ns": namespace},
        {"ts": time, "t": bson.Int64(1), "v": bson.Int64(2), "op": "c", "wall": moment(0), "ns": "app.$cmd",
         "ui": bson.Binary(bytes(16), 4), "o": {"drop": "notes"}, "o2": {"numRecords": 1}}]
    done = from_events(tmp_path, events[:10] + others + events[10:])
    assert "PASS" in done.stdout
    assert ("passed over: 1 create, 3 drop, 1 dropDatabase, 1 invalidate, 1 modify, 1 refineCollectionShardKey, "
            "1 rename, 1 reshardCollection, 1 shardCollection.") in done.stdout
    assert set(rules(tmp_path / "etc" / "tailrace.yaml")) == {"notes_inserted", "notes_changed"}
    done = from_events(tmp_path, events + others[:2], "--force", "--json")
    assert json.loads(done.stdout)["passed_over"] == {"drop": 1, "invalidate": 1}
    said = from_events(tmp_path, others[:3], "--force", code=64).stderr
    assert "no change of a document; there are 1 drop, 1 invalidate, 1 rename" in said
    said = from_events(tmp_path, [*events, {"operationType": "teleport", "clusterTime": time}], "--force", code=64).stderr
    assert "events.ndjson:26: " in said and '"teleport"' in said
    said = from_events(tmp_path, [*events, {"operationType": 7, "clusterTime": time}], "--force", code=64).stderr
    assert "events.ndjson:26: operationType is 7: it must be a text" in said
    insert = {"operationType": "insert", "ns": namespace, "documentKey": {"_id": 1}, "fullDocument": {"_id": 1}}
    for fault, said in [
            ({"fullDocument": 7}, "fullDocument is 7: it must be a document"), ({"fullDocument": None}, "fullDocument is null"),
            ({"ns": "app.notes"}, 'ns is "app.notes": it must have a database'), ({"documentKey": 5}, "documentKey is 5"),
            ({"ns": {"db": "app", "coll": ""}}, 'ns is {"db":"app","coll":""}'),
            ({"operationType": "update", "updateDescription": {"updatedFields": 3}}, "updateDescription.updatedFields is 3")]:
        found = from_events(tmp_path, [*events, insert | fault], "--force", code=64).stderr
        assert f"events.ndjson:26: {said}" in found, found
    source = tmp_path / "array.json"
    for indent in [2, None]:
        source.write_text(bson.json_util.dumps(events, indent=indent))
        said = propose(tmp_path / "etc", "--from-events", source, "--force", code=64).stderr
        assert f"jq -c '.[]' {source}" in said, said


def test_options_without_effect(tmp_path):
    for options in [["--sample", "5"], ["--window", "1h"]]:
        for source in [[], ["--from-events", tmp_path / "events.ndjson"]]:
            said = propose(tmp_path / "etc", *source, *options, code=64).stderr
            assert "go with --from-mongodb" in said


def test_an_empty_key(lab, tmp_path, name):
    """It is no token of a subject, and no id: neither of the document that has it, nor of its events."""
    documents = [{"_id": f"k{n}", "rid": f"r{n % 3}", "n": n} for n in range(30)]
    done = from_events(tmp_path, changes("app.rooms", [*documents, {"_id": "", "rid": "r1", "n": 7}])
                       + changes("app.notes", [{"_id": f"k{n}"} for n in range(30)]))
    assert "PASS" in done.stdout and "an _id is an empty string" in done.stdout
    found = rules(tmp_path / "etc" / "tailrace.yaml")
    assert found["rooms_inserted"]["id"] == "positional" and "rid" in found["rooms_inserted"]["subject"]
    assert found["rooms_changed"]["subject"] == "app.{ns.coll}.{operationType}"
    assert found["notes_changed"]["subject"].endswith("{documentKey._id}")
    # Among the documents, and only in the oplog.
    with client(lab) as mongo:
        mongo[name].kept.insert_many([{"_id": "", "n": 1}, {"_id": "a", "n": 2}])
        mongo[name].gone.insert_many([{"_id": "", "n": 1}, {"_id": "a", "n": 2}])
        mongo[name].gone.delete_one({"_id": ""})
    settle(lab)
    folder = tmp_path / "deployment"
    done = propose(folder, "--from-mongodb", lab.uri, "--database", name, "--window", "5m")
    assert "PASS" in done.stdout, done.stdout
    for rule in rules(folder / "tailrace.yaml").values():
        assert "documentKey" not in rule["subject"] and rule.get("id", "positional") == "positional"


def test_secrets_in_keys_and_values(tmp_path):
    rng = random.Random(21)
    events = changes("app.logins", [{"_id": f"{TOKEN}{n}", "at": moment(n)} for n in range(30)])
    events += changes("app.grants", [{"_id": {"user": n, "token": key(rng)}, "scope": "x"} for n in range(30)])
    events += changes("app.hosts", [{
        "_id": key(rng), "mirror": f"ftp://ada:pw{n}@files.example.org/x", "note": "see https://example.org/a@b:c",
        "hook": f"https://example.org/in?id={n}&access_token=abc{n}", "dsn": f"Server=a;Password=geheim{n};",
        "login": {"name": "ada", "pass": f"geheim{n}"}, "pin": 1000 + n, "tokenCount": n, "maxTokens": 5,
        "passwordChangedAt": moment(n), "tokenType": "bearer", "usage": {"tokens": n}, "passengers": 3, "spinning": "x",
        "compass": "N", "devices": {f"{TOKEN}": True}} for n in range(30)])
    done = from_events(tmp_path, events)
    assert "PASS" in done.stdout and "0 warnings" in done.stdout
    found = rules(tmp_path / "etc" / "tailrace.yaml")

    def excluded(rule):
        return set(found[rule]["payload"].get("exclude", []))

    # A key that is a secret is nowhere: neither in bodies, nor in subjects or ids.
    assert excluded("logins_inserted") == excluded("logins_changed") == {"fullDocument._id", "documentKey._id"}
    for rule in ["logins_inserted", "logins_changed"]:
        assert "documentKey" not in found[rule]["subject"] and found[rule].get("id", "positional") == "positional"
    assert excluded("grants_inserted") == {"fullDocument._id.token", "documentKey._id.token"}
    assert excluded("hosts_inserted") == {
        "fullDocument." + path for path in ["mirror", "hook", "dsn", "login.pass", "pin", "devices"]}
    assert "left out: _id" in done.stdout and "JSON web token" in (tmp_path / "etc" / "tailrace.yaml").read_text()
    written = "".join(path.read_text() for path in (tmp_path / "etc").rglob("*") if path.is_file())
    assert TOKEN not in written and "geheim" not in written


def test_what_is_no_application_s(tmp_path):
    rng = random.Random(22)

    def documents():
        return [{"_id": key(rng), "n": n} for n in range(25)]

    own = ["config.sessions", "admin.system.users", "local.startup_log", "app.system.views", "app.system.buckets.loads",
           "app.fs.chunks", "app.enxcol_.people.esc", "app.system.profile"]
    events = [event for namespace in own for event in changes(namespace, documents())]
    # A room that is never named takes nothing.
    events += changes("app.notes", [document | {"room": "", "channel": ["", "x", "y"][n % 3]} for n, document in
                                    enumerate(documents())])
    events += changes("app.lists", [document | {"room": ""} for document in documents()])
    events += changes("app.systematic", documents()) + changes("config2.chunks", documents())
    done = from_events(tmp_path, events)
    text = (tmp_path / "etc" / "tailrace.yaml").read_text()
    found = rules(tmp_path / "etc" / "tailrace.yaml")
    assert {rule["match"]["namespace"] for rule in found.values()} == {
        "app.notes", "app.lists", "app.systematic", "config2.chunks"}
    for namespace in own:
        assert f"{namespace}: no rules" in done.stdout and f"#   {namespace}: " in text, namespace
    assert "channel.{fullDocument.channel}" in found["app_notes_inserted"]["subject"]
    assert "where" not in found["app_lists_inserted"]["match"]
    # Nothing else is there.
    (tmp_path / "etc" / "tailrace.yaml").unlink()
    assert "no change of an application's document" in from_events(tmp_path, events[:50], code=64).stderr
    # A database that is asked for is one.
    from_events(tmp_path, events[:25], "--database", "config")
    assert "sessions_inserted" in rules(tmp_path / "etc" / "tailrace.yaml")


def test_databases_that_are_called_like_the_bridge_s_own(tmp_path):
    """Or like a word of YAML: `validate` takes what is written, which `init` has tried by itself."""
    documents = [{"_id": f"k{n}", "n": n} for n in range(25)]
    events = [event for database in ["dlq", "tailrace", "tailrace_dlq", "TAILRACE_AUDIT", "null", "Null2", "yes"]
              for event in changes(f"{database}.things", documents)]
    assert "PASS" in from_events(tmp_path, events).stdout
    for database in ["dlq", "null"]:
        folder = tmp_path / database
        folder.mkdir()
        assert "PASS" in from_events(folder, changes(f"{database}.things", documents)).stdout
        checked = tailrace("validate", "--strict", "-c", folder / "etc" / "tailrace.yaml")
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_secrets_that_no_path_names(tmp_path):
    """The field around them is left out; without one, their collection is."""
    def documents(extra):
        return [{"_id": f"k{n}", "n": n} | extra for n in range(25)]

    events = changes("app.inside", documents({"v": {"": {"password": "geheim"}, ".pin": "geheim"}}))
    events += changes("app.value", documents({"v": {"w": {"": "$2b$10$abcdefghijklmnopqrstuu"}}}))
    events += changes("app.top", documents({"": {"password": "geheim"}}))
    events += changes("app.dot", documents({"password.": "geheim"}))
    events += changes("app.plain", documents({"": {"n": 1}, "a.": 2}))
    done = from_events(tmp_path, events)
    assert "PASS" in done.stdout
    found = rules(tmp_path / "etc" / "tailrace.yaml")
    assert {rule["match"]["namespace"] for rule in found.values()} == {"app.inside", "app.value", "app.plain"}
    assert found["inside_inserted"]["payload"]["exclude"] == ["fullDocument.v"]
    assert found["value_inserted"]["payload"]["exclude"] == ["fullDocument.v.w"]
    text = (tmp_path / "etc" / "tailrace.yaml").read_text()
    for collection in ["top", "dot"]:
        assert f"#   app.{collection}: a field looks like a secret" in text, text


def test_spellings_of_secrets(tmp_path):
    secrets = ["password2", "pwd1", "old_pw", "cvv2", "creds", "sshKey", "ssh_key", "masterKey", "resetCode",
               "connectionString", "securityAnswer", "mfa", "csrfToken", "webhookUrl", "apiKeys", "access_keys"]
    plain = ["argon", "pwa", "codes", "code2", "keyboard", "hash", "session", "sidebar", "verification", "addr2"]
    documents = [{"_id": f"k{n}"} | {name: f"v{n}" for name in secrets + plain}
                 | {"crypted": "$6$rounds=5000$abc$def", "slack": "https://hooks.slack.com/services/T0/B0/x"}
                 for n in range(25)]
    from_events(tmp_path, changes("app.users", documents))
    excluded = rules(tmp_path / "etc" / "tailrace.yaml")["users_inserted"]["payload"]["exclude"]
    assert set(excluded) == {f"fullDocument.{name}" for name in [*secrets, "crypted", "slack"]}


def test_what_cannot_be_proposed(lab, tmp_path, name):
    assert "no collection" in propose(tmp_path, "--from-mongodb", lab.uri, "--database", name, code=64).stderr
    unreachable = propose(tmp_path, "--from-mongodb", "mongodb://127.0.0.1:1/?replicaSet=rs0", code=69).stderr
    assert unreachable.count("MongoDB:") == 1, unreachable
    assert "one of" in propose(tmp_path, "--from-mongodb", lab.uri, "--from-events", "x", code=64).stderr
    assert not (tmp_path / "tailrace.yaml").exists()
    # A rule for this name would take all other collections' events, too.
    with client(lab) as mongo:
        for collection in ["*", "rooms"]:
            mongo[name][collection].insert_one({"password": "x"})
    propose(tmp_path, "--from-mongodb", lab.uri, "--database", name)
    text = (tmp_path / "tailrace.yaml").read_text()
    assert "in a rule, * matches any characters" in text
    assert {rule["match"]["namespace"] for rule in yaml.safe_load(text)["rules"]} == {f"{name}.rooms"}
