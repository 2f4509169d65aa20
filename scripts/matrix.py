#!/usr/bin/env python3
"""Runs the tests that depend on MongoDB on several versions of mongod: `make test-matrix`.

    matrix.py [VERSION ...]      versions of fetch.py; none: all of them

The Swift tests of oplog and source, and those of Tests/Integration in which MongoDB matters, the
fault tests with two rounds each (FAULT_ROUNDS). Ends with a table of version by part: tests passed,
failed and skipped, with the reason of every failure and skip. Every part runs, whatever failed
before. Exit code 1 when a test failed or a part could not run.
"""

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field

import fetch

PACKAGE = fetch.ROOT
SWIFT_TESTS = ["OplogTests", "MongoSourceTests"]
# Without those that ask for versions of their own.
PYTHON_TESTS = [
    "test_basics.py", "test_change_stream_reader.py", "test_cut_network.py",
    "test_dead_letter.py", "test_differential.py", "test_frozen_member.py",
    "test_kill_member_being_read.py", "test_kill_mongod_primary_of_three.py",
    "test_kill_mongod_single.py", "test_large_transactions.py", "test_lost_checkpoint.py",
    "test_lost_position.py",
    "test_oplog_rolled_over.py", "test_rollback.py", "test_rolled_back_checkpoint.py",
    "test_snapshot.py", "test_stepdown.py", "test_term_mongod.py", "test_verify.py",
    "test_verify_state.py", "test_where.py",
]
OTHER_VERSIONS = "not older_nats and not other_mongod"


@dataclass
class Part:
    """What one run of one test program came to."""

    passed: int = 0
    failed: list = field(default_factory=list)
    skipped: list = field(default_factory=list)
    broken: str = ""

    def __str__(self):
        words = [f"{self.passed} passed"]
        words += [f"{len(self.failed)} FAILED"] if self.failed else []
        words += [f"{len(self.skipped)} skipped"] if self.skipped else []
        return self.broken or ", ".join(words)

    @property
    def good(self):
        return not self.failed and not self.broken and self.passed > 0


def read(report, code):
    """A JUnit report and its program's exit code."""
    part = Part()
    if report.exists():
        for case in ElementTree.parse(report).getroot().iter("testcase"):
            name = f"{case.get('classname', '').split('.')[-1]}.{case.get('name')}"
            bad = next((case.find(tag) for tag in ("failure", "error")
                        if case.find(tag) is not None), None)
            skip = case.find("skipped")
            if bad is not None:
                part.failed.append((name, first_line(bad)))
            elif skip is not None:
                part.skipped.append((name, first_line(skip)))
            else:
                part.passed += 1
    if code != 0 and not part.failed:
        part.broken = f"exit code {code}"
    elif not part.passed:
        part.broken = "no tests ran"
    return part


def first_line(element):
    text = (element.get("message") or element.text or "").strip()
    return text.splitlines()[0] if text else "no reason given"


def run(environment, *command):
    print("+", *command, file=sys.stderr, flush=True)
    return subprocess.run([str(word) for word in command], cwd=PACKAGE,
                          env=environment).returncode


def swift(version, environment, target):
    report = PACKAGE / ".build" / f"matrix-{version}-{target}.xml"
    report.unlink(missing_ok=True)
    code = run(environment, "swift", "test", "-c", "release", "--skip-build", "--disable-xctest",
               "--filter", f"^{target}\\.", "--xunit-output", report)
    return read(report, code)


def python(version, environment, interpreter):
    report = PACKAGE / ".build" / f"matrix-{version}-integration.xml"
    report.unlink(missing_ok=True)
    code = run(environment, interpreter, "-m", "pytest", "-q", "-n",
               os.environ.get("TEST_WORKERS", "2"), "--dist", "loadfile", "-k", OTHER_VERSIONS,
               "--junitxml", report,
               *(fetch.ROOT / "Tests" / "Integration" / name for name in PYTHON_TESTS))
    return read(report, code)


def table(rows, columns):
    lines = [["mongod", *columns]] + [[version, *map(str, parts)] for version, parts in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    for version, parts in rows:
        for column, part in zip(columns, parts):
            for verdict, found in [("FAILED", part.failed), ("skipped", part.skipped)]:
                for name, why in found:
                    print(f"{version} {column} {verdict} {name}: {why}")


def main(arguments):
    unknown = [word for word in arguments if word not in fetch.MONGOD]
    if unknown:
        print(f"{__doc__.strip()}\n\nunknown: {' '.join(unknown)}; there are "
              f"{' '.join(fetch.MONGOD)}", file=sys.stderr)
        return 64
    began = time.monotonic()
    try:
        interpreter = fetch.venv()
        fetch.nats_server()
    except fetch.Unavailable as problem:
        fetch.say(problem)
        return 69
    if run(os.environ, "swift", "build", "-c", "release", "--build-tests") != 0:
        return 1
    columns, rows = [*SWIFT_TESTS, "Integration"], []
    for version in arguments or sorted(fetch.MONGOD, key=lambda v: list(map(int, v.split(".")))):
        environment = {"FAULT_ROUNDS": "2", **os.environ, "TAILRACE_MONGOD_VERSION": version}
        try:
            fetch.mongod(version)
        except fetch.Unavailable as problem:
            rows.append((version, [Part(broken=f"no mongod: {problem}")] * len(columns)))
            continue
        rows.append((version, [*(swift(version, environment, name) for name in SWIFT_TESTS),
                               python(version, environment, interpreter)]))
    good = all(part.good for _, parts in rows for part in parts)
    table(rows, columns)
    print(f"{'PASS' if good else 'FAIL'}: {len(rows)} versions in "
          f"{time.monotonic() - began:.0f} s", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
