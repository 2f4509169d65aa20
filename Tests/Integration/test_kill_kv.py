"""kill -9 of the bridge, of nats-server and of mongod beside writes: a bucket gets every committed change, once, in their
order; each key keeps its newest values."""

import itertools
import json
import math
import random
import threading
import time

import pytest
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from bridge import Bridge, wait_until
from buckets import bucket, differences, ready, verify
from faults import ROUNDS, seed
from jetstream import JetStream
from lab import Lab
from load import client, make_collections, settle

# With few rounds one server: elections take most of the time of three.
SERVERS = 3 if ROUNDS >= 5 else 1


class Churn(threading.Thread):
    """Insertions, replacements and deletions of a few documents, some 200 a second; an outage stops none of it. No
    updates: their documents are read later, and may be newer than what comes behind them."""

    def __init__(self, lab, name, dice):
        super().__init__(daemon=True)
        self.lab, self.name_of, self.dice = lab, name, dice
        self.over, self.written = threading.Event(), 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(60)
        assert not self.is_alive(), "the writer hangs"

    def run(self):
        with client(self.lab, w=1) as mongo:
            for serial in itertools.count():
                if self.over.wait(0.005):
                    return
                key = {"_id": self.dice.randrange(12)}
                try:
                    if self.dice.random() < 0.2:
                        mongo[self.name_of].users.delete_one(key)
                    else:
                        mongo[self.name_of].users.replace_one(key, {"serial": serial}, upsert=True)
                    self.written += 1
                except PyMongoError:
                    pass


def committed(lab, name):
    """(key, position, document or None) of every change, as the oplog has it."""
    found = []
    with client(lab) as mongo:
        oplog = mongo.local.get_collection("oplog.rs", read_concern=ReadConcern("majority"))
        for entry in oplog.find({"ns": f"{name}.users", "op": {"$in": ["i", "u", "d"]}}).sort("$natural", 1):
            assert "$v" not in entry["o"], f"no replacement: {entry}"
            key = (entry.get("o2") or entry["o"])["_id"]
            document = None if entry["op"] == "d" else {"_id": key} | entry["o"]
            found.append((str(key), (entry["ts"].time, entry["ts"].inc, 0), document))
    return found


def kept(changes, history):
    """What a bucket keeps of them: of each key the newest, up to the removal that took those before it."""
    found = {}
    for key, position, document in changes:
        before = found.get(key, []) if document else []
        found[key] = [*before, (position, document)][-history:]
    return found


@pytest.mark.parametrize("settings, share", [
    pytest.param({"history": 64}, 1, id="fast"),
    pytest.param({"history": 4, "publish": "chain"}, 0.5, id="chain"),
])
def test_kill_kv(tmp_path, name, settings, share):
    dice = random.Random(seed())
    victims = ["bridge", "nats", "mongod"]
    dice.shuffle(victims)
    with Lab(nats=SERVERS) as lab:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        with Bridge(tmp_path, bucket(lab, name, replicas=SERVERS, **settings)) as bridge:
            ready(bridge)
            with Churn(lab, name, dice) as churn:
                for victim in itertools.islice(itertools.cycle(victims), math.ceil(ROUNDS * share)):
                    time.sleep(dice.uniform(0.3, 1))  # the fault comes at a random moment
                    if victim == "bridge":
                        bridge.kill()
                        ready(bridge)
                    else:
                        index = dice.randrange(SERVERS) if victim == "nats" else 0
                        lab.kill(victim, index)
                        time.sleep(dice.uniform(0, 1))
                        lab.start(victim, index)
                        lab.wait(victim)
                    before = jetstream.last_sequence(f"KV_{name}") or 0
                    wait_until(lambda: bridge.alive() and jetstream.holds(f"KV_{name}", before + 1),
                               f"progress after the death of {victim}")
                wait_until(lambda: churn.written > 50, "enough changes to tell anything")
            print(f"{churn.written} changes")
            settle(lab)
            wait_until(lambda: bridge.alive() and not differences(lab, name), "each key has its last value", every=0.3)
            truth = committed(lab, name)
            messages = jetstream.messages(f"KV_{name}")
            # Nobody else publishes there: the sequence of each is its number among the changes.
            assert jetstream.last_sequence(f"KV_{name}") == len(truth), "nothing lost, nothing twice"
            held = {}
            for message in messages:
                purged = message.headers.get("KV-Operation") == "PURGE"
                key, position = message.subject.rsplit(".", 1)[1], message.position
                document = None if purged else json.loads(message.body)
                assert (key, position, document) == truth[message.sequence - 1], "in the order of the changes"
                held.setdefault(key, []).append((position, document))
            expected = kept(truth, settings["history"])
            assert held.keys() == expected.keys()
            for key, entries in held.items():
                # A nats-server that is killed may bring back what it had removed just before; a bucket without room
                # for it removes that first.
                assert entries[-len(expected[key]):] == expected[key], f"key {key}"
            assert verify(bridge)["verdict"] == "PASS"
            assert bridge.terminate() == 0
            # An entry that nobody committed is found.
            headers = {k: v for k, v in messages[-1].headers.items() if k.startswith("Tailrace-")}
            jetstream.publish(f"$KV.{name}.3", b"{}", headers | {"Nats-Msg-Id": "x"})
            assert verify(bridge, code=1)["verdict"] == "FAIL"
