#!/usr/bin/env python3
"""Publisher confirms of RabbitMQ against acks of JetStream, on this machine, for docs/why-nats.md.

    rabbitmq.py [--write]

RabbitMQ is Debian's package with its Erlang, fetched and unpacked into .tools, never installed. It listens on
127.0.0.1 only, keeps everything in a temporary folder, and is gone when this program ends. Needs root for
apt-get. Exit codes: 0 measured, 69 it can't be had.
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fetch
import lab as labs  # re-runs this program in .tools/venv when needed

from bench import machine
from benchmark.cost import cpu_seconds
from benchmark.pages import put

DOCUMENT = fetch.ROOT / "docs" / "why-nats.md"
BEGIN, END = "<!-- confirms: written by scripts/rabbitmq.py -->", "<!-- end of confirms -->"
PUBLISHER = Path(__file__).resolve().parent / "benchmark" / "confirms.py"
ROUNDS = 3
# (messages, in flight)
COURSES = [(400, 1), (4000, 500)]


def say(text):
    print(text, file=sys.stderr, flush=True)


def unpacked():
    """The folder below which Debian's rabbitmq-server and what it needs are unpacked."""
    def build(folder):
        say("fetching rabbitmq-server")
        with tempfile.TemporaryDirectory(prefix="tailrace-apt-") as scratch:
            (Path(scratch) / "partial").mkdir()
            done = subprocess.run(
                ["apt-get", "-qq", "install", "--reinstall", "-y", "--no-install-recommends", "--download-only",
                 "-o", f"Dir::Cache::archives={scratch}", "-o", "APT::Sandbox::User=", "rabbitmq-server"],
                capture_output=True, text=True)
            archives = sorted(Path(scratch).glob("*.deb"))
            if done.returncode != 0 or not archives:
                raise fetch.Unavailable(f"apt-get could not fetch rabbitmq-server (it needs root): {done.stderr[-500:]}")
            for archive in archives:
                subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)

    folder = fetch.once(fetch.TOOLS / "rabbitmq", build)
    # Erlang's scripts name the folder that they are installed in.
    erlang = folder / "usr" / "lib" / "erlang"
    script = erlang / "bin" / "erl"
    script.write_text(re.sub(r"ROOTDIR=/\S*", f"ROOTDIR={erlang}", script.read_text()))
    return folder


class RabbitMQ:
    """One node; `pid` is that of its virtual machine."""

    def __init__(self):
        self.root, self.folder = unpacked(), Path(tempfile.mkdtemp(prefix="tailrace-rabbitmq-"))
        self.port, self.epmd_port, between = labs.free_ports(3)
        erlang = self.root / "usr" / "lib" / "erlang"
        (self.folder / "plugins").write_text("[].\n")
        (self.folder / "rabbitmq.conf").write_text("loopback_users.guest = true\n")
        self.environment = os.environ | {
            "PATH": f"{erlang}/bin:{os.environ['PATH']}", "HOME": str(self.folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1", "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_NODENAME": "lab@localhost", "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port), "RABBITMQ_DIST_PORT": str(between),
            "RABBITMQ_MNESIA_BASE": f"{self.folder}/data", "RABBITMQ_LOG_BASE": f"{self.folder}/log",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{self.folder}/plugins", "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": f"{self.folder}/rabbitmq.conf",
            # The script then becomes the node, which so dies with this program, however that ends.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        self.processes = []

    def start(self, *command):
        with open(self.folder / "out", "ab") as out:
            self.processes.append(subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                preexec_fn=labs.die_with_parent))
        return self.processes[-1]

    def __enter__(self):
        try:
            return self._up()
        except BaseException:
            self.__exit__()
            raise

    def _up(self):
        # Ours, or the node would leave one behind.
        self.start(self.root / "usr" / "lib" / "erlang" / "bin" / "epmd", "-port", str(self.epmd_port))
        server, = self.root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*")
        self.version = server.name.partition("-")[2]
        node = self.start(server / "sbin" / "rabbitmq-server")
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                if node.poll() is not None or time.monotonic() > deadline:
                    text = (self.folder / "out").read_text()[-2000:]
                    raise labs.LabError(f"RabbitMQ does not start:\n{text}") from None
                time.sleep(0.1)
        self.pid = node.pid
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):  # the node before its epmd
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def measure(python, pid, *arguments):
    """One course: {p50, p99 (milliseconds), rate, server (microseconds of CPU a message)}."""
    before = cpu_seconds(pid)
    done = subprocess.run([python, PUBLISHER, *map(str, arguments)], capture_output=True, text=True, timeout=280)
    if done.returncode != 0:
        raise labs.LabError(f"{' '.join(map(str, arguments))}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout)
    return found | {"server": (cpu_seconds(pid) - before) / found["count"] * 1e6}


def rows_of(python, pid, label, *target):
    """Two rows of the table: one message in flight, and many. The best round: others' work only adds."""
    for count, window in COURSES:
        runs = [measure(python, pid, *target, count, window) for _ in range(ROUNDS)]
        p50, p99, rate, server = (min(runs, key=lambda run: run["p50"])[key]
                                  for key in ("p50", "p99", "rate", "server"))
        say(f"{label}, {window} in flight: p50 {p50:.2f} ms, {rate:,.0f}/s, {server:.0f} µs of the server")
        yield [label, f"{window}", f"{p50:.2f}", f"{p99:.2f}", f"{rate:,.0f}", f"{server:.0f}"]


def measured():
    python, rows = fetch.venv("venv-rabbitmq", Path(__file__).with_name("requirements-rabbitmq.txt")), []
    load = os.getloadavg()[0]
    for label, sync in (("JetStream, file, synced every 2 min (default)", False),
                        ("JetStream, file, `sync_interval: always`", True)):
        with labs.Lab(mongod=0, nats=1, sync_always=sync) as lab:
            rows += rows_of(python, lab.nats[0].pid, label, "nats", lab.nats_url)
    with RabbitMQ() as server:
        for kind in ("classic", "quorum", "stream"):
            rows += rows_of(python, server.pid, f"RabbitMQ, {kind}{' queue' if kind != 'stream' else ''}",
                            "rabbitmq", f"{server.port}", kind)
        version = server.version
    return [f"{machine()}; RabbitMQ {version}; load {load:.1f} at the beginning\n",
            "| | in flight | p50 ms | p99 ms | messages/s | server's µs of CPU a message |",
            "|---|--:|--:|--:|--:|--:|", *(f"| {' | '.join(row)} |" for row in rows)]


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="results into docs/why-nats.md")
    options = parser.parse_args(arguments)
    try:
        lines = measured()
    except (labs.LabError, fetch.Unavailable) as problem:
        say(f"rabbitmq: {problem}")
        return 69
    print("\n".join(lines))
    if options.write:
        put(DOCUMENT, BEGIN, END, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
