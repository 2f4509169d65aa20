"""`delivery: kv`: entries of buckets, read with an official client; purges, expiry, keys, verification.

Kills are in test_kill_kv.py."""

import asyncio
import json
import threading

import nats

from bridge import Bridge, tailrace, wait_until
from buckets import bucket, ready, value, verify, with_bucket
from lab import Lab
from load import client, make_collections


class Watcher(threading.Thread):
    """What a watcher of the whole bucket receives, in order."""

    def __init__(self, lab, name):
        super().__init__(daemon=True)
        self.servers, self.name_of_bucket = lab.nats_url.split(","), name
        self.told, self.ready, self.over = [], threading.Event(), threading.Event()

    def __enter__(self):
        self.start()
        assert self.ready.wait(20)
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(10)

    def run(self):
        asyncio.run(self.watch())

    async def watch(self):
        nc = await nats.connect(self.servers)
        kv = await nc.jetstream().key_value(self.name_of_bucket)
        watcher = await kv.watchall()
        self.ready.set()
        while not self.over.is_set():
            try:
                entry = await watcher.updates(timeout=0.2)
            except nats.errors.TimeoutError:
                continue
            if entry:
                self.told.append((entry.key, entry.operation,
                                  json.loads(entry.value)["status"] if entry.value else None))
        await nc.close()


def test_presence(lab, jetstream, tmp_path, name):
    """Who is there: puts, updates, a purge, history, watchers, and expiry by the bucket's ttl."""
    make_collections(lab, name)
    with Bridge(tmp_path, bucket(lab, name, ttl="8s", history=3)) as bridge, client(lab) as mongo:
        ready(bridge)
        users = mongo[name].presence
        with Watcher(lab, name) as watcher:
            users.insert_one({"_id": "ada", "status": "online"})
            users.insert_one({"_id": "linus", "status": "online"})
            for status in ("away", "busy", "gone fishing"):
                users.update_one({"_id": "ada"}, {"$set": {"status": status}})
            users.delete_one({"_id": "linus"})
            wait_until(lambda: len(watcher.told) >= 6, "the watcher is told")
            assert [one for one in watcher.told if one[0] == "linus"] == [
                ("linus", None, "online"), ("linus", "PURGE", None)]
            assert [status for key, _, status in watcher.told if key == "ada"][-1] == "gone fishing"
        assert value(lab, name, "ada")["status"] == "gone fishing"
        assert value(lab, name, "linus") is None

        async def history(kv):
            return [(e.operation, e.revision) for e in await kv.history("ada")]

        assert len(with_bucket(lab, name, history)) == 3
        subjects = jetstream.api(f"STREAM.INFO.KV_{name}", {"subjects_filter": ">"})["state"]["subjects"]
        assert subjects == {f"$KV.{name}.ada": 3, f"$KV.{name}.linus": 1}
        purge = jetstream.messages(f"KV_{name}")[-1]
        assert purge.headers["KV-Operation"] == "PURGE" and purge.headers["Nats-Rollup"] == "sub"
        assert purge.body == b"" and purge.headers["Tailrace-Rule"] == "state"
        report = verify(bridge)
        assert report["verdict"] == "PASS" and report["events"] == 6, report
        assert report["counts"]["observed"] + report["superseded"] + report["not_held"] >= 6
        wait_until(lambda: value(lab, name, "ada") is None, "it expires")
        assert bridge.terminate() == 0
        found = bridge.log.read_text()
        assert "error" not in found.lower().replace("last_error", ""), found


def test_keys(lab, tmp_path, name):
    """Any _id becomes a key that official clients accept."""
    make_collections(lab, name)
    odd = {"a b.c": "a=20b=2Ec", "ümlaut*>": "=C3=BCmlaut=2A=3E", "100%": "100=25", "x=y": "x=3Dy",
           "a/b-c_d": "a/b-c_d", 17: "17"}
    with Bridge(tmp_path, bucket(lab, name, key="user.{documentKey._id}.state")) as bridge, \
            client(lab) as mongo:
        ready(bridge)
        for n, key in enumerate(odd):
            mongo[name].users.insert_one({"_id": key, "n": n})
        for n, escaped in enumerate(odd.values()):
            wait_until(lambda: value(lab, name, f"user.{escaped}.state"), f"{escaped}")
            assert value(lab, name, f"user.{escaped}.state")["n"] == n

        async def keys(kv):
            return await kv.keys()

        assert sorted(with_bucket(lab, name, keys)) == sorted(f"user.{e}.state" for e in odd.values())


