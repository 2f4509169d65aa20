"""`tailrace status`: a bridge on one screen, as a person, a log and a script see it."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml
from bridge import BINARY, Bridge, configuration, tailrace, wait_until
from lab import free_ports
from load import client, make_collections


def status(bridge, *arguments, code=0):
    done = tailrace("status", "-c", bridge.file, *arguments, cwd=bridge.folder, seconds=30)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def write(lab, name, count, first=0):
    with client(lab) as mongo:
        mongo[name].rooms.insert_many([{"_id": first + n} for n in range(count)])


def test_a_running_bridge(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        write(lab, name, 50)
        wait_until(lambda: jetstream.holds(name, 50), "50 messages")
        wait_until(lambda: (bridge.json("/status")[1]["checkpoint"] or {}).get("streams"), "a checkpoint")
        shown = status(bridge).stdout
        for part in (f"bridge {name}  ok: events flow", "leader in epoch 1", "50 published",
                     "behind the checkpoint", "held by", "(this instance)", "RULE", "STREAM"):
            assert part in shown, (part, shown)
        assert re.search(r"^all +50 +- +0", shown, re.M), shown
        assert re.search(rf"^{name} +\w+ +50 ", shown, re.M), shown
        assert "\x1b" not in shown, "this is no terminal"
        document = json.loads(status(bridge, "--json").stdout)
        assert document["outcomes"]["published"] == 50
        assert set(document) == set(bridge.json("/status")[1])
        assert set(document["checks"]) == set(bridge.json("/healthz")[1]["checks"])
        url = f"http://{bridge.configuration['http']['listen']}/"
        # From a machine without the file.
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        done = tailrace("status", "--url", url, cwd=elsewhere, seconds=30)
        assert done.returncode == 0 and f"bridge {name}" in done.stdout, done.stderr
        done = tailrace("status", "--url", "127.0.0.1:1", "-c", bridge.file, seconds=30)
        assert done.returncode == 64


def test_lines_for_a_log(lab, jetstream, tmp_path, name):
    """One a second, with rates of what happened since the last one; SIGTERM ends them."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        process = subprocess.Popen([BINARY, "status", "--line", "-c", bridge.file],
                                   stdout=subprocess.PIPE, text=True, cwd=bridge.folder)
        try:
            first = process.stdout.readline()
            assert re.match(rf"\d{{4}}-\S+Z {name} (ok|idle); leader in epoch 1; ", first), first
            write(lab, name, 500)
            rates = []
            while not any(rates):
                line = process.stdout.readline()
                rates.append(float(re.search(r"([\d.]+) events/s", line)[1]))
                assert len(rates) < 20, line
            assert rates[-1] > 100
            # A bridge that goes away is said to be, and its return is seen.
            bridge.kill()
            while "unreachable: " not in process.stdout.readline():
                pass
            bridge.start().wait_ready()
            while "; leader in epoch" not in process.stdout.readline():
                pass
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_watching_on_a_terminal(lab, tmp_path, name):
    """Drawn in place, in the terminal's size; as blocks where there is none."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        master, slave = pty.openpty()
        process = subprocess.Popen([BINARY, "status", "--watch", "-c", bridge.file], stdout=slave,
                                   stdin=slave, cwd=bridge.folder)
        os.close(slave)
        shown = b""
        while shown.count(b"\x1b[H") < 3:
            assert select.select([master], [], [], 20)[0], shown
            shown += os.read(master, 65536)
        assert f"bridge {name}".encode() in shown and b"\x1b[J" in shown
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        os.close(master)
        process = subprocess.Popen([BINARY, "status", "--watch", "-c", bridge.file], text=True,
                                   stdout=subprocess.PIPE, cwd=bridge.folder)
        blocks = 0
        while blocks < 2:
            line = process.stdout.readline()
            assert "\x1b" not in line
            blocks += line.startswith(f"bridge {name}")
        # Who reads no more ends it, without a word.
        process.stdout.close()
        assert process.wait(10) == 74


def test_nobody_answers(lab, tmp_path, name):
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        for arguments in ((), ("--json",), ("--line",), ("--watch",)):
            done = status(bridge, *arguments, code=69)
            listen = bridge.configuration["http"]["listen"]
            assert f"{listen} (http.listen): Connection refused" in done.stderr, done.stderr
            assert done.stdout == ""
        host = f"http://127.0.0.1:{free_ports(1)[0]}"
        assert "(--url)" in status(bridge, "--url", host, code=69).stderr


def test_tokens(lab, tmp_path, name):
    make_collections(lab, name)
    secret = tmp_path / "token"
    secret.write_text("a-long-secret\n")
    whole = configuration(lab, name, http={"token_file": str(secret)})
    with Bridge(tmp_path, whole) as bridge:
        bridge.start().wait_ready()
        assert f"bridge {name}" in status(bridge).stdout
        other = tmp_path / "other"
        other.write_text("another-secret")
        for http, words in (({"token_file": str(other)}, "it has another one"), ({}, "demands a token")):
            listen = {"listen": whole["http"]["listen"]}
            file = tmp_path / "other.yaml"
            file.write_text(yaml.safe_dump(whole | {"http": listen | http}))
            done = tailrace("status", "-c", file, seconds=30)
            assert done.returncode == 78 and words in done.stderr, done.stderr
            assert "secret" not in done.stderr.replace(str(tmp_path), "")


@pytest.fixture
def served():
    """A server that answers what a test says; not ours."""
    answers = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answers["authorization"] = self.headers["Authorization"]
            self.send_response(answers.get("code", 200))
            self.end_headers()
            self.wfile.write(answers["body"].encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    answers["port"] = server.server_port
    yield answers
    server.shutdown()
    server.server_close()


def test_exit_codes(lab, tmp_path, name, served):
    whole = configuration(lab, name, http={"listen": f"127.0.0.1:{served['port']}"})
    with Bridge(tmp_path, whole) as bridge:
        document = {"bridge": name, "instance": "x", "checks": {
            "pipeline": {"status": "stalled", "detail": "stream X: full \x1b[2J"}}}
        for health, code in (("ok", 0), ("idle", 0), ("degraded", 0), ("stalled", 1), ("gap", 1), ("failed", 1)):
            served["body"] = json.dumps(document | {"health": health})
            shown = status(bridge, code=code).stdout
            assert health in shown and "stream X: full \\u{1B}[2J" in shown
            status(bridge, "--json", code=code)
        served["body"] = json.dumps(document | {"bridge": "another", "health": "ok"})
        assert "bridge another answers" in status(bridge, code=78).stderr
        served["body"] = "<html>"
        assert "is no bridge" in status(bridge, code=69).stderr
        served["code"] = 503
        assert "status 503" in status(bridge, code=69).stderr


def test_a_server_that_says_nothing(lab, tmp_path, name):
    import socket
    with socket.create_server(("127.0.0.1", 0)) as silent:
        whole = configuration(lab, name, http={"listen": f"127.0.0.1:{silent.getsockname()[1]}"})
        with Bridge(tmp_path, whole) as bridge:
            began = time.monotonic()
            assert "no answer within" in status(bridge, code=69).stderr
            assert time.monotonic() - began < 20
