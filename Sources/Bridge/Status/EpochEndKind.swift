extension EpochEnd {
  /// Why epochs end, for counting.
  enum Kind: String, Sendable, CaseIterable {
    case finished, settled
    case refused, blocked, halted
    case acksRefused = "acks_refused"
    case connectionLost = "connection_lost"
    case sourceFailed = "source_failed"
    case snapshotFinished = "snapshot_finished"
    case needsEarlier = "needs_earlier"
    case abandoned
    case leaseLapsed = "lease_lapsed"
    /// It could not begin to publish: a server can't be reached, or refuses what is needed.
    case notBegun = "not_begun"
  }

  var kind: Kind {
    switch self {
    case .finished: .finished
    case .settled: .settled
    case .publishFailed: .refused
    case .blocked: .blocked
    case .acksRefused: .acksRefused
    case .halted: .halted
    case .connectionLost: .connectionLost
    case .sourceFailed: .sourceFailed
    case .snapshotFinished: .snapshotFinished
    case .needsEarlier: .needsEarlier
    case .abandoned: .abandoned
    case .leaseLapsed: .leaseLapsed
    }
  }
}
