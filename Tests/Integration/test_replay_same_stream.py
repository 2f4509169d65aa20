"""Dead letters in the stream of their rule, and ids that are taken: a replay gives up a letter only for
its own message, read back from the stream."""

import json

import yaml
from bridge import Bridge, configuration, tailrace, wait_until
from load import client, make_collections


def dlq(bridge, *arguments, code=0):
    done = tailrace("dlq", *arguments, "--json", "-c", bridge.file, cwd=bridge.folder, seconds=60)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def split(messages):
    """Messages of events, and dead letters, by their positions."""
    dead = [m.headers["Tailrace-Position"] for m in messages if "Tailrace-Error" in m.headers]
    live = [m.headers["Tailrace-Position"] for m in messages if "Tailrace-Error" not in m.headers]
    return live, dead


def correct(bridge, subject):
    bridge.configuration["rules"][0]["subject"] = subject
    bridge.file.write_text(yaml.safe_dump(bridge.configuration, sort_keys=False))


def replay_all(bridge, jetstream, name, count):
    """Replays until no letter is left; at every moment each event is there, as a message or a letter."""
    def is_done():
        done = tailrace("dlq", "replay", "--all", "--json", "-c", bridge.file, cwd=bridge.folder,
                        seconds=60)
        assert done.returncode in (0, 1), done.stderr
        live, dead = split(jetstream.messages(name))
        assert set(live) | set(dead) == set(positions), "an event is gone"
        return not dead

    positions = [p for some in split(jetstream.messages(name)) for p in some]
    assert len(set(positions)) == count
    # Letters from before they had ids of their own hold their messages' ids for the window.
    wait_until(is_done, "no letters any more", seconds=30, every=0.5)
    live, _ = split(jetstream.messages(name))
    assert len(live) == len(set(live)) == count


def test_letters_in_the_rules_stream(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    changes = configuration(
        lab, name, rule={"subject": name + ".rooms.{fullDocument.rid}"},
        stream={"subjects": [f"{name}.>", f"dlq_{name}.>"], "duplicate_window": "3s"},
        dead_letter={"stream": name})
    with Bridge(tmp_path, changes) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        mongo[name].messages.insert_many(
            [{"_id": n} | ({"rid": "a"} if n % 2 else {}) for n in range(20)])
        wait_until(lambda: jetstream.holds(name, 20), "messages and letters")
        assert bridge.terminate() == 0
        correct(bridge, name + ".rooms.{documentKey._id}")
        replay_all(bridge, jetstream, name, 20)


def test_a_letter_under_its_messages_id(lab, jetstream, tmp_path, name):
    """As they were written once: the stream takes the message for a repetition of its letter."""
    make_collections(lab, name)
    changes = configuration(
        lab, name, rule={"subject": name + ".rooms.{fullDocument.rid}"},
        stream={"subjects": [f"{name}.>", f"dlq_{name}.>"]}, dead_letter={"stream": name})
    with Bridge(tmp_path, changes) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        mongo[name].messages.insert_one({"_id": 1})
        wait_until(lambda: jetstream.holds(name, 1), "the letter")
        assert bridge.terminate() == 0
        letter, = jetstream.messages(name)
        settings = jetstream.config(name)
        jetstream.delete_stream(name)
        jetstream.api(f"STREAM.CREATE.{name}", settings)
        headers = letter.headers | {"Nats-Msg-Id": f"rs0:{letter.headers['Tailrace-Position']}"}
        jetstream.publish(letter.subject, letter.body, {
            k: v for k, v in headers.items() if not k.startswith("Nats-") or k == "Nats-Msg-Id"})
        correct(bridge, name + ".rooms.{documentKey._id}")
        stays, = dlq(bridge, "replay", "--all", code=1)
        assert stays["outcome"] == "id_conflict" and "dead letter" in stays["detail"], stays
        assert len(dlq(bridge, "list")) == 1
        assert split(jetstream.messages(name))[0] == []


def test_an_id_that_is_another_events(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    rule = {"id": "{documentKey._id}.created", "subject": name + ".created",
            "match": {"namespace": f"{name}.messages", "operations": ["insert"]}}
    with Bridge(tmp_path, configuration(lab, name, rule=rule)) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        mongo[name].messages.insert_one({"_id": 1})
        mongo[name].messages.delete_one({"_id": 1})
        mongo[name].messages.insert_one({"_id": 1, "again": True})
        wait_until(lambda: jetstream.holds(f"DLQ_{name}", 1), "the letter")
        stays, = dlq(bridge, "replay", "--all", code=1)
        assert stays["outcome"] == "id_conflict" and "belongs to event" in stays["detail"]
        assert len(dlq(bridge, "list")) == 1
        # Under an id that does not come again it is stored, and only then the letter goes.
        bridge.configuration["rules"][0]["id"] = "{documentKey._id}.{clusterTime}.created"
        bridge.file.write_text(yaml.safe_dump(bridge.configuration, sort_keys=False))
        done, = dlq(bridge, "replay", "--all")
        assert done["outcome"] == "published"
        assert dlq(bridge, "list") == []
        assert jetstream.messages(name)[-1].json["fullDocument"]["again"]


def test_a_message_that_is_there_already(lab, jetstream, tmp_path, name):
    """A replay once more, with the letter kept, gives up the letter for the message that is there."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(
            lab, name, rule={"subject": name + ".rooms.{fullDocument.rid}"})) as bridge, \
            client(lab) as mongo:
        bridge.start().wait_ready()
        mongo[name].messages.insert_one({"_id": 1})
        wait_until(lambda: jetstream.holds(f"DLQ_{name}", 1), "the letter")
        assert bridge.terminate() == 0
        correct(bridge, name + ".rooms.{documentKey._id}")
        assert dlq(bridge, "replay", "--all", "--keep")[0]["outcome"] == "published"
        assert dlq(bridge, "replay", "--all")[0]["outcome"] == "duplicate"
        assert dlq(bridge, "list") == [] and jetstream.last_sequence(name) == 1
