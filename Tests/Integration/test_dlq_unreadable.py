"""Dead letters that say too little of themselves: of other versions, damaged, made by hand. They are seen for
what they are, hold up no other letter, and can be dropped; other producers' messages are nobody's letters."""

import json

from bridge import Bridge, configuration
from load import make_collections
from test_dlq import by_room, dlq, fill, lines, reconfigure

ESCAPE = "\x1b[31m\x9b"


def damage(jetstream, name):
    """By name: the sequences of what is put behind the letters."""
    template = jetstream.messages(f"DLQ_{name}")[0]
    subject = template.subject
    assert {"Tailrace-Position", "Tailrace-Rule", "Tailrace-Bridge"} <= template.headers.keys()

    def publish(without=(), body=template.body, **changes):
        headers = {key: value for key, value in template.headers.items()
                   if key not in (*without, "Nats-Msg-Id")}
        return put(headers | {key.replace("_", "-"): value for key, value in changes.items()}, body)

    def put(headers, body=b"{}"):
        return jetstream.publish(subject, body, headers or None)["seq"]

    return {
        "no_position": publish(without=["Tailrace-Position"]),
        "bad_position": publish(Tailrace_Position="soon"),
        "no_rule": publish(without=["Tailrace-Rule"]),
        "no_error": publish(without=["Tailrace-Error", "Tailrace-Error-Detail"]),
        "only_bridge": put({"Tailrace-Bridge": name}, b"\xff not JSON \x1b[2J"),
        "hand_made": put({"Tailrace-Error": "odd", "Tailrace-Error-Detail": f"x{ESCAPE}y"}),
        "only_rule": put({"tailrace-rule": "all"}),
        "other_bridge": publish(without=["Tailrace-Position"], Tailrace_Bridge="another"),
        "producer": put({"Nats-Msg-Id": "theirs"}, b'{"order": 1}'),
        "plain": put({}, b"hello"),
    }


def test_unreadable_letters(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, by_room(lab, name)) as bridge:
        fill(lab, jetstream, bridge, name)
        assert bridge.terminate() == 0
        made = damage(jetstream, name)
        theirs = {made["producer"], made["plain"]}
        own = ["no_position", "bad_position", "no_rule", "no_error", "only_bridge"]

        listed = {letter["sequence"]: letter for letter in lines(dlq(bridge, "list", "--json"))}
        assert set(listed) == set(range(1, 11)) | set(made.values()) - theirs
        assert all(listed[sequence]["unreadable"] == [] for sequence in range(1, 11))
        for what, lacks in [
            ("no_position", ["Tailrace-Position is missing"]),
            ("bad_position", ["Tailrace-Position is 'soon', no position"]),
            ("no_rule", ["Tailrace-Rule is missing"]),
            ("no_error", ["Tailrace-Error is missing"]),
            ("only_bridge", ["Tailrace-Position is missing", "Tailrace-Rule is missing",
                             "Tailrace-Error is missing"]),
            ("hand_made", ["Tailrace-Position is missing", "Tailrace-Rule is missing"]),
        ]:
            assert listed[made[what]]["unreadable"] == lacks
        for what in ["no_position", "bad_position", "only_bridge", "hand_made"]:
            assert listed[made[what]]["position"] is None
        assert listed[made["hand_made"]]["detail"] == f"x{ESCAPE}y"
        assert {what: listed[made[what]]["bridge"] for what in own} == dict.fromkeys(own, name)

        text = dlq(bridge, "list")
        assert "\x1b" not in text and "\x9b" not in text
        rows = {int(row.split("  ")[0]): row.split("  ") for row in text.splitlines()}
        assert rows[made["only_bridge"]][2:7] == ["-", name, "-", "-", "-"]
        assert "Tailrace-Position is missing" in rows[made["only_bridge"]][-1]
        assert f"dlq_{name}." in rows[made["only_bridge"]][-1]
        # A position that can't be told is in no range.
        assert not {letter["sequence"] for letter in lines(dlq(bridge, "list", "--json", "--from", "1.1"))} \
            & {made["no_position"], made["bad_position"]}

        shown = dlq(bridge, "show", str(made["hand_made"]))
        assert "Tailrace-Error-Detail: x\\u{1B}[31m\\u{9B}y" in shown and "\x1b" not in shown
        shown = dlq(bridge, "show", str(made["only_bridge"]))
        assert "not JSON \\u{1B}[2J" in shown and "\x1b" not in shown
        shown = json.loads(dlq(bridge, "show", str(made["only_bridge"]), "--json"))
        assert shown["event"] is None and "not JSON" in shown["body"]
        dlq(bridge, "show", str(made["plain"]), code=1)

        reconfigure(bridge, configuration(lab, name))
        outcomes = lines(dlq(bridge, "replay", "--all", "--json", code=1))
        assert [o["outcome"] for o in outcomes] == ["published"] * 10 + ["invalid"] * len(own)
        assert {o["sequence"]: o["error"] for o in outcomes[10:]} \
            == {made[what]: "unreadable" for what in own}
        assert "Tailrace-Rule is missing" in outcomes[12]["detail"]
        assert jetstream.state(f"DLQ_{name}")["messages"] == len(made), "they stay"
        assert bridge.run("--until", "now") == 0

        def left():
            return {message.sequence for message in jetstream.messages(f"DLQ_{name}")}

        dlq(bridge, "drop", "--sequence", str(made["hand_made"]))
        dlq(bridge, "drop", "--sequence", str(made["plain"]), "--unnamed")
        assert left() == set(made.values()), "they name no bridge, or are no letters"
        dlq(bridge, "drop", "--sequence", str(made["no_position"]))
        dlq(bridge, "drop", "--sequence", str(made["hand_made"]), "--unnamed")
        assert left() == set(made.values()) - {made["no_position"], made["hand_made"]}
        dlq(bridge, "drop", "--all")
        assert left() == {made["only_rule"], made["other_bridge"]} | theirs
        dlq(bridge, "drop", "--all", "--unnamed")
        assert left() == {made["other_bridge"]} | theirs
        dlq(bridge, "drop", "--bridge", "another", "--sequence", str(made["other_bridge"]))
        assert left() == theirs


def test_letters_among_messages(lab, jetstream, tmp_path, name):
    """One stream for messages and letters: a message is no letter, and lacks nothing."""
    make_collections(lab, name)
    whole = by_room(lab, name, stream={"subjects": [f"{name}.>", f"dlq_{name}.*"]})
    whole["dead_letter"]["stream"] = name
    with Bridge(tmp_path, whole) as bridge:
        bridge.start().wait_ready()
        from load import client
        from bridge import wait_until
        with client(lab) as mongo:
            mongo[name].rooms.insert_many([{"_id": 0, "rid": "a"}, {"_id": 1}, {"_id": 2, "rid": "b"}])
        wait_until(lambda: jetstream.holds(name, 3), "all of them")
        assert bridge.terminate() == 0
        jetstream.publish(f"dlq_{name}.all", b"{}", {"Tailrace-Bridge": name})
        listed = lines(dlq(bridge, "list", "--json"))
        assert [(letter["sequence"], letter["unreadable"] == []) for letter in listed] \
            == [(2, True), (4, False)]
