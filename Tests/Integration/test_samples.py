"""`tailrace validate --samples`: recorded events through the rules, without any server."""

import json

from bridge import Bridge, configuration, tailrace, wait_until
from load import Writer, client, make_collections, now


def samples(bridge, *arguments):
    done = tailrace("validate", "-c", bridge.file, "--samples", bridge.folder / "samples", *arguments)
    return done.returncode, done.stdout + done.stderr


def test_recorded_events(lab, jetstream, tmp_path, name):
    """What a running bridge publishes is what its recorded events become, transactions included."""
    import subprocess
    from bridge import BINARY
    from bson import json_util
    make_collections(lab, name)
    after = now(lab)
    folder = tmp_path / "samples"
    folder.mkdir()
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        with Writer(lab, name, seed=5, rate=500):
            wait_until(lambda: jetstream.holds(name, 300), "messages")
        with client(lab) as mongo:
            mongo[name].rooms.insert_one({"_id": "end"})
        wait_until(lambda: jetstream.messages(name)[-1].json["documentKey"]["_id"] == "end", "all",
                   every=0.3)
        assert bridge.terminate() == 0
        with client(lab) as mongo:
            lines = [json_util.dumps(entry, json_options=json_util.CANONICAL_JSON_OPTIONS)
                     for entry in mongo.local["oplog.rs"].find({"ts": {"$gt": after}})]
        decoded = subprocess.run([BINARY, "decode"], input="\n".join(lines), text=True,
                                 capture_output=True, check=True).stdout
        (folder / "chat.events.json").write_text(decoded)

        assert samples(bridge)[0] == 1, "nothing is recorded yet"
        code, said = samples(bridge, "--write")
        assert code == 0 and said.startswith("written"), said
        assert samples(bridge) == (0, said.replace("written", "ok     ", 1))
        recorded = [json.loads(line)
                    for line in (folder / "chat.messages.json").read_text().splitlines()]
        published = [{"subject": m.subject, "headers": m.headers, "body": m.json}
                     for m in jetstream.messages(name)]
        ours = [{**m, "headers": m["headers"]} for m in recorded]
        for theirs in published:
            for header in [h for h in theirs["headers"] if h.startswith("Nats-") and h != "Nats-Msg-Id"]:
                del theirs["headers"][header]
        assert ours == published


def test_differences(lab, tmp_path, name):
    folder = tmp_path / "samples"
    folder.mkdir()
    event = {"operationType": "insert", "clusterTime": {"$timestamp": {"t": 5, "i": 1}},
             "ns": {"db": name, "coll": "rooms"}, "documentKey": {"_id": "a"},
             "fullDocument": {"_id": "a", "n": {"$numberInt": "1"}}}
    (folder / "one.events.json").write_text(json.dumps(event) + "\n" + json.dumps(event) + "\n")
    bridge = Bridge(tmp_path, configuration(lab, name))
    assert samples(bridge, "--write")[0] == 0
    messages = (folder / "one.messages.json").read_text().splitlines()
    assert [json.loads(line)["headers"]["Nats-Msg-Id"] for line in messages] \
        == ["rs0:5.1.0", "rs0:5.1.1"]
    other = Bridge(tmp_path, configuration(lab, name, rule={"subject": name + ".{ns.coll}.other"}))
    code, said = samples(other)
    assert code == 1 and "DIFFERS" in said and "rooms.other" in said and "rooms.insert" in said
    (folder / "one.messages.json").write_text("\n".join(messages + messages[:1]))
    bridge = Bridge(tmp_path, configuration(lab, name))
    code, said = samples(bridge)
    assert code == 1 and "message 3" in said and "now       nothing" in said
    (folder / "one.events.json").write_text("{")
    code, said = samples(bridge)
    assert code == 1 and "line 1" in said
    code, said = samples(bridge, "--json")
    assert code == 1
