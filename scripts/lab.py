#!/usr/bin/env python3
"""Real servers for tests, benchmarks and the demo: a MongoDB replica set and NATS with JetStream.

As a module:

    with Lab(mongod=3, nats=1) as lab:
        lab.uri, lab.nats_url
        lab.kill("mongod", lab.primary()); ...; lab.start("mongod", 0)

As a program, for callers that aren't Python:

    lab.py run [--mongod 0|1|3] [--mongod-version V] [--nats 0|1|3] [--nats-version V]
               [--nats-conf TEXT] [--sync-always] [--oplog-mb N] [--set-parameter NAME=VALUE]

prints one JSON line when the servers are ready, then obeys one JSON command a line on stdin and
answers each with one JSON line ({"ok": true, ...} or {"ok": false, "error": "..."}):

    {"kill": "nats", "index": 0, "signal": "KILL"}    {"start": "nats", "index": 0}
    {"kill": "mongod", "index": 0, "signal": "TERM"}  {"start": "mongod", "index": 0}
    {"wait": "nats"}  {"wait": "mongod"}  {"primary": true}  {"status": true}  {"stop": true}

At the end of stdin, on SIGTERM, SIGINT, or when its parent is gone, it stops every server and
removes their folder. "wait" and "start" return when the servers are usable again.

Everything listens on free ports of 127.0.0.1. Servers are stopped by pid, and the kernel kills
them should the process that started them die first.
"""

import argparse
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import fetch  # noqa: E402

fetch.use_venv()  # for pymongo

from servers import (  # noqa: E402, F401
    READY_SECONDS, STOP_SECONDS, LabError, Mongod, Nats, PortTaken, die_with_parent, free_ports)

PREFIX = "tailrace-lab-"


class Lab:
    """A replica set of 1 or 3 members and 1 or 3 NATS servers (0: none).

    Use it from the main thread, or from one that lives as long as the lab: the servers die with
    the thread that started them. `version`s are those of fetch.py; None takes the default, for
    mongod that of $TAILRACE_MONGOD_VERSION."""

    def __init__(self, mongod=1, mongod_version=None, nats=1, nats_version=None, nats_conf="",
                 sync_always=False, oplog_mb=990, cache_gb=0.5, parameters=None,
                 file_store="50GB", mongod_options=()):
        self._want_mongod, self._want_nats = mongod, nats
        version = mongod_version or os.environ.get("TAILRACE_MONGOD_VERSION")
        self._mongod_program = fetch.mongod(version) if mongod else None
        self._nats_program = fetch.nats_server(nats_version) if nats else None
        self._nats_conf, self._sync_always, self._file_store = nats_conf, sync_always, file_store
        self._mongod_options = mongod_options
        self._oplog_mb, self._cache_gb, self._parameters = oplog_mb, cache_gb, parameters or {}
        self.mongod, self.nats, self.folder = [], [], None

    def __enter__(self):
        return self.up()

    def __exit__(self, *_):
        self.close()

    def up(self):
        """Starts everything; returns when the set has a primary and JetStream is ready."""
        _remove_stale_folders()
        for attempt in range(5):
            self.folder, self._lock = _make_folder()
            try:
                self._start_all()
                return self
            except PortTaken:
                self.close()
                if attempt == 4:
                    raise
            except BaseException:
                self.close()
                raise

    def _start_all(self):
        ports = free_ports(self._want_mongod + 3 * self._want_nats)
        nats = [tuple(ports.pop() for _ in range(3)) for _ in range(self._want_nats)]
        self.mongod = [
            Mongod(i, self.folder / f"mongod{i}", port, self._mongod_program, self._oplog_mb,
                   self._cache_gb, self._parameters, self._mongod_options)
            for i, port in enumerate(ports)]
        self.nats = [
            Nats(i, self.folder / f"nats{i}", nats, self._nats_program, len(nats),
                 self._sync_always, self._nats_conf, self._file_store) for i in range(len(nats))]
        for server in [*self.mongod, *self.nats]:
            server.spawn()
        for server in [*self.mongod, *self.nats]:
            server.wait()
        if self.mongod:
            self._initiate()

    def _initiate(self):
        members = [{"_id": i, "host": f"127.0.0.1:{member.port}"}
                   for i, member in enumerate(self.mongod)]
        with self.mongod[0].client() as client:
            client.admin.command("replSetInitiate", {
                "_id": "rs0", "members": members,
                "settings": {"electionTimeoutMillis": 5000, "heartbeatIntervalMillis": 1000}})
        self.wait_primary()

    @property
    def uri(self):
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.mongod)
        return f"mongodb://{hosts}/?replicaSet=rs0"

    @property
    def nats_url(self):
        """Comma-separated when there are several."""
        return ",".join(f"nats://127.0.0.1:{server.port}" for server in self.nats)

    def primary(self):
        """Index of the member that is writable primary now, or None."""
        for member in self.mongod:
            if member.running and member.hello().get("isWritablePrimary"):
                return member.index
        return None

    def wait_primary(self):
        """Waits for a primary that takes a majority write, and for every running member to
        have joined."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            index = self.primary()
            joined = all(m.hello().get("isWritablePrimary") or m.hello().get("secondary")
                         for m in self.mongod if m.running)
            if index is not None and joined:
                answer = self.mongod[index].command_answer(
                    "appendOplogNote", 1, data={"lab": "ready"},
                    writeConcern={"w": "majority", "wtimeout": 5000})
                if answer and "writeConcernError" not in answer:
                    return index
            time.sleep(0.05)
        raise LabError(f"no writable primary within {READY_SECONDS} s")

    def _server(self, kind, index):
        servers = {"mongod": self.mongod, "nats": self.nats}.get(kind)
        if servers is None:
            raise LabError(f'"{kind}" is neither "mongod" nor "nats"')
        if not isinstance(index, int) or not 0 <= index < len(servers):
            raise LabError(f"no {kind} {index}")
        return servers[index]

    def kill(self, kind, index=0, signal_name="KILL"):
        """Sends a signal to a server; returns when its process is gone."""
        number = getattr(signal, f"SIG{signal_name}", None)
        if number is None:
            raise LabError(f"no signal {signal_name}")
        self._server(kind, index).kill(number)

    def spawn(self, kind, index=0):
        """Starts a stopped server again, on its port and data, without waiting for it."""
        server = self._server(kind, index)
        if not server.running:
            server.spawn()

    def start(self, kind, index=0):
        """Starts a stopped server again; returns when it answers."""
        self.spawn(kind, index)
        server = self._server(kind, index)
        if kind == "nats" and len(self.nats) > 1:
            server.until(server.answers, "it answers")
        else:
            server.wait()

    def wait(self, kind):
        """Until every running server of a kind is fully usable."""
        if kind == "mongod":
            self.wait_primary()
        else:
            self._server(kind, 0)
            for server in self.nats:
                if server.running:
                    server.wait()

    def stop(self, kind, index=0):
        self.kill(kind, index, "TERM")

    def restart(self, kind, index=0, signal_name="TERM"):
        self.kill(kind, index, signal_name)
        self.start(kind, index)
        self.wait(kind)

    def close(self):
        """Stops everything and removes the folder."""
        servers = [server for server in [*self.nats, *self.mongod] if server.running]
        for server in servers:
            # A mongod takes ten seconds for its goodbyes, and its data go anyway.
            server.process.send_signal(
                signal.SIGKILL if server.kind == "mongod" else signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for server in servers:
            try:
                server.process.wait(max(0.01, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._lock.close()

    def description(self):
        """What a caller needs to know, as the JSON line of `run`."""
        return {
            "mongodb_uri": self.uri if self.mongod else None,
            "nats_url": self.nats_url if self.nats else None,
            "mongod": [{"pid": m.pid, "port": m.port, "dir": str(m.folder)} for m in self.mongod],
            "nats": [{"pid": n.pid, "port": n.port, "monitor": n.monitor, "dir": str(n.folder)}
                     for n in self.nats],
        }


def _make_folder():
    """A temporary folder that is this process's as long as it holds the lock in it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = open(folder / ".lock", "w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():  # nobody took it for a stale one in between
            return folder, lock
        lock.close()


