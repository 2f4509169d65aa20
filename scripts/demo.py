#!/usr/bin/env python3
"""A chat product's database, watched live as its changes arrive in NATS JetStream: `make demo`.

Fetches and builds what is missing, starts a replica set and a NATS server on free local ports, runs
`tailrace run -c config/chat.yaml` against them, writes chat traffic, prints every message as
JetStream delivers it, compares what arrived with what the oplog says, has tailrace verify itself, and
stops everything.

Exit codes: 0 every change arrived exactly once and is as it should be, 1 something differs, 69 something could not be
fetched, built or started.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import building
import fetch

# Before lab.py asks for the Python environment: that and the servers are fetched during the build.
if __name__ == "__main__" and len(sys.argv) == 1:
    building.prepare()

import lab as labs  # re-runs this program in .tools/venv when needed

import nats
import nats.errors
import pymongo
from chat import DATABASE, Chat
from pymongo.read_concern import ReadConcern

CONFIG = "config/chat.yaml"
SECONDS = 8
OPERATIONS = {"i": "insert", "u": "update", "d": "delete"}


class Failed(Exception):
    pass


# --- what it looks like ------------------------------------------------------------------------

COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ
WIDTH = shutil.get_terminal_size((140, 40)).columns if sys.stdout.isatty() else 200


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def title(text):
    print(f"\n{paint('1', text)}", flush=True)


def fit(text, width):
    return text.ljust(width) if len(text) <= width else text[:width - 1] + "…"


COLOURS = {"insert": "32", "created": "32", "delete": "31", "deleted": "31"}


def news(body):
    """The body from its interesting part on; subject and id say the rest."""
    starts = [body.find(f'"{key}":') for key in ("fullDocument", "updateDescription")]
    start = max(starts)
    return "{…" + body[start:] if start > 0 else body


def show(sequence, message, headers):
    code = next((COLOURS[word] for word in message.subject.split(".") if word in COLOURS), "33")
    body = news(message.data.decode(errors="replace"))
    line = (f"{sequence:>5}  {paint(code, fit(message.subject, 46))}  "
            f"{paint('2', fit(headers.get('Nats-Msg-Id', ''), 32))}  ")
    if WIDTH >= 120:
        line += fit(body, WIDTH - 89).rstrip()
    else:
        line += "\n       " + fit(body, max(40, WIDTH - 8)).rstrip()
    print(line, flush=True)


# --- both ends, read independently of tailrace -------------------------------------------------


def majority_position(client):
    return client.admin.command("hello")["lastWrite"]["majorityOpTime"]["ts"]


def oplog_events(client, after):
    """{position: (collection, operation)} of every change to the database, from the oplog."""
    oplog = client.local.get_collection("oplog.rs", read_concern=ReadConcern("majority"))
    events = {}
    for entry in oplog.find({"ts": {"$gt": after}}):
        inner = [entry] if entry["op"] in OPERATIONS else entry["o"].get("applyOps", [])
        for index, change in enumerate(inner):
            database, _, collection = change["ns"].partition(".")
            if database != DATABASE:
                continue
            operation = OPERATIONS[change["op"]]
            if operation == "update" and "$v" not in change["o"]:
                operation = "replace"
            position = f"{entry['ts'].time}.{entry['ts'].inc}.{index}"
            events[position] = (collection, operation)
    return events


class Arrivals:
    """Every message of every stream (but dead letters and buckets), as JetStream delivers it."""

    def __init__(self, url):
        self.url = url
        self.seen = []  # (stream, position)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        self._do(self._begin())
        return self

    def __exit__(self, *_):
        self._do(self.connection.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    async def _api(self, subject, body=None):
        answer = json.loads((await self.connection.request(
            f"$JS.API.{subject}", json.dumps(body).encode() if body else b"", timeout=5)).data)
        if "error" in answer:
            raise Failed(f"JetStream: {answer['error']}")
        return answer

    async def _begin(self):
        self.connection = await nats.connect(self.url)
        names = (await self._api("STREAM.NAMES"))["streams"]
        self.streams = [name for name in names if not name.startswith(("KV_", "TAILRACE_"))]
        for stream in self.streams:
            inbox = self.connection.new_inbox()
            await self.connection.subscribe(inbox, cb=self._arrived)
            await self._api(f"CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": {
                "deliver_subject": inbox, "deliver_policy": "all", "ack_policy": "none"}})

    async def _arrived(self, message):
        headers = message.headers or {}
        self.seen.append((message.metadata.stream, headers.get("Tailrace-Position")))
        show(message.metadata.sequence.stream, message, headers)

    def stored(self):
        """What each stream holds, in words; buckets left out."""
        async def work():
            return (await self._api("STREAM.LIST"))["streams"]

        words = []
        for info in sorted(self._do(work()), key=lambda info: info["config"]["name"]):
            name, state = info["config"]["name"], info["state"]
            if name.startswith("KV_"):
                continue
            limit = info["config"].get("max_msgs_per_subject", -1)
            words.append(f"{name} {state['messages']}"
                         + (f" (of {state['last_seq']}: it keeps {limit} a subject)"
                            if limit > 0 else ""))
        return ", ".join(words)


# --- tailrace ----------------------------------------------------------------------------------


@contextlib.contextmanager
def tailrace(binary, environment, log):
    with open(log, "wb") as sink:
        process = subprocess.Popen(
            [binary, "run", "-c", CONFIG], cwd=fetch.ROOT, env={**os.environ, **environment},
            stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, preexec_fn=labs.die_with_parent)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def get(address, path):
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode()
    except OSError:
        return None, ""


def wait_ready(address, process, log):
    deadline = time.monotonic() + 20
    while get(address, "/readyz")[0] != 200:
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"tailrace isn't ready (exit code {process.poll()}); its log:\n"
                         + log.read_text(errors="replace")[-3000:])
        time.sleep(0.02)


# --- the whole ---------------------------------------------------------------------------------


# Changes of which the configuration shows nothing (`include` of the rule user leaves `status` out), so
# that they have no message (skip_empty_updates).
FILTERED = {("users", "update")}


def shown(events):
    return {position: kind for position, kind in events.items() if kind not in FILTERED}


def compare(events, arrivals, stored):
    """Prints the table; whether every change that is shown arrived exactly once, and no other."""
    seen = Counter(position for _, position in arrivals.seen)
    oplog, found = Counter(events.values()), Counter()
    for position, count in seen.items():
        if position in events:
            found[events[position]] += count
    print(f"  {'collection':<26}{'operation':<12}{'in the oplog':>14}{'in JetStream':>14}")
    for (collection, operation), count in sorted(oplog.items()):
        is_filtered = (collection, operation) in FILTERED
        mark = "   shows nothing: filtered" if is_filtered else ""
        if found[collection, operation] != (0 if is_filtered else count):
            mark = paint("31", "   differs")
        print(f"  {collection:<26}{operation:<12}{count:>14}{found[collection, operation]:>14}"
              f"{mark}")
    print(f"  {'all':<38}{len(events):>14}{sum(found.values()):>14}")
    events = shown(events)
    missing = [position for position in events if position not in seen]
    twice = [position for position, count in seen.items() if count > 1]
    unknown = [position for position in seen if position not in events]
    print(f"  missing {len(missing)}, twice {len(twice)}, not in the oplog {len(unknown)}; stored: "
          + stored)
    return not missing and not twice and not unknown


def demo():
    binary = Path(os.environ["TAILRACE_BINARY"])
    began = time.monotonic()
    log = Path(tempfile.mkdtemp(prefix="tailrace-demo-")) / "tailrace.log"
    print("Starting a MongoDB replica set and a NATS server with JetStream …", flush=True)
    try:
        with labs.Lab() as lab, pymongo.MongoClient(lab.uri) as client:
            events, same, code = watch(binary, log, lab, client)
    except KeyboardInterrupt:
        shutil.rmtree(log.parent)
        raise
    title("Summary")
    print(f"  {len(events)} changes of {len(set(events.values()))} kinds were written; "
          + (f"each of the {len(shown(events))} that rules show arrived exactly once." if same else paint("31", "what arrived differs."))
          + f"\n  tailrace ended with exit code {code} on SIGTERM."
          + f"\n  Everything is stopped again after {time.monotonic() - began:.0f} s.")
    if not same or code != 0:
        print(f"  Its log: {log}")
        return 1
    shutil.rmtree(log.parent)
    program = binary.relative_to(fetch.ROOT) if binary.is_relative_to(fetch.ROOT) else binary
    print(NEXT.format(program=program, config=CONFIG))
    return 0


def watch(binary, log, lab, client):
    """The run itself: (the oplog's events, whether all arrived once, tailrace's exit code)."""
    address = f"127.0.0.1:{labs.free_ports(1)[0]}"
    environment = {"MONGODB_URI": lab.uri, "NATS_URL": lab.nats_url, "TAILRACE_HTTP": address}
    chat = Chat(lab.uri, SECONDS)
    chat.setting()
    print(f"  MongoDB   {lab.uri}\n  NATS      {lab.nats_url}\n"
          f"  tailrace  run -c {CONFIG}, http://{address}", flush=True)
    with tailrace(binary, environment, log) as process:
        wait_ready(address, process, log)
        after = majority_position(client)
        with Arrivals(lab.nats_url) as arrivals:
            title("Chat traffic, as it arrives in JetStream")
            print(paint("2", f"{'seq':>5}  {fit('subject', 46)}  {fit('id', 32)}  body"))
            chat.start()
            while chat.is_alive():
                chat.join(0.2)
            if chat.failure:
                raise Failed(f"writing to MongoDB failed: {chat.failure}")
            events = oplog_events(client, after)
            deadline = time.monotonic() + 10
            while len(arrivals.seen) < len(shown(events)) and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.3)  # time for one too many to show up
            title(f"Health: GET http://{address}/healthz")
            code, health = get(address, "/healthz")
            print_health(code, json.loads(health or "{}"))
            title("Counts: the oplog against JetStream, both read without tailrace")
            same = compare(events, arrivals, arrivals.stored())
    # With the bridge's last checkpoint written, everything is settled.
    same = prove(binary, environment) and same
    return events, same, process.returncode


def prove(binary, environment):
    """`tailrace verify`, by the oplog and by the server's own change stream; whether both say PASS."""
    passed = True
    for reader in ("oplog", "change_stream"):
        title(f"Proof: tailrace verify --reader {reader}")
        done = subprocess.run(
            [binary, "verify", "-c", CONFIG, "--reader", reader], cwd=fetch.ROOT,
            env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)
        for line in (done.stdout or done.stderr).splitlines():
            good = line == "PASS"
            print("  " + (paint("32", line) if good else line))
        passed = passed and done.returncode == 0
    return passed


def print_health(code, health):
    print(f"  {code}  status {paint('32' if code == 200 else '31', str(health.get('status')))}, "
          f"position {health.get('position')}, lag {health.get('lag_seconds')} s")
    for name, check in health.get("checks", {}).items():
        print(f"    {name:<13} {check['status']:<9} {check['detail']}")


NEXT = """
  Try next:
    {program} validate -c {config}
        checks its rules, offline
    python3 scripts/lab.py run
        servers to play with: prints their addresses, Ctrl-D stops them; then, in another terminal
    MONGODB_URI='…' NATS_URL='…' {program} run -c {config}
    make test
        unit tests, and crashes of every kind on real servers
    make bench
        what this machine can do"""


def main():
    if len(sys.argv) > 1:
        print(__doc__.strip(), file=sys.stderr)
        return 0 if sys.argv[1] in ("-h", "--help") else 64
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        return demo()
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except (Failed, fetch.Unavailable, labs.LabError, pymongo.errors.PyMongoError,
            nats.errors.Error) as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 69


if __name__ == "__main__":
    sys.exit(main())
