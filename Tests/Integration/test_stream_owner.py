"""Whose a stream is: its metadata, settings under which it can't serve, subjects that others gave it."""

import json

import pytest

from bridge import tailrace, wait_until
from jetstream import JetStream
from lab import Lab
from load import make_collections, now
from several import Side, database, exact

KEY = "tailrace-bridge"


def metadata(jetstream, stream):
    return jetstream.config(stream).get("metadata") or {}


def claim(side, stream, ownership="exclusive", **changes):
    """Lets the bridge use that stream."""
    own = side.bridge.configuration["streams"][0]
    own |= {"name": stream, "subjects": [f"{stream}.>"], "ownership": ownership} | changes
    rule, = side.bridge.configuration["rules"]
    rule |= {"stream": stream, "subject": f"{stream}.{side.database}.{{fullDocument.rid}}"}
    side.stream, side.shares = stream, ownership == "shared"
    side.rewrite()


def test_exclusive_streams_name_their_bridge(jetstream, sides, name):
    a, b = sides("a"), sides("b")
    for side in (a, b):
        claim(side, name)
    a.bridge.configuration["streams"][0]["metadata"] = {"team": "chat"}
    a.rewrite()
    a.bridge.start().wait_ready()
    kept = metadata(jetstream, name)
    assert kept[KEY] == a.database and kept["team"] == "chat"
    before = jetstream.config(name)
    assert b.bridge.run(seconds=20) == 78
    said = b.bridge.log.read_text()
    assert a.database in said and "ownership: shared" in said and "nats stream edit" in said
    assert jetstream.config(name) == before, "nothing of it was changed"
    a.insert(valid=3, invalid=1)
    exact(jetstream, a)
    assert a.bridge.terminate() == 0

    # Shared from now on: what was stored before names no bridge, and is not taken for another's.
    for side in (a, b):
        claim(side, name, "shared")
    a.bridge.start().wait_ready()
    kept = metadata(jetstream, name)
    assert KEY not in kept and kept["team"] == "chat"
    b.bridge.start().wait_ready()
    for side in (a, b):
        side.insert(valid=2, invalid=2)
    wait_until(lambda: jetstream.holds(name, 7), "the messages of both")
    owners = [m.headers.get("Tailrace-Bridge") for m in jetstream.messages(name)]
    assert owners[:3] == [None] * 3
    assert sorted(owners[3:]) == [a.database] * 2 + [b.database] * 2
    for side in (a, b):
        assert side.bridge.terminate() == 0
    b.verify()


def test_two_claim_a_stream_at_once(jetstream, sides, name):
    """Made by hand, so that it belongs to nobody: one of them gets it."""
    jetstream.api(f"STREAM.CREATE.{name}", {"name": name, "subjects": [f"{name}.>"],
                                            "metadata": {"by": "hand"}})
    both = [sides(who) for who in "ab"]
    for side in both:
        claim(side, name)
        side.bridge.start()
    loser = wait_until(lambda: next((s for s in both if s.bridge.process.poll() is not None), None),
                       "one is refused")
    winner, = [side for side in both if side is not loser]
    assert loser.bridge.process.returncode == 78
    winner.bridge.wait_ready()
    assert metadata(jetstream, name) == metadata(jetstream, name) | {KEY: winner.database, "by": "hand"}


@pytest.mark.parametrize("version", ["2.9.10"])
def test_servers_without_metadata(tmp_path, name, version):
    """They keep no owner; all else is the same."""
    with Lab(nats_version=version) as lab:
        jetstream = JetStream(lab.nats_url)
        make_collections(lab, database(name, "a"))
        a = Side(lab, tmp_path, name, "a", now(lab))
        with a.bridge:
            a.bridge.start().wait_ready()
            a.insert(valid=2, invalid=2)
            exact(jetstream, a)
            assert "updated" not in a.bridge.log.read_text()


