/// What can go wrong.
package enum Fault: String, CaseIterable, Sendable {
  // Network
  /// A connection to NATS breaks, and both ends notice.
  case connectionCut = "connection_cut"
  /// Packets of a connection vanish, and nobody notices.
  case connectionBlackHole = "connection_black_hole"
  /// Everything to and from NATS takes longer.
  case slowNetwork = "slow_network"
  /// A NATS server can't be reached by new connections.
  case natsUnreachable = "nats_unreachable"
  // NATS
  /// A server stops, and is started again; its connections are closed.
  case natsRestart = "nats_restart"
  /// The servers crash: what was not on the disk is lost, acknowledged or not.
  case natsCrash = "nats_crash"
  /// Another replica leads a stream; of what was on its way a part survives.
  case streamLeader = "stream_leader"
  /// Replicas that answer direct reads lag behind.
  case staleReplica = "stale_replica"
  /// Everything published is refused for a while.
  case natsFull = "nats_full"
  /// Somebody else publishes to a stream of the bridge.
  case foreignMessage = "foreign_message"
  /// An operator purges a stream of the bridge.
  case streamPurged = "stream_purged"
  /// Somebody deletes a stream of the bridge.
  case streamDeleted = "stream_deleted"
  /// Somebody deletes the bucket with the checkpoint.
  case bucketDeleted = "bucket_deleted"
  /// A server announces that it will stop.
  case lameDuck = "lame_duck"
  // MongoDB
  /// The primary gives up, and another member is elected.
  case stepDown = "step_down"
  /// The primary is cut off, takes writes that no majority gets, and rolls them back later.
  case rollback
  /// A member stops, and is started again.
  case memberRestart = "member_restart"
  /// A member replicates late, or not at all.
  case memberLag = "member_lag"
  /// Clients can't reach a member.
  case memberUnreachable = "member_unreachable"
  /// All cursors of a member die.
  case cursorsKilled = "cursors_killed"
  /// The oldest entries go.
  case windowRolls = "window_rolls"
  // Processes
  case kill
  /// SIGTERM, and started again.
  case restart
  /// SIGSTOP and SIGCONT.
  case pause
  /// The wall clock is set.
  case clockJump = "clock_jump"
  /// The clocks run faster or slower.
  case clockDrift = "clock_drift"
}

/// A fault of a history.
package struct PlannedFault: Sendable {
  package let time: Int64
  package let fault: Fault
  /// What else is left to chance.
  let seed: UInt64
}

extension Scenario {
  /// The faults of this history, in their order.
  func plan() -> [PlannedFault] {
    var chance = Chance(seed, 5)
    var faults: [PlannedFault] = []
    // The first come while the bridge starts for the first time.
    var time = chance.between(0, 3 * Nano.second)
    while time < length {
      // Several at once are more than each alone.
      for _ in 0..<(chance.one(in: 4) ? 3 : 1) {
        faults.append(
          PlannedFault(time: time, fault: chance.pick(self.faults), seed: chance.next()))
        time += chance.one(in: 2) ? 0 : chance.between(0, 50 * Nano.milli)
      }
      time += chance.skewed(Nano.milli, 4 * faultPause)
    }
    return faults
  }
}
