"""`tailrace validate` and wrong configurations: all errors at once, each with its place."""

import json
import re

import pytest
import yaml
from bridge import Bridge, configuration, tailrace


@pytest.fixture
def right(lab, name):
    return configuration(lab, name)


def validate(folder, whole):
    file = folder / "tailrace.yaml"
    file.write_text(whole if isinstance(whole, str) else yaml.safe_dump(whole, sort_keys=False))
    done = tailrace("validate", "-c", file)
    return done.returncode, done.stdout + done.stderr


def test_right(tmp_path, right):
    assert validate(tmp_path, right)[0] == 0


WRONG = """\
source:
  uri: mongodb://127.0.0.1:27017/?replicaSet=rs0
  colour: blue
nats:
  servers: [nats://127.0.0.1:4222]
bridge:
  name: chat
  checkpoint_interval: soon
streams:
  - name: CHAT
    subjects: ["chat.>"]
rules:
  - name: one
    match: { namespace: rocketchat.rooms, operations: [insert, explode] }
    subject: "chat.{fullDocument.rid"
    stream: CHAT
  - name: two
    match: { namespace: rocketchat.users }
    subject: "chat.{documentKey._id}"
    stream: NOWHERE
"""


def test_every_error_with_its_place(tmp_path):
    code, text = validate(tmp_path, WRONG)
    assert code == 78
    places = {int(line) for line in re.findall(r"tailrace\.yaml:(\d+):\d+", text)}
    for number, line in enumerate(WRONG.splitlines(), 1):
        wrong = any(word in line for word in
                    ["colour", "soon", "explode", "fullDocument.rid", "NOWHERE"])
        assert (number in places) == wrong, f"line {number}: {line}\n{text}"


@pytest.mark.parametrize(
    "text", ["", "[]", "source: [", "source: {uri: 5}\n", "\x00\x01", "a: &a [*a]"])
def test_not_a_configuration(tmp_path, text):
    code, output = validate(tmp_path, text)
    assert code == 78
    assert output.strip()


def test_missing_file(tmp_path):
    done = tailrace("validate", "-c", tmp_path / "nothing.yaml")
    assert done.returncode == 78
    assert "nothing.yaml" in done.stdout + done.stderr


def test_environment(tmp_path, right):
    right["source"]["uri"] = "${TAILRACE_TEST_URI}"
    assert validate(tmp_path, right)[0] == 78
    right["source"]["uri"] = "${TAILRACE_TEST_URI:-mongodb://127.0.0.1/?replicaSet=rs0}"
    assert validate(tmp_path, right)[0] == 0


def test_run_refuses_the_same(tmp_path, right):
    with Bridge(tmp_path, right | {"surprise": 1}) as bridge:
        assert bridge.run() == 78
        assert "surprise" in bridge.tail()


@pytest.mark.parametrize("arguments", [["run", "--nonsense"], ["nonsense"]])
def test_usage(arguments):
    assert tailrace(*arguments).returncode == 64


DOUBTFUL = """\
x-match: &match { namespace: rocketchat.rooms, operations: [insert, update] }
streams: [{ name: CHAT, subjects: ["chat.>"], x-owner: chat }]
rules:
  - name: one
    match: *match
    subject: "chat.{fullDocument.rid}"
"""


def test_warnings(tmp_path):
    """Legal: exit code 0; with --strict as bad as an error; apart from errors for machines."""
    file = tmp_path / "tailrace.yaml"
    file.write_text(DOUBTFUL)
    done = tailrace("validate", "-c", file)
    assert done.returncode == 0
    assert f"{file}:6:21: warning: fullDocument.rid has no value in update" in done.stdout
    assert tailrace("validate", "--strict", "-c", file).returncode == 78
    for arguments, code in [([], 0), (["--strict"], 78)]:
        done = tailrace("validate", "--json", "-c", file, *arguments)
        found = json.loads(done.stdout)
        assert done.returncode == code and found["valid"] is (code == 0)
        assert found["problems"] == []
        warning, = found["warnings"]
        assert (warning["id"], warning["line"], warning["column"]) == ("template.absent", 6, 21)
        assert warning["remedy"]
    file.write_text(DOUBTFUL + "surprise: 1\n")
    found = json.loads(tailrace("validate", "--json", "-c", file).stdout)
    assert len(found["problems"]) == len(found["warnings"]) == 1


def test_run_tells_of_warnings_once(lab, tmp_path, right):
    right["rules"][0]["event_type"] = "{operationType}"
    with Bridge(tmp_path, right) as bridge:
        assert bridge.run("--until", "now") == 0
        assert bridge.log.read_text().count("template.literal]") == 1


@pytest.mark.parametrize("text,code", [(DOUBTFUL, 0), (WRONG, 78), ("", 78)])
def test_standard_input(text, code):
    done = tailrace("validate", "-c", "-", input=text)
    assert done.returncode == code
    assert "standard input" in done.stdout + done.stderr
