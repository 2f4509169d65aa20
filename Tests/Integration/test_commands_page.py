"""docs/commands.md against the program itself: what it says there is, and is not."""

import re

from bridge import ROOT, tailrace

PAGE = (ROOT / "docs" / "commands.md").read_text()


def names(*command):
    """The subcommands that --help lists."""
    text = tailrace(*command, "--help").stdout
    listed = text[text.index("SUBCOMMANDS:"):] if "SUBCOMMANDS:" in text else ""
    return set(re.findall(r"^  ([a-z]+)(?: \(default\))?(?:  |$)", listed, re.M))


def test_every_command_is_told_and_none_that_is_missing():
    first = PAGE[:PAGE.index("\n## ")]
    told = {row.split()[0] for row in re.findall(r"^\| `([^`]+)`", first, re.M)}
    assert told == names()
    # Where the page names what is missing, it is.
    absent = re.findall(r"`([^`]+)`", PAGE.partition("Not in this version:")[2])
    assert not {name for name in absent if " " not in name} & told
    for name in absent:
        command, *rest = name.split(" ", 1)
        for subcommand in rest[0].split("|") if rest else []:
            assert subcommand not in names(command), name


def test_tables_are_whole():
    """A row that is alone behind an empty line is no row to Markdown."""
    for block in re.split(r"\n\s*\n", PAGE):
        rows = block.strip().splitlines()
        if rows and rows[0].startswith("|"):
            assert re.fullmatch(r"\|(\s*:?-+:?\s*\|)+", rows[1]), rows[0]


def test_every_option_of_run_is_told():
    options = set(re.findall(r"--[a-z-]+", tailrace("run", "--help").stdout)) - {"--config", "--help", "--version"}
    section = PAGE[PAGE.index("\n## `run`"):]
    section = section[:section.index("\n## ", 5)]
    assert {option for option in options if option not in section} == set()
