"""What `exclude` and `redact` hide stays hidden, whatever writes MongoDB logs; updates of which nothing is
left have no message, and count as filtered; `rename` never gives a name twice."""

import itertools
import json
import random

from bridge import Bridge, configuration, tailrace, wait_until
from faults import seed
from load import client, make_collections, now, settle

SECRET = "SECRET"


def random_value(dice, depth, hidden):
    """A value in which every text under a key `secret` says so."""
    kind = dice.randrange(4) if depth else 3
    if kind < 2:
        return {key: random_value(dice, depth - 1, hidden or key == "secret")
                for key in dice.sample(["7", "0", "map", "secret", "open"], dice.randrange(1, 4))}
    if kind == 2:
        return [random_value(dice, depth - 1, hidden) for _ in range(dice.randrange(4))]
    return f"{SECRET if hidden else 'open'}-{dice.random()}"


def random_update(dice):
    way = [dice.choice(["7", "0", "map", "open"]) for _ in range(dice.randrange(3))]
    if dice.random() < 0.5:
        way.append("secret")
    path = ".".join(["map", *way])
    kind = dice.randrange(4)
    if kind == 0:
        return {"$unset": {path: 1}}
    if kind == 1:
        return {"$push": {path: random_value(dice, 2, "secret" in way)}}
    return {"$set": {path: random_value(dice, 2, "secret" in way)}}


