"""`tailrace verify` of dead letters for reasons that only the server had (`id_conflict`, `refused`): which events
they are of the server decided, what they hold is compared."""

import pytest

from bridge import Bridge, configuration
from jetstream import JetStream
from lab import Lab
from load import client, make_collections, now, settle
from test_limits import Servers
from test_verify import found, older_than, verify
from test_verify_alterations import own_headers, restore
from test_verify_ids_again import again, readers


def plain_id(letter):
    return letter.id.split("%letter:")[0]


def changed(headers, **changes):
    return headers | {key.replace("_", "-"): value for key, value in changes.items()}


# What is done to a letter, and the classes that are found: those of the letter, or of the message that it then
# does not stand for.
ALTERATIONS = {
    "body": (lambda s, u, h, b: (s, u, h, b.replace(b'"update', b'"insert', 1)), {"payload_mismatch": 1}),
    "cut": (lambda s, u, h, b: (s, u, h, b[:-1]), {"payload_mismatch": 1}),
    "subject": (lambda s, u, h, b: (s, u + "x", h, b), {"payload_mismatch": 1}),
    "header": (lambda s, u, h, b: (s, u, changed(h, ce_subject="7"), b), {"payload_mismatch": 1}),
    "would-be subject": (lambda s, u, h, b: (s, u, changed(h, Tailrace_Subject="a.b"), b),
                         {"payload_mismatch": 1}),
    "one header more": (lambda s, u, h, b: (s, u, changed(h, ce_other="1"), b), {"payload_mismatch": 1}),
    "id": (lambda s, u, h, b: (s, u, changed(h, Nats_Msg_Id="other"), b), {"payload_mismatch": 1}),
    "position": (lambda s, u, h, b: (s, u, changed(h, Tailrace_Position=h["Tailrace-Position"] + "1"), b),
                 {"extra": 1, "missing": 1}),
    "unreadable position": (lambda s, u, h, b: (s, u, changed(h, Tailrace_Position="x"), b),
                            {"extra": 1, "missing": 1}),
    "rule": (lambda s, u, h, b: (s, u, changed(h, Tailrace_Rule="other"), b), {"extra": 1, "missing": 1}),
    "reason": (lambda s, u, h, b: (s, u, changed(h, Tailrace_Error="schema_invalid"), b),
               {"extra": 1, "missing": 1}),
}


@pytest.mark.parametrize("ownership", ["exclusive", "shared"])
def test_id_conflicts_are_compared(lab, jetstream, tmp_path, name, ownership):
    bridge = again(lab, tmp_path, name, ["insert"] + ["update"] * 4, ownership=ownership,
                   duplicate_window="100s")
    letters = jetstream.messages(f"DLQ_{name}")
    assert [m.headers["Tailrace-Error"] for m in letters] == ["id_conflict"] * 3
    config = jetstream.config(f"DLQ_{name}")
    plain = [(m.sequence, m.subject, own_headers(m), m.body) for m in letters]
    for what, (alter, classes) in ALTERATIONS.items():
        restore(jetstream, f"DLQ_{name}", config, [plain[0], alter(*plain[1]), plain[2]])
        for reader in readers(lab) if what in ("body", "position") else ["oplog"]:
            report = verify(bridge, "--reader", reader, code=1)
            assert found(report) == classes, (what, reader, report["mismatches"])
            position = letters[1].headers["Tailrace-Position"]
            assert any(m["position"] == position for m in report["mismatches"]), (what, report["mismatches"])
    # There twice.
    restore(jetstream, f"DLQ_{name}", config, [*plain, (0, *plain[1][1:])])
    report = verify(bridge, code=1)
    assert found(report) == {"duplicate": 1}, report["mismatches"]
    # Of an event that has its message: no conflict there ever was.
    message = jetstream.messages(name)[0]
    restore(jetstream, f"DLQ_{name}", config, plain)
    for reader in readers(lab):
        report = verify(bridge, "--reader", reader)
        assert report["verdict"] == "PASS" and report["id_conflicts"] == 3, report
    # In the stream of the messages, a letter counts as nothing.
    jetstream.api(f"STREAM.MSG.DELETE.{name}", {"seq": message.sequence})
    jetstream.publish(message.subject, message.body, own_headers(message) | {
        "Tailrace-Error": "id_conflict", "Tailrace-Error-Detail": "so it says",
        "Nats-Msg-Id": message.id + "%letter:x"})
    assert verify(bridge, code=1)["verdict"] == "FAIL"


