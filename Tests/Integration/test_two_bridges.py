"""Two and three bridges that share the dead-letter stream, or a stream of data: nothing of the one
influences the other, whatever breaks."""

import time

import pytest

from bridge import wait_until
from lab import Lab
from load import client, now
from several import exact


@pytest.fixture(scope="module")
def lab():
    """Servers of this file's own: some tests kill them."""
    with Lab() as servers:
        yield servers


def forget(jetstream, side):
    """The bridge's checkpoint is lost."""
    jetstream.api(f"STREAM.PURGE.KV_STATE_{side.name}",
                  {"filter": f"$KV.STATE_{side.name}.{side.database}.checkpoint"})


def test_first_start_beside_another(jetstream, sides):
    """A bridge that starts for the first time takes no other's dead letter for its own."""
    a, b = sides("a"), sides("b")
    b.bridge.configuration["source"]["start"] = "oldest"
    b.rewrite()
    b.insert(valid=5, invalid=3)
    a.bridge.start().wait_ready()
    a.insert(valid=2, invalid=2)
    a.settled(jetstream)
    b.bridge.start().wait_ready()
    exact(jetstream, a, b)
    assert "lost" not in b.bridge.log.read_text()
    assert b.outcomes()["dead_lettered"] == 3 and b.outcomes()["published"] == 5


def test_a_later_letter_of_another(jetstream, sides):
    """A newer letter of another bridge says nothing of one's own."""
    a, b = sides("a"), sides("b")
    for side in (a, b):
        side.bridge.start().wait_ready()
        side.insert(valid=1, invalid=1)
    exact(jetstream, a, b)
    assert a.bridge.terminate() == 0
    a.insert(invalid=10, valid=3)
    b.insert(invalid=1)
    b.settled(jetstream)
    a.bridge.start().wait_ready()
    exact(jetstream, a, b)


@pytest.mark.parametrize("shared", [False, True], ids=["letters", "stream"])
def test_outages_kills_and_lost_checkpoints(lab, jetstream, sides, shared):
    """Three bridges under load: an outage of a second, kills, checkpoints that are lost."""
    a, b, c = all_three = [sides(who, shared=shared) for who in "abc"]
    for side in all_three:
        side.bridge.start().wait_ready()

    def load(rounds):
        for _ in range(rounds):
            for side in all_three:
                side.insert(valid=2, invalid=1)

    load(7)
    lab.kill("nats")
    load(4)
    time.sleep(1)
    lab.start("nats")
    load(4)
    exact(jetstream, *all_three)
    for side in all_three:
        outcomes = side.outcomes()
        assert (outcomes["dead_lettered"], outcomes["published"] + outcomes["duplicate"]) == (15, 30)

    a.bridge.kill()
    load(3)
    b.bridge.kill()
    load(3)
    a.bridge.start()
    b.bridge.start()
    load(2)
    exact(jetstream, *all_three)

    for side in (a, c):
        assert side.bridge.terminate() == 0
        forget(jetstream, side)
    load(4)
    b.settled(jetstream)
    for side in (a, c):
        side.bridge.start().wait_ready()
        assert "found again" in side.bridge.log.read_text()
    load(1)
    exact(jetstream, *all_three)
    assert all(side.bridge.terminate() == 0 for side in all_three)


@pytest.mark.parametrize("ahead", [True, False], ids=["ahead", "behind"])
def test_other_clocks(jetstream, sides, ahead):
    """The other bridge's replica set lives in another time: its positions say nothing."""
    a = sides("a")
    a.bridge.start().wait_ready()
    a.insert(valid=2, invalid=2)
    exact(jetstream, a)
    assert a.bridge.terminate() == 0
    a.insert(valid=3, invalid=5)
    other = 4_000_000_000 if ahead else 1_000_000_000
    letter = a.stored(jetstream, "bad")[-1]
    for number in range(40):
        position = f"{other}.{number + 1}.0"
        jetstream.publish(letter.subject, letter.body, letter.headers | {
            "Nats-Msg-Id": f"rs0:{position}", "Tailrace-Position": position,
            "Tailrace-Bridge": "far_away"})
    a.bridge.start().wait_ready()
    exact(jetstream, a)
    assert a.bridge.terminate() == 0
    forget(jetstream, a)
    a.insert(valid=1, invalid=1)
    a.bridge.start().wait_ready()
    exact(jetstream, a)


def test_two_replica_sets(lab, jetstream, sides, name):
    """Each from a server of its own, whose clock and positions are its own."""
    with Lab(nats=0) as second:
        a = sides("a", shared=True)
        b = sides("b", shared=True, servers=second, after=now(second),
                  nats={"servers": lab.nats_url.split(",")}, source={"name": "rs_b"})
        for side in (a, b):
            side.bridge.start().wait_ready()
        for _ in range(10):
            a.insert(valid=2, invalid=1)
            b.insert(valid=3, invalid=1)
        exact(jetstream, a, b)
        a.bridge.kill()
        b.insert(valid=5, invalid=5)
        a.insert(valid=5, invalid=5)
        b.bridge.kill()
        a.insert(invalid=1)
        for side in (a, b):
            forget(jetstream, side)
            side.bridge.start().wait_ready()
        exact(jetstream, a, b)


def test_letters_of_the_same_events(jetstream, sides, lab, name):
    """Both bridges make a dead letter of every event: the server must not take one for the other's
    repetition."""
    a, b = [sides(who, unmatched="dead_letter") for who in "ab"]
    for side in (a, b):
        side.bridge.start().wait_ready()

    def insert(*keys):
        with client(lab) as mongo:
            for key in keys:
                mongo[f"{name}_neither"].things.insert_one({"_id": key})

    def letters(side):
        return [m for m in jetstream.messages(f"DLQ_{name}")
                if m.headers["Tailrace-Bridge"] == side.database]

    def keys(side):
        bodies = [m.json for m in letters(side)]
        return [body["documentKey"]["_id"] for body in bodies
                if body["ns"] == {"db": f"{name}_neither", "coll": "things"}
                and body["operationType"] == "insert"]

    insert(*(f"{number}" for number in range(20)))
    a.insert(valid=2, invalid=2)
    wanted = [f"{number}" for number in range(20)]
    for side in (a, b):
        wait_until(lambda: side.bridge.alive() and len(keys(side)) >= 20, "20 letters")
    b.bridge.kill()
    insert("more", "and more")
    b.bridge.start().wait_ready()
    insert("last")
    wanted += ["more", "and more", "last"]
    for side in (a, b):
        wait_until(lambda: side.bridge.alive() and len(keys(side)) >= 23, "23 letters")
        assert keys(side) == wanted
    for side in (a, b):
        assert side.bridge.terminate() == 0
        side.verify()
        found = letters(side)
        assert len({m.id for m in found}) == len({m.position for m in found}) == len(found)
