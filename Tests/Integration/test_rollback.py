"""A primary's writes are rolled back while the bridge reads: the stream holds none of them, and
everything else."""

import time

import pytest
from bridge import Bridge, configuration, wait_until
from jetstream import JetStream
from lab import Lab
from load import Writer, check, make_collections, now
from rollback import PARAMETERS, Rollback, insert


@pytest.mark.parametrize("how", ["killed", "outvoted"])
def test_rollback(tmp_path, name, how):
    with Lab(mongod=3, parameters=PARAMETERS) as lab:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        with Bridge(tmp_path, configuration(lab, name)) as bridge:
            bridge.start().wait_ready()
            after = now(lab)
            # It writes with w:1 throughout: phantoms of its own, among them transactions.
            with Writer(lab, name, how, rate=300) as writer:
                wait_until(lambda: writer.written >= 300, "300 writes")
                rollback = Rollback(lab, name)
                rollback.stop_replication()
                rollback.write_phantoms()
                time.sleep(0.5)
                rollback.write_phantoms()
                rollback.depose(how)
                insert(lab, name, 0, 100)
                rollback.bring_back()
                rollback.prove()
                before = writer.written
                wait_until(lambda: writer.written >= before + 300, "300 writes more")
            check(lab, jetstream, name, name, after)
            keys = {message.json["documentKey"]["_id"] for message in jetstream.messages(name)}
            assert keys.isdisjoint(rollback.ids)
            assert keys.issuperset(f"real-{number}" for number in range(100))
            bridge.alive()
            assert bridge.terminate() == 0
