"""Several instances of one bridge: one leads, the others are standbys; whatever happens to the leader, one
of them continues, and every event is stored once, in order."""

import os
import signal
import time

import pytest

from bridge import Bridge, configuration, wait_until
from lab import Lab
from load import client, make_collections


@pytest.fixture(scope="module")
def lab():
    """Servers of these tests' own: one of them restarts NATS."""
    with Lab() as servers:
        yield servers


def insert(lab, name, numbers):
    with client(lab) as mongo:
        mongo[name].rooms.insert_many([{"_id": n} for n in numbers])


def another(bridge, folder, **changes):
    folder.mkdir(exist_ok=True)
    from lab import free_ports
    whole = bridge.configuration | {"http": {"listen": f"127.0.0.1:{free_ports(1)[0]}"}} | changes
    return Bridge(folder, whole)


def status(bridge):
    return bridge.json("/status")[1] or {"role": None, "phase": "unknown"}


def leads(bridge):
    return status(bridge)["role"] == "leader" and status(bridge)["phase"] == "running"


def stands_by(bridge):
    code, health = bridge.json("/healthz")
    return status(bridge)["phase"] == "standby" and code == 200 and health["status"] == "idle"


def ids(jetstream, name):
    return [message.json["documentKey"]["_id"] for message in jetstream.messages(name)]


@pytest.fixture
def pair(lab, tmp_path, name):
    """A leader and a standby."""
    make_collections(lab, name)
    whole = configuration(lab, name)
    whole["bridge"]["lease"] = "2s"
    with Bridge(tmp_path, whole) as first:
        first.start().wait_ready()
        wait_until(lambda: leads(first), "the first leads")
        with another(first, tmp_path / "second") as second:
            second.start()
            wait_until(lambda: stands_by(second), "the second stands by", 20)
            yield first, second


def test_the_second_stands_by(lab, jetstream, name, pair):
    first, second = pair
    insert(lab, name, range(5))
    wait_until(lambda: jetstream.holds(name, 5), "5 messages")
    time.sleep(5)  # two leases and more
    assert leads(first) and stands_by(second)
    assert second.get("/readyz")[0] == 200
    assert status(second)["epoch"] == status(first)["epoch"]
    assert status(second)["lease"]["holder"] == status(first)["instance"]
    assert status(second)["lease"]["age_seconds"] < 2
    assert status(first)["lease"]["takeovers"] == 0
    assert status(first)["connection_epoch"] == 1, "it was not disturbed"
    assert 'tailrace_leader 0' in second.get("/metrics")[1]
    assert 'tailrace_leader 1' in first.get("/metrics")[1]
    assert second.terminate() == 0
    assert leads(first)


def takes_over(lab, jetstream, name, new, within, count, reason):
    began = time.monotonic()
    insert(lab, name, [count])
    wait_until(lambda: jetstream.holds(name, count + 1), "the next message", within + 10)
    took = time.monotonic() - began
    wait_until(lambda: leads(new), "the standby leads")
    assert status(new)["lease"]["reason"] == reason
    return took


def test_stopped(lab, jetstream, name, pair):
    first, second = pair
    insert(lab, name, [0])
    wait_until(lambda: jetstream.holds(name, 1), "a message")
    before = status(first)["epoch"]
    assert first.terminate() == 0
    takes_over(lab, jetstream, name, second, 1, 1, "released")
    assert status(second)["epoch"] == before + 1
    assert status(second)["lease"]["takeovers"] == 1
    assert ids(jetstream, name) == [0, 1]


def test_killed(lab, jetstream, name, pair):
    first, second = pair
    insert(lab, name, [0])
    wait_until(lambda: jetstream.holds(name, 1), "a message")
    first.kill()
    takes_over(lab, jetstream, name, second, 1, 1, "connection_gone")
    # The other way round, by a process that is started again.
    first.start()
    wait_until(lambda: stands_by(first), "it stands by", 20)
    time.sleep(2.5)  # its connection has to be so old
    second.kill()
    takes_over(lab, jetstream, name, first, 1, 2, "connection_gone")
    assert ids(jetstream, name) == [0, 1, 2]


def test_frozen(lab, jetstream, name, pair):
    first, second = pair
    insert(lab, name, [0])
    wait_until(lambda: jetstream.holds(name, 1), "a message")
    os.kill(first.process.pid, signal.SIGSTOP)
    try:
        takes_over(lab, jetstream, name, second, 3, 1, "expired")
        insert(lab, name, range(2, 50))
        wait_until(lambda: jetstream.holds(name, 50), "50 messages")
    finally:
        os.kill(first.process.pid, signal.SIGCONT)
    wait_until(lambda: stands_by(first), "it has become a standby", 20)
    first.alive()
    insert(lab, name, range(50, 60))
    wait_until(lambda: jetstream.holds(name, 60), "60 messages")
    assert leads(second)
    knows_only_what_standbys_know(first)
    # And back.
    assert second.terminate() == 0
    insert(lab, name, range(60, 70))
    wait_until(lambda: jetstream.holds(name, 70), "70 messages")
    wait_until(lambda: leads(first), "it leads again")
    assert ids(jetstream, name) == list(range(70))


