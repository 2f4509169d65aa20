"""What the documentation tells to type exists: commands with their options, make's verbs, whole configurations."""

import json
import os
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import yaml
from bridge import ROOT, tailrace

PAGES = [ROOT / "README.md", ROOT / "DEVELOPERS.md", *sorted((ROOT / "docs").glob("*.md")),
         *sorted((ROOT / "deploy").glob("*.*")), ROOT / "deploy/debian/tailrace.yaml", *sorted((ROOT / "config").glob("*"))]
# Placeholders for what a reader puts in.
BLANK = re.compile(r"<[^<>\s]*>|[…]|\[[^\]\s]*\]")


@cache
def program():
    return json.loads(tailrace("--experimental-dump-help").stdout)["command"]


def blocks(text):
    """(language, block) of fenced code; "" of indented code."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S):
        yield language, block
    rest = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    for block in re.findall(r"(?:^(?: {4}|\t).*\n|^\n(?= {4}))+", rest, re.M):
        yield "", block


def command_lines(page):
    """Commands that a page shows: in blocks a line each, continued by \\, and in the middle of text."""
    text = page.read_text()
    if page.suffix == ".md":
        code = [block.replace("\\\n", " ") for _, block in blocks(text)]
        inline = re.findall(r"`(tailrace [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    else:
        code, inline = [re.sub(r"^\s*#\s?", "", text, flags=re.M)], []
    for block in code:
        for line in block.splitlines():
            found = re.match(r"\s*(?:\d+\.\s+)?(?:[$#>]\s*)?(?:\w+=\S+\s+)*(?:/\S*/)?tailrace ((?:[a-z-]|<command>).*)", line)
            # Elsewhere, comments are prose that may begin with the program's name.
            if found and (page.suffix == ".md" or named(program(), found[1].split()[0])):
                yield f"tailrace {found[1]}"
    yield from inline


def problem(line):
    """What is wrong with a command line; nil if nothing is."""
    text = re.split(r"\s#\s|\s\||\s>|;|\s&|\s<(?=\s)|\s{3,}", line)[0]
    try:
        words = shlex.split(BLANK.sub("x", text.replace("\\|", "|")))[1:]
    except ValueError:
        return None  # prose
    if words[:1] == ["x"]:
        return None  # any command
    command = program()
    taken = []
    while words and (found := named(command, words[0])):
        command = found
        taken.append(words.pop(0))
    if words and not taken and re.match(r"[a-z]+$", words[0]):
        return f"there is no command {words[0]}"
    if words and command.get("subcommands"):
        default = named(command, command.get("defaultSubcommand", ""))
        if default is None and not words[0].startswith(("-", "x")) and "|" not in words[0]:
            return f"{' '.join(taken)} has no {words[0]}"
        command = default or command
    options = {("--" if name["kind"] == "long" else "-") + name["name"]
               for argument in (*command.get("arguments", []), *program()["arguments"])
               for name in argument.get("names", [])}
    for word in words:
        option = word.partition("=")[0]
        if re.match(r"--?[A-Za-z]", option) and not options & {option, option[:2] if option[1] != "-" else option}:
            return f"{' '.join(['tailrace', *taken])} has no {option}"
    return None


def named(command, name):
    if command.get("commandName") == "verify" and name == "":
        name = "compare"
    return next((sub for sub in command.get("subcommands") or [] if sub["commandName"] == name), None)


def test_commands_and_their_options_exist():
    seen, wrong = 0, []
    for page in PAGES:
        for line in command_lines(page) if page.is_file() else ():
            seen += 1
            if found := problem(line):
                wrong.append(f"{page.name}: {line}: {found}")
    assert not wrong, "\n".join(wrong)
    assert seen > 100, "hardly any was found"


@pytest.mark.parametrize("line", ["tailrace status --wach", "tailrace stat", "tailrace streams plann -c x",
                                  "tailrace verify --levl state", "tailrace run -x"])
def test_a_wrong_one_is_found(line):
    assert problem(line)


def test_verbs_of_make_exist():
    makefile = (ROOT / "Makefile").read_text()
    verbs = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    assert set(re.findall(r"^([a-z-]+):.*## ", makefile, re.M)) <= set(
        re.search(r"^\.PHONY: ((?:.*\\\n)*.*)", makefile, re.M)[1].replace("\\", " ").split())
    wrong = []
    for page in PAGES:
        if page.suffix == ".md":
            text = page.read_text()
            shown = re.findall(r"`(?:[A-Z_]+=\S+ )*make ([a-z-]+)", text)
            shown += re.findall(r"^ {4}(?:[A-Z_]+=\S+ )*make ([a-z-]+)", text, re.M)
            wrong += [f"{page.name}: make {verb}" for verb in shown if verb not in verbs]
    assert not wrong, "\n".join(wrong)


def whole_configurations():
    """Blocks of YAML that need nothing else to be a configuration."""
    for page in PAGES:
        if page.suffix != ".md":
            continue
        for number, (language, block) in enumerate(blocks(page.read_text())):
            if language not in ("yaml", "yml"):
                continue
            try:
                found = yaml.safe_load(block)
            except yaml.YAMLError:
                continue
            if isinstance(found, dict) and "rules" in found and ("streams" in found or "kv" in found):
                yield pytest.param(page, block, id=f"{page.stem}-{number}")


def shown_as_wrong(page, block):
    """The page shows what `validate` says of it."""
    return page.name == "configuration.md" and "servres" in block


@pytest.mark.parametrize("page, block", whole_configurations())
def test_whole_configurations_are_valid(tmp_path, page, block):
    file = tmp_path / "tailrace.yaml"
    file.write_text(block)
    for schema in re.findall(r"schema: (\S+\.json)", block):
        path = tmp_path / schema.strip("\"'},")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    names = {name: "x" for name in re.findall(r"\$\{(\w+)\}", block)}
    done = tailrace("validate", "-c", file, env={**os.environ, **names})
    if shown_as_wrong(page, block):
        assert done.returncode == 78
    else:
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", sorted(Path(ROOT / "config").glob("*.yaml")), ids=lambda file: file.name)
def test_examples_are_valid(file):
    done = tailrace("validate", "-c", file)
    assert done.returncode == 0, done.stdout + done.stderr
