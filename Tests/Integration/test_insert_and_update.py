"""Insert and update mean the same under every filter: whoever applies the published updates to the published
documents has what the bridge publishes of a document that is inserted as it is in the end."""

import copy
import random
from contextlib import suppress

from bridge import Bridge, configuration
from faults import seed
from load import client, make_collections, now, settle
from pymongo.errors import WriteError
from test_verify_state import state

NAMES = ["a", "b", "c"]


def plain(dice):
    return dice.choice([1, "x", None, True, 2.5])


def document(dice, depth):
    return {key: document(dice, depth - 1) if depth and dice.random() < 0.6
            else [document(dice, 0) for _ in range(dice.randrange(3))] if dice.random() < 0.2
            else plain(dice)
            for key in dice.sample(NAMES, dice.randrange(4))}


def update(dice):
    def path():
        return ".".join(dice.choice(NAMES) for _ in range(dice.randrange(1, 4)))

    def value():
        return document(dice, 2) if dice.random() < 0.4 else [] if dice.random() < 0.2 else plain(dice)

    one, other = path(), path()
    return dice.choice([
        {"$set": {one: value()}}, {"$set": {one: value(), other: value()}}, {"$unset": {one: 1}},
        {"$set": {one: value()}, "$unset": {other: 1}}, {"$rename": {one: other}},
        {"$push": {one: document(dice, 1)}}, {"$pop": {one: 1}}, {"$set": {one: plain(dice)}},
        [{"$set": {one: value()}}], [{"$unset": one}], [{"$set": {one: f"${dice.choice(NAMES)}"}}],
        [{"$replaceWith": {"_id": "$_id", "a": document(dice, 2), "b": "$b"}}],
    ])


def apply(description, known):
    """As a consumer does it: arrays are cut, fields set, then removed."""
    def holder(path):
        at, *rest = known, *path.split(".")
        for part in rest[:-1]:
            if isinstance(at, list):
                at = at[int(part)]
            else:
                at = at.setdefault(part, {})
        return at, rest[-1]

    for cut in description.get("truncatedArrays", []):
        at, name = holder(cut["field"])
        del at[name][cut["newSize"]:]
    for path, value in description["updatedFields"].items():
        at, name = holder(path)
        if not isinstance(at, list):
            at[name] = value
        elif int(name) == len(at):
            at.append(value)
        else:
            at[int(name)] = value
    for path in description["removedFields"]:
        at, name = holder(path)
        at.pop(name, None)


FILTERS = [
    {"include": ["fullDocument.b.a"]},
    {"include": ["fullDocument.a.b.c", "fullDocument.c"]},
    {"include": ["fullDocument.a.b", "fullDocument.b.a.c", "fullDocument.c.c"],
     "rename": {"fullDocument.a": "first", "fullDocument.b.a": "second"}},
    {"include": ["fullDocument.a.b", "fullDocument.b"], "exclude": ["fullDocument.b.a"]},
    {"include": ["fullDocument.a.b", "fullDocument.c.a"], "redact": {"fullDocument.c.a": "mask"}},
    {"include": ["fullDocument.a.b.c", "fullDocument.b.c"], "redact": {"fullDocument.b.c": "drop"}},
    {"exclude": ["fullDocument.a.b"], "rename": {"fullDocument.c.a": "other"}},
]


def test_same(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    after = now(lab)
    dice = random.Random(seed())
    with client(lab) as mongo:
        things, copies = mongo[name].things, mongo[name].copies
        for number in range(60):
            things.insert_one({"_id": number, **document(dice, 3)})
        for _ in range(900):
            # What an earlier update has made of the document may not allow it.
            with suppress(WriteError):
                things.update_one({"_id": dice.randrange(60)}, update(dice))
        copies.insert_many(things.find())
    settle(lab)
    for number, payload in enumerate(FILTERS):
        folder = tmp_path / str(number)
        folder.mkdir()
        stream = f"{name}_{number}"
        config = configuration(lab, stream, rule={
            "match": {"namespace": f"{name}.*"}, "payload": {"envelope": "cloudevents"} | payload})
        with Bridge(folder, config) as bridge:
            assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
            report = state(bridge)
            assert report["verdict"] == "PASS", report
        known, shown = {}, {}
        for message in jetstream.messages(stream):
            body = message.json
            collection, key = message.headers["ce-type"].split(".")[0], body["documentKey"]["_id"]
            if collection == "copies":
                shown[key] = body["fullDocument"]
            elif body["operationType"] == "update":
                apply(body["updateDescription"], known[key])
            elif collection == "things":
                known[key] = copy.deepcopy(body["fullDocument"])
        assert len(shown) == 60
        for key, expected in shown.items():
            assert known[key] == expected, (payload, key)
