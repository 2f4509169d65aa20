"""Streams of different pace: the busy one must not starve the quiet one."""

import pytest
from bridge import OPERATIONS, Bridge, configuration
from load import client, now


@pytest.mark.parametrize("quiet", ["fast", "atomic", "chain"])
def test_a_quiet_stream_beside_a_long_backlog(lab, jetstream, tmp_path, name, quiet):
    """A few events go to the second stream while the first, one message at a time, is busy for
    seconds. Their acks must come meanwhile: a batch left open until the backlog's end would count
    as unanswered and end the epoch."""
    second = f"{name}_quiet"
    changes = configuration(lab, name, stream={"publish": "single"})
    began = now(lab)
    changes["source"]["start"] = f"{began.time}.{began.inc}"
    changes["streams"].append(
        {"name": second, "subjects": [f"{second}.>"], "publish": quiet})
    changes["rules"].insert(0, {
        "name": "quiet", "match": {"namespace": f"{name}.quiet", "operations": OPERATIONS},
        "subject": second + ".{operationType}", "stream": second})
    busy, every = 40_000, 4_000
    with client(lab) as mongo:
        for start in range(0, busy, every):
            mongo[name].busy.insert_many([{"_id": start + n} for n in range(every)])
            mongo[name].quiet.insert_one({"_id": start})
    with Bridge(tmp_path, changes) as bridge:
        assert bridge.run("--until", "now", seconds=120) == 0
        assert "publishing stopped" not in bridge.log.read_text()
    assert [message.json["documentKey"]["_id"] for message in jetstream.messages(second)] == list(
        range(0, busy, every))
    assert jetstream.last_sequence(name) == busy
