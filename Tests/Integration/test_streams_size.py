"""`tailrace streams size`: what it calculates is what a server counts, and docs/scale.md's layouts work."""

import json

import pytest
from bridge import ROOT, tailrace, wait_until


def size(*arguments):
    done = tailrace("streams", "size", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("storage", ["file", "memory"])
@pytest.mark.parametrize("body, id", [(0, 0), (1, 7), (400, 30), (70_000, 120)])
def test_stored_size(jetstream, name, storage, body, id):
    """A stored message is as large as calculated."""
    subject = f"{name}.room".ljust(60, "x")
    jetstream.api(f"STREAM.CREATE.{name}", {
        "name": name, "subjects": [f"{name}.>"], "storage": storage, "num_replicas": 1})
    for number in range(3):
        jetstream.publish(subject, b"x" * body, headers={"Nats-Msg-Id": str(number).zfill(id)} if id else None)
    state = jetstream.state(name)
    assert state["messages"] == 3
    # The version line, the header's, and the empty one.
    headers = len("NATS/1.0\r\n") + len("Nats-Msg-Id: \r\n") + id + 2 if id else 0
    calculated = size("--events", "1", "--retention", "3s", "--bytes", str(body), "--headers", str(headers),
                      "--subject", str(len(subject)), "--replicas", "1",
                      *(["--memory"] if storage == "memory" else []))
    assert calculated["message_bytes"] * 3 == state["bytes"]
    assert calculated["messages"] == 3 and calculated["bytes"] == state["bytes"]


def test_what_the_page_says():
    """The example of docs/scale.md is what the command prints."""
    text = (ROOT / "docs" / "scale.md").read_text()
    example = text.split("```\n$ tailrace ")[1].split("```")[0].splitlines()
    done = tailrace(*example[0].split())
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == example[1:]


def test_streams_for_a_peak():
    assert size("--events", "100", "--bytes", "1", "--retention", "1d")["streams"] == 1
    assert size("--events", "100", "--peak", "1000000", "--bytes", "1", "--retention", "1d",
                "--stream-rate", "30000")["streams"] == 50


@pytest.mark.parametrize("arguments", [
    ("--events", "0"), ("--events", "inf"), ("--events", "nan"), ("--events", "-1"), ("--events", "1e300"),
    ("--bytes", "1000000000000"), ("--bytes", "400 bytes"), ("--retention", "week"), ("--replicas", "0"),
    ("--peak", "0.5"), ("--subjects", "-1"), ("--stream-rate", "0"), ("--headers", "1MiB"),
])
def test_numbers_that_mean_nothing(arguments):
    given = {"--events": "1", "--bytes": "1", "--retention": "1d"} | {arguments[0]: arguments[1]}
    done = tailrace("streams", "size", *[f"{key}={value}" for key, value in given.items()])
    assert done.returncode == 64, done.stdout
    assert arguments[0].removeprefix("--") in done.stderr and "Fatal" not in done.stderr


def test_partitions_behind_the_stream(jetstream, name):
    """A stream that sources the bridge's gives each room its number, always the same one, and keeps its order."""
    text = (ROOT / "docs" / "scale.md").read_text()
    given = json.loads(text.split("```json\n")[1].split("```")[0].replace("CHAT", name).replace("chat.", f"{name}."))
    jetstream.api(f"STREAM.CREATE.{name}", {"name": name, "subjects": [f"{name}.>"]})
    jetstream.api(f"STREAM.CREATE.{given['name']}", given)
    for number in range(60):
        jetstream.publish(f"{name}.room{number % 12}.created", str(number).encode())
    wait_until(lambda: jetstream.holds(given["name"], 60), "all are copied")
    partitions, last = {}, {}
    for message in jetstream.messages(given["name"]):
        _, partition, _, room, _ = message.subject.split(".")
        assert partitions.setdefault(room, partition) == partition
        assert last.get(room, -1) < int(message.body)
        last[room] = int(message.body)
    assert len(partitions) == 12 and set(partitions.values()) <= {str(n) for n in range(8)}
    assert len(set(partitions.values())) > 1
