import Foundation
import MongoSource
import Oplog

/// /metrics in Prometheus' text format. Rendered on request from copies; docs/metrics.md lists it.
struct MetricsPage: Sendable {
  let probe: HealthProbe
  let version: String

  func render() -> String {
    let facts = probe.board.snapshot
    let inputs = probe.inputs()
    let health = HealthReport.judge(inputs)
    var page = PrometheusText()
    page.family("tailrace_info", "gauge", "The version that runs.")
    page.sample("tailrace_info", ["version": version], 1)
    page.family("tailrace_health", "gauge", "1 for the present health status.")
    for status in ["ok", "idle", "degraded", "stalled", "gap", "failed"] {
      page.sample("tailrace_health", ["status": status], status == health.status.rawValue ? 1 : 0)
    }
    append(facts.rules, facts, to: &page)
    page.gauge("tailrace_uptime_seconds", "Seconds since the process began.", probe.uptime)
    page.counter(
      "tailrace_log_lines_dropped_total", "Log lines that could not be written.",
      StandardError.dropped)
    page.counter(
      "tailrace_oplog_entries_total", "Oplog entries read, noops included.",
      facts.counters?.entries ?? 0)
    page.counter(
      "tailrace_events_derived_total", "Change events derived from them.",
      facts.counters?.derived ?? 0)
    page.family("tailrace_events_total", "counter", "Derived events by how they ended.")
    for (outcome, count) in (facts.counters?.outcomes ?? Outcomes()).named {
      page.sample("tailrace_events_total", ["outcome": outcome], Double(count))
    }
    page.family("tailrace_rule_events_total", "counter", "The same for each rule.")
    for rule in facts.counters?.all ?? [] {
      for (outcome, count) in rule.outcomes.named
      where outcome != "unmatched" && outcome != "dry_run" {
        page.sample(
          "tailrace_rule_events_total", ["rule": rule.name, "outcome": outcome], Double(count))
      }
    }
    page.family("tailrace_rule_invalid_total", "counter", "Events whose message could not be made.")
    for rule in facts.counters?.all ?? [] {
      page.sample("tailrace_rule_invalid_total", ["rule": rule.name], Double(rule.invalid))
    }
    page.family(
      "tailrace_rule_schema_invalid_total", "counter",
      "Of those, events whose body the rule's schema refused.")
    for rule in facts.counters?.all ?? [] {
      page.sample(
        "tailrace_rule_schema_invalid_total", ["rule": rule.name], Double(rule.schemaInvalid))
    }
    page.family(
      "tailrace_schema_refusals_total", "counter",
      "Events whose body a schema refused, by the keyword that did.")
    for refusal in facts.schemaRefusals {
      page.sample(
        "tailrace_schema_refusals_total",
        ["rule": refusal.rule, "keyword": refusal.keyword ?? "other"], Double(refusal.count))
    }
    page.family(
      "tailrace_id_conflicts_total", "counter",
      "Events whose id their stream had for another event.")
    for rule in facts.counters?.all ?? [] {
      page.sample("tailrace_id_conflicts_total", ["rule": rule.name], Double(rule.idConflicts))
    }
    if let standing = facts.standingLetters {
      page.gauge(
        "tailrace_dead_letters_standing", "Dead letters of this bridge in their stream.",
        Double(standing))
    }
    CutoverStatus.append(facts.cutover, to: &page)
    page.gauge("tailrace_events_per_second", "Published over the last second.", facts.rate)
    page.gauge("tailrace_in_flight", "Messages waiting for their ack.", Double(facts.inFlight))
    if let lag = health.lag {
      page.gauge(
        "tailrace_lag_seconds",
        "Oplog seconds between the newest majority entry and the oldest unsettled one.", lag)
    }
    if let age = health.oldestUnsettled {
      page.gauge(
        "tailrace_oldest_unsettled_seconds",
        "Age of the oldest unsettled event; 0 while everything is settled.", age)
    }
    page.gauge(
      "tailrace_drift", "Streams, consumers and buckets that differ from the configuration.",
      Double(facts.drift.items.count))
    page.family(
      "tailrace_drift_settings", "gauge", "The settings in which each of them differs.")
    for item in facts.drift.items {
      page.sample(
        "tailrace_drift_settings", ["kind": item.kind, "name": item.name],
        Double(item.differences))
    }
    page.family(
      "tailrace_refused", "gauge", "How often in a row something is refused at present, by whom.")
    for refusal in facts.refusals.all {
      page.sample("tailrace_refused", ["by": refusal.scope.description], Double(refusal.count))
    }
    if let window = inputs.window {
      page.gauge("tailrace_oplog_window_seconds", "Seconds that the oplog spans.", window)
    }
    if let headroom = inputs.headroom {
      page.gauge(
        "tailrace_oplog_headroom_seconds", "Seconds of oplog behind the checkpoint.", headroom)
    }
    if let age = inputs.checkpointAge {
      page.gauge("tailrace_checkpoint_age_seconds", "Since the checkpoint was last written.", age)
    }
    if let checkpoint = inputs.checkpointPosition {
      page.gauge(
        "tailrace_checkpoint_position_seconds", "Cluster time of the checkpoint.",
        Double(checkpoint.seconds))
    }
    page.family(
      "tailrace_stream_last_sequence", "gauge", "Last acknowledged sequence of each stream.")
    for stream in facts.streams {
      page.sample("tailrace_stream_last_sequence", ["stream": stream.name], Double(stream.sequence))
    }
    page.gauge(
      "tailrace_epoch", "NATS connections, and changes of the rules, since the process began.",
      Double(facts.epoch))
    append(facts.leadership, to: &page)
    page.gauge("tailrace_nats_connected", "1 while connected.", facts.natsConnected ? 1 : 0)
    page.gauge(
      "tailrace_mongodb_reachable", "1 while the replica set answers.",
      inputs.mongoReachable ? 1 : 0)
    page.counter(
      "tailrace_messages_lost_by_server_total",
      "Acknowledged messages that a stream did not hold any more.", facts.lostMessages)
    PublishMetrics.append(facts, to: &page)
    append(facts.feed, to: &page)
    if let snapshot = facts.snapshot { append(snapshot, to: &page) }
    ProcessMetrics().append(to: &page)
    return page.text
  }

