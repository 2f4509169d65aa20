import Bridge
import BridgeConfiguration
import Oplog
import Parity
import SimulatedJetStream
import SimulatedMongo

/// Judges what one bridge does in a history, while it happens.
final class Judge {
  private let world: World
  private let truth: Truth
  private let configuration: BridgeConfiguration
  let bridge: String
  private var streams: [StreamJudge]
  /// Of each instance.
  private var health: [Int: HealthJudge] = [:]
  private var checkpoints: UInt64 = 0
  private(set) var tally = Tally()
  /// The newest checkpoint.
  private var checkpoint: Checkpoint?
  /// When the primary could last not be asked.
  private var hiddenUntil: Int64 = 0
  /// Who wrote it: a number of `Publishers`.
  private var checkpointOrigin = 0
  /// The bucket with it.
  private var bucketCreated: Int64 = 0
  /// Of the bridge's group that is cut over; nil: it has none.
  let cutover: CutoverJudge?

  struct Tally {
    var messages = 0
    var checkpoints = 0
    var health: [String: Int] = [:]
  }

  init(_ world: World, _ configuration: BridgeConfiguration) {
    self.world = world
    self.configuration = configuration
    bridge = configuration.bridge.name
    truth = Truth(world.mongo, configuration)
    let scenario = world.scenario
    let (known, name) = (truth, bridge)
    cutover = scenario.cutover.map { CutoverJudge(world, $0, known, bridge: name) }
    streams = truth.names.enumerated().compactMap { index, name -> StreamJudge? in
      var maxAge: Int64?
      let stream = scenario.streams.first { $0.name == name }
      // Its messages are judged one by one.
      if stream?.isOfGroup ?? false { return nil }
      if case .maxAge(let seconds) = stream?.removal { maxAge = Int64(seconds) * Nano.second }
      return StreamJudge(
        index, name, isExclusive: configuration.isExclusive(name),
        isChain: stream.map { ["auto", "chain"].contains($0.mode) } ?? false,
        isEmptied: scenario.removes && stream != nil, isBucket: stream?.history != nil,
        maxAge: maxAge)
    }
  }

  /// A stream stores a message.
  func arrive(_ message: StoredMessage, in stream: SimulatedStream) {
    cutover?.arrive(message, in: stream)
    guard let index = streams.firstIndex(where: { $0.name == stream.configuration.name }) else {
      return
    }
    streams[index].arrive(message, created: stream.created)
  }

  /// What the bridge can't tell apart is published again, and reported.
  func note(doubt: String) {
    for index in streams.indices where doubt.contains("stream \(streams[index].name)") {
      streams[index].forgetIDs(at: world.now)
    }
  }

  /// Where the newest checkpoint resumes.
  var checkpointPosition: OplogPosition? { checkpoint?.resume }

  /// JetStream may have changed.
  func look() {
    do {
      try truth.update(at: world.now)
    } catch {
      return world.fail("the committed oplog can't be decoded: \(error)")
    }
    if let wrong = cutover?.look() { return world.fail(wrong) }
    let claimed = checkpoint.map { $0.settled ?? EventPosition(entry: $0.resume, index: 0) }
    // Dead letters first: what follows them waits.
    for index in streams.indices.reversed() {
      guard let stream = world.jetStream.streams[streams[index].name] else { continue }
      let before = streams[index].stored
      if let wrong = streams[index].look(
        at: stream, truth, bridge: bridge, world.publishers, now: world.now, claimed: claimed)
      {
        return world.fail(wrong)
      }
      let count = streams[index].stored - before
      tally.messages += max(0, count)
      if count > 0, let wrong = lookAtLetters(before: streams[index]) { return world.fail(wrong) }
    }
    lookAtCheckpoint()
  }

  /// Servers forget the ids of messages that are gone.
  func forgetIDs(of stream: String? = nil) {
    for index in streams.indices where stream == nil || streams[index].name == stream {
      streams[index].forgetIDs(at: world.now)
    }
  }

  /// A dead letter is stored before anything of later entries is.
  private func lookAtLetters(before stream: StreamJudge) -> String? {
    guard let letters = streams.first(where: { $0.index == truth.letters }) else { return nil }
    guard stream.index != letters.index, stream.stored > 0 else { return nil }
    let expected = truth.messages[letters.index]
    guard letters.everStored < expected.count else { return nil }
    let position = truth.messages[stream.index][stream.stored - 1].position
    let letter = expected[letters.everStored].position
    guard letter.entry < position.entry else { return nil }
    return
      "\(stream.name) has \(position), and the dead letter of \(letter), which comes before it, was never stored"
  }

