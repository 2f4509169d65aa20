"""Streams whose ids are shared: what they must hold, and what the bridge says of it."""

import re
from contextlib import contextmanager

from bridge import wait_until
from jetstream import JetStream
from lab import Lab
from load import client, now


@contextmanager
def servers(lab, nats=1, version=None):
    """The shared replica set with NATS servers of one's own."""
    with Lab(mongod=0, nats=nats, nats_version=version) as other:
        other.mongod = lab.mongod
        try:
            yield other
        finally:
            other.mongod = []


def produce(jetstream, subject, ids, body=b"{}"):
    """What a producer does: publishes under its ids, and waits until all of them are stored."""
    async def work(nc):
        js = nc.jetstream(publish_async_max_pending=256)
        for id in ids:
            answer = await js.publish_async(subject, body, headers={"Nats-Msg-Id": id})
        await js.publish_async_completed()
        return await answer

    if ids:
        jetstream._run(work)


def outcomes(bridge, rule="all"):
    rules = bridge.json("/status")[1]["rules"]
    return next(r for r in rules if r["name"] == rule)


def metric(bridge, name, labels=""):
    text = bridge.get("/metrics")[1]
    found = re.search(rf"^{re.escape(name + labels)} (\S+)$", text, re.M)
    return float(found.group(1)) if found else None


def checkpointed(lab, bridge):
    """Waits until the checkpoint is at the oplog's end, and returns it."""
    end = now(lab)
    end = (end.time, end.inc)

    def moved():
        checkpoint = bridge.json("/status")[1].get("checkpoint") or {}
        position = checkpoint.get("position")
        return position and tuple(map(int, position.split("."))) >= end and checkpoint

    with client(lab) as mongo:
        mongo.admin.command("appendOplogNote", 1, data={"checkpoint": "moves"})
    return wait_until(moved, f"the checkpoint at {end}")


def check_checkpoint(lab, jetstream, bridge, stream):
    """The checkpoint comes to the oplog's end, and what it says of the stream is so."""
    checkpoint = checkpointed(lab, bridge)
    known = checkpoint["streams"].get(stream)
    if known:
        there = {m.sequence: m for m in jetstream.messages(stream)}.get(known["sequence"])
        assert there and there.headers.get("Tailrace-Position") == known["position"], known
    return checkpoint


def ours(messages):
    return [m for m in messages if "Tailrace-Position" in m.headers]
