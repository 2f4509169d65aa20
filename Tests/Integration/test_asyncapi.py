"""`tailrace schema asyncapi`: what it describes is a valid AsyncAPI 3.0 document, and it is what the bridge publishes.

The document is read by an independent implementation of the specification; where $ASYNCAPI_SCHEMA names AsyncAPI's own
JSON Schema of version 3.0.0, by that, too."""

import json
import os
import re
from pathlib import Path
from urllib.parse import unquote

import jsonschema_rs
import pytest
import yaml
from asyncapi3.models import AsyncAPI3
from bridge import ROOT, Bridge, configuration, tailrace, wait_until
from load import client

SCHEMA = os.environ.get("ASYNCAPI_SCHEMA")


def described(file, *arguments, **options):
    done = tailrace("schema", "asyncapi", "-c", file, *arguments, **options)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    AsyncAPI3.model_validate(document)
    if SCHEMA:
        jsonschema_rs.Draft7Validator(json.loads(Path(SCHEMA).read_text())).validate(document)
    return document


def write(folder, settings, name="tailrace.yaml"):
    file = folder / name
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    return file


def resolve(document, reference):
    found = document
    for part in unquote(reference["$ref"]).removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found


@pytest.mark.parametrize("file", ["chat.yaml", "minimal.yaml"])
def test_the_shipped_configurations(file):
    document = described(ROOT / "config" / file)
    rules = yaml.safe_load((ROOT / "config" / file).read_text())["rules"]
    assert len(document["components"]["messages"]) == len(rules) + 1
    names = {message["name"] for message in document["components"]["messages"].values()}
    assert names == {rule["name"] for rule in rules} | {"dead_letter"}


BROKEN = [
    ("channels", lambda d: next(iter(d["channels"].values())).update(address=7)),
    ("operations", lambda d: next(iter(d["operations"].values())).update(action="emit")),
    ("info", lambda d: d["info"].pop("version")),
]


@pytest.mark.parametrize("what, damage", BROKEN, ids=[what for what, _ in BROKEN])
def test_the_check_can_fail(what, damage):
    document = described(ROOT / "config" / "chat.yaml")
    damage(document)
    with pytest.raises(ValueError):
        AsyncAPI3.model_validate(document)
    if SCHEMA:
        with pytest.raises(ValueError):
            jsonschema_rs.Draft7Validator(json.loads(Path(SCHEMA).read_text())).validate(document)