  /// Every checkpoint that is written claims only what is stored.
  private func lookAtCheckpoint() {
    guard let bucket = world.jetStream.streams["KV_TAILRACE"],
      let message = bucket.store.last(on: "$KV.TAILRACE.\(bridge).checkpoint"),
      message.sequence != checkpoints || bucket.created != bucketCreated,
      !message.payload.isEmpty
    else { return }
    let wrong = followCheckpoint(message, isNewBucket: bucket.created != bucketCreated)
    checkpoints = message.sequence
    bucketCreated = bucket.created
    tally.checkpoints += 1
    if let wrong { return world.fail(wrong) }
    let checkpoint: Checkpoint
    do {
      checkpoint = try Checkpoint(parsing: message.payload)
    } catch {
      return world.fail("the checkpoint can't be read: \(error)")
    }
    self.checkpoint = checkpoint
    // Of the entry itself, the streams' own ends tell.
    let claimed = checkpoint.settled ?? EventPosition(entry: checkpoint.resume, index: 0)
    for stream in streams {
      guard checkpoint.states[stream.name]?.refillTo == nil,
        let missing = stream.firstMissing(truth, world.now)
      else { continue }
      // Another bridge has made a deleted stream again: the claim is of the old one, and says so.
      if let claimedOf = checkpoint.streams[stream.name]?.created,
        let present = world.jetStream.streams[stream.name],
        claimedOf != Timestamp.text(present.created)
      {
        continue
      }
      let position = truth.messages[stream.index][missing].position
      if position < claimed {
        return world.fail(
          "the checkpoint claims everything before \(claimed); \(stream.name) lacks \(position)")
      }
    }
    // Found again by streams' ends, it may lie within transactions, whose beginnings are then looked for.
    if let open = truth.oldestOpenTransaction, checkpoint.resume > open,
      Int64(open.seconds) * Nano.second > bucketCreated
    {
      world.fail(
        "the checkpoint resumes at \(checkpoint.resume); a transaction that began at \(open) is open"
      )
    }
  }

  /// A checkpoint is never replaced by one of an earlier epoch. (One that was lost in a crash leaves the one before it.)
  private func followCheckpoint(_ message: StoredMessage, isNewBucket: Bool) -> String? {
    let last = isNewBucket || message.sequence < checkpoints ? 0 : checkpointOrigin
    // Who has written the last one of a tenure may lead no longer.
    checkpointOrigin = world.publishers.leading(message.origin)
    // In another bucket epochs may have begun again.
    guard checkpointOrigin > 0,
      world.publishers[checkpointOrigin]?.bucket == world.publishers[last]?.bucket
    else { return nil }
    return world.publishers.objection(to: checkpointOrigin, after: last)
      .map { "checkpoint \(message.sequence) \($0)" }
  }

  /// What is committed and not stored.
  private var missing: (count: Int, oldest: Int64?) {
    var count = 0
    var oldest: Int64?
    for stream in streams {
      guard let first = stream.firstMissing(truth, world.now) else { continue }
      let times = truth.committedAt[stream.index]
      count += times.count - first
      // What was there, and is lost, is missing from then on.
      oldest = min(oldest ?? .max, max(times[first], stream.lostAt))
    }
    return (count, oldest)
  }

  /// Whether everything that was committed is stored.
  var isComplete: Bool { missing.count == 0 }

  /// Nothing breaks any more, and the bridge has caught up and says so. Nil: it is settled; else what is missing.
  func unsettled(_ instances: [Instance]) -> String? {
    if !isComplete { return missingText }
    if let missing = cutover?.unsettled { return missing }
    // Positions without an event come as well.
    guard let checkpointPosition else { return "\(bridge) has no checkpoint" }
    if let newest = truth.newest, checkpointPosition < newest {
      return "\(bridge)'s checkpoint is at \(checkpointPosition), the oplog's end at \(newest)"
    }
    if world.publishers.knowLeadership {
      let leaders = instances.filter { $0.epoch != nil }
      if leaders.count != 1 { return "\(bridge) has \(leaders.count) leaders" }
    }
    // Of several instances, each has derived what was its own to derive. Of a group's events, some are decided again
    // after a rollback, and those of a finalized one are not derived.
    let events = instances.count == 1 && cutover == nil ? truth.events : nil
    if let wrong = instances.lazy.compactMap({
      AccountsJudge.lookAtEnd(of: $0, events: events)
    }).first {
      return wrong
    }
    // Those that don't run have none.
    let healths = instances.compactMap(\.health)
    if !healths.isEmpty, healths.allSatisfy({ isContent($0) }) { return nil }
    let words = instances.map { instance in
      guard let health = instance.health else { return "unknown" }
      let reasons = health.checks.filter { !["ok", "idle"].contains($0.status) }
        .map { "\($0.name): \($0.detail)" }
      return "\(health.status.rawValue) (\(reasons.joined(separator: "; ")))"
    }
    return "health of \(bridge): \(words.joined(separator: ", "))"
  }

  /// Health is what it has to be in the end: good, unless producers of a committed group have missed something, or a
  /// server can't fence while a standby runs.
  private func isContent(_ health: HealthReport) -> Bool {
    let misses = cutover == nil ? false : cutover?.producersMiss
    if misses != true, health.status == .ok || health.status == .idle { return true }
    return health.status == .degraded
      && health.checks.allSatisfy { check in
        ["ok", "idle"].contains(check.status) || check.detail.contains("has no fence")
          || (misses != false && check.detail.contains("no producer has published"))
      }
  }

