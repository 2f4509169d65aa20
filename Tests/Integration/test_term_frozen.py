"""SIGTERM while a server hangs or is gone, in every phase: exit code 0 within ten seconds, and
the next start continues exactly."""

import json
import signal
import socket
import subprocess
import threading
import time

from bridge import BINARY, Bridge, configuration, free_ports, wait_until
from jetstream import JetStream
from lab import Lab, die_with_parent
from load import Writer, check, client, make_collections, now, settle

# What is promised, and what a loaded machine adds.
LIMIT = 10 + 3


class Mute:
    """A NATS server that says who it is, answers the first PING, and nothing else."""

    INFO = {"server_id": "mute", "server_name": "mute", "version": "2.11.0", "max_payload": 1 << 20,
            "headers": True, "jetstream": True, "proto": 1}

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.requests = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.listener.getsockname()[1]}"

    def _accept(self):
        while True:
            try:
                one, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one):
        one.sendall(f"INFO {json.dumps(self.INFO)}\r\n".encode())
        got, greeted = b"", False
        while data := one.recv(65536):
            got += data
            if not greeted and b"PING\r\n" in got:
                greeted = True
                one.sendall(b"PONG\r\n")
            if b"$JS.API" in got:
                self.requests.set()


class Phases:
    """Bridges that are stopped together, each in a phase of its own."""

    def __init__(self, lab, folder, name):
        self.lab, self.folder, self.name = lab, folder, name
        self.bridges, self.commands = {}, {}

    def bridge(self, phase, *arguments, unnamed=False, **changes):
        folder = self.folder / phase
        folder.mkdir(exist_ok=True)
        settings = configuration(self.lab, f"{self.name}_{phase}", rule={
            "match": {"namespace": f"{self.name}.*", "operations": ["insert", "update", "replace",
                                                                    "delete"]}}, **changes)
        if unnamed:
            del settings["source"]["name"]
        bridge = Bridge(folder, settings)
        self.bridges[phase] = bridge
        return bridge.start(*arguments) if arguments != ("-",) else bridge

    def command(self, phase, *arguments, of=None):
        """Any other command, with a configuration of its own or that of a bridge."""
        if of:
            folder = self.folder / phase
            folder.mkdir()
            bridge = Bridge(folder, self.bridges[of].configuration)
        else:
            bridge = self.bridge(phase, "-")
            del self.bridges[phase]
        with open(bridge.log, "ab") as log:
            process = subprocess.Popen([BINARY, *arguments, "-c", bridge.file], cwd=bridge.folder,
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       preexec_fn=die_with_parent)
        self.commands[phase] = (process, bridge)
        return bridge

    def terminate(self):
        """All at once; what each of them ended with, and how long it took."""
        processes = {phase: bridge.process for phase, bridge in self.bridges.items()}
        processes |= {phase: process for phase, (process, _) in self.commands.items()}
        for phase, process in processes.items():
            assert process.poll() is None, f"{phase} ended with {process.returncode}:\n{self.log(phase)}"
        began = time.monotonic()
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        took = {}
        while len(took) < len(processes) and time.monotonic() - began < 40:
            for phase, process in processes.items():
                if phase not in took and process.poll() is not None:
                    took[phase] = (process.returncode, round(time.monotonic() - began, 1))
            time.sleep(0.02)
        for process in processes.values():
            process.kill()
            process.wait()
        print(took)
        return took

    def log(self, phase):
        bridge = self.bridges.get(phase) or self.commands[phase][1]
        return bridge.tail()

    def expect(self, took, **codes):
        for phase in [*self.bridges, *self.commands]:
            assert phase in took, f"{phase} still runs 40 s after SIGTERM:\n{self.log(phase)}"
            code, seconds = took[phase]
            assert code == codes.get(phase, 0), f"{phase}: exit code {code}\n{self.log(phase)}"
            assert seconds < LIMIT, f"{phase} took {seconds} s\n{self.log(phase)}"


def fill(lab, name, count=20_000):
    with client(lab) as mongo:
        for first in range(0, count, 1000):
            mongo[name].large.insert_many([{"_id": n, "x": "x" * 2000}
                                           for n in range(first, first + 1000)])
    settle(lab)


def test_nats_frozen(tmp_path, name):
    with Lab() as lab, Mute() as mute:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        nats = lab.nats[0].process
        phases = Phases(lab, tmp_path, name)
        after = now(lab)
        for phase in ("idle", "publishing", "checkpoint"):
            phases.bridge(phase).wait_ready()
        # A connection, and requests that nobody answers.
        phases.bridge("resuming", nats={"servers": [mute.url]})
        assert mute.requests.wait(20)
        port, = free_ports(1)
        phases.command("follow", "verify", "--follow", "--listen", f"127.0.0.1:{port}",
                       "--interval", "0.2", of="idle")
        fill(lab, name)
        with Writer(lab, name, seed=1, rate=1000) as writer:
            wait_until(lambda: writer.written >= 500, "writes")
            phases.command("snapshot", "snapshot")
            wait_until(lambda: jetstream.last_sequence(f"{name}_snapshot"), "its first messages",
                       every=0.005)
            nats.send_signal(signal.SIGSTOP)
            phases.bridge("connecting")
            time.sleep(1.5)
            took = phases.terminate()
        nats.send_signal(signal.SIGCONT)
        # A follower's report can't say PASS of what it could not read.
        phases.expect(took, follow=took.get("follow", (2,))[0])
        assert took["follow"][0] in (0, 2)
        bridge = phases.bridges["publishing"]
        stream = f"{name}_publishing"
        assert bridge.run("--until", "now") == 0
        check(lab, jetstream, stream, name, after)


def test_mongodb_frozen_or_gone(tmp_path, name):
    with Lab() as lab:
        make_collections(lab, name)
        fill(lab, name)
        mongod = lab.mongod[0].process
        phases = Phases(lab, tmp_path, name)
        for phase in ("running", "images"):
            extra = {"source": {"name": "rs0"}}
            phases.bridge(phase, **extra).wait_ready()
        mongod.send_signal(signal.SIGSTOP)
        phases.bridge("until_now", "--until", "now")
        phases.bridge("unnamed", unnamed=True)
        phases.bridge("oldest", "--from", "oldest")
        phases.command("snapshot", "snapshot")
        phases.command("dry_run", "run", "--dry-run")
        time.sleep(1)
        took = phases.terminate()
        mongod.send_signal(signal.SIGCONT)
        phases.expect(took, dry_run=2)

        lab.kill("mongod")
        gone = Phases(lab, tmp_path / "gone", name)
        gone.folder.mkdir()
        gone.bridge("until_now", "--until", "now")
        gone.bridge("unnamed", unnamed=True)
        gone.bridge("oldest", "--from", "oldest")
        gone.command("snapshot", "snapshot")
        time.sleep(2)
        took = gone.terminate()
        gone.expect(took)
        for bridge in gone.bridges.values():
            assert "CancellationError" not in bridge.tail()
