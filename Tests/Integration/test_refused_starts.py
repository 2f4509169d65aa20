"""Whatever ends a start with 69, 75 or 78, `doctor` says before: in the same words, with a remedy. Once
that is applied, both are content."""

import json
import re
import socket
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Callable

import pytest
from bridge import Bridge, configuration, tailrace, wait_until
from jetstream import JetStream
from lab import Lab
from load import client, make_collections, now
from test_oplog_rolled_over import SMALL, roll_over


class Situation:
    """One bridge's configuration, and the servers as a case finds them."""

    def __init__(self, lab, jetstream, folder, name, stack):
        self.lab, self.jetstream, self.folder, self.name = lab, jetstream, folder, name
        self.stack = stack
        self.changes = {}
        self.foreign = f"FOREIGN_{name}"

    def create(self, stream, **settings):
        self.jetstream.api(f"STREAM.CREATE.{stream}", {"name": stream} | settings)

    def consumer(self, consumer, **settings):
        self.jetstream.api(f"CONSUMER.DURABLE.CREATE.{self.name}.{consumer}", {
            "stream_name": self.name, "config": {"durable_name": consumer} | settings})

    def remove_consumer(self, consumer):
        self.jetstream.api(f"CONSUMER.DELETE.{self.name}.{consumer}")

    def bridge(self):
        return Bridge(self.folder, configuration(
            self.lab, self.name, **json.loads(json.dumps(self.changes))))

    def doctor(self):
        with self.bridge() as bridge:
            done = tailrace("doctor", "-c", bridge.file, "--json", seconds=60)
        checks = json.loads(done.stdout)["checks"]
        failed = [check for check in checks if check["verdict"] == "fail"]
        assert done.returncode == bool(failed)
        return failed

    def run(self, *more):
        with self.bridge() as bridge:
            bridge.log.unlink(missing_ok=True)
            return bridge.run("--until", "now", "--no-wait", *more), bridge.log.read_text()

    def live(self):
        """A first life of the bridge, with some messages."""
        with self.bridge() as bridge:
            bridge.start().wait_ready()
            with client(self.lab) as mongo:
                mongo[self.name].rooms.insert_many([{"_id": row} for row in range(5)])
            wait_until(lambda: self.jetstream.holds(self.name, 5), "five messages")
            assert bridge.terminate() == 0

    def stream(self, **settings):
        self.changes["stream"] = settings

    def differ(self, letters=True, **settings):
        """What a start would change and make, were it not refused."""
        self.stream(max_msgs=1_000_000, consumers=[
            {"durable_name": "wanted", "ack_policy": "explicit"}], **settings)
        if letters:
            self.changes["dead_letter"] = {"stream": f"DLQ_{self.name}_2", "subject": f"dlq_{self.name}_2.x"}

    def consumers(self, *consumers):
        self.stream(consumers=list(consumers))


@dataclass
class Case:
    code: int
    check: str  # the id that doctor fails with; {n}: the test's name
    words: str  # in doctor's evidence and in what run says
    before: Callable
    repair: Callable
    options: tuple = field(default=())


