"""Somebody publishes to a stream that is said to be the bridge's alone, with headers like the bridge's
own: a copy of another set's message, or one of a position that nobody has yet. What they say of
themselves proves nothing: no event is taken for stored because of them."""

import pytest

from bridge import Bridge, configuration, wait_until
from load import client, expected, make_collections, now, observed

FAR = "4000000000.1.0"


def soon(lab):
    """A position that the oplog hasn't come to, but will."""
    return f"{now(lab).time}.99999.0"


@pytest.mark.parametrize("publish", ["chain", "fast", "atomic"])
@pytest.mark.parametrize("source, position", [
    pytest.param("another", FAR, id="other_far"),
    pytest.param("another", soon, id="other_soon"),
    pytest.param("rs0", FAR, id="own_far"),
])
@pytest.mark.parametrize("moment", ["running", "between"])
def test_likeness(lab, jetstream, tmp_path, name, moment, source, position, publish):
    make_collections(lab, name)

    def forge():
        place = position if position is FAR else position(lab)
        jetstream.publish(f"{name}.rooms.insert", b'{"operationType":"insert"}', {
            "Nats-Msg-Id": f"{source}:{place}", "Tailrace-Position": place, "Tailrace-Rule": "all"})

    def insert(first):
        with client(lab) as mongo:
            for key in range(first, first + 20):
                mongo[name].rooms.insert_one({"_id": key})

    after = now(lab)
    with Bridge(tmp_path, configuration(lab, name, stream={"publish": publish})) as bridge:
        bridge.start().wait_ready()
        insert(0)
        wait_until(lambda: jetstream.holds(name, 20), "the first ones")
        if moment == "between":
            assert bridge.terminate() == 0
            forge()
            insert(100)
            bridge.start().wait_ready()
        else:
            forge()
            insert(100)
        wait_until(lambda: bridge.alive() and jetstream.holds(name, 41), "all of them")
        insert(200)
        wait_until(lambda: bridge.alive() and jetstream.holds(name, 61), "what came later")
        truth = expected(lab, name, after)
        forged = [m for m in jetstream.messages(name) if b'{"operationType":"insert"}' == m.body]
        ours = [m for m in jetstream.messages(name) if m.sequence != forged[0].sequence]
        assert len(forged) == 1 and sorted(observed(ours)) == sorted(truth)
        wait_until(lambda: bridge.get("/healthz")[0] == 200, "health")
        if source == "rs0":
            assert "is not counted as the bridge's" in bridge.tail()
        assert bridge.terminate() == 0
