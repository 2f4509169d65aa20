"""A consumer that keeps a copy of some collections in SQLite, exactly once: docs/consumers.md explains it.

    read_model.py SERVERS STREAM DURABLE DATABASE

Run as many of it as you like with one DURABLE and one database: they share the work. Needs nats-py.
"""

import asyncio
import json
import signal
import sqlite3
import sys

import nats
from nats.errors import TimeoutError as NothingNew
from nats.js.api import AckPolicy, ConsumerConfig

# A message that fails as often as this is set aside: it must not stop what is behind it.
ATTEMPTS = 5


def open_copy(file):
    copy = sqlite3.connect(file, timeout=30, isolation_level=None)
    copy.executescript("""
        PRAGMA journal_mode = WAL;
        -- A deleted document leaves its row, so that nothing older brings it back.
        CREATE TABLE IF NOT EXISTS documents (
            key TEXT PRIMARY KEY, seconds INTEGER, increment INTEGER, idx INTEGER, body TEXT);
        CREATE TABLE IF NOT EXISTS set_aside (id TEXT PRIMARY KEY, subject TEXT, body BLOB, reason TEXT);
    """)
    return copy


def position(headers):
    """When it happened: three numbers, which are compared one after the other."""
    return tuple(int(part) for part in headers["Tailrace-Position"].split("."))


def apply(copy, subject, headers, event):
    """One event, in one transaction. Whatever is delivered again, or late, changes nothing."""
    # The rule's subject is …{ns.coll}.{operationType}.
    key = json.dumps([subject.split(".")[-2], event["documentKey"]["_id"]])
    now = position(headers)
    copy.execute("BEGIN IMMEDIATE")
    try:
        row = copy.execute("SELECT seconds, increment, idx, body FROM documents WHERE key = ?", (key,)).fetchone()
        if row is None or now > row[:3]:
            body = body_after(event, row and row[3])
            copy.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?)", (key, *now, body))
        copy.execute("COMMIT")
    except BaseException:
        copy.execute("ROLLBACK")
        raise


def body_after(event, before):
    """The document as JSON; None once it is deleted."""
    if event["operationType"] == "delete":
        return None
    if event.get("fullDocument") is not None:
        return json.dumps(event["fullDocument"])
    # An update without its document: its changes, to what is known.
    if before is None:
        raise LookupError("an update of a document that this copy lacks: begin with a snapshot")
    document = json.loads(before)
    changes = event["updateDescription"]
    for cut in changes.get("truncatedArrays", []):
        parent, name = walk(document, cut["field"])
        del parent[name][cut["newSize"]:]
    for path, value in changes.get("updatedFields", {}).items():
        parent, name = walk(document, path)
        if isinstance(parent, list) and name >= len(parent):
            parent.extend([None] * (name - len(parent)) + [value])
        else:
            parent[name] = value
    for path in changes.get("removedFields", []):
        parent, name = walk(document, path)
        parent.pop(name)
    return json.dumps(document)


def walk(document, path):
    """What holds the field, and its name or index there. Names with dots need the rule to send whole documents."""
    *parents, last = path.split(".")
    for name in parents:
        document = document[int(name) if isinstance(document, list) else name]
    return document, int(last) if isinstance(document, list) else last


async def handle(copy, message):
    try:
        apply(copy, message.subject, message.headers, json.loads(message.data))
    except Exception as problem:
        if message.metadata.num_delivered < ATTEMPTS:
            await message.nak(delay=0.1 * 2 ** message.metadata.num_delivered)
            return
        # A poison message: kept for a person, and never delivered again.
        with copy:
            copy.execute("INSERT OR REPLACE INTO set_aside VALUES (?, ?, ?, ?)", (
                message.headers.get("Nats-Msg-Id"), message.subject, message.data, repr(problem)))
        await message.term()
        return
    # Acknowledged twice: the server says that it knows. If this process dies before, it is delivered again, and
    # `apply` finds that it is done.
    await message.ack_sync()


async def main(servers, stream, durable, file):
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    copy = open_copy(file)
    connection = await nats.connect(servers.split(","), max_reconnect_attempts=-1)
    jetstream = connection.jetstream()
    # One message at a time keeps the order of each document. For more, divide the work by subject: docs/consumers.md.
    subscription = await jetstream.pull_subscribe("", durable, stream, config=ConsumerConfig(
        durable_name=durable, ack_policy=AckPolicy.EXPLICIT, ack_wait=5, max_ack_pending=1))
    while not stop.is_set():
        try:
            for message in await subscription.fetch(1, timeout=1):
                await handle(copy, message)
        except NothingNew:
            continue
        except nats.errors.Error as problem:
            print(f"{problem!r}: trying again", file=sys.stderr, flush=True)
            await asyncio.sleep(0.5)
    await connection.close()


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
