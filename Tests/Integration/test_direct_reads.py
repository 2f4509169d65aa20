"""Originals of duplicates are read from any server that has them, where the stream and the user's
permissions allow that; everywhere else from the stream's leader, with the same outcome."""

import asyncio
import json
import threading

import nats
import pytest
from bridge import Bridge, configuration, tailrace, wait_until
from ids import check_checkpoint, ours, outcomes, produce
from jetstream import JetStream
from lab import Lab
from load import client, make_collections

COUNT = 1200


def template(name):
    return {"id": "{documentKey._id}.created", "subject": name + ".{ns.coll}.created",
            "match": {"namespace": f"{name}.messages", "operations": ["insert"]}}


def repeated(lab, jetstream, bridge, name):
    """A producer was first with three of four events; the bridge finds and counts them."""
    ids = [f"{n}.created" for n in range(COUNT)]
    produced = [id for n, id in enumerate(ids) if n % 4]
    produce(jetstream, f"{name}.messages.created", produced)
    with client(lab) as mongo:
        mongo[name].messages.insert_many([{"_id": n} for n in range(COUNT)])
    wait_until(lambda: outcomes(bridge)["matched"] >= COUNT, "every event", 30)
    messages = jetstream.messages(name)
    assert sorted(m.id for m in messages) == sorted(ids)
    assert [m.id for m in ours(messages)] == ids[::4]
    counted = outcomes(bridge)
    assert counted["duplicate"] == len(produced), counted
    assert counted["published"] == COUNT - len(produced), counted
    assert counted["id_conflicts"] == counted["dead_lettered"] == 0
    assert bridge.json("/status")[1]["connection_epoch"] <= 4
    check_checkpoint(lab, jetstream, bridge, name)


@pytest.mark.parametrize("stream, rule, wanted", [
    ({"ownership": "shared"}, template, True), ({}, template, True),
    ({}, lambda name: {}, None), ({"allow_direct": False}, template, None)])
def test_streams_that_are_made(lab, jetstream, tmp_path, name, stream, rule, wanted):
    """Where ids do not name their events, unless the configuration says otherwise."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name, rule=rule(name), stream=stream)) as bridge:
        bridge.start().wait_ready()
        config = jetstream.api(f"STREAM.INFO.{name}")["config"]
        assert (config.get("allow_direct") or None) == wanted
        assert bridge.terminate() == 0


@pytest.mark.parametrize("ownership", ["shared", "exclusive"])
@pytest.mark.parametrize("allowed", [True, False])
def test_streams_that_are_there(lab, jetstream, tmp_path, name, ownership, allowed):
    """Their setting stays as it is, and the outcome is the same."""
    make_collections(lab, name)
    jetstream.api(f"STREAM.CREATE.{name}", {
        "name": name, "subjects": [f"{name}.>"], "storage": "file", "allow_direct": allowed})
    with Bridge(tmp_path, configuration(
            lab, name, rule=template(name), stream={"ownership": ownership})) as bridge:
        bridge.start().wait_ready()
        repeated(lab, jetstream, bridge, name)
        config = jetstream.api(f"STREAM.INFO.{name}")["config"]
        assert config.get("allow_direct", False) == allowed
        assert "direct reads do not work" not in bridge.log.read_text()
        assert bridge.terminate() == 0


def user(name, deny):
    return (f"{{ user: {name}, password: b, permissions: {{ publish: {{ deny: {json.dumps(deny)} }},"
            " subscribe: { allow: [\"_INBOX.>\"] } } }")


def test_not_permitted(lab, tmp_path, name):
    """The right is optional: one refusal, one line in the log, and the leader answers instead."""
    conf = ("\naccounts { MAIN { jetstream: enabled, users: [ { user: admin, password: a }, "
            + user("restricted", ["$JS.API.DIRECT.GET.>"]) + " ] } }\nno_auth_user: admin\n")
    with Lab(mongod=0, nats_conf=conf) as other:
        other.mongod = lab.mongod
        try:
            make_collections(other, name)
            jetstream = JetStream(other.nats_url)
            whole = configuration(
                other, name, nats={"user": "restricted", "password": "b"}, rule=template(name),
                stream={"ownership": "shared"})
            with Bridge(tmp_path, whole) as bridge:
                bridge.start().wait_ready()
                repeated(other, jetstream, bridge, name)
                found = json.loads(
                    tailrace("doctor", "-c", bridge.file, "--json", seconds=60).stdout)["checks"]
                api = next(c for c in found if c["id"] == "nats.permissions.api")
                assert api["verdict"] == "ok", api
                assert f"optional: $JS.API.DIRECT.GET.{name}" in api["evidence"], api
                assert bridge.json("/healthz")[1]["status"] == "ok"
                assert bridge.terminate() == 0
            told = [line for line in bridge.log.read_text().splitlines()
                    if "direct reads do not work" in line]
            assert len(told) == 1 and "Permissions Violation" in told[0], told
        finally:
            other.mongod = []


class Silence:
    """Takes requests, and answers none."""

    def __init__(self, url, subject):
        self.url, self.subject, self.taken = url, subject, 0
        self.ready, self.over = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()))

    async def run(self):
        nc = await nats.connect(self.url)

        async def take(_):
            self.taken += 1

        await nc.subscribe(self.subject, cb=take)
        await nc.flush()
        self.ready.set()
        while not self.over.is_set():
            await asyncio.sleep(0.02)
        await nc.close()

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(10)
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def test_never_answered(lab, tmp_path, name):
    """Requests that vanish on their way, as at a leaf node that lacks a permission."""
    conf = f'\nmappings {{ "$JS.API.DIRECT.GET.{name}": "into.nowhere" }}\n'
    with Lab(mongod=0, nats_conf=conf) as other, Silence(other.nats_url, "into.nowhere") as silence:
        other.mongod = lab.mongod
        try:
            make_collections(other, name)
            jetstream = JetStream(other.nats_url)
            with Bridge(tmp_path, configuration(
                    other, name, rule=template(name), stream={"ownership": "shared"})) as bridge:
                bridge.start().wait_ready()
                repeated(other, jetstream, bridge, name)
                assert bridge.terminate() == 0
            assert 0 < silence.taken <= 512
            told = [line for line in bridge.log.read_text().splitlines()
                    if "direct reads do not work" in line]
            assert len(told) == 1 and "not answered" in told[0], told
        finally:
            other.mongod = []
