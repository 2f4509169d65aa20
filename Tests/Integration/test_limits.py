"""Limits of messages: what is too large for JetStream, in whatever place, becomes a dead letter with its
reason; everything behind it is published. Run, dry run, verification and `decode` find the same."""

import json
import subprocess

import pytest
from bson import Binary, json_util
from bson.raw_bson import RawBSONDocument

from bridge import BINARY, Bridge, configuration, tailrace, wait_until
from jetstream import JetStream
from lab import Lab
from load import client, make_collections, now, settle
from test_verify import older_than, verify

# Of documents in `messages`: too long for a header block, and one that is not.
LONG = ["k" * 65_300, "é" * 11_000, " " * 360_000, "\x01" * 22_000, Binary(b"\xff" * 50_000),
        {"a": "x" * 65_200}]
FITS = "k" * 64_000
FIELD = "f" * 50_000


class Servers:
    """The lab's MongoDB with another NATS server."""

    def __init__(self, lab, nats):
        self.uri, self.nats_url = lab.uri, nats.nats_url


@pytest.fixture(scope="module")
def old_nats():
    with Lab(mongod=0, nats_version="2.10.26") as nats:
        yield nats


@pytest.fixture(scope="module")
def oldest_nats():
    with Lab(mongod=0, nats_version="2.9.10") as nats:
        yield nats


def rules(name):
    first = {"name": "all", "match": {"namespace": f"{name}.messages"}, "stream": name,
             "subject": name + ".{ns.coll}.{operationType}"}
    return [
        first,
        {"name": "by-id", "match": {"namespace": f"{name}.rooms"}, "stream": name,
         "continue": True, "id": "{documentKey._id}.{operationType}.{clusterTime}",
         "subject": name + ".rooms.{documentKey._id}"},
        {"name": "plain", "match": {"namespace": f"{name}.rooms"}, "stream": name,
         "subject": name + ".plain", "payload": {"envelope": "change_event"}},
        {"name": "outbox", "match": {"namespace": f"{name}.users"}, "stream": name, "outbox": {}},
        {"name": "dropping", "match": {"namespace": f"{name}.presence"}, "stream": name,
         "subject": name + ".presence", "on_invalid": "drop"},
    ]


def grow(collection):
    """A document whose next update has an oplog entry of 66 KB and a description of 75 MB."""
    collection.insert_one(
        {"_id": "wide", FIELD: {f"n{n}": 0 for n in range(1500)} | {"rest": "x" * 40_000}})


def widen(collection):
    collection.update_one({"_id": "wide"}, [{"$set": {FIELD: {f"n{n}": 1 for n in range(1500)}}}])


def damaged():
    """A document with an old binary whose inner length is wrong, which servers don't mind."""
    content = (9).to_bytes(4, "little") + b"abc"
    value = len(content).to_bytes(4, "little") + b"\x02" + content
    body = b"\x02_id\x00\x04\x00\x00\x00old\x00" + b"\x05b\x00" + value
    return RawBSONDocument((len(body) + 5).to_bytes(4, "little") + body + b"\x00")


def write(mongo, name, wide=False, damage=True):
    """What it must lead to: the messages' keys in order, and the letters as (rule, error)."""
    database, good, dead = mongo[name], [], []

    def ordinary(n):
        database.messages.insert_one({"_id": n})
        good.append(n)

    for n, key in enumerate(LONG):
        database.messages.insert_one({"_id": key})
        database.messages.update_one({"_id": key}, {"$set": {"a": 1}})
        database.messages.delete_one({"_id": key})
        dead.extend([("all", "headers_too_large")] * 3)
        ordinary(n)
    database.messages.insert_one({"_id": FITS})
    good.append(FITS)
    for key, is_token in (("r" * 250, True), ("r" * 256, False), ("é" * 50, False),
                          ("r" * 16_000, False)):
        database.rooms.insert_one({"_id": key})
        if is_token:
            good.append(key)
        else:
            dead.append(("by-id", "subject_invalid"))
        good.append(key)
    for key, kind in (("o1", "t" * 70_000), ("o2", " " * 22_000), ("i" * 1100, "t"), ("o3", "t")):
        database.users.insert_one({"_id": key, "subject": f"{name}.out", "type": kind,
                                   "payload": {"_id": key}})
    good.append("o3")
    dead.extend([("outbox", "headers_too_large")] * 2 + [("outbox", "id_invalid")])
    database.presence.insert_one({"_id": "p" * 65_300})
    ordinary("after the dropped one")
    deep = {}
    for _ in range(90):
        deep = {"d": [deep]} if _ % 2 else {"d": deep}
    database.messages.insert_one({"_id": "deep", "d": deep})
    good.append("deep")
    if damage:
        database.messages.insert_one(damaged())
        database.messages.update_one({"_id": "deep"}, {"$set": damaged_field()})
        good.extend(["old", "deep"])
    if wide:
        grow(database.messages)
        grow(database.nobodys)
        good.append("wide")
        widen(database.nobodys)
        widen(database.messages)
        dead.append(("all", "payload_too_large"))
    ordinary("last")
    return good, dead


