"""One configuration with every kind of fault: what `run` stores, what a dry run counts, what verification
derives, what `decode` prints and what a replay sends is the same, message by message."""

import json
import subprocess

from bson import json_util

from bridge import BINARY, Bridge, configuration, tailrace
from load import client, make_collections, now, settle

NUMBER = {"properties": {"fullDocument": {"properties": {"n": {"type": "integer"}}}}}
BUDGET = {"properties": {"fullDocument": {"properties": {"t": {"pattern": "^(?=(a+)+$)b"}}}}}
ANY = {}


def rules(name):
    def rule(label, **more):
        return {"name": label, "match": {"namespace": f"{name}.{label}"}, "stream": name,
                "subject": f"{name}.{label}"} | more

    return [
        rule("letter", subject=name + ".letter.{fullDocument.k}", schema="number.json"),
        rule("dropping", schema="number.json", on_invalid="drop"),
        rule("budget", schema="budget.json"),
        rule("ids", id="{fullDocument.k}"),
        rule("image", payload={"full_document_before_change": "required"}),
        rule("filter", payload={"include": ["documentKey", "updateDescription.updatedFields.a"]}),
        rule("small", stream=f"{name}_S", subject=f"{name}_S.small"),
        rule("both", schema="number.json", **{"continue": True}),
        rule("second", match={"namespace": f"{name}.both"}),
        rule("whole", match={"namespace": f"{name}.*", "operations": ["drop", "rename"]},
             subject=name + ".{operationType}"),
    ]


# What is inserted, and each rule's outcome: True for a message, else the error.
DOCUMENTS = [
    ("letter", {"k": "a", "n": 1}, {"letter": True}),
    ("letter", {"k": "a", "n": "x"}, {"letter": "schema_invalid"}),
    ("letter", {"n": 1}, {"letter": "path_missing"}),
    ("letter", {"k": "r" * 256, "n": 1}, {"letter": "subject_invalid"}),
    ("letter", {"k": "a", "n": 1, "t": "x" * 1_100_000}, {"letter": "payload_too_large"}),
    ("letter", {"_id": "i" * 66_000, "k": "a", "n": 1}, {"letter": "headers_too_large"}),
    ("dropping", {"n": 1}, {"dropping": True}),
    ("dropping", {"n": "x"}, {"dropping": None}),
    ("budget", {"t": "a" * 60 + "c"}, {"budget": "too_complex"}),
    ("ids", {"k": "one"}, {"ids": True}),
    ("ids", {"k": ""}, {"ids": "id_invalid"}),
    ("ids", {"k": "i" * 2000}, {"ids": "id_invalid"}),
    ("small", {"t": "x"}, {"small": True}),
    ("small", {"t": "x" * 3000}, {"small": "payload_too_large"}),
    ("both", {"n": 1}, {"both": True, "second": True}),
    ("both", {"n": "x"}, {"both": "schema_invalid", "second": True}),
    ("nobodys", {"n": 1}, {}),
]


def write(mongo, name):
    """All of it; the outcomes of events in order, as (rule, error or None for a message)."""
    database, outcomes = mongo[name], []
    for number, (collection, document, leads_to) in enumerate(DOCUMENTS):
        database[collection].insert_one({"_id": number} | document)
        outcomes += [(rule, None if how is True else how) for rule, how in leads_to.items()
                     if how is not None]
    database.filter.insert_one({"_id": 1})
    database.filter.update_one({"_id": 1}, {"$set": {"a": 1}})
    database.filter.update_one({"_id": 1}, {"$set": {"b": 1}})
    outcomes += [("filter", None)] * 2
    # The collection keeps no documents from before changes.
    database.image.insert_one({"_id": 1})
    database.image.update_one({"_id": 1}, {"$set": {"a": 1}})
    database.image.delete_one({"_id": 1})
    outcomes += [("image", None), ("image", "image_missing"), ("image", "image_missing")]
    database.gone.insert_one({"_id": 1})
    database.gone.rename("elsewhere")
    database.elsewhere.drop()
    outcomes += [("whole", None)] * 2
    return outcomes


