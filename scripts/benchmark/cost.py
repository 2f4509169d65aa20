"""What processes cost: CPU, memory over time, and what the rest of the machine took meanwhile."""

import os
import re
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from lab import die_with_parent

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(*pids):
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def busy_seconds():
    """CPU time of everything on this machine."""
    values = [int(value) for value in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    return (values[0] + values[1] + values[2] + values[5] + values[6]) / TICKS


def resident(pid):
    """Memory now, and at most so far; None where the process is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
        return tuple(int(re.search(rf"{name}:\s+(\d+)", text)[1]) for name in ("VmRSS", "VmHWM"))
    except (OSError, TypeError):
        return None


class Process:
    """A child whose rusage and memory over time are wanted. Memory in KiB."""

    def __init__(self, command, environment=None, log=None):
        self.log = open(log, "ab") if log else subprocess.DEVNULL
        self.began = time.monotonic()
        self.child = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=self.log,
            stderr=self.log, env={**os.environ, **(environment or {})},
            preexec_fn=die_with_parent)
        # The kernel's maximum for the process would be that of this program, which it was forked from.
        self.samples, self.peak, self.ended = [], 0, threading.Event()
        self.sampler = threading.Thread(target=self._sample, daemon=True)
        self.sampler.start()

    def _sample(self):
        while not self.ended.wait(0.1):
            sizes = resident(self.child.pid)
            if sizes:
                self.samples.append(sizes[0])
                self.peak = sizes[1]

    def wait(self):
        """(exit code, seconds it ran, rusage)"""
        _, status, usage = os.wait4(self.child.pid, 0)
        seconds = time.monotonic() - self.began
        self.child.returncode = os.waitstatus_to_exitcode(status)
        self.ended.set()
        self.sampler.join()
        return self.child.returncode, seconds, usage

    def stop(self):
        self.child.terminate()
        return self.wait()

    def quarters(self):
        """Median memory of each quarter of the run: flat means that they are alike."""
        size = max(1, len(self.samples) // 4)
        parts = [self.samples[i * size:(i + 1) * size] for i in range(4)]
        return [statistics.median(part) for part in parts if part]


@dataclass
class CatchUp:
    """One catch-up run. CPU in microseconds an event; `others` is the share of the machine's CPU
    that other programs took meanwhile."""

    events: int
    rate: float
    bridge: float
    mongod: float
    nats: float
    rss: int
    wall: float = 0
    quarters: list = field(default_factory=list)
    others: float = 0
    mode: str = ""


class Meter:
    """CPU of the lab's servers, and of everything else, between two moments."""

    def __init__(self, lab):
        self.mongod = [member.pid for member in lab.mongod]
        self.nats = [server.pid for server in lab.nats]
        self.began = self._now()

    def _now(self):
        return (time.monotonic(), cpu_seconds(*self.mongod), cpu_seconds(*self.nats),
                busy_seconds())

    def read(self, own):
        """CPU seconds of mongod and of nats-server, and the others' share."""
        wall, mongod, server, busy = (b - a for a, b in zip(self.began, self._now()))
        others = max(0, busy - mongod - server - own) / (wall * (os.cpu_count() or 1))
        return mongod, server, others
