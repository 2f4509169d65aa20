"""Rules with a schema: what keeps its contract is published, what doesn't is a dead letter with the
reason."""

import json

from bridge import Bridge, configuration, tailrace, wait_until
from load import client, make_collections

MESSAGE = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "https://example.com/schemas/message.v1.json",
    "type": "object",
    "required": ["operationType", "documentKey"],
    "properties": {
        "operationType": {"enum": ["insert", "update", "replace", "delete"]},
        "documentKey": {"$ref": "key.json"},
        "fullDocument": {
            "type": "object", "required": ["_id", "rid"], "unevaluatedProperties": False,
            "properties": {
                "_id": {"type": "string", "pattern": "^[0-9a-f]{24}$"},
                "rid": {"type": "string", "minLength": 1},
                "ts": {"type": "string", "format": "date-time"},
                "n": {"type": "integer", "minimum": 0},
            },
        },
    },
}
KEY = {"type": "object", "required": ["_id"], "properties": {"_id": {"type": "string"}}}


def schemas(folder, **changes):
    (folder / "schemas").mkdir(exist_ok=True)
    (folder / "schemas" / "message.json").write_text(json.dumps(MESSAGE | changes))
    (folder / "schemas" / "key.json").write_text(json.dumps(KEY))
    return {"schema": "schemas/message.json"}


def write(lab, name):
    """Three good ones and three bad ones, in turn."""
    import datetime
    with client(lab) as mongo:
        messages = mongo[name].messages
        now = datetime.datetime.now(datetime.timezone.utc)
        messages.insert_one({"rid": "GENERAL", "ts": now, "n": 1})
        messages.insert_one({"rid": ""})
        messages.insert_one({"rid": "GENERAL", "n": 2.0})
        messages.insert_one({"rid": "GENERAL", "n": 2.5})
        messages.insert_one({"rid": "GENERAL"})
        messages.insert_one({"_id": "no ObjectId", "rid": "GENERAL", "extra": True})


def both(jetstream, name):
    wait_until(lambda: jetstream.holds(name, 3), "3 messages")
    wait_until(lambda: jetstream.holds(f"DLQ_{name}", 3), "3 dead letters")
    return jetstream.messages(name), jetstream.messages(f"DLQ_{name}")


def check(good, bad):
    assert [m.json["fullDocument"].get("n") for m in good] == [1, 2.0, None]
    assert all(m.headers["ce-dataschema"] == MESSAGE["$id"] for m in good)
    assert [m.headers["Tailrace-Error"] for m in bad] == ["schema_invalid"] * 3
    details = [m.headers["Tailrace-Error-Detail"] for m in bad]
    assert details[0].startswith('/fullDocument/rid: "" has 0 characters')
    assert "/fullDocument/n: " in details[1]
    assert "/fullDocument/_id: " in details[2] and '"extra" is not allowed' in details[2]
    assert all("(/properties/fullDocument/" in detail for detail in details)
    # The message it would have been.
    assert bad[0].headers["Tailrace-Subject"].endswith(".messages.insert")
    assert bad[0].headers["ce-dataschema"] == MESSAGE["$id"]
    assert bad[0].json["fullDocument"]["rid"] == ""


def test_contract(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name, rule=schemas(tmp_path))) as bridge:
        bridge.start().wait_ready()
        write(lab, name)
        good, bad = both(jetstream, name)
        rule = wait_until(
            lambda: (r := bridge.json("/status")[1]["rules"][0])["matched"] == 6 and r, "all counted")
        assert (rule["published"], rule["dead_lettered"], rule["invalid"]) == (3, 3, 3)
        assert rule["schema_invalid"] == 3
        assert "extra" in rule["last_error"]
        health = bridge.json("/healthz")[1]["checks"]["schema"]["detail"]
        assert health == "1 rules have a schema; 3 events were invalid"
        assert 'tailrace_rule_schema_invalid_total{rule="all"} 3' in bridge.get("/metrics")[1]
        assert bridge.terminate() == 0
    check(good, bad)


def test_body_that_is_not_the_event(lab, jetstream, tmp_path, name):
    """With a filter, what is judged is what is left."""
    make_collections(lab, name)
    rule = schemas(tmp_path) | {"payload": {"envelope": "cloudevents",
                                            "exclude": ["fullDocument.extra"]}}
    with Bridge(tmp_path, configuration(lab, name, rule=rule)) as bridge:
        bridge.start().wait_ready()
        write(lab, name)
        good, bad = both(jetstream, name)
    details = [m.headers["Tailrace-Error-Detail"] for m in bad]
    assert len(good) == 3 and "extra" not in details[2] and "/fullDocument/_id" in details[2]


