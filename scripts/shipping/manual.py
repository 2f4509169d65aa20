"""Manual pages and completions, from what the program says about itself (`--experimental-dump-help`)."""

import gzip
import json
import re
import subprocess
from datetime import datetime, timezone

import fetch

from . import facts

SHELLS = {"bash": "bash-completion/completions/tailrace", "zsh": "zsh/vendor-completions/_tailrace",
          "fish": "fish/vendor_completions.d/tailrace.fish"}
EXIT = [
    ("0", "done, or PASS"), ("1", "FAIL: a difference, a failed check, a blocker"), ("2", "INCONCLUSIVE"),
    ("64", "usage"), ("69", "a server is unavailable"), ("70", "halted on something that it can't understand"),
    ("74", "results could not be written"),
    ("75", "the position is lost: an operator must decide"), ("78", "configuration")]
FILES = [
    ("/etc/tailrace/tailrace.yaml", "the configuration of the service"),
    ("/etc/tailrace/secrets/", "files that the configuration names, readable by the group tailrace"),
    ("/usr/share/doc/tailrace/", "the documentation, and examples of configurations")]


def description(program):
    """The command tree, as swift-argument-parser describes it."""
    done = subprocess.run([str(program), "--experimental-dump-help"], capture_output=True, text=True)
    try:
        return json.loads(done.stdout)["command"]
    except (ValueError, KeyError):
        raise fetch.Unavailable(f"{program} does not describe its commands:\n{done.stderr}") from None


def completion(program, shell):
    done = subprocess.run([str(program), "--generate-completion-script", shell], capture_output=True, text=True)
    if done.returncode != 0 or not done.stdout:
        raise fetch.Unavailable(f"{program} makes no completion for {shell}:\n{done.stderr}")
    # It is read, not run.
    return re.sub(r"\A#!.*\n", "", done.stdout)


def pages(program):
    """{file name: text}: tailrace.1, and a page for each command."""
    root = description(program)
    commands = [command for command in root["subcommands"] if _shown(command)]
    date = datetime.fromtimestamp(facts.epoch(), timezone.utc).strftime("%Y-%m-%d")
    found = {"tailrace.1": _overview(root, commands, date)}
    for command in commands:
        name = f"tailrace-{command['commandName']}"
        found[f"{name}.1"] = _page(name, command, date)
    return found


def compressed(text):
    """As Debian wants pages and changelogs; without the time of the compression."""
    return gzip.compress(text.encode(), 9, mtime=0)


def _shown(command):
    return command["commandName"] != "help" and command.get("shouldDisplay", True)


def _overview(root, commands, date):
    lines = [_title("tailrace", date), ".SH NAME", f"tailrace \\- {_text(_first(root.get('abstract', '')))}",
             ".SH SYNOPSIS", r".B tailrace", r".I command", r"[\fB\-c\fR \fIfile\fR] [\fIoptions\fR]",
             ".SH DESCRIPTION", _text(root.get("abstract", "")), ".SH COMMANDS"]
    for command in commands:
        lines += [".TP", f".BR tailrace\\-{_text(command['commandName'])} (1)", _text(command.get("abstract", ""))]
    lines += [".SH OPTIONS", *_arguments(root), ".SH EXIT STATUS"]
    for code, meaning in EXIT:
        lines += [".TP", f".B {code}", _text(meaning)]
    lines += [".SH ENVIRONMENT", ".TP", ".B TAILRACE_CONFIG",
              "The configuration file, where \\fB\\-c\\fR does not name one.", ".SH FILES"]
    for file, meaning in FILES:
        lines += [".TP", f".I {_text(file)}", _text(meaning)]
    return "\n".join(lines) + "\n"


def _page(name, command, date):
    lines = [_title(name, date), ".SH NAME", f"{_text(name)} \\- {_text(_first(command.get('abstract', '')))}",
             ".SH SYNOPSIS", *_synopsis(command, ["tailrace"])]
    lines += [".SH DESCRIPTION", _text(command.get("abstract", "")), *_discussion(command)]
    own = _arguments(command)
    if own:
        lines += [".SH OPTIONS", *own]
    for sub in filter(_shown, command.get("subcommands") or []):
        lines += [f".SH {_text(sub['commandName']).upper()}", _text(sub.get("abstract", "")),
                  *_discussion(sub), *_arguments(sub)]
    lines += [".SH SEE ALSO", ".BR tailrace (1)"]
    return "\n".join(lines) + "\n"


def _title(name, date):
    return f'.TH {name.upper()} 1 "{date}" "tailrace {facts.version()}" "User Commands"'


def _synopsis(command, path):
    """A line for each subcommand, or for the command alone."""
    path = [*path, command["commandName"]]
    subs = [sub for sub in command.get("subcommands") or [] if _shown(sub)]
    if subs:
        lines = [line for sub in subs for line in _synopsis(sub, path)]
        return lines
    words = []
    for argument in _visible(command):
        word = _spelling(argument)
        if argument.get("isRepeating"):
            word += "..."
        words.append(f"[{word}]" if argument.get("isOptional") else word)
    return [".br", rf"\fB{_text(' '.join(path))}\fR " + " ".join(words)]


def _visible(command):
    """Its own arguments; those that every command has are listed once, in tailrace(1)."""
    return [argument for argument in command.get("arguments") or []
            if argument.get("shouldDisplay", True)
            and (command["commandName"] == facts.NAME or _preferred(argument) not in ("--help", "--version"))]


def _spelled(name):
    return ("--" if name["kind"] == "long" else "-") + name["name"]


def _preferred(argument):
    return _spelled(argument["preferredName"]) if argument.get("preferredName") else ""


def _spelling(argument):
    """One way to write it."""
    value = rf"\fI{_text(argument.get('valueName', 'value'))}\fR"
    if argument["kind"] == "positional":
        return value
    name = rf"\fB{_text(_preferred(argument))}\fR"
    return name if argument["kind"] == "flag" else f"{name} {value}"


def _arguments(command):
    lines = []
    for argument in _visible(command):
        value = rf" \fI{_text(argument.get('valueName', 'value'))}\fR"
        if argument["kind"] == "positional":
            head = value.strip()
        else:
            names = ", ".join(rf"\fB{_text(_spelled(name))}\fR" for name in argument.get("names") or [])
            head = names + ("" if argument["kind"] == "flag" else value)
        about = " ".join(filter(None, (argument.get("abstract"), argument.get("discussion"))))
        if argument.get("defaultValue") is not None and argument["kind"] == "option":
            about += f" (default: {argument['defaultValue']})"
        lines += [".TP", head, _text(about) if about else "\\ "]
    return lines


def _discussion(command):
    text = command.get("discussion")
    if not text:
        return []
    return [line for part in re.split(r"\n\s*\n", text) for line in (".PP", _text(part))]


def _first(text):
    """An abstract of one line, as `apropos` lists it."""
    return " ".join(text.split()).rstrip(".")


def _text(text):
    """Text in roff: no line begins a request, and hyphens can be copied."""
    words = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\n".join(("\\&" + line if line[:1] in (".", "'") else line)
                     for line in (line.strip() for line in words.splitlines()) if line) or "\\ "