CASES = {
    "data_overlap": Case(
        78, "nats.stream.{n}", "{n}.> with stream FOREIGN_{n}",
        lambda s: s.create(s.foreign, subjects=[f"{s.name}.rooms.insert"]),
        lambda s: s.jetstream.delete_stream(s.foreign)),
    "letters_overlap": Case(
        78, "nats.stream.DLQ_{n}", "with stream FOREIGN_{n}",
        lambda s: s.create(s.foreign, subjects=[f"dlq_{s.name}.>"]),
        lambda s: s.jetstream.delete_stream(s.foreign)),
    "second_stream_overlaps": Case(
        78, "nats.stream.{n}_2", "with stream FOREIGN_{n}",
        lambda s: (s.create(s.foreign, subjects=[f"{s.name}_2.x"]), s.changes.update(streams=[
            {"name": s.name, "subjects": [f"{s.name}.>"],
             "consumers": [{"durable_name": "c", "ack_policy": "explicit"}]},
            {"name": f"{s.name}_2", "subjects": [f"{s.name}_2.>"]}])),
        lambda s: s.jetstream.delete_stream(s.foreign)),
    "added_subject_overlaps": Case(
        78, "nats.stream.{n}", "{n}.b.*.> with stream FOREIGN_{n}",
        lambda s: (s.create(s.name, subjects=[f"{s.name}.*.*"]),
                   s.create(s.foreign, subjects=[f"{s.name}.b.c.d"]),
                   s.stream(subjects=[f"{s.name}.*.*", f"{s.name}.b.*.>"])),
        lambda s: s.jetstream.delete_stream(s.foreign)),
    "letters_subject_added_overlaps": Case(
        78, "nats.stream.DLQ_{n}", "with stream FOREIGN_{n}",
        lambda s: (s.create(f"DLQ_{s.name}", subjects=[f"other_{s.name}"]),
                   s.create(s.foreign, subjects=[f"dlq_{s.name}.*"])),
        lambda s: s.jetstream.delete_stream(s.foreign)),
    "bucket_overlap": Case(
        78, "nats.bucket.STATE_{n}", "with stream FOREIGN_{n}",
        lambda s: s.create(s.foreign, subjects=[f"$KV.STATE_{s.name}.*.*"]),
        lambda s: s.jetstream.delete_stream(s.foreign)),
    "no_bucket": Case(
        78, "nats.bucket.STATE_{n}", "it is no bucket",
        lambda s: s.create(f"KV_STATE_{s.name}", subjects=[f"elsewhere.{s.name}"]),
        lambda s: s.changes.update(bridge={"state_bucket": f"STATE_{s.name}_{s.name}"})),
    "bucket_forgets": Case(
        78, "nats.bucket.STATE_{n}", "its retention is interest",
        lambda s: s.create(
            f"KV_STATE_{s.name}", subjects=[f"$KV.STATE_{s.name}.>"], retention="interest"),
        lambda s: s.jetstream.delete_stream(f"KV_STATE_{s.name}")),
    "bucket_without_acks": Case(
        78, "nats.bucket.STATE_{n}", "no_ack is set",
        lambda s: s.create(
            f"KV_STATE_{s.name}", subjects=[f"$KV.STATE_{s.name}.>"], no_ack=True),
        lambda s: s.jetstream.delete_stream(f"KV_STATE_{s.name}")),
    "consumer_ack_policy": Case(
        78, "nats.consumer.{n}.c", "it has ack_policy: explicit",
        lambda s: (s.create(s.name, subjects=[f"{s.name}.>"]),
                   s.consumer("c", ack_policy="explicit"),
                   s.consumers({"durable_name": "c", "ack_policy": "none"})),
        lambda s: s.consumers({"durable_name": "c", "ack_policy": "explicit"})),
    "consumer_deliver_policy": Case(
        78, "nats.consumer.{n}.c", "it has deliver_policy: all",
        lambda s: (s.create(s.name, subjects=[f"{s.name}.>"]),
                   s.consumer("c", ack_policy="explicit", deliver_policy="all"),
                   s.consumers({"durable_name": "c", "deliver_policy": "new"})),
        lambda s: s.remove_consumer("c")),
    "consumer_start_time": Case(
        78, "nats.consumer.{n}.c", "it has opt_start_time: 2020-01-01",
        lambda s: (s.create(s.name, subjects=[f"{s.name}.>"]),
                   s.consumer("c", ack_policy="explicit", deliver_policy="by_start_time",
                              opt_start_time="2020-01-01T00:00:00Z"),
                   s.consumers({"durable_name": "c", "ack_policy": "explicit",
                                "deliver_policy": "by_start_time",
                                "opt_start_time": "2021-01-01T00:00:00Z"})),
        lambda s: s.remove_consumer("c")),
    "consumer_pushes": Case(
        78, "nats.consumer.{n}.c", "it has deliver_subject: none",
        lambda s: (s.create(s.name, subjects=[f"{s.name}.>"]),
                   s.consumer("c", ack_policy="explicit"),
                   s.consumers({"durable_name": "c", "ack_policy": "explicit",
                                "deliver_subject": f"pushed.{s.name}"})),
        lambda s: s.remove_consumer("c")),
    "consumer_of_the_servers_refusal": Case(
        78, "nats.consumer.{n}.c", "PriorityGroup",
        lambda s: (s.create(s.name, subjects=[f"{s.name}.>"]),
                   s.consumers({"durable_name": "c", "ack_policy": "explicit",
                                "priority_policy": "overflow"})),
        lambda s: s.consumers({"durable_name": "c", "ack_policy": "explicit",
                               "priority_policy": "overflow", "priority_groups": ["a"]})),
    "consumer_changed_into_contradiction": Case(
        78, "nats.consumer.{n}.c", "backoff",
        lambda s: (s.create(s.name, subjects=[f"{s.name}.>"]),
                   s.consumer("c", ack_policy="explicit", max_deliver=2),
                   s.consumers({"durable_name": "c", "backoff": ["1s", "2s", "3s"]})),
        lambda s: s.consumers({"durable_name": "c", "backoff": ["1s"]})),
    "consumers_of_a_work_queue": Case(
        78, "nats.consumer.{n}.d", "consumer c takes subjects of this one",
        lambda s: s.stream(retention="workqueue", consumers=[
            {"durable_name": "c", "ack_policy": "explicit"},
            {"durable_name": "d", "ack_policy": "explicit", "filter_subject": f"{s.name}.rooms.>"}]),
        lambda s: s.stream(retention="workqueue", consumers=[
            {"durable_name": "c", "ack_policy": "explicit", "filter_subject": f"{s.name}.users.>"},
            {"durable_name": "d", "ack_policy": "explicit",
             "filter_subject": f"{s.name}.rooms.>"}])),
    "too_many_consumers": Case(
        78, "nats.stream.{n}", "max_consumers is 1",
        lambda s: s.stream(max_consumers=1, consumers=[
            {"durable_name": "c", "ack_policy": "explicit"},
            {"durable_name": "d", "ack_policy": "explicit"}]),
        lambda s: s.stream(max_consumers=2, consumers=[
            {"durable_name": "c", "ack_policy": "explicit"},
            {"durable_name": "d", "ack_policy": "explicit"}])),
    "settings_changed_into_contradiction": Case(
        78, "nats.stream.{n}", "duplicates window",
        lambda s: (s.create(s.name, subjects=[f"{s.name}.>"], max_age=60_000_000_000,
                            duplicate_window=60_000_000_000),
                   s.stream(duplicate_window="10m")),
        lambda s: s.stream(duplicate_window="1m")),
    "replicas": Case(
        78, "nats.stream.{n}", "num_replicas is 3",
        lambda s: s.stream(num_replicas=3), lambda s: s.stream(num_replicas=1)),
    "no_ack": Case(
        78, "nats.stream.{n}", "no_ack is set",
        lambda s: s.create(s.name, subjects=[f"{s.name}.>"], no_ack=True),
        lambda s: s.stream(no_ack=False)),
    "storage": Case(
        78, "nats.stream.{n}", "it has storage: file",
        lambda s: (s.create(s.name, subjects=[f"{s.name}.>"], storage="file"),
                   s.stream(storage="memory")),
        lambda s: s.stream(storage="file")),
    "deny_delete": Case(
        78, "nats.stream.{n}", "it has deny_delete: true",
        lambda s: (s.create(s.name, subjects=[f"{s.name}.>"], deny_delete=True),
                   s.stream(deny_delete=False)),
        lambda s: s.stream(deny_delete=True)),
    "sealed_letters": Case(
        78, "nats.stream.DLQ_{n}", "it is sealed",
        lambda s: (s.create(f"DLQ_{s.name}", subjects=[f"dlq_{s.name}.*"]),
                   s.jetstream.api(f"STREAM.UPDATE.DLQ_{s.name}", s.jetstream.config(
                       f"DLQ_{s.name}") | {"sealed": True})),
        lambda s: s.jetstream.delete_stream(f"DLQ_{s.name}")),
    "chain_on_a_shared_stream": Case(
        78, "nats.stream.{n}", "publish: chain works only",
        lambda s: s.stream(publish="chain", ownership="shared"),
        lambda s: s.stream(publish="auto", ownership="shared")),
    "another_bridges": Case(
        78, "nats.stream.{n}", "belongs to bridge other alone",
        lambda s: s.create(
            s.name, subjects=[f"{s.name}.>"], metadata={"tailrace-bridge": "other"}),
        lambda s: s.stream(ownership="shared")),
    "sequences_without_end": Case(
        78, "nats.stream.{n}", "sequences above 2^63 are not supported",
        lambda s: s.create(s.name, subjects=[f"{s.name}.>"], first_seq=2**63 + 5),
        lambda s: s.jetstream.delete_stream(s.name)),
    "start_before_the_oplog": Case(
        75, "mongodb.start", "the oplog no longer holds 1000000000.1",
        lambda s: s.changes.update(source={"start": "1000000000.1"}),
        lambda s: s.changes.update(source={"start": "oldest"})),
    "other_source": Case(
        78, "bridge.place", "belongs to source rs0, not elsewhere",
        lambda s: (s.live(), s.differ(), s.changes.update(source={"name": "elsewhere"})),
        lambda s: s.changes.update(source={"name": "rs0"})),
    "unreadable_checkpoint": Case(
        75, "bridge.place", "once it is deleted, the resume position is found again",
        lambda s: (s.live(), s.differ(letters=False),
                   s.jetstream.put(f"STATE_{s.name}", f"{s.name}.checkpoint", b"{")),
        lambda s: s.jetstream.delete_stream(f"KV_STATE_{s.name}")),
    "lost_checkpoint_of_an_empty_stream": Case(
        75, "bridge.place", "no longer holds the bridge's last message",
        lambda s: (s.live(), s.jetstream.delete_stream(f"KV_STATE_{s.name}"),
                   s.jetstream.api(f"STREAM.PURGE.{s.name}"),
                   s.differ(letters=False, on_loss="halt")),
        lambda s: s.stream(on_loss="halt"),
        options=("--from", "now", "--force")),
    "lost_stream": Case(
        75, "bridge.place", "lost acknowledged messages: it does not exist, and 5 was acknowledged. "
        "Nothing is published to it until on_loss says",
        lambda s: (s.live(), s.jetstream.delete_stream(s.name), s.stream(on_loss="halt")),
        lambda s: s.stream(on_loss="refill")),
    "lost_checkpoint_and_stream": Case(
        75, "bridge.place", "nothing proves that stream {n}, which does not exist, never held",
        lambda s: (s.live(), s.jetstream.delete_stream(f"KV_STATE_{s.name}"),
                   s.jetstream.delete_stream(s.name)),
        lambda s: None, options=("--from", "oldest", "--force")),
    "messages_that_name_no_bridge": Case(
        75, "bridge.place", "name no bridge",
        lambda s: (s.create(s.name, subjects=[f"{s.name}.>"]), s.differ(ownership="shared"),
                   s.jetstream.publish(f"{s.name}.rooms.insert", b"{}", {
                       "Nats-Msg-Id": "rs0:1.1.0", "Tailrace-Position": "1.1.0",
                       "Tailrace-Rule": "all"})),
        lambda s: None, options=("--from", "now", "--force")),
    "mongodb_is_elsewhere": Case(
        69, "mongodb.reachable", "127.0.0.1:1",
        lambda s: s.changes.update(source={"uri": "mongodb://127.0.0.1:1/?replicaSet=rs0"}),
        lambda s: s.changes.pop("source")),
    "another_set": Case(
        69, "mongodb.replica_set", "No suitable servers found",
        lambda s: s.changes.update(source={"uri": s.lab.uri.replace("rs0", "rs1")}),
        lambda s: s.changes.pop("source")),
    "nats_is_elsewhere": Case(
        69, "nats.reachable", "127.0.0.1:1",
        lambda s: s.changes.update(nats={"servers": ["nats://127.0.0.1:1"]}),
        lambda s: s.changes.pop("nats")),
    "port": Case(
        69, "http.listen", "the port is taken",
        lambda s: take_port(s), lambda s: s.taken.close()),
    "address": Case(
        69, "http.listen", "this machine does not have that address",
        lambda s: s.changes.update(http={"listen": "192.0.2.1:8080"}),
        lambda s: s.changes.pop("http")),
}


