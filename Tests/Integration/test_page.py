"""The page at / in a browser: what people see of each health status, on a screen and on a phone, by keyboard and by
screen reader."""

import http.client
import json
import os
import signal
from pathlib import Path

import fetch
import pytest
from bridge import Bridge, configuration, wait_until
from browser import Browser
from lab import Lab
from load import client, make_collections
from test_memory_stream_lost import insert, two_streams

# Where pictures are kept; docs shows two of them.
PICTURES = os.environ.get("PAGE_PICTURES")


@pytest.fixture(scope="module")
def chromium():
    return fetch.chromium()


@pytest.fixture
def browser(chromium):
    with Browser(chromium) as browser:
        browser.look()
        yield browser


def picture(browser, folder, name):
    file = Path(PICTURES or folder) / f"{name}.png"
    browser.screenshot(file)
    assert file.stat().st_size > 5000


def shows(browser, status):
    """Waits until the page says so; its words."""
    wait_until(lambda: browser.text("#health") == status, f"the page says {status}", every=0.2)
    return browser.text("#words")


def wrong(browser):
    """What the browser found wrong, but for answers that say that the bridge is unwell, and none when it is gone."""
    return [problem for problem in browser.problems
            if not any(known in str(problem) for known in ("ERR_CONNECTION", "status of 503", "status of 400"))]


def address(bridge):
    return f"http://{bridge.configuration['http']['listen']}/"


def test_page_in_every_status(browser, tmp_path):
    name = "chat"
    with Lab() as lab, client(lab) as mongo:
        make_collections(lab, name)
        whole = configuration(lab, name, stream={"max_msgs": 60, "discard": "new"}, bridge={
            "name": name, "state_bucket": "STATE", "lease": "2s"})
        with Bridge(tmp_path, whole) as bridge:
            bridge.start().wait_ready()
            browser.open(address(bridge))
            assert "delivered" in shows(browser, "idle")
            mongo[name].rooms.insert_many([{"_id": number} for number in range(50)])
            assert "delivered" in shows(browser, "ok")
            wait_until(lambda: browser.run("document.querySelectorAll('#streams tbody tr').length") >= 1, "a stream")
            wait_until(lambda: "50 of 60" in browser.text("#streams"), "the stream's fill")
            assert browser.text("#rules tbody td") == "50"
            assert browser.run("document.querySelectorAll('#charts svg').length") == 4
            picture(browser, tmp_path, "ok")

            good = bridge.file.read_text()
            bridge.file.write_text("rules: []\n")
            bridge.process.send_signal(signal.SIGHUP)
            shows(browser, "degraded")
            assert "the configuration is not reloaded" in browser.text("#reason")
            picture(browser, tmp_path, "degraded")
            bridge.file.write_text(good)
            bridge.process.send_signal(signal.SIGHUP)

            mongo[name].rooms.insert_many([{"_id": f"x{number}"} for number in range(50)])
            assert "not delivered" in shows(browser, "stalled")
            assert "maximum messages exceeded" in browser.text("#reason")
            assert "stalled" in browser.text("#help")
            picture(browser, tmp_path, "stalled")

            bridge.kill()
            assert "does not answer" in shows(browser, "unreachable")
            picture(browser, tmp_path, "unreachable")
    assert not wrong(browser)


def test_page_of_a_gap(browser, tmp_path, name):
    with Lab() as lab:
        bridge, jetstream, other = two_streams(lab, tmp_path, name, {"on_loss": "halt"})
        with bridge:
            bridge.start().wait_ready()
            insert(lab, name, "rooms", range(10))
            wait_until(lambda: jetstream.holds(name, 10), "10 messages")
            lab.restart("nats")
            insert(lab, name, "rooms", range(10, 13))
            browser.open(address(bridge))
            assert "missing" in shows(browser, "gap")
            assert "on_loss" in browser.text("#reason")
            picture(browser, tmp_path, "gap")
    assert not wrong(browser)


