"""What can't be published goes to the dead-letter stream with its reason; the stream continues."""

import json
import re

from bridge import Bridge, configuration, tailrace, wait_until
from ids import metric
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


def test_ids_that_repeat(lab, jetstream, tmp_path, name):
    """A template makes the same id for several letters: the server must not take one for the other's
    repetition."""
    make_collections(lab, name)
    rule = {"id": "{documentKey._id}.created", "subject": name + ".{fullDocument.rid}",
            "match": {"namespace": f"{name}.messages", "operations": ["insert"]}}
    with Bridge(tmp_path, configuration(lab, name, rule=rule)) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            for number in range(4):
                for key in (1, 2):
                    mongo[name].messages.insert_one({"_id": key, "number": number})
                    mongo[name].messages.delete_one({"_id": key})
                if number == 2:
                    bridge.kill()
                    bridge.start()
        wait_until(lambda: bridge.alive() and jetstream.holds(f"DLQ_{name}", 8), "8 dead letters")
        bridge.wait_ready()
        assert bridge.terminate() == 0
        listed = tailrace("dlq", "list", "--json", "-c", bridge.file, cwd=tmp_path).stdout
        assert [json.loads(line)["id"] for line in listed.splitlines()] == ["1.created", "2.created"] * 4
        assert tailrace("verify", "--to", "now", "-c", bridge.file, cwd=tmp_path).returncode == 0
    found = [letter.json["fullDocument"] for letter in jetstream.messages(f"DLQ_{name}")]
    assert [(int(d["number"]["$numberInt"]), int(d["_id"]["$numberInt"])) for d in found] \
        == [(number, key) for number in range(4) for key in (1, 2)]


def test_log_and_gauge(lab, jetstream, tmp_path, name):
    """The log has a line a cause and minute, not one a letter; the gauge counts what is in the
    stream, also after a restart, and not what other bridges have there."""
    make_collections(lab, name)
    rule = {"subject": name + ".{fullDocument.rid}"}
    stranger = f"dlq_{name}.other"
    with Bridge(tmp_path, configuration(lab, name, rule=rule)) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            mongo[name].messages.insert_many([{"_id": number} for number in range(200)])
        wait_until(lambda: jetstream.holds(f"DLQ_{name}", 200), "the letters")
        jetstream.publish(stranger, b"{}")
        wait_until(lambda: metric(bridge, "tailrace_dead_letters_standing") == 200, "the gauge")
        assert bridge.terminate() == 0
        lines = [line for line in bridge.log.read_text().splitlines() if "dead letters" in line]
        assert 1 <= len(lines) <= 2, lines
        assert all("path_missing" in line and "rule=all" in line for line in lines), lines
        assert sum(int(re.search(r"count=(\d+)", line).group(1)) for line in lines) == 200
        bridge.start().wait_ready()
        wait_until(lambda: metric(bridge, "tailrace_dead_letters_standing") == 200, "it remembers")
        assert bridge.json("/status")[1]["dead_letters_standing"] == 200
        jetstream.api(f"STREAM.PURGE.DLQ_{name}", {"filter": f"dlq_{name}.all", "keep": 7})
        wait_until(lambda: metric(bridge, "tailrace_dead_letters_standing") == 7, "what is left")
