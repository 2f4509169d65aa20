import BridgeConfiguration
import Foundation
import JSON
import JetStream
import Logging
import Mapping
import MongoSource
import NATS
import NIOCore
import Oplog

/// One attempt to follow a group: from what is written down, until something breaks, or the group's course changes.
struct DualAttempt: Sendable {
  enum End: Sendable {
    /// What is written down has to be read again.
    case again
    /// There is nothing left to do.
    case over
  }

  let setup: DualFollower.Setup
  let eventLoop: any EventLoop
  let commitTimer: CommitTimer
  private let onReached: @Sendable (OplogPosition) -> Void
  private let onTaken: @Sendable (OplogPosition) -> Void

  private var group: String { setup.group }
  var configuration: BridgeConfiguration { setup.configuration }
  private var grace: Duration { configuration.cutover.grace }

  init(
    _ setup: DualFollower.Setup, on eventLoop: any EventLoop, _ commitTimer: CommitTimer,
    onTaken: @escaping @Sendable (OplogPosition) -> Void,
    onReached: @escaping @Sendable (OplogPosition) -> Void
  ) {
    self.setup = setup
    self.eventLoop = eventLoop
    self.commitTimer = commitTimer
    self.onTaken = onTaken
    self.onReached = onReached
  }

  func run() async throws -> End {
    let connection = try await NATSConnection.connect(
      to: configuration.natsServers, options: try configuration.natsOptions(), on: eventLoop,
      by: setup.surroundings.transport, logger: setup.logger)
    connection.onServerError { _ in }
    do {
      let end = try await run(on: JetStreamClient(connection))
      await connection.close()
      return end
    } catch {
      await connection.close()
      throw error
    }
  }

  private func run(on jetStream: JetStreamClient) async throws -> End {
    let store = CutoverStore(
      jetStream, bucket: configuration.bridge.stateBucket, bridge: configuration.bridge.name,
      replicas: configuration.mostReplicas)
    let loaded = try await store.load(group)
    try? await store.audit(loaded.record)
    guard loaded.record.hasRanges, loaded.record.phase != .finalized else { return .over }
    let eligibility = CutoverEligibility(group, in: configuration)
    guard eligibility.isEligible else {
      throw RangeFailure(
        description:
          "the rules of group \(group) can't be cut over: \(eligibility.reasons.map { "\($0.rule): \($0.detail)" }.joined(separator: "; "))"
      )
    }
    let (found, revision) = try await store.progress(group)
    let stored = found ?? remembered(for: loaded.record)
    guard max(loaded.record.epoch, stored?.epoch ?? 0) <= setup.tenure.epoch else {
      throw RangeFailure(description: "another instance leads")
    }
    guard
      let progress = CutoverProgress(
        continuing: stored, loaded.record, epoch: setup.tenure.epoch)
    else { throw RangeFailure(description: "no position of the group is known") }
    var state = State(store: store, loaded: loaded, progress: progress, revision: revision)
    if loaded.record.phase == .bridge, let end = loaded.record.end,
      state.progress.position.entry >= end
    {
      return .over
    }
    let streams = try await streams(jetStream, &state)
    state.progress.epoch = setup.tenure.epoch
    try await saveProgress(&state)
    let now: @Sendable () -> Int64 = { [monitor = setup.monitor] in Self.sourceTime(monitor) }
    let work = DualWork(
      DualWork.Setup(
        configuration: configuration, rules: setup.rules, group: group, streams: streams,
        connection: jetStream.connection, record: state.loaded.record,
        position: state.progress.position, findings: state.progress.findings,
        missed: Set((stored?.findings ?? []).filter { $0.kind == .missed }.map(\.id)),
        tenure: setup.tenure, now: now))
    try await eventLoop.submit { work.begin() }.get()
    let readers = streams.enumerated().map { index, stream in
      DualStreamReader(jetStream, work, index, stream, now: now)
    }
    let live = LiveChanges(
      configuration, reader: configuration.source.reader, logger: setup.logger,
      patience: .seconds(60), on: setup.surroundings)
    do {
      let end = try await follow(live, work, readers, &state)
      await finish(work, readers, live)
      return end
    } catch {
      if error is CancellationError || Task.isCancelled {
        // What was decided need not be decided again. Not cancelled itself.
        let last = state
        await Task {
          var state = last
          _ = try? await settle(work, readers, walker: nil, &state, savesPlaces: true)
        }.value
      }
      await finish(work, readers, live)
      throw error
    }
  }

