"""Groups that are on their way keep the rules that their producers know; finalized ones need no bridge."""

import signal

import pytest
import yaml
from bridge import Bridge, tailrace, wait_until
from test_cutover import Group


@pytest.fixture
def group(lab, jetstream, tmp_path, name):
    """Group `messages`, and one more rule without a cut-over."""
    with Group(lab, jetstream, tmp_path, name) as group:
        group.other = {
            "name": "rooms", "match": {"namespace": f"{name}.rooms", "operations": ["insert"]},
            "subject": name + ".rooms.{operationType}", "payload": {"envelope": "document"}, "stream": name}
        group.rule = group.configuration["rules"][0]
        write(group, [group.rule, group.other])
        yield group


def write(group, rules):
    group.configuration["rules"] = rules
    group.bridge.file.write_text(yaml.safe_dump(group.configuration, sort_keys=False))


def reloaded(group, rules):
    """The result of a reload, and its errors."""
    before = ends(group)
    write(group, rules)
    group.bridge.process.send_signal(signal.SIGHUP)
    wait_until(lambda: group.bridge.alive() and ends(group) == before + 1, "the reload")
    report = group.bridge.json("/status")[1]["reload"]
    return report["result"], "\n".join(report["errors"])


def ends(group):
    """How many reloads have ended."""
    prefix = 'tailrace_reloads_total{result="'
    return sum(float(line.split()[-1]) for line in group.bridge.get("/metrics")[1].splitlines()
               if line.startswith(prefix) and not line.startswith(prefix + "pending"))


CHANGES = {
    "subject": {"subject": "other.{fullDocument.room}.created"},
    "id": {"id": "{documentKey._id}.made"},
    "match": {"match": {"operations": ["insert", "delete"]}},
    "payload": {"payload": {"envelope": "document", "exclude": ["fullDocument.n"]}},
}


def changed(group, key):
    rule = dict(group.rule)
    for name, value in CHANGES[key].items():
        rule[name] = rule[name] | value if isinstance(value, dict) else value.replace("other", group.name)
    if key == "subject":
        rule["subject"] = group.name + ".other.{fullDocument.room}"
    return rule


def test_rules_of_a_group_on_its_way(group):
    group.bridge.start().wait_ready()
    # In phase bridge they are free.
    assert reloaded(group, [changed(group, "payload"), group.other]) == ("applied", "")
    assert reloaded(group, [group.rule, group.other]) == ("applied", "")
    group.dual()
    for key in CHANGES:
        result, errors = reloaded(group, [changed(group, key), group.other])
        assert result == "refused", key
        assert f"{key} of rule all can't change while its group messages is in phase dual" in errors
    for rules, words in [
            ([group.other], "rule all can't be taken out"),
            ([group.rule, group.other | {"group": "messages", "id": "{documentKey._id}.opened"}],
             "rule rooms can't be added"),
            ([group.other | {"match": {"namespace": f"{group.name}.*", "operations": ["insert"]}}, group.rule],
             "match of rule all can't change")]:
        result, errors = reloaded(group, rules)
        assert result == "refused" and words in errors, errors
    # What producers don't know of, and other groups.
    rules = [group.rule | {"on_invalid": "drop"}, group.other | {"subject": group.name + ".opened.{operationType}"}]
    assert reloaded(group, rules) == ("applied", "")
    group.insert(1)
    group.produce(1)
    group.counts(by_producer=1)
    # Nor at a start: nothing is changed.
    assert group.bridge.terminate() == 0
    write(group, [changed(group, "subject"), group.other])
    assert group.bridge.run() == 78
    assert "subject of rule all can't change while its group messages is in phase dual" in group.bridge.tail()
    write(group, [group.other])
    assert group.bridge.run() == 78
    write(group, [group.rule, group.other])
    group.bridge.start().wait_ready()
    group.insert(2)
    group.produce(2)
    group.counts(by_producer=2)
    # The way out.
    group.command("cancel")
    wait_until(lambda: reloaded(group, [changed(group, "payload"), group.other])[0] == "applied", "it is free again")
    assert group.bridge.terminate() == 0


def test_the_end(group, tmp_path):
    """A finalized group's rules are free, and of its changes nothing is made, not even dead letters. A bridge that
    waits for that ends, and so does its standby."""
    write(group, [group.rule])
    group.bridge.start("--until", "finalized").wait_ready()
    (tmp_path / "standby").mkdir()
    settings = group.configuration | {"http": {"listen": "127.0.0.1:0"}}
    with Bridge(tmp_path / "standby", settings) as standby:
        standby.start("--until", "finalized")
        group.dual()
        group.committable(1)
        group.command("commit", "--timeout", "20s")
        group.bridge.alive()
        group.command("finalize")
        assert group.bridge.wait() == 0
        assert standby.wait() == 0
    assert "all groups are finalized" in group.bridge.tail()
    held = group.jetstream.count(group.name)
    # Without a room it would have been a dead letter.
    group.mongo[group.name].messages.insert_many([{"_id": 5000}, {"_id": 5001, "room": "r1"}])
    write(group, [changed(group, "subject")])
    group.bridge.start().wait_ready()
    group.passed()
    group.bridge.alive()
    assert group.jetstream.count(group.name) == held
    assert group.jetstream.count(f"DLQ_{group.name}") == 0
    assert group.bridge.terminate() == 0
    # Started once more by mistake.
    assert group.bridge.run("--until", "finalized") == 0
    assert tailrace("run", "-c", group.bridge.file, "--dry-run", "--until", "finalized").returncode == 64
