"""A worker: pulls from a durable consumer, works, records, acknowledges, and waits for the server's word.

    worker.py SERVERS STREAM DURABLE FILE [--work MILLISECONDS] [--uneven] [--batch N] [--effects DATABASE]
              [--forgetful] [--die-after N]

One line of FILE for each message: when its work began and ended (the machine's monotonic clock, so that
workers compare), its position, subject, and how often it was delivered. `--effects` counts each event once in
SQLite; `--forgetful` does not look whether it has counted it. `--die-after`: kills itself between the effect
and the ack of its Nth message.
"""

import argparse
import asyncio
import os
import signal
import sqlite3
import time

import nats
import nats.errors
import nats.js.errors


def open_effects(file):
    effects = sqlite3.connect(file, timeout=30, isolation_level=None)
    effects.executescript("""
        PRAGMA journal_mode = WAL;
        CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY);
        CREATE TABLE IF NOT EXISTS effects (id TEXT);
    """)
    return effects


def apply(effects, identity, forgetful):
    """The effect and the note that it happened, in one transaction."""
    effects.execute("BEGIN IMMEDIATE")
    fresh = effects.execute("INSERT OR IGNORE INTO seen VALUES (?)", (identity,)).rowcount == 1
    if fresh or forgetful:
        effects.execute("INSERT INTO effects VALUES (?)", (identity,))
    effects.execute("COMMIT")


async def main(options):
    handled = os.open(options.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    effects = open_effects(options.effects) if options.effects else None
    connection = await nats.connect(options.servers.split(","), max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    jetstream = connection.jetstream()
    subscription, count = None, 0
    while subscription is None:
        try:
            subscription = await jetstream.pull_subscribe_bind(options.durable, options.stream)
        except (nats.errors.Error, nats.js.errors.Error):  # a server that starts
            await asyncio.sleep(0.05)
    while True:
        try:
            messages = await subscription.fetch(options.batch, timeout=1)
        except nats.errors.Error:  # nothing new, or a server that is away
            await asyncio.sleep(0.02)
            continue
        for message in messages:
            began = time.monotonic()
            sequence = message.metadata.sequence.stream
            # Uneven: between a fifth and nine fifths of the time, by the message.
            share = 0.2 + 1.6 * (sequence * 7919 % 101) / 100 if options.uneven else 1
            await asyncio.sleep(options.work / 1000 * share)
            if effects:
                apply(effects, message.headers["Nats-Msg-Id"], options.forgetful)
            os.write(handled, (f"{began:.6f} {time.monotonic():.6f} {message.headers['Tailrace-Position']} "
                               f"{message.subject} {message.metadata.num_delivered}\n").encode())
            count += 1
            if count == options.die_after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                await message.ack_sync(timeout=5)
            except nats.errors.Error:
                pass  # it is delivered again


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for argument in ("servers", "stream", "durable", "file"):
        parser.add_argument(argument)
    parser.add_argument("--work", type=float, default=0)
    parser.add_argument("--uneven", action="store_true")
    parser.add_argument("--batch", type=int, default=5)
    parser.add_argument("--effects")
    parser.add_argument("--forgetful", action="store_true")
    parser.add_argument("--die-after", type=int)
    asyncio.run(main(parser.parse_args()))
