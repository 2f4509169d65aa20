"""Every feature of the shipped example (config/chat.yaml) under every mode of `tailrace verify`, after every
circumstance: a clean run is never called wrong, and one message that is taken away is always named.

EXAMPLE_ROUNDS (1) repeats each circumstance with other changes, EXAMPLE_STEPS (250) makes them longer;
EXAMPLE_SEED is where the seeds begin."""

import json
import os
import random

import pytest
import yaml

from bridge import ROOT, Bridge, tailrace, wait_until
from jetstream import JetStream
from lab import Lab, free_ports
from load import client, now, settle
from test_verify import found, older_than, verify
from test_verify_course import Follower

ROUNDS = int(os.environ.get("EXAMPLE_ROUNDS", "1"))
STEPS = int(os.environ.get("EXAMPLE_STEPS", "250"))
SEED = int(os.environ.get("EXAMPLE_SEED", "1"))
CIRCUMSTANCES = ["fresh", "limits", "kills", "snapshot"]
RULES = {"message-created", "message-edited", "message-deleted", "room", "user", "subscription-created",
         "subscription-changed", "presence"}


def example(lab, **stream):
    """The example as it is shipped, with this lab's servers. `stream`: more settings of CHAT."""
    text = (ROOT / "config" / "chat.yaml").read_text()
    for name, value in {"MONGODB_URI": lab.uri, "NATS_URL": lab.nats_url,
                        "TAILRACE_HTTP": f"127.0.0.1:{free_ports(1)[0]}"}.items():
        start = text.index("${" + name + ":-")
        text = text[:start] + value + text[text.index("}", start) + 1:]
    whole = yaml.safe_load(text)
    whole["streams"][0] |= stream
    return whole


