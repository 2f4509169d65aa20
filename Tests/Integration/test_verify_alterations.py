"""One alteration of what a bridge has published is always found and named, and a clean run passes: whatever
the events, documents that are gone since, limits, dead letters and replays."""

import asyncio
import json
import os
import random
import time

import pytest
import yaml

from bridge import Bridge, configuration, tailrace
from load import client, make_collections, now, settle
from test_verify import found, older_than, verify

# More and longer: how many configurations, and alterations of each.
ROUNDS = int(os.environ.get("ALTERATION_ROUNDS", "9"))
ALTERATIONS = int(os.environ.get("ALTERATIONS", "4"))
SEED = int(os.environ.get("ALTERATION_SEED", "1"))


def own_headers(message):
    return {k: v for k, v in message.headers.items() if not k.startswith("Nats-") or k == "Nats-Msg-Id"}


def restore(jetstream, name, config, messages):
    """Makes the stream again, of (sequence, subject, headers, body): what lies between sequences is gone."""
    jetstream.delete_stream(name)
    limits = {"max_msgs": -1, "max_msgs_per_subject": -1, "max_bytes": -1}
    jetstream.api(f"STREAM.CREATE.{name}", config | limits | {"duplicate_window": 100_000_000})
    prefix = config["subjects"][0].removesuffix(">").removesuffix("*")

    async def work(nc):
        gone, ids, last = [], set(), 0
        for sequence, subject, headers, body in messages:
            while last + 1 < sequence:
                last += 1
                gone.append(last)
                await nc.request(f"{prefix}filler", b"")
            if headers["Nats-Msg-Id"] in ids:
                await asyncio.sleep(0.25)  # The dedup window is over.
            ids.add(headers["Nats-Msg-Id"])
            await nc.request(subject, body, headers=headers)
            last = max(last + 1, sequence)
        return gone

    for sequence in jetstream._run(work):
        jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": sequence})
    jetstream.api(f"STREAM.UPDATE.{name}", config)


KINDS = ["required", "when_available", "two", "where", "schema", "subject", "before", "letters", "off"]


def scenario(choose, name, round_):
    """What is special, a rule, its stream, and whether the collection is dropped."""
    kind = KINDS[round_ % len(KINDS)]
    document = {"off": "off", "before": "off", "required": "required"}.get(kind, "when_available")
    rule = {"match": {"namespace": f"{name}.messages",
                      "operations": ["insert", "update", "replace", "delete"]},
            "payload": {"envelope": choose.choice(
                ["cloudevents", "change_event", "cloudevents_structured", "debezium"]),
                "full_document": document}}
    if kind == "where":
        rule["match"]["where"] = {"$or": [{"operationType": {"$ne": "update"}},
                                          {"fullDocument.n": {"$gt": 3}}]}
    if kind == "schema":
        rule["schema"] = "s.json"
    if kind == "subject":
        rule["match"]["operations"].remove("delete")
        rule["subject"] = name + ".{fullDocument.rid}.{operationType}"
    if kind == "before":  # Nobody ever kept any.
        rule["payload"]["full_document_before_change"] = choose.choice(["required", "when_available"])
    if kind == "two":
        rule["match"]["where"] = {"$or": [{"operationType": {"$ne": "update"}},
                                          {"fullDocument.n": {"$gt": 3}}]}
        rule["continue"] = True
    stream = choose.choice([{}, {}, {"max_msgs": 30}, {"max_msgs_per_subject": 8}, {"max_msg_size": 1700}])
    return kind, rule, stream, choose.random() < 0.8


def write(mongo, choose, name):
    messages = mongo[name].messages
    for n in range(14):
        messages.insert_one({"_id": n, "rid": f"r{n % 3}", "n": n, "text": "y" * choose.choice([5, 1200])})
    for _ in range(30):
        n = choose.randrange(14)
        do = choose.choice(["update", "update", "update", "replace", "delete"])
        if do == "update":
            messages.update_one({"_id": n}, {"$set": {"n": choose.randrange(10), "a.b": choose.random()}})
        elif do == "replace":
            messages.replace_one({"_id": n}, {"rid": "r1", "n": choose.randrange(10)})
        elif n % 3 == 0:
            messages.delete_one({"_id": n})


