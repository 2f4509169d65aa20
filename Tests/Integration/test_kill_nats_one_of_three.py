"""kill -9 of one of three nats-servers, leaders among them."""

import time

import pytest
from bridge import wait_until
from faults import endure
from jetstream import JetStream
from lab import Lab


@pytest.mark.parametrize("publish, share", [
    pytest.param("auto", 1, id="auto"),
    pytest.param("chain", 0.3, id="chain"),
    pytest.param("fast", 0.3, id="fast"),
])
def test_kill_nats_one_of_three(tmp_path, name, publish, share):
    with Lab(nats=3) as lab:
        jetstream = JetStream(lab.nats_url)

        def fault(_, dice):
            index = dice.randrange(3)
            lab.kill("nats", index)
            time.sleep(dice.uniform(0, 3))
            lab.start("nats", index)
            # The election (4 to 9 s, several where votes split) is the servers' own time: they are
            # back when the stream has a leader.
            wait_until(lambda: jetstream.last_sequence(name) is not None,
                       "the stream has a leader", seconds=40, every=0.05)

        endure(lab, tmp_path, name, fault, share, settle=lambda: lab.wait("nats"),
               stream={"publish": publish, "num_replicas": 3})
