"""Exactly once: producers that repeat, consumers that die between effect and ack."""

import asyncio
import random
import signal
import sqlite3

import nats
import nats.errors
import nats.js.errors

from record.claim import claim, demand
from record.world import wait_until


@claim("exactly once, producers", "What a producer sends again is stored once, also by a server that was killed",
       spoiled="no Nats-Msg-Id")
def producers(world, spoiled):
    name, count, kills = "producers", 600, 3
    world.make_stream(name, subjects=[f"{name}.>"], duplicate_window=120_000_000_000)
    dice, sent, repeated = random.Random(17), 0, 0

    async def publish(connection):
        nonlocal sent, repeated
        jetstream, loop = connection.jetstream(timeout=1), asyncio.get_running_loop()
        killing = {count * (n + 1) // (kills + 1) for n in range(kills)}
        for number in range(count):
            if number in killing:  # a moment from now, with a message on its way
                loop.call_later(0.001, world.lab.kill, "nats")
                loop.call_later(0.3, world.lab.spawn, "nats")
            # After its ack, one of five is sent again: as by a producer whose ack was lost.
            needed = 1 + (dice.random() < 0.2)
            while needed:
                sent += 1
                try:
                    ack = await jetstream.publish(f"{name}.a", str(number).encode(), headers=(
                        None if spoiled else {"Nats-Msg-Id": f"event-{number}"}))
                    repeated += bool(ack.duplicate)
                    needed -= 1
                except (nats.errors.Error, nats.js.errors.Error):
                    await asyncio.sleep(0.05)  # unknown: it is sent again

    world.connected(publish)
    world.lab.wait("nats")
    stored = [int(message.data) for message in world.everything(name)]
    demand(stored == list(range(count)), f"{len(stored)} messages are stored of {count} events")
    demand(repeated > count / 10, f"only {repeated} were sent twice")
    return (f"{count} events sent {sent} times, nats-server killed {kills} times: {len(stored)} stored, in order; "
            f"{repeated} acks said duplicate")


@claim("exactly once, effects", "Bridge, server and consumers are killed, and each event has its effect once",
       spoiled="a consumer that does not look whether it has done it")
def effects(world, spoiled):
    name, count, rounds = "effects", 900, 3
    database = world.folder / "effects.db"
    durable = {"durable_name": "workers", "ack_policy": "explicit", "ack_wait": "2s"}
    options = ["--effects", database, *(["--forgetful"] if spoiled else [])]
    with world.bridge(name, stream={"consumers": [durable]}) as bridge, world.workers(name) as workers:
        for round in range(rounds):
            # Each dies between the effect and the ack of its 20th message.
            dying = [workers.start("workers", *options, "--die-after", 20) for _ in range(2)]
            world.insert(name, count // rounds, first=round * count // rounds)
            bridge.kill()
            bridge.start()
            world.lab.restart("nats", 0, "KILL")
            wait_until(lambda: all(workers.all[n].poll() is not None for n in dying), "workers die over a message")
            demand(all(workers.all[n].returncode == -signal.SIGKILL for n in dying), "a worker ended by itself")
            bridge.wait()
        workers.start("workers", *options)
        world.wait_stored(name, count)
        workers.wait_drained(["workers"])
        positions = [message.headers["Tailrace-Position"] for message in world.everything(name)]
        demand(positions == world.positions(name), f"the stream has {len(positions)} messages of {count} events")
        deliveries = len(workers.handled())
    with sqlite3.connect(database) as found:
        total, different = found.execute("SELECT COUNT(*), COUNT(DISTINCT id) FROM effects").fetchone()
    demand(deliveries >= count + 2 * rounds, f"{deliveries - count} were handled twice: not enough to test anything")
    demand(total == different == count, f"{total} effects of {count} events")
    return (f"{count} events, {rounds} kills of bridge and server, {2 * rounds} of consumers between effect and ack: "
            f"{deliveries} handled, {total} effects")
