"""Light publish and subscribe: `delivery: core` stores nothing."""

import asyncio
import json
import statistics
import time

from pymongo import WriteConcern

from record.claim import claim, demand


@claim("core pub/sub", "Signals reach who listens at the moment, each its own inbox, and nothing stores them",
       spoiled="a stream takes their subjects")
def signals(world, spoiled):
    name, count, instances = "signals", 150, 3
    rule = {"name": name, "match": {"namespace": f"{name}.messages", "operations": ["insert"]}, "delivery": "core",
            "subject": "inbox.{fullDocument.room}", "payload": {"envelope": "document"}}
    with world.bridge(name, [rule], streams=[], source={"read_concern": "local"}):
        if spoiled:
            world.make_stream(name, subjects=["inbox.>"])

        def stored():
            """What all streams hold, but for the bridge's checkpoints."""
            listed = world.api("STREAM.LIST").get("streams") or []
            return {one["config"]["name"]: one["state"]["messages"] for one in listed
                    if not one["config"]["name"].startswith("KV_STATE_")}

        before = stored()
        taking = world.api("STREAM.NAMES", {"subject": "inbox.>"}).get("streams")
        heard, delays, late = {n: [] for n in range(instances)}, [], []

        async def listen(connection):
            ended, arrived = {}, {}

            def inbox(n):
                async def on(message):
                    identity = json.loads(message.data)["_id"]
                    arrived[identity] = time.monotonic()
                    heard[n].append(identity)
                return on

            for n in range(instances):
                await connection.subscribe(f"inbox.r{n}", cb=inbox(n))
            await connection.flush()
            journaled = world.mongo[name].get_collection("messages", write_concern=WriteConcern(w=1, j=True))
            loop = asyncio.get_running_loop()

            def write(n):
                journaled.insert_one({"_id": n, "room": f"r{n % instances}"})
                return time.monotonic()

            for n in range(count):
                ended[n] = await loop.run_in_executor(None, write, n)
            for _ in range(1000):
                if sum(map(len, heard.values())) >= count:
                    break
                await asyncio.sleep(0.01)
            delays.extend((arrived[n] - ended[n]) * 1000 for n in range(count) if n in arrived)

            # Who comes later gets nothing.
            async def on_late(message):
                late.append(message)

            await connection.subscribe("inbox.>", cb=on_late)
            await connection.flush()
            await asyncio.sleep(0.3)

        world.connected(listen)
        for n in range(instances):
            demand(heard[n] == list(range(n, count, instances)), f"instance {n} heard {len(heard[n])} signals")
        demand(not late, f"who came later heard {len(late)} signals")
        demand(not taking, f"streams take the subjects: {taking}")
        demand(stored() == before, "a stream has grown")
        p50 = statistics.median(delays)
        return (f"{count} signals to {instances} inboxes, each its own, nothing stored, nothing for who comes later; p50 "
                f"{abs(p50):.2f} ms {'after' if p50 > 0 else 'before'} the end of a j:true write (read_concern: local)")
