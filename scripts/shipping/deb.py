"""The Debian package. Needs dpkg-dev and binutils; no debhelper."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from email.utils import formatdate
from pathlib import Path

import fetch

from . import facts, manual, program

SOURCES = facts.ROOT / "deploy" / "debian"
SCRIPTS = ("postinst", "prerm", "postrm")
CONFFILES = ("/etc/tailrace/tailrace.yaml",)
DESCRIPTION = """\
 A bridge for systems whose event bus is "tail the MongoDB oplog": every
 majority-committed change becomes a message on a JetStream subject, exactly
 once and in order, whatever crashes in between. Rules choose changes, subjects
 and bodies; JSON Schemas are checked before anything is published; `verify`
 proves that the streams hold what they must, and a cut-over moves group after
 group to producers of your own."""


def build(binary, output, revision=1, symbols=True):
    """Writes the package of a program, and its `symbols` beside it; the package's path. The same program gives the
    same file."""
    for tool in ("dpkg-deb", "dpkg-shlibdeps"):
        if shutil.which(tool) is None:
            raise fetch.Unavailable(f"{tool} is missing: apt-get install dpkg-dev")
    version = f"{facts.version()}-{revision}"
    output.mkdir(parents=True, exist_ok=True)
    target = output / f"{facts.NAME}_{version}_{facts.architecture()}.deb"
    with tempfile.TemporaryDirectory(prefix="tailrace-deb-") as scratch:
        tree = Path(scratch) / "root"
        debug = output / f"{facts.NAME}-{facts.version()}-{facts.architecture()}.debug"
        install(binary, tree, revision, debug if symbols else None)
        control(tree, version, depends(tree / "usr/bin/tailrace", scratch))
        _date(tree)
        _run("dpkg-deb", "--root-owner-group", "-Zxz", "--build", tree, target,
             env=os.environ | {"SOURCE_DATE_EPOCH": str(facts.epoch())})
    return target


def install(binary, tree, revision, debug=None):
    """Everything that the package puts onto a machine."""
    put = Tree(tree)
    program.strip(binary, put.path("usr/bin/tailrace"), debug)
    put.text("usr/lib/systemd/system/tailrace.service", unit())
    put.text("etc/tailrace/tailrace.yaml", (SOURCES / "tailrace.yaml").read_text())
    put.path("etc/tailrace/secrets/x").parent.chmod(0o750)
    for name, text in manual.pages(binary).items():
        put.bytes(f"usr/share/man/man1/{name}.gz", manual.compressed(text))
    for shell, place in manual.SHELLS.items():
        put.text(f"usr/share/{place}", manual.completion(binary, shell))
    put.text("usr/share/lintian/overrides/tailrace", (SOURCES / "lintian-overrides").read_text())
    documents = "usr/share/doc/tailrace"
    for file in (facts.ROOT / "README.md", facts.ROOT / "DEVELOPERS.md"):
        put.text(f"{documents}/{file.name}", file.read_text())
    for folder in ("docs", "config", "deploy/monitoring", "examples"):
        put.folder(f"{documents}/{folder}", facts.ROOT / folder)
    put.bytes(f"{documents}/changelog.Debian.gz", manual.compressed(changelog(revision)))
    put.text(f"{documents}/copyright", copyright_text())


class Tree:
    """Files of a package, below a folder."""

    def __init__(self, root):
        self.root = Path(root)

    def path(self, place):
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def text(self, place, text):
        self.bytes(place, text.encode())

    def bytes(self, place, content):
        path = self.path(place)
        path.write_bytes(content)
        path.chmod(0o644)

    def folder(self, place, source):
        for file in sorted(source.rglob("*")):
            if file.is_file() and not any(part.startswith((".", "__")) for part in file.relative_to(source).parts):
                self.bytes(f"{place}/{file.relative_to(source)}", file.read_bytes())


def unit():
    """deploy/tailrace.service for /usr, with the package's user, whose files are in /etc/tailrace/secrets."""
    text = (facts.ROOT / "deploy" / "tailrace.service").read_text()
    text = text[text.index("[Unit]"):]
    for old, new in (("/usr/local/", "/usr/"), ("DynamicUser=yes\n", "User=tailrace\nGroup=tailrace\n"),
                     ("Documentation=", "Documentation=man:tailrace(1) ")):
        if old not in text:
            raise fetch.Unavailable(f"deploy/tailrace.service has no {old.strip()} any more")
        text = text.replace(old, new)
    return re.sub(r"^LoadCredential=.*\n", "", text, flags=re.M)


