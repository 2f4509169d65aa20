import BridgeConfiguration
import JetStream
import Logging
import MongoSource
import NATS
import Oplog

/// How a snapshot begins or goes on: after which documents, and what the streams hold of the rest.
struct SnapshotPlan: Sendable {
  var snapshot: Checkpoint.Snapshot
  var origin: Checkpoint.Origin
  /// The number of the first event: higher than all that the streams hold.
  var firstIndex: UInt32
  /// By stream: ids of messages of documents behind the marker. A crash came between their acks and
  /// the checkpoint.
  var stored: [String: Set<[UInt8]>] = [:]
  /// What streams have lost since.
  var losses: [ResumePlan.Loss] = []
  /// Our last message in each stream.
  var found: [String: Checkpoint.Stream] = [:]

  /// Looks at the streams' ends.
  init(
    _ snapshot: Checkpoint.Snapshot, _ origin: Checkpoint.Origin, _ tail: StreamTail,
    _ observations: [StreamObservation], _ checkpoint: Checkpoint?
  ) async throws(JetStreamError) {
    self.snapshot = snapshot
    self.origin = origin
    if let checkpoint,
      case .resume(let plan) = ResumePlan.decide(checkpoint: checkpoint, streams: observations)
    {
      losses = plan.losses
    }
    if losses.contains(where: { $0.to.entry >= snapshot.position }) {
      // Which documents they were of is not known: all are read again, and what is there is kept.
      self.snapshot = Checkpoint.Snapshot(at: snapshot.point)
    }
    let floor = self.snapshot.floor
    firstIndex = floor
    let acknowledged = checkpoint?.streams.values.map(\.position) ?? []
    for position in acknowledged + observations.compactMap({ $0.tail?.position })
    where position.entry == snapshot.position && position.index < .max {
      firstIndex = max(firstIndex, position.index + 1)
    }
    for stream in observations { found[stream.name] = stream.found }
    for stream in observations where stream.lastSequence > 0 {
      guard let last = stream.tail?.position, last.entry == snapshot.position, last.index >= floor
      else { continue }
      stored[stream.name] = try await tail.identities(
        in: stream.name, ofSnapshotAt: snapshot.position, from: floor,
        min(max(stream.firstSequence, 1), stream.lastSequence)...stream.lastSequence)
    }
  }
}

extension EpochRunner {
  /// A snapshot from its beginning; at the newest entry that a majority has, unless a place is given.
  ///
  /// `origin`: everything from there to the snapshot has been published, so that it can be again.
  func newSnapshot(
    at place: ResumePoint?, since origin: Checkpoint.Origin? = nil, _ tail: StreamTail,
    _ observations: [StreamObservation],
    _ checkpoint: Checkpoint?
  ) async throws -> EpochCourse {
    let point: ResumePoint
    if let place {
      point = place
    } else {
      point = try await service.askMongo { try await MongoAdmin.majorityPosition($0) }
    }
    logger.info("a snapshot begins", metadata: ["at": "\(point.position)"])
    return .snapshot(
      try await SnapshotPlan(
        Checkpoint.Snapshot(at: point),
        origin ?? Checkpoint.Origin(position: point.position, inclusive: false), tail,
        observations, checkpoint))
  }

  /// One epoch of a snapshot.
  func snapshot(
    on connection: NATSConnection, _ streams: [PreparedStream], _ plan: SnapshotPlan,
    _ checkpoint: Checkpoint?, _ kept: KeptState, _ memory: inout EpochMemory
  ) async throws -> EpochEnd {
    memory.suspect = nil
    memory.transactionStart = nil
    memory.catchUp = nil
    var base = Checkpoint(
      bridge: configuration.bridge.name, source: sourceName, instance: board.instance,
      version: kept.version, resume: plan.snapshot.position, term: plan.snapshot.term,
      origin: plan.origin, streams: checkpoint?.streams ?? [:],
      configurationHash: configuration.hash(sourceName: sourceName))
    base.inheritConfiguration(from: checkpoint)
    base.snapshot = plan.snapshot
    for loss in plan.losses {
      base.streams[loss.stream] = nil
      board.note(error: "\(loss) by the snapshot, as far as documents are still there")
      logger.error("\(loss)")
    }
    base.streams.merge(plan.found) { _, found in found }
    let end = try await publish(on: connection, streams, base, kept, .snapshot(plan), &memory)
    switch end {
    case .snapshotFinished(let place):
      let status = service.snapshotReader.status
      board.update { $0.finishedSnapshot = status }
      logger.info(
        "the snapshot is finished",
        metadata: [
          "documents": "\(status.progress.documents)", "tail_from": "\(place.position)",
          "exact": "\(status.isExact)",
        ])
    case .sourceFailed(.positionLost(let lost)):
      let why = """
        the snapshot took longer than the oplog reaches back, so nothing would lead on from it. \
        Enlarge the oplog (replSetResizeOplog) and begin anew: tailrace snapshot --force. \(lost)
        """
      board.update { $0.positionLost = why }
      throw BridgeError.positionLost(why)
    default: break
    }
    return end
  }
}

/// Every five seconds of a snapshot, a line in the log.
struct SnapshotProgressLog {
  private var last = ContinuousClock.now

  mutating func tell(_ board: StatusBoard, _ logger: Logger) {
    guard ContinuousClock.now - last > .seconds(5), let snapshot = board.snapshot.snapshot else {
      return
    }
    last = .now
    logger.info("snapshot: \(SnapshotReport(status: snapshot).line)")
  }
}
