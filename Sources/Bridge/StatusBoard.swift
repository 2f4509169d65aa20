import MongoSource
import Oplog
import Synchronization

/// What the bridge knows about itself, for health, status and metrics. Thread-safe; written a few
/// times a second, never per event.
final class StatusBoard: Sendable {
  struct Stream: Sendable {
    var name: String
    var mode: String
    var inFlight: Int
    var sequence: UInt64
    var position: EventPosition?
  }

  struct Facts: Sendable {
    var phase = "starting"
    var epoch: UInt64 = 0
    var natsConnected = false
    var natsDetail = "not connected yet"
    var natsServer = ""
    var natsSince: ContinuousClock.Instant?
    var publishing = false
    var counters: PipelineCounters?
    var streams: [Stream] = []
    var read: OplogPosition?
    var resume: OplogPosition?
    var origin: OplogPosition?
    var inFlight = 0
    var progressAt: ContinuousClock.Instant?
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
    /// While a snapshot goes on.
    var snapshot: SnapshotStatus?
    /// How the last one of this process ended.
    var finishedSnapshot: SnapshotStatus?
  }

  struct LoggedError: Sendable {
    var at: ContinuousClock.Instant
    var what: String
  }

  let started = ContinuousClock.now
  let instance: String
  private let facts = Mutex(Facts())

  init(instance: String) { self.instance = instance }

  func update(_ change: (inout Facts) -> Void) { facts.withLock { change(&$0) } }

  var snapshot: Facts { facts.withLock { $0 } }

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
