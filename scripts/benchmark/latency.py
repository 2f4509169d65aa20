"""Write to delivery: a writer at a steady rate, and a subscriber with the same clock."""

import asyncio
import multiprocessing
import re
import statistics
import time

import nats
import pymongo

from benchmark.backlog import DATABASE

RATE = 200


def _write_steadily(uri, journal, seconds, acknowledged):
    """In a process of its own: 200 writes a second, each with the time of its sending."""
    with pymongo.MongoClient(uri, w=1, journal=journal) as client:
        collection = client[DATABASE].latency
        began = time.monotonic()
        acks = []
        for number in range(int(RATE * seconds)):
            delay = began + number / RATE - time.monotonic()
            if delay > 0:
                time.sleep(delay)
            now = time.time()
            collection.insert_one({
                "t0": int(now * 1e6), "rid": "abcdefghijklmnopq",
                "u": {"_id": "abcdefghijklmnopq", "username": "user.1"},
                "msg": "hello world this is a chat message of a realistic length for tests",
                "mentions": [], "channels": []})
            acks.append((time.time() - now) * 1e3)
    acknowledged.put(statistics.median(acks))


async def _listen(url, subject, count, started):
    """Milliseconds from t0 in the body to delivery, for `count` messages."""
    connection = await nats.connect(url.split(","))
    found, done = [], asyncio.get_running_loop().create_future()

    async def on(message):
        now = time.time()
        match = re.search(rb'"t0":\s*(\d+)', message.data)
        if match:
            found.append(now * 1e3 - int(match[1]) / 1e3)
            if len(found) == count and not done.done():
                done.set_result(None)

    await connection.subscribe(subject, cb=on)
    await connection.flush()
    started.start()
    try:
        await asyncio.wait_for(done, count / RATE + 15)
    except asyncio.TimeoutError:
        pass
    await connection.close()
    return found


def latency(lab, subject, journal, seconds):
    """{p50, p90, p99, ack} in milliseconds of whatever bridge is running."""
    context = multiprocessing.get_context("fork")
    acknowledged = context.Queue()
    writer = context.Process(target=_write_steadily,
                             args=(lab.uri, journal, seconds, acknowledged))
    found = asyncio.run(_listen(lab.nats_url, subject, int(RATE * seconds), writer))
    ack = acknowledged.get(timeout=30)
    writer.join()
    if len(found) < RATE * seconds:
        raise RuntimeError(f"{len(found)} of {int(RATE * seconds)} messages were delivered")
    cuts = statistics.quantiles(found, n=100)
    return {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98], "ack": ack}
