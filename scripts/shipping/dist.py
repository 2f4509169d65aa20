"""The tarball for machines without apt, its checksums, and the list of components."""

import gzip
import hashlib
import io
import tarfile
import tempfile
from pathlib import Path

from . import deb, facts, manual, program, sbom

SUMS = "SHA256SUMS"


def build(binary, output):
    """Writes tarball, list of components and checksums; their paths. The same program gives the same files."""
    output.mkdir(parents=True, exist_ok=True)
    whole = f"{facts.NAME}-{facts.version()}-linux-{facts.architecture()}"
    with tempfile.TemporaryDirectory(prefix="tailrace-dist-") as scratch:
        tree = Path(scratch) / whole
        install(binary, tree)
        components = sbom.text(tree / "bin" / "tailrace", program.modules(binary))
        deb.Tree(tree).text("sbom.cdx.json", components)
        tarball = output / f"{whole}.tar.gz"
        tarball.write_bytes(packed(tree))
    alone = output / f"{whole}.cdx.json"
    alone.write_text(components)
    return [tarball, alone, sums(output)]


def install(binary, tree):
    put = deb.Tree(tree)
    program.strip(binary, put.path("bin/tailrace"))
    put.text("lib/systemd/system/tailrace.service", (facts.ROOT / "deploy/tailrace.service").read_text())
    for name, text in manual.pages(binary).items():
        put.text(f"share/man/man1/{name}", text)
    for shell, place in manual.SHELLS.items():
        put.text(f"share/{place}", manual.completion(binary, shell))
    for name in ("README.md", "DEVELOPERS.md"):
        put.text(name, (facts.ROOT / name).read_text())
    for folder in ("docs", "config", "deploy/monitoring", "examples"):
        put.folder(folder, facts.ROOT / folder)
    put.text("THIRD-PARTY.txt", third_party())


def third_party():
    """As in the Debian package, with the licence that Debian has by itself."""
    apache = next(file for component in facts.swift_packages() if component.licence == facts.RUNTIME
                  for file in component.notices if file.name.startswith("LICENSE"))
    return (deb.copyright_text().replace("/usr/share/common-licenses/Apache-2.0", "the appendix of this file")
            + "\n\nAppendix\n========\n\n" + apache.read_text())


def packed(tree):
    """A .tar.gz whose bytes depend on the files alone."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in [tree, *sorted(tree.rglob("*"))]:
            entry = archive.gettarinfo(path, arcname=str(path.relative_to(tree.parent)))
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = "root"
            entry.mtime = facts.epoch()
            entry.mode = 0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644
            if path.is_file():
                with open(path, "rb") as content:
                    archive.addfile(entry, content)
            else:
                archive.addfile(entry)
    return gzip.compress(buffer.getvalue(), 9, mtime=0)


def sums(output):
    """SHA256SUMS of all that is there, as `sha256sum -c` reads it."""
    target = output / SUMS
    files = sorted(file for file in output.iterdir()
                   if file.is_file() and file.name != SUMS and file.suffix != ".debug")
    target.write_text("".join(
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files))
    return target
