import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "Tests" / "Integration")]

import fetch  # noqa: E402
from root import System  # noqa: E402
from shipping import program  # noqa: E402


@pytest.fixture(scope="session")
def binary():
    """The program that is packaged. TAILRACE_PACKAGED names another one."""
    path = Path(os.environ.get("TAILRACE_PACKAGED", program.SCRATCH / "release" / "tailrace"))
    if not path.exists():
        pytest.exit(f"{path} is missing: run `make deb` first", returncode=69)
    return path


@pytest.fixture
def system(tmp_path):
    """A Debian that has nothing yet."""
    if os.geteuid() != 0:
        pytest.skip("only root can make another system")
    try:
        base = fetch.system()
    except fetch.Unavailable as problem:
        pytest.skip(str(problem))
    with System(base, tmp_path / "root") as system:
        yield system
