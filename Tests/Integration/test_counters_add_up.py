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