def test_every_kind_of_rule(lab, tmp_path, name):
    """Streams, buckets, signals, all envelopes, schemas of three drafts that refer to others, names that are no keys,
    rules with one subject; and no secret."""
    (tmp_path / "schemas" / "parts").mkdir(parents=True)
    drafts = {"a": "http://json-schema.org/draft-07/schema#", "b": "https://json-schema.org/draft/2019-09/schema",
              "c": "https://json-schema.org/draft/2020-12/schema"}
    for key, draft in drafts.items():
        (tmp_path / "schemas" / f"{key}.json").write_text(json.dumps({
            "$schema": draft, "type": "object",
            "properties": {"room": {"$ref": "parts/room.json"}, "author": {"$ref": "parts/the%20author.json"}},
            "required": ["room"]} | ({"$id": "https://example.com/c.json"} if key == "c" else {})))
    (tmp_path / "schemas" / "parts" / "room.json").write_text(json.dumps({"$ref": "token.json"}))
    # Two files with the same content are two files.
    for file in ["token", "the author"]:
        (tmp_path / "schemas" / "parts" / f"{file}.json").write_text(json.dumps({"type": "string", "minLength": 3}))

    def rule(rule_name, subject, **more):
        return {"name": rule_name, "match": {"namespace": f"{name}.{rule_name}", "operations": ["insert"]},
                "subject": subject, "payload": {"envelope": "document"}} | more

    rules = [
        rule("a", name + ".{fullDocument.room}.a", schema="schemas/a.json", stream=name),
        rule("b", name + ".{fullDocument.room}.b", schema="schemas/b.json", stream=name),
        rule("c", name + ".{fullDocument.room}.c-{documentKey._id}.{ns.coll}",
             schema="schemas/c.json", stream=name, id="{documentKey._id}.created"),
        rule("same.subject", name + ".{fullDocument.room}.a", stream=name),
        rule("same_subject", name + ".{fullDocument.room}.a", stream=name, payload={"envelope": "cloudevents"}),
        rule("structured", f"{name}.structured", stream=name, payload={"envelope": "cloudevents_structured"}),
        rule("debezium", f"{name}.debezium", stream=name, payload={"envelope": "debezium"}),
        {"name": "signal", "match": {"namespace": f"{name}.typing", "operations": ["insert"]}, "delivery": "core",
         "subject": "typing.{fullDocument.room}", "payload": {"envelope": "document"}},
        {"name": "entry", "match": {"namespace": f"{name}.presence"}, "delivery": "kv",
         "kv": {"bucket": "PRESENCE", "key": "{documentKey._id}"}, "payload": {"envelope": "document"}},
    ]
    settings = configuration(lab, name, rules=rules, kv=[{"bucket": "PRESENCE"}])
    settings["nats"] = {"servers": ["nats://someone:s3cret-word@nats.example:4222"]}
    document = described(write(tmp_path, settings))
    text = json.dumps(document)
    assert "s3cret-word" not in text and "someone" not in text
    assert document["servers"]["nats0"] == {"host": "nats.example:4222", "protocol": "nats"}

    channels = {channel["address"]: channel for channel in document["channels"].values()}
    shared = channels[name + ".{fullDocument_room}.a"]
    assert len(shared["messages"]) == 3 and list(shared["parameters"]) == ["fullDocument_room"]
    assert set(channels[name + ".{fullDocument_room}.c-{documentKey__id}.{ns_coll}"]["parameters"]) == {
        "fullDocument_room", "documentKey__id", "ns_coll"}
    assert channels["typing.{fullDocument_room}"].get("x-jetstream") is None
    assert any(address.startswith("$KV.PRESENCE.") for address in channels)
    assert f"dlq_{name}.{{rule}}" in channels

    # Each schema judges as it does beside its neighbours, without them.
    messages = {message["name"]: message for message in document["components"]["messages"].values()}
    for key in drafts:
        payload = messages[key]["payload"]
        validator = jsonschema_rs.validator_for(payload["schema"])
        assert validator.is_valid({"room": "abc", "author": "abc"}), key
        assert not validator.is_valid({"room": "abc", "author": "ab"}), key
        assert not validator.is_valid({"room": "ab"}) and not validator.is_valid({}), key
    assert [messages[key]["payload"]["schemaFormat"].split("=")[1] for key in "abc"] == [
        "draft-07", "2019-09", "2020-12"]
    assert messages["c"]["x-tailrace"]["id"] == "{documentKey._id}.created"
    assert {operation["action"] for operation in document["operations"].values()} == {"send"}


def references(value):
    if isinstance(value, dict):
        found = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return found + [reference for inner in value.values() for reference in references(inner)]
    return [reference for inner in value for reference in references(inner)] if isinstance(value, list) else []


