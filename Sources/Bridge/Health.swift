package import JSON
package import Oplog

/// What a person (or Kubernetes) is told first.
public enum HealthStatus: String, Sendable {
  /// Events flow, or could at once.
  case ok
  /// Connected, caught up, nothing to do.
  case idle
  /// Working, but something wants attention.
  case degraded
  /// Something to do and no progress.
  case stalled
  /// The oplog no longer holds the position, or acknowledged events are being refilled.
  case gap
  /// Halted: an operator must act.
  case failed

  /// 200 for ok, idle and degraded, 503 for the rest.
  public var isServing: Bool {
    switch self {
    case .ok, .idle, .degraded: true
    case .stalled, .gap, .failed: false
    }
  }
}

/// What health is judged by. Ages are in seconds; nil means that it never happened.
package struct HealthInputs: Sendable {
  package var mongoReachable = false
  package var mongoDetail = ""
  package var mongoAge: Double?
  /// The reader's own state: reading, opening, reopening with its reason.
  package var sourceDetail = ""
  package var sourceReading = false

  package var natsConnected = false
  package var natsDetail = ""
  package var natsAge: Double?

  /// Last entry processed.
  package var read: OplogPosition?
  /// The newest entry that a majority has.
  package var majority: OplogPosition?
  package var inFlight = 0
  /// Since a position or an ack last moved.
  package var progressAge: Double?
  /// Since an event was last derived.
  package var eventAge: Double?
  package var publishing = false
  package var pipelineDetail = ""

  package var checkpointAge: Double?
  package var checkpointPosition: OplogPosition?
  package var checkpointError: String?

  /// Seconds of oplog behind the checkpoint: how long the bridge may stop.
  package var headroom: Double?
  /// Seconds that the whole oplog spans.
  package var window: Double?

  /// Time-series collections that were written to: their changes can't be published.
  package var unsupported: [String] = []

  /// How many rules have a schema, and what they refused.
  package var schemaDetail = "no rule has a schema"

  package var positionLost: String?
  package var failure: String?
  /// Acknowledged messages that a server lost and that are being written again.
  package var refilling: String?
  package var uptime: Double = 0

  package init() {}
}

package struct HealthCheck: Sendable, Equatable {
  package var name: String
  package var status: String
  package var detail: String
  package var age: Double?
}