class Chat:
    """Traffic of a chat product that uses everything the example has rules for, and things it has none for."""

    def __init__(self, lab, seed):
        self.lab = lab
        self.dice = random.Random(seed)
        self.serial = 0
        self.messages, self.gone = [], []

    def run(self, steps, between=lambda step: None):
        with client(self.lab) as mongo:
            self.mongo, self.db = mongo, mongo["rocketchat"]
            for step in range(steps):
                self.dice.choices(
                    [self.write, self.edit, self.replace, self.delete, self.again, self.roomless,
                     self.room, self.user, self.subscription, self.presence, self.other,
                     self.transaction],
                    [24, 14, 4, 6, 3, 3, 8, 6, 8, 16, 3, 5])[0]()
                between(step)
            self.large()
            self.write()
        settle(self.lab)

    def message(self, key):
        return {"_id": key, "rid": self.dice.choice(["GENERAL", "a.b", "ä c", "x" * 40]), "msg": "hello",
                "u": {"_id": "u1", "username": "bo"}, "md": [{"type": "PARAGRAPH"}],
                "urls": [{"url": "https://example.org", "parsedUrl": {"host": "example.org"}}],
                "ts": self.serial * 1.5}

    def key(self):
        self.serial += 1
        return f"m{self.serial}"

    def write(self, session=None):
        key = self.key()
        self.db.rocketchat_message.insert_one(self.message(key), session=session)
        self.messages.append(key)

    def some(self):
        return self.dice.choice(self.messages) if self.messages else "none"

    def edit(self, session=None):
        change = self.dice.choice([
            {"$set": {"msg": "edited", "md": [{"type": "HEADING"}]}}, {"$unset": {"urls": ""}},
            {"$push": {"reactions": {"$each": [1, 2], "$slice": -3}}}, {"$set": {"urls.0.url": "#"}},
            {"$set": {"urls.0.parsedUrl": {"host": "other"}}}, {"$set": {"tcount": self.serial}}])
        self.db.rocketchat_message.update_one({"_id": self.some()}, change, session=session)

    def replace(self):
        key = self.some()
        self.db.rocketchat_message.replace_one({"_id": key}, {k: v for k, v in self.message(
            key).items() if k != "_id"})

    def delete(self, session=None):
        key = self.some()
        if key in self.messages:
            self.messages.remove(key)
            self.gone.append(key)
        self.db.rocketchat_message.delete_one({"_id": key}, session=session)

    def again(self):
        """The same key once more: its message's id is taken."""
        if self.gone:
            key = self.gone.pop()
            self.db.rocketchat_message.insert_one(self.message(key))
            self.messages.append(key)

    def roomless(self):
        """No subject can be made: a dead letter."""
        self.db.rocketchat_message.insert_one({"_id": self.key(), "msg": "lost"})

    def large(self):
        """Larger than a message may be: a dead letter."""
        self.db.rocketchat_message.insert_one(self.message(self.key()) | {"msg": "x" * (1 << 20)})

    def room(self):
        rooms, key = self.db.rocketchat_room, f"room{self.dice.randrange(9)}"
        self.dice.choice([
            lambda: rooms.update_one({"_id": key}, {"$set": {"name": "n", "lastMessage": {"msg": "m"}}},
                                     upsert=True),
            lambda: rooms.update_one({"_id": key}, {"$set": {"lastMessage.msg": str(self.serial)}}),
            lambda: rooms.delete_one({"_id": key})])()

    def user(self):
        users, key = self.db.users, f"u{self.dice.randrange(5)}"
        self.dice.choice([
            lambda: users.update_one({"_id": key}, {"$set": {
                "username": "bo", "services": {"password": {"bcrypt": "secret"}}}}, upsert=True),
            lambda: users.update_one({"_id": key}, {"$set": {"active": False, "roles": ["user"]}}),
            lambda: users.update_one({"_id": key}, {"$set": {"services.password.bcrypt": str(self.serial)}}),
            lambda: users.delete_one({"_id": key})])()

    def subscription(self, session=None):
        subscriptions, key = self.db.rocketchat_subscription, f"s{self.dice.randrange(20)}"
        if not subscriptions.update_one({"_id": key}, {"$inc": {"unread": 1}},
                                        session=session).matched_count:
            subscriptions.insert_one({"_id": key, "u": {"_id": "u1"}, "rid": "GENERAL", "unread": 0},
                                     session=session)

    def presence(self):
        sessions, key = self.db.usersSessions, f"u{self.dice.randrange(4)}"
        self.dice.choice([
            lambda: sessions.update_one({"_id": key}, {"$set": {
                "status": "online", "connections": [{"id": 1, "ipAddress": "10.0.0.1"}]}}, upsert=True),
            lambda: sessions.update_one({"_id": key}, {"$push": {"connections": {"ipAddress": "::1"}}}),
            lambda: sessions.delete_one({"_id": key})])()

    def other(self):
        self.db.rocketchat_settings.insert_one({"_id": self.key()})

    def transaction(self):
        with self.mongo.start_session() as session, session.start_transaction():
            for change in self.dice.sample([self.write, self.edit, self.delete, self.subscription], 3):
                change(session=session)


def details(report):
    return [" ".join(str(m[key]) for key in ("class", "msg_id", "position", "stream", "detail"))
            for m in report["mismatches"][:5]]


def position(text):
    return tuple(int(part) for part in text.split("."))


