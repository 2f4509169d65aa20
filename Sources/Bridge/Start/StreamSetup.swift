import BridgeConfiguration
import JSON
import JetStream
import Logging
import Mapping
import NATS

/// A stream that exists, fits, and has its way of publishing chosen.
struct PreparedStream: Sendable {
  var name: String
  var info: StreamInfo
  var mode: JetStream.PublishProtocol
  var exclusive: Bool
  /// Only dead letters go here.
  var isDeadLetter: Bool
  /// Whether ids are looked up before they are published.
  var screening: LaneOptions.Screening
  /// Ids alone don't prove that the stream has an event.
  var mayRepeatIDs: Bool

  /// The chain names the id that each message follows (`LaneOptions.assertsPredecessor`).
  var assertsPredecessor: Bool { info.replicas == 1 }
  /// A foreign message can make the server store a later one of ours without an earlier one: by its sequence in
  /// a chain that asserts no more than that, by its id in fast ingest, which skips what has it.
  var mayLeaveGaps: Bool {
    switch mode {
    case .chain: !assertsPredecessor
    case .fast: mayRepeatIDs
    case .atomic, .single: false
    }
  }
}

/// Makes JetStream hold what the configuration asks for, and chooses each stream's protocol.
struct StreamSetup: Sendable {
  let configuration: BridgeConfiguration
  let logger: Logger

  /// All streams in the configuration's order; the dead-letter stream last, unless it is one of them.
  /// Where one of them can't serve, none is changed.
  func prepare(
    _ jetStream: JetStreamClient, cautious: Set<String>
  ) async throws -> [PreparedStream] {
    let planner = StreamPlanner(configuration, jetStream)
    do {
      try await check(planner)
      return try await make(planner, cautious)
    } catch let refusal as StartRefusal {
      throw refusal.error
    }
  }

  private func check(_ planner: StreamPlanner) async throws {
    var replicas = 1
    for stream in configuration.streams {
      let plan = try await planner.plan(stream)
      replicas = max(replicas, plan.replicas)
      try await planner.checkConsumers(stream, of: plan)
    }
    if planner.hasLetterStream { _ = try await planner.planLetters(replicas: replicas) }
    try await planner.checkBucket()
  }

  private func make(
    _ planner: StreamPlanner, _ cautious: Set<String>
  ) async throws -> [PreparedStream] {
    var prepared: [PreparedStream] = []
    for stream in configuration.streams {
      let plan = try await planner.plan(stream)
      let isCautious = cautious.contains(stream.name)
      let made = try await make(plan, planner.jetStream, isCautious) {
        try await planner.plan(stream)
      }
      prepared.append(made)
      for consumer in stream.consumers {
        guard let (name, config) = try await planner.plan(consumer, of: plan) else { continue }
        try await planner.jetStream.makeConsumer(name, of: stream.name, config)
      }
    }
    if planner.hasLetterStream {
      let replicas = prepared.map(\.info.replicas).max() ?? 1
      let plan = try await planner.planLetters(replicas: replicas)
      let made = try await make(plan, planner.jetStream, false) {
        try await planner.planLetters(replicas: replicas)
      }
      prepared.append(made)
    }
    return prepared
  }

  /// - Parameter again: asked where somebody else made the stream meanwhile.
  private func make(
    _ plan: StreamPlan, _ jetStream: JetStreamClient, _ cautious: Bool,
    again: () async throws -> StreamPlan
  ) async throws -> PreparedStream {
    if let info = try await carryOut(plan, jetStream) {
      return prepared(plan, info, cautious)
    }
    let second = try await again()
    guard let info = try await carryOut(second, jetStream) else {
      throw JetStreamError(code: JetStreamCode.nameInUse, operation: "STREAM.CREATE.\(plan.name)")
    }
    return prepared(second, info, cautious)
  }

