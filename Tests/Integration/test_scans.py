"""Streams that are read through: in one piece, by one consumer, however many requests that takes."""

import asyncio
import json
import threading
from contextlib import contextmanager

import nats
import pytest
from bridge import Bridge, configuration, tailrace, wait_until
from ids import produce, servers
from jetstream import JetStream
from load import client, make_collections

COUNT = 7_000


@contextmanager
def consumers(url, stream):
    """The consumers that are made on a stream meanwhile, by what the server reports of it."""
    made, ready, over = [], threading.Event(), threading.Event()

    async def listen():
        async def noted(message):
            made.append(json.loads(message.data)["consumer"])
        nc = await nats.connect(url.split(",")[0])
        await nc.subscribe(f"$JS.EVENT.ADVISORY.CONSUMER.CREATED.{stream}.*", cb=noted)
        await nc.flush()
        ready.set()
        await asyncio.to_thread(over.wait)
        await nc.flush()
        await asyncio.sleep(0.1)  # what has come is handed on
        await nc.close()

    # Not the work itself: a process ends with the thread that has started it.
    thread = threading.Thread(target=lambda: asyncio.run(listen()), daemon=True)
    thread.start()
    assert ready.wait(60)
    try:
        yield made
    finally:
        over.set()
        thread.join(60)


@pytest.mark.parametrize("version", ["2.9.10", "2.10.26", None])
def test_one_consumer_a_scan(lab, tmp_path, name, version):
    """A start on a stream that others have filled looks for its own messages, and for what ids there are; `verify`
    reads it once more."""
    with servers(lab, version=version) as other:
        jetstream = JetStream(other.nats_url)
        make_collections(other, name)
        settings = configuration(
            other, name, stream={"ownership": "shared"},
            rule={"id": "{documentKey._id}.created", "match": {"namespace": f"{name}.messages", "operations": ["insert"]}})
        jetstream.api(f"STREAM.CREATE.{name}", {"name": name, "subjects": [f"{name}.>"], "num_replicas": 1,
                                                "duplicate_window": 120_000_000_000})
        produce(jetstream, f"{name}.messages.insert", [f"{n}.other" for n in range(COUNT)])
        with Bridge(tmp_path, settings) as bridge, client(other) as mongo:
            with consumers(other.nats_url, name) as made:
                bridge.start().wait_ready()
            assert 1 <= len(made) <= 4, made
            mongo[name].messages.insert_one({"_id": 1})
            wait_until(lambda: jetstream.holds(name, COUNT + 1), "the event")
            assert bridge.terminate() == 0
            with consumers(other.nats_url, name) as made:
                done = tailrace("verify", "-c", bridge.file, "--json")
            assert json.loads(done.stdout)["verdict"] == "PASS", done.stdout
            assert 1 <= len(made) <= 2, made
