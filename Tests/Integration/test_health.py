"""/livez /readyz /healthz /status /metrics, and servers that aren't there."""

import re
import time

import pytest
from bridge import Bridge, configuration, wait_until
from lab import Lab, free_ports
from load import check, client, make_collections, now

CHECKS = {"mongodb", "nats", "pipeline", "checkpoint", "oplog_window", "schema", "lease"}


def outcomes(bridge):
    """tailrace_events_total by outcome, summed over other labels."""
    totals = {}
    for line in bridge.get("/metrics")[1].splitlines():
        match = re.match(r'tailrace_events_total\{.*?outcome="(\w+)".*?\} (\S+)', line)
        if match:
            totals[match[1]] = totals.get(match[1], 0) + float(match[2])
    return totals


def test_endpoints(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            mongo[name].rooms.insert_many([{"_id": number} for number in range(50)])
        wait_until(lambda: jetstream.last_sequence(name) == 50, "50 messages")
        assert bridge.get("/livez")[0] == 200
        assert bridge.get("/readyz")[0] == 200
        wait_until(lambda: bridge.json("/healthz")[1]["position"], "a position in /healthz")
        code, health = bridge.json("/healthz")
        assert code == 200 and health["status"] in ("ok", "idle"), health
        assert set(health["checks"]) == CHECKS
        for check in health["checks"].values():
            assert {"status", "detail", "age_seconds"} <= set(check)
        assert re.fullmatch(r"\d+\.\d+(\.\d+)?", health["position"])
        code, status = bridge.json("/status")
        assert code == 200 and {"version", "uptime", "position", "lag"} <= {
            re.sub("_seconds$", "", key) for key in status}, status
        wait_until(lambda: outcomes(bridge).get("published") == 50, "50 in tailrace_events_total")
        assert set(outcomes(bridge)) == {
            "published", "duplicate", "filtered", "unmatched", "dead_lettered", "dropped",
            "dry_run"}
        assert bridge.get("/nothing")[0] == 404
        assert bridge.get("/")[0] == 200


def test_idle_after_a_while(lab, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        wait_until(lambda: bridge.json("/healthz")[1].get("status") == "idle", "idle", 30)
        # The server's noops, one every ten seconds, change nothing.
        end = time.monotonic() + 11
        while time.monotonic() < end:
            code, health = bridge.json("/healthz")
            assert (code, health["status"]) == (200, "idle"), health
            assert bridge.get("/readyz")[0] == 200
            time.sleep(0.1)


def test_deleted_bucket(lab, jetstream, tmp_path, name):
    """The state bucket is deleted under a running bridge: it is made again, in the same epoch."""
    make_collections(lab, name)
    bucket = f"STATE_{name}"
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        after = now(lab)
        with client(lab) as mongo:
            for round in range(1, 4):
                mongo[name].rooms.insert_many([{"_id": f"{round}.{n}"} for n in range(100)])
                wait_until(lambda: jetstream.last_sequence(name) == 100 * round, "stored")
                wait_until(lambda: jetstream.keys(bucket), "a checkpoint", 5)
                jetstream.delete_stream(f"KV_{bucket}")
        wait_until(lambda: jetstream.keys(bucket), "the checkpoint is there again", 12)
        wait_until(lambda: bridge.json("/healthz")[1]["status"] in ("ok", "idle"), "ok", 5)
        assert bridge.json("/status")[1]["connection_epoch"] == 1
        check(lab, jetstream, name, name, after)
        bridge.kill()
        with client(lab) as mongo:
            mongo[name].users.insert_many([{"_id": number} for number in range(100)])
        bridge.start().wait_ready()
        check(lab, jetstream, name, name, after)


def unreachable(lab, name, server):
    port = free_ports(1)[0]
    if server == "nats":
        return configuration(lab, name, nats={"servers": [f"nats://127.0.0.1:{port}"]})
    uri = f"mongodb://127.0.0.1:{port}/?replicaSet=rs0&serverSelectionTimeoutMS=1000"
    return configuration(lab, name, source={"uri": uri})


@pytest.mark.parametrize("server", ["nats", "mongodb"])
def test_unreachable_at_start(lab, tmp_path, name, server):
    with Bridge(tmp_path, unreachable(lab, name, server)) as bridge:
        bridge.start()
        wait_until(lambda: bridge.alive() and bridge.get("/livez")[0] == 200, "/livez is 200")
        wait_until(lambda: bridge.json("/healthz")[1]["checks"][server]["status"] != "ok",
                   f"health names {server}")
        assert bridge.get("/readyz")[0] == 503
        bridge.alive()
        assert bridge.terminate() == 0


@pytest.mark.parametrize("server", ["nats", "mongodb"])
def test_no_wait(lab, tmp_path, name, server):
    with Bridge(tmp_path, unreachable(lab, name, server)) as bridge:
        assert bridge.run("--no-wait", seconds=60) == 69


def test_waits_for_servers(tmp_path, name):
    """Started first, it begins when the servers are there, and stalls visibly when they go."""
    with Lab() as lab:
        make_collections(lab, name)
        lab.kill("mongod", 0, "TERM")
        lab.kill("nats")
        with Bridge(tmp_path, configuration(lab, name)) as bridge:
            bridge.start()
            wait_until(lambda: bridge.get("/livez")[0] == 200, "/livez is 200")
            assert bridge.get("/readyz")[0] == 503
            lab.start("nats")
            lab.start("mongod")
            lab.wait("mongod")
            bridge.wait_ready(15)
            lab.kill("nats")
            with client(lab) as mongo:
                mongo[name].rooms.insert_one({"_id": 1})
            wait_until(lambda: bridge.get("/readyz")[0] == 503, "/readyz is 503")
            wait_until(lambda: bridge.json("/healthz")[1]["status"] == "stalled", "stalled", 40)
            assert bridge.get("/healthz")[0] == 503
            lab.start("nats")
            wait_until(lambda: bridge.get("/healthz")[0] == 200, "healthy again", 15)
