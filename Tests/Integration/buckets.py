"""What tests of `delivery: kv` share: a configuration, and buckets as nats-py sees them."""

import asyncio
import json

import nats
from nats.js.errors import KeyNotFoundError, NoKeysError, NotFoundError

from bridge import configuration, tailrace, wait_until
from load import client


def bucket(lab, name, key="{documentKey._id}", rule=None, **settings):
    """Every document of the database is an entry under its _id."""
    changes = {"streams": [], "kv": [{"bucket": name, "publish": settings.pop("publish", "auto")} | settings]}
    rules = [{"name": "state", "match": {"namespace": f"{name}.*"}, "delivery": "kv",
              "kv": {"bucket": name, "key": key} | (rule or {}),
              "payload": {"envelope": "document", "full_document": "when_available"}}]
    return configuration(lab, name, rules=rules, **changes)


def with_bucket(lab, name, work):
    """Runs `work(kv)` with nats-py."""
    async def connected():
        nc = await nats.connect(lab.nats_url.split(","), connect_timeout=5)
        try:
            return await work(await nc.jetstream().key_value(name))
        finally:
            await nc.close()

    return asyncio.run(connected())


def value(lab, name, key):
    """The entry's document; None for a key that is not there."""
    async def get(kv):
        try:
            found = (await kv.get(key)).value
            return json.loads(found) if found else None  # a marker has no value
        except KeyNotFoundError:
            return None

    return with_bucket(lab, name, get)


def ready(bridge):
    bridge.start()
    wait_until(lambda: bridge.alive() and bridge.json("/status")[1].get("phase") == "running", "it publishes")


def verify(bridge, *arguments, code=0):
    # Not the checkpoint's end, which may be a second old.
    end = () if "--to" in arguments else ("--to", "now")
    done = tailrace("verify", "--json", *end, *arguments, "-c", bridge.file, cwd=bridge.folder, seconds=180)
    assert done.returncode == code, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return json.loads(done.stdout)


def differences(lab, name):
    """Keys of the bucket that are not as the documents of the database are."""
    with client(lab) as mongo:
        truth = {str(d["_id"]): d for d in mongo[name].users.find()}

    async def entries(kv):
        found = {}
        try:
            for key in await kv.keys():
                found[key] = json.loads((await kv.get(key)).value)
        except (NotFoundError, NoKeysError):
            pass
        return found

    found = with_bucket(lab, name, entries)
    return {key for key in truth.keys() | found.keys() if truth.get(key) != found.get(key)}
