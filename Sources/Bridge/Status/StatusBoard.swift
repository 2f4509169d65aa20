import Foundation
import MongoSource
import NATS
import Oplog
import Synchronization

/// What the bridge knows about itself, for health, status and metrics. Thread-safe; written a few
/// times a second, never per event.
package final class StatusBoard: Sendable {
  struct Stream: Sendable {
    var name: String
    var mode: String
    var inFlight: Int
    var sequence: UInt64
    var position: EventPosition?
    /// Since when an ack has been waited for.
    var waitingSince: ContinuousClock.Instant?
  }

  struct Facts: Sendable {
    var phase = "starting"
    /// Counts NATS connections and changes of the rules in this process.
    var epoch: UInt64 = 0
    var leadership = LeadershipFacts()
    var natsConnected = false
    var natsDetail = "not connected yet"
    /// The last attempt to connect came through, and that connection was not lost: between two epochs
    /// there is none, and nothing is wrong with that.
    var natsReachable = false
    var natsServer = ""
    var natsSince: ContinuousClock.Instant?
    var publishing = false
    var counters: PipelineCounters?
    var measures = PublishMeasures()
    /// How epochs of this process ended, by kind.
    var epochEnds: [EpochEnd.Kind: UInt64] = [:]
    /// Refusals since the process began, by whom.
    var refused: [Refusals.Scope: UInt64] = [:]
    /// What streams hold, by name.
    var storage: [String: StreamStorage] = [:]
    var streams: [Stream] = []
    var read: OplogPosition?
    var resume: OplogPosition?
    var origin: OplogPosition?
    var inFlight = 0
    /// When the pipeline was last looked at.
    var lookedAt: ContinuousClock.Instant?
    var settlement = SettlementWatch()
    var refusals = Refusals()
    /// Since when the streams are open …
    var publishingSince: ContinuousClock.Instant?
    /// … or since when they have been closed, if for more than a second.
    var closedSince: ContinuousClock.Instant?
    var eventAt: ContinuousClock.Instant?
    var rate = 0.0
    var firstPublishedAfter: Duration?
    var checkpoint: Checkpoint?
    var checkpointAt: ContinuousClock.Instant?
    var checkpointError: String?
    var positionLost: String?
    var failure: String?
    var losses: [ResumePlan.Loss] = []
    var lostMessages: UInt64 = 0
    var errors: [LoggedError] = []
    var feed = FeedFacts()
    /// Documents are being fetched for events that wait.
    var waitsForDocuments = false
    /// While a snapshot is running.
    var snapshot: SnapshotStatus?
    /// How the last one of this process ended.
    var finishedSnapshot: SnapshotStatus?
    /// What was counted when this process began or resumed the snapshot that is under way …
    var snapshotBase: Outcomes?
    /// … and the outcomes of its documents in this process.
    var snapshotOutcomes: Outcomes?
    /// Dead letters of this process by cause …
    var letters: [DeadLetterLog.Total] = []
    /// … and those of this bridge in their stream.
    var standingLetters: UInt64?
    /// Bodies that schemas refuse, by keyword.
    var schemaRefusals: [SchemaRefusalLog.Entry] = []
    /// What differs between the configuration and the servers' streams.
    var drift = Drift()
    /// The rules in use …
    var rules: RuleSetFacts?
    /// Groups whose cut-over has begun, by name.
    var cutover: [String: CutoverGroupFacts] = [:]
    /// … and the result of the last reload.
    var reload: ReloadReport?
    var reloads: [ReloadResult: UInt64] = [:]
    /// When a configuration was last applied.
    var configuredAt = Date.now

    /// Another instance leads: what only a leader knows would be about the past from now on, and never change.
    mutating func standDown() {
      (checkpoint, checkpointAt, checkpointError) = (nil, nil, nil)
      (read, resume, origin) = (nil, nil, nil)
      (positionLost, losses) = (nil, [])
      (streams, inFlight, waitsForDocuments) = ([], 0, false)
      (storage, drift, standingLetters) = ([:], Drift(), nil)
      refusals = Refusals()
      settlement = SettlementWatch()
      cutover = [:]
    }
  }

  struct RuleSetFacts: Sendable {
    var version: UInt64
    var hash: String
    var count: Int
    /// Rules with a schema.
    var schemas: Int
    var since = ContinuousClock.now
  }

  struct LoggedError: Sendable {
    var at: ContinuousClock.Instant
    var what: String
  }

  let started = ContinuousClock.now
  let instance: String
  private let facts = Mutex(Facts())

  package init(instance: String) {
    self.instance = instance
    facts.withLock { $0.closedSince = started }
  }

  func update<Result: Sendable>(_ change: (inout Facts) -> Result) -> Result {
    facts.withLock { change(&$0) }
  }

  var snapshot: Facts { facts.withLock { $0 } }

  /// Records that there is a connection to NATS.
  func noteReachable(_ connection: NATSConnection) {
    let name = "\(connection.info.serverName), nats-server \(connection.info.version)"
    facts.withLock { facts in
      if !facts.natsReachable { facts.natsSince = .now }
      facts.natsReachable = true
      facts.natsServer = name
      facts.natsDetail = "connected to \(name)"
    }
  }

  /// Records why there is no connection to NATS.
  func noteUnreachable(_ why: String) {
    facts.withLock { facts in
      if facts.natsReachable || facts.natsSince == nil { facts.natsSince = .now }
      facts.natsReachable = false
      facts.natsDetail = why
    }
  }

  /// Records a refusal. Returns how often it occurred since it was last logged; nil: it need not be logged.
  func refuse(_ scope: Refusals.Scope, _ what: String, _ reason: String, code: Int = 0) -> Int? {
    let times = facts.withLock { facts in
      facts.refused[scope, default: 0] += 1
      return facts.refusals.note(
        scope, reason, code: code, frontier: facts.settlement.frontier, at: .now)
    }
    if times != nil { note(error: "\(what): \(scope): \(reason)") }
    return times
  }

  func note(_ rules: RuleSet) {
    facts.withLock { facts in
      facts.rules = RuleSetFacts(
        version: rules.version, hash: rules.hash, count: rules.rules.count,
        schemas: rules.schemas.count { $0 != nil })
    }
  }

  /// Counts each attempt once, by its result.
  func note(_ reload: ReloadReport) {
    facts.withLock { facts in
      facts.reload = reload
      if reload.result != .pending { facts.reloads[reload.result, default: 0] += 1 }
      if reload.result == .applied || reload.result == .unchanged { facts.configuredAt = reload.at }
    }
  }

  /// Keeps the last twenty errors for /status.
  func note(error what: String) {
    facts.withLock { facts in
      facts.errors.append(LoggedError(at: .now, what: what))
      if facts.errors.count > 20 { facts.errors.removeFirst() }
    }
  }

  /// Seconds since `instant`.
  static func age(_ instant: ContinuousClock.Instant?) -> Double? {
    instant.map { (ContinuousClock.now - $0).seconds }
  }
}

extension Duration {
  var seconds: Double {
    let (seconds, attoseconds) = components
    return Double(seconds) + Double(attoseconds) / 1e18
  }
}
