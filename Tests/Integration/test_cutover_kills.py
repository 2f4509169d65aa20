"""Every transition of a cut-over, with kill -9 of the command, the leading bridge (a standby takes over), or the NATS
server in its midst: the group is in a defined phase afterwards, the command can be repeated, and each event is stored
once."""

import asyncio
import json
import random
import subprocess
import time
from collections import Counter, defaultdict

from application import Application
from bridge import BINARY, Bridge, configuration, tailrace, wait_until
from faults import seed
from jetstream import JetStream
from lab import Lab
from load import client

VICTIMS = ["command", "bridge", "nats"]
# Where each command leads, and whether something is killed.
COURSE = [("dual", "dual", True), ("cancel", "bridge", True), ("dual", "dual", False),
          ("commit", "committed", True), ("rollback", "dual", True), ("commit", "committed", False),
          ("finalize", "finalized", True)]


class Producers(Application):
    """Writes to each group's collection, and publishes the event of each write, until it is acknowledged; but for some
    of the group that is `silent`."""

    def __init__(self, lab, name):
        super().__init__(lab)
        self.database = name
        self.silent = None
        self.skipped = 0
        self.written = defaultdict(list)

    async def work(self):
        connection = await self.connect()
        sending, number = set(), 0
        with client(self.lab) as mongo:
            while not self.stopping.is_set():
                for group in VICTIMS:
                    number += 1
                    await asyncio.to_thread(mongo[self.database][group].insert_one, {"_id": number})
                    self.written[group].append(f"{group}.{number}")
                    if group == self.silent and number % 5 == 0:
                        self.skipped += 1
                        continue
                    task = asyncio.create_task(self.publish_until_stored(
                        connection, f"{self.database}.{group}.{number}", b'{"_id":%d}' % number, f"{group}.{number}"))
                    sending.add(task)
                    task.add_done_callback(sending.discard)
                await asyncio.sleep(0.04)
        await asyncio.gather(*list(sending))
        await connection.close()


class Course:
    """The groups' bridge, and the commands."""

    def __init__(self, lab, folder, name):
        self.lab, self.name, self.jetstream = lab, name, JetStream(lab.nats_url)
        rules = [{
            "name": group, "match": {"namespace": f"{name}.{group}", "operations": ["insert"]},
            "subject": name + "." + group + ".{documentKey._id}", "id": group + ".{documentKey._id}",
            "payload": {"envelope": "document"}, "stream": name,
        } for group in VICTIMS]
        self.bridges = []
        for instance in ("one", "two"):
            (folder / instance).mkdir()
            self.bridges.append(Bridge(folder / instance, configuration(
                lab, name, rules=rules, stream={"ownership": "shared"},
                cutover={"grace": "1s", "window": "1s"})))
        self.file = self.bridges[0].file

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        for bridge in self.bridges:
            bridge.__exit__(*failure)

    def start(self):
        """Both instances; one of them leads."""
        for bridge in self.bridges:
            bridge.start().wait_ready()

    def leader(self):
        return wait_until(lambda: next(
            (one for one in self.bridges if one.json("/status")[1].get("role") == "leader"), None), "a leader")

    def command(self, verb, group, *arguments):
        return [BINARY, "cutover", verb, "-c", self.file, "--group", group, *arguments]

    def status(self, group):
        done = tailrace("cutover", "status", "-c", self.file, "--group", group, "--json")
        return json.loads(done.stdout)["groups"][0] if done.returncode == 0 else {}

    def phase(self, group):
        return self.status(group).get("phase")

    def kill(self, victim, command):
        if victim == "command":
            command.kill()
        elif victim == "bridge":
            # The other one takes over.
            leader = self.leader()
            leader.kill()
            leader.start()
        else:
            self.lab.kill("nats")
            self.lab.start("nats")
        try:
            command.wait(60)
        finally:
            command.kill()

    def go(self, verb, target, group, victim, moment):
        """The transition; something is killed so many seconds after the command's start, and it is repeated."""
        arguments = ("--timeout", "3s") if verb == "commit" else ()
        before = self.phase(group)
        if verb == "commit":
            wait_until(lambda: self.status(group)["can_commit"], f"{group}: no blockers", every=0.3)
        if victim:
            with subprocess.Popen(self.command(verb, group, *arguments), stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL) as command:
                try:
                    command.wait(moment)
                except subprocess.TimeoutExpired:
                    pass
                self.kill(victim, command)
            for bridge in self.bridges:
                bridge.wait_ready()
            phase = wait_until(lambda: (p := self.phase(group)) and p != "committing" and p,
                               f"{group}: a phase that lasts", every=0.2)
            assert phase in (before, target), f"{verb}, {victim} killed: {phase}"

        def done():
            return subprocess.run(self.command(verb, group, *arguments), capture_output=True).returncode == 0
        wait_until(done, f"{group}: {verb}", every=0.5)
        assert self.phase(group) == target

    def own(self, group, fence):
        """What the bridge has published of a group behind its fence."""
        place = tuple(map(int, fence.split(".")))
        return [m.id for m in self.jetstream.messages(self.name)
                if m.headers.get("Tailrace-Rule") == group and m.position[:2] > place]


def test_every_transition_with_every_victim(tmp_path, name):
    dice = random.Random(seed())
    with Lab() as lab:
        application = Producers(lab, name)
        with Course(lab, tmp_path, name) as course:
            with client(lab) as mongo:
                for group in VICTIMS:
                    mongo[name].create_collection(group)
            course.start()
            application.start()
            try:
                for verb, target, kills in COURSE:
                    for group in VICTIMS:
                        began = time.monotonic()
                        # A debug build takes longer to begin.
                        moment = dice.uniform(0.05, 1.5 if verb == "commit" else 0.4)
                        course.go(verb, target, group, group if kills else None, moment)
                        print(f"{verb} {group}: {time.monotonic() - began:.1f} s", flush=True)
                        if (verb, kills) != ("commit", True):
                            continue
                        # Nobody publishes some of it, and the bridge doesn't either.
                        application.silent = group
                        wait_until(lambda: course.status(group)["counts"]["missed"], f"{group}: missed")
                        application.silent = None
                        assert course.own(group, course.status(group)["fence"]) == []
            finally:
                application.stop()
            assert json.loads(tailrace("cutover", "status", "-c", course.file, "--json").stdout)["all_finalized"]
            assert [bridge.terminate() for bridge in course.bridges] == [0, 0]
        found = Counter(m.id for m in course.jetstream.messages(name))
        wanted = Counter(id for ids in application.written.values() for id in ids)
        assert found == wanted, (
            f"missing {list((wanted - found))[:5]}, too many {list((found - wanted))[:5]} of {len(wanted)}")
        assert application.skipped
