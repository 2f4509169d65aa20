"""`reader: change_stream` gives the same messages as the oplog reader: ids, subjects, headers and
bodies; and it resumes as exactly."""

import json
import random
import time

from bridge import Bridge, configuration, tailrace, wait_until
from faults import seed
from jetstream import JetStream
from lab import Lab
from load import Writer, check, client, make_collections, now, observed, settle
from workload import Workload

OPERATIONS = ["insert", "update", "replace", "delete", "drop", "rename", "create",
              "create_indexes", "drop_indexes", "modify"]


def test_both_readers_give_the_same(lab, jetstream, tmp_path, name):
    after = now(lab)
    with client(lab) as mongo:
        version = tuple(mongo.server_info()["versionArray"][:2])
        workload = Workload(mongo, name, seed=7, version=version)
        workload.run(400)
    settle(lab)
    # Before 6.0 change streams know less of commands, and neither wall time nor UUIDs.
    is_old = version < (6, 0)
    messages = {}
    for reader in ["oplog", "change_stream"]:
        folder = tmp_path / reader
        folder.mkdir()
        stream = f"readers_{reader}"
        whole = configuration(
            lab, stream, source={"reader": reader, "start": f"{after.time}.{after.inc}"},
            rule={"match": {"namespace": f"{name}.*", "operations": OPERATIONS[:4] if is_old else OPERATIONS},
                  "payload": {"envelope": "change_event", "json": "canonical",
                              "exclude": ["wallTime", "collectionUUID"] if is_old else []}})
        with Bridge(folder, whole) as bridge:
            assert bridge.run("--until", "now") == 0
        messages[reader] = jetstream.messages(stream)
    ours, theirs = messages["oplog"], messages["change_stream"]
    assert len(ours) > 300

    def shown(message):
        protocol = ("Nats-Expected-", "Nats-Batch-")
        headers = {k: v for k, v in message.headers.items() if not k.startswith(protocol)}
        return message.subject.split(".", 1)[1], headers, message.body

    for one, other in zip(ours, theirs):
        assert shown(one) == shown(other)
    assert len(ours) == len(theirs)


def test_kill_tailrace_reading_a_change_stream(tmp_path, name):
    with Lab() as lab:
        dice = random.Random(seed())
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        whole = configuration(lab, name, source={"reader": "change_stream"})
        with Bridge(tmp_path, whole) as bridge:
            bridge.start().wait_ready()
            after = now(lab)
            with Writer(lab, name, dice.random(), rate=1500):
                for _ in range(4):
                    time.sleep(dice.uniform(0.3, 1.5))
                    bridge.kill()
                    bridge.start()
                time.sleep(1)
            check(lab, jetstream, name, name, after)
            before = jetstream.last_sequence(name)
            _, status = bridge.json("/status")
            assert status["source"]["reader"] == "change_stream"
            wait_until(lambda: bridge.json("/status")[1]["checkpoint"].get("resume_token"),
                       "the checkpoint has a token")
            assert bridge.terminate() == 0
            bridge.start().wait_ready()
            with client(lab) as mongo:
                mongo[name].rooms.insert_one({"_id": "afterwards"})
            wait_until(lambda: jetstream.last_sequence(name) == before + 1, "one message more")
            assert observed(jetstream.messages(name))[-1].key == "afterwards"
            assert bridge.terminate() == 0


def test_stops_behind_a_whole_transaction(lab, jetstream, tmp_path, name):
    """`--until` the position of a transaction means all of its events, though they come one by one."""
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo, mongo.start_session() as session:
        with session.start_transaction():
            for n in range(300):
                mongo[name].messages.insert_one({"_id": n}, session=session)
    with Bridge(tmp_path, configuration(lab, name, source={"reader": "change_stream"})) as bridge:
        assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
        assert jetstream.state(name)["messages"] == 300
        dry = tailrace("run", "--dry-run", "--json", "-c", bridge.file, "--from",
                       f"{after.time}.{after.inc}", "--until", "now", cwd=tmp_path)
        assert json.loads(dry.stdout)["rules"][0]["messages"] == 300
        done = tailrace("verify", "--json", "-c", bridge.file, cwd=tmp_path)
        assert json.loads(done.stdout)["verdict"] == "PASS", done.stdout
