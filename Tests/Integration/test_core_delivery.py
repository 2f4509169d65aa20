"""`delivery: core`: signals come at most once, never late, and no stream stores them."""

import json
import signal
import time

import pytest

from bridge import Bridge, configuration, tailrace, wait_until
from jetstream import JetStream
from lab import Lab
from listener import Listener
from load import client, make_collections, now, settle


def signals(lab, name, stream=False, **changes):
    """Documents go to the instance that they name; with `stream`, they are stored as well."""
    rule = {"name": "inbox", "match": {"namespace": f"{name}.messages", "operations": ["insert"]},
            "subject": f"inbox_{name}" + ".{fullDocument.instance}", "delivery": "core",
            "core": {"max_age": "2s"}}
    rules = [rule | changes.pop("rule", {})]
    if stream:
        rules[0]["continue"] = True
        rules.append({"name": "all", "match": {"namespace": f"{name}.*"}, "stream": name,
                      "subject": name + ".{ns.coll}.{operationType}"})
    else:
        changes["streams"] = []
    return configuration(lab, name, rules=rules, **changes)


def insert(lab, name, numbers, instance=lambda n: f"i{n % 3}"):
    with client(lab) as mongo:
        for n in numbers:
            mongo[name].messages.insert_one({"_id": n, "instance": instance(n), "text": f"hello {n}"})


def ids(heard):
    return [message.json["documentKey"]["_id"] for message in heard]


def leads(bridge):
    """A standby is ready, too."""
    wait_until(lambda: bridge.alive() and bridge.json("/status")[1].get("phase") == "running", "it publishes")


def outcomes(bridge):
    return bridge.json("/status")[1]["outcomes"]


def counted(bridge, **expected):
    def check():
        found = outcomes(bridge)
        return all(found[key] == value for key, value in expected.items())

    wait_until(lambda: bridge.alive() and check(), f"{expected}, and not {outcomes(bridge)}")


@pytest.mark.parametrize("read_concern", ["majority", "local"])
def test_fan_out(lab, jetstream, tmp_path, name, read_concern):
    """Each instance listens to its own inbox, which the rule derives from the document."""
    make_collections(lab, name)
    whole = signals(lab, name)
    whole["source"]["read_concern"] = read_concern
    with Bridge(tmp_path, whole) as bridge, \
            Listener(lab.nats_url, f"inbox_{name}.i0") as zero, \
            Listener(lab.nats_url, f"inbox_{name}.i1") as one, \
            Listener(lab.nats_url, f"inbox_{name}.>") as all_of_them:
        bridge.start()
        leads(bridge)
        insert(lab, name, range(300))
        wait_until(lambda: len(all_of_them.heard) == 300, "all are heard")
        assert ids(all_of_them.heard) == list(range(300)), "in order"
        wait_until(lambda: len(zero.heard) == len(one.heard) == 100, "each its own")
        assert ids(zero.heard) == list(range(0, 300, 3)) and ids(one.heard) == list(range(1, 300, 3))
        first = zero.heard[0]
        assert first.headers["Tailrace-Rule"] == "inbox" and first.headers["ce-id"] == first.id
        assert first.json["fullDocument"]["text"] == "hello 0"
        counted(bridge, published=300, dropped=0, dead_lettered=0)
        found = bridge.json("/status")[1]
        assert sum(found["outcomes"].values()) == found["events_derived"]
        assert jetstream.state(name) is None and jetstream.state(f"DLQ_{name}")["messages"] == 0
        assert bridge.terminate() == 0
    with Listener(lab.nats_url, f"inbox_{name}.>") as late, Bridge(tmp_path, whole) as bridge:
        # The next start begins now: what came meanwhile is not signalled.
        insert(lab, name, range(300, 310))
        bridge.start()
        leads(bridge)
        insert(lab, name, range(310, 320))
        wait_until(lambda: len(late.heard) == 10, "what came after the start")
        assert ids(late.heard) == list(range(310, 320))


def test_beside_a_stream(lab, jetstream, tmp_path, name):
    """kill -9 again and again: the stream has everything once, signals come at most once, and soon."""
    make_collections(lab, name)
    number = 0
    with Bridge(tmp_path, signals(lab, name, stream=True)) as bridge, \
            Listener(lab.nats_url, f"inbox_{name}.>") as listener:
        for _ in range(4):
            bridge.start()
            leads(bridge)
            insert(lab, name, range(number, number + 50))
            number += 50
            wait_until(lambda: number - 1 in ids(listener.heard), "the last one is heard")
            insert(lab, name, range(number, number + 50))
            number += 50
            bridge.kill()
            insert(lab, name, range(number, number + 20))
            number += 20
        bridge.start()
        leads(bridge)
        settle(lab)
        wait_until(lambda: bridge.alive() and jetstream.holds(name, number), "all is stored")
        wait_until(lambda: bridge.json("/healthz")[1]["status"] in ("ok", "idle"), "healthy")
        # Counters are reported once a second.
        wait_until(lambda: outcomes(bridge)["dropped"] >= 20, "what was written while the bridge was gone")
        found = outcomes(bridge)
        assert sum(found.values()) == bridge.json("/status")[1]["events_derived"]
        heard = ids(listener.heard)
        assert len(heard) == len(set(heard)), "at most once"
        assert heard == sorted(heard), "in order"
        down = {n for start in range(100, number, 120) for n in range(start, start + 20)}
        assert not down & set(heard), "never late"
        assert bridge.terminate() == 0
    assert [m.json["documentKey"]["_id"] for m in jetstream.messages(name)] == list(range(number))
    report = tailrace("verify", "--json", "-c", bridge.file, cwd=tmp_path)
    verdict = json.loads(report.stdout)
    assert report.returncode == 0 and verdict["counts"]["expected"] == number, report.stdout


