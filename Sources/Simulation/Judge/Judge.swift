import Bridge
import BridgeConfiguration
import MongoSource
import Oplog
import SimulatedJetStream

/// Judges what one bridge does in a history, while it happens.
final class Judge {
  private let world: World
  private let truth: Truth
  let bridge: String
  private var streams: [StreamJudge]
  private var checkpoints: UInt64 = 0
  private(set) var tally = Tally()
  /// Since when an instance's health has said ok or idle without a break.
  private var quietSince: [Int: Int64] = [:]
  /// Where the newest checkpoint resumes.
  private(set) var checkpointPosition: OplogPosition?

  struct Tally {
    var messages = 0
    var checkpoints = 0
    var health: [String: Int] = [:]
  }

  /// Health may say ok or idle for so long while something is unsettled: its own threshold, and what it takes to
  /// notice.
  private static let healthDelay = 16 * Nano.second

  init(_ world: World, _ configuration: BridgeConfiguration) {
    self.world = world
    bridge = configuration.bridge.name
    truth = Truth(world.mongo, configuration)
    streams = truth.names.enumerated().map { index, name in
      StreamJudge(index, name, isExclusive: configuration.isExclusive(name))
    }
  }

  /// JetStream may have changed.
  func look() {
    do {
      try truth.update(at: world.now)
    } catch {
      return world.fail("the committed oplog can't be decoded: \(error)")
    }
    for index in streams.indices {
      guard let stream = world.jetStream.streams[streams[index].name] else { continue }
      let before = streams[index].stored
      if let wrong = streams[index].look(
        at: stream, truth, bridge: bridge, world.publishers, now: world.now)
      {
        return world.fail(wrong)
      }
      tally.messages += max(0, streams[index].stored - before)
    }
    lookAtCheckpoint()
  }

  /// Every checkpoint that is written claims only what is stored.
  private func lookAtCheckpoint() {
    guard let bucket = world.jetStream.streams["KV_TAILRACE"],
      let message = bucket.store.last(on: "$KV.TAILRACE.\(bridge).checkpoint"),
      message.sequence != checkpoints, !message.payload.isEmpty
    else { return }
    checkpoints = message.sequence
    tally.checkpoints += 1
    let checkpoint: Checkpoint
    do {
      checkpoint = try Checkpoint(parsing: message.payload)
    } catch {
      return world.fail("the checkpoint can't be read: \(error)")
    }
    checkpointPosition = checkpoint.resume
    for stream in streams {
      let expected = truth.messages[stream.index]
      // Of the entry itself, the streams' own ends tell.
      let claimed = checkpoint.settled ?? EventPosition(entry: checkpoint.resume, index: 0)
      guard checkpoint.states[stream.name]?.refillTo == nil else { continue }
      // Another bridge has made a deleted stream again: the claim is of the old one, and says so.
      if let claimedOf = checkpoint.streams[stream.name]?.created,
        let present = world.jetStream.streams[stream.name],
        claimedOf != Timestamp.text(present.created)
      {
        continue
      }
      if stream.stored < expected.count, expected[stream.stored].position < claimed {
        return world.fail(
          "the checkpoint claims everything before \(claimed); \(stream.name) lacks \(expected[stream.stored].position)"
        )
      }
    }
  }

  /// What is committed and not stored.
  private var missing: (count: Int, oldest: Int64?) {
    var count = 0
    var oldest: Int64?
    for stream in streams {
      let times = truth.committedAt[stream.index]
      guard stream.stored < times.count else { continue }
      count += times.count - stream.stored
      oldest = min(oldest ?? .max, times[stream.stored])
    }
    return (count, oldest)
  }

  /// Whether everything that was committed is stored.
  var isComplete: Bool { missing.count == 0 }

  /// Nothing breaks any more, and the bridge has caught up and says so. Nil: it is settled; else what is missing.
  func unsettled(_ instances: [Instance]) -> String? {
    if !isComplete { return missingText }
    // Positions without an event come as well.
    guard let checkpointPosition else { return "\(bridge) has no checkpoint" }
    if let newest = truth.newest, checkpointPosition < newest {
      return "\(bridge)'s checkpoint is at \(checkpointPosition), the oplog's end at \(newest)"
    }
    if world.publishers.knowLeadership {
      let leaders = instances.filter { $0.epoch != nil }
      if leaders.count != 1 { return "\(bridge) has \(leaders.count) leaders" }
    }
    let health = instances.map { $0.health?.status }
    if health.contains(.idle) || health.contains(.ok) { return nil }
    let words = health.map { $0?.rawValue ?? "unknown" }.joined(separator: ", ")
    return "health of \(bridge): \(words)"
  }

  /// Who published last: a number of `Publishers`.
  var lastOrigin: Int { streams.max { $0.movedAt < $1.movedAt }?.origin ?? 0 }

  /// All its streams hold something of it.
  var hasMessagesEverywhere: Bool { streams.dropLast().allSatisfy { $0.stored > 0 } }

  var handovers: Int { streams.reduce(0) { $0 + $1.handovers } }

  var missingText: String {
    streams.filter { $0.stored < truth.messages[$0.index].count }.map {
      "\($0.name) has \($0.stored) of \(truth.messages[$0.index].count), the next is \(truth.messages[$0.index][$0.stored].position)"
    }.joined(separator: "; ")
  }

  var expectedCount: Int { truth.messages.reduce(0) { $0 + $1.count } }

  /// What an instance's health says, beside what is known to be so.
  func look(at report: HealthReport, of instance: Instance, upSince began: Int64) {
    tally.health[report.status.rawValue, default: 0] += 1
    let now = world.now
    // Who stands by says how it is itself.
    let isStandby = world.publishers.knowLeadership && instance.epoch == nil
    guard report.status == .ok || report.status == .idle, !isStandby else {
      quietSince[instance.number] = nil
      return
    }
    let since = quietSince[instance.number] ?? now
    quietSince[instance.number] = since
    // What was stored before is read again first: that is progress as well, and nothing of it is seen here.
    if let oldest = missing.oldest,
      now - max(oldest, began, since, streams.map(\.movedAt).max() ?? 0) > Self.healthDelay
    {
      world.fail(
        "health of \(instance.name) says \(report.status.rawValue), and nothing has moved for \(Nano.text(now - max(oldest, began))) s: \(missingText)"
      )
    }
  }
}
