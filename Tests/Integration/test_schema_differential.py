"""The validator against jsonschema-rs over random schemas and instances; `make fuzz` does a million.

SCHEMA_SEED (1) and SCHEMA_COMPARISONS (20000) make it longer."""

import json
import os

import fuzz
import pytest
from bridge import tailrace

SEED = int(os.environ.get("SCHEMA_SEED", "1"))
COMPARISONS = int(os.environ.get("SCHEMA_COMPARISONS", "20000"))


@pytest.mark.parametrize("formats", [False, True])
def test_same_verdicts(formats):
    made, valid, found = fuzz.compare(COMPARISONS, SEED, formats)
    for draft, schema, value, verdicts in found:
        print(f"draft {draft}: {verdicts}: {json.dumps(schema)} on {json.dumps(value)}")
    assert not found, "tailrace's verdict first"
    assert made >= COMPARISONS and made / 10 < valid < made * 9 / 10
    print(f"{made} comparisons, {valid} valid")


def test_check(lab, tmp_path, name):
    """Documents of all kinds, from files and from a collection."""
    import bson
    from load import client
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({
        "type": "object", "required": ["rid"], "properties": {
            "_id": {"type": "string", "pattern": "^[0-9a-f]{24}$"}, "rid": {"minLength": 1},
            "ts": {"format": "date-time"}, "n": {"$ref": "number.json"}}}))
    (tmp_path / "number.json").write_text('{"type": "integer"}')

    def check(*arguments, code, **options):
        done = tailrace("schema", "check", schema, *arguments, **options)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stderr + done.stdout

    lines = tmp_path / "lines.json"
    lines.write_text('{"rid": "a", "n": 1.0}\n\n{"rid": "", "n": 1.5}\n{"n": 1}\n')
    said = check(lines, code=1)
    assert "lines.json:3: invalid" in said and "/rid: " in said and "/n: " in said
    assert "lines.json:4: invalid" in said and '"rid"' in said
    assert said.endswith("3 documents: 1 valid, 2 invalid\n")
    # Beside it, on standard error, libraries may have something to say.
    output = [json.loads(line) for line in check(lines, "--json", code=1).splitlines()
              if line.startswith("{")]
    assert [one["valid"] for one in output] == [True, False, False]
    assert {e["instanceLocation"] for e in output[1]["errors"]} >= {"/rid", "/n"}

    one = tmp_path / "one.json"
    one.write_text('{\n "_id": {"$oid": "6741b7c0e0c917e9c4714161"},\n "rid": "a"}')
    assert "1 valid" in check(one, "--format", "extended", code=0)
    assert "/_id" in check(one, code=1)
    assert "/_id" in check(one, "--format", "extended", "--style", "canonical", code=1)
    dump = tmp_path / "dump.bson"
    dump.write_bytes(b"".join(bson.encode({"_id": bson.ObjectId(), "rid": "r" * (n % 3)})
                              for n in range(9)))
    assert "9 documents: 6 valid, 3 invalid" in check(dump, code=1)
    dump.write_bytes(dump.read_bytes()[:-3])
    assert "document 9" in check(dump, code=64)
    assert "1 valid" in check(code=0, input='{"rid": "x"}')
    with client(lab) as mongo:
        mongo[name].messages.insert_many([{"rid": "x"}, {"rid": "y"}, {"rid": ""}])
    said = check("--from-mongodb", lab.uri, "--namespace", f"{name}.messages", code=1)
    assert "3 documents: 2 valid, 1 invalid" in said
    check("--namespace", "a.b", code=64)
    check("--from-mongodb", lab.uri, code=64)
    check(tmp_path / "absent.json", code=64)
    (tmp_path / "number.json").write_text('{"type": "intiger"}')
    assert "number.json" in check(lines, code=78) and "/type" in check(lines, code=78)