def take_port(s):
    s.taken = s.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    s.changes["http"] = {"listen": f"127.0.0.1:{s.taken.getsockname()[1]}"}


@pytest.fixture
def name(request):
    """Short enough for all that is called by it."""
    return "rs_" + re.sub(r"\W+", "_", request.node.name)[5:].strip("_")[:45]


@pytest.mark.parametrize("case", CASES)
def test_refused_start(lab, jetstream, tmp_path, name, case):
    case = CASES[case]
    make_collections(lab, name)
    with ExitStack() as stack:
        s = Situation(lab, jetstream, tmp_path, name, stack)
        case.before(s)
        words = case.words.replace("{n}", name)
        before = jetstream.everything()
        found = s.doctor()
        assert [check["id"] for check in found] == [case.check.replace("{n}", name)], found
        assert words in found[0]["evidence"], found
        assert found[0]["remedy"], found
        assert jetstream.everything() == before, "doctor makes nothing"
        code, log = s.run()
        assert code == case.code, log
        assert words in log, log
        assert jetstream.everything() == before, "a start that is refused makes and changes nothing"
        case.repair(s)
        if not case.options:
            assert s.doctor() == []
        code, log = s.run(*case.options)
        assert code == 0, log
        assert s.doctor() == []


@pytest.mark.parametrize("reader", ["oplog", "change_stream"])
def test_rolled_over(tmp_path, name, reader):
    """Of both readers; and of a start before there was an oplog, where a change stream may begin."""
    with Lab(**SMALL) as lab, ExitStack() as stack:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        s = Situation(lab, jetstream, tmp_path, name, stack)
        begin = now(lab)
        source = {"reader": reader, "start": f"{begin.time}.{begin.inc}"}
        s.changes["source"] = source
        assert s.doctor() == []
        roll_over(lab, name, 2)
        check, = s.doctor()
        words = f"the oplog no longer holds {begin.time}.{begin.inc}"
        assert check["id"] == "mongodb.start" and words in check["evidence"], check
        before = jetstream.everything()
        code, log = s.run()
        assert code == 75 and words in log, log
        assert jetstream.everything() == before
        source["on_position_lost"] = "snapshot"
        assert s.doctor() == []
        s.live()
        assert s.doctor() == []
        del source["on_position_lost"]
        roll_over(lab, name, 2)
        check, = s.doctor()
        assert check["id"] == "mongodb.checkpoint", check
        s.differ()
        before = jetstream.everything()
        code, log = s.run()
        assert code == 75 and "position lost" in log, log
        assert jetstream.everything() == before
        assert s.run("--from", "now", "--force")[0] == 0
        assert s.doctor() == []


