"""A whole cut-over under load, as docs/cutover.md has it: two groups one after the other go from the bridge to their
producer, which is wrong and silent at first, once through a rollback, while a bridge is killed, the NATS server is
restarted, and MongoDB's primary steps down. An independent consumer counts.

REHEARSAL_RATE (60) sets the writes a second, REHEARSAL_SECONDS (2) how long each stage takes: `make rehearsal`."""

import asyncio
import json
import os
import random
import time
from collections import Counter, defaultdict

from application import Application
from bridge import Bridge, configuration, tailrace, wait_until
from jetstream import JetStream
from lab import Lab
from load import client
from pymongo.errors import AutoReconnect, BulkWriteError, OperationFailure, PyMongoError
from pymongo.write_concern import WriteConcern

RATE = int(os.environ.get("REHEARSAL_RATE", 60))
SECONDS = float(os.environ.get("REHEARSAL_SECONDS", 2))
NAME = "rehearsal"
# A machine that does other things, too, has to be in time.
GRACE = 3
# By group: its collection, and what its events are called.
GROUPS = {"messages": "created", "rooms": "opened"}


class Chat(Application):
    """Writes to both collections, and publishes the events of those groups that it is told to."""

    def __init__(self, lab):
        super().__init__(lab)
        self.random = random.Random(7)
        self.publishes, self.fails = set(), set()
        self.written = defaultdict(list)
        self.silent, self.wrong = set(), set()
        # By group: how many messages were not published within the grace.
        self.late = Counter()

    async def work(self):
        self.nats = await self.connect()
        sending, number = set(), 0
        with client(self.lab) as mongo:
            while not self.stopping.is_set():
                began = time.monotonic()
                for group in GROUPS:
                    documents = [{"_id": number + n, "room": f"r{(number + n) % 4}", "n": number + n}
                                 for n in range(max(1, RATE // 20))]
                    number += len(documents)
                    written = time.monotonic()
                    await asyncio.to_thread(self.insert, mongo, group, documents)
                    self.written[group] += documents
                    for document in documents if group in self.publishes else []:
                        task = asyncio.create_task(self.publish(group, document, written))
                        sending.add(task)
                        task.add_done_callback(sending.discard)
                await asyncio.sleep(max(0, 0.1 - (time.monotonic() - began)))
        if sending:
            await asyncio.gather(*list(sending))
        await self.nats.close()

    def insert(self, mongo, group, documents):
        collection = mongo[NAME].get_collection(group, write_concern=WriteConcern("majority"))
        while True:
            try:
                collection.insert_many(documents, ordered=False)
                return
            except BulkWriteError as error:
                if all(e["code"] == 11000 for e in error.details["writeErrors"]) and not error.details[
                        "writeConcernErrors"]:
                    return  # an earlier attempt
            except (AutoReconnect, OperationFailure, PyMongoError):
                time.sleep(0.1)

    async def publish(self, group, document, written):
        id = f"{document['_id']}.{GROUPS[group]}"
        body = dict(reversed(document.items()))
        if group in self.fails:
            chance = self.random.random()
            if chance < 0.05:
                self.silent.add(id)
                return
            if chance < 0.1:
                self.wrong.add(id)
                body["n"] = -1
        await self.publish_until_stored(
            self.nats, f"{NAME}.{group}.{document['room']}.{GROUPS[group]}", json.dumps(body).encode(), id)
        self.late[group] += time.monotonic() - written > GRACE


class Rehearsal:
    def __init__(self, lab, folder):
        self.lab = lab
        rules = [{
            "name": group, "group": group, "match": {"namespace": f"{NAME}.{group}", "operations": ["insert"]},
            "subject": f"{NAME}.{group}.{{fullDocument.room}}.{verb}", "id": f"{{documentKey._id}}.{verb}",
            "payload": {"envelope": "document"}, "stream": NAME,
        } for group, verb in GROUPS.items()]
        self.bridge = Bridge(folder, configuration(
            lab, NAME, rules=rules, stream={"ownership": "shared"},
            cutover={"grace": f"{GRACE}s", "window": f"{max(5, int(SECONDS))}s"}))
        self.application = Chat(lab)
        self.steps = []

    def note(self, text):
        self.steps.append(text)
        print(f"  {text}", flush=True)

    def cutover(self, verb, group, *arguments, code=0):
        done = tailrace("cutover", verb, "-c", self.bridge.file, "--group", group, *arguments)
        assert code is None or done.returncode == code, f"{verb} {group}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        if verb != "status":
            self.note(f"cutover {verb} --group {group}: {(done.stdout or done.stderr).strip()}")
        return done

    def status(self, group):
        return json.loads(self.cutover("status", group, "--json").stdout)["groups"][0]

    def counts(self, group):
        return self.status(group)["counts"]

    def wait(self, group, what, check):
        wait_until(lambda: check(self.counts(group)), f"{group}: {what}", every=0.3)

    def commit(self, group):
        """A machine that is slow for a while may bring a blocker back: then it is tried again."""
        def committed():
            wait_until(lambda: self.status(group)["can_commit"], f"{group}: no blockers", every=0.5)
            began = time.monotonic()
            done = self.cutover("commit", group, "--timeout", "60s", code=None)
            assert done.returncode in (0, 1), done.stderr
            self.note(f"{'committed' if done.returncode == 0 else 'blocked'} within {time.monotonic() - began:.1f} s")
            return done.returncode == 0
        wait_until(committed, f"{group}: committed")


def move(rehearsal, group, fault, goes_back):
    application = rehearsal.application
    rehearsal.cutover("dual", group)
    application.fails.add(group)
    application.publishes.add(group)
    rehearsal.wait(group, "faults are seen",
                   lambda c: c["filled"] and c["mismatched"] and c["by_producer"])
    fault()
    time.sleep(SECONDS)
    seen = rehearsal.counts(group)
    rehearsal.note(f"the producer is wrong and silent: {seen}")
    application.fails.discard(group)
    late = application.late[group]
    rehearsal.commit(group)
    if goes_back:
        # The producer is gone for a while.
        application.publishes.discard(group)
        rehearsal.wait(group, "events are missed", lambda c: c["missed"])
        application.publishes.add(group)
        rehearsal.cutover("rollback", group)
        rehearsal.wait(group, "what was missed is filled in", lambda c: c["filled"])
        late = application.late[group]
        rehearsal.commit(group)
    time.sleep(SECONDS)
    # It is counted once it is published.
    rehearsal.wait(group, "only late ones are missed", lambda c: c["missed"] <= application.late[group] - late)
    rehearsal.cutover("finalize", group)


def check(rehearsal):
    """Every business event exactly once; in order per room, but for what was filled in."""
    messages = JetStream(rehearsal.lab.nats_url).messages(NAME)
    wanted = Counter(f"{d['_id']}.{GROUPS[group]}" for group, documents in rehearsal.application.written.items()
                     for d in documents)
    found = Counter(m.id for m in messages)
    assert found == wanted, f"missing {list((wanted - found))[:5]}, too many {list((found - wanted))[:5]}"
    filled = [m for m in messages if "Tailrace-Filled" in m.headers]
    wrong = {m.id for m in messages if "Tailrace-Rule" not in m.headers and m.json["n"] < 0}
    assert wrong <= rehearsal.application.wrong
    # Order is the bridge's to keep where it published itself.
    last = {}
    for message in messages:
        if "Tailrace-Rule" in message.headers and "Tailrace-Filled" not in message.headers:
            key = message.subject
            assert last.get(key, (0, 0, 0)) < message.position, f"{message.id} is out of order"
            last[key] = message.position
    producers = sum("Tailrace-Rule" not in m.headers for m in messages)
    rehearsal.note(f"{len(messages)} events, each once: {len(messages) - producers - len(filled)} by the bridge, "
                   f"{producers} by producers, {len(filled)} filled in, {len(wrong)} wrong")


def test_rehearsal(tmp_path):
    with Lab(mongod=3, nats=1) as lab:
        rehearsal = Rehearsal(lab, tmp_path)
        with rehearsal.bridge as bridge:
            with client(lab) as mongo:
                for group in GROUPS:
                    mongo[NAME].create_collection(group)
            bridge.start().wait_ready()
            rehearsal.application.start()
            time.sleep(SECONDS)

            def kill_bridge():
                bridge.kill()
                bridge.start().wait_ready()
                rehearsal.note("the bridge was killed")

            def break_servers():
                lab.restart("nats")
                lab.wait("nats")
                rehearsal.note("the NATS server was restarted")
                with client(lab) as mongo:
                    mongo.admin.command("replSetStepDown", 5, force=True)
                lab.wait_primary()
                rehearsal.note("the primary has stepped down")

            try:
                move(rehearsal, "messages", kill_bridge, goes_back=True)
                move(rehearsal, "rooms", break_servers, goes_back=False)
            finally:
                rehearsal.application.stop()
            report = json.loads(
                tailrace("cutover", "status", "-c", bridge.file, "--json").stdout)
            assert report["all_finalized"]
            assert bridge.terminate() == 0
            check(rehearsal)
