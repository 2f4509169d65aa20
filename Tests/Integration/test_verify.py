"""`tailrace verify`: PASS where the stream is what the oplog says, each fault found and rightly called."""

import json
import os
import random
import signal
import subprocess
import time

import pytest

from bridge import BINARY, Bridge, configuration, tailrace, wait_until
from lab import Lab
from load import Writer, client, expected, make_collections, now, settle

# Of verifications beside a writing bridge.
ROUNDS = int(os.environ.get("VERIFY_ROUNDS", "10"))
CLASSES = ["missing", "extra", "duplicate", "reordered", "payload_mismatch", "schema_invalid", "gap"]


def verify(bridge, *arguments, code=0, seconds=90):
    done = tailrace("verify", "--json", "-c", bridge.file, *arguments, cwd=bridge.folder,
                    seconds=seconds)
    assert done.returncode == code, (done.returncode, done.stdout[-4000:], done.stderr[-2000:])
    return json.loads(done.stdout)


def older_than(lab, major):
    with client(lab) as mongo:
        return mongo.server_info()["versionArray"][0] < major


def found(report):
    """The classes that were found, and how often."""
    return {name: report["counts"][name] for name in CLASSES if report["counts"][name]}


def published(lab, tmp_path, name, count=1500, rate=1500, **changes):
    """A bridge that has published some writes and ended."""
    make_collections(lab, name)
    after = now(lab)
    with Writer(lab, name, seed=7, rate=rate) as writer:
        wait_until(lambda: writer.written >= count, "writes")
    bridge = Bridge(tmp_path, configuration(lab, name, **changes))
    assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
    return bridge, after


def forge(jetstream, message, **changes):
    """Publishes a message that looks like the bridge's."""
    headers = {k: v for k, v in message.headers.items()
               if not k.startswith("Nats-") or k == "Nats-Msg-Id"}
    headers |= changes.pop("headers", {})
    # Not the server's to notice: the dedup window is what the fault got past.
    return jetstream.publish(changes.get("subject", message.subject),
                             changes.get("body", message.body), headers)


def rebuild(jetstream, name, spoil):
    """Replaces the stream by one that holds what `spoil` makes of its messages."""
    messages = jetstream.messages(name)
    config = jetstream.config(name)
    jetstream.delete_stream(name)
    config["duplicate_window"] = 100_000_000
    jetstream.api(f"STREAM.CREATE.{name}", config)

    async def work(nc):
        for item in spoil(messages):
            message, changes = item if isinstance(item, tuple) else (item, {})
            headers = {k: v for k, v in message.headers.items()
                       if not k.startswith("Nats-") or k == "Nats-Msg-Id"} | changes.get("headers", {})
            if changes.get("wait"):
                await nc.flush()
                time.sleep(0.25)
            await nc.request(changes.get("subject", message.subject), changes.get("body", message.body),
                             headers=headers)

    jetstream._run(work)


def test_pass_and_second_derivation(lab, jetstream, tmp_path, name):
    """What the bridge published is what the oplog says, and what the server's own change stream says."""
    bridge, after = published(lab, tmp_path, name)
    truth = expected(lab, name, after)
    for reader in ("oplog", "change_stream"):
        if reader == "change_stream" and older_than(lab, 6):
            # Such a change stream tells no wallTime, of which the oplog's messages have ce-time.
            reasons = verify(bridge, "--reader", reader, code=2)["reasons"]
            assert "wallTime" in reasons[0]
            continue
        report = verify(bridge, "--reader", reader)
        assert report["verdict"] == "PASS" and found(report) == {}
        assert report["counts"]["expected"] == report["counts"]["observed"] == len(truth)
        assert report["counts"]["pending"] == 0
    rule, = report["rules"]
    assert rule["expected"] == len(truth)
    text = tailrace("verify", "-c", bridge.file, cwd=tmp_path)
    assert text.returncode == 0 and text.stdout.rstrip().endswith("PASS")
    # Nothing was written by any of it.
    assert len(jetstream.messages(name)) == len(truth)


