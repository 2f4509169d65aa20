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
  /// How often the lease went from one instance to another, and why the holder took it.
  package var takeovers: UInt64 = 0
  package var reason: TakeoverReason?
  /// How often this process took it.
  package var taken: [TakeoverReason: UInt64] = [:]
  /// The leader publishes by another configuration.
  package var hasOtherConfiguration = false

  /// Nil: not decided yet.
  package var role: String { isLeader ? "leader" : "standby" }

  mutating func note(_ record: LeaseRecord?) {
    holder = record?.holder
    guard let record else { return }
    epoch = max(epoch, record.epoch)
    takeovers = max(takeovers, record.takeovers)
    reason = record.reason
  }
}
