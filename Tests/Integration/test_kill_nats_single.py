"""kill -9 of the only nats-server: whatever was unacknowledged is sent again, once."""

import time

import pytest
from faults import endure
from lab import Lab


@pytest.mark.parametrize(
    "publish, share", [("auto", 1), ("chain", 0.5), ("atomic", 0.5), ("fast", 0.5)])
def test_kill_nats_single(tmp_path, name, publish, share):
    with Lab() as lab:
        def fault(_, dice):
            lab.kill("nats")
            time.sleep(dice.uniform(0, 2))
            lab.start("nats")

        endure(lab, tmp_path, name, fault, share, stream={"publish": publish})
