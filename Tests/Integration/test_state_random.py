"""`tailrace verify --level state` of random collections, rules and courses of events on real servers: a bridge
that is killed, stopped and started again, snapshots in between, collections dropped, renamed and written by
`$out`. What is right is PASS, always; one thing that is wrong is found and named.

COURSE_ROUNDS (2) sets how many, COURSE_SEED (1) where their seeds begin; a failure names its seed."""

import json
import os
import random
import signal
from urllib.parse import unquote

import pytest
from bridge import OPERATIONS, Bridge, configuration, tailrace
from bson import json_util
from jetstream import JetStream
from load import client, now, settle
from test_verify import found, rebuild
from test_verify_state import state
from workload import FIELDS, Workload

ROUNDS = int(os.environ.get("COURSE_ROUNDS", "2"))
SEED = int(os.environ.get("COURSE_SEED", "1"))
COLLECTIONS = ["one", "two", "three", "four", "my coll"]
# Nothing but documents changes in this one.
STEADY = "three"


class Changes(Workload):
    """Documents of all kinds, in collections that come, go and take each other's names."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.collections = COLLECTIONS
        self.keys = {name: self.keys.get(name, []) for name in COLLECTIONS}

    def transaction(self):
        with self.client.start_session() as session:
            session.start_transaction()
            for _ in range(self.dice.randrange(6)):
                self.dice.choice([self.insert, self.update, self.delete])(session=session)
            if self.dice.random() < 0.2:
                session.abort_transaction()
            else:
                session.commit_transaction()

    def ddl(self):
        one, two = self.dice.sample([name for name in COLLECTIONS if name != STEADY], 2)
        self.dice.choice([
            lambda: self.database[one].drop(),
            lambda: self.database[one].rename(two, dropTarget=True),
            lambda: self.database[one].rename(two),
            lambda: self.database[one].aggregate([{"$out": two}]),
            lambda: self.database[STEADY].create_index(self.dice.choice(FIELDS[:6])),
        ])()


def random_rule(dice, name):
    fields = [field for field in FIELDS if field not in ("sa", "b2", "s")]
    paths = [f"fullDocument.{field}" for field in fields] + [
        "fullDocument.a.b", "fullDocument.l.c", "fullDocument.d.a.b", "fullDocument.c.0"]
    payload = {
        "envelope": dice.choice(["cloudevents", "cloudevents_structured", "change_event"]),
        "json": dice.choice(["simplified", "relaxed", "canonical"]),
        "disambiguated_paths": dice.random() < 0.5,
    }
    if dice.random() < 0.4:
        payload["exclude"] = dice.sample(paths, dice.randrange(1, 4))
    if dice.random() < 0.3:
        payload["include"] = ["fullDocument._id", *dice.sample(paths, dice.randrange(3, 9))]
    if dice.random() < 0.6:
        payload["redact"] = {path: dice.choice(["hash", "mask"])
                             for path in dice.sample(paths, dice.randrange(1, 5))}
        if dice.random() < 0.15:
            payload["redact"]["fullDocument._id"] = "hash"
    if dice.random() < 0.3:
        # Not a name that documents have: one that loses one of two such fields again differs from what
        # messages make of it (docs/verify.md).
        payload["rename"] = {"fullDocument.s": dice.choice(["renamed", "other"])}
    if dice.random() < 0.3:
        payload["full_document"] = "when_available"
    operations = OPERATIONS + (["drop", "rename", "drop_database"] if dice.random() < 0.5 else [])
    return {"match": {"namespace": f"{name}.*", "operations": operations}, "subject": f"{name}.x",
            "payload": payload}


def course(lab, folder, name, dice):
    """A bridge that has published all of what happened, whatever happened to it."""
    with client(lab) as mongo:
        changes = Changes(mongo, name, dice.randrange(1 << 30), tuple(mongo.server_info()["versionArray"]))
        after = now(lab)
        begins_with_snapshot = dice.random() < 0.5
        if begins_with_snapshot:
            changes.run(dice.randrange(40))
            settle(lab)
        start = "snapshot" if begins_with_snapshot else f"{after.time}.{after.inc}"
        whole = configuration(lab, name, source={"start": start}, rule=random_rule(dice, name),
                              redaction={"key": "0123456789abcdef0123456789abcdef"})
        bridge = Bridge(folder, whole)
        with bridge:
            for _ in range(dice.randrange(1, 4)):
                bridge.start()
                if dice.random() < 0.5:
                    bridge.wait_ready()
                changes.run(dice.randrange(10, 70))
                if dice.random() < 0.6:
                    bridge.kill()
                else:
                    # Before it has come to `main`, a signal ends a process as it does any other.
                    assert bridge.terminate() in (0, -signal.SIGTERM)
                changes.run(dice.randrange(30))
                if dice.random() < 0.3:
                    settle(lab)
                    done = tailrace("snapshot", "-c", bridge.file, cwd=folder, seconds=60)
                    assert done.returncode == 0, done.stderr[-2000:]
            settle(lab)
            mongo[name][STEADY].insert_one({"_id": "last"})
            settle(lab)
            assert bridge.run("--until", "now") == 0
        return bridge, begins_with_snapshot


# --- what messages say ---

def body(message):
    return message.json.get("data", message.json) if "specversion" in message.json else message.json


def is_steady(message):
    if "ns" in message.json:
        return message.json["ns"].get("coll") == STEADY
    kind = message.json.get("type") or unquote(message.headers["ce-type"])
    return kind.rsplit(".", 1)[0] == STEADY


def key_of(message):
    return json.dumps(body(message).get("documentKey"), sort_keys=True)


def faults(lab, name, messages, is_whole):
    """Things that can be wrong with one message of the collection that stays: what it is, what replaces
    the message (None: nothing), the class that is found, and whether a report's mismatch is about it."""
    steady = [m for m in messages if is_steady(m)]
    last = {key_of(m): m for m in steady}
    snapshots = [m for m in messages if "Tailrace-Snapshot" in m.headers]
    counts = {}
    for m in steady:
        counts[key_of(m)] = counts.get(key_of(m), 0) + 1
    with client(lab) as mongo:
        there = list(mongo[name][STEADY].find({}, {"_id": 1}))
    texts = {str(document["_id"]) for document in there if isinstance(document["_id"], str | int)}

    def is_there(message):
        """Whether its document is; False also where that can't be told here."""
        key = body(message)["documentKey"]["_id"]
        with_types = json_util.loads(json.dumps(key)) if isinstance(key, dict) else key
        return isinstance(with_types, str | int) and str(with_types) in texts

    def about(message):
        # Of a hashed, nested or typed key, the value itself is somewhere in the name.
        value = body(message)["documentKey"]["_id"]
        while isinstance(value, dict):
            value = next(iter(value.values()))
        return lambda mismatch: str(value) in mismatch["msg_id"] and STEADY in mismatch["msg_id"]

    for key, message in last.items():
        event = body(message)
        if "fullDocument" in event and event["operationType"] != "update" and is_there(message):
            changed = json.loads(message.body)
            inner = changed.get("data", changed) if "specversion" in changed else changed
            inner["fullDocument"]["zz"] = 1
            yield ("a field", message, {"body": json.dumps(changed).encode()}, "payload_mismatch",
                   lambda m, is_it=about(message): is_it(m) and m["pointer"] == "/zz")
            del inner["fullDocument"]["zz"]
            inner["documentKey"]["_id"] = "forged"
            yield ("a key", message, {"body": json.dumps(changed).encode()}, "extra",
                   lambda m: "forged" in m["msg_id"])
            if is_whole and counts[key] == 1:
                yield "a document", message, None, "missing", about(message)
        shown = [m for m in steady if "Tailrace-Snapshot" in m.headers and key_of(m) == key]
        if shown and shown[-1].position[:2] == snapshots[-1].position[:2] and is_there(message) and not any(
                m.sequence > shown[-1].sequence and key_of(m) == key
                and body(m)["operationType"] == "delete" for m in steady):
            yield "a snapshot's message", shown[-1], None, "missing", about(message)
        if event["operationType"] == "delete" and counts[key] == 2:
            yield "a message", message, None, "extra", about(message)


