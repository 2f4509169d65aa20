"""The state bucket or the stream is gone: found again from the other, or refused; never guessed."""

import pytest
from bridge import Bridge, configuration, wait_until
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
    """The checkpoint knows where everything began: the stream is made anew and filled again."""
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
    """No trace of the bridge anywhere: a first start, as `source.start` says (now)."""
    jetstream.delete_stream(f"KV_STATE_{name}")
    jetstream.delete_stream(name)
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
