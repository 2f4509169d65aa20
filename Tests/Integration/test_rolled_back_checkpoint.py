"""The resume trap: the checkpoint names an entry that a failover has undone. On the new primary a
query for what comes after it would find entries, and silently leave out those that took its place."""

import json

import pytest
from bridge import Bridge, configuration, wait_until
from jetstream import JetStream
from lab import Lab
from load import make_collections
from rollback import PARAMETERS, Rollback, insert


def checkpoint(jetstream, name):
    """The stored position, as (seconds, increment)."""
    for key, value in jetstream.keys(f"STATE_{name}").items():
        if key.endswith(".checkpoint"):
            return tuple(map(int, json.loads(value)["position"].split(".")))
    return (0, 0)


@pytest.mark.parametrize("when", ["stopped", "running"])
def test_rolled_back_checkpoint(tmp_path, name, when):
    """`stopped`: it finds out at its next start. `running`: it lives through the failover."""
    with Lab(mongod=3, parameters=PARAMETERS) as lab:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        # Only local reads can come to such a checkpoint.
        local = configuration(lab, name, source={"read_concern": "local"})
        with Bridge(tmp_path, local) as bridge:
            bridge.start().wait_ready()
            insert(lab, name, 0, 10)
            rollback = Rollback(lab, name)
            rollback.stop_replication()
            rollback.write_phantoms(5)
            wait_until(lambda: jetstream.last_sequence(name) == 15, "the phantoms are published")
            phantom = (rollback.position.time, rollback.position.inc)
            wait_until(lambda: checkpoint(jetstream, name) >= phantom,
                       "the checkpoint is at a phantom")
            if when == "stopped":
                assert bridge.terminate() == 0
            trap = checkpoint(jetstream, name)
            rollback.depose("killed")
            insert(lab, name, 10, 10)
            rollback.bring_back()
            rollback.prove()
            if when == "stopped":
                bridge.start()
            assert bridge.wait(30) == 75
            said = bridge.tail()
            assert "position lost" in said and "a failover rolled that entry back" in said, \
                "the message says what happened"
            position = "{}.{}".format(*(trap if when == "stopped" else phantom))
            assert position in said, "it names the entry"
            assert "--from" in said and "snapshot" in said, "it names the remedy"
            assert jetstream.last_sequence(name) == 15, "nothing is published past the gap"

        # Nor does it matter how it reads from then on.
        honest = configuration(lab, name, source={"read_concern": "majority"})
        with Bridge(tmp_path, honest) as bridge:
            assert bridge.run(seconds=30) == 75
            assert jetstream.last_sequence(name) == 15
