"""The member being read hangs, as in a virtual machine that is paused, and wakes up again
as a primary that nobody follows any more."""

import signal

from lab import Lab
from members import SILENT_ROUNDS, read_on


def test_frozen_member(tmp_path, name):
    with Lab(mongod=3) as lab:
        def freeze(victim):
            process = lab.mongod[victim].process
            process.send_signal(signal.SIGSTOP)
            return lambda: process.send_signal(signal.SIGCONT)

        read_on(lab, tmp_path, name, freeze, rounds=SILENT_ROUNDS)