def damaged_field():
    raw = damaged()
    body = raw.raw[4 + len(b"\x02_id\x00\x04\x00\x00\x00old\x00"):]
    return RawBSONDocument((len(body) + 4).to_bytes(4, "little") + body)


def key(message):
    body = message.json
    if "documentKey" not in body:
        return body["_id"]
    return body["documentKey"]["_id"]


def check(jetstream, bridge, name, place, good, dead):
    messages = jetstream.messages(name)
    assert [key(m) if isinstance(key(m), (int, str)) else "?" for m in messages] == good
    letters = jetstream.messages(f"DLQ_{name}")
    assert [(m.headers["Tailrace-Rule"], m.headers["Tailrace-Error"]) for m in letters] == dead
    for message in messages + letters:
        block = 12 + sum(len(k) + len(v) + 4 for k, v in message.headers.items())
        assert block <= 65_535 and len(message.subject) <= 1024
    verified = tailrace("verify", "--json", "-c", bridge.file, cwd=bridge.folder, seconds=90)
    assert verified.returncode == 0, verified.stdout[-3000:] + verified.stderr[-1000:]
    dry = tailrace("run", "--dry-run", "--json", "-c", bridge.file, "--from", place, "--until", "now",
                   cwd=bridge.folder, seconds=60)
    assert dry.returncode == 1, dry.stderr[-2000:]
    report = json.loads(dry.stdout)
    assert report["verdict"] == "FAIL" and "reason" not in report or not report["reason"]
    foretold = sum(rule["invalid"] for rule in report["rules"] if rule["name"] != "dropping")
    assert foretold == len(dead)
    assert sum(rule["messages"] for rule in report["rules"]) == len(good)
    return messages, letters


def oplog(lab, after):
    """The entries behind it, as `decode` reads them."""
    options = json_util.CANONICAL_JSON_OPTIONS
    with client(lab) as mongo:
        found = mongo.local["oplog.rs"].find({"ts": {"$gt": after}, "op": {"$ne": "n"}}).sort(
            "$natural", 1)
        return "\n".join(json_util.dumps(entry, json_options=options) for entry in found)


@pytest.mark.parametrize("nats", ["lab", "old_nats", "oldest_nats"])
def test_too_long_somewhere(lab, tmp_path, name, nats, request):
    servers = Servers(lab, request.getfixturevalue(nats))
    jetstream = JetStream(servers.nats_url)
    make_collections(lab, name)
    after = now(lab)
    place = f"{after.time}.{after.inc}"
    with client(lab) as mongo:
        good, dead = write(mongo, name, wide=True)
        settle(lab)
    whole = configuration(servers, name, rules=rules(name))
    with Bridge(tmp_path, whole) as bridge:
        assert bridge.run("--from", place, "--until", "now") == 0
        messages, letters = check(jetstream, bridge, name, place, good, dead)
        wide = next(m for m in letters if m.headers["Tailrace-Error"] == "payload_too_large")
        assert wide.json["omitted"] == ["updateDescription"]
        assert wide.json["documentKey"] == {"_id": "wide"}
        # Nothing is done twice.
        assert bridge.run("--until", "now") == 0
        assert jetstream.last_sequence(name) == len(good)
        assert jetstream.last_sequence(f"DLQ_{name}") == len(dead)


