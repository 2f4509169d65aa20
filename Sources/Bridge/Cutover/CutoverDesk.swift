import BridgeConfiguration
import JetStream
import Logging
import Mapping
import MongoSource
import NATS
import NIOCore
import Oplog
import Synchronization

/// The cut-overs of a bridge's groups, as its leader carries them out: which events the pipeline leaves to followers,
/// and the followers themselves. Thread-safe.
final class CutoverDesk: Sendable {
  private struct State {
    var loaded: [String: CutoverStore.Loaded] = [:]
    /// As followers have read or written them, which may be newer.
    var followed: [String: CutoverRecord] = [:]
    var followers: [String: (follower: DualFollower, epoch: UInt64, version: UInt64)] = [:]
    /// Ends the publishing epoch at the next boundary between two entries.
    var settle: (@Sendable () -> Void)?
    var needsBoundary = false
    /// Called once no group needs the bridge.
    var onAllFinalized: (@Sendable () -> Void)?
    /// Groups without a record that the audit was asked about.
    var checked: Set<String> = []
  }

  private let state = Mutex(State())
  private let memory = ProgressMemory()
  private let surroundings: any Surroundings
  /// False: no group is ever anywhere but in phase `bridge`.
  var isServed: Bool { surroundings.servesCutover }
  private var instance: String { surroundings.instance }
  private let board: StatusBoard
  private let monitor: any MongoWatching
  private let mongo: any MongoAnswering
  private let logger: Logger

  init(
    on surroundings: any Surroundings, board: StatusBoard, monitor: any MongoWatching,
    mongo: any MongoAnswering, logger: Logger
  ) {
    self.surroundings = surroundings
    self.board = board
    self.monitor = monitor
    self.mongo = mongo
    self.logger = logger
  }

  /// As read or written last.
  var records: [CutoverRecord] { state.withLock { $0.loaded.values.map(\.record) } }

  func store(_ jetStream: JetStreamClient, _ configuration: BridgeConfiguration)
    -> CutoverStore
  {
    CutoverStore(
      jetStream, bucket: configuration.bridge.stateBucket, bridge: configuration.bridge.name,
      replicas: configuration.mostReplicas)
  }

  // MARK: - An epoch begins

  /// Reads every group's phase under the leader's epoch, and lets followers follow.
  ///
  /// - Parameter count: takes what followers have decided.
  /// - Returns: by rule, what the pipeline leaves to them; empty: nothing.
  func begin(
    _ configuration: BridgeConfiguration, _ rules: RuleSet, _ tenure: Tenure,
    _ jetStream: JetStreamClient, count: @escaping @Sendable ([RuleID: Outcomes]) -> Void
  ) async throws -> [[HandedRange]] {
    guard isServed else { return [] }
    let store = store(jetStream, configuration)
    let known = try await store.groups()
    var loaded: [String: CutoverStore.Loaded] = [:]
    for group in configuration.groups where known.contains(group) || mayHaveHadRecord(group) {
      loaded[group] = try await adopt(group, tenure, store, configuration)
    }
    state.withLock { $0.loaded = loaded }
    note(loaded.mapValues(\.record), configuration)
    noteFinalized(configuration)
    await follow(loaded, configuration, rules, tenure, store, count)
    guard loaded.values.contains(where: { $0.record.hasRanges }) else { return [] }
    return rules.rules.map { loaded[$0.group]?.record.leftOut ?? [] }
  }

  /// This leader has seen one, or has not asked yet whether there was one.
  private func mayHaveHadRecord(_ group: String) -> Bool {
    state.withLock { ($0.loaded[group]?.record.number ?? 0) > 0 || !$0.checked.contains(group) }
  }

  /// The group's record, which whoever led before can't change any more; nil: it never had one.
  private func adopt(
    _ group: String, _ tenure: Tenure, _ store: CutoverStore,
    _ configuration: BridgeConfiguration
  ) async throws -> CutoverStore.Loaded? {
    while true {
      let found = try await store.load(group)
      guard found.record.epoch <= tenure.epoch else {
        throw BridgeError.displaced("another instance leads by epoch \(found.record.epoch)")
      }
      var next = found.record
      if next.number == 0 {
        guard let lost = try await lost(group, store) else { return nil }
        next = lost
      }
      next.epoch = tenure.epoch
      // Of an earlier version.
      if next.bindsRules, next.contract == nil {
        next.contract = RuleContract(group, in: configuration)
      }
      guard next != found.record else { return found }
      if let saved = try await store.save(next, expecting: found.revision) { return saved }
    }
  }

