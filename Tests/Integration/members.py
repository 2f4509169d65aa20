"""Members of a replica set that are taken from the bridge while it reads from them, one way or
another, and the course that all of these faults take."""

import random
import time

from bridge import Bridge, configuration, wait_until
from faults import ROUNDS, progress, seed
from jetstream import JetStream
from load import Writer, check, make_collections, now

# A silent member is given up after ten seconds; then another is looked for.
SILENCE_SECONDS = 20
# So faults of silence take long: fewer of them.
SILENT_ROUNDS = ROUNDS // 10


def read_by_bridge(lab, skip=None):
    """Index of the member where the bridge tails the oplog, as the members themselves tell;
    None when no request is under way."""
    for member in lab.mongod:
        if member.index == skip or not member.running:
            continue
        with member.client() as mongo:
            if list(mongo.admin.aggregate([
                    {"$currentOp": {}},
                    {"$match": {"appName": "tailrace", "ns": "local.oplog.rs",
                                "op": "getmore"}}])):
                return (member.index,)  # true also for member 0
    return None


def commits(lab, skip):
    """Whether the other members have a primary whose writes come to a majority. Without, nobody
    could read on; some servers take long to give up a source that has fallen silent."""
    for member in lab.mongod:
        if member.index != skip and member.hello().get("isWritablePrimary"):
            answer = member.command_answer("appendOplogNote", 1, data={"still": "there"},
                                           writeConcern={"w": "majority", "wtimeout": 1000})
            return answer is not None and "writeConcernError" not in answer
    return False


def read_on(lab, folder, name, fault, uri=None, elsewhere=True, rounds=ROUNDS // 5, rate=300):
    """`fault(victim)` takes the member being read away; what it returns brings it back. In
    between the stream must go on growing, read from another member (unless not `elsewhere`); in
    the end it must be exact."""
    dice = random.Random(seed())
    make_collections(lab, name)
    jetstream = JetStream(lab.nats_url)
    with Bridge(folder, configuration(lab, name, source={"uri": uri or lab.uri})) as bridge:
        bridge.start().wait_ready()
        after = now(lab)
        with Writer(lab, name, dice.random(), rate=rate) as writer:
            for number in range(1, max(1, rounds) + 1):
                progress(jetstream, bridge, name, "before the fault")
                time.sleep(dice.uniform(0, 1))
                victim, = wait_until(lambda: read_by_bridge(lab), "some member is read")
                role = "primary" if victim == lab.primary() else "secondary"
                began = time.monotonic()
                bring_back = fault(victim)
                if elsewhere:
                    wait_until(lambda: bridge.alive() and read_by_bridge(lab, skip=victim),
                               "another member is read", SILENCE_SECONDS)
                    wait_until(lambda: commits(lab, skip=victim), "the others commit", 90)
                    print(f"the others commit {time.monotonic() - began:.1f} s after the fault")
                progress(jetstream, bridge, name, f"without member {victim}")
                print(f"round {number}: {role} {victim} away, new messages after "
                      f"{time.monotonic() - began:.1f} s")
                bring_back()
                lab.wait("mongod")
                progress(jetstream, bridge, name, f"with member {victim} back")
        print(f"written {writer.written}, the writer's errors: {dict(writer.errors)}")
        assert check(lab, jetstream, name, name, after) > 0
        bridge.alive()
        assert bridge.terminate() == 0
