"""Points in time that are no oplog entry's: accepted wherever a place is given, if the oplog reaches back
to them, and exact in what they leave out."""

import json
import time

import pytest

from bridge import Bridge, configuration, tailrace, wait_until
from load import client, make_collections, now, settle
from test_dry_run import dry
from test_verify import older_than, verify


def text(time_, increment):
    return f"{time_}.{increment}"


def position(message):
    return message.headers["Tailrace-Position"].rsplit(".", 1)[0]


def two_sides(lab, name, each=3):
    """Inserts before a mark and behind it. Where it all begins, and the mark."""
    make_collections(lab, name)
    begin = now(lab)
    with client(lab) as mongo:
        messages = mongo[name].messages
        messages.insert_many([{"_id": f"a{n}"} for n in range(each)])
        settle(lab)
        last = now(lab)
        # Another second, so that there is room behind the entry.
        wait_until(lambda: time.time() >= last.time + 1, "the next second")
        messages.insert_many([{"_id": f"b{n}"} for n in range(each)])
    settle(lab)
    return text(begin.time, begin.inc), text(last.time, last.inc + 1000)


def keys(jetstream, name):
    return [message.json["documentKey"]["_id"] for message in jetstream.messages(name)]


@pytest.mark.parametrize("reader", ["oplog", "change_stream"])
def test_until_a_mark(lab, jetstream, tmp_path, name, reader):
    """Nothing behind the mark is published, and the next run continues with just that."""
    if reader == "change_stream" and older_than(lab, 6):
        pytest.skip("change streams tell all that is in messages from 6.0 on")
    begin, mark = two_sides(lab, name)
    with Bridge(tmp_path, configuration(lab, name, source={"reader": reader})) as bridge:
        assert bridge.run("--from", begin, "--until", mark) == 0
        assert keys(jetstream, name) == ["a0", "a1", "a2"]
        report = dry(bridge, "--from", begin, "--until", mark)
        assert report["rules"][0]["messages"] == 3 and report["reason"] is None
        # Before everything: nothing, and no failure.
        assert bridge.run("--until", begin) == 0
        assert keys(jetstream, name) == ["a0", "a1", "a2"]
        assert bridge.run("--until", "now") == 0
        assert keys(jetstream, name) == ["a0", "a1", "a2", "b0", "b1", "b2"]
        assert verify(bridge)["verdict"] == "PASS"


def test_from_a_mark(lab, jetstream, tmp_path, name):
    """What is behind the mark is published, and it is resumed at, and verified from."""
    _, mark = two_sides(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        assert dry(bridge, "--from", mark, "--until", "now")["rules"][0]["messages"] == 3
        bridge.start("--from", mark)
        wait_until(lambda: jetstream.holds(name, 3), "what is behind the mark")
        bridge.kill()
        with client(lab) as mongo:
            mongo[name].messages.insert_one({"_id": "c"})
        settle(lab)
        assert bridge.run("--until", "now") == 0
        assert keys(jetstream, name) == ["b0", "b1", "b2", "c"]
        assert verify(bridge)["verdict"] == "PASS"
        # A lost stream is filled again from there.
        jetstream.delete_stream(name)
        assert bridge.run("--until", "now") == 0
        assert keys(jetstream, name) == ["b0", "b1", "b2", "c"]


def test_verify_between_marks(lab, tmp_path, name):
    begin, mark = two_sides(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        assert bridge.run("--from", begin, "--until", "now") == 0
        readers = ["oplog"] if older_than(lab, 6) else ["oplog", "change_stream"]
        for reader in readers:
            before = verify(bridge, "--to", mark, "--reader", reader)
            behind = verify(bridge, "--from", mark, "--reader", reader)
            assert (before["verdict"], before["counts"]["observed"]) == ("PASS", 3)
            assert (behind["verdict"], behind["counts"]["observed"]) == ("PASS", 3)
        # Behind the last: before anything has happened there, nothing can be said.
        assert verify(bridge, "--from", "4000000000.1", code=2)["reasons"]
        # Before the first: the oplog doesn't reach back.
        assert "no longer holds" in verify(bridge, "--from", "1.1", code=2)["reasons"][0]


def test_from_a_mark_to_come(lab, jetstream, tmp_path, name):
    """A moment that has not come yet: what happens before it is left out."""
    make_collections(lab, name)
    mark = now(lab).time + 3
    with Bridge(tmp_path, configuration(lab, name)) as bridge, client(lab) as mongo:
        bridge.start("--from", f"{mark}.1").wait_ready()
        mongo[name].messages.insert_one({"_id": "early"})
        assert now(lab).time < mark, "this machine is too slow for the test"
        wait_until(lambda: time.time() > mark + 1, "the moment")
        mongo[name].messages.insert_one({"_id": "late"})
        wait_until(lambda: jetstream.holds(name, 1), "the message")
        assert bridge.terminate() == 0
    assert keys(jetstream, name) == ["late"]


def test_before_the_oplog(lab, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        assert bridge.run("--from", "1.1", "--until", "now") == 75
        assert "no longer holds" in bridge.tail()


def test_checkpoint_set_to_a_mark(lab, jetstream, tmp_path, name):
    begin, mark = two_sides(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        done = tailrace("checkpoint", "set", mark, "--json", "-c", bridge.file, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["position"] > mark
        assert bridge.run("--until", "now") == 0
        assert keys(jetstream, name) == ["b0", "b1", "b2"]
        for there, code in [("1.1", 75), ("4000000000.1", 75)]:
            done = tailrace("checkpoint", "set", there, "-c", bridge.file, cwd=tmp_path)
            assert done.returncode == code, done.stderr


def test_skipped_increments(lab, jetstream, tmp_path, name):
    """Writes that fail use positions up: those before the last entry hold nothing."""
    make_collections(lab, name)
    begin = now(lab)
    with client(lab) as mongo:
        messages = mongo[name].messages
        messages.insert_one({"_id": 1})
        for _ in range(2):
            with pytest.raises(Exception, match="E11000"):
                messages.insert_one({"_id": 1})
        messages.insert_one({"_id": 2})
    last = now(lab)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        assert bridge.run("--from", text(begin.time, begin.inc), "--until", "now") == 0
        assert keys(jetstream, name) == [1, 2]
        assert verify(bridge)["verdict"] == "PASS"
        # Every position up to the last entry, whether there is an entry or not.
        for back in range(4):
            place = text(last.time, last.inc - back)
            report = verify(bridge, "--from", place)
            assert report["verdict"] == "PASS", (back, report["reasons"])
            assert verify(bridge, "--to", place)["verdict"] == "PASS" or back > 0