def knows_only_what_standbys_know(bridge):
    """Nothing of the time when it led, which would age from now on, and alarm people."""
    def settled():
        code, health = bridge.json("/healthz")
        return code == 200 and all(check["status"] in ("ok", "idle") for check in health["checks"].values())
    began = time.monotonic()
    wait_until(settled, "all checks are good", 10)
    # More than health waits for before it calls something old.
    wait_until(lambda: time.monotonic() > began + 4, "time passes")
    assert settled(), bridge.json("/healthz")
    assert bridge.json("/status")[1]["checkpoint"] is None
    names = {line.split("{")[0].split(" ")[0] for line in bridge.get("/metrics")[1].splitlines()}
    assert not names & {"tailrace_checkpoint_age_seconds", "tailrace_checkpoint_position_seconds",
                        "tailrace_oplog_headroom_seconds", "tailrace_oldest_unsettled_seconds",
                        "tailrace_dead_letters_standing"}, names


def test_all_at_once(lab, jetstream, tmp_path, name):
    """One of them leads, whichever."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as first:
        with another(first, tmp_path / "second") as second, \
                another(first, tmp_path / "third") as third:
            all = [first, second, third]
            for bridge in all:
                bridge.start()
            wait_until(lambda: sorted(status(b)["phase"] for b in all)
                       == ["running", "standby", "standby"], "one leads, two stand by", 30)
            insert(lab, name, range(3))
            wait_until(lambda: jetstream.holds(name, 3), "3 messages")
            for bridge in all:
                bridge.alive()


def test_other_configuration_waits(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    whole = configuration(lab, name)
    whole["bridge"]["lease"] = "1s"
    with Bridge(tmp_path, whole) as first:
        first.start().wait_ready()
        rules = [dict(rule) for rule in whole["rules"]]
        rules[0]["subject"] = rules[0]["subject"] + ".other"
        with another(first, tmp_path / "second", rules=rules) as second:
            second.start()
            wait_until(lambda: status(second)["phase"] == "standby", "the second stands by", 20)
            code, health = second.json("/healthz")
            assert code == 200 and health["status"] == "degraded"
            assert "another configuration" in health["checks"]["lease"]["detail"]
            time.sleep(2.5)
            first.kill()
            began = time.monotonic()
            wait_until(lambda: leads(second), "it leads", 20)
            assert time.monotonic() - began > 2.5, "four leases, less what passed before"
            assert status(second)["lease"]["reason"] == "expired"
            insert(lab, name, [1])
            wait_until(lambda: jetstream.holds(name, 1), "a message")


def test_released_for_any_configuration(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    whole = configuration(lab, name)
    with Bridge(tmp_path, whole) as first:
        first.start().wait_ready()
        rules = [dict(rule) for rule in whole["rules"]]
        rules[0]["subject"] = rules[0]["subject"] + ".other"
        with another(first, tmp_path / "second", rules=rules) as second:
            second.start()
            wait_until(lambda: status(second)["phase"] == "standby", "the second stands by", 20)
            assert first.terminate() == 0
            wait_until(lambda: leads(second), "it leads", 4)
            assert status(second)["lease"]["reason"] == "released"


def test_nats_restarted(lab, jetstream, name, pair):
    """Both connect again, in any order: one of them leads, and the other one stands by."""
    first, second = pair
    for turn in range(3):
        insert(lab, name, range(turn * 10, turn * 10 + 10))
        lab.restart("nats", signal_name="KILL")
        wait_until(lambda turn=turn: jetstream.holds(name, turn * 10 + 10), "all messages")
    wait_until(lambda: sorted(status(b)["phase"] for b in (first, second))
               == ["running", "standby"], "one leads, one stands by", 30)
    assert ids(jetstream, name) == list(range(30))


def test_bucket_deleted(lab, jetstream, name, pair):
    first, second = pair
    insert(lab, name, range(10))
    wait_until(lambda: jetstream.holds(name, 10), "10 messages")
    before = status(first)["epoch"]
    jetstream.delete_stream(f"KV_STATE_{name}")
    insert(lab, name, range(10, 20))
    wait_until(lambda: jetstream.holds(name, 20), "20 messages")
    time.sleep(4)
    assert sorted(status(b)["phase"] for b in (first, second)) == ["running", "standby"]
    assert first.terminate() == 0
    wait_until(lambda: leads(second), "the standby leads")
    assert status(second)["epoch"] > before
    insert(lab, name, range(20, 30))
    wait_until(lambda: jetstream.holds(name, 30), "30 messages")
    assert ids(jetstream, name) == list(range(30))
