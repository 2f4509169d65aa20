"""The program as it is shipped: with Swift's runtime inside, so that it needs Debian's libraries alone."""

import shutil
import subprocess
from pathlib import Path

import building
import fetch

from . import facts

# A folder of its own: the static runtime changes how every module is compiled.
SCRATCH = facts.ROOT / ".build" / "package"


def build():
    """Builds it; its path. Takes as long as a first `make build`, later runs only what has changed."""
    fetch.packages()
    _share_clones()
    code = building.build("--product", "tailrace", "--static-swift-stdlib", "--disable-local-rpath",
                          "--scratch-path", str(SCRATCH))
    if code != 0:
        raise fetch.Unavailable("the build failed, see above")
    return SCRATCH / "release" / "tailrace"


def _share_clones():
    """Dependencies are cloned once for all builds, into .build, where `facts` reads what they say of themselves."""
    if not facts.CHECKOUTS.exists():
        _run("swift", "package", "resolve", "--package-path", facts.ROOT)
    SCRATCH.mkdir(parents=True, exist_ok=True)
    for name in ("repositories", "checkouts"):
        link = SCRATCH / name
        if not link.exists() and (facts.ROOT / ".build" / name).exists():
            link.symlink_to(Path("..") / name)
    state = facts.ROOT / ".build" / "workspace-state.json"
    if state.exists():
        shutil.copy2(state, SCRATCH / state.name)


def modules(program):
    """The Swift and C modules in it; None where the linker's list isn't beside it."""
    file = Path(program).parent / "tailrace.product" / "Objects.LinkFileList"
    if not file.exists():
        return None
    return {folder.removesuffix(".build") for line in file.read_text().split()
            for folder in Path(line.strip("'\"")).parts if folder.endswith(".build")}


def strip(program, target, debug=None):
    """A copy without symbols; those go to `debug`, where debuggers find them by its name."""
    if shutil.which("objcopy") is None:
        raise fetch.Unavailable("objcopy is missing: apt-get install binutils")
    if debug is not None:
        _run("objcopy", "--only-keep-debug", "--compress-debug-sections", program, debug)
    _run("strip", "--strip-unneeded", "--remove-section=.comment", "-o", target, program)
    if debug is not None:
        _run("objcopy", f"--add-gnu-debuglink={debug}", target)
        debug.chmod(0o644)
    Path(target).chmod(0o755)


def _run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise fetch.Unavailable(f"{command[0]} failed:\n{done.stderr}")
