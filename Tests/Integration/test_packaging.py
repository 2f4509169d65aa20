"""What packages are made of, as far as it can be told without making them; `make test-packages` does that."""

import gzip
import os
import re
import shutil
import subprocess

import pytest
from bridge import BINARY, ROOT, tailrace
from shipping import deb, facts, manual


@pytest.fixture(autouse=True)
def date(monkeypatch):
    """A tree without its history has no date of its own."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1750000000")


def test_manual_pages_tell_every_command(tmp_path):
    pages = manual.pages(BINARY)
    names = {command["commandName"] for command in manual.description(BINARY)["subcommands"]} - {"help"}
    assert set(pages) == {"tailrace.1"} | {f"tailrace-{name}.1" for name in names}
    assert "\\-\\-until" in pages["tailrace-run.1"] and "\\-\\-mismatches" in pages["tailrace-verify.1"]
    for name in names:
        assert f"tailrace\\-{name}" in pages["tailrace.1"]
    if shutil.which("groff") is None:
        pytest.skip("there is no groff to read the pages with")
    for name, text in pages.items():
        done = subprocess.run(["groff", "-man", "-ww", "-K", "utf-8", "-T", "utf8", "-z"], input=text,
                              capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, f"{name}: {done.stderr}"


@pytest.mark.parametrize("shell", manual.SHELLS)
def test_completions_know_the_commands(shell):
    text = manual.completion(BINARY, shell)
    assert "cutover" in text and "mismatches" in text


def test_unit_of_the_package(tmp_path):
    text = deb.unit()
    for line in ("User=tailrace", "Group=tailrace", "Type=notify", "RestartPreventExitStatus=75 78",
                 "ExecStart=/usr/bin/tailrace run -c /etc/tailrace/tailrace.yaml"):
        assert f"\n{line}\n" in text, line
    assert "LoadCredential" not in text and "/usr/local" not in text and "DynamicUser" not in text
    # systemd looks at the exit code of the service alone: what runs before it is tried again for ever.
    assert "\nExecStartPre=" not in text
    if shutil.which("systemd-analyze") is None:
        return
    unit = tmp_path / "tailrace.service"
    unit.write_text(text.replace("/usr/bin/tailrace", str(BINARY)).replace("User=tailrace", "User=daemon")
                    .replace("Group=tailrace", "Group=daemon"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_the_configuration_waits_for_a_person(tmp_path):
    """It refuses to run, says which file is missing, and is right as soon as that is there."""
    text = (deb.SOURCES / "tailrace.yaml").read_text()
    secret = tmp_path / "mongodb-uri"
    file = tmp_path / "tailrace.yaml"
    file.write_text(text.replace("/etc/tailrace/secrets/mongodb-uri", str(secret)))
    for command in ("validate", "run", "doctor"):
        done = tailrace(command, "-c", file)
        assert done.returncode == 78 and "source.uri_file" in done.stdout + done.stderr, done
    # As its comment has it.
    uri = re.search(r"^#\s+(mongodb://\S+)$", text, re.M)[1]
    secret.write_text(uri + "\n")
    done = tailrace("validate", "--strict", "-c", file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_changelog_and_licences():
    assert deb.changelog().startswith(f"tailrace ({facts.version()}-1) ")
    assert deb.changelog(2).startswith(f"tailrace ({facts.version()}-2) ")
    assert gzip.decompress(manual.compressed("x")) == b"x"
    if not (ROOT / "Package.resolved").exists() or not facts.CHECKOUTS.exists():
        pytest.skip("no dependencies are resolved here")
    text = deb.copyright_text()
    for component in (*facts.swift_packages(), *facts.vendored()):
        assert component.name in text and component.licence in text


def test_scripts_are_sound():
    for script in deb.SCRIPTS:
        path = deb.SOURCES / script
        assert os.access(path, os.R_OK) and path.read_text().startswith("#!/bin/sh\nset -e\n")
        assert subprocess.run(["sh", "-n", path]).returncode == 0
