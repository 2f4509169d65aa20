"""The Debian package: lintian, and its life on a Debian that has nothing but it."""

import re
import subprocess

import pytest
import yaml
from bridge import configuration
from lab import Lab
from load import client
from shipping import deb, facts

CONFIGURATION = "/etc/tailrace/tailrace.yaml"


@pytest.fixture(scope="module")
def packages(binary, tmp_path_factory):
    """Two versions of it."""
    folder = tmp_path_factory.mktemp("packages")
    return [deb.build(binary, folder, revision, symbols=False) for revision in (1, 2)]


def test_the_same_program_gives_the_same_package(binary, packages, tmp_path):
    assert deb.build(binary, tmp_path, 1, symbols=False).read_bytes() == packages[0].read_bytes()


def test_lintian(packages):
    done = subprocess.run(["lintian", "--allow-root", "--tag-display-limit", "0", "--display-info", packages[0]],
                          capture_output=True, text=True)
    found = [line for line in done.stdout.splitlines() if re.match("[EW]:", line)]
    assert not found, "\n".join(found)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_it_needs_and_brings(packages):
    def field(name):
        return subprocess.run(["dpkg-deb", "-f", packages[0], name], capture_output=True, text=True).stdout.strip()

    assert {"libmongoc-1.0-0", "libbson-1.0-0", "libssl3", "libc6", "adduser"} <= set(
        re.findall(r"(?:^|, )([a-z0-9.+-]+)", field("Depends")))
    assert "swift" not in field("Depends")
    listed = subprocess.run(["dpkg-deb", "-c", packages[0]], capture_output=True, text=True).stdout
    names = {line.split()[5].removeprefix(".") for line in listed.splitlines()}
    for name in ("/usr/bin/tailrace", "/usr/lib/systemd/system/tailrace.service", CONFIGURATION,
                 "/usr/share/man/man1/tailrace.1.gz", "/usr/share/man/man1/tailrace-verify.1.gz",
                 "/usr/share/bash-completion/completions/tailrace", "/usr/share/zsh/vendor-completions/_tailrace",
                 "/usr/share/fish/vendor_completions.d/tailrace.fish", "/usr/share/doc/tailrace/copyright",
                 "/usr/share/doc/tailrace/changelog.Debian.gz", "/usr/share/doc/tailrace/docs/runbooks.md",
                 "/usr/share/doc/tailrace/config/chat.yaml"):
        assert name in names, name
    assert all("root/root" in line for line in listed.splitlines())


