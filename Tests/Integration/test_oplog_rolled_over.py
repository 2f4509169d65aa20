"""The oplog moves on past the bridge: entries it has not read are gone. It ends with 75 and says
which, and publishes nothing from behind the gap until somebody decides to."""

import json
import signal

from bridge import Bridge, configuration, wait_until
from jetstream import JetStream
from lab import Lab
from load import client, make_collections

# The oplog is cut at checkpoints only.
SMALL = {"oplog_mb": 1, "parameters": {"syncdelay": 1}}


def oldest(mongo):
    return mongo.local["oplog.rs"].find_one(sort=[("$natural", 1)])["ts"]


def roll_over(lab, name, megabytes):
    """Writes that much, and then until the oplog reaches no further back than to these writes."""
    with client(lab) as mongo:
        def write():
            mongo[name].rooms.insert_many([{"text": "x" * 10_000} for _ in range(100)])

        begin = mongo.admin.command("hello")["lastWrite"]["opTime"]["ts"]
        for _ in range(megabytes):
            write()
        wait_until(lambda: write() or oldest(mongo) > begin, "the oplog has moved on", every=0.2)


def test_while_stopped(tmp_path, name):
    with Lab(**SMALL) as lab:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        with Bridge(tmp_path, configuration(lab, name)) as bridge:
            bridge.start().wait_ready()
            with client(lab) as mongo:
                mongo[name].rooms.insert_many([{"_id": number} for number in range(10)])
            wait_until(lambda: jetstream.last_sequence(name) == 10, "10 messages")
            assert bridge.terminate() == 0
            checkpoint, = (json.loads(value)["position"]
                           for key, value in jetstream.keys(f"STATE_{name}").items()
                           if key.endswith(".checkpoint"))
            roll_over(lab, name, 2)

            with client(lab) as mongo:
                before = oldest(mongo)
                assert bridge.run(seconds=30) == 75
                after = oldest(mongo)
            said = bridge.tail()
            assert checkpoint in said, "the message names where the gap begins"
            assert any(f"{end.time}.{end.inc}" in said for end in (before, after)), "and ends"
            assert "no longer holds" in said and "--from oldest --force" in said
            assert jetstream.last_sequence(name) == 10, "nothing is published past a gap"

            # The way on that it names.
            assert bridge.run("--from", "oldest", "--force", "--until", "now", seconds=60) == 0
            assert jetstream.last_sequence(name) > 10


def test_while_held_up(tmp_path, name):
    """NATS hangs, so the bridge takes nothing from its cursor, which is overtaken."""
    with Lab(**SMALL) as lab:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        with Bridge(tmp_path, configuration(lab, name)) as bridge:
            bridge.start().wait_ready()
            with client(lab) as mongo:
                mongo[name].rooms.insert_many([{"_id": number} for number in range(10)])
            wait_until(lambda: jetstream.last_sequence(name) == 10, "10 messages")
            lab.nats[0].process.send_signal(signal.SIGSTOP)
            roll_over(lab, name, 60)
            lab.nats[0].process.send_signal(signal.SIGCONT)
            assert bridge.wait(60) == 75
            assert "position lost" in bridge.tail()

            # What it had read before is in the stream without a hole.
            messages = jetstream.messages(name)
            with client(lab) as mongo:
                order = [document["_id"] for document in mongo[name].rooms.find().sort("_id", 1)]
            keys = [message.json["documentKey"]["_id"] for message in messages]
            assert [str(key) for key in order[:len(keys)]] == [str(key) for key in keys]
            assert 10 <= len(keys) < len(order)
            print(f"{len(keys)} of {len(order)} were read in time\n{bridge.tail()}")
