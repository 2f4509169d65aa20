"""`tailrace explain`: where an event is, or why it is nowhere, against what pymongo wrote and nats-py reads."""

import http.client
import json
import time

import yaml
from bridge import Bridge, configuration, tailrace, wait_until
from jetstream import JetStream
from lab import Lab, free_ports
from load import client, make_collections, now, settle
from test_cutover import Group


def run(bridge, *arguments, code=0, file=None):
    done = tailrace("explain", "-c", file or bridge.file, *arguments, cwd=bridge.folder, seconds=60)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def explain(bridge, *arguments, code=0, file=None):
    return json.loads(run(bridge, *arguments, "--json", code=code, file=file).stdout)


def outcome(bridge, *arguments, code=0):
    """Of the only event, the only one."""
    answer = explain(bridge, *arguments, code=code)
    (event,), = [answer["events"]]
    (one,) = event["outcomes"]
    return one


def text(position):
    return ".".join(map(str, position))


def insert(lab, name, *documents, collection="messages"):
    with client(lab) as mongo:
        mongo[name][collection].insert_many(documents)


def two_rules(lab, name, **changes):
    """`rooms` takes what has a room; `rest`, behind it, everything but users."""
    base = configuration(lab, name, **changes)
    rule = base["rules"][0]
    rooms = rule | {
        "name": "rooms", "subject": name + ".rooms.{fullDocument.rid}",
        "match": {"namespace": f"{name}.messages", "operations": ["insert"],
                  "where": {"fullDocument.rid": {"$exists": True}, "fullDocument.t": {"$ne": "rm"}}}}
    rest = rule | {"name": "rest", "match": {"namespace": f"{name}.messages", "operations": ["insert", "update"]}}
    return base | {"rules": [rooms, rest]}


