"""`make demo` builds a program of its own where nothing is built yet: without TLS towards NATS."""

import json
import os
import re
import subprocess

import pytest
from bridge import wait_until
from fetch import ROOT

MODULES = ROOT / ".build" / "release" / "Modules"


def package_names():
    plan = (ROOT / ".build" / "release.yaml").read_text().splitlines()
    return {found[1] for line in plan if '"-module-name","NATS"' in line
            for found in [re.search('"-package-name","([^"]+)"', line)] if found}


def test_it_needs_no_package_for_tls(tmp_path):
    # In a folder of its own: a build may have the other one's lock.
    done = subprocess.run(["swift", "package", "--scratch-path", tmp_path, "dump-package"], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | {"TAILRACE_WITHOUT_TLS": "1"})
    assert done.returncode == 0, done.stderr
    package = json.loads(done.stdout)
    assert "swift-nio-ssl" not in done.stdout
    nats, = [target for target in package["targets"] if target["name"] == "NATS"]
    assert nats["exclude"] == ["TLSMaterial.swift"]


@pytest.mark.skipif(not MODULES.exists(), reason="nothing is built in .build/release, so there are no modules to import")
def test_its_sources_compile():
    """Only checked, against the modules of the real build: a whole one takes minutes."""
    sources = [path for path in (ROOT / "Sources" / "NATS").glob("*.swift") if path.name != "TLSMaterial.swift"]
    # As SwiftPM calls this package, after its folder. A build of the tests may just be writing its plan.
    names = wait_until(package_names, "the plan of the build names this package", 60)
    # SwiftPM writes those that packages don't have themselves.
    maps = [*(ROOT / ".build" / "checkouts").glob("*/Sources/*/include/module.modulemap"),
            *(MODULES.parent).glob("*.build/module.modulemap")]
    headers = [word for path in maps for word in ("-Xcc", f"-fmodule-map-file={path}")]
    headers += [word for folder in (ROOT / ".build" / "checkouts").glob("*/Sources/*/include")
               for word in ("-Xcc", f"-I{folder}")]
    done = subprocess.run(
        ["swiftc", "-typecheck", "-O", "-swift-version", "6", "-package-name", *names, "-module-name", "NATS",
         "-enable-upcoming-feature", "ExistentialAny", "-enable-upcoming-feature", "MemberImportVisibility",
         "-I", MODULES, "-I", ROOT / "Sources" / "CLibCrypto", *headers, *sources],
        capture_output=True, text=True)
    assert done.returncode == 0 and "error:" not in done.stderr, done.stderr[-3000:]
