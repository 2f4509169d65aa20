"""The course of `tailrace verify`: in stretches that can be gone on from, beside a running bridge, and
what repair makes of its findings."""

import json
import signal
import subprocess
import time
import urllib.request
from itertools import count

from pymongo import UpdateOne

from bridge import BINARY, Bridge, configuration, tailrace, wait_until
from jetstream import JetStream
from lab import Lab, free_ports
from load import Writer, client, expected, make_collections, now, settle
from test_limits import Servers
from test_verify import found, older_than, published, rebuild, verify


def slowly(lab, name, seconds=4):
    """Writes over some seconds, so that there is more than one stretch."""
    with Writer(lab, name, seed=11, rate=1000) as writer:
        time.sleep(seconds)
        assert writer.written


def many_seconds(lab, tmp_path, name, **changes):
    make_collections(lab, name)
    after = now(lab)
    slowly(lab, name)
    bridge = Bridge(tmp_path, configuration(lab, name, **changes))
    assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
    return bridge, after


def test_stretches_add_up(lab, jetstream, tmp_path, name):
    """Stretch by stretch the same is found as in one; and a file of progress is gone on from."""
    bridge, after = many_seconds(lab, tmp_path, name)
    truth = len(expected(lab, name, after))
    small = ("--stretch", "300")
    report = verify(bridge, *small)
    assert report["verdict"] == "PASS" and report["counts"]["observed"] == truth
    stream = next(s for s in report["streams"] if s["name"] == name)
    assert stream["expected"] == stream["observed"] == truth
    # Killed on its way, and gone on from.
    file = tmp_path / "progress.json"
    process = subprocess.Popen([BINARY, "verify", "-c", bridge.file, *small, "--progress", file],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(file.exists, "progress", every=0.001)
    process.kill()
    process.wait()
    done = json.loads(file.read_text())
    # All of it, if it was faster than the kill.
    assert 0 < done["report"]["counts"]["expected"] <= truth
    report = verify(bridge, *small, "--progress", file)
    assert report["verdict"] == "PASS" and report["counts"]["expected"] == truth
    assert report["counts"]["observed"] == truth
    # What came since is added.
    slowly(lab, name, 1)
    assert bridge.run("--until", "now") == 0
    truth = len(expected(lab, name, after))
    report = verify(bridge, "--progress", file)
    assert report["verdict"] == "PASS" and report["counts"]["observed"] == truth
    # Of another comparison, the file is refused.
    assert "begins at" in verify(bridge, "--progress", file, "--from", done["done"].rsplit(".", 1)[0]
                                 .rsplit(".", 1)[0] + ".1", code=2)["reasons"][0]


def test_faults_across_stretches(lab, jetstream, tmp_path, name):
    """What belongs to one stretch and is in another is found there."""
    bridge, _ = many_seconds(lab, tmp_path, name)
    count = jetstream.state(name)["messages"]
    early, late = 100, count - 100

    def spoil(messages):
        return (messages[:early] + messages[early + 1:late]
                + [messages[early], (messages[early + 5], {"wait": True})] + messages[late:])

    rebuild(jetstream, name, spoil)
    report = verify(bridge, "--stretch", "500", code=1)
    classes = found(report)
    # Out of order where it is; missing where it should be, unless it was read with its own stretch: how far
    # reading goes beyond one depends on who is faster.
    assert classes.pop("missing", 1) == 1, json.dumps(report["mismatches"])
    assert classes == {"reordered": 1, "duplicate": 1}, json.dumps(report["mismatches"])
    assert found(verify(bridge, code=1)) == {"reordered": 1, "duplicate": 1}


def repair(bridge, *arguments, code=0):
    done = tailrace("verify", "repair", "--json", "-c", bridge.file, *arguments, cwd=bridge.folder,
                    seconds=60)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_repair(lab, jetstream, tmp_path, name):
    """What is missing at the end is published under its id; in the middle only if one says so."""
    bridge, _ = published(lab, tmp_path, name, count=400)
    rebuild(jetstream, name, lambda ms: ms[:-30])
    lines, said = repair(bridge, code=1)
    assert len(lines) == 30 and {line["what"] for line in lines} == {"missing"}
    held = jetstream.state(name)["messages"]
    lines, _ = repair(bridge, "--publish")
    assert [line["what"] for line in lines].count("published") == 30
    assert jetstream.state(name)["messages"] == held + 30
    assert verify(bridge)["verdict"] == "PASS"
    assert repair(bridge)[0] == []
    # In the middle.
    rebuild(jetstream, name, lambda ms: ms[:100] + ms[103:])
    lines, said = repair(bridge, "--publish", code=1)
    assert "would stand behind" in said and jetstream.state(name)["messages"] == held + 27
    repair(bridge, "--publish", "--out-of-order")
    report = verify(bridge, code=1)
    assert found(report) == {"reordered": 3}
    ids = [message.id for message in jetstream.messages(name)]
    assert len(ids) == len(set(ids)) == held + 30


def test_repair_within_the_dedup_window(lab, jetstream, tmp_path, name):
    """A message that was deleted, and whose id the server still knows, is not said to be published."""
    bridge, _ = published(lab, tmp_path, name, count=200)
    last = jetstream.state(name)["last_seq"]
    jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": last})
    lines, _ = repair(bridge, "--publish", code=1)
    assert [line["what"] for line in lines] == ["missing", "refused"]


def test_repair_waits_for_the_leader(lab, jetstream, tmp_path, name):
    """It takes the lease: nothing is published beside an instance that leads, and none leads beside it."""
    bridge, _ = published(lab, tmp_path, name, count=200)
    jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": jetstream.state(name)["last_seq"]})
    bridge.start().wait_ready()
    epoch = bridge.json("/status")[1]["epoch"]
    process = subprocess.Popen(
        [BINARY, "verify", "repair", "--publish", "--json", "-c", bridge.file],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=bridge.folder)
    try:
        assert any("waiting until it stops" in line for line in process.stderr)
        time.sleep(1)
        assert process.poll() is None and bridge.json("/status")[1]["role"] == "leader"
        assert bridge.terminate() == 0
        # The server still knows the id.
        assert process.wait(60) == 1
        assert [json.loads(line)["what"] for line in process.stdout] == ["missing", "refused"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
    # Released: it leads at once, behind the command's epoch.
    bridge.start().wait_ready()
    status = bridge.json("/status")[1]
    assert status["role"] == "leader" and status["epoch"] == epoch + 2, status
    assert bridge.terminate() == 0


class Follower:
    def __init__(self, bridge, *arguments):
        self.port = free_ports(1)[0]
        self.process = subprocess.Popen(
            [BINARY, "verify", "--follow", "--json", "-c", bridge.file, "--interval", "0.2",
             "--listen", f"127.0.0.1:{self.port}", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return None, "{}"

    def status(self):
        return json.loads(self.get("/status")[1])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=30)
        return self.process.returncode, json.loads(out)


def test_follow(lab, jetstream, tmp_path, name):
    """Beside a running bridge: what is settled is compared as it comes, and a fault is found."""
    make_collections(lab, name)
    after = now(lab)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start("--from", f"{after.time}.{after.inc}").wait_ready()
        with Follower(bridge) as follower:
            with Writer(lab, name, seed=9, rate=2000):
                wait_until(lambda: follower.status().get("counts", {}).get("observed", 0) > 3000,
                           "compared messages")
                assert follower.get("/healthz")[0] == 200
            truth = len(expected(lab, name, after))
            wait_until(lambda: jetstream.holds(name, truth), "all messages")
            # Something behind it, so that all of it is settled.
            with client(lab) as mongo:
                mongo[name].rooms.insert_one({"_id": "last"})
            status = wait_until(
                lambda: (s := follower.status())["counts"]["observed"] >= truth and s, "the end")
            assert status["verdict"] == "PASS" and found(status) == {}
            assert status["counts"]["expected"] == status["counts"]["observed"]
            page = follower.get("/metrics")[1]
            assert 'tailrace_verify_status{status="ok"} 1' in page
            assert f'tailrace_verify_mismatches_total{{class="missing"}} 0' in page
            # A forged message among the next ones.
            forged = jetstream.messages(name)[10]
            headers = {k: v for k, v in forged.headers.items() if k.startswith(("Tail", "ce-"))}
            jetstream.publish(forged.subject, forged.body, headers | {"Nats-Msg-Id": "rs0:1.1.0"})
            with client(lab) as mongo:
                mongo[name].rooms.insert_many([{"_id": f"more{n}"} for n in range(5)])
            wait_until(lambda: follower.get("/healthz")[0] == 503, "the fault is found")
            assert found(follower.status()) == {"extra": 1}
            code, report = follower.stop()
            assert code == 1 and report["verdict"] == "FAIL"


def test_follow_bounded_load(lab, tmp_path, name):
    """--max-rate holds it back."""
    bridge, after = many_seconds(lab, tmp_path, name)
    truth = len(expected(lab, name, after))
    began = time.monotonic()
    rate = 1000
    with Follower(bridge, "--max-rate", str(rate)) as follower:
        wait_until(lambda: follower.status().get("counts", {}).get("observed", 0) > 0, "a first stretch")
        status = wait_until(
            lambda: (s := follower.status())["counts"]["observed"] >= truth - 50 and s, "the end")
        assert status["verdict"] == "PASS"
        took = time.monotonic() - began
        # A stretch may be over before its time is.
        assert status["counts"]["observed"] <= rate * (took + 6)


def test_follow_outlives_its_servers(lab, tmp_path, name):
    """A server that can't be reached is said, and waited for."""
    whole = configuration(lab, name, nats={"servers": ["nats://127.0.0.1:1"]})
    bridge = Bridge(tmp_path, whole)
    with Follower(bridge) as follower:
        wait_until(lambda: json.loads(follower.get("/healthz")[1]).get("status") == "degraded",
                   "degraded")
        code, report = follower.stop()
        assert code == 2 and report["verdict"] == "INCONCLUSIVE"


def test_follow_last_of_each_subject(lab, jetstream, tmp_path, name):
    """Messages that newer ones push out, before a look at the stream, after it, and between the two looks
    of one comparison, are none that are missing; one that somebody takes away is."""
    make_collections(lab, name)
    after = now(lab)
    rule = {"subject": name + ".{documentKey._id}"}
    with client(lab) as mongo, Bridge(tmp_path, configuration(
            lab, name, rule=rule, stream={"max_msgs_per_subject": 1})) as bridge:
        bridge.start("--from", f"{after.time}.{after.inc}").wait_ready()
        presence = mongo[name].presence

        def write(number):
            presence.bulk_write([UpdateOne({"_id": (number * 7 + n) % 40}, {"$set": {"k": number}},
                                           upsert=True) for n in range(10)])

        with Follower(bridge, "--interval", "0.05") as follower:
            numbers = count()
            until = time.monotonic() + 6
            while time.monotonic() < until:
                write(next(numbers))
                time.sleep(0.003)
            wait_until(lambda: write(next(numbers)) or follower.status()["counts"]["expected"] > 1000,
                       "compared messages")
            status = follower.status()
            counts = status["counts"]
            assert found(status) == {} and status["verdict"] == "PASS", status["mismatches"][:3]
            assert 0 < counts["expected"] - counts["observed"] <= status["superseded"] + 40
            assert status["superseded"] <= counts["expected"]
            # Nothing has the subject of what is taken away now, but its message.
            presence.insert_one({"_id": "alone"})
            message = wait_until(lambda: next((m for m in jetstream.messages(name) if m.json[
                "documentKey"]["_id"] == "alone"), None), "its message")
            jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": message.sequence})
            presence.insert_one({"_id": "behind"})
            report = verify(bridge, "--to", "now", code=1)
            assert found(report) == {"gap": 1}, report["mismatches"][:3]


def test_first_message_of_a_later_range(lab, jetstream, tmp_path, name):
    """What limits have removed stood at the stream's beginning. A message that is gone from further on is a
    gap, also where it is the first that is compared."""
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo, Bridge(tmp_path, configuration(
            lab, name, stream={"max_age": "1d"})) as bridge:
        mongo[name].rooms.insert_many([{"_id": n} for n in range(20)])
        settle(lab)
        assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
        file = tmp_path / "progress.json"
        assert verify(bridge, "--progress", file)["verdict"] == "PASS"
        mongo[name].rooms.insert_many([{"_id": n} for n in range(20, 25)])
        settle(lab)
        assert bridge.run("--until", "now") == 0
        first = jetstream.messages(name)[20]
        jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": first.sequence})
        place = first.headers["Tailrace-Position"].rsplit(".", 1)[0]
        for arguments in (["--progress", file], ["--from", place]):
            report = verify(bridge, *arguments, code=1)
            assert found(report) == {"gap": 1} and report["not_held"] == 0, report


def seconds_ahead(lab, seconds):
    with client(lab) as mongo:
        return f"{int(mongo.admin.command('hello')['localTime'].timestamp()) + seconds}.1"


def test_an_end_that_mongodb_has_not_come_to(lab, tmp_path, name):
    """A position a few seconds ahead is waited for, quiet as the set may be; one far ahead is refused at once."""
    bridge, after = published(lab, tmp_path, name, count=100)
    first = f"{after.time}.{after.inc}"
    readers = ["oplog"] if older_than(lab, 6) else ["oplog", "change_stream"]
    with bridge:
        bridge.start().wait_ready()
        for reader in readers:
            to = seconds_ahead(lab, 3)
            report = verify(bridge, "--reader", reader, "--to", to)
            assert report["verdict"] == "PASS" and report["to"] == to, report
            to = seconds_ahead(lab, 3600)
            began = time.monotonic()
            report = verify(bridge, "--reader", reader, "--to", to, code=2)
            assert time.monotonic() - began < 20
            assert f"{to} is 3" in report["reasons"][0] and "--timeout (30 s)" in report["reasons"][0]
        report = verify(bridge, "--to", seconds_ahead(lab, 8), "--timeout", "1", code=2)
        assert "--timeout" in report["reasons"][0]
        assert bridge.terminate() == 0
    # So do bounded runs, dry and wet.
    until = seconds_ahead(lab, 3)
    done = tailrace("run", "--dry-run", "--json", "--until", until, "-c", bridge.file, "--from", first,
                    cwd=tmp_path)
    report = json.loads(done.stdout)
    assert report["verdict"] == "PASS" and report["events"] >= 100, done.stdout + done.stderr
    assert now(lab).time >= int(until.split(".")[0])
    until = seconds_ahead(lab, 3)
    assert bridge.run("--until", until) == 0
    assert now(lab).time >= int(until.split(".")[0])


def test_bodies_larger_than_a_request_for_them(lab, tmp_path, name):
    """Messages are asked for by their bytes as well; one that is larger than that is asked for alone."""
    make_collections(lab, name)
    after = now(lab)
    sizes = [10, 900_000, 900_000, 900_000, 900_000, 900_000, 5_000_000, 10, 6_000_000, 5_000_000, 900_000, 10]
    with Lab(mongod=0, nats_conf="max_payload: 16MB") as nats, client(lab) as mongo:
        for number, size in enumerate(sizes):
            mongo[name].messages.insert_one({"_id": number, "x": "y" * size})
        settle(lab)
        bridge = Bridge(tmp_path, configuration(Servers(lab, nats), name))
        assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
        report = verify(bridge)
        assert report["verdict"] == "PASS" and report["counts"]["observed"] == len(sizes), report
        jetstream = JetStream(nats.nats_url)
        jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": 9})
        assert found(verify(bridge, code=1)) == {"gap": 1}
