#!/usr/bin/env python3
"""Fails on code that the compiler no longer checks and that doesn't say why it is safe.

What must have its reason in the comment before it, or in the one before its type (a type within
another may leave it to that):

    @unchecked Sendable, nonisolated(unsafe)     why it may cross threads
    @exclusivity(unchecked)                      why accesses can't overlap
    a stored unsafe pointer or view of BSON      who keeps the bytes alive, and how long

And a tuple that Swift 6.3.1, optimizing, returns without its first element:

    return (index, .success(try await work()))
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ATTRIBUTE = r"(?:@\w+(?:\([\w ,]+\))?\s+)*"
MODIFIER = (r"(?:(?:public|package|internal|private|fileprivate|static|final|indirect|lazy|weak"
            r"|nonisolated)(?:\(\w+\))?\s+)*")
TYPE = re.compile(rf"^(\s*){ATTRIBUTE}{MODIFIER}(?:struct|class|enum|actor|extension)\s+([\w.]+)")
STORED = re.compile(rf"^(\s*){ATTRIBUTE}{MODIFIER}{ATTRIBUTE}(?:let|var)\s+\w+(.*)$")
VIEW = re.compile(r"Unsafe\w*Pointer|\bBSON(?:View|Elements?)\b|\bChangeEvent\b|MessageView\b")

SENDABLE = re.compile(r"[Ii]nvariant")
EXCLUSIVITY = re.compile(r"exclusivity|overlap")
MISCOMPILED = re.compile(r"\(\s*[^()]+,\s*(?:\w+(?:<.*>)?)?\.\w+\(try await")
LIFETIME = re.compile(r"[Ii]nvariant|[Bb]orrow|[Vv]alid |valid,|[Pp]oints? into|never read")


def comment(lines, at):
    """What the comment lines directly before a line say."""
    text = []
    at -= 1
    while at >= 0 and lines[at].lstrip().startswith(("//", "@")):
        text.append(lines[at].strip().lstrip("/"))
        at -= 1
    return " ".join(" ".join(reversed(text)).split())


def faults(file):
    lines = file.read_text().splitlines()
    scopes = []  # (indentation, whether a type, its reasons)
    for number, line in enumerate(lines):
        code = line.strip()
        if not code or code.startswith("//"):
            continue
        indentation = len(line) - len(line.lstrip())
        while scopes and scopes[-1][0] >= indentation and code[0] not in ")]}":
            scopes.pop()
        outer = " ".join(reasons for _, _, reasons in scopes)
        before = comment(lines, number) + " " + outer
        kind = TYPE.match(line)
        if ("@unchecked" in code or "nonisolated(unsafe)" in code) and not SENDABLE.search(before):
            yield number, "Sendable, unchecked, without an invariant"
        if "@exclusivity(unchecked)" in code and not EXCLUSIVITY.search(before):
            yield number, "without exclusivity checks, and no reason why accesses can't overlap"
        if MISCOMPILED.search(code):
            yield number, "this tuple loses its first element in release builds: use a struct"
        if kind:
            scopes.append((indentation, True, comment(lines, number)))
            continue
        stored = STORED.match(line)
        if stored and scopes and scopes[-1][1]:
            declared = stored[2]
            computed = code.endswith("{") or re.search(r"\{.*\}$", declared)
            if VIEW.search(declared) and "->" not in declared and not computed:
                if not LIFETIME.search(before):
                    yield number, "a stored view or pointer without the lifetime of its bytes"
        if code.endswith(("{", "(")):
            scopes.append((indentation, False, ""))


def main():
    count = 0
    for folder in ("Sources", "Tests"):
        for file in sorted((ROOT / folder).rglob("*.swift")):
            for number, text in faults(file):
                print(f"{file.relative_to(ROOT)}:{number + 1}: {text}")
                count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
