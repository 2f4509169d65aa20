/// What a `SnapshotReader` is doing, as of one moment.
public struct SnapshotStatus: Sendable {
  public enum Phase: Equatable, Sendable {
    /// Not started yet.
    case idle
    /// Connecting, and finding out what there is to read.
    case opening
    case reading
    /// An error interrupted the reading; it is tried again, without end.
    case reopening(reason: String, attempt: Int)
    /// Everything is read and queued: tail the oplog from here.
    case finished(tailFrom: ResumePoint)
    /// See `SnapshotReader.failure`.
    case failed
    case stopped
  }

  public var phase = Phase.idle
  /// The `restart` this is about.
  public var generation: UInt64 = 0
  /// The member read from (`host:port`), or last read from.
  public var host: String?
  public var progress = SnapshotProgress()
  /// Where the oplog is to be read from afterwards, once that is known.
  public var position: ResumePoint?
  /// Everything read in this run shows the state at `position`.
  public var isExact = true
  /// Collections that disappeared before they were read.
  public var dropped: [String] = []
  /// Interruptions that were overcome.
  public var reopens: UInt64 = 0
  /// The latest error, kept after recovery.
  public var lastError: MongoError?
  public var queuedBatches = 0
  public var queuedBytes = 0

  public init() {}

  /// Where to tail from, once everything is read and taken; nil before.
  public var tailFrom: ResumePoint? {
    if case .finished(let position) = phase, queuedBatches == 0 { position } else { nil }
  }
}
