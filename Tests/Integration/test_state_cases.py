"""`tailrace verify --level state` where documents, names and streams are unusual: nothing that is right
is called wrong, and one message that is wrong is found."""

import json

import pytest
from bridge import Bridge, configuration, tailrace, wait_until
from bson import Decimal128, Int64, ObjectId
from load import client, now, settle
from pymongo.errors import DuplicateKeyError
from test_verify import found, older_than, rebuild
from test_verify_state import state

DDL = ["insert", "update", "replace", "delete", "drop", "rename", "drop_database"]


def close(lab, name, collection="other"):
    """Something behind everything, so that all of it is acknowledged."""
    settle(lab)
    with client(lab) as mongo:
        mongo[name][collection].insert_one({})
    settle(lab)


def publish(bridge, after):
    assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0


def without(jetstream, name, wanted):
    """Removes the one message that `wanted` names."""
    removed = [m for m in jetstream.messages(name) if wanted(m)]
    assert len(removed) == 1
    rebuild(jetstream, name, lambda ms: [m for m in ms if m.id != removed[0].id])
    return removed[0]


def test_right_after_a_snapshot(lab, jetstream, tmp_path, name):
    """No tail has run yet: the snapshot's own messages are what is compared."""
    with client(lab) as mongo:
        mongo[name].things.insert_many([{"_id": n, "n": n} for n in range(50)])
        mongo[name].things.update_many({"n": {"$lt": 10}}, {"$set": {"x": 1}})
        # Positions that hold no entry: increments are skipped where inserts fail.
        for _ in range(2):
            with pytest.raises(DuplicateKeyError):
                mongo[name].things.insert_one({"_id": 1})
        mongo[name].things.insert_one({"_id": "last"})
    settle(lab)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        done = tailrace("snapshot", "-c", bridge.file, cwd=tmp_path, seconds=60)
        assert done.returncode == 0, done.stderr[-2000:]
        report = state(bridge)
        assert report["verdict"] == "PASS" and report["not_held"] == 0
        assert report["counts"]["expected"] == report["counts"]["observed"] == 51
        lost = without(jetstream, name, lambda m: m.json["documentKey"] == {"_id": "last"})
        report = state(bridge, "--timeout", "1", code=1)
        assert found(report) == {"missing": 1}
        assert "last" in report["mismatches"][0]["msg_id"] and lost.headers["Tailrace-Snapshot"]


def test_the_last_change_counts(lab, jetstream, tmp_path, name):
    """What a bounded run has published to its end is compared to its end, on a quiet set too."""
    with client(lab) as mongo:
        mongo[name].things.insert_one({"_id": 1, "n": 1})
        settle(lab)
        after = now(lab)
        mongo[name].things.update_one({"_id": 1}, {"$set": {"n": 2}})
        mongo[name].things.insert_one({"_id": 2})
    settle(lab)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        publish(bridge, after)
        assert state(bridge)["verdict"] == "PASS"
        last = jetstream.messages(name)[-1]
        rebuild(jetstream, name, lambda ms: ms[:-1] + [
            (last, {"body": last.body.replace(b'"fullDocument":{', b'"fullDocument":{"x":1,')})])
        report = state(bridge, "--timeout", "1", code=1)
        assert found(report) == {"payload_mismatch": 1}
        assert report["mismatches"][0]["pointer"] == "/x"


