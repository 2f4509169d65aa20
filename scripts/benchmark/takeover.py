"""How long nothing is stored when a leader ends: from the signal to the first new event that its standby
stores."""

import asyncio
import json
import os
import signal
import time
import urllib.request
from pathlib import Path

import nats
import pymongo
import yaml

from benchmark.cost import Process
from benchmark.tailrace import BINARY, DATABASE, configuration, forget, free_ports

LEASE = 2.0
# A standby trusts what it sees of other connections once its own is so old.
SETTLED = 2.5


class Instance:
    def __init__(self, file, folder):
        self.whole = yaml.safe_load(file.read_text())
        self.whole["bridge"]["lease"] = f"{LEASE:.0f}s"
        self.whole["http"]["listen"] = f"127.0.0.1:{free_ports(1)[0]}"
        self.file = Path(folder) / f"{self.whole['http']['listen'].split(':')[1]}.yaml"
        self.file.write_text(yaml.safe_dump(self.whole, sort_keys=False))
        self.process = None

    def start(self):
        self.process = Process([BINARY, "run", "-c", self.file],
                               log=self.file.with_suffix(".log"))
        self.began = time.monotonic()

    def phase(self):
        try:
            with urllib.request.urlopen(
                    f"http://{self.whole['http']['listen']}/status", timeout=2) as answer:
                return json.load(answer)["phase"]
        except OSError:
            return None

    def wait(self, phase):
        deadline = time.monotonic() + 60
        while self.phase() != phase:
            if time.monotonic() > deadline:
                raise RuntimeError(f"not {phase}:\n{self.file.with_suffix('.log').read_text()[-2000:]}")
            time.sleep(0.02)


async def _round(lab, name, collection, number, leader, signal_number):
    """Seconds from the signal to the first message of a document that was written after it."""
    connection = await nats.connect(lab.nats_url.split(","))
    loop = asyncio.get_running_loop()
    arrived = loop.create_future()
    sent = 0.0

    async def on(message):
        body = json.loads(message.data)
        if body["documentKey"]["_id"].startswith(f"{number}-after") and not arrived.done():
            arrived.set_result(time.monotonic())

    await connection.subscribe(f"{name}.>", cb=on)
    await connection.flush()

    def write():
        nonlocal sent
        for n in range(20):
            collection.insert_one({"_id": f"{number}-before-{n}"})
            time.sleep(0.005)
        sent = time.monotonic()
        os.kill(leader.process.child.pid, signal_number)
        n = 0
        while not arrived.done():
            collection.insert_one({"_id": f"{number}-after-{n}"})
            n += 1
            time.sleep(0.005)

    await asyncio.gather(loop.run_in_executor(None, write), asyncio.wait_for(arrived, 60))
    await connection.close()
    return arrived.result() - sent


def take_overs(folder, lab, kind, rounds, say):
    """`kind`: the name of a signal. The time of each round, in seconds."""
    name = f"T{kind}"
    file = configuration(folder, lab, name, name, "auto")
    first, second = Instance(file, folder), Instance(file, folder)
    number = getattr(signal, kind)
    with pymongo.MongoClient(lab.uri) as client:
        collection = client[DATABASE].takeover
        collection.drop()
        client[DATABASE].create_collection("takeover")
        first.start()
        first.wait("running")
        second.start()
        times = []
        try:
            for round in range(rounds):
                second.wait("standby")
                time.sleep(max(0, SETTLED - (time.monotonic() - second.began)))
                times.append(asyncio.run(_round(
                    lab, name, collection, f"{kind}-{round}", first, number)))
                say(f"{kind}: {times[-1]:.3f} s")
                if kind == "SIGSTOP":
                    os.kill(first.process.child.pid, signal.SIGCONT)
                else:
                    first.process.wait()
                    first.start()
                first, second = second, first
                first.wait("running")
        finally:
            for instance in (first, second):
                instance.process.stop()
            forget(lab, name)
    return times
