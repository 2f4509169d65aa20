"""The program under test, as a black box: a configuration, a process, its HTTP endpoint."""

import http.client
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from lab import die_with_parent, free_ports  # noqa: E402

# Keeps a test that fails from hanging; it judges no speed.
PATIENCE = 120

BINARY = Path(os.environ.get("TAILRACE_BINARY", ROOT / ".build" / "release" / "tailrace"))
OPERATIONS = ["insert", "update", "replace", "delete"]


def wait_until(check, what, seconds=PATIENCE, every=None):
    """The first true answer of `check`; fails with `what` when there is none in time.

    Asks every so many seconds. By default the longer it takes, the more rarely: asking costs processor time."""
    began = time.monotonic()
    while True:
        answer = check()
        if answer:
            return answer
        waited = time.monotonic() - began
        assert waited < seconds, f"not within {seconds} s: {what}"
        time.sleep(min(max(waited / 10, 0.02), 0.2) if every is None else every)


def configuration(lab, name, **changes):
    """A whole configuration for one test: every change of database `name` goes to stream `name`,
    by the subject `<name>.<collection>.<operation>`. Top-level keys can be replaced; `stream=`
    and `rule=` add to (or replace in) the only stream and rule."""
    stream = {"name": name, "subjects": [f"{name}.>"], "duplicate_window": "2m"}
    rule = {
        "name": "all",
        "match": {"namespace": f"{name}.*", "operations": OPERATIONS},
        "subject": name + ".{ns.coll}.{operationType}",
        "payload": {"envelope": "cloudevents", "json": "simplified"},
        "stream": name,
    }
    whole = {
        "source": {"uri": lab.uri, "name": "rs0", "start": "now"},
        "nats": {"servers": lab.nats_url.split(",")},
        "bridge": {"name": name, "state_bucket": f"STATE_{name}"},
        "streams": [stream | changes.pop("stream", {})],
        "rules": [rule | changes.pop("rule", {})],
        "dead_letter": {"stream": f"DLQ_{name}", "subject": f"dlq_{name}" + ".{rule}"},
        "http": {"listen": f"127.0.0.1:{free_ports(1)[0]}"},
        "log": {"level": "info", "format": "text"},
    }
    for key, value in changes.items():
        whole[key] = whole[key] | value if isinstance(whole.get(key), dict) else value
    return whole


class Bridge:
    """`tailrace run` with one configuration; can be started again and again."""

    def __init__(self, folder, configuration):
        self.folder = Path(folder)
        self.configuration = configuration
        self.file = self.folder / "tailrace.yaml"
        self.file.write_text(yaml.safe_dump(configuration, sort_keys=False))
        self.log = self.folder / "tailrace.log"
        self.process = None
        self.descriptors = None  # how many files it may open

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if kind is not None:
            print(f"--- end of {self.log} ---\n{self.tail()}")

    def tail(self, size=3000):
        return self.log.read_bytes()[-size:].decode(errors="replace") if self.log.exists() else ""

    def start(self, *arguments, stderr=None, closing=()):
        """`stderr`: a descriptor in place of the log file; `closing`: descriptors it lacks."""
        def prepare():
            die_with_parent()
            if self.descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))
            for descriptor in closing:
                os.close(descriptor)

        with open(self.log, "ab") as log:
            log.write(f"=== run {' '.join(arguments)}\n".encode())
            log.flush()
            self.process = subprocess.Popen(
                [BINARY, "run", "-c", self.file, *arguments], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log if stderr is None else stderr, cwd=self.folder,
                preexec_fn=prepare)
        return self

    def run(self, *arguments, seconds=PATIENCE):
        """A run that ends by itself; its exit code."""
        self.start(*arguments)
        return self.wait(seconds)

    def wait(self, seconds=PATIENCE):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s\n{self.tail()}") from None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self, seconds=PATIENCE):
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def metric(self, name):
        """The value of a metric without labels."""
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        return None

    def get(self, path):
        """(status code, body); (None, "") when nobody answers."""
        host, port = self.configuration["http"]["listen"].split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException):
            return None, ""
        finally:
            connection.close()

    def json(self, path):
        code, body = self.get(path)
        return code, json.loads(body) if body else {}

    def alive(self):
        assert self.process.poll() is None, (
            f"tailrace ended with exit code {self.process.returncode}\n{self.tail()}")
        return True

    def wait_ready(self, seconds=PATIENCE):
        wait_until(lambda: self.alive() and self.get("/readyz")[0] == 200, "/readyz is 200",
                   seconds)
        return self


# What the last commands of the running test printed, for its report should it fail.
printed = deque(maxlen=4)


def tailrace(*arguments, seconds=PATIENCE, **options):
    """Any other command, to its end."""
    result = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True,
                            timeout=seconds, **options)
    printed.append(f"tailrace {' '.join(map(str, arguments))}: exit code {result.returncode}\n"
                   f"{result.stdout[-3000:]}\n{result.stderr[-3000:]}")
    return result