@pytest.mark.parametrize("told", [True, False])
def test_collections_come_and_go(lab, jetstream, tmp_path, name, told):
    """Dropped and renamed collections, with rules that take that and rules that don't."""
    other = f"{name}_2"
    rule = {"match": {"namespace": f"{name}*.*", "operations": DDL if told else DDL[:4]},
            "subject": name + ".x", "payload": {"envelope": "change_event"}}
    after = now(lab)
    with client(lab) as mongo:
        database = mongo[name]
        for collection in ("dropped", "made again", "renamed", "over", "target", "stays"):
            database[collection].insert_many([{"_id": n, "in": collection} for n in range(5)])
        mongo[other].gone.insert_many([{"_id": n} for n in range(5)])
        database["dropped"].drop()
        database["made again"].drop()
        database["made again"].insert_one({"_id": 1, "again": True})
        database["renamed"].rename("new name")
        database["new name"].update_one({"_id": 1}, {"$set": {"changed": 1}})
        database["over"].rename("target", dropTarget=True)
        mongo.drop_database(other)
    close(lab, name, "stays")
    with Bridge(tmp_path, configuration(lab, name, rule=rule)) as bridge:
        publish(bridge, after)
        report = state(bridge, "--timeout", "1")
        assert report["verdict"] == "PASS" and found(report) == {}, report["mismatches"]
        assert report["not_held"] == 0 or not told
        assert told or any("was dropped" in note for note in report["notes"])
        # A document that was renamed with its collection.
        messages = jetstream.messages(name)
        changed = next(m for m in messages if m.json["operationType"] == "insert"
                       and m.json["ns"]["coll"] == "renamed" and m.json["documentKey"]["_id"] == 2)
        body = changed.json
        body["fullDocument"]["in"] = "elsewhere"
        rebuild(jetstream, name, lambda ms: [
            (m, {"body": json.dumps(body).encode()}) if m.id == changed.id else m for m in ms])
        report = state(bridge, "--timeout", "1", code=1)
        assert found(report) == {"payload_mismatch": 1}, report["mismatches"]
        assert "new name" in report["mismatches"][0]["msg_id"]
        assert report["mismatches"][0]["pointer"] == "/in"
        if told:
            # Without the message of a drop its documents are too many.
            rebuild(jetstream, name, lambda ms: [
                m for m in messages if not (m.json["operationType"] == "drop"
                                            and m.json["ns"]["coll"] == "dropped")])
            report = state(bridge, "--timeout", "1", code=1)
            assert found(report) == {"extra": 5}, report["mismatches"]


def test_names_of_all_kinds(lab, jetstream, tmp_path, name):
    """A name is what it is, whatever is in it."""
    names = ["my coll", " a", "a.b c", 'q"uote', "per%20cent", "per cent", "\u0301x", "\u00e9",
             "e\u0301", "t\tab", "a/b", "{x} {\"_id\":1}", "back\\slash", "x.insert"]
    rules = [{"name": f"rule{n}", "match": {"namespace": f"{name}.{one}"},
              "subject": name + ".x", "stream": name,
              "payload": {"envelope": ["cloudevents", "cloudevents_structured"][n % 2]}}
             for n, one in enumerate(names[:7])]
    rest = {"name": "rest", "match": {"namespace": f"{name}.*"}, "subject": name + ".y",
            "stream": name}
    after = now(lab)
    with client(lab) as mongo:
        for one in names:
            mongo[name][one].insert_many([{"_id": n, "in": one} for n in range(3)])
            mongo[name][one].update_one({"_id": 1}, {"$set": {"n": 1}})
            mongo[name][one].delete_one({"_id": 2})
    close(lab, name)
    whole = configuration(lab, name)
    whole["rules"] = rules + [rest]
    with Bridge(tmp_path, whole) as bridge:
        publish(bridge, after)
        report = state(bridge, "--timeout", "1")
        assert report["verdict"] == "PASS" and report["not_held"] == 0
        assert report["counts"]["observed"] == 2 * len(names) + 1
        # In each of them one altered document is found.
        messages = jetstream.messages(name)

        def spoil(message):
            body = message.json
            event = body.get("data", body)
            if event["operationType"] != "insert" or event["documentKey"]["_id"] != 0:
                return message
            event["fullDocument"]["in"] += "!"
            return message, {"body": json.dumps(body).encode()}

        rebuild(jetstream, name, lambda ms: [spoil(m) for m in messages])
        report = state(bridge, "--timeout", "1", code=1)
        assert found(report) == {"payload_mismatch": len(names)}
        assert {m["msg_id"].split(".", 1)[1] for m in report["mismatches"]} == {
            one + ' {"_id":0}' for one in names}