  /// The bucket was deleted: it is no older than what was there.
  private func remembered(for record: CutoverRecord) -> CutoverProgress? {
    guard let known = setup.memory[group], known.generation == record.generation else { return nil }
    setup.logger.error(
      "the progress of a group's cut-over was gone", metadata: ["group": "\(group)"])
    return known
  }

  private func finish(_ work: DualWork, _ readers: [DualStreamReader], _ live: LiveChanges) async {
    for reader in readers { reader.stop() }
    try? await eventLoop.submit { work.end() }.get()
    live.stop()
  }

  /// What an attempt works on.
  struct State: Sendable {
    var store: CutoverStore
    var loaded: CutoverStore.Loaded
    var progress: CutoverProgress
    var revision: UInt64
    var savedAt = ContinuousClock.now
    var readAt = ContinuousClock.now
    /// Mismatches that were explained in this second.
    var explained = 0
    /// Events that were too old to be filled in.
    var expired = 0
    /// The newest entry whose events were all taken.
    var frontier: OplogPosition?
    /// Outcomes of what was decided since it was last written down.
    var uncounted: [RuleID: Outcomes] = [:]
  }

  // MARK: - Where to begin

  private func streams(
    _ jetStream: JetStreamClient, _ state: inout State
  ) async throws -> [DualWork.Stream] {
    let indices = Set(configuration.rules.filter { $0.group == group }.compactMap(\.streamIndex))
      .sorted()
    let names = indices.map { configuration.streams[$0].name }
    var infos: [StreamInfo] = []
    for name in names {
      guard let info = try await jetStream.stream(name) else {
        throw RangeFailure(description: "stream \(name) does not exist")
      }
      infos.append(info)
    }
    let lost = zip(names, infos).first { name, info in
      state.progress.streams[name].map {
        $0.created != info.created || info.lastSequence < $0.readTo
      } ?? false
    }
    let record = state.loaded.record
    if let lost, let from = record.lastRange?.from {
      let what =
        "stream \(lost.0) is not the one that group \(group) was compared with: every event since \(from) is looked up again"
      setup.logger.error("\(what)")
      state.progress = CutoverProgress(
        generation: record.generation, epoch: setup.tenure.epoch,
        position: EventPosition(entry: from, index: .max), resume: from)
    }
    let begin = record.begin
    let judged = Int64(begin?.seconds ?? 0) * 1000 + grace.milliseconds + 2000
    var streams: [DualWork.Stream] = []
    for (name, info) in zip(names, infos) {
      var place = state.progress.streams[name]
      if place == nil {
        // Producers may have been first by as much as the server would know their ids for.
        let early = max(info.duplicateWindow, grace).seconds + 5
        let time = Double(state.progress.position.entry.seconds) - early
        let first = try await Self.first(jetStream, name, info, since: Int(time))
        // What is gone behind a place that is known, reading shows.
        place = CutoverProgress.Place(
          created: info.created, readTo: max(first, 1) - 1, open: SequenceSet(),
          lostUntil: try await jetStream.stream(name)?.keptSince)
      }
      guard let place else { continue }
      state.progress.streams[name] = place
      let limits = MessageLimits(
        maximumPayload: jetStream.connection.info.maxPayload,
        maximumMessage: info.maximumMessageSize, maximumBytes: info.maximumBytes)
      let fence = try await StreamFences.present(
        in: name, info, bridge: configuration.bridge.name, jetStream)
      streams.append(
        DualWork.Stream(
          name: name, place: place, patterns: patterns(on: name), limits: limits,
          fence: fence, isReplicated: info.replicas > 1, judgedFrom: judged,
          reading: StreamReading(
            from: place.next, last: info.lastSequence, removal: info.removal,
            lostUntil: place.lostUntil, window: info.duplicateWindow.milliseconds)))
    }
    // A fence that was read while the lease is held is no successor's.
    guard setup.tenure.mayPublish else { throw RangeFailure(description: "the lease has run out") }
    return streams
  }

