#!/usr/bin/env python3
"""Checks every claim of the decision for JetStream on this machine: `make adr`.

    adr.py [--only NAME]… [--write]      each claim on real servers: its verdict, and a figure
    adr.py --spoiled [--only NAME]…      each claim under a setting under which it has to fail, and whether it does
    adr.py --list                        the claims, and what spoils them

Data comes from MongoDB through `tailrace run`; at the other end are nats-py, pymongo and SQLite. Exit codes: 0
every claim holds (or with --spoiled: fails, as it has to), 1 one does not or could not be checked, 69 servers can't
be had.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import fetch
import lab as labs  # re-runs this program in .tools/venv when needed

import nats.errors
import nats.js.errors
import pymongo
from bench import machine
from benchmark.pages import put
# They register their claims, in the order of the table.
from record import persistence, retention, groups, signals, buckets, once, replay, latency, rates  # noqa: F401
from record.claim import CLAIMS, DoesNotHold
from record.world import BINARY, World

DOCUMENT = fetch.ROOT / "docs" / "adr.md"
BEGIN, END = "<!-- claims: written by make adr -->", "<!-- end of claims -->"

VERDICTS = {True: "holds", False: "**FAILS**", None: "**unchecked**"}


def say(text):
    print(text, file=sys.stderr, flush=True)


def checked(claim, world, spoiled):
    """(holds, what was found, seconds); None where the check itself did not come to its end."""
    began = time.monotonic()
    try:
        found, holds = claim.check(world, spoiled), True
    except DoesNotHold as reason:
        found, holds = str(reason), False
    except (OSError, ValueError, LookupError, TimeoutError, nats.errors.Error,
            nats.js.errors.Error, pymongo.errors.PyMongoError) as problem:
        found, holds = f"{type(problem).__name__}: {problem}", None
    return holds, found, time.monotonic() - began


def check_all(claims, spoiled):
    """[(claim, holds, what was found, seconds)]; the servers of one kind are started once."""
    results = {}
    for servers in sorted({claim.servers for claim in claims}):
        with labs.Lab(nats=servers) as lab, tempfile.TemporaryDirectory(prefix="tailrace-adr-") as folder:
            for claim in (one for one in claims if one.servers == servers):
                inside = Path(folder) / re.sub(r"\W+", "-", claim.name)
                inside.mkdir()
                world = World(lab, inside)
                results[claim.name] = checked(claim, world, spoiled)
                world.close()
                holds, found, seconds = results[claim.name]
                say(f"{VERDICTS[holds]} ({seconds:.0f} s) {claim.name}: {found}")
    return [(claim, *results[claim.name]) for claim in claims]


def table(head, rows):
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def main(arguments):
    parser = argparse.ArgumentParser(prog="make adr", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [claim.name for claim in CLAIMS]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME")
    parser.add_argument("--write", action="store_true", help="results into docs/adr.md")
    parser.add_argument("--spoiled", action="store_true", help="settings under which each claim has to fail")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args(arguments)
    claims = [claim for claim in CLAIMS if claim.name in (options.only or names)]
    if options.list:
        print(table(["claim", "says", "fails with"], [[one.name, one.says, one.spoiled] for one in claims]))
        return 0
    if options.write and (options.spoiled or options.only):
        parser.error("--write takes every claim, none spoiled")
    if not BINARY.exists():
        say(f"adr: {BINARY} is missing: make build")
        return 69
    load = os.getloadavg()[0]
    try:
        results = check_all(claims, options.spoiled)
    except (labs.LabError, fetch.Unavailable) as problem:
        say(f"adr: {problem}")
        return 69
    except KeyboardInterrupt:
        return 130
    wrong = [claim.name for claim, holds, _, _ in results if holds is not (not options.spoiled)]
    lines = [f"{machine()}; load {load:.1f} at the beginning\n"]
    if options.spoiled:
        lines.append(table(["claim", "spoiled by", "", "found"], [
            [claim.name, claim.spoiled, VERDICTS[holds], found] for claim, holds, found, _ in results]))
        lines.append(f"\n{len(results) - len(wrong)} of {len(results)} claims fail when they have to.")
    else:
        lines.append(table(["claim", "verdict", "found"], [
            [claim.says, VERDICTS[holds], found] for claim, holds, found, _ in results]))
        lines.append(f"\n{len(results) - len(wrong)} of {len(results)} claims hold.")
    print("\n".join(lines))
    if options.write:
        put(DOCUMENT, BEGIN, END, lines)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
