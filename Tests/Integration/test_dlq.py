"""`tailrace dlq`: what is in the dead-letter stream, fetched whole, mapped again, taken away."""

import json

import yaml
from bridge import Bridge, configuration, tailrace, wait_until
from load import Writer, check, client, make_collections, now


def dlq(bridge, command, *arguments, code=0):
    done = tailrace("dlq", command, *arguments, "-c", bridge.file, cwd=bridge.folder, seconds=60)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def reconfigure(bridge, whole):
    bridge.configuration = whole
    bridge.file.write_text(yaml.safe_dump(whole, sort_keys=False))


def by_room(lab, name, **changes):
    """A rule that can't do without a room."""
    return configuration(lab, name, rule={"subject": name + ".rooms.{fullDocument.rid}"}, **changes)


def fill(lab, jetstream, bridge, name, count=20):
    """Every second document has no room."""
    bridge.start().wait_ready()
    with client(lab) as mongo:
        for number in range(count):
            mongo[name].messages.insert_one(
                {"_id": number} | ({"rid": "a"} if number % 2 else {}))
    wait_until(lambda: jetstream.holds(f"DLQ_{name}", count // 2), "dead letters")
    wait_until(lambda: jetstream.holds(name, count // 2), "messages")


def test_list_and_show(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, by_room(lab, name)) as bridge:
        assert dlq(bridge, "list") == "", "there is no stream yet"
        fill(lab, jetstream, bridge, name)
        listed = lines(dlq(bridge, "list", "--json"))
        assert [letter["sequence"] for letter in listed] == list(range(1, 11))
        assert {letter["error"] for letter in listed} == {"path_missing"}
        assert {letter["namespace"] for letter in listed} == {f"{name}.messages"}
        assert all("fullDocument.rid" in letter["detail"] for letter in listed)

        def sequences(*filters):
            return [letter["sequence"] for letter in lines(dlq(bridge, "list", "--json", *filters))]

        assert sequences("--limit", "3") == [1, 2, 3]
        assert sequences("--sequence", "2", "--sequence", "9") == [2, 9]
        assert sequences("--rule", "other") == [] == sequences("--error", "schema_invalid")
        assert sequences("--namespace", f"{name}.mess*", "--limit", "1") == [1]
        assert sequences("--namespace", f"{name}.rooms") == []
        assert sequences("--id", listed[4]["id"]) == [5]
        third = listed[2]["position"].rsplit(".", 1)[0]
        assert sequences("--from", third)[0] == 3 and sequences("--to", third)[-1] == 3
        shown = json.loads(dlq(bridge, "show", "5", "--json"))
        assert shown["event"]["fullDocument"] == {"_id": {"$numberInt": "8"}}
        assert shown["headers"]["Tailrace-Error"] == "path_missing"
        assert "Tailrace-Rule: all\n" in dlq(bridge, "show", "5")
        dlq(bridge, "show", "99", code=1)
        dlq(bridge, "drop", code=64)
        dlq(bridge, "replay", code=64)
        dlq(bridge, "list", "--from", "yesterday", code=64)


def test_replay_under_a_better_rule(lab, jetstream, tmp_path, name):
    """The rule is corrected: letters become messages under the ids they would have had, and a
    running bridge continues undisturbed."""
    make_collections(lab, name)
    after = now(lab)
    with Bridge(tmp_path, by_room(lab, name)) as bridge:
        fill(lab, jetstream, bridge, name)
        ids = [letter["id"] for letter in lines(dlq(bridge, "list", "--json"))]
        outcomes = lines(dlq(bridge, "replay", "--all", "--json", code=1))
        assert [o["outcome"] for o in outcomes] == ["invalid"] * 10, "by the same rule"
        assert jetstream.state(f"DLQ_{name}")["messages"] == 10
        assert bridge.terminate() == 0

        reconfigure(bridge, configuration(lab, name))
        bridge.start().wait_ready()
        would = lines(dlq(bridge, "replay", "--all", "--dry-run", "--json"))
        assert [o["id"] for o in would] == ids and jetstream.last_sequence(name) == 10
        with Writer(lab, name, seed=3, rate=1000):
            wait_until(lambda: jetstream.holds(name, 500), "new messages")
            outcomes = lines(dlq(bridge, "replay", "--all", "--json"))
        assert [o["outcome"] for o in outcomes] == ["published"] * 10
        assert [o["id"] for o in outcomes] == ids
        assert jetstream.state(f"DLQ_{name}")["messages"] == 0
        # Many replayed messages at the stream's end say nothing of the bridge's place in it.
        bridge.kill()
        bridge.start().wait_ready()
        with client(lab) as mongo:
            mongo[name].messages.insert_one({"_id": "last"})
        wait_until(lambda: jetstream.messages(name)[-1].json["documentKey"]["_id"] == "last", "it")
        assert bridge.terminate() == 0
    messages = jetstream.messages(name)
    replayed = [m for m in messages if "Tailrace-Replayed" in m.headers]
    assert [m.id for m in replayed] == ids
    assert {m.subject for m in replayed} == {f"{name}.messages.insert"}
    assert len({m.id for m in messages}) == len(messages)
    positions = [m.position for m in messages if "Tailrace-Replayed" not in m.headers]
    assert positions == sorted(positions)
    assert check_all(lab, name, after, messages)


def check_all(lab, name, after, messages):
    """Every event once, whatever its place."""
    from load import expected
    found = {(m.position, str(m.json["documentKey"]["_id"])) for m in messages}
    return found == {(event.position, event.key) for event in expected(lab, name, after)}


def test_many_replayed_at_the_end(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    after = now(lab)
    with Bridge(tmp_path, by_room(lab, name)) as bridge:
        fill(lab, jetstream, bridge, name, count=200)
        assert bridge.terminate() == 0
        reconfigure(bridge, configuration(lab, name, stream={"duplicate_window": "100ms"}))
        assert len(lines(dlq(bridge, "replay", "--all", "--json"))) == 100
        for _ in range(2):
            assert bridge.run("--until", "now") == 0
    messages = jetstream.messages(name)
    assert len(messages) == 200 and len({m.id for m in messages}) == 200
    assert check_all(lab, name, after, messages)


def test_duplicates_are_told(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, by_room(lab, name)) as bridge:
        fill(lab, jetstream, bridge, name, count=4)
        assert bridge.terminate() == 0
        reconfigure(bridge, configuration(lab, name))
        first = lines(dlq(bridge, "replay", "--all", "--keep", "--json"))
        second = lines(dlq(bridge, "replay", "--all", "--json"))
    assert [o["outcome"] for o in first + second] == ["published"] * 2 + ["duplicate"] * 2
    assert jetstream.last_sequence(name) == 4
    assert jetstream.state(f"DLQ_{name}")["messages"] == 0


def test_claim_check(lab, jetstream, tmp_path, name):
    """Too large for NATS: the letter has place and size, `show` has the document."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            mongo[name].rooms.insert_one({"_id": "large", "text": "x" * 2_000_000})
            # One in the middle of a transaction of several oplog entries.
            with mongo.start_session() as session, session.start_transaction():
                for number in range(12):
                    mongo[name].rooms.insert_one(
                        {"_id": number, "text": f"{number}" * 1_000_000}, session=session)
        wait_until(lambda: jetstream.holds(f"DLQ_{name}", 3), "dead letters")
        assert bridge.terminate() == 0
        letters = lines(dlq(bridge, "list", "--json"))
        assert [letter["error"] for letter in letters] == ["payload_too_large"] * 3
        assert all(letter["omitted"] == ["fullDocument"] for letter in letters)
        assert "2000" in letters[0]["detail"], "its size"
        whole = [json.loads(dlq(bridge, "show", str(n), "--json"))["event"]["fullDocument"]
                 for n in (1, 2, 3)]
        assert whole[0] == {"_id": "large", "text": "x" * 2_000_000}
        assert [document["text"] for document in whole[1:]] == ["10" * 1_000_000,
                                                                "11" * 1_000_000]
        outcomes = lines(dlq(bridge, "replay", "--all", "--json", code=1))
        assert {o["error"] for o in outcomes} == {"payload_too_large"}

        # A rule that leaves the text out.
        reconfigure(bridge, configuration(lab, name, rule={
            "payload": {"envelope": "cloudevents", "exclude": ["fullDocument.text"]}}))
        outcomes = lines(dlq(bridge, "replay", "--all", "--json"))
        assert [o["outcome"] for o in outcomes] == ["published"] * 3
    assert jetstream.messages(name)[-1].json["documentKey"]["_id"] == 11


def test_drop(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, by_room(lab, name)) as bridge:
        fill(lab, jetstream, bridge, name)
        dlq(bridge, "drop", "--sequence", "3", "--dry-run")
        assert jetstream.state(f"DLQ_{name}")["messages"] == 10
        dlq(bridge, "drop", "--sequence", "3", "--sequence", "4")
        assert [letter["sequence"] for letter in lines(dlq(bridge, "list", "--json"))] \
            == [1, 2, *range(5, 11)]
        dlq(bridge, "drop", "--all")
        assert jetstream.state(f"DLQ_{name}")["messages"] == 0
        bridge.alive()


def test_dead_letter_stream_unavailable(lab, jetstream, tmp_path, name):
    """No room for dead letters: nothing is left out, the bridge stalls and says so, and continues
    when there is room."""
    make_collections(lab, name)
    after = now(lab)
    with Bridge(tmp_path, by_room(lab, name)) as bridge:
        fill(lab, jetstream, bridge, name, count=4)
        full = jetstream.config(f"DLQ_{name}") | {"max_msgs": 2, "discard": "new"}
        jetstream.api(f"STREAM.UPDATE.DLQ_{name}", full)
        with client(lab) as mongo:
            mongo[name].messages.insert_many([{"_id": "x"}, {"_id": "y", "rid": "a"}])

        def complains():
            code, health = bridge.json("/healthz")
            return code == 503 and health["status"] == "stalled" and health
        health = wait_until(complains, "stalled", seconds=40)
        assert jetstream.last_sequence(name) == 2, "what comes behind it waits"
        assert "maximum messages exceeded" in health["checks"]["pipeline"]["detail"], health
        jetstream.api(f"STREAM.UPDATE.DLQ_{name}", full | {"max_msgs": -1})
        wait_until(lambda: jetstream.holds(name, 3), "it continues", seconds=40)
        assert bridge.terminate() == 0
    assert [m.json["documentKey"]["_id"] for m in jetstream.messages(name)] == [1, 3, "y"]
    assert len(jetstream.messages(f"DLQ_{name}")) == 3
    assert check_all(lab, name, after,
                     jetstream.messages(name)) is False  # the others are dead letters
