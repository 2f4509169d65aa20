"""Cut-overs under attack: producers that crash, repeat themselves, or come too late; bridges, commands and servers that
are killed at any moment; state that is lost. Each event is stored once, and each group is always in a phase."""

import time
from contextlib import closing

import pytest
from bridge import wait_until
from jetstream import JetStream
from lab import Lab
from proxy import Proxy
from test_cutover import GRACE, Group, document


@pytest.fixture
def make(lab, jetstream, tmp_path, name):
    """A group, with its stream's settings."""
    made = []

    def make(**changes):
        made.append(Group(lab, jetstream, tmp_path, name, **changes))
        return made[-1]
    yield make
    for group in made:
        group.__exit__(None, None, None)


def forgotten(group, seconds=1):
    """Waits until the server's dedup window knows nothing of what was published before."""
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + seconds + 0.3, "the dedup window is over")


def judged(group):
    """What is stored from now on is a phantom if no change explains it: not so right behind the group's boundary."""
    passed_over = GRACE + 3
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + passed_over, "messages are judged")


def phantoms(group, count):
    wait_until(lambda: group.note() and group.status()["counts"]["phantom"] == count, f"{count} phantoms")


def test_cancelled_while_the_bridge_is_down(make):
    """What producers published meanwhile is not published again, though the server has forgotten its ids."""
    group = make(stream={"duplicate_window": "1s"})
    group.bridge.start().wait_ready()
    group.dual()
    group.insert(1)
    group.produce(1)
    group.counts(by_producer=1)
    group.bridge.kill()
    group.insert(*range(2, 12))
    group.produce(*range(2, 11))
    forgotten(group)
    group.command("cancel")
    group.bridge.start().wait_ready()
    group.insert(12)
    group.holds(*range(1, 13))
    # Those that nobody published are the follower's to fill in, up to the boundary.
    assert 11 in group.filled()
    group.insert(13)
    group.holds(*range(1, 14))
    assert 13 not in group.filled()
    assert group.bridge.terminate() == 0


def test_producers_that_crash(make):
    """Between the write and its message, and the other way round; after a retry that the first attempt didn't need."""
    group = make()
    group.bridge.start().wait_ready()
    group.dual()
    group.insert(1, 2, 3)
    group.produce(1)
    acks = group.produce(1, 1)
    assert all(ack.duplicate for ack in acks)
    judged(group)
    group.produce(4)
    group.counts(by_producer=1, filled=2)
    phantoms(group, 1)
    # It was no phantom, but very early: the write comes in the end.
    group.insert(4)
    group.counts(by_producer=2, filled=2, phantom=1)
    group.holds(1, 2, 3, 4)
    assert group.bridge.terminate() == 0


def test_an_early_message_is_known_beyond_the_window(make):
    """A message without a write is found; the write comes when the server has forgotten the message's id."""
    group = make(stream={"duplicate_window": "1s"})
    group.bridge.start().wait_ready()
    group.dual()
    # It may belong to an event before the boundary, so it is none; and is known all the same.
    group.produce(1)
    judged(group)
    group.produce(2, 3)
    phantoms(group, 2)
    forgotten(group)
    group.insert(1, 2)
    group.counts(by_producer=2, phantom=2)
    group.holds(1, 2, 3)
    # And so it is by another leader.
    group.bridge.kill()
    group.bridge.start().wait_ready()
    group.insert(3)
    group.counts(by_producer=3, phantom=2)
    group.holds(1, 2, 3)
    assert group.bridge.terminate() == 0


def test_late_producers(make):
    """After the grace, the bridge was faster: the server says so. Long after it, a message is stored twice, which is
    said of it; and what was missed once committed is no longer missed when it comes."""
    group = make(stream={"duplicate_window": "6s"})
    group.bridge.start().wait_ready()
    group.dual()
    group.insert(1)
    group.counts(filled=1)
    assert group.produce(1)[0].duplicate
    forgotten(group, 6)
    group.produce(1)
    phantoms(group, 1)
    finding = next(f for f in group.status()["findings"] if f["kind"] == "phantom")
    assert finding["id"] == "1.created" and "twice" in finding["detail"]
    end = group.committable(10)
    group.command("commit", "--timeout", "20s")
    group.insert(1000, 1001)
    wait_until(lambda: group.status()["counts"]["missed"] == 2, "both are missed")
    group.produce(1000)
    wait_until(lambda: group.status()["counts"]["missed"] == 1, "one has come")
    late = [f for f in group.status()["findings"] if f["kind"] == "missed"]
    assert [f["id"] for f in late] == ["1001.created"]
    assert group.status()["counts"]["phantom"] == 0
    group.command("rollback")
    wait_until(lambda: group.filled() == [1, 1001], "1001 is filled in", seconds=20)
    ids = [m.id for m in group.jetstream.messages(group.name)]
    assert sorted(ids) == sorted(f"{n}.created" for n in [1, 1, *range(10, end), 1000, 1001])
    assert group.bridge.terminate() == 0


