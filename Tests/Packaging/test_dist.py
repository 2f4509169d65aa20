"""The tarball and its list of components."""

import hashlib
import json
import os
import subprocess
import tarfile

import fetch
import jsonschema_rs
import pytest
from shipping import dist, facts


@pytest.fixture(scope="module")
def made(binary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    return dist.build(binary, folder)


def test_the_same_program_gives_the_same_files(binary, made, tmp_path):
    for one, other in zip(made, dist.build(binary, tmp_path), strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_checksums(made):
    *_, sums = made
    subprocess.run(["sha256sum", "--quiet", "--strict", "-c", sums.name], cwd=sums.parent, check=True)
    assert len(sums.read_text().splitlines()) == 2


def test_tarball(made, tmp_path):
    with tarfile.open(made[0]) as archive:
        entries = archive.getmembers()
        archive.extractall(tmp_path)
    assert {entry.uid for entry in entries} == {0} and {entry.mtime for entry in entries} == {facts.epoch()}
    assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
    folder, = tmp_path.iterdir()
    for name in ("bin/tailrace", "lib/systemd/system/tailrace.service", "share/man/man1/tailrace.1", "README.md",
                 "config/chat.yaml", "docs/runbooks.md", "docs/pictures/page-ok.png", "THIRD-PARTY.txt",
                 "share/bash-completion/completions/tailrace", "sbom.cdx.json"):
        assert (folder / name).exists(), name
    environment = {"PATH": os.environ["PATH"]}
    said = subprocess.run([folder / "bin/tailrace", "--version"], capture_output=True, text=True, env=environment)
    assert said.stdout.strip() == facts.version()
    done = subprocess.run([folder / "bin/tailrace", "validate", "-c", folder / "config/chat.yaml"],
                          capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_components_follow_the_schema(made):
    document = json.loads(made[1].read_text())
    schemas = fetch.cyclonedx()
    registry = jsonschema_rs.Registry([
        (f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json",
         json.loads((schemas / f"{name}.SNAPSHOT.schema.json").read_text())) for name in ("spdx", "jsf-0.82")])
    schema = json.loads((schemas / "bom-1.6.SNAPSHOT.schema.json").read_text())
    validator = jsonschema_rs.Draft7Validator(schema, registry=registry)
    assert [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(document)] == []
    # It would find something.
    document["components"][0]["type"] = "nothing"
    assert not validator.is_valid(document)


def test_components_are_all_there_is(made, binary):
    document = json.loads(made[1].read_text())
    components = {component["name"]: component for component in document["components"]}
    pins = json.loads((facts.ROOT / "Package.resolved").read_text())["pins"]
    for pin in pins:
        found = components[pin["identity"]]
        assert found["version"] == pin["state"]["version"] and found["licenses"]
        assert found["purl"].startswith("pkg:swift/github.com/") and found["purl"].endswith("@" + found["version"])
    assert {"boringssl", "llhttp", "libyaml", "freebsd-sha1", "swift-runtime"} <= set(components)
    # As the linker has it.
    needed = subprocess.run(["readelf", "-d", binary], capture_output=True, text=True).stdout
    assert "libswift" not in needed and "libmongoc-1.0.so.0" in needed
    for name in ("libmongoc-1.0-0", "libbson-1.0-0", "libssl3", "libc6"):
        assert components[name]["purl"].startswith("pkg:deb/debian/"), name
    refs = {component["bom-ref"] for component in document["components"]} | {
        document["metadata"]["component"]["bom-ref"]}
    assert {entry["ref"] for entry in document["dependencies"]} == refs
    assert {ref for entry in document["dependencies"] for ref in entry["dependsOn"]} <= refs
    with tarfile.open(made[0]) as archive:
        inside = archive.extractfile(next(name for name in archive.getnames() if name.endswith("bin/tailrace")))
        content, = document["metadata"]["component"]["hashes"]
        assert hashlib.sha256(inside.read()).hexdigest() == content["content"]


def test_licences_accompany_it(made):
    with tarfile.open(made[0]) as archive:
        name = next(name for name in archive.getnames() if name.endswith("THIRD-PARTY.txt"))
        text = archive.extractfile(name).read().decode()
    for words in ("The SwiftNIO Project", "Fedor Indutny", "WIDE Project", "JP Simard", "Apache License",
                  "Permission is hereby granted, free of charge"):
        assert words in text, words
