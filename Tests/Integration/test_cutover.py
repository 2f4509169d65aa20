"""Groups on their way from the bridge to their producers: each business event is stored once, whoever was first, and
what producers do wrong is seen."""

import json
import subprocess
from collections import Counter

import pytest
from bridge import BINARY, Bridge, configuration, tailrace, wait_until
from load import client, make_collections, now

# A machine that does other things, too, has to be in time.
GRACE = 3
WINDOW = 8


def document(number, **more):
    return {"_id": number, "room": f"r{number % 3}", "text": f"text {number}", "n": number} | more


class Group:
    """One group `messages`, with its documents, its producer and its commands."""

    def __init__(self, lab, jetstream, folder, name, **changes):
        make_collections(lab, name)
        self.lab, self.jetstream, self.name, self.folder = lab, jetstream, name, folder
        rule = {
            "group": "messages", "id": "{documentKey._id}.created",
            "subject": name + ".{fullDocument.room}.created",
            "match": {"namespace": f"{name}.messages", "operations": ["insert"]},
            "payload": {"envelope": "document", "json": "simplified"},
        } | changes.pop("rule", {})
        self.configuration = configuration(
            lab, name, rule=rule, stream={"ownership": "shared"} | changes.pop("stream", {}),
            cutover={"grace": f"{int(GRACE * 1000)}ms", "window": f"{WINDOW}s"}, **changes)
        self.bridge = Bridge(folder, self.configuration)
        self.mongo = client(lab)

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.mongo.close()
        self.bridge.__exit__(*failure)

    def insert(self, *numbers):
        self.mongo[self.name].messages.insert_many([document(n) for n in numbers])

    def produce(self, *numbers, **more):
        """As an application does it: the same id, subject and value, in its own form."""
        async def work(nc):
            js = nc.jetstream()
            return [await js.publish(
                f"{self.name}.r{n % 3}.created",
                json.dumps(dict(sorted((document(n) | more).items(), reverse=True)), indent=1).encode(),
                headers={"Nats-Msg-Id": f"{n}.created"}) for n in numbers]
        return self.jetstream._run(work)

    def command(self, verb, *arguments, code=0, seconds=60):
        done = tailrace("cutover", verb, "-c", self.bridge.file, "--group", "messages", *arguments,
                        cwd=self.folder, seconds=seconds)
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def status(self):
        return json.loads(self.command("status", "--json").stdout)["groups"][0]

    def counts(self, **wanted):
        """Waits until the group's counts are these; the others 0."""
        whole = {"by_producer": 0, "filled": 0, "mismatched": 0, "phantom": 0, "missed": 0} | wanted
        found = {}

        def same():
            found.update(self.status()["counts"])
            return found == whole
        try:
            wait_until(same, "counts", every=0.2)
        except AssertionError:
            raise AssertionError(f"{found}, wanted {whole}\n{self.status()}") from None

    def committable(self, first):
        """Has the producer do what it should until nothing keeps the group from being committed; the next number."""
        numbers = iter(range(first, first + 1000))

        def ready():
            number = self.last = next(numbers)
            self.produce(number)
            self.insert(number)
            return self.status()["can_commit"]
        wait_until(ready, "no blockers", every=0.3)
        return self.last + 1

    def commit(self, first):
        """Commits it, the producer being right; the next number. A machine that is slow for a while may bring a
        blocker back between two looks: an operator tries again then, and so does this."""
        numbers = [first]

        def committed():
            numbers.append(self.committable(numbers[-1]))
            done = tailrace("cutover", "commit", "-c", self.bridge.file, "--group", "messages",
                            "--timeout", "60s", cwd=self.folder)
            assert done.returncode in (0, 1), f"{done.returncode}\n{done.stdout}\n{done.stderr}"
            return done.returncode == 0 and done
        self.committing = wait_until(committed, "it is committed", every=0)
        return numbers[-1]

    def dual(self):
        self.command("dual")
        wait_until(lambda: self.followed(), "dual is followed")

    def followed(self):
        group = self.bridge.json("/status")[1]["cutover_groups"][0]
        return group["phase"] == "dual" and group["position"]

    def note(self):
        """The oplog moves."""
        return self.mongo.admin.command("appendOplogNote", 1, data={"time": "passes"})["ok"]

    def passed(self):
        """Waits until the pipeline is past everything that was written."""
        end = now(self.lab)
        end = (end.time, end.inc)
        self.note()

        def reached():
            # A bridge that has just begun has no position yet.
            position = self.bridge.json("/status")[1]["position"] or "0.0"
            return tuple(map(int, position.split("."))) >= end
        wait_until(reached, "the pipeline is past it")

    def holds(self, *numbers):
        """Exactly these, once each."""
        wanted = Counter(f"{n}.created" for n in numbers)
        wait_until(lambda: self.jetstream.holds(self.name, len(wanted)), f"{len(wanted)} messages")
        assert Counter(m.id for m in self.jetstream.messages(self.name)) == wanted

    def filled(self):
        return sorted(int(m.id.split(".")[0]) for m in self.jetstream.messages(self.name)
                      if m.headers.get("Tailrace-Filled"))

    def audit(self):
        subject = f"tailrace.audit.{self.name}.cutover.messages"
        steps = [(m.json["from"], m.json["to"]) for m in self.jetstream.messages("TAILRACE_AUDIT")
                 if m.subject == subject]
        # But for commits that were tried again.
        failed = {n for n, step in enumerate(steps) if step == ("committing", "dual")}
        return [step for n, step in enumerate(steps) if n not in failed and n + 1 not in failed]

    def verify(self):
        done = tailrace("verify", "-c", self.bridge.file, "--json", cwd=self.folder)
        return json.loads(done.stdout)


