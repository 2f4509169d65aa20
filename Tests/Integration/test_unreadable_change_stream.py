"""A replacement with a field `$v`, which mongod's own change stream fails on: the reader ends and says so,
and the oplog reader goes past it."""

import json

import pytest
from bridge import Bridge, configuration
from load import client, make_collections, now, settle


@pytest.mark.parametrize("value", ["x", 2])
def test_the_reader_ends_and_says_so(lab, jetstream, tmp_path, name, value):
    make_collections(lab, name)
    after = now(lab)
    with client(lab) as mongo:
        messages = mongo[name].messages
        messages.insert_one({"_id": 1})
        field = {"$setField": {"field": {"$literal": "$v"}, "input": {"_id": 1}, "value": value}}
        messages.update_one({"_id": 1}, [{"$replaceWith": field}])
        messages.insert_one({"_id": 2})
    settle(lab)
    whole = configuration(lab, name, source={"reader": "change_stream"})
    with Bridge(tmp_path, whole) as bridge:
        assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 78
        assert "can't be read through a change stream" in bridge.tail(), bridge.tail()
        assert "source.reader: oplog" in bridge.tail()
        assert len(jetstream.messages(name)) <= 1, "nothing behind it"
        bridge.configuration["source"]["reader"] = "oplog"
        bridge.file.write_text(json.dumps(bridge.configuration))
        assert bridge.run("--until", "now") == 0
        bodies = [json.loads(m.body) for m in jetstream.messages(name)]
        assert [b["operationType"] for b in bodies] == ["insert", "replace", "insert"]
        assert bodies[1]["fullDocument"] == {"_id": 1, "$v": value}
        # And the change stream continues behind it.
        with client(lab) as mongo:
            mongo[name].messages.insert_one({"_id": 3})
        settle(lab)
        bridge.configuration["source"]["reader"] = "change_stream"
        bridge.file.write_text(json.dumps(bridge.configuration))
        assert bridge.run("--until", "now") == 0
        assert len(jetstream.messages(name)) == 4