def test_from_entry_to_sequence(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    settle(lab)
    noop = now(lab)
    insert(lab, name, {"_id": "early", "rid": "a"})
    with Bridge(tmp_path, two_rules(lab, name)) as bridge:
        bridge.start().wait_ready()
        insert(lab, name, {"_id": "room", "rid": "a"})
        insert(lab, name, {"_id": "removed", "rid": "a", "t": "rm"})
        insert(lab, name, {"_id": "user"}, collection="users")
        insert(lab, name, {"_id": "last", "rid": "b"})
        wait_until(lambda: jetstream.holds(name, 3), "3 messages")
        stored = {m.json["documentKey"]["_id"]: m for m in jetstream.messages(name)}
        first = stored["room"]
        for question in (text(first.position), first.id, text(first.position[:2])):
            answer = explain(bridge, question)
            assert answer["verdict"] == "ok" and not answer["notes"]
            (event,) = answer["events"]
            assert event["source"] == "oplog" and event["operation"] == "insert"
            assert event["position"] == text(first.position)
            assert event["document_key"] == {"_id": "room"}
            assert [rule["verdict"] for rule in event["rules"]] == ["taken", "not_tried"]
            (one,) = event["outcomes"]
            assert one["message"]["subject"] == first.subject and one["message"]["body"] == first.json
            assert one["message"]["headers"].items() <= first.headers.items()
            (place,) = one["stored"]
            assert (place["stream"], place["seq"], place["id"]) == (name, first.sequence, first.id)
            assert not one["differences"] and one["absence"] is None and not event["others"]
        (event,) = explain(bridge, text(stored["removed"].position))["events"]
        assert [rule["verdict"] for rule in event["rules"]] == ["where", "taken"]
        assert event["rules"][0]["reason"] == (
            'its where has fullDocument.t: { $ne: "rm" }, and fullDocument.t is "rm"')
        shown = run(bridge, text(stored["removed"].position)).stdout
        for part in (f"{name}.messages  ", '1 rooms  no: its where has fullDocument.t: { $ne: "rm" }',
                     "2 rest   takes it", "  message by rule rest", f"    subject  {name}.messages.insert",
                     f"    stored   stream {name}, sequence {stored['removed'].sequence}, at 20"):
            assert part in shown, (part, shown)

        # By document: what the oplog holds of it, published or not.
        assert outcome(bridge, "--document", f"{name}.messages", "room")["stored"][0]["seq"] == first.sequence
        user = outcome(bridge, "--document", f"{name}.users", "user")
        assert user["outcome"] == "unmatched" and user["absence"]["state"] == "not_due"
        early = outcome(bridge, "--document", f"{name}.messages", "early")
        assert early["absence"]["code"] == "before_origin"
        with client(lab) as mongo:
            mongo[name].messages.update_one({"_id": "room"}, {"$set": {"n": 1}})
            mongo[name].messages.delete_one({"_id": "room"})
        wait_until(lambda: jetstream.holds(name, 4), "the update")
        answer = explain(bridge, "--document", f"{name}.messages", "room")
        assert [event["operation"] for event in answer["events"]] == ["insert", "update", "delete"]
        assert [o["outcome"] for event in answer["events"] for o in event["outcomes"]] == [
            "message", "message", "unmatched"]
        answer = explain(bridge, "--document", f"{name}.messages", "room", "--limit", "1")
        assert [event["operation"] for event in answer["events"]] == ["delete"]
        assert "2 earlier events are not shown" in answer["notes"][0]
        explain(bridge, "--document", f"{name}.messages", "none", code=2)

        # Entries that make no event, and positions without an entry.
        assert "makes no change event" in explain(bridge, f"{noop.time}.{noop.inc}")["notes"][0]
        future = explain(bridge, f"{first.position[0] + 1000}.1")
        assert "lies in the future" in future["notes"][0]
        assert "there is no entry at" in explain(bridge, f"{first.position[0]}.99999", code=2)["notes"][0]
        assert "it begins with" in explain(bridge, "1.1", code=0)["notes"][0], "before the bridge began"
        explain(bridge, "4294967295.4294967295.4294967295")
        explain(bridge, "0.0.0")
        for arguments in ((), ("--document", "x"), ("1.1", "--document", "a.b", "c"), ("1.1", "--limit", "0")):
            run(bridge, *arguments, code=64)

        # A bridge that is not there has not published yet.
        assert bridge.terminate() == 0
        insert(lab, name, {"_id": "late", "rid": "a"})
        late = outcome(bridge, "--document", f"{name}.messages", "late")
        assert late["absence"]["code"] == "not_published_yet" and late["absence"]["state"] == "pending"

        # Someone deletes a message that has to be there.
        jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": stored["last"].sequence})
        gone = outcome(bridge, stored["last"].id, code=1)
        assert gone["absence"]["state"] == "missing" and "1 messages were deleted" in gone["absence"]["reason"]
        assert "    MISSING  it has to be there" in run(bridge, stored["last"].id, code=1).stdout

        # Other rules: what is stored differs, and may.
        changed = bridge.configuration | {"rules": [
            rule | {"subject": rule["subject"] + ".v2"} for rule in bridge.configuration["rules"]]}
        file = tmp_path / "changed.yaml"
        file.write_text(yaml.safe_dump(changed))
        (event,) = explain(bridge, first.id, file=file)["events"]
        assert event["outcomes"][0]["differences"] == [
            f"the stored subject is {first.subject}", "it was made by other rules than these"]

        # Limits: what has been removed from the stream's beginning.
        jetstream.api(f"STREAM.PURGE.{name}", {"seq": stored["last"].sequence})
        assert outcome(bridge, first.id)["absence"]["code"] == "before_stream"


def test_transactions(tmp_path, name):
    """Servers of its own: a change stream can't be read past what is too large for it, which others write."""
    with Lab() as lab:
        jetstream = JetStream(lab.nats_url)
        make_collections(lab, name)
        with Bridge(tmp_path, configuration(lab, name)) as bridge:
            bridge.start().wait_ready()
            with client(lab) as mongo, mongo.start_session() as session, session.start_transaction():
                for n in range(12):
                    mongo[name].rooms.insert_one({"_id": n}, session=session)
            wait_until(lambda: jetstream.holds(name, 12), "12 messages")
            third = jetstream.messages(name)[2]
            answer = explain(bridge, text(third.position[:2]))
            assert [event["outcomes"][0]["stored"][0]["seq"] for event in answer["events"]] == list(range(1, 11))
            assert "2 more events of the entry" in answer["notes"][0]
            assert outcome(bridge, text(third.position))["stored"][0]["seq"] == 3
            assert "has no event" in explain(bridge, text((*third.position[:2], 12)))["notes"][0]
            # As the server's change stream shows it, where the bridge reads that.
            file = tmp_path / "stream.yaml"
            whole = bridge.configuration
            file.write_text(yaml.safe_dump(whole | {"source": whole["source"] | {"reader": "change_stream"}}))
            (same,), (event,) = (explain(bridge, text(third.position), file=one)["events"] for one in (None, file))
            assert event["outcomes"] == same["outcomes"] and event["rules"] == same["rules"]
            assert explain(bridge, "--document", f"{name}.rooms", "2", file=file)["events"] == [event]


def test_dead_letters(lab, jetstream, tmp_path, name):
    """The letter in place of the message; after its replay the message, after dlq drop the reason."""
    make_collections(lab, name)
    schema = tmp_path / "n.json"
    schema.write_text(json.dumps({"properties": {"fullDocument": {"properties": {"n": {"type": "integer"}}}}}))
    strict = configuration(lab, name, rule={"schema": str(schema)})
    with Bridge(tmp_path, strict) as bridge:
        bridge.start().wait_ready()
        insert(lab, name, {"_id": 1, "n": "text"}, {"_id": 2, "n": "text"}, {"_id": 3, "n": 3})
        wait_until(lambda: jetstream.holds(name, 1) and jetstream.holds(f"DLQ_{name}", 2), "all of it")
        one, two = jetstream.messages(f"DLQ_{name}")
        letter = outcome(bridge, text(one.position))
        assert letter["outcome"] == "dead_letter" and letter["error"] == "schema_invalid"
        assert letter["schema"]["valid"] is False and "/fullDocument/n" in letter["schema"]["detail"]
        assert [(s["stream"], s["seq"]) for s in letter["stored"]] == [(f"DLQ_{name}", 1)]
        valid = outcome(bridge, jetstream.messages(name)[0].id)
        assert valid["schema"] == {"path": str(schema), "valid": True}
        tailrace("dlq", "drop", "--sequence", "2", "-c", bridge.file)
        dropped = outcome(bridge, text(two.position))
        assert dropped["absence"]["code"] == "letter_dropped" and dropped["absence"]["state"] == "gone"

        # By better rules it is a message; replayed, it stands out of the stream's order.
        assert bridge.terminate() == 0
        bridge.configuration = configuration(lab, name)
        bridge.file.write_text(yaml.safe_dump(bridge.configuration))
        bridge.start().wait_ready()
        insert(lab, name, {"_id": 4})
        wait_until(lambda: jetstream.holds(name, 2), "another message")
        assert tailrace("dlq", "replay", "--all", "-c", bridge.file).returncode == 0
        replayed = outcome(bridge, text(one.position))
        assert [(s["stream"], s["seq"]) for s in replayed["stored"]] == [(name, 3)]


def test_one_side_alone(lab, jetstream, tmp_path, name):
    """What the oplog no longer holds is explained by its headers; without a server, as far as the other knows."""
    whole = configuration(lab, name)
    jetstream.api(f"STREAM.CREATE.{name}", {"name": name, "subjects": [f"{name}.>"]})
    for n in (1, 2, 3):
        jetstream.publish(f"{name}.rooms.insert", b'{"n":%d}' % n, {
            "Nats-Msg-Id": f"rs0:5.{n}.0", "Tailrace-Position": f"5.{n}.0", "Tailrace-Rule": "all"})
    with Bridge(tmp_path, whole) as bridge:
        for question in ("5.2.0", "rs0:5.2.0", "5.2"):
            answer = explain(bridge, question)
            (event,) = answer["events"]
            assert event["source"] == "stream" and not event["outcomes"]
            assert [(m["seq"], m["rule"]) for m in event["others"]] == [(2, "all")]
            assert "no longer holds 5.2" in answer["notes"][0]
        shown = run(bridge, "5.2").stdout
        assert f"stream {name}, sequence 2, at" in shown and '    body     {"n":2}' in shown
        assert f"{name} begins with 5.1.0" in explain(bridge, "5.9", code=2)["notes"][1]
        # By an id of its own, without a position.
        jetstream.publish(f"{name}.rooms.insert", b"{}", {
            "Nats-Msg-Id": "order-7", "Tailrace-Position": "5.4.0", "Tailrace-Rule": "all"})
        assert explain(bridge, "order-7")["events"][0]["others"][0]["seq"] == 4
        assert "no event of the oplog makes" in explain(bridge, "order-8", code=2)["notes"][-1]

        # A dead letter has its event with it.
        jetstream.api(f"STREAM.CREATE.DLQ_{name}", {"name": f"DLQ_{name}", "subjects": [f"dlq_{name}.*"]})
        jetstream.publish(f"dlq_{name}.all", json.dumps({
            "operationType": "insert", "clusterTime": {"$timestamp": {"t": 5, "i": 6}},
            "ns": {"db": name, "coll": "rooms"}, "documentKey": {"_id": 1}, "fullDocument": {"_id": 1}}).encode(), {
            "Nats-Msg-Id": "rs0:5.6.0", "Tailrace-Position": "5.6.0", "Tailrace-Rule": "all",
            "Tailrace-Bridge": name, "Tailrace-Error": "schema_invalid", "Tailrace-Error-Detail": "by then"})
        (event,) = explain(bridge, "5.6.0")["events"]
        assert event["source"] == "dead_letter" and event["rules"][0]["takes"]
        (one,) = event["outcomes"]
        assert [(s["stream"], s["error"]) for s in one["stored"]] == [(f"DLQ_{name}", "schema_invalid")]
        assert one["differences"] == ["these rules make a message of it, and a dead letter is stored"]

        gone = f"127.0.0.1:{free_ports(1)[0]}"
        file = tmp_path / "gone.yaml"
        file.write_text(yaml.safe_dump(whole | {"source": {
            "uri": f"mongodb://{gone}/?replicaSet=rs0&serverSelectionTimeoutMS=500", "name": "rs0"}}))
        answer = explain(bridge, "5.2.0", file=file)
        assert answer["events"][0]["others"][0]["seq"] == 2 and "MongoDB" in answer["notes"][0]
        explain(bridge, "5.9.0", file=file, code=69)
        explain(bridge, "--document", f"{name}.rooms", "x", file=file, code=69)

        insert(lab, name, {"_id": 1}, collection="rooms")
        file.write_text(yaml.safe_dump(whole | {"nats": {"servers": [f"nats://{gone}"]}}))
        answer = explain(bridge, "--document", f"{name}.rooms", "1", file=file, code=69)
        (one,) = answer["events"][0]["outcomes"]
        assert one["message"]["subject"] == f"{name}.rooms.insert" and one["absence"] is None
        assert "what the streams hold is not known" in answer["notes"][-1]


def test_nothing_is_written(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        insert(lab, name, {"_id": "nasty\x1b[2J\u202e", "n": 1})
        wait_until(lambda: jetstream.holds(name, 1), "it")
        assert bridge.terminate() == 0
        before = jetstream.everything()
        shown = run(bridge, jetstream.messages(name)[0].id).stdout
        assert "\x1b" not in shown and "\u202e" not in shown and "\\u{202E}" in shown
        explain(bridge, "never-seen", code=2)
        assert jetstream.everything() == before


def test_other_deliveries(lab, jetstream, tmp_path, name):
    """A bucket's entries, of which later ones replace earlier ones, and signals."""
    make_collections(lab, name)
    base = configuration(lab, name)
    both = {"match": {"namespace": f"{name}.users"}, "continue": True}
    whole = base | {"kv": [{"bucket": f"B_{name}"}], "rules": [
        {"name": "entry", "delivery": "kv", "kv": {"bucket": f"B_{name}", "key": "{documentKey._id}"}} | both,
        {"name": "signal", "delivery": "core", "subject": f"sig.{name}"} | both] + base["rules"]}
    with Bridge(tmp_path, whole) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            mongo[name].users.insert_one({"_id": "u", "n": 1})
            mongo[name].users.replace_one({"_id": "u"}, {"n": 2})
        wait_until(lambda: jetstream.holds(name, 2), "both")
        first, second = jetstream.messages(name)
        for message, code in ((first, "replaced"), (second, None)):
            (event,) = explain(bridge, text(message.position))["events"]
            entry, signal, stored = event["outcomes"]
            assert (entry["stream"], stored["stream"]) == (f"KV_B_{name}", name)
            assert entry["message"]["subject"] == f"$KV.B_{name}.u"
            assert (entry["absence"] or {}).get("code") == code
            assert [s["seq"] for s in entry["stored"]] == ([] if code else [2])
            assert signal["outcome"] == "signal" and signal["absence"]["code"] == "core"
            assert [s["seq"] for s in stored["stored"]] == [message.sequence]


def test_a_group_with_producers(lab, jetstream, tmp_path, name):
    """In a stream that others publish to: the producer's message, or the bridge's in its place."""
    with Group(lab, jetstream, tmp_path, name) as group:
        group.bridge.start().wait_ready()
        group.insert(1)
        wait_until(lambda: jetstream.holds(name, 1), "the bridge's own")
        group.command("dual")
        wait_until(lambda: group.bridge.json("/status")[1]["cutover_groups"][0]["phase"] == "dual", "dual")
        group.insert(2, 3)
        group.produce(3)
        wait_until(lambda: len(jetstream.messages(name)) == 3, "what the bridge fills in")
        places = {m.id: m.sequence for m in jetstream.messages(name)}
        for number, ours in ((1, True), (2, True), (3, False)):
            for question in ((f"{number}.created",), ("--document", f"{name}.messages", str(number))):
                one = outcome(group.bridge, *question)
                (place,) = one["stored"]
                assert (place["seq"], place["by_bridge"]) == (places[f"{number}.created"], ours)
                assert not one["differences"]


def test_what_must_not_differ(lab, jetstream, tmp_path, name):
    """A message with the bridge's headers and another body, and one that is stored twice."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        insert(lab, name, {"_id": 1}, {"_id": 2})
        wait_until(lambda: jetstream.holds(name, 2), "both")
        assert bridge.terminate() == 0
        one, two = jetstream.messages(name)
        jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": 2})
        headers = {key: value for key, value in two.headers.items() if not key.startswith("Nats-Expected")}
        jetstream.publish(two.subject, b'{"forged":1}', headers | {"Nats-Msg-Id": two.id + "x"})
        wrong = outcome(bridge, text(two.position), code=1)
        assert wrong["differences"] == [f"the stored id is {two.id}x", 
            "the stored body has nothing at '/operationType', not \"insert\""]
        assert "    WRONG    the stored body" in run(bridge, text(two.position), code=1).stdout

        # And one of an entry that never was.
        orphan = f"{two.position[0]}.99999.0"
        jetstream.publish(two.subject, two.body, {
            "Nats-Msg-Id": f"rs0:{orphan}", "Tailrace-Position": orphan, "Tailrace-Rule": "all"})
        wait_until(lambda: time.time() > two.position[0] + 1, "a later second")
        settle(lab)
        (event,) = explain(bridge, orphan, code=1)["events"]
        assert event["orphan"] and event["others"][0]["seq"] == 4


def page(bridge, query, method="GET", token=None):
    """(status, headers, text) of /explain."""
    host, port = bridge.configuration["http"]["listen"].split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.request(method, f"/explain{query}", headers={"Authorization": f"Bearer {token}"} if token else {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, answer.headers, text


def test_over_http(lab, jetstream, tmp_path, name):
    """A running bridge answers as the command does; what documents say, only behind a token."""
    make_collections(lab, name)
    secret = "value-of-a-document"
    schema = tmp_path / "n.json"
    schema.write_text(json.dumps({"properties": {"fullDocument": {"properties": {"n": {"enum": [1, 9007199254740993]}}}}}))
    whole = two_rules(lab, name)
    whole["rules"][1]["schema"] = str(schema)
    whole["rules"][1]["subject"] = name + ".{fullDocument.kind}"
    with Bridge(tmp_path, whole) as bridge:
        bridge.start().wait_ready()
        insert(lab, name, {"_id": secret, "rid": secret}, {"_id": 1, "t": secret, "kind": secret, "n": 9007199254740993},
               {"_id": 2, "t": secret, "kind": secret, "n": secret}, {"_id": 3, "t": secret, "large": secret * 20_000})
        wait_until(lambda: jetstream.holds(name, 2) and jetstream.holds(f"DLQ_{name}", 2), "all of it")
        questions = [text(m.position) for m in jetstream.messages(name) + jetstream.messages(f"DLQ_{name}")]
        questions.append(text(jetstream.messages(name)[0].position[:2]))

        for question in questions:
            status, headers, body = page(bridge, f"?position={question}")
            assert status == 200 and headers["Content-Type"] == "application/json", body
            assert secret not in body, "no token guards it"
            answer = json.loads(body)
            (event,), (whole_event,) = answer["events"], explain(bridge, question)["events"]
            assert answer["verdict"] == "ok" and "http.token" in answer["notes"][-1]
            assert event["event"] is None and event["document_key"] is None
            assert [rule["verdict"] for rule in event["rules"]] == [rule["verdict"] for rule in whole_event["rules"]]
            ((one,), (known,)) = event["outcomes"], whole_event["outcomes"]
            assert one["message"]["body"] is None and one["message"]["body_bytes"] > 0
            assert one["message"]["subject"] is None and one["message"]["headers"] is None
            for key in ("outcome", "rule", "stream", "error"):
                assert one.get(key) == known.get(key)
            assert [(s["stream"], s["seq"]) for s in one["stored"]] == [(s["stream"], s["seq"]) for s in known["stored"]]
        refused = json.loads(page(bridge, f"?position={questions[2]}")[2])["events"][0]
        assert "/fullDocument/n" in refused["outcomes"][0]["detail"], "where it is, not what"
        assert refused["rules"][0]["reason"] == (
            "its where has fullDocument.rid: { $exists: true }, and the event does not")

        for query, why in (("", "say which"), ("?", "say which"), ("?position=", "say which"), ("?position=x", "no position"),
                           ("?position=1.2.3.4", "no position"), ("?position=99999999999.1", "no position"),
                           ("?position=-1.2", "no position"), ("?position=%2B1.2", "no position"),
                           ("?position=1%00.2", "no position"), ("?position=%D9%A1.2", "no position"),
                           ("?position=1.1&position=2.1", "twice"), ("?document=a.b", "knows position")):
            status, _, body = page(bridge, query)
            assert status == 400 and why in body, (query, body)
        assert page(bridge, "?position=%31.1&")[0] == 200
        gone = json.loads(page(bridge, "?position=1.1")[2])
        assert "the oplog no longer holds 1.1" in gone["notes"][0] and not gone["events"]
        future = json.loads(page(bridge, "?position=4294967295.1")[2])
        assert "lies in the future" in future["notes"][0]
        status, headers, body = page(bridge, f"?position={questions[0]}", "HEAD")
        assert status == 200 and not body and int(headers["Content-Length"]) > 100
        assert page(bridge, f"?position={questions[0]}", "POST")[0] == 405
        assert bridge.terminate() == 0

        whole["http"]["token"] = "letmein"
        bridge.file.write_text(yaml.safe_dump(whole))
        bridge.start().wait_ready()
        assert page(bridge, f"?position={questions[0]}")[0] == 401
        for question in questions[:2]:
            answer = json.loads(page(bridge, f"?position={question}", token="letmein")[2])
            assert answer == explain(bridge, question)
        large = json.loads(page(bridge, f"?position={questions[3]}", token="letmein")[2])["events"][0]
        assert large["event"] is None and large["event_bytes"] > 300_000, "it is too large for a page"
        assert large["outcomes"][0]["error"] == "path_missing"
