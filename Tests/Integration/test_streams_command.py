"""`streams plan` and `apply`: what differs between the configuration and real servers, and what making it agree
would lose; run, doctor and health agree with it."""

import json
from datetime import datetime, timezone

import pytest

from bridge import Bridge, configuration, tailrace, wait_until
from jetstream import JetStream
from lab import Lab

SECOND = 1_000_000_000


class Streams:
    def __init__(self, lab, folder, name, **changes):
        self.jetstream, self.name = JetStream(lab.nats_url), name
        self.bridge = Bridge(folder, configuration(lab, name, **changes))

    def configure(self, consumers=None, **settings):
        own, = self.bridge.configuration["streams"]
        own |= settings
        if consumers is not None:
            own["consumers"] = consumers
        self.bridge.__init__(self.bridge.folder, self.bridge.configuration)

    def command(self, what, *arguments, code=None):
        done = tailrace("streams", what, "-c", self.bridge.file, *arguments, cwd=self.bridge.folder)
        assert code is None or done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    def plan(self, code):
        """Differing objects by kind and name."""
        found = json.loads(self.command("plan", "--json", code=code).stdout)
        assert found["differs"] == (code == 1)
        return {(o["kind"], o["name"]): o for o in found["objects"] if o["action"] != "none"}

    def doctor(self):
        done = tailrace("doctor", "-c", self.bridge.file, "--json", cwd=self.bridge.folder)
        return {c["id"]: c for c in json.loads(done.stdout)["checks"] if c["verdict"] != "ok"}

    def consumer(self, name):
        return self.jetstream.api(f"CONSUMER.INFO.{self.name}.{name}")


@pytest.fixture
def streams(lab, tmp_path, name):
    return Streams(lab, tmp_path, name)


CONSUMERS = [{"durable_name": "notifications", "ack_policy": "explicit", "max_deliver": 5,
              "filter_subject": "{name}.a.>"},
             {"durable_name": "audit", "ack_policy": "explicit"}]


def consumers(name):
    return [{k: v.format(name=name) if isinstance(v, str) else v for k, v in c.items()} for c in CONSUMERS]


def test_made_once(streams, name, lab):
    """From nothing; a second time there is nothing to do, and a start finds all as it wants it."""
    streams.configure(consumers(name), max_age="7d", max_msgs=0)
    found = streams.plan(1)
    assert {key: o["action"] for key, o in found.items()} == dict.fromkeys(
        [("stream", name), ("consumer", f"{name}/notifications"), ("consumer", f"{name}/audit"),
         ("stream", f"DLQ_{name}"), ("bucket", f"STATE_{name}")], "create")
    assert streams.jetstream.state(name) is None, "plan makes nothing"
    text = streams.command("plan", code=1).stdout
    assert f"+ stream {name}" in text and "+ max_age: 7d" in text and "5 to create" in text
    streams.command("apply", code=0)
    assert streams.plan(0) == {}
    again = streams.command("apply", code=0)
    assert "everything is as configured" in again.stdout
    before = streams.jetstream.everything()
    with streams.bridge as bridge:
        bridge.start().wait_ready()
        assert bridge.terminate() == 0
    after = streams.jetstream.everything(but=("checkpoint", "lease", "claim"))
    for stream in (name, f"DLQ_{name}"):
        settings = [{k: v for k, v in side[stream][0].items() if k != "metadata"} for side in (before, after)]
        assert settings[0] == settings[1], "run makes the same"
        assert before[stream][3] == after[stream][3]
    assert streams.plan(0) == {}


def test_unknown_fields_survive(streams, name):
    streams.command("apply", code=0)
    config = streams.jetstream.config(name)
    by_hand = {"description": "of the chat team", "compression": "s2", "max_consumers": -1,
               "metadata": config["metadata"] | {"team": "chat"}}
    streams.jetstream.api(f"STREAM.UPDATE.{name}", config | by_hand)
    assert streams.plan(0) == {}, "what the configuration doesn't name is no difference"
    streams.configure(max_age="9d")
    found = streams.plan(1)
    assert found["stream", name]["settings"] == [
        {"setting": "max_age", "from": 0, "to": 9 * 86400 * SECOND, "verdict": "changes"}]
    assert "~ max_age: 0 -> 9d" in streams.command("plan", code=1).stdout
    streams.command("apply", code=0)
    kept = streams.jetstream.config(name)
    assert kept["description"] == "of the chat team" and kept["compression"] == "s2"
    assert kept["metadata"]["team"] == "chat" and kept["max_age"] == 9 * 86400 * SECOND


def fill(streams, subjects, each):
    for i in range(each):
        for subject in subjects:
            streams.jetstream.publish(subject, b"x" * 100)