def is_update(message):
    body = message.json
    data = body.get("data", body)
    return data.get("operationType") == "update" or bool(data.get("updateDescription"))


def altered_body(choose, message, is_open):
    """Another body; nil where nothing of it can be told."""
    body = message.json
    data = body.get("data", body)
    images = ("fullDocument", "after") if is_open and is_update(message) else ()
    names = [k for k in data if k not in images and data[k] is not None]
    key = choose.choice(names)
    if isinstance(data[key], dict) and key == "updateDescription":
        data[key]["updatedFields"] = {"n": 12345} if isinstance(data[key]["updatedFields"], dict) else "{}"
    else:
        data[key] = {"_id": 777} if isinstance(data[key], dict) else f"{data[key]}x"
    return json.dumps(body, separators=(",", ":")).encode()


def alter(choose, stored, at, kind, is_open, more):
    """What the stream holds then (`more`: what its subjects can end with); nil where the alteration can't be told or made."""
    message = stored[at]
    plain = [(m.sequence, m.subject, own_headers(m), m.body) for m in stored]
    sequence, subject, headers, body = plain[at]
    if kind == "body":
        plain[at] = (sequence, subject, headers, altered_body(choose, message, is_open))
    elif kind == "header":
        open_ = ("Tailrace-Error-Detail", "Tailrace-Subject") if is_open else ()
        key = choose.choice([k for k in headers if k not in open_ + ("Nats-Msg-Id", "Tailrace-Bridge")])
        plain[at] = (sequence, subject, headers | {key: headers[key] + "x"}, body)
    elif kind == "id":
        # Of a letter's id, that of its message counts.
        name, mark, letter = headers["Nats-Msg-Id"].partition("%letter:")
        plain[at] = (sequence, subject, headers | {"Nats-Msg-Id": f"{name}x{mark}{letter}"}, body)
    elif kind == "subject":
        plain[at] = (sequence, subject + choose.choice(["x", more]), headers, body)
    elif kind == "swapped":
        if at + 1 == len(plain):
            return None
        after = plain[at + 1]
        plain[at], plain[at + 1] = (sequence, *after[1:]), (after[0], subject, headers, body)
    elif kind == "doubled":
        plain.insert(choose.randrange(at, len(plain)) + 1, (0, subject, headers, body))
    elif kind == "dropped":
        del plain[at]
        # No hole is left of it.
        plain = plain[:at] + [(s - 1, *rest) for s, *rest in plain[at:]]
    elif kind == "removed":
        del plain[at]
        if at == len(plain):
            return None
    return plain


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_alterations(lab, jetstream, tmp_path, name, round_):
    if older_than(lab, 6):
        pytest.skip("both readers tell all that is in messages from 6.0 on")
    choose = random.Random(SEED * 1000 + round_)
    kind, rule, stream, is_dropped = scenario(choose, name, round_)
    (tmp_path / "s.json").write_text(json.dumps(
        {"properties": {"fullDocument": {"properties": {"n": {"maximum": 6}}}}}))
    print(kind, rule, stream, "dropped" if is_dropped else "kept")
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo:
        write(mongo, choose, name)
    settle(lab)
    whole = configuration(lab, name, rule=rule, stream=stream)
    if kind == "two":
        whole["rules"].append(whole["rules"][0] | {
            "name": "more", "match": {"namespace": f"{name}.messages", "operations": ["update", "delete"]},
            "subject": name + ".more", "payload": {"envelope": "cloudevents"}})
    if kind == "letters":  # Both in one stream.
        whole["dead_letter"] = {"stream": name, "subject": name + ".dlq.{rule}.{error}"}
        whole["rules"][0]["payload"]["full_document"] = "required"
    with Bridge(tmp_path, whole) as bridge:
        assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
        if is_dropped:
            with client(lab) as mongo:
                mongo[name].messages.drop()
            settle(lab)
            assert bridge.run("--until", "now") == 0
        for reader in ("oplog", "change_stream"):
            report = verify(bridge, "--reader", reader)
            assert report["verdict"] == "PASS", report["mismatches"][:5]
        held = {s: jetstream.messages(s) for s in {name, whole["dead_letter"]["stream"]}}
        configs = {s: jetstream.config(s) for s in held}
        limited = "max_msgs" in stream or "max_msgs_per_subject" in stream
        tried = 0
        while tried < ALTERATIONS:
            where = choose.choice(sorted(s for s in held if held[s]))
            at = choose.randrange(len(held[where]))
            change = choose.choice(
                ["body", "header", "id", "subject", "swapped", "doubled", "dropped", "removed"])
            message = held[where][at]
            is_open = is_dropped and is_update(message) and rule["payload"]["full_document"] != "off"
            is_open = is_open or kind == "before"
            is_letter = "Tailrace-Error" in message.headers
            gone = change in ("dropped", "removed")
            if gone and (limited or is_letter or (is_open and kind in ("where", "two", "letters"))):
                continue  # A letter may have been dropped; limits or a condition may have left it out.
            if change == "doubled" and limited:
                continue  # … and push another one out.
            plain = alter(choose, held[where], at, change, is_open, ".x" if where == name else "y")
            if plain is None:
                continue
            tried += 1
            if change == "doubled":
                numbered, last = [], 0
                for sequence, *rest in plain:
                    last = sequence if sequence > last else last + 1
                    numbered.append((last, *rest))
                plain = numbered
            restore(jetstream, where, configs[where], plain)
            reader = choose.choice(["oplog", "change_stream"])
            print(where, change, at, message.id, reader)
            report = verify(bridge, "--reader", reader, code=1)
            ids = {m["msg_id"].removesuffix("x") for m in report["mismatches"]}
            names = {message.id.split("%letter:")[0]}
            if change == "swapped":
                names.add(held[where][at + 1].id.split("%letter:")[0])
            assert ids & names, report["mismatches"]
            # A subject with one message less has pushed no others out.
            assert len(report["mismatches"]) <= 2 or limited, report["mismatches"]
            if change in ("swapped", "doubled"):
                assert found(report) == {"reordered" if change == "swapped" else "duplicate": 1}
            restore(jetstream, where, configs[where],
                    [(m.sequence, m.subject, own_headers(m), m.body) for m in held[where]])
        assert verify(bridge)["verdict"] == "PASS"


