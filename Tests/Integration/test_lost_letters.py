"""The dead-letter stream, or the stream beside it, is behind: an event belongs to one of the two, and
which of them says whether it is stored. Nothing is missing or twice in either."""

import pytest
from bridge import Bridge, configuration, wait_until
from load import client, make_collections, now


def keys(messages):
    return [message.json["documentKey"]["_id"] for message in messages]


def letter_keys(messages):
    return [int(letter.json["documentKey"]["_id"]["$numberInt"]) for letter in messages]


def valid(number):
    return {"_id": number, "rid": "a"}


def invalid(number):
    return {"_id": number}


def insert(lab, name, *documents, collection="messages"):
    with client(lab) as mongo:
        for document in documents:
            mongo[name][collection].insert_one(document)


def exact(jetstream, name, good, dead, seconds=20):
    wait_until(lambda: jetstream.holds(name, len(good)), f"{len(good)} messages", seconds)
    wait_until(lambda: jetstream.holds(f"DLQ_{name}", len(dead)), f"{len(dead)} letters", seconds)
    assert keys(jetstream.messages(name)) == good
    assert letter_keys(jetstream.messages(f"DLQ_{name}")) == dead


def wait_healthy(bridge):
    wait_until(lambda: bridge.alive() and bridge.json("/healthz")[1].get("status") in ("ok", "idle"),
               "health is ok again", 20)


@pytest.fixture
def bridge(lab, tmp_path, name):
    make_collections(lab, name)
    rule = {"subject": name + ".{fullDocument.rid}"}
    with Bridge(tmp_path, configuration(lab, name, rule=rule)) as bridge:
        bridge.start().wait_ready()
        yield bridge


@pytest.mark.parametrize("end", ["terminated", "killed"])
def test_letters_deleted(lab, jetstream, name, bridge, end):
    """Valid events were published after the letters: that says nothing of the letters."""
    insert(lab, name, valid(0), invalid(1), invalid(2), valid(3), invalid(4), valid(5), valid(6))
    exact(jetstream, name, [0, 3, 5, 6], [1, 2, 4])
    bridge.kill() if end == "killed" else bridge.terminate()
    jetstream.delete_stream(f"DLQ_{name}")
    bridge.start().wait_ready()
    exact(jetstream, name, [0, 3, 5, 6], [1, 2, 4])
    if end == "terminated":
        assert f"stream DLQ_{name} lost acknowledged messages" in bridge.tail(1 << 20)
    wait_healthy(bridge)
    insert(lab, name, invalid(7), valid(8))
    exact(jetstream, name, [0, 3, 5, 6, 8], [1, 2, 4, 7])


def test_killed_while_letters_are_refilled(lab, jetstream, name, bridge):
    """Whoever comes after a refill that was cut short finds what is missing still."""
    count = 300
    with client(lab) as mongo:
        mongo[name].messages.insert_many(
            [invalid(n) if n % 3 else valid(n) for n in range(count)])
    good = [n for n in range(count) if n % 3 == 0]
    dead = [n for n in range(count) if n % 3]
    exact(jetstream, name, good, dead)
    assert bridge.terminate() == 0
    jetstream.delete_stream(f"DLQ_{name}")
    for stop in (20, 70):
        bridge.start()
        wait_until(lambda stop=stop: jetstream.holds(f"DLQ_{name}", stop), "some are back", every=0)
        bridge.kill()
        assert jetstream.last_sequence(f"DLQ_{name}") < len(dead), "it was cut short"
    bridge.start().wait_ready()
    exact(jetstream, name, good, dead)
    wait_healthy(bridge)


def test_stream_deleted_while_letters_survive(lab, jetstream, name, bridge):
    insert(lab, name, valid(0), invalid(1), valid(2), invalid(3))
    exact(jetstream, name, [0, 2], [1, 3])
    assert bridge.terminate() == 0
    jetstream.delete_stream(name)
    bridge.start().wait_ready()
    exact(jetstream, name, [0, 2], [1, 3])
    wait_healthy(bridge)


def test_both_deleted_while_it_runs(lab, jetstream, name, bridge):
    insert(lab, name, valid(0), invalid(1), valid(2), invalid(3))
    exact(jetstream, name, [0, 2], [1, 3])
    jetstream.delete_stream(f"DLQ_{name}")
    jetstream.delete_stream(name)
    insert(lab, name, invalid(4), valid(5))
    exact(jetstream, name, [0, 2, 5], [1, 3, 4])
    wait_healthy(bridge)


