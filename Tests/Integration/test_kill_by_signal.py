"""The process ends by a signal of the kernel's, as when a library crashes; a supervisor starts it again."""

import signal
import time

import pytest
from faults import endure


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT], ids=["segmentation", "abort"])
def test_exact(lab, tmp_path, name, number, monkeypatch):
    # As in the unit. Where a toolchain is installed, its debugger would hold the process for a minute, and print
    # its memory.
    monkeypatch.setenv("SWIFT_BACKTRACE", "enable=no")

    def fault(bridge, dice):
        bridge.process.send_signal(number)
        # No handler of the program's own makes something else of it.
        assert bridge.wait() == -number
        time.sleep(dice.uniform(0, 0.5))
        bridge.start()

    endure(lab, tmp_path, name, fault)
