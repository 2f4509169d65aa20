#!/usr/bin/env python3
"""Writes what is derived in deploy/monitoring: the dashboard for Grafana, and the objects for Prometheus' operator.

    monitoring.py          writes them
    monitoring.py --check  says whether they are what would be written (exit code 1 if not)

The dashboard is described here, a panel a line; the alerts are in deploy/monitoring/alerts.yaml."""

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "deploy" / "monitoring"
PUBLISHED = 'outcome="published"'
DELIVERED = 'result=~"by_producer|filled"'
WRONG = 'result=~"mismatched|phantom|missed"'
SOURCE = {"type": "prometheus", "uid": "${source}"}


def of(metric, labels=""):
    """A metric of the chosen instances."""
    return f'{metric}{{job=~"$job", instance=~"$instance"{", " + labels if labels else ""}}}'


def rate(metric, labels=""):
    return f"rate({of(metric, labels)}[$__rate_interval])"


def quantile(share, metric):
    return f"histogram_quantile({share}, sum by (le) ({rate(metric + '_bucket')}))"


# (title, what it tells, unit, [(expression, legend)], kind)
ROWS = [
    ("Is it well?", [
        ("Health", "The status of each instance", "none",
         [(f'{of("tailrace_health")} == 1', "{{instance}}: {{status}}")], "stat"),
        ("Leaders", "Has to be 1 for each bridge", "none",
         [(f'sum by (job) ({of("tailrace_leader")})', "{{job}}")], "stat"),
        ("Oldest unsettled event", "0 while everything is stored", "s",
         [(f'max by (job) ({of("tailrace_oldest_unsettled_seconds")})', "{{job}}")], "stat"),
        ("Oplog behind the checkpoint", "How long the bridge may be away", "s",
         [(f'min by (job) ({of("tailrace_oplog_headroom_seconds")})', "{{job}}")], "stat"),
        ("Dead letters", "Events that wait for a person", "none",
         [(f'max by (job) ({of("tailrace_dead_letters_standing")})', "{{job}}")], "stat"),
        ("Lost by servers", "Acknowledged messages that streams no longer held, in the shown time", "none",
         [(f'sum by (job) (increase({of("tailrace_messages_lost_by_server_total")}[$__range]))', "{{job}}")], "stat"),
    ]),
    ("Events", [
        ("Events by outcome", "Their sum is what is derived", "ops",
         [(f'sum by (outcome) ({rate("tailrace_events_total")})', "{{outcome}}")], "lines"),
        ("Published by rule", "", "ops",
         [(f"sum by (rule) ({rate('tailrace_rule_events_total', PUBLISHED)})", "{{rule}}")], "lines"),
        ("Oplog entries", "Everything that is read, noops included", "ops",
         [(f'sum by (instance) ({rate("tailrace_oplog_entries_total")})', "{{instance}}")], "lines"),
        ("Invalid events by rule", "No message could be made, or its schema refused it", "ops",
         [(f'sum by (rule) ({rate("tailrace_rule_invalid_total")})', "{{rule}}"),
          (f'sum by (rule) ({rate("tailrace_rule_schema_invalid_total")})', "{{rule}}: by its schema")], "lines"),
    ]),
    ("Delay", [
        ("Lag", "Oplog seconds between the newest majority entry and the oldest unsettled one", "s",
         [(of("tailrace_lag_seconds"), "{{instance}}")], "lines"),
        ("Oldest unsettled event", "", "s", [(of("tailrace_oldest_unsettled_seconds"), "{{instance}}")], "lines"),
        ("Write to stored", "From the write in MongoDB to the ack", "s",
         [(quantile("0.5", "tailrace_write_to_stored_seconds"), "p50"),
          (quantile("0.99", "tailrace_write_to_stored_seconds"), "p99")], "lines"),
        ("Received to stored", "From the arrival of an entry, which a majority has by then, to the ack", "s",
         [(quantile("0.5", "tailrace_received_to_stored_seconds"), "p50"),
          (quantile("0.99", "tailrace_received_to_stored_seconds"), "p99")], "lines"),
        ("Ack", "From sending a message to its ack", "s",
         [(quantile("0.5", "tailrace_publish_ack_seconds"), "p50"),
          (quantile("0.99", "tailrace_publish_ack_seconds"), "p99")], "lines"),
        ("In flight", "Messages without an ack", "none", [(of("tailrace_in_flight"), "{{instance}}")], "lines"),
        ("Age of the checkpoint", "", "s", [(of("tailrace_checkpoint_age_seconds"), "{{instance}}")], "lines"),
    ]),
    ("Servers", [
        ("Connected", "1 while it answers", "none",
         [(of("tailrace_nats_connected"), "{{instance}}: NATS"),
          (of("tailrace_mongodb_reachable"), "{{instance}}: MongoDB")], "lines"),
        ("Refused in a row", "Empty while nothing is", "none",
         [(of("tailrace_refused"), "{{instance}}: {{by}}")], "lines"),
        ("Oplog", "The window, and what of it lies behind the checkpoint", "s",
         [(of("tailrace_oplog_window_seconds"), "{{instance}}: window"),
          (of("tailrace_oplog_headroom_seconds"), "{{instance}}: behind the checkpoint")], "lines"),
        ("Streams", "Last acknowledged sequence", "none",
         [(f'max by (stream) ({of("tailrace_stream_last_sequence")})', "{{stream}}")], "lines"),
        ("Sent", "To streams, protocol included", "Bps",
         [(f'sum by (instance) ({rate("tailrace_sent_bytes_total")})', "{{instance}}")], "lines"),
        ("Fill of the streams", "Of max_bytes, where one is set", "percentunit",
         [(f'max by (stream) ({of("tailrace_stream_bytes")} / on (job, instance, stream) '
           f'{of("tailrace_stream_max_bytes")})', "{{stream}}")], "lines"),
        ("Drift", "Settings that differ from the configuration", "none",
         [(of("tailrace_drift_settings"), "{{kind}} {{name}}")], "lines"),
        ("Ends of epochs", "Why publishing was interrupted", "none",
         [(f'sum by (reason) (increase({of("tailrace_epoch_ends_total")}[$__rate_interval]))', "{{reason}}")], "lines"),
        ("Memory and processor", "", "none",
         [(of("process_resident_memory_bytes"), "{{instance}}: bytes"),
          (rate("process_cpu_seconds_total"), "{{instance}}: processors")], "lines"),
        ("Open transactions", "The checkpoint waits for them", "none",
         [(of("tailrace_open_transactions"), "{{instance}}")], "lines"),
    ]),
    ("Leadership", [
        ("Leads", "", "none", [(of("tailrace_leader"), "{{instance}}")], "lines"),
        ("Age of the lease", "", "s", [(of("tailrace_lease_age_seconds"), "{{instance}}")], "lines"),
        ("Take-overs", "Since the processes began", "none",
         [(of("tailrace_leaderships_total"), "{{instance}}: {{reason}}")], "lines"),
    ]),
    ("Cut-over", [
        ("Phase", "", "none", [(f'{of("tailrace_cutover_phase")} == 1', "{{group}}: {{phase}}")], "stat"),
        ("By the producer, and filled", "In the present phase", "none",
         [(f"max by (group, result) ({of('tailrace_cutover_events', DELIVERED)})", "{{group}}: {{result}}")], "lines"),
        ("Wrong", "Mismatched, phantom or missed, in the present phase", "none",
         [(f"max by (group, result) ({of('tailrace_cutover_events', WRONG)})", "{{group}}: {{result}}")], "lines"),
        ("Lag of the comparison", "", "s", [(of("tailrace_cutover_lag_seconds"), "{{group}}")], "lines"),
    ]),
]


