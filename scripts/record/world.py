"""Where a claim is checked: servers, bridges on them, and independent clients at both ends."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nats
import nats.errors
import pymongo
import yaml
from nats.js.api import AckPolicy, ConsumerConfig
from pymongo.read_concern import ReadConcern

import fetch
from lab import die_with_parent, free_ports
from record.claim import DoesNotHold

BINARY = Path(os.environ.get("TAILRACE_BINARY", fetch.ROOT / ".build" / "release" / "tailrace"))
WORKER = Path(__file__).with_name("worker.py")
# Servers are killed on purpose, and nats-py reports each attempt to reach one.
logging.getLogger("nats").setLevel(logging.CRITICAL)
# Keeps a claim that fails from hanging; it judges no speed.
PATIENCE = 60


def wait_until(check, what, seconds=PATIENCE):
    """The first true answer of `check`; without one, the claim that waits for it does not hold."""
    began = time.monotonic()
    while not (answer := check()):
        waited = time.monotonic() - began
        if waited > seconds:
            raise DoesNotHold(f"not within {seconds} s: {what}")
        time.sleep(min(max(waited / 10, 0.01), 0.2))
    return answer


class Bridge:
    """`tailrace run`; what it publishes comes from database `name`, where nothing else is said."""

    def __init__(self, world, name, rules, **sections):
        self.name, self.listen = name, f"127.0.0.1:{free_ports(1)[0]}"
        self.file, self.log = world.folder / f"{name}.yaml", world.folder / f"{name}.log"
        whole = {
            "source": {"uri": world.lab.uri, "name": "rs0", "start": "now"},
            "nats": {"servers": world.servers},
            "bridge": {"name": name, "state_bucket": f"STATE_{name}"},
            "rules": rules,
            "dead_letter": {"stream": f"DLQ_{name}", "subject": f"dlq_{name}" + ".{rule}"},
            "http": {"listen": self.listen},
            "log": {"level": "info", "format": "text"},
        }
        for key, value in sections.items():
            whole[key] = whole[key] | value if isinstance(whole.get(key), dict) else value
        self.file.write_text(yaml.safe_dump(whole, sort_keys=False))
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([BINARY, "run", "-c", self.file], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, preexec_fn=die_with_parent)
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()

    def status(self):
        if self.process.poll() is not None:
            raise DoesNotHold(f"tailrace ended with {self.process.returncode}: {self.log.read_text()[-1500:]}")
        try:
            with urllib.request.urlopen(f"http://{self.listen}/status", timeout=5) as answer:
                return json.load(answer)
        except OSError:
            return {}

    def wait(self):
        """Until it publishes."""
        wait_until(lambda: self.status().get("phase") == "running", "the bridge publishes")
        return self

    def command(self, *words):
        """(exit code, standard output) of another command with the same configuration."""
        done = subprocess.run([BINARY, *words, "-c", self.file], capture_output=True, text=True, timeout=PATIENCE)
        return done.returncode, done.stdout


class World:
    """Servers of one kind, and a folder."""

    def __init__(self, lab, folder):
        self.lab, self.folder = lab, Path(folder)
        self.servers = lab.nats_url.split(",")
        self.mongo = pymongo.MongoClient(lab.uri, w="majority")
        self.made = set()

    def close(self):
        """Starts what a claim has left stopped, and removes what it has made."""
        for server in self.lab.nats:
            if not server.running:
                self.lab.start("nats", server.index)
        self.lab.wait("nats")
        for name in self.made:
            self.mongo.drop_database(name)
            for stream in (name, f"DLQ_{name}", f"KV_STATE_{name}", f"KV_{name}"):
                self.api(f"STREAM.DELETE.{stream}")
        self.mongo.close()

    def make_stream(self, name, **settings):
        """A stream that is not the bridge's, by JetStream's own field names."""
        self.made.add(name)
        answer = self.api(f"STREAM.CREATE.{name}", {"name": name} | settings)
        if "error" in answer:
            raise DoesNotHold(f"no stream {name}: {answer['error']}")

    def rule(self, name, subject, **changes):
        """Every insert of the database `name`."""
        return {"name": name, "match": {"namespace": f"{name}.*", "operations": ["insert"]}, "subject": subject,
                "stream": name} | changes

    @contextmanager
    def bridge(self, name, rules=None, **sections):
        """A bridge that publishes to stream `name`, `<name>.<room>`; `stream` adds to that stream's settings."""
        self.made.add(name)
        self.mongo[name].create_collection("messages")
        settings = {"name": name, "subjects": [f"{name}.>"], "duplicate_window": "2m"} | sections.pop("stream", {})
        sections = {"streams": [settings]} | sections
        bridge = Bridge(self, name, rules or [self.rule(name, name + ".{fullDocument.room}")], **sections)
        try:
            yield bridge.start().wait()
        finally:
            bridge.process.terminate()
            try:
                bridge.process.wait(20)
            except subprocess.TimeoutExpired:
                bridge.kill()

    def insert(self, name, count, first=0, rooms=20, size=100):
        """Inserts `count` documents, a majority has them; the rooms take turns."""
        self.mongo[name].messages.insert_many([
            {"_id": n, "room": f"r{n % rooms}", "text": "x" * size} for n in range(first, first + count)])

    def oplog(self, name):
        """The inserts of a database in the order of the oplog: (position, document), by pymongo alone."""
        oplog = self.mongo.local.get_collection("oplog.rs", read_concern=ReadConcern("majority"))
        found = []
        for entry in oplog.find({"$or": [
                {"ns": f"{name}.messages", "op": "i"},
                {"ns": "admin.$cmd", "op": "c", "o.applyOps.ns": f"{name}.messages"}]}).sort("$natural", 1):
            several = entry["o"].get("applyOps") if entry["op"] == "c" else None
            for index, one in enumerate(several or [entry]):
                if one["op"] == "i" and one["ns"] == f"{name}.messages":
                    found.append((f"{entry['ts'].time}.{entry['ts'].inc}.{index}", one["o"]))
        return found

    def positions(self, name):
        return [position for position, _ in self.oplog(name)]

    # --- the other end: nats-py ---

    def connected(self, work, seconds=PATIENCE):
        """What `work(connection)` returns."""
        async def run():
            connection = await nats.connect(self.servers, connect_timeout=1, reconnect_time_wait=0.1,
                                            max_reconnect_attempts=-1)
            task = asyncio.ensure_future(work(connection))
            try:
                if not (await asyncio.wait({task}, timeout=seconds))[0]:
                    raise DoesNotHold(f"a client is not done within {seconds} s")
                return task.result()
            finally:
                task.cancel()
                await connection.close()

        return asyncio.run(run())

    def api(self, subject, body=None, attempts=60):
        """An answer of JetStream's API, errors included; {} when there is none. Asked again each half a second: a change
        of leaders loses requests."""
        async def ask(connection):
            for _ in range(attempts):
                try:
                    answer = await connection.request(
                        f"$JS.API.{subject}", json.dumps(body).encode() if body else b"", timeout=0.5)
                    return json.loads(answer.data)
                except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
                    await asyncio.sleep(0.05)
            return {}

        return self.connected(ask)

    def state(self, stream):
        return self.api(f"STREAM.INFO.{stream}").get("state") or {"messages": 0, "last_seq": 0, "bytes": 0}

    def consumer(self, stream, name):
        return self.api(f"CONSUMER.INFO.{stream}.{name}")

    def wait_stored(self, stream, count, seconds=PATIENCE):
        wait_until(lambda: self.state(stream)["last_seq"] >= count, f"{count} messages in {stream}", seconds)

    def read(self, stream, count, **policy):
        """The first `count` messages that a new consumer with this policy is given."""
        async def pull(connection):
            jetstream, settings = connection.jetstream(), ConsumerConfig(
                ack_policy=AckPolicy.NONE, inactive_threshold=30, **policy)
            info = await jetstream.add_consumer(stream, settings)
            found, subscription = [], await jetstream.pull_subscribe_bind(info.name, stream)
            while len(found) < count:
                found += await subscription.fetch(min(500, count - len(found)), timeout=5)
            return found

        # A consumer may have been made where a server has just died: another one reads it all.
        for _ in range(5):
            try:
                return self.connected(pull)
            except nats.errors.TimeoutError:
                continue
        raise DoesNotHold(f"a consumer gets less than {count} messages of {stream}")

    def everything(self, stream):
        return self.read(stream, self.state(stream)["messages"])

    # --- workers ---

    @contextmanager
    def workers(self, stream):
        """Starts workers on demand (`start(durable, …)`), and ends them."""
        group = Workers(self, stream)
        try:
            yield group
        finally:
            for worker in group.all:
                worker.kill()
                worker.wait()