NODE = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
REFERRING = {
    # To the whole, to definitions, by anchors, through other files, and names that look like references.
    "tree": (NODE | {"properties": NODE["properties"] | {"below": {"type": "array", "items": {"$ref": "#"}}}},
             {"name": "a", "below": [{"name": "b"}]}, {"name": "a", "below": [{"name": 7}]}),
    "old": ({"$schema": "http://json-schema.org/draft-07/schema#", "$id": "https://example.com/old.json",
             "properties": {"at": {"$ref": "#/definitions/a~1b"}, "$ref": {"type": "integer"}},
             "definitions": {"a/b": {"type": "string", "minLength": 2}}},
            {"at": "xx", "$ref": 1}, {"at": "x"}),
    "anchors": ({"$defs": {"n": {"$anchor": "number", "type": "integer"}, "own": {
        "$id": "https://example.com/own", "$defs": {"t": {"maxLength": 1}}, "properties": {"t": {"$ref": "#/$defs/t"}}}},
        "properties": {"n": {"$ref": "#number", "minimum": 3}, "own": {"$ref": "https://example.com/own"}},
        "default": {"$ref": "#/nowhere"}},
        {"n": 3, "own": {"t": "a"}}, {"n": 3, "own": {"t": "ab"}}),
    "files": ({"properties": {"list": {"$ref": "list.json"}}},
              {"list": {"next": {"next": {"v": 1}}}}, {"list": {"next": {"next": {"v": "a"}}}}),
    "dynamic": ({"$id": "https://example.com/d", "$dynamicAnchor": "node", "properties": {
        "v": {"type": "integer"}, "next": {"$dynamicRef": "#node"}}}, {"next": {"v": 1}}, {"next": {"v": "a"}}),
    # To files that have an identifier of their own, by their paths.
    "ids": ({"properties": {"room": {"$ref": "parts/room.json"}, "name": {"$ref": "parts/room.json#/$defs/name"},
                            "old": {"$ref": "parts/old.json"}, "tree": {"$ref": "parts/tree.json"}}},
            {"room": {"id": "ab"}, "name": "ab", "old": "ab", "tree": {"below": {"n": 1}}},
            {"room": {"id": "ab"}, "name": "a", "tree": {"below": {"n": 1}}}),
    "deep": ({"properties": {"tree": {"$ref": "parts/tree.json"}}}, {"tree": {"below": {"n": 1}}}, {"tree": {"below": {"n": "x"}}}),
    # To metaschemas.
    "form7": ({"$schema": "http://json-schema.org/draft-07/schema#", "properties": {
        "form": {"$ref": "http://json-schema.org/draft-07/schema#"}}},
        {"form": {"items": [{"type": "string"}]}}, {"form": {"items": [{"type": 7}]}}),
    "form19": ({"$schema": "https://json-schema.org/draft/2019-09/schema", "properties": {
        "form": {"$ref": "https://json-schema.org/draft/2019-09/schema"}}},
        {"form": {"properties": {"a": {"minLength": 1}}}}, {"form": {"properties": {"a": {"minLength": -1}}}}),
    "form": ({"properties": {"form": {"$ref": "https://json-schema.org/draft/2020-12/schema"}, "n": {"$ref": "#/$defs/n"}},
              "$defs": {"n": {"type": "integer"}}},
             {"form": {"$defs": {"a": {"not": {"type": "null"}}}}, "n": 1}, {"form": {"$defs": {"a": {"not": {"type": 7}}}}}),
    "older": ({"properties": {"form": {"$ref": "http://json-schema.org/draft-07/schema"},
                              "count": {"$ref": "http://json-schema.org/draft-07/schema#/definitions/nonNegativeInteger"},
                              "new": {"$ref": "https://json-schema.org/draft/2020-12/schema"}}},
              {"form": {"dependencies": {"a": {"type": "string"}}}, "count": 1, "new": {"prefixItems": [True]}},
              {"form": {"dependencies": {"a": {"type": "text"}}}}),
    "closed": ({"$ref": "#/$defs/base", "properties": {"b": {}}, "unevaluatedProperties": False,
                "$defs": {"base": {"properties": {"a": {"const": 1}}}}}, {"a": 1, "b": 2}, {"a": 1, "c": 2}),
}


