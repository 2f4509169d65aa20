"""Inputs that each fuzz target begins with: what the tests, the examples and the documentation have of its kind."""

import json
import re
from pathlib import Path

import bson
from bson import json_util

ROOT = Path(__file__).resolve().parent.parent.parent
TOKENS = re.compile(r"\b82[0-9A-F]{30,}\b")
MOST = 4096


def entries():
    """(oplog entries, change events) of each recorded scenario, as Extended JSON."""
    for file in sorted((ROOT / "Tests" / "OplogTests" / "Fixtures").glob("*.jsonl")):
        for line in file.read_text().splitlines():
            scenario = json.loads(line)
            yield scenario.get("entries", []), scenario.get("events", [])


def encoded(value):
    return bson.encode(json_util.loads(json.dumps(value)))


def fenced(language):
    """What pages of the documentation have of a language."""
    for page in sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]):
        yield from re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)


def oplog():
    for found, _ in entries():
        try:
            yield b"".join(map(encoded, found))
        except (bson.errors.BSONError, TypeError, ValueError):
            continue


def documents():
    for found, _ in entries():
        for entry in found:
            try:
                yield encoded(entry)
            except (bson.errors.BSONError, TypeError, ValueError):
                continue
    yield bson.encode({"a": [1, 2.5, None, True, "x", b"b"], "d": bson.Decimal128("1E-6176"), "r": bson.Regex("^a", "i"),
                       "o": bson.ObjectId("0" * 24), "t": bson.Timestamp(1, 2), "c": bson.Code("x", {"y": 1}),
                       "m": bson.MinKey(), "M": bson.MaxKey(), "l": bson.Int64(2**62)})


def tokens():
    for file in sorted((ROOT / "Tests").rglob("*.swift")):
        yield from TOKENS.findall(file.read_text())


def change_stream():
    token = next(tokens())
    for _, events in entries():
        try:
            yield b"".join(encoded({"_id": {"_data": token}, **event}) for event in events)
        except (bson.errors.BSONError, TypeError, ValueError):
            continue


def resume_token():
    for token in sorted(set(tokens())):
        yield token.encode()
        yield bson.encode({"_data": token})


def mongo_reply():
    for one in list(documents())[:40]:
        batch = [bson.decode(one)]
        for name in ("firstBatch", "nextBatch"):
            yield bson.encode({"cursor": {"id": bson.Int64(7), "ns": "local.oplog.rs", name: batch,
                                          "postBatchResumeToken": {"_data": "82"}},
                               "ok": 1.0, "operationTime": bson.Timestamp(5, 6)})
    time = {"ts": bson.Timestamp(5, 6), "t": bson.Int64(1)}
    yield bson.encode({"setName": "rs0", "msg": "isdbgrid", "isWritablePrimary": True, "ok": 1.0, "lastWrite": {
        "opTime": time, "majorityOpTime": time}})


def letter():
    for _, events in entries():
        for event in events:
            yield json.dumps(event).encode()


def extended_json():
    for found, events in entries():
        for one in found + events:
            yield json.dumps(one).encode()
    for text in ('{"a":{"$numberDecimal":"1E-6176"}}', '{"a":{"$regularExpression":{"pattern":"^a","options":"i"}}}',
                 '{"a":{"$code":"x","$scope":{"y":1}}}', '{"a":{"$dbPointer":{"$ref":"x","$id":{"$oid":"000000000000000000000000"}}}}',
                 '{"$binary":{"base64":"BQAAAAA=","subType":"00"}}', '{"a":{"$date":"2020-01-01T00:00:00.123Z"}}',
                 '{"a":{"$uuid":"73ffd264-44b3-4c69-90e8-e7d1dfc035d4"}}', '{"a":{"$minKey":1},"b":{"$numberDouble":"-Infinity"}}'):
        yield text.encode()


def json_texts():
    yield from extended_json()
    for text in ('[1,-0.5e+10,1E400,"\\ud83d\\ude00\\u0000",null,true,false,{},[]]', "\ufeff{}", '{"a":1,"a":2}',
                 "123456789012345678901234567890", "[" * 40 + "]" * 40):
        yield text.encode()
    for text in fenced("json"):
        yield text.encode()


