"""Producers as docs/cutover.md has them, through a whole cut-over."""

import asyncio

import nats
import pytest
from bridge import wait_until
from producer import Producer
from test_cutover import Group, document

SCHEMA = {
    "type": "object", "required": ["_id", "room", "text"],
    "properties": {"_id": {"type": "integer"}, "room": {"type": "string"}, "text": {"type": "string"}},
}


@pytest.fixture
def group(lab, jetstream, tmp_path, name):
    with Group(lab, jetstream, tmp_path, name) as group:
        yield group


def test_python(group):
    group.bridge.start().wait_ready()
    group.dual()

    async def work():
        connection = await nats.connect(group.jetstream.servers)
        producer = Producer(connection.jetstream(), SCHEMA, group.name + ".{room}.created")
        for number in range(100):
            group.insert(number)
            assert await producer.created(document(number))
            # It doesn't know whether its ack was lost, and tries again.
            if number % 10 == 0:
                assert not await producer.created(document(number))
        with pytest.raises(Exception, match="string"):
            await producer.created(document(1000, text=5))
        await connection.close()

    asyncio.run(work())
    group.counts(by_producer=100)
    group.holds(*range(100))
    wait_until(lambda: group.status()["can_commit"], "no blockers")
    group.command("commit")
    assert group.bridge.terminate() == 0
