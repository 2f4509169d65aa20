"""Every line of a log is a whole one of the configured form, whatever names and documents are in it."""

import json
import re

import pytest
from bridge import Bridge, configuration, wait_until
from lab import Lab
from load import Writer, client, make_collections

HOSTILE = "a\nerror forged \x1b[31m\u202e\x9b"


def lines(bridge):
    return bridge.log.read_bytes().decode().split("\n")[1:-1]  # without the first line, which tests write


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_halt_that_quotes_a_name(lab, tmp_path, name, form):
    rule = {"match": {"namespace": f"{name}.*", "operations": ["insert"]}, "on_invalid": "halt",
            "subject": name + ".{fullDocument.missing}"}
    whole = configuration(lab, name, rule=rule, log={"level": "info", "format": form})
    with Bridge(tmp_path, whole) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        mongo[name][HOSTILE].insert_one({"_id": HOSTILE})
        assert bridge.wait() == 70
        assert "\x1b" not in bridge.log.read_text() and "\u202e" not in bridge.log.read_text()
        assert "\x9b" not in bridge.log.read_text()
        if form == "text":
            for line in lines(bridge):
                assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z (debug|info|notice|warning|error|critical) ", line), line
            last = lines(bridge)[-1]
            assert " critical " in last and "missing" in last and last.endswith("exit_code=70")
            return
        entries = [json.loads(line) for line in lines(bridge)]
        assert all({"time", "level", "message"} <= set(entry) for entry in entries)
        assert entries[-1]["level"] == "critical" and entries[-1]["exit_code"] == "70"
        assert "missing" in entries[-1]["message"]


def test_the_first_lines_say_what_runs(lab, tmp_path, name):
    secret = "hidden-in-the-uri"
    whole = configuration(lab, name, log={"level": "info", "format": "json"})
    whole["nats"]["servers"] = [server.replace("nats://", f"nats://somebody:{secret}@") for server in whole["nats"]["servers"]]
    with Bridge(tmp_path, whole) as bridge:
        bridge.start().wait_ready()
        entries = [json.loads(line) for line in lines(bridge)]
        first = entries[0]
        assert first["message"].startswith("tailrace ") and first["bridge"] == name and first["rules"] == "1"
        assert first["mongodb"] in lab.uri and first["nats"] in lab.nats_url
        publishing, = (entry for entry in entries if entry["message"] == "publishing")
        assert publishing["config_hash"] == bridge.json("/status")[1]["config_hash"]
        assert f"{name} (" in publishing["streams"] and f"DLQ_{name} (" in publishing["streams"]
        assert secret not in bridge.log.read_text()


def test_servers_words_are_one_line(lab, tmp_path, name):
    """A validator's error, of a file with such a name in it."""
    whole = configuration(lab, name)
    whole["streams"][0]["name"] = HOSTILE
    with Bridge(tmp_path, whole) as bridge:
        assert bridge.run() == 78
        text = bridge.log.read_text()
        assert "streams[0].name" in text and "\x1b" not in text and "\nerror forged" not in text


REVOKED = """
authorization {{ users [
  {{ user: all, password: p }}
  {{ user: bridge, password: p, permissions {{ publish {{ allow: [">"], deny: ["{name}.>"] }}, subscribe: ">" }} }}
] }}
"""


def test_a_flood_of_refusals_is_a_line(tmp_path, name):
    """The server sends an -ERR for each message of a user who may not publish, thousands a second."""
    with Lab(nats_conf=REVOKED.format(name=name)) as lab:
        make_collections(lab, name)
        whole = configuration(lab, name, nats={"user": "bridge", "password": "p"})
        with Bridge(tmp_path, whole) as bridge, Writer(lab, name, 1) as writer:
            bridge.start()
            # It tries again every two seconds, with all that waits.
            wait_until(lambda: any(refusal["count"] >= 3 for refusal in bridge.json("/status")[1].get("refusals", [])),
                       "it was refused, and again")
            assert writer.written > 0
            lines = bridge.log.read_text().splitlines()
            assert sum("Permissions Violation" in line for line in lines) <= 2
            assert sum(map(len, lines)) < 20_000
            assert bridge.terminate() == 0
