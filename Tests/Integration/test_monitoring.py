"""Metrics, alerts and the dashboard agree with each other and with the documentation, by the tools for them."""

import json
import re
import subprocess
import sys

import fetch
import pytest
import yaml
from bridge import ROOT, Bridge, configuration, wait_until
from load import client

FOLDER = ROOT / "deploy" / "monitoring"
METRICS = (ROOT / "docs" / "metrics.md").read_text()
RUNBOOKS = (ROOT / "docs" / "runbooks.md").read_text()
NAME = re.compile(r"\b(?:tailrace|process)_[a-z_]+\b")
# A histogram's samples carry these behind its name.
SUFFIX = re.compile(r"_(bucket|sum|count)$")


@pytest.fixture(scope="module")
def promtool():
    return fetch.promtool()


def alerts():
    return yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]


def documented():
    """The names in the tables' first columns."""
    tables = {name for line in METRICS.splitlines() if line.startswith("| `tailrace_")
                for name in NAME.findall(line.split("|")[1])}
    return tables | set(re.findall(r"`(process_[a-z_]+)`", METRICS))


def dashboard_expressions():
    whole = json.loads((FOLDER / "grafana.json").read_text())
    return [target["expr"] for panel in whole["panels"] for target in panel.get("targets", [])] + [
        item["expr"] for item in whole["annotations"]["list"]]


def test_alerts_fire_and_keep_silent(promtool):
    done = subprocess.run([promtool, "test", "rules", "alerts.test.yaml"], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tested_both_ways():
    tests = yaml.safe_load((FOLDER / "alerts.test.yaml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    for fires in (True, False):
        tested = {case["alertname"] for case in cases if bool(case["exp_alerts"]) is fires}
        assert tested == {alert["alert"] for alert in alerts()}


def test_each_alert_has_its_runbook():
    headings = {line[4:].strip() for line in RUNBOOKS.splitlines() if line.startswith("### Tailrace")}
    assert headings == {alert["alert"] for alert in alerts()}
    for alert in alerts():
        assert alert["annotations"]["runbook_url"] == f"docs/runbooks.md#{alert['alert'].lower()}"
        assert alert["labels"]["severity"] in ("page", "ticket")
        section = RUNBOOKS.split(f"### {alert['alert']}\n")[1].split("\n### ")[0].split("\n## ")[0]
        for part in ("**You see**", "**It means**", "**Do**"):
            assert part in section, f"{alert['alert']} lacks {part}"


def test_what_is_derived_is_up_to_date():
    done = subprocess.run([sys.executable, ROOT / "scripts" / "monitoring.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_operators_rules_are_the_same():
    objects = {item["kind"]: item for item in yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())}
    assert objects["PrometheusRule"]["spec"]["groups"][0]["rules"] == alerts()
    service, = (item for item in yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text())
                if item["kind"] == "Service")
    monitor = objects["ServiceMonitor"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    # The job is what the alerts for processes that don't answer look for.
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "tailrace"
    assert {endpoint["port"] for endpoint in monitor["endpoints"]} <= {port["name"] for port in service["spec"]["ports"]}


def test_alerts_and_dashboard_use_documented_metrics():
    used = {name for text in [alert["expr"] for alert in alerts()] + dashboard_expressions()
            for name in NAME.findall(text)}
    assert {SUFFIX.sub("", name) for name in used} <= documented()


def test_the_dashboards_expressions_are_promql(promtool, tmp_path):
    values = {"$__rate_interval": "1m", "$__range": "1h", "$job": ".*", "$instance": ".*"}
    rules = []
    for number, expression in enumerate(dashboard_expressions()):
        for variable, value in values.items():
            expression = expression.replace(variable, value)
        assert "$" not in expression
        rules.append({"record": f"panel:{number}", "expr": expression})
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_is_documented_and_exists():
    """By the program's sources: some appear on the page only while something happens."""
    written = set()
    for folder in ("Bridge", "Verification"):
        for file in (ROOT / "Sources" / folder).rglob("*.swift"):
            written |= set(re.findall(r'"((?:tailrace|process)_[a-z_]+)"', file.read_text()))
    assert written == documented()


def bridge_value(page, name):
    return float(re.search(rf"^{name} (\S+)$", page, re.M)[1])


def test_metrics_page(promtool, lab, tmp_path, name):
    with Bridge(tmp_path, configuration(lab, name)) as bridge, client(lab) as mongo:
        bridge.start()
        bridge.wait_ready()
        mongo[name].things.insert_many([{"_id": number} for number in range(100)])
        wait_until(lambda: 'tailrace_events_total{outcome="published"} 100' in bridge.get("/metrics")[1],
                   "a hundred events published")
        wait_until(lambda: f'tailrace_stream_messages{{stream="{name}"}} 100' in bridge.get("/metrics")[1],
                   "the stream has told what it holds")
        page = bridge.get("/metrics")[1]
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    families = set(re.findall(r"^# TYPE (\S+)", page, re.M))
    # Every message is in the histogram of delays, and in no range below what an ack takes at least.
    assert "tailrace_write_to_stored_seconds_count 100\n" in page
    assert 'tailrace_write_to_stored_seconds_bucket{le="+Inf"} 100\n' in page
    # A message was received after it was written, and sent after it was received.
    assert "tailrace_received_to_stored_seconds_count 100\n" in page
    assert 0 < bridge_value(page, "tailrace_received_to_stored_seconds_sum") < 100 * 60
    assert bridge_value(page, "tailrace_publish_ack_seconds_count") >= 1
    assert bridge_value(page, "tailrace_sent_bytes_total") > 100 * 100
    assert f'tailrace_stream_messages{{stream="{name}"}} 100\n' in page
    assert bridge_value(page, "process_resident_memory_bytes") > 1 << 20
    assert families <= documented()
    # Each sample belongs to a family that says what it is.
    samples = {SUFFIX.sub("", line.split("{")[0].split(" ")[0]) for line in page.splitlines() if line[:1] not in ("#", "")}
    assert samples <= families
