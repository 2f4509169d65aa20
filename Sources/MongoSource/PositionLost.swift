internal import Oplog

/// The entry to resume after is not in the oplog any more: what came between can't be read, and an
/// operator must decide.
public struct PositionLost: Error, Sendable, CustomStringConvertible {
  public enum Reason: String, Sendable {
    /// The oplog has grown past it: older than the oldest entry.
    case rolledOver
    /// The oplog reaches further back, but has another history there: a failover took the entry
    /// back, or this is another replica set.
    case rolledBack
  }

  public var reason: Reason
  public var expected: ResumePoint
  /// The first entry at or after the expected position.
  public var found: ResumePoint?
  /// What the server `host` holds.
  public var oldest: ResumePoint?
  public var newest: ResumePoint?
  public var host: String
  /// Other members that could not be asked; one of them may still have the entry.
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
        "position lost: the oplog no longer holds \(expected), where reading must go on; "
        + "\(range). "
        + "The changes after \(expected.position) and before "
        + "\((oldest ?? found).map { "\($0.position)" } ?? "its oldest entry") are gone from it. "
        + "Publish a snapshot of the collections to close the gap, or accept the gap and start "
        + "with --from oldest --force; a larger oplog (replSetResizeOplog with size or "
        + "minRetentionHours) keeps it from happening again."
    case .rolledBack:
      text =
        "position lost: the oplog does not hold \(expected), where reading must go on, although "
        + "it reaches further back; \(range), and the next entry there is "
        + "\(found.map { "\($0)" } ?? "unknown"). "
        + "Either a failover rolled that entry back, or this is not the replica set it came from. "
        + "Check source.uri first. If it is right, changes published up to "
        + "\(expected.position) may never have happened: publish a snapshot of the collections, "
        + "or choose a position from before the failover with --from and --force."
    }
    if !unasked.isEmpty {
      text += " Not asked, because unreachable: \(unasked.joined(separator: ", "))."
    }
    return text
  }
}

/// Why reading has ended until it is restarted. Everything else is retried without end.
public enum SourceFailure: Error, Sendable, CustomStringConvertible {
  case positionLost(PositionLost)
  /// What `source.uri` names can't be tailed: wrong connection string, not a replica set, no
  /// majority reads, …
  case unsupported(String)
  /// The server's answer is no valid BSON or no oplog.
  case corruptReply(String)
  /// The system refuses what reading needs, a thread; it may be there at the next `restart`.
  case refused(String)

  public var description: String {
    switch self {
    case .positionLost(let lost): lost.description
    case .unsupported(let why), .refused(let why): why
    case .corruptReply(let what): "MongoDB sent something that is no oplog batch: \(what)"
    }
  }
}
