"""What the packages say about the project: version, date, architecture, and everything that is compiled in."""

import json
import os
import re
import subprocess
from pathlib import Path

import fetch

ROOT = fetch.ROOT
CHECKOUTS = ROOT / ".build" / "checkouts"
OUTPUT = ROOT / ".build" / "dist"

NAME = "tailrace"
SUMMARY = "MongoDB changes to NATS JetStream, nothing lost or doubled"
# Debian's own variables; the address is where nobody is written to by mistake.
MAINTAINER = f"{os.environ.get('DEBFULLNAME', 'tailrace maintainers')} " \
             f"<{os.environ.get('DEBEMAIL', 'maintainers@tailrace.example.org')}>"

APACHE, RUNTIME = "Apache-2.0", "Apache-2.0 WITH Swift-exception"
# Swift package -> (licence as SPDX writes it, copyright). A new dependency fails until it is added here.
LICENCES = {
    "swift-argument-parser": (RUNTIME, "2020 Apple Inc. and the Swift project authors"),
    "swift-async-algorithms": (RUNTIME, "2022 Apple Inc. and the Swift project authors"),
    "swift-atomics": (RUNTIME, "2020 Apple Inc. and the Swift project authors"),
    "swift-collections": (RUNTIME, "2021 Apple Inc. and the Swift project authors"),
    "swift-log": (APACHE, "2018 Apple Inc. and the Swift Logging API project authors"),
    "swift-nio": (APACHE, "2017 Apple Inc. and the SwiftNIO project authors"),
    "swift-nio-ssl": (APACHE, "2017 Apple Inc. and the SwiftNIO project authors"),
    "swift-service-lifecycle": (APACHE, "2019 Apple Inc. and the SwiftServiceLifecycle project authors"),
    "swift-system": (RUNTIME, "2020 Apple Inc. and the Swift System project authors"),
    "yams": ("MIT", "2016 JP Simard"),
}


def version():
    """The program's, from its source."""
    text = (ROOT / "Sources" / "tailrace" / "Version.swift").read_text()
    return re.search(r'current = "([^"]+)"', text)[1]


def epoch():
    """Seconds since 1970 that packages bear: SOURCE_DATE_EPOCH, else the last commit's."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise fetch.Unavailable("no commit gives packages their date: set SOURCE_DATE_EPOCH")
    return int(done.stdout)


def architecture():
    """Debian's name of this machine's."""
    if done := _said("dpkg", "--print-architecture"):
        return done
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _said(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


class Component:
    """Something that the program contains or is linked to."""

    def __init__(self, name, version, licence, purl, **more):
        self.name, self.version, self.licence, self.purl = name, version, licence, purl
        self.copyright = more.get("copyright")
        self.source = more.get("source")
        self.revision = more.get("revision")
        self.within = more.get("within")
        self.is_linked = more.get("is_linked", True)
        self.notices = more.get("notices", [])  # files whose text has to accompany it


def swift_packages(linked=None):
    """Package.resolved, with licences. `linked`: the modules in the program; None: unknown, so all are."""
    file = ROOT / "Package.resolved"
    if not file.exists():
        raise fetch.Unavailable("Package.resolved is missing: run `swift package resolve`")
    found = []
    for pin in json.loads(file.read_text())["pins"]:
        identity, state = pin["identity"], pin["state"]
        if identity not in LICENCES:
            raise fetch.Unavailable(
                f"the licence of {identity} is unknown: add it to LICENCES in scripts/shipping/facts.py")
        licence, copyright = LICENCES[identity]
        location = pin["location"].removesuffix(".git")
        folder = CHECKOUTS / location.rsplit("/", 1)[1]
        modules = {entry.name for entry in (folder / "Sources").iterdir()} if folder.exists() else set()
        found.append(Component(
            identity, state["version"], licence, f"pkg:swift/{location.removeprefix('https://')}@{state['version']}",
            copyright=copyright, source=location, revision=state["revision"],
            is_linked=linked is None or bool(linked & modules),
            notices=[folder / name for name in ("LICENSE", "LICENSE.txt", "NOTICE.txt")
                     if (folder / name).exists()]))
    return found


def vendored():
    """C code inside of Swift packages, and Swift's own runtime, which is linked statically."""
    nio, ssl = CHECKOUTS / "swift-nio", CHECKOUTS / "swift-nio-ssl"
    yams = next(component.version for component in swift_packages() if component.name == "yams")
    boring = (ssl / "Sources/CNIOBoringSSL/hash.txt").read_text().split()[-1]
    header = (nio / "Sources/CNIOLLHTTP/include/c_nio_llhttp.h").read_text()
    llhttp = ".".join(re.search(rf"LLHTTP_VERSION_{part} (\d+)", header)[1] for part in ("MAJOR", "MINOR", "PATCH"))
    sha1 = re.search(r"sha1\.c,v ([\d.]+)", (nio / "Sources/CNIOSHA1/c_nio_sha1.c").read_text())[1]
    swift = re.search(r"Swift version (\S+)", _said("swift", "--version") or "")
    swift = swift[1] if swift else "unknown"
    return [
        Component("boringssl", boring[:12], APACHE,
                  f"pkg:generic/boringssl@{boring[:12]}?vcs_url=git%2Bhttps://boringssl.googlesource.com/boringssl"
                  f"%40{boring}",
                  copyright="the OpenSSL Project authors, the BoringSSL authors and others", revision=boring,
                  source="https://boringssl.googlesource.com/boringssl", within="swift-nio-ssl"),
        Component("fiat-crypto", boring[:12], "MIT OR Apache-2.0 OR BSD-1-Clause",
                  "pkg:github/mit-plv/fiat-crypto", copyright="2015-2020 the fiat-crypto authors",
                  source="https://github.com/mit-plv/fiat-crypto", within="boringssl"),
        Component("llhttp", llhttp, "MIT", f"pkg:github/nodejs/llhttp@v{llhttp}", copyright="2018 Fedor Indutny",
                  source="https://github.com/nodejs/llhttp", within="swift-nio",
                  notices=[nio / "Sources/CNIOLLHTTP/LICENSE"]),
        Component("freebsd-sha1", sha1, "BSD-3-Clause", f"pkg:generic/freebsd-sha1@{sha1}",
                  copyright="1995, 1996, 1997, and 1998 WIDE Project",
                  source="https://github.com/freebsd/freebsd-src", within="swift-nio",
                  notices=[nio / "Sources/CNIOSHA1/c_nio_sha1.c"]),
        # Yams changes it, and doesn't say which version it began with.
        Component("libyaml", f"in-yams-{yams}", "MIT", "pkg:github/yaml/libyaml",
                  copyright="2017-2020 Ingy dot Net, 2006-2016 Kirill Simonov",
                  source="https://github.com/yaml/libyaml", within="yams"),
        Component("swift-runtime", swift, RUNTIME, f"pkg:github/swiftlang/swift@swift-{swift}-RELEASE",
                  copyright="2014 Apple Inc. and the Swift project authors",
                  source="https://github.com/swiftlang/swift", notices=_swift_licence()),
        Component("swift-corelibs-foundation", swift, RUNTIME,
                  f"pkg:github/swiftlang/swift-corelibs-foundation@swift-{swift}-RELEASE",
                  copyright="2014 Apple Inc. and the Swift project authors",
                  source="https://github.com/swiftlang/swift-corelibs-foundation", within="swift-runtime"),
        Component("swift-corelibs-libdispatch", swift, RUNTIME,
                  f"pkg:github/swiftlang/swift-corelibs-libdispatch@swift-{swift}-RELEASE",
                  copyright="2008 Apple Inc.", source="https://github.com/swiftlang/swift-corelibs-libdispatch",
                  within="swift-runtime"),
        Component("swift-foundation-icu", swift, "Unicode-3.0",
                  f"pkg:github/swiftlang/swift-foundation-icu@swift-{swift}-RELEASE",
                  copyright="2016 Unicode, Inc.", source="https://github.com/swiftlang/swift-foundation-icu",
                  within="swift-runtime"),
    ]


