import MongoSource
import Oplog

/// Decides what each epoch publishes and what follows it: a pure value, beside the driver that asks
/// servers and carries it out (`EpochRunner`).
///
/// An epoch is one NATS connection with its lanes. Any failure ends it, and the next one is decided from
/// what the streams then hold; so recovery is the only path.
package struct EpochMachine: Sendable {
  /// Options of the command line and the configuration.
  package struct Settings: Sendable {
    package var options: RunOptions
    /// `source.start`.
    package var start: RunOptions.Start
    /// `source.on_position_lost: snapshot`.
    package var snapshotsOnLoss = false
    /// False: a change stream, which may begin at any time.
    package var readsOplog = true

    package init(options: RunOptions, start: RunOptions.Start) {
      self.options = options
      self.start = start
    }

    /// Of another tenure of the same process: what the command line asks of a start has been done.
    package var ofLaterTenure: Settings {
      var later = self
      later.options.from = nil
      later.options.force = false
      return later
    }
  }

  package let settings: Settings
  package var memory = EpochMemory()

  package init(_ settings: Settings) { self.settings = settings }

  private var options: RunOptions { settings.options }

  // MARK: - Before an epoch

  /// Decides what the epoch publishes, and from where. Changes nothing.
  package func decide(
    _ situation: EpochSituation, _ facts: EpochFacts
  ) throws(Undecided) -> EpochDecision {
    let checkpoint = situation.checkpoint
    let isForced = !memory.hasBegun && options.force
    if let point = memory.snapshotAt {
      return try newSnapshot(
        at: point, since: memory.catchUp == nil ? nil : checkpoint?.origin, situation, facts)
    }
    if isForced, options.snapshot { return try newSnapshot(situation, facts) }
    if isForced, let from = options.from { return try firstStart(from, situation, facts) }
    if let checkpoint, let snapshot = checkpoint.snapshot, !snapshot.isOver {
      return try continueSnapshot(snapshot, checkpoint, situation, facts)
    }
    switch try resume(situation, facts) {
    case .resume(let plan): return try tail(plan, situation, facts)
    case .fresh:
      let start = options.from ?? settings.start
      if options.snapshot || start == .snapshot { return try newSnapshot(situation, facts) }
      if options.from == nil, start == .now, let doubt = try facts.unnamedTrace() {
        throw .refused(.positionLost(doubt))
      }
      return try firstStart(start, situation, facts)
    case .needsSnapshot(let why):
      // If a first start publishes a snapshot of which nothing is stored yet, it is started over.
      let isFirst =
        settings.start == .snapshot && checkpoint == nil
        && situation.streams.allSatisfy { $0.tail == nil && $0.mark?.isUnused ?? true }
      guard options.snapshot || settings.snapshotsOnLoss || isFirst else {
        throw .refused(.positionLost(why))
      }
      return try newSnapshot(because: why, situation, facts)
    case .refuse(let why):
      guard options.snapshot else { throw .refused(.positionLost(why)) }
      return try newSnapshot(because: why, situation, facts)
    }
  }

  /// Records a decision: to be called once, before it is carried out.
  package mutating func adopt(_ decision: EpochDecision) {
    if let catchUp = decision.catchUp { memory.catchUp = catchUp }
    switch decision.mode {
    case .tail:
      memory.isSnapshot = false
    case .snapshot:
      memory.isSnapshot = true
      memory.catchUp = nil
    }
    memory.transactionStart = nil
  }

  /// The epoch's checkpoint is written: after a crash, the next start resumes at this position.
  package mutating func began(_ checkpoint: Checkpoint) {
    memory.checkpoint = checkpoint
    memory.hasBegun = true
    memory.snapshotAt = nil
  }

  // MARK: - Where to begin

  /// Asks about the oplog only where that makes a difference.
  private func resume(
    _ situation: EpochSituation, _ facts: EpochFacts
  ) throws(Undecided) -> ResumeDecision {
    let checkpoint = situation.checkpoint
    let decision = ResumePlan.decide(checkpoint: checkpoint, streams: situation.streams)
    let needsOplog: Bool
    switch decision {
    case .fresh, .needsSnapshot: return decision
    case .refuse: needsOplog = checkpoint == nil
    case .resume(let plan):
      needsOplog =
        !plan.losses.isEmpty || !plan.unseen.isEmpty
        || (checkpoint == nil && situation.streams.contains { $0.unproven != nil })
        || (checkpoint?.states.values.contains { $0.halted != nil } ?? false)
    }
    guard needsOplog else { return decision }
    let oldest = try facts.oldestEntry().position
    let newest = try facts.newestEntry().position
    let judged = ResumePlan.decide(
      checkpoint: checkpoint, streams: situation.streams,
      oplog: ResumePlan.Oplog(oldest: oldest, newest: newest),
      refillFrom: checkpoint == nil ? refillFrom(oldest) : nil)
    guard case .resume(var plan) = judged else { return judged }
    plan.observedAt = newest
    if plan.startsAtMoment {
      let entry = try facts.firstEntry(from: plan.start)
      plan.start = entry?.position ?? newest
      plan.term = entry?.term
      plan.startsAtMoment = false
    }
    return .resume(plan)
  }

  /// The configured start, where it names a position in the oplog.
  private func refillFrom(_ oldest: OplogPosition) -> Checkpoint.Origin? {
    switch settings.start {
    case .oldest: Checkpoint.Origin(position: oldest, inclusive: true)
    case .at(let position): Checkpoint.Origin(position: position, inclusive: true)
    case .now, .snapshot: nil
    }
  }

  /// Continues behind what the streams hold.
  private func tail(
    _ resumed: ResumePlan, _ situation: EpochSituation, _ facts: EpochFacts
  ) throws(Undecided) -> EpochDecision {
    var plan = resumed
    var remarks = try lookUpUnproven(&plan, situation.streams, situation.checkpoint, facts)
    if !plan.unseen.isEmpty {
      let time = try facts.checkpointTime()
      if let unanswered = memory.unanswered {
        plan.bound(unanswered, situation.streams, situation.checkpoint, time)
      } else {
        plan.trust(situation.streams, situation.checkpoint, time, heardAt: memory.heardAt)
      }
    }
    try refuseFrom("a resume position (\(plan.start), \(plan.note))")
    if let rules = situation.rules {
      if let checkpoint = situation.checkpoint {
        try plan.noteEarlierRules(checkpoint, situation.streams, rules, facts)
      }
      plan.noteUnknownRules(rules)
    }
    if situation.streams.contains(where: plan.mayInherit) {
      plan.noteInherited(
        situation.streams, situation.checkpoint, try facts.checkpointTime(),
        newest: try facts.newestEntry().position)
    }
    remarks.append(.resuming(plan))
    var decision = EpochDecision(.tail(plan), remarks)
    if options.snapshot, memory.catchUp == nil { decision.catchUp = try facts.newestEntry() }
    return movedBack(decision, plan)
  }

  /// Refuses `--from` if a position is known, unless forced.
  private func refuseFrom(_ place: String) throws(Undecided) {
    guard !memory.hasBegun, options.from != nil else { return }
    throw .refused(
      .configuration("--from is given, but there is \(place): add --force to leave it"))
  }

  /// A first start (or a forced one): even then, stored messages aren't sent again.
  private func firstStart(
    _ start: RunOptions.Start, _ situation: EpochSituation, _ facts: EpochFacts
  ) throws(Undecided) -> EpochDecision {
    let point: ResumePoint
    var origin: OplogPosition?
    switch start {
    case .now: point = try facts.newestEntry()
    case .oldest: point = try facts.oldestEntry()
    case .at(let mark):
      point = try entry(of: mark, &origin, facts)
    case .snapshot: throw .refused(.halted("a snapshot is no position in the oplog"))
    }
    var plan = ResumePlan(
      start: point.position, term: point.term,
      origin: Checkpoint.Origin(position: origin ?? point.position, inclusive: start != .now),
      note: "a first start")
    plan.isFresh = true
    for stream in situation.streams {
      plan.found[stream.name] = stream.found
      if let tail = stream.tail {
        plan.watermarks[stream.name] = ResumePlan.StoredWatermark(
          position: tail.position, rule: tail.rule)
      }
    }
    let remarks = try lookUpUnproven(&plan, situation.streams, situation.checkpoint, facts)
    let decision = EpochDecision(
      .tail(plan),
      remarks + [.starting(["after": "\(plan.start)", "inclusive": "\(plan.origin.inclusive)"])])
    return movedBack(decision, plan)
  }

  /// Where reading begins for a mark. `origin` is set if the bridge's origin is another position.
  private func entry(
    of mark: OplogPosition, _ origin: inout OplogPosition?, _ facts: EpochFacts
  ) throws(Undecided) -> ResumePoint {
    // A change stream begins at any time; and its user may not be allowed to read the oplog.
    guard settings.readsOplog else { return ResumePoint(position: mark, term: nil) }
    switch try facts.place(of: mark) {
    case .entry(let entry): return entry
    case .ahead(let newest):
      origin = mark
      return newest
    case .lost:
      // Nothing is recorded for a position that no member has: another one can be chosen without force.
      if !options.snapshot, !settings.snapshotsOnLoss, let why = try facts.loss(of: mark) {
        throw .refused(.positionLost(why))
      }
      // The reader asks other members, which may have longer oplogs.
      return ResumePoint(position: mark, term: nil)
    }
  }

  /// If a transaction began before the resume position, reading begins with it, and nothing else before the
  /// position is published.
  private func movedBack(_ decision: EpochDecision, _ plan: ResumePlan) -> EpochDecision {
    var plan = plan
    plan.floor = plan.start
    if let first = memory.transactionStart { plan.moveBack(to: first) }
    var moved = decision
    moved.mode = .tail(plan)
    return moved
  }

  // MARK: - Snapshots

  private func continueSnapshot(
    _ snapshot: Checkpoint.Snapshot, _ checkpoint: Checkpoint, _ situation: EpochSituation,
    _ facts: EpochFacts
  ) throws(Undecided) -> EpochDecision {
    try refuseFrom("a snapshot at \(snapshot.position) that is not finished")
    if options.snapshot, !memory.hasBegun, !options.selection.isWhole,
      options.selection != snapshot.selection
    {
      throw .refused(
        .configuration(
          """
          a snapshot at \(snapshot.position) of \
          \(snapshot.selection.isWhole ? "everything" : snapshot.selection.line) is not finished: \
          finish it with tailrace snapshot, or add --force to leave it
          """))
    }
    let plan = try SnapshotPlan(snapshot, checkpoint.origin, situation, facts)
    return EpochDecision(
      .snapshot(plan), [.info("a snapshot continues", ["at": "\(snapshot.position)"])])
  }

  private func newSnapshot(
    because why: String, _ situation: EpochSituation, _ facts: EpochFacts
  ) throws(Undecided) -> EpochDecision {
    try refusePartialSnapshot(why)
    var decision = try newSnapshot(situation, facts)
    decision.remarks.insert(.warning("a snapshot begins", reason: why), at: 0)
    return decision
  }

  /// A snapshot from its beginning; at the newest entry that a majority has, unless `point` is given.
  ///
  /// `origin`: everything from there to the snapshot was published, so it can be published again.
  private func newSnapshot(
    at point: ResumePoint? = nil, since origin: Checkpoint.Origin? = nil,
    _ situation: EpochSituation, _ facts: EpochFacts
  ) throws(Undecided) -> EpochDecision {
    let point = if let point { point } else { try facts.newestEntry() }
    let selection = options.snapshot ? options.selection : SnapshotSelection()
    var details = ["at": "\(point.position)"]
    if !selection.isWhole { details["of"] = "\(selection.line)" }
    let plan = try SnapshotPlan(
      Checkpoint.Snapshot(at: point, of: selection),
      origin ?? Checkpoint.Origin(position: point.position, inclusive: false), situation, facts)
    return EpochDecision(.snapshot(plan), [.info("a snapshot begins", details)])
  }

  /// Refuses a partial snapshot that would silently lose what it leaves out.
  func refusePartialSnapshot(_ why: String) throws(Undecided) {
    guard options.snapshot, !options.selection.isWhole else { return }
    throw .refused(
      .positionLost(
        """
        \(why). A snapshot of \(options.selection.line) would close the gap for these alone: leave \
        --rule, --group and --namespace out, or add --force to accept the gap of the others
        """))
  }
}