@pytest.mark.parametrize("round_", range(ROUNDS))
@pytest.mark.parametrize("circumstance", CIRCUMSTANCES)
def test_example(tmp_path, circumstance, round_):
    with Lab() as lab:
        jetstream = JetStream(lab.nats_url)
        chat = Chat(lab, SEED + round_)
        with client(lab) as mongo:
            for collection in ("message", "room", "subscription", "settings"):
                mongo.rocketchat.create_collection(f"rocketchat_{collection}")
            for collection in ("users", "usersSessions"):
                mongo.rocketchat.create_collection(collection)
        whole = example(lab, **({"max_msgs": 60} if circumstance == "limits" else {}))
        if circumstance == "snapshot":
            chat.run(STEPS // 4)  # what was there before the bridge
        with Bridge(tmp_path, whole) as bridge:
            if circumstance == "snapshot":
                done = tailrace("snapshot", "-c", bridge.file, cwd=tmp_path, seconds=60)
                assert done.returncode == 0, done.stderr
            bridge.start().wait_ready()
            with Follower(bridge) as follower:
                publish(lab, bridge, chat, circumstance)
                settle_with(lab, bridge, follower)
                code, followed = follower.stop()
            assert code == 0 and followed["verdict"] == "PASS", (followed["reasons"], details(followed))
            assert bridge.terminate() == 0
            judge(lab, jetstream, bridge, circumstance, followed)


def publish(lab, bridge, chat, circumstance):
    if circumstance == "kills":
        at = {STEPS // 4, STEPS // 2, STEPS - 5}

        def between(step):
            if step in at:
                bridge.kill()
                bridge.start()
            if step == STEPS * 5 // 8:
                lab.restart("nats", signal_name="KILL")

        chat.run(STEPS, between)
    elif circumstance == "snapshot":
        chat.run(STEPS // 2)
        assert bridge.terminate() == 0
        done = tailrace("snapshot", "-c", bridge.file, cwd=bridge.folder, seconds=60)
        assert done.returncode == 0, done.stderr
        bridge.start().wait_ready()
        chat.run(STEPS // 2)
    else:
        chat.run(STEPS)


def settle_with(lab, bridge, follower):
    """Waits until the bridge and its follower have come as far as everything written."""
    last = now(lab)
    with client(lab) as mongo:
        mongo.rocketchat.rocketchat_settings.insert_one({"_id": "behind it all"})
    settle(lab)

    def is_done():
        bridge.alive()
        settled = follower.status().get("settled_to")
        return settled and position(settled) >= (last.time, last.inc)

    wait_until(is_done, "all of it followed", 60)


def judge(lab, jetstream, bridge, circumstance, followed):
    readers = ["oplog"] if older_than(lab, 6) else ["oplog", "change_stream"]
    reports = {}
    for reader in readers:
        report = reports[reader] = verify(bridge, "--reader", reader)
        assert report["verdict"] == "PASS", (reader, report["reasons"], details(report))
    report = reports["oplog"]
    # What limits have left may be without a rule that seldom takes anything.
    seen = {rule["name"] for rule in report["rules"] if rule["expected"]}
    assert seen == RULES or (circumstance == "limits" and len(RULES - seen) <= 1)
    streams = {stream["name"]: stream for stream in report["streams"]}
    # What the circumstance is about has come about.
    assert streams["TAILRACE_DLQ"]["observed"] > 0 and report["superseded"] > 0
    assert bool(streams["CHAT"]["held_from"]) == (circumstance == "limits")
    assert (streams["CHAT"]["snapshot"] > 0) == (circumstance == "snapshot")
    for reader in readers[1:]:
        assert reports[reader]["counts"] == report["counts"]
    # Asked for all of it, only what limits may have removed can't be told.
    whole = verify(bridge, "--from", report["from"], code=2 if circumstance == "limits" else 0)
    assert whole["counts"] == report["counts"]
    state(bridge, circumstance)
    # One message less, of the stream of each kind that holds all of its messages.
    for number, (stream, wanted) in enumerate([("CHAT", "gap")]):
        held = [m for m in jetstream.messages(stream) if "Tailrace-Snapshot" not in m.headers]
        jetstream.api(f"STREAM.MSG.DELETE.{stream}", {"seq": held[len(held) // 2].sequence})
        for reader in readers:
            report = verify(bridge, "--reader", reader, code=1)
            assert found(report) == {wanted: number + 1}, details(report)
            assert report["mismatches"][0]["msg_id"] == held[len(held) // 2].headers["Nats-Msg-Id"]


def state(bridge, circumstance):
    """The documents that the messages come to. What can't be compared is said, and nothing is called wrong."""
    done = tailrace("verify", "--json", "--level", "state", "--timeout", "5", "-c", bridge.file,
                    cwd=bridge.folder, seconds=90)
    report = json.loads(done.stdout)
    assert found(report) == {}, details(report)
    # What limits have cut can't be compared, which is said.
    assert report["verdict"] == "PASS" or (circumstance == "limits" and report["reasons"]), report
    return report
