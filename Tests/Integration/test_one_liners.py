"""The one-liners of docs/mapping.md make the very tokens that the bridge makes."""

import json
import random
import re
import shutil
import struct
import subprocess
import urllib.parse  # noqa: F401  (for the one-liners)

import bson
import pytest
from bridge import ROOT, tailrace
from bson import json_util
from faults import seed

CONFIGURATION = """
source: { uri: "mongodb://h/?replicaSet=rs0", name: rs0 }
streams: [{ name: S, subjects: [x.>] }]
rules: [{ name: r, match: { namespace: a.b }, subject: "x.{fullDocument.v}", id: "{fullDocument.v}.n" }]
"""


def examples(language):
    """What is in the fenced blocks of this language under "Escaping in subjects"."""
    text = (ROOT / "docs" / "mapping.md").read_text()
    part = text[text.index("### Escaping in subjects"):text.index("## Message ids")]
    found = "\n".join(re.findall(rf"```{language}\n(.*?)```", part, re.S))
    assert "token" in found
    return found


def values():
    dice = random.Random(seed())
    texts = ["a b", "a.b", "*>%", "!*'()~-_", "é", "日本語", "😀", "a/b?c&d=e+f", "\x7f\x01\n"]
    texts += ["".join(chr(dice.choice([dice.randrange(1, 128), dice.randrange(160, 0xD7FF)]))
                      for _ in range(dice.randrange(1, 20))) for _ in range(200)]
    numbers = [0.0, -0.0, 1.0, -1.0, 3000000000.0, 1.5, 0.1, 1e16, 2.0**53, 1.2345678901234568e20,
               9.999999999999999e20]
    numbers += [float(dice.randrange(-(10**dice.randrange(1, 21)), 10**dice.randrange(1, 21)))
                for _ in range(200)]
    numbers += [dice.uniform(-1, 1) * 10**dice.randrange(0, 15) for _ in range(100)]
    wide = [n for n in (struct.unpack("<d", dice.randbytes(8))[0] for _ in range(200)) if n == n]
    return texts, numbers, [1e21, 1.5e-7, 1e-6, 5e-324, *wide]


def tokens(found, tmp_path):
    """What the bridge makes of each value."""
    (tmp_path / "c.yaml").write_text(CONFIGURATION)
    lines = []
    for number, value in enumerate(found):
        entry = {"op": "i", "ns": "a.b", "v": 2, "ts": bson.Timestamp(1732360000, number + 1),
                 "o": {"_id": number, "v": value}, "o2": {"_id": number}}
        lines.append(json_util.dumps(entry, json_options=json_util.CANONICAL_JSON_OPTIONS))
    done = tailrace("decode", "--messages", "-c", tmp_path / "c.yaml", input="\n".join(lines))
    assert done.returncode == 0, done.stderr
    made = [json.loads(line) for line in done.stdout.split("\n") if line]
    assert all("Tailrace-Error" not in m["headers"] for m in made)
    return [m["subject"].removeprefix("x.") for m in made]


def test_python(tmp_path):
    scope = {}
    exec("import decimal, urllib.parse\n" + examples("python"), scope)  # noqa: S102
    texts, numbers, _ = values()
    assert [scope["token"](t) for t in texts] == tokens(texts, tmp_path)
    assert [scope["token"](scope["text"](n)) for n in numbers] == tokens(numbers, tmp_path)


@pytest.mark.skipif(not shutil.which("node"), reason="no node")
def test_javascript(tmp_path):
    texts, numbers, wide = values()
    found = [*texts, *numbers, *wide]
    program = examples("js") + "\nconst read = JSON.parse(require('fs').readFileSync(0));" \
        "console.log(JSON.stringify(read.map(v => token(v))))"
    done = subprocess.run(["node", "-e", program], input=json.dumps(found), capture_output=True,
                          text=True, timeout=30, check=True)
    assert json.loads(done.stdout) == tokens(found, tmp_path)
