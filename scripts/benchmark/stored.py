"""Catching up into a stream that has some of the ids already, by a producer that was first."""

import random
import socket
import time
from pathlib import Path
from urllib.parse import urlparse

import pymongo
import yaml

from benchmark.backlog import COLLECTION, DATABASE
from benchmark.cost import CatchUp, Meter, Process
from benchmark.tailrace import BINARY, api, configuration, forget


def identities(uri):
    with pymongo.MongoClient(uri) as client:
        found = client[DATABASE][COLLECTION].find({}, {"_id": 1}, sort=[("$natural", 1)])
        return [str(document["_id"]) for document in found]


def produce(url, subject, ids):
    """Waits for the ack of every 500th: servers drop what is sent ahead of their queue without one."""
    place = urlparse(url.split(",")[0])
    with socket.create_connection((place.hostname, place.port)) as connection:
        connection.sendall(b'CONNECT {"verbose":false,"headers":true}\r\nSUB produced.acks 1\r\n')
        body = b'{"produced":true,"text":"' + b"x" * 220 + b'"}'
        for first in range(0, len(ids), 500):
            lines = []
            chunk = ids[first:first + 500]
            for number in chunk:
                head = f"NATS/1.0\r\nNats-Msg-Id: {number}.created\r\n\r\n".encode()
                reply = "produced.acks " if number is chunk[-1] else ""
                lines.append(f"HPUB {subject} {reply}{len(head)} {len(head) + len(body)}\r\n".encode()
                             + head + body + b"\r\n")
            connection.sendall(b"".join(lines))
            answer = b""
            while b'"stream"' not in answer:
                answer += connection.recv(65536)
                if b'"error"' in answer:
                    raise RuntimeError(f"the producer's message is refused: {answer[-300:]!r}")
                if b"PING" in answer:
                    connection.sendall(b"PONG\r\n")


def catch_up_stored(folder, lab, name, start, ids, share, publish, replicas, ownership):
    """The rate is that of the whole process: what is stored already leaves no time in the stream."""
    file = configuration(folder, lab, name, name, publish, replicas)
    settings = yaml.safe_load(file.read_text())
    settings["streams"][0] |= {"ownership": ownership, "duplicate_window": "1h"}
    settings["rules"][0] |= {"id": "{documentKey._id}.created"}
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    flags = {"atomic": "allow_atomic", "fast": "allow_batched"}
    api(lab.nats_url, f"STREAM.CREATE.{name}", {
        "name": name, "subjects": [f"{name}.>"], "num_replicas": replicas, "allow_direct": True,
        "duplicate_window": 3_600_000_000_000} | ({flags[publish]: True} if publish in flags else {}))
    taken = random.Random(7).sample(ids, round(share * len(ids)))
    produce(lab.nats_url, f"{name}.produced", taken)
    deadline = time.monotonic() + 120
    while api(lab.nats_url, f"STREAM.INFO.{name}")["state"]["messages"] < len(taken):
        if time.monotonic() > deadline:
            raise RuntimeError("the producer's messages are not stored")
        time.sleep(0.2)
    log = Path(folder) / f"{name}.log"
    meter = Meter(lab)
    process = Process([BINARY, "run", "-c", file, "--from", f"{start.time}.{start.inc}",
                       "--until", "now"], log=log)
    code, wall, usage = process.wait()
    own = usage.ru_utime + usage.ru_stime
    mongod, server, others = meter.read(own)
    if code != 0:
        raise RuntimeError(f"tailrace ended with {code}:\n{log.read_text()[-3000:]}")
    # Without the bridge's fence.
    state = api(lab.nats_url, f"STREAM.INFO.{name}", {"subjects_filter": "tailrace.fence.>"})["state"]
    messages = state["messages"] - sum((state.get("subjects") or {}).values())
    forget(lab, name)
    events = len(ids)
    if messages != events:
        raise RuntimeError(f"{messages} messages in the stream for {events} events")
    return CatchUp(events, events / wall, own / events * 1e6, mongod / events * 1e6,
                   server / events * 1e6, process.peak, wall, process.quarters(), others)
