#!/usr/bin/env python3
"""Makes what is shipped, in .build/dist: `make deb`, `make dist`, `make docs`.

    package.py deb [--revision N] [--binary FILE]    the Debian package
    package.py dist [--binary FILE]                  tarball, list of components (CycloneDX), SHA256SUMS
    package.py docs                                  the documentation as a site, in .build/docs
    package.py check FILE.deb                        what lintian has to say; exit code 1 for an error

Without --binary the program is built first, with Swift's runtime inside. Paths go to stdout, progress to stderr.
Exit codes: 0 done, 1 lintian found an error, 69 something is missing (the message names the remedy).
DEBFULLNAME and DEBEMAIL name the maintainer, SOURCE_DATE_EPOCH the date (else the last commit's).
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import fetch
from shipping import deb, dist, facts, program, site


def main(arguments):
    parser = argparse.ArgumentParser(prog="package.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("deb", "dist"):
        options = verbs.add_parser(verb)
        options.add_argument("--binary", type=Path)
        options.add_argument("--output", type=Path, default=facts.OUTPUT)
        if verb == "deb":
            options.add_argument("--revision", type=int, default=1)
    verbs.add_parser("docs")
    verbs.add_parser("check").add_argument("file", type=Path)
    chosen = parser.parse_args(arguments)
    try:
        if chosen.verb == "docs":
            print(site.build())
        elif chosen.verb == "check":
            return check(chosen.file)
        else:
            binary = chosen.binary or program.build()
            if chosen.verb == "deb":
                print(deb.build(binary, chosen.output, chosen.revision))
                dist.sums(chosen.output)
            else:
                print(*dist.build(binary, chosen.output), sep="\n")
    except fetch.Unavailable as problem:
        fetch.say(problem)
        return 69
    return 0


def check(file):
    if shutil.which("lintian") is None:
        raise fetch.Unavailable("lintian is missing: apt-get install lintian")
    # Exit code 2: an error was found. The program's own messages go where they always do.
    return min(subprocess.run(["lintian", "--fail-on", "error", "--tag-display-limit", "0", file]).returncode, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
