/// What an instance knows about its bridge's leader, for status, health and metrics.
package struct LeadershipFacts: Sendable {
  /// `bridge.lease`.
  package var period = Duration.seconds(5)
  /// This instance leads.
  package var isLeader = false
  /// Nil: nobody is known to.
  package var holder: String?
  /// The highest that was seen.
  package var epoch: UInt64 = 0
  /// When the lease was last renewed, or seen to be.
  package var renewedAt: ContinuousClock.Instant?
  /// How long the holder may be silent.
  package var patience = Duration.seconds(5)
  /// How often the lease went from one instance to another, and why the holder took it.
  package var takeovers: UInt64 = 0
  package var reason: TakeoverReason?
  /// How often this process took it.
  package var taken: [TakeoverReason: UInt64] = [:]
  /// When a standby last asked this leader whether it is there.
  package var askedAt: ContinuousClock.Instant?
  /// Streams that an instance which was replaced could still write to, and why.
  package var unfenced: [String: String] = [:]
  /// The leader publishes by another configuration.
  package var hasOtherConfiguration = false

  /// Nil: not decided yet.
  package var role: String { isLeader ? "leader" : "standby" }

  /// The instance that leads, as far as a standby knows; nil where its lease should have been taken by now.
  package func leader(at now: ContinuousClock.Instant) -> String? {
    guard !isLeader, let holder, let renewedAt, now - renewedAt < patience + .seconds(1) else {
      return nil
    }
    return holder
  }

  mutating func note(_ record: LeaseRecord?) {
    holder = record?.holder
    guard let record else { return }
    epoch = max(epoch, record.epoch)
    patience = max(period, record.period)
    takeovers = max(takeovers, record.takeovers)
    reason = record.reason
  }
}
