package import BridgeConfiguration
package import JSON
package import JetStream
import Mapping
package import NATS

/// How a start will create or change a stream, and how it will publish there.
package struct StreamPlan: Sendable {
  package var name: String
  /// The present stream; nil if it has to be created.
  package var present: StreamInfo?
  /// All that it is to have.
  package var config: JSONValue
  /// The wanted settings that it lacks.
  package var changed: [String]
  package var claim: StreamClaim
  /// The name that it claims the stream by.
  var bridge: String
  var exclusive: Bool
  /// Only dead letters go here.
  package var isDeadLetter: Bool
  /// As configured; nil: chosen.
  package var wanted: JetStream.PublishProtocol?
  package var mode: JetStream.PublishProtocol
  var warnings: [String]
  /// All that the configuration asks for: `config` and what a start leaves out.
  package var target: JSONValue
  /// What the way to `target` would lose.
  package var losses: [StreamLoss] = []
  /// Why it can't serve as it is, or can't be made so.
  package var refusal: StartRefusal?

  package var replicas: Int { config["num_replicas"]?.integer(Int.self) ?? 1 }

  /// The bytes that it additionally reserves in files.
  package var newBytes: Int64 {
    guard present == nil, config["storage"]?.stringValue != "memory" else { return 0 }
    let bytes = Int64(config.streamLimit("max_bytes") ?? 0)
    return bytes.multipliedReportingOverflow(by: Int64(replicas)).partialValue
  }

  /// The stream with its chosen protocol, once it is as planned.
  package func prepared(_ info: StreamInfo, cautious: Bool, mayRepeatIDs: Bool) -> PreparedStream {
    var mode = mode
    let fallback: JetStream.PublishProtocol = exclusive ? .chain : .single
    if wanted == nil, mode == .atomic, !info.allowsAtomic { mode = fallback }
    if wanted == nil, mode == .fast, !info.allowsBatched { mode = fallback }
    // Fast ingest reports only the number of duplicates, and that only if no other producer publishes.
    let isBlind = mode == .fast && (mayRepeatIDs || !exclusive)
    return PreparedStream(
      name: name, info: info, mode: mode, exclusive: exclusive, isDeadLetter: isDeadLetter,
      screening: isBlind ? .always : cautious ? .whileNeeded : .never, mayRepeatIDs: mayRepeatIDs)
  }

  /// Nothing has to be changed.
  package var isSettled: Bool {
    switch claim {
    case .claim, .release, .refused: false
    case .settled, .contested: present != nil && changed.isEmpty
    }
  }

  /// The stream as it will be found; an empty one where it has to be made.
  package func expected(now: String, cautious: Bool, mayRepeatIDs: Bool) -> PreparedStream {
    var stream = prepared(expected(now), cautious: cautious, mayRepeatIDs: mayRepeatIDs)
    stream.isMissing = present == nil
    return stream
  }

  private func expected(_ now: String) -> StreamInfo {
    if let present {
      var raw = present.raw
      raw["config"] = config
      return StreamInfo(raw)
    }
    return StreamInfo([
      "config": config, "created": .string(now),
      "state": ["messages": 0, "bytes": 0, "first_seq": 0, "last_seq": 0],
    ])
  }
}

/// A consumer to be created or changed.
package struct ConsumerPlan: Sendable {
  package var name: String
  /// All that it is to have.
  package var config: JSONValue
  var isNew: Bool
  /// The present one is deleted first.
  var replaces = false
}