def changelog(revision=1):
    """The one in deploy/debian, with an entry for a package that was only made again."""
    text = (SOURCES / "changelog").read_text()
    top = re.match(r"tailrace \(([^)]+)-1\)", text)
    if top is None or top[1] != facts.version():
        raise fetch.Unavailable(f"deploy/debian/changelog has no entry for {facts.version()}-1 at its top")
    if revision == 1:
        return text
    return (f"tailrace ({facts.version()}-{revision}) unstable; urgency=medium\n\n  * Packaged again.\n\n"
            f" -- {facts.MAINTAINER}  {formatdate(facts.epoch())}\n\n{text}")


def control(tree, version, depends):
    """DEBIAN/ with the maintainer scripts."""
    folder = tree / "DEBIAN"
    folder.mkdir()
    files = sorted(file for file in tree.rglob("*") if file.is_file())
    size = sum((file.stat().st_size + 1023) // 1024 for file in files)
    (folder / "control").write_text(
        f"Package: {facts.NAME}\nVersion: {version}\nArchitecture: {facts.architecture()}\n"
        f"Maintainer: {facts.MAINTAINER}\nInstalled-Size: {size}\n"
        f"Depends: {depends}, adduser\nRecommends: ca-certificates\n"
        f"Section: net\nPriority: optional\nDescription: {facts.SUMMARY}\n{DESCRIPTION}\n")
    (folder / "conffiles").write_text("".join(f"{name}\n" for name in CONFFILES))
    (folder / "md5sums").write_text("".join(
        f"{hashlib.md5(file.read_bytes()).hexdigest()}  {file.relative_to(tree)}\n" for file in files
        if f"/{file.relative_to(tree)}" not in CONFFILES))
    for name in ("control", "conffiles", "md5sums"):
        (folder / name).chmod(0o644)
    for name in SCRIPTS:
        shutil.copyfile(SOURCES / name, folder / name)
        (folder / name).chmod(0o755)


def depends(binary, scratch):
    """What the program's libraries are packaged in, with their versions."""
    (Path(scratch) / "debian").mkdir(exist_ok=True)
    (Path(scratch) / "debian" / "control").write_text(
        f"Source: {facts.NAME}\n\nPackage: {facts.NAME}\nArchitecture: any\n")
    said = _run("dpkg-shlibdeps", "-O", f"-e{binary}", cwd=scratch)
    found = re.search(r"^shlibs:Depends=(.+)$", said, re.M)
    if found is None:
        raise fetch.Unavailable(f"dpkg-shlibdeps found no libraries:\n{said}")
    return found[1]


def copyright_text():
    """Who holds what of the program, with the texts that have to accompany it."""
    parts = [
        "tailrace\n========\n\nCopyright: the tailrace maintainers\n\n"
        "No licence has been stated for tailrace itself: ask its maintainers before you pass it on.\n\n"
        "The program contains the following, by others. The Apache License 2.0 is in\n"
        "/usr/share/common-licenses/Apache-2.0; with the Swift exception it also permits what the Swift runtime\n"
        "copies into a program, without its sections 4(a), 4(b) and 4(d)."]
    for component in (*facts.swift_packages(), *facts.vendored()):
        title = f"{component.name} {component.version}"
        text = [title, "-" * len(title), "", f"Copyright: {component.copyright}",
                f"License: {component.licence}", f"Source: {component.source}"]
        if component.within:
            text.append(f"Within: {component.within}")
        for file in component.notices:
            if notice := _own_words(file, component.licence):
                text += ["", notice]
        parts.append("\n".join(text))
    return "\n\n\n".join(parts) + "\n"


def _own_words(file, licence):
    """A licence's text, or a notice; not the Apache License, which Debian has."""
    text = file.read_text(errors="replace")
    if file.suffix == ".c":  # the comment at its top
        text = re.sub(r"^ ?\*/? ?", "", text[text.index("/*-") + 3:text.index("*/", text.index("/*-"))], flags=re.M)
    elif file.name.startswith("LICENSE") and licence.startswith("Apache"):
        return None
    return text.strip()


def _date(tree):
    when = facts.epoch()
    for path in sorted(tree.rglob("*"), reverse=True):
        os.utime(path, (when, when), follow_symlinks=False)
    os.utime(tree, (when, when))


def _run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise fetch.Unavailable(f"{command[0]} failed:\n{done.stderr}")
    return done.stdout
