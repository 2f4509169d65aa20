import BridgeConfiguration
import Foundation
import JSON
import Mapping
import Oplog

/// /status: everything the bridge knows about itself, without a secret in it.
struct StatusReport: Sendable {
  let service: BridgeService
  let probe: HealthProbe
  let version: String

  private var configuration: BridgeConfiguration { service.configuration }

  /// Only who has the token reads it: it may quote documents.
  private var isGuarded: Bool { configuration.http.token != nil }

  var json: JSONValue {
    let facts = probe.board.snapshot
    let inputs = probe.inputs()
    let health = HealthReport.judge(inputs)
    let outcomes = facts.counters?.outcomes ?? Outcomes()
    var value: JSONValue = [
      "version": .string(version), "bridge": .string(configuration.bridge.name),
      "instance": .string(probe.board.instance), "role": .string(facts.leadership.role),
      "epoch": .int(facts.leadership.epoch), "connection_epoch": .int(facts.epoch),
      "phase": .string(facts.phase), "health": .string(health.status.rawValue),
      "uptime_seconds": number(probe.uptime),
      "position": optional(facts.read), "resume_position": optional(facts.resume),
      "majority_position": optional(inputs.majority),
      "lag_seconds": optional(health.lag), "rate_per_second": number(facts.rate),
      "oldest_unsettled_seconds": optional(health.oldestUnsettled),
      "in_flight": .int(facts.inFlight),
    ]
    value["checks"] = health.json["checks"]
    value["lease"] = lease(facts.leadership)
    value["oldest_unsettled_position"] =
      inputs.oldest.map { .string($0.description) } ?? .null
    value["first_published_seconds"] = optional(facts.firstPublishedAfter?.seconds)
    value["entries"] = .int(facts.counters?.entries ?? 0)
    value["events_derived"] = .int(facts.counters?.derived ?? 0)
    value["outcomes"] = counts(outcomes)
    value["rules"] = .array((facts.counters?.rules ?? []).map(rule))
    value["removed_rules"] = .array((facts.counters?.removed ?? []).map(rule))
    value["config_hash"] = facts.rules.map { .string($0.hash) } ?? .null
    value["rule_set"] = facts.rules.map(ruleSet) ?? .null
    value["reload"] = facts.reload.map(reload) ?? .null
    value["streams"] = .array(facts.streams.map { stream($0, facts) })
    value["drift"] = .array(
      facts.drift.items.map {
        ["kind": .string($0.kind), "name": .string($0.name), "detail": .string($0.summary)]
      })
    value["refusals"] = .array(
      facts.refusals.all.map { refusal in
        var one = self.refusal(refusal)
        one["by"] = .string(refusal.scope.description)
        return one
      })
    value["source"] = source(inputs)
    value["nats"] = [
      "connected": .bool(facts.natsConnected), "server": .string(facts.natsServer),
      "detail": .string(facts.natsDetail),
    ]
    value["oplog_window"] = [
      "window_seconds": optional(inputs.window), "headroom_seconds": optional(inputs.headroom),
    ]
    value["checkpoint"] = checkpoint(facts)
    value["transactions"] = [
      "open": .int(facts.feed.openTransactions),
      "oldest_position": optional(facts.feed.oldestOpenTransaction),
      "bytes_in_memory": .int(facts.feed.transactionBytesHeld),
      "bytes_in_files": .int(facts.feed.transactionBytesSpilled),
    ]
    value["snapshot"] =
      (facts.snapshot ?? facts.finishedSnapshot).map {
        SnapshotReport(
          status: $0, outcomes: facts.snapshotOutcomes,
          selection: facts.checkpoint?.snapshot?.selection ?? SnapshotSelection()
        ).json
      } ?? .null
    value["dead_letters_standing"] = facts.standingLetters.map { .int($0) } ?? .null
    value["dead_letters"] = .array(
      facts.letters.map {
        [
          "rule": .string($0.rule), "error": .string($0.error), "count": .int($0.count),
          "first_position": .string($0.first.description),
          "newest_position": .string($0.newest.description),
        ]
      })
    value["schema_refusals"] = .array(
      facts.schemaRefusals.map {
        [
          "rule": .string($0.rule), "keyword": $0.keyword.map { .string($0) } ?? .null,
          "place": $0.place.map { .string($0) } ?? .null,
          "count": .int($0.count), "first_position": .string($0.first.description),
          "newest_position": .string($0.newest.description),
        ]
      })
    value["unsupported_time_series"] = .array(
      facts.feed.timeSeries.map {
        ["collection": .string($0.collection), "operations": .int($0.operations)]
      })
    value["losses"] = .array(facts.losses.map { .string($0.description) })
    value["messages_lost_by_server"] = .int(facts.lostMessages)
    value["cutover_groups"] = .array(
      CutoverStatus.groups(configuration.groups, facts.cutover))
    value["log_lines_dropped"] = .int(StandardError.dropped)
    value["last_errors"] = .array(
      facts.errors.reversed().map {
        ["age_seconds": number(StatusBoard.age($0.at) ?? 0), "error": .string($0.what)]
      })
    return value
  }

