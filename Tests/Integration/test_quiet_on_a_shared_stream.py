"""Others fill a shared stream in which the bridge has little or nothing: finding its place again costs
neither a request a message, nor the same reading at every reconnect."""

import asyncio
import json
import urllib.request

import nats
import pytest
from bridge import Bridge, configuration, wait_until
from jetstream import JetStream
from lab import Lab
from load import client, make_collections

FOREIGN = 20_000


@pytest.fixture(scope="module")
def servers():
    with Lab() as lab:
        yield lab


def requests(lab):
    """What clients have sent to the server so far."""
    url = f"http://127.0.0.1:{lab.nats[0].monitor}/varz"
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)["in_msgs"]


def publish(lab, subject, count):
    async def work():
        nc = await nats.connect(lab.nats_url)
        for _ in range(count):
            await nc.publish(subject, b"{}")
        await nc.flush(60)
        await nc.close()

    asyncio.run(work())


@pytest.mark.parametrize("ours", [0, 3])
def test_quiet(servers, tmp_path, name, ours):
    lab = servers
    make_collections(lab, name)
    jetstream = JetStream(lab.nats_url)
    with Bridge(tmp_path, configuration(lab, name, stream={"ownership": "shared"})) as bridge:
        bridge.start().wait_ready()
        if ours:
            with client(lab) as mongo:
                mongo[name].rooms.insert_many([{"_id": n} for n in range(ours)])
            wait_until(lambda: jetstream.holds(name, ours), "our messages")
        assert bridge.terminate() == 0
        publish(lab, f"{name}.others", FOREIGN)
        wait_until(lambda: jetstream.holds(name, ours + FOREIGN), "the others' messages", 60)

        for most in (2000, 400):  # it reads them once
            before = requests(lab)
            bridge.start().wait_ready()
            assert bridge.terminate() == 0
            assert requests(lab) - before < most
        # A lost checkpoint makes it search the whole stream.
        jetstream.delete_stream(f"KV_STATE_{name}")
        before = requests(lab)
        bridge.start().wait_ready()
        with client(lab) as mongo:
            mongo[name].rooms.insert_one({"_id": "last"})
        wait_until(lambda: jetstream.holds(name, ours + FOREIGN + 1), "the next message")
        assert requests(lab) - before < 2000
        assert jetstream.count(name) == ours + FOREIGN + 1, "and nothing twice"


def test_high_sequences(servers, tmp_path, name):
    lab = servers
    make_collections(lab, name)
    jetstream = JetStream(lab.nats_url)
    first = (1 << 61)
    stream = {"ownership": "shared", "first_seq": first}
    with Bridge(tmp_path, configuration(lab, name, stream=stream)) as bridge:
        for number in range(3):
            bridge.start().wait_ready()
            with client(lab) as mongo:
                mongo[name].rooms.insert_one({"_id": number})
            ends = first + 41 * number
            wait_until(lambda ends=ends: jetstream.holds(name, ends), "a message")
            jetstream.publish(f"{name}.others", b"{}")
            publish(lab, f"{name}.others", 39)
            wait_until(lambda ends=ends: jetstream.holds(name, ends + 40), "others'")
            bridge.kill()
        own = [m for m in jetstream.messages(name) if "Tailrace-Position" in m.headers]
        assert [m.json["documentKey"]["_id"] for m in own] == [0, 1, 2]
