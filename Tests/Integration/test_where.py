"""`match.where` against MongoDB itself: over random documents and conditions, the rule takes exactly
the documents that the server's own query finds.

WHERE_ROUNDS (150) and WHERE_SEED (1) make it longer."""

import json
import os
import random
import subprocess

import bson
from bridge import BINARY, Bridge, configuration, tailrace, wait_until
from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp, json_util
from load import client, make_collections
from pymongo.errors import OperationFailure

ROUNDS = int(os.environ.get("WHERE_ROUNDS", "150"))
SEED = int(os.environ.get("WHERE_SEED", "1"))
CANONICAL = json_util.CANONICAL_JSON_OPTIONS


class Dice(random.Random):
    def number(self):
        return self.choice([0, 1, 2, -1, Int64(2**53 + 1), Int64(1), 1.0, 1.5, -0.0, float("nan"),
                            float("inf"), 9007199254740993.0, 0.1, Decimal128("0.1"),
                            Decimal128("1"), Decimal128("NaN"), Decimal128("1E+400"),
                            Decimal128("0.1000000000000000055511151231257827"), Int64(-2**63)])

    def scalar(self):
        return self.choice([
            self.number, self.number, lambda: self.choice(["", "a", "b", "ab", "ü", "10"]),
            lambda: None, lambda: self.choice([True, False]),
            lambda: ObjectId(self.choice(["6741b7c0e0c917e9c4714161", "6741b7c0e0c917e9c4714162"])),
            lambda: json_util.loads('{"$date": %d}' % self.choice([0, 1, -1])),
            lambda: Timestamp(self.choice([1, 2**31 + 1]), 1),
            lambda: Binary(self.choice([b"", b"a", b"ab"]), self.choice([0, 5])),
            lambda: self.choice([MinKey(), MaxKey()]),
        ])()

    def value(self, depth=0):
        d = self.random()
        if depth > 2 or d < 0.6:
            return self.scalar()
        if d < 0.8:
            return [self.value(depth + 1) for _ in range(self.randrange(4))]
        return self.document(depth + 1)

    def document(self, depth=0):
        return {key: self.value(depth) for key in self.sample("abc01", self.randrange(4))}

    def path(self):
        return ".".join(self.choice("aaabbc01") for _ in range(self.choice([1, 1, 1, 2, 2, 3])))

    def operators(self):
        return self.choice([
            lambda: {"$eq": self.value(1)}, lambda: {"$ne": self.value(1)},
            lambda: {self.choice(["$gt", "$gte", "$lt", "$lte"]): self.value(1)},
            lambda: {"$gt": self.number(), "$lte": self.number()},
            lambda: {"$in": [self.value(1) for _ in range(self.randrange(1, 4))]},
            lambda: {"$nin": [self.value(1) for _ in range(self.randrange(1, 4))]},
            lambda: {"$exists": self.choice([True, False])},
            lambda: {"$type": self.choice(["double", "string", "array", "object", "number", "null",
                                           "bool", 16, ["int", "long"], "decimal", "minKey"])},
            lambda: {"$regex": self.choice(["^a", "b$", "", "ü", "^.$"])},
            lambda: {"$not": {"$gt": self.number()}},
        ])()

    def condition(self, depth=0):
        d = self.random()
        if depth < 2 and d < 0.25:
            return {self.choice(["$and", "$or", "$nor"]): [
                self.condition(depth + 1) for _ in range(self.randrange(1, 3))]}
        if d < 0.4:
            return {self.path(): self.value(1)}
        return {self.path(): self.operators()}


def prefixed(condition):
    return {key if key.startswith("$") else f"fullDocument.{key}":
            [prefixed(part) for part in value] if key.startswith("$") else value
            for key, value in condition.items()}


def yaml_of(condition):
    """Extended JSON is YAML."""
    return json.loads(json_util.dumps(prefixed(condition), json_options=CANONICAL))


