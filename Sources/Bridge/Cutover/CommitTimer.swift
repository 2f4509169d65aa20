import Synchronization

/// For how long a follower knows of a commit that is under way, by its own monotonic clock: the wall clocks of the
/// machines on which operators and leaders work may differ. A follower that begins counts from then on.
///
/// Thread-safe.
package final class CommitTimer: Sendable {
  private let seen = Mutex<(number: UInt64, begun: Int64, at: ContinuousClock.Instant)?>(nil)

  package init() {}

  /// Whether the time for the commit is over.
  package func isOver(
    _ record: CutoverRecord, now: ContinuousClock.Instant = .now
  ) -> Bool {
    guard record.phase == .committing, let limit = record.limit else {
      return record.phase == .committing
    }
    return seen.withLock { seen in
      if let seen, seen.number == record.number, seen.begun == record.change.at {
        return now - seen.at > limit
      }
      seen = (record.number, record.change.at, now)
      return false
    }
  }
}
