"""`run --dry-run` while MongoDB is gone: before it has read anything there is nothing to report (69); in the
middle of a range the report says how far it came, and that nothing can be said of the rest (2)."""

import json
import signal
import subprocess
import time

import pytest
from bridge import BINARY, Bridge, configuration, tailrace, wait_until
from lab import Lab, die_with_parent
from load import client, now, settle


@pytest.mark.parametrize("reader", ["oplog", "change_stream"])
def test_mongodb_goes_away(tmp_path, name, reader):
    with Lab() as lab:
        after = now(lab)
        with client(lab) as mongo:
            mongo[name].things.insert_many([{"_id": n} for n in range(20)])
        settle(lab)
        bridge = Bridge(tmp_path, configuration(
            lab, name, source={"uri": lab.uri, "name": "rs0", "reader": reader}))
        place = f"{after.time}.{after.inc}"
        future = f"{int(time.time()) + 3600}.1"
        process = subprocess.Popen(
            [BINARY, "run", "--dry-run", "--json", "--follow", "-c", bridge.file, "--from", place,
             "--until", future], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
            stderr=open(tmp_path / "progress", "w"), preexec_fn=die_with_parent)
        wait_until(lambda: "20 messages" in (tmp_path / "progress").read_text(),
                   "it has read what is there", seconds=120)
        lab.mongod[0].process.send_signal(signal.SIGSTOP)
        try:
            out, _ = process.communicate(timeout=180)
            assert process.returncode == 2, out
            report = json.loads(out)
            assert report["verdict"] == "INCONCLUSIVE"
            assert report["rules"][0]["messages"] == 20
            assert "MongoDB sent nothing" in report["reason"], report["reason"]
            done = tailrace("run", "--dry-run", "-c", bridge.file, "--until", "now", cwd=tmp_path,
                            seconds=60)
            assert done.returncode == 69 and "MongoDB" in done.stderr, done.stderr
        finally:
            lab.mongod[0].process.send_signal(signal.SIGCONT)
