"""The decoder against the server itself: for a seeded workload, the events that `tailrace decode`
derives from the oplog equal those of the server's change stream, value for value, with the order of
keys and keys that repeat.

DIFFERENTIAL_SEEDS (2), DIFFERENTIAL_FIRST (1), DIFFERENTIAL_SECONDS (3) and DIFFERENTIAL_RATE (60
steps a second) make it longer: `make differential` takes twenty seeds of a minute each."""

import json
import os
import re
import struct
import subprocess
import time

import pytest
from bridge import BINARY
from bson import CodecOptions, json_util
from bson.codec_options import DatetimeConversion
from bson.raw_bson import RawBSONDocument
from load import client, now
from pymongo.read_concern import ReadConcern
from workload import Workload

SEEDS = int(os.environ.get("DIFFERENTIAL_SEEDS", "2"))
FIRST = int(os.environ.get("DIFFERENTIAL_FIRST", "1"))
# Steps of the workload, each a write or several: comparing takes longer than writing.
RATE = float(os.environ.get("DIFFERENTIAL_RATE", "60"))
SECONDS = float(os.environ.get("DIFFERENTIAL_SECONDS", "3"))

# Expanded events came with 6.0.
EXPANDED = {"create", "createIndexes", "dropIndexes", "modify"}
LEAVES = {"$oid", "$date", "$numberInt", "$numberLong", "$numberDouble", "$numberDecimal",
          "$binary", "$timestamp", "$regularExpression", "$minKey", "$maxKey", "$code", "$symbol",
          "$undefined", "$dbPointer"}
RAW = CodecOptions(document_class=RawBSONDocument,
                   datetime_conversion=DatetimeConversion.DATETIME_MS)
PLAIN = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
CANONICAL = json_util.CANONICAL_JSON_OPTIONS


# --- both sides as nested lists of pairs ---------------------------------------------------------


def hooked(items):
    """A JSON object as pairs. Leaves of Extended JSON have no order, and digits no spelling."""
    if not items or items[0][0] not in LEAVES:
        return items
    if items[0][0] == "$numberDouble":
        return [("$numberDouble", repr(float(items[0][1])))]
    return sorted(items)


def elements(data):
    """(type, key, value's bytes) of each element of a BSON document."""
    at = 4
    while data[at] != 0:
        end = data.index(0, at + 1)
        size = value_size(data, data[at], end + 1)
        yield data[at], data[at + 1:end].decode(), data[end + 1:end + 1 + size]
        at = end + 1 + size


def value_size(data, kind, at):
    fixed = {0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8,
             0x13: 16, 0xFF: 0, 0x7F: 0}
    if kind in fixed:
        return fixed[kind]
    if kind == 0x0B:  # a regular expression: two C strings
        return data.index(0, data.index(0, at) + 1) + 1 - at
    size = struct.unpack_from("<i", data, at)[0]
    return size + {0x02: 4, 0x0D: 4, 0x0E: 4, 0x05: 5, 0x0C: 16}.get(kind, 0)


def pairs(data, is_array=False):
    found = []
    for kind, key, value in elements(data):
        if kind in (0x03, 0x04):
            inner = pairs(value, kind == 0x04)
        else:
            body = bytes([kind]) + b"v\0" + value + b"\0"
            leaf = RawBSONDocument(struct.pack("<i", len(body) + 4) + body, RAW)
            text = json_util.dumps({"v": leaf["v"]}, json_options=CANONICAL)
            inner = json.loads(text, object_pairs_hook=hooked)[0][1]
        found.append((key, inner))
    return [value for _, value in found] if is_array else found


# --- the two derivations -------------------------------------------------------------------------


def derived(lab, after):
    """What tailrace makes of the oplog."""
    with client(lab) as mongo:
        mongo.admin.command("appendOplogNote", 1, data={"end": 1},
                            writeConcern={"w": "majority", "wtimeout": 10000})
        oplog = mongo.local.get_collection("oplog.rs", codec_options=PLAIN,
                                           read_concern=ReadConcern("majority"))
        lines = [json_util.dumps(entry, json_options=CANONICAL)
                 for entry in oplog.find({"ts": {"$gt": after}}).sort("$natural", 1)]
    done = subprocess.run([BINARY, "decode"], input="\n".join(lines), capture_output=True,
                          text=True)
    if done.returncode != 0:
        number = re.search(r"line (\d+)", done.stderr)
        raise AssertionError(
            f"{done.stderr}: {lines[int(number[1]) - 1][:4000] if number else ''}")
    return [dict(json.loads(line, object_pairs_hook=hooked))
            for line in done.stdout.splitlines()]


def told(lab, database, after, expanded):
    """What the server's change stream says."""
    options = {"show_expanded_events": True} if expanded else {}
    events, quiet = [], 0
    with client(lab) as mongo:
        source = mongo.get_database(database, codec_options=RAW)
        with source.watch(start_after=None, start_at_operation_time=after, **options) as stream:
            while quiet < 5:
                change = stream.try_next()
                quiet = quiet + 1 if change is None else 0
                if change is not None:
                    events.append(dict(pairs(change.raw)))
    return events


def comparable(events, database, after, expanded):
    """Without what a change stream leaves out by design."""
    kept = []
    for event in events:
        name = dict(event["ns"])
        if name["db"] != database or name.get("coll") == "view" and not expanded:
            continue
        if event["operationType"] in EXPANDED and not expanded:
            continue
        if kept and event["operationType"] == "rename" and kept[-1]["operationType"] == "drop" \
                and kept[-1]["clusterTime"] == event["clusterTime"]:
            kept.pop()  # the target that a rename replaced
        kept.append(event)
    return kept


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_oplog_equals_change_stream(lab, name, seed):
    database = f"{name}_{seed}"[-40:]
    after = now(lab)
    with client(lab) as mongo:
        version = tuple(mongo.server_info()["versionArray"][:2])
        workload = Workload(mongo, database, seed, version)
        due = time.monotonic()
        # As many as that takes at this rate, however slow the machine is.
        for _ in range(round(SECONDS * RATE / 20)):
            workload.run(20)
            due = max(due, time.monotonic() - 1) + 20 / RATE
            time.sleep(max(0, due - time.monotonic()))
    expanded = version >= (6, 0)
    wanted = [event for event in told(lab, database, after, expanded)
              if event["clusterTime"] != [("$timestamp", [("t", after.time), ("i", after.inc)])]]
    found = comparable(derived(lab, after), database, after, expanded)
    for ours, theirs in zip(found, wanted):
        shown = {key: ours.get(key) for key in theirs if key != "_id"}
        expected = {key: value for key, value in theirs.items() if key != "_id"}
        different = {key: (shown[key], value) for key, value in expected.items()
                     if shown[key] != value}
        assert not different, f"seed {seed}, {ours['operationType']} {ours['clusterTime']}"
    assert len(found) == len(wanted)
    assert len(wanted) > 100
    print(f"{version}: {len(wanted)} events equal, {workload.refused} writes refused")
