"""The C reference programs, where $TAILRACE_REFERENCE names their folder."""

import os
import re
import subprocess
import time
from pathlib import Path

from benchmark.cost import CatchUp, Meter, Process
from benchmark.tailrace import api


class Reference:
    """The C programs: no rules, no checkpoint, no recovery; what the machine can do."""

    def __init__(self, sources, folder):
        self.folder = Path(folder)
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libmongoc-1.0"],
                               capture_output=True, text=True, check=True).stdout.split()
        for name in ("bridge", "lat"):
            subprocess.run(["gcc", "-O2", "-w", "-o", self.folder / name,
                            Path(sources) / f"{name}.c", *flags, "-lnats", "-lpthread"],
                           check=True)

    def _environment(self, lab):
        files = {}
        for variable, servers in (("MONGOD_PIDFILE", lab.mongod), ("NATS_PIDFILE", lab.nats)):
            file = self.folder / variable
            file.write_text("\n".join(str(server.pid) for server in servers))
            files[variable] = str(file)
        return {**os.environ, **files}

    def catch_up(self, lab, start, events):
        meter = Meter(lab)
        done = subprocess.run(
            [self.folder / "bridge", lab.uri, lab.nats_url, str(start.time), "hand", "2", "b",
             "4096"], env=self._environment(lab), capture_output=True, text=True, check=True)
        fields = dict(re.findall(r"(\S+)=(\S+)", done.stdout))
        api(lab.nats_url, "STREAM.DELETE.LIM")
        if int(fields["n"]) != events or int(fields["errs"]):
            raise RuntimeError(f"the reference saw {fields['n']} events, not {events}")
        _, _, others = meter.read(events * float(fields["cli_us"]) / 1e6)
        return CatchUp(events, float(fields["ev/s"]), float(fields["cli_us"]),
                       float(fields["mongod_us"]), float(fields["nats_us"]),
                       int(fields["rss"].rstrip("K")), float(fields["wall"]), [], others)

    def latency(self, lab, seconds, measure):
        """Runs the reference live with majority reads and `measure(subject)` beside it."""
        process = Process(
            [self.folder / "bridge", lab.uri, lab.nats_url, "0", "hand", "1", "b", "4096", "raw",
             "majority", str(seconds)], self._environment(lab), self.folder / "live.log")
        try:
            time.sleep(1)
            return measure("lim.chat.>")
        finally:
            process.child.kill()
            process.wait()
            api(lab.nats_url, "STREAM.DELETE.LIM")
