import DeliberateErrors
import MongoSource
import Oplog

/// Gathers the inputs of health from the board, the reader and the monitor.
struct HealthProbe: Sendable {
  let board: StatusBoard
  let reader: any ChangeReader
  let monitor: any MongoWatching

  var uptime: Double { (ContinuousClock.now - board.started).seconds }

  func report() -> HealthReport { HealthReport.judge(inputs()) }

  func inputs() -> HealthInputs {
    let facts = board.snapshot
    let mongo = monitor.snapshot
    let source = reader.status
    var inputs = HealthInputs()
    let now = ContinuousClock.now
    inputs.mongoReachable = mongo.reachable
    inputs.mongoDetail =
      mongo.reachable
      ? "\(mongo.setName ?? "?"), mongod \(mongo.version ?? "?")"
      : mongo.error?.description ?? "not reached yet"
    inputs.mongoAge = StatusBoard.age(mongo.at)
    if !mongo.reachable {
      inputs.mongoLostFor = StatusBoard.age(mongo.reachedAt ?? board.started)
    }
    inputs.sourceDetail = source.summary
    inputs.sourceReading = source.isConnected
    if let snapshot = facts.snapshot {
      inputs.sourceDetail = "snapshot: \(snapshot.summary)"
      inputs.sourceReading = snapshot.isReading
    }
    inputs.natsConnected = facts.natsReachable
    inputs.natsDetail = facts.natsDetail
    inputs.natsAge = StatusBoard.age(facts.natsSince)
    inputs.read = facts.read
    inputs.majority = mongo.majority?.position
    let settlement = facts.settlement
    inputs.hasWork = settlement.hasWork
    inputs.stillFor = settlement.still(at: now)
    if DeliberateError.isOn(.readingIsProgress), source.isConnected { inputs.stillFor = nil }
    inputs.oldest = settlement.oldest?.position
    inputs.oldestAge = settlement.oldestAge(at: now)
    inputs.lag = settlement.lag
    inputs.waiting = facts.streams.map { ($0.name, $0.inFlight) }
    inputs.waitsForDocuments = facts.waitsForDocuments
    inputs.refusals = facts.refusals.all.map {
      ($0.scope.description, $0.reason, (now - $0.since).seconds, $0.count)
    }
    inputs.closedFor = StatusBoard.age(facts.closedSince)
    inputs.lookAge = StatusBoard.age(facts.lookedAt)
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
    if let schemas = facts.rules?.schemas, schemas > 0 {
      let invalid = facts.counters?.rules.reduce(UInt64(0)) { $0 + $1.schemaInvalid } ?? 0
      inputs.schemaDetail = "\(schemas) rules have a schema; \(invalid) events were invalid"
    }
    if let reload = facts.reload, !reload.result.isGood {
      inputs.reloadError =
        "the configuration is not reloaded (\(reload.result.rawValue)): "
        + reload.errors.joined(separator: "; ")
    }
    // A former leader has counted them.
    inputs.idConflicts = facts.leadership.isLeader ? idConflicts(facts) : nil
    inputs.cutover = CutoverStatus.problems(facts.cutover)
    note(facts.leadership, in: &inputs)
    inputs.drift = facts.drift.summary
    inputs.positionLost = facts.positionLost
    inputs.failure = facts.positionLost == nil ? facts.failure : nil
    inputs.refilling = facts.losses.first.map(\.description)
    return inputs
  }
}

extension HealthProbe {
  private func note(_ leadership: LeadershipFacts, in inputs: inout HealthInputs) {
    inputs.leaseAge = StatusBoard.age(leadership.renewedAt)
    let epoch = "epoch \(leadership.epoch)"
    if leadership.isLeader {
      inputs.leaseDetail = "this instance leads, \(epoch)"
      if let age = inputs.leaseAge, age > leadership.period.seconds {
        inputs.leaseProblem = "this instance has not been able to renew its lease for \(Int(age)) s"
      } else if let asked = StatusBoard.age(leadership.askedAt), asked < 5,
        let (stream, why) = leadership.unfenced.min(by: { $0.key < $1.key })
      {
        let others =
          leadership.unfenced.count > 1 ? " (and \(leadership.unfenced.count - 1) more)" : ""
        inputs.leaseProblem =
          "another instance stands by, and stream \(stream)\(others) has no fence: \(why)"
      }
    } else if let holder = leadership.leader(at: .now) {
      inputs.standbyOf = holder
      inputs.leaseDetail = "instance \(holder) leads, \(epoch)"
      if leadership.hasOtherConfiguration {
        inputs.leaseProblem =
          "instance \(holder) leads, \(epoch), with another configuration than this instance's"
      }
    } else if let holder = leadership.holder {
      inputs.leaseProblem =
        "instance \(holder) has not renewed its lease (\(epoch)), and this one could not take it yet"
    }
  }

  /// Reported for ten minutes after the last one.
  private func idConflicts(_ facts: StatusBoard.Facts) -> String? {
    guard let counters = facts.counters, let last = counters.lastConflict,
      ContinuousClock.now - last < .seconds(600)
    else { return nil }
    let rules = counters.rules.filter { $0.idConflicts > 0 }
    return "ids of \(rules.reduce(0) { $0 + $1.idConflicts }) events belonged to other events"
      + " (rules \(rules.map(\.name).joined(separator: ", ")))"
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