  private func append(_ leadership: LeadershipFacts, to page: inout PrometheusText) {
    page.gauge("tailrace_leader", "1 while this instance leads.", leadership.isLeader ? 1 : 0)
    page.gauge(
      "tailrace_leader_epoch", "Grows with every take-over of the bridge.",
      Double(leadership.epoch))
    if let age = StatusBoard.age(leadership.renewedAt) {
      page.gauge("tailrace_lease_age_seconds", "Since the leader renewed its lease.", age)
    }
    page.family(
      "tailrace_leaderships_total", "counter", "How often this process took the lease, and why.")
    for reason in TakeoverReason.allCases {
      page.sample(
        "tailrace_leaderships_total", ["reason": reason.rawValue],
        Double(leadership.taken[reason] ?? 0))
    }
  }

  private func append(
    _ rules: StatusBoard.RuleSetFacts?, _ facts: StatusBoard.Facts, to page: inout PrometheusText
  ) {
    if let rules {
      page.family("tailrace_config_info", "gauge", "The configuration that messages are made by.")
      page.sample("tailrace_config_info", ["config_hash": rules.hash], 1)
      page.gauge(
        "tailrace_rule_set_version", "Counts the rule sets since the process began, from 1 on.",
        Double(rules.version))
    }
    page.family(
      "tailrace_reloads_total", "counter", "How often the configuration was read again, by result.")
    for result in ReloadResult.allCases where result != .pending {
      page.sample(
        "tailrace_reloads_total", ["result": result.rawValue],
        Double(facts.reloads[result] ?? 0))
    }
    page.gauge(
      "tailrace_config_last_reload_successful",
      "0 while the file, as it was last read, is not what runs.",
      facts.reload?.result.isGood ?? true ? 1 : 0)
    page.gauge(
      "tailrace_config_last_reload_success_timestamp_seconds",
      "When the configuration was last taken over, or found unchanged.",
      facts.configuredAt.timeIntervalSince1970.rounded())
  }

  /// Only while a snapshot is running.
  private func append(_ snapshot: SnapshotStatus, to page: inout PrometheusText) {
    let progress = snapshot.progress
    let now = ContinuousClock.now
    page.gauge(
      "tailrace_snapshot_documents", "Documents the snapshot has read.", Double(progress.documents))
    page.gauge(
      "tailrace_snapshot_estimated_documents", "Documents in all of them, by the server's counts.",
      Double(progress.estimatedDocuments))
    page.gauge("tailrace_snapshot_bytes", "Bytes of documents read.", Double(progress.bytes))
    if let rate = progress.rate(at: now) {
      page.gauge(
        "tailrace_snapshot_documents_per_second", "Over the last twenty seconds.", rate.documents)
    }
    if let left = progress.remaining(at: now) {
      page.gauge(
        "tailrace_snapshot_remaining_seconds", "At the present rate.", left.seconds)
    }
  }

  private func append(_ feed: FeedFacts, to page: inout PrometheusText) {
    page.gauge(
      "tailrace_open_transactions",
      "Transactions of several oplog entries that have not ended; the checkpoint waits for them.",
      Double(feed.openTransactions))
    page.family(
      "tailrace_transaction_bytes", "gauge", "Bytes kept of open transactions, by where they are.")
    page.sample(
      "tailrace_transaction_bytes", ["where": "memory"], Double(feed.transactionBytesHeld))
    page.sample(
      "tailrace_transaction_bytes", ["where": "file"], Double(feed.transactionBytesSpilled))
    page.counter(
      "tailrace_unsupported_time_series_entries_total",
      "Operations on time-series buckets, which are not published.", feed.timeSeriesSkipped)
    guard let images = feed.images else { return }
    page.family(
      "tailrace_images_total", "counter",
      "Documents looked up for events that don't carry them, by how true they are.")
    for (kind, count) in [
      ("post", images.post), ("pre", images.pre), ("lookup", images.lookup), ("none", images.none),
    ] {
      page.sample("tailrace_images_total", ["kind": kind], Double(count))
    }
    page.counter(
      "tailrace_image_round_trips_total", "Commands sent for them.", images.roundTrips)
  }

}
