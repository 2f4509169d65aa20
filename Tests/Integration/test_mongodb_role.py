"""The minimal rights on MongoDB: what doctor prints, pasted as it is, is enough for the whole bridge, by
either reader, with documents and snapshots; and doctor fails as long as it is not."""

import json
import re

import pymongo
import pytest
from bridge import Bridge, configuration, tailrace, wait_until
from jetstream import JetStream
from lab import Lab

WORD = "role-test"


def mongosh(root, line):
    """Runs one line for mongosh, as it stands in a remedy."""
    call = re.fullmatch(r'db\.getSiblingDB\(("[^"]*")\)\.(\w+)\((.*)\)', line)
    assert call, f"not for mongosh: {line}"
    database, method = json.loads(call[1]), call[2]
    text = call[3].replace("passwordPrompt()", json.dumps(WORD))
    decoder, arguments = json.JSONDecoder(), []
    while text:
        value, end = decoder.raw_decode(text)
        arguments.append(value)
        text = text[end:].removeprefix(", ")
    if method in ("createRole", "createUser"):
        (given,) = arguments
        key = method.removeprefix("create").lower()
        command = {method: given.pop(key)} | given
    else:
        what = {"grantRolesToUser": "roles", "grantPrivilegesToRole": "privileges"}[method]
        command = {method: arguments[0], what: arguments[1]}
    root[database].command(command)


class Guarded:
    """A replica set with users, and a NATS server."""

    def __init__(self, lab, folder):
        self.lab = lab
        key = folder / "key"
        key.write_text("bG9jYWwtdGVzdC1rZXk=")
        key.chmod(0o400)
        with pymongo.MongoClient(lab.uri) as mongo:
            mongo.admin.command("createUser", "root", pwd=WORD, roles=["root"])
        lab.kill("mongod", 0)
        lab.mongod[0].command += ["--keyFile", str(key)]
        lab.start("mongod", 0)
        self.address = f"127.0.0.1:{lab.mongod[0].port}/?replicaSet=rs0&authSource=admin"
        self.root = pymongo.MongoClient(self.uri("root"))
        wait_until(lambda: self.root.is_primary, "a primary")
        self.jetstream = JetStream(lab.nats_url)

    def uri(self, user):
        return f"mongodb://{user}:{WORD}@{self.address}"

    def user(self, name):
        """Somebody who may log in, and nothing else."""
        self.root.admin.command("createUser", name, pwd=WORD, roles=[])
        return name

    def forget(self):
        """Every role and user but root."""
        for found in self.root.admin.command("usersInfo")["users"]:
            if found["user"] != "root":
                self.root.admin.command("dropUser", found["user"])
        self.root.admin.command("dropAllRolesFromDatabase")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    with Lab() as lab:
        found = Guarded(lab, tmp_path_factory.mktemp("guarded"))
        yield found
        found.root.close()


@pytest.fixture(autouse=True)
def forget(guarded):
    yield
    guarded.forget()


def findings(bridge):
    answer = tailrace("doctor", "-c", bridge.file, "--json", seconds=60)
    return {c["id"]: c for c in json.loads(answer.stdout)["checks"] if c["id"].startswith("mongodb.")}


def grant(guarded, bridge, stays=False):
    """Pastes the remedies of what fails, until nothing does; the checks that failed.

    `stays`: once, since the configuration names another user."""
    failed = []
    for _ in range(4):
        bad = {id: c for id, c in findings(bridge).items() if c["verdict"] == "fail"}
        if not bad:
            return failed
        failed += bad
        # Two checks may print the same commands.
        lines = {line: None for c in bad.values() for line in c["remedy"].splitlines()
                 if line and not line.startswith(("//", "#"))}
        for line in lines:
            mongosh(guarded.root, line)
        if stays:
            return failed
    raise AssertionError(f"doctor still fails: {bad}")


def made(guarded, folder, name, user, reader, payload=None, operations=None, start="now"):
    rule = {"payload": {"envelope": "change_event", "json": "relaxed"} | (payload or {})}
    if operations:
        rule["match"] = {"namespace": f"{name}.*", "operations": operations}
    whole = configuration(guarded.lab, name, rule=rule)
    whole["source"] |= {"uri": guarded.uri(user) if user else f"mongodb://{guarded.address}",
                        "reader": reader, "start": start}
    return Bridge(folder, whole)


def bodies(guarded, name):
    return [m.json for m in guarded.jetstream.messages(name)]


READERS = ["oplog", "change_stream"]


