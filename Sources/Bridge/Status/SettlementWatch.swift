package import Oplog

/// An event that is derived, or known to be in the oplog, and not settled.
package struct UnsettledEvent: Sendable, Equatable {
  package var position: EventPosition
  /// When it was written, by MongoDB's clock: milliseconds since 1970.
  package var wallTime: Int64?

  package init(position: EventPosition, wallTime: Int64?) {
    self.position = position
    self.wallTime = wallTime
  }
}

/// Whether the oldest unsettled event changes. Reading ahead, noops and epochs that read the same events again
/// are no progress; an event that is stored (or finally left out) is. Pure: it observes the pipeline ten times
/// a second, and outlives epochs.
package struct SettlementWatch: Sendable {
  /// One observation of the pipeline and of MongoDB's status.
  package struct Sight: Sendable {
    package var at: ContinuousClock.Instant
    package var epoch: UInt64 = 0
    /// Everything before it is settled; nil while nothing is being read.
    package var settled: EventPosition?
    package var settledWall: Int64?
    /// The oldest event that was derived and is not settled.
    package var oldest: UnsettledEvent?
    /// Grows with everything that is read, new or not.
    package var activity: UInt64 = 0
    /// The newest entry that a majority has, when that was written …
    package var majority: OplogPosition?
    package var majorityWall: Int64?
    /// … and MongoDB's clock at that time.
    package var polledWall: Int64?

    package init(at: ContinuousClock.Instant) { self.at = at }
  }

  /// Everything before it was seen to be settled.
  package private(set) var frontier: EventPosition?
  /// The oldest event that is known to be unsettled.
  package private(set) var oldest: UnsettledEvent?

  private var frontierWall: Int64?
  private var oldestSeen: ContinuousClock.Instant?
  private var movedAt: ContinuousClock.Instant?
  private var last: Sight?
  /// Since when an event is unsettled, and since when the oplog has unsettled entries.
  private var unsettledSince: ContinuousClock.Instant?
  private var behindSince: ContinuousClock.Instant?
  /// MongoDB's clock when everything was last settled.
  private var caughtUpWall: Int64?
  /// The present epoch, and how many began since the frontier moved.
  private var epoch: (number: UInt64, began: ContinuousClock.Instant)?
  private var epochsHere = 0

  package init() {}

  /// A transaction that is read again may take as long as it likes, in two epochs …
  static let rereadingEpochs = 2
  /// … unless it is over soon, which each of many failing epochs begins with.
  static let shortRereading = 2.0

  package mutating func observe(_ sight: Sight) {
    let activity = last?.activity
    last = sight
    if epoch?.number != sight.epoch {
      if epoch != nil { epochsHere += 1 }
      epoch = (sight.epoch, sight.at)
    }
    if let place = sight.oldest?.position ?? sight.settled {
      if frontier.map({ place > $0 }) ?? true {
        frontier = place
        frontierWall = sight.oldest == nil ? sight.settledWall : sight.oldest?.wallTime
        movedAt = sight.at
        epochsHere = 0
      } else if let frontier, place < frontier, activity != sight.activity,
        epochsHere <= Self.rereadingEpochs, let epoch,
        (sight.at - epoch.began).seconds > Self.shortRereading
      {
        movedAt = sight.at
      }
    }
    if let known = oldest, let frontier, known.position < frontier { oldest = nil }
    if let found = sight.oldest, let frontier, found.position >= frontier, found != oldest {
      oldest = found
      oldestSeen = sight.at
    }
    if !isBehind {
      behindSince = nil
      if oldest == nil { caughtUpWall = sight.polledWall ?? caughtUpWall }
    } else if behindSince == nil {
      behindSince = sight.at
    }
    if oldest == nil, behindSince == nil {
      unsettledSince = nil
    } else if unsettledSince == nil {
      unsettledSince = sight.at
    }
  }

  /// Whether a majority has entries that are not settled.
  private var isBehind: Bool {
    guard let majority = last?.majority, let frontier else { return false }
    return oldest == nil ? majority > frontier.entry : majority >= frontier.entry
  }

  /// Whether something is known to be unsettled: an event, or entries that were there to be read for
  /// longer than the news of them takes to arrive.
  package var hasWork: Bool {
    guard oldest == nil else { return true }
    guard let behindSince, let last else { return false }
    return (last.at - behindSince).seconds > 2
  }

  /// For how many seconds the oldest unsettled event has not changed; nil: everything is settled.
  package func still(at now: ContinuousClock.Instant) -> Double? {
    guard let unsettledSince else { return nil }
    return max(0, (now - max(unsettledSince, movedAt ?? unsettledSince)).seconds)
  }

  /// Age of the oldest unsettled event, 0 if everything is settled; nil: not known yet. By MongoDB's
  /// clock if it reported one, and at least as long as it was seen here.
  package func oldestAge(at now: ContinuousClock.Instant) -> Double? {
    guard frontier != nil || oldest != nil else { return nil }
    if let oldest {
      let seen = oldestSeen.map { (now - $0).seconds } ?? 0
      guard let wall = oldest.wallTime, let last, let polled = last.polledWall else { return seen }
      let present = Double(polled) / 1000 + (now - last.at).seconds
      return max(seen, present - Double(wall) / 1000)
    }
    guard let behindSince else { return 0 }
    return max((now - behindSince).seconds, lag ?? 0)
  }

  /// Seconds of the oplog between the newest entry that a majority has and the oldest unsettled one;
  /// 0 if everything is settled, nil: not known yet.
  package var lag: Double? {
    guard let majority = last?.majority, let frontier else { return nil }
    guard isBehind else { return 0 }
    // Unread entries were written after everything was last settled.
    let since =
      oldest.map(\.wallTime)
      ?? max(frontierWall ?? Int64(frontier.entry.seconds) * 1000, caughtUpWall ?? 0)
    guard let newest = last?.majorityWall, let since else {
      return max(0, Double(majority.seconds) - Double(frontier.entry.seconds))
    }
    return max(0, Double(newest - since) / 1000)
  }
}
