"""scripts/adr.py: claims hold on real servers, fail when they have to, and a failure is an exit code."""

import os
import subprocess
import sys

import pytest

from bridge import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from record import retention  # noqa: E402, F401: its claims register
from record.claim import CLAIMS, DoesNotHold  # noqa: E402
from record.world import World  # noqa: E402


@pytest.mark.parametrize("name", ["retention by subject", "retention by interest"])
def test_a_claim_holds_and_can_fail(lab, tmp_path, name):
    claim = next(one for one in CLAIMS if one.name == name)
    for spoiled in (False, True):
        world = World(lab, tmp_path)
        try:
            if spoiled:
                with pytest.raises(DoesNotHold):
                    claim.check(world, spoiled=True)
            else:
                assert "left" in claim.check(world, spoiled=False)
        finally:
            world.close()


def test_a_claim_that_fails_is_an_exit_code():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "adr.py", "--only", "retention by subject"], capture_output=True, text=True,
        timeout=120, env=os.environ | {"TAILRACE_BINARY": "/bin/false"})
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "**FAILS** | tailrace ended with 1" in done.stdout and "0 of 1 claims hold" in done.stdout