  private func prepared(_ plan: StreamPlan, _ info: StreamInfo, _ cautious: Bool) -> PreparedStream
  {
    plan.prepared(info, cautious: cautious, mayRepeatIDs: configuration.mayRepeatIDs(plan.name))
  }

  // MARK: The stream itself

  private var bridge: String { configuration.bridge.name }

  /// Nil: somebody else made the stream meanwhile.
  private func carryOut(
    _ plan: StreamPlan, _ jetStream: JetStreamClient
  ) async throws -> StreamInfo? {
    let name = plan.name
    warn(plan.claim, name)
    guard let present = plan.present else { return try await create(plan, jetStream) }
    var info = present
    if !plan.changed.isEmpty {
      info = StreamInfo(try await ask("STREAM.UPDATE.\(name)", plan, jetStream))
      logger.info(
        "stream updated",
        metadata: ["stream": "\(name)", "fields": "\(plan.changed.joined(separator: " "))"])
    }
    for warning in plan.warnings {
      logger.warning("\(warning)", metadata: ["stream": "\(name)"])
    }
    switch plan.claim {
    case .claim: return try await take(jetStream, name, info)
    case .release:
      let shared = await setOwner(nil, jetStream, name, info)
      if shared != nil {
        logger.info("stream is shared from now on", metadata: ["stream": "\(name)"])
      }
      return shared ?? info
    default: return info
    }
  }

  /// Nil: somebody else made the stream meanwhile, and otherwise.
  private func create(
    _ plan: StreamPlan, _ jetStream: JetStreamClient
  ) async throws(JetStreamError) -> StreamInfo? {
    do {
      let info = StreamInfo(try await ask("STREAM.CREATE.\(plan.name)", plan, jetStream))
      logger.info("stream created", metadata: ["stream": "\(plan.name)"])
      return info
    } catch {
      guard error.code == JetStreamCode.nameInUse else { throw error }
      return nil
    }
  }

  private func ask(
    _ operation: String, _ plan: StreamPlan, _ jetStream: JetStreamClient
  ) async throws(JetStreamError) -> JSONValue {
    do {
      return try await jetStream.request(operation, plan.config)
    } catch {
      let subjects = plan.config["subjects"]?.arrayValue?.compactMap(\.stringValue) ?? []
      throw await SubjectOverlap.naming(error, subjects, of: plan.name, jetStream)
    }
  }

  private func warn(_ claim: StreamClaim, _ name: String) {
    guard case .contested(let owner) = claim else { return }
    logger.warning(
      "stream \(name) is shared by this bridge, but bridge \(owner) takes it for its own: say ownership: shared there, too, and restart it"
    )
  }

  /// Two bridges may have found the stream without an owner, and the last to write has it: who wrote is
  /// read again when the other must have written too.
  private func take(
    _ jetStream: JetStreamClient, _ name: String, _ info: StreamInfo
  ) async throws -> StreamInfo {
    guard await setOwner(bridge, jetStream, name, info) != nil else { return info }
    try await Task.sleep(for: .milliseconds(200))
    guard let now = try await jetStream.stream(name) else { return info }
    if let owner = StreamClaim.owner(now.config), owner != bridge {
      throw StartRefusal(claimedBy: owner, stream: name, bridge: bridge)
    }
    return now
  }

  /// Nil where the server doesn't let us, as users may publish to streams that they can't change: that is
  /// no reason not to publish.
  private func setOwner(
    _ owner: String?, _ jetStream: JetStreamClient, _ name: String, _ info: StreamInfo
  ) async -> StreamInfo? {
    var once = jetStream
    once.attempts = 1
    var config = info.config
    config["metadata"] = StreamClaim.metadata(config, owner: owner)
    do throws(JetStreamError) {
      return StreamInfo(try await once.request("STREAM.UPDATE.\(name)", config))
    } catch {
      logger.warning(
        "the stream's metadata can't say whose it is, so that other bridges can't tell",
        metadata: ["stream": "\(name)", "error": "\(error)"])
      return nil
    }
  }
}
