"""Streams that give messages away (`retention: interest`, `workqueue`): what is gone may have been consumed,
so that neither a fault nor a PASS can be told of it; what is there is compared all the same."""

import asyncio
import json
import signal
import subprocess

import nats
import pytest
from bridge import BINARY, Bridge, configuration, tailrace, wait_until
from lab import die_with_parent, free_ports
from load import client, now, settle
from test_verify import forge, found, verify
from test_verify_state import state


def consume(lab, stream, count):
    """The next `count` messages, acknowledged."""
    async def work():
        connection = await nats.connect(lab.nats_url)
        sub = await connection.jetstream().pull_subscribe("", durable="d", stream=stream)
        left = count
        while left:
            for message in await sub.fetch(min(left, 100), timeout=20):
                await message.ack_sync()
                left -= 1
        await connection.close()

    asyncio.run(work())


def published(lab, tmp_path, name, retention, ownership="exclusive", count=60, rule=None, **more):
    after = now(lab)
    with client(lab) as mongo:
        mongo[name].things.insert_many([{"_id": n, "n": n} for n in range(count)])
    settle(lab)
    stream = {"retention": retention, "ownership": ownership,
              "consumers": [{"durable_name": "d", "ack_policy": "explicit"}]}
    bridge = Bridge(tmp_path, configuration(lab, name, stream=stream, rule=rule or {}, **more))
    assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0, bridge.tail()
    return bridge


def undecided(report, name, retention):
    assert report["verdict"] == "INCONCLUSIVE" and not found(report), report
    assert any(name in reason and f"retention: {retention}" in reason
               for reason in report["reasons"]), report["reasons"]
    assert not any("JetStream:" in reason for reason in report["reasons"]), report["reasons"]


def follow(bridge, name):
    """The report of a follower that has gone through everything."""
    port = free_ports(1)[0]
    process = subprocess.Popen(
        [BINARY, "verify", "--follow", "--json", "-c", bridge.file, "--listen",
         f"127.0.0.1:{port}", "--interval", "0.2"], cwd=bridge.folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=die_with_parent)
    watched = Bridge.__new__(Bridge)
    watched.configuration = {"http": {"listen": f"127.0.0.1:{port}"}}
    try:
        wait_until(lambda: (watched.json("/status")[1] or {}).get("steps", 0) >= 3,
                   "some comparisons", seconds=120)
        code, health = watched.json("/healthz")
        assert (code, health["status"]) == (200, "degraded"), health
    finally:
        process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, (out[-2000:], err[-2000:])
    assert not err.strip(), err[-2000:]
    return json.loads(out)


@pytest.mark.parametrize("consumed", [0, 25, 60])
@pytest.mark.parametrize("ownership", ["exclusive", "shared"])
@pytest.mark.parametrize("retention", ["interest", "workqueue"])
def test_clean(lab, jetstream, tmp_path, name, retention, ownership, consumed):
    bridge = published(lab, tmp_path, name, retention, ownership)
    if consumed:
        consume(lab, name, consumed)
        wait_until(lambda: jetstream.holds(name, 60 - consumed), "consumed messages are gone")
    for reader in ("oplog", "change_stream"):
        undecided(verify(bridge, "--reader", reader, code=2), name, retention)
    undecided(state(bridge, code=2), name, retention)
    undecided(follow(bridge, name), name, retention)
    # Looking takes nothing away, and repair publishes nothing of it again.
    assert jetstream.holds(name, 60 - consumed)
    repair = tailrace("verify", "repair", "--publish", "-c", bridge.file, cwd=tmp_path)
    assert repair.returncode == 2 and jetstream.holds(name, 60 - consumed)


def test_nobody_is_interested(lab, jetstream, tmp_path, name):
    after = now(lab)
    with client(lab) as mongo:
        mongo[name].things.insert_many([{"_id": n} for n in range(20)])
    settle(lab)
    bridge = Bridge(tmp_path, configuration(lab, name, stream={"retention": "interest"}))
    assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
    assert jetstream.state(name)["messages"] == 0
    for reader in ("oplog", "change_stream"):
        undecided(verify(bridge, "--reader", reader, code=2), name, "interest")


def test_unexplained_faults(lab, jetstream, tmp_path, name):
    """What is there is compared: a message that was never stored, and one that is wrong, are found."""
    bridge = published(lab, tmp_path, name, "interest")
    messages = jetstream.messages(name)
    wrong = messages[-1]
    forge(jetstream, wrong, headers={"Nats-Msg-Id": wrong.id + "x"})
    report = verify(bridge, code=1)
    assert sum(found(report).values()) >= 1 and report["counts"]["gap"] == 0, report["counts"]
    consume(lab, name, 10)
    assert found(verify(bridge, code=1)) == found(report)


def test_another_streams_fault(lab, jetstream, tmp_path, name):
    streams = [
        {"name": name, "subjects": [f"{name}.>"]},
        {"name": f"{name}_q", "subjects": [f"{name}_q.>"], "retention": "workqueue"},
    ]
    rules = [
        {"name": kind, "match": {"namespace": f"{name}.{kind}"}, "stream": stream,
         "subject": stream + ".{ns.coll}"}
        for kind, stream in (("kept", name), ("queued", f"{name}_q"))
    ]
    after = now(lab)
    with client(lab) as mongo:
        for n in range(20):
            mongo[name].kept.insert_one({"_id": n})
            mongo[name].queued.insert_one({"_id": n})
    settle(lab)
    bridge = Bridge(tmp_path, configuration(lab, name, streams=streams, rules=rules))
    assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0, bridge.tail()
    undecided(verify(bridge, code=2), f"{name}_q", "workqueue")
    jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": 5})
    report = verify(bridge, code=1)
    assert found(report) == {"gap": 1} and report["mismatches"][0]["stream"] == name


def test_a_producers_message(lab, jetstream, tmp_path, name):
    """It stood where no change says: the bridge's own under the same id was a duplicate."""
    rule = {"id": "{documentKey._id}.made", "subject": name + ".{ns.coll}",
            "match": {"namespace": f"{name}.*", "operations": ["insert"]},
            "payload": {"envelope": "document", "json": "simplified"}}
    stream = {"retention": "interest", "ownership": "shared",
              "consumers": [{"durable_name": "d", "ack_policy": "explicit"}]}
    bridge = Bridge(tmp_path, configuration(lab, name, stream=stream, rule=rule))
    after = now(lab)
    bridge.start("--from", f"{after.time}.{after.inc}").wait_ready()
    jetstream.publish(f"{name}.things", b'{"_id":"a7","n":7}', {"Nats-Msg-Id": "a7.made"})
    with client(lab) as mongo:
        mongo[name].things.insert_many([{"_id": f"a{n}", "n": n} for n in range(20)])
    wait_until(lambda: jetstream.holds(name, 20), "messages")
    settle(lab)
    assert bridge.terminate() == 0
    undecided(verify(bridge, code=2), name, "interest")
    consume(lab, name, 1)
    wait_until(lambda: jetstream.holds(name, 19), "consumed messages are gone")
    for reader in ("oplog", "change_stream"):
        undecided(verify(bridge, "--reader", reader, code=2), name, "interest")