def test_page_on_a_phone_by_keyboard_and_screen_reader(browser, lab, tmp_path, name):
    make_collections(lab, name)
    rule = {"name": "no-subject", "match": {"namespace": f"{name}.rooms", "operations": ["insert"]},
            "subject": name + ".{fullDocument.missing}"}
    hostile = "<img src=x onerror=alert(1)>"
    (tmp_path / "s.json").write_text(json.dumps(
        {"properties": {"fullDocument": {"properties": {hostile: {"type": "string"}}}}}))
    whole = configuration(lab, name, rule=rule)
    whole["rules"].append({"name": "dropped", "match": {"namespace": f"{name}.messages"}, "schema": "s.json",
                           "subject": name + ".{operationType}", "stream": name, "on_invalid": "drop"})
    with Bridge(tmp_path, whole) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        mongo[name].rooms.insert_many([{"_id": number} for number in range(3)])
        mongo[name].messages.insert_many([{"_id": number, hostile: 424242} for number in range(2)])
        browser.look(width=360, height=780, dark=True, phone=True)
        browser.open(address(bridge))
        wait_until(lambda: browser.text("#letters tbody td:nth-child(3)") == "3", "the letters by cause")
        assert "no-subject" in browser.text("#letters")
        # What was dropped is counted by keyword like what became a dead letter, without values of documents.
        wait_until(lambda: browser.text("#refusals tbody td:nth-child(4)") == "2", "the refusals by keyword")
        row = browser.run("[...document.querySelectorAll('#refusals tbody tr')].map(r => [...r.cells].map(c => c.textContent))")
        assert [cells[:4] for cells in row] == [
            ["dropped", f"/properties/fullDocument/properties/{hostile}/type", f"/fullDocument/{hostile}", "2"]]
        refusal = bridge.json("/status")[1]["schema_refusals"][0]
        assert row[0][4:] == [refusal["first_position"], refusal["newest_position"]]
        assert "424242" not in browser.run("document.body.textContent")
        # Text from a configuration or a document is text, whatever it looks like.
        bridge.file.write_text(bridge.file.read_text().replace("name: no-subject", f'name: "{hostile}"'))
        bridge.process.send_signal(signal.SIGHUP)
        wait_until(lambda: hostile in browser.text("#reason"), "the rule's name in the reason")
        assert browser.run("document.querySelectorAll('img').length") == 0
        # Nothing is wider than the screen: tables scroll by themselves.
        wide = browser.run("[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > 361 && !e.closest('.scroll')).map(e => e.tagName + e.id + e.className)")
        assert browser.run("document.documentElement.scrollWidth") <= 360, wide
        assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
        picture(browser, tmp_path, "phone")

        browser.press("Tab", 9)
        assert browser.run("document.activeElement.textContent") == "Skip to the checks"
        browser.press("Enter", 13)
        reached = []
        for _ in range(60):
            browser.press("Tab", 9)
            reached.append(browser.run("document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"))
            if reached[-1] == "/metrics":
                break
        assert "Checks" in reached and "/metrics" in reached, reached

        seen = browser.accessible()
        roles = {role for role, _ in seen}
        assert {"banner", "main", "contentinfo", "navigation", "heading", "table", "columnheader", "status"} <= roles
        pictures = [text for role, text in seen if role in ("image", "img")]
        assert len(pictures) == 4 and all(": now " in text for text in pictures)
        headings = [text for role, text in seen if role == "heading"]
        assert {"Checks", "Streams", "Rules", "Dead letters", "Schema refusals", "Cut-over", "Last errors"} <= set(headings)

        # A position is explained where it is: by a click, by keyboard, and as it is typed.
        newest = browser.text("#letters tbody tr td:last-child")
        browser.run("{ const button = document.querySelector('#letters tbody tr td:last-child button'); button.focus(); button.click() }")
        wait_until(lambda: "dead letter" in (browser.text("#answer") or ""), "the answer")
        answer = browser.text("#answer")
        assert "path_missing" in answer and "sequence 3" in answer and "As it should be." in answer, answer
        assert browser.text("#explanation-title") == f"Event {newest}"
        assert browser.run("document.activeElement.id") == "explanation-title"
        assert browser.run("document.documentElement.scrollWidth") <= 360
        picture(browser, tmp_path, "explanation")
        browser.press("Escape", 27)
        assert not browser.run("document.querySelector('#explanation').open")
        # The table is drawn again every two seconds, perhaps just now; who is in it by keyboard stays there.
        wait_until(lambda: browser.run("document.activeElement.textContent") == newest, "the focus is back")
        browser.run("window.before = document.activeElement")
        wait_until(lambda: browser.run("document.activeElement !== window.before"), "the table is drawn again")
        assert browser.run("document.activeElement.textContent") == newest
        browser.press("Enter", 13)
        wait_until(lambda: browser.run("document.querySelector('#explanation').open"), "it opens by keyboard")
        browser.run("document.querySelector('#close').click()")
        browser.run("document.querySelector('#position').value = 'nonsense'; document.querySelector('#ask button').click()")
        wait_until(lambda: "this is no position" in browser.text("#answer"), "what is no position")
    assert not wrong(browser)


def test_headers_for_browsers(lab, tmp_path, name):
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        host, port = bridge.configuration["http"]["listen"].split(":")
        for path in ("/", "/status", "/metrics", "/nothing"):
            connection = http.client.HTTPConnection(host, int(port), timeout=5)
            connection.request("GET", path)
            answer = connection.getresponse()
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["X-Frame-Options"] == "DENY"
            connection.close()
