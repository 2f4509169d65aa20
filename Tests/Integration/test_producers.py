"""The producers of examples/, as an application runs them, in a group in dual: each event by its producer, and right."""

import json
import subprocess
import sys

import pytest
from bridge import BINARY, ROOT, tailrace, wait_until
from test_cutover import Group

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object", "required": ["_id", "room", "text"],
    "properties": {"_id": {"type": "integer"}, "room": {"type": "string"}, "text": {"type": "string"},
                   "rate": {"type": "number"}, "tags": {"type": "array"}},
}
# Of `make test`; a build of the whole package has it, too.
SWIFT = BINARY.with_name("Examples")
PRODUCERS = {
    "python": [sys.executable, ROOT / "examples" / "python" / "producer.py"],
    "swift": [SWIFT, "produce"],
}
# What has to be escaped in a subject, and numbers and text that can be spelled in several ways.
ROOMS = ["general", "a.b", "a b", "größe", "50%", "~-_", "*", ">"]


def document(number):
    return {"_id": number, "room": ROOMS[number % len(ROOMS)], "text": f"\u2028 \"{number}\" \U0001F600 /\\",
            "rate": [0.1, 1e21, -0.0, 5e-324, 12345678901234567][number % 5], "tags": [number, None, True, {}]}


@pytest.fixture
def group(lab, jetstream, tmp_path, name):
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    rule = {"schema": str(tmp_path / "schema.json")}
    with Group(lab, jetstream, tmp_path, name, rule=rule) as group:
        yield group


def produce(group, language, documents, schema=None):
    """What the program prints, by id."""
    command = [*PRODUCERS[language], ",".join(group.jetstream.servers), schema or group.folder / "schema.json",
               group.name]
    lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in documents)
    done = subprocess.run(command, input=lines.encode(), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return [tuple(line.split(" ", 1)) for line in done.stdout.decode().splitlines()]


@pytest.mark.parametrize("language", PRODUCERS)
def test_examples(group, language):
    if language == "swift" and not SWIFT.exists():
        pytest.skip(f"{SWIFT} is not built")
    group.bridge.start().wait_ready()
    group.dual()
    documents = [document(number) for number in range(40)]
    group.mongo[group.name].messages.insert_many([dict(one) for one in documents])
    assert produce(group, language, documents) == [(str(n), "stored") for n in range(40)]
    group.counts(by_producer=40)
    # A retry that the first attempt didn't need, and what consumers were not promised.
    (again, broken) = produce(group, language, [documents[7], document(40) | {"text": 5}])
    assert again == ("7", "duplicate")
    assert broken[0] == "40" and broken[1].startswith("invalid") and "string" in broken[1]
    # By the version that is published, which the first one of a name is.
    published = tailrace("schema", "publish", group.name, group.folder / "schema.json", "-c", group.bridge.file)
    assert published.returncode == 0, published.stderr
    group.mongo[group.name].messages.insert_one(document(40))
    (right, wrong) = produce(group, language, [document(40), document(41) | {"room": None}], f"kv:{group.name}.1")
    assert right == ("40", "stored") and wrong[0] == "41" and wrong[1].startswith("invalid"), (right, wrong)
    group.counts(by_producer=41)
    group.holds(*range(41))
    wait_until(lambda: group.status()["can_commit"], "no blockers")
    assert group.bridge.terminate() == 0
