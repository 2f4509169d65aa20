"""kill -9 of the only mongod: writes that were not in its journal are gone and must never have been
seen; whatever its oplog holds afterwards must arrive."""

import time

from faults import endure
from lab import Lab

# Checkpoints every five seconds: less to replay, so that a killed mongod is soon back.
FREQUENT = {"syncdelay": 5}


def test_kill_mongod_single(tmp_path, name):
    with Lab(parameters=FREQUENT) as lab:
        def fault(_, dice):
            lab.kill("mongod")
            time.sleep(dice.uniform(0, 2))
            lab.start("mongod")
            lab.wait("mongod")

        endure(lab, tmp_path, name, fault)
