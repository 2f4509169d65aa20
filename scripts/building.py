"""`swift build`, with a line now and then that tells how far it is, instead of one for every file."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import fetch

STEP = re.compile(r"\[(\d+)/(\d+)\] ?(.*)")
EVERY = 0.5 if sys.stderr.isatty() else 10


def yielding():
    """This process and those that it starts get only what is left of the processor.

    Niceness would not do: as root, SwiftPM gives compilers the normal one again."""
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(10)


# What a first demo builds: the same without optimization and TLS, which takes a quarter of the time. By itself, so that
# nothing takes it for the real one.
DEMO = fetch.ROOT / ".build" / "demo"
DEMO_WORDS = ("--scratch-path", DEMO, "-debug-info-format", "none", "-Xswiftc", "-Onone")
DEMO_ENVIRONMENT = {"TAILRACE_WITHOUT_TLS": "1"}


def build(*arguments, behind=False, environment=()):
    """The exit code of `swift build -c release` with arguments; `behind` everything else that runs.

    What the compiler has to say is printed as it comes."""
    given = {name: value for name, value in os.environ.items() if name not in DEMO_ENVIRONMENT}
    command = ["swift", "build", "-c", "release", *(str(word) for word in arguments)]
    print("+", *command, file=sys.stderr, flush=True)
    began = time.monotonic()
    step, ends = "", threading.Event()

    def tell():
        # By the clock: a large module compiles for a minute, and says nothing.
        while not ends.wait(EVERY):
            fetch.show(f"  {clock(time.monotonic() - began)}  {step}", passing=True)

    teller = threading.Thread(target=tell, daemon=True)
    process = subprocess.Popen(command, cwd=fetch.ROOT, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               errors="replace", preexec_fn=yielding if behind else None,
                               env={**given, **dict(environment)})
    teller.start()
    try:
        for line in process.stdout:
            found = STEP.match(line)
            if found is None:
                fetch.show(line.rstrip())
            else:
                step = f"step {found[1]} of {found[2]}: {found[3].rstrip()[:60]}"
        used = ended(process)
    finally:
        ends.set()
        teller.join()
        if process.poll() is None:
            process.terminate()
            process.wait()
    fetch.show(f"  {time.monotonic() - began:.0f} s, {used:.0f} s of processor, "
               f"exit {process.returncode}")
    return process.returncode


def ended(process):
    """Waits for a process; the seconds of processor that it and what it waited for have used."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def prepare():
    """Builds tailrace, names it in TAILRACE_BINARY, and fetches servers and Python environment meanwhile.

    For a demo where nothing is built yet.
    Ends the program with 69 where something of it can't be had, 130 when interrupted."""
    if "TAILRACE_BINARY" in os.environ:
        return
    built = program()
    words, environment = (), {}
    if not built.exists():
        built = DEMO / "release" / "tailrace"
        words, environment = DEMO_WORDS, DEMO_ENVIRONMENT
    try:
        fetch.packages()
        if shutil.which("swift") is None:
            raise fetch.Unavailable("there is no `swift` on PATH; Swift 6 is needed to build tailrace")
        with ThreadPoolExecutor(1) as background:
            servers = background.submit(fetch.servers)
            with unchanged(fetch.ROOT / "Package.resolved"):
                code = build("--product", "tailrace", *words, environment=environment)
            servers.result()
        if code != 0:
            raise fetch.Unavailable("the build failed, see above")
    except fetch.Unavailable as problem:
        fetch.say(problem)
        sys.exit(69)
    except KeyboardInterrupt:
        fetch.show("stopped")
        sys.exit(130)
    os.environ["TAILRACE_BINARY"] = str(built)


@contextmanager
def unchanged(file):
    """A demo's build has a package less, and would have SwiftPM forget which version of it the real one has."""
    before = file.read_bytes() if file.exists() else None
    try:
        yield
    finally:
        if before is not None:
            file.write_bytes(before)


def program(name="tailrace"):
    return fetch.ROOT / ".build" / "release" / name


def clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