SCHEMAS = [
    {"type": "object", "required": ["a"], "properties": {"a": {"type": ["integer", "null"], "minimum": 1, "maximum": 9,
     "multipleOf": 2}}, "additionalProperties": False, "minProperties": 1, "propertyNames": {"pattern": "^[a-z]+$"}},
    {"$defs": {"x": {"$anchor": "y", "items": {"$ref": "#y"}}}, "$ref": "#/$defs/x", "prefixItems": [True, False],
     "contains": {"const": 1}, "minContains": 2, "uniqueItems": True, "unevaluatedItems": False},
    {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {"$id": "#b"}}, "dependencies": {"a": ["b"]},
     "items": [{"type": "string"}], "additionalItems": {"format": "date-time"}, "contentEncoding": "base64"},
    {"oneOf": [{"enum": [1, "a", None, {"b": []}]}, {"not": {}}], "anyOf": [{}, False], "allOf": [{"if": {"type": "object"},
     "then": {"dependentSchemas": {"a": {"dependentRequired": {"a": ["b"]}}}}, "else": True}], "unevaluatedProperties": False},
    {"$dynamicAnchor": "n", "patternProperties": {"(?=a)b\\p{L}[^c-d]{2,3}?\\1": {"$dynamicRef": "#n"}}},
    *({"properties": {"a": {"format": name}}} for name in (
        "date", "time", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6", "uri", "uri-reference", "iri",
        "uri-template", "json-pointer", "relative-json-pointer", "regex", "uuid", "duration")),
]
INSTANCES = ['{"a":1}', '{"a":"2020-01-01T00:00:00Z"}', '{"a":{"$numberDecimal":"2.0"},"b":[1,[2],{"a":null}]}',
             '{"a":"a@example.org"}', '{"a":"xn--nxasmq6b.example"}', '{"a":"http://[::1]/%20?q#f"}']


def schema():
    for number, one in enumerate(SCHEMAS):
        yield json.dumps(one).encode() + b"\0" + INSTANCES[number % len(INSTANCES)].encode()
    for file in sorted((ROOT / "Tests").rglob("pairs.txt")):
        for line in file.read_text().splitlines():
            if line.startswith("{"):
                yield line.encode() + b"\0" + INSTANCES[0].encode()


def nats():
    head = b"NATS/1.0\r\nNats-Msg-Id: rs0:1.2.0\r\n\r\n"
    yield b'INFO {"server_name":"n0","max_payload":1048576,"headers":true}\r\nPING\r\nPONG\r\n+OK\r\n'
    yield b"MSG a.b 1 5\r\nhello\r\nMSG a.b 1 reply 0\r\n\r\n-ERR 'Permissions Violation for Publish to \"x\"'\r\n"
    yield b"HMSG a.b 12 r.s %d %d\r\n%shello\r\n" % (len(head), len(head) + 5, head)
    yield b"HMSG a 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\nmsg\ta\t1\t0\n\n"


def headers():
    yield b"NATS/1.0\r\nNats-Msg-Id: rs0:1.2.0\r\nTailrace-Position: 1.2.0\r\nTailrace-Rule: a\r\nTailrace-Bridge: b\r\n\r\n"
    yield b"NATS/1.0 503\r\n\r\n"
    yield b"NATS/1.0 409 Batch Completed\r\nNats-Pending-Messages: 3\r\nNats-Pending-Bytes: 0\r\n\r\n"
    yield b"Nats-Msg-Id: x%20y\r\nTailrace-Error: schema_invalid\r\nTailrace-Error-Detail: a\r\nTailrace-Subject: s\r\nce-id: x\r\n"


def ack():
    for text in ('{"stream":"A","seq":1}', '{"stream":"A","seq":18446744073709551615,"duplicate":true,"domain":"d"}',
                 '{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}',
                 '{"type":"ack","seq":7,"msgs":100}', '{"type":"gap","last_seq":3,"seq":5}',
                 '{"stream":"A","seq":10,"batch":"x","count":10}', "+ACK", ""):
        yield text.encode()


def stream_info():
    yield json.dumps({"config": {"name": "A", "subjects": ["a.>"], "max_age": 1, "max_msgs": -1, "retention": "limits"},
                      "state": {"messages": 3, "bytes": 7, "first_seq": 1, "last_seq": 3, "num_deleted": 0}}).encode()
    yield json.dumps({"subject": "a", "seq": 5, "hdrs": "TkFUUy8xLjANCk5hdHMtTXNnLUlkOiB4DQoNCg==", "data": "eA==",
                      "time": "2024-01-01T00:00:00Z"}).encode()
    yield json.dumps({"server_id": "N", "server_name": "n0", "version": "2.10.1", "max_payload": 1, "jetstream": True,
                      "nonce": "x", "connect_urls": ["127.0.0.1:4222"], "tls_required": True}).encode()


def address():
    for text in ("nats://127.0.0.1:4222", "tls://user:p%40ss@[::1]:1", "ws://x", "nats://token@host", "a,b"):
        yield text.encode()


def credentials():
    yield (b"-----BEGIN NATS USER JWT-----\neyJ0\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n"
           b"SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n------END USER NKEY SEED------\n")
    yield b"SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"


def yaml():
    for file in sorted((ROOT / "config").glob("*.yaml")):
        yield file.read_bytes()
    for text in fenced("yaml"):
        yield text.encode()
    yield b"rules: &a [{name: x, match: {namespace: 'a.*'}, subject: 'a.{ns.db}', <<: *a}]\nnats: {servers: ['${X:-nats://h}']}\n"


def template():
    for text in yaml():
        for found in re.findall(rb'subject: "?([^"\n]+)|id: "?([^"\n]+)|namespace: ([^ ,}\n]+)', text):
            yield next(filter(None, found))
    yield b"a.{documentKey._id}.{updateDescription.updatedFields.x}.{lsid.id}"
    yield b"fullDocument.a.0.b"


