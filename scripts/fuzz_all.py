#!/usr/bin/env python3
"""libFuzzer on every parser of what comes from outside, with the address sanitizer: `make fuzz-all`.

    fuzz_all.py [--runs N] [TARGET…]    each target, or these, with N inputs ($FUZZ_RUNS; 20,000)
    fuzz_all.py --list                  their names
    fuzz_all.py --again FILE TARGET     one input, such as one that was kept because of a crash

The targets are in Tests/Fuzz, the inputs that they begin with in scripts/fuzzing/seeds.py. What libFuzzer finds worth
keeping stays in .build/fuzz/corpus for the next time, and what crashes a target, hangs it for 20 s or breaks one of
its promises in .build/fuzz/found. Exit code 1: something was found.

The build is one of its own, in .build/fuzz; the first takes half an hour on two cores."""

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fetch

if __name__ == "__main__":
    fetch.use_venv()

from fuzzing import seeds

FOLDER = fetch.ROOT / ".build" / "fuzz"
PROGRAM = FOLDER / "fuzz"
SANITIZERS = "-sanitize=fuzzer,address"
SECONDS_OF_AN_INPUT = 20
ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
    # What crashes says so at once.
    "SWIFT_BACKTRACE": "enable=no",
}


def build():
    fetch.packages()
    words = ["swift", "build", "-c", "release", "--scratch-path", FOLDER, "--product", "FuzzTargets", "-Xswiftc", SANITIZERS]
    subprocess.run(list(map(str, words)), cwd=fetch.ROOT, check=True, stdout=sys.stderr, env=os.environ | {"TAILRACE_FUZZ": "1"})
    libraries = subprocess.run(["pkg-config", "--libs", "libmongoc-1.0", "libcrypto"], capture_output=True, text=True,
                               check=True).stdout.split()
    # libFuzzer has a main function, so SwiftPM can't make the program.
    subprocess.run(["swiftc", SANITIZERS, "-use-ld=lld", FOLDER / "release" / "libFuzzTargets.a", "-o", PROGRAM,
                    "-lstdc++", "-lz", *libraries], cwd=fetch.ROOT, check=True, stdout=sys.stderr)


def environment(target):
    return os.environ | ENVIRONMENT | {"FUZZ_TARGET": target}


class Run:
    """One target's run: `inputs`, `edges`, `seconds`; `failure`: the end of its output, if something was found."""

    def __init__(self, target, runs):
        self.target = target
        first, corpus, found = FOLDER / "seeds" / target, FOLDER / "corpus" / target, FOLDER / "found"
        seeds.write(target, first)
        for folder in (corpus, found):
            folder.mkdir(parents=True, exist_ok=True)
        dictionary = FOLDER / "seeds" / f"{target}.dict"
        words = seeds.words(target)
        dictionary.write_text("".join(f'"{word}"\n' for word in words))
        began = time.monotonic()
        done = subprocess.run(
            [PROGRAM, f"-runs={runs}", f"-max_len={seeds.MOST}", f"-timeout={SECONDS_OF_AN_INPUT}", "-rss_limit_mb=4096",
             "-print_final_stats=1", f"-artifact_prefix={found}/{target}-", *([f"-dict={dictionary}"] if words else []), corpus, first],
            env=environment(target), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, errors="replace")
        self.seconds = time.monotonic() - began

        def last(pattern):
            numbers = re.findall(pattern, done.stderr)
            return int(numbers[-1]) if numbers else 0

        self.inputs, self.edges = last(r"number_of_executed_units: (\d+)"), last(r"cov: (\d+)")
        self.failure = done.stderr[-3000:] if done.returncode != 0 else None


def main():
    parser = argparse.ArgumentParser(prog="make fuzz-all", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--runs", type=int, default=int(os.environ.get("FUZZ_RUNS") or 20_000), metavar="N")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="targets at a time")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--again", type=Path, metavar="FILE")
    parser.add_argument("--no-build", action="store_true", help="as it was built last")
    options = parser.parse_args()
    unknown = set(options.targets) - set(seeds.SEEDS)
    if unknown or (options.again and len(options.targets) != 1):
        print(f"fuzz-all: {'unknown: ' + ' '.join(sorted(unknown)) if unknown else '--again takes one target'}",
              file=sys.stderr)
        return 64
    targets = options.targets or list(seeds.SEEDS)
    if options.list:
        print(*targets, sep="\n")
        return 0
    try:
        if not options.no_build:
            build()
    except (fetch.Unavailable, subprocess.CalledProcessError) as problem:
        print(f"fuzz-all: {problem}", file=sys.stderr)
        return 69
    if options.again:
        return subprocess.run([PROGRAM, options.again], env=environment(targets[0])).returncode
    failed = 0
    print(f"{'target':16}{'inputs':>12}{'per second':>12}{'edges':>8}", flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        for run in pool.map(lambda target: Run(target, options.runs), targets):
            print(f"{run.target:16}{run.inputs:>12,}{run.inputs / max(run.seconds, 0.001):>12,.0f}{run.edges:>8,}"
                  f"{'  FOUND' if run.failure else ''}", flush=True)
            if run.failure:
                failed += 1
                print(run.failure, file=sys.stderr)
    if failed:
        print(f"fuzz-all: {failed} targets failed; their inputs are in {FOLDER.relative_to(fetch.ROOT)}/found", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