def test_conflicts_in_stretches(lab, jetstream, tmp_path, name):
    """Each letter is compared once, in its own stretch, also where progress is continued."""
    bridge = again(lab, tmp_path, name, ["insert", "update", "pause"] + ["update"] * 3 + ["pause"] + ["update"] * 3,
                   duplicate_window="100s")
    letters = jetstream.messages(f"DLQ_{name}")
    assert len(letters) == 6
    file = tmp_path / "progress.json"
    report = verify(bridge, "--stretch", "1", "--progress", file)
    assert report["verdict"] == "PASS" and report["id_conflicts"] == 6, report
    config = jetstream.config(f"DLQ_{name}")
    plain = [(m.sequence, m.subject, own_headers(m), m.body) for m in letters]
    alter = ALTERATIONS["body"][0]
    restore(jetstream, f"DLQ_{name}", config, [alter(*plain[0]), *plain[1:-1], alter(*plain[-1])])
    report = verify(bridge, "--stretch", "1", code=1)
    assert found(report) == {"payload_mismatch": 2}, report["mismatches"]
    assert {m["stream_seq"] for m in report["mismatches"]} == {
        letters[0].sequence, letters[-1].sequence}


def test_refusals_are_compared(lab, tmp_path, name):
    """Messages that the server refused, one of them of an event whose document is gone since."""
    make_collections(lab, name)
    after = now(lab)
    subject = name + ".{operationType}.{documentKey._id}"
    with Lab(mongod=0, nats_conf="max_control_line: 1000") as nats:
        jetstream = JetStream(nats.nats_url)
        long = ".".join("x" * 235 for _ in range(4))
        with client(lab) as mongo:
            messages = mongo[name].messages
            messages.insert_many([{"_id": 1, "a": "x"}, {"_id": 2, "a": "x" * 235}, {"_id": 3, "a": "x"}])
            messages.update_one({"_id": 2}, {"$set": {"n": 1}})
        settle(lab)
        subject = name + ".{fullDocument.a}.{fullDocument.a}.{fullDocument.a}.{fullDocument.a}"
        whole = configuration(
            Servers(lab, nats), name,
            rule={"subject": subject, "payload": {"full_document": "required"},
                  "match": {"namespace": f"{name}.*", "operations": ["insert", "update"]}},
            source={"start": f"{after.time}.{after.inc}"})
        with Bridge(tmp_path, whole) as bridge:
            assert bridge.run("--until", "now") == 0
        letters = jetstream.messages(f"DLQ_{name}")
        assert [m.headers["Tailrace-Error"] for m in letters] == ["refused"] * 2, long
        config = jetstream.config(f"DLQ_{name}")
        plain = [(m.sequence, m.subject, own_headers(m), m.body) for m in letters]
        both = ["oplog"] if older_than(lab, 6) else ["oplog", "change_stream"]

        def check(alter=None, expected=None):
            restore(jetstream, f"DLQ_{name}", config, plain if alter is None else [plain[0], alter(*plain[1])])
            for reader in both:
                report = verify(bridge, "--reader", reader, code=0 if expected is None else 1)
                assert found(report) == (expected or {}), report["mismatches"]

        check()
        check(ALTERATIONS["body"][0], {"payload_mismatch": 1})
        check(ALTERATIONS["subject"][0], {"payload_mismatch": 1})
        with client(lab) as mongo:
            mongo[name].messages.drop()
        settle(lab)
        # What is not of the document is compared still.
        check()
        check(ALTERATIONS["body"][0], {"payload_mismatch": 1})
        check(ALTERATIONS["subject"][0], {"payload_mismatch": 1})
