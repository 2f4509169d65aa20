"""`tailrace validate` and wrong configurations: all errors at once, each with its place."""

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
