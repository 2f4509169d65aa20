"""The examples of docs/consumers.md: a copy of two collections that is exact, whatever is killed meanwhile."""

import json
import random
import sqlite3
import subprocess
import sys

import pytest

from bridge import BINARY, ROOT, Bridge, configuration, wait_until
from buckets import with_bucket
from jetstream import JetStreamError
from lab import Lab, die_with_parent
from load import client, expected as events, now

EXAMPLE = ROOT / "examples" / "python" / "read_model.py"
# Of `make test`; a build of the whole package has it, too.
SWIFT = BINARY.with_name("Examples")


class Copy:
    def __init__(self, lab, folder, stream):
        self.file = folder / "copy.db"
        self.arguments = [sys.executable, str(EXAMPLE), lab.nats_url, stream, "copies", str(self.file)]
        self.log = open(folder / "copies.log", "wb")
        self.processes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()
        self.log.close()

    def start(self):
        self.processes.append(subprocess.Popen(self.arguments, stdout=self.log, stderr=self.log,
                                               preexec_fn=die_with_parent))

    def kill_one(self, dice):
        process = self.processes.pop(dice.randrange(len(self.processes)))
        process.kill()
        process.wait()

    def documents(self):
        with sqlite3.connect(self.file, timeout=30) as copy:
            # The file is there before its tables are.
            if not copy.execute("SELECT 1 FROM sqlite_master WHERE name = 'documents'").fetchone():
                return {}
            return {tuple(json.loads(key)): json.loads(body) for key, body in copy.execute(
                "SELECT key, body FROM documents WHERE body IS NOT NULL")}

    def set_aside(self):
        with sqlite3.connect(self.file, timeout=30) as copy:
            return copy.execute("SELECT id, reason FROM set_aside").fetchall()


def write(dice, database, steps, keys):
    for _ in range(steps):
        collection = database[dice.choice(["rooms", "users"])]
        known = keys.setdefault(collection.name, [])
        kind = dice.random()
        if kind < 0.3 or not known:
            known.append(len(known) if len(known) not in known else max(known) + 1)
            collection.insert_one({"_id": known[-1], "n": dice.randrange(9), "list": [1, 2], "in": {"a": {"b": 1}}})
            continue
        key = {"_id": dice.choice(known)}
        if kind < 0.8:
            collection.update_one(key, dice.choice([
                {"$set": {"in.a.b": dice.random()}}, {"$set": {"new": {"x": [1]}}}, {"$unset": {"n": 1}},
                {"$push": {"list": dice.randrange(99)}}, {"$set": {"list.0": "first"}}, {"$inc": {"count": 1}},
                {"$push": {"list": {"$each": [], "$slice": 1}}}]))
        elif kind < 0.9:
            collection.replace_one(key, {"replaced": dice.random(), "list": [], "in": {"a": {}}})
        else:
            collection.delete_one(key)
            known.remove(key["_id"])


def test_a_copy_is_exact(tmp_path, name):
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    dice = random.Random(seed)
    keys = {}
    with Lab() as lab, client(lab) as mongo:
        write(dice, mongo[name], 40, keys)
        whole = configuration(lab, name, source={"start": "snapshot"})
        whole["rules"][0]["payload"]["full_document"] = "off"
        with Bridge(tmp_path, whole) as bridge, Copy(lab, tmp_path, name) as copy:
            bridge.start().wait_ready()
            for _ in range(3):
                copy.start()
            for round in range(3):
                write(dice, mongo[name], 40, keys)
                copy.kill_one(dice)
                copy.start()
                if round == 1:
                    lab.restart("nats")
                if round == 2:
                    bridge.kill()
                    bridge.start()

            def expected():
                return {(collection, document["_id"]): document for collection in ("rooms", "users")
                        for document in mongo[name][collection].find()}

            wait_until(lambda: copy.file.exists() and copy.documents() == expected(), "the copy has everything")
            assert copy.set_aside() == []


