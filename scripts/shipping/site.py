"""The documentation as a static site with a search: README.md is its front page.

Pages are written for reading in the repository. Here they are copied, their links to pages, and to other files of
the repository, made links of the site."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import fetch

from . import facts

ROOT = facts.ROOT
CONFIGURATION = ROOT / "docs" / "mkdocs.yml"
SOURCE = ROOT / ".build" / "docs-source"
TARGET = ROOT / ".build" / "docs"
REQUIREMENTS = ROOT / "scripts" / "requirements-docs.txt"
LINK = re.compile(r"(!?\[(?:[^\]\\]|\\.)*\]\()([^)\s#]*)(#[^)\s]*)?(\))")
FENCE = re.compile(r"^(```|~~~)")


def build():
    """Writes the site; its folder. A link that leads nowhere ends it."""
    python = fetch.venv("venv-docs", REQUIREMENTS)
    if SOURCE.exists():
        shutil.rmtree(SOURCE)
    stage()
    done = subprocess.run(
        [python, "-m", "mkdocs", "build", "--strict", "--quiet", "--clean", "-f", SOURCE.parent / "mkdocs.yml"],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"SOURCE_DATE_EPOCH": str(facts.epoch())})
    if done.returncode != 0:
        raise fetch.Unavailable(f"mkdocs:\n{done.stdout}{done.stderr}")
    return TARGET


def stage():
    """The pages as mkdocs gets them, and its configuration beside them."""
    pages = {ROOT / "README.md": "index.md", ROOT / "DEVELOPERS.md": "DEVELOPERS.md"}
    pages |= {page: page.name for page in sorted((ROOT / "docs").glob("*.md"))}
    files = {}
    for page, name in pages.items():
        text = translated(page, pages, files)
        (SOURCE / name).parent.mkdir(parents=True, exist_ok=True)
        (SOURCE / name).write_text(text)
    for file, name in files.items():
        (SOURCE / name).parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            (SOURCE / name).write_text(listing(file))
        else:
            shutil.copyfile(file, SOURCE / name)
    shutil.copyfile(CONFIGURATION, SOURCE.parent / "mkdocs.yml")
    shutil.copyfile(Path(__file__).with_name("site_hooks.py"), SOURCE.parent / "site_hooks.py")


def translated(page, pages, files):
    """A page's text with the links of the site. Adds to `files` what it links to besides pages."""
    def link(match):
        before, path, anchor, after = match[1], match[2], match[3] or "", match[4]
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        target = (page.parent / path).resolve()
        if target in pages:
            return before + pages[target] + anchor + after
        if not target.exists() or ROOT not in target.parents:
            raise fetch.Unavailable(f"{page.relative_to(ROOT)}: {path} leads nowhere")
        name = target.relative_to(ROOT)
        if target.is_dir():
            files[target] = f"files/{name}.md"
        else:
            files[target] = str(name.relative_to("docs")) if name.parts[0] == "docs" else f"files/{name}"
        return before + files[target] + anchor + after

    lines, is_code = [], False
    for line in page.read_text().splitlines():
        if FENCE.match(line):
            is_code = not is_code
        lines.append(line if is_code else LINK.sub(link, line))
    return spaced(lines)


def spaced(lines):
    """Lists and tables need an empty line before them in mkdocs' Markdown, which GitHub's doesn't ask for."""
    kinds = (re.compile(r"\s*(?:[-*]|\d+\.) "), re.compile(r"\|"))
    made, is_code, previous = [], False, ""
    for line in lines:
        if FENCE.match(line):
            is_code = not is_code
        elif not is_code and previous.strip():
            for kind in kinds:
                if kind.match(line) and not kind.match(previous) and not previous.startswith((" ", "\t")):
                    made.append("")
        made.append(line)
        previous = line
    return "\n".join(made) + "\n"


def listing(folder):
    """A page for a folder that a page links to: its files, whole."""
    parts = [f"# {folder.relative_to(ROOT)}/"]
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not file.name.startswith("."):
            parts.append(f"## {file.relative_to(folder)}")
            if file.suffix == ".json":
                parts.append(f"(generated; {len(json.loads(file.read_text()))} keys, in the repository)")
            else:
                fence = "~~~~~~"
                parts.append(f"{fence}text\n{file.read_text().rstrip()}\n{fence}")
    return "\n\n".join(parts) + "\n"