def sized(lab, tmp_path, jetstream, name, limit=2000):
    """Messages around a limit of their stream, and letters of those beyond."""
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo:
        mongo[name].messages.insert_many([{"_id": n, "x": "y" * n} for n in range(1000, 1500, 20)])
        mongo[name].messages.insert_many([{"_id": n, "x": "y" * n} for n in range(9000, 9005)])
    settle(lab)
    bridge = Bridge(tmp_path, configuration(
        lab, name, stream={"max_msg_size": limit, "duplicate_window": "100ms"}))
    assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
    return bridge


def limit(jetstream, name, size):
    jetstream.api(f"STREAM.UPDATE.{name}", jetstream.config(name) | {"max_msg_size": size})


def test_limits_that_change(lab, jetstream, tmp_path, name):
    """What was too large then, or would be now, is no difference: a note names the limits."""
    readers = ["oplog"] if older_than(lab, 6) else ["oplog", "change_stream"]
    bridge = sized(lab, tmp_path, jetstream, name)
    stored, letters = jetstream.messages(name), jetstream.messages(f"DLQ_{name}")
    assert len(stored) > 5 and len(letters) > 5
    for size in (2000, 2200, 5000, 1_000_000, 1800, 700):
        limit(jetstream, name, size)
        for reader in readers:
            report = verify(bridge, "--reader", reader)
            assert report["verdict"] == "PASS", report["mismatches"][:3]
            notes = " ".join(report["notes"])
            if size == 2000:
                assert "limit" not in notes
            elif size > 2000:
                assert f"by a limit of 2000 bytes at that time; it is {size} now" in notes
            else:
                assert f"larger than the limit of now, {size} bytes" in notes
    # Letters' own stream has another limit: other documents are left out.
    limit(jetstream, name, 2000)
    limit(jetstream, f"DLQ_{name}", 3000)
    report = verify(bridge)
    assert report["verdict"] == "PASS" and "lack other documents" in " ".join(report["notes"])
    limit(jetstream, f"DLQ_{name}", -1)
    # That is no excuse for anything else.
    limit(jetstream, name, 5000)
    config = jetstream.config(f"DLQ_{name}")
    plain = [(m.sequence, m.subject, own_headers(m), m.body) for m in letters]
    for changed in (
        lambda s, u, h, b: (s, u, h, b.replace(b'"insert"', b'"delete"')),
        lambda s, u, h, b: (s, u, h | {"ce-subject": "7"}, b),
        lambda s, u, h, b: (s, u, h | {"Tailrace-Error-Detail": h["Tailrace-Error-Detail"].replace(
            "limit is 2000", "limit is 2900")}, b),
        lambda s, u, h, b: (s, u, h | {"Tailrace-Error": "refused"}, b),
    ):
        restore(jetstream, f"DLQ_{name}", config, [changed(*plain[0])] + plain[1:])
        report = verify(bridge, code=1)
        assert letters[0].id.split("%letter:")[0] in {m["msg_id"] for m in report["mismatches"]}
        assert len(report["mismatches"]) <= 2, report["mismatches"]
    restore(jetstream, f"DLQ_{name}", config, plain)
    # A message and a letter of one event are one too many.
    jetstream.publish(f"{name}.messages.insert", b"{}", {
        k: v for k, v in own_headers(letters[0]).items() if not k.startswith("Tailrace-Error")}
        | {"Nats-Msg-Id": letters[0].id.split("%letter:")[0]})
    assert sum(found(verify(bridge, code=1)).values()) >= 1