def test_fields_of_all_kinds(lab, jetstream, tmp_path, name):
    """Names with dots, names that are numbers, ids that are equal, and documents as deep as they get."""
    deep = {"x": 1}
    for _ in range(150):
        deep = {"x": deep}
    rules = []
    for kind, payload in {
            "plain": {}, "told": {"disambiguated_paths": True},
            "canonical": {"envelope": "change_event", "json": "canonical"}}.items():
        rules.append({"name": kind, "match": {"namespace": f"{name}.{kind}"},
                      "subject": name + ".x", "stream": name, "payload": payload})
    after = now(lab)
    with client(lab) as mongo:
        for kind in ("plain", "told", "canonical"):
            things = mongo[name][kind]
            things.insert_many([
                {"_id": "dots", "a.b": 1, "a": {"b": 1}, "p": {"q": 1}},
                {"_id": "numbers", "map": {"7": 1, "07": 2}, "list": [1, {"0": 1}, 3]},
                {"_id": "deep", "deep": deep}, {"_id": 1, "n": 1}, {"_id": Int64(2)}, {"_id": 3.0},
                {"_id": ObjectId("56e1fc72e0c917e9c4714161")}])
            things.update_one({"_id": "numbers"}, {"$set": {
                "map.7": 3, "map.8": 4, "list.1.0": 5, "list.0": 6}, "$unset": {"map.07": 1}})
            things.update_one({"_id": "deep"}, {"$set": {"deep.x.x.x.y": 2}})
            things.replace_one({"_id": Decimal128("1.0")}, {"n": 2})
            # An _id may be replaced by an equal one.
            things.insert_many([{"_id": 4, "n": 1}, {"_id": Decimal128("5.0")}, {"_id": {"a": 6}}])
            things.replace_one({"_id": 4}, {"_id": Decimal128("4.00"), "n": 2})
            things.replace_one({"_id": 5}, {"_id": 5.0, "n": 2})
            things.replace_one({"_id": {"a": 6}}, {"_id": {"a": Decimal128("6")}, "n": 2})
            for key in (4, 5, {"a": 6}):
                things.update_one({"_id": key}, {"$set": {"m": 3}})
            things.delete_one({"_id": 2})
            things.insert_one({"_id": 2.0, "n": 3})
            if not older_than(lab, 5):
                things.update_one({"_id": "dots"}, [{"$replaceWith": {"$setField": {
                    "field": "p.r", "input": "$$ROOT", "value": 5}}}])
                things.update_one({"_id": "dots"}, [{"$replaceWith": {"$setField": {
                    "field": "a.b", "input": "$$ROOT", "value": 6}}}])
                things.update_one({"_id": "dots"}, {"$set": {"a.b": 7, "p.q": 8}})
                things.update_one({"_id": "dots"}, [{"$replaceWith": {"$setField": {
                    "field": "p.s", "input": "$$ROOT", "value": 9}}}])
                things.update_one({"_id": "dots"}, [{"$replaceWith": {"$unsetField": {
                    "field": "p.s", "input": "$$ROOT"}}}])
    close(lab, name, "plain")
    whole = configuration(lab, name)
    whole["rules"] = rules
    with Bridge(tmp_path, whole) as bridge:
        publish(bridge, after)
        messages = jetstream.messages(name)
        told = [m for m in messages if m.headers["Tailrace-Rule"] == "told"]
        assert all("disambiguatedPaths" not in m.body.decode() for m in messages
                   if m.headers["Tailrace-Rule"] != "told")
        assert older_than(lab, 5) or any(
            m.json.get("updateDescription", {}).get("disambiguatedPaths") == {"a.b": ["a.b"]}
            for m in told)
        report = state(bridge, "--timeout", "1")
        assert report["verdict"] == "PASS" and found(report) == {}, report["mismatches"]
        assert report["not_held"] == 0
        # What messages can't tell is said so, of the rules that don't tell it.
        noted = [note for note in report["notes"] if "read in several ways" in note]
        assert older_than(lab, 5) or (len(noted) == 1 and noted[0].startswith("2 documents"))
        # The events too, by both readers.
        lost = next(m for m in told if m.json["operationType"] == "update"
                    and m.json["documentKey"]["_id"] == "deep")
        rebuild(jetstream, name, lambda ms: [m for m in ms if m.id != lost.id])
        report = state(bridge, "--timeout", "1", code=1)
        assert found(report) == {"payload_mismatch": 1}
        assert report["mismatches"][0]["pointer"] == "/deep/x/x/x/y"