def test_never_late(lab, tmp_path, name):
    """A bridge that sleeps for longer than max_age has nothing to say of what happened meanwhile."""
    make_collections(lab, name)
    whole = signals(lab, name)
    whole["bridge"]["lease"] = "60s"
    with Bridge(tmp_path, whole) as bridge, Listener(lab.nats_url, f"inbox_{name}.>") as listener:
        bridge.start()
        leads(bridge)
        insert(lab, name, range(5))
        wait_until(lambda: len(listener.heard) == 5, "awake")
        bridge.process.send_signal(signal.SIGSTOP)
        insert(lab, name, range(5, 15))
        asleep = time.monotonic()
        wait_until(lambda: time.monotonic() - asleep > 3, "it sleeps for longer than max_age")
        bridge.process.send_signal(signal.SIGCONT)
        counted(bridge, published=5, dropped=10)
        insert(lab, name, range(15, 20))
        counted(bridge, published=10, dropped=10)
        wait_until(lambda: len(listener.heard) == 10, "awake again")
        assert ids(listener.heard) == [*range(5), *range(15, 20)]


def test_server_restarts(tmp_path, name):
    """nats-server is killed: nothing comes twice, and what could not be sent in time is dropped."""
    with Lab() as lab:
        make_collections(lab, name)
        with Bridge(tmp_path, signals(lab, name)) as bridge, \
                Listener(lab.nats_url, f"inbox_{name}.>") as listener:
            bridge.start()
            leads(bridge)
            insert(lab, name, range(20))
            wait_until(lambda: len(listener.heard) == 20, "before")
            lab.kill("nats")
            insert(lab, name, range(20, 40))
            began = time.monotonic()
            wait_until(lambda: time.monotonic() - began > 2.5, "longer than max_age")
            lab.start("nats")
            leads(bridge)
            wait_until(lambda: sum(outcomes(bridge).values()) == 40, "every event has its outcome")
            with client(lab) as mongo:
                def heard_again():
                    mongo[name].messages.insert_one({"instance": "i0", "text": "again"})
                    return len(listener.heard) > 20
                wait_until(heard_again, "both are connected again", every=0.3)
            heard = ids(listener.heard)[:40]
            assert not set(range(20, 40)) & set(heard) and heard[:20] == list(range(20))
            assert len(heard) == len(set(map(str, heard)))


def doctor(bridge):
    done = tailrace("doctor", "--json", "-c", bridge.file, cwd=bridge.folder)
    return {c["id"]: c for c in json.loads(done.stdout)["checks"] if c["verdict"] == "fail"}


def test_no_stream_stores_them(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    catching = {"name": f"{name}_all", "subjects": [f"inbox_{name}.>"]}
    with Bridge(tmp_path, signals(lab, name)) as bridge:
        jetstream.api(f"STREAM.CREATE.{name}_all", catching)
        assert bridge.run(seconds=30) == 78
        assert f"{name}_all" in bridge.log.read_text()
        assert jetstream.state(f"DLQ_{name}") is None, "nothing was made"
        assert f"{name}_all" in doctor(bridge)["nats.signal.inbox"]["evidence"]
        plan = tailrace("streams", "plan", "-c", bridge.file)
        assert plan.returncode == 1 and f"{name}_all" in plan.stdout
        jetstream.delete_stream(f"{name}_all")
        assert "nats.signal.inbox" not in doctor(bridge)
        bridge.start()
        leads(bridge)
        wait_until(lambda: bridge.json("/healthz")[1]["status"] in ("ok", "idle"), "nothing wrong")
        # Somebody makes such a stream while the bridge runs.
        jetstream.api(f"STREAM.CREATE.{name}_all", catching)
        wait_until(lambda: bridge.json("/healthz")[1]["status"] == "degraded", "degraded")
        assert f"{name}_all" in bridge.json("/healthz")[1]["checks"]["nats"]["detail"]
        jetstream.delete_stream(f"{name}_all")
        wait_until(lambda: bridge.json("/healthz")[1]["status"] in ("ok", "idle"), "well again")
        assert bridge.terminate() == 0


def test_invalid_signals(lab, jetstream, tmp_path, name):
    """They are dropped, and have no dead letter."""
    make_collections(lab, name)
    with Bridge(tmp_path, signals(lab, name)) as bridge, \
            Listener(lab.nats_url, f"inbox_{name}.>") as listener:
        bridge.start()
        leads(bridge)
        with client(lab) as mongo:
            mongo[name].messages.insert_one({"_id": 1})
            mongo[name].messages.insert_one({"_id": 2, "instance": "i1"})
        counted(bridge, published=1, dropped=1)
        wait_until(lambda: ids(listener.heard) == [2], "the valid one")
        assert jetstream.state(f"DLQ_{name}")["messages"] == 0


def test_dry_run_and_decode_show_them(lab, tmp_path, name):
    make_collections(lab, name)
    settle(lab)
    after = now(lab)
    insert(lab, name, range(3))
    settle(lab)
    bridge = Bridge(tmp_path, signals(lab, name))
    done = tailrace("run", "--dry-run", "--json", "--from", f"{after.time}.{after.inc}", "--until", "now",
                    "-c", bridge.file, cwd=tmp_path)
    rule, = json.loads(done.stdout)["rules"]
    assert done.returncode == 0 and rule["messages"] == 3 and rule["stream"] == "core"
    assert tailrace("validate", "-c", bridge.file).returncode == 0