def test_entries_that_expire(lab, jetstream, tmp_path, name):
    """By kv.ttl of the rule, each by itself, and watchers hear of it."""
    make_collections(lab, name)
    with Bridge(tmp_path, bucket(lab, name, rule={"ttl": "2s"}, limit_marker_ttl="5m")) as bridge, \
            client(lab) as mongo:
        ready(bridge)
        assert jetstream.config(f"KV_{name}")["subject_delete_marker_ttl"] == 300_000_000_000
        mongo[name].users.insert_one({"_id": "ada", "status": "online"})
        wait_until(lambda: value(lab, name, "ada"), "it is there")
        stored, = jetstream.messages(f"KV_{name}")
        assert stored.headers["Nats-TTL"] == "2s"
        with Watcher(lab, name) as watcher:
            wait_until(lambda: value(lab, name, "ada") is None, "it is gone")
            wait_until(lambda: len(watcher.told) >= 2, "the watcher is told of the marker")
        mongo[name].users.insert_one({"_id": "linus", "status": "online"})
        wait_until(lambda: value(lab, name, "linus"), "the bridge continues")
        bridge.kill()
        ready(bridge)
        mongo[name].users.insert_one({"_id": "grace", "status": "online"})
        wait_until(lambda: value(lab, name, "grace"), "also after a kill")
        assert bridge.terminate() == 0


def test_older_servers(tmp_path, name):
    """No expiry of single entries before 2.11: refused for rules that want it, else left out."""
    with Lab(nats_version="2.10.26") as lab:
        make_collections(lab, name)
        with Bridge(tmp_path, bucket(lab, name, rule={"ttl": "2s"})) as bridge:
            assert bridge.run(seconds=30) == 78
            assert "2.11" in bridge.log.read_text()
        with Bridge(tmp_path, bucket(lab, name, limit_marker_ttl="5m")) as bridge, client(lab) as mongo:
            ready(bridge)
            mongo[name].users.insert_one({"_id": 1, "n": 1})
            mongo[name].users.insert_one({"_id": 2, "n": 2})
            mongo[name].users.delete_one({"_id": 1})
            wait_until(lambda: value(lab, name, "2") and not value(lab, name, "1"), "puts and purges")
            wait_until(lambda: bridge.metric("tailrace_drift") == 0, "nothing differs")
            assert verify(bridge)["verdict"] == "PASS"
            assert bridge.terminate() == 0
            assert tailrace("streams", "plan", "-c", bridge.file).returncode == 0


def test_buckets_are_planned(lab, jetstream, tmp_path, name):
    bridge = Bridge(tmp_path, bucket(lab, name, history=5))
    plan = tailrace("streams", "plan", "-c", bridge.file)
    assert plan.returncode == 1 and f"+ bucket {name}" in plan.stdout
    assert tailrace("streams", "apply", "-c", bridge.file).returncode == 0
    assert tailrace("streams", "plan", "-c", bridge.file).returncode == 0
    for n in range(5):
        jetstream.publish(f"$KV.{name}.a", str(n).encode())
    Bridge(tmp_path, bucket(lab, name, history=2))
    plan = tailrace("streams", "plan", "-c", bridge.file, "--json")
    changed, = [o for o in json.loads(plan.stdout)["objects"] if o["action"] != "none"]
    assert changed["kind"] == "bucket" and changed["losses"][0]["messages"] == 3
    assert tailrace("streams", "apply", "-c", bridge.file).returncode == 1
    assert tailrace("streams", "apply", "--allow-destructive", "-c", bridge.file).returncode == 0
    assert jetstream.state(f"KV_{name}")["messages"] == 2