def panel(number, title, description, unit, targets, kind, x, y, width, height):
    return {
        "id": number, "title": title, "description": description, "datasource": SOURCE,
        "type": "stat" if kind == "stat" else "timeseries",
        "gridPos": {"x": x, "y": y, "w": width, "h": height},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": ({"textMode": "value_and_name", "reduceOptions": {"calcs": ["lastNotNull"]}} if kind == "stat"
                    else {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}),
        "targets": [{"refId": chr(ord("A") + index), "expr": expression, "legendFormat": legend, "datasource": SOURCE}
                    for index, (expression, legend) in enumerate(targets)],
    }


def dashboard():
    panels, y = [], 0
    for title, contents in ROWS:
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        y += 1
        stats = all(kind == "stat" for *_, kind in contents)
        width, height, across = (4, 4, 6) if stats else (12, 8, 2)
        for index, (name, description, unit, targets, kind) in enumerate(contents):
            panels.append(panel(len(panels) + 1, name, description, unit, targets, kind,
                                index % across * width, y + index // across * height, width, height))
        y += -(-len(contents) // across) * height
    return {
        "uid": "tailrace", "title": "tailrace", "tags": ["tailrace"], "schemaVersion": 39, "version": 1,
        "refresh": "10s", "time": {"from": "now-1h", "to": "now"}, "editable": True, "panels": panels,
        "templating": {"list": [
            {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
            variable("job", "Bridge", "label_values(tailrace_info, job)"),
            variable("instance", "Instance", 'label_values(tailrace_info{job=~"$job"}, instance)'),
        ]},
        "annotations": {"list": [{
            "name": "Take-overs", "datasource": SOURCE, "enable": True, "iconColor": "orange",
            "expr": 'changes(tailrace_leader_epoch{job=~"$job", instance=~"$instance"}[$__rate_interval]) > 0',
            "titleFormat": "{{instance}}: another leader",
        }]},
    }


def variable(name, label, query):
    return {"name": name, "label": label, "type": "query", "datasource": SOURCE, "query": query, "refresh": 2,
            "multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}


OPERATOR = """\
# For clusters with Prometheus' operator, beside deploy/kubernetes.yaml: kubectl apply -f deploy/monitoring/kubernetes.yaml
# Written by scripts/monitoring.py; the rules are those of alerts.yaml.
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: tailrace
  labels: { app.kubernetes.io/name: tailrace }
spec:
  jobLabel: app.kubernetes.io/name
  selector:
    matchLabels: { app.kubernetes.io/name: tailrace }
  endpoints:
    - port: http
      path: /metrics
      interval: 15s
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: tailrace
  labels: { app.kubernetes.io/name: tailrace }
spec:
"""


def operator():
    lines = (FOLDER / "alerts.yaml").read_text().splitlines()
    rules = lines[lines.index("groups:"):]
    return OPERATOR + "".join(f"  {line}\n" if line else "\n" for line in rules)


def files():
    return {FOLDER / "grafana.json": json.dumps(dashboard(), indent=1) + "\n", FOLDER / "kubernetes.yaml": operator()}


def main(arguments):
    if arguments == ["--check"]:
        stale = [file for file, text in files().items() if not file.exists() or file.read_text() != text]
        for file in stale:
            print(f"{file.name} is not what scripts/monitoring.py writes: run it", file=sys.stderr)
        return 1 if stale else 0
    if arguments:
        print(__doc__.strip(), file=sys.stderr)
        return 64
    for file, text in files().items():
        file.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
