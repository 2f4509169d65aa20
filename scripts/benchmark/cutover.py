"""How fast events are decided in phase dual, and how long a commit takes under load."""

import asyncio
import json
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import nats
import pymongo
import yaml

from benchmark.cost import Process
from benchmark.tailrace import BINARY, DATABASE, api, configuration, forget, wait_ready

TEXT = "A message of a usual length, as people write them. " * 4
BATCH = 100


def document(number):
    return {"_id": number, "rid": f"r{number % 500}", "msg": TEXT, "n": number}


class Group:
    """One group that producers may publish for, and its bridge."""

    def __init__(self, folder, lab, name, window):
        self.lab, self.name = lab, name
        self.file = configuration(folder, lab, name, name, "auto")
        whole = yaml.safe_load(self.file.read_text())
        self.listen = whole["http"]["listen"]
        whole["cutover"] = {"grace": "1s", "window": window}
        whole["streams"][0]["ownership"] = "shared"
        whole["rules"][0] |= {
            "match": {"namespace": f"{DATABASE}.{name}", "operations": ["insert"]},
            "subject": name + ".{fullDocument.rid}.created", "id": "{documentKey._id}.created",
            "payload": {"envelope": "document", "json": "simplified"}}
        self.file.write_text(yaml.safe_dump(whole, sort_keys=False))
        self.log = Path(folder) / f"{name}.log"
        self.process = None

    def start(self):
        self.process = Process([BINARY, "run", "-c", self.file], log=self.log)
        wait_ready(self.file, self.process)

    def command(self, verb, *arguments):
        done = subprocess.run([BINARY, "cutover", verb, "-c", self.file, "--group", "all", *arguments],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"cutover {verb} ended with {done.returncode}: {done.stderr}")
        return done

    def state(self):
        with urllib.request.urlopen(f"http://{self.listen}/status", timeout=5) as answer:
            return json.load(answer)["cutover_groups"][0]

    def wait(self, check):
        deadline = time.monotonic() + 300
        while not check(self.state()):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the group stays as it is: {self.state()}\n{self.log.read_text()[-2000:]}")
            time.sleep(0.02)

    def dual(self):
        self.start()
        self.command("dual")
        self.wait(lambda state: state["phase"] == "dual" and state["position"])

    def can_commit(self):
        report = json.loads(self.command("status", "--json").stdout)
        return report["groups"][0]["can_commit"]


async def publish(connection, name, numbers):
    """As producers do, except that many are under way at a time."""
    for number in numbers:
        one = document(number)
        await connection.publish(f"{name}.{one['rid']}.created", json.dumps(one).encode(),
                                 headers={"Nats-Msg-Id": f"{number}.created"})
    await connection.flush()


def decided(folder, lab, name, events, share):
    """Events decided a second, once a bridge begins with a backlog whose producers have published this share."""
    group = Group(folder, lab, name, "10s")
    group.dual()
    group.process.stop()

    async def produce():
        connection = await nats.connect(lab.nats_url.split(","))
        await publish(connection, name, range(round(events * share)))
        await connection.close()

    with pymongo.MongoClient(lab.uri) as client:
        for first in range(0, events, 1000):
            client[DATABASE][name].insert_many(document(n) for n in range(first, min(first + 1000, events)))
    asyncio.run(produce())
    group.start()
    try:
        # It may have begun before it was ready.
        group.wait(lambda state: sum(state["counts"].values()) > 0)
        began, before = time.monotonic(), sum(group.state()["counts"].values())
        group.wait(lambda state: sum(state["counts"].values()) >= events)
        spent = time.monotonic() - began
        counts = group.state()["counts"]
    finally:
        group.process.stop()
    wanted = {"by_producer": round(events * share), "filled": events - round(events * share)}
    if any(counts[key] != value for key, value in wanted.items()):
        raise RuntimeError(f"{counts} where {wanted} was to be")
    forget(lab, name)
    return (events - before) / spent


class Load(threading.Thread):
    """Writes at a rate, each write with its message."""

    def __init__(self, lab, name, rate):
        super().__init__(daemon=True)
        self.lab, self.name, self.rate = lab, name, rate
        self.stopping = threading.Event()
        self.written = 0

    def run(self):
        asyncio.run(self.work())

    async def work(self):
        connection = await nats.connect(self.lab.nats_url.split(","))
        began = time.monotonic()
        with pymongo.MongoClient(self.lab.uri) as client:
            while not self.stopping.is_set():
                numbers = range(self.written, self.written + BATCH)
                await asyncio.to_thread(client[DATABASE][self.name].insert_many, [document(n) for n in numbers])
                await publish(connection, self.name, numbers)
                self.written += BATCH
                await asyncio.sleep(max(0, began + self.written / self.rate - time.monotonic()))
        self.reached = self.written / (time.monotonic() - began)
        await connection.close()


def commits(folder, lab, name, rate, window):
    """(seconds of the whole command, seconds from its "committing", the load's rate). Raises if anything was lost or
    doubled."""
    group = Group(folder, lab, name, f"{window}s")
    group.dual()
    load = Load(lab, name, rate)
    load.start()
    try:
        time.sleep(window)
        deadline = time.monotonic() + 120
        while not group.can_commit():
            if time.monotonic() > deadline:
                raise RuntimeError(group.command("status").stdout)
            time.sleep(0.2)
        began, committing = time.monotonic(), None
        with subprocess.Popen([BINARY, "cutover", "commit", "-c", group.file, "--group", "all"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as command:
            said = []
            for line in command.stderr:
                said.append(line)
                if line.startswith("committing"):
                    committing = time.monotonic()
        ended = time.monotonic()
        if command.returncode != 0:
            raise RuntimeError("".join(said))
        time.sleep(2)
    finally:
        load.stopping.set()
        load.join()
    group.wait(lambda state: state["phase"] == "committed" and state["lag_seconds"] == 0)
    missed = group.state()["counts"]["missed"]
    group.process.stop()
    found = Counter(identities(lab, name))
    lost, doubled = load.written - len(found), [id for id, count in found.items() if count > 1]
    if lost or doubled or missed:
        raise RuntimeError(f"{lost} lost, {len(doubled)} doubled, {missed} missed of {load.written}")
    forget(lab, name)
    return ended - began, ended - committing, load.reached


def identities(lab, name):
    """Ids of everything that the stream holds, but for fences."""
    last = api(lab.nats_url, f"STREAM.INFO.{name}")["state"]["last_seq"]

    async def read():
        connection = await nats.connect(lab.nats_url.split(","))
        found, done = [], asyncio.get_running_loop().create_future()

        async def on(message):
            if message.subject.startswith(f"{name}."):
                found.append(message.headers["Nats-Msg-Id"])
            if message.metadata.sequence.stream >= last and not done.done():
                done.set_result(None)

        await connection.jetstream().subscribe(">", stream=name, ordered_consumer=True, cb=on)
        await asyncio.wait_for(done, 120)
        await connection.close()
        return found

    return asyncio.run(read())
