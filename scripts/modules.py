#!/usr/bin/env python3
"""Prints which module imports which, and fails on an edge that docs/ARCHITECTURE.md lacks.

The map is the table under "Modules" there: first column the module, last column what it may import.
An edge of the map that no file uses is an error, too: the map says how it is.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAP = ROOT / "docs" / "ARCHITECTURE.md"
# What comes with the system or the toolchain.
SYSTEM = {"CLibCrypto", "CLibMongoC", "Dispatch", "Foundation", "Glibc", "Synchronization"}
PACKAGES = {
    "ArgumentParser": "swift-argument-parser", "Logging": "swift-log",
    "Metrics": "swift-metrics", "CoreMetrics": "swift-metrics", "NIO": "SwiftNIO", "NIOCore": "SwiftNIO",
    "NIOHTTP1": "SwiftNIO", "NIOPosix": "SwiftNIO", "NIOSSL": "NIOSSL",
    "ServiceLifecycle": "swift-service-lifecycle", "UnixSignals": "swift-service-lifecycle",
    "Yams": "Yams",
}
IMPORT = re.compile(r"^(?:[\w@]+ )*import (?:(?:struct|enum|class|func|protocol) )?(\w+)", re.M)


def imported(folder):
    """module -> one file that imports it."""
    found = {}
    for file in sorted(folder.rglob("*.swift")):
        for name in IMPORT.findall(file.read_text()):
            if name not in SYSTEM and name != folder.name:
                found.setdefault(PACKAGES.get(name, name), file.relative_to(ROOT))
    return found


def drawn():
    """module -> what the map lets it import."""
    text = MAP.read_text().split("## Modules", 1)[1].split("\n## ", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")]
            for line in text.splitlines() if line.startswith("| `")]
    found = {}
    for row in rows:
        allowed = {name.strip() for name in row[-1].split(",") if name.strip() not in ("", "–")}
        for module in re.findall(r"`(\w+)`", row[0]):
            found[module] = allowed
    return found


def main():
    allowed, problems = drawn(), []
    modules = sorted(folder for folder in (ROOT / "Sources").iterdir() if any(folder.rglob("*.swift")))
    for folder in modules:
        found = imported(folder)
        print(f"{folder.name:20} {', '.join(sorted(found)) or '–'}")
        if folder.name not in allowed:
            problems.append(f"{MAP.name} has no row for the module {folder.name}")
            continue
        for name in sorted(set(found) - allowed[folder.name]):
            problems.append(f"{found[name]} imports {name}, which {MAP.name} doesn't let "
                            f"{folder.name} see: remove the import, or draw the edge and say why")
        for name in sorted(allowed[folder.name] - set(found)):
            problems.append(f"{MAP.name} lets {folder.name} import {name}, and no file does: "
                            "remove it from the table")
    for problem in problems:
        print(f"modules: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
