import MongoSource
import Oplog

/// Gathers what health is judged by, from the board, the reader and the monitor.
struct HealthProbe: Sendable {
  let board: StatusBoard
  let reader: EventReader
  let monitor: MongoMonitor
  /// Rules with a schema.
  let schemas: Int

  func report() -> HealthReport { HealthReport.judge(inputs()) }

  func inputs() -> HealthInputs {
    let facts = board.snapshot
    let mongo = monitor.snapshot
    let source = reader.status
    var inputs = HealthInputs()
    inputs.uptime = (ContinuousClock.now - board.started).seconds
    inputs.mongoReachable = mongo.reachable
    inputs.mongoDetail =
      mongo.reachable
      ? "\(mongo.setName ?? "?"), mongod \(mongo.version ?? "?")"
      : mongo.error?.description ?? "not reached yet"
    inputs.mongoAge = StatusBoard.age(mongo.at)
    inputs.sourceDetail = source.summary
    inputs.sourceReading = source.isConnected
    if let snapshot = facts.snapshot {
      inputs.sourceDetail = "snapshot: \(snapshot.summary)"
      inputs.sourceReading = snapshot.isReading
    }
    inputs.natsConnected = facts.natsConnected
    inputs.natsDetail = facts.natsDetail
    inputs.natsAge = StatusBoard.age(facts.natsSince)
    inputs.read = facts.read
    inputs.majority = mongo.majority?.position
    inputs.inFlight = facts.inFlight
    inputs.progressAge = StatusBoard.age(facts.progressAt)
    inputs.eventAge = StatusBoard.age(facts.eventAt)
    inputs.publishing = facts.publishing
    inputs.pipelineDetail =
      facts.publishing ? "\(Int(facts.rate)) events/s" : "\(facts.phase), epoch \(facts.epoch)"
    inputs.checkpointAge = StatusBoard.age(facts.checkpointAt)
    inputs.checkpointPosition = facts.checkpoint?.resume
    inputs.checkpointError = facts.checkpointError
    if let oldest = mongo.oldest?.position, let newest = mongo.majority?.position {
      inputs.window = Double(newest.seconds) - Double(oldest.seconds)
      if let checkpoint = facts.checkpoint?.resume {
        inputs.headroom = Double(checkpoint.seconds) - Double(oldest.seconds)
      }
    }
    inputs.unsupported = facts.feed.timeSeries.map(\.collection)
    if schemas > 0 {
      let invalid = facts.counters?.rules.reduce(UInt64(0)) { $0 + $1.schemaInvalid } ?? 0
      inputs.schemaDetail = "\(schemas) rules have a schema; \(invalid) events were invalid"
    }
    inputs.positionLost = facts.positionLost
    inputs.failure = facts.positionLost == nil ? facts.failure : nil
    inputs.refilling = facts.losses.first.map(\.description)
    return inputs
  }
}

extension SourceStatus {
  /// The reader's state in a few words.
  var summary: String {
    switch phase {
    case .idle: "not reading yet"
    case .opening: "opening the oplog"
    case .waiting(let position): "waiting for \(host ?? "the server") to have \(position)"
    case .reading, .caughtUp: "reading from \(host ?? "?")"
    case .reopening(let reason, let attempt): "reopening, attempt \(attempt): \(reason)"
    case .failed: "failed"
    case .stopped: "stopped"
    }
  }
}

extension SnapshotStatus {
  /// What it is doing, in a few words.
  var summary: String {
    switch phase {
    case .idle, .opening: "looking at the collections"
    case .reading:
      "reading \(progress.namespace ?? "?") from \(host ?? "?")"
        + (progress.fraction.map { ", \(Int($0 * 100)) %" } ?? "")
    case .reopening(let reason, let attempt): "reopening, attempt \(attempt): \(reason)"
    case .finished: "all is read"
    case .failed: "failed"
    case .stopped: "stopped"
    }
  }

  var isReading: Bool {
    switch phase {
    case .reading, .finished: true
    case .idle, .opening, .reopening, .failed, .stopped: false
    }
  }
}
