/// The state of a `SnapshotReader`.
public struct SnapshotStatus: ReaderStatus {
  public enum Phase: ReaderPhase {
    /// Not started yet.
    case idle
    /// Connecting and listing collections.
    case opening
    case reading
    /// An error interrupted reading; it is retried without limit.
    case reopening(reason: String, attempt: Int)
    /// Everything is read and queued; tail the oplog from here.
    case finished(tailFrom: ResumePoint)
    /// See `SnapshotReader.failure`.
    case failed
    case stopped
  }

  public var phase = Phase.idle
  /// The `restart` this belongs to.
  public var generation: UInt64 = 0
  /// The member being read from, or the last one (`host:port`).
  public var host: String?
  public var progress = SnapshotProgress()
  /// Where to tail from afterwards, once known.
  public var position: ResumePoint?
  /// Everything read in this run has its state at `position`.
  public var isExact = true
  /// Collections that were dropped before they were read.
  public var dropped: [String] = []
  /// Recovered interruptions.
  public var reopens: UInt64 = 0
  /// The latest error, kept after recovery.
  public var lastError: MongoError?
  public var queuedBatches = 0
  public var queuedBytes = 0

  public init() {}

  mutating func begin(_ generation: UInt64) {
    self = SnapshotStatus()
    self.generation = generation
  }

  /// Where to tail from, once everything is read and taken.
  public var tailFrom: ResumePoint? {
    if case .finished(let position) = phase, queuedBatches == 0 { position } else { nil }
  }
}