UNFIT = {
    "transform": ({"subject_transform": {"src": ">", "dest": "elsewhere.>"}}, "subject_transform"),
    "counter": ({"allow_msg_counter": True}, "allow_msg_counter"),
    "sources": ({"sources": [{"name": "OTHER"}]}, "sources"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_streams_that_cannot_serve(jetstream, sides, name, kind):
    setting, word = UNFIT[kind]
    if kind == "sources":
        jetstream.api(f"STREAM.CREATE.{name}_other", {"name": f"{name}_other", "subjects": [f"o_{name}"]})
        setting = {"sources": [{"name": f"{name}_other"}]}
    jetstream.api(f"STREAM.CREATE.{name}", {"name": name, "subjects": [f"{name}.>"]} | setting)
    before = jetstream.config(name)
    a = sides("a")
    claim(a, name)
    assert a.bridge.run(seconds=20) == 78
    assert word in a.bridge.log.read_text()
    assert jetstream.config(name) == before, "nothing of it was changed"


def test_subjects_added_by_hand(jetstream, sides, name):
    """A shared stream keeps them; an exclusive one is as its configuration says."""
    a = sides("a")
    claim(a, name, "shared", subjects=[f"{name}.{a.database}.>"])
    a.bridge.start().wait_ready()
    assert a.bridge.terminate() == 0
    by_hand = [f"{name}.{a.database}.>", f"{name}.others.*", f"{name}_too"]
    jetstream.api(f"STREAM.UPDATE.{name}", jetstream.config(name) | {"subjects": by_hand})
    a.bridge.start().wait_ready()
    assert jetstream.config(name)["subjects"] == by_hand
    assert a.bridge.terminate() == 0
    claim(a, name, "shared", subjects=[f"{name}.>"])
    a.bridge.start().wait_ready()
    assert jetstream.config(name)["subjects"] == [f"{name}_too", f"{name}.>"]
    assert a.bridge.terminate() == 0
    claim(a, name, "exclusive")
    a.bridge.start().wait_ready()
    assert jetstream.config(name)["subjects"] == [f"{name}.>"]


def dlq(side, command, *arguments, code=0):
    done = tailrace("dlq", command, *arguments, "-c", side.bridge.file, cwd=side.bridge.folder)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


def listed(side, *arguments):
    return [json.loads(line) for line in dlq(side, "list", "--json", *arguments).stdout.splitlines()]


def test_letters_of_others(jetstream, sides, name):
    """`list` shows whose they are; replay and drop leave them alone."""
    a, b = sides("a"), sides("b")
    for side in (a, b):
        side.bridge.start().wait_ready()
        side.insert(invalid=3)
    exact(jetstream, a, b)
    for side in (a, b):
        assert side.bridge.terminate() == 0
    old = a.stored(jetstream, "bad")[0]
    headers = {k: v for k, v in old.headers.items() if k != "Tailrace-Bridge"} | {"Nats-Msg-Id": "old"}
    jetstream.publish(old.subject, old.body, headers)

    assert sorted(letter["bridge"] or "" for letter in listed(a)) \
        == [""] + [a.database] * 3 + [b.database] * 3
    assert a.database in dlq(a, "list").stdout and b.database in dlq(a, "list").stdout
    assert {letter["bridge"] for letter in listed(a, "--bridge", b.database)} == {b.database}
    assert len(listed(a, "--bridge", b.database, "--unnamed")) == 4

    a.bridge.configuration["rules"][0]["subject"] = f"{a.stream}.{a.database}.replayed"
    a.rewrite()
    dlq(a, "replay", "--all", "--bridge", b.database, code=64)
    done = dlq(a, "replay", "--all", "--json")
    assert [json.loads(line)["outcome"] for line in done.stdout.splitlines()] == ["published"] * 3
    assert "4 letters of other bridges" in done.stderr
    assert [letter["bridge"] for letter in listed(b)] == [b.database] * 3 + [None]
    done = dlq(a, "replay", "--all", "--unnamed", "--json")
    assert len(done.stdout.splitlines()) == 1
    dlq(a, "drop", "--all")
    assert len(listed(a)) == 3
    dlq(a, "drop", "--all", "--bridge", b.database)
    assert listed(a) == []


def make_unnamed(jetstream, stream):
    """The stream as a version left it that did not name bridges yet."""
    messages, config = jetstream.messages(stream), jetstream.config(stream)
    jetstream.delete_stream(stream)
    jetstream.api(f"STREAM.CREATE.{stream}", config)
    for message in messages:
        headers = {k: v for k, v in message.headers.items()
                   if k == "Nats-Msg-Id" or not k.startswith("Nats-")}
        del headers["Tailrace-Bridge"]
        jetstream.publish(message.subject, message.body, headers)


def test_letters_from_before_they_named_their_bridge(jetstream, sides, name):
    """What the checkpoint names is one's own; nothing else without a name is."""
    a, b = sides("a"), sides("b")
    for side in (a, b):
        side.bridge.start().wait_ready()
    a.insert(invalid=3)
    a.settled(jetstream)
    assert a.bridge.terminate() == 0
    b.insert(invalid=2)
    b.settled(jetstream)
    assert b.bridge.terminate() == 0
    make_unnamed(jetstream, f"DLQ_{name}")
    a.insert(invalid=4)
    a.bridge.start().wait_ready()
    wait_until(lambda: jetstream.holds(f"DLQ_{name}", 9), "four more")
    a.insert(invalid=1)
    wait_until(lambda: jetstream.holds(f"DLQ_{name}", 10), "one more")
    assert a.bridge.terminate() == 0
    found = jetstream.messages(f"DLQ_{name}")
    assert [m.position for m in found[5:]] == a.truth("bad")[3:]
    assert all(m.headers["Tailrace-Bridge"] == a.database for m in found[5:])


def test_messages_from_before_and_no_checkpoint(jetstream, sides, name):
    """They may be the bridge's, so a start at "now" could leave a gap: refused. Another rule's, or
    another database's, are not."""
    a, b = sides("a", shared=True), sides("b", shared=True)
    a.bridge.start().wait_ready()
    a.insert(valid=2)
    a.settled(jetstream)
    assert a.bridge.terminate() == 0
    make_unnamed(jetstream, name)
    jetstream.delete_stream(f"KV_STATE_{name}")
    assert a.bridge.run(seconds=20) == 75
    assert "--from" in a.bridge.tail()
    for side in (a, b):
        side.bridge.start(*(("--from", "now", "--force") if side is a else ())).wait_ready()
