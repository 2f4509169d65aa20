"""Schemas of documents, from files and a collection, checked by jsonschema-rs; and how versions compare."""

import datetime
import json
import random

import bson
import bson.json_util
import jsonschema_rs
import pymongo
import pytest
from bridge import Bridge, configuration, tailrace, wait_until
from load import client, make_collections, now

ROOMS = ["GENERAL", "random", "support"]


def message(rng, number):
    """As a chat has them: of two kinds, with optional, nullable and nested fields."""
    found = {"_id": bson.ObjectId(rng.randbytes(12)), "rid": rng.choice(ROOMS), "n": number,
             "ts": datetime.datetime(2026, 11, 23, tzinfo=datetime.timezone.utc)
             + datetime.timedelta(seconds=number),
             "u": {"_id": str(rng.randrange(1 << 40)), "username": f"user{rng.randrange(900)}"},
             "kind": rng.choice(["text", "file"])}
    if found["kind"] == "text":
        found["msg"] = "x" * rng.randrange(200)
    else:
        found |= {"url": f"https://example.org/{number}", "size": bson.Int64(rng.randrange(1 << 40))}
    if rng.random() < 0.3:
        found["editedBy"] = rng.choice([None, {"username": "a"}])
    if rng.random() < 0.3:
        found["reactions"] = {f":smile{rng.randrange(5000)}:": {"usernames": ["a", "b"]}}
    return found


def plain(document):
    return json.loads(json.dumps(document, default=lambda value: (
        str(value) if isinstance(value, bson.ObjectId)
        else value.isoformat(timespec="milliseconds").replace("+00:00", "Z"))))


def infer(*arguments, code=0, **options):
    done = tailrace("schema", "infer", *arguments, **options)
    assert done.returncode == code, (done.stdout[-2000:], done.stderr)
    return json.loads(done.stdout) if code == 0 else done.stderr


@pytest.mark.parametrize("strict", [[], ["--strict", "--evidence"]])
def test_all_that_was_seen_is_valid(tmp_path, strict):
    rng = random.Random(7)
    documents = [message(rng, number) for number in range(2000)]
    texts = [plain(document) for document in documents]
    lines = tmp_path / "documents.ndjson"
    lines.write_text("".join(json.dumps(text) + "\n\n" for text in texts))
    dump = tmp_path / "dump.bson"
    dump.write_bytes(b"".join(bson.encode(document) for document in documents))
    schema = infer(lines, *strict)
    assert infer(dump, *strict) == schema
    assert infer("-", *strict, input=lines.read_text()) == schema
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    assert all(validator.is_valid(text) for text in texts)
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(schema))
    for documents in [lines, dump]:
        done = tailrace("schema", "check", file, documents)
        assert done.returncode == 0, done.stdout[-2000:]
    unseen = [plain(message(rng, number)) for number in range(2000)]
    if not strict:
        assert all(validator.is_valid(text) for text in unseen)
    else:
        assert not any(validator.is_valid(text | {"kind": "invented"}) for text in unseen)
        assert "2000 documents" in schema["$comment"]


def test_a_collection(lab, tmp_path, name):
    rng = random.Random(8)
    documents = [message(rng, number) for number in range(500)]
    with client(lab) as mongo:
        mongo[name].messages.insert_many(documents)
    schema = infer("--from-mongodb", lab.uri, "--from-collection", f"{name}.messages", "--strict")
    validator = jsonschema_rs.Draft202012Validator(schema)
    assert all(validator.is_valid(plain(document)) for document in documents)
    assert len(schema["oneOf"]) == 2
    whole = infer("--from-mongodb", lab.uri, "--from-collection", f"{name}.messages", "--whole",
                  "--evidence")
    assert whole["$comment"].startswith("500 documents")
    assert "no document" in infer(
        "--from-mongodb", lab.uri, "--from-collection", f"{name}.none", code=64)