  /// Who published last: a number of `Publishers`.
  var lastOrigin: Int { streams.max { $0.movedAt < $1.movedAt }?.origin ?? 0 }

  /// All its streams hold something of it.
  var hasMessagesEverywhere: Bool {
    streams.allSatisfy { $0.index == truth.letters || $0.stored > 0 }
  }

  var handovers: Int { streams.reduce(0) { $0 + $1.handovers } }

  private var missingText: String {
    streams.compactMap { stream in
      guard let first = stream.firstMissing(truth, world.now) else { return nil }
      let expected = truth.messages[stream.index]
      return
        "\(stream.name) has \(stream.stored) of \(expected.count), the next is \(expected[first].position)"
    }.joined(separator: "; ")
  }

  /// Clients can ask the primary. While they reach only a former one that doesn't know better, nobody can know what
  /// is committed.
  private var isPrimaryThere: Bool {
    guard let primary = world.mongo.primary else { return false }
    let member = world.mongo.members[primary]
    return member.isUp && member.isReachable && member.isPrimary
  }

  /// Once a second: what the bridge says of itself, beside what is known to be so.
  ///
  /// - Parameter fleet: all of the bridge's instances.
  func look(at instance: Instance, _ life: Instance.Life, of fleet: [Instance]) {
    if !isPrimaryThere { hiddenUntil = world.now }
    guard let report = instance.health else { return }
    tally.health[report.status.rawValue, default: 0] += 1
    if let wrong = AccountsJudge.look(at: instance, world) { return world.fail(wrong) }
    // Who stands by, or doesn't know yet that another one leads, speaks of itself, not of what is published.
    let isStandby =
      fleet.count > 1 && world.publishers.knowLeadership
      && (instance.epoch == nil || instance.epoch != fleet.compactMap(\.epoch).max())
    guard !isStandby else {
      health[instance.number] = nil
      return
    }
    let sight = HealthJudge.Sight(
      status: report.status, now: world.now,
      upSince: max(life.began, life.resumedAt, hiddenUntil),
      missingSince: missing.oldest, movedAt: streams.map(\.movedAt).max() ?? 0,
      allMove: streams.allSatisfy { stream in
        stream.firstMissing(truth, world.now) == nil
          || world.now - stream.movedAt < 3 * Nano.second
      })
    if let wrong = health[instance.number, default: HealthJudge()].look(sight) {
      let words = report.checks.filter { $0.status != "ok" }.map(\.detail).joined(separator: "; ")
      let text = "\(instance.name): \(wrong) (\(words))"
      world.fail(missingText.isEmpty ? text : "\(text): \(missingText)")
    }
  }

  /// Everything is settled.
  func lookAtEnd() {
    if let wrong = cutover?.lookAtEnd() ?? wrongEntry() { return world.fail(wrong) }
    do {
      let parity = try ParityJudge(configuration, world.mongo)
      for stream in streams {
        guard let held = world.jetStream.streams[stream.name] else { continue }
        let messages = held.store.messages
        let found = parity.compare(stream.name, messages, lastSequence: held.lastSequence)
        if let wrong = found.first(where: { !isAllowed($0, stream) }) {
          return world.fail("verify: \(stream.name): \(wrong)")
        }
        if let missed = parity.selftest(stream.name, messages, lastSequence: held.lastSequence) {
          return world.fail("verify does not see that \(missed)")
        }
      }
    } catch {
      world.fail("verify: \(error)")
    }
  }

  /// A key of a bucket that does not end with its last committed value.
  private func wrongEntry() -> String? {
    for stream in streams {
      guard let expected = truth.lastEntries[stream.index],
        let held = world.jetStream.streams[stream.name]
      else { continue }
      for (subject, entry) in expected.sorted(by: { $0.key < $1.key }) {
        // An operator may have purged it; what was never stored is missing in `firstMissing`.
        guard let last = held.store.last(on: subject) else { continue }
        let found = truth.own(last, isExclusive: stream.isExclusive, bridge: bridge)
        if found?.position != entry.position || found?.fingerprint != entry.fingerprint {
          return
            "\(subject) ends with \(found.map { "\($0.position)" } ?? "somebody else's"), expected \(entry.position)"
        }
      }
    }
    return nil
  }

  /// Where messages are taken out, verify can tell no more than that they are gone.
  private func isAllowed(_ finding: ParityJudge.Finding, _ stream: StreamJudge) -> Bool {
    switch finding.kind {
    case .gap: stream.isEmptied
    case .duplicate: stream.repeated > 0
    case .reordered: stream.repeated > 0 || stream.hadEarly
    case .missing: stream.leftOut > 0 || (stream.isEmptied && stream.maxAge != nil)
    default: false
    }
  }
}
