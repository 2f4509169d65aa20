import BridgeConfiguration
import JSON
package import JetStream
import Logging
import Mapping
import NATS
import NIOCore

/// A suitable stream with its chosen protocol.
package struct PreparedStream: Sendable {
  package var name: String
  package var info: StreamInfo
  package var mode: JetStream.PublishProtocol
  var exclusive: Bool
  /// Only dead letters go here.
  package var isDeadLetter: Bool
  /// Whether ids are looked up before they are published.
  var screening: LaneOptions.Screening
  /// Ids alone don't prove that the stream has an event.
  package var mayRepeatIDs: Bool
  /// It does not exist: `info` is what it will be like.
  package var isMissing = false
  /// What is asserted there besides sequences; nil: nothing.
  var fence: LaneOptions.Fence?

  /// The chain asserts the id that each message follows (`LaneOptions.assertsPredecessor`).
  var assertsPredecessor: Bool { info.replicas == 1 }
  /// A foreign message can make the server store a later one of ours without an earlier one: by its sequence in
  /// a chain that asserts nothing else, by its id in fast ingest, which skips duplicates.
  var mayLeaveGaps: Bool {
    switch mode {
    case .chain: !assertsPredecessor
    case .fast: mayRepeatIDs
    case .atomic, .single: false
    }
  }
}

/// Everything that a start finds, and will create, before it reads and publishes.
struct SetupPlan: Sendable {
  struct Stream: Sendable {
    var plan: StreamPlan
    /// Nil: the dead-letter stream that the configuration doesn't list.
    var spec: StreamSpec?
    /// The consumers to be created or changed.
    var consumers: [ConsumerPlan]
  }

  var streams: [Stream]
  var hasBucket: Bool

  var replicas: Int { streams.map(\.plan.replicas).max() ?? 1 }

  /// Nothing has to be created or changed.
  var isSettled: Bool {
    hasBucket && streams.allSatisfy { $0.plan.isSettled && $0.consumers.isEmpty }
  }
}

/// Creates in JetStream what the configuration asks for, and chooses each stream's protocol.
struct StreamSetup: Sendable {
  let configuration: BridgeConfiguration
  let logger: Logger
  let planner: StreamPlanner

  init(
    _ configuration: BridgeConfiguration, _ jetStream: JetStreamClient, logger: Logger,
    losses: LossPolicy = .refuse
  ) {
    self.configuration = configuration
    self.logger = logger
    var planner = StreamPlanner(configuration, jetStream)
    planner.losses = losses
    self.planner = planner
  }

  private var jetStream: JetStreamClient { planner.jetStream }

  /// Examines everything; changes nothing. Streams come in the configuration's order; the dead-letter stream
  /// last, unless it is one of them.
  ///
  /// - Throws: `StartRefusal` if one of them is unsuitable.
  func plan() async throws -> SetupPlan {
    var streams: [SetupPlan.Stream] = []
    for (index, plan) in try await planner.planStreams().enumerated() {
      let spec = index < configuration.streams.count ? configuration.streams[index] : nil
      var consumers: [ConsumerPlan] = []
      if let spec { consumers = try await planner.planConsumers(spec, of: plan) }
      streams.append(SetupPlan.Stream(plan: plan, spec: spec, consumers: consumers))
    }
    return SetupPlan(streams: streams, hasBucket: try await planner.hasBucket())
  }

  /// Creates and changes what is needed.
  func make(_ setup: SetupPlan, cautious: Set<String>) async throws -> [PreparedStream] {
    var prepared: [PreparedStream] = []
    for stream in setup.streams {
      let name = stream.plan.name
      let made = try await make(
        stream, replicas: setup.replicas, cautious: cautious.contains(name))
      prepared.append(made)
      try await make(stream.consumers, of: name)
    }
    return prepared
  }

  // Out of line: Swift 6.3.1, optimizing, crashes where these calls, with their typed errors, are part of a loop in
  // another function (`CoroSplit`).
  @inline(never)
  private func make(_ consumers: [ConsumerPlan], of stream: String) async throws(JetStreamError) {
    for consumer in consumers {
      if consumer.replaces { try await jetStream.deleteConsumer(consumer.name, of: stream) }
      try await jetStream.makeConsumer(consumer.name, of: stream, consumer.config)
    }
  }

