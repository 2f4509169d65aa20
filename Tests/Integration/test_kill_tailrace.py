"""kill -9 of tailrace: it continues exactly where it was."""

import time

import pytest
from faults import endure


@pytest.mark.parametrize("publish, share", [
    pytest.param("auto", 1, id="auto"),
    pytest.param("chain", 0.5, id="chain"),
    pytest.param("atomic", 0.5, id="atomic"),
    pytest.param("fast", 0.5, id="fast"),
])
def test_kill_tailrace(lab, tmp_path, name, publish, share):
    def fault(bridge, dice):
        bridge.kill()
        time.sleep(dice.uniform(0, 0.5))
        bridge.start()

    endure(lab, tmp_path, name, fault, share, stream={"publish": publish})
