import re
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from bridge import BINARY  # noqa: E402
from jetstream import JetStream  # noqa: E402
from lab import Lab  # noqa: E402
from load import make_collections, now  # noqa: E402
from several import Side, database  # noqa: E402


# Files whose tests take FAULT_ROUNDS into account.
FAULTS = ("test_cut_", "test_frozen_", "test_kill_", "test_stepdown", "test_term_")


def pytest_configure(config):
    config.addinivalue_line("markers", "fault: kills servers or the bridge, again and again")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.name.startswith(FAULTS):
            item.add_marker(pytest.mark.fault)


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
