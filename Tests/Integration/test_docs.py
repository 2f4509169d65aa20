"""Links of the documentation lead somewhere, within pages too."""

import re

from bridge import ROOT

PAGES = [ROOT / "README.md", ROOT / "DEVELOPERS.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(page):
    """Without blocks of code, where brackets mean something else."""
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.S)


def anchors(page):
    """As GitHub makes them of headings."""
    seen, found = {}, set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.M):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        found.add(name if name not in seen else f"{name}-{seen[name]}")
        seen[name] = seen.get(name, 0) + 1
    return found


def test_links():
    wrong = []
    for page in PAGES:
        for link in LINK.findall(prose(page)):
            if re.match(r"[a-z]+:", link):
                continue
            file, _, anchor = link.partition("#")
            target = (page.parent / file).resolve() if file else page
            if not target.exists():
                wrong.append(f"{page.name}: {link}: no such file")
            elif anchor and target.suffix == ".md" and anchor not in anchors(target):
                wrong.append(f"{page.name}: {link}: no such heading")
    assert not wrong, "\n".join(wrong)


def test_every_page_can_be_reached():
    """From the front page, by some way."""
    reached, open_pages = set(), [ROOT / "README.md"]
    while open_pages:
        page = open_pages.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in LINK.findall(prose(page)):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.exists():
                open_pages.append(target)
    assert {page for page in PAGES if page not in reached} == set()


def test_tests_that_the_threat_model_names_exist():
    text = (ROOT / "docs" / "threat-model.md").read_text()
    files = set(re.findall(r"\btest_\w+\.py", text))
    assert len(files) > 10
    assert {name for name in files if not (ROOT / "Tests" / "Integration" / name).exists()} == set()
    declared = " ".join(file.read_text() for file in (ROOT / "Tests").glob("*Tests/*.swift"))
    suites = set(re.findall(r"\b[A-Z]\w*Tests\b", text))
    assert {name for name in suites if not re.search(rf"\b(struct|class|enum) {name}\b", declared)} == set()
