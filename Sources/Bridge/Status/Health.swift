package import JSON
package import Oplog

/// The overall health, for people and Kubernetes.
public enum HealthStatus: String, Sendable {
  /// Events flow, or could at once.
  case ok
  /// Connected, caught up, nothing to do.
  case idle
  /// Working, but something needs attention.
  case degraded
  /// There are events, but no progress.
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

/// The facts that determine health. Ages are in seconds; nil means that it never happened.
package struct HealthInputs: Sendable {
  package var mongoReachable = false
  package var mongoDetail = ""
  package var mongoAge: Double?
  /// Since MongoDB last answered, if it doesn't.
  package var mongoLostFor: Double?
  /// The reader's own state: reading, opening, reopening with its reason.
  package var sourceDetail = ""
  package var sourceReading = false

  /// The last attempt to connect came through, and that connection was not lost.
  package var natsConnected = false
  package var natsDetail = ""
  package var natsAge: Double?

  /// Last entry processed.
  package var read: OplogPosition?
  /// The newest entry that a majority has.
  package var majority: OplogPosition?
  /// Something is known to be unsettled.
  package var hasWork = false
  /// How long the oldest unsettled event has not changed; nil: everything is settled.
  package var stillFor: Double?
  /// The oldest unsettled event, if known.
  package var oldest: EventPosition?
  package var oldestAge: Double?
  package var lag: Double?
  /// Messages without an ack, by stream.
  package var waiting: [(stream: String, messages: Int)] = []
  /// Documents are being fetched for the oldest event.
  package var waitsForDocuments = false
  /// Since an event was last derived.
  package var eventAge: Double?
  package var publishing = false
  /// Since the streams were last open for a while; nil: they are.
  package var closedFor: Double?
  /// The present refusals.
  package var refusals: [(scope: String, reason: String, age: Double, count: Int)] = []
  package var pipelineDetail = ""
  /// Since the pipeline was last examined: its event loop has been busy for that long.
  package var lookAge: Double?

  package var checkpointAge: Double?
  package var checkpointPosition: OplogPosition?
  package var checkpointError: String?

  /// Seconds of oplog behind the checkpoint: how long the bridge may stop.
  package var headroom: Double?
  /// Seconds that the whole oplog spans.
  package var window: Double?

  /// Time-series collections that were written to: their changes can't be published.
  package var unsupported: [String] = []

  /// How many rules have a schema, and how many events they refused.
  package var schemaDetail = "no rule has a schema"

  /// Why the last reload was not applied.
  package var reloadError: String?

  /// How streams, consumers and buckets differ from the configuration.
  package var drift: String?

  /// Events whose ids their streams had for other events, lately.
  package var idConflicts: String?

  /// What is wrong with groups on their way to their producers.
  package var cutover: String?

  /// Another instance leads; nil: this one does, or is about to.
  package var standbyOf: String?
  package var leaseDetail = "no leader yet"
  /// Since the lease was renewed, or seen to be.
  package var leaseAge: Double?
  /// The lease should have been renewed by now, or the leader's configuration differs.
  package var leaseProblem: String?

  package var positionLost: String?
  package var failure: String?
  /// Acknowledged messages that a server lost and that are being written again.
  package var refilling: String?

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
  package var oldestUnsettled: Double?

  /// The oldest unsettled event has not moved for this long: a stall.
  static let stallAfter = 10.0

  /// Decides by what is settled: neither an open connection nor reading proves anything, but a stored event
  /// does. Pure.
  package static func judge(_ input: HealthInputs) -> HealthReport {
    let stall = StallReason(input)
    let isStandby = input.standbyOf != nil
    // A standby has nothing to move.
    let isStalled = !isStandby && stall.seconds > stallAfter
    let isHindered =
      !input.natsConnected || !input.mongoReachable
      || !isStandby && (!input.publishing || !input.refusals.isEmpty)
    let tight = windowIsTight(input)
    let isIdle = isStandby || !input.hasWork && (input.eventAge ?? .infinity) > stallAfter

    // The bridge works, but an operator should look at it.
    let notes = [input.reloadError, input.idConflicts, input.cutover, input.leaseProblem].compactMap
    { $0 }

    let pipeline: (status: String, detail: String)
    if let failure = input.failure {
      pipeline = ("failed", failure)
    } else if let lost = input.positionLost {
      pipeline = ("gap", lost)
    } else if let refilling = input.refilling {
      pipeline = ("gap", ([refilling] + stall.refusals).joined(separator: "; "))
    } else if isStalled {
      pipeline = ("stalled", stall.description)
    } else if isHindered {
      let why = stall.causes.isEmpty ? [input.pipelineDetail] : stall.causes
      pipeline = ("degraded", (why + notes).joined(separator: "; "))
    } else if !notes.isEmpty {
      pipeline = ("degraded", (notes + [input.pipelineDetail]).joined(separator: "; "))
    } else if isIdle {
      pipeline = ("idle", input.standbyOf.map { "standby of \($0)" } ?? "caught up, no events")
    } else {
      pipeline = ("ok", ([input.pipelineDetail] + stall.waiting).joined(separator: "; "))
    }

    var checks = [
      HealthCheck(
        name: "mongodb",
        status: input.mongoReachable ? (input.sourceReading ? "ok" : "degraded") : "fail",
        detail: [input.mongoDetail, input.sourceDetail, unsupportedDetail(input)]
          .filter { !$0.isEmpty }.joined(separator: "; "),
        age: input.mongoAge),
      HealthCheck(
        name: "nats",
        status: !input.natsConnected ? "fail" : input.drift == nil ? "ok" : "degraded",
        detail: [input.natsDetail, input.drift].compactMap(\.self).joined(separator: "; "),
        age: input.natsAge),
      HealthCheck(
        name: "pipeline", status: pipeline.status, detail: pipeline.detail, age: input.stillFor),
      checkpoint(input),
      HealthCheck(
        name: "oplog_window", status: tight ? "degraded" : "ok", detail: windowDetail(input),
        age: nil),
    ]
    checks.append(HealthCheck(name: "schema", status: "ok", detail: input.schemaDetail, age: nil))
    checks.append(
      HealthCheck(
        name: "lease", status: input.leaseProblem == nil ? "ok" : "degraded",
        detail: input.leaseProblem ?? input.leaseDetail, age: input.leaseAge))

    let status: HealthStatus
    if input.failure != nil {
      status = .failed
    } else if input.positionLost != nil || input.refilling != nil {
      status = .gap
    } else if isStalled {
      status = .stalled
    } else if isHindered || tight || input.checkpointError != nil || !notes.isEmpty
      || input.drift != nil
    {
      status = .degraded
    } else if isIdle {
      status = .idle
    } else {
      status = .ok
    }
    return HealthReport(
      status: status, checks: checks, position: input.read, lag: input.lag,
      oldestUnsettled: input.oldestAge)
  }

  /// Whether the bridge takes events to the streams now, or could when the leader stops: what /readyz answers.
  package static func isReady(_ input: HealthInputs) -> Bool {
    if input.standbyOf != nil { return input.natsConnected && input.mongoReachable }
    return input.natsConnected && input.mongoReachable && input.publishing && input.refusals.isEmpty
      && StallReason(input).seconds <= stallAfter
  }

  private static func checkpoint(_ input: HealthInputs) -> HealthCheck {
    let late = (input.checkpointAge ?? 0) > 60 && input.hasWork
    return HealthCheck(
      name: "checkpoint", status: input.checkpointError != nil || late ? "degraded" : "ok",
      detail: input.checkpointError ?? input.checkpointPosition.map { "at \($0)" } ?? "none yet",
      age: input.checkpointAge)
  }

  private static func unsupportedDetail(_ input: HealthInputs) -> String {
    guard !input.unsupported.isEmpty else { return "" }
    let shown = input.unsupported.prefix(5).joined(separator: ", ")
    let more = input.unsupported.count > 5 ? " and \(input.unsupported.count - 5) more" : ""
    return "not published, because time-series: \(shown)\(more)"
  }

  private static func windowIsTight(_ input: HealthInputs) -> Bool {
    guard let headroom = input.headroom, let window = input.window else { return false }
    // A young oplog is short without being in danger; only a checkpoint that lags is.
    return window > 0 && headroom < window / 4 && (input.lag ?? 0) > 60
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
    value["oldest_unsettled_seconds"] = oldestUnsettled.map { .number(Self.rounded($0)) } ?? .null
    return value
  }

  /// Three decimals are enough for an age.
  package static func rounded(_ seconds: Double) -> String {
    String((seconds * 1000).rounded() / 1000)
  }
}
