"""The load: a writer at a steady rate, and what it must have led to.

The oplog is the truth. The writer doesn't remember what it wrote: whether a write whose answer was
lost in a fault has happened is for the oplog, read with majority concern, to say."""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass

import pymongo
from bson import Timestamp
from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.read_concern import ReadConcern

COLLECTIONS = ["messages", "rooms", "users", "presence"]


def client(lab, **options):
    return pymongo.MongoClient(lab.uri, serverSelectionTimeoutMS=2000, connectTimeoutMS=1000,
                               socketTimeoutMS=5000, heartbeatFrequencyMS=500, **options)


def make_collections(lab, database):
    """Creates the collections, so that a test has nothing but documents in its events."""
    with client(lab) as mongo:
        for name in COLLECTIONS:
            mongo[database].create_collection(name)


def settle(lab):
    """Returns when a majority has all that was written."""
    with client(lab) as mongo:
        mongo.admin.command("appendOplogNote", 1, data={"settled": "here"},
                            writeConcern={"w": "majority", "wtimeout": 10000})


def now(lab):
    """The position of the newest majority-committed oplog entry."""
    with client(lab) as mongo:
        return mongo.admin.command("hello")["lastWrite"]["majorityOpTime"]["ts"]


class Writer(threading.Thread):
    """Inserts, updates, replacements, deletes and small transactions, `rate` writes a second."""

    TICK = 0.02

    def __init__(self, lab, database, seed, rate=2000):
        super().__init__(daemon=True, name="writer")
        self.lab, self.database, self.rate = lab, database, rate
        self.random = random.Random(seed)
        self.tag = f"{self.random.randrange(1 << 32):x}"  # keys differ from other writers'
        self.asked_to_stop = threading.Event()
        self.errors = Counter()
        self.written = 0
        self.serial = 0
        self.known = {name: [] for name in COLLECTIONS}

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.asked_to_stop.set()
        self.join(60)
        assert not self.is_alive(), "the writer hangs"
        # What is written is not a majority's at once.
        try:
            settle(self.lab)
        except PyMongoError:
            pass  # a fault that continues

    def run(self):
        count = round(self.rate * self.TICK)
        # w:1 is the hard case: what was acknowledged to the writer may still be rolled back.
        with client(self.lab, w=1) as mongo:
            database = mongo[self.database]
            due = time.monotonic()
            tick = 0
            while not self.asked_to_stop.is_set():
                tick += 1
                try:
                    if tick % 5 == 0:
                        self._transaction(mongo, database)
                    self._bulk(database, count)
                    self.written += count
                except (PyMongoError, BulkWriteError) as problem:
                    self.errors[type(problem).__name__] += 1
                    self.asked_to_stop.wait(0.05)
                due = max(due + self.TICK, time.monotonic() - 1)
                self.asked_to_stop.wait(max(0, due - time.monotonic()))

    def _bulk(self, database, count):
        name = self.random.choice(COLLECTIONS)
        known = self.known[name]
        operations = []
        for _ in range(count):
            dice = self.random.random()
            if dice < 0.5 or not known:
                operations.append(InsertOne(self._document(name)))
            elif dice < 0.8:
                operations.append(UpdateOne(
                    {"_id": self.random.choice(known)},
                    {"$set": {"text": f"edit {self.serial}"}, "$inc": {"edits": 1}}))
            elif dice < 0.9:
                key = self.random.choice(known)
                operations.append(ReplaceOne({"_id": key}, {"replaced": self.random.random()}))
            else:
                operations.append(DeleteOne(
                    {"_id": known.pop(self.random.randrange(len(known)))}))
        database[name].bulk_write(operations, ordered=False)

    def _transaction(self, mongo, database):
        one, two = self.random.sample(COLLECTIONS, 2)
        with mongo.start_session() as session, session.start_transaction():
            database[one].insert_one(self._document(one), session=session)
            database[two].insert_many([self._document(two), self._document(two)], session=session)
            if self.known[one]:
                database[one].update_one({"_id": self.random.choice(self.known[one])},
                                         {"$inc": {"edits": 1}}, session=session)

    def _document(self, name):
        self.serial += 1
        key = f"{self.tag}-{self.serial}"
        known = self.known[name]
        known.append(key)
        if len(known) > 5000:
            del known[:1000]
        return {"_id": key, "text": "x" * self.random.randrange(20, 200), "serial": self.serial,
                "edits": 0}


