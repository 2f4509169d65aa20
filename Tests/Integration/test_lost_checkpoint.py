"""The state bucket or the stream is gone: found again from the other, or refused; never guessed."""

import shutil

import pytest
import yaml
from bridge import Bridge, configuration, wait_until
from jetstream import JetStream
from lab import Lab
from load import Writer, check, client, make_collections, now


@pytest.fixture
def stopped(lab, jetstream, tmp_path, name):
    """A bridge that published some thousand events and was stopped; more were written since."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        bridge.after = now(lab)
        write(lab, name, 1)
        bridge.count = check(lab, jetstream, name, name, bridge.after)
        assert bridge.terminate() == 0
        write(lab, name, 2)
        yield bridge


def write(lab, name, seed, count=2000):
    with Writer(lab, name, seed) as writer:
        wait_until(lambda: writer.written >= count, f"{count} writes", seconds=60)


def test_bucket_deleted(lab, jetstream, name, stopped):
    jetstream.delete_stream(f"KV_STATE_{name}")
    stopped.start().wait_ready()
    assert check(lab, jetstream, name, name, stopped.after) > stopped.count
    assert stopped.terminate() == 0


def test_bucket_deleted_while_running(lab, jetstream, name, stopped):
    stopped.start().wait_ready()
    check(lab, jetstream, name, name, stopped.after)
    jetstream.delete_stream(f"KV_STATE_{name}")
    write(lab, name, 3)
    check(lab, jetstream, name, name, stopped.after)
    stopped.kill()
    stopped.start().wait_ready()
    write(lab, name, 4)
    check(lab, jetstream, name, name, stopped.after)


def test_stream_deleted(lab, jetstream, name, stopped):
    """The checkpoint knows where everything began: the stream is made again and filled again."""
    jetstream.delete_stream(name)
    stopped.start().wait_ready()
    assert check(lab, jetstream, name, name, stopped.after) > stopped.count


def test_bucket_deleted_and_stream_purged(jetstream, name, stopped):
    """Nothing tells any more where the bridge was, but that it was: refused."""
    jetstream.delete_stream(f"KV_STATE_{name}")
    jetstream.purge(name)
    assert stopped.run(seconds=60) == 75
    assert "--from" in stopped.tail()
    assert jetstream.state(name)["messages"] == 0


def test_both_deleted(jetstream, lab, name, stopped):
    """The dead letters' stream, which was never used, knows at least that there was a bridge: refused.
    No trace of it anywhere: a first start, as `source.start` says (now)."""
    jetstream.delete_stream(f"KV_STATE_{name}")
    jetstream.delete_stream(name)
    assert stopped.run(seconds=60) == 75
    assert f"stream {name}" in stopped.tail() and "--force" in stopped.tail()
    for stream in f"KV_STATE_{name}", name:
        assert jetstream.state(stream) is None, "a start that is refused makes nothing"
    jetstream.delete_stream(f"DLQ_{name}")
    stopped.start().wait_ready()
    begin = now(lab)
    with client(lab) as mongo:
        mongo[name].rooms.insert_one({"_id": "first of the new life"})
    wait_until(lambda: jetstream.holds(name, 1), "a message")
    assert check(lab, jetstream, name, name, begin) == 1


def test_foreign_message_in_an_exclusive_stream(lab, jetstream, name, stopped):
    """Somebody else's message doesn't stop the bridge for good, and is never overwritten."""
    stopped.start().wait_ready()
    check(lab, jetstream, name, name, stopped.after)
    jetstream.publish(f"{name}.rooms.intruder", b"{}")
    before = jetstream.last_sequence(name)
    with client(lab) as mongo:
        mongo[name].rooms.insert_many([{"_id": f"late {number}"} for number in range(10)])
    wait_until(lambda: jetstream.holds(name, before + 10), "the events after it")
    stopped.alive()
    messages = jetstream.messages(name)
    assert sum(message.subject.endswith(".intruder") for message in messages) == 1
    own = [message for message in messages if "Tailrace-Position" in message.headers]
    positions = [message.position for message in own]
    assert positions == sorted(set(positions))


# --- an empty stream is no proof -----------------------------------------------------------------


def some(lab, jetstream, name, bridge, good=10):
    """So many valid events and an invalid one behind them; what the bridge made of them."""
    with client(lab) as mongo:
        for number in range(good):
            mongo[name].messages.insert_one({"_id": number, "rid": "a"})
        mongo[name].messages.insert_one({"_id": good})
    wait_until(lambda: jetstream.holds(name, good), f"{good} messages")
    wait_until(lambda: jetstream.holds(f"DLQ_{name}", 1), "the letter")
    # The streams' own marks come with the checkpoint that knows their messages.
    wait_until(lambda: len(bridge.json("/status")[1]["checkpoint"].get("streams", {})) == 2,
               "a checkpoint")


def letter_bridge(lab, tmp_path, name, **changes):
    make_collections(lab, name)
    return Bridge(tmp_path, configuration(
        lab, name, rule={"subject": name + ".{fullDocument.rid}"}, **changes))


@pytest.mark.parametrize("start", ["now", "oldest"])
def test_emptied_beside_a_letter(
        lab, jetstream, tmp_path, name, start):
    """Nothing tells whether the stream that is made again ever held something: refused, unless the
    configuration itself wants all that the oplog has."""
    with letter_bridge(lab, tmp_path, name) as bridge:
        bridge.start().wait_ready()
        some(lab, jetstream, name, bridge)
        assert bridge.terminate() == 0
        jetstream.delete_stream(f"KV_STATE_{name}")
        jetstream.delete_stream(name)
        bridge.configuration["source"]["start"] = start
        bridge.file.write_text(yaml.safe_dump(bridge.configuration))
        if start == "now":
            assert bridge.run(seconds=30) == 75
            assert f"stream {name}" in bridge.tail() and "--force" in bridge.tail()
            assert jetstream.last_sequence(name) == 0
            return
        bridge.start().wait_ready()
        wait_until(lambda: jetstream.holds(name, 10), "the events are back")
        keys = [message.json["documentKey"]["_id"] for message in jetstream.messages(name)]
        assert keys == list(range(10))
        assert jetstream.last_sequence(f"DLQ_{name}") == 1


def test_stream_that_lost_everything(tmp_path, name):
    """Its messages are gone, its settings are not: the metadata say that there were some, and since
    when. (A cluster's memory stream after a restart, or a file system that lost a folder.)"""
    with Lab() as lab:
        jetstream = JetStream(lab.nats_url)
        with letter_bridge(lab, tmp_path, name) as bridge:
            bridge.start().wait_ready()
            some(lab, jetstream, name, bridge)
            assert bridge.terminate() == 0
            jetstream.delete_stream(f"KV_STATE_{name}")
            lab.stop("nats")
            folder, = (f for f in (lab.nats[0].folder / "store").rglob(name) if f.is_dir())
            shutil.rmtree(folder / "msgs")
            lab.start("nats")
            assert jetstream.last_sequence(name) == 0
            bridge.start().wait_ready()
            wait_until(lambda: jetstream.holds(name, 10), "the events are back")
            keys = [message.json["documentKey"]["_id"] for message in jetstream.messages(name)]
            assert keys == list(range(10))
            assert jetstream.last_sequence(f"DLQ_{name}") == 1


def test_letters_deleted_with_the_bucket(lab, jetstream, tmp_path, name):
    with letter_bridge(lab, tmp_path, name) as bridge:
        bridge.start().wait_ready()
        some(lab, jetstream, name, bridge)
        assert bridge.terminate() == 0
        jetstream.delete_stream(f"KV_STATE_{name}")
        jetstream.delete_stream(f"DLQ_{name}")
        assert bridge.run(seconds=30) == 75
        assert f"stream DLQ_{name}" in bridge.tail()
        assert jetstream.last_sequence(name) == 10
