public import Oplog

/// What an `OplogReader` is doing, as of one moment.
public struct SourceStatus: Sendable {
  public enum Phase: Equatable, Sendable {
    /// Not started yet.
    case idle
    /// Connecting for the first time since `restart`.
    case opening
    /// Connected, but the server doesn't have the entry to start at yet.
    case waiting(for: OplogPosition)
    /// There is more to read at once.
    case reading
    /// Everything there is has been read; new entries come as they are written.
    case caughtUp
    /// An error ended the cursor; another is being opened, without end.
    case reopening(reason: String, attempt: Int)
    /// See `OplogReader.failure`.
    case failed
    case stopped
  }

  public var phase = Phase.idle
  /// The `restart` this is about.
  public var generation: UInt64 = 0
  /// The member read from (`host:port`), or last read from.
  public var host: String?
  /// Entries and reply bytes queued since the reader was made.
  public var entriesRead: UInt64 = 0
  public var bytesRead: UInt64 = 0
  /// The last entry queued.
  public var lastRead: ResumePoint?
  /// When entries last came …
  public var lastBatchAt: ContinuousClock.Instant?
  /// … and when the server last answered at all.
  public var lastReplyAt: ContinuousClock.Instant?
  /// Interruptions that were overcome.
  public var reopens: UInt64 = 0
  /// The latest error, kept after recovery.
  public var lastError: MongoError?
  public var queuedBatches = 0
  public var queuedBytes = 0

  /// Entries are coming in, or would if there were any.
  public var isConnected: Bool {
    switch phase {
    case .waiting, .reading, .caughtUp: true
    case .idle, .opening, .reopening, .failed, .stopped: false
    }
  }

  public init() {}
}
