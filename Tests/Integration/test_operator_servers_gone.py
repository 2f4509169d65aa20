"""Commands for operators while a server hangs or goes away in the middle: they end, with exit
code 69 and the reason."""

import signal
import subprocess
import time

import yaml
from bridge import BINARY, Bridge, configuration, tailrace, wait_until
from jetstream import JetStream
from lab import Lab, die_with_parent
from load import client, make_collections
from proxy import Proxy

LETTERS = 200
# Bytes of MongoDB's that come through before the network is cut.
CUTS = [300, 2000, 4000, 6000, 9000, 30_000, 90_000, 100_000]


def run_together(bridge, commands, seconds=40):
    """All at once; exit code, output and time of each."""
    began = time.monotonic()
    processes = {name: subprocess.Popen(
        [BINARY, *arguments, "-c", bridge.file], cwd=bridge.folder, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        preexec_fn=die_with_parent) for name, arguments in commands.items()}
    results = {}
    try:
        for name, process in processes.items():
            output, _ = process.communicate(timeout=max(1, seconds - (time.monotonic() - began)))
            results[name] = (process.returncode, output)
    finally:
        for process in processes.values():
            process.kill()
    print({name: code for name, (code, _) in results.items()}, round(time.monotonic() - began, 1))
    return results


def cut_short(bridge, lab, folder):
    """The network to MongoDB fails at every point of a look-up."""
    proxies = [Proxy(lab.mongod[0].port, cut_after=count) for count in CUTS]
    processes = []
    for proxy in proxies:
        whole = bridge.configuration | {"source": bridge.configuration["source"] | {
            "uri": f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"}}
        file = folder / f"cut{proxy.port}.yaml"
        file.write_text(yaml.safe_dump(whole))
        processes.append(subprocess.Popen(
            [BINARY, "dlq", "show", "1", "-c", file], cwd=folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=die_with_parent))
    for cut, process in zip(CUTS, processes):
        try:
            shown, said = process.communicate(timeout=40)
        finally:
            process.kill()
        assert process.returncode == 69 and "MongoDB" in said, (cut, process.returncode, said)
    for proxy in proxies:
        proxy.close()


def test_servers_gone(tmp_path, name):
    with Lab(nats_conf="max_payload: 65536") as lab:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        with Bridge(tmp_path, configuration(lab, name)) as bridge:
            bridge.start().wait_ready()
            with client(lab) as mongo:
                # Too large for a message and for a dead letter: it has to be read from the oplog.
                mongo[name].messages.insert_many(
                    [{"_id": n, "x": "x" * 100_000} for n in range(LETTERS)])
            wait_until(lambda: jetstream.holds(f"DLQ_{name}", LETTERS), "dead letters")
            assert bridge.terminate() == 0
            shown = tailrace("dlq", "show", "1", "-c", bridge.file, cwd=tmp_path)
            assert shown.returncode == 0 and "xxxx" in shown.stdout

            cut_short(bridge, lab, tmp_path)

            # In the middle of many.
            replay = subprocess.Popen(
                [BINARY, "dlq", "replay", "--all", "--dry-run", "-c", bridge.file], cwd=tmp_path,
                text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=die_with_parent)
            time.sleep(0.5)
            assert replay.poll() is None
            lab.mongod[0].process.send_signal(signal.SIGSTOP)
            _, said = replay.communicate(timeout=40)
            assert replay.returncode == 69 and "MongoDB" in said, said

            mongodb = {
                "show": ["dlq", "show", "1"], "replay": ["dlq", "replay", "--all", "--dry-run"],
                "set": ["checkpoint", "set", "1.1"], "doctor": ["doctor"],
                "snapshot": ["snapshot", "--no-wait"],
                "dry": ["run", "--dry-run", "--until", "now"], "verify": ["verify", "--timeout", "1"],
                "state": ["verify", "--level", "state", "--timeout", "1"],
            }
            wanted = {"doctor": 1, "verify": 2, "state": 2}
            results = run_together(bridge, mongodb)
            for command, (code, output) in results.items():
                assert code == wanted.get(command, 69), (command, code, output[-2000:])
            lab.mongod[0].process.send_signal(signal.SIGCONT)
            lab.wait("mongod")

            nats = {
                "list": ["dlq", "list"], "show": ["dlq", "show", "1"],
                "replay": ["dlq", "replay", "--all"], "drop": ["dlq", "drop", "--all"],
                "checkpoint": ["checkpoint", "show"], "set": ["checkpoint", "export"],
                "doctor": ["doctor"], "run": ["run", "--no-wait"],
                "verify": ["verify", "--timeout", "1"],
                "state": ["verify", "--level", "state", "--timeout", "1"],
                "selftest": ["verify", "selftest", "--rounds", "1"],
            }
            lab.nats[0].process.send_signal(signal.SIGSTOP)
            results = run_together(bridge, nats)
            lab.nats[0].process.send_signal(signal.SIGCONT)
            for command, (code, output) in results.items():
                assert code == wanted.get(command, 69), (command, code, output[-2000:])
            assert jetstream.state(f"DLQ_{name}")["messages"] == LETTERS