def test_a_poison_message_is_set_aside(lab, jetstream, tmp_path, name):
    with Bridge(tmp_path, configuration(lab, name)) as bridge, Copy(lab, tmp_path, name) as copy, client(lab) as mongo:
        bridge.start().wait_ready()
        # An update of something that the copy has never seen: it began without a snapshot.
        mongo[name].rooms.insert_one({"_id": 1})
        wait_until(lambda: jetstream.last_sequence(name) == 1, "the insert")
        jetstream.purge(name)
        mongo[name].rooms.update_one({"_id": 1}, {"$set": {"n": 1}})
        mongo[name].rooms.insert_one({"_id": 2})
        copy.start()
        wait_until(lambda: copy.file.exists() and ("rooms", 2) in copy.documents(), "what is behind it arrives")
        (identity, reason), = copy.set_aside()
        assert identity and "begin with a snapshot" in reason
        assert ("rooms", 1) not in copy.documents()


class SwiftCopy:
    """Workers of examples/swift/Consumer with one durable consumer: documents in a bucket, insertions passed on."""

    def __init__(self, lab, folder, name):
        self.lab, self.name = lab, name
        self.arguments = [SWIFT, "consume", lab.nats_url, name, "copies", f"{name}_copies", f"effects_{name}"]
        self.log, self.processes = open(folder / "swift.log", "wb"), []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        while self.processes:
            self.kill()
        self.log.close()

    def start(self):
        self.processes.append(subprocess.Popen(self.arguments, stdout=self.log, stderr=self.log,
                                               preexec_fn=die_with_parent))

    def kill(self):
        process = self.processes.pop(0)
        process.kill()
        process.wait()

    def entries(self):
        """{(collection, _id): {"position", "document"}}; the ids are numbers."""
        async def read(bucket):
            found = {}
            for key in await bucket.keys():
                collection, identity = key.split(".")
                found[collection, int(identity)] = json.loads((await bucket.get(key)).value)
            return found

        return with_bucket(self.lab, f"{self.name}_copies", read)

    def documents(self):
        return {key: entry["document"] for key, entry in self.entries().items() if entry["document"] is not None}


def test_a_copy_in_swift(lab, jetstream, tmp_path, name):
    """Once by id, in order by position, with workers killed and everything delivered again."""
    if not SWIFT.exists():
        pytest.skip(f"{SWIFT} is not built")
    dice, keys, effects = random.Random(name), {}, f"effects_{name}"
    jetstream.api(f"STREAM.CREATE.{effects}", {"name": effects, "subjects": [f"{effects}.>"]})
    whole = configuration(lab, name)
    whole["rules"][0]["payload"]["full_document"] = "when_available"
    with Bridge(tmp_path, whole) as bridge, SwiftCopy(lab, tmp_path, name) as copy, client(lab) as mongo:
        bridge.start().wait_ready()
        began = now(lab)

        def expected():
            return {(collection, document["_id"]): document for collection in ("rooms", "users")
                    for document in mongo[name][collection].find()}

        for _ in range(2):
            copy.start()
        for _ in range(3):
            write(dice, mongo[name], 25, keys)
            copy.kill()
            copy.start()

        def drained():
            try:
                consumer = jetstream.api(f"CONSUMER.INFO.{name}.copies")
            except JetStreamError:
                return False  # the first worker makes it
            return consumer["num_pending"] == consumer["num_ack_pending"] == 0

        count = len(events(lab, name, began))
        wait_until(lambda: jetstream.holds(name, count) and drained(), "everything is consumed")
        assert copy.documents() == expected()
        inserted = [message.id for message in jetstream.messages(name) if message.json["operationType"] == "insert"]
        # Two workers may pass two on in either order; each is there once.
        assert sorted(message.id for message in jetstream.messages(effects)) == sorted(inserted)
        before = copy.entries()
        # The whole stream once more, by a consumer that begins at its beginning: nothing changes.
        copy.kill()
        copy.kill()
        jetstream.api(f"CONSUMER.DELETE.{name}.copies")
        copy.start()
        wait_until(drained, "it is read again")
        assert copy.entries() == before
        assert jetstream.count(effects) == len(inserted)
