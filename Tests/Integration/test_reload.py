"""SIGHUP: rules, schemas, `unmatched` and the log level change between two oplog entries, and nothing
else does."""

import json
import os
import random
import signal
import threading
import time

import yaml
from bridge import OPERATIONS, Bridge, configuration, tailrace, wait_until
from faults import seed
from jetstream import JetStream
from lab import Lab
from load import Writer, check, client, expected, make_collections, now
from test_large_transactions import transaction

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "2"))


def rule(name, rule_name, collection="*", **more):
    return {"name": rule_name, "match": {"namespace": f"{name}.{collection}", "operations": OPERATIONS},
            "subject": name + ".{ns.coll}.{operationType}", "stream": name,
            "payload": {"envelope": "cloudevents", "json": "simplified",
                        "exclude": ["fullDocument.x"]}} | more


def variant(name, number):
    """Rules that together take every event once. Names end with the variant's number, so that each
    message says by which it was made; each variant adds, removes, renames and reorders."""
    kinds = [
        [("all", "*")],
        [("messages", "messages"), ("rest", "*")],
        [("rooms", "rooms"), ("users", "users"), ("rest", "*")],
        [("rest", "*"), ("messages", "messages"), ("rooms", "rooms")],
    ]
    return [rule(name, f"{kind}.{number}", collection)
            for kind, collection in kinds[number % len(kinds)]]


class Reloading(Bridge):
    def write(self, **changes):
        self.configuration = self.configuration | changes
        self.file.write_text(yaml.safe_dump(self.configuration, sort_keys=False))

    def hang_up(self):
        self.process.send_signal(signal.SIGHUP)

    def reload(self, **changes):
        self.write(**changes)
        self.hang_up()

    def status(self):
        return self.json("/status")[1]

    def version(self):
        return (self.status().get("rule_set") or {}).get("version")

    def reloads(self):
        """How often, by result."""
        prefix = "tailrace_reloads_total{result=\""
        return {line[len(prefix):].split('"')[0]: float(line.split()[-1])
                for line in self.get("/metrics")[1].splitlines() if line.startswith(prefix)}

    def wait_version(self, number, seconds=120):
        wait_until(lambda: self.alive() and self.version() == number, f"rule set {number}", seconds)

    def connections(self):
        """(own port, other side's port) of every connection that the process has made."""
        inodes = set()
        for descriptor in os.listdir(f"/proc/{self.process.pid}/fd"):
            try:
                link = os.readlink(f"/proc/{self.process.pid}/fd/{descriptor}")
            except OSError:
                continue
            if link.startswith("socket:["):
                inodes.add(link[8:-1])
        found = set()
        for line in open("/proc/net/tcp").readlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and fields[3] == "01":
                found.add(tuple(int(address.split(":")[1], 16) for address in fields[1:3]))
        return found


def start(lab, folder, name, **changes):
    """At variant 0."""
    bridge = Reloading(folder, configuration(lab, name, **changes) | {"rules": variant(name, 0)})
    return bridge


def made_by(message):
    return int(message.headers["Tailrace-Rule"].split(".")[1])


def whole_and_in_order(messages):
    """Each entry by one set of rules, and later entries by the same or a later one."""
    last, entry = 0, None
    for message in messages:
        number = made_by(message)
        assert number >= last, f"{message.position} is by rules {number}, after {last}"
        if message.position[:2] == entry:
            assert number == last, f"{entry} is by rules {last} and {number}"
        last, entry = number, message.position[:2]
    return last


def load_until_stopped(lab, name):
    """Large transactions beside everything else."""
    asked = threading.Event()

    def write():
        number = 0
        with client(lab) as mongo:
            while not asked.is_set():
                number += 1
                transaction(mongo, mongo[name], f"t{number}", 40, large=34)
                asked.wait(0.2)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()

    def stop():
        asked.set()
        thread.join(120)

    return stop