@pytest.mark.parametrize("left", [0, 1])
def test_a_stream_made_again(lab, jetstream, tmp_path, name, left):
    """What it lacks is not what limits have removed."""
    after = now(lab)
    with client(lab) as mongo:
        mongo[name].things.insert_many([{"_id": n} for n in range(6)])
        mongo[name].things.update_many({}, {"$set": {"x": 1}})
    close(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        publish(bridge, after)
        assert state(bridge)["verdict"] == "PASS"
        rebuild(jetstream, name, lambda ms: ms[len(ms) - left:])
        report = state(bridge, "--timeout", "1", code=2)
        assert "was made again" in report["reasons"][0] and report["not_held"] > 0


def test_limited_streams(lab, jetstream, tmp_path, name):
    """A stream that keeps the newest message of a subject says nothing of documents; others do."""
    latest = f"{name}_latest"
    after = now(lab)
    whole = configuration(lab, name)
    whole["streams"].append({"name": latest, "subjects": [f"{latest}.>"],
                             "max_msgs_per_subject": 1, "duplicate_window": "2m"})
    whole["streams"][0]["max_age"] = "1h"
    whole["rules"].insert(0, {
        "name": "presence", "match": {"namespace": f"{name}.presence"},
        "subject": latest + ".{documentKey._id}", "stream": latest})
    with client(lab) as mongo:
        mongo[name].presence.insert_many([{"_id": n} for n in range(3)])
        mongo[name].presence.update_many({}, {"$set": {"x": 1}})
        mongo[name].things.insert_many([{"_id": n} for n in range(9)])
    close(lab, name)
    with Bridge(tmp_path, whole) as bridge:
        publish(bridge, after)
        report = state(bridge)
        assert report["verdict"] == "PASS" and report["counts"]["observed"] == 10
        assert any(latest in note for note in report["notes"])
        assert any(f"{name}.presence is not compared" in note for note in report["notes"])
        without(jetstream, name, lambda m: m.subject == f"{name}.things.insert"
                and m.json["documentKey"]["_id"] == 4)
        changed = jetstream.messages(name)[1]
        body = changed.json
        body["fullDocument"]["x"] = 1
        rebuild(jetstream, name, lambda ms: [
            (m, {"body": json.dumps(body).encode()}) if m.id == changed.id else m for m in ms])
        assert found(state(bridge, "--timeout", "1", code=1)) == {"payload_mismatch": 1}


def test_dead_letters(lab, jetstream, tmp_path, name):
    """What is a dead letter is no message that is missing."""
    rule = {"subject": name + ".{fullDocument.room}", "payload": {"full_document": "required"},
            "match": {"namespace": f"{name}.*", "operations": ["insert", "update", "replace", "delete"]}}
    with client(lab) as mongo:
        mongo[name].things.insert_many([{"_id": n, "room": "a"} for n in range(5)])
        mongo[name].things.insert_one({"_id": "no room"})
    settle(lab)
    with Bridge(tmp_path, configuration(lab, name, rule=rule)) as bridge:
        done = tailrace("snapshot", "-c", bridge.file, cwd=tmp_path, seconds=60)
        assert done.returncode == 0
        with client(lab) as mongo:
            mongo[name].things.delete_one({"_id": 1})  # has no room to be told in
            mongo[name].things.update_one({"_id": 2}, {"$set": {"n": 1}})
        settle(lab)
        assert bridge.run("--until", "now") == 0
        assert jetstream.state(f"DLQ_{name}")["messages"] == 2
        report = state(bridge, "--timeout", "1")
        assert report["verdict"] == "PASS" and found(report) == {}
        assert any("2 documents" in note and "dead letter" in note for note in report["notes"])


def test_a_body_that_is_none(lab, jetstream, tmp_path, name):
    """A message of which nothing can be read is named, even where it changes nothing."""
    after = now(lab)
    with client(lab) as mongo:
        mongo[name].things.insert_one({"_id": 1})
        mongo[name].things.replace_one({"_id": 1}, {"n": 1})
    close(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        publish(bridge, after)
        rebuild(jetstream, name, lambda ms: [(ms[0], {"body": ms[0].body[:-1]})] + ms[1:])
        report = state(bridge, "--timeout", "1", code=1)
        assert found(report) == {"payload_mismatch": 1}
        assert report["mismatches"][0]["stream_seq"] == 1


def test_documents_that_updates_make_unshowable(lab, jetstream, tmp_path, name):
    """An update may give a document what its rule can't show beside what it has: as a whole it would be a
    dead letter, and messages tell of it all the same. It is a note, and others are compared."""
    after = now(lab)
    with client(lab) as mongo:
        things = mongo[name].things
        things.insert_many([{"_id": n, "s": n} for n in range(4)])
        things.update_one({"_id": 1}, {"$set": {"author": "x"}})
        things.update_one({"_id": 2}, {"$set": {"t": "x"}})
        # One that no message can tell of.
        things.insert_one({"_id": 4, "s": 1, "author": "x"})
    close(lab, name)
    with Bridge(tmp_path, configuration(
            lab, name, rule={"payload": {"envelope": "cloudevents", "json": "relaxed",
                                         "rename": {"fullDocument.s": "author"}}})) as bridge:
        publish(bridge, after)
        assert len(jetstream.messages(f"DLQ_{name}")) == 1
        report = state(bridge)
        assert report["verdict"] == "PASS" and found(report) == {}
        notes = [note for note in report["notes"] if "can't show as a whole" in note]
        assert len(notes) == 1 and notes[0].startswith(f'1 documents, such as {name}.things {{"_id":1}}')
        without(jetstream, name, lambda m: m.json.get("updateDescription", {}).get("updatedFields") == {"t": "x"})
        report = state(bridge, "--timeout", "1", code=1)
        assert found(report) == {"payload_mismatch": 1} and report["mismatches"][0]["pointer"] == "/t"


@pytest.mark.parametrize("told", [True, False])
def test_names_change_in_a_snapshot(lab, jetstream, tmp_path, name, told):
    """A snapshot that continues tells documents under the names that their collections had at its position:
    the renames stand behind it."""
    names = [f"c{n}" for n in range(8)]
    with client(lab) as mongo:
        for one in names:
            mongo[name][one].insert_many([{"_id": f"{one}-{n}", "text": "x" * 100} for n in range(400)])
        settle(lab)
        with Bridge(tmp_path, configuration(
                lab, name, source={"start": "snapshot"},
                rule={"match": {"namespace": f"{name}.*", "operations": DDL if told else DDL[:4]},
                      "subject": f"{name}.x"})) as bridge:
            bridge.start()
            wait_until(lambda: jetstream.last_sequence(name), "it has begun")
            bridge.kill()  # on a very fast machine, behind the end
            for one in names[:4]:
                mongo[name][one].rename(f"{one}new")
                mongo[name][one].insert_many([{"_id": f"late-{n}"} for n in range(10)])
            mongo[name][names[4]].rename(names[5], dropTarget=True)
            mongo[name][names[6]].rename("between")
            mongo[name][names[7]].rename(names[6])
            mongo[name]["between"].rename(names[7])
            settle(lab)
            assert bridge.run("--until", "now") == 0
            close(lab, name)
            assert bridge.run("--until", "now") == 0
            report = state(bridge)
            assert report["verdict"] == "PASS" and found(report) == {}
            assert report["counts"]["expected"] == 7 * 400 + 4 * 10 + 1
        snapshot = [m for m in jetstream.messages(name) if "Tailrace-Snapshot" in m.headers]
        assert all(m.json["documentKey"]["_id"].startswith(m.headers["ce-type"].split(".")[0] + "-")
                   for m in snapshot)


def test_a_rule_for_the_rest(lab, jetstream, tmp_path, name):
    """A rule behind others takes what they leave. A collection of which that is nothing is compared."""
    after = now(lab)
    with client(lab) as mongo:
        mongo[name].things.insert_many([{"_id": n} for n in range(5)])
        mongo[name].others.insert_many([{"_id": n} for n in range(5)])
        mongo[name].things.update_one({"_id": 1}, {"$set": {"n": 1}})
    close(lab, name, "others")
    whole = configuration(lab, name)
    whole["streams"].append({"name": f"{name}_rest", "subjects": [f"{name}_rest.>"]})
    payloads = {"things": {"envelope": "change_event"}, "*": {"envelope": "document"}}
    whole["rules"] = [
        {"name": f"r{number}", "match": {"namespace": f"{name}.{what}", "operations": operations},
         "subject": stream + ".x", "stream": stream, "payload": payloads[what]}
        for number, (what, operations, stream) in enumerate([
            ("things", ["insert", "delete"], name), ("things", ["update", "replace"], name),
            ("*", ["insert", "replace"], f"{name}_rest")])]
    with Bridge(tmp_path, whole) as bridge:
        publish(bridge, after)
        report = state(bridge, "--timeout", "1")
        assert report["verdict"] == "PASS" and report["counts"]["observed"] == 5, report
        assert [note for note in report["notes"] if "things" in note] == [], report["notes"]
        last = jetstream.messages(name)[-1]
        rebuild(jetstream, name, lambda ms: [m for m in ms if m.id != last.id])
        report = state(bridge, "--timeout", "1", code=1)
        assert found(report) == {"payload_mismatch": 1}, report