def test_replayed_more_than_once(lab, jetstream, tmp_path, name):
    """A letter that is kept and replayed is a message once, and a duplicate beyond that."""
    bridge = sized(lab, tmp_path, jetstream, name)
    letters = jetstream.messages(f"DLQ_{name}")
    limit(jetstream, name, 20_000)

    def replay(*more):
        time.sleep(0.3)  # The dedup window is over.
        done = tailrace("dlq", "replay", "-c", bridge.file, *more, cwd=tmp_path)
        # `replay` asks the configuration for the limit.
        assert done.returncode == 0, done.stdout + done.stderr

    bridge.configuration["streams"][0]["max_msg_size"] = 20_000
    bridge.file.write_text(yaml.safe_dump(bridge.configuration, sort_keys=False))
    replay("--keep", "--all")
    for size in (20_000, 2000):
        limit(jetstream, name, size)
        report = verify(bridge)
        assert report["verdict"] == "PASS", report["mismatches"][:3]
    limit(jetstream, name, 20_000)
    for count in (1, 2):
        replay("--keep", "--sequence", str(letters[3].sequence))
        for size in (20_000, 2000):
            limit(jetstream, name, size)
            report = verify(bridge, code=1)
            assert found(report) == {"duplicate": count}, report["mismatches"][:3]
            assert {m["msg_id"] for m in report["mismatches"]} == {letters[3].id.split("%letter:")[0]}
        limit(jetstream, name, 20_000)
    # Replayed for good: nothing else is wrong.
    replay("--all")
    assert found(verify(bridge, code=1))["duplicate"] >= 2