@pytest.mark.parametrize("reader", READERS)
def test_tailing(guarded, tmp_path, name, reader):
    user = guarded.user("bridge")
    rooms = guarded.root[name].create_collection("rooms")
    with made(guarded, tmp_path, name, user, reader) as bridge:
        assert grant(guarded, bridge) == [
            "mongodb.oplog_read" if reader == "oplog" else "mongodb.change_stream"]
        bridge.start().wait_ready()
        for number in range(20):
            rooms.insert_one({"_id": number})
        rooms.update_one({"_id": 3}, {"$set": {"a": 1}})
        wait_until(lambda: bridge.alive() and guarded.jetstream.holds(name, 21), "all events")
        bridge.kill()
        rooms.delete_one({"_id": 4})
        bridge.start().wait_ready()
        wait_until(lambda: bridge.alive() and guarded.jetstream.holds(name, 22), "after a kill")
        assert bridge.terminate() == 0
        assert tailrace("verify", "-c", bridge.file).returncode == 0


@pytest.mark.parametrize("reader", READERS)
def test_nobody_yet(guarded, tmp_path, name, reader):
    """The commands for one who has no user make it, with all that the rules need."""
    rooms = guarded.root[name].create_collection("rooms")
    payload = {"full_document": "when_available", "full_document_before_change": "when_available"}
    with made(guarded, tmp_path, name, None, reader, payload) as bridge:
        assert {"mongodb.documents", "mongodb.oplog_read" if reader == "oplog"
                else "mongodb.change_stream"} <= set(grant(guarded, bridge, stays=True))
    with made(guarded, tmp_path, name, "tailrace", reader, payload) as bridge:
        assert grant(guarded, bridge) == []
        bridge.start().wait_ready()
        rooms.insert_one({"_id": 1})
        rooms.update_one({"_id": 1}, {"$set": {"a": 1}})
        wait_until(lambda: bridge.alive() and guarded.jetstream.holds(name, 2), "both events", 30)
        assert bodies(guarded, name)[1]["fullDocument"] == {"_id": 1, "a": 1}
        assert bridge.terminate() == 0


@pytest.mark.parametrize("reader", READERS)
def test_documents(guarded, tmp_path, name, reader):
    """Of updates, before and after."""
    user = guarded.user("bridge")
    rooms = guarded.root[name].create_collection(
        "rooms", changeStreamPreAndPostImages={"enabled": True})
    payload = {"full_document": "required", "full_document_before_change": "required"}
    with made(guarded, tmp_path, name, user, reader, payload) as bridge:
        grant(guarded, bridge)
        bridge.start().wait_ready()
        rooms.insert_one({"_id": 1, "a": 0})
        for number in range(1, 6):
            rooms.update_one({"_id": 1}, {"$set": {"a": number}})
        rooms.delete_one({"_id": 1})
        wait_until(lambda: bridge.alive() and guarded.jetstream.holds(name, 7), "all events", 30)
        found = [(m.get("fullDocument"), m.get("fullDocumentBeforeChange"))
                 for m in bodies(guarded, name)]
        assert found[1:6] == [({"_id": 1, "a": n}, {"_id": 1, "a": n - 1}) for n in range(1, 6)]
        assert found[6] == (None, {"_id": 1, "a": 5})
        assert bridge.terminate() == 0


@pytest.mark.parametrize("reader", READERS)
def test_a_snapshot(guarded, tmp_path, name, reader):
    user = guarded.user("bridge")
    rooms = guarded.root[name].create_collection("rooms")
    rooms.insert_many([{"_id": n} for n in range(50)])
    # The user sees that there is another database, and may not list its collections.
    guarded.root[f"{name}_other"].secrets.insert_one({"_id": 1})
    guarded.root.admin.command("createRole", "glance", roles=[], privileges=[
        {"resource": {"db": f"{name}_other", "collection": "x"}, "actions": ["find"]}])
    guarded.root.admin.command("grantRolesToUser", user, roles=["glance"])
    with made(guarded, tmp_path, name, user, reader, start="snapshot") as bridge:
        grant(guarded, bridge)
        bridge.start().wait_ready()
        rooms.insert_one({"_id": 50})
        wait_until(lambda: bridge.alive() and guarded.jetstream.holds(name, 51), "all documents")
        assert bridge.terminate() == 0
        again = tailrace("snapshot", "-c", bridge.file)
        assert again.returncode == 0, again.stderr
        state = tailrace("verify", "--level", "state", "-c", bridge.file)
        assert state.returncode == 0, state.stdout + state.stderr
