#!/usr/bin/env python3
"""Runs Swift's tests under a sanitizer: `make sanitize`.

    sanitize.py                    under both, one after the other
    sanitize.py thread|address     under this one
    sanitize.py thread BSONTests   only the tests that match (a regular expression)

Each sanitizer has a debug build of its own, in .build/sanitize-<name>; the first takes half an hour on
two cores. A data race or a memory error fails the run, whatever the tests say.

What is not built with the sanitizer (libmongoc, the Swift runtime, Foundation) is not checked. The thread
sanitizer doesn't see what that synchronizes, either; tsan-mutex.c tells it of contended Mutexes.
"""

import os
import subprocess
import sys

import fetch

OPTIONS = {
    # Each report fails the run with code 66.
    "thread": {"TSAN_OPTIONS": "exitcode=66 second_deadlock_stack=1"},
    # Leaks are another matter: threads that are abandoned on purpose keep what they use.
    "address": {"ASAN_OPTIONS": "detect_leaks=0 detect_stack_use_after_return=1"},
}


def preload():
    """The library of tsan-mutex.c."""
    library = fetch.ROOT / ".build" / "sanitize-thread" / "tsan-mutex.so"
    library.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["clang", "-shared", "-fPIC", "-O1", "-o", library,
                    fetch.ROOT / "scripts" / "tsan-mutex.c", "-ldl"], check=True)
    return library


def swift(verb, sanitizer, *words):
    command = ["swift", verb, f"--sanitize={sanitizer}",
               "--scratch-path", fetch.ROOT / ".build" / f"sanitize-{sanitizer}", *words]
    print("+", *command, file=sys.stderr, flush=True)
    # Eight tests at a time: a sanitizer makes them ten times slower, and many of them wait for servers.
    environment = {"SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH": "8", **os.environ}
    for name, value in OPTIONS[sanitizer].items():
        environment[name] = " ".join(filter(None, (value, os.environ.get(name))))
    if sanitizer == "thread" and verb == "test":
        environment["LD_PRELOAD"] = str(preload())
    return subprocess.run([str(word) for word in command], cwd=fetch.ROOT, env=environment).returncode


def main(arguments):
    wanted = [arguments[0]] if arguments and arguments[0] in OPTIONS else list(OPTIONS)
    rest = arguments[1:] if len(wanted) == 1 else arguments
    if len(rest) > 1 or any(word.startswith("-") for word in rest) or (rest and len(wanted) > 1):
        print(__doc__.strip(), file=sys.stderr)
        return 64
    try:
        fetch.packages()
        fetch.venv()
        fetch.mongod()
        fetch.nats_server()
    except fetch.Unavailable as problem:
        fetch.say(problem)
        return 69
    failed = []
    for sanitizer in wanted:
        if swift("build", sanitizer, "--build-tests") != 0:
            return 1
        selection = [["--filter", rest[0]]] if rest else [
            # Those that start mongods run by themselves, as in test.py.
            ["--skip", "MongoSourceTests"], ["--filter", "MongoSourceTests"]]
        for words in selection:
            if swift("test", sanitizer, "--skip-build", "--disable-xctest", *words) != 0:
                failed.append(f"{sanitizer} {' '.join(words)}")
    print("PASS" if not failed else "FAIL: " + "; ".join(failed), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
