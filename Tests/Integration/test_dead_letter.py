"""What can't be published goes to the dead-letter stream with its reason; the stream goes on."""

from bridge import Bridge, configuration, wait_until
from load import client, make_collections


def both(jetstream, name, good, dead):
    wait_until(lambda: jetstream.holds(name, good), f"{good} messages in {name}")
    wait_until(lambda: jetstream.holds(f"DLQ_{name}", dead), f"{dead} dead letters")
    return jetstream.messages(name), jetstream.messages(f"DLQ_{name}")


def test_larger_than_max_payload(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            mongo[name].rooms.insert_one({"_id": "before"})
            mongo[name].rooms.insert_one({"_id": "large", "text": "x" * 1_500_000})
            mongo[name].rooms.insert_one({"_id": "after"})
        good, dead = both(jetstream, name, 2, 1)
        bridge.alive()
    assert [message.json["documentKey"]["_id"] for message in good] == ["before", "after"]
    letter, = dead
    assert letter.subject == f"dlq_{name}.all"
    assert letter.headers["Tailrace-Error"]
    assert "1" in letter.headers["Tailrace-Error-Detail"]
    assert letter.headers["Tailrace-Subject"] == f"{name}.rooms.insert"
    assert good[0].position < letter.position < good[1].position


def test_missing_template_path(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    rule = {"subject": name + ".{fullDocument.rid}.{operationType}"}
    with Bridge(tmp_path, configuration(lab, name, rule=rule)) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            mongo[name].messages.insert_one({"_id": 1, "rid": "general"})
            mongo[name].messages.insert_one({"_id": 2})
            mongo[name].messages.insert_one({"_id": 3, "rid": ""})
            mongo[name].messages.insert_one({"_id": 4, "rid": "general"})
        good, dead = both(jetstream, name, 2, 2)
    assert [message.json["documentKey"]["_id"] for message in good] == [1, 4]
    for letter, key in zip(dead, [2, 3], strict=True):
        assert "fullDocument.rid" in letter.headers["Tailrace-Error-Detail"]
        body = letter.json
        assert body["operationType"] == "insert"
        # The whole change event, as canonical Extended JSON.
        assert body["documentKey"] == {"_id": {"$numberInt": str(key)}}
        assert body["ns"] == {"db": name, "coll": "messages"}


def test_dead_letters_survive_a_kill_once(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    rule = {"subject": name + ".{fullDocument.rid}"}
    with Bridge(tmp_path, configuration(lab, name, rule=rule)) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            for number in range(40):
                document = {"_id": number} | ({"rid": "a"} if number % 2 else {})
                mongo[name].messages.insert_one(document)
                if number % 10 == 9:
                    bridge.kill()
                    bridge.start()
        both(jetstream, name, 20, 20)
        bridge.wait_ready()
        assert bridge.terminate() == 0
    good, dead = jetstream.messages(name), jetstream.messages(f"DLQ_{name}")
    assert [message.json["documentKey"]["_id"] for message in good] == list(range(1, 40, 2))
    assert [int(letter.json["documentKey"]["_id"]["$numberInt"]) for letter in dead] \
        == list(range(0, 40, 2))
