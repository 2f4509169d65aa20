"""The demo's own workload and configuration, proved: by the oplog, and by the server's change stream,
which knows nothing of tailrace's decoder."""

import json
import os

from bridge import BINARY, ROOT, tailrace, wait_until
from chat import Chat
from lab import Lab, die_with_parent, free_ports
import subprocess
import pytest

CONFIG = ROOT / "config" / "chat.yaml"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Chat traffic that a bridge has published, and the way to it."""
    with Lab() as lab:
        variables = {**os.environ, "MONGODB_URI": lab.uri, "NATS_URL": lab.nats_url,
                     "TAILRACE_HTTP": f"127.0.0.1:{free_ports(1)[0]}"}
        chat = Chat(lab.uri, 4)
        chat.setting()
        with open(tmp_path_factory.mktemp("demo") / "log", "wb") as log:
            process = subprocess.Popen(
                [BINARY, "run", "-c", CONFIG], cwd=ROOT, env=variables, stdout=log, stderr=log,
                preexec_fn=die_with_parent)
            wait_until(lambda: tailrace("checkpoint", "show", "-c", CONFIG, env=variables)
                       .returncode == 0, "the bridge has begun")
            chat.start()
            chat.join()
            assert not chat.failure
            process.terminate()
            assert process.wait(30) == 0
        yield variables


@pytest.mark.parametrize("reader", ["oplog", "change_stream"])
def test_proved(environment, reader):
    done = tailrace("verify", "--json", "--to", "now", "--timeout", "1", "--reader", reader, "-c",
                    CONFIG, env=environment, cwd=ROOT)
    report = json.loads(done.stdout)
    assert report["verdict"] == "PASS" and done.returncode == 0, done.stdout
    assert report["counts"]["expected"] > 30
    assert sum(rule["expected"] > 0 for rule in report["rules"]) >= 5
