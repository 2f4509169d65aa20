"""Memory that does not grow with the number of events: dry runs by change stream, verification beside
a bridge, and the comparison of states, each for half a million."""

import json
import os
import signal
import subprocess
import time

import pytest
from bridge import BINARY, Bridge, configuration, free_ports, wait_until
from lab import Lab, die_with_parent
from load import client, now, settle

FEW, MANY = 100_000, 500_000


def write(mongo, name, first, events):
    """Half of them inserts, half deletes: one in fifty is left."""
    for at in range(first, first + events // 2, 10_000):
        mongo[name].things.insert_many([
            {"_id": n, "n": n, "text": "some text that takes room", "keep": n % 50 == 0}
            for n in range(at, at + 10_000)], ordered=False)
        mongo[name].things.delete_many({"_id": {"$gte": at}, "keep": False})


def peak(bridge, *arguments, code=0):
    """Runs a command to its end; the most memory it took, in MiB."""
    with open(bridge.log, "ab") as log:
        process = subprocess.Popen([BINARY, *arguments, "-c", bridge.file], cwd=bridge.folder,
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   preexec_fn=die_with_parent)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == code, (arguments, process.returncode, bridge.tail())
    print(arguments[:4], used.ru_maxrss // 1024, "MiB")
    return used.ru_maxrss / 1024


def resident(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Half a million events in the oplog and in a stream; where they begin, and where the first part
    ends."""
    name = "memory_bounds"
    with Lab(oplog_mb=2000) as lab, client(lab) as mongo:
        mongo[name].create_collection("things")
        begin = now(lab)
        write(mongo, name, 0, FEW)
        settle(lab)
        middle = now(lab)
        write(mongo, name, FEW, MANY - FEW)
        mongo[name].things.insert_one({"_id": "last"})
        settle(lab)
        folder = tmp_path_factory.mktemp(name)
        whole = configuration(lab, name, rule={"payload": {"envelope": "change_event"}})
        with Bridge(folder, whole) as bridge:
            bridge.lab = lab
            place = f"{begin.time}.{begin.inc}"
            assert bridge.run("--from", place, "--until", "now", seconds=120) == 0
            yield bridge, place, f"{middle.time}.{middle.inc}"


def test_dry_run_by_change_stream(loaded, tmp_path):
    bridge, begin, middle = loaded
    other = Bridge(tmp_path, bridge.configuration | {
        "source": bridge.configuration["source"] | {"reader": "change_stream"}})
    few = peak(other, "run", "--dry-run", "--from", begin, "--until", middle)
    many = peak(other, "run", "--dry-run", "--from", begin, "--until", "now")
    # A token an event would be 40 MiB more.
    assert many < few + 24


def states(bridge, file):
    took = peak(bridge, "verify", "--level", "state", "--report", file)
    report = json.loads(file.read_text())
    assert report["counts"]["expected"] == report["counts"]["observed"]
    return took, report


def test_states(loaded, tmp_path):
    bridge, _, _ = loaded
    took, report = states(bridge, tmp_path / "report.json")
    # One part's keys (64 MiB, docs/verify.md), and what is on its way from both servers.
    assert took < 160
    assert report["counts"]["expected"] == MANY // 2 // 50 + 1 and report["events"] >= MANY * 0.98


def test_states_that_were_large(loaded, tmp_path):
    """Most documents are gone again: what the collections hold says nothing of what it takes."""
    lab, name = loaded[0].lab, "memory_bounds_large"
    with client(lab) as mongo:
        mongo[name].create_collection("things")
        begin = now(lab)
        for at in range(0, 15_000, 1000):
            mongo[name].things.insert_many([{"_id": n, "text": "x" * 8000, "keep": n % 50 == 0}
                                            for n in range(at, at + 1000)])
        mongo[name].things.delete_many({"keep": False})
        mongo[name].things.insert_one({"_id": "last"})
    settle(lab)
    whole = configuration(lab, name, rule={"payload": {"envelope": "change_event"}})
    with Bridge(tmp_path, whole) as bridge:
        assert bridge.run("--from", f"{begin.time}.{begin.inc}", "--until", "now") == 0
        took, report = states(bridge, tmp_path / "report.json")
        assert took < 200
        assert "part 2 of 2" in bridge.tail(), "it was divided on the way"
        assert report["counts"]["expected"] == 15_000 // 50 + 1


def test_follow(loaded):
    bridge, _, _ = loaded
    port, = free_ports(1)
    listening = dict(bridge.configuration, http={"listen": f"127.0.0.1:{port}"})
    with open(bridge.log, "ab") as log:
        process = subprocess.Popen(
            [BINARY, "verify", "--follow", "--listen", f"127.0.0.1:{port}", "--max-rate", "60000",
             "--interval", "0.05", "-c", bridge.file], cwd=bridge.folder, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, preexec_fn=die_with_parent)
    asked = Bridge.__new__(Bridge)
    asked.configuration = listening

    def observed():
        assert process.poll() is None, bridge.tail()
        code, status = asked.json("/status")
        return status["counts"]["observed"] if code == 200 else 0

    try:
        wait_until(lambda: observed() > 0, "it compares")
        # Until all is compared, and then through many steps with nothing to do.
        wait_until(lambda: observed() >= FEW, "the first part", seconds=60)
        few = resident(process.pid)
        wait_until(lambda: observed() > MANY * 0.98, "all of it", seconds=120)
        many = resident(process.pid)
        time.sleep(3)
        idle = resident(process.pid)
        print(few, many, idle)
        # A stretch in work takes its share; nothing of it stays.
        assert max(few, many) < 128 and idle < many + 8
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, bridge.tail()