def test_references_lead_where_they_led(lab, tmp_path, name):
    """Tools for AsyncAPI take `#/…` for a place in the whole document."""
    (tmp_path / "list.json").write_text(json.dumps(
        {"properties": {"v": {"type": "integer"}, "next": {"$ref": "#"}}}))
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "room.json").write_text(json.dumps({
        "$id": "https://example.com/room.json", "properties": {"id": {"$ref": "#/$defs/name"}},
        "$defs": {"name": {"type": "string", "minLength": 2}}}))
    (tmp_path / "parts" / "old.json").write_text(json.dumps({"$ref": "room.json#/$defs/name"}))
    (tmp_path / "parts" / "tree.json").write_text(json.dumps({
        "$id": "urn:example:tree", "properties": {"n": {"type": "integer"}, "below": {"$ref": "#"}}}))
    for key, (schema, _, _) in REFERRING.items():
        (tmp_path / f"{key}.json").write_text(json.dumps(schema))
    rules = [{"name": key, "match": {"namespace": f"{name}.{key}", "operations": ["insert"]}, "stream": name,
              "subject": f"{name}.{key}", "schema": f"{key}.json", "payload": {"envelope": "document"}}
             for key in REFERRING]
    document = described(write(tmp_path, configuration(lab, name, rules=rules)))
    for key, (_, right, wrong) in REFERRING.items():
        schema = document["components"]["messages"][key]["payload"]["schema"]
        inner = [reference for reference in references({k: v for k, v in schema.items() if k != "default"})]
        assert all(reference.startswith("#/components/messages/") for reference in inner), (key, inner)
        for reference in inner:
            assert isinstance(resolve(document, {"$ref": reference}), dict), reference
        dialect = schema.get("$schema", "https://json-schema.org/draft/2020-12/schema")
        whole = document | {"$schema": dialect, "allOf": [{"$ref": f"#/components/messages/{key}/payload/schema"}]}
        validator = jsonschema_rs.validator_for(whole)
        assert validator.is_valid(right), key
        assert not validator.is_valid(wrong), key
    # What needs no pointer is complete by itself.
    for key in ["old", "anchors", "closed"]:
        schema = document["components"]["messages"][key]["payload"]["schema"]
        assert jsonschema_rs.is_valid(schema, REFERRING[key][1]) and not jsonschema_rs.is_valid(schema, REFERRING[key][2])


def test_paths_that_look_alike(lab, tmp_path, name):
    """`a.b` and `a_b` would be parameters of one name; which is called how doesn't depend on the rules' order."""
    def rule(rule_name, subject):
        return {"name": rule_name, "match": {"namespace": f"{name}.notes", "operations": ["insert"]}, "subject": subject,
                "stream": name, "payload": {"envelope": "document"}, "continue": True}

    rules = [rule("one_rule", name + ".{fullDocument.a.b}"), rule("one.rule", name + ".{fullDocument.a_b}"),
             rule("third", name + ".{fullDocument.a_b}"), rule("both", name + ".{fullDocument.a_b}.{fullDocument.a.b}")]
    found = []
    for order in [rules, rules[::-1]]:
        document = described(write(tmp_path, configuration(lab, name, rules=order)))
        messages = {key: message["name"] for key, message in document["components"]["messages"].items()}
        found.append({
            (channel["address"], frozenset(messages[message] for message in channel["messages"]),
             tuple(sorted((parameter, described["description"].split()[0])
                          for parameter, described in channel.get("parameters", {}).items())))
            for channel in document["channels"].values()})
        assert set(document["channels"]) >= {"one_rule", "both"}
        assert messages["one_rule"] == "one_rule" and messages["one_rule_2"] == "one.rule"
    assert found[0] == found[1]
    addresses = {address: (names, parameters) for address, names, parameters in found[0]}
    assert addresses[name + ".{fullDocument_a_b}"] == (
        {"one_rule"}, (("fullDocument_a_b", "fullDocument.a.b"),))
    assert addresses[name + ".{fullDocument_a_b_2}"] == (
        {"one.rule", "third"}, (("fullDocument_a_b_2", "fullDocument.a_b"),))
    assert len(addresses[name + ".{fullDocument_a_b_2}.{fullDocument_a_b}"][1]) == 2


