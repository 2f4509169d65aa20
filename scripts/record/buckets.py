"""The KV store: the present state by key, history, watchers, expiry."""

import asyncio
import json
import time

from nats.js.errors import KeyNotFoundError

from record.claim import claim, demand


@claim("key-value", "A bucket has each key's last value and history, tells watchers, and lets entries expire",
       spoiled="no ttl")
def presence(world, spoiled):
    name, ttl = "presence", 4
    rule = {"name": name, "match": {"namespace": f"{name}.*"}, "delivery": "kv",
            "kv": {"bucket": name, "key": "{documentKey._id}"},
            "payload": {"envelope": "document", "full_document": "required"}}
    bucket = {"bucket": name, "history": 3} | ({} if spoiled else {"ttl": f"{ttl}s"})
    with world.bridge(name, [rule], streams=[], kv=[bucket]):
        users, course = world.mongo[name].messages, ["online", "away", "busy", "online"]

        def write():
            users.insert_one({"_id": "linus", "status": course[0]})
            users.insert_one({"_id": "ada", "status": course[0]})
            for status in course[1:]:
                users.update_one({"_id": "ada"}, {"$set": {"status": status}})
            users.delete_one({"_id": "linus"})
            return time.monotonic()

        async def watch(connection):
            bucket = await connection.jetstream().key_value(name)
            watcher = await bucket.watchall()
            written = asyncio.get_running_loop().run_in_executor(None, write)
            told = []
            while len(told) < len(course) + 2:
                entry = await watcher.updates(timeout=20)
                if entry:
                    status = json.loads(entry.value)["status"] if entry.value else None
                    told.append((entry.key, entry.operation or "PUT", status))
            ended = await written
            seen = time.monotonic()
            demand([one for one in told if one[0] == "ada"] == [("ada", "PUT", status) for status in course],
                   f"the watcher saw {told}")
            demand([one[1] for one in told if one[0] == "linus"] == ["PUT", "PURGE"], f"the watcher saw {told}")
            history = [json.loads(entry.value)["status"] for entry in await bucket.history("ada")]
            demand(history == course[-3:], f"the history is {history}")
            last = json.loads((await bucket.get("ada")).value)
            demand(last == {"_id": "ada", "status": course[-1]}, f"the value is {last}")
            while time.monotonic() < seen + ttl + 10:
                try:
                    await bucket.get("ada")
                except KeyNotFoundError:
                    return (seen - ended) * 1000, time.monotonic() - ended
                await asyncio.sleep(0.05)
            demand(False, f"the entry is there {ttl + 10} s later; its ttl is {ttl} s")

        told, gone = world.connected(watch)
        demand(gone >= ttl - 0.5, f"the entry was gone after {gone:.1f} s")
        return (f"6 changes of 2 keys seen in order by a watcher, the last {max(told, 0):.0f} ms after its write; history of 3; "
                f"gone {gone:.1f} s after its last change (ttl {ttl} s)")
