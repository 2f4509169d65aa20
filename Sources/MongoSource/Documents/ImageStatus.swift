internal import Oplog

/// The state of an `ImageReader`, and its counters since it was created.
public struct ImageStatus: Sendable {
  public enum Phase: Equatable, Sendable {
    /// No request.
    case idle
    case reading
    /// An error interrupted reading; it is retried without limit.
    case retrying(reason: String, attempt: Int)
    case stopped
  }

  public var phase = Phase.idle
  /// The member being read from, or the last one (`host:port`).
  public var host: String?
  public var requests: UInt64 = 0
  /// Commands sent for documents.
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