class Workers:
    """Processes that pull from durable consumers of a stream; what each has handled is in a file of its own."""

    def __init__(self, world, stream):
        self.world, self.stream, self.all = world, stream, []

    def start(self, durable, *options):
        number = len(self.all)
        with open(self.world.folder / f"{self.stream}-worker.log", "ab") as log:
            self.all.append(subprocess.Popen(
                [sys.executable, WORKER, ",".join(self.world.servers), self.stream, durable, self.file(number),
                 *map(str, options)], stdout=log, stderr=log, preexec_fn=die_with_parent))
        return number

    def file(self, number):
        return self.world.folder / f"{self.stream}-{number}.handled"

    def kill(self, number):
        self.all[number].send_signal(signal.SIGKILL)
        self.all[number].wait()

    def handled(self, number=None):
        """[(began, ended, position, subject, delivery)] of one worker, or of all by when they began."""
        numbers = range(len(self.all)) if number is None else [number]
        lines = [line.split() for n in numbers if self.file(n).exists()
                 for line in self.file(n).read_text().splitlines()]
        return sorted((float(line[0]), float(line[1]), line[2], line[3], int(line[4])) for line in lines)

    def wait_busy(self, numbers, count=5):
        """Until each of these workers has handled so many messages."""
        wait_until(lambda: all(len(self.handled(n)) >= count for n in numbers), "each worker has work")

    def rate(self):
        """Messages a second that all of them handle together: the best of four seconds, since other programs on the
        machine only take away."""
        def once():
            before, began = len(self.handled()), time.monotonic()
            time.sleep(1)
            return (len(self.handled()) - before) / (time.monotonic() - began)

        return max(once() for _ in range(4))

    def wait_drained(self, durables):
        def drained():
            found = [self.world.consumer(self.stream, durable) for durable in durables]
            return all(one["num_pending"] == 0 and one["num_ack_pending"] == 0 for one in found)

        wait_until(drained, "every message is acknowledged")