@pytest.fixture
def group(lab, jetstream, tmp_path, name):
    with Group(lab, jetstream, tmp_path, name) as group:
        yield group


def test_from_the_bridge_to_its_producer(group):
    """The whole way, with a producer that is right, silent, wrong and inventive; and back once."""
    group.bridge.start().wait_ready()
    group.insert(1, 2, 3)
    group.holds(1, 2, 3)
    assert group.status()["phase"] == "bridge"
    group.dual()
    group.command("dual")
    # A producer that is right: after the write, and before it.
    group.insert(*range(10, 20))
    group.produce(*range(10, 20))
    group.produce(20, 21)
    group.insert(20, 21)
    group.counts(by_producer=12)
    assert group.filled() == []
    # Silent.
    group.insert(30, 31)
    group.counts(by_producer=12, filled=2)
    assert group.filled() == [30, 31]
    # Wrong.
    group.insert(40)
    group.produce(40, text="something else")
    group.counts(by_producer=12, filled=2, mismatched=1)
    status = group.status()
    assert not status["can_commit"]
    assert {b["code"] for b in status["blockers"]} & {"fills", "mismatches"}
    wrong = next(f for f in status["findings"] if f["kind"] == "mismatched")
    assert wrong["id"] == "40.created" and wrong["pointer"] == "/text"
    assert '"text 40"' in wrong["detail"] and '"something else"' in wrong["detail"]
    # Inventive. It is found once the oplog has passed its time.
    group.produce(50)
    group.insert(60)
    group.produce(60)
    wait_until(lambda: group.note() and group.status()["counts"]["phantom"] == 1, "the phantom")
    group.counts(by_producer=13, filled=2, mismatched=1, phantom=1)
    group.command("commit", code=1)
    assert group.status()["phase"] == "dual"
    # Nothing of that within the window.
    end = group.commit(100)
    assert "fence at" in group.committing.stderr
    assert group.status()["phase"] == "committed"
    group.command("commit")
    # Committed: the bridge publishes nothing, and sees what is missing.
    group.insert(1000, 1001)
    group.produce(1000)
    # 1000 may still be counted in the phase before: the bridge follows within a second.
    wait_until(lambda: group.status()["counts"]["missed"] == 1, "the missed one")
    assert group.status()["counts"]["by_producer"] <= 1
    missed = next(f for f in group.status()["findings"] if f["kind"] == "missed")
    assert missed["id"] == "1001.created" and missed["position"]
    wait_until(lambda: group.bridge.json("/healthz")[1]["status"] == "degraded", "degraded")
    assert 1001 not in group.filled()
    # Back: what was missed is filled in, what is known is not sent again.
    group.command("rollback")
    group.command("rollback")
    wait_until(lambda: group.filled() == [30, 31, 1001], "1001 is filled in")
    group.holds(1, 2, 3, *range(10, 22), 30, 31, 40, 50, 60, *range(100, end), 1000, 1001)
    group.commit(2000)
    group.command("finalize")
    group.command("finalize")
    group.command("cancel", code=1)
    report = json.loads(group.command("status", "--json").stdout)
    assert report["all_finalized"]
    group.insert(9000)
    group.passed()
    assert group.filled() == [30, 31, 1001]
    assert group.audit() == [
        ("bridge", "dual"), ("dual", "committing"), ("committing", "committed"), ("committed", "dual"),
        ("dual", "committing"), ("committing", "committed"), ("committed", "finalized")]
    assert group.bridge.terminate() == 0
    # A later life reports it, and publishes nothing of it either.
    group.bridge.start().wait_ready()
    group.insert(9001)
    wait_until(lambda: group.bridge.json("/status")[1]["cutover_groups"][0]["phase"] == "finalized",
               "it is reported as finalized")
    group.passed()
    assert "9001.created" not in [m.id for m in group.jetstream.messages(group.name)]


