import Oplog
import SimulatedJetStream
import SimulatedMongo
import SimulatedNATS

/// Makes faults happen, and mends what they broke.
final class FaultInjector {
  let world: World
  let workload: Workload
  let instances: [Instance]
  private(set) var tally: [Fault: Int] = [:]
  /// What ends by itself, and has to be mended at the end.
  private var mending: [Int: () -> Void] = [:]
  private var mendings = 0
  private var foreign = 0
  /// One leader's messages at a time are held up (`stragglers`).
  var stragglersUntil: Int64 = 0

  init(_ world: World, _ workload: Workload, _ instances: [Instance]) {
    self.world = world
    self.workload = workload
    self.instances = instances
  }

  private var bucketDeletedAt = Int64.min / 2

  func plan(_ faults: [PlannedFault]) {
    for planned in faults {
      world.schedule(in: planned.time - world.now) { [self] in inject(planned) }
    }
  }

  /// Everything is mended.
  func mendAll() {
    world.network.atCommit = []
    world.network.atTaken = []
    for (_, mend) in mending.sorted(by: { $0.key < $1.key }) { mend() }
    mending = [:]
    for instance in instances { instance.resume() }
  }

  /// The bucket is gone again and again in a dense history: before lease and checkpoint are back, what the streams held
  /// is all there is, and whoever deletes that, too, has to be asked (exit code 75). Two leases within one period are two
  /// leaders, which only fences keep apart.
  private var isFindingItsPlace: Bool {
    Scenario.choice.isDense && world.now - bucketDeletedAt < 2 * Nano.minute
  }

  /// After `duration`, or at the end.
  ///
  /// - Returns: does it at once, if it is not done yet.
  @discardableResult
  func mend(after duration: Int64, _ body: @escaping () -> Void) -> () -> Void {
    mendings += 1
    let number = mendings
    mending[number] = body
    let mendNow = { [self] in
      guard let body = mending.removeValue(forKey: number) else { return }
      body()
    }
    world.schedule(in: duration, mendNow)
    return mendNow
  }

  private func inject(_ planned: PlannedFault) {
    var chance = Chance(planned.seed, 6)
    world.history.note(world.now, "fault: \(planned.fault.rawValue)")
    world.history.note(world.now, 40, UInt64(Fault.allCases.firstIndex(of: planned.fault) ?? 0))
    guard inject(planned.fault, &chance) else { return }
    tally[planned.fault, default: 0] += 1
  }

  /// False: there was nothing to break.
  private func inject(_ fault: Fault, _ chance: inout Chance) -> Bool {
    switch fault {
    case .connectionCut, .connectionBlackHole, .slowNetwork, .natsUnreachable:
      return injectNetwork(fault, &chance)
    case .cutFromNATS, .cutFromNode, .cutLeaderFromNATS, .cutFromMongo, .oneWay, .latePackets:
      return injectUplink(fault, &chance)
    case .slowReplicas, .stragglers, .formerPrimary, .halfOpen: return injectAimed(fault, &chance)
    case .natsRestart, .natsCrash, .streamLeader, .staleReplica, .natsFull, .foreignMessage,
      .lameDuck, .streamPurged, .streamDeleted, .bucketDeleted:
      return injectNATS(fault, &chance)
    case .stepDown, .rollback, .memberRestart, .memberLag, .memberUnreachable, .cursorsKilled,
      .windowRolls:
      return injectMongo(fault, &chance)
    case .kill, .restart, .pause, .killAll, .killLeader, .stopLeader, .pauseLeader,
      .pauseAroundLease, .longPause, .suspend, .clockJump, .clockDrift:
      return injectProcess(fault, &chance)
    }
  }

  // MARK: - Network

  private func injectNetwork(_ fault: Fault, _ chance: inout Chance) -> Bool {
    let network = world.network!
    switch fault {
    case .connectionCut:
      guard !network.openLinks.isEmpty else { return false }
      network.cut(chance.pick(network.openLinks))
    case .connectionBlackHole:
      guard !network.openLinks.isEmpty else { return false }
      network.blackHole(chance.pick(network.openLinks))
    case .slowNetwork:
      let delay = chance.skewed(5 * Nano.milli, 4 * Nano.second)
      network.extraDelay += delay
      mend(after: chance.skewed(Nano.second, 30 * Nano.second)) { network.extraDelay -= delay }
    default:
      let node = chance.below(network.isUnreachable.count)
      guard !network.isUnreachable[node] else { return false }
      network.isUnreachable[node] = true
      mend(after: chance.skewed(Nano.second, 30 * Nano.second)) {
        network.isUnreachable[node] = false
      }
    }
    return true
  }

  // MARK: - NATS

