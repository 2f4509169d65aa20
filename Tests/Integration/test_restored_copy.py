"""A part of NATS's storage is put back from an older copy while the bridge is gone: a stream, the letters, or
the checkpoint. What is missing then is published again; nothing is doubled."""

import shutil

import pytest
from bridge import Bridge, configuration, tailrace, wait_until
from jetstream import JetStream
from lab import Lab
from load import client, make_collections


def folder(lab, name):
    """Of one stream in the server's storage."""
    return next(path for path in lab.nats[0].folder.rglob(name) if path.is_dir())


@pytest.mark.parametrize("what", [["stream"], ["bucket"], ["stream", "letters", "no bucket"]])
def test_restored_copy(tmp_path, name, what):
    letters, bucket = f"DLQ_{name}", f"KV_STATE_{name}"
    stored = {"stream": name, "letters": letters, "bucket": bucket}
    rule = {"subject": name + ".{ns.coll}.{fullDocument.rid}",
            "match": {"namespace": f"{name}.*", "operations": ["insert"]}}
    with Lab() as lab, client(lab) as mongo:
        jetstream = JetStream(lab.nats_url)
        make_collections(lab, name)

        def write(first, last):
            mongo[name].rooms.insert_many(
                [{"_id": n} | ({"rid": "a"} if n % 2 else {}) for n in range(first, last)])

        def holds(count):
            return all(jetstream.last_sequence(s) >= count for s in (name, letters))

        with Bridge(tmp_path, configuration(lab, name, rule=rule)) as bridge:
            bridge.start().wait_ready()
            write(0, 20)
            wait_until(lambda: holds(10), "20 events")
            wait_until(lambda: jetstream.keys(f"STATE_{name}"), "a checkpoint")
            lab.kill("nats", 0)
            copies = {}
            for part, stream in stored.items():
                copies[part] = tmp_path / part
                shutil.copytree(folder(lab, stream), copies[part])
            lab.start("nats", 0)
            write(20, 60)
            wait_until(lambda: holds(30), "60 events", 30)
            bridge.kill()
            lab.kill("nats", 0)
            for part in what:
                old = folder(lab, stored[part.removeprefix("no ")])
                shutil.rmtree(old)
                if part in copies:
                    shutil.copytree(copies[part], old)
            write(60, 66)
            lab.start("nats", 0)
            bridge.start()
            wait_until(lambda: bridge.alive() and holds(33), "66 events", 60)
            for stream in (name, letters):
                positions = [message.position for message in jetstream.messages(stream)]
                assert positions == sorted(set(positions)) and len(positions) == 33, stream
            assert bridge.terminate() == 0
            assert tailrace("verify", "-c", bridge.file).returncode == 0