@pytest.mark.parametrize("change", [
    {"source": {"start": "4000000000.1"}},
    {"source": {"start": "1000000000.1", "reader": "change_stream"}},
    {"stream": {"on_loss": "halt"}}, {"stream": {"ownership": "shared"}},
    {"stream": {"retention": "workqueue", "consumers": [
        {"durable_name": "c", "ack_policy": "explicit", "max_deliver": 3, "backoff": ["1s", "2s"]}]}},
    {"stream": {"storage": "memory", "num_replicas": 1}},
    {"stream": {"consumers": [{"durable_name": "c", "deliver_subject": "pushed.here",
                               "flow_control": True, "idle_heartbeat": "1s"}]}},
], ids=["later", "earlier", "halt", "shared", "workqueue", "memory", "push"])
def test_what_works(lab, jetstream, tmp_path, name, change):
    """Where run works, doctor has nothing against it: before, beside it, after a kill, after a stop."""
    make_collections(lab, name)
    with ExitStack() as stack:
        s = Situation(lab, jetstream, tmp_path, name, stack)
        s.changes |= change
        assert s.doctor() == []
        with s.bridge() as bridge:
            # The same port for doctor, which looks while the bridge runs.
            s.changes["http"] = {"listen": bridge.configuration["http"]["listen"]}
            bridge.start().wait_ready()
            with client(lab) as mongo:
                mongo[name].rooms.insert_many([{"_id": row} for row in range(200)])
            for _ in range(3):
                assert s.doctor() == []
            bridge.kill()
            assert s.doctor() == []
            bridge.start().wait_ready()
            assert bridge.terminate() == 0
            assert s.doctor() == []


