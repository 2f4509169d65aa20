"""Ids that a stream holds already, by producers that were first or by an earlier run: at full speed, by
every protocol, counted as duplicates, in order, and the checkpoint moves."""

import json
import time

import pytest
from bridge import Bridge, configuration, tailrace, wait_until
from ids import check_checkpoint, checkpointed, ours, outcomes, produce, servers
from jetstream import JetStream
from load import client, make_collections

# Of 1,000 events each: which of them a producer has published before.
SHARES = {
    "the first": [0],
    "the last": [999],
    "one of a hundred": range(50, 1000, 100),
    "one alone": [500],
    "a run of 250": range(300, 550),
    "every other": range(0, 1000, 2),
    "all but the last": range(999),
    "all": range(1000),
    "none": [],
}


def template(name):
    return {"id": "{documentKey._id}.created", "subject": name + ".{ns.coll}.created",
            "match": {"namespace": f"{name}.messages", "operations": ["insert"]}}


def producer_first(lab, folder, name, stream, shares=tuple(SHARES)):
    make_collections(lab, name)
    jetstream = JetStream(lab.nats_url)
    changes = configuration(lab, name, rule=template(name), stream=stream)
    with Bridge(folder, changes) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        expected, produced = [], set()
        for number, share in enumerate(shares):
            first = number * 1000
            ids = [f"{first + n}.created" for n in SHARES[share]]
            produce(jetstream, f"{name}.messages.created", ids)
            produced.update(ids)
            mongo[name].messages.insert_many([{"_id": first + n} for n in range(1000)])
            expected += [f"{first + n}.created" for n in range(1000)]
            wait_until(lambda: outcomes(bridge)["matched"] >= len(expected), share, seconds=30)
        messages = jetstream.messages(name)
        assert sorted(m.id for m in messages) == sorted(expected)
        own = ours(messages)
        assert [m.id for m in own] == [id for id in expected if id not in produced]
        assert [m.position for m in own] == sorted(m.position for m in own)
        counted = outcomes(bridge)
        assert counted["duplicate"] == len(produced), counted
        assert counted["published"] == len(own), counted
        assert counted["id_conflicts"] == counted["dead_lettered"] == 0
        check_checkpoint(lab, jetstream, bridge, name)
        status = bridge.json("/status")[1]
        assert status["connection_epoch"] <= 4, "an epoch for the first duplicate, and hardly another"
        assert status["health"] in ("ok", "idle"), status
        # A new life, which knows nothing but what is written down.
        bridge.kill()
        bridge.start().wait_ready()
        mongo[name].messages.insert_one({"_id": "after"})
        wait_until(lambda: jetstream.holds(name, len(expected) + 1), "the next event")
        assert jetstream.messages(name)[-1].id == "after.created"
        assert bridge.terminate() == 0


@pytest.mark.parametrize("publish, shares", [
    pytest.param("auto", tuple(SHARES), id="auto"),
    pytest.param("fast", ("the last", "a run of 250", "one of a hundred", "all"), id="fast")])
def test_shared_stream(lab, tmp_path, name, publish, shares):
    producer_first(lab, tmp_path, name, {"ownership": "shared", "publish": publish}, shares)


@pytest.mark.parametrize("nats", ["2.9.10", "2.10.26", "2.12.8"])
def test_shared_stream_of_older_servers(lab, tmp_path, name, nats):
    with servers(lab, version=nats) as other:
        producer_first(other, tmp_path, name, {"ownership": "shared"},
                       ("the first", "one of a hundred", "all"))


@pytest.mark.parametrize("ownership, publish", [
    ("shared", "auto"), ("exclusive", "chain")])
def test_three_replicas(lab, tmp_path, name, ownership, publish):
    """A stream that is said to be the bridge's may hold ids of a former producer all the same."""
    with servers(lab, nats=3) as other:
        producer_first(
            other, tmp_path, name,
            {"ownership": ownership, "publish": publish, "num_replicas": 3},
            ("all but the last", "one of a hundred", "all")
            if ownership == "shared" else ("all", "none"))


@pytest.mark.parametrize("publish", ["auto", "chain", "fast"])
def test_snapshot_within_the_window(lab, jetstream, tmp_path, name, publish):
    """Documents that the stream has from their inserts, a moment ago: the snapshot repeats them all."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(
            lab, name, rule=template(name), stream={"publish": publish})) as bridge, \
            client(lab) as mongo:
        bridge.start().wait_ready()
        mongo[name].messages.insert_many([{"_id": n, "text": "x" * 100} for n in range(3000)])
        wait_until(lambda: jetstream.holds(name, 3000), "inserts")
        assert bridge.terminate() == 0
        mongo[name].messages.insert_many([{"_id": n} for n in range(3000, 3010)])
        began = time.monotonic()
        done = tailrace("snapshot", "--force", "-c", bridge.file, "--json", cwd=tmp_path, seconds=60)
        assert done.returncode == 0, done.stderr
        took = time.monotonic() - began
        assert json.loads(done.stdout)["documents"] >= 3010, done.stdout
        messages = jetstream.messages(name)
        assert len(messages) == 6010 and len({m.id for m in messages}) == 6010
        assert all("Tailrace-Snapshot" in m.headers for m in messages[3000:])
        assert {m.json["documentKey"]["_id"] for m in messages[3000:]} == set(range(3010))
        # And the tail continues behind it.
        bridge.start().wait_ready()
        mongo[name].messages.insert_one({"_id": "after"})
        wait_until(lambda: jetstream.holds(name, 6011), f"the tail (the snapshot took {took:.1f} s)")
        check_checkpoint(lab, jetstream, bridge, name)
        assert jetstream.state(f"DLQ_{name}") is None or not jetstream.last_sequence(f"DLQ_{name}")
        assert bridge.terminate() == 0


@pytest.mark.parametrize("when", ["stopped", "running"])
def test_deleted(lab, jetstream, tmp_path, name, when):
    """All ids were a producer's, so the bridge stored nothing itself: that the stream is deleted is noticed all the
    same."""
    make_collections(lab, name)
    ids = [f"{n}.created" for n in range(20)]
    changes = configuration(lab, name, rule=template(name), stream={"ownership": "shared"})
    with Bridge(tmp_path, changes) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        produce(jetstream, f"{name}.messages.created", ids)
        mongo[name].messages.insert_many([{"_id": n} for n in range(20)])
        wait_until(lambda: outcomes(bridge)["duplicate"] == 20, "the producer's ids")
        checkpointed(lab, bridge)
        if when == "stopped":
            assert bridge.terminate() == 0
        jetstream.delete_stream(name)
        if when == "stopped":
            bridge.start().wait_ready()
        wait_until(lambda: jetstream.holds(name, 20), "the stream filled again", seconds=30)
        assert [message.id for message in jetstream.messages(name)] == ids
        wait_until(lambda: bridge.json("/status")[1]["health"] in ("ok", "idle"), "the end of the gap")
        assert bridge.terminate() == 0
