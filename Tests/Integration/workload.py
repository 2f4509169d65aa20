"""A seeded workload of everything that changes documents: nested documents, arrays, pipelines, all
BSON types, odd field names, bulk writes, transactions, DDL. The same seed does the same."""

import random

import bson
from bson import Binary, Code, DatetimeMS, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError, CollectionInvalid, OperationFailure

FIELDS = ["a", "b", "c", "l", "u", "i", "d", "s", "sa", "0", "1", "01", "n", "ä", "x y", "diff", "b2",
          "long" * 20]
# Not "$v": the change stream of 6.0.5 fails on a replacement that has such a field.
ODD = ["a.b", "$x", ".", "a.", ".a", "a..b", "0.1"]


class Workload:
    """`step()` does one thing to `database`; what the server refuses is passed over."""

    def __init__(self, client, database, seed, version):
        self.client, self.version = client, version
        self.database = client.get_database(database, codec_options=CodecOptions(
            datetime_conversion=DatetimeConversion.DATETIME_MS))
        self.dice = random.Random(seed)
        self.collections = ["one", "two", "three"]
        self.keys = {name: [] for name in self.collections}
        self.serial = 0
        self.refused = 0
        for collection in self.collections:
            self.database.create_collection(collection)

    def run(self, steps):
        for _ in range(steps):
            self.step()

    def step(self):
        dice = self.dice.random()
        try:
            if dice < 0.30:
                self.insert()
            elif dice < 0.72:
                self.update()
            elif dice < 0.78:
                self.replace()
            elif dice < 0.83:
                self.delete()
            elif dice < 0.90:
                self.bulk()
            elif dice < 0.97:
                self.transaction()
            else:
                self.ddl()
        except (OperationFailure, BulkWriteError, CollectionInvalid, bson.errors.InvalidDocument):
            self.refused += 1

    # --- values ---

    def scalar(self):
        d = self.dice
        return d.choice([
            lambda: d.randrange(-5, 5), lambda: Int64(d.randrange(-2**63, 2**63)),
            lambda: d.choice([0.0, -0.0, 1.0, 0.1, 1e300, float("inf"), float("-inf"),
                              float("nan"), d.random()]),
            lambda: d.choice([True, False]), lambda: None, lambda: "t" * d.randrange(0, 20),
            lambda: d.choice(["ü\u0000x", "\U0001f600", "\"\\/\n", ""]),
            lambda: ObjectId(d.randbytes(12)), lambda: DatetimeMS(
                d.choice([0, -1, 2**40, -2**40, 253402300800000, 1795433959665])),
            lambda: Decimal128(d.choice(["1.50", "NaN", "Infinity", "-0", "1E+6144", "0E-7"])),
            lambda: Binary(d.randbytes(d.randrange(0, 9)), d.choice([0, 2, 5, 128])),
            lambda: Binary(d.randbytes(16), 4),
            lambda: Timestamp(d.randrange(1, 2**32), d.randrange(1, 2**32)),
            lambda: Regex("^a\\/b", d.choice(["", "i", "im"])), lambda: MinKey(), lambda: MaxKey(),
            lambda: Code("f()"), lambda: Code("f()", {"x": 1}),
            lambda: DBRef("one", d.randrange(9)),
        ])()

    def value(self, depth=0):
        dice = self.dice.random()
        if depth > 3 or dice < 0.6:
            return self.scalar()
        if dice < 0.8:
            return [self.value(depth + 1) for _ in range(self.dice.randrange(0, 6))]
        return self.document(depth + 1)

    def document(self, depth=0):
        names = self.dice.sample(FIELDS, self.dice.randrange(0, 6))
        return {name: self.value(depth) for name in names}

    # --- writes ---

    def collection(self):
        name = self.dice.choice(self.collections)
        return name, self.database[name]

    def new_key(self, name):
        self.serial += 1
        key = self.dice.choice([
            lambda: self.serial, lambda: f"key-{self.serial}", lambda: float(self.serial) + 0.5,
            lambda: {"k": self.serial, "z": "x"}, lambda: ObjectId(self.dice.randbytes(12)),
            lambda: Binary(self.dice.randbytes(16), 4)])()
        self.keys[name].append(key)
        return key

    def old_key(self, name):
        keys = self.keys[name]
        return self.dice.choice(keys) if keys else "none"

    def insert(self, session=None):
        name, collection = self.collection()
        if self.dice.random() < 0.3 and session is None:
            collection.insert_many(
                [{"_id": self.new_key(name), **self.document()} for _ in range(4)],
                ordered=self.dice.random() < 0.5)
        else:
            collection.insert_one({"_id": self.new_key(name), **self.document()}, session=session)

    def path(self):
        parts = [self.dice.choice(FIELDS)]
        while self.dice.random() < 0.4:
            parts.append(self.dice.choice(FIELDS + ["0", "2"]))
        return ".".join(parts)

    def modification(self):
        dice, d = self.dice.random(), self.dice
        if dice < 0.35:
            return {"$set": {self.path(): self.value() for _ in range(d.randrange(1, 4))}}
        if dice < 0.45:
            return {"$unset": {self.path(): ""}}
        if dice < 0.55:
            return {"$push": {d.choice(FIELDS): {
                "$each": [self.value(2), self.value(2)],
                **({"$slice": d.randrange(-3, 3)} if d.random() < 0.5 else {})}}}
        if dice < 0.60:
            return {"$rename": {d.choice(FIELDS): d.choice(FIELDS) + "r"}}
        if dice < 0.65:
            return {"$inc": {d.choice(FIELDS): d.choice([1, Int64(2), 0.5])}}
        if dice < 0.70:
            return {"$pop": {d.choice(FIELDS): d.choice([1, -1])}}
        if dice < 0.74:
            return {"$addToSet": {d.choice(FIELDS): self.scalar()}}
        if dice < 0.78:
            return {"$set": {f"{d.choice(FIELDS)}.$[]": self.scalar()}}
        if dice < 0.85:
            return [{"$set": {d.choice(FIELDS): {"$literal": self.value()}}},
                    {"$unset": d.choice(FIELDS)}]
        if dice < 0.90:
            field = d.choice(FIELDS)
            return [{"$set": {field: {"$cond": [
                {"$isArray": f"${field}"}, {"$slice": [f"${field}", 1]}, [1, {"p": 2}, 3]]}}}]
        if self.version >= (5, 0):
            return [{"$replaceWith": {"$setField": {
                "field": {"$literal": d.choice(ODD)}, "input": "$$ROOT",
                "value": {"$literal": self.value(2)}}}}]
        return {"$set": {"a": self.value()}}

    def update(self, session=None):
        name, collection = self.collection()
        if self.dice.random() < 0.15:
            collection.update_many({}, self.modification(), session=session)
        elif self.dice.random() < 0.15:
            collection.find_one_and_update(
                {"_id": self.old_key(name)}, self.modification(), session=session,
                return_document=self.dice.random() < 0.5)
        elif self.dice.random() < 0.1:
            collection.update_one({"_id": self.new_key(name)}, {"$set": {"up": 1}}, upsert=True,
                                  session=session)
        elif self.dice.random() < 0.1:
            collection.update_one({"_id": self.old_key(name)}, {"$set": {"a.$[e]": self.scalar()}},
                                  array_filters=[{"e": {"$gt": 0}}], session=session)
        else:
            collection.update_one({"_id": self.old_key(name)}, self.modification(),
                                  session=session)

    def replace(self):
        name, collection = self.collection()
        collection.replace_one({"_id": self.old_key(name)}, self.document(),
                               upsert=self.dice.random() < 0.3)

    def delete(self, session=None):
        name, collection = self.collection()
        key = self.old_key(name)
        if self.dice.random() < 0.2:
            collection.find_one_and_delete({"_id": key}, session=session)
        else:
            collection.delete_one({"_id": key}, session=session)
        if key in self.keys[name]:
            self.keys[name].remove(key)

    def bulk(self):
        name, collection = self.collection()
        requests = []
        for _ in range(self.dice.randrange(1, 12)):
            requests.append(self.dice.choice([
                lambda: InsertOne({"_id": self.new_key(name), **self.document()}),
                lambda: UpdateOne({"_id": self.old_key(name)}, self.modification()),
                lambda: UpdateMany({"a": {"$exists": True}}, self.modification()),
                lambda: ReplaceOne({"_id": self.old_key(name)}, self.document()),
                lambda: DeleteOne({"_id": self.old_key(name)})])())
        collection.bulk_write(requests, ordered=self.dice.random() < 0.5)

    def transaction(self):
        with self.client.start_session() as session:
            session.start_transaction()
            # One in ten needs several oplog entries.
            large = self.dice.random() < 0.1
            for number in range(self.dice.randrange(0, 8)):
                if large and number < 5:
                    name, collection = self.collection()
                    collection.insert_one({"_id": self.new_key(name), "x": "y" * (4 << 20)},
                                          session=session)
                else:
                    self.dice.choice([self.insert, self.update, self.delete])(session=session)
            if self.dice.random() < 0.2:
                session.abort_transaction()
            else:
                session.commit_transaction()

    def ddl(self):
        name = self.dice.choice(self.collections)
        extra = f"extra{self.dice.randrange(3)}"
        self.dice.choice([
            lambda: self.database.create_collection(extra),
            lambda: self.database[extra].drop(),
            lambda: self.database[name].create_index(self.dice.choice(FIELDS[:6])),
            lambda: self.database[name].drop_indexes(),
            lambda: self.database[extra].rename("renamed", dropTarget=True),
            lambda: self.database.command("collMod", name, validationLevel="off"),
            lambda: self.database.create_collection("view", viewOn=name, pipeline=[]),
            lambda: self.database["view"].drop(),
        ])()