def test_events_that_two_rules_take(lab, jetstream, tmp_path, name):
    """`continue: true`: the same event for two streams, one of which can't take it; dropped by a third
    rule. The letters go, then the second stream."""
    second = f"{name}_second"
    make_collections(lab, name)
    changes = configuration(lab, name, rule={"continue": True})
    changes["streams"].append({"name": second, "subjects": [f"{second}.>"]})
    match = changes["rules"][0]["match"]
    changes["rules"] += [
        {"name": "strict", "match": match, "subject": second + ".{fullDocument.rid}",
         "stream": second, "continue": True},
        {"name": "dropped", "match": match, "subject": second + ".{fullDocument.never}",
         "stream": second, "on_invalid": "drop"},
    ]
    good, dead, all_of_them = [0, 2, 5], [1, 3, 4], [0, 1, 2, 3, 4, 5]

    def check():
        exact(jetstream, name, all_of_them, dead)
        wait_until(lambda: jetstream.holds(second, len(good)), "the second stream")
        assert keys(jetstream.messages(second)) == good

    with Bridge(tmp_path, changes) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            for n in all_of_them:
                mongo[name].messages.insert_one(valid(n) if n in good else invalid(n))
        check()
        for lost in ([f"DLQ_{name}"], [second], [f"DLQ_{name}", second], [name]):
            assert bridge.terminate() == 0
            for stream in lost:
                jetstream.delete_stream(stream)
            bridge.start().wait_ready()
            check()
            wait_healthy(bridge)


def test_letters_in_a_rules_own_stream(lab, jetstream, tmp_path, name):
    """The dead-letter stream is also a rule's: its letters are awaited by nobody, and a valid event
    that follows them says nothing of them."""
    make_collections(lab, name)
    changes = configuration(lab, name, rule={"subject": name + ".{fullDocument.rid}"})
    letters = f"DLQ_{name}"
    changes["streams"].append({"name": letters, "subjects": [f"dlq_{name}.>"]})
    changes["rules"].insert(0, {
        "name": "rooms", "match": {"namespace": f"{name}.rooms", "operations": ["insert"]},
        "subject": f"dlq_{name}.rooms", "stream": letters})
    with Bridge(tmp_path, changes) as bridge:
        bridge.start().wait_ready()
        for round in range(2):
            for n in range(round * 10, round * 10 + 10):
                if n % 4 == 3:
                    insert(lab, name, {"_id": n}, collection="rooms")
                else:
                    insert(lab, name, valid(n) if n % 2 else invalid(n))
                if n % 5 == 4:
                    bridge.kill()
                    bridge.start()
            bridge.wait_ready()
            wait_until(lambda round=round: jetstream.holds(name, 3 + 2 * round), "messages")
        good = [n for n in range(20) if n % 2 and n % 4 != 3]
        wait_until(lambda: jetstream.holds(name, len(good)), "messages")
        wait_until(lambda: jetstream.holds(letters, 20 - len(good)), "letters and rooms")
        assert keys(jetstream.messages(name)) == good
        rest = [message.json["documentKey"]["_id"] for message in jetstream.messages(letters)]
        rest = [int(k["$numberInt"]) if isinstance(k, dict) else k for k in rest]
        assert rest == [n for n in range(20) if n not in good]


def test_unmatched_letters(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    rule = {"match": {"namespace": f"{name}.messages", "operations": ["insert"]}}
    changes = configuration(lab, name, rule=rule)
    changes["unmatched"] = "dead_letter"
    with Bridge(tmp_path, changes) as bridge:
        bridge.start().wait_ready()
        after = now(lab)
        assert after
        for n in range(6):
            insert(lab, name, {"_id": n}, collection="messages" if n % 2 else "rooms")
        wait_until(lambda: jetstream.holds(name, 3), "messages")
        letters = f"DLQ_{name}"
        wait_until(lambda: jetstream.holds(letters, 3), "letters")

        def of_rooms():
            return [int(m.json["documentKey"]["_id"]["$numberInt"])
                    for m in jetstream.messages(letters)
                    if m.json["ns"] == {"db": name, "coll": "rooms"}]

        before = of_rooms()
        assert bridge.terminate() == 0
        jetstream.delete_stream(letters)
        bridge.start().wait_ready()
        wait_until(lambda: of_rooms() == before, "the letters are back")
        assert keys(jetstream.messages(name)) == [1, 3, 5]
