"""kill -9 of the only nats-server: whatever was unacknowledged is sent again, once."""

import time

import pytest
from faults import endure
from lab import Lab


@pytest.mark.parametrize("publish, share", [
    pytest.param("auto", 1, id="auto"),
    pytest.param("chain", 0.5, id="chain"),
    pytest.param("atomic", 0.5, id="atomic"),
    pytest.param("fast", 0.5, id="fast"),
])
def test_kill_nats_single(tmp_path, name, publish, share):
    with Lab() as lab:
        def fault(_, dice):
            lab.kill("nats")
            time.sleep(dice.uniform(0, 2))
            lab.start("nats")

        endure(lab, tmp_path, name, fault, share, stream={"publish": publish})