@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
def test_random_courses(lab, jetstream, tmp_path, name, seed):
    dice = random.Random(seed)
    bridge, is_whole = course(lab, tmp_path, name, dice)
    done = tailrace("verify", "--level", "state", "--json", "-c", bridge.file, cwd=tmp_path, seconds=90)
    report = json.loads(done.stdout)
    assert (done.returncode, report["verdict"], found(report)) == (0, "PASS", {}), "\n".join(
        [json.dumps(bridge.configuration["rules"][0]), str(report.get("reasons", report.get("reason"))), *report["notes"],
         *map(str, report["mismatches"][:5])])
    compared = report["counts"]["observed"]
    kinds = {}
    messages = jetstream.messages(name)
    for fault in faults(lab, name, messages, is_whole):
        kinds.setdefault(fault[0], []).append(fault)
    print(f"seed {seed}: {compared} documents, {len(messages)} messages, {sorted(kinds)}")
    if not kinds:
        return
    kind, wrong, change, wanted, is_it = dice.choice(kinds[dice.choice(sorted(kinds))])
    print(f"{kind}: {wrong} becomes {change}")
    rebuild(jetstream, name, lambda ms: [
        m if m.sequence != wrong.sequence else (m, change) for m in ms if m.sequence != wrong.sequence or change])
    # Killed before its first checkpoint, a bridge can't say what rules it published by: no FAIL (docs/verify.md).
    is_proven = "found again" not in (bridge.log.read_text())
    report = state(bridge, "--timeout", "1", code=1 if is_proven else 2)
    if not is_proven:
        assert report["unproven"] and found(report) == {}, f"{kind}: {report}"
        return
    assert found(report).get(wanted) and any(is_it(m) for m in report["mismatches"]), \
        f"{kind}: {wrong.body} {report['mismatches']}"
    # One thing is wrong; a key that is another one's is so twice, where all documents are told.
    assert sum(found(report).values()) <= (2 if kind == "a key" else 1), (kind, report)