def test_port_of_another_bridge(lab, tmp_path, name):
    make_collections(lab, name)
    with ExitStack() as stack:
        s = Situation(lab, JetStream(lab.nats_url), tmp_path, name, stack)
        with s.bridge() as bridge:
            s.changes |= {"http": {"listen": bridge.configuration["http"]["listen"]},
                          "bridge": {"name": f"{name}_b"}, "stream": {"ownership": "shared"}}
            bridge.start().wait_ready()
            found = s.doctor()
            assert "http.listen" in [check["id"] for check in found]
            assert any(f"bridge {name}'s" in check["evidence"] for check in found), found


def test_another_instance_is_running(lab, jetstream, tmp_path, name):
    """It makes nothing, either, and nothing that the other one has to do with."""
    make_collections(lab, name)
    with ExitStack() as stack:
        s = Situation(lab, jetstream, tmp_path, name, stack)
        with s.bridge() as first:
            first.start().wait_ready()
            s.differ()
            (tmp_path / "second").mkdir()
            second = Situation(lab, jetstream, tmp_path / "second", name, stack)
            second.changes = s.changes
            before = jetstream.everything(but=("lease", "checkpoint"))
            code, log = second.run()
            assert code == 1 and "is running" in log, log
            assert jetstream.everything(but=("lease", "checkpoint")) == before
            assert first.terminate() == 0
        code, log = second.run()
        assert code == 0, log
        assert jetstream.config(name)["max_msgs"] == 1_000_000
        assert second.doctor() == []