def test_the_bodies_of_a_rule(lab, tmp_path, name):
    bridge = Bridge(tmp_path, configuration(lab, name, rule={"name": "messages"}))
    rng = random.Random(9)
    entries = []
    for number in range(50):
        document = message(rng, number)
        entries.append({
            "ts": bson.Timestamp(1_700_000_000 + number, 1), "t": bson.Int64(1),
            "wall": document["ts"], "v": bson.Int64(2), "op": "i", "ns": f"{name}.messages",
            "ui": bson.Binary(bytes(16), 4), "o": document, "o2": {"_id": document["_id"]}})
    lines = tmp_path / "oplog.json"
    lines.write_text("".join(
        bson.json_util.dumps(entry, json_options=bson.json_util.CANONICAL_JSON_OPTIONS) + "\n"
        for entry in entries))
    schema = infer("-c", bridge.file, "--rule", "messages", "--strict", lines, cwd=tmp_path)
    assert schema["properties"]["operationType"] == {"type": "string", "const": "insert"}
    assert len(schema["properties"]["fullDocument"]["oneOf"]) == 2
    assert "there is no rule x" in infer("-c", bridge.file, "--rule", "x", lines, code=78, cwd=tmp_path)


def test_the_oplog_and_a_stream(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    rng = random.Random(10)
    with Bridge(tmp_path, configuration(lab, name, rule={"name": "messages"})) as bridge:
        bridge.start().wait_ready()
        since = now(lab)
        with client(lab) as mongo:
            mongo[name].messages.insert_many([message(rng, number) for number in range(40)])
            mongo[name].messages.delete_many({"n": {"$lt": 10}})
        wait_until(lambda: jetstream.holds(name, 50), "50 messages")
        options = ["-c", bridge.file, "--rule", "messages", "--evidence"]
        oplog = infer(*options, "--from-oplog", "--from", f"{since.time}.{since.inc}", cwd=tmp_path)
        stream = infer(*options, "--from-stream", name, cwd=tmp_path)
        assert oplog == stream
        assert stream["$comment"].startswith("50 documents")
        kinds = [part["if"]["properties"]["operationType"]["const"] for part in stream["allOf"]]
        assert kinds == ["insert", "delete"]
        file = tmp_path / "stream.json"
        file.write_text(json.dumps(infer("-c", bridge.file, "--from-stream", name, "--strict",
                                         cwd=tmp_path)))
        validator = jsonschema_rs.Draft202012Validator(json.loads(file.read_text()))
        assert all(validator.is_valid(message.json) for message in jetstream.messages(name))
        assert "no such stream" in infer(
            "-c", bridge.file, "--from-stream", "nothing", code=78, cwd=tmp_path)
        assert "there is no rule x; there are messages" in infer(
            "-c", bridge.file, "--from-stream", name, "--rule", "x", code=78, cwd=tmp_path)


def test_what_cannot_be_read(tmp_path):
    lines = tmp_path / "documents.ndjson"
    lines.write_text('{"a":1}\n{"a":\n')
    assert f"{lines}:2: invalid JSON" in infer(lines, code=64)
    assert "can't be read" in infer(tmp_path / "nothing", code=64)
    assert f"{tmp_path} is a folder" in infer(tmp_path, code=64)
    lines.write_text("\n")
    assert "no document" in infer(lines, code=64)


def test_documents_on_several_lines(tmp_path):
    """What to do is said, not only what is wrong."""
    file = tmp_path / "documents.json"
    file.write_text(json.dumps([{"a": 1}, {"a": 2}], indent=2))
    assert f"jq -c '.[]' {file}" in infer(file, code=64)
    assert f"jq -c '.[]' {file}" in infer(file, "--format", "extended", code=64)
    assert "jq -c '.[]'\n" in infer(code=64, input=file.read_text())
    file.write_text(json.dumps([{"a": 1}, {"a": 2}]))
    assert "jq -c '.[]' makes lines of them" in tailrace("schema", "infer", file).stderr
    file.write_text(json.dumps({"a": 1}, indent=2))
    assert f"jq -c . {file}" in infer(file, code=64)


@pytest.mark.parametrize("options", [
    ["--sample", "5"], ["--whole"], ["--limit", "3"], ["-c", "tailrace.yaml"],
    ["--from-mongodb", "mongodb://127.0.0.1:1", "--from-collection", "a.b", "--sample", "5", "--whole"],
    ["--from-mongodb", "mongodb://127.0.0.1:1", "--from-collection", "a.b", "--format", "bson"],
    ["--rule", "r", "--style", "canonical"], ["--rule", "r", "--format", "bson"],
    ["--from-dlq", "--rule", "r", "--strict"], ["--from-stream", "S", "--style", "canonical"]])
def test_options_without_effect(tmp_path, options):
    (tmp_path / "documents.ndjson").write_text('{"a":1}\n')
    files = [] if any(option.startswith("--from") for option in options) else ["documents.ndjson"]
    said = infer(*files, *options, code=64, cwd=tmp_path)
    assert said.startswith("Error: ") and "--" in said, said


def test_secrets_are_not_quoted(tmp_path):
    """Neither as an enumeration, nor as what tells kinds apart, nor as bounds or names."""
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLW9mLWl0"
    documents = [{
        "password": ["hunter2", "swordfish"][n % 2], "state": ["open", "closed"][n % 2], "pin": 4711 + n % 2,
        "login": {"credentials": {"kind": ["geheim1", "geheim2"][n % 2], ["one", "two"][n % 2]: n}},
        "apiKeys": [["geheim3", "geheim4"][n % 2]], "note": [f"{token}1", f"{token}2"][n % 2],
        "devices": {f"{token}{n % 2}": True}} for n in range(60)]
    # What decides which members there are, were it not a secret.
    documents += [{"accounts": [{"secret": ["geheim5", "geheim6"][n % 2], ["x", "y"][n % 2]: 1} for n in range(40)]}]
    lines = tmp_path / "documents.ndjson"
    lines.write_text("".join(json.dumps(document) + "\n" for document in documents))
    for options in [["--strict"], ["--strict", "--evidence"], []]:
        schema = infer(lines, *options)
        text = json.dumps(schema)
        for secret in ["hunter2", "swordfish", "4711", "4712", "geheim", token]:
            assert secret not in text, (options, secret)
        assert all(jsonschema_rs.is_valid(schema, document) for document in documents)
        if options:
            assert schema["properties"]["state"]["enum"] == ["closed", "open"]


def test_evidence_has_numbers_as_they_are(tmp_path):
    lines = tmp_path / "documents.ndjson"
    lines.write_text("".join(json.dumps({"n": n, "share": n / 10 + 0.05}) + "\n" for n in range(60)))
    schema = infer(lines, "--evidence")
    assert "from 0 to 59" in schema["properties"]["n"]["$comment"]
    assert "from 0.05 to 5.95" in schema["properties"]["share"]["$comment"]


def test_what_others_read(tmp_path):
    """Documents that validators read differently, or whose formats they draw the line of elsewhere."""
    lines = tmp_path / "documents.ndjson"

    def check(texts, *options):
        lines.write_text("\n".join(texts) + "\n")
        schema = infer(lines, *options)
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        for text in texts:
            assert validator.is_valid(json.loads(text)), (text, schema)
        file = tmp_path / "schema.json"
        file.write_text(json.dumps(schema))
        assert tailrace("schema", "check", file, lines).returncode == 0
        return schema

    kinds = ['{"type":"a","x":1}', '{"type":"b","y":"s"}'] * 40
    for options in [[], ["--strict"]]:
        # Of a name that is there twice, Python has the last.
        check(kinds + ['{"type":"a","x":1,"type":"b"}', '{"type":7,"y":"t","type":"b"}'], *options)
        for texts in [["a@r3--sn.example.org", "b@xn--a.com"], ["\"a b\"@c.org", "a@[127.0.0.1]", "a@b"],
                      ["http://[::1]:80/", "http://a@b/", "http://[v1.a]/", "a:%41", "http://xn--a.com"],
                      ["2016-12-31T23:59:60Z", "2026-01-01t00:00:00z", "0000-01-01T00:00:00Z"],
                      ["2026-01-01T00:00:00.1234567890123Z", "2026-01-01T00:00:00+23:59"],
                      ["0000-02-29", "9999-12-31"], ["73FFD264-44B3-4C69-90E8-E7D1DFC035D4"], ["01.2.3.4", "1.2.3.4"],
                      ["ada@example.org", "a.b+c_d%e@x-y.example.co"], ["https://example.org/a?b#c", "urn:a:b", "mailto:a@b.c"]]:
            check([json.dumps({"v": text}) for text in texts * 20], *options)
    for numbers in [["1.5e308", "-1.7e308"], ["1e308", "9e307"], ["1e-320", "3"], ["123456789012345678901234567890"]]:
        schema = check([f'{{"v":{number}}}' for number in numbers * 20], "--strict")
        bounds = [schema["properties"]["v"].get(name) for name in ["minimum", "maximum"]]
        assert all(bound is None or abs(float(bound)) < float("inf") for bound in bounds), schema


def test_versions(tmp_path):
    def diff(old, new, *options):
        files = [tmp_path / "old.json", tmp_path / "new.json"]
        for file, schema in zip(files, [old, new]):
            file.write_text(json.dumps(schema))
        done = tailrace("schema", "diff", *files, *options)
        assert not done.stderr, done.stderr
        return done.returncode, done.stdout

    text = {"type": "object", "properties": {"text": {"type": "string", "maxLength": 20}}}
    shorter = {"type": "object", "properties": {"text": {"type": "string", "maxLength": 10}}}
    code, said = diff(text, shorter)
    assert code == 1 and "breaks producers" in said and "maxLength 10; OLD has maxLength 20" in said
    assert diff(shorter, text)[0] == 0
    assert diff(shorter, text, "--compatibility", "forward")[0] == 1
    assert diff(text, text | {"title": "T"}, "--compatibility", "full")[0] == 0
    code, said = diff(text, shorter, "--json")
    report = json.loads(said)
    difference = report["backward"]["differences"][0]
    assert code == 1 and report["verdict"] == "incompatible"
    assert difference["pointer"] == "/properties/text/maxLength" and difference["instance"] == "/text"
    assert jsonschema_rs.is_valid(text, difference["witness"])
    assert not jsonschema_rs.is_valid(shorter, difference["witness"])
    # One more optional property.
    more = {"type": "object", "properties": text["properties"] | {"n": {"type": "integer"}}}
    assert diff(text, more)[0] == 0
    assert diff(text, more, "--strict")[0] == 1
    assert json.loads(diff(text, more, "--json")[1])["backward"]["caveats"]
    report = json.loads(diff(text, more, "--strict", "--json")[1])["backward"]
    assert report["differences"][0]["pointer"] == "/properties/n/type" and not report["caveats"]
    # Whatever says "anything" does.
    for anything in [True, {}, {"title": "Anything"}, {"type": ["string", "number", "boolean", "null", "array", "object"]}]:
        assert diff(text | {"additionalProperties": anything}, more)[0] == 0, anything
    # A format and a length.
    mail = {"type": "string", "format": "email"}
    code, said = diff(mail, mail | {"maxLength": 200}, "--json")
    witness = json.loads(said)["backward"]["differences"][0]["witness"]
    assert code == 1 and len(witness) == 201 and jsonschema_rs.is_valid(mail, witness, validate_formats=True)
    assert diff({"type": "string", "pattern": "^(?=a)b"}, False)[0] == 2
    files = [tmp_path / "old.json", tmp_path / "none.json"]
    assert tailrace("schema", "diff", *files).returncode == 78


def test_a_validator_of_the_collection(lab, name):
    """Its own $jsonSchema is merged, as far as no document breaks it."""
    stated = {"bsonType": "object", "title": "A message", "required": ["rid", "n", "author"],
              "properties": {"rid": {"bsonType": "string", "description": "The room", "maxLength": 20},
                             "n": {"bsonType": "int", "minimum": 0, "maximum": 50},
                             "kind": {"enum": ["text", "file"]},
                             "expires": {"bsonType": ["date", "null"]}, "owner": {"bsonType": "objectId"}},
              "allOf": [{"properties": {"n": {"minimum": -5}, "rid": {"minLength": 3}}}, {"anyOf": [
                  {"required": ["msg"]}, {"required": ["url"], "properties": {"url": {"bsonType": "string"}}}]}],
              "oneOf": [{"required": ["nothing"]}], "not": {"required": ["drafts"]},
              "dependencies": {"n": {"not": {"properties": {"n": {"minimum": 1000}}}}}}
    with client(lab) as mongo:
        collection = mongo[name].create_collection(
            "messages", validator={"$jsonSchema": stated, "n": {"$gte": 0}}, validationAction="warn")
        rng = random.Random(11)
        collection.insert_many([message(rng, number) for number in range(100)])
    for whole in [["--sample", "200"], ["--whole"]]:
        done = tailrace("schema", "infer", "--from-mongodb", lab.uri, "--from-collection", f"{name}.messages", *whole)
        schema = json.loads(done.stdout)
        rooms = schema["properties"]["rid"] if "rid" in schema["properties"] else {}
        assert schema["title"] == "A message" and rooms["description"] == "The room" and rooms["maxLength"] == 20
        assert schema["properties"]["n"]["minimum"] == 0
        # Half of the documents have more, and none has an author.
        assert "maximum" not in schema["properties"]["n"] and "/properties/n/maximum of the validator" in done.stderr
        assert "author" not in schema["required"] and "documents lack author" in done.stderr
        assert {"rid", "n"} <= set(schema["required"])
        # What no document has is described as it would be published.
        assert schema["properties"]["expires"] == {"type": ["string", "null"]}
        assert schema["properties"]["owner"]["pattern"]
        with client(lab, tz_aware=True) as mongo:
            found = [plain(document) for document in mongo[name].messages.find()]
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        assert all(validator.is_valid(document) for document in found)
        assert not validator.is_valid(found[0] | {"n": -1})
        # allOf and anyOf are merged; what is broken, forbidden or no $jsonSchema is named.
        assert rooms["minLength"] == 3
        assert not validator.is_valid({key: value for key, value in found[0].items() if key not in ("msg", "url")})
        assert "/oneOf of the validator: documents break it" in done.stderr
        assert not validator.is_valid(found[0] | {"drafts": 1})
        assert "/dependencies/n/not of the validator is not taken over" in done.stderr
        assert "conditions beside $jsonSchema" in done.stderr


D = bson.decimal128.Decimal128
OID = bson.ObjectId("56e1fc72e0c917e9c4714161")
FAR = bson.datetime_ms.DatetimeMS(253402300800000)
# A validator of the field v, and values of which MongoDB decides which it accepts.
VALIDATORS = [
    ({"enum": [D("1.5"), 2]}, [D("1.50"), 1.5, 2, 2.0, D("2"), bson.Int64(2), 3]),
    ({"enum": [2 ** 60], "bsonType": ["long", "double"]}, [bson.Int64(2 ** 60), float(2 ** 60)]),
    ({"enum": ["a", None, {"x": 1}]}, ["a", None, {"x": 1.0}, {"x": D("1")}, "b"]),
    ({"bsonType": "string", "pattern": "^ab$"}, ["ab", "ab\n", "ab\r\n", "ab\r", "ab\n\n", "abc"]),
    ({"bsonType": "string", "pattern": "^a.b"}, [f"a{c}b" for c in "x\n\r\u0085\u2028\u2029\v\f"]),
    ({"bsonType": "string", "pattern": "^\\s$|^x\\S"}, [" ", "\u00a0", "\v", "\u2003", "x\u00a0", "x ", "x\u2028"]),
    ({"bsonType": "string", "pattern": "^[^\\s\\w]+$"}, ["\u00e9", "\u00a0", "a", "-\n", " "]),
    ({"bsonType": "string", "pattern": "^\\d\\b.$"}, ["1-", "1\u0661", "\u06611", "1a"]),
    ({"uniqueItems": True}, [[OID, str(OID)], [1, D("1")], [FAR, "253402300800000"], [1, 1.0], [{"a": 1, "b": 2}, {"b": 2, "a": 1}]]),
    ({"uniqueItems": True, "items": {"bsonType": ["string", "int"]}}, [["a", 1], ["a", "a"], ["1", 1]]),
    ({"maxProperties": 1, "minProperties": 1, "required": ["a"]}, [bson.Timestamp(1, 2), bson.Regex("a"), {"a": 1}, {}, 7]),
    ({"additionalProperties": False, "dependencies": {"t": ["x"]}}, [bson.Timestamp(1, 2), {}, {"a": 1}, bson.MinKey()]),
    ({"properties": {"t": {"bsonType": "string"}}}, [bson.Timestamp(1, 2), {"t": 1}, {"t": "x"}]),
    ({"bsonType": "object", "properties": {"t": {"bsonType": "string"}}, "maxProperties": 1}, [{"t": "x"}, bson.Timestamp(1, 2)]),
    ({"bsonType": "date"}, [FAR, datetime.datetime(2026, 1, 1), bson.datetime_ms.DatetimeMS(-(2 ** 60))]),
    ({"multipleOf": 0.1}, [0.3, 0.1 + 0.2, 0.35, 7, D("0.3")]),
    ({"multipleOf": 2, "bsonType": ["int", "long"]}, [4, bson.Int64(6), 5]),
    ({"minimum": float(2 ** 60), "maximum": bson.Int64(2 ** 61)}, [bson.Int64(2 ** 60), float(2 ** 61), 5]),
    ({"minimum": 0.1, "maximum": 7}, [0.1, 7, D("0.05"), float("nan"), "x", bson.Int64(3)]),
    ({"bsonType": ["double", "decimal"]}, [float("inf"), D("NaN"), 1.5, 1]),
    ({"not": {"bsonType": "null"}}, [None, 1, OID]), ({"not": {"bsonType": "string"}}, ["x", OID, FAR]),
    ({"not": {"required": ["t"]}}, [bson.Timestamp(1, 2), {"t": 1}, {}]), ({"not": {"enum": [str(OID)]}}, [OID, str(OID)]),
    ({"oneOf": [{"bsonType": "objectId"}, {"bsonType": "string", "maxLength": 24}]}, [OID, str(OID), str(OID) + "x"]),
]


@pytest.mark.parametrize("number", range(len(VALIDATORS)))
def test_what_the_server_accepts_is_accepted(lab, tmp_path, name, number):
    """No document shows anything of v: all that the schema says of it comes from the validator."""
    stated, values = VALIDATORS[number]
    accepted = []
    with client(lab) as mongo:
        collection = mongo[name].create_collection(
            "things", validator={"$jsonSchema": {"bsonType": "object", "properties": {"v": stated}}})
        collection.insert_many([{"n": n} for n in range(25)])
        done = tailrace("schema", "infer", "--from-mongodb", lab.uri, "--from-collection", f"{name}.things")
        assert done.returncode == 0, done.stderr
        for value in values:
            try:
                collection.insert_one({"_id": OID, "n": 1, "v": value})
                accepted.append(value)
                collection.delete_many({"_id": OID})
            except pymongo.errors.WriteError:
                pass
    assert accepted, "the server accepts none of them"
    file = tmp_path / "schema.json"
    file.write_text(done.stdout)
    for value in accepted:
        dump = tmp_path / "dump.bson"
        dump.write_bytes(bson.encode({"_id": OID, "n": 1, "v": value}))
        checked = tailrace("schema", "check", file, dump)
        assert checked.returncode == 0, (value, checked.stdout, done.stdout)
