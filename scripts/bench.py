#!/usr/bin/env python3
"""Measures `tailrace run` on this machine: `make bench BENCH_ARGS="..."`.

Catch-up over a backlog of inserts and updates (rate, CPU per event of the bridge, of mongod and of
nats-server, memory over time), latency from write to delivery at 200 writes a second, and the time
from start to the first event. Repetitions, medians.

Quote ratios taken in one run, not absolute times. $TAILRACE_REFERENCE may name a directory with the
C reference programs (bridge.c, lat.c; gcc, libmongoc-dev and libnats-dev are needed); they are then
built and measured in turn with tailrace, on the same servers and the same backlog.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import fetch
import lab as labs  # re-runs this program in .tools/venv when needed

import pymongo
import yaml
from benchmark.backlog import fill
from benchmark.clients import BACK, Clients
from benchmark.cutover import commits, decided
from benchmark.latency import RATE, latency
from benchmark.pages import put
from benchmark.reference import Reference
from benchmark.simulation import histories
from benchmark.stored import catch_up_stored, identities
from benchmark.takeover import LEASE, take_overs
from benchmark.tailrace import (BINARY, catch_up, first_event, forget, tailrace_latency,
                                verified)

DOCUMENT = fetch.ROOT / "docs" / "benchmarks.md"
MARKS = "<!-- {}: written by make bench -->", "<!-- end of {} -->"


def say(text):
    print(text, file=sys.stderr, flush=True)


# --- tables ------------------------------------------------------------------------------------


def table(head, rows):
    widths = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]

    def line(cells):
        first, *rest = (str(cell) for cell in cells)
        return "| " + " | ".join([first.ljust(widths[0]), *(
            cell.rjust(width) for cell, width in zip(rest, widths[1:]))]) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (w + 1) + ":" for w in widths[1:])]) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


CATCH_UP_HEAD = ["", "events/s", "bridge µs/event", "mongod µs", "nats-server µs",
                 "peak RSS MiB", "RSS by quarter MiB", "others' CPU"]


def catch_up_row(label, runs):
    def middle(value):
        return statistics.median(value(run) for run in runs)

    quarters = [run.quarters for run in runs if len(run.quarters) == 4]
    shape = " ".join(f"{statistics.median(q[i] for q in quarters) / 1024:.1f}"
                     for i in range(4)) if quarters else "–"
    return [label, f"{middle(lambda r: r.rate):,.0f}", f"{middle(lambda r: r.bridge):.2f}",
            f"{middle(lambda r: r.mongod):.2f}", f"{middle(lambda r: r.nats):.2f}",
            f"{max(run.rss for run in runs) / 1024:.1f}", shape,
            f"{middle(lambda r: r.others) * 100:.0f}%"]


def machine():
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) / 2**20

    def version(*command):
        text = subprocess.run(command, capture_output=True, text=True)
        return (text.stdout or text.stderr).strip().splitlines()[0]

    return (f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
            f"{platform.system()} {platform.release()}; tailrace {version(BINARY, '--version')}; "
            f"{version(fetch.mongod(), '--version')}; "
            f"{version(fetch.nats_server(), '--version')}; "
            f"{datetime.now(timezone.utc):%Y-%m-%d}")


# --- the whole ---------------------------------------------------------------------------------


def measure_protocols(options, folder, report):
    rows = []
    setups = [("R1, lazy sync", 1, False), ("R1, sync_interval: always", 1, True),
              ("R3, lazy sync", 3, False)]
    for label, servers, sync in setups:
        with labs.Lab(nats=servers, sync_always=sync, oplog_mb=2000, cache_gb=2) as lab:
            say(f"{label}: filling the oplog")
            start = fill(lab.uri, options.protocol_events, 0)
            for publish in ("chain", "atomic", "fast"):
                runs = []
                for number in range(options.repetitions):
                    runs.append(catch_up(folder, lab, f"P{number}{publish}", start,
                                         options.protocol_events, publish, servers))
                    say(f"{label}, {publish}: {runs[-1].rate:,.0f} events/s")
                rows.append(catch_up_row(f"{label}: {publish}", runs))
    report(f"\nPublish protocols, {options.protocol_events:,} inserts:\n")
    report(table(CATCH_UP_HEAD, rows))


def measure_stored(options, folder, report):
    """What it costs where the stream has some of the ids already."""
    rows = []
    setups = [("R1", 1, "auto", "shared"), ("R1", 1, "fast", "shared"),
              ("R1", 1, "chain", "exclusive"), ("R3", 3, "auto", "shared")]
    for label, servers, publish, ownership in setups:
        with labs.Lab(nats=servers, oplog_mb=2000, cache_gb=2) as lab:
            say(f"{label}: filling the oplog")
            start = fill(lab.uri, options.protocol_events, 0)
            ids = identities(lab.uri)
            for share in (0, 0.01, 0.5, 1):
                runs = []
                for number in range(options.repetitions):
                    runs.append(catch_up_stored(
                        folder, lab, f"D{number}x{round(share * 100)}{publish}", start, ids, share,
                        publish, servers, ownership))
                    say(f"{label}, {publish}, {share:.0%}: {runs[-1].rate:,.0f} events/s")
                rows.append(catch_up_row(f"{label}, {ownership}, {publish}: {share:.0%}", runs))
    report(f"\nStreams that have a share of the ids already, {options.protocol_events:,} inserts; the rate is "
           f"that of the whole process:\n")
    report(table(CATCH_UP_HEAD, rows))


def measure_takeover(options, folder, report):
    rows = []
    with labs.Lab() as lab:
        for kind, label in (("SIGTERM", "SIGTERM"), ("SIGKILL", "kill -9"),
                            ("SIGSTOP", f"SIGSTOP, a lease of {LEASE:.0f} s")):
            times = take_overs(folder, lab, kind, options.rounds, say)
            rows.append([label, f"{statistics.median(times):.2f}", f"{max(times):.2f}"])
    report(f"\nFrom the signal to the first new event that the standby stores, seconds, "
           f"{options.rounds} rounds:\n")
    report(table(["the leader gets", "median", "worst"], rows))


def measure_cutover(options, folder, report):
    with labs.Lab(oplog_mb=2000, cache_gb=2) as lab:
        rows = []
        for share, label in ((1, "producers have published all"), (0.9, "… nine of ten"), (0, "… nothing")):
            rates = []
            for number in range(options.repetitions):
                rates.append(decided(folder, lab, f"D{number}x{round(share * 100)}", options.cutover_events, share))
                say(f"dual, {label}: {rates[-1]:,.0f} events/s")
            rows.append([label, f"{statistics.median(rates):,.0f}"])
        times = []
        for number in range(options.repetitions):
            times.append(commits(folder, lab, f"C{number}", 2000, 10))
            say("commit at 2,000 events/s: {:.2f} s, {:.2f} s of them committing ({:,.0f} events/s)"
                .format(*times[-1]))
    report(f"\nEvents that a follower decides in phase dual, of a backlog of {options.cutover_events:,}; each is then "
           f"in the stream once:\n")
    report(table(["", "events/s"], rows))
    report("\n`cutover commit` of a group at 2,000 events a second, with a window of 10 s, seconds; nothing was lost, "
           "doubled or missed:\n")
    report(table(["", "median", "worst"], [
        [label, f"{statistics.median(one[at] for one in times):.2f}", f"{max(one[at] for one in times):.2f}"]
        for at, label in ((0, "the whole command"), (1, "from `committing` on"))]))


def other_validator(folder):
    """(case, ns) of jsonschema-rs on the schemas and the event of the timing tests, as Python's
    objects."""
    import jsonschema_rs
    event = json.loads((folder / "event.json").read_text())
    strings = {**event, "size": str(event["size"]),
               "device": {**event["device"], "build": str(event["device"]["build"])}}
    for case, file, value in [("event of BSON types", "native", event),
                              ("event of strings", "strings", strings),
                              ("event, schemas combined", "combined", event)]:
        schema = json.loads((folder / f"{file}.json").read_text())
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        if not validator.is_valid(value):
            raise RuntimeError(f"jsonschema-rs finds the {case} invalid")
        best = float("inf")
        for _ in range(7):
            began = time.thread_time()
            for _ in range(20_000):
                validator.is_valid(value)
            best = min(best, (time.thread_time() - began) / 20_000)
        yield case, round(best * 1e9)


def measure_parts(options, folder, report):
    """What the pure parts cost, in CPU time: printed by the timing tests of each module."""
    subprocess.run(["swift", "build", "-c", "release", "--build-tests"], cwd=fetch.ROOT, check=True,
                   stdout=sys.stderr)
    best = {}
    environment = {**os.environ, "TIMING_EVENT_FOLDER": str(folder)}
    for number in range(options.repetitions):
        done = subprocess.run(
            ["swift", "test", "-c", "release", "--skip-build", "--disable-xctest", "--filter",
             "TimingTests"], cwd=fetch.ROOT, capture_output=True, text=True, check=True,
            env=environment)
        for case, cost in other_validator(Path(folder)):
            best.setdefault(("jsonschema-rs", case), []).append(cost)
        for module, case, cost in re.findall(r"^([a-z ]+): (.*), (\d+) ns", done.stdout, re.M):
            best.setdefault((module, case), []).append(int(cost))
        say(f"run {number + 1} of {options.repetitions}")
    if not best:
        raise RuntimeError("no timing test printed anything")
    report(f"\nCPU time of the parts, nanoseconds, least of {options.repetitions} runs:\n")
    report(table(["", "ns"], [[f"{module}: {case}", f"{min(costs):,}"]
                              for (module, case), costs in best.items()]))


def measure_schema(options, folder, report):
    """What a schema on every rule costs the whole bridge."""
    events = options.inserts + options.updates
    with labs.Lab(oplog_mb=4000, cache_gb=2) as lab:
        say(f"filling the oplog: {options.inserts:,} inserts, {options.updates:,} updates")
        start = fill(lab.uri, options.inserts, options.updates)
        without, judged = [], []
        for number in range(options.repetitions):
            for runs, schema in ((without, False), (judged, True)):
                runs.append(catch_up(folder, lab, f"J{number}{schema}", start, events,
                                     options.publish, schema=schema))
                say(f"{'with' if schema else 'without'} a schema: {runs[-1].rate:,.0f} events/s, "
                    f"{runs[-1].bridge:.2f} µs")
    rates = [a.rate / b.rate for a, b in zip(judged, without)]
    costs = [a.bridge / b.bridge for a, b in zip(judged, without)]
    report(f"\nCatch-up over {events:,} events, in turn, medians of {options.repetitions}:\n")
    report(table(CATCH_UP_HEAD, [
        catch_up_row("without a schema", without), catch_up_row("every body judged", judged),
        ["ratio", f"{statistics.median(rates):.2f}", f"{statistics.median(costs):.2f}", "", "", "",
         "", ""]]))


def measure_against(options, folder, report):
    """Catch-up of this build and of another one, in turn."""
    events = options.inserts + options.updates
    ours, theirs = [], []
    with labs.Lab(oplog_mb=4000, cache_gb=2) as lab:
        say(f"filling the oplog: {options.inserts:,} inserts, {options.updates:,} updates")
        start = fill(lab.uri, options.inserts, options.updates)
        for number in range(options.repetitions):
            turns = [("O", theirs, options.against), ("N", ours, BINARY)]
            # Whoever comes second may find warmer caches.
            for letter, runs, binary in turns if number % 2 == 0 else reversed(turns):
                runs.append(catch_up(folder, lab, f"{letter}{number}", start, events,
                                     options.publish, binary=binary))
                say(f"{letter}{number + 1}: {runs[-1].rate:,.0f} events/s, {runs[-1].bridge:.2f} µs, "
                    f"others {runs[-1].others:.0%}")
    rate = statistics.median(a.rate / b.rate for a, b in zip(ours, theirs))
    cost = statistics.median(a.bridge / b.bridge for a, b in zip(ours, theirs))
    report(f"\nCatch-up over {events:,} events by two builds, in turn, publish: {options.publish}, medians of "
           f"{options.repetitions}:\n")
    report(table(CATCH_UP_HEAD, [
        catch_up_row("other build", theirs), catch_up_row("this build", ours),
        ["ratio", f"{rate:.2f}", f"{cost:.2f}", "", "", "", "", ""]]))


def measure_http_clients(options, folder, report):
    """Catch-up with and without HTTP clients, in turn."""
    events = options.inserts + options.updates
    slow, fast = options.slow_clients, options.fast_clients
    kinds = [(f"{slow} slow, {fast} fast clients, once a second", 1)]
    if not options.no_flat_out:
        kinds.append((f"{slow} slow, {fast} fast clients, flat out", 0))
    rows = []
    with labs.Lab(oplog_mb=4000, cache_gb=2) as lab:
        say(f"filling the oplog: {options.inserts:,} inserts, {options.updates:,} updates")
        start = fill(lab.uri, options.inserts, options.updates)
        for label, pause in kinds:
            alone, together, answered = [], [], []

            def among(file):
                listen = yaml.safe_load(file.read_text())["http"]["listen"]
                clients = Clients(listen, slow, fast, pause)
                answered.append(clients)
                return clients

            for number in range(options.repetitions):
                turns = [("A", alone, {}), ("T", together, {"beside": among})]
                # Whoever comes second may find warmer caches.
                for letter, runs, more in turns if number % 2 == 0 else reversed(turns):
                    runs.append(catch_up(folder, lab, f"{letter}{number}p{pause}", start, events,
                                         options.publish, **more))
                    say(f"{'with clients' if more else 'without'}: {runs[-1].rate:,.0f} events/s, "
                        f"{runs[-1].bridge:.2f} µs, others {runs[-1].others:.0%}")
            ratios = sorted(b.rate / a.rate for a, b in zip(alone, together))
            costs = statistics.median(b.bridge / a.bridge for a, b in zip(alone, together))
            asked = statistics.median(one.answered / run.wall for one, run in zip(answered, together))
            rows += [catch_up_row("without", alone), catch_up_row(label, together),
                     [f"ratio, by pairs {ratios[0]:.3f} to {ratios[-1]:.3f}; {asked:,.0f} answers a second",
                      f"{statistics.median(ratios):.3f}", f"{costs:.2f}", "", "", "", "", ""]]
    report(f"\nCatch-up over {events:,} events with and without HTTP clients, in turn, medians of "
           f"{options.repetitions} pairs. A slow client sends a byte a second; a fast one asks for /metrics and "
           f"/status in turn, a second after the answer or at once; who is turned away comes back after "
           f"{BACK} s. The clients' own processor time is others' CPU: on few cores it costs the rate, too.\n")
    report(table(CATCH_UP_HEAD, rows))


def measure_verify(options, folder, report):
    """What it costs to prove what was published: both in one run, over the same backlog."""
    events = options.inserts + options.updates
    with labs.Lab(oplog_mb=options.oplog_mb, cache_gb=2) as lab:
        say(f"filling the oplog: {options.inserts:,} inserts, {options.updates:,} updates")
        start = fill(lab.uri, options.inserts, options.updates)
        published, checked, derived = [], [], []
        for number in range(options.repetitions):
            name = f"V{number}"
            published.append(catch_up(folder, lab, name, start, events, options.publish, keep=True))
            say(f"published: {published[-1].rate:,.0f} events/s")
            checked.append(verified(folder, lab, name, events))
            say(f"verified: {checked[-1].rate:,.0f} events/s, {checked[-1].rss / 1024:.0f} MiB")
            if events <= 1_000_000:
                derived.append(verified(folder, lab, name, events, "--reader", "change_stream"))
                say(f"verified by the change stream: {derived[-1].rate:,.0f} events/s")
            forget(lab, name)
    rows = [catch_up_row("publishing", published),
            catch_up_row("verifying", checked)]
    if derived:
        rows.append(catch_up_row("verifying, by the change stream", derived))
    ratio = statistics.median(b.rate / a.rate for a, b in zip(published, checked))
    report(f"\nPublishing {events:,} events and verifying them, in turn, medians of "
           f"{options.repetitions}; of a verification, the whole process counts:\n")
    report(table(CATCH_UP_HEAD, [*rows, ["ratio, verifying to publishing", f"{ratio:.2f}",
                                         "", "", "", "", "", ""]]))


def measure_sim(options, folder, report):
    """How fast the simulator is, on one core."""
    subprocess.run(["swift", "build", "-c", "release", "--product", "simulate"], cwd=fetch.ROOT,
                   check=True, stdout=sys.stderr)
    rows = []
    for number, kind in ((number, kind) for number in range(options.repetitions) for kind in ("", "--dense")):
        first = 1 + number * options.histories
        run = histories(first, options.histories, *kind.split())
        say(f"run {number + 1} of {options.repetitions}{kind and ', '}{kind}: {run.rate:,.0f} faults/s")
        rows.append([f"seeds from {first} on{kind and ', '}{kind}", f"{run.rate:,.0f}",
                     f"{run.count:,}", f"{run.mean:.0f}", f"{run.faults:,}",
                     f"{run.messages:,}", f"{run.used:.0f}"])
    report("\nSimulated histories, on one core; the rate is of its processor time:\n")
    report(table(["", "faults/s", "histories", "mean length, simulated minutes", "faults",
                  "messages", "processor s"], rows))


def measure(options, folder, report):
    events = options.inserts + options.updates
    sources = os.environ.get("TAILRACE_REFERENCE")
    reference = Reference(sources, folder) if sources else None
    with labs.Lab(oplog_mb=4000, cache_gb=2) as lab:
        say(f"filling the oplog: {options.inserts:,} inserts, {options.updates:,} updates")
        start = fill(lab.uri, options.inserts, options.updates)
        ours, theirs = [], []
        for number in range(options.repetitions):
            if reference:
                theirs.append(reference.catch_up(lab, start, events))
                say(f"reference {number + 1}: {theirs[-1].rate:,.0f} events/s, "
                    f"{theirs[-1].bridge:.2f} µs")
            ours.append(catch_up(folder, lab, f"B{number}", start, events, options.publish))
            say(f"tailrace {number + 1}: {ours[-1].rate:,.0f} events/s, {ours[-1].bridge:.2f} µs, "
                f"{ours[-1].wall:.1f} s in all")
        report(f"Catch-up over {options.inserts:,} inserts and {options.updates:,} updates, "
               f"publish: {options.publish}, medians of {options.repetitions}:\n")
        rows = [catch_up_row("tailrace", ours)]
        if theirs:
            rows.append(catch_up_row("C reference, two threads", theirs))
            rates = [a.rate / b.rate for a, b in zip(ours, theirs)]
            costs = [a.bridge / b.bridge for a, b in zip(ours, theirs)]
            rows.append(["ratio", f"{statistics.median(rates):.2f}",
                         f"{statistics.median(costs):.2f}", "", "", "", "", ""])
        report(table(CATCH_UP_HEAD, rows))

        starts = [first_event(folder, lab, f"S{n}", start, options.publish) for n in range(5)]
        fresh, again = (statistics.median(values) for values in zip(*starts))
        report(f"\nStart of the process to the first event, median of 5: {fresh:.0f} ms with the "
               f"stream to be made, {again:.0f} ms from a checkpoint.")

        rows = []
        for label, journal in (("w:1", False), ("w:1, j:true", True)):
            def once(subject):
                return latency(lab, subject, journal, options.seconds)

            found = {"tailrace": [], "C reference": []}
            for number in range(options.repetitions):  # in turn, like the catch-up
                found["tailrace"].append(
                    tailrace_latency(folder, lab, f"L{number}", options.publish, once))
                if reference:
                    found["C reference"].append(
                        reference.latency(lab, options.seconds + 30, once))
            for who, runs in found.items():
                if runs:
                    rows.append([f"{who}, writers {label}", *(
                        f"{statistics.median(run[key] for run in runs):.2f}"
                        for key in ("p50", "p90", "p99", "ack"))])
                    say(f"latency, {label}, {who}: p50 "
                        f"{[round(run['p50'], 2) for run in runs]} ms")
            if reference:
                ratio = statistics.median(
                    ours["p50"] / theirs["p50"] for ours, theirs in zip(*found.values()))
                rows.append([f"ratio, writers {label}", f"{ratio:.2f}", "", "", ""])
        report(f"\nWrite to delivery at {RATE} writes/s, one member, majority reads, "
               f"milliseconds (measured from Python):\n")
        report(table(["", "p50", "p90", "p99", "write ack p50"], rows))
        if not reference:
            report("\nNo C reference: $TAILRACE_REFERENCE names no directory, so there are no "
                   "ratios.")


def main():
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inserts", type=int, default=500_000)
    parser.add_argument("--updates", type=int, default=200_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15, help="of each latency measurement")
    parser.add_argument("--publish", default="auto",
                        choices=["auto", "chain", "atomic", "fast", "single"])
    parser.add_argument("--protocols", action="store_true",
                        help="instead: each protocol, with R1, R1 synced and R3")
    parser.add_argument("--stored", action="store_true",
                        help="instead: streams that have some of the ids already")
    parser.add_argument("--takeover", action="store_true",
                        help="instead: how long nothing is stored when a leader ends")
    parser.add_argument("--cutover", action="store_true",
                        help="instead: how fast events are decided in dual, and how long a commit takes")
    parser.add_argument("--cutover-events", type=int, default=50_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=20, help="of each kind of --takeover")
    parser.add_argument("--schema", action="store_true",
                        help="instead: catch-up with and without a schema on every rule, in turn")
    parser.add_argument("--against", type=Path, metavar="PROGRAM",
                        help="instead: catch-up of this build and of another one, in turn")
    parser.add_argument("--http-clients", action="store_true",
                        help="instead: catch-up with and without slow and fast HTTP clients, in turn")
    parser.add_argument("--slow-clients", type=int, default=200, metavar="N", help="of --http-clients")
    parser.add_argument("--fast-clients", type=int, default=200, metavar="N", help="of --http-clients")
    parser.add_argument("--no-flat-out", action="store_true",
                        help="with --http-clients: only clients that ask once a second")
    parser.add_argument("--verify", action="store_true",
                        help="instead: publishing, and verifying what was published, in turn")
    parser.add_argument("--oplog-mb", type=int, default=4000, metavar="MB",
                        help="of the servers for --verify")
    parser.add_argument("--parts", action="store_true",
                        help="instead: CPU time of decoding an entry, judging an event, …")
    parser.add_argument("--sim", action="store_true",
                        help="instead: how fast simulated histories are")
    parser.add_argument("--histories", type=int, default=20, metavar="N", help="of each run of --sim")
    parser.add_argument("--protocol-events", type=int, default=200_000, metavar="N")
    parser.add_argument("--write", action="store_true", help="results into docs/benchmarks.md")
    options = parser.parse_args()
    if not BINARY.exists():
        print(f"bench: {BINARY} is missing: make build", file=sys.stderr)
        return 69
    lines = []

    def report(text):
        print(text, flush=True)
        lines.append(text)

    folder = tempfile.mkdtemp(prefix="tailrace-bench-")
    try:
        report(f"{machine()}\n")
        what = {"protocols": measure_protocols, "stored": measure_stored, "schema": measure_schema,
                "parts": measure_parts, "takeover": measure_takeover, "cutover": measure_cutover,
                "http_clients": measure_http_clients, "verify": measure_verify, "sim": measure_sim, "against": measure_against,
                "results": measure}
        part = next((name for name in what if getattr(options, name, False)), "results")
        what[part](options, folder, report)
        if options.write:
            begin, end = (mark.format(part) for mark in MARKS)
            put(DOCUMENT, begin, end, lines)
    except (labs.LabError, fetch.Unavailable, RuntimeError, subprocess.CalledProcessError,
            pymongo.errors.PyMongoError) as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 69
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