def reload_under_load(lab, folder, name, **changes):
    dice = random.Random(seed())
    make_collections(lab, name)
    jetstream = JetStream(lab.nats_url)
    with start(lab, folder, name, **changes) as bridge:
        bridge.start().wait_ready()
        after = now(lab)
        nats = int(lab.nats_url.split(":")[-1].split(",")[0])
        stop = load_until_stopped(lab, name)
        with Writer(lab, name, dice.random(), rate=500):
            wait_until(lambda: jetstream.last_sequence(name), "the first messages", 120)
            before = bridge.connections()
            for number in range(1, 7):
                time.sleep(dice.uniform(0.2, 1.0))
                bridge.reload(rules=variant(name, number))
                bridge.wait_version(number + 1)
            kept = {pair for pair in before if pair[1] == nats}
            assert kept and kept <= bridge.connections(), "NATS was connected again"
            # With the others to MongoDB: reader and monitor.
            assert len(before & bridge.connections()) >= len(before) - 1
            time.sleep(1)
            stop()
        check(lab, jetstream, name, name, after, seconds=120)
        assert whole_and_in_order(jetstream.messages(name)) == 6
        status = bridge.status()
        assert status["reload"]["result"] == "applied" and not status["reload"]["errors"]
        assert status["config_hash"] == status["rule_set"]["config_hash"]
        assert bridge.reloads()["applied"] == 6
        # Of rules that are gone, too.
        assert status["events_derived"] == sum(status["outcomes"].values())
        wait_until(lambda: bridge.status()["checkpoint"]["configuration"] == status["config_hash"],
                   "the checkpoint has it", 60)
        assert bridge.terminate() == 0
    report = verify(bridge)
    assert report["verdict"] == "INCONCLUSIVE", report
    since = [reason for reason in report["reasons"] if "another configuration" in reason]
    assert since, report
    report = verify(bridge, "--from", since[0].split("--from ")[1])
    assert report["verdict"] == "PASS", report


def verify(bridge, *arguments):
    run = tailrace("verify", "-c", bridge.file, "--json", *arguments, seconds=300)
    return json.loads(run.stdout)


def test_reload_under_load(tmp_path, name):
    with Lab() as lab:
        reload_under_load(lab, tmp_path, name)


def test_reload_under_load_with_a_change_stream(tmp_path, name):
    with Lab() as lab:
        reload_under_load(lab, tmp_path, name, source={"reader": "change_stream"})


def test_reload_and_kill(tmp_path, name):
    """Whatever a kill at any moment of a reload leaves, the next start resumes with the file's rules."""
    with Lab() as lab:
        dice = random.Random(seed())
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        with start(lab, tmp_path, name) as bridge:
            bridge.start().wait_ready()
            after = now(lab)
            stop = load_until_stopped(lab, name)
            with Writer(lab, name, dice.random(), rate=500):
                wait_until(lambda: jetstream.last_sequence(name), "the first messages", 120)
                for number in range(1, 3 + 2 * ROUNDS):
                    time.sleep(dice.uniform(0.1, 1.0))
                    bridge.reload(rules=variant(name, number))
                    time.sleep(dice.choice([0, 0.02, 0.1, 0.3]) * dice.random())
                    bridge.kill()
                    bridge.start()
                    if dice.random() < 0.5:
                        bridge.wait_ready(120)
                stop()
            bridge.wait_ready(120)
            check(lab, jetstream, name, name, after, seconds=180)
            assert bridge.terminate() == 0