def test_styles(lab, jetstream, tmp_path, name):
    """The schema speaks of the JSON that is written, in whatever style."""
    make_collections(lab, name)
    changes = {"properties": {"fullDocument": {"properties": {
        "_id": {"type": "object", "required": ["$oid"]},
        "n": {"type": "object", "properties": {"$numberInt": {"type": "string"}},
              "additionalProperties": False}}}}}
    rule = schemas(tmp_path, **changes) | {"payload": {"envelope": "cloudevents",
                                                       "json": "canonical"}}
    with Bridge(tmp_path, configuration(lab, name, rule=rule)) as bridge:
        bridge.start().wait_ready()
        write(lab, name)
        wait_until(lambda: jetstream.holds(name, 3), "3 messages")
        wait_until(lambda: jetstream.holds(f"DLQ_{name}", 3), "3 dead letters")
    ids = [m.json["fullDocument"].get("n") for m in jetstream.messages(name)]
    assert ids == [{"$numberInt": "1"}, None, None]


def test_drop_and_halt(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    rule = schemas(tmp_path) | {"on_invalid": "drop"}
    with Bridge(tmp_path, configuration(lab, name, rule=rule)) as bridge:
        bridge.start().wait_ready()
        write(lab, name)
        wait_until(lambda: jetstream.holds(name, 3), "3 messages")
        outcomes = wait_until(lambda: (o := bridge.json("/status")[1]["outcomes"])["dropped"] == 3
                              and o, "3 dropped")
        assert outcomes["published"] == 3
        # They are counted by keyword like dead letters.
        refusals = bridge.json("/status")[1]["schema_refusals"]
        assert sum(refusal["count"] for refusal in refusals) == 3
        assert all(refusal["keyword"] and refusal["place"].startswith("/fullDocument") for refusal in refusals)
        for refusal in refusals:
            sample = f'{{rule="all",keyword="{refusal["keyword"]}"}} {refusal["count"]}'
            assert "tailrace_schema_refusals_total" + sample in bridge.get("/metrics")[1]
        assert bridge.terminate() == 0
    assert not jetstream.state(f"DLQ_{name}")["messages"]
    other = f"{name}_halt"
    make_collections(lab, other)
    rule = schemas(tmp_path) | {"on_invalid": "halt"}
    with Bridge(tmp_path, configuration(lab, other, rule=rule)) as bridge:
        bridge.start().wait_ready()
        write(lab, other)
        assert bridge.wait() == 70
        assert "schema_invalid" in bridge.tail() and "/fullDocument/rid" in bridge.tail()
    assert len(jetstream.messages(other)) == 1, "nothing behind it"


def test_replay_after_the_schema_was_corrected(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name, rule=schemas(tmp_path))) as bridge:
        bridge.start().wait_ready()
        write(lab, name)
        _, bad = both(jetstream, name)
        assert bridge.terminate() == 0
        schemas(tmp_path, properties={})
        done = tailrace("dlq", "replay", "--error", "schema_invalid", "--json", "-c", bridge.file,
                        cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [m.id for m in bad]


def test_mistakes_are_found_offline(lab, tmp_path, name):
    """With the place in the configuration and in the schema."""
    def validate(**changes):
        rule = schemas(tmp_path, **changes)
        bridge = Bridge(tmp_path, configuration(lab, name, rule=rule))
        done = tailrace("validate", "-c", bridge.file, cwd=tmp_path)
        return done.returncode, done.stdout + done.stderr

    code, said = validate()
    assert code == 0, said
    code, said = validate(properties={"a": {"minLength": "x"}})
    assert code == 78 and "/properties/a/minLength" in said and "schemas/message.json" in said
    assert ":" in said and "rules[0].schema" in said
    code, said = validate(properties={"a": {"$ref": "nowhere.json"}})
    assert code == 78 and "nowhere.json" in said
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    code, said = validate(properties={"a": {"$ref": "../secret.json"}})
    assert code == 78, "nothing outside of the schema's folder"
    (tmp_path / "schemas" / "link.json").symlink_to(secret)
    code, said = validate(properties={"a": {"$ref": "link.json"}})
    assert code == 78, "nor through a link"
    (tmp_path / "schemas" / "message.json").write_text("{")
    bridge = Bridge(tmp_path, configuration(lab, name, rule={"schema": "schemas/message.json"}))
    done = tailrace("validate", "-c", bridge.file, cwd=tmp_path)
    assert done.returncode == 78 and "invalid JSON" in done.stdout + done.stderr
