import JSON
import Oplog

/// What health, status and metrics show of the groups' cut-overs.
enum CutoverStatus {
  /// Why an operator should look; nil: nothing is wrong.
  static func problems(_ groups: [String: CutoverGroupFacts]) -> String? {
    let found = groups.values.sorted { $0.group < $1.group }.compactMap { group -> String? in
      if let problem = group.problem { return "group \(group.group): \(problem)" }
      guard group.phase == .committed, group.counts.missed > 0 else { return nil }
      return
        "group \(group.group) is committed, and no producer has published the messages of \(group.counts.missed) events"
    }
    return found.isEmpty ? nil : found.joined(separator: "; ")
  }

  /// In the order of the configuration.
  static func groups(_ names: [String], _ known: [String: CutoverGroupFacts]) -> [JSONValue] {
    names.map { name in
      let group = known[name] ?? CutoverGroupFacts(group: name)
      var value: JSONValue = [
        "group": .string(name), "phase": .string(group.phase.rawValue),
        "since": group.since > 0 ? .string(CutoverTime.text(group.since)) : .null,
        "fence": group.fence.map { .string($0.description) } ?? .null,
        "position": group.position.map { .string($0.description) } ?? .null,
        "lag_seconds": group.lag.map { .number(HealthReport.rounded($0)) } ?? .null,
        "problem": group.problem.map { .string($0) } ?? .null,
      ]
      value["counts"] = group.counts.json
      return value
    }
  }

  static func append(_ groups: [String: CutoverGroupFacts], to page: inout PrometheusText) {
    let groups = groups.values.sorted { $0.group < $1.group }
    guard !groups.isEmpty else { return }
    page.family("tailrace_cutover_phase", "gauge", "1 for a group's present phase.")
    for group in groups {
      for phase in CutoverPhase.allCases {
        page.sample(
          "tailrace_cutover_phase", ["group": group.group, "phase": phase.rawValue],
          phase == group.phase ? 1 : 0)
      }
    }
    page.family(
      "tailrace_cutover_events", "gauge", "How a group's events ended in its present phase.")
    for group in groups {
      let counts = group.counts
      for (result, count) in [
        ("by_producer", counts.byProducer), ("filled", counts.filled),
        ("mismatched", counts.mismatched), ("phantom", counts.phantom), ("missed", counts.missed),
      ] {
        page.sample(
          "tailrace_cutover_events", ["group": group.group, "result": result], Double(count))
      }
    }
    page.family(
      "tailrace_cutover_lag_seconds", "gauge",
      "Oplog seconds between the newest majority entry and what is compared for a group.")
    for group in groups {
      if let lag = group.lag {
        page.sample("tailrace_cutover_lag_seconds", ["group": group.group], lag)
      }
    }
  }
}
