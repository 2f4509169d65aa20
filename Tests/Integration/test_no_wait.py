"""`--no-wait` ends with 69 where a server can't be reached at the start, checkpoint or not."""

import pytest
from bridge import Bridge, configuration, wait_until
from jetstream import JetStream
from lab import Lab
from load import client, make_collections


@pytest.fixture(scope="module")
def servers():
    with Lab() as lab:
        yield lab


@pytest.mark.parametrize("reader", ["oplog", "change_stream"])
@pytest.mark.parametrize("down", ["mongod", "nats"])
def test_with_a_checkpoint(servers, tmp_path, name, down, reader):
    lab = servers
    make_collections(lab, name)
    jetstream = JetStream(lab.nats_url)
    with Bridge(tmp_path, configuration(lab, name, source={"reader": reader})) as bridge:
        bridge.start("--no-wait").wait_ready()
        with client(lab) as mongo:
            mongo[name].rooms.insert_one({"_id": 1})
        wait_until(lambda: jetstream.holds(name, 1), "a message")
        assert bridge.terminate() == 0
        lab.kill(down)
        try:
            assert bridge.run("--no-wait", seconds=30) == 69
        finally:
            lab.start(down)
            lab.wait(down)
