"""Chromium without a window, driven by its own protocol over two pipes."""

import base64
import json
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from lab import die_with_parent


class Browser:
    """One page. What it reports as wrong (exceptions, refusals by its policy, failed requests) is in `problems`."""

    def __init__(self, program):
        # Not in a test's own folder, whose logs are shown when it fails.
        self.home = tempfile.TemporaryDirectory(prefix="tailrace-browser-", ignore_cleanup_errors=True)
        folder = self.home.name
        read, self.write = os.pipe()
        self.read, write = os.pipe()
        options = [
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
            "--disable-background-networking", "--disable-dev-shm-usage", "--force-color-profile=srgb",
            "--hide-scrollbars", f"--user-data-dir={Path(folder) / 'profile'}", "--remote-debugging-pipe"]
        log = open(Path(folder) / "chromium.log", "wb")
        self.process = subprocess.Popen(
            ["bash", "-c", f"exec {shlex.join(map(str, options))} 3<&{read} 4>&{write}"], pass_fds=(read, write),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent,
            env=os.environ | {"HOME": str(folder)})
        log.close()
        os.close(read)
        os.close(write)
        self.rest = b""
        self.number = 0
        self.problems = []
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.read)
        os.close(self.write)
        self.home.cleanup()

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.next()
            if answer.get("id") == self.number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.note(answer)

    def next(self):
        while b"\0" not in self.rest:
            more = os.read(self.read, 1 << 16)
            assert more, "chromium has ended"
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def note(self, event):
        kind, what = event.get("method"), event.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.problems.append(what["exceptionDetails"])
        elif kind == "Log.entryAdded" and what["entry"]["level"] == "error":
            self.problems.append(what["entry"]["text"])

    def open(self, url):
        self.call("Page.navigate", url=url)

    def run(self, expression):
        """The value of a JavaScript expression on the page."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def text(self, selector):
        return self.run(f"document.querySelector({json.dumps(selector)})?.textContent ?? null")

    def look(self, width=1100, height=900, dark=False, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def screenshot(self, file, whole=True):
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        Path(file).write_bytes(base64.b64decode(picture["data"]))

    def press(self, key, code=0):
        for kind in ("keyDown", "keyUp"):
            # Enter presses buttons only as a character.
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def accessible(self):
        """(role, name) of everything that a screen reader meets."""
        return [(node.get("role", {}).get("value"), node.get("name", {}).get("value"))
                for node in self.call("Accessibility.getFullAXTree")["nodes"] if not node.get("ignored")]