  /// The record of a group that has none; nil: it never had one. A bucket that was deleted takes records with it: this
  /// leader's memory has them, else the audit knows that there were some.
  private func lost(_ group: String, _ store: CutoverStore) async throws -> CutoverRecord? {
    let (remembered, isChecked) = state.withLock { state in
      let known = [state.loaded[group]?.record, state.followed[group]].compactMap { $0 }
      return (known.max { $0.number < $1.number }, !state.checked.insert(group).inserted)
    }
    let number = remembered?.number ?? 0
    if number == 0, isChecked { return nil }
    let audited = await store.audited(group)
    if let remembered, number > 0, audited.map({ $0.number <= number }) ?? true {
      logger.error("the record of a group's cut-over was gone", metadata: ["group": "\(group)"])
      return remembered
    }
    guard let phase = audited?.phase, phase != .bridge || number > 0 else { return nil }
    throw BridgeError.positionLost(
      """
      group \(group) was in phase \(phase.rawValue), by \(CutoverStore.auditStream), and its record is gone from the \
      state bucket: what the bridge has to publish of it is unknown. tailrace cutover cancel --group \(group) has the \
      bridge publish all of it from where it resumes
      """)
  }

  /// As a follower has read it.
  private func remember(_ record: CutoverRecord) {
    state.withLock { $0.followed[record.group] = record }
  }

  private func follow(
    _ loaded: [String: CutoverStore.Loaded], _ configuration: BridgeConfiguration,
    _ rules: RuleSet, _ tenure: Tenure, _ store: CutoverStore,
    _ count: @escaping @Sendable ([RuleID: Outcomes]) -> Void
  ) async {
    for group in state.withLock({ $0.followers.keys.filter { loaded[$0] == nil } }) {
      await state.withLock { $0.followers.removeValue(forKey: group) }?
        .follower.stop(within: .seconds(2))
    }
    for (group, entry) in loaded {
      let known = state.withLock { $0.followers[group] }
      let isNeeded = entry.record.isFollowed
      if let known {
        let isSame = known.epoch == tenure.epoch && known.version == rules.version
        if isSame, isNeeded, !known.follower.isOver { continue }
        await known.follower.stop(within: .seconds(2))
        state.withLock { $0.followers[group] = nil }
      }
      guard isNeeded else { continue }
      let follower = DualFollower(
        DualFollower.Setup(
          group: group, configuration: configuration, rules: rules, tenure: tenure,
          surroundings: surroundings, monitor: monitor, mongo: mongo, logger: logger,
          memory: memory,
          report: { [board] facts in
            board.update { $0.note(facts) }
          }, read: { [weak self] in self?.remember($0) }, count: count))
      state.withLock { $0.followers[group] = (follower, tenure.epoch, rules.version) }
      follower.start()
    }
  }

  private func note(_ records: [String: CutoverRecord], _ configuration: BridgeConfiguration) {
    board.update { facts in
      facts.cutover = facts.cutover.filter { records[$0.key] != nil }
      for (group, record) in records {
        var known = facts.cutover[group] ?? CutoverGroupFacts(group: group)
        if known.phase != record.phase { known.problem = nil }
        known.phase = record.phase
        known.since = record.change.at
        known.fence = record.fence
        facts.cutover[group] = known
      }
    }
  }

  /// - Parameter body: called once no group of the configuration needs the bridge any more; on any thread.
  func onAllFinalized(_ body: @escaping @Sendable () -> Void) {
    state.withLock { $0.onAllFinalized = body }
  }

  private func noteFinalized(_ configuration: BridgeConfiguration) {
    let body = state.withLock { state -> (@Sendable () -> Void)? in
      let groups = configuration.groups
      guard !groups.isEmpty,
        groups.allSatisfy({ state.loaded[$0]?.record.phase == .finalized })
      else { return nil }
      defer { state.onAllFinalized = nil }
      return state.onAllFinalized
    }
    guard let body else { return }
    logger.notice("all groups are finalized: the bridge has nothing left to publish")
    body()
  }

  // MARK: - During an epoch

  /// Looks for requests while an epoch publishes.
  func watch(
    _ configuration: BridgeConfiguration, _ jetStream: JetStreamClient
  ) -> Task<Void, Never> {
    let store = store(jetStream, configuration)
    let groups = Set(configuration.groups)
    return Task { [self] in
      while isServed, !Task.isCancelled {
        try? await jetStream.connection.eventLoop.sleep(for: Self.interval)
        guard let known = try? await store.groups() else { continue }
        // What is gone is written again when the next epoch begins.
        let isLost = state.withLock { state in
          state.loaded.contains { $0.value.record.number > 0 && !known.contains($0.key) }
        }
        if isLost { state.withLock { $0.settle }?() }
        for group in known.intersection(groups) {
          guard let found = try? await store.load(group), !Task.isCancelled,
            // Deleted since the names were read.
            found.record.number > 0
          else { continue }
          look(at: found, group)
        }
        noteFinalized(configuration)
      }
    }
  }

  /// A bridge follows within a second.
  private static let interval = Duration.milliseconds(400)

