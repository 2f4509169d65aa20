"""Transactions over several oplog entries: whole, in order, at the position of their commit, through
kill -9 of tailrace, and from a start between their entries."""

import random
import threading
import time
from contextlib import suppress

from bridge import Bridge, configuration, wait_until
from faults import seed
from jetstream import JetStream
from lab import Lab
from load import Writer, check, client, expected, make_collections, now, observed
from pymongo.errors import OperationFailure

MEGABYTE = "x" * (1 << 20)


def transaction(mongo, database, tag, operations, large=0):
    """Inserts, with `large` of them of a mebibyte, so that several oplog entries are needed."""
    def write(session):
        database.messages.insert_many(
            [{"_id": f"{tag}-{n}", "x": MEGABYTE if n < large else n} for n in range(operations)],
            session=session)
        database.rooms.update_one({"_id": tag}, {"$set": {"n": operations}}, upsert=True,
                                  session=session)

    with mongo.start_session() as session:
        # Beside other writers a transaction may have to be begun again.
        session.with_transaction(write)


def large(lab, name):
    """A server that takes large messages: NATS allows 1 MiB by default."""
    return configuration(lab, name, rule={"payload": {
        "envelope": "cloudevents", "json": "simplified", "exclude": ["fullDocument.x"]}})


def test_kill_tailrace_between_the_entries(tmp_path, name):
    with Lab(cache_gb=1.5) as lab:
        dice = random.Random(seed())
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        with Bridge(tmp_path, large(lab, name)) as bridge, client(lab) as mongo:
            bridge.start().wait_ready()
            after = now(lab)
            asked_to_stop = threading.Event()

            def write():
                number = 0
                with client(lab) as own:
                    while not asked_to_stop.is_set():
                        number += 1
                        # On a busy machine the server finds its cache too full now and then.
                        with suppress(OperationFailure):
                            transaction(own, own[name], f"t{number}", 40, large=34)

            thread = threading.Thread(target=write, daemon=True)
            thread.start()
            with Writer(lab, name, dice.random(), rate=500):
                for _ in range(6):
                    time.sleep(dice.uniform(0.3, 1.2))
                    bridge.kill()
                    bridge.start()
                wait_until(lambda: mongo.local["oplog.rs"].count_documents(
                    {"ts": {"$gt": after}, "o.partialTxn": True}) > 5, "large transactions", 300)
                asked_to_stop.set()
                thread.join(30)
            check(lab, jetstream, name, name, after)
            assert bridge.terminate() == 0


def test_hundred_thousand_operations(tmp_path, name):
    with Lab(cache_gb=1.5) as lab:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        with Bridge(tmp_path, configuration(lab, name)) as bridge, client(lab) as mongo:
            bridge.start().wait_ready()
            after = now(lab)
            def write(session):
                for part in range(20):
                    mongo[name].messages.insert_many(
                        [{"_id": part * 5000 + n, "text": "t" * 200} for n in range(5000)],
                        session=session)

            with mongo.start_session() as session:
                # 4.4 may find its cache too full at first.
                session.with_transaction(write)
            assert mongo.local["oplog.rs"].count_documents(
                {"ts": {"$gt": after}, "o.partialTxn": True}) >= 1, "16 MB were not exceeded"
            assert check(lab, jetstream, name, name, after) == 100_000
            indexes = [message.position[2] for message in jetstream.messages(name)]
            assert indexes == list(range(100_000))
            peak = int(next(line.split()[1] for line in open(f"/proc/{bridge.process.pid}/status")
                            if line.startswith("VmHWM")))
            print(f"peak RSS {peak / 1024:.1f} MiB")
            assert peak < 128 << 10, "memory follows the transaction's size"
            assert bridge.terminate() == 0


def test_start_between_the_entries(tmp_path, name):
    """The place to start at lies behind a transaction's first entries and before its commit."""
    with Lab(cache_gb=1.5) as lab:
        start_between_the_entries(lab, JetStream(lab.nats_url), tmp_path, name)


def start_between_the_entries(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with client(lab) as mongo:
        before = now(lab)
        transaction(mongo, mongo[name], "t", 40, large=34)
        transaction(mongo, mongo[name], "u", 3)
        chain = list(mongo.local["oplog.rs"].find(
            {"ts": {"$gt": before}, "o.applyOps.ns": {"$regex": f"^{name}"}}, {"ts": 1, "o.partialTxn": 1}))
    assert len(chain) >= 4 and chain[1]["o"].get("partialTxn")
    with Bridge(tmp_path, large(lab, name)) as bridge:
        start = chain[1]["ts"]
        assert bridge.run("--from", f"{start.time}.{start.inc}", "--until", "now") == 0
        truth = expected(lab, name, before)
        wait_until(lambda: jetstream.holds(name, len(truth)), "all events")
        assert observed(jetstream.messages(name)) == truth
