import DeliberateErrors
import SimulatedJetStream

/// What histories are narrowed to so that one deliberate error has its chance in each of them: short ones in which few
/// kinds of faults come often. What it does not name, the seed chooses.
package struct Aim: Sendable {
  var instances = 1
  var cutsOver = false
  var server: ServerVersion?
  var replicas: Int?
  /// How the streams are published to.
  var mode: String?
  /// USERS is a shared stream.
  var sharesUsers = false
  /// In seconds.
  var duplicateWindow: Int?
  var faults: [Fault]
  /// Between faults, on average.
  var faultPause = 2 * Nano.second
  var length = 10 * Nano.minute
  /// Between writes, on average, and how many come at once.
  var writePause = 200 * Nano.milli
  var burst = 3

  // Of a group that is cut over
  /// How far back blockers are looked for, in seconds.
  var window = 3
  /// Between commands, on average.
  var commandPause = 3 * Nano.second
  /// For so long producers make no mistakes.
  var goodTime: Int64?
  /// Somebody deletes messages of the producer.
  var deletes = false
  /// The bridge may write notes into the oplog.
  var mayNote = true

  /// For a history that finds the error; nil: those that seeds choose find it.
  package init?(_ error: DeliberateError) {
    switch error {
    case .openEntryClaimed:
      // More than a socket takes, and slowly.
      self.init(faults: [.slowNetwork, .slowNetwork, .kill])
      burst = 30
    case .sequenceNotAsserted:
      // What an earlier connection sent arrives behind what its successor has stored.
      self.init(mode: "fast", faults: [.latePackets])
      (server, duplicateWindow) = (ServerVersion(2, 15, 1), 2)
    case .gapIgnored:
      // Messages of a fast batch are lost with the stream's leader.
      self.init(mode: "fast", faults: [.streamLeader, .slowReplicas])
      (server, replicas) = (ServerVersion(2, 15, 1), 3)
    case .firstOfBatchAsserts:
      // The end of a batch arrives behind what the next leader has stored, within ten seconds.
      self.init(mode: "fast", faults: [.stragglers])
      (instances, server, replicas, duplicateWindow) = (3, ServerVersion(2, 15, 1), 1, 2)
      (burst, length) = (30, 15 * Nano.minute)
    case .zeroAckCounted:
      // A message comes a second time while the first is on its way to the replicas, and is lost there.
      self.init(faults: [.slowReplicas, .streamLeader, .connectionCut])
      (server, replicas, duplicateWindow) = (ServerVersion(2, 10, 26), 3, 120)
    case .noFence:
      self.init(faults: [.latePackets, .stragglers])
      (instances, server, duplicateWindow) = (3, ServerVersion(2, 15, 1), 2)
      sharesUsers = true
    case .fenceAfterTail:
      // What a former leader has sent arrives between the look at the streams and the fence.
      self.init(faults: [.stragglers])
      (instances, server, duplicateWindow) = (3, ServerVersion(2, 15, 1), 2)
      sharesUsers = true
    case .leaseByWallClock:
      // Two lead at once, and no stream keeps them apart.
      self.init(mode: "single", faults: [.clockJump, .pauseLeader])
      (instances, server, replicas, duplicateWindow) = (3, ServerVersion(2, 10, 26), 1, 2)
      sharesUsers = true
    case .answersOnLeaseOnly:
      // Two lead at once: one took over because the lease's connection was gone, and the other has not heard of that.
      self.init(mode: "single", faults: [.halfOpen])
      (instances, server, replicas, duplicateWindow) = (3, ServerVersion(2, 10, 26), 1, 2)
      (sharesUsers, faultPause) = (true, 5 * Nano.second)
    case .checkpointNotFenced:
      // One that is cut off learns the revision of its successor's checkpoint.
      self.init(faults: [.stragglers])
      instances = 3
    case .fenceFromLocalOptime:
      self.init(cutsOver: true, faults: [.formerPrimary])
      // It is asked for the fence just after the bridge has filled in what its successor has.
      (length, faultPause, mayNote) = (20 * Nano.minute, 10 * Nano.second, false)
      goodTime = 8 * Nano.second
    case .verificationLeftOut:
      // A message is deleted while the group waits for its commit.
      self.init(cutsOver: true, faults: [])
      (deletes, window, commandPause) = (true, 120, 20 * Nano.second)
      (writePause, goodTime) = (1_000 * Nano.milli, 300 * Nano.second)
    case .phaseBeforeDrain, .rollbackWithoutOverlap:
      self.init(cutsOver: true, faults: [])
    default: return nil
    }
  }

  private init(mode: String? = nil, cutsOver: Bool = false, faults: [Fault]) {
    self.mode = mode
    self.cutsOver = cutsOver
    self.faults = faults
  }

  /// For histories with this aim.
  package var choice: Scenario.Choice {
    Scenario.Choice(instances: instances, bridges: 1, cutsOver: cutsOver, aim: self)
  }
}
