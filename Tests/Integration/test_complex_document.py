"""Documents and schemas that are made to take long: what takes too much is a dead letter with the
reason, the rest is published, in order and without a stall; all commands say the same."""

import json
import time

import bson
from bson import json_util

from bridge import Bridge, configuration, tailrace, wait_until
from load import client, make_collections, now

MESSAGE = {"oneOf": [
    {"type": "object", "required": ["text"], "additionalProperties": False,
     "properties": {"text": {"type": "string"}}},
    {"type": "object", "required": ["quote"], "properties": {"quote": {"$ref": "#/$defs/message"}}},
    {"type": "object", "required": ["quote", "note"],
     "properties": {"quote": {"$ref": "#/$defs/message"}, "note": {"type": "string"}}},
    {"type": "object", "required": ["list"],
     "properties": {"list": {"items": {"$ref": "#/$defs/message"}}}},
]}
SCHEMA = {
    "$defs": {"message": MESSAGE},
    "properties": {
        "message": {"$ref": "#/$defs/message"},
        "names": {"items": {"type": "string"}},
        "numbers": {"uniqueItems": True, "items": {"type": "integer"}},
        "kinds": {"items": {"enum": [{"a": n, "b": "x"} for n in range(500)]}},
        "regex": {"format": "regex"},
        "tried": {"pattern": "^(?=(a+)+$)b"},
    },
}


def nested(depth, leaf):
    message = {"text": leaf}
    for level in range(depth):
        message = {"list": [message]} if level % 2 else {"quote": message}
    return {"message": message}


# What is inserted, and what must come of it: None is a message.
DOCUMENTS = [
    (nested(20, 5), "schema_invalid"),
    (nested(8, "fine"), None),
    ({"names": list(range(60_000))}, "schema_invalid"),
    ({"numbers": list(range(5_000))}, None),
    ({"numbers": list(range(5_000)) + [0]}, "schema_invalid"),
    ({"kinds": [{"a": n % 500, "b": "x"} for n in range(20_000)]}, None),
    ({"kinds": [{"b": "x", "a": n % 501} for n in range(20_000)]}, "schema_invalid"),
    ({"regex": "[" + "a" * 600_000}, "too_complex"),
    ({"regex": "^[ab]{1,9}$"}, None),
    ({"tried": "a" * 60 + "c"}, "too_complex"),
    ({"chosen": "a" * 60 + "c"}, "too_complex"),
    ({"tried": "aaa"}, "schema_invalid"),
]


def rule(folder):
    (folder / "s.json").write_text(json.dumps(SCHEMA))
    return {"schema": "s.json", "payload": {"envelope": "document", "json": "simplified"}}


def test_complex_documents(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    # Of a text that the pattern is not found in, and of documents without one, the rule takes all.
    where = {"fullDocument.chosen": {"$not": {"$regex": "^(?=(a+)+$)b"}}}
    settings = rule(tmp_path)
    settings["match"] = {"namespace": f"{name}.*", "operations": ["insert"], "where": where}
    after = now(lab)
    expected, letters = [], []
    with Bridge(tmp_path, configuration(lab, name, rule=settings)) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            for index, (document, code) in enumerate(DOCUMENTS):
                mongo[name].messages.insert_one({"_id": f"c{index}"} | document)
                mongo[name].messages.insert_one({"_id": f"p{index}"})
                if code:
                    letters.append((f"c{index}", code))
                else:
                    expected.append(f"c{index}")
                expected.append(f"p{index}")
            began = time.monotonic()
        wait_until(lambda: jetstream.holds(name, len(expected)), "all messages")
        wait_until(lambda: jetstream.holds(f"DLQ_{name}", len(letters)), "all dead letters")
        print(f"settled {time.monotonic() - began:.2f} s after the last insert")
        # Counted when they are acknowledged.
        wait_until(lambda: (o := bridge.json("/status")[1]["outcomes"]) and
                   (o["published"], o["dead_lettered"]) == (len(expected), len(letters)), "counts")
        assert bridge.terminate() == 0
    # In the order in which they were inserted.
    assert [m.json["_id"] for m in jetstream.messages(name)] == expected
    bad = jetstream.messages(f"DLQ_{name}")
    assert [(m.json["documentKey"]["_id"], m.headers["Tailrace-Error"]) for m in bad] == letters
    details = {m.json["documentKey"]["_id"]: m.headers["Tailrace-Error-Detail"] for m in bad}
    assert all(len(detail) <= 2048 for detail in details.values())
    assert details["c0"].startswith("/message: ") and "none of the 4 schemas" in details["c0"]
    assert details["c2"].startswith("/names/0: 0 is an integer")
    assert details["c4"].startswith("/numbers: items 0 and 5000 are the same")
    assert details["c6"].startswith("/kinds/500: ")
    assert "too many steps" in details["c7"] and "too many steps" in details["c9"]
    assert "where" in details["c10"]

    # The same by whoever judges them again.
    verdict = tailrace("verify", "--json", "-c", bridge.file, cwd=tmp_path, seconds=60)
    assert verdict.returncode == 0, verdict.stdout[-2000:] + verdict.stderr[-2000:]
    dry = tailrace("run", "--dry-run", "--json", "-c", bridge.file, "--from",
                   f"{after.time}.{after.inc}", "--until", "now", cwd=tmp_path, seconds=60)
    assert '"too_complex"' in dry.stdout and '"schema_invalid"' in dry.stdout, dry.stdout[-2000:]
    replay = tailrace("dlq", "replay", "--error", "too_complex", "--json", "-c", bridge.file,
                      cwd=tmp_path, seconds=60)
    assert replay.returncode == 1 and len(replay.stdout.splitlines()) >= 3, replay.stdout
    assert len(jetstream.messages(f"DLQ_{name}")) == len(letters), "all stay"


def test_schema_check_says_the_same(tmp_path):
    """By JSON, by Extended JSON and by BSON: valid is what the bridge publishes."""
    rule(tmp_path)
    documents = [document for document, code in DOCUMENTS if "chosen" not in document]
    wanted = [code is None for document, code in DOCUMENTS if "chosen" not in document]
    (tmp_path / "d.json").write_text("\n".join(map(json.dumps, documents)))
    (tmp_path / "e.json").write_text(
        "\n".join(json_util.dumps(d, json_options=json_util.CANONICAL_JSON_OPTIONS)
                  for d in documents))
    (tmp_path / "d.bson").write_bytes(b"".join(map(bson.encode, documents)))
    for arguments in [["d.json"], ["e.json", "--format", "extended"], ["d.bson"],
                      ["d.json", "--json"]]:
        done = tailrace("schema", "check", "s.json", *arguments, cwd=tmp_path, seconds=60)
        assert done.returncode == 1, done.stderr
        if "--json" in arguments:
            found = [json.loads(line)["valid"] for line in done.stdout.splitlines()]
        else:
            invalid = {int(line.split(":")[1]) for line in done.stdout.splitlines()
                       if line.endswith(": invalid")}
            found = [number not in invalid for number in range(1, len(documents) + 1)]
        assert found == wanted, (arguments, done.stdout[-2000:])
        assert len(done.stdout) < 200_000
