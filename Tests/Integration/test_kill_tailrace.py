"""kill -9 of tailrace: it goes on exactly where it was."""

import time

import pytest
from faults import endure


@pytest.mark.parametrize("publish", ["chain", "atomic", "fast"])
def test_kill_tailrace(lab, tmp_path, name, publish):
    def fault(bridge, dice):
        bridge.kill()
        time.sleep(dice.uniform(0, 0.5))
        bridge.start()

    endure(lab, tmp_path, name, fault, stream={"publish": publish})
