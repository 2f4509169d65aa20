internal import Oplog

/// The oplog no longer holds the resume position: changes after it can't be read, and an operator must
/// decide.
public struct PositionLost: Error, Sendable, CustomStringConvertible {
  public enum Reason: String, Sendable {
    /// It is older than the oldest entry.
    case rolledOver
    /// The oplog reaches further back but has a different history: a failover rolled the entry back, or
    /// this is another replica set.
    case rolledBack
  }

  public var reason: Reason
  public var expected: ResumePoint
  /// The first entry at or after `expected`.
  public var found: ResumePoint?
  /// The ends of the oplog of `host`.
  public var oldest: ResumePoint?
  public var newest: ResumePoint?
  public var host: String
  /// Unreachable members; one of them may still have the entry.
  public var unasked: [String]

  public init(
    reason: Reason, expected: ResumePoint, found: ResumePoint?, oldest: ResumePoint?,
    newest: ResumePoint?, host: String, unasked: [String] = []
  ) {
    self.reason = reason
    self.expected = expected
    self.found = found
    self.oldest = oldest
    self.newest = newest
    self.host = host
    self.unasked = unasked
  }

  public var description: String {
    let range =
      "\(host) holds \(oldest.map { "\($0)" } ?? "an unknown oldest entry") "
      + "to \(newest.map { "\($0)" } ?? "the present")"
    var text: String
    switch reason {
    case .rolledOver:
      text =
        "position lost: the oplog no longer holds \(expected), the resume position; "
        + "\(range). "
        + "The changes after \(expected.position) and before "
        + "\((oldest ?? found).map { "\($0.position)" } ?? "its oldest entry") can't be read any more. "
        + "Publish a snapshot of the collections to close the gap, or accept the gap and start "
        + "with --from oldest --force. A larger oplog (replSetResizeOplog with size or "
        + "minRetentionHours) prevents this."
    case .rolledBack:
      text =
        "position lost: the oplog does not hold \(expected), the resume position, although "
        + "it reaches further back; \(range), and the next entry is "
        + "\(found.map { "\($0)" } ?? "unknown"). "
        + "Either a failover rolled that entry back, or this is a different replica set. "
        + "Check source.uri first. If it is right, changes published up to "
        + "\(expected.position) may never have happened: publish a snapshot of the collections, "
        + "or choose a position from before the failover with --from and --force."
    }
    if !unasked.isEmpty {
      text += " Not searched, because unreachable: \(unasked.joined(separator: ", "))."
    }
    return text
  }
}

/// Why reading has stopped until it is restarted. All other errors are retried without limit.
public enum SourceFailure: Error, Sendable, CustomStringConvertible {
  case positionLost(PositionLost)
  /// `source.uri` can't be tailed: wrong connection string, not a replica set, no majority reads, …
  case unsupported(String)
  /// A reply is not valid BSON, or not an oplog batch.
  case corruptReply(String)
  /// The system refuses to start a thread; the next `restart` may succeed.
  case refused(String)

  public var description: String {
    switch self {
    case .positionLost(let lost): lost.description
    case .unsupported(let why), .refused(let why): why
    case .corruptReply(let what): "MongoDB sent an invalid batch: \(what)"
    }
  }
}