  private func look(at found: CutoverStore.Loaded, _ group: String) {
    let settle = state.withLock { state -> (@Sendable () -> Void)? in
      let before = state.loaded[group]
      // A new follower, or the end of one, takes an epoch, too.
      let isFollowed = state.followers[group].map { !$0.follower.isOver } ?? false
      // It ended as the group had been given back, when another range had begun already.
      let isLeft = !isFollowed && found.record.phase != .bridge && found.record.isFollowed
      guard before?.revision != found.revision || found.record.needsBoundary || isLeft else {
        return nil
      }
      state.loaded[group] = found
      let isFinal = found.record.phase == .finalized
      let isNeeded = isFinal || (found.record.hasRanges && !isFollowed)
      guard
        found.record.needsBoundary || isLeft
          || (isNeeded && before != nil && before?.record.phase != found.record.phase)
      else { return nil }
      state.needsBoundary = true
      return state.settle
    }
    board.update { facts in
      var known = facts.cutover[group] ?? CutoverGroupFacts(group: group)
      known.phase = found.record.phase
      known.since = found.record.change.at
      known.fence = found.record.fence
      facts.cutover[group] = known
    }
    settle?()
  }

  /// From now on, requests end this epoch; at once, if one waits.
  func attach(_ settle: @escaping @Sendable () -> Void) {
    let waits = state.withLock { state in
      state.settle = settle
      return state.loaded.values.contains { $0.record.needsBoundary }
    }
    if waits { settle() }
  }

  func detach() { state.withLock { $0.settle = nil } }

  // MARK: - An epoch has settled

  /// Everything up to `place` is acknowledged and written down, and nothing behind it was sent: groups that wait for a
  /// boundary have it.
  func settled(
    at place: OplogPosition, resume: OplogPosition, _ configuration: BridgeConfiguration,
    _ tenure: Tenure, _ jetStream: JetStreamClient
  ) async {
    let store = store(jetStream, configuration)
    let waiting = state.withLock { state in
      state.needsBoundary = false
      return state.loaded.filter { $0.value.record.needsBoundary }
    }
    for (group, entry) in waiting {
      // An operator may have changed it since, and another leader taken it.
      guard entry.record.epoch <= tenure.epoch, tenure.mayPublish else { continue }
      let boundary: OplogPosition
      do {
        boundary = try await self.boundary(of: entry.record, place)
      } catch {
        // Asked for again at once.
        logger.warning(
          "a group's boundary is not known", metadata: ["group": "\(group)", "error": "\(error)"])
        continue
      }
      var next = entry.record.told(
        .boundary(boundary, resume: resume), by: "instance \(instance)", reason: "",
        now: CutoverTime.now)
      next?.epoch = tenure.epoch
      if next?.bindsRules ?? false { next?.contract = RuleContract(group, in: configuration) }
      guard let next else { continue }
      do {
        guard let saved = try await store.save(next, expecting: entry.revision) else { continue }
        state.withLock { $0.loaded[group] = saved }
        logger.notice(
          "the pipeline has settled a group's boundary",
          metadata: [
            "group": "\(group)", "phase": "\(saved.record.phase.rawValue)", "at": "\(boundary)",
          ])
      } catch {
        logger.warning(
          "a group's boundary is not written", metadata: ["group": "\(group)", "error": "\(error)"])
      }
    }
  }

  private func boundary(
    of record: CutoverRecord, _ place: OplogPosition
  ) async throws -> OplogPosition {
    let newest = record.isGivenBack ? try await mongo.majorityPosition().position : nil
    let taken = state.withLock { $0.followers[record.group]?.follower.frontier }
    return record.boundary(settled: place, newest: newest, taken: taken)
  }

  // MARK: - The end

  /// Waits until every group that is followed is decided up to there.
  func finish(through place: OplogPosition, within limit: Duration, _ eventLoop: any EventLoop)
    async
  {
    let deadline = ContinuousClock.now + limit
    while ContinuousClock.now < deadline {
      let followers = state.withLock { $0.followers.values.map(\.follower) }
      if followers.allSatisfy({ $0.isOver || ($0.position.map { $0 >= place } ?? false) }) {
        return
      }
      try? await eventLoop.sleep(for: .milliseconds(50))
    }
    logger.warning("not every group's events are decided up to the end")
  }

  /// Followers write down what they know, and end.
  func stop() async {
    let followers = state.withLock { state in
      // Another instance may lead next, and change everything.
      defer {
        (state.followers, state.loaded, state.followed, state.checked) = ([:], [:], [:], [])
      }
      return state.followers.values.map(\.follower)
    }
    defer { memory.clear() }
    await withTaskGroup(of: Void.self) { group in
      for follower in followers { group.addTask { await follower.stop(within: .seconds(2)) } }
    }
  }
}

extension StatusBoard.Facts {
  /// What has no position says only why the group is not followed, or (nil) that this is so no longer.
  mutating func note(_ group: CutoverGroupFacts) {
    guard group.position == nil else {
      cutover[group.group] = group
      return
    }
    if var known = cutover[group.group] {
      known.problem = group.problem
      cutover[group.group] = known
    } else if group.problem != nil {
      cutover[group.group] = group
    }
  }
}
