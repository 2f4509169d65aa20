"""A stream is deleted under a running bridge, and somebody else may make it again before the bridge
notices: what it lost is published again, once."""

import pytest

from bridge import wait_until
from ids import checkpointed
from several import exact


def loss(bridge):
    return bridge.metric("tailrace_messages_lost_by_server_total")


@pytest.mark.parametrize("later", [0, 1], ids=["idle", "busy"])
@pytest.mark.parametrize("shared", [False, True], ids=["letters", "stream"])
@pytest.mark.parametrize("others", [2, 9], ids=["shorter", "longer"])
def test_by_another(jetstream, sides, shared, others, later):
    """Sequence 5 of the stream made again is another's message, or does not exist yet."""
    a, b = sides("a", shared=shared), sides("b", shared=shared)
    kind = {"valid" if shared else "invalid": 1}
    stream = a.stream if shared else f"DLQ_{a.name}"
    for side in (a, b):
        side.bridge.start().wait_ready()
    for _ in range(5):
        a.insert(**kind)
    a.settled(jetstream)
    b.insert(**kind)
    b.settled(jetstream)
    for side in (a, b):
        checkpointed(side.lab, side.bridge)
    jetstream.delete_stream(stream)
    for _ in range(others):
        b.insert(**kind)
    for _ in range(later):
        a.insert(**kind)
    for side in (a, b):
        made_again(jetstream, side, "good" if shared else "bad")
        assert loss(side.bridge), "a loss that nobody counted"
    if not later:
        exact(jetstream, a)
    # Nothing of it comes back later.
    for side in (a, b):
        assert side.bridge.terminate() == 0
        side.insert(**kind)
        side.bridge.start().wait_ready()
        made_again(jetstream, side, "good" if shared else "bad")


def made_again(jetstream, side, kind):
    """Everything is there once. What came before the loss was noticed may come first."""
    truth = side.truth(kind)
    wait_until(lambda: side.bridge.alive() and len(side.stored(jetstream, kind)) >= len(truth),
               f"{len(truth)} of {side.database}", 40, every=0.2)
    found = [message.position for message in side.stored(jetstream, kind)]
    assert sorted(found) == sorted(truth), f"{len(found)} for {len(truth)} events"


@pytest.mark.parametrize("what", ["letters", "stream", "exclusive"])
def test_under_an_idle_bridge(jetstream, sides, what):
    """Nothing happens, and the stream is made again nevertheless, with what it had."""
    a = sides("a", shared=what == "stream")
    a.bridge.start().wait_ready()
    a.insert(valid=3, invalid=3)
    exact(jetstream, a)
    checkpointed(a.lab, a.bridge)
    jetstream.delete_stream(f"DLQ_{a.name}" if what == "letters" else a.stream)
    exact(jetstream, a)
    assert loss(a.bridge)
