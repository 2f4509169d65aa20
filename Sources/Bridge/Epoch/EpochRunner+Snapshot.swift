import BridgeConfiguration
import JetStream
import Logging
import MongoSource
import NATS
import NIOCore

extension EpochRunner {
  /// One epoch of a snapshot.
  func snapshot(
    on connection: NATSConnection, _ streams: [PreparedStream], _ plan: SnapshotPlan,
    _ checkpoint: Checkpoint?, _ kept: inout KeptState, _ machine: inout EpochMachine
  ) async throws -> EpochEnd {
    service.snapshotChoice.current = plan.snapshot.selection
    let outcomes = try await service.eventLoop.submit { [pipeline] in pipeline.counters.outcomes }
      .get()
    board.update { if $0.snapshotBase == nil { $0.snapshotBase = outcomes } }
    var base = Checkpoint(
      bridge: configuration.bridge.name, source: sourceName, instance: board.instance,
      version: kept.version, resume: plan.snapshot.position, term: plan.snapshot.term,
      origin: plan.origin, streams: checkpoint?.streams ?? [:],
      configurationHash: rules.hash)
    base.epoch = kept.tenure.epoch
    base.inheritConfiguration(from: checkpoint)
    base.foundAgainAt = checkpoint?.foundAgainAt
    base.snapshot = plan.snapshot
    for loss in plan.losses {
      base.streams[loss.stream] = nil
      board.note(error: "\(loss) by the snapshot, as far as documents are still there")
      logger.error("\(loss)")
    }
    base.streams.merge(plan.found) { _, found in found }
    base.states =
      checkpoint?.states.mapValues { state in
        var state = state
        state.refillTo = nil
        state.halted = nil
        // The tail begins behind them.
        state.inherited = nil
        return state
      } ?? [:]
    for stream in streams where base.streams[stream.name] == nil {
      await kept.marks.set(.unused(.snapshot), on: stream.name, .decided)
    }
    let end = try await publish(on: connection, streams, base, kept, .snapshot(plan), &machine)
    if case .snapshotFinished(let place) = end {
      let status = service.snapshotReader.status
      let now = try await service.eventLoop.submit { [pipeline] in pipeline.counters.outcomes }
        .get()
      board.update {
        $0.finishedSnapshot = status
        $0.snapshotOutcomes = now - ($0.snapshotBase ?? outcomes)
        $0.snapshotBase = nil
      }
      logger.info(
        "the snapshot is finished",
        metadata: [
          "documents": "\(status.progress.documents)", "tail_from": "\(place.position)",
          "exact": "\(status.isExact)",
        ])
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
    logger.info(
      "snapshot: \(SnapshotReport(status: snapshot, outcomes: board.snapshot.snapshotOutcomes).line)"
    )
  }
}
