"""Messages behind the checkpoint that are gone, and were not the bridge's: dead letters that were replayed,
the server's own markers, somebody else's. No event may be taken for one of them."""

import asyncio
import base64
import json

import pytest
import yaml
from bridge import Bridge, configuration, tailrace, wait_until
from load import client, make_collections, now
from test_consumed_before_restart import consume, insert, start


def keys(jetstream, name):
    return [message.json["documentKey"]["_id"] for message in jetstream.messages(name)]


def intrude(lab, jetstream, name, count):
    """Somebody else's messages come into the work queue, and are consumed."""
    for number in range(count):
        jetstream.publish(f"{name}.rooms.intruder", b"{}", {"Nats-Msg-Id": f"intruder {number}"})
    asyncio.run(consume(lab.nats_url, name, count))


def test_stopped(lab, jetstream, tmp_path, name):
    """The bridge stopped with everything acknowledged; the dedup window is over."""
    with start(lab, tmp_path, name, {"retention": "workqueue"}) as bridge:
        bridge.start().wait_ready()
        insert(lab, name, range(5))
        wait_until(lambda: jetstream.holds(name, 5), "5 messages")
        asyncio.run(consume(lab.nats_url, name, 5))
        assert bridge.terminate() == 0
        intrude(lab, jetstream, name, 4)
        insert(lab, name, range(100, 108))
        bridge.start().wait_ready()
        wait_until(lambda: jetstream.holds(name, 17), "all 8 events")
        assert jetstream.state(name)["messages"] == 8
        # Nor do those count that came before: another stop, by force.
        bridge.kill()
        insert(lab, name, [200])
        bridge.start().wait_ready()
        wait_until(lambda: jetstream.holds(name, 18), "the next event")
        assert jetstream.state(name)["messages"] == 9


@pytest.mark.parametrize("publish", ["chain", "atomic", "fast"])
def test_killed(lab, jetstream, tmp_path, name, publish):
    """Within the dedup window, ids tell events that were consumed from somebody else's messages."""
    stream = {"retention": "workqueue", "duplicate_window": "2m", "publish": publish}
    with start(lab, tmp_path, name, stream) as bridge:
        bridge.start().wait_ready()
        insert(lab, name, range(5))
        wait_until(lambda: jetstream.holds(name, 5), "5 messages")
        bridge.kill()
        taken = asyncio.run(consume(lab.nats_url, name, 5))
        intrude(lab, jetstream, name, 4)
        insert(lab, name, range(100, 108))
        bridge.start().wait_ready()
        wait_until(lambda: jetstream.holds(name, 17), "all 8 events")
        insert(lab, name, [200])
        wait_until(lambda: jetstream.holds(name, 18), "the next event")
        taken += asyncio.run(consume(lab.nats_url, name, 9))
        assert len(set(taken)) == 14 and jetstream.state(name)["messages"] == 0
        assert jetstream.last_sequence(name) == 18
        bridge.alive()


@pytest.mark.parametrize("stop", ["terminate", "kill"])
def test_replayed(lab, jetstream, tmp_path, name, stop):
    """Beside the running bridge, as the docs demand; then the messages are consumed, and the dedup window is
    over."""
    stream = {"retention": "workqueue", "duplicate_window": "100ms",
              "consumers": [{"durable_name": "app", "ack_policy": "explicit"}]}
    whole = configuration(lab, name, stream=stream, rule={
        "subject": name + ".{fullDocument.rid}",
        "match": {"namespace": f"{name}.*", "operations": ["insert"]}})
    make_collections(lab, name)
    with Bridge(tmp_path, whole) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            mongo[name].rooms.insert_many([{"_id": number} for number in range(8)])
            mongo[name].rooms.insert_one({"_id": "good", "rid": "a"})
        wait_until(lambda: jetstream.holds(f"DLQ_{name}", 8) and jetstream.holds(name, 1), "letters")
        bridge.terminate()
        whole["rules"][0]["subject"] = name + ".fixed"
        bridge.file.write_text(yaml.safe_dump(whole, sort_keys=False))
        bridge.start().wait_ready()
        done = tailrace("dlq", "replay", "--all", "-c", bridge.file, cwd=bridge.folder)
        assert done.returncode == 0, done.stderr
        asyncio.run(consume(lab.nats_url, name, 9))

        def noticed():
            saved = jetstream.api(f"STREAM.MSG.GET.KV_STATE_{name}", {
                "last_by_subj": f"$KV.STATE_{name}.{name}.checkpoint"})["message"]["data"]
            return json.loads(base64.b64decode(saved)).get("states", {}).get(name, {}).get(
                "uncounted") == 9

        wait_until(noticed, "the running bridge has seen that the stream goes further than it published")
        getattr(bridge, stop)()
        insert(lab, name, range(100, 112))
        bridge.start().wait_ready()
        wait_until(lambda: jetstream.holds(name, 21), "all 12 events")
        assert jetstream.state(name)["messages"] == 12


