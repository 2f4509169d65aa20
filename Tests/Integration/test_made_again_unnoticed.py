"""A stream is deleted under a running bridge, and made again before the bridge notices: what it lost comes back, and no key
of a bucket goes back to an older value.

Shared, so that the bridge asserts no sequence; and after three times without a fence, so that it publishes on into the
new stream."""

import pytest

from bridge import Bridge, configuration, wait_until
from buckets import bucket, differences, ready
from ids import checkpointed
from jetstream import JetStream
from lab import Lab
from load import client, make_collections

ATTEMPTS = 7
KEYS, REPLACED = 20, 10


def replace(users, serial):
    for key in range(REPLACED):
        users.replace_one({"_id": key}, {"serial": serial})


def make_again(jetstream, stream, config):
    jetstream.delete_stream(stream)
    jetstream.api(f"STREAM.CREATE.{stream}", config)


def each_once(bridge, jetstream, name, count):
    """Waits until all events are there; their positions."""
    wait_until(lambda: bridge.alive() and jetstream.count(name) >= count, f"{count} events")
    positions = [m.position for m in jetstream.messages(name)]
    assert len(positions) == len(set(positions)) == count, "each event is there, once"
    return positions


@pytest.mark.parametrize("waits", [False, True], ids=["at_once", "after_a_checkpoint"])
def test_bucket(lab, jetstream, tmp_path, name, waits):
    make_collections(lab, name)
    stream = f"KV_{name}"
    with Bridge(tmp_path, bucket(lab, name, ownership="shared")) as bridge, client(lab) as mongo:
        users = mongo[name].users
        ready(bridge)
        users.insert_many([{"_id": key, "serial": 0} for key in range(KEYS)])

        def settled(when):
            wait_until(lambda: bridge.alive() and not differences(lab, name), f"the last values {when}")

        settled("at first")
        config, unnoticed = jetstream.config(stream), 0
        for attempt in range(1, ATTEMPTS + 1):
            if waits:
                checkpointed(lab, bridge)
            make_again(jetstream, stream, config)
            replace(users, attempt)
            settled(f"after attempt {attempt}")
            order = {m.json["serial"]: m.sequence for m in reversed(jetstream.messages(stream))}
            unnoticed += order[attempt] < order[0]
        assert unnoticed, "the bridge has noticed at once, each time"
        assert bridge.metric("tailrace_messages_lost_by_server_total") > 0, "losses are reported"
        assert bridge.terminate() == 0
        replace(users, ATTEMPTS + 1)
        ready(bridge)
        settled("after a restart")


@pytest.mark.parametrize("waits", [False, True], ids=["at_once", "after_a_checkpoint"])
def test_stream(lab, jetstream, tmp_path, name, waits):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name, stream={"ownership": "shared"})) as bridge, \
            client(lab) as mongo:
        users = mongo[name].users
        ready(bridge)
        users.insert_many([{"_id": key} for key in range(KEYS)])
        count = KEYS
        wait_until(lambda: bridge.alive() and jetstream.count(name) == count, "the first events")
        config = jetstream.config(name)
        for attempt in range(1, ATTEMPTS + 1):
            if waits:
                checkpointed(lab, bridge)
            make_again(jetstream, name, config)
            replace(users, attempt)
            count += REPLACED
            each_once(bridge, jetstream, name, count)


def test_killed_before_the_checkpoint(tmp_path, name):
    """The bridge dies before it has noticed: on a server without fences, its last message in the new stream proves
    nothing of those that the old one had."""
    with Lab(nats_version="2.10.26") as lab:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        with Bridge(tmp_path, configuration(lab, name, stream={"ownership": "shared"})) as bridge, \
                client(lab) as mongo:
            users = mongo[name].users
            ready(bridge)
            users.insert_many([{"_id": key} for key in range(KEYS)])
            count, unnoticed = KEYS, 0
            wait_until(lambda: bridge.alive() and jetstream.count(name) == count, "the first events")
            config = jetstream.config(name)
            for attempt in range(1, ATTEMPTS + 1):
                make_again(jetstream, name, config)
                replace(users, attempt)
                count += REPLACED
                wait_until(lambda: jetstream.count(name) > 2, "the first of those events", every=0.01)
                first = jetstream.messages(name)[0].position
                bridge.kill()
                ready(bridge)
                unnoticed += first > min(each_once(bridge, jetstream, name, count))
            assert unnoticed, "the bridge has noticed at once, each time"
            assert bridge.terminate() == 0