/// Decides, before anything is changed, whether JetStream can hold what the configuration asks for. Used by
/// both `run` and `doctor`, so that they agree.
package struct StreamPlanner: Sendable {
  package let configuration: BridgeConfiguration
  package let jetStream: JetStreamClient
  package let version: NATSVersion
  package let isClustered: Bool
  /// What happens to changes that would lose something.
  package var losses = LossPolicy.refuse

  package init(_ configuration: BridgeConfiguration, _ jetStream: JetStreamClient) {
    self.configuration = configuration
    self.jetStream = jetStream
    let info = jetStream.connection.info
    version = info.version
    isClustered = info.cluster != nil
  }

  /// Streams keep metadata from then on.
  static let firstMetadata = NATSVersion(2, 10, 0)
  static let firstAtomic = NATSVersion(2, 12, 1)
  static let firstFast = NATSVersion(2, 14, 0)

  private var bridge: String { configuration.bridge.name }

  /// Whether the dead letters have a stream that the configuration doesn't list.
  package var hasLetterStream: Bool { configuration.deadLetterStream == nil }

  /// All streams in the configuration's order; the dead-letter stream last, unless it is one of them.
  func planStreams() async throws -> [StreamPlan] {
    let results = await withTaskGroup(of: IndexedPlan.self) { group in
      for (index, stream) in configuration.streams.enumerated() {
        group.addTask { await IndexedPlan(index: index, result: result(of: stream)) }
      }
      var results: [IndexedPlan] = []
      for await result in group { results.append(result) }
      return results.sorted { $0.index < $1.index }
    }
    var plans = try results.map { try $0.result.get() }
    if hasLetterStream {
      plans.append(try await planLetters(replicas: plans.map(\.replicas).max() ?? 1))
    }
    return plans
  }

  /// Not a tuple: Swift 6.3.1, optimizing, returns `(index, .success(try await …))` without its index.
  private struct IndexedPlan: Sendable {
    var index: Int
    var result: Result<StreamPlan, any Error>
  }

  private func result(of stream: StreamSpec) async -> Result<StreamPlan, any Error> {
    do {
      return .success(try await plan(stream))
    } catch {
      return .failure(error)
    }
  }

  /// - Throws: `StartRefusal`, or `JetStreamError` if the server can't be asked.
  package func plan(_ stream: StreamSpec) async throws -> StreamPlan {
    try await draft(stream).accepted()
  }

  /// The same with its refusal.
  func draft(_ stream: StreamSpec) async throws -> StreamPlan {
    var settings = stream.settings
    settings["subjects"] = .array(stream.subjects.map { .string($0) })
    let lacking = BucketExpiry(configuration, stream).adapt(&settings, version: version)
    let isExclusive = stream.ownership == .exclusive
    let isDeadLetter = configuration.isForLettersAlone(stream.name)
    var plan = try await draft(
      stream.name, try await jetStream.stream(stream.name), settings,
      wanted: stream.forcedProtocol ?? (isDeadLetter && !isExclusive ? .single : nil),
      exclusive: isExclusive, isDeadLetter: isDeadLetter)
    lacking.note(in: &plan)
    return plan
  }

  /// The dead-letter stream is created if it is missing; an existing one keeps its settings, and gets a missing
  /// subject.
  package func planLetters(replicas: Int) async throws -> StreamPlan {
    try await draftLetters(replicas: replicas).accepted()
  }

  /// The same with its refusal.
  func draftLetters(replicas: Int) async throws -> StreamPlan {
    let name = configuration.deadLetter.stream
    let subject = JSONValue.string(configuration.deadLetter.subject.pattern)
    var settings: JSONValue = ["subjects": [subject]]
    let present = try await jetStream.stream(name)
    if present == nil {
      settings = [
        "subjects": [subject], "storage": "file", "num_replicas": .int(replicas),
        "duplicate_window": .int(600_000_000_000),
      ]
    }
    // Several bridges may share it, and dead letters are few: one at a time, on any server.
    return try await draft(
      name, present, settings, wanted: .single, exclusive: false, isDeadLetter: true)
  }

  private func draft(
    _ name: String, _ present: StreamInfo?, _ settings: JSONValue,
    wanted: JetStream.PublishProtocol?, exclusive: Bool, isDeadLetter: Bool
  ) async throws -> StreamPlan {
    var refusals = [judge(name, wanted, exclusive: exclusive)]
    let mode =
      wanted
      ?? Self.choose(
        version: version, replicas: settings["num_replicas"]?.integer(Int.self) ?? 1,
        exclusive: exclusive, mayRepeatIDs: configuration.mayRepeatIDs(name),
        isBucket: configuration.isBucket(name))
    let claim = StreamClaim.decide(
      present?.config ?? .object([]), bridge: bridge, isExclusive: exclusive,
      serverKeepsMetadata: version >= Self.firstMetadata)
    if case .refused(let owner) = claim {
      refusals.append(StartRefusal(claimedBy: owner, stream: name, bridge: bridge))
    }
    var asked = adapted(settings, exclusive: exclusive, to: present).withUnlimited
    if mode == .atomic { asked["allow_atomic"] = true }
    if mode == .fast { asked["allow_batched"] = true }
    var config = asked
    var changed: [String] = []
    if let present {
      (config, changed) = present.config.merging(asked)
    } else {
      config["name"] = .string(name)
      // Originals of duplicates are compared where ids do not name their events (PublishLane+Originals).
      if config["allow_direct"] == nil, configuration.mayRepeatIDs(name) {
        config["allow_direct"] = true
      }
      if claim == .claim { config["metadata"] = StreamClaim.metadata(config, owner: bridge) }
    }
    let target = config
    var losses: [StreamLoss] = []
    if let present, !changed.isEmpty {
      losses = try await StreamLossCount(jetStream, present, wanted: target).losses()
      if self.losses != .accept {
        config = StreamLoss.withholding(losses, from: present.config, to: target)
        changed = changed.filter { path in
          let key = String(path.prefix { $0 != "." })
          return config[key] != present.config[key]
        }
      }
    }
    let fitness = configuration.fitness(of: name, config, isExclusive: exclusive)
    refusals.append(
      fitness.refusal.map { StartRefusal.stream(name, $0, remedy: fitness.remedy(name)) })
    let change = StreamChange(name: name, present: present?.config, wanted: config)
    refusals.append(change.refusal(version: version, isClustered: isClustered))
    return StreamPlan(
      name: name, present: present, config: config, changed: changed, claim: claim,
      bridge: bridge, exclusive: exclusive, isDeadLetter: isDeadLetter, wanted: wanted, mode: mode,
      warnings: fitness.warnings
        + (target == config ? [] : losses.filter(\.losesStored).map(\.warning)),
      target: target, losses: losses,
      refusal: refusals.compactMap(\.self).first)
  }

  private func judge(
    _ name: String, _ wanted: JetStream.PublishProtocol?, exclusive: Bool
  ) -> StartRefusal? {
    let automatic = "streams:\n  - { name: \(name), publish: auto }"
    if let wanted, let least = Self.least(wanted), version < least {
      return .stream(
        name, "publish: \(wanted.rawValue) needs nats-server \(least), this is \(version)",
        remedy: automatic)
    }
    if wanted == .chain, !exclusive {
      return .stream(
        name,
        "publish: chain works only where the bridge is the only publisher (ownership: exclusive)",
        remedy: automatic)
    }
    return nil
  }

  /// Chosen by measurements (docs/publish-protocols.md): replicated streams gain most from atomic batches,
  /// single ones from fast ingest; the chain works with every older server. Fast ingest drops duplicates
  /// silently, so it is unsuitable for ids that may be duplicates, or another event's.
  /// An atomic batch can't put a key and purge it (10111), so buckets have none.
  static func choose(
    version: NATSVersion, replicas: Int, exclusive: Bool, mayRepeatIDs: Bool, isBucket: Bool = false
  ) -> JetStream.PublishProtocol {
    if isBucket {
      let isFast = version >= firstFast && replicas == 1 && !mayRepeatIDs
      return isFast ? .fast : exclusive ? .chain : .single
    }
    if version >= firstAtomic, replicas > 1 || !exclusive || mayRepeatIDs { return .atomic }
    if version >= firstFast { return .fast }
    return exclusive ? .chain : .single
  }

  private static func least(_ mode: JetStream.PublishProtocol) -> NATSVersion? {
    switch mode {
    case .atomic: firstAtomic
    case .fast: firstFast
    case .chain, .single: nil
    }
  }

  /// A shared stream keeps the subjects that others gave it.
  private func adapted(
    _ settings: JSONValue, exclusive: Bool, to present: StreamInfo?
  ) -> JSONValue {
    var wanted = settings
    if var metadata = settings["metadata"] {
      metadata[StreamClaim.key] = nil
      wanted["metadata"] = metadata
    }
    if !exclusive, let present, let subjects = settings["subjects"]?.arrayValue {
      let all = SharedSubjects.union(present.subjects, subjects.compactMap(\.stringValue))
      wanted["subjects"] = .array(all.map { .string($0) })
    }
    return wanted
  }

  // MARK: Consumers and the bucket

  /// The consumers to be created or changed.
  ///
  /// - Throws: `StartRefusal` for the first one that can't be configured as wanted.
  package func planConsumers(_ stream: StreamSpec, of plan: StreamPlan) async throws
    -> [ConsumerPlan]
  {
    let together = ConsumerSetRules(
      stream: stream.name, streamConfig: plan.config, consumers: stream.consumers)
    if let refusal = together.refusal { throw refusal }
    return try await draftConsumers(stream, of: plan).compactMap { try $0.plan(losses) }
  }

  /// Whether the state bucket is there.
  ///
  /// - Throws: `StartRefusal` if its name belongs to a stream that is no bucket.
  package func hasBucket() async throws -> Bool {
    let bucket = configuration.bridge.stateBucket
    guard let present = try await jetStream.stream("KV_\(bucket)") else { return false }
    if let refusal = BucketFitness(bucket, bridge: bridge, present.config).refusal { throw refusal }
    return true
  }
}

extension StartRefusal {
  package init(claimedBy owner: String, stream: String, bridge: String) {
    self = .stream(
      stream, "",
      remedy: "# In both configurations:\nstreams:\n  - { name: \(stream), ownership: shared }")
    why = StreamClaim.explanation(stream: stream, owner: owner, bridge: bridge)
  }
}

extension BridgeConfiguration {
  /// Whether a stream of the list takes dead letters and no rule's messages: it is treated as one that isn't listed.
  func isForLettersAlone(_ stream: String) -> Bool {
    stream == deadLetter.stream && !rules.contains { destination(of: $0) == stream }
  }

  /// Whether a stream that has this configuration on the server can serve this bridge.
  package func fitness(of stream: String, _ config: JSONValue, isExclusive: Bool) -> StreamFitness {
    var subjects = streams.first { $0.name == stream }?.subjects ?? []
    if stream == deadLetter.stream { subjects.append(deadLetter.subject.pattern) }
    return StreamFitness(
      config, subjects: subjects, isExclusive: isExclusive,
      allowsMemory: allowsMemoryStorage(stream),
      exclusiveSubjects: streams.filter { $0.ownership == .exclusive }.flatMap(\.subjects))
  }
}