def test_what_it_describes_is_what_arrives(lab, jetstream, tmp_path, name):
    """Each stored message fits the address, the headers and the payload of its rule's message."""
    (tmp_path / "note.json").write_text(json.dumps({
        "type": "object", "properties": {"room": {"type": "string"}, "n": {"type": "integer"}},
        "required": ["room", "n"]}))
    rules = [
        {"name": "note", "match": {"namespace": f"{name}.notes", "operations": ["insert"]}, "stream": name,
         "subject": name + ".{fullDocument.room}.note", "schema": "note.json", "payload": {"envelope": "document"}},
        {"name": "event", "match": {"namespace": f"{name}.events"}, "stream": name,
         "subject": name + ".event.{documentKey._id}", "event_type": "something.happened"},
    ]
    settings = configuration(lab, name, rules=rules, stream={"ownership": "shared"})
    with Bridge(tmp_path, settings) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        mongo[name].notes.insert_many([{"room": f"r {n}", "n": n} for n in range(3)] + [{"room": "r", "n": "many"}])
        mongo[name].events.insert_one({"_id": 1, "room": "r"})
        mongo[name].events.update_one({"_id": 1}, {"$set": {"room": "s"}})
        mongo[name].events.delete_one({"_id": 1})
        wait_until(lambda: jetstream.holds(name, 6) and jetstream.holds(f"DLQ_{name}", 1), "all is stored")
        assert bridge.terminate() == 0
        document = described(bridge.file)
    stored = jetstream.messages(name) + jetstream.messages(f"DLQ_{name}")
    assert len(stored) == 7
    for message in stored:
        fitting = [channel for channel in document["channels"].values()
                   if re.fullmatch(re.sub(r"\\\{[^}]*\\\}", "[^.]+", re.escape(channel["address"])), message.subject)]
        assert len(fitting) == 1, message.subject
        rule = "dead_letter" if "Tailrace-Error" in message.headers else message.headers["Tailrace-Rule"]
        described_message, = [resolve(document, reference) for reference in fitting[0]["messages"].values()
                              if resolve(document, reference)["name"] == rule]
        payload = described_message["payload"]
        jsonschema_rs.validator_for(payload.get("schema", payload)).validate(message.json)
        jsonschema_rs.validator_for(described_message["headers"]).validate(message.headers)
        unknown = set(message.headers) - set(described_message["headers"]["properties"]) - {"Nats-Expected-Stream"}
        assert {header for header in unknown if not header.startswith(("Nats-", "ce-"))} == set()


def test_examples_from_samples(tmp_path, lab, name):
    settings = configuration(lab, name)
    file = write(tmp_path, settings)
    samples = tmp_path / "samples"
    samples.mkdir()
    event = {
        "operationType": "insert", "clusterTime": {"$timestamp": {"t": 1700000000, "i": 1}},
        "wallTime": {"$date": {"$numberLong": "1700000000000"}}, "ns": {"db": name, "coll": "notes"},
        "documentKey": {"_id": 1}, "fullDocument": {"_id": 1, "text": "hello"},
    }
    (samples / "one.events.json").write_text(json.dumps(event) + "\n")
    document = described(file, "--samples", samples)
    example, = document["components"]["messages"]["all"]["examples"]
    assert example["payload"]["fullDocument"]["text"] == "hello"
    assert example["headers"]["Tailrace-Rule"] == "all"
    output = tmp_path / "asyncapi.json"
    done = tailrace("schema", "asyncapi", "-c", file, "--samples", samples, "-o", output)
    assert done.returncode == 0 and done.stdout == ""
    assert json.loads(output.read_text()) == document
    done = tailrace("schema", "asyncapi", "-c", file, "--samples", tmp_path / "none")
    assert done.returncode == 78 and f"{tmp_path}/none is not there: name a folder" in done.stderr
    assert "is no folder" in tailrace("schema", "asyncapi", "-c", file, "--samples", file).stderr
    done = tailrace("schema", "asyncapi", "-c", file, "-o", tmp_path / "none" / "asyncapi.json")
    assert done.returncode == 74 and "can't be written" in done.stderr