# --- what must have arrived ---------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Event:
    position: tuple
    operation: str
    collection: str
    key: str


def expected(lab, database, after):
    """Every event of the database after a position, derived from the oplog with majority reads.
    Knows no more than what the writer above can have caused."""
    prefix = database + "."
    with client(lab) as mongo:
        # Everything written so far is majority-committed when this is.
        mongo.admin.command("appendOplogNote", 1, data={"reader": database},
                            writeConcern={"w": "majority", "wtimeout": 10000})
        oplog = mongo.local.get_collection("oplog.rs", read_concern=ReadConcern("majority"))
        entries = oplog.find({"ts": {"$gt": after}, "$or": [
            {"ns": {"$regex": f"^{database}\\."}, "op": {"$in": ["i", "u", "d"]}},
            {"ns": "admin.$cmd", "op": "c", "o.applyOps": {"$exists": True}},
        ]}, batch_size=5000).sort("$natural", 1)
        events, open_chains = [], {}
        for entry in entries:
            operations = [entry]
            if entry["op"] == "c" and all(op.get("fromMigrate") for op in entry["o"]["applyOps"]):
                continue
            if entry["op"] == "c":
                assert "lsid" in entry and not entry["o"].get("prepare"), \
                    f"unexpected shape: {entry}"
                key = (str(entry["lsid"]), entry["txnNumber"])
                operations = open_chains.pop(key, []) + entry["o"]["applyOps"]
                if entry["o"].get("partialTxn"):
                    open_chains[key] = operations
                    continue
            for index, op in enumerate(operations):
                if not op["ns"].startswith(prefix) or op.get("fromMigrate"):
                    continue
                kind = {"i": "insert", "d": "delete", "u": "update"}[op["op"]]
                if kind == "update" and "$v" not in op["o"]:
                    kind = "replace"
                key = (op.get("o2") or op["o"])["_id"]
                ts: Timestamp = entry["ts"]
                events.append(Event((ts.time, ts.inc, index), kind, op["ns"][len(prefix):],
                                    str(key)))
    return events


def observed(messages):
    """The same of what a stream holds."""
    events = []
    for message in messages:
        body = message.json
        events.append(Event(message.position, body["operationType"],
                            message.subject.split(".")[1], str(body["documentKey"]["_id"])))
    return events


def complain(expected_events, messages):
    """What is wrong with a stream, in words; "" when nothing is."""
    events = observed(messages)
    ids = Counter(message.id for message in messages)
    doubled = [name for name, count in ids.items() if count > 1]
    disordered = [(a.position, b.position) for a, b in zip(events, events[1:])
                  if a.position >= b.position]
    present, wanted = set(events), set(expected_events)
    lost = [event for event in expected_events if event not in present]
    phantom = [event for event in events if event not in wanted]
    lines = []
    for name, found in [("lost", lost), ("doubled", doubled), ("out of order", disordered),
                        ("not in the oplog", phantom)]:
        if found:
            lines.append(f"{len(found)} {name}: first {found[:3]}, last {found[-1]}")
    bad_ids = [message.id for message in messages
               if message.id != f"rs0:{message.headers['Tailrace-Position']}"]
    if bad_ids:
        lines.append(f"{len(bad_ids)} ids that are not positional: {bad_ids[:3]}")
    if not lines and events != expected_events:
        lines.append("the sequences differ")
    return "\n".join(lines)


def check(lab, jetstream, stream, database, after, seconds=60):
    """Waits until the stream has come to its end, then demands that it is exactly what the oplog
    says: nothing lost, doubled, out of order or invented. Returns the number of events."""
    truth = expected(lab, database, after)
    deadline = time.monotonic() + seconds
    while not jetstream.holds(stream, len(truth)) and time.monotonic() < deadline:
        time.sleep(0.1)
    messages = jetstream.messages(stream)
    complaint = complain(truth, messages)
    assert not complaint, (
        f"stream {stream}: {len(messages)} messages for {len(truth)} events\n{complaint}")
    return len(truth)
