"""The primary steps down, as in every planned upgrade: nothing breaks, reading continues."""

from bridge import wait_until
from lab import Lab
from members import read_on


def test_stepdown(tmp_path, name):
    with Lab(mongod=3) as lab:
        def step_down(victim):
            primary = lab.primary()
            lab.mongod[primary].command_answer(
                "replSetStepDown", 5, secondaryCatchUpPeriodSecs=4)
            wait_until(lambda: lab.primary() not in (None, primary), "another is primary")
            return lambda: None

        # The cursor may well survive it: the former primary is still a member to read from.
        read_on(lab, tmp_path, name, step_down, elsewhere=False)