def _swift_licence():
    program = _said("sh", "-c", "readlink -f $(command -v swift)")
    file = Path(program).parent.parent / "share" / "swift" / "LICENSE.txt" if program else None
    return [file] if file and file.exists() else []


def libraries(program):
    """The Debian packages of the libraries that the program is linked to, directly or not."""
    direct = set(re.findall(r"\(NEEDED\)\s+Shared library: \[([^\]]+)\]",
                            _said("readelf", "-d", str(program)) or ""))
    found = {}
    for name, path in re.findall(r"^\s*(\S+) => (/\S+)", _said("ldd", str(program)) or "", re.M):
        owner = _owner(path)
        if owner is None:
            continue
        package = owner.split(":")[0]
        shown = _said("dpkg-query", "-W", "-f", "${Version} ${Architecture}", owner)
        version, machine = shown.split()
        system = fetch._distribution()
        purl = (f"pkg:deb/{system[0]}/{package}@{version.replace('+', '%2B').replace('~', '%7E')}"
                f"?arch={machine}&distro={system[1]}")
        component = found.setdefault(package, Component(
            package, version, _debian_licence(package), purl, is_linked=False,
            source=f"https://packages.debian.org/{system[1]}/{package}"))
        component.is_linked |= name in direct
    return sorted(found.values(), key=lambda component: component.name)


def _owner(path):
    """The package of a file; paths below /lib may be known by the one below /usr/lib, and the reverse."""
    real = os.path.realpath(path)
    for candidate in dict.fromkeys((path, real, real.removeprefix("/usr"), "/usr" + path)):
        if found := _said("dpkg", "-S", candidate):
            return found.splitlines()[0].rsplit(": ", 1)[0].split(",")[0]
    return None


def _debian_licence(package):
    """The short names in its copyright file, where that can be read by machines."""
    file = Path("/usr/share/doc") / package / "copyright"
    if not file.exists():
        return f"see {file}"
    text = file.read_text(errors="replace")
    names = []
    if "copyright-format/1" in text[:400]:
        for name in re.findall(r"^License:\s*(\S[^\n]*)$", text, re.M):
            if name.strip() not in names:
                names.append(name.strip())
    return ", ".join(names[:6]) if names else f"see {file}"
