"""Messages that consumers, limits or a purge took before the bridge came back are not published again:
an exclusive stream's sequence says how many were stored."""

import asyncio
import base64
import json
import time

import nats
import pytest
from bridge import Bridge, configuration, wait_until
from load import client, make_collections


async def consume(url, stream, count):
    """As an application does: takes and acknowledges so many; their keys."""
    nc = await nats.connect(url)
    taken = []
    try:
        js = nc.jetstream()
        reader = await js.pull_subscribe_bind("app", stream)
        while len(taken) < count:
            for message in await reader.fetch(min(50, count - len(taken)), timeout=10):
                await message.ack_sync()
                taken.append(message.headers["Nats-Msg-Id"])
    finally:
        await nc.close()
    return taken


def start(lab, folder, name, stream, **changes):
    make_collections(lab, name)
    whole = {"duplicate_window": "100ms", **stream}
    if stream.get("retention"):
        whole["consumers"] = [{"durable_name": "app", "ack_policy": "explicit"}]
    # A checkpoint of the beginning alone: all that is published comes after it.
    changes.setdefault("bridge", {"checkpoint_interval": "1h"})
    return Bridge(folder, configuration(lab, name, stream=whole, **changes))


def last(jetstream, name):
    """The key in the last message: a work queue can't be read by a consumer of one's own."""
    message = jetstream.api(f"STREAM.MSG.GET.{name}", {"last_by_subj": ">"})["message"]
    return json.loads(base64.b64decode(message["data"]))["documentKey"]["_id"]


def insert(lab, name, numbers, collection="rooms"):
    with client(lab) as mongo:
        mongo[name][collection].insert_many([{"_id": n} for n in numbers])


@pytest.mark.parametrize("retention, publish", [
    ("workqueue", "chain"), ("workqueue", "atomic"), ("interest", "fast")])
def test_consumed(lab, jetstream, tmp_path, name, retention, publish):
    with start(lab, tmp_path, name, {"retention": retention, "publish": publish}) as bridge:
        bridge.start().wait_ready()
        taken = []
        for round in range(3):
            insert(lab, name, range(round * 20, round * 20 + 20))
            wait_until(lambda round=round: jetstream.holds(name, round * 20 + 20), "20 messages")
            bridge.kill()
            # All of them, then some.
            taken += asyncio.run(consume(lab.nats_url, name, 20 if round != 1 else 13))
            if round == 1:
                insert(lab, name, range(1000, 1005), "users")
            bridge.start().wait_ready()
        insert(lab, name, [5000])
        wait_until(lambda: jetstream.holds(name, 66), "the last one")
        taken += asyncio.run(consume(lab.nats_url, name, 66 - len(taken)))
        assert len(taken) == len(set(taken)) == 66
        assert jetstream.state(name)["messages"] == 0
        assert jetstream.last_sequence(name) == 66
        bridge.alive()


@pytest.mark.parametrize("second", ["after the window", "within it"])
def test_killed_twice(lab, jetstream, tmp_path, name, second):
    """The second leader writes the checkpoint again, which then is younger than what it lacks."""
    window = 8
    with start(lab, tmp_path, name, {"retention": "workqueue", "duplicate_window": f"{window}s"}) as bridge:
        bridge.start().wait_ready()
        insert(lab, name, range(30))
        wait_until(lambda: jetstream.holds(name, 30), "30 messages")
        stored = time.monotonic()
        bridge.kill()
        asyncio.run(consume(lab.nats_url, name, 30))

        def is_over():
            return time.monotonic() - stored > window + 1

        if second == "after the window":
            wait_until(is_over, "the server has forgotten the ids")
        bridge.start().wait_ready()
        wait_until(lambda: bridge.json("/status")[1]["phase"] == "running", "it leads")
        bridge.kill()
        wait_until(is_over, "the server has forgotten the ids")
        bridge.start().wait_ready()
        insert(lab, name, [5000])
        wait_until(lambda: jetstream.last_sequence(name) >= 31, "the next message")
        assert jetstream.last_sequence(name) == 31
        assert last(jetstream, name) == 5000
        bridge.alive()


def test_letters_between(lab, jetstream, tmp_path, name):
    """What became a dead letter is none of those that the sequence counts."""
    with start(lab, tmp_path, name, {"retention": "workqueue"},
               rule={"subject": name + ".{fullDocument.rid}"}) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            for n in range(30):
                mongo[name].rooms.insert_one({"_id": n} | ({} if n % 3 == 1 else {"rid": "a"}))
        wait_until(lambda: jetstream.holds(name, 20), "20 messages")
        wait_until(lambda: jetstream.holds(f"DLQ_{name}", 10), "10 letters")
        bridge.kill()
        asyncio.run(consume(lab.nats_url, name, 20))
        with client(lab) as mongo:
            mongo[name].rooms.insert_many([{"_id": 100, "rid": "a"}, {"_id": 101}])
        bridge.start().wait_ready()
        wait_until(lambda: jetstream.holds(name, 21), "the next message")
        wait_until(lambda: jetstream.holds(f"DLQ_{name}", 11), "the next letter")
        assert jetstream.state(name)["messages"] == 1
        assert last(jetstream, name) == 100


@pytest.mark.parametrize("how", ["purged", "expired", "one kept"])
def test_removed(lab, jetstream, tmp_path, name, how):
    stream = {"expired": {"max_age": "1s"}, "one kept": {"max_msgs": 1}}.get(how, {})
    with start(lab, tmp_path, name, stream) as bridge:
        bridge.start().wait_ready()
        insert(lab, name, range(50))
        wait_until(lambda: jetstream.holds(name, 50), "50 messages")
        bridge.kill()
        if how == "purged":
            jetstream.purge(name)
        left = 1 if how == "one kept" else 0
        wait_until(lambda: jetstream.state(name)["messages"] == left, "they are gone")
        bridge.start().wait_ready()
        insert(lab, name, [1000])
        wait_until(lambda: jetstream.holds(name, 51), "the next message")
        assert jetstream.last_sequence(name) == 51
        bridge.alive()


def test_intruder(lab, jetstream, tmp_path, name):
    """While the bridge runs, another publisher's message comes into its work queue and is consumed: no
    event may be taken for it."""
    with start(lab, tmp_path, name, {"retention": "workqueue"}) as bridge:
        bridge.start().wait_ready()
        insert(lab, name, range(5))
        wait_until(lambda: jetstream.holds(name, 5), "5 messages")
        asyncio.run(consume(lab.nats_url, name, 5))
        jetstream.publish(f"{name}.rooms.intruder", b"{}", {"Nats-Msg-Id": "intruder"})
        asyncio.run(consume(lab.nats_url, name, 1))
        insert(lab, name, range(5, 8))
        wait_until(lambda: jetstream.holds(name, 9), "the events behind it")
        assert jetstream.state(name)["messages"] == 3
        assert last(jetstream, name) == 7
        assert jetstream.last_sequence(name) == 9
