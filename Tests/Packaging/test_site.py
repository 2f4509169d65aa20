"""The documentation's site. Its links are mkdocs' to check (--strict); whether it is whole and alone is checked here."""

import json
import re

import pytest
from shipping import facts, site


@pytest.fixture(scope="module")
def folder():
    return site.build()


def test_every_page_is_there_and_found(folder):
    pages = {page.stem for page in (facts.ROOT / "docs").glob("*.md")}
    assert pages <= {page.stem for page in folder.glob("*.html")}
    found = json.loads((folder / "search" / "search_index.json").read_text())["docs"]
    assert {entry["location"].partition("#")[0].removesuffix(".html") for entry in found} >= pages
    texts = " ".join(entry["text"] for entry in found)
    assert "RestartPreventExitStatus" in texts or "exit code 75" in texts.lower()


def test_pictures_are_in_it(folder):
    for picture in (facts.ROOT / "docs" / "pictures").glob("*.png"):
        assert (folder / "pictures" / picture.name).read_bytes() == picture.read_bytes()


def test_nothing_comes_from_elsewhere(folder):
    for page in folder.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(https?:[^"]+)"', page.read_text())
        assert not loaded, (page.name, loaded)


def test_links_lead_somewhere(folder):
    """Within the site, anchors too, as a browser follows them."""
    ids = {page: set(re.findall(r'\bid="([^"]+)"', page.read_text())) for page in folder.rglob("*.html")}
    wrong = []
    for page in ids:
        if page.name == "404.html":
            continue
        for link in re.findall(r'<a [^>]*href="([^"]+)"', page.read_text()):
            if re.match(r"[a-z]+:", link):
                continue
            file, _, anchor = link.partition("#")
            target = (page.parent / file).resolve() if file else page
            if target.is_dir():
                target /= "index.html"
            if not target.exists() or (anchor and target in ids and anchor not in ids[target]):
                wrong.append(f"{page.name}: {link}")
    assert not wrong, "\n".join(wrong)


def test_tables_and_lists_are_made(folder):
    """What GitHub's Markdown shows as one must not be a paragraph here."""
    for page in folder.glob("*.html"):
        text = re.sub(r"<pre>.*?</pre>", "", page.read_text(), flags=re.S)
        assert not re.search(r"<p>\s*\|", text), page.name
        assert not re.search(r"<p>[^<]*\n[-*] ", text), page.name
        assert not re.search(r"<td>[^<]*<code>[^<]*\\\|", text), page.name
        assert "\n|" not in re.sub(r"<[^>]*>", "", text), page.name
