"""Somebody else publishes to a stream that is said to be the bridge's alone: nothing is lost or
doubled, whatever the pipeline held at that moment and however the bridge was stopped by it, and
where the protocol asserts more than a sequence, the order holds too."""

import re
import time
from collections import Counter

import pytest
from bridge import Bridge, configuration, wait_until
from jetstream import JetStream
from lab import Lab
from load import Writer, client, expected, make_collections, now, observed, settle
from proxy import Proxy


def stored_once(jetstream, name, truth):
    """The bridge's events in the order of the stream; none lacks, none is there twice."""
    ours = [m for m in jetstream.messages(name) if ".foreign." not in m.subject]
    doubled = [key for key, n in Counter(m.id for m in ours).items() if n > 1]
    assert not doubled
    events = observed(ours)
    assert sorted(events) == truth
    return events


@pytest.mark.parametrize("publish, servers", [
    pytest.param("chain", 1, id="chain"),
    pytest.param("chain", 3, id="chain of three"),
    pytest.param("fast", 1, id="fast"),
    pytest.param("atomic", 1, id="atomic"),
])
def test_foreign_message(tmp_path, name, publish, servers):
    with Lab(nats=servers) as lab:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        stream = {"publish": publish, "num_replicas": servers}
        with Bridge(tmp_path, configuration(lab, name, stream=stream)) as bridge:
            bridge.start().wait_ready()
            after = now(lab)
            with Writer(lab, name, seed=servers, rate=3000) as writer:
                for number in range(12):
                    time.sleep(0.15)
                    for _ in range(5):
                        jetstream.publish(f"{name}.foreign.{number}", b"{}")
            assert writer.written > 0
            truth = expected(lab, name, after)
            wait_until(lambda: jetstream.holds(name, len(truth) + 60), "everything is published")
            events = stored_once(jetstream, name, truth)
            if servers == 1:
                assert events == truth, "the order holds"
            bridge.alive()
            assert bridge.terminate() == 0


class Intruder:
    """Publishes a message between two of ours that are on their way: the next one is refused,
    and those behind it are stored, of which the bridge hears nothing."""

    def __init__(self, proxy, jetstream, name):
        self.proxy, self.jetstream, self.name = proxy, jetstream, name
        self.published = None

    def arm(self):
        self.proxy.pieces = self.pieces

    def pieces(self, data):
        starts = [found.start() for found in re.finditer(b"HPUB %b[.]" % self.name.encode(), data)]
        if self.published or len(starts) < 6:
            return [data]
        self.proxy.answering.clear()
        return self.between(data, starts[2])

    def between(self, data, at):
        yield data[:at]
        # They are stored by then: what a stream's leader got later is behind it.
        wait_until(lambda: self.jetstream.holds(self.name, self.before + 2), "two of ours")
        self.published = self.jetstream.publish(f"{self.name}.foreign.1", b"{}")["seq"]
        yield data[at:]


def counted(bridge):
    """How many events were derived, once each has an outcome; 0 before."""
    derived = bridge.metric("tailrace_events_derived_total")
    outcomes = bridge.json("/status")[1].get("outcomes", {})
    return derived if derived == sum(outcomes.values()) else 0


@pytest.mark.parametrize("publish, servers, is_lost", [
    pytest.param("chain", 3, "connection", id="connection of three"),
    pytest.param("chain", 3, "acks", id="acks of three"),
    pytest.param("chain", 3, "process", id="killed of three"),
    pytest.param("chain", 3, "beginning", id="killed at the beginning of three"),
    pytest.param("chain", 3, "checkpoint", id="killed of three, checkpoint lost"),
    pytest.param("chain", 3, "patience", id="stopped of three"),
    pytest.param("chain", 1, "process", id="killed"),
])
def test_foreign_message_unheard(tmp_path, name, publish, servers, is_lost):
    with Lab(nats=servers) as lab:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        proxy = Proxy(lab.nats[0].port)
        stream = {"publish": publish, "num_replicas": servers}
        whole = configuration(lab, name, stream=stream,
                              nats={"servers": [f"nats://127.0.0.1:{proxy.port}"]})
        with Bridge(tmp_path, whole) as bridge, client(lab) as mongo:
            collection = mongo[name]["messages"]
            bridge.start().wait_ready()
            after = now(lab)
            if is_lost != "beginning":
                collection.insert_one({"_id": "first"})
                wait_until(lambda: jetstream.holds(name, 1), "the first")
            intruder = Intruder(proxy, jetstream, name)
            intruder.before = jetstream.last_sequence(name)
            intruder.arm()
            documents = [{"_id": number, "text": "x" * 100} for number in range(300)]
            # Behind a stream's first message nothing is sent of a further entry: it is one entry.
            with mongo.start_session() as session, session.start_transaction():
                collection.insert_many(documents, session=session)
            settle(lab)
            wait_until(lambda: intruder.published, "somebody else's message is between ours")
            if servers > 1:
                wait_until(lambda: jetstream.holds(name, intruder.published + 2), "later ones")
            if is_lost in ("process", "beginning", "checkpoint"):
                bridge.kill()
                if is_lost == "checkpoint":
                    jetstream.delete_stream(f"KV_STATE_{name}")
            elif is_lost == "patience":
                assert bridge.terminate() == 0
            elif is_lost == "connection":
                proxy.drop()
            else:
                wait_until(lambda: "no ack for" in bridge.tail(20000), "the bridge waits no longer")
            proxy.mend()
            if bridge.process.poll() is not None:
                bridge.start()
            truth = expected(lab, name, after)
            wait_until(lambda: jetstream.holds(name, len(truth) + 1), "everything is published")
            bridge.wait_ready()
            wait_until(lambda: counted(bridge) >= 300, "each event has its outcome")
            assert bridge.terminate() == 0
            events = stored_once(jetstream, name, truth)
            if servers == 1:
                assert events == truth, "the order holds"
            else:
                assert events != truth, "there was no gap: the test shows nothing"
                assert "out of order" in bridge.tail(20000)
