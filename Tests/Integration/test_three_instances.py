"""Three instances of one bridge, three NATS servers, three mongods, networks between them, and faults at random: every
event is stored once, in order, whoever leads."""

import os
import random
import signal
import threading
import time
from contextlib import ExitStack

import pymongo
import pytest

from bridge import Bridge, configuration, tailrace, wait_until
from jetstream import JetStream
from lab import Lab, free_ports
from load import client, make_collections
from proxy import Proxy
from test_cut_network import put_behind_proxies

SECONDS = float(os.environ.get("INSTANCE_SECONDS", "20"))
SEED = int(os.environ.get("INSTANCE_SEED", random.randrange(1 << 30)))


class Writer(threading.Thread):
    """Inserts documents with growing numbers; a write that fails is tried again with the same number, so that
    each number is there once."""

    def __init__(self, uri, name):
        super().__init__(daemon=True)
        self.uri, self.name = uri, name
        self.count, self.over = 0, threading.Event()

    def run(self):
        with pymongo.MongoClient(self.uri, w="majority", retryWrites=True,
                                 serverSelectionTimeoutMS=60_000) as mongo:
            while not self.over.is_set():
                try:
                    mongo[self.name].rooms.insert_one({"_id": self.count})
                except pymongo.errors.DuplicateKeyError:
                    pass  # the answer to an earlier try was lost
                except pymongo.errors.PyMongoError:
                    continue
                self.count += 1
                time.sleep(0.002)


class Producer(threading.Thread):
    """Somebody else, who publishes to the same stream."""

    def __init__(self, jetstream, subject):
        super().__init__(daemon=True)
        self.jetstream, self.subject, self.over = jetstream, subject, threading.Event()

    def run(self):
        while not self.over.wait(0.05):
            try:
                self.jetstream.publish(self.subject, b"{}")
            except Exception:  # noqa: BLE001: the stream has no leader at present
                pass


class Networks:
    """Between each instance and each NATS server, and to each mongod, for its clients and the other members. What is cut
    carries nothing until it is mended; what was sent before comes then, even if its sender is no more."""

    def __init__(self, lab, instances):
        self.nats = [[Proxy(server.port) for server in lab.nats] for _ in range(instances)]
        self.mongod = [Proxy(member.port) for member in lab.mongod]
        self.uri = put_behind_proxies(lab, self.mongod)
        self.ends = {}

    def servers(self, instance):
        return [f"nats://127.0.0.1:{proxy.port}" for proxy in self.nats[instance]]

    def cut(self, proxies, seconds):
        for proxy in proxies:
            proxy.cut()
            self.ends[proxy] = time.monotonic() + seconds

    def mend(self, everything=False):
        for proxy, end in list(self.ends.items()):
            if everything or time.monotonic() > end:
                proxy.mend()
                del self.ends[proxy]

    def close(self):
        for proxy in [*self.mongod, *(proxy for row in self.nats for proxy in row)]:
            proxy.close()


@pytest.mark.parametrize("protocol", ["auto", "chain", "shared"])
def test_random_faults(tmp_path, name, protocol):
    print(f"INSTANCE_SEED={SEED}")
    chance = random.Random(SEED)
    with Lab(mongod=3, nats=3) as lab, ExitStack() as stack:
        jetstream = JetStream(lab.nats_url)
        make_collections(lab, name)
        networks = Networks(lab, 3)
        stack.callback(networks.close)
        kind = {"ownership": "shared"} if protocol == "shared" else {"publish": protocol}
        whole = configuration(lab, name, stream={
            "num_replicas": 3, "duplicate_window": "1s"} | kind)
        whole["bridge"]["lease"] = "2s"
        whole["source"]["uri"] = networks.uri
        bridges = []
        for number in range(3):
            folder = tmp_path / f"i{number}"
            folder.mkdir()
            one = whole | {
                "http": {"listen": f"127.0.0.1:{free_ports(1)[0]}"},
                "nats": {"servers": networks.servers(number), "ignore_discovered_servers": True}}
            bridges.append(stack.enter_context(Bridge(folder, one)))
            bridges[-1].start()
        wait_until(lambda: any(b.json("/status")[1].get("phase") == "running" for b in bridges),
                   "one leads")
        writer = Writer(networks.uri, name)
        writer.start()
        producer = Producer(jetstream, f"{name}.others")
        if protocol == "shared":
            producer.start()
        stopped, done = {}, {}
        end = time.monotonic() + SECONDS

        def wake(everybody=False):
            networks.mend(everybody)
            for number, until in list(stopped.items()):
                if everybody or time.monotonic() > until:
                    os.kill(bridges[number].process.pid, signal.SIGCONT)
                    del stopped[number]

        def leader():
            for number, bridge in enumerate(bridges):
                if number not in stopped and bridge.json("/status")[1].get("role") == "leader":
                    return number
            return None

        def act():
            kind = chance.choice(["kill", "kill", "term", "stop", "stop", "nats", "mongod", "cut_nats", "cut_node",
                                  "cut_mongod"])
            done[kind] = done.get(kind, 0) + 1
            number = leader() if chance.random() < 0.7 else None
            number = chance.randrange(3) if number is None else number
            if kind in ("kill", "term", "stop") and number in stopped:
                return
            if kind == "kill":
                bridges[number].kill()
                bridges[number].start()
            elif kind == "term":
                code = bridges[number].terminate()
                # What was sent into a network that is cut is never acknowledged.
                assert code == 0 or networks.ends, code
                bridges[number].start()
            elif kind == "stop":
                os.kill(bridges[number].process.pid, signal.SIGSTOP)
                stopped[number] = time.monotonic() + chance.uniform(0.5, 8)
            elif kind == "cut_nats":
                networks.cut(networks.nats[number], chance.uniform(0.2, 8))
            elif kind == "cut_node":
                networks.cut([chance.choice(networks.nats[number])], chance.uniform(0.2, 8))
            elif kind == "cut_mongod":
                networks.cut([chance.choice(networks.mongod)], chance.uniform(0.2, 8))
            elif kind == "nats":
                stream = chance.choice([name, f"KV_STATE_{name}"])
                try:
                    jetstream.api(f"STREAM.LEADER.STEPDOWN.{stream}")
                except Exception:  # noqa: BLE001: it has no leader at present
                    pass
            else:
                with client(lab) as mongo:
                    try:
                        mongo.admin.command("replSetStepDown", 5, force=True)
                    except pymongo.errors.PyMongoError:
                        pass

        try:
            while time.monotonic() < end:
                time.sleep(chance.uniform(0.3, 3))
                wake()
                act()
        finally:
            wake(everybody=True)
            writer.over.set()
            writer.join(120)
            producer.over.set()

        def stored():
            return [message.json["documentKey"]["_id"] for message in jetstream.messages(name)
                    if "Tailrace-Position" in message.headers]

        wait_until(lambda: len(stored()) >= writer.count, f"{writer.count} messages")
        time.sleep(3)  # nothing comes behind them
        found = stored()
        assert len(found) == len(set(found)), "doubled"
        assert found == list(range(writer.count)), "lost, or out of order"
        wait_until(lambda: sorted(b.json("/status")[1].get("phase", "") for b in bridges)
                   == ["running", "standby", "standby"], "one leads, two stand by", 60)
        report = tailrace("verify", "--to", "now", "-c", bridges[0].file, cwd=bridges[0].folder)
        assert report.returncode == 0, report.stdout
        print(f"{writer.count} events, {done}")
        for bridge in bridges:
            bridge.alive()
