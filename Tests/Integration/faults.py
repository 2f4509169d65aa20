"""One course for every fault: a load of 2,000 writes a second, the fault at random moments,
progress within ten seconds of the end of each outage, and an exact stream in the end."""

import math
import os
import random
import time

from bridge import Bridge, configuration
from jetstream import JetStream
from load import Writer, check, make_collections, now

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "2"))
PROGRESS_SECONDS = 10


def seed():
    """Of everything random in a test. FAULT_SEED repeats a run."""
    value = int(os.environ.get("FAULT_SEED") or random.SystemRandom().randrange(1 << 31))
    print(f"FAULT_SEED={value} FAULT_ROUNDS={ROUNDS}")
    return value


def endure(lab, folder, name, fault, share=1.0, stream=None, settle=None, **changes):
    """`fault(bridge, dice)` breaks something, waits, and mends it; when it returns, whatever was
    broken is back. `settle()` runs after progress was seen, before the next round. `share` of the
    rounds are enough where the same is done for several protocols."""
    rounds = math.ceil(ROUNDS * share)
    dice = random.Random(seed())
    make_collections(lab, name)
    jetstream = JetStream(lab.nats_url)
    with Bridge(folder, configuration(lab, name, stream=stream or {}, **changes)) as bridge:
        bridge.start().wait_ready()
        after = now(lab)
        with Writer(lab, name, dice.random()) as writer:
            progress(jetstream, bridge, name, "at the start")
            for number in range(1, rounds + 1):
                time.sleep(dice.uniform(0.1, 2.0))
                fault(bridge, dice)
                waited = progress(jetstream, bridge, name, f"after fault {number}")
                print(f"fault {number}: progress after {waited:.2f} s")
                if settle:
                    settle()
            time.sleep(dice.uniform(0.1, 1.0))
        print(f"written {writer.written}, the writer's errors: {dict(writer.errors)}")
        assert writer.written > 0
        count = check(lab, jetstream, name, name, after)
        bridge.alive()
        assert bridge.terminate() == 0
    assert count >= writer.written * 0.5, "the load was far smaller than asked for"
    print(f"{count} events exact after {rounds} faults")
    return count


def progress(jetstream, bridge, stream, when):
    """Waits for the stream to grow from now on; how long that took."""
    began = time.monotonic()
    before = None
    while True:
        last = jetstream.last_sequence(stream)
        if before is None:
            before = last
        elif last is not None and last > before:
            return time.monotonic() - began
        bridge.alive()
        if time.monotonic() - began > PROGRESS_SECONDS:
            raise AssertionError(
                f"hangs {when}: no new message in {stream} within {PROGRESS_SECONDS} s "
                f"(sequence {before}, now {last}); /healthz says {bridge.get('/healthz')}")
        time.sleep(0.05)
