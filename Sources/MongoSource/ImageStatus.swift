internal import Oplog

/// What an `ImageReader` is doing, and has done since it was made.
public struct ImageStatus: Sendable {
  public enum Phase: Equatable, Sendable {
    /// Nothing is asked for.
    case idle
    case reading
    /// An error interrupted the reading; it is tried again, without end.
    case retrying(reason: String, attempt: Int)
    case stopped
  }

  public var phase = Phase.idle
  /// The member read from (`host:port`), or last read from.
  public var host: String?
  public var requests: UInt64 = 0
  /// Commands sent for documents: one round trip each.
  public var roundTrips: UInt64 = 0
  /// Images answered, by kind.
  public var post: UInt64 = 0
  public var pre: UInt64 = 0
  public var lookup: UInt64 = 0
  public var none: UInt64 = 0
  /// The latest error, kept after recovery.
  public var lastError: MongoError?
  public var lastAnswerAt: ContinuousClock.Instant?

  public init() {}

  mutating func count(_ kind: ImageKind) {
    switch kind {
    case .post: post += 1
    case .pre: pre += 1
    case .lookup: lookup += 1
    case .none: none += 1
    }
  }
}
