"""Fences of streams that others publish to as well: when one is moved, what removes one, and what happens where
there can be none."""

import json

from bridge import Bridge, configuration, tailrace, wait_until
from jetstream import JetStream, is_fence
from lab import Lab
from load import client, make_collections


def insert(lab, name, numbers):
    with client(lab) as mongo:
        mongo[name].rooms.insert_many([{"_id": n} for n in numbers])


def own(jetstream, name):
    return [m.json["documentKey"]["_id"] for m in jetstream.messages(name)
            if "Tailrace-Position" in m.headers]


def fences(jetstream, stream):
    return [m for m in jetstream.messages(stream, fences=True) if is_fence(m.subject)]


def test_only_an_unclean_end_leaves_one(lab, tmp_path, name):
    jetstream = JetStream(lab.nats_url)
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name, stream={"ownership": "shared"})) as bridge:
        for first in (0, 5):
            bridge.start().wait_ready()
            insert(lab, name, range(first, first + 5))
            wait_until(lambda first=first: len(own(jetstream, name)) == first + 5, "five more")
            if first == 0:
                assert bridge.terminate() == 0
        assert not fences(jetstream, name) and not fences(jetstream, f"DLQ_{name}")
        assert jetstream.config(name)["subjects"] == [f"{name}.>"]
        bridge.kill()
        bridge.start().wait_ready()
        insert(lab, name, range(10, 15))
        wait_until(lambda: len(own(jetstream, name)) == 15, "five more")
        assert own(jetstream, name) == list(range(15))
        (fence,) = fences(jetstream, name)
        body = json.loads(fence.body)
        assert body["bridge"] == name and body["epoch"] >= 2, body
        assert not any(key.startswith("Tailrace-") for key in fence.headers)
        assert not fences(jetstream, f"DLQ_{name}"), "nothing was ever sent there"
        assert bridge.json("/healthz")[1]["status"] in ("ok", "idle")
        verified = tailrace("verify", "--to", "now", "-c", bridge.file, cwd=bridge.folder)
        assert verified.returncode == 0, verified.stdout


def test_limits_that_remove_it(lab, tmp_path, name):
    """The server refuses what asserts it; it is moved again, and given up where that happens again and again."""
    jetstream = JetStream(lab.nats_url)
    make_collections(lab, name)
    stream = {"ownership": "shared", "max_msgs": 20}
    with Bridge(tmp_path, configuration(lab, name, stream=stream)) as bridge:
        bridge.start().wait_ready()
        assert len(fences(jetstream, name)) == 1, "at once, where limits can remove it"
        for first in range(0, 200, 25):
            insert(lab, name, range(first, first + 25))
            wait_until(lambda first=first: own(jetstream, name)[-1:] == [first + 24], "25 more")
            assert own(jetstream, name) == list(range(first + 24 - len(own(jetstream, name)) + 1, first + 25))
        # Status is ten times a second.
        def counts():
            return bridge.json("/status")[1]["outcomes"]
        wait_until(lambda: counts()["published"] + counts()["duplicate"] >= 200, "all are counted")
        assert counts()["published"] + counts()["duplicate"] == 200, counts()
        log = bridge.log.read_text()
        assert "it is moved again" in log
        assert "limits remove the fence again and again" in log
        assert bridge.json("/healthz")[1]["status"] in ("ok", "idle")


def test_a_purge_removes_it(lab, tmp_path, name):
    jetstream = JetStream(lab.nats_url)
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name, stream={"ownership": "shared"})) as bridge:
        for first in (0, 5):
            bridge.start().wait_ready()
            insert(lab, name, range(first, first + 5))
            wait_until(lambda first=first: len(own(jetstream, name)) == first + 5, "five more")
            if first == 0:
                bridge.kill()
        jetstream.purge(name)
        insert(lab, name, range(10, 15))
        wait_until(lambda: len(own(jetstream, name)) == 5, "five more")
        assert own(jetstream, name) == list(range(10, 15))
        assert len(fences(jetstream, name)) == 1
        assert "it is moved again" in bridge.log.read_text()


def test_without_the_right(lab, tmp_path, name):
    """Optional: reported once, and in health while another instance stands by."""
    denied = json.dumps(["tailrace.fence.>"])
    conf = ("\naccounts { MAIN { jetstream: enabled, users: [ { user: admin, password: a }, "
            f"{{ user: restricted, password: b, permissions: {{ publish: {{ deny: {denied} }} }} }}"
            " ] } }\nno_auth_user: admin\n")
    with Lab(mongod=0, nats_conf=conf) as other:
        other.mongod = lab.mongod
        try:
            make_collections(other, name)
            jetstream = JetStream(other.nats_url)
            whole = configuration(other, name, nats={"user": "restricted", "password": "b"},
                                  stream={"ownership": "shared"})
            with Bridge(tmp_path, whole) as bridge:
                bridge.start().wait_ready()
                insert(other, name, range(5))
                wait_until(lambda: len(own(jetstream, name)) == 5, "five")
                bridge.kill()
                bridge.start().wait_ready()
                insert(other, name, range(5, 10))
                wait_until(lambda: len(own(jetstream, name)) == 10, "five more")
                assert own(jetstream, name) == list(range(10))
                assert bridge.log.read_text().count("the stream has no fence") == 1
                assert bridge.json("/healthz")[1]["status"] in ("ok", "idle")
                found = json.loads(
                    tailrace("doctor", "-c", bridge.file, "--json", seconds=60).stdout)["checks"]
                check = next(c for c in found if c["id"] == "nats.permissions.leadership")
                assert "optional: tailrace.fence." in check["evidence"], check
                second = tmp_path / "second"
                second.mkdir()
                from lab import free_ports
                with Bridge(second, bridge.configuration
                            | {"http": {"listen": f"127.0.0.1:{free_ports(1)[0]}"}}) as standby:
                    standby.start()
                    wait_until(lambda: bridge.json("/healthz")[1]["status"] == "degraded",
                               "degraded while another instance stands by")
                    lease = bridge.json("/healthz")[1]["checks"]["lease"]
                    assert "has no fence" in lease["detail"], lease
        finally:
            other.mongod = []