  /// Those of the group alone: what else a subject's messages are can't be told.
  private func patterns(on stream: String) -> [String] {
    let rules = configuration.rules.filter { rule in
      rule.streamIndex.map { configuration.streams[$0].name } == stream
    }
    let others = rules.filter { $0.group != group }.flatMap(configuration.subjectPatterns)
    return rules.filter { $0.group == group }.flatMap(configuration.subjectPatterns)
      .filter { pattern in !others.contains { subjectsOverlap($0, pattern) } }
  }

  /// The first sequence from which on no message is older.
  private static func first(
    _ jetStream: JetStreamClient, _ stream: String, _ info: StreamInfo, since seconds: Int
  ) async throws -> UInt64 {
    var low = max(info.firstSequence, 1)
    var high = info.lastSequence + 1
    while low < high {
      let middle = low + (high - low) / 2
      guard let message = try await jetStream.nextMessage(in: stream, from: middle),
        message.sequence < high
      else {
        high = middle
        continue
      }
      if ServerTime(message.time).map({ $0.seconds < seconds }) ?? true {
        low = message.sequence + 1
      } else {
        high = middle
      }
    }
    return low
  }

  /// MongoDB's clock.
  static func sourceTime(_ monitor: any MongoWatching) -> Int64 {
    let status = monitor.snapshot
    guard let time = status.localTime, let at = status.reachedAt else { return CutoverTime.now }
    return time + (ContinuousClock.now - at).milliseconds
  }

  // MARK: - Following

  private func follow(
    _ live: LiveChanges, _ work: DualWork, _ readers: [DualStreamReader], _ state: inout State
  ) async throws -> End {
    for reader in readers { reader.start() }
    var begin = try await firstEntry(state.progress.resume)
    while true {
      let walker = ChangeWalker(
        live.reader, WalkRange(first: state.progress.position, last: nil),
        live.wishes(on: eventLoop), stride: 0, alwaysAsks: true,
        mayContinue: { work.mayContinue() }, { work.take($0) })
      var end: End?
      let outcome = try await live.follow(
        walker, from: ResumePoint(position: begin), on: eventLoop, .none
      ) {
        try Task.checkCancellation()
        end = try await step(work, readers, walker, &state)
        return end == nil
      }
      switch outcome {
      case .ended: return .again
      case .stopped: return end ?? .again
      case .needsEarlier(let previous):
        guard let first = try await setup.mongo.transactionStart(from: previous), first < begin
        else {
          throw RangeFailure(
            description: "a transaction began before \(previous), and its first entries are gone",
            cause: .lost)
        }
        begin = first
        // What was taken is taken again.
        state.progress.resume = first
        try await saveProgress(&state)
        return .again
      }
    }
  }

  private func firstEntry(_ wanted: OplogPosition) async throws -> OplogPosition {
    // Change streams begin at any time, know themselves what is gone, and need no right to read the oplog.
    guard configuration.source.reader == .oplog else { return wanted }
    if let why = try await setup.mongo.loss(of: wanted) {
      throw RangeFailure(description: why, cause: .lost)
    }
    guard let entry = try await setup.mongo.entry(atOrAfter: wanted) else {
      throw RangeFailure(description: "no majority has \(wanted) yet")
    }
    return entry.position
  }

  /// Once in a while, between events.
  private func step(
    _ work: DualWork, _ readers: [DualStreamReader], _ walker: ChangeWalker, _ state: inout State
  ) async throws -> End? {
    if setup.tenure.endedBy != nil { return .again }
    for reader in readers { try reader.check() }
    if ContinuousClock.now - state.readAt > .milliseconds(400) {
      state.readAt = .now
      if let end = try await readRecord(work, &state) { return end }
    }
    let savesPlaces =
      ContinuousClock.now - state.savedAt > configuration.bridge.checkpointInterval
    let cycle = try await settle(work, readers, walker: walker, &state, savesPlaces: savesPlaces)
    guard let cycle else { return nil }
    if cycle.hasMovedFence {
      try await settle(work, readers, walker: walker, &state, savesPlaces: true)
      return .again
    }
    if cycle.outcome.isDrained, state.loaded.record.phase == .committing,
      !state.loaded.record.isDrained
    {
      try await reportDrained(&state)
    }
    if cycle.outcome.isOver, let end = state.loaded.record.end {
      state.progress.position = max(
        state.progress.position, EventPosition(entry: end, index: .max))
      try await saveProgress(&state)
      return .over
    }
    return nil
  }

