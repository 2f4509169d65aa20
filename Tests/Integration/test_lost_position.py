"""A position that the oplog doesn't hold: exit 75 with what to do, never a silent gap."""

import json
import time

import pytest
from bridge import Bridge, configuration, wait_until
from load import client, make_collections


def edit_checkpoint(jetstream, name, change):
    """Alters the stored checkpoint with an independent client."""
    bucket = f"STATE_{name}"
    (key, value), = ((key, value) for key, value in jetstream.keys(bucket).items()
                     if key.startswith(name) and key.endswith(".checkpoint"))
    checkpoint = json.loads(value)
    change(checkpoint)
    jetstream.put(bucket, key, json.dumps(checkpoint).encode())


@pytest.mark.parametrize("kind", ["rolled over", "rolled back"])
def test_position_that_never_was(lab, jetstream, tmp_path, name, kind):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            mongo[name].rooms.insert_many([{"_id": number} for number in range(10)])
        wait_until(lambda: jetstream.last_sequence(name) == 10, "10 messages")
        assert bridge.terminate() == 0

        def change(checkpoint):
            seconds, increment = map(int, checkpoint["position"].split("."))
            checkpoint["position"] = ("1000000000.1" if kind == "rolled over"
                                      else f"{seconds}.{increment + 777}")

        edit_checkpoint(jetstream, name, change)
        time.sleep(1.1)  # the made-up position's second is over: it can't come to be
        with client(lab) as mongo:  # the oplog continues past it
            mongo[name].rooms.insert_many([{"_id": number} for number in range(10, 2000)])
        assert bridge.run(seconds=60) == 75
        assert "--from" in bridge.tail(), "the message names the remedy"
        assert jetstream.last_sequence(name) == 10, "nothing is published past a gap"


def test_unreadable_checkpoint(lab, jetstream, tmp_path, name):
    """Never taken for a fresh start."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            mongo[name].rooms.insert_one({"_id": 1})
        wait_until(lambda: jetstream.last_sequence(name) == 1, "1 message")
        assert bridge.terminate() == 0
        for key in jetstream.keys(f"STATE_{name}"):
            if key.endswith(".checkpoint"):
                jetstream.put(f"STATE_{name}", key, b'{"format": 1, "posi')
        assert bridge.run("--until", "now") == 75
        assert jetstream.last_sequence(name) == 1