def test_refused_without_no_wait(lab, jetstream, tmp_path, name):
    """No waiting helps, so none is done; a bridge that has begun waits all the same, and says why."""
    make_collections(lab, name)
    with ExitStack() as stack:
        s = Situation(lab, jetstream, tmp_path, name, stack)
        s.create(s.foreign, subjects=[f"{name}.rooms.insert"])
        with s.bridge() as bridge:
            assert bridge.run(seconds=30) == 78, bridge.tail()
            assert "subjects overlap" in bridge.tail() and s.foreign in bridge.tail()
            jetstream.delete_stream(s.foreign)
            bridge.start().wait_ready()
            with client(lab) as mongo:
                mongo[name].rooms.insert_many([{"_id": row} for row in range(5)])
                wait_until(lambda: jetstream.holds(name, 5), "five messages")
                jetstream.delete_stream(name)
                s.create(s.foreign, subjects=[f"{name}.rooms.insert"])
                mongo[name].rooms.insert_one({"_id": 5})

                def stalled():
                    bridge.alive()
                    return bridge.json("/healthz")[1].get("status") == "stalled"
                wait_until(stalled, "stalled", seconds=40)
                detail = bridge.json("/healthz")[1]["checks"]["pipeline"]["detail"]
                assert "10065" in detail and s.foreign in detail, detail
                jetstream.delete_stream(s.foreign)
                wait_until(lambda: bridge.alive() and jetstream.holds(name, 6), "six messages")
            bridge.wait_ready()
            assert bridge.terminate() == 0


@pytest.fixture(scope="module")
def accounts():
    """Accounts with limits."""
    with Lab(nats_conf="""
accounts {
  STREAMS { jetstream { max_streams: 2 }, users: [ { user: streams, password: a } ] }
  BYTES { jetstream { max_file: 1MB }, users: [ { user: bytes, password: a } ] }
  REQUIRED { jetstream { max_file: 100MB, max_bytes: true }, users: [ { user: required, password: a } ] }
}
""") as lab:
        yield lab


