import MongoSource

/// What a running bridge has counted and holds, for who judges it from outside.
package struct BridgeAccounts: Sendable {
  /// One stream's lane.
  package struct Lane: Sendable {
    package var stream: String
    package var mode: String
    /// Messages without an ack.
    package var inFlight: Int
    /// How many seconds an ack has been waited for; nil: none is.
    package var waitingFor: Double?
  }

  /// Since the process began: events derived …
  package var derived: UInt64
  /// … and how they ended.
  package var outcomes: Outcomes
  package var lanes: [Lane]
  /// Batches that were read, and not derived.
  package var queuedBatches: Int
  /// An event is known to be unsettled, or entries wait to be read.
  package var hasWork: Bool
}

extension BridgeService {
  /// As of the last report; nil before the first.
  package var accounts: BridgeAccounts? {
    let facts = board.snapshot
    guard let counters = facts.counters else { return nil }
    return BridgeAccounts(
      derived: counters.derived, outcomes: counters.outcomes,
      lanes: facts.streams.map {
        BridgeAccounts.Lane(
          stream: $0.name, mode: $0.mode, inFlight: $0.inFlight,
          waitingFor: StatusBoard.age($0.waitingSince))
      },
      queuedBatches: reader.status.queuedBatches, hasWork: facts.settlement.hasWork)
  }
}
