"""Epochs end in the middle of events that several rules take: the outcomes add up to the events derived."""

import pytest
from bridge import Bridge, configuration, wait_until
from jetstream import JetStream
from load import client, make_collections


def rules(name, letters):
    return [
        {"name": "created", "match": {"namespace": f"{name}.*", "operations": ["insert"]},
         "subject": f"{name}.created", "id": "{documentKey._id}.created", "continue": True},
        {"name": "changed", "subject": f"{name}.changed",
         "match": {"namespace": f"{name}.*", "operations": ["update", "replace", "delete"]}},
        {"name": "audit", "match": {"namespace": f"{name}.*", "operations": ["insert"]},
         "subject": f"{name}.audit" + (".{fullDocument.none}" if letters else "")},
    ]


@pytest.mark.parametrize("every", [3, 10])
@pytest.mark.parametrize("letters", [False, True], ids=["stored", "letters"])
def test_conflicts(lab, name, tmp_path, every, letters):
    """Each id that comes again ends an epoch; the further rules' matches are counted once."""
    settings = configuration(lab, name, stream={"name": name, "subjects": [f"{name}.>"]})
    settings["rules"] = rules(name, letters)
    for each in settings["rules"]:
        each["stream"] = name
    make_collections(lab, name)
    jetstream = JetStream(lab.nats_url)
    inserts = deletes = 0
    with Bridge(tmp_path, settings) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        for n in range(40):
            mongo[name].messages.insert_one({"_id": n})
            inserts += 1
            if n % every == every - 1:
                mongo[name].messages.delete_one({"_id": n})
                mongo[name].messages.insert_one({"_id": n, "again": True})
                inserts, deletes = inserts + 1, deletes + 1
        total = 2 * inserts + deletes

        def settled():
            counts = bridge.json("/status")[1]["outcomes"]
            return sum(counts.values()) >= total and counts

        counts = wait_until(settled, f"{total} outcomes", seconds=40)
        assert sum(counts.values()) == total, counts
        assert bridge.metric("tailrace_events_derived_total") == total
        text = bridge.get("/metrics")[1]
        invalid = [float(line.split()[1]) for line in text.splitlines()
                   if line.startswith("tailrace_rule_invalid_total{") and 'rule="audit"' in line]
        assert invalid == [inserts if letters else 0]
        assert jetstream.state(name)["messages"] == total - counts["dead_lettered"]


def test_listed_dead_letters(lab, name, tmp_path):
    """A dead-letter stream is one whether the configuration lists it or not: its letters are counted
    as such, and have the protocol for letters."""
    settings = configuration(lab, name, stream={"name": name, "subjects": [f"{name}.>"]})
    settings["rules"][0]["subject"] = f"{name}.{{fullDocument.none}}"
    letters = settings["dead_letter"]["stream"]
    settings["streams"].append(
        {"name": letters, "subjects": [f"dlq_{name}.>"], "ownership": "shared"})
    make_collections(lab, name)
    with Bridge(tmp_path, settings) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        for n in range(5):
            mongo[name].messages.insert_one({"_id": n})
        jetstream = JetStream(lab.nats_url)
        wait_until(lambda: jetstream.holds(letters, 5), "5 dead letters", seconds=20)
        counts = wait_until(
            lambda: (found := bridge.json("/status")[1]["outcomes"])["dead_lettered"] >= 5
            and found, "5 dead letters counted", seconds=20)
        assert (counts["dead_lettered"], counts["published"]) == (5, 0), counts
        modes = {stream["name"]: stream for stream in bridge.json("/status")[1]["streams"]}
        assert modes[letters]["protocol"] == "single", modes


def test_refilled_by_another_process(lab, name, tmp_path):
    """What a process publishes again that it never derived before was another's to count."""
    settings = configuration(lab, name)
    make_collections(lab, name)
    jetstream = JetStream(lab.nats_url)
    with Bridge(tmp_path, settings) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        mongo[name].messages.insert_many([{"_id": n} for n in range(20)])
        wait_until(lambda: jetstream.state(name)["messages"] == 20, "20 messages", seconds=20)
        # The next process begins behind all of the stream's events.
        mongo[f"{name}_other"].messages.insert_one({"_id": 20})
        wait_until(lambda: bridge.metric("tailrace_events_derived_total") > 20, "21 events",
                   seconds=20)
        bridge.terminate()
        bridge.start().wait_ready()
        wait_until(lambda: bridge.metric("tailrace_events_derived_total") > 0, "read again",
                   seconds=20)
        jetstream.delete_stream(name)
        wait_until(lambda: (jetstream.state(name) or {}).get("messages") == 20, "refilled",
                   seconds=40)
        mongo[name].messages.insert_one({"_id": 21})
        wait_until(lambda: jetstream.state(name)["messages"] == 21, "21 messages", seconds=20)
        derived = wait_until(
            lambda: (found := bridge.metric("tailrace_events_derived_total")) >= 2 and found,
            "two events derived", seconds=20)
        status = bridge.json("/status")[1]
        assert sum(status["outcomes"].values()) == derived, status["outcomes"]
