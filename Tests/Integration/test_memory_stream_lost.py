"""A stream that doesn't survive its server's restart: it is filled again as far as it would still hold
its messages, or as on_loss says, and the streams beside it have nothing to do with that."""

import time

import pytest
from bridge import OPERATIONS, Bridge, configuration, wait_until
from jetstream import JetStream
from lab import Lab
from load import client, make_collections


@pytest.fixture(scope="module")
def lab():
    with Lab() as servers:
        yield servers


def two_streams(lab, folder, name, first, second=None):
    """Rooms go to the stream that the test is of, users to another one, a file's."""
    make_collections(lab, name)
    other = f"{name}_users"
    whole = configuration(lab, name, stream={"storage": "memory"} | first)
    whole["streams"].append({"name": other, "subjects": [f"{other}.>"]} | (second or {}))
    whole["rules"].insert(0, {
        "name": "users", "match": {"namespace": f"{name}.users", "operations": OPERATIONS},
        "subject": other + ".{operationType}", "stream": other})
    return Bridge(folder, whole), JetStream(lab.nats_url), other


def insert(lab, name, collection, numbers):
    with client(lab) as mongo:
        mongo[name][collection].insert_many([{"_id": n} for n in numbers])


def keys(jetstream, stream):
    return [message.json["documentKey"]["_id"] for message in jetstream.messages(stream)]


@pytest.mark.parametrize("when", ["running", "stopped"])
def test_refill(lab, tmp_path, name, when):
    bridge, jetstream, other = two_streams(lab, tmp_path, name, {})
    with bridge:
        bridge.start().wait_ready()
        insert(lab, name, "rooms", range(20))
        insert(lab, name, "users", range(5))
        wait_until(lambda: jetstream.holds(name, 20) and jetstream.holds(other, 5), "25 messages")
        if when == "stopped":
            assert bridge.terminate() == 0
        lab.restart("nats")
        if when == "stopped":
            bridge.start()
        insert(lab, name, "rooms", range(20, 25))
        wait_until(lambda: bridge.alive() and jetstream.holds(name, 25), "all are back", 20)
        assert keys(jetstream, name) == list(range(25))
        assert keys(jetstream, other) == list(range(5))
        wait_until(lambda: bridge.json("/healthz")[1].get("status") in ("ok", "idle"), "healthy", 20)


def test_nothing_beyond_max_age(lab, tmp_path, name):
    """Events that had expired are not brought back."""
    bridge, jetstream, other = two_streams(
        lab, tmp_path, name, {"max_age": "3s", "duplicate_window": "1s"})
    with bridge:
        bridge.start().wait_ready()
        insert(lab, name, "rooms", range(10))
        wait_until(lambda: jetstream.holds(name, 10), "10 messages")
        written = time.time()
        wait_until(lambda: jetstream.state(name)["messages"] == 0 and time.time() > written + 5,
                   "they have expired, by cluster time as well", 20)
        insert(lab, name, "rooms", range(10, 15))
        insert(lab, name, "users", range(5))
        wait_until(lambda: jetstream.holds(name, 15), "5 more")
        lab.restart("nats")
        insert(lab, name, "rooms", [100])
        wait_until(lambda: bridge.alive() and jetstream.holds(name, 6), "what had not expired", 20)
        assert keys(jetstream, name)[-1] == 100
        assert jetstream.last_sequence(name) == 6, "the others had expired"
        assert jetstream.holds(other, 5)


@pytest.mark.parametrize("policy", ["halt", "continue"])
def test_on_loss(lab, tmp_path, name, policy):
    bridge, jetstream, other = two_streams(lab, tmp_path, name, {"on_loss": policy})
    with bridge:
        bridge.start().wait_ready()
        insert(lab, name, "rooms", range(10))
        wait_until(lambda: jetstream.holds(name, 10), "10 messages")
        lab.restart("nats")
        insert(lab, name, "rooms", range(10, 13))
        insert(lab, name, "users", range(5))
        wait_until(lambda: bridge.alive() and jetstream.holds(other, 5), "the other continues", 20)
        if policy == "continue":
            wait_until(lambda: jetstream.holds(name, 3), "this one, too")
            assert keys(jetstream, name) == [10, 11, 12]
            return
        assert bridge.json("/healthz")[1]["status"] == "gap"
        assert "on_loss" in bridge.get("/healthz")[1], "it says what to do"
        # Neither a restart nor time changes that; what an operator says does.
        assert bridge.terminate() == 0
        bridge.start().wait_ready()
        insert(lab, name, "users", range(5, 7))
        wait_until(lambda: jetstream.holds(other, 7), "the other continues")
        assert jetstream.last_sequence(name) == 0
        assert bridge.terminate() == 0
        text = bridge.file.read_text()
        bridge.file.write_text(text.replace("on_loss: halt", "on_loss: refill"))
        bridge.start().wait_ready()
        wait_until(lambda: jetstream.holds(name, 13), "all are back", 20)
        assert keys(jetstream, name) == list(range(13))
        assert keys(jetstream, other) == list(range(7))


def test_alone(lab, tmp_path, name):
    """The only stream, halted: nothing is left to do, so the bridge ends and says why."""
    make_collections(lab, name)
    jetstream = JetStream(lab.nats_url)
    stream = {"storage": "memory", "on_loss": "halt"}
    with Bridge(tmp_path, configuration(lab, name, stream=stream)) as bridge:
        bridge.start().wait_ready()
        insert(lab, name, "rooms", range(10))
        wait_until(lambda: jetstream.holds(name, 10), "10 messages")
        lab.restart("nats")
        assert bridge.wait(20) == 75
        assert "on_loss" in bridge.tail()