  private func lease(_ leadership: LeadershipFacts) -> JSONValue {
    [
      "holder": leadership.holder.map { .string($0) } ?? .null,
      "age_seconds": optional(StatusBoard.age(leadership.renewedAt)),
      "takeovers": .int(leadership.takeovers),
      "reason": leadership.reason.map { .string($0.rawValue) } ?? .null,
      "period_seconds": number(leadership.period.seconds),
      "other_configuration": .bool(leadership.hasOtherConfiguration),
    ]
  }

  private func rule(_ rule: PipelineCounters.Rule) -> JSONValue {
    var value: JSONValue = ["name": .string(rule.name)]
    for outcome in rule.outcomes.named { value[outcome.name] = .int(outcome.count) }
    value["matched"] = .int(rule.outcomes.total)
    value["invalid"] = .int(rule.invalid)
    value["schema_invalid"] = .int(rule.schemaInvalid)
    value["id_conflicts"] = .int(rule.idConflicts)
    value["last_error"] =
      rule.lastError.map { .string(isGuarded ? $0.detail : $0.outline) } ?? .null
    value["last_error_position"] = rule.lastErrorAt.map { .string($0.description) } ?? .null
    value["newest_position"] = rule.newest.map { .string($0.description) } ?? .null
    return value
  }

  private func ruleSet(_ rules: StatusBoard.RuleSetFacts) -> JSONValue {
    [
      "version": .int(rules.version), "config_hash": .string(rules.hash),
      "rules": .int(rules.count), "age_seconds": optional(StatusBoard.age(rules.since)),
    ]
  }

  private func reload(_ reload: ReloadReport) -> JSONValue {
    [
      "result": .string(reload.result.rawValue), "at": .string(reload.at.formatted(.iso8601)),
      "age_seconds": number(Date.now.timeIntervalSince(reload.at)),
      "errors": .array(reload.errors.map { .string($0) }),
    ]
  }

  private func counts(_ outcomes: Outcomes) -> JSONValue {
    .object(outcomes.named.map { JSONValue.Member($0.name, .int($0.count)) })
  }

  private func stream(_ stream: StatusBoard.Stream, _ facts: StatusBoard.Facts) -> JSONValue {
    [
      "name": .string(stream.name), "protocol": .string(stream.mode),
      "in_flight": .int(stream.inFlight), "last_sequence": .int(stream.sequence),
      "last_position": stream.position.map { .string($0.description) } ?? .null,
      "waiting_seconds": optional(StatusBoard.age(stream.waitingSince)),
      "refusal": facts.refusals[.stream(stream.name)].map { refusal($0) } ?? .null,
      "holds": facts.storage[stream.name].map(storage) ?? .null,
    ]
  }

  private func storage(_ storage: StreamStorage) -> JSONValue {
    [
      "messages": .int(storage.messages), "bytes": .int(storage.bytes),
      "max_messages": storage.maximumMessages.map { .int($0) } ?? .null,
      "max_bytes": storage.maximumBytes.map { .int($0) } ?? .null,
      "discard": .string(storage.discardsOld ? "old" : "new"),
    ]
  }

  private func refusal(_ refusal: Refusals.Refusal) -> JSONValue {
    [
      "reason": .string(refusal.reason), "code": refusal.code > 0 ? .int(refusal.code) : .null,
      "since_seconds": optional(StatusBoard.age(refusal.since)), "count": .int(refusal.count),
    ]
  }

  private func source(_ inputs: HealthInputs) -> JSONValue {
    [
      "reader": .string(probe.reader.name), "reachable": .bool(inputs.mongoReachable),
      "detail": .string(inputs.mongoDetail), "state": .string(inputs.sourceDetail),
    ]
  }

  private func checkpoint(_ facts: StatusBoard.Facts) -> JSONValue {
    guard let checkpoint = facts.checkpoint else { return .null }
    var value = checkpoint.json
    value["age_seconds"] = optional(StatusBoard.age(facts.checkpointAt))
    value["error"] = facts.checkpointError.map { .string($0) } ?? .null
    return value
  }

  private func number(_ value: Double) -> JSONValue { .number(HealthReport.rounded(value)) }
  private func optional(_ value: Double?) -> JSONValue { value.map(number) ?? .null }
  private func optional(_ value: OplogPosition?) -> JSONValue {
    value.map { .string($0.description) } ?? .null
  }
}
