public import Oplog

/// The state of an `OplogReader` or a `ChangeStreamReader`.
public struct SourceStatus: ReaderStatus {
  public enum Phase: ReaderPhase {
    /// Not started yet.
    case idle
    /// Connecting for the first time since `restart`.
    case opening
    /// Connected, but the server has not reached the start position yet.
    case waiting(for: OplogPosition)
    /// More entries are available.
    case reading
    /// All entries are read; waiting for new ones.
    case caughtUp
    /// An error ended the cursor; reopening is retried without limit.
    case reopening(reason: String, attempt: Int)
    /// See `OplogReader.failure`.
    case failed
    case stopped
  }

  public var phase = Phase.idle
  /// The `restart` this belongs to.
  public var generation: UInt64 = 0
  /// The member being read from, or the last one (`host:port`).
  public var host: String?
  /// Entries and reply bytes queued since the reader was created.
  public var entriesRead: UInt64 = 0
  public var bytesRead: UInt64 = 0
  /// The last entry queued.
  public var lastRead: ResumePoint?
  /// When entries last arrived.
  public var lastBatchAt: ContinuousClock.Instant?
  /// When the server last replied, with or without entries.
  public var lastReplyAt: ContinuousClock.Instant?
  /// Recovered interruptions.
  public var reopens: UInt64 = 0
  /// The latest error, kept after recovery.
  public var lastError: MongoError?
  public var queuedBatches = 0
  public var queuedBytes = 0

  /// The cursor works, with or without entries.
  public var isConnected: Bool {
    switch phase {
    case .waiting, .reading, .caughtUp: true
    case .idle, .opening, .reopening, .failed, .stopped: false
    }
  }

  public init() {}

  mutating func begin(_ generation: UInt64) {
    self.generation = generation
    lastRead = nil
  }

  /// A batch of `count` entries is queued.
  mutating func queued(_ count: Int, bytes: Int, last: ResumePoint, _ phase: Phase) {
    entriesRead += UInt64(count)
    bytesRead += UInt64(bytes)
    lastRead = last
    let now = ContinuousClock.now
    if count > 0 { lastBatchAt = now }
    replied(phase, at: now)
  }

  /// The server replied.
  mutating func replied(_ phase: Phase, at time: ContinuousClock.Instant) {
    self.phase = phase
    lastReplyAt = time
  }
}
