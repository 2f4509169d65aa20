"""Numbers on the command line: an error of usage (64) that names the option, never a trap."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from bridge import Bridge, configuration, tailrace, wait_until
from load import client, make_collections

HUGE = "99999999999999999999"
WRONG = [
    *[(["verify", "--follow", "--interval", value], "--interval")
      for value in ("inf", "-inf", "nan", "0", "-1", "1e300", "1e-300", HUGE)],
    *[(["verify", "--timeout", value], "--timeout")
      for value in ("-1", "9223372036854775807", HUGE, "inf", "1.5")],
    *[(["verify", "--stretch", value], "--stretch") for value in ("0", "-1", HUGE)],
    *[(["verify", "--follow", "--max-rate", value], "--max-rate") for value in ("0", "-1", HUGE)],
    *[(["verify", "--follow", "--listen", value], "--listen")
      for value in ("127.0.0.1:65536", "127.0.0.1:-1", f"127.0.0.1:{HUGE}", "127.0.0.1")],
    *[(["verify", option, value], option) for option in ("--from", "--to")
      for value in ("4294967296.0", "1.4294967296", "-1.1", "1", f"{HUGE}.1", "inf.1", "nan")],
    *[(["verify", "selftest", option, value], option) for option, value in
      [("--rounds", "0"), ("--rounds", "-1"), ("--rounds", HUGE), ("--seed", "-1"), ("--seed", HUGE)]],
    *[(["run", option, value], option) for option in ("--from", "--until")
      for value in ("4294967296.1", "1.4294967296", "1.2.3", "-1.1")],
    *[(["run", "--dry-run", "--max-payload", value], "--max-payload") for value in ("0", "-1", HUGE)],
    *[(["dlq", "list", option, value], option) for option, value in
      [("--limit", "0"), ("--limit", "-1"), ("--limit", HUGE), ("--sequence", "-1"),
       ("--sequence", HUGE), ("--from", "4294967296.1"), ("--to", f"1.{HUGE}")]],
    (["dlq", "show", HUGE], "sequence"), (["checkpoint", "set", "4294967296.1"], "position"),
    (["checkpoint", "set", f"1.{HUGE}"], "position"),
]


@pytest.fixture
def file(tmp_path):
    class Nobody:
        uri, nats_url = "mongodb://127.0.0.1:1/?replicaSet=rs0", "nats://127.0.0.1:1"

    return Bridge(tmp_path, configuration(Nobody, "extreme")).file


def test_options(file):
    def ask(case):
        arguments, option = case
        # With "=", since what begins with a dash would be taken for an option.
        joined = []
        for argument in arguments:
            if joined and joined[-1].startswith("--") and "=" not in joined[-1] \
                    and joined[-1] not in ("--follow", "--dry-run"):
                joined[-1] += f"={argument}"
            else:
                joined.append(argument)
        return arguments, option, tailrace(*joined, "-c", file)

    with ThreadPoolExecutor(4) as pool:
        for arguments, option, done in pool.map(ask, WRONG):
            assert done.returncode == 64, (arguments, done.returncode, done.stderr)
            assert option in done.stderr, (arguments, done.stderr)


@pytest.mark.parametrize("first", [2**63 - 5, 2**63, 2**64 - 10])
def test_sequences(lab, jetstream, tmp_path, name, first):
    """A stream whose sequences no signed number holds, or soon none: a reason, never a trap."""
    make_collections(lab, name)
    jetstream.api(f"STREAM.CREATE.{name}", {
        "name": name, "subjects": [f"{name}.>"], "first_seq": first})
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start("--from", "now", "--force")
        if first >= 2**63:
            assert bridge.wait(30) == 78
            assert "sequences above 2^63" in bridge.tail()
            assert "with a smaller first_seq" in bridge.tail()
            return
        bridge.wait_ready()
        with client(lab) as mongo:
            mongo[name].rooms.insert_many([{"_id": number} for number in range(10)])
        wait_until(lambda: bridge.alive() and "sequences above 2^63" in json.dumps(
            bridge.json("/healthz")[1]), "/healthz has the reason")
        assert "with a smaller first_seq" in bridge.tail()
        assert bridge.terminate() == 0
