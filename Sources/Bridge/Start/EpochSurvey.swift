package import BridgeConfiguration
package import JetStream
import MongoSource
import NATS
import Oplog

/// Reads what decides how an epoch begins: the checkpoint, the streams' ends, and whatever else the decision
/// asks for. Changes nothing: `doctor` surveys and decides exactly as `run` does.
package struct EpochSurvey: Sendable {
  package let configuration: BridgeConfiguration
  package let sourceName: String
  package let jetStream: JetStreamClient
  package let mongo: any MongoAsking
  /// The rules of the epoch.
  let rules: RuleSet.Identity

  package init(
    configuration: BridgeConfiguration, sourceName: String, jetStream: JetStreamClient,
    mongo: any MongoAsking, rules: RuleSet.Identity
  ) {
    self.configuration = configuration
    self.sourceName = sourceName
    self.jetStream = jetStream
    self.mongo = mongo
    self.rules = rules
  }

  /// The stored checkpoint, and the revision to assert when replacing it.
  ///
  /// - Throws: `BridgeError` if it can't be read, or belongs to another source.
  package func load(_ store: CheckpointStore) async throws -> (
    checkpoint: Checkpoint?, revision: UInt64
  ) {
    let found: (checkpoint: Checkpoint?, revision: UInt64)
    do {
      found = try await store.load()
    } catch let error as CheckpointError {
      throw BridgeError.positionLost(
        """
        \(error). Look at key \(store.key) of KV bucket \(configuration.bridge.stateBucket); once it \
        is deleted, the resume position is found again from the streams' last messages
        """)
    }
    if let stored = found.checkpoint, stored.source != sourceName {
      throw BridgeError.configuration(
        """
        the checkpoint of bridge \(configuration.bridge.name) belongs to source \(stored.source), \
        not \(sourceName): give this bridge another bridge.name
        """)
    }
    return found
  }

  /// Reads the streams and lets `machine` decide, answering its questions.
  package func decide(
    _ machine: EpochMachine, _ streams: [PreparedStream], _ checkpoint: Checkpoint?
  ) async throws -> EpochDecision {
    var tail = StreamTail(
      jetStream: jetStream, ownership: MessageOwnership(configuration, source: sourceName),
      acknowledged: checkpoint?.streams ?? [:], proven: machine.memory.proven)
    var situation = EpochSituation(
      checkpoint: checkpoint, streams: try await observe(streams, tail, checkpoint),
      rules: rules)
    var facts = EpochFacts()
    let impossible = try await impossible(situation, &facts)
    if let newest = impossible?.newest {
      tail.ownership.newest = newest
      situation.streams = try await observe(streams, tail, checkpoint)
    }
    while true {
      do {
        var decision = try machine.decide(situation, facts)
        decision.remarks += impossible?.remarks ?? []
        return decision
      } catch {
        let question = try error.question
        facts[question] = try await answer(question, streams, tail)
      }
    }
  }

  /// Streams whose last message of ours is of an event that no majority has: it can't be ours, and the events
  /// before it must not be considered stored, since the bridge publishes only what MongoDB has.
  ///
  /// Without a checkpoint, MongoDB may also have been restored to an older state; that fails when the position
  /// is looked up in the oplog.
  private func impossible(
    _ situation: EpochSituation, _ facts: inout EpochFacts
  ) async throws -> (newest: OplogPosition, remarks: [EpochRemark])? {
    guard let checkpoint = situation.checkpoint else { return nil }
    func latest(_ stream: StreamObservation) -> StreamObservation.Own? {
      let all = (stream.patchwork?.behind ?? []) + [stream.tail].compactMap(\.self)
      return all.max { $0.position < $1.position }
    }
    let news = situation.streams.filter { stream in
      guard let last = latest(stream) else { return false }
      return checkpoint.streams[stream.name].map { $0.position < last.position } ?? true
    }
    let newest = news.compactMap { latest($0)?.position.entry }.max()
    guard let newest, let entry = try await newestEntry(reaching: newest, &facts) else {
      return nil
    }
    let remarks = news.compactMap { stream -> EpochRemark? in
      guard let last = latest(stream), last.position.entry > entry.position else { return nil }
      return .error(
        """
        stream \(stream.name): the message at sequence \(last.sequence) has this bridge's headers and \
        position \(last.position), but MongoDB has nothing behind \(entry.position): it is not counted \
        as the bridge's. Find out who published it, and remove it
        """, reason: nil)
    }
    return remarks.isEmpty ? nil : (entry.position, remarks)
  }

  /// The newest entry that a majority has, asked after the streams were read, so that nothing of ours can be newer.
  ///
  /// A member that is cut off, or lags, doesn't know what the others have committed since. So one that hasn't
  /// `position` is believed only after a while, in which a primary without a majority steps down (10 s); at once
  /// where it would have to lag by more than an hour.
  private func newestEntry(
    reaching position: OplogPosition, _ facts: inout EpochFacts
  ) async throws -> ResumePoint? {
    let eventLoop = jetStream.connection.eventLoop
    for attempt in 0... {
      let answer = try await mongo.answer(.newestEntry)
      facts[.newestEntry] = answer
      guard case .entry(let entry?) = answer else { return nil }
      let lag = Int64(position.seconds) - Int64(entry.position.seconds)
      if entry.position >= position || lag > 3600 || attempt == Self.believedAfter { return entry }
      try await eventLoop.sleep(for: .seconds(1))
    }
    return nil
  }

  /// How often a member's word is doubted, a second apart.
  private static let believedAfter = 30

  private func observe(
    _ streams: [PreparedStream], _ tail: StreamTail, _ checkpoint: Checkpoint?
  ) async throws -> [StreamObservation] {
    var observations: [StreamObservation] = []
    for stream in streams {
      let onLoss = configuration.streams.first { $0.name == stream.name }?.onLoss ?? .refill
      observations.append(
        try await tail.observe(
          stream, onLoss: onLoss, bridge: configuration.bridge.name, checkpoint: checkpoint))
    }
    return observations
  }

  private func answer(
    _ question: EpochQuestion, _ streams: [PreparedStream], _ tail: StreamTail
  ) async throws -> EpochAnswer {
    switch question {
    case .checkpointTime: return .time(try await checkpointTime(streams))
    case .unnamedTrace: return .reason(try await doubtOfFirstStart())
    case .messages(let stream, let since, let behind, let first, let through):
      return .messages(
        try await tail.messages(
          in: stream, since: since, behind: behind, first: first, through: through))
    case .snapshotIDs(let stream, let position, let floor, let first, let last):
      return .ids(
        try await tail.identities(in: stream, ofSnapshotAt: position, from: floor, first...last))
    case .newestEntry, .oldestEntry, .markedEntry, .loss, .firstEntry, .transactionStart:
      return try await mongo.answer(question)
    }
  }

  /// When the checkpoint was written, by the servers' clock; nil if they don't report times (before 2.10).
  private func checkpointTime(_ streams: [PreparedStream]) async throws -> CheckpointTime? {
    let store = CheckpointStore(
      jetStream, bucket: configuration.bridge.stateBucket, bridge: configuration.bridge.name)
    guard
      let now = streams.compactMap({ $0.info.answeredAt.flatMap { ServerTime($0) } }).map(\.seconds)
        .max(),
      let written = try await store.bucket.get(store.key).flatMap({ ServerTime($0.time) })
    else { return nil }
    return CheckpointTime(written: written, now: ServerTime(seconds: now))
  }
}