def test_decode_finds_the_same(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo:
        good, dead = write(mongo, name, wide=True, damage=False)  # which Python can't read
        settle(lab)
    with Bridge(tmp_path, configuration(lab, name, rules=rules(name))) as bridge:
        assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
        stored = sorted(jetstream.messages(name) + jetstream.messages(f"DLQ_{name}"),
                        key=lambda m: (m.position, m.headers["Tailrace-Rule"] == "plain"))
        done = subprocess.run([BINARY, "decode", "--messages", "-c", bridge.file], text=True,
                              input=oplog(lab, after), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr[-1000:]
    made = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(made) == len(stored) == len(good) + len(dead)
    for message, mine in zip(stored, made, strict=True):
        assert mine["subject"] == message.subject
        assert mine["headers"].items() <= message.headers.items()
        assert mine["body"] == message.json


def test_dead_letters_in_hand(lab, jetstream, tmp_path, name):
    """Listed with their reasons; replayed once a rule has room for them."""
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo:
        good, dead = write(mongo, name, wide=True)
        settle(lab)

    def dlq(bridge, *arguments, code=0):
        done = tailrace("dlq", *arguments, "--json", "-c", bridge.file, cwd=tmp_path, seconds=60)
        assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
        return [json.loads(line) for line in done.stdout.splitlines()]

    with Bridge(tmp_path, configuration(lab, name, rules=rules(name))) as bridge:
        assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
        listed = dlq(bridge, "list")
        assert [(letter["rule"], letter["error"]) for letter in listed] == dead
        outcomes = dlq(bridge, "replay", "--all", code=1)
        assert [outcome["error"] for outcome in outcomes] == [error for _, error in dead]
        roomy = rules(name)
        roomy[0]["payload"] = {"envelope": "change_event"}
        bridge = Bridge(tmp_path, configuration(lab, name, rules=roomy))
        outcomes = dlq(bridge, "replay", "--error", "headers_too_large", "--rule", "all")
        assert [outcome["outcome"] for outcome in outcomes] == ["published"] * len(LONG) * 3
    assert jetstream.state(f"DLQ_{name}")["messages"] == len(dead) - len(LONG) * 3
    assert jetstream.last_sequence(name) == len(good) + len(LONG) * 3


def test_change_stream(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    after = now(lab)
    place = f"{after.time}.{after.inc}"
    with client(lab) as mongo:
        good, dead = write(mongo, name)
        settle(lab)
    whole = configuration(lab, name, rules=rules(name),
                          source={"reader": "change_stream"})
    with Bridge(tmp_path, whole) as bridge:
        assert bridge.run("--from", place, "--until", "now") == 0
        check(jetstream, bridge, name, place, good, dead)
        # A resume token holds the document's key: the checkpoint moves, whatever that is.
        with client(lab) as mongo:
            mongo[name].messages.insert_one({"_id": "k" * 1_000_000})
            settle(lab)
            end = now(lab)
        assert bridge.run("--until", f"{end.time}.{end.inc}") == 0
        checkpoint = json.loads(jetstream.get(f"STATE_{name}", f"{name}.checkpoint"))
        reached = tuple(map(int, checkpoint["position"].split(".")))
        letters = jetstream.messages(f"DLQ_{name}")
        assert len(letters) == len(dead) + 1 and reached >= letters[-1].position[:2]
        assert bridge.run("--until", "now") == 0
        assert jetstream.last_sequence(f"DLQ_{name}") == len(dead) + 1


def test_snapshot(lab, jetstream, tmp_path, name):
    """Documents as they are found; a second life in the middle repeats nothing."""
    make_collections(lab, name)
    with client(lab) as mongo:
        mongo[name].messages.insert_many([{"_id": key} for key in LONG])
        mongo[name].messages.insert_many([{"_id": n} for n in range(2000)])
        mongo[name].rooms.insert_many([{"_id": "r" * n} for n in (250, 256, 16_000)])
        settle(lab)
    whole = configuration(lab, name, rules=rules(name), source={"start": "snapshot"})
    with Bridge(tmp_path, whole) as bridge:
        bridge.start()
        wait_until(lambda: jetstream.holds(f"DLQ_{name}", 3), "letters")
        bridge.kill()
        assert bridge.run("--until", "now") == 0
    letters = jetstream.messages(f"DLQ_{name}")
    assert sorted((m.headers["Tailrace-Rule"], m.headers["Tailrace-Error"]) for m in letters) == \
        [("all", "headers_too_large")] * len(LONG) + [("by-id", "subject_invalid")] * 2
    assert len({m.id for m in letters}) == len(letters)
    messages = jetstream.messages(name)
    assert len(messages) == len({m.id for m in messages}) == 2000 + 1 + 3


def test_halt_says_why(lab, tmp_path, name):
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo:
        mongo[name].messages.insert_one({"_id": LONG[0]})
    settle(lab)
    whole = configuration(lab, name, rule={"on_invalid": "halt"})
    with Bridge(tmp_path, whole) as bridge:
        assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 70
        assert "headers_too_large" in bridge.tail() and "rule all" in bridge.tail()


@pytest.mark.parametrize("publish, start", [
    ("auto", None), ("chain", None), ("atomic", None), ("auto", "snapshot")])
def test_a_limit_that_no_server_tells(lab, tmp_path, name, publish, start):
    """A line longer than max_control_line ends the connection, and INFO doesn't name that limit: the
    message that does so again and again is found, and becomes a dead letter with the server's words."""
    make_collections(lab, name)
    after = now(lab)
    subject = name + ".{fullDocument.a}.{fullDocument.b}.{fullDocument.c}.{fullDocument.d}"
    with Lab(mongod=0, nats_conf="max_control_line: 1000") as nats:
        jetstream = JetStream(nats.nats_url)
        with client(lab) as mongo:
            with mongo.start_session() as session, session.start_transaction():
                for n in range(30):
                    size = 235 if n == 17 else 5
                    mongo[name].messages.insert_one(
                        {"_id": n} | {c: "x" * size for c in "abcd"}, session=session)
            settle(lab)
        whole = configuration(Servers(lab, nats), name, rule={"subject": subject},
                              stream={"publish": publish},
                              source={"start": start or f"{after.time}.{after.inc}"})
        with Bridge(tmp_path, whole) as bridge:
            assert bridge.run("--until", "now") == 0
        assert [key(m) for m in jetstream.messages(name)] == [n for n in range(30) if n != 17]
        letter, = jetstream.messages(f"DLQ_{name}")
        assert letter.headers["Tailrace-Error"] == "refused"
        assert "control line" in letter.headers["Tailrace-Error-Detail"].lower()
        if start == "snapshot":
            return
        # Nothing but the letter tells that there is no message; nor does it when it was dropped.
        for reader in ["oplog"] if older_than(lab, 6) else ["oplog", "change_stream"]:
            report = verify(bridge, "--reader", reader)
            assert report["verdict"] == "PASS" and report["refused"] == 1, report
        dropped = tailrace("dlq", "drop", "-c", bridge.file, "--all", cwd=tmp_path)
        assert dropped.returncode == 0, dropped.stderr
        report = verify(bridge)
        assert report["verdict"] == "PASS" and report["dead_letters_resolved"] == 1, report


def test_a_limit_that_changes(lab, jetstream, tmp_path, name):
    """A stream's max_msg_size, made less under a running bridge: it is read again."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            mongo[name].messages.insert_one({"_id": 1, "x": "y" * 2000})
            wait_until(lambda: jetstream.holds(name, 1), "the first message")
            jetstream.api(f"STREAM.UPDATE.{name}", jetstream.config(name) | {"max_msg_size": 1500})
            mongo[name].messages.insert_many(
                [{"_id": n, "x": "y" * (2000 if n % 2 else 10)} for n in range(2, 8)])
        wait_until(lambda: jetstream.holds(name, 4) and jetstream.holds(f"DLQ_{name}", 3), "the rest")
        assert bridge.terminate() == 0
    assert [key(m) for m in jetstream.messages(name)] == [1, 2, 4, 6]
    assert [m.headers["Tailrace-Error"] for m in jetstream.messages(f"DLQ_{name}")] \
        == ["payload_too_large"] * 3


def test_no_room_for_a_large_transaction(lab, jetstream, tmp_path, name, monkeypatch):
    """Temporary files are the machine's trouble: the bridge says so, waits, and continues."""
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo:
        with mongo.start_session() as session, session.start_transaction():
            for n in range(20):
                mongo[name].messages.insert_one({"_id": n, "x": "y" * 900_000}, session=session)
        settle(lab)
    folder = tmp_path / "not there yet"
    monkeypatch.setenv("TMPDIR", str(folder))
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start("--from", f"{after.time}.{after.inc}", "--until", "now")
        wait_until(lambda: bridge.alive() and str(folder) in json.dumps(bridge.json("/status")[1]),
                   "the reason in /status")
        assert jetstream.last_sequence(name) == 0
        folder.mkdir()
        assert bridge.wait(30) == 0
    assert [key(m) for m in jetstream.messages(name)] == list(range(20))
