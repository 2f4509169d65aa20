"""Dead letters of documents that look like Extended JSON, or are as deep as BSON may be: what is replayed is
what would have been published; a letter that can't be read keeps no other from its replay."""

import base64
import json

import bson
from bridge import Bridge, configuration, wait_until
from load import client, make_collections
from test_dlq import dlq, lines, reconfigure

ODD = [
    {"filter": {"$regex": "^a", "$options": "i"}},
    {"ref": {"$oid": "56e1fc72e0c917e9c4714161"}},
    {"ref": {"$oid": "not hex"}},
    {"when": {"$date": "2024-11-23T00:00:00Z"}, "n": {"$numberLong": "5"}},
    {"bytes": {"$binary": "AA==", "$type": "00"}},
    {"list": [{"$minKey": 1}, {"$code": "f()", "$scope": {}}, {"$uuid": "x"}]},
    {"kind": {"$type": "string"}, "link": {"$ref": "rooms", "$id": 1}},
    {"plain": True},
]


def raw(mongo, name, document):
    """Inserts what drivers would refuse or change."""
    mongo[name].command({"insert": "messages", "documents": [bson.SON(document)]})


def test_documents_that_look_like_values(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    whole = configuration(lab, name, rule={"subject": name + ".{fullDocument.rid}",
                                           "payload": {"json": "canonical"}})
    with Bridge(tmp_path, whole) as bridge:
        bridge.start().wait_ready()
        with client(lab) as mongo:
            for number, odd in enumerate(ODD):
                raw(mongo, name, {"_id": number, **odd})
        wait_until(lambda: jetstream.holds(f"DLQ_{name}", len(ODD)), "dead letters")
        assert bridge.terminate() == 0
        for letter, odd in zip(jetstream.messages(f"DLQ_{name}"), ODD):
            told = json.loads(letter.body)["fullDocument"]
            if "$binary" in told:
                told = bson.decode(base64.b64decode(told["$binary"]["base64"]))
                del told["_id"]
                assert told == odd
            else:
                assert odd in (ODD[6], ODD[7])
        # Somebody's own message, which passes for a letter, between them.
        jetstream.publish(f"dlq_{name}.all", b"no JSON", {
            "Tailrace-Position": "1.1.0", "Tailrace-Error": "path_missing", "Tailrace-Rule": "all",
            "Tailrace-Bridge": name, "Nats-Msg-Id": "strange"})
        with client(lab) as mongo:
            bridge.start().wait_ready()
            raw(mongo, name, {"_id": 99, "last": True})
            wait_until(lambda: jetstream.holds(f"DLQ_{name}", len(ODD) + 2), "one letter more")
            assert bridge.terminate() == 0
        better = configuration(lab, name, http=whole["http"],
                               rule={"payload": {"json": "canonical"}})
        reconfigure(bridge, better)
        told = lines(dlq(bridge, "replay", "--all", "--json", code=1))
        assert [t["outcome"] for t in told] == ["published"] * len(ODD) + ["invalid", "published"]
        assert told[len(ODD)]["error"] == "unreadable"
        bodies = [json.loads(m.body) for m in jetstream.messages(name)]
        for number, odd in enumerate(ODD):
            shown = bodies[number]["fullDocument"]
            assert shown.pop("_id") == {"$numberInt": str(number)}
            if odd is not ODD[6] and odd is not ODD[7]:
                assert shown == odd or "list" in odd, shown
        assert bodies[-1]["documentKey"] == {"_id": {"$numberInt": "99"}}
        assert len(lines(dlq(bridge, "list", "--json"))) == 1


def test_deep_letters_have_a_namespace(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    whole = configuration(lab, name, rule={"subject": name + ".{fullDocument.rid}"})
    with Bridge(tmp_path, whole) as bridge:
        bridge.start().wait_ready()
        deep = {"x": 1}
        for _ in range(175):
            deep = {"a": deep}
        with client(lab) as mongo:
            mongo[name].messages.insert_one({"_id": 1, "deep": deep})
        wait_until(lambda: jetstream.holds(f"DLQ_{name}", 1), "a dead letter")
        assert len(lines(dlq(bridge, "list", "--json", "--namespace", f"{name}.messages"))) == 1
        assert lines(dlq(bridge, "list", "--json"))[0]["namespace"] == f"{name}.messages"
        dlq(bridge, "drop", "--namespace", f"{name}.messages")
        assert dlq(bridge, "list") == ""
        assert bridge.terminate() == 0