  private func injectNATS(_ fault: Fault, _ chance: inout Chance) -> Bool {
    let network = world.network!
    let jetStream = world.jetStream
    switch fault {
    case .natsRestart:
      let node = chance.below(network.isUp.count)
      guard network.isUp[node] else { return false }
      network.stop(node)
      mend(after: chance.skewed(100 * Nano.milli, 20 * Nano.second)) { network.start(node) }
    case .natsCrash:
      let up = network.isUp.indices.filter { network.isUp[$0] }
      guard !up.isEmpty else { return false }
      var losing: [String: Int] = [:]
      // What is lost is published again from the oplog.
      if world.scenario.keepsWindow, chance.one(in: 2) {
        for name in jetStream.streams.keys.sorted()
        where isWhole(name) && mayLose(name) && (!name.hasPrefix("KV_") || chance.one(in: 4)) {
          losing[name] = Int(chance.skewed(0, 30))
        }
      }
      for node in up { network.stop(node) }
      world.onStored()
      jetStream.crash(losing: losing)
      forgetIDs(nil)
      world.onStored()
      mend(after: chance.skewed(100 * Nano.milli, 10 * Nano.second)) {
        for node in up { network.start(node) }
      }
    case .streamLeader:
      let streams = jetStream.streams.values.filter { $0.configuration.replicas > 1 }
        .sorted { $0.configuration.name < $1.configuration.name }
      guard !streams.isEmpty else { return false }
      let stream = chance.pick(streams)
      let keeping = chance.below(6)
      let isAnswering = chance.one(in: 2)
      // Little is lost unless something is on its way.
      guard chance.one(in: 2) else {
        changeLeader(of: stream, keeping: keeping, answering: isAnswering)
        network.handled()
        break
      }
      network.atCommit.append { [self] in
        guard stream.hasProposals else {
          return jetStream.streams[stream.configuration.name] !== stream
        }
        changeLeader(of: stream, keeping: keeping, answering: isAnswering)
        return true
      }
    case .staleReplica:
      let streams = jetStream.streams.values.filter { $0.replicas != nil }
        .sorted { $0.configuration.name < $1.configuration.name }
      guard !streams.isEmpty else { return false }
      let stream = chance.pick(streams)
      let follower = chance.below(2)
      stream.replicas?.setLag(follower, true)
      mend(after: chance.skewed(Nano.second, 30 * Nano.second)) {
        stream.replicas?.setLag(follower, false)
      }
    case .natsFull:
      guard !jetStream.isOutOfResources else { return false }
      jetStream.isOutOfResources = true
      mend(after: chance.skewed(100 * Nano.milli, 20 * Nano.second)) {
        jetStream.isOutOfResources = false
      }
    case .foreignMessage:
      // On a replicated exclusive stream a chain may leave a gap then, which is filled late; where messages are
      // taken out of one, nobody can tell whose they were (guarantees.md).
      let streams = world.scenario.streams.filter {
        jetStream.streams[$0.name] != nil
          && !($0.isExclusive && ($0.replicas > 1 || world.scenario.removes))
      }
      guard !streams.isEmpty else { return false }
      let stream = chance.pick(streams)
      foreign += 1
      for _ in 0...chance.below(3) {
        jetStream.receive(
          Publication(
            "\(stream.name.lowercased()).foreign.\(foreign)", reply: ReplyTo(subject: ""),
            headers: Array(foreignHeaders(stream, &chance).utf8),
            payload: Array("{}".utf8)))
      }
      network.nats.advance()
      network.handled()
    case .streamPurged:
      let streams = world.scenario.streams.filter { jetStream.streams[$0.name] != nil }
      guard world.scenario.removes, !streams.isEmpty else { return false }
      let keep = chance.one(in: 2) ? 0 : chance.below(20)
      jetStream.receive(
        Publication(
          "$JS.API.STREAM.PURGE.\(chance.pick(streams).name)", reply: ReplyTo(subject: ""),
          payload: Array("{\"keep\":\(keep)}".utf8)))
      network.nats.advance()
      network.handled()
    case .streamDeleted:
      // What the oplog no longer holds can't come back. (A stream that was emptied and is refilled from what the
      // server answers for duplicates alone is not missed when it is deleted again: docs/simulation.md, what is open.)
      guard world.scenario.keepsWindow, !world.scenario.removes, !isFindingItsPlace else {
        return false
      }
      // Where another bridge makes a shared one again, a bridge doesn't notice at once (ibid.).
      let names = world.scenario.streams.filter { $0.bridges.count == 1 && !$0.isOfGroup }
        .map(\.name)
        .filter { jetStream.streams[$0] != nil }
      guard !names.isEmpty else { return false }
      let name = chance.pick(names)
      let configuration = jetStream.streams[name]?.configuration
      guard (try? jetStream.deleteStream(name)) != nil else { return false }
      // Somebody makes it again before a bridge notices.
      if Scenario.choice.makesAgain, let configuration {
        _ = try? jetStream.createStream(configuration)
      }
      network.handled()
    case .bucketDeleted:
      // Found again by what streams hold: where one holds nothing, its beginning can't be shown, and what is found
      // may be older than the oplog.
      let haveMessages = world.scenario.streams.allSatisfy {
        jetStream.streams[$0.name].map { $0.store.count > 0 } ?? false
      }
      guard world.scenario.keepsWindow, !world.scenario.removes, haveMessages,
        world.scenario.cutover == nil, !Scenario.choice.makesAgain, !isFindingItsPlace,
        world.scenario.bridges == 1 || haveMessagesEverywhere(),
        (try? jetStream.deleteStream("KV_TAILRACE")) != nil
      else { return false }
      bucketDeletedAt = world.now
      network.handled()
    default:
      let node = chance.below(network.isUp.count)
      guard network.isUp[node] else { return false }
      network.nats.announceShutdown(node: node)
      network.deliver()
      world.schedule(in: chance.skewed(Nano.second, 10 * Nano.second)) { [self] in
        guard network.isUp[node] else { return }
        network.stop(node)
        mend(after: Nano.second) { network.start(node) }
      }
    }
    return true
  }

