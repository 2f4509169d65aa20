import BridgeConfiguration
package import JSON
import JetStream
package import NATS
import NIOCore

/// The server's own validation of later requests, by variants of them that it can't carry out. `run` asks
/// before it creates anything, and `doctor` asks the same.
package struct ServerJudgement: Sendable {
  package let planner: StreamPlanner

  package init(_ planner: StreamPlanner) { self.planner = planner }

  private var probe: ServerProbe { ServerProbe(connection: planner.jetStream.connection) }

  /// A name that no stream or consumer has.
  private static let nobody = "tailrace-doctor"

  /// - Throws: `StartRefusal`
  package func check(_ plan: StreamPlan) async throws {
    let isNew = plan.present == nil
    guard isNew || !plan.changed.isEmpty else { return }
    let subjects = plan.config["subjects"]?.arrayValue?.compactMap(\.stringValue) ?? []
    let added = subjects.filter { !(plan.present?.subjects.contains($0) ?? false) }
    try await checkOverlap(added, plan.name, isNew ? "STREAM.CREATE" : "STREAM.UPDATE")
    // The server validates the settings before it finds that they belong to no such stream.
    var config = plan.config
    config["name"] = .string(Self.nobody)
    guard
      case .json(let answer) = await probe.ask(
        "$JS.API.STREAM.UPDATE.\(plan.name)", payload: config.text()),
      let failure = answer["error"],
      failure["err_code"]?.integer(Int.self) != JetStreamCode.nameMismatch
    else { return }
    let error = JetStreamError("STREAM.UPDATE.\(plan.name)", refusedWith: failure)
    if let refusal = StartRefusal(error) { throw refusal }
  }

  /// Only running servers can be counted. (More may join, and some clusters announce one address for all: so
  /// this is a warning and no reason not to try.)
  package func checkReplicas(_ plan: StreamPlan) throws(StartRefusal) {
    let info = planner.jetStream.connection.info
    let servers = Set(info.connectURLs).count
    guard planner.isClustered, servers > 0, servers < plan.replicas,
      plan.present?.replicas != plan.replicas
    else { return }
    throw .stream(
      plan.name,
      "num_replicas is \(plan.replicas), but the cluster \(info.cluster ?? "") announces \(servers) servers",
      remedy: """
        # In the configuration, unless more servers join:
        streams:
          - { name: \(plan.name), num_replicas: \(servers > 2 ? 3 : 1) }
        """)
  }

  private func checkOverlap(
    _ subjects: [String], _ stream: String, _ operation: String
  ) async throws {
    guard
      let overlaps = try? await SubjectOverlap.find(
        subjects, besides: stream, planner.jetStream), !overlaps.isEmpty
    else { return }
    if let refusal = StartRefusal(SubjectOverlap.refusal(overlaps, "\(operation).\(stream)")) {
      throw refusal
    }
  }

  /// A bucket to be created.
  package func checkNewBucket() async throws {
    let bucket = planner.configuration.bridge.stateBucket
    try await checkOverlap(["$KV.\(bucket).>"], "KV_\(bucket)", "STREAM.CREATE")
  }

  /// Servers from 2.10 on have an action that creates nothing.
  package func check(_ consumer: ConsumerPlan, of plan: StreamPlan) async throws {
    guard plan.present != nil, planner.version >= NATSVersion(2, 10, 0) else { return }
    // An existing one would be changed.
    let asked = consumer.isNew && !consumer.replaces ? consumer.name : Self.nobody
    var config = consumer.config
    config["durable_name"] = .string(asked)
    if config["name"] != nil { config["name"] = .string(asked) }
    let request: JSONValue = [
      "stream_name": .string(plan.name), "config": config, "action": "update",
    ]
    guard
      case .json(let answer) = await probe.ask(
        "$JS.API.CONSUMER.DURABLE.CREATE.\(plan.name).\(asked)", payload: request.text()),
      let failure = answer["error"],
      failure["err_code"]?.integer(Int.self) != JetStreamCode.consumerDoesNotExist
    else { return }
    let error = JetStreamError(
      "CONSUMER.DURABLE.CREATE.\(plan.name).\(consumer.name)", refusedWith: failure)
    if let refusal = StartRefusal(error) { throw refusal }
  }

  /// Whether the user may create what is missing, by requests without content: the server that would carry
  /// them out refuses them.
  ///
  /// - Throws: `JetStreamError`
  func checkRights(_ setup: SetupPlan) async throws {
    for stream in setup.streams {
      let name = stream.plan.name
      if stream.plan.present == nil {
        try await checkRight("STREAM.CREATE.\(name)")
      } else if !stream.plan.changed.isEmpty {
        try await checkRight("STREAM.UPDATE.\(name)")
      }
      for consumer in stream.consumers {
        try await checkRight("CONSUMER.DURABLE.CREATE.\(name).\(consumer.name)")
      }
    }
    guard !setup.hasBucket else { return }
    try await checkRight("STREAM.CREATE.KV_\(planner.configuration.bridge.stateBucket)")
  }

  private func checkRight(_ operation: String) async throws {
    guard case .refused(let why) = await probe.ask("$JS.API.\(operation)", payload: "{") else {
      return
    }
    throw JetStreamError(code: 0, operation: operation, message: why, remedy: .backOff)
  }

  /// Whether the account has room for what will be created, if the user may ask. Room may become free.
  ///
  /// - Throws: `JetStreamError`
  func checkRoom(_ setup: SetupPlan) async throws {
    let missing = setup.streams.count { $0.plan.present == nil } + (setup.hasBucket ? 0 : 1)
    guard missing > 0, case .json(let json) = await probe.ask("$JS.API.INFO"),
      json["error"] == nil
    else { return }
    let limits = AccountLimits(
      json, missing: missing, reserving: setup.streams.map(\.plan.newBytes).reduce(0, +))
    guard let shortage = limits.shortage else { return }
    throw JetStreamError(
      code: 0, operation: "making the streams", message: shortage.why, remedy: .operatorMustAct)
  }
}

/// A request to a server that must not be carried out, and its possible answers.
package struct ServerProbe: Sendable {
  package let connection: NATSConnection

  package init(connection: NATSConnection) { self.connection = connection }

  package enum Answer {
    case json(JSONValue)
    /// There is no responder, but the permission is there.
    case nobody
    case refused(String)
    /// The permission to receive the answer is missing.
    case inboxRefused(String)
    case silence(String)
  }

  package func ask(
    _ subject: String, headers: NATSHeaders? = nil, payload: String = ""
  ) async -> Answer {
    var tries = 2
    while true {
      tries -= 1
      do {
        let message = try await connection.request(
          subject, headers: headers, payload: Array(payload.utf8), timeout: .seconds(2))
        let json = try? JSONValue(parsing: message.payload.readableBytesView)
        return json.map { .json($0) } ?? .nobody
      } catch {
        if error.refused?.isPublish == false { return .inboxRefused(error.message) }
        switch error.code {
        case .permissionsViolation: return .refused(error.message)
        case .noResponders: return .nobody
        case .timeout where tries > 0: continue
        default: return .silence(error.message)
        }
      }
    }
  }
}