LIMITS = {
    "count": ({"max_msgs": 4}, 8),
    "per subject": ({"max_msgs_per_subject": 1}, 9),
    "bytes": ({"max_bytes": 400}, None),
    "interest": ({"retention": "interest"}, 12),
    "discard new": ({"max_msgs": 4, "discard": "new"}, 0),
}


@pytest.mark.parametrize("which", LIMITS)
def test_nothing_is_lost_unasked(streams, name, which):
    settings, lost = LIMITS[which]
    streams.command("apply", code=0)
    fill(streams, [f"{name}.a", f"{name}.b", f"{name}.c"], 4)
    streams.configure(**settings, duplicate_window="1m")
    found = streams.plan(1)["stream", name]
    if lost == 0:
        assert found["losses"] == []
        streams.command("apply", code=0)
        assert streams.jetstream.state(name)["messages"] == 12
        return
    loss, = found["losses"]
    assert loss["stored"] and (lost is None or loss["messages"] == lost)
    left = streams.command("apply", code=1)
    assert "would be lost" in left.stdout and loss["detail"] in left.stdout
    assert streams.jetstream.state(name)["messages"] == 12
    config = streams.jetstream.config(name)
    assert config["duplicate_window"] == 60 * SECOND, "all the rest is made"
    assert any(c["verdict"] == "warn" for c in [streams.doctor()[f"nats.stream.{name}"]])
    done = streams.command("apply", "--allow-destructive", code=0)
    assert "will be lost" in done.stderr
    left = streams.jetstream.state(name)["messages"]
    assert left == 12 - lost if lost is not None else 0 < left < 12
    assert streams.plan(0) == {}


def test_age_and_subjects(streams, name):
    """Messages that would be too old, counted exactly; a subject that is taken no longer."""
    streams.configure(subjects=[f"{name}.>", f"{name}_old.*"])
    streams.bridge.start().wait_ready()
    assert streams.bridge.terminate() == 0
    fill(streams, [f"{name}.a", f"{name}_old.b"], 3)
    first = streams.jetstream.api(f"STREAM.MSG.GET.{name}", {"seq": 6})["message"]["time"]

    def aged():
        # The limit is whole seconds by the server's clock.
        then = datetime.fromisoformat(first[:19] + "+00:00")
        return (datetime.now(timezone.utc) - then).total_seconds() > 4

    wait_until(aged, "the messages are old enough")
    fill(streams, [f"{name}.a"], 2)
    streams.configure(subjects=[f"{name}.>"], max_age="2s", duplicate_window="1s")
    losses = {loss["cause"]: loss for loss in streams.plan(1)["stream", name]["losses"]}
    assert losses["limit"]["messages"] == 6 and losses["subject"]["messages"] == 3
    assert losses["subject"]["stored"]
    # A start leaves both, and says so.
    with streams.bridge as bridge:
        bridge.start().wait_ready()
        wait_until(lambda: bridge.json("/healthz")[1]["status"] == "degraded", "degraded")
        health = bridge.json("/healthz")[1]
        assert health["checks"]["nats"]["status"] == "degraded"
        assert "max_age" in health["checks"]["nats"]["detail"]
        assert bridge.metric("tailrace_drift") == 1
        assert streams.jetstream.state(name)["messages"] == 8
        assert sorted(streams.jetstream.config(name)["subjects"]) == [f"{name}.>", f"{name}_old.*"]
        streams.command("apply", code=1)
        streams.command("apply", "--allow-destructive", code=0)
        wait_until(lambda: bridge.metric("tailrace_drift") == 0, "no drift any more")
        wait_until(lambda: bridge.json("/healthz")[1]["checks"]["nats"]["status"] == "ok", "not degraded")
        assert bridge.terminate() == 0
    assert streams.jetstream.config(name)["subjects"] == [f"{name}.>"]


def test_subject_that_nobody_used(streams, name):
    """`apply` asks for leave; a start takes it out of its exclusive stream."""
    streams.configure(subjects=[f"{name}.>", f"{name}_old.*"])
    streams.command("apply", code=0)
    streams.configure(subjects=[f"{name}.>"])
    loss, = streams.plan(1)["stream", name]["losses"]
    assert not loss["stored"] and loss["messages"] == 0


