"""One bridge per shard: replica sets that were started as shards (`--shardsvr`), each with a bridge of its own, on one
shared stream and on a stream each. There is no mongos and no config server here; see docs/sharding.md."""

import pytest

from bridge import wait_until
from lab import Lab
from load import client, now
from several import exact

SHARD = ("--shardsvr",)


@pytest.fixture(scope="module")
def lab():
    with Lab(mongod_options=SHARD) as servers:
        yield servers


@pytest.fixture(scope="module")
def second():
    with Lab(nats=0, mongod_options=SHARD) as servers:
        yield servers


@pytest.mark.parametrize("shared", [True, False], ids=["stream", "streams"])
def test_a_bridge_for_each_shard(lab, second, jetstream, sides, shared):
    """Both sets are named rs0: `source.name` keeps their ids apart. Documents that the balancer moves are written with
    `fromMigrate`, and have no events."""
    a = sides("a", shared=shared, source={"name": "shard_a"})
    b = sides("b", shared=shared, servers=second, after=now(second),
              nats={"servers": lab.nats_url.split(",")}, source={"name": "shard_b"})
    for side in (a, b):
        side.bridge.start().wait_ready()
    for _ in range(5):
        a.insert(valid=3, invalid=1)
        with client(second) as mongo:
            moved = {"_id": f"moved {b.number}", "rid": "a"}
            mongo.admin.command("applyOps", [
                {"op": "i", "ns": f"{b.database}.messages", "o": moved, "fromMigrate": True}])
        b.insert(valid=2, invalid=1)
    exact(jetstream, a, b)
    ids = {m.id.split(":")[0] for side in (a, b) for m in side.stored(jetstream, "good")}
    assert ids == {"shard_a", "shard_b"}
    a.bridge.kill()
    b.insert(valid=5, invalid=2)
    a.insert(valid=5, invalid=2)
    b.bridge.kill()
    for side in (a, b):
        side.bridge.start().wait_ready()
    exact(jetstream, a, b)
    wait_until(lambda: all(side.bridge.json("/status")[1]["role"] == "leader" for side in (a, b)),
               "each shard's bridge leads by itself")