def _remove_stale_folders():
    """Folders of labs whose process was killed: nobody holds their lock any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            with open(folder / ".lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass


# --- the program -------------------------------------------------------------------------------


def obey(lab, command):
    """Carries out one command of the protocol above; None means stop."""
    if command.get("stop"):
        return None
    index = command.get("index", 0)
    if "kill" in command:
        lab.kill(command["kill"], index, command.get("signal", "KILL"))
    elif "start" in command:
        lab.start(command["start"], index)
        return {"ok": True, "pid": lab._server(command["start"], index).pid}
    elif "wait" in command:
        lab.wait(command["wait"])
    elif "primary" in command:
        return {"ok": True, "index": lab.primary()}
    elif "status" in command:
        return {"ok": True, **lab.description()}
    else:
        raise LabError(f"unknown command {json.dumps(command)}")
    return {"ok": True}


def serve(lab):
    parent = os.getppid()
    pending = b""
    while os.getppid() == parent:
        if not select.select([0], [], [], 0.5)[0]:
            continue
        data = os.read(0, 65536)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            if not line.strip():
                continue
            try:
                answer = obey(lab, json.loads(line))
            except (LabError, ValueError, AttributeError) as problem:
                answer = {"ok": False, "error": str(problem)}
            if answer is None:
                return
            print(json.dumps(answer), flush=True)


def main(arguments):
    parser = argparse.ArgumentParser(prog="lab.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run")
    run.add_argument("--mongod", type=int, default=1, choices=[0, 1, 3])
    run.add_argument("--mongod-version")
    run.add_argument("--nats", type=int, default=1, choices=[0, 1, 3])
    run.add_argument("--nats-version")
    run.add_argument("--nats-conf", default="", metavar="TEXT")
    run.add_argument("--sync-always", action="store_true")
    run.add_argument("--oplog-mb", type=int, default=990)
    run.add_argument("--set-parameter", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args(arguments)

    def leave(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what follows is cleaning up
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    try:
        with Lab(options.mongod, options.mongod_version, options.nats, options.nats_version,
                 options.nats_conf, options.sync_always, options.oplog_mb,
                 parameters=dict(text.split("=", 1) for text in options.set_parameter)) as lab:
            print(json.dumps(lab.description()), flush=True)
            serve(lab)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except (LabError, fetch.Unavailable) as problem:
        print(f"lab: {problem}", file=sys.stderr)
        return 69
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
