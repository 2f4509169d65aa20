"""Three replicas: what is acknowledged is there, whichever server is killed."""

import time

from record.claim import claim, demand
from record.world import wait_until


def leader(world, stream):
    """The index of the server that leads the stream."""
    def named():
        return (world.api(f"STREAM.INFO.{stream}").get("cluster") or {}).get("leader")

    return int(wait_until(named, f"{stream} has a leader")[1:])


def in_step(world, stream):
    """Whether every replica has everything, so that another one may be killed."""
    cluster = world.api(f"STREAM.INFO.{stream}").get("cluster") or {}
    return cluster.get("leader") and all(
        one.get("current") and not one.get("offline") and not one.get("lag") for one in cluster.get("replicas") or [])


@claim("persistence", "A stream with three replicas keeps every message, and takes new ones, while any server is killed",
       spoiled="one replica", servers=3)
def persistence(world, spoiled):
    name, batch, pauses = "persistence", 200, {True: [], False: []}
    with world.bridge(name, stream={"num_replicas": 1 if spoiled else 3}) as bridge:
        world.insert(name, batch)
        world.wait_stored(name, batch)
        written, alive = batch, [0, 1, 2]
        while alive:
            wait_until(lambda: in_step(world, name), "the replicas are in step")
            # The leader first, then one that is not.
            present = leader(world, name)
            index = next((n for n in alive if (n == present) == (len(alive) == 3)), alive[0])
            alive.remove(index)
            world.lab.kill("nats", index)
            began = time.monotonic()
            world.insert(name, batch, first=written)
            # While the server is down. One without an answer is asked again at once.
            wait_until(lambda: (world.api(f"STREAM.INFO.{name}", attempts=1).get("state") or {}).get(
                "last_seq", 0) > written, f"server {index} is down, and new messages are stored", 15 if spoiled else 60)
            pauses[index == present].append(time.monotonic() - began)
            written += batch
            world.wait_stored(name, written)
            found = [message.headers["Tailrace-Position"] for message in world.everything(name)]
            demand(found == world.positions(name), f"{len(found)} messages of {written} while server {index} is down")
            world.lab.start("nats", index)
            world.lab.wait("nats")
        bridge.status()
    led, followed = (", ".join(f"{pause:.1f}" for pause in pauses[kind]) for kind in (True, False))
    return (f"{written} of {written} messages, in order, read while each of three servers was down in turn; new ones stored "
            f"{led} s after the death of a leader, {followed} s after that of a follower")
