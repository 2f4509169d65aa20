"""A rollback made to order on three members: writes that only the primary has, a new primary
without them, and the old one back among the others, where it must undo them."""

import time

import bson
import pymongo
from bridge import wait_until
from load import client

# Test commands for fail points; frequent checkpoints, so that a killed member is soon back.
PARAMETERS = {"enableTestCommands": 1, "syncdelay": 5}


class Rollback:
    """In this order: `stop_replication`, `write_phantoms`, `depose`, `bring_back`, `prove`."""

    def __init__(self, lab, database):
        self.lab, self.database = lab, database
        self.ids = []
        with lab.mongod[lab.wait_primary()].client() as mongo:
            config = mongo.admin.command("replSetGetConfig")["config"]
            config["version"] += 1
            # A new primary would first fetch what the old one still has.
            config["settings"]["catchUpTimeoutMillis"] = 0
            mongo.admin.command("replSetReconfig", config)
        self.old = lab.wait_primary()
        self.others = [index for index in range(3) if index != self.old]

    def stop_replication(self):
        """The secondaries fetch nothing any more, yet answer heartbeats: the primary stays it."""
        for index in self.others:
            self._fail_point(index, "alwaysOn")

    def write_phantoms(self, count=5, extra=()):
        """Inserts that the primary acknowledges and has on disk, and nobody else."""
        new = [f"phantom-{len(self.ids) + number}" for number in range(count)]
        with self.lab.mongod[self.old].client() as mongo:
            phantoms = mongo[self.database].get_collection(
                "rooms", write_concern=pymongo.WriteConcern(w=1, j=True))
            phantoms.insert_many([{"_id": key} for key in new])
            self.position = mongo.admin.command("hello")["lastWrite"]["opTime"]["ts"]
        self.ids += new
        time.sleep(0.3)
        for index in self.others:
            assert not self._present(index), "replication has not stopped"

    def depose(self, how):
        """`killed`: kill -9 of the primary, an election among the others. `outvoted`: it lives, in
        the midst of being read, and undoes its writes as soon as it hears of the new one."""
        if how == "killed":
            self.lab.kill("mongod", self.old)
        best = max(self.others, key=lambda index: self._optime(index))
        wait_until(lambda: self._step_up(best), "a secondary becomes primary", every=0.2)
        for index in self.others:
            self._fail_point(index, "off")
        return best

    def bring_back(self):
        """Until the old primary follows the new one."""
        if not self.lab.mongod[self.old].running:
            self.lab.start("mongod", self.old)
        wait_until(lambda: self.lab.mongod[self.old].hello().get("secondary")
                   and not self._present(self.old), "the old primary is a secondary again", 60)
        self.lab.wait("mongod")

    def prove(self):
        """That it was a rollback: mongod keeps what it undid in files."""
        folder = self.lab.mongod[self.old].folder / "db" / "rollback"
        undone = {document["_id"] for file in folder.rglob("removed.*.bson")
                  for document in bson.decode_all(file.read_bytes())}
        assert undone.issuperset(self.ids), f"no rollback: {folder} holds {sorted(undone)[:5]}"
        for index in range(3):
            assert not self._present(index)

    def _present(self, index):
        try:
            with self.lab.mongod[index].client() as mongo:
                rooms = mongo[self.database].get_collection(
                    "rooms", read_preference=pymongo.ReadPreference.SECONDARY_PREFERRED)
                return rooms.count_documents({"_id": {"$in": self.ids}})
        except pymongo.errors.PyMongoError:
            return -1  # in the middle of it nothing can be read

    def _optime(self, index):
        return self.lab.mongod[index].hello()["lastWrite"]["opTime"]["ts"]

    def _step_up(self, index):
        member = self.lab.mongod[index]
        if member.hello().get("isWritablePrimary"):
            return True
        member.command_answer("replSetStepUp", 1)
        return member.hello().get("isWritablePrimary")

    def _fail_point(self, index, mode):
        with self.lab.mongod[index].client() as mongo:
            mongo.admin.command("configureFailPoint", "stopReplProducer", mode=mode)


def insert(lab, database, first, count):
    """Ordinary documents that a majority has when this returns."""
    with client(lab, w="majority") as mongo:
        mongo[database].rooms.insert_many(
            [{"_id": f"real-{number}"} for number in range(first, first + count)])
