"""The runs of tailrace itself."""

import asyncio
import json
import os
import time
import urllib.request
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path

import nats
import pymongo
import yaml

import fetch
from benchmark.backlog import DATABASE
from benchmark.cost import CatchUp, Meter, Process
from lab import free_ports

BINARY = Path(os.environ.get("TAILRACE_BINARY", fetch.ROOT / ".build" / "release" / "tailrace"))


def api(url, subject, body=None):
    async def ask():
        connection = await nats.connect(url.split(","))
        try:
            answer = await connection.request(
                f"$JS.API.{subject}", json.dumps(body).encode() if body else b"", timeout=20)
            return json.loads(answer.data)
        finally:
            await connection.close()

    return asyncio.run(ask())


def moment(text):
    """A server's RFC 3339 time with nanoseconds, in seconds."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return (datetime.fromisoformat(whole).replace(tzinfo=timezone.utc).timestamp()
            + float(f"0.{fraction or 0}"))


# Every field of the backlog's messages, inserted or edited.
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["operationType", "documentKey"],
    "additionalProperties": False,
    "properties": {
        "operationType": {"enum": ["insert", "update"]},
        "documentKey": {
            "type": "object", "required": ["_id"], "additionalProperties": False,
            "properties": {"_id": {"type": "string", "pattern": "^[0-9a-f]{24}$"}}},
        "fullDocument": {"type": "object", "required": ["_id", "rid", "msg", "ts", "u"],
                         "additionalProperties": False, "properties": {
            "_id": {"type": "string", "pattern": "^[0-9a-f]{24}$"},
            "rid": {"type": "string", "minLength": 1, "maxLength": 64},
            "msg": {"type": "string", "maxLength": 5000},
            "ts": {"type": "string", "format": "date-time"},
            "_updatedAt": {"type": "string", "format": "date-time"},
            "u": {"type": "object", "required": ["_id", "username"], "properties": {
                "_id": {"type": "string"}, "username": {"type": "string", "minLength": 1},
                "name": {"type": "string"}}},
            "mentions": {"type": "array", "items": {"type": "object"}},
            "channels": {"type": "array", "items": {"type": "object"}},
            "urls": {"type": "array"}, "md": {"type": "array"}, "groupable": {"type": "boolean"},
            "unread": {"type": "boolean"}, "t": {"type": "string"}}},
        "updateDescription": {"type": "object", "required": ["updatedFields"], "properties": {
            "updatedFields": {"type": "object", "properties": {
                "msg": {"type": "string"},
                "editedAt": {"type": "string", "format": "date-time"},
                "_updatedAt": {"type": "string", "format": "date-time"}}},
            "removedFields": {"type": "array", "items": {"type": "string"}}}},
    },
}


def configuration(folder, lab, name, subjects, publish, replicas=1, schema=False):
    """A configuration of its own for each run, so that none finds another's checkpoint."""
    (Path(folder) / "message.json").write_text(json.dumps(SCHEMA))
    file = Path(folder) / f"{name}.yaml"
    stream = {"name": name, "subjects": [f"{subjects}.>"], "num_replicas": replicas,
              "duplicate_window": "2m"}
    if publish != "auto":
        stream["publish"] = publish
    file.write_text(yaml.safe_dump({
        "source": {"uri": lab.uri, "name": "rs0", "start": "now"},
        "nats": {"servers": lab.nats_url.split(",")},
        "bridge": {"name": name, "state_bucket": f"STATE_{name}"},
        "streams": [stream],
        "rules": [{
            "name": "all", "match": {"namespace": f"{DATABASE}.*"},
            "subject": subjects + ".{ns.db}.{ns.coll}", "stream": name,
            "payload": {"envelope": "cloudevents", "json": "simplified"}}
            | ({"schema": "message.json", "on_invalid": "halt"} if schema else {})],
        "dead_letter": {"stream": f"DLQ_{name}", "subject": f"dlq_{name}" + ".{rule}"},
        "http": {"listen": f"127.0.0.1:{free_ports(1)[0]}"},
    }, sort_keys=False))
    return file


def forget(lab, name):
    for stream in (name, f"KV_STATE_{name}", f"DLQ_{name}"):
        api(lab.nats_url, f"STREAM.DELETE.{stream}")