def position():
    for text in ("1700000000.3", "1700000000.3.0", "position=1.2", "position=%31.1&", "4294967295.4294967295.4294967295"):
        yield text.encode()


def http():
    yield b"GET /status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer letmein\r\n\r\n"
    yield b"HEAD /explain?position=1.2 HTTP/1.0\r\nConnection: keep-alive\r\nAuthorization: bearer  letmei\r\n\r\nGET / HTTP/1.1\r\n\r\n"
    yield b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET //#? HTTP/1.1\r\n\r\n"


def checkpoint():
    base = {"format": 1, "bridge": "b", "source": "rs0", "instance": "i", "version": 3, "position": "5.6",
            "origin": {"position": "1.2", "inclusive": True}, "configuration": "h",
            "streams": {"A": {"sequence": 9, "id": "rs0:5.6.0", "position": "5.6.0", "rule": "r", "created": "2024"}}}
    yield json.dumps(base).encode()
    yield json.dumps(base | {
        "epoch": 2, "term": 1, "resume_token": "0500000000", "settled": "5.6.1", "configuration_since": "5.1",
        "earlier_rules_to": "5.2.0", "found_again_at": "5.6", "final": True,
        "states": {"A": {"created": "2024", "base": 1, "searched": 2, "refill_to": "5.6.0", "has_later": True,
                         "may_leave_gaps": True, "halted_at": "5.6", "had_to": "5.6.0", "had_through": 7}},
        "snapshot": {"position": "5.6", "over": False, "term": 1, "documents": 3, "namespace": "a.b", "marker": "00",
                     "floor": 2, "selection": {}}}).encode()


def lease():
    yield json.dumps({"holder": "i", "epoch": 3, "released": False, "drained": False, "config_hash": "h",
                      "lease_ms": 5000, "takeovers": 1, "reason": "expired", "answers": True}).encode()


def cutover():
    yield json.dumps({"group": "g", "phase": "dual", "number": 2, "change": {
        "from": "bridge", "to": "dual", "at_ms": 5, "by": "x", "reason": ""}, "ranges": [
        {"from": "1.2", "resume": None, "until": "5.6"}], "fence": "3.4", "limit_ms": 60000, "deadline_ms": 7, "drained": False,
        "generation": 1, "rewind": None, "rewind_generation": 1, "epoch": 3, "rules": {"r": {"subject": "h"}}}).encode()
    yield json.dumps({"generation": 1, "epoch": 2, "position": "5.6.0", "resume": "5.6", "streams": {
        "A": {"created": "2024", "read_to": 7, "open": "3-5,9", "partial": False}}, "counts": {
        "by_producer": 1, "filled": 2, "mismatched": 0, "phantom": 0, "missed": 0}, "findings": [
        {"kind": "filled", "id": "x", "rule": "r", "position": "5.6.0", "stream": "A", "seq": 3, "at_ms": 5,
         "pointer": "/a", "detail": "d"}], "last_ms": {"filled": 5}, "last_by_producer_ms": None, "lag_seconds": 0.5,
        "at_ms": 9}).encode()


SEEDS = {
    "bson": documents, "oplog": oplog, "change_stream": change_stream, "resume_token": resume_token,
    "mongo_reply": mongo_reply, "json": json_texts, "extended_json": extended_json, "schema": schema, "nats": nats,
    "headers": headers, "ack": ack, "stream_info": stream_info, "address": address, "credentials": credentials,
    "yaml": yaml, "template": template, "position": position, "http": http, "checkpoint": checkpoint, "lease": lease,
    "cutover": cutover, "letter": letter,
}

# Where the words of a target's language are: the literals of those sources.
WORDS = {
    "bson": [], "oplog": ["Oplog"], "change_stream": ["Oplog"], "resume_token": [], "mongo_reply": ["MongoSource/Reader"],
    "json": [], "extended_json": ["BSON"], "schema": ["JSONSchema"], "nats": ["NATS/NATSParser.swift"],
    "headers": ["Mapping/Headers.swift", "Bridge/Messages"], "ack": ["JetStream/AckFrame.swift"],
    "stream_info": ["JetStream", "NATS/NATSServerInfo.swift"], "address": [], "credentials": [],
    "yaml": ["BridgeConfiguration"], "template": ["Mapping/EventPath.swift"], "position": [], "http": [],
    "checkpoint": ["Bridge/Resume"], "lease": ["Bridge/Leadership/LeaseRecord.swift"], "cutover": ["Bridge/Cutover"],
    "letter": ["Bridge/Messages/RecordedEvent.swift", "BSON/ExtendedJSON.swift"],
}


def words(target):
    """For libFuzzer's dictionary."""
    found = set()
    for place in WORDS[target]:
        path = ROOT / "Sources" / place
        for file in [path] if path.is_file() else sorted(path.rglob("*.swift")):
            found |= set(re.findall(r'"([$\w./:-]{2,24})"', file.read_text(), re.ASCII))
    return sorted(found)


def write(target, folder):
    """Writes a target's first inputs there."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(SEEDS[target]()):
        if len(one) <= MOST:
            (folder / f"seed-{number}").write_bytes(one)
