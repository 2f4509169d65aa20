"""How long a publisher waits for its ack."""

import asyncio
import os
import signal
import statistics
import threading
import time

import nats
import nats.js.errors

from record.claim import claim, demand

COUNT, ROUNDS = 1000, 3


def publish_latency(world, name, replicas):
    """(p50, p99) in milliseconds of the best of three rounds: one message of 400 bytes after the other, by nats-py."""
    world.make_stream(name, subjects=[f"{name}.>"], num_replicas=replicas)

    async def publish(connection):
        jetstream, best = connection.jetstream(), None
        for round in range(ROUNDS):
            times = []
            for number in range(COUNT):
                began = time.perf_counter()
                await jetstream.publish(f"{name}.a", b"x" * 400, headers={"Nats-Msg-Id": f"{round}-{number}"})
                times.append((time.perf_counter() - began) * 1000)
            cuts = statistics.quantiles(times, n=100)
            best = min(best or (cuts[49], cuts[98]), (cuts[49], cuts[98]))
            await asyncio.sleep(0.2)
        return best

    return world.connected(publish)


class Pauses(threading.Thread):
    """Stops a process for most of the time."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.over = pid, threading.Event()

    def run(self):
        while not self.over.wait(0.001):
            os.kill(self.pid, signal.SIGSTOP)
            time.sleep(0.005)
            os.kill(self.pid, signal.SIGCONT)


@claim("publish latency", "A stored message is acknowledged in less than a millisecond (p50), on one server with files",
       spoiled="a server that is stopped most of the time")
def one_server(world, spoiled):
    pauses = Pauses(world.lab.nats[0].pid) if spoiled else None
    if pauses:
        pauses.start()
    try:
        p50, p99 = publish_latency(world, "latency", 1)
    finally:
        if pauses:
            pauses.over.set()
            pauses.join()
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
