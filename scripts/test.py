#!/usr/bin/env python3
"""Runs all tests and says how many: `make test`.

    test.py             builds the program, then Tests/Integration beside the build of Swift's tests and those of
                        them that measure nothing, then the rest
    test.py --faults    the fault tests of Tests/Integration only; builds nothing
    test.py --differential    test_differential.py only; builds nothing
    test.py --rehearsal    test_rehearsal.py only, with what it has to tell; builds nothing
    test.py --packages    Tests/Packaging only; builds nothing

FAULT_ROUNDS sets the rounds of each fault (2), FAULT_SEED repeats a run's choices,
PYTEST_ADDOPTS is pytest's own. A failed part doesn't keep the next from running.
Four files of Tests/Integration run at a time, each worker with servers of its own: they mostly wait
(two use a quarter of two cores). TEST_WORKERS sets how many. Compilers get only what they leave of the
processor (SCHED_IDLE), as do Swift's tests without servers and clocks; the others, some of which measure time,
run when nothing else does.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor

import building
import fetch

SWIFT_REPORTS = [fetch.ROOT / ".build" / f"swift-tests-{part}.xml" for part in (1, 2, 3, 4)]
# What starts servers, or looks at a clock.
WAITING = ("BridgeTests", "JetStreamTests", "MongoSourceTests", "NATSTests", "SimulatedJetStreamTests",
           "SimulatedNATSTests")
# The examples in Swift, which test_producers.py and test_consumers_guide.py run.
EXAMPLE = "Examples"
PYTHON_REPORT = fetch.ROOT / ".build" / "integration-tests.xml"
# Minutes of simulated histories that nobody has seen before, and what is added to them.
FRESH = ((0.5, ()), (0.5, ("--dense",)), (0.5, ("--buckets",)))
# Of each failure, in the summary.
MOST_LINES = 6


def run(*command, behind=False):
    """The exit code of a command, which says what it has taken. `behind` everything else that runs."""
    words = " ".join(str(word) for word in command)
    began = time.monotonic()
    print(f"+ {words}", file=sys.stderr, flush=True)
    process = subprocess.Popen([str(word) for word in command], cwd=fetch.ROOT,
                               preexec_fn=building.yielding if behind else None)
    used = building.ended(process)
    fetch.show(f"  {time.monotonic() - began:.0f} s, {used:.0f} s of processor, "
               f"exit {process.returncode}: {words}")
    return process.returncode


def counted(*reports):
    """(run, failed, skipped) of JUnit reports."""
    total = failed = skipped = 0
    for report in reports:
        if not report.exists():
            continue
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            total += int(suite.get("tests", 0))
            failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped += int(suite.get("skipped", 0))
    return total, failed, skipped


def failures(*reports):
    """The tests that failed, and the beginning of what they say, from JUnit reports."""
    for report in reports:
        if not report.exists():
            continue
        for case in ElementTree.parse(report).getroot().iter("testcase"):
            for failure in (*case.iter("failure"), *case.iter("error")):
                said = (failure.get("message") or failure.text or "").strip().splitlines()
                yield "\n  ".join([f"{case.get('classname')} {case.get('name')}"]
                                  + [line[:300] for line in said[:MOST_LINES]])


def fresh_seed():
    """Another one after each change of the sources, and the same for who looks into a failure."""
    tree = subprocess.run(["git", "rev-parse", "HEAD^{tree}"], cwd=fetch.ROOT, capture_output=True, text=True)
    return int(tree.stdout[:8], 16) if tree.returncode == 0 else random.SystemRandom().randrange(1 << 32)


def fresh_histories():
    """Simulates histories from a fresh seed, which it prints; the exit code."""
    program = fetch.ROOT / ".build" / "release" / "simulate"
    seed = fresh_seed()
    return max(run(program, "--first", seed, "--minutes", minutes, "--brief", *more, behind=True)
               for minutes, more in FRESH)


def swift_tests(beside=lambda: 0):
    """Runs them; the exit codes. `beside` is done meanwhile, by the time that those which wait for servers begin."""
    # Those that start mongods run by themselves, and eight of the others at a time: beside hundreds of tests a
    # server looks hung. They mostly wait; what has no servers and no clock gets what everything else leaves of the
    # processor.
    os.environ.setdefault("SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH", "8")
    # EmptiedStreamTests and CutoverCourseTests take their courses from there on, and say which one failed.
    os.environ.setdefault("RESUME_SEED", str(fresh_seed()))

    def part(report, *choice, behind=False):
        # Not by `swift test`: two at once fight for the build's database, even if there is nothing to build.
        bundle = fetch.ROOT / ".build" / "release" / "tailracePackageTests.xctest"
        return run(bundle, "--testing-library", "swift-testing", *choice, "--xunit-output", report, behind=behind)

    def skipping(*names):
        # By the whole name of a module: NATSTests is a part of SimulatedNATSTests.
        return [word for name in names for word in ("--skip", rf"^{name}\.")]

    pure, servers, mongods, histories = SWIFT_REPORTS
    alone = [word for name in WAITING if name != "MongoSourceTests" for word in ("--filter", rf"^{name}\.")]
    with ThreadPoolExecutor(3) as background:
        fresh = background.submit(fresh_histories)
        simulated = background.submit(part, histories, "--filter", "SimulationTests", behind=True)
        calculated = background.submit(part, pure, *skipping(*WAITING, "SimulationTests"), behind=True)
        codes = [beside(), calculated.result()]
        codes += [part(servers, *alone), part(mongods, "--filter", "MongoSourceTests")]
        return [*codes, simulated.result(), fresh.result()]


def integration_tests(python, choice):
    """Runs them; the exit code."""
    # In the order that Tests/Integration/conftest.py chooses, not by the number of tests.
    workers = ["-n", os.environ.get("TEST_WORKERS", "4"), "--dist", "loadfile", "--no-loadscope-reorder"]
    return run(python, "-m", "pytest", "-q", "--durations=20", "--junitxml", PYTHON_REPORT,
               *(workers if "no:xdist" not in choice else []), *choice)


def everything(python, choice):
    """Runs the integration tests beside the build of Swift's tests, and then those; the exit codes."""
    with tempfile.TemporaryDirectory(prefix="tailrace-test-") as folder:
        # The build may link the program again.
        if "TAILRACE_BINARY" not in os.environ:
            os.environ["TAILRACE_BINARY"] = shutil.copy2(building.program(), folder)
            shutil.copy2(building.program(EXAMPLE), folder)
        with ThreadPoolExecutor(1) as background:
            integration = background.submit(integration_tests, python, choice)
            code = building.build("--build-tests", behind=True)
            return [code, *(swift_tests(integration.result) if code == 0 else [integration.result()])]