def test_install_run_upgrade_purge(system, packages, lab):
    for number, package in enumerate(packages, 1):
        system.put(package, f"/root/tailrace-{number}.deb")
    # Of servers on the same machine: no business of this package.
    for place in ("/var/lib/mongodb/data", "/var/lib/nats/jetstream"):
        system.path(place).parent.mkdir(parents=True)
        system.path(place).write_text("theirs")
    system.run("apt-get", "update", "-qq")
    # Its dependencies first, so that what is left in the end is its own.
    needed = re.sub(r" \([^)]*\)", "", subprocess.run(
        ["dpkg-deb", "-f", packages[0], "Depends"], capture_output=True, text=True).stdout)
    system.run("apt-get", "install", "-qq", "-y", "--no-install-recommends",
               *(name.strip() for name in needed.split(",")))
    before, users = system.files(), system.path("/etc/passwd").read_text()

    said = system.run("apt-get", "install", "-y", "--no-install-recommends", "/root/tailrace-1.deb").stdout
    assert "tailrace waits for its configuration: edit /etc/tailrace/tailrace.yaml" in said
    assert system.run("tailrace", "--version").stdout.strip() == facts.version()
    assert "tailrace:x:" in system.path("/etc/passwd").read_text()
    assert oct(system.path(CONFIGURATION).stat().st_mode & 0o777) == "0o640"
    assert not list(system.path("/etc/systemd/system").rglob("tailrace.service")), "it is not enabled by itself"

    # As it comes, it ends at once and says what to do. Also as the service's own user.
    for user in (None, "tailrace:tailrace"):
        done = system.run("tailrace", "run", "-c", CONFIGURATION, code=78, user=user)
        assert "source.uri_file" in done.stderr and "tailrace.yaml" in done.stderr, done.stderr
    # Its comments lead to a valid one.
    secret = system.path("/etc/tailrace/secrets/mongodb-uri")
    secret.write_text(lab.uri)
    secret.chmod(0o640)
    system.run("chgrp", "tailrace", "/etc/tailrace/secrets/mongodb-uri")
    system.run("tailrace", "validate", "-c", CONFIGURATION, user="tailrace:tailrace")

    # The real thing, against real servers, as the service's user.
    whole = configuration(lab, "deb", source={"start": "oldest"})
    del whole["source"]["uri"]
    whole["source"]["uri_file"] = "/etc/tailrace/secrets/mongodb-uri"
    edited = yaml.safe_dump(whole, sort_keys=False)
    system.path(CONFIGURATION).write_text(edited)
    with client(lab) as mongo:
        mongo.deb.create_collection("rooms")
        assert '"verdict": "fail"' not in system.run(
            "tailrace", "doctor", "--json", "-c", CONFIGURATION, user="tailrace:tailrace").stdout
        mongo.deb.rooms.insert_one({"_id": 1})
    system.run("tailrace", "run", "-c", CONFIGURATION, "--until", "now", user="tailrace:tailrace")
    system.run("tailrace", "verify", "-c", CONFIGURATION, user="tailrace:tailrace")

    system.run("apt-get", "install", "-y", "--no-install-recommends", "/root/tailrace-2.deb")
    assert system.run("dpkg-query", "-W", "-f", "${Version}", "tailrace").stdout == f"{facts.version()}-2"
    assert system.path(CONFIGURATION).read_text() == edited, "an edited configuration survives an upgrade"
    assert oct(system.path(CONFIGURATION).stat().st_mode & 0o777) == "0o640"
    system.run("tailrace", "validate", "-c", CONFIGURATION, user="tailrace:tailrace")

    system.run("apt-get", "remove", "-qq", "-y", "tailrace")
    assert system.path(CONFIGURATION).read_text() == edited, "only a purge takes it"
    assert not system.path("/usr/bin/tailrace").exists()
    done = system.run("apt-get", "purge", "-qq", "-y", "tailrace")
    # A person's own file stays, for root alone.
    assert "your files in /etc/tailrace/secrets are kept" in done.stdout + done.stderr
    assert oct(secret.parent.stat().st_mode & 0o777) == "0o700" and secret.parent.stat().st_gid == 0
    assert system.files() - before == {
        "etc/tailrace", "etc/tailrace/secrets", "etc/tailrace/secrets/mongodb-uri",
        "root/tailrace-1.deb", "root/tailrace-2.deb"} - before
    assert before - system.files() == set()
    assert system.path("/etc/passwd").read_text() == users
    for place in ("/var/lib/mongodb/data", "/var/lib/nats/jetstream"):
        assert system.path(place).read_text() == "theirs"


def test_purge_of_an_untouched_package_leaves_nothing(system, packages):
    system.put(packages[0], "/root/tailrace.deb")
    system.run("apt-get", "update", "-qq")
    needed = re.sub(r" \([^)]*\)", "", subprocess.run(
        ["dpkg-deb", "-f", packages[0], "Depends"], capture_output=True, text=True).stdout)
    system.run("apt-get", "install", "-qq", "-y", "--no-install-recommends",
               *(name.strip() for name in needed.split(",")))
    before = system.files()
    system.run("dpkg", "-i", "/root/tailrace.deb")
    # Again: a reinstallation finds what it made.
    system.run("dpkg", "-i", "/root/tailrace.deb")
    system.run("dpkg", "--purge", "tailrace")
    assert system.files() - before == set() and before - system.files() == set()


@pytest.fixture(scope="module")
def lab():
    with Lab() as servers:
        yield servers