def test_consumers(streams, name):
    """Changed where servers change them, made again where they don't, removed where the configuration lacks them;
    those of others are left alone."""
    streams.configure(consumers(name))
    streams.command("apply", code=0)
    streams.jetstream.api(f"CONSUMER.DURABLE.CREATE.{name}.others", {
        "stream_name": name, "config": {"durable_name": "others", "ack_policy": "explicit"}})
    fill(streams, [f"{name}.a.b"], 3)
    streams.configure([{"durable_name": "notifications", "ack_policy": "all", "max_deliver": 9,
                        "filter_subject": f"{name}.a.>"}])
    found = streams.plan(1)
    again, gone = found["consumer", f"{name}/notifications"], found["consumer", f"{name}/audit"]
    assert again["action"] == "replace" and again["losses"][0]["cause"] == "consumer"
    assert {s["setting"]: s["verdict"] for s in again["settings"]} == {
        "ack_policy": "fixed", "max_deliver": "changes"}
    assert gone["action"] == "remove" and gone["losses"][0]["messages"] == 3
    assert ("consumer", f"{name}/others") not in found
    before = streams.consumer("notifications")["created"]
    streams.command("apply", code=1)
    assert streams.consumer("notifications")["created"] == before
    assert streams.consumer("audit")["config"]["ack_policy"] == "explicit"
    assert streams.bridge.run(seconds=20) == 78, "a start refuses to make it again"
    streams.command("apply", "--allow-destructive", code=0)
    assert streams.consumer("notifications")["config"]["ack_policy"] == "all"
    assert streams.consumer("notifications")["num_pending"] == 3
    names = {c["name"] for c in streams.jetstream.api(f"CONSUMER.LIST.{name}")["consumers"]}
    assert names == {"notifications", "others"}
    assert streams.plan(0) == {}


def test_what_servers_never_change(streams, name):
    """It is named, with its values, and nothing else is made either."""
    streams.configure(storage="memory")
    streams.command("apply", code=0)
    streams.configure(storage="file", max_age="1d")
    found = streams.plan(1)["stream", name]
    assert found["action"] == "refuse" and "storage" in found["refusal"]["why"]
    assert {s["setting"]: s["verdict"] for s in found["settings"]} == {
        "storage": "fixed", "max_age": "changes"}
    before = streams.jetstream.config(name)
    for arguments in ([], ["--allow-destructive"]):
        done = streams.command("apply", *arguments, code=1)
        assert "nothing is made" in done.stdout
    assert streams.jetstream.config(name) == before
    assert streams.bridge.run(seconds=20) == 78


def test_drift(streams, name, lab):
    """Somebody changes a stream and removes a consumer while the bridge runs."""
    streams.configure([{"durable_name": "audit", "ack_policy": "explicit"}], max_age="7d")
    with streams.bridge as bridge:
        bridge.start().wait_ready()
        wait_until(lambda: bridge.metric("tailrace_drift") == 0, "nothing differs")
        streams.jetstream.api(
            f"STREAM.UPDATE.{name}", streams.jetstream.config(name) | {"max_age": 3600 * SECOND})
        streams.jetstream.api(f"CONSUMER.DELETE.{name}.audit")
        wait_until(lambda: bridge.metric("tailrace_drift") == 2, "the drift is noticed")
        code, health = bridge.json("/healthz")
        assert code == 200 and health["status"] == "degraded"
        detail = health["checks"]["nats"]["detail"]
        assert "max_age: 1h -> 7d" in detail and f"consumer {name}/audit: missing" in detail
        assert f'tailrace_drift_settings{{kind="stream",name="{name}"}} 1' in bridge.get("/metrics")[1]
        assert len(bridge.json("/status")[1]["drift"]) == 2
        assert streams.doctor()[f"nats.stream.{name}"]["verdict"] == "warn"
        assert set(streams.plan(1)) == {("stream", name), ("consumer", f"{name}/audit")}
        streams.command("apply", code=0)
        wait_until(lambda: bridge.metric("tailrace_drift") == 0, "it is gone again")
        wait_until(lambda: bridge.json("/healthz")[1]["status"] in ("ok", "idle"), "healthy")
        assert bridge.terminate() == 0


def test_nobody_answers(tmp_path, name, lab):
    whole = configuration(lab, name)
    whole["nats"] = {"servers": ["nats://127.0.0.1:1"]}
    bridge = Bridge(tmp_path, whole)
    for what in ("plan", "apply"):
        assert tailrace("streams", what, "-c", bridge.file).returncode == 69


@pytest.mark.parametrize("version", ["2.9.10", "2.10.26"])
def test_older_servers(tmp_path, name, version):
    with Lab(nats_version=version, mongod=0) as lab:
        streams = Streams(lab, tmp_path, name, source={"uri": "mongodb://127.0.0.1:1/?replicaSet=rs0"})
        streams.configure(consumers(name), max_age="7d")
        streams.plan(1)
        streams.command("apply", code=0)
        assert streams.plan(0) == {}