def main(arguments):
    whole = not arguments
    choices = {
        (): ["Tests/Integration"],
        ("--faults",): ["-m", "fault", "Tests/Integration"],
        ("--rehearsal",): ["-s", "-p", "no:xdist", "Tests/Integration/test_rehearsal.py"],
        ("--packages",): ["-p", "no:xdist", "Tests/Packaging"],
        ("--differential",): ["-s", "-p", "no:xdist", "Tests/Integration/test_differential.py"],
    }
    choice = choices.get(tuple(arguments))
    if choice is None:
        print(__doc__.strip(), file=sys.stderr)
        return 64
    began = time.monotonic()
    try:
        fetch.packages((*fetch.PACKAGES, "lintian") if arguments == ["--packages"] else tuple(fetch.PACKAGES))
        # Beside the build, which waits for nobody's network.
        with ThreadPoolExecutor(1) as background:
            servers = background.submit(fetch.servers)
            code = building.build("--product", "tailrace") if whole else 0
            if whole and code == 0:
                code = building.build("--product", EXAMPLE)
            python = servers.result()
    except fetch.Unavailable as problem:
        fetch.say(problem)
        return 69
    if code != 0:
        return code
    for report in (*SWIFT_REPORTS, PYTHON_REPORT):
        report.unlink(missing_ok=True)
    codes = everything(python, choice) if whole else [integration_tests(python, choice)]
    total, failed, skipped = counted(*SWIFT_REPORTS, PYTHON_REPORT)
    passed = total - failed - skipped
    verdict = "PASS" if not any(codes) else "FAIL"
    # Once more, at the end: each part says it among thousands of lines.
    for name in failures(PYTHON_REPORT, *SWIFT_REPORTS):
        print(f"failed: {name}", flush=True)
    print(f"{verdict}: {total} tests ran in {time.monotonic() - began:.0f} s: {passed} passed, "
          f"{failed} failed, {skipped} skipped", flush=True)
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