def oplog(lab, after):
    options = json_util.CANONICAL_JSON_OPTIONS
    with client(lab) as mongo:
        found = mongo.local["oplog.rs"].find({"ts": {"$gt": after}, "op": {"$ne": "n"}}).sort(
            "$natural", 1)
        return "\n".join(json_util.dumps(entry, json_options=options) for entry in found)


def decode(bridge, entries, code=0):
    done = subprocess.run([BINARY, "decode", "--messages", "-c", bridge.file], text=True,
                          input=entries, capture_output=True, timeout=120)
    assert done.returncode == code, (done.returncode, done.stderr[-1000:])
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def json_of(bridge, *arguments, code=0):
    done = tailrace(*arguments, "--json", "-c", bridge.file, cwd=bridge.folder, seconds=180)
    assert done.returncode == code, (done.returncode, done.stdout[-3000:], done.stderr[-1000:])
    return [json.loads(line) for line in done.stdout.splitlines()] \
        if arguments[0] == "dlq" else json.loads(done.stdout)


def whole(lab, name, rules):
    return configuration(lab, name, rules=rules, streams=[
        {"name": name, "subjects": [f"{name}.>"]},
        {"name": f"{name}_S", "subjects": [f"{name}_S.>"], "max_msg_size": 2000}])


def schemas(folder, number=NUMBER, budget=BUDGET):
    (folder / "number.json").write_text(json.dumps(number))
    (folder / "budget.json").write_text(json.dumps(budget))


def stored(jetstream, name):
    """Every stream's messages, in the order of events and rules."""
    order = {rule["name"]: n for n, rule in enumerate(rules(name))}
    found = jetstream.messages(name) + jetstream.messages(f"{name}_S") \
        + jetstream.messages(f"DLQ_{name}")
    return sorted(found, key=lambda m: (m.position, order[m.headers["Tailrace-Rule"]]))


def own(message):
    """Its headers without those of the publishing."""
    return {k: v for k, v in message.headers.items() if k == "Nats-Msg-Id" or not k.startswith("Nats-")}