def test_given_back(group):
    """cancel: the bridge publishes again, from a boundary on, whatever happens in between."""
    group.bridge.start().wait_ready()
    group.dual()
    group.insert(1, 2, 3)
    group.produce(2)
    group.command("cancel")
    group.insert(4, 5)
    # Killed before, at, or behind the boundary.
    group.bridge.kill()
    group.insert(6)
    group.bridge.start().wait_ready()
    # Up to the boundary, it is the follower's to fill in.
    group.holds(1, 2, 3, 4, 5, 6)
    group.insert(7)
    group.holds(1, 2, 3, 4, 5, 6, 7)
    own = [m for m in group.jetstream.messages(group.name) if m.id != "2.created"]
    assert "7.created" in [m.id for m in own if "Tailrace-Filled" not in m.headers]
    group.command("cancel")
    assert group.status()["phase"] == "bridge"
    # And once more into dual, from another boundary.
    group.dual()
    group.insert(8, 9)
    group.produce(9)
    group.counts(by_producer=1, filled=1)
    group.holds(*range(1, 10))
    # A producer's message is the same in its own form, and one that was filled in is out of order.
    report = group.verify()
    assert report["verdict"] == "PASS", report
    assert group.bridge.terminate() == 0


def test_killed_in_dual(group):
    """The bridge is killed again and again beside a producer that is silent for one event in ten, and wrong in one."""
    group.bridge.start().wait_ready()
    group.dual()
    number, silent, wrong = 0, [], []
    for _ in range(4):
        for _ in range(8):
            batch = list(range(number, number + 10))
            number += 10
            group.insert(*batch)
            silent.append(batch[3])
            wrong.append(batch[7])
            group.produce(*[n for n in batch if n not in (batch[3], batch[7])])
            group.produce(batch[7], text="wrong")
        group.bridge.kill()
        group.bridge.start().wait_ready()
    group.counts(by_producer=number - len(silent) - len(wrong), filled=len(silent), mismatched=len(wrong))
    group.holds(*range(number))
    assert group.filled() == silent
    assert group.bridge.terminate() == 0


@pytest.mark.parametrize("victim", ["command", "bridge"])
def test_killed_while_committing(group, victim):
    """A commit whose command or bridge is killed at some moment: the group is in dual again by the deadline, or
    committed; nothing is lost, and another commit succeeds."""
    group.bridge.start().wait_ready()
    group.dual()
    group.insert(1)
    group.produce(1)
    group.counts(by_producer=1)
    number = 2
    for moment in (0.05, 0.3, 0.8):
        if group.status()["phase"] == "committed":
            group.command("rollback")
        number = group.committable(number)
        command = subprocess.Popen(
            [BINARY, "cutover", "commit", "-c", group.bridge.file, "--group", "messages", "--timeout", "4s"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=group.folder)
        # It is killed some time behind this step.
        for line in command.stderr:
            if line.startswith("committing"):
                break
        try:
            command.wait(moment)
        except subprocess.TimeoutExpired:
            pass
        group.insert(number)
        number += 1
        if victim == "command":
            command.kill()
        else:
            group.bridge.kill()
            group.bridge.start()
        command.wait(30)
        command.stderr.close()
        group.bridge.wait_ready()
        phase = wait_until(lambda: (p := group.status()["phase"]) in ("dual", "committed") and p,
                           "a phase that lasts", every=0.2)
        if phase == "dual":
            wait_until(lambda: number - 1 in group.filled(), "it is filled in")
        else:
            wait_until(lambda: group.status()["counts"]["missed"] == 1, "it is missed")
            group.command("rollback")
            wait_until(lambda: number - 1 in group.filled(), "it is filled in")
    group.holds(*range(1, number))
    number = group.commit(number)
    group.holds(*range(1, number))
    assert group.bridge.terminate() == 0


def test_what_can_not_be_cut_over(lab, jetstream, tmp_path, name):
    with Group(lab, jetstream, tmp_path, name, rule={"id": "positional"},
               stream={"ownership": "exclusive"}) as group:
        group.bridge.start().wait_ready()
        done = group.command("dual", code=78)
        assert "positional" in done.stderr and "exclusive" in done.stderr
        status = group.status()
        assert [r["code"] for r in status["reasons"]] == ["positional_id", "exclusive_stream"]
        assert tailrace("cutover", "dual", "-c", group.bridge.file, "--group", "others").returncode == 78
        for verb in ("commit", "rollback", "finalize"):
            group.command(verb, code=1)
        group.command("cancel")
        assert group.bridge.terminate() == 0


def test_a_lost_record_is_not_forgotten(group):
    """The state bucket is gone: a committed group's events are not published again behind anybody's back."""
    group.bridge.start().wait_ready()
    group.dual()
    group.insert(1)
    group.produce(1)
    group.counts(by_producer=1)
    assert group.bridge.terminate() == 0
    group.jetstream.delete_stream(f"KV_STATE_{group.name}")
    assert group.bridge.run() == 75
    assert "its record is gone" in group.bridge.tail()
    group.command("cancel")
    group.bridge.start().wait_ready()
    group.insert(2)
    group.holds(1, 2)
    assert group.bridge.terminate() == 0