@pytest.mark.parametrize("user,code,words,stream", [
    ("streams", 69, "max_streams", {}),
    ("bytes", 69, "max_bytes", {"max_bytes": "2MiB"}),
])
def test_account_limits(accounts, tmp_path, name, user, code, words, stream):
    make_collections(accounts, name)
    changes = {"nats": {"servers": [accounts.nats_url], "user": user, "password": "a"}}
    with Bridge(tmp_path, configuration(accounts, name, stream=stream, **changes)) as bridge:
        done = tailrace("doctor", "-c", bridge.file, "--json", seconds=60)
        failed = [c for c in json.loads(done.stdout)["checks"] if c["verdict"] == "fail"]
        assert [check["id"] for check in failed] == ["nats.jetstream"], failed
        assert words in failed[0]["evidence"]
        jetstream = JetStream(accounts.nats_url.replace("//", f"//{user}:a@"))
        # Room may come: without --no-wait it is waited for.
        assert bridge.run("--until", "now", "--no-wait") == code, bridge.tail()
        assert words in bridge.tail(), bridge.tail()
        assert jetstream.everything() == {}, "what there is room for is not made, either"


def test_overlap_without_the_right_to_ask(tmp_path, name):
    """Who may not ask which streams there are finds the subjects that it tries."""
    with Lab(nats_conf="""
accounts { MAIN { jetstream: enabled, users: [ { user: admin, password: a }, { user: b, password: b,
  permissions: { publish: { allow: [">"], deny: ["$JS.API.STREAM.NAMES"] } } } ] } }
no_auth_user: admin
""") as lab, ExitStack() as stack:
        make_collections(lab, name)
        s = Situation(lab, JetStream(lab.nats_url), tmp_path, name, stack)
        s.changes["nats"] = {"servers": [lab.nats_url], "user": "b", "password": "b"}
        s.create(s.foreign, subjects=[f"{name}.*.insert"])
        check, = s.doctor()
        assert check["id"] == f"nats.stream.{name}", check
        assert "subjects overlap" in check["evidence"] and "insert" in check["evidence"], check
        code, log = s.run()
        assert code == 78 and "subjects overlap" in log, log
        s.jetstream.delete_stream(s.foreign)
        assert s.doctor() == []
        assert s.run()[0] == 0


@pytest.mark.parametrize("servers,version", [
    (1, None), (3, None), (1, "2.10.26"), (3, "2.10.26"), (1, "2.9.10")])
def test_doctor_makes_nothing(tmp_path, name, servers, version):
    """What it asks a server about consumers and streams is nothing that the server can carry out."""
    with Lab(nats=servers, nats_version=version) as lab:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        jetstream.api(f"STREAM.CREATE.{name}", {"name": name, "subjects": [f"{name}.>"]})
        before = jetstream.api(f"STREAM.INFO.{name}")
        consumer = {"durable_name": "c", "ack_policy": "explicit"}
        stream = {"max_msgs": 1000, "consumers": [consumer]}
        with Bridge(tmp_path, configuration(lab, name, stream=stream)) as bridge:
            done = tailrace("doctor", "-c", bridge.file, seconds=60)
            assert done.returncode == 0, done.stdout
            after = jetstream.api(f"STREAM.INFO.{name}")
            assert after["config"] == before["config"]
            assert after["state"] == before["state"]
            assert jetstream.api("STREAM.NAMES")["streams"] == [name]
            assert bridge.run("--until", "now", "--no-wait") == 0
            assert tailrace("doctor", "-c", bridge.file, seconds=60).returncode == 0


def test_more_replicas_than_servers(tmp_path, name):
    with Lab(nats=3) as lab, ExitStack() as stack:
        make_collections(lab, name)
        s = Situation(lab, JetStream(lab.nats_url), tmp_path, name, stack)
        s.stream(num_replicas=5)
        check, = s.doctor()
        assert check["id"] == f"nats.stream.{name}", check
        assert "announces 3 servers" in check["evidence"] and "num_replicas: 3" in check["remedy"]
        code, log = s.run()  # servers may join
        assert code == 69 and "no suitable peers" in log, log
        s.stream(num_replicas=3)
        assert s.doctor() == []
        code, log = s.run()
        assert code == 0, log
        assert s.doctor() == []