  private func planAgain(_ stream: SetupPlan.Stream, replicas: Int) async throws -> StreamPlan {
    if let spec = stream.spec { return try await planner.plan(spec) }
    return try await planner.planLetters(replicas: replicas)
  }

  /// The streams as they will be once everything is created.
  func expected(_ setup: SetupPlan, cautious: Set<String>, now: String) -> [PreparedStream] {
    setup.streams.map { stream in
      stream.plan.expected(
        now: now, cautious: cautious.contains(stream.plan.name),
        mayRepeatIDs: configuration.mayRepeatIDs(stream.plan.name))
    }
  }

  private func make(
    _ stream: SetupPlan.Stream, replicas: Int, cautious: Bool
  ) async throws -> PreparedStream {
    var plan = stream.plan
    // Existing streams that will be changed, as they are now.
    if !plan.isSettled, plan.present != nil {
      plan = try await planAgain(stream, replicas: replicas)
    }
    if let info = try await carryOut(plan) { return prepared(plan, info, cautious) }
    // Another client created it meanwhile.
    let second = try await planAgain(stream, replicas: replicas)
    guard let info = try await carryOut(second) else {
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
  private func carryOut(_ plan: StreamPlan) async throws -> StreamInfo? {
    let name = plan.name
    warn(plan.claim, name)
    guard let present = plan.present else { return try await create(plan) }
    var info = present
    if !plan.changed.isEmpty {
      info = StreamInfo(try await ask("STREAM.UPDATE.\(name)", plan))
      logger.info(
        "stream updated",
        metadata: ["stream": "\(name)", "fields": "\(plan.changed.joined(separator: " "))"])
    }
    for warning in plan.warnings {
      logger.warning("\(warning)", metadata: ["stream": "\(name)"])
    }
    switch plan.claim {
    case .claim: return try await take(name, info)
    case .release:
      let shared = await setOwner(nil, name, info)
      if shared != nil {
        logger.info("stream is shared from now on", metadata: ["stream": "\(name)"])
      }
      return shared ?? info
    default: return info
    }
  }

  /// Nil: another client created the stream meanwhile, with other settings.
  private func create(_ plan: StreamPlan) async throws(JetStreamError) -> StreamInfo? {
    do {
      let info = StreamInfo(try await ask("STREAM.CREATE.\(plan.name)", plan))
      logger.info("stream created", metadata: ["stream": "\(plan.name)"])
      return info
    } catch {
      guard error.code == JetStreamCode.nameInUse else { throw error }
      return nil
    }
  }

  private func ask(
    _ operation: String, _ plan: StreamPlan
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
      "stream \(name) is shared by this bridge, but bridge \(owner) considers it exclusive: set ownership: shared there, too, and restart it"
    )
  }

  /// Two bridges may have found the stream without an owner, and the last write wins: the owner is read again
  /// once the other one must have written, too.
  private func take(_ name: String, _ info: StreamInfo) async throws -> StreamInfo {
    guard await setOwner(bridge, name, info) != nil else { return info }
    try await jetStream.connection.eventLoop.sleep(for: .milliseconds(200))
    guard let now = try await jetStream.stream(name) else { return info }
    if let owner = StreamClaim.owner(now.config), owner != bridge {
      throw StartRefusal(claimedBy: owner, stream: name, bridge: bridge)
    }
    return now
  }

  /// Nil if the server doesn't permit it: a user may be allowed to publish to streams that it can't change.
  private func setOwner(
    _ owner: String?, _ name: String, _ info: StreamInfo
  ) async -> StreamInfo? {
    var once = jetStream
    once.attempts = 1
    var config = info.config
    config["metadata"] = StreamClaim.metadata(config, owner: owner)
    do throws(JetStreamError) {
      return StreamInfo(try await once.request("STREAM.UPDATE.\(name)", config))
    } catch {
      logger.warning(
        "the stream's metadata can't name its owner, so other bridges can't see that it is in use",
        metadata: ["stream": "\(name)", "error": "\(error)"])
      return nil
    }
  }
}