  /// Takes what is decided, counts it, and writes it down from time to time.
  @discardableResult
  private func settle(
    _ work: DualWork, _ readers: [DualStreamReader], walker: ChangeWalker?, _ state: inout State,
    savesPlaces: Bool
  ) async throws -> DualWork.Cycle? {
    let mayPublish = setup.tenure.mayPublish
    let needsDrain = state.loaded.record.phase == .committing
    let (cycle, released, frontier, resume, refusal) = try await eventLoop.submit {
      work.endSlice()
      let frontier = walker?.frontier
      let cycle = work.cycle(
        frontier: frontier, mayPublish: mayPublish, savesPlaces: savesPlaces || needsDrain)
      return (
        cycle, work.release(), frontier, walker?.resume(from: cycle.outcome.settled.entry),
        work.refusal
      )
    }.get()
    for (reader, count) in zip(readers, released) where count > 0 { reader.consumed(count) }
    for one in cycle.compare { try await compare(one, work, state.store.bucket.jetStream) }
    if let search = cycle.search { try await look(for: search, work, state) }
    try await note(cycle.outcome, &state)
    state.progress.position = max(state.progress.position, cycle.outcome.settled)
    if let resume { state.progress.resume = min(resume, cycle.outcome.settled.entry) }
    if let frontier {
      state.frontier = frontier
      onTaken(frontier)
    }
    if let frontier, let majority = setup.monitor.snapshot.majority?.position {
      state.progress.lag = max(0, Double(majority.seconds) - Double(frontier.seconds))
    }
    if !cycle.places.isEmpty {
      state.progress.streams.merge(cycle.places) { _, new in new }
      if savesPlaces || cycle.outcome.isDrained {
        try await saveProgress(&state)
        state.explained = 0
      }
      report(state, refusal)
    }
    return cycle
  }

  private func report(_ state: State, _ refusal: String?) {
    let record = state.loaded.record
    var facts = CutoverGroupFacts(group: group, problem: refusal)
    facts.phase = record.phase
    facts.since = record.change.at
    facts.fence = record.fence
    facts.position = state.progress.position
    facts.counts = state.progress.counts
    facts.lag = state.progress.lag
    setup.report(facts)
  }

  /// Written by the leader alone: whoever finds another's writing has been replaced.
  func saveProgress(_ state: inout State) async throws {
    guard setup.tenure.endedBy == nil else { throw CancellationError() }
    state.progress.at = CutoverTime.now
    let next = try await state.store.save(
      state.progress, of: group, expecting: state.revision)
    guard let next else {
      throw RangeFailure(description: "another instance writes the progress of group \(group)")
    }
    state.revision = next
    state.savedAt = .now
    setup.memory[group] = state.progress
    if !state.uncounted.isEmpty { setup.count(state.uncounted) }
    state.uncounted = [:]
    onReached(state.progress.position.entry)
  }
}

extension StreamInfo {
  /// What its limits remove.
  var removal: StreamReading.Removal {
    let isBounded =
      config["discard"]?.stringValue != "new"
      && (config.streamLimit("max_msgs") != nil || maximumBytes != nil)
    if isBounded { return .oldest }
    return config.streamLimit("max_age").map { .byAge(Int64($0) / 1_000_000) } ?? .nothing
  }

  /// Limits may have removed what was stored before. Milliseconds since 1970, by the server's clock; nil: nothing.
  package var keptSince: Int64? {
    guard removal != .nothing, firstSequence > beginning else { return nil }
    let age = config.streamLimit("max_age").map { CutoverTime.now - Int64($0) / 1_000_000 }
    guard messages > 0,
      let first = raw["state"]?["first_ts"]?.stringValue.flatMap({ ServerTime($0) })
    else { return age }
    let kept = (Int64(first.seconds) + 1) * 1000
    if case .byAge = removal, let age { return min(kept, age + 1000) }
    return kept
  }
}

extension BridgeConfiguration {
  /// Of the streams.
  package var mostReplicas: Int {
    streams.compactMap { $0.settings["num_replicas"]?.integer(Int.self) }.max() ?? 1
  }
}
