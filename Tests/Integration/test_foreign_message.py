"""Somebody else publishes to a stream that is said to be the bridge's alone: nothing is lost or
doubled, whatever the pipeline held at that moment, and where the protocol asserts more than a
sequence, the order holds too."""

import time
from collections import Counter

import pytest
from bridge import Bridge, configuration, wait_until
from jetstream import JetStream
from lab import Lab
from load import Writer, expected, make_collections, now, observed


@pytest.mark.parametrize("publish, servers", [
    pytest.param("chain", 1, id="chain"),
    pytest.param("chain", 3, id="chain of three"),
    pytest.param("fast", 1, id="fast"),
    pytest.param("atomic", 1, id="atomic"),
])
def test_foreign_message(tmp_path, name, publish, servers):
    with Lab(nats=servers) as lab:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        stream = {"publish": publish, "num_replicas": servers}
        with Bridge(tmp_path, configuration(lab, name, stream=stream)) as bridge:
            bridge.start().wait_ready()
            after = now(lab)
            with Writer(lab, name, seed=servers, rate=3000) as writer:
                for number in range(12):
                    time.sleep(0.15)
                    for _ in range(5):
                        jetstream.publish(f"{name}.foreign.{number}", b"{}")
            assert writer.written > 0
            truth = expected(lab, name, after)
            wait_until(lambda: jetstream.holds(name, len(truth) + 60), "everything is published")
            ours = [m for m in jetstream.messages(name) if ".foreign." not in m.subject]
            doubled = [key for key, n in Counter(m.id for m in ours).items() if n > 1]
            assert not doubled
            events = observed(ours)
            assert sorted(events) == truth
            if servers == 1:
                assert events == truth, "the order holds"
            bridge.alive()
            assert bridge.terminate() == 0
