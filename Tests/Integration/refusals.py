"""One course for every refusal: a bridge under a light load, something that refuses it, what /healthz
and /readyz say meanwhile, the repair, and an exact stream in the end. Several bridges go through it
side by side on the same servers."""

import itertools
import threading
import time
from dataclasses import dataclass, field

from bridge import Bridge, configuration, wait_until
from jetstream import JetStream
from load import check, client, make_collections, now, settle
from pymongo.errors import PyMongoError

STALLED_WITHIN = 12
WELL_WITHIN = 5
EARLIER = 3  # messages that are stored before the refusal: its limits are made of what they take


@dataclass
class Sample:
    at: float
    ready: int
    code: int
    status: str
    detail: str
    oldest: float


@dataclass
class Case:
    """A bridge and its stream; `words` are the server's, one of which the reason must hold."""

    name: str
    words: tuple
    url: str  # for the test itself
    changes: dict = field(default_factory=dict)
    starts_late: bool = False  # with the refusal there already
    bridge: Bridge = None
    samples: list = field(default_factory=list)
    complaint: str = ""
    after: object = None

    @property
    def jetstream(self):
        return JetStream(self.url)


class Trickle(threading.Thread):
    """Two inserts a second into every case's database."""

    def __init__(self, lab, names):
        super().__init__(daemon=True, name="trickle")
        self.lab, self.names, self.asked_to_stop = lab, names, threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.asked_to_stop.set()
        self.join(30)
        settle(self.lab)

    def run(self):
        with client(self.lab) as mongo:
            for number in itertools.count():
                for name in self.names:
                    try:
                        mongo[name][("rooms", "users")[number % 2]].insert_one(
                            {"_id": number, "text": "x" * 2000})
                    except PyMongoError:
                        pass
                if self.asked_to_stop.wait(0.5):
                    return


class Watch(threading.Thread):
    """Looks at one bridge's health, four times a second."""

    def __init__(self, case):
        super().__init__(daemon=True, name=f"watch {case.name}")
        self.case, self.asked_to_stop = case, threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.asked_to_stop.set()
        self.join(30)

    def run(self):
        while not self.asked_to_stop.wait(0.25):
            ready = self.case.bridge.get("/readyz")[0]
            code, health = self.case.bridge.json("/healthz")
            if code is None:
                continue
            self.case.samples.append(Sample(
                time.monotonic(), ready, code, health["status"],
                health["checks"]["pipeline"]["detail"], health.get("oldest_unsettled_seconds") or 0))


def endure(lab, folder, cases, refuse, repair):
    """Takes all cases through the course. Returns (when it was refused, when the repair began, when it was
    done)."""
    watches = []
    for case in cases:
        make_collections(lab, case.name)
        home = folder / case.name
        home.mkdir()
        case.bridge = Bridge(home, configuration(lab, case.name, **case.changes))
    try:
        for case in cases:
            if not case.starts_late:
                case.bridge.start()
        for case in cases:
            if not case.starts_late:
                case.bridge.wait_ready()
            case.after = now(lab)
        with Trickle(lab, [case.name for case in cases]):
            for case in cases:
                if not case.starts_late:
                    wait_until(lambda case=case: case.jetstream.holds(case.name, EARLIER), "events")
            refuse()
            refused = time.monotonic()
            for case in cases:
                if case.starts_late:
                    case.changes.setdefault("source", {})
                    case.bridge.start("--from", f"{case.after.time}.{case.after.inc}")
                watches.append(Watch(case))
                watches[-1].start()
            deadline = refused + STALLED_WITHIN + 1
            while time.monotonic() < deadline and not all(
                    case.samples and case.samples[-1].status == "stalled" for case in cases):
                time.sleep(0.1)
            time.sleep(1)  # it stays so
            repairing = time.monotonic()
            repair()
            repaired = time.monotonic()
            time.sleep(WELL_WITHIN + 0.5)
        for watch in watches:
            watch.__exit__()
        for case in cases:
            try:
                case.bridge.alive()
                check(lab, case.jetstream, case.name, case.name, case.after, seconds=20)
            except AssertionError as problem:
                case.complaint = str(problem)
        return refused, repairing, repaired
    finally:
        for watch in watches:
            watch.asked_to_stop.set()
        for case in cases:
            case.bridge.__exit__(None)


def judge(case, refused, repairing, repaired):
    """Demands of one case what docs/http.md promises."""
    during = [sample for sample in case.samples if sample.at < repairing]
    story = "\n".join(
        f"{s.at - refused:6.2f} s {s.ready} {s.code} {s.status:8} {s.oldest:6.2f} {s.detail}"
        for s in case.samples) + "\n" + case.bridge.tail(2000)
    stalled = [s for s in during if s.status == "stalled"]
    assert stalled, f"never stalled\n{story}"
    # From the first event that was refused: the writer may have had a pause.
    hindered = next(s.at for s in during if s.at > refused and s.status != "ok")
    assert stalled[0].at - hindered <= STALLED_WITHIN, f"stalled too late\n{story}"
    assert all(s.code == 503 and s.ready == 503 for s in stalled), f"but answers 200\n{story}"
    rest = [s for s in during if s.at >= stalled[0].at]
    assert all(s.status == "stalled" for s in rest), f"stalled, and then not\n{story}"
    assert all(any(word in s.detail for word in case.words) for s in rest), (
        f"the reason is not {case.words}\n{story}")
    # Refused for longer than it takes to notice (3 s without an ack), it never says that all is well.
    early = [s for s in during if s.at - refused > 5]
    assert all(s.status in ("degraded", "stalled") for s in early), f"says ok\n{story}"
    assert all(s.ready == 503 for s in early), f"says ready\n{story}"
    if not case.starts_late:
        assert stalled[-1].oldest > 8, f"the oldest event's age is {stalled[-1].oldest}\n{story}"
    well = [s for s in case.samples if s.at > repairing and s.status in ("ok", "idle")]
    assert well and well[0].at - repaired <= WELL_WITHIN, f"not well after the repair\n{story}"
    assert case.samples[-1].ready == 200, f"not ready after the repair\n{story}"
    assert not case.complaint, f"{case.complaint}\n{story}"
    lines = [line for line in case.bridge.log.read_text().splitlines() if "warning" in line]
    assert 1 <= len(lines) <= 12, f"{len(lines)} warnings in the log\n{story}"
