"""The checker itself must be able to fail: each kind of damage is found and named."""

import json

from jetstream import Message
from load import Event, complain


def stored(sequence, event):
    position = ".".join(map(str, event.position))
    body = {"operationType": event.operation, "documentKey": {"_id": event.key}}
    return Message(sequence, f"x.{event.collection}.{event.operation}",
                   {"Nats-Msg-Id": f"rs0:{position}", "Tailrace-Position": position},
                   json.dumps(body).encode())


EVENTS = [Event((100, 1 + i // 2, i % 2), "insert", "rooms", f"k{i}") for i in range(10)]
STREAM = [stored(i + 1, event) for i, event in enumerate(EVENTS)]


def test_intact():
    assert complain(EVENTS, STREAM) == ""


def test_lost():
    assert "1 lost" in complain(EVENTS, STREAM[:4] + STREAM[5:])
    assert "1 lost" in complain(EVENTS, STREAM[:-1])


def test_doubled():
    assert "1 doubled" in complain(EVENTS, STREAM[:5] + STREAM[4:])


def test_out_of_order():
    swapped = STREAM[:3] + [STREAM[4], STREAM[3]] + STREAM[5:]
    assert "1 out of order" in complain(EVENTS, swapped)


def test_phantom():
    extra = stored(11, Event((101, 1, 0), "delete", "rooms", "k1"))
    assert "1 not in the oplog" in complain(EVENTS, [*STREAM, extra])


def test_altered():
    other = stored(3, Event(EVENTS[2].position, "delete", "rooms", EVENTS[2].key))
    complaint = complain(EVENTS, STREAM[:2] + [other] + STREAM[3:])
    assert "1 lost" in complaint and "1 not in the oplog" in complaint
