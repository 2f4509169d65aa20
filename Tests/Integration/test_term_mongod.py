"""SIGTERM of the only mongod: an orderly restart in the middle of the load."""

import time

from faults import endure
from lab import Lab


def test_term_mongod(tmp_path, name):
    with Lab() as lab:
        def fault(_, dice):
            lab.kill("mongod", 0, "TERM")
            time.sleep(dice.uniform(0, 2))
            lab.start("mongod")
            lab.wait("mongod")

        endure(lab, tmp_path, name, fault)
