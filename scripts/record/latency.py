"""How long a publisher waits for its ack."""

import asyncio
import statistics
import time

import nats
import nats.js.errors

from record.claim import claim, demand

COUNT, ROUNDS = 1000, 3


def publish_latency(world, name, replicas, window=1):
    """(p50, p99) in milliseconds of the best of three rounds: messages of 400 bytes by nats-py, so many at a time."""
    world.make_stream(name, subjects=[f"{name}.>"], num_replicas=replicas)

    async def publish(connection):
        jetstream, best = connection.jetstream(), None

        async def one(identity):
            began = time.perf_counter()
            await jetstream.publish(f"{name}.a", b"x" * 400, headers={"Nats-Msg-Id": identity})
            return (time.perf_counter() - began) * 1000

        for round in range(ROUNDS):
            times = []
            for first in range(0, COUNT, window):
                times += await asyncio.gather(*(one(f"{round}-{first + n}") for n in range(window)))
            cuts = statistics.quantiles(times, n=100)
            best = min(best or (cuts[49], cuts[98]), (cuts[49], cuts[98]))
            await asyncio.sleep(0.2)
        return best

    return world.connected(publish)


@claim("publish latency", "A stored message is acknowledged in less than a millisecond (p50), on one server with files",
       spoiled="500 messages at a time")
def one_server(world, spoiled):
    p50, p99 = publish_latency(world, "latency", 1, window=500 if spoiled else 1)
    demand(p50 < 1, f"p50 is {p50:.2f} ms")
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms of {COUNT} (best of {ROUNDS} rounds, from Python)"


@claim("publish latency, three replicas", "… and in less than ten, acknowledged by two of three servers on one machine",
       spoiled="two servers are down", servers=3)
def three_servers(world, spoiled):
    # Until a majority has it is what an ack of a replicated stream means: without one, there is none.
    if spoiled:
        world.make_stream("latency", subjects=["latency.>"], num_replicas=3)
        for index in (1, 2):
            world.lab.kill("nats", index)
        try:
            return without_majority(world)
        finally:
            for index in (1, 2):
                world.lab.start("nats", index)
            world.lab.wait("nats")
    p50, p99 = publish_latency(world, "latency", 3)
    demand(p50 < 10, f"p50 is {p50:.2f} ms")
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms of {COUNT} (best of {ROUNDS} rounds, from Python)"


def without_majority(world):
    async def publish(connection):
        try:
            await connection.jetstream(timeout=2).publish("latency.a", b"x")
            return True
        except (nats.errors.Error, nats.js.errors.APIError):
            return False

    demand(world.connected(publish), "no ack without a majority")
    return "acknowledged without a majority"
