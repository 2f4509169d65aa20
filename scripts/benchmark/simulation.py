"""How fast simulated histories are: `make bench BENCH_ARGS=--sim`."""

import os
import re
import subprocess
from dataclasses import dataclass

import fetch

BINARY = fetch.ROOT / ".build" / "release" / "simulate"


@dataclass
class Histories:
    count: int
    minutes: int
    faults: int
    messages: int
    # Processor time, in seconds.
    used: float

    @property
    def mean(self):
        return self.minutes / max(self.count, 1)

    @property
    def rate(self):
        """Faults per second of one core."""
        return self.faults / max(self.used, 0.001)


def histories(first, count, *options):
    """Runs so many, from that seed on."""
    before = os.times()
    done = subprocess.run([str(BINARY), "--first", str(first), "--seeds", str(count), "--brief", *options],
                          capture_output=True, text=True)
    after = os.times()
    found = re.search(r"^(\d+) histories, (\d+) simulated minutes, (\d+) faults, (\d+) messages",
                      done.stdout, re.M)
    if done.returncode != 0 or not found:
        raise RuntimeError(f"simulate: {done.stdout.strip().splitlines()[-1:]}{done.stderr}")
    used = (after.children_user - before.children_user
            + after.children_system - before.children_system)
    return Histories(*map(int, found.groups()), used)
