"""Buckets beside streams: how fast a backlog is published."""

import statistics

from benchmark.tailrace import moment
from record.claim import claim, demand
from record.world import Bridge

COUNT, ROUNDS = 30_000, 5


def rate(world, bridge, stream, start):
    """Events a second of a run over the backlog, by the server's times of the first and the last one."""
    code, _ = bridge.command("run", "--from", f"{start.time}.{start.inc}", "--until", "now")
    state = world.state(stream)
    demand(code == 0 and state["messages"] == COUNT, f"exit code {code}, {state['messages']} messages of {COUNT}")
    spent = moment(state["last_ts"]) - moment(state["first_ts"])
    for one in (stream, f"KV_STATE_{bridge.name}", f"DLQ_{bridge.name}"):
        world.api(f"STREAM.DELETE.{one}")
    return COUNT / spent


@claim("key-value, rate", "A backlog goes into a bucket at 80 % or more of the rate of a stream with the same bodies",
       spoiled="publish: single, for the bucket")
def backlog(world, spoiled):
    name = "backlog"
    world.made.add(name)
    world.mongo[name].create_collection("messages")
    start = world.mongo.admin.command("hello")["lastWrite"]["majorityOpTime"]["ts"]
    for first in range(0, COUNT, 1000):
        world.insert(name, 1000, first=first, size=200)
    ratios, rates = [], []
    for number in range(1 if spoiled else ROUNDS):
        common = {"match": {"namespace": f"{name}.messages", "operations": ["insert"]}, "payload": {"envelope": "document"}}
        to_stream = Bridge(world, f"S{number}", [common | {
            "name": name, "subject": "backlog.{documentKey._id}", "stream": f"S{number}"}],
            streams=[{"name": f"S{number}", "subjects": ["backlog.>"], "duplicate_window": "2m"}])
        to_bucket = Bridge(world, f"B{number}", [common | {
            "name": name, "delivery": "kv", "kv": {"bucket": f"B{number}", "key": "{documentKey._id}"}}],
            streams=[], kv=[{"bucket": f"B{number}", "publish": "single" if spoiled else "auto"}])
        rates.append((rate(world, to_stream, f"S{number}", start), rate(world, to_bucket, f"KV_B{number}", start)))
        ratios.append(rates[-1][1] / rates[-1][0])
    ratio = statistics.median(ratios)
    stream, bucket = (statistics.median(one) for one in zip(*rates))
    demand(ratio >= 0.8, f"{ratio:.2f}: {bucket:,.0f}/s into the bucket, {stream:,.0f}/s into the stream")
    return (f"{COUNT:,} events {len(rates)} times, in turn: {bucket:,.0f}/s into a bucket, {stream:,.0f}/s into a stream; "
            f"median of the ratios {ratio:.2f}")