def test_lost_state(make):
    """The state bucket is deleted while the bridge runs: in dual, and once committed."""
    group = make(stream={"duplicate_window": "6s"})
    group.bridge.start().wait_ready()
    group.dual()
    group.insert(1, 2)
    group.produce(1)
    group.counts(by_producer=1, filled=1)
    forgotten(group, 6)
    group.jetstream.delete_stream(f"KV_STATE_{group.name}")
    group.insert(3, 4)
    group.produce(3)
    wait_until(lambda: group.filled() == [2, 4], "4 is filled in")
    wait_until(lambda: group.jetstream.state(f"KV_STATE_{group.name}"), "the bucket is there")
    # Nothing was counted twice.
    group.counts(by_producer=2, filled=2)
    end = group.committable(10)
    group.command("commit", "--timeout", "20s")
    wait_until(lambda: group.bridge.json("/status")[1]["cutover_groups"][0]["phase"] == "committed",
               "the bridge knows it")
    group.jetstream.delete_stream(f"KV_STATE_{group.name}")
    group.insert(1000)
    wait_until(lambda: group.jetstream.state(f"KV_STATE_{group.name}"), "the bucket is there")
    wait_until(lambda: group.status()["phase"] == "committed", "committed still")
    wait_until(lambda: group.status()["counts"]["missed"] == 1, "1000 is missed")
    group.holds(1, 2, 3, 4, *range(10, end))
    assert group.bridge.terminate() == 0


def test_expired_messages(make):
    """A rollback over what the stream no longer holds: nobody can tell who published that."""
    group = make(stream={"max_age": "6s", "duplicate_window": "6s"})
    group.bridge.start().wait_ready()
    group.dual()
    group.committable(10)
    group.command("commit", "--timeout", "20s")
    group.insert(*range(1000, 1010))
    group.produce(*range(1000, 1010))
    last = group.produce(1010)[0].seq
    group.insert(1010)
    wait_until(lambda: group.jetstream.state(group.name)["first_seq"] > last, "they have expired", seconds=30)
    done = group.command("rollback")
    assert "no longer holds" in done.stdout, done.stdout
    group.insert(2000)
    wait_until(lambda: group.filled() == [2000], "2000 is filled in", seconds=20)
    assert group.bridge.terminate() == 0


def test_gone_before_read(tmp_path, name):
    """While the network to NATS carries nothing, a small stream drops what producers have published, more than what was
    on its way to the bridge. The bridge can't publish it again, as the server has forgotten its ids. What nobody has
    published later is filled in as before."""
    # It has no fences: those would be the first that such a stream drops.
    with Lab(nats_version="2.10.26") as lab, closing(Proxy(lab.nats[0].port)) as proxy, \
            Group(lab, JetStream(lab.nats_url), tmp_path, name, stream={"max_msgs": 10, "duplicate_window": "1s"},
                  nats={"servers": [f"nats://127.0.0.1:{proxy.port}"]}) as group:
        group.bridge.start().wait_ready()
        group.dual()
        group.insert(1)
        group.produce(1)
        group.counts(by_producer=1)
        large = {"text": "x" * 300_000}
        proxy.cut()
        try:
            last = group.produce(*range(2, 72), **large)[-1].seq
            group.mongo[group.name].messages.insert_many([document(n) | large for n in range(2, 72)])
            forgotten(group)
        finally:
            proxy.mend()
        wait_until(lambda: group.status()["counts"]["by_producer"] >= 11, "what is there was compared")
        began = time.monotonic()
        wait_until(lambda: time.monotonic() > began + GRACE + 5, "the others are due")
        group.insert(100)
        wait_until(lambda: group.status()["counts"]["filled"] == 1, "100 is filled in", seconds=20)
        assert group.filled() == [100]
        assert group.jetstream.state(group.name)["last_seq"] == last + 1
        counts = group.status()["counts"]
        assert counts["by_producer"] < 71 and counts["missed"] == counts["phantom"] == 0, counts
        assert "too old to be filled in" in group.bridge.tail(1_000_000)
        assert group.bridge.terminate() == 0
