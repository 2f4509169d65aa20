"""`tailrace tap`: the bridge's messages as streams get them, against what nats-py reads."""

import json
import signal
import subprocess
import threading
import time

import yaml
from bridge import BINARY, Bridge, configuration, tailrace, wait_until
from lab import Lab
from load import client, make_collections


class Tap:
    """`tailrace tap --json` in the background, with what it has printed so far."""

    def __init__(self, bridge, *arguments, reads=True):
        self.process = subprocess.Popen(
            [BINARY, "tap", "--json", "-c", bridge.file, *arguments], cwd=bridge.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.messages, self.notes = [], []
        threads = [threading.Thread(target=self._note, daemon=True)]
        if reads:
            threads.append(threading.Thread(target=self.read, daemon=True))
        for thread in threads:
            thread.start()

    def read(self):
        for line in self.process.stdout:
            self.messages.append(json.loads(line))

    def _note(self):
        for line in self.process.stderr:
            self.notes.append(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def holds(self, count):
        wait_until(lambda: len(self.messages) >= count, f"{count} messages, not {len(self.messages)}: {self.notes}")

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(10)


def tap(bridge, *arguments, code=0):
    done = tailrace("tap", "-c", bridge.file, *arguments, cwd=bridge.folder, seconds=60)
    assert done.returncode == code, (done.returncode, done.stdout[-500:], done.stderr)
    return done


def insert(lab, name, *documents):
    with client(lab) as mongo:
        mongo[name].messages.insert_many(documents)


def same(shown, stored, stream):
    """Whether a line is the message that nats-py read."""
    body = json.loads(stored.body) if stored.body else None
    return (shown["stream"], shown["seq"], shown["subject"], shown["headers"], shown["body"]) == (
        stream, stored.sequence, stored.subject, stored.headers, body)


def consumers(jetstream, stream):
    return jetstream.api(f"STREAM.INFO.{stream}")["state"]["consumer_count"]


def test_what_is_stored(lab, jetstream, tmp_path, name):
    """Own messages and letters, in each stream's order; what others have published is left out."""
    make_collections(lab, name)
    whole = configuration(lab, name, stream={"ownership": "shared"},
                          rule={"subject": name + ".rooms.{fullDocument.rid}"})
    with Bridge(tmp_path, whole) as bridge:
        bridge.start().wait_ready()
        insert(lab, name, *({"_id": n} | ({"rid": f"r{n}"} if n % 3 else {}) for n in range(30)))
        wait_until(lambda: jetstream.holds(name, 20) and jetstream.holds(f"DLQ_{name}", 10), "all of it")
        jetstream.publish(f"{name}.rooms.other", b"somebody else's")
        jetstream.publish(f"{name}.rooms.twin", b"{}", {
            "Nats-Msg-Id": "x", "Tailrace-Position": "1.1.0", "Tailrace-Rule": "all",
            "Tailrace-Bridge": "another"})
        insert(lab, name, {"_id": "last", "rid": "last"})
        wait_until(lambda: jetstream.holds(name, 23), "the last one")
        shown = [json.loads(line) for line in tap(
            bridge, "--json", "--from-start", "--count", "31").stdout.splitlines()]
        for stream in (name, f"DLQ_{name}"):
            ours = [m for m in jetstream.messages(stream) if m.headers.get("Tailrace-Bridge") == name]
            lines = [one for one in shown if one["stream"] == stream]
            assert len(lines) == len(ours) and all(map(same, lines, ours, [stream] * len(ours)))
        text = tap(bridge, "--from-start", "--count", "31").stdout.splitlines()
        assert len(text) == 31 and sum("DEAD LETTER path_missing: " in line for line in text) == 10
        assert sum(f"  {name} 1  [all]  {name}.rooms.r1  rs0:" in line for line in text) == 1
        only = tap(bridge, "--json", "--from-start", "--count", "1", "--subject", f"{name}.rooms.r7")
        assert json.loads(only.stdout)["body"]["documentKey"]["_id"] == 7
        only = tap(bridge, "--json", "--from-start", "--count", "20", "--subject", f"{name}.>", "--rule", "all")
        assert all(json.loads(line)["stream"] == name for line in only.stdout.splitlines())
        assert "there is no rule 'none'" in tap(bridge, "--rule", "none", code=64).stderr
        tap(bridge, "--count", "0", code=64)
        tap(bridge, "--subject", "a..b", code=64)


def test_as_they_come(lab, jetstream, tmp_path, name):
    """From now on, without what was there before; nothing remains in the servers."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        with Tap(bridge) as early:
            wait_until(lambda: any("does not exist yet" in note for note in early.notes), "a note")
            bridge.start().wait_ready()
            insert(lab, name, *({"_id": n} for n in range(10)))
            early.holds(10)
            assert early.end(signal.SIGINT) == 0
        with Tap(bridge) as late:
            # It reads once its consumer is there.
            wait_until(lambda: consumers(jetstream, name) == 1, "a consumer")
            insert(lab, name, *({"_id": n} for n in range(10, 20)))
            late.holds(10)
            assert [m["body"]["documentKey"]["_id"] for m in late.messages] == list(range(10, 20))
            # A stream that is made again is read from its first message.
            bridge.terminate()
            jetstream.delete_stream(name)
            bridge.start().wait_ready()
            insert(lab, name, {"_id": "new"})
            wait_until(lambda: any(m["body"]["documentKey"]["_id"] == "new" for m in late.messages), "it")
            wait_until(lambda: any("was made again" in note for note in late.notes), "a note")
            assert late.end() == 0
        assert consumers(jetstream, name) == 0
        assert consumers(jetstream, f"DLQ_{name}") == 0 if jetstream.state(f"DLQ_{name}") else True


def test_a_reader_that_does_not_read(lab, jetstream, tmp_path, name):
    """Memory stays small while nobody takes the output; then it is all there, once and in order."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        text = "x" * 500_000
        for first in range(0, 80, 20):
            insert(lab, name, *({"_id": n, "text": text} for n in range(first, first + 20)))
        wait_until(lambda: jetstream.holds(name, 80), "40 MB")
        with Tap(bridge, "--from-start", "--count", "80", reads=False) as slow:
            file = f"/proc/{slow.process.pid}/status"

            def memory():
                return int(next(line for line in open(file) if line.startswith("VmRSS")).split()[1])

            # It has read what it can, and stays as it is.
            wait_until(lambda: memory() > 30_000, "something was read")
            last, since = memory(), time.monotonic()
            while time.monotonic() - since < 1:
                if memory() > last:
                    last, since = memory(), time.monotonic()
                time.sleep(0.05)
            print(f"{last} KB while nobody reads")
            assert last < 80_000, f"{last} KB"
            slow.read()
            assert slow.process.wait(20) == 0
            assert [m["seq"] for m in slow.messages] == list(range(1, 81))


RIGHTS = """
accounts { MAIN { jetstream: enabled, users: [
  { user: admin, password: a }
  { user: poor, password: b, permissions: {
      publish: { allow: [">"], deny: ["$JS.API.CONSUMER.>"] }, subscribe: { allow: ["_INBOX.>"] } } }
] } }
no_auth_user: admin
"""


def test_servers_that_come_back(tmp_path, name):
    """NATS is restarted while messages come: neither gap nor repetition."""
    with Lab(nats_conf=RIGHTS) as lab:
        make_collections(lab, name)
        with Bridge(tmp_path, configuration(lab, name)) as bridge:
            bridge.start().wait_ready()
            with Tap(bridge, "--from-start") as running:
                for round in range(3):
                    insert(lab, name, *({"_id": f"{round}.{n}"} for n in range(200)))
                    running.holds(200 * round + 50)
                    lab.restart("nats", signal_name="KILL")
                running.holds(600)
                insert(lab, name, {"_id": "last"})
                running.holds(601)
                assert running.end() == 0
            keys = [m["body"]["documentKey"]["_id"] for m in running.messages]
            assert keys == [f"{r}.{n}" for r in range(3) for n in range(200)] + ["last"]
            assert [m["seq"] for m in running.messages] == list(range(1, 602))
            # Without the right to make a consumer, tap says so; explain finds a message by its position.
            file = tmp_path / "poor.yaml"
            file.write_text(yaml.safe_dump(bridge.configuration | {"nats": bridge.configuration["nats"] | {
                "user": "poor", "password": "b"}}))
            done = tailrace("tap", "-c", file, seconds=60)
            assert done.returncode == 78 and "$JS.API.CONSUMER.CREATE" in done.stderr, done.stderr
            done = tailrace("explain", running.messages[300]["headers"]["Tailrace-Position"], "-c", file, seconds=60)
            assert done.returncode == 0 and f"stream {name}, sequence 301" in done.stdout, done.stderr
            lab.stop("nats")
            assert "unavailable" in tap(bridge, code=69).stderr


def test_from_a_position(lab, tmp_path, name):
    """The translation of positions into sequences: each stream begins with the first message that is not before it."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        insert(lab, name, *[{"_id": n} for n in range(50)])
        with Tap(bridge, "--from-start", "--count", "50") as whole:
            whole.holds(50)
        sequences = {message["headers"]["Tailrace-Position"]: message["seq"] for message in whole.messages}
        for position in list(sequences)[::7]:
            for asked in (position, position.rsplit(".", 1)[0]):
                done = tap(bridge, "--json", "--from", asked, "--count", str(51 - sequences[position]))
                lines = [json.loads(line) for line in done.stdout.splitlines()]
                first = min(s for p, s in sequences.items() if p.startswith(asked))
                assert lines[0]["seq"] == first and len(lines) == 51 - sequences[position]
        # Between two entries, the later one; behind all, what comes from now on.
        position = list(sequences)[-1]
        seconds, increment, _ = position.split(".")
        with Tap(bridge, "--from", f"{seconds}.{int(increment) + 1}") as later:
            time.sleep(0.5)
            insert(lab, name, {"_id": "later"})
            later.holds(1)
            assert [m["seq"] for m in later.messages] == [51]
        assert "position" in tap(bridge, "--from", "yesterday", code=64).stderr
        assert "exclude" in tap(bridge, "--from", position, "--from-start", code=64).stderr
        assert bridge.terminate() == 0
