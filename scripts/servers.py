"""One server process each: how to start it, and how to tell that it is ready. See lab.py."""

import ctypes
import json
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pymongo

READY_SECONDS = 60
STOP_SECONDS = 10


class LabError(Exception):
    """A server didn't do what was asked; the text has the end of its log."""


class PortTaken(LabError):
    """Somebody else was faster; the lab tries again on other ports."""


# --- processes ---------------------------------------------------------------------------------

_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def die_with_parent():
    """In the child: the kernel kills it when the thread that started it ends."""
    if _prctl:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_ports(count):
    """Ports that nobody listens on, outside of the range of outgoing connections: a client that
    retries a stopped server could otherwise be given the very port it wants to reach."""
    low = 32768
    try:
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        pass
    held, ports = [], []
    try:
        while len(ports) < count:
            port = random.SystemRandom().randrange(min(10000, low // 2), low)
            probe = socket.socket()
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                probe.close()
                continue
            held.append(probe)
            ports.append(port)
    finally:
        for probe in held:
            probe.close()
    return ports


class Server:
    """One server process: its command, its folder, and how to tell that it answers."""

    def __init__(self, kind, index, folder, port):
        self.kind, self.index, self.folder, self.port = kind, index, folder, port
        self.process = None
        self.command = []
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def log(self):
        return self.folder / f"{self.kind}.log"

    @property
    def pid(self):
        return self.process.pid if self.process else None

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def spawn(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=die_with_parent)

    def until(self, check, what, seconds=READY_SECONDS):
        """Waits for `check`; fails at once when the process has ended."""
        deadline = time.monotonic() + seconds
        while not check():
            if not self.running:
                if self.port_taken():
                    raise PortTaken(f"port {self.port} is taken")
                raise LabError(f"{self.kind} {self.index} ended while waiting until {what}:\n"
                               f"{self.tail()}")
            if time.monotonic() > deadline:
                raise LabError(f"{self.kind} {self.index}: not within {seconds} s: {what}\n"
                               f"{self.tail()}")
            time.sleep(0.02)

    def tail(self, size=4000):
        try:
            return self.log.read_bytes()[-size:].decode(errors="replace")
        except OSError:
            return ""

    def port_taken(self):
        return "address already in use" in self.tail().lower()

    def kill(self, number):
        """Sends the signal and waits until the process is gone."""
        if not self.running:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False


# --- NATS --------------------------------------------------------------------------------------


class Nats(Server):
    def __init__(self, index, folder, ports, program, count, sync_always, extra,
                 file_store="50GB"):
        port, self.monitor, route = ports[index]
        super().__init__("nats", index, folder, port)
        self.count = count
        lines = [
            f'server_name: "n{index}"',
            f'listen: "127.0.0.1:{port}"',
            f'http: "127.0.0.1:{self.monitor}"',
            "jetstream {",
            f'  store_dir: "{folder}/store"',
            "  max_memory_store: 1GB",
            f"  max_file_store: {file_store}",
        ]
        if sync_always:
            lines.append("  sync_interval: always")
        lines.append("}")
        if count > 1:
            routes = ", ".join(f'"nats://127.0.0.1:{other}"' for _, _, other in ports)
            lines.append(f'cluster {{ name: lab, listen: "127.0.0.1:{route}", '
                         f"routes: [{routes}] }}")
        self.configuration = folder / "nats.conf"
        self.configuration.write_text("\n".join([*lines, extra, ""]))
        self.command = [str(program), "-c", str(self.configuration)]

    def _monitor(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor}{path}", timeout=2) as r:
                return json.load(r)
        except (OSError, ValueError):
            return {}

    def healthy(self):
        if self._monitor("/healthz").get("status") != "ok":
            return False
        if self.count == 1:
            return True
        meta = self._monitor("/jsz").get("meta_cluster") or {}
        return bool(meta.get("leader")) and meta.get("cluster_size") == self.count

    def wait(self):
        self.until(self.healthy, "JetStream is ready")


# --- MongoDB -----------------------------------------------------------------------------------


class Mongod(Server):
    def __init__(self, index, folder, port, program, oplog_mb, cache_gb, parameters,
                 options=()):
        super().__init__("mongod", index, folder, port)
        (folder / "db").mkdir(exist_ok=True)
        self.command = [
            str(program), "--replSet", "rs0", "--dbpath", str(folder / "db"),
            "--bind_ip", "127.0.0.1", "--port", str(port), "--nounixsocket",
            "--oplogSize", str(oplog_mb), "--wiredTigerCacheSizeGB", str(cache_gb),
            "--setParameter", "diagnosticDataCollectionEnabled=false", *options,
        ]
        for name, value in parameters.items():
            # As a parameter at the start, this one is overwritten by the option's default.
            self.command += (["--syncdelay", str(value)] if name == "syncdelay"
                             else ["--setParameter", f"{name}={value}"])

    def client(self, seconds=2):
        return pymongo.MongoClient(
            "127.0.0.1", self.port, directConnection=True, serverSelectionTimeoutMS=seconds * 1000,
            connectTimeoutMS=seconds * 1000, socketTimeoutMS=30000)

    def command_answer(self, *command, **options):
        """The answer of an admin command, or None when the server can't give one."""
        try:
            with self.client() as client:
                return client.admin.command(*command, **options)
        except pymongo.errors.PyMongoError:
            return None

    def hello(self):
        return self.command_answer("hello") or {}

    def wait(self):
        """Until it answers, and is a member with a role if the set was initiated before."""
        self.until(lambda: self.answers() and bool(self.hello()), "it answers")
