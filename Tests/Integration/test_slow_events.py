"""Events that each take much of what an event may take, one behind the other: the bridge answers its server
meanwhile."""

import re

import pytest
from bridge import Bridge, configuration, wait_until
from jetstream import JetStream
from lab import Lab
from load import client, make_collections

EVENTS = 800


def unmatched(bridge):
    found = re.search(r'^tailrace_events_total\{outcome="unmatched"\} (\d+)',
                      bridge.get("/metrics")[1], re.MULTILINE)
    return int(found[1]) if found else 0


@pytest.mark.parametrize("lookup", ["off", "when_available"])
def test_the_server_is_answered(tmp_path, name, lookup):
    """nats-server drops a client that does not answer two PINGs in a row."""
    with Lab(nats_conf='ping_interval: "1s"\nping_max: 2') as lab:
        make_collections(lab, name)
        rule = {"match": {"namespace": f"{name}.*",
                          "where": {"fullDocument.t": {"$regex": "^(?=(a*)(a*)b)c"}}},
                "payload": {"full_document": lookup}}
        with Bridge(tmp_path, configuration(lab, name, rule=rule)) as bridge:
            bridge.start().wait_ready()
            with client(lab) as mongo:
                mongo[name].rooms.insert_many([{"_id": n, "t": "a" * 250} for n in range(EVENTS)])
            wait_until(lambda: unmatched(bridge) >= EVENTS, "all events are judged")
            assert bridge.json("/status")[1]["connection_epoch"] == 1
            assert not JetStream(lab.nats_url).messages(f"DLQ_{name}")
            assert bridge.terminate() == 0
