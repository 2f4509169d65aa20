import Bridge

/// Compares what health says with what is known to be so.
struct HealthJudge {
  struct Sight {
    var status: HealthStatus
    var now: Int64
    /// Since when the process runs.
    var upSince: Int64
    /// When the oldest of what is missing was committed.
    var missingSince: Int64?
    /// When something was last stored.
    var movedAt: Int64
    /// Each stream has everything, or got something just now.
    var allMove: Bool
  }

  /// Since when health has said ok or idle without a break.
  private var quietSince: Int64?
  /// Since when it has said stalled while everything moved.
  private var wrongSince: Int64?

  /// Health may say ok or idle for so long while something is unsettled: its own threshold, and what it takes to
  /// notice.
  private static let delay = 16 * Nano.second
  /// … and stalled while everything moves.
  private static let stalledDelay = 5 * Nano.second

  /// What is wrong, or nil.
  mutating func look(_ sight: Sight) -> String? {
    lookAtStall(sight) ?? lookAtQuiet(sight)
  }

  private mutating func lookAtQuiet(_ sight: Sight) -> String? {
    guard sight.status == .ok || sight.status == .idle else {
      quietSince = nil
      return nil
    }
    let since = quietSince ?? sight.now
    quietSince = since
    // What was stored before is read again first: that is progress as well, and nothing of it is seen here.
    guard let oldest = sight.missingSince,
      sight.now - max(oldest, sight.upSince, since, sight.movedAt) > Self.delay
    else { return nil }
    return
      "health says \(sight.status.rawValue), and nothing has moved for \(Nano.text(sight.now - max(oldest, sight.upSince))) s"
  }

  private mutating func lookAtStall(_ sight: Sight) -> String? {
    guard sight.status == .stalled, sight.allMove, sight.now - sight.movedAt < 3 * Nano.second
    else {
      wrongSince = nil
      return nil
    }
    let since = wrongSince ?? sight.now
    wrongSince = since
    guard sight.now - max(since, sight.upSince) > Self.stalledDelay else { return nil }
    return "health has said stalled for \(Nano.text(sight.now - since)) s, and everything moves"
  }
}