def test_like_the_servers_queries(lab, tmp_path, name):
    dice = Dice(SEED)
    documents = [{"_id": number, **dice.document()} for number in range(250)]
    entries = "\n".join(
        json_util.dumps({"op": "i", "ns": f"{name}.docs", "o": document, "v": Int64(2),
                         "ts": Timestamp(1, number + 1), "t": Int64(1)}, json_options=CANONICAL)
        for number, document in enumerate(documents))
    compared = matched = 0
    with client(lab) as mongo:
        collection = mongo[name].docs
        collection.insert_many(documents)
        while compared < ROUNDS:
            condition = dice.condition()
            try:
                found = {document["_id"] for document in collection.find(condition, {"_id": 1})}
            except OperationFailure:
                continue
            bridge = Bridge(tmp_path, configuration(
                lab, name, rule={"match": {"namespace": f"{name}.*", "operations": ["insert"],
                                           "where": yaml_of(condition)}, "subject": f"{name}.x"}))
            done = subprocess.run([BINARY, "decode", "--messages", "-c", bridge.file],
                                  input=entries, capture_output=True, text=True)
            assert done.returncode == 0, f"{condition}: {done.stderr}"
            ours = {json.loads(line)["body"]["documentKey"]["_id"]
                    for line in done.stdout.splitlines()}
            compared += 1
            matched += 0 < len(found) < len(documents)
            difference = ours ^ found
            assert not difference, (
                f"seed {SEED}, {condition}: {len(ours)} instead of {len(found)}, such as "
                f"{documents[sorted(difference)[0]]}")
    assert matched > ROUNDS / 4
    print(f"{compared} conditions over {len(documents)} documents, {matched} of them telling")


def test_first_match_and_updates(lab, jetstream, tmp_path, name):
    """An event that a rule's condition refuses goes to the next rule; `updateDescription` and
    fetched documents can be asked about."""
    make_collections(lab, name)

    def rule(label, where, **payload):
        return {"name": label, "match": {"namespace": f"{name}.messages", "where": where,
                                         "operations": ["insert", "update"]},
                "subject": f"{name}.{label}", "stream": name,
                "payload": {"envelope": "cloudevents"} | payload}

    whole = configuration(lab, name)
    whole["rules"] = [
        rule("system", {"fullDocument.t": {"$exists": True}}),
        rule("renamed", {"updateDescription.updatedFields.u.name": {"$regex": "^bot"}}),
        rule("loud", {"fullDocument.volume": {"$gte": 11}, "operationType": "update"},
             full_document="when_available"),
        rule("rest", {"operationType": {"$in": ["insert", "update"]},
                      "ns.coll": {"$ne": "rooms"}}),
    ]
    with Bridge(tmp_path, whole) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            messages = mongo[name].messages
            messages.insert_one({"_id": 1, "t": "uj", "volume": 5})
            messages.insert_one({"_id": 2, "volume": 12})
            messages.update_one({"_id": 1}, {"$set": {"u.name": "bot-1"}})
            messages.update_one({"_id": 1}, {"$set": {"x": 1}})
            messages.update_one({"_id": 2}, {"$set": {"x": 1}})
        wait_until(lambda: jetstream.holds(name, 5), "5 messages")
    subjects = [m.subject.split(".")[1] for m in jetstream.messages(name)]
    assert subjects == ["system", "rest", "renamed", "rest", "loud"]
    images = [m.headers.get("Tailrace-Image") for m in jetstream.messages(name)][3:]
    # Servers read the past from 5.0 on.
    assert images in ([None, "post"], [None, "lookup"])


def test_mistakes(lab, tmp_path, name):
    for where, said in [
        ({"fullDokument.x": 1}, "did you mean fullDocument"),
        ({"fullDocument.x": {"$gtt": 1}}, "did you mean $gt"),
        ({"$ort": [{"fullDocument.x": 1}]}, "did you mean $or"),
        ({"fullDocument.x": {"$in": 1}}, "$in takes a list"),
        ({"fullDocument.x": {"$type": "strin"}}, "did you mean string"),
        ({"fullDocument.x": {"$regex": "("}}, "no regular expression"),
        ({"fullDocument.x": {"$regex": "a", "$options": "i"}}, "$options i is not available"),
        ({"fullDocument.x": {"$oid": "x"}}, "24 hexadecimal digits"),
        ({"fullDocument.x": {"$exists": "maybe"}}, "true or false"),
        ([1], "where is a list"),
    ]:
        bridge = Bridge(tmp_path, configuration(
            lab, name, rule={"match": {"namespace": f"{name}.*", "where": where}}))
        done = tailrace("validate", "-c", bridge.file)
        assert done.returncode == 78, where
        printed = done.stdout + done.stderr
        assert said.lower() in printed.lower(), (where, printed)
