import Bridge
package import JSON

/// A bridge's `/status`, as commands read it: what an older or newer version lacks is nil or 0.
package struct StatusReading: Sendable {
  package let json: JSONValue

  package init(_ json: JSONValue) { self.json = json }

  func text(_ path: String...) -> String? { value(path)?.stringValue }
  func number(_ path: String...) -> Double? { value(path)?.doubleValue }
  func count(_ path: String...) -> UInt64 { value(path)?.integer() ?? 0 }
  func flag(_ path: String...) -> Bool { value(path)?.boolValue ?? false }
  func list(_ name: String) -> [StatusReading] {
    (json[name]?.arrayValue ?? []).map { StatusReading($0) }
  }

  private func value(_ path: [String]) -> JSONValue? {
    path.reduce(Optional(json)) { $0?[$1] }
  }

  // MARK: Health

  var health: HealthStatus? { text("health").flatMap { HealthStatus(rawValue: $0) } }

  /// The reason, in the bridge's own words.
  var reason: String? { text("checks", "pipeline", "detail") }

  /// The other checks that are not `ok`.
  var failedChecks: [(name: String, status: String, detail: String)] {
    (json["checks"]?.objectValue ?? []).compactMap { check in
      let status = check.value["status"]?.stringValue ?? ""
      guard check.key != "pipeline", status != "ok" else { return nil }
      return (check.key, status, check.value["detail"]?.stringValue ?? "")
    }
  }

  /// What it means that health has this status.
  var healthWords: String {
    switch health {
    case .ok: "ok: events flow"
    case .idle: "idle: caught up, nothing to do"
    case .degraded: "degraded: it works, and something needs attention"
    case .stalled: "stalled: there are events, and none has moved for more than 10 s"
    case .gap: "gap: messages or oplog entries are missing"
    case .failed: "failed: halted, an operator must act"
    case nil: text("health") ?? "unknown"
    }
  }

  // MARK: Rates

  var isOver: Bool { health.map { !$0.isServing } ?? false }

  /// Seconds since an earlier answer of the same process; nil: there is no such answer.
  func seconds(since before: StatusReading?) -> Double? {
    guard let before, text("instance") == before.text("instance"),
      let now = number("uptime_seconds"), let then = before.number("uptime_seconds"), now > then
    else { return nil }
    return now - then
  }
}

/// Numbers in words.
enum StatusWords {
  /// `0.2 s`, `12 s`, `5 min`.
  static func duration(_ seconds: Double?) -> String {
    guard let seconds else { return "?" }
    return seconds < 10
      ? "\((max(seconds, 0) * 10).rounded() / 10) s" : HealthReport.duration(seconds)
  }

  /// Of events a second.
  static func rate(_ perSecond: Double?) -> String {
    guard let perSecond else { return "?" }
    return perSecond < 10
      ? "\((max(perSecond, 0) * 10).rounded() / 10)" : "\(Int(perSecond.rounded()))"
  }

  /// How fast a counter grew; nil where that can't be said, as after a restart.
  static func growth(_ now: UInt64, _ before: UInt64?, in seconds: Double?) -> Double? {
    guard let before, let seconds, seconds > 0, now >= before else { return nil }
    return Double(now - before) / seconds
  }
}
