"""`run --dry-run`: what a configuration would make of the changes, and nothing of it leaves."""

import json
import socket
import threading

from bridge import Bridge, configuration, tailrace, wait_until
from load import Writer, client, expected, make_collections, now, settle

SCHEMA = {"properties": {"fullDocument": {"properties": {"n": {"type": "integer", "minimum": 1}}}}}


class Trap:
    """Where NATS would be: counts those who come."""

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.visitors = 0
        threading.Thread(target=self.wait, daemon=True).start()
        return self

    def wait(self):
        while True:
            try:
                self.socket.accept()
            except OSError:
                return
            self.visitors += 1

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.socket.getsockname()[1]}"

    def __exit__(self, *_):
        self.socket.close()


def dry(bridge, *arguments, code=0):
    done = tailrace("run", "--dry-run", "--json", "-c", bridge.file, *arguments, cwd=bridge.folder,
                    seconds=60)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout) if done.stdout else done.stderr


def test_counts_are_the_oplogs(lab, jetstream, tmp_path, name):
    """Nothing is published and nobody is connected to; then a real run stores just what was foretold."""
    make_collections(lab, name)
    after = now(lab)
    with Writer(lab, name, seed=3, rate=1000) as writer:
        wait_until(lambda: writer.written >= 2000, "writes")
    place = f"{after.time}.{after.inc}"
    with Trap() as trap:
        whole = configuration(lab, name)
        whole["nats"]["servers"] = [trap.url]
        with Bridge(tmp_path, whole) as bridge:
            report = dry(bridge, "--from", place, "--until", "now")
        assert trap.visitors == 0
    assert jetstream.state(name) is None and jetstream.keys(f"STATE_{name}") == {}
    truth = expected(lab, name, after)
    rule, = report["rules"]
    assert report["verdict"] == "PASS" and report["reason"] is None
    # Some seconds of oplog tell nothing of a day.
    assert report["seconds"] < 60 and report["streams"][0]["bytes_per_day"] is None
    assert rule["matched"] == rule["messages"] == len(truth) and rule["invalid"] == 0
    assert {n["namespace"]: n["events"] - n["unmatched"] for n in report["namespaces"]
            if n["namespace"].startswith(name + ".")} == {
        f"{name}.{c}": sum(e.collection == c for e in truth) for c in {e.collection for e in truth}}
    folder = tmp_path / "real"
    folder.mkdir()
    with Bridge(folder, configuration(lab, name)) as bridge:
        assert bridge.run("--from", place, "--until", "now") == 0
    messages = jetstream.messages(name)
    assert len(messages) == rule["messages"]
    assert rule["subjects"] == len({m.subject for m in messages})
    hash_ = json.loads(jetstream.get(f"STATE_{name}", f"{name}.checkpoint"))["configuration"]
    assert report["config_hash"] == hash_


def test_what_would_go_wrong(lab, tmp_path, name):
    """Schema errors by cause, missing paths, sizes; FAIL and exit code 1."""
    (tmp_path / "s.json").write_text(json.dumps(SCHEMA))
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo:
        mongo[name].messages.insert_many(
            [{"_id": n, "rid": "a", "n": n - 3} for n in range(10)]
            + [{"_id": 10, "rid": "a", "n": "x"}, {"_id": 11, "rid": "a", "n": "y"}, {"_id": 12},
               {"_id": 13, "rid": "a", "text": "x" * 3000}])
        mongo[name].rooms.insert_one({"_id": 1, "rid": "r"})
    place = f"{after.time}.{after.inc}"
    whole = configuration(lab, name, rule={
        "match": {"namespace": f"{name}.messages", "operations": ["insert"]},
        "subject": name + ".{fullDocument.rid}", "schema": "s.json"})
    with Bridge(tmp_path, whole) as bridge:
        report = dry(bridge, "--from", place, "--until", "now", "--max-payload", "2000", code=1)
        rule, = report["rules"]
        assert report["verdict"] == "FAIL" and report["unmatched"] >= 1
        assert (rule["matched"], rule["messages"], rule["invalid"]) == (14, 6, 8)
        causes = {(c["error"], c["cause"].rsplit("/", 1)[-1]): c["count"] for c in rule["causes"]}
        assert causes[("schema_invalid", "minimum")] == 4
        assert causes[("schema_invalid", "type")] == 2
        assert sum(c["count"] for c in rule["causes"] if c["error"] == "path_missing") == 1
        assert sum(c["count"] for c in rule["causes"] if c["error"] == "payload_too_large") == 1
        text = tailrace("run", "--dry-run", "-c", bridge.file, "--from", place, "--until", "now",
                        cwd=tmp_path)
        assert text.returncode == 1 and text.stdout.rstrip().endswith("FAIL")
        assert f"{name}.rooms: 1 of 1 events taken by no rule" in text.stdout
        assert "MiB a day" not in text.stdout and "too short" in text.stdout
    dropping = configuration(lab, name, rule=whole["rules"][0] | {"on_invalid": "drop"})
    with Bridge(tmp_path, dropping) as bridge:
        assert dry(bridge, "--from", place, "--until", "now")["verdict"] == "PASS"


def test_inconclusive(lab, tmp_path, name):
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        report = dry(bridge, "--from", "1.1", "--until", "now", code=2)
        assert report["verdict"] == "INCONCLUSIVE" and "no longer holds" in report["reason"]
        # Behind everything that happened.
        settle(lab)
        last = now(lab)
        report = dry(bridge, "--from", f"{last.time}.{last.inc}", "--until", "now", code=2)
        assert report["verdict"] == "INCONCLUSIVE" and "no change happened" in report["reason"]
        whole = configuration(lab, name, source={"uri": "mongodb://127.0.0.1:1/?replicaSet=rs0"})
    with Bridge(tmp_path, whole) as bridge:
        dry(bridge, code=69)