  private func changeLeader(of stream: SimulatedStream, keeping: Int, answering: Bool) {
    world.onStored()
    stream.changeLeader(keeping: keeping, answering: answering)
    forgetIDs(stream.configuration.name)
    world.network.nats.advance()
  }

  /// What a group's producers have published, and its phases, nobody can publish again.
  private func mayLose(_ name: String) -> Bool {
    world.scenario.cutover == nil
      || world.scenario.streams.contains { $0.name == name && !$0.isOfGroup }
  }

  /// A stream that has all that it ever stored.
  private func isWhole(_ name: String) -> Bool {
    !world.scenario.removes || !world.scenario.streams.contains { $0.name == name }
  }

  /// Called when servers forget the ids of a stream's (nil: of all) messages that are gone. Set by the history.
  var forgetIDs: (_ stream: String?) -> Void = { _ in }

  /// Of another producer, or of another bridge that publishes events of the same replica set.
  private func foreignHeaders(_ stream: Scenario.Stream, _ chance: inout Chance) -> String {
    var headers = "NATS/1.0\r\nNats-Msg-Id: foreign-\(foreign)-\(chance.next())\r\n"
    if !stream.isExclusive, chance.one(in: 2), let newest = world.mongo.committed.last {
      headers +=
        "Tailrace-Position: \(newest.position).0\r\nTailrace-Rule: user\r\nTailrace-Bridge: b9\r\n"
    }
    return headers + "\r\n"
  }

  // MARK: - MongoDB

  private func injectMongo(_ fault: Fault, _ chance: inout Chance) -> Bool {
    let set = world.mongo
    switch fault {
    case .stepDown:
      guard let primary = set.primary else { return false }
      set.stepDown(primary)
    case .rollback:
      guard let primary = set.primary else { return false }
      set.setLinks(of: primary, areUp: false)
      mend(after: chance.skewed(500 * Nano.milli, 60 * Nano.second)) { [self] in
        set.setLinks(of: primary, areUp: true)
        workload.replicateAll()
      }
    case .memberRestart:
      let member = chance.below(3)
      guard set.members[member].isUp else { return false }
      set.stop(member, losing: chance.one(in: 3) ? chance.below(10) : 0)
      mend(after: chance.skewed(200 * Nano.milli, 20 * Nano.second)) { [self] in
        set.start(member)
        workload.replicateAll()
      }
    case .memberLag:
      let member = chance.below(3)
      if chance.one(in: 2) {
        let lag = chance.skewed(50 * Nano.milli, 5 * Nano.second)
        workload.lag[member] += lag
        mend(after: chance.skewed(Nano.second, 30 * Nano.second)) { [self] in
          workload.lag[member] -= lag
        }
      } else {
        guard !workload.isStuck[member] else { return false }
        workload.isStuck[member] = true
        mend(after: chance.skewed(Nano.second, 30 * Nano.second)) { [self] in
          workload.isStuck[member] = false
          workload.replicateAll()
        }
      }
    case .memberUnreachable:
      let member = chance.below(3)
      guard set.members[member].isReachable else { return false }
      set.setReachable(member, false)
      mend(after: chance.skewed(200 * Nano.milli, 20 * Nano.second)) {
        set.setReachable(member, true)
      }
    case .cursorsKilled: set.killCursors(on: chance.below(3))
    default:
      guard !world.scenario.keepsWindow, let safe = windowBefore() else { return false }
      for member in 0..<3 { set.truncate(member, before: safe) }
    }
    world.mongoChanged()
    return true
  }

  // MARK: - Set by the history

  /// What no bridge needs any more: before its checkpoint.
  var windowBefore: () -> OplogPosition? = { nil }
  /// Of a bridge: who published last, a number of `Publishers`.
  var lastPublisher: (_ bridge: Int) -> Int = { _ in 0 }
  /// Each bridge has a message in each of its streams.
  var haveMessagesEverywhere: () -> Bool = { true }
}