package struct HealthReport: Sendable {
  package var status: HealthStatus
  package var checks: [HealthCheck]
  package var position: OplogPosition?
  package var lag: Double?

  /// No progress for this long, with something to do, is a stall.
  package static let stallAfter = 10.0

  /// Judges by progress: a connection that is up proves nothing, an event that moved does. Pure.
  package static func judge(_ input: HealthInputs) -> HealthReport {
    var checks: [HealthCheck] = []
    let lag = lagSeconds(input)
    let behind = isBehind(input)
    let workWaits =
      behind || input.inFlight > 0 || !input.natsConnected || !input.mongoReachable
      || !input.publishing
    let quiet = input.progressAge ?? input.uptime
    let stalled = workWaits && quiet > stallAfter

    checks.append(
      HealthCheck(
        name: "mongodb",
        status: input.mongoReachable ? (input.sourceReading ? "ok" : "degraded") : "fail",
        detail: [input.mongoDetail, input.sourceDetail, unsupportedDetail(input)]
          .filter { !$0.isEmpty }.joined(separator: "; "),
        age: input.mongoAge))
    checks.append(
      HealthCheck(
        name: "nats", status: input.natsConnected ? "ok" : "fail", detail: input.natsDetail,
        age: input.natsAge))

    let pipeline: (String, String)
    if let failure = input.failure {
      pipeline = ("failed", failure)
    } else if let lost = input.positionLost {
      pipeline = ("gap", lost)
    } else if let refilling = input.refilling {
      pipeline = ("gap", refilling)
    } else if stalled {
      pipeline = ("stalled", stallReason(input, behind: behind, quiet: quiet))
    } else if !workWaits, (input.eventAge ?? .infinity) > stallAfter {
      pipeline = ("idle", "caught up, no events")
    } else {
      pipeline = ("ok", input.pipelineDetail)
    }
    checks.append(
      HealthCheck(name: "pipeline", status: pipeline.0, detail: pipeline.1, age: input.progressAge))

    let checkpointLate = (input.checkpointAge ?? input.uptime) > 60
    checks.append(
      HealthCheck(
        name: "checkpoint",
        status: input.checkpointError != nil
          ? "degraded" : checkpointLate && behind ? "degraded" : "ok",
        detail: input.checkpointError ?? input.checkpointPosition.map { "at \($0)" } ?? "none yet",
        age: input.checkpointAge))

    let tight = windowIsTight(input)
    checks.append(
      HealthCheck(
        name: "oplog_window", status: tight ? "degraded" : "ok",
        detail: windowDetail(input), age: nil))
    checks.append(
      HealthCheck(name: "schema", status: "ok", detail: input.schemaDetail, age: nil))
    checks.append(
      HealthCheck(
        name: "lease", status: "ok", detail: "single instance: the stream's sequence is the fence",
        age: nil))

    let status: HealthStatus
    if input.failure != nil {
      status = .failed
    } else if input.positionLost != nil || input.refilling != nil {
      status = .gap
    } else if stalled {
      status = .stalled
    } else if !input.natsConnected || !input.mongoReachable || !input.publishing || tight
      || input.checkpointError != nil
    {
      status = .degraded
    } else if pipeline.0 == "idle" {
      status = .idle
    } else {
      status = .ok
    }
    return HealthReport(status: status, checks: checks, position: input.read, lag: lag)
  }

  private static func unsupportedDetail(_ input: HealthInputs) -> String {
    guard !input.unsupported.isEmpty else { return "" }
    let shown = input.unsupported.prefix(5).joined(separator: ", ")
    let more = input.unsupported.count > 5 ? " and \(input.unsupported.count - 5) more" : ""
    return "not published, because time-series: \(shown)\(more)"
  }

  /// Seconds of oplog between what a majority has and what was processed.
  package static func lagSeconds(_ input: HealthInputs) -> Double? {
    guard let majority = input.majority, let read = input.read else { return nil }
    return Double(majority.seconds) - Double(read.seconds) > 0
      ? Double(majority.seconds - read.seconds) : 0
  }

  private static func isBehind(_ input: HealthInputs) -> Bool {
    guard let majority = input.majority else { return false }
    guard let read = input.read else { return true }
    return majority > read
  }

  private static func stallReason(_ input: HealthInputs, behind: Bool, quiet: Double) -> String {
    var why: [String] = []
    if !input.mongoReachable { why.append("MongoDB can't be reached: \(input.mongoDetail)") }
    if !input.natsConnected { why.append("NATS is not connected: \(input.natsDetail)") }
    if input.inFlight > 0 { why.append("\(input.inFlight) messages wait for their ack") }
    if behind, let majority = input.majority {
      why.append(
        "the oplog is at \(majority), processed up to \(input.read.map(\.description) ?? "nothing")"
      )
    }
    if !input.publishing, input.natsConnected, !input.pipelineDetail.isEmpty {
      why.append(input.pipelineDetail)
    }
    return "no progress for \(Int(quiet)) s: " + why.joined(separator: "; ")
  }

  private static func windowIsTight(_ input: HealthInputs) -> Bool {
    guard let headroom = input.headroom, let window = input.window else { return false }
    // A young oplog is short without being in danger; only a checkpoint that lags is.
    return window > 0 && headroom < window / 4 && (lagSeconds(input) ?? 0) > 60
  }

  private static func windowDetail(_ input: HealthInputs) -> String {
    guard let headroom = input.headroom, let window = input.window else { return "not known yet" }
    return "\(duration(headroom)) of oplog behind the checkpoint, \(duration(window)) in all"
  }

  package static func duration(_ seconds: Double) -> String {
    let s = Int(max(seconds, 0))
    if s < 120 { return "\(s) s" }
    if s < 7200 { return "\(s / 60) min" }
    if s < 172_800 { return "\(s / 3600) h" }
    return "\(s / 86_400) d"
  }

  package var json: JSONValue {
    var value: JSONValue = ["status": .string(status.rawValue)]
    value["checks"] = .object(
      checks.map { check in
        var one: JSONValue = ["status": .string(check.status), "detail": .string(check.detail)]
        one["age_seconds"] = check.age.map { .number(Self.rounded($0)) } ?? .null
        return JSONValue.Member(check.name, one)
      })
    value["position"] = position.map { .string($0.description) } ?? .null
    value["lag_seconds"] = lag.map { .number(Self.rounded($0)) } ?? .null
    return value
  }

  /// Three decimals are enough for an age.
  package static func rounded(_ seconds: Double) -> String {
    String((seconds * 1000).rounded() / 1000)
  }
}
