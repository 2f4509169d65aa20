"""Streams that forget: by age, by size, by subject, by who has read."""

import time

import nats
from nats.js.api import AckPolicy

from record.claim import claim, demand
from record.world import wait_until


def acknowledge(world, stream, durable, count):
    """Takes so many messages of a consumer, and acknowledges them."""
    async def work(connection):
        subscription = await connection.jetstream().pull_subscribe_bind(durable, stream)
        left = count
        while left:
            for message in await subscription.fetch(left, timeout=5):
                await message.ack_sync()
                left -= 1

    world.connected(work)


@claim("retention by age", "Messages are gone after max_age, and not before", spoiled="no max_age")
def by_age(world, spoiled):
    name, age, count = "age", 3, 100
    with world.bridge(name, stream={"duplicate_window": "2s"} | ({} if spoiled else {"max_age": f"{age}s"})):
        began = time.monotonic()
        world.insert(name, count)
        world.wait_stored(name, count)
        stored = time.monotonic()
        wait_until(lambda: world.state(name)["messages"] < count, "the first messages are gone", 20)
        first = time.monotonic() - began
        demand(first >= age, f"messages were gone after {first:.1f} s")
        wait_until(lambda: world.state(name)["messages"] == 0, "all messages are gone", 20)
        return f"{count} messages with max_age {age} s: gone {time.monotonic() - stored:.1f} s after they were stored"


@claim("retention by bytes", "A stream never holds more than max_bytes, and always the newest messages",
       spoiled="no max_bytes")
def by_bytes(world, spoiled):
    name, limit, count = "bytes", 100_000, 1000
    with world.bridge(name, stream={} if spoiled else {"max_bytes": limit}):
        highest = 0
        for first in range(0, count, 100):
            world.insert(name, 100, first=first, size=400)
            highest = max(highest, world.state(name)["bytes"])
        world.wait_stored(name, count)
        highest = max(highest, world.state(name)["bytes"])
        demand(highest <= limit, f"the stream held {highest} bytes, and max_bytes is {limit}")
        found = [message.headers["Tailrace-Position"] for message in world.everything(name)]
        demand(found and found == world.positions(name)[-len(found):], "what is left is not the newest")
        return f"{count} messages into {limit:,} bytes: the newest {len(found)} are left; never more than {highest:,}"


@claim("retention by subject", "A stream keeps the newest max_msgs_per_subject of each subject",
       spoiled="no max_msgs_per_subject")
def by_subject(world, spoiled):
    name, rooms, kept = "subject", 20, 2
    with world.bridge(name, stream={} if spoiled else {"max_msgs_per_subject": kept}):
        world.insert(name, rooms * 10, rooms=rooms)
        world.wait_stored(name, rooms * 10)
        truth = {}
        for position, document in world.oplog(name):
            truth.setdefault(f"{name}.{document['room']}", []).append(position)
        found = {}
        for message in world.everything(name):
            found.setdefault(message.subject, []).append(message.headers["Tailrace-Position"])
        demand(found == {subject: positions[-kept:] for subject, positions in truth.items()},
               f"subjects hold {sorted({len(positions) for positions in found.values()})} messages")
        return f"{rooms * 10} messages on {rooms} subjects: the newest {kept} of each are left"


@claim("retention by interest", "A message stays until every consumer has acknowledged it, and one that none awaits is "
       "not kept", spoiled="retention: limits")
def by_interest(world, spoiled):
    name, count = "interest", 60
    consumers = [{"durable_name": durable, "filter_subject": f"{name}.r0", "ack_policy": "explicit"}
                 for durable in ("first", "second")]
    with world.bridge(name, stream={"consumers": consumers} | ({} if spoiled else {"retention": "interest"})):
        # Two rooms take turns; the consumers want one of them.
        world.insert(name, count, rooms=2)
        world.wait_stored(name, count - 1)
        wanted = world.state(name)["messages"]
        demand(wanted == count // 2, f"{wanted} messages are kept, and {count // 2} are awaited")
        acknowledge(world, name, "first", wanted)
        left = world.state(name)["messages"]
        demand(left == wanted, f"{left} of {wanted} are left after one of two consumers")
        acknowledge(world, name, "second", wanted)
        wait_until(lambda: world.state(name)["messages"] == 0, "all are gone after the second consumer", 10)
        return f"{count} messages, {wanted} awaited by two consumers: {left} left after the first, none after the second"


@claim("retention as a work queue", "A message is gone when it is acknowledged, and nobody else can ask for it",
       spoiled="retention: limits")
def work_queue(world, spoiled):
    name, count = "queue", 60
    consumers = [{"durable_name": "workers", "ack_policy": "explicit"}]
    with world.bridge(name, stream={"consumers": consumers} | ({} if spoiled else {"retention": "workqueue"})):
        world.insert(name, count)
        world.wait_stored(name, count)
        acknowledge(world, name, "workers", count // 3)
        wait_until(lambda: world.state(name)["messages"] == count - count // 3, "what is acknowledged is gone", 10)

        async def another(connection):
            try:
                await connection.jetstream().add_consumer(name, durable_name="others", ack_policy=AckPolicy.EXPLICIT)
            except nats.js.errors.APIError as error:
                return error.err_code

        code = world.connected(another)
        demand(code is not None, "a second consumer of the same messages was made")
        acknowledge(world, name, "workers", count - count // 3)
        wait_until(lambda: world.state(name)["messages"] == 0, "all are gone", 10)
        return f"{count} messages, each gone with its ack; a second consumer is refused ({code})"