def test_all_find_the_same(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    settle(lab)
    after = now(lab)
    place = f"{after.time}.{after.inc}"
    with client(lab) as mongo:
        outcomes = write(mongo, name)
        settle(lab)
        until = now(lab)
    schemas(tmp_path)
    end = f"{until.time}.{until.inc}"
    with Bridge(tmp_path, whole(lab, name, rules(name))) as bridge:
        assert bridge.run("--from", place, "--until", end) == 0
        messages = stored(jetstream, name)
        found = [(m.headers["Tailrace-Rule"], m.headers.get("Tailrace-Error")) for m in messages]
        assert found == outcomes

        report = json_of(bridge, "run", "--dry-run", "--from", place, "--until", end, code=1)
        for rule in report["rules"]:
            mine = [error for label, error in outcomes if label == rule["name"]]
            dropped = rule["name"] == "dropping"
            assert rule["messages"] == mine.count(None), rule
            assert rule["invalid"] == len(mine) - mine.count(None) + dropped, rule
            assert rule["filtered"] == (rule["name"] == "filter"), rule
            assert rule["subjects"] == len(
                {m.subject for m in messages if m.headers["Tailrace-Rule"] == rule["name"]
                 and "Tailrace-Error" not in m.headers})
            size = max([len(m.subject) + sum(len(k) + len(v.encode()) + 4 for k, v in own(m).items())
                        + len(m.body) for m in messages if m.headers["Tailrace-Rule"] == rule["name"]
                        and "Tailrace-Error" not in m.headers], default=0)
            assert rule["largest_message"] == size, rule
        assert report["unmatched"] >= 1

        verified = json_of(bridge, "verify")
        assert verified["verdict"] == "PASS" and verified["dropped"] == 1
        assert verified["counts"]["expected"] == len(outcomes)

        printed, _ = decode(bridge, oplog(lab, after))
        assert len(printed) == len(messages)
        for message, line in zip(messages, printed, strict=True):
            assert line["subject"] == message.subject
            assert line["headers"] == own(message)
            assert line["body"] == message.json

        # Today's rules make no message of any letter, for the reason it has.
        letters = [error for _, error in outcomes if error]
        replays = json_of(bridge, "dlq", "replay", "--all", code=1)
        assert [replay["error"] for replay in replays] == letters
        assert jetstream.state(f"DLQ_{name}")["messages"] == len(letters)


def test_a_replay_sends_what_a_run_would(lab, jetstream, tmp_path, name):
    """Once the schemas are mended: the message that a run of today's rules stores elsewhere."""
    make_collections(lab, name)
    settle(lab)
    after = now(lab)
    place = f"{after.time}.{after.inc}"
    with client(lab) as mongo:
        outcomes = write(mongo, name)
        settle(lab)
        until = now(lab)
    end = f"{until.time}.{until.inc}"
    schemas(tmp_path)
    mended = [("letter", "schema_invalid"), ("budget", "too_complex"), ("both", "schema_invalid")]
    with Bridge(tmp_path, whole(lab, name, rules(name))) as bridge:
        assert bridge.run("--from", place, "--until", end) == 0
        before = len(stored(jetstream, name))
        schemas(tmp_path, ANY, ANY)
        replays = json_of(bridge, "dlq", "replay", "--all", code=1)
        done = [r for r in replays if r["outcome"] == "published"]
        assert len(done) == len(mended)
        replayed = {m.id: m for m in stored(jetstream, name) if "Tailrace-Replayed" in m.headers}
        assert len(stored(jetstream, name)) == before
        for label, error in mended:
            assert (label, error) in outcomes
        printed, _ = decode(bridge, oplog(lab, after))
        fresh = {line["headers"]["Nats-Msg-Id"]: line for line in printed
                 if "Tailrace-Error" not in line["headers"]}
        assert sorted(m.headers["Tailrace-Rule"] for m in replayed.values()) == sorted(
            label for label, _ in mended)
        for id, message in replayed.items():
            assert message.subject == fresh[id]["subject"]
            assert own(message).items() - {("Tailrace-Replayed",
                                            message.headers["Tailrace-Replayed"])} \
                == fresh[id]["headers"].items()
            assert message.json == fresh[id]["body"]


def test_where_the_bridge_halts(lab, jetstream, tmp_path, name):
    """`run` ends with 70; the dry run fails, `decode` stops at the same event, verification expects no
    message and no letter of it."""
    make_collections(lab, name)
    settle(lab)
    after = now(lab)
    place = f"{after.time}.{after.inc}"
    with client(lab) as mongo:
        mongo[name].letter.insert_one({"_id": 1, "k": "a", "n": 1})
        mongo[name].letter.insert_one({"_id": 2, "k": "a", "n": "x"})
        mongo[name].letter.insert_one({"_id": 3, "k": "a", "n": 1})
        settle(lab)
        until = now(lab)
    end = f"{until.time}.{until.inc}"
    schemas(tmp_path)
    halting = rules(name)
    halting[0]["on_invalid"] = "halt"
    with Bridge(tmp_path, whole(lab, name, halting)) as bridge:
        assert bridge.run("--from", place, "--until", end) == 70
        first, = jetstream.messages(name)
        assert jetstream.state(f"DLQ_{name}")["messages"] == 0
        report = json_of(bridge, "run", "--dry-run", "--from", place, "--until", end, code=1)
        assert report["verdict"] == "FAIL"
        rule = report["rules"][0]
        assert (rule["messages"], rule["invalid"]) == (2, 1)
        printed, said = decode(bridge, oplog(lab, after), code=1)
        assert [line["headers"]["Nats-Msg-Id"] for line in printed] == [first.id]
        assert "halts" in said and "schema_invalid" in said
        # What comes behind is pending, so nothing is decided.
        verified = json_of(bridge, "verify", "--from", place, "--to", end, "--timeout", "3", code=2)
        assert verified["counts"]["expected"] == 2 and verified["counts"]["pending"] == 1
        assert verified["dropped"] == 0
        assert any("halt" in note for note in verified["notes"])