def test_secrets_never_show(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    after = now(lab)
    dice = random.Random(seed())
    # Numbers are passed over wherever they stand, so `map.secret` is the secret of `map.7` too; every
    # other way to one has a path of its own.
    paths = [".".join(["fullDocument.map", *way, "secret"])
             for length in range(6) for way in itertools.product(["map", "open"], repeat=length)]
    wrote = 0
    with client(lab) as mongo:
        rooms = mongo[name].rooms
        for n in range(150):
            rooms.insert_one({"_id": n, "map": random_value(dice, 3, False)})
            for _ in range(3):
                try:
                    rooms.update_one({"_id": n}, random_update(dice))
                    wrote += 1
                except Exception:
                    pass  # $push onto what is no array, $set into what is no document
            if n % 3 == 0:
                rooms.replace_one({"_id": n}, {"map": random_value(dice, 3, False)})
    assert wrote > 50
    settle(lab)
    for envelope in ["cloudevents", "change_event", "debezium", "cloudevents_structured"]:
        for hide in [{"exclude": paths}, {"redact": {path: "mask" for path in paths}}]:
            stream = f"hidden_{envelope}_{'exclude' if 'exclude' in hide else 'redact'}"
            folder = tmp_path / stream
            folder.mkdir()
            whole = configuration(
                lab, stream, source={"start": f"{after.time}.{after.inc}"},
                rule={"match": {"namespace": f"{name}.rooms"},
                      "payload": {"envelope": envelope, "full_document_before_change": "when_available",
                                  **hide}})
            with Bridge(folder, whole) as bridge:
                assert bridge.run("--until", "now") == 0
            messages = jetstream.messages(stream)
            assert len(messages) > 150
            shown = [m for m in messages if SECRET in m.body.decode()]
            assert not shown, shown[0].body


def test_updates_of_hidden_fields_only_have_no_message(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo:
        users = mongo[name].users
        users.insert_one({"_id": 1, "lastSeen": 0, "name": "a", "other": 1})
        for n in range(5):
            users.update_one({"_id": 1}, {"$set": {"lastSeen": n + 1}})
        users.update_one({"_id": 1}, {"$set": {"lastSeen": 9, "name": "b"}})
        users.update_one({"_id": 1}, {"$unset": {"lastSeen": 1}})
    settle(lab)
    rule = {"match": {"namespace": f"{name}.users"},
            "payload": {"exclude": ["fullDocument.lastSeen"]}}
    whole = configuration(lab, name, source={"start": f"{after.time}.{after.inc}"}, rule=rule)
    with Bridge(tmp_path, whole) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            # Behind the last one with a message, also across a restart.
            mongo[name].users.update_one({"_id": 1}, {"$set": {"lastSeen": 10}})
        wait_until(lambda: "tailrace_events_total{outcome=\"filtered\"} 7" in bridge.get("/metrics")[1],
                   "seven updates are filtered")
        assert bridge.terminate() == 0
        bridge.start().wait_ready()
        assert bridge.terminate() == 0
        bodies = [json.loads(m.body) for m in jetstream.messages(name)]
        assert [b["operationType"] for b in bodies] == ["insert", "update"]
        assert bodies[1]["updateDescription"]["updatedFields"] == {"name": "b"}
        done = tailrace("verify", "--json", "-c", bridge.file, cwd=tmp_path)
        assert json.loads(done.stdout)["verdict"] == "PASS", done.stdout
        dry = tailrace("run", "--dry-run", "--json", "-c", bridge.file, "--from",
                       f"{after.time}.{after.inc}", "--until", "now", cwd=tmp_path)
        found = json.loads(dry.stdout)["rules"][0]
        assert (found["matched"], found["messages"], found["filtered"]) == (9, 2, 7)


def test_they_have_messages_where_the_rule_says_so(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo:
        mongo[name].users.insert_one({"_id": 1, "lastSeen": 0})
        mongo[name].users.update_one({"_id": 1}, {"$set": {"lastSeen": 1}})
    settle(lab)
    whole = configuration(
        lab, name, source={"start": f"{after.time}.{after.inc}"},
        rule={"match": {"namespace": f"{name}.users"}, "skip_empty_updates": False,
              "payload": {"exclude": ["fullDocument.lastSeen"]}})
    with Bridge(tmp_path, whole) as bridge:
        assert bridge.run("--until", "now") == 0
    assert len(jetstream.messages(name)) == 2


def test_a_name_given_twice_is_a_dead_letter(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo:
        mongo[name].users.insert_many([{"_id": 1, "login": "a"}, {"_id": 2, "login": "a", "name": "b"}])
        mongo[name].users.update_one({"_id": 1}, {"$rename": {"login": "name"}})
    settle(lab)
    whole = configuration(
        lab, name, source={"start": f"{after.time}.{after.inc}"},
        rule={"match": {"namespace": f"{name}.users"},
              "payload": {"rename": {"fullDocument.login": "name"}}})
    with Bridge(tmp_path, whole) as bridge:
        assert bridge.run("--until", "now") == 0
        assert [json.loads(m.body)["fullDocument"] for m in jetstream.messages(name)] == [
            {"_id": 1, "name": "a"}]
        listed = tailrace("dlq", "list", "--json", "-c", bridge.file, cwd=tmp_path)
        errors = [json.loads(line)["error"] for line in listed.stdout.splitlines()]
        assert errors == ["name_taken", "name_taken"]


def test_a_rename_is_an_event_of_both_names(lab, jetstream, tmp_path, name):
    after = now(lab)
    with client(lab) as mongo:
        db = mongo[name]
        db.source.insert_many([{"_id": n} for n in range(3)])
        db.source.aggregate([{"$out": "users"}])
        db.users.rename("people")
        db.people.rename("others")
    settle(lab)
    whole = configuration(
        lab, name, source={"start": f"{after.time}.{after.inc}"},
        rule={"match": {"namespace": f"{name}.users", "operations": ["rename", "drop"]},
              "subject": f"{name}." + "{operationType}", "payload": {"envelope": "change_event"}})
    with Bridge(tmp_path, whole) as bridge:
        assert bridge.run("--until", "now") == 0
    bodies = [json.loads(m.body) for m in jetstream.messages(name)]
    assert [b["operationType"] for b in bodies] == ["rename", "rename"]
    assert bodies[0]["to"]["coll"] == "users" and bodies[0]["ns"]["coll"].startswith("tmp.agg_out")
    assert (bodies[1]["ns"]["coll"], bodies[1]["to"]["coll"]) == ("users", "people")
