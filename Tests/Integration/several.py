"""Several bridges side by side: their configurations, what they must have led to, and the checks."""

import json

import yaml

from bridge import Bridge, configuration, tailrace, wait_until
from load import client, expected


def database(name, who):
    return f"{name}_{who}"


def settings(lab, name, who, shared=False, **changes):
    """Bridge `who` of a test: a database of its own; documents without a room are dead letters in the
    stream that all share. `shared`: so do the others share the stream of the rest."""
    own = database(name, who)
    stream = name if shared else own
    given = {
        "bridge": {"name": own, "state_bucket": f"STATE_{name}"},
        "rule": {"subject": f"{stream}.{own}.{{ns.coll}}.{{fullDocument.rid}}",
                 "match": {"namespace": f"{own}.*", "operations": ["insert"]}, "stream": stream},
        "stream": {"name": stream, "subjects": [f"{stream}.{own}.>"],
                   "ownership": "shared" if shared else "exclusive"},
        "dead_letter": {"stream": f"DLQ_{name}", "subject": f"dlq_{name}" + ".{rule}"},
    }
    for key, value in changes.items():
        given[key] = given[key] | value if isinstance(given.get(key), dict) else value
    return configuration(lab, own, **given)


class Side:
    """One of the bridges, with what its database has led to."""

    def __init__(self, lab, folder, name, who, after, **changes):
        self.lab, self.name, self.after = lab, name, after
        self.database = database(name, who)
        folder = folder / who
        folder.mkdir()
        self.bridge = Bridge(folder, settings(lab, name, who, **changes))
        self.stream = self.bridge.configuration["streams"][0]["name"]
        self.shares = self.bridge.configuration["streams"][0]["ownership"] == "shared"
        self.number = 0

    def rewrite(self):
        """The configuration has changed."""
        self.bridge.file.write_text(yaml.safe_dump(self.bridge.configuration, sort_keys=False))

    def insert(self, valid=0, invalid=0):
        documents = ["good"] * valid + ["bad"] * invalid
        with client(self.lab) as mongo:
            for kind in documents:
                self.number += 1
                mongo[self.database].messages.insert_one(
                    {"_id": f"{kind} {self.number}"} | ({"rid": "a"} if kind == "good" else {}))

    def truth(self, kind):
        return [event.position for event in expected(self.lab, self.database, self.after)
                if event.key.startswith(kind)]

    def stored(self, jetstream, kind):
        """This bridge's messages as their headers have it."""
        stream = self.stream if kind == "good" else f"DLQ_{self.name}"
        if jetstream.state(stream) is None:
            return []
        messages = jetstream.messages(stream)
        if kind == "bad" or self.shares:
            assert all("Tailrace-Bridge" in m.headers for m in messages)
            return [m for m in messages if m.headers["Tailrace-Bridge"] == self.database]
        assert not any("Tailrace-Bridge" in m.headers for m in messages), "an exclusive stream"
        return messages

    def settled(self, jetstream, seconds=30):
        """Waits for what must be there, and demands that it is all there is, in order."""
        for kind in ("bad", "good"):
            truth = self.truth(kind)
            wait_until(lambda: self.bridge.alive()
                       and len(self.stored(jetstream, kind)) >= len(truth),
                       f"{len(truth)} {kind} ones of {self.database}", seconds, every=0.2)
            found = [message.position for message in self.stored(jetstream, kind)]
            assert found == truth, f"{self.database}: {len(found)} for {len(truth)} {kind} events"
            doubled = [m.id for m in self.stored(jetstream, kind)]
            assert len(set(doubled)) == len(doubled)

    def verify(self):
        done = tailrace("verify", "--json", "--to", "now", "-c", self.bridge.file,
                        cwd=self.bridge.folder, seconds=60)
        assert done.returncode == 0, (self.database, done.stdout[-3000:], done.stderr[-1000:])
        report = json.loads(done.stdout)
        assert report["verdict"] == "PASS" and report["counts"]["pending"] == 0
        return report

    def outcomes(self):
        return self.bridge.json("/status")[1]["outcomes"]


def exact(jetstream, *sides):
    """All of every bridge, once and in order, by the oplog and by `tailrace verify`."""
    for side in sides:
        side.settled(jetstream)
    for side in sides:
        side.verify()