def test_delete_markers(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    stream = {"max_age": "1s", "subject_delete_marker_ttl": "1s", "allow_msg_ttl": True,
              "duplicate_window": "1s"}
    whole = configuration(lab, name, stream=stream,
                          rule={"subject": name + ".{ns.coll}.{documentKey._id}"})
    with Bridge(tmp_path, whole) as bridge:
        bridge.start().wait_ready()
        insert(lab, name, range(5))
        wait_until(lambda: jetstream.holds(name, 5), "5 messages")
        bridge.kill()
        wait_until(lambda: (state := jetstream.state(name))["last_seq"] == 10
                   and state["messages"] == 0, "markers came and went", 20)
        insert(lab, name, range(100, 108))
        bridge.start().wait_ready()
        # What was stored behind the checkpoint may come once more: rather that than a loss.
        wait_until(lambda: jetstream.holds(name, 18), "all 8 events")
        wait_until(lambda: "delete markers" in bridge.tail(), "a line in the log")


def test_first_sequence(lab, jetstream, tmp_path, name):
    """A stream that begins with a higher sequence is made by the bridge's first start."""
    with start(lab, tmp_path, name, {"first_seq": 1000}) as bridge:
        bridge.start().wait_ready()
        insert(lab, name, range(5))
        wait_until(lambda: jetstream.holds(name, 1004), "5 messages")
        bridge.kill()
        bridge.start().wait_ready()
        insert(lab, name, range(5, 8))
        wait_until(lambda: jetstream.holds(name, 1007), "3 more")
        assert keys(jetstream, name) == list(range(8))


def test_a_positional_id_that_is_taken(lab, jetstream, tmp_path, name):
    """An outbox's document has as its id what a later event's position would be."""
    make_collections(lab, name)
    whole = configuration(lab, name)
    whole["rules"] = [
        {"name": "out", "match": {"namespace": f"{name}.users"}, "outbox": {}, "stream": name},
        {"name": "all", "match": {"namespace": f"{name}.*", "operations": ["insert"]},
         "subject": name + ".{ns.coll}", "stream": name}]
    with Bridge(tmp_path, whole) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        second = now(lab).time
        mongo[name].users.insert_many([
            {"_id": f"rs0:{second + after}.{increment}.0", "subject": f"{name}.x", "type": "t",
             "payload": {}} for after in range(1, 5) for increment in range(1, 40)])
        wait_until(lambda: jetstream.holds(name, 156), "the outbox's")
        count = 0

        def letters():
            return [message.headers for message in jetstream.messages(f"DLQ_{name}")]

        def one_more():
            nonlocal count
            mongo[name].rooms.insert_one({"_id": count})
            count += 1
            return letters()

        wait_until(one_more, "an event whose id is taken", every=0.1)
        wait_until(lambda: len(letters()) + len(jetstream.messages(name)) - 156 == count,
                   "each event is a message or a letter")
        assert all(headers["Tailrace-Error"] == "id_conflict" for headers in letters())


@pytest.mark.parametrize("discard, publish", [("new", "chain"), ("new", "auto"), ("old", "auto")])
def test_larger_than_the_stream_may_be(lab, jetstream, tmp_path, name, discard, publish):
    make_collections(lab, name)
    stream = {"max_bytes": 5000, "discard": discard, "publish": publish}
    with Bridge(tmp_path, configuration(lab, name, stream=stream)) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            mongo[name].rooms.insert_many([{"_id": 1}, {"_id": 2, "t": "x" * 20_000}, {"_id": 3}])
        wait_until(lambda: jetstream.holds(name, 2), "those that fit")
        assert keys(jetstream, name) == [1, 3]
        wait_until(lambda: jetstream.holds(f"DLQ_{name}", 1), "the letter")
        assert [message.headers["Tailrace-Error"] for message in jetstream.messages(f"DLQ_{name}")] \
            == ["payload_too_large"]
        bridge.alive()
