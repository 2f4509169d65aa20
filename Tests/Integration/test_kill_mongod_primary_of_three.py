"""kill -9 of the primary of three: another takes over, the old one rolls back what only it had."""

import time

from faults import endure
from lab import Lab

# Checkpoints every five seconds: less to replay, so that a killed mongod is soon back.
FREQUENT = {"syncdelay": 5}


def test_kill_mongod_primary_of_three(tmp_path, name):
    with Lab(mongod=3, parameters=FREQUENT) as lab:
        killed = []

        def fault(_, dice):
            killed.append(lab.wait_primary())
            lab.kill("mongod", killed[-1])
            time.sleep(dice.uniform(0, 1))
            lab.wait_primary()

        def settle():
            lab.start("mongod", killed[-1])
            lab.wait("mongod")

        endure(lab, tmp_path, name, fault, settle=settle)
