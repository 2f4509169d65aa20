"""Bodies that their schema refuses: grouped by the keyword that does, and the smallest change that accepts them."""

import json

import jsonschema_rs
from bridge import Bridge, configuration, tailrace, wait_until
from load import client, make_collections

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
    "properties": {"fullDocument": {
        "type": "object", "required": ["_id", "rid"],
        "properties": {"_id": {}, "rid": {"type": "string"}, "kind": {"enum": ["text", "file"]},
                       "n": {"type": "integer", "maximum": 10}},
        "additionalProperties": {"type": "string"}}}}
PLACE = "/properties/fullDocument"


def keywords(bridge):
    return {(found["rule"], found["keyword"]): found["count"] for found in bridge.json("/status")[1]["schema_refusals"]}


def test_from_refusal_to_a_better_schema(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    file = tmp_path / "s.json"
    file.write_text(json.dumps(SCHEMA))
    # What a document says is no keyword, however much it looks like one.
    forged = f'x; y ({PLACE}/properties/secret/type)'
    documents = [{"rid": "a", "kind": "call"}, {"rid": "a", "kind": "video"}, {"n": 11, "rid": "a"}, {"rid": None},
                 {"n": 40, "rid": "b"}, {"kind": forged, "rid": "c"}, {}, {"rid": "a", "kind": "text", "n": 3}]
    with Bridge(tmp_path, configuration(lab, name, rule={"schema": "s.json"})) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        options = ["schema", "infer", "--from-dlq", "--rule", "all", "-c", bridge.file]
        assert tailrace(*options, cwd=tmp_path).returncode == 64
        mongo[name].messages.insert_many([{"_id": number} | one for number, one in enumerate(documents)])
        wait_until(lambda: jetstream.holds(f"DLQ_{name}", 7), "dead letters")
        wait_until(lambda: sum(keywords(bridge).values()) == 7, "all are counted")
        expected = {f"{PLACE}/properties/kind/enum": 3, f"{PLACE}/properties/n/maximum": 2,
                    f"{PLACE}/properties/rid/type": 1, f"{PLACE}/required": 1}
        assert keywords(bridge) == {("all", keyword): count for keyword, count in expected.items()}
        first = next(found for found in bridge.json("/status")[1]["schema_refusals"] if found["count"] == 2)
        letters = [json.loads(line) for line in
                   tailrace("dlq", "list", "--json", "-c", bridge.file, cwd=tmp_path).stdout.splitlines()]
        assert [first["first_position"], first["newest_position"]] == [letters[2]["position"], letters[4]["position"]]
        sample = f'tailrace_schema_refusals_total{{rule="all",keyword="{PLACE}/properties/kind/enum"}} 3'
        assert sample in bridge.get("/metrics")[1] and "secret" not in bridge.get("/metrics")[1]

        text = tailrace(*options, cwd=tmp_path)
        assert text.returncode == 0, text.stderr
        assert f'{PLACE}/properties/rid/type: null added to "string" (1 dead letter)' in text.stdout
        assert '+++ s.json (proposed)' in text.stdout and '\n-          "maximum": 10' in text.stdout
        assert "BACKWARD compatible" in text.stdout and "FORWARD incompatible" in text.stdout
        report = json.loads(tailrace(*options, "--json", cwd=tmp_path).stdout)
        assert {change["pointer"]: change["dead_letters"] for change in report["changes"]} == expected
        assert report["comparison"]["backward"]["verdict"] == "compatible"
        # No further than that.
        inner = report["schema"]["properties"]["fullDocument"]
        assert inner["required"] == ["_id"] and inner["properties"]["n"] == {"type": "integer", "maximum": 40}
        assert inner["properties"]["rid"] == {"type": ["string", "null"]}
        assert inner["properties"]["kind"]["enum"][:4] == ["text", "file", "call", "video"]
        validator = jsonschema_rs.Draft202012Validator(report["schema"])
        assert all(validator.is_valid({"fullDocument": {"_id": 1} | one} ) for one in documents)
        assert not validator.is_valid({"fullDocument": {"_id": 1, "rid": 7}})
        # With it, nothing is left to change, and the letters become messages.
        file.write_text(json.dumps(report["schema"]))
        assert "accepts them already" in tailrace(*options, cwd=tmp_path).stdout
        done = tailrace("dlq", "replay", "--rule", "all", "-c", bridge.file, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        wait_until(lambda: jetstream.holds(name, len(documents)), "messages")


def test_other_files_and_what_cannot_give_way(lab, jetstream, tmp_path, name):
    """What a neighbouring file refuses changes there. A keyword that forbids says nothing of how far it could give way:
    that is for a person to decide, and nothing is changed for its letters."""
    make_collections(lab, name)
    inner = {"properties": {"u": {"$ref": "lib/user%20x.json"}, "secret": {"not": {"type": "string"}}}}
    (tmp_path / "s.json").write_text(json.dumps({"properties": {"fullDocument": inner}}))
    (tmp_path / "lib").mkdir()
    other = tmp_path / "lib" / "user x.json"
    other.write_text(json.dumps({"properties": {"name": {"$ref": "#/$defs/name"}}, "$defs": {"name": {"maxLength": 3}}}))
    with Bridge(tmp_path, configuration(lab, name, rule={"schema": "s.json"})) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        mongo[name].messages.insert_many([{"_id": 1, "u": {"name": "four"}}, {"_id": 3, "u": {"name": "sixsix"}},
                                          {"_id": 2, "u": {"name": "fives"}, "secret": "x"}])
        wait_until(lambda: jetstream.holds(f"DLQ_{name}", 3), "dead letters")
        options = ["schema", "infer", "--from-dlq", "--rule", "all", "-c", bridge.file]
        done = tailrace(*options, cwd=tmp_path)
        assert done.returncode == 1 and "+++ s.json" not in done.stdout, done.stdout
        assert "lib/user x.json#/$defs/name/maxLength: 3 → 6 (2 dead letters)" in done.stdout
        place = "/properties/fullDocument/properties/secret/not"
        assert f"left to a person: {place} forbids what is at /fullDocument/secret" in done.stdout
        assert "What is proposed accepts 2 of 3" in done.stdout and "+++ lib/user x.json (proposed)" in done.stdout
        report = json.loads(tailrace(*options, "--json", cwd=tmp_path).stdout)
        assert [report["accepted"], report["unresolved"][0]["dead_letters"]] == [2, 1]
        assert report["other_files"] == [{"file": "lib/user x.json", "schema": {
            "properties": {"name": {"$ref": "#/$defs/name"}}, "$defs": {"name": {"maxLength": 6}}}}]
        other.write_text(json.dumps(report["other_files"][0]["schema"]))
        assert tailrace("dlq", "replay", "--rule", "all", "-c", bridge.file, cwd=tmp_path).returncode in (0, 1)
        wait_until(lambda: jetstream.holds(name, 2), "the messages that the change accepts")
        assert "no rule x" in tailrace("schema", "infer", "--from-dlq", "--rule", "x", "-c", bridge.file,
                                       cwd=tmp_path).stderr
