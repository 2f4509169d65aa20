"""The minimal rights on NATS: the bridge works under exactly those that doctor prints, and without any
single one of them doctor and the bridge's health name it."""

import json
import re
import signal

import pytest
from bridge import Bridge, configuration, tailrace, wait_until
from jetstream import JetStream
from lab import Lab
from load import client, make_collections

NAME = "minimal"
CHECKS = ("nats.permissions.inbox", "nats.permissions.api", "nats.permissions.publish",
          "nats.permissions.state")


def user(name, publish, subscribe):
    return (f"{{ user: {name}, password: b, permissions: {{ publish: {{ allow: "
            f"{json.dumps(publish)} }}, subscribe: {{ allow: {json.dumps(subscribe)} }} }} }}")


def accounts(users):
    return ("\naccounts { MAIN { jetstream: enabled, users: [ { user: admin, password: a }, "
            + ", ".join(users) + " ] } }\nno_auth_user: admin\n")


class Rights:
    """A server whose users each lack one right."""

    def __init__(self, lab, folder):
        self.lab, self.folder, self.jetstream = lab, folder, JetStream(lab.nats_url)
        (folder / "order.json").write_text(json.dumps(
            {"properties": {"fullDocument": {"properties": {"valid": {"const": True}}}}}))
        make_collections(lab, NAME)
        self.written = 0
        self.invalid = 0
        # A user who may do nothing learns what is wanted.
        found = self.doctor(self.write("nobody"))
        lacking = next(c for c in found if c["id"] == "nats.permissions.api")
        assert lacking["verdict"] == "fail"
        listed = re.findall(r'"([^"]+)"', lacking["remedy"])
        self.publish, self.subscribe = listed[:-1], listed[-1:]
        users = [user("nobody", ["nothing"], ["_INBOX.>"]),
                 user("whole", self.publish, self.subscribe), user("deaf", self.publish, ["none"])]
        for number, subject in enumerate(self.publish):
            rest = [other for other in self.publish if other != subject]
            users.append(user(f"without{number}", rest, self.subscribe))
        self.reload(users)

    def reload(self, users):
        server = self.lab.nats[0]
        text = server.configuration.read_text()
        server.configuration.write_text(text[:text.index("\naccounts {")] + accounts(users))
        server.process.send_signal(signal.SIGHUP)

    def write(self, name, **stream):
        """A bridge's folder and configuration, as this user."""
        whole = configuration(
            self.lab, NAME, nats={"user": name, "password": "b"},
            rule={"schema": str(self.folder / "order.json"),
                  "match": {"namespace": f"{NAME}.*", "operations": ["insert"]}},
            stream={"consumers": [{"durable_name": "reader", "ack_policy": "explicit"}]} | stream)
        whole["source"]["start"] = "oldest"
        # Each of them is killed, and the next one may not ask whether it still is there.
        whole["bridge"]["lease"] = "1s"
        home = self.folder / name
        home.mkdir(exist_ok=True)
        return Bridge(home, whole)

    def doctor(self, bridge):
        answer = tailrace("doctor", "-c", bridge.file, "--json", seconds=60)
        return json.loads(answer.stdout)["checks"]

    def named(self, bridge, subject):
        """Whether doctor fails, and names the subject."""
        found = [check for check in self.doctor(bridge) if check["verdict"] == "fail"]
        assert any(check["id"] in CHECKS and subject in check["evidence"] for check in found), (
            f"doctor does not name {subject}: {found}")

    def insert(self, valid=True):
        with client(self.lab) as mongo:
            mongo[NAME].rooms.insert_one({"_id": self.written + self.invalid, "valid": valid})
        if valid:
            self.written += 1
        else:
            self.invalid += 1

    def refused(self, bridge, subject, act=lambda: None):
        """Starts a bridge; its health names what it lacks, and does not call it ready."""
        with bridge:
            bridge.start()
            act()
            probe = re.escape(subject).replace(r"\*", "[^.]+").replace(">", ".+")

            def names():
                bridge.alive()
                return re.search(probe, bridge.json("/healthz")[1].get("checks", {}).get(
                    "pipeline", {}).get("detail", ""))

            wait_until(names, f"/healthz names {subject}", 12)
            assert bridge.get("/readyz")[0] == 503
            # It is tried again and again, and logged once.
            wait_until(lambda: bridge.json("/status")[1].get("connection_epoch", 0) >= 4, "four attempts")
            bridge.kill()
        text = bridge.log.read_text()
        # Marks in the metadata are optional, and told of once by themselves.
        told = [line for line in text.splitlines()
                if "Permissions Violation" in line and "metadata can't be written" not in line]
        assert 1 <= len(told) <= 2, text


@pytest.fixture(scope="module")
def rights(tmp_path_factory):
    with Lab(nats_conf=accounts([user("nobody", ["nothing"], ["_INBOX.>"])])) as lab:
        yield Rights(lab, tmp_path_factory.mktemp("rights"))


def test_minimal(rights):
    """First nothing exists, and each stream is refused; then everything is there, and works; then
    each other right is taken away. What was refused is published by whoever may."""
    numbers = {subject: number for number, subject in enumerate(rights.publish)}
    creating = [subject for subject in numbers if ".STREAM.CREATE." in subject]
    assert len(creating) == 3
    # In the order in which they are made, so that each is the first that lacks.
    for subject in sorted(creating, key=lambda s: (NAME not in s.split(".")[-1:], "KV_" in s)):
        bridge = rights.write(f"without{numbers[subject]}")
        rights.named(bridge, subject)
        rights.refused(bridge, subject)

    with rights.write("whole") as bridge:
        bridge.start().wait_ready()
        rights.insert()
        rights.insert(valid=False)
        wait_until(lambda: rights.jetstream.holds(NAME, rights.written), "the message")
        wait_until(lambda: rights.jetstream.holds(f"DLQ_{NAME}", rights.invalid), "the letter")
        wait_until(lambda: rights.jetstream.keys(f"STATE_{NAME}"), "the checkpoint")
        found = rights.doctor(bridge)
        assert {c["id"]: c["verdict"] for c in found if c["id"] in CHECKS} == dict.fromkeys(
            CHECKS, "ok"), found
        # A position is explained by the bridge's own rights.
        ours = ".".join(map(str, rights.jetstream.messages(NAME)[0].position))
        answer = bridge.json(f"/explain?position={ours}")[1]
        assert answer["verdict"] == "ok", answer
        assert bridge.terminate() == 0

    for subject, number in numbers.items():
        if subject in creating:
            continue
        if "CONSUMER.DURABLE" in subject:
            rights.jetstream.api(f"CONSUMER.DELETE.{NAME}.reader")
        changed = {"max_age": "9d"} if f"STREAM.UPDATE.{NAME}" in subject else {}
        bridge = rights.write(f"without{number}", **changed)
        rights.named(bridge, subject)
        act = (lambda: rights.insert(valid=False)) if subject.startswith("dlq_") else rights.insert
        rights.refused(bridge, subject, act)

    deaf = rights.write("deaf")
    rights.named(deaf, "_INBOX.>")
    rights.refused(deaf, "_INBOX.")

    with rights.write("whole") as bridge:
        bridge.start().wait_ready()
        wait_until(lambda: rights.jetstream.holds(NAME, rights.written), "all messages")
        wait_until(lambda: rights.jetstream.holds(f"DLQ_{NAME}", rights.invalid), "all letters")
        assert bridge.terminate() == 0
    assert len(rights.jetstream.messages(NAME)) == rights.written
    assert len(rights.jetstream.messages(f"DLQ_{NAME}")) == rights.invalid
