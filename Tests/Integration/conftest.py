import re
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from bridge import BINARY, printed  # noqa: E402
from jetstream import JetStream  # noqa: E402
from lab import Lab  # noqa: E402
from load import make_collections, now  # noqa: E402
from several import Side, database  # noqa: E402


# Files whose tests take FAULT_ROUNDS or INSTANCE_SECONDS into account.
FAULTS = ("test_cut_", "test_frozen_", "test_kill_", "test_three_instances", "test_stepdown", "test_term_")

# Files that take long, about the longest first. They begin first: a worker that gets one of them
# at the end works while the others have nothing left.
LONG = (
    "refused_starts", "reload", "snapshot", "three_instances", "memory_bounds", "cutover", "cutover_faults",
    "cutover_kills", "verify_faults",
    "verify", "verify_course", "verify_alterations", "lost_acked", "kill_nats_one_of_three",
    "stream_made_again", "refusals_of_servers", "basics", "verify_letters", "limits", "producer_first",
    "cut_network", "dry_run_gone", "id_conflict", "kill_mongod_primary_of_three", "foreign_message",
    "kill_tailrace", "rehearsal", "example_matrix", "kill_nats_single", "kill_kv", "two_bridges", "page",
    "verify_ids_again", "large_transactions", "core_delivery", "verify_consumed", "kv_delivery",
    "verify_doubts", "rollback", "operator_servers_gone", "frozen_member", "term_frozen", "full_documents",
    "kill_mongod_single",
)
PLACES = {f"test_{name}.py": place for place, name in enumerate(LONG)}


def pytest_configure(config):
    config.addinivalue_line("markers", "fault: kills servers or the bridge, again and again")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.name.startswith(FAULTS):
            item.add_marker(pytest.mark.fault)
    items.sort(key=lambda item: PLACES.get(item.path.name, len(PLACES)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that fails shows what the last commands said, and the ends of its logs."""
    report = yield
    if call.when == "setup":
        printed.clear()
    if report.failed:
        for text in printed:
            report.sections.append(("command", text))
        folder = item.funcargs.get("tmp_path")
        for log in sorted(folder.rglob("*.log")) if folder else []:
            report.sections.append((f"end of {log.name}", end(log)))
    return report


def end(file, size=3000):
    try:
        return file.read_bytes()[-size:].decode(errors="replace")
    except OSError as problem:
        return str(problem)


@pytest.fixture(scope="session", autouse=True)
def binary():
    if not BINARY.exists():
        pytest.exit(f"{BINARY} is missing: run `make build` first", returncode=69)


@pytest.fixture(scope="session")
def lab():
    """Servers that tests share. Who breaks something starts servers of their own."""
    with Lab() as servers:
        yield servers


@pytest.fixture
def jetstream(lab):
    return JetStream(lab.nats_url)


@pytest.fixture
def name(request):
    """Of the test's database, stream and bridge: one token, unique among all tests."""
    file, test = request.path.stem[5:], request.node.name[5:]
    whole = test if test.startswith(file) else f"{file}_{test}"
    return re.sub(r"\W+", "_", whole)[:60].strip("_")


@pytest.fixture
def sides(lab, tmp_path, name):
    """Makes the bridges of a test that has several, by a letter each; kills them at its end."""
    began = now(lab)
    with ExitStack() as stack:
        def make(who, servers=lab, after=began, **changes):
            make_collections(servers, database(name, who))
            side = Side(servers, tmp_path, name, who, after, **changes)
            stack.enter_context(side.bridge)
            return side

        yield make
