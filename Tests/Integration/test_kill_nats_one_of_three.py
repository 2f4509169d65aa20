"""kill -9 of one of three nats-servers, leaders among them."""

import time

import pytest
from faults import endure
from lab import Lab


@pytest.mark.parametrize("publish, share", [
    pytest.param("auto", 1, id="auto"),
    pytest.param("chain", 0.3, id="chain"),
    pytest.param("fast", 0.3, id="fast"),
])
def test_kill_nats_one_of_three(tmp_path, name, publish, share):
    with Lab(nats=3) as lab:
        def fault(_, dice):
            index = dice.randrange(3)
            lab.kill("nats", index)
            time.sleep(dice.uniform(0, 3))
            lab.start("nats", index)

        endure(lab, tmp_path, name, fault, share, settle=lambda: lab.wait("nats"),
               stream={"publish": publish, "num_replicas": 3})
