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
  /// A machine is cut off from all NATS servers. What it sent, and what was sent to it, comes when the cut is mended,
  /// unless the connection was given up.
  case cutFromNATS = "cut_from_nats"
  /// The same of one NATS server.
  case cutFromNode = "cut_from_node"
  /// The machine of the leader is cut off from NATS: of who published last, where bridges don't say who leads.
  case cutLeaderFromNATS = "cut_leader_from_nats"
  /// A machine is cut off from MongoDB.
  case cutFromMongo = "cut_from_mongo"
  /// Packets pass in one direction only between a machine and NATS.
  case oneWay = "one_way"
  /// What a connection sends arrives many seconds later.
  case latePackets = "late_packets"
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
  /// All processes are killed at once.
  case killAll = "kill_all"
  /// The process that leads is killed, …
  case killLeader = "kill_leader"
  /// … or told to end, …
  case stopLeader = "stop_leader"
  /// … or stopped by SIGSTOP.
  case pauseLeader = "pause_leader"
  /// A process is stopped for nearly as long as a lease lasts, or a little longer.
  case pauseAroundLease = "pause_around_lease"
  /// A process is stopped for minutes.
  case longPause = "long_pause"
  /// A machine sleeps: its monotonic clock does not count the time.
  case suspend
  /// The wall clock is set.
  case clockJump = "clock_jump"
  /// The clocks run faster or slower.
  case clockDrift = "clock_drift"
  // In histories with an aim only
  /// The replicas of a stream take seconds to confirm what its leader proposes.
  case slowReplicas = "slow_replicas"
  /// What the leader has sent arrives just when the next one has begun to lead.
  case stragglers
  /// Clients reach only a former primary that does not know better.
  case formerPrimary = "former_primary"
  /// A server ends one of the leader's connections, and the leader does not hear of it.
  case halfOpen = "half_open"
}

extension Fault {
  /// It is about who leads, or about one machine of several: only histories with more than one process have it. They
  /// are chosen apart from the others, so that the histories of one process don't depend on them.
  package var isOfInstances: Bool {
    switch self {
    case .cutFromNATS, .cutFromNode, .cutLeaderFromNATS, .cutFromMongo, .oneWay, .latePackets,
      .killAll, .killLeader, .stopLeader, .pauseLeader, .pauseAroundLease, .longPause, .suspend:
      true
    default: false
    }
  }

  /// It is too special for most histories: only those with an `Aim` have it.
  package var isAimed: Bool {
    switch self {
    case .slowReplicas, .stragglers, .formerPrimary, .halfOpen: true
    default: false
    }
  }

  /// It keeps a machine from working for many seconds. Where such faults were as frequent as the others, hardly
  /// anything would happen besides.
  var isLong: Bool {
    switch self {
    case .cutFromNATS, .cutFromNode, .cutLeaderFromNATS, .cutFromMongo, .oneWay, .killAll,
      .pauseLeader, .pauseAroundLease, .longPause, .suspend:
      true
    default: false
    }
  }
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
    guard !faults.isEmpty else { return [] }
    let common = plan(of: faults, every: faultPause, &chance)
    guard !faultsOfInstances.isEmpty else { return common }
    var other = Chance(seed, 10)
    // Each short one as often as each of the others, each long one less often.
    let choice = faultsOfInstances.flatMap { [Fault](repeating: $0, count: $0.isLong ? 1 : 3) }
    let pause = faultPause * Int64(3 * faults.count) / Int64(choice.count)
    let own = plan(of: choice, every: pause, &other)
    return (common + own).enumerated()
      .sorted { ($0.element.time, $0.offset) < ($1.element.time, $1.offset) }.map(\.element)
  }

  private func plan(
    of choice: [Fault], every pause: Int64, _ chance: inout Chance
  ) -> [PlannedFault] {
    var planned: [PlannedFault] = []
    // The first come while the bridge starts for the first time.
    var time = chance.between(0, 3 * Nano.second)
    while time < length {
      // Several at once are more than each alone.
      for _ in 0..<(chance.one(in: 4) ? 3 : 1) {
        planned.append(PlannedFault(time: time, fault: chance.pick(choice), seed: chance.next()))
        time += chance.one(in: 2) ? 0 : chance.between(0, 50 * Nano.milli)
      }
      time += chance.skewed(Nano.milli, 4 * pause)
    }
    return planned
  }
}