def test_report_files(lab, jetstream, tmp_path, name):
    bridge, _ = published(lab, tmp_path, name, count=300)
    jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": 10})
    jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": 12})
    report = verify(bridge, "--report", "r.json", "--html", "r.html", "--mismatches", "m.ndjson",
                    code=1)
    assert json.loads((tmp_path / "r.json").read_text())["counts"] == report["counts"]
    lines = [json.loads(line) for line in (tmp_path / "m.ndjson").read_text().splitlines()]
    assert lines == report["mismatches"] and len(lines) == 2
    assert {line["class"] for line in lines} == {"gap"}
    page = (tmp_path / "r.html").read_text()
    assert page.startswith("<!doctype html>") and "FAIL" in page and lines[0]["msg_id"] in page
    assert "<script" not in page and "http://" not in page and "https://" not in page


def other(body):
    return body.replace(b'"operationType"', b'"operationtype"')


# What is done to the stream, and how verify must call it.
FAULTS = {
    "dropped": (lambda ms, i: ms[:i] + ms[i + 1:], {"missing": 1}),
    "dropped_many": (lambda ms, i: ms[:i] + ms[i + 40:], {"missing": 40}),
    "truncated_tail": (lambda ms, i: ms[:-25], {"missing": 25}),
    "swapped": (lambda ms, i: ms[:i] + [ms[i + 1], ms[i]] + ms[i + 2:], {"reordered": 1}),
    "moved": (lambda ms, i: ms[:i] + ms[i + 1:i + 200] + [ms[i]] + ms[i + 200:], {"reordered": 1}),
    "doubled": (lambda ms, i: ms[:i + 1] + [(ms[i], {"wait": True})] + ms[i + 1:], {"duplicate": 1}),
    "body_byte": (lambda ms, i: ms[:i] + [(ms[i], {"body": other(ms[i].body)})] + ms[i + 1:],
                  {"payload_mismatch": 1}),
    "header": (lambda ms, i: ms[:i] + [(ms[i], {"headers": {"ce-type": "other"}})] + ms[i + 1:],
               {"payload_mismatch": 1}),
    "subject": (lambda ms, i: ms[:i] + [(ms[i], {"subject": ms[i].subject + ".x"})] + ms[i + 1:],
                {"payload_mismatch": 1}),
    "position": (lambda ms, i: ms[:i] + [(ms[i], {"headers": {
        "Tailrace-Position": ms[i + 100].headers["Tailrace-Position"]}})] + ms[i + 1:],
        {"payload_mismatch": 1}),
    "phantom": (lambda ms, i: ms[:i] + [(ms[i], {"headers": {"Nats-Msg-Id": "rs0:1.1.0"}})] + ms[i:],
                {"extra": 1}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_found(lab, jetstream, tmp_path, name, fault):
    bridge, _ = published(lab, tmp_path, name, count=800)
    spoil, wanted = FAULTS[fault]
    at = random.Random(fault).randrange(300, 500)
    rebuild(jetstream, name, lambda messages: spoil(messages, at))
    report = verify(bridge, code=1)
    assert report["verdict"] == "FAIL" and found(report) == wanted, report["mismatches"][:5]
    if fault == "body_byte":
        mismatch, = report["mismatches"]
        assert mismatch["pointer"] == "/operationType"


def test_schema_invalid(lab, jetstream, tmp_path, name):
    """A body that breaks the rule's schema is called so."""
    (tmp_path / "s.json").write_text(json.dumps({"required": ["operationType"]}))
    bridge, _ = published(lab, tmp_path, name, count=300, rule={"schema": "s.json"})
    rebuild(jetstream, name, lambda ms: FAULTS["body_byte"][0](ms, 50))
    assert found(verify(bridge, code=1)) == {"schema_invalid": 1}


def test_pending_is_not_missing(lab, tmp_path, name):
    """What a bridge has not come to yet is pending: INCONCLUSIVE within the time given, PASS later."""
    bridge, _ = published(lab, tmp_path, name, count=300)
    with client(lab) as mongo:
        mongo[name].messages.insert_many([{"_id": f"late{n}"} for n in range(20)])
    settle(lab)
    report = verify(bridge, "--to", "now", "--timeout", "1", code=2)
    assert report["counts"]["pending"] == 20 and found(report) == {}
    assert "not settled" in " ".join(report["reasons"])
    # Up to what was acknowledged, all is well.
    assert verify(bridge)["verdict"] == "PASS"
    bridge.start()
    assert verify(bridge, "--to", "now")["verdict"] == "PASS"
    bridge.terminate()


def test_while_writes_go_on(lab, tmp_path, name):
    """No false alarm beside a bridge that publishes 2,000 writes a second."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        with Writer(lab, name, seed=5, rate=2000) as writer:
            wait_until(lambda: writer.written >= 2000, "writes")
            settled = []
            for round_ in range(ROUNDS):
                # All of it now and then, else the last seconds.
                whole = round_ % 100 < 5
                report = verify(bridge, *([] if whole else ["--from", settled[-5]]))
                assert report["verdict"] == "PASS", report
                settled.append(report["settled_to"])
                time.sleep(0.2)
            report = verify(bridge)
            assert report["verdict"] == "PASS" and report["counts"]["expected"] > 3000
            assert verify(bridge, "--to", "now")["verdict"] == "PASS"


def test_inconclusive(lab, jetstream, tmp_path, name):
    """What can't be judged is never PASS."""
    bridge, after = published(lab, tmp_path, name, count=300)
    assert "no longer holds" in verify(bridge, "--from", "1.1", code=2)["reasons"][0]
    assert "ahead of the newest entry" in verify(bridge, "--to", "4000000000.1", code=2)["reasons"][0]
    # Another configuration.
    whole = configuration(lab, name, rule={"event_type": "other"})
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    changed = Bridge(other_folder, whole)
    report = verify(changed, code=2)
    assert "another configuration" in report["reasons"][0]
    # … that the bridge has gone over to meanwhile.
    with client(lab) as mongo:
        mongo[name].messages.insert_one({"_id": "after"})
    settle(lab)
    assert changed.run("--until", "now") == 0
    report = verify(changed, code=2)
    since = json.loads(jetstream.get(f"STATE_{name}", f"{name}.checkpoint"))["configuration_since"]
    assert f"up to {since} " in report["reasons"][0]
    behind = report["reasons"][0].split()[-1]
    report = verify(changed, "--from", behind)
    assert report["verdict"] == "PASS" and report["counts"]["observed"] == 1
    # Unreachable servers.
    for key, value in [("source", {"uri": "mongodb://127.0.0.1:1/?replicaSet=rs0"}),
                       ("nats", {"servers": ["nats://127.0.0.1:1"]})]:
        folder = tmp_path / key
        folder.mkdir()
        whole = configuration(lab, name, **{key: value})
        report = verify(Bridge(folder, whole), code=2)
        assert report["verdict"] == "INCONCLUSIVE" and report["reasons"]
    # A stream that is gone.
    jetstream.delete_stream(name)
    assert "does not exist" in verify(bridge, code=2)["reasons"][0]


def test_limits(lab, jetstream, tmp_path, name):
    """What a stream's limits have removed is not judged; what was purged is a gap."""
    bridge, after = published(lab, tmp_path, name, count=600, stream={"max_msgs": 200})
    report = verify(bridge)
    assert report["verdict"] == "PASS" and report["not_held"] > 0
    assert report["counts"]["observed"] == 200
    # Asked for all of it, that is no answer.
    report = verify(bridge, "--from", f"{after.time}.{after.inc}", code=2)
    assert "no longer holds" in report["reasons"][0]


def test_purged(lab, jetstream, tmp_path, name):
    bridge, _ = published(lab, tmp_path, name, count=300)
    held = jetstream.state(name)["messages"]
    jetstream.purge(name)
    report = verify(bridge, code=1)
    assert found(report) == {"gap": held}


def test_last_of_each_subject(lab, tmp_path, name):
    """A stream that keeps one message a subject holds what it should."""
    bridge, _ = published(lab, tmp_path, name, count=300, stream={"max_msgs_per_subject": 1})
    report = verify(bridge)
    assert report["verdict"] == "PASS"
    assert report["superseded"] == report["counts"]["expected"] - report["counts"]["observed"] > 0


def test_dead_letters(lab, jetstream, tmp_path, name):
    """Dead letters are expected, too; those that were replayed or dropped are resolved."""
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo:
        mongo[name].messages.insert_many(
            [{"_id": n, "rid": "r"} if n % 4 else {"_id": n} for n in range(40)])
    settle(lab)
    with Bridge(tmp_path, configuration(lab, name, rule={
            "match": {"namespace": f"{name}.messages"},
            "subject": name + ".{fullDocument.rid}"})) as bridge:
        assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
        report = verify(bridge)
        streams = {s["name"]: s for s in report["streams"]}
        assert streams[f"DLQ_{name}"]["expected"] == streams[f"DLQ_{name}"]["observed"] == 10
        assert streams[name]["observed"] == 30
        dropped = tailrace("dlq", "drop", "-c", bridge.file, "--sequence", "3", cwd=tmp_path)
        assert dropped.returncode == 0, dropped.stderr
        report = verify(bridge)
        assert report["verdict"] == "PASS" and report["dead_letters_resolved"] == 1


@pytest.mark.parametrize("publish", ["fast", "atomic", "chain", "single"])
def test_too_large(lab, tmp_path, name, publish):
    """What becomes a dead letter for its size does so by every protocol alike, to the byte."""
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo:
        mongo[name].messages.insert_many([{"_id": n, "x": "y" * n} for n in range(900, 1500)])
    settle(lab)
    with Bridge(tmp_path, configuration(lab, name, stream={
            "max_msg_size": 2000, "publish": publish})) as bridge:
        assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
        report = verify(bridge)
        streams = {s["name"]: s["observed"] for s in report["streams"]}
        assert report["verdict"] == "PASS" and streams[name] > 100 and streams[f"DLQ_{name}"] > 100


def test_documents_read_afterwards(lab, tmp_path, name):
    """Documents that were looked up for updates: compared while the server can show them as they were,
    and afterwards no fault of the stream."""
    if older_than(lab, 5):
        pytest.skip("servers read the past from 5.0 on")
    with Lab(parameters={"minSnapshotHistoryWindowInSeconds": 2}) as lab:
        make_collections(lab, name)
        after = now(lab)
        with client(lab) as mongo:
            mongo[name].messages.insert_many([{"_id": n, "v": 0} for n in range(20)])
            for n in range(20):
                mongo[name].messages.update_one({"_id": n}, {"$set": {"v": 1}})
        settle(lab)
        with Bridge(tmp_path, configuration(lab, name, rule={"payload": {
                "envelope": "cloudevents", "full_document": "when_available"}})) as bridge:
            assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
            assert verify(bridge)["verdict"] == "PASS"
            with client(lab) as mongo:
                mongo[name].messages.update_many({}, {"$set": {"v": 2}})
            time.sleep(4)
            with client(lab) as mongo:  # The history ends when the server writes on.
                mongo[name].rooms.insert_many([{"_id": n} for n in range(10)])
            settle(lab)
            report = verify(bridge)
            assert report["verdict"] == "PASS" and report["images_not_compared"] == 20


def test_selftest(lab, jetstream, tmp_path, name):
    """Every fault class twenty times on the real server, and as often none; nothing is left behind."""
    bridge = Bridge(tmp_path, configuration(lab, name))
    done = tailrace("verify", "selftest", "--json", "--rounds", "20", "-c", bridge.file, seconds=300)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert {f["fault"] for f in report["faults"]} >= {"clean", "dropped", "phantom", "stale_schema"}
    assert all(f["found"] == f["rounds"] == 20 for f in report["faults"])
    assert scratch_streams(jetstream) == []


def scratch_streams(jetstream):
    names = jetstream.api("STREAM.NAMES")["streams"] or []
    return [name for name in names if name.startswith("TAILRACE_SELFTEST")]


def selftest(bridge, jetstream, *arguments, **options):
    process = subprocess.Popen(
        [BINARY, "verify", "selftest", "--rounds", "100", "-c", bridge.file, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    wait_until(lambda: len(scratch_streams(jetstream)) == 2, "scratch streams")
    return process


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, "no reader"])
def test_selftest_is_stopped(lab, jetstream, tmp_path, name, ending):
    """Whatever ends it, but a kill, its streams are removed."""
    bridge = Bridge(tmp_path, configuration(lab, name))
    if ending == "no reader":
        process = selftest(bridge, jetstream, "--rounds", "1")
        process.stdout.close()
        assert process.wait(60) == 74
    else:
        process = selftest(bridge, jetstream)
        process.send_signal(ending)
        out, said = process.communicate(timeout=60)
        assert process.returncode == 2, out + said
        assert "INCONCLUSIVE (stopped before the end)" in out
    assert scratch_streams(jetstream) == []


def test_selftest_was_killed(lab, jetstream, tmp_path, name):
    """What a killed one left is removed by a later one: not while it may be a running one's, and nothing that
    only looks like it."""
    bridge = Bridge(tmp_path, configuration(lab, name))
    process = selftest(bridge, jetstream)
    process.kill()
    process.communicate()
    left = set(scratch_streams(jetstream))
    assert len(left) == 2
    for stream in left:
        config = jetstream.config(stream)
        assert config["storage"] == "memory" and config["max_age"] and "selftest" in config["description"]
    done = tailrace("verify", "selftest", "--rounds", "1", "-c", bridge.file, seconds=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(scratch_streams(jetstream)) == left
    for stream in left:
        jetstream.delete_stream(stream)


def test_shared_ids(lab, jetstream, tmp_path, name):
    """On a stream that others publish to, messages are judged by the ids they share."""
    make_collections(lab, name)
    rule = {"match": {"namespace": f"{name}.messages", "operations": ["insert"]},
            "id": "{documentKey._id}.created", "subject": name + ".created"}
    with Bridge(tmp_path, configuration(lab, name, rule=rule, stream={"ownership": "shared"})) as bridge:
        bridge.start().wait_ready()
        bodies = {n: json.dumps({"operationType": "insert", "documentKey": {"_id": n},
                                 "fullDocument": {"_id": n, "rid": "r"}},
                                separators=(",", ":")).encode() for n in range(60)}
        for n in range(0, 60, 3):  # The new producer is first with these, and is wrong about one.
            body = bodies[n] if n != 30 else bodies[n].replace(b'"r"', b'"x"')
            jetstream.publish(f"{name}.created", body, {"Nats-Msg-Id": f"{n}.created"})
        jetstream.publish(f"{name}.other", b"{}", {"Nats-Msg-Id": "none of ours"})
        with client(lab) as mongo:
            mongo[name].messages.insert_many([{"_id": n, "rid": "r"} for n in range(60)])
        wait_until(lambda: jetstream.holds(name, 61), "all messages")
        report = verify(bridge, "--to", "now", code=1)
        assert found(report) == {"payload_mismatch": 1}, report["mismatches"]
        mismatch, = report["mismatches"]
        assert mismatch["msg_id"] == "30.created" and mismatch["pointer"] == "/fullDocument/rid"
        stream = next(s for s in report["streams"] if s["name"] == name)
        assert stream["shared_with_other_producers"] == 20 and stream["other_producers"] == 1


def test_purged_within_its_age(lab, jetstream, tmp_path, name):
    """Messages that are too young for the stream's `max_age` were not removed by it."""
    bridge, after = published(lab, tmp_path, name, count=200, stream={"max_age": "1d"})
    held = jetstream.state(name)["messages"]
    jetstream.api(f"STREAM.PURGE.{name}", {"seq": 51})
    report = verify(bridge, code=1)
    assert found(report) == {"gap": 50} and report["not_held"] == 0
    assert report["counts"]["observed"] == held - 50