def catch_up(folder, lab, name, start, events, publish="auto", replicas=1, schema=False,
             keep=False, binary=BINARY, beside=nullcontext):
    """`keep`: leaves the streams where they are. `beside`: makes, of the configuration's file, what is there meanwhile."""
    file = configuration(folder, lab, name, name, publish, replicas, schema)
    log = Path(folder) / f"{name}.log"
    with beside(file):
        meter = Meter(lab)
        process = Process([binary, "run", "-c", file, "--from", f"{start.time}.{start.inc}",
                           "--until", "now"], log=log)
        code, wall, usage = process.wait()
        own = usage.ru_utime + usage.ru_stime
        mongod, server, others = meter.read(own)
    if code != 0:
        raise RuntimeError(f"tailrace ended with {code}:\n{log.read_text()[-3000:]}")
    info = api(lab.nats_url, f"STREAM.INFO.{name}")
    state = info["state"]
    if state["messages"] != events:
        raise RuntimeError(f"{state['messages']} messages in the stream for {events} events")
    spent = moment(state["last_ts"]) - moment(state["first_ts"])
    if not keep:
        forget(lab, name)
    return CatchUp(events, events / spent, own / events * 1e6, mongod / events * 1e6,
                   server / events * 1e6, process.peak, wall, process.quarters(), others)


def verified(folder, lab, name, events, *arguments):
    """A verification of what `catch_up` has published and kept; the rate is that of the whole process."""
    file = Path(folder) / f"{name}.yaml"
    report = Path(folder) / f"{name}.json"
    log = Path(folder) / f"{name}.verify.log"
    meter = Meter(lab)
    process = Process([BINARY, "verify", "-c", file, "--report", report, *arguments], log=log)
    code, wall, usage = process.wait()
    own = usage.ru_utime + usage.ru_stime
    mongod, server, others = meter.read(own)
    if code != 0 or json.loads(report.read_text())["counts"]["observed"] != events:
        raise RuntimeError(f"verify ended with {code}:\n{log.read_text()[-3000:]}")
    return CatchUp(events, events / wall, own / events * 1e6, mongod / events * 1e6,
                   server / events * 1e6, process.peak, wall, process.quarters(), others)


def wait_ready(file, process):
    listen = yaml.safe_load(file.read_text())["http"]["listen"]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://{listen}/readyz", timeout=2):
                return
        except OSError:
            if process.child.poll() is not None:
                break
            time.sleep(0.02)
    raise RuntimeError("tailrace isn't ready")


def tailrace_latency(folder, lab, name, publish, measure):
    """Runs tailrace from now on and `measure(subject)` beside it."""
    file = configuration(folder, lab, name, name, publish)
    process = Process([BINARY, "run", "-c", file], log=Path(folder) / f"{name}.log")
    try:
        wait_ready(file, process)
        return measure(f"{name}.>")
    finally:
        process.stop()
        forget(lab, name)


def first_event(folder, lab, name, start, publish):
    """Milliseconds from the start of the process to the first message, on a fresh stream and on a
    restart from the checkpoint with one new change waiting."""
    file = configuration(folder, lab, name, name, publish)

    async def timed(*arguments):
        connection = await nats.connect(lab.nats_url.split(","))
        arrived = asyncio.get_running_loop().create_future()

        async def on(_):
            if not arrived.done():
                arrived.set_result(time.monotonic())

        await connection.subscribe(f"{name}.>", cb=on)
        await connection.flush()
        process = Process([BINARY, "run", "-c", file, *arguments],
                          log=Path(folder) / f"{name}.log")
        try:
            return (await asyncio.wait_for(arrived, 30) - process.began) * 1e3
        finally:
            await asyncio.sleep(0.5)
            process.stop()
            await connection.close()

    with pymongo.MongoClient(lab.uri) as client:
        after = client.admin.command("hello")["lastWrite"]["majorityOpTime"]["ts"]
        client[DATABASE].start.insert_one({"at": "first"})
        fresh = asyncio.run(timed("--from", f"{after.time}.{after.inc}"))
        client[DATABASE].start.insert_one({"at": "again"})
        again = asyncio.run(timed())
    forget(lab, name)
    return fresh, again
