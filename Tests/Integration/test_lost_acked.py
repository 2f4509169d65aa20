"""A server that lost messages it had acknowledged (here: an older copy of its store is put back).
The bridge notices, writes them again in order, and says so."""

import shutil

import pytest
from bridge import Bridge, configuration, wait_until
from jetstream import JetStream
from lab import Lab
from load import Writer, check, make_collections, now


def store_of(lab, stream):
    found = [folder for folder in (lab.nats[0].folder / "store").rglob(stream) if folder.is_dir()]
    assert len(found) == 1, found
    return found[0]


def write(lab, name, seed, count):
    with Writer(lab, name, seed) as writer:
        wait_until(lambda: writer.written >= count, f"{count} writes", seconds=60)


@pytest.mark.parametrize("publish", ["chain", "atomic", "fast"])
@pytest.mark.parametrize("when", ["running", "stopped", "everything"])
def test_lost_acked(tmp_path, name, when, publish):
    """`running`: the bridge lives through it; `stopped`: it finds out at its start; `everything`:
    the checkpoint went back in time together with the stream."""
    with Lab() as lab:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        with Bridge(tmp_path, configuration(lab, name, stream={"publish": publish})) as bridge:
            bridge.start().wait_ready()
            after = now(lab)
            write(lab, name, 1, 2000)
            kept = check(lab, jetstream, name, name, after)

            lab.stop("nats")
            store = (lab.nats[0].folder / "store" if when == "everything"
                     else store_of(lab, name))
            copy = tmp_path / "older"
            shutil.copytree(store, copy)
            lab.start("nats")
            bridge.wait_ready()
            write(lab, name, 2, 2000)
            whole = check(lab, jetstream, name, name, after)
            assert whole > kept

            if when != "running":
                assert bridge.terminate() == 0
            lab.stop("nats")
            shutil.rmtree(store)
            shutil.copytree(copy, store)
            lab.start("nats")
            if when != "running":
                # Seen before the bridge is back: the messages really are gone.
                assert jetstream.last_sequence(name) == kept
                bridge.start()
            wait_until(lambda: bridge.alive() and jetstream.holds(name, whole),
                       "the lost messages are back", seconds=20)
            bridge.wait_ready()
            write(lab, name, 3, 500)
            check(lab, jetstream, name, name, after)
            if when != "everything":  # with its checkpoint gone too, it can't know
                assert "lost" in bridge.get("/status")[1]
                assert "lost" in bridge.tail(1 << 20)