def test_several_signals_at_once(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with start(lab, tmp_path, name) as bridge:
        bridge.start().wait_ready()
        after = now(lab)
        with Writer(lab, name, 1, rate=500):
            for number in range(1, 30):
                bridge.reload(rules=variant(name, number))
                if number % 7 == 0:
                    time.sleep(0.1)
            last = {one["name"] for one in variant(name, 29)}
            wait_until(lambda: {one["name"] for one in bridge.status()["rules"]} == last
                       and bridge.status()["reload"]["result"] != "pending", "the last file", 120)
            time.sleep(0.5)
        check(lab, jetstream, name, name, after, seconds=120)
        assert whole_and_in_order(jetstream.messages(name)) == 29
        assert bridge.terminate() == 0


def test_reload_while_nats_is_down(tmp_path, name):
    with Lab() as lab:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        with start(lab, tmp_path, name) as bridge:
            bridge.start().wait_ready()
            after = now(lab)
            with Writer(lab, name, 1, rate=500):
                wait_until(lambda: jetstream.last_sequence(name), "the first messages", 120)
                lab.kill("nats")
                wait_until(lambda: bridge.json("/healthz")[1]["checks"]["nats"]["status"] != "ok",
                           "the loss of NATS", 60)
                bridge.reload(rules=variant(name, 1))
                wait_until(lambda: (bridge.status()["reload"] or {}).get("result") == "pending",
                           "the reload waits", 60)
                time.sleep(0.5)
                assert bridge.version() == 1
                lab.start("nats")
                bridge.wait_version(2)
                time.sleep(0.5)
            check(lab, jetstream, name, name, after, seconds=120)
            assert whole_and_in_order(jetstream.messages(name)) == 1
            assert bridge.terminate() == 0


def test_a_snapshot_ends_with_the_rules_that_it_began_with(tmp_path, name):
    with Lab() as lab:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        documents = 60_000
        with client(lab) as mongo:
            mongo[name].rooms.insert_many({"_id": number, "text": "t" * 200}
                                          for number in range(documents))
        with start(lab, tmp_path, name, source={"start": "snapshot"}) as bridge:
            bridge.start()
            wait_until(lambda: bridge.alive() and (bridge.status().get("snapshot") or {}), "a snapshot", 120)
            bridge.reload(rules=variant(name, 1))
            bridge.wait_version(2)
            insert(lab, name, "messages", "later")
            wait_until(lambda: jetstream.holds(name, documents + 1), "all documents", 120)
            messages = jetstream.messages(name)
            of_snapshot = [made_by(one) for one in messages if "Tailrace-Snapshot" in one.headers]
            assert of_snapshot == [0] * documents
            assert [made_by(one) for one in messages if "Tailrace-Snapshot" not in one.headers] == [1]
            log = bridge.log.read_text()
            places = [log.index(text) for text in
                      ("is read again", "the snapshot is finished", "the rules have changed")]
            assert places == sorted(places)
            assert bridge.terminate() == 0


def insert(lab, name, collection, key, **fields):
    with client(lab) as mongo:
        mongo[name][collection].insert_one({"_id": key} | fields)


def subjects(jetstream, stream):
    return [message.subject for message in jetstream.messages(stream)]


def test_a_faulty_file_changes_nothing(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with start(lab, tmp_path, name) as bridge:
        bridge.start().wait_ready()
        good = bridge.file.read_text()
        bridge.file.write_text(good.replace("match:", "metch:") + "surplus: 1\n")
        bridge.hang_up()
        wait_until(lambda: bridge.json("/healthz")[1]["status"] == "degraded", "degraded", 60)
        code, health = bridge.json("/healthz")
        assert code == 200 and health["checks"]["pipeline"]["status"] == "degraded"
        assert "metch" in health["checks"]["pipeline"]["detail"]
        status = bridge.status()
        assert status["reload"]["result"] == "failed" and len(status["reload"]["errors"]) >= 2
        assert any("tailrace.yaml:" in error and "surplus" in error
                   for error in status["reload"]["errors"])
        assert "surplus" in bridge.tail() and bridge.version() == 1
        assert bridge.metric("tailrace_config_last_reload_successful") == 0
        insert(lab, name, "rooms", "a")
        wait_until(lambda: jetstream.holds(name, 1), "the old rules go on", 60)
        bridge.file.unlink()
        bridge.hang_up()
        wait_until(lambda: bridge.reloads()["failed"] == 2, "no file", 60)
        bridge.file.write_text(good)
        bridge.hang_up()
        wait_until(lambda: bridge.json("/healthz")[1]["status"] in ("ok", "idle"), "healthy", 60)
        assert bridge.status()["reload"]["result"] == "unchanged" and bridge.version() == 1
        assert bridge.metric("tailrace_config_last_reload_successful") == 1
        assert bridge.terminate() == 0


def test_what_can_t_change_is_named(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with start(lab, tmp_path, name) as bridge:
        bridge.start().wait_ready()
        old = bridge.configuration
        other = {"name": f"{name}_2", "subjects": [f"{name}_2.>"]}
        cases = [
            ("nats.name", {"nats": old["nats"] | {"name": "other"}}),
            ("log.format", {"log": old["log"] | {"format": "json"}}),
            ("bridge.checkpoint_interval", {"bridge": old["bridge"] | {"checkpoint_interval": "2s"}}),
            ("streams[0].max_age", {"streams": [old["streams"][0] | {"max_age": "1d"}]}),
            # A stream is made at a start.
            ("streams[1].name", {
                "streams": [*old["streams"], other],
                "rules": [rule(name, "new", stream=other["name"], subject=f"{name}_2.x")]}),
        ]
        for count, (key, changes) in enumerate(cases, 1):
            bridge.reload(**({"rules": variant(name, 1)} | changes))
            wait_until(lambda: bridge.reloads()["refused"] == count, f"{key} is refused", 60)
            errors = bridge.status()["reload"]["errors"]
            assert len(errors) == 1 and f": {key} can't change" in errors[0], errors
            line = int(errors[0].split(":")[1])
            word = key.split(".")[-1]
            assert word in bridge.file.read_text().splitlines()[line - 1], (key, errors)
            assert bridge.version() == 1
            bridge.configuration = old
        assert bridge.json("/healthz")[1]["status"] == "degraded"
        insert(lab, name, "rooms", "a")
        wait_until(lambda: jetstream.holds(name, 1), "the old rules go on", 60)
        assert [made_by(message) for message in jetstream.messages(name)] == [0]
        bridge.reload(rules=variant(name, 1))
        bridge.wait_version(2)
        wait_until(lambda: bridge.json("/healthz")[1]["status"] in ("ok", "idle"), "healthy", 60)
        assert bridge.terminate() == 0


def test_schemas_unmatched_and_log_level(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    letters = f"DLQ_{name}"
    schema = tmp_path / "rooms.json"
    schema.write_text(json.dumps({"properties": {"fullDocument": {"required": ["a"]}}}))
    only_rooms = [rule(name, "rooms", "rooms", schema="rooms.json")]
    with Reloading(tmp_path, configuration(lab, name) | {"rules": only_rooms}) as bridge:
        bridge.start().wait_ready()
        insert(lab, name, "rooms", 1, a=1)
        insert(lab, name, "users", 1)
        wait_until(lambda: bridge.status()["outcomes"]["unmatched"] == 1
                   and jetstream.holds(name, 1), "before", 60)
        # The same file, with another schema in it.
        schema.write_text(json.dumps({"properties": {"fullDocument": {"required": ["b"]}}}))
        bridge.hang_up()
        bridge.wait_version(2)
        insert(lab, name, "rooms", 2, a=1)
        wait_until(lambda: jetstream.holds(letters, 1), "a dead letter by the new schema", 60)
        bridge.reload(unmatched="dead_letter")
        bridge.wait_version(3)
        insert(lab, name, "users", 2)
        wait_until(lambda: jetstream.holds(letters, 2), "a dead letter of an unmatched event", 60)
        bridge.reload(log={"level": "error", "format": "text"})
        wait_until(lambda: bridge.reloads()["unchanged"] == 1, "the level alone", 60)
        assert bridge.version() == 3
        size = bridge.log.stat().st_size
        bridge.reload(unmatched="ignore")
        bridge.wait_version(4)
        assert bridge.log.stat().st_size == size, "notices are logged at level error"
        bridge.reload(log={"level": "info", "format": "text"}, unmatched="dead_letter")
        bridge.wait_version(5)
        wait_until(lambda: "the rules have changed" in bridge.log.read_bytes()[size:].decode(),
                   "the log says so again", 60)
        insert(lab, name, "rooms", 3, b=1)
        wait_until(lambda: jetstream.holds(name, 2), "a valid one", 60)
        assert bridge.terminate() == 0


def test_dry_run_keeps_its_configuration(lab, tmp_path, name):
    make_collections(lab, name)
    with start(lab, tmp_path, name) as bridge:
        bridge.start("--dry-run", "--from", "now", "--json", "--follow")
        wait_until(lambda: bridge.log.read_bytes().count(b"\n") > 2, "the first lines", 120)
        bridge.reload(rules=variant(name, 1))
        wait_until(lambda: b"keeps the configuration" in bridge.log.read_bytes(), "a note", 60)
        insert(lab, name, "rooms", 1)
        wait_until(lambda: b"1 event" in bridge.log.read_bytes(), "the event", 120)
        bridge.terminate()
        report = bridge.log.read_text()
        assert '"all.0"' in report and '"messages.1"' not in report


def test_a_start_with_other_rules_after_a_kill(tmp_path, name):
    """No reload: the file is changed while the bridge is dead."""
    with Lab() as lab:
        dice = random.Random(seed())
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        # A long interval leaves much behind the checkpoint.
        with start(lab, tmp_path, name, bridge={"checkpoint_interval": "30s"}) as bridge:
            bridge.start().wait_ready()
            after = now(lab)
            with Writer(lab, name, dice.random(), rate=1000):
                for number in range(1, 2 + ROUNDS):
                    time.sleep(dice.uniform(0.5, 1.5))
                    bridge.kill()
                    bridge.write(rules=variant(name, number))
                    bridge.start().wait_ready(120)
            truth = len(expected(lab, name, after))
            check(lab, jetstream, name, name, after, seconds=180)
            print(f"{truth} events")
            assert "are looked up" in bridge.log.read_text()
            assert bridge.terminate() == 0


def test_events_change_their_stream_while_the_bridge_is_dead(tmp_path, name):
    """Which stream an event belongs to changes with each start, and so do names and order of the rules;
    the streams end at different places. Each event is in one stream, once."""
    with Lab() as lab:
        dice = random.Random(seed())
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        both = [f"{name}_a", f"{name}_b"]

        def moved(number):
            first, second = both if number % 2 else reversed(both)
            rules = [
                rule(name, f"messages.{number}", "messages", stream=first,
                     subject=first + ".{ns.coll}.{operationType}"),
                rule(name, "always", "rooms", stream=second,
                     subject=second + ".{ns.coll}.{operationType}"),
                rule(name, f"rest.{number % 3}", stream=first,
                     subject=first + ".{ns.coll}.{operationType}"),
            ]
            return rules if number % 3 else [rules[1], rules[0], rules[2]]

        with Reloading(tmp_path, configuration(
                lab, name, bridge={"checkpoint_interval": "30s"}) | {
                    "streams": [{"name": one, "subjects": [f"{one}.>"], "duplicate_window": "1s"}
                                for one in both],
                    "rules": moved(0)}) as bridge:
            bridge.start().wait_ready()
            after = now(lab)
            with Writer(lab, name, dice.random(), rate=1000):
                for number in range(1, 4 + ROUNDS):
                    time.sleep(dice.uniform(0.5, 1.5))
                    bridge.kill()
                    bridge.write(rules=moved(number))
                    time.sleep(dice.uniform(0, 0.3))
                    bridge.start()
                    if dice.random() < 0.7:
                        bridge.wait_ready(120)
            truth = [event.position for event in expected(lab, name, after)]
            wait_until(lambda: sum(jetstream.state(one)["messages"] for one in both) >= len(truth),
                       "all events", 180)
            found = sorted(message.position for one in both for message in jetstream.messages(one))
            doubled = len(found) - len(set(found))
            lost = set(truth) - set(found)
            assert not doubled and not lost, f"{doubled} doubled, {len(lost)} lost of {len(truth)}"
            assert found == truth
            status = bridge.status()
            assert status["events_derived"] == sum(status["outcomes"].values())
            assert bridge.terminate() == 0
