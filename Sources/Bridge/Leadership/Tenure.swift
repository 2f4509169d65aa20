import Synchronization

/// One instance's time as leader, from a take-over to its end.
///
/// Thread-safe. Before every write to a socket the pipeline asks `mayPublish`, which reads the process's own
/// clock. That clock counts suspends (`CLOCK_BOOTTIME`), and wall-clock jumps don't change it.
package final class Tenure: Sendable {
  /// Of the lease.
  package let epoch: UInt64
  /// Why it was taken.
  package let reason: TakeoverReason
  /// The previous leader stopped with everything that it had sent acknowledged.
  package let followsCleanEnd: Bool
  /// The origin of `limit`.
  private let base: ContinuousClock.Instant
  /// Nanoseconds after `base` until which nobody else can have taken the lease.
  private let limit: Atomic<Int64>
  /// The connection on which standbys find this leader, by number: the one that the lease was last renewed on, …
  private let renewedOn = Atomic<Int>(1)
  /// … and the last that is gone.
  private let lost = Atomic<Int>(0)
  /// Nanoseconds after `base` at which the last renewal that succeeded was sent.
  private let lastRenewal = Atomic<Int64>(0)
  private let successor = Mutex<String?>(nil)

  package init(
    epoch: UInt64, reason: TakeoverReason, followsCleanEnd: Bool = false,
    sentAt: ContinuousClock.Instant, period: Duration
  ) {
    self.followsCleanEnd = followsCleanEnd
    self.epoch = epoch
    self.reason = reason
    base = sentAt
    limit = Atomic(Self.validity(period))
  }

  /// A standby counts a period from when it saw the write, which is later than when the write was sent. The tenth
  /// is for clocks that don't run equally fast.
  private static func validity(_ period: Duration) -> Int64 { nanoseconds(period) / 10 * 9 }

  private static func nanoseconds(_ duration: Duration) -> Int64 {
    duration.components.seconds * 1_000_000_000 + duration.components.attoseconds / 1_000_000_000
  }

  /// The lease was renewed by a write that was sent then.
  ///
  /// - Parameter link: the number of the connection; a tenure begins with 1.
  package func renewed(sentAt: ContinuousClock.Instant, period: Duration, on link: Int) {
    let until = Self.nanoseconds(sentAt - base) + Self.validity(period)
    limit.max(until, ordering: .relaxed)
    lastRenewal.max(Self.nanoseconds(sentAt - base), ordering: .relaxed)
    renewedOn.max(link, ordering: .releasing)
  }

  /// Whether the lease was renewed by a write that was sent at that time or later.
  package func isRenewed(since time: ContinuousClock.Instant) -> Bool {
    lastRenewal.load(ordering: .relaxed) >= Self.nanoseconds(time - base)
  }

  /// The connection `link` is gone: a standby that asks finds nobody, and takes over before the lease expires.
  package func lost(link: Int) { lost.max(link, ordering: .releasing) }

  /// Standbys may have found nobody since the last renewal.
  package var isPaused: Bool {
    lost.load(ordering: .acquiring) >= renewedOn.load(ordering: .acquiring)
  }

  /// The lease has not lapsed, and nobody else is known to have it.
  package var isCurrent: Bool {
    Self.nanoseconds(ContinuousClock.now - base) < limit.load(ordering: .relaxed)
  }

  /// Nobody else can lead at present, as far as this process can know.
  package var mayPublish: Bool { isCurrent && !isPaused }

  /// Another instance leads.
  package func end(by other: String) {
    successor.withLock { $0 = other }
    limit.store(.min, ordering: .relaxed)
  }

  /// Who took over, if anybody.
  package var endedBy: String? { successor.withLock { $0 } }
}
