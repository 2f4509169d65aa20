import Bridge
import BridgeConfiguration
import JetStream
import MongoSource
import Oplog
import Testing

/// Every checkpoint × the ends of two streams × options × what this process has done: exactly one action,
/// and one that can be justified.
@Suite struct EpochWalkTests {
  private enum Known: CaseIterable {
    case nothing, tail, snapshotUnderWay, snapshotOver

    var checkpoint: Checkpoint? {
      var known = checkpointOfBoth
      switch self {
      case .nothing: return nil
      case .tail: break
      case .snapshotUnderWay:
        known.snapshot = Checkpoint.Snapshot(at: ResumePoint(position: entry(500)))
      case .snapshotOver:
        known.snapshot = Checkpoint.Snapshot(at: ResumePoint(position: entry(300)))
        known.snapshot?.marker = nil
      }
      return known
    }
  }

  /// Where stream and checkpoint can be to each other.
  private enum End: CaseIterable {
    case asKnown, ahead, behind, empty, emptied, madeAgain, older
    /// Somebody else's message has let a later one in before an earlier one.
    case gapped

    func stream(
      _ name: String, _ onLoss: StreamSpec.OnLoss, marked: Bool, _ checkpoint: Checkpoint?
    ) -> StreamObservation {
      var found =
        switch self {
        case .asKnown: found(name, 10, 500)
        case .ahead: found(name, 12, 520)
        case .behind: found(name, 8, 480)
        case .empty: found(name, 0, nil)
        case .emptied: found(name, 10, nil)
        case .madeAgain: found(name, 0, nil)
        case .older, .gapped: found(name, 12, 520)
        }
      if self == .emptied {
        found.firstSequence = 11
        found.messages = 0
      }
      if self == .madeAgain || self == .older { found.created = "c2" }
      if self == .older {
        // The bridge published on before it noticed.
        found.wasMadeAgain = true
        found.patchwork = found.tail.map { .init(before: nil, behind: [$0]) }
      }
      if self == .gapped, let checkpoint {
        found.unproven = UnprovenTail(of: found, checkpoint)
        found.unproven?.take(11, nil)
        found.unproven?.take(12, found.tail)
      }
      found.onLoss = onLoss
      if marked { found.mark = .used(from: entry(200), inclusive: false) }
      return found
    }
  }

  private static let starts: [RunOptions.Start?] = [nil, .now, .oldest, .at(entry(300))]

  private struct Case: CustomStringConvertible {
    var known: Known
    var streams: [StreamObservation]
    var machine: EpochMachine
    /// Of the rules that publish from now on; nil: those of the checkpoint.
    var rules: RuleSet.Identity?
    var description: String {
      "\(known), \(streams), \(machine.settings.options), begun: \(machine.memory.hasBegun)"
    }
  }

  @Test func `each situation has exactly one action, which skips nothing and doubles nothing`()
    throws
  {
    var tally: [String: Int] = [:]
    for known in Known.allCases {
      for a in End.allCases {
        for q in End.allCases {
          // Dead letters are sent one by one.
          if q == .gapped { continue }
          for onLoss in [StreamSpec.OnLoss.refill, .continue, .halt] {
            for marked in [false, true] {
              let streams = [
                a.stream("A", onLoss, marked: marked, known.checkpoint),
                q.stream("Q", onLoss, marked: marked, known.checkpoint),
              ]
              for machine in Self.machines {
                // How losses are mended depends on no rule.
                for rules in onLoss == .refill && !marked ? Self.ruleSets : [nil] {
                  let fault = try fault(
                    Case(known: known, streams: streams, machine: machine, rules: rules), &tally)
                  if let fault { Issue.record("\(fault)") }
                  guard fault == nil else { return }
                }
              }
            }
          }
        }
      }
    }
    for action in ["tail", "snapshot", "refused"] { #expect(tally[action, default: 0] > 1000) }
    #expect(tally["fresh", default: 0] > 100)
    #expect(tally["looked up", default: 0] > 1000)
  }

  /// The checkpoint's, others with its rule in them, and others without.
  private static let ruleSets: [RuleSet.Identity?] = [
    nil, RuleSet.Identity(hash: "other", ids: ["r", "s"]),
    RuleSet.Identity(hash: "other", ids: ["s"]),
  ]

  /// All options, in a process that begins and in one that has published.
  private static let machines: [EpochMachine] = starts.flatMap { from in
    [false, true].flatMap { force in
      [false, true].flatMap { snapshot in
        [RunOptions.Start.now, .oldest, .snapshot].flatMap { start in
          [false, true].flatMap { closesGaps in
            let fresh = machine(
              from: from, force: force, snapshot: snapshot, start: start, closesGaps: closesGaps)
            var begun = fresh
            begun.began(checkpointOfBoth)
            begun.memory.unanswered = [:]
            var due = begun
            due.memory.snapshotAt = ResumePoint(position: entry(900))
            return [fresh, begun, due]
          }
        }
      }
    }
  }

  /// Nil: all is well.
  private func fault(_ tested: Case, _ tally: inout [String: Int]) throws -> String? {
    let checkpoint = tested.known.checkpoint
    let situation = EpochSituation(
      checkpoint: checkpoint, streams: tested.streams, rules: tested.rules)
    var asked: [EpochQuestion] = []
    var answers = EpochAnswers()
    for stream in tested.streams { answers.stored?[stream.name] = stream.tail.map { [$0] } ?? [] }
    let result = try decide(tested.machine, situation, answers, asked: &asked)
    let options = tested.machine.settings.options
    let isForced = options.force && !tested.machine.memory.hasBegun
    func wrong(_ what: String) -> String { "\(what): \(result)\nfor \(tested)" }
    if asked.count > (tested.rules == nil ? 5 : 7) { return wrong("\(asked.count) questions") }
    switch result {
    case .refused(let error):
      tally["refused", default: 0] += 1
      if tested.machine.memory.snapshotAt != nil { return wrong("a snapshot is due") }
      if isForced, options.from != nil || options.snapshot { return wrong("it was forced") }
      switch error {
      case .configuration:
        return options.from != nil && !tested.machine.memory.hasBegun
          ? nil : wrong("nobody gave --from")
      case .positionLost:
        let isIntact = tested.streams.allSatisfy { $0.tail?.position == event(500) }
        return checkpoint != nil && isIntact ? wrong("nothing is lost") : nil
      default: return wrong("not a decision for an operator")
      }
    case .decided(let decision):
      switch decision.mode {
      case .snapshot(let plan):
        tally["snapshot", default: 0] += 1
        let isWanted =
          options.snapshot || tested.machine.memory.snapshotAt != nil
          || tested.known == .snapshotUnderWay || tested.machine.settings.start == .snapshot
          || tested.machine.settings.snapshotsOnLoss
        if !isWanted { return wrong("nobody wants a snapshot") }
        for stream in tested.streams where stream.tail?.position.entry == plan.snapshot.position {
          // Its messages must not get the numbers of others.
          if let tail = stream.tail, plan.firstIndex <= tail.position.index,
            tail.position.index < .max
          {
            return wrong("positions that exist")
          }
        }
        return nil
      case .tail(let plan):
        tally["tail", default: 0] += 1
        if plan.isFresh { tally["fresh", default: 0] += 1 }
        if plan.earlierRules != nil { tally["looked up", default: 0] += 1 }
        if let fault = changedRules(plan, checkpoint, tested) { return wrong(fault) }
        return judge(plan, checkpoint, tested, isForced).map(wrong)
      }
    }
  }

  /// Under other rules, a stream's end that is ahead of what was settled proves nothing: what is there is
  /// looked up, or the doubt is reported.
  private func changedRules(
    _ plan: ResumePlan, _ checkpoint: Checkpoint?, _ tested: Case
  ) -> String? {
    guard let checkpoint, let settled = checkpoint.settled, !plan.isFresh else { return nil }
    guard let rules = tested.rules else {
      return plan.earlierRules == nil ? nil : "the rules are the same"
    }
    for stream in tested.streams {
      guard let end = plan.watermarks[stream.name], end.position > settled,
        plan.refilling[stream.name] == nil, plan.halted[stream.name] == nil,
        plan.held[stream.name] == nil
      else { continue }
      guard let earlier = plan.earlierRules, earlier.to >= end.position else {
        return "what \(stream.name) has ahead of the checkpoint is not looked up"
      }
      let found = earlier.find(end.position, rule: end.rule, stream: stream.name) { "id" }
      if stream.tail?.position == end.position, earlier.streams.contains(stream.name),
        case .missing = found
      {
        return "\(stream.name) would get \(end.position) again"
      }
      if plan.unseen[stream.name] != nil { return "messages are counted under other rules" }
    }
    _ = rules
    return nil
  }

  private func judge(
    _ plan: ResumePlan, _ checkpoint: Checkpoint?, _ tested: Case, _ isForced: Bool
  ) -> String? {
    let isGiven = plan.isFresh && (isForced || tested.machine.settings.options.from != nil)
    if plan.isFresh, !isGiven {
      if checkpoint != nil { return "a first start in spite of a checkpoint" }
      if tested.streams.contains(where: { $0.tail != nil }) {
        return "a first start after messages"
      }
    }
    if plan.floor < plan.start { return "what was read is not published" }
    for stream in tested.streams where plan.halted[stream.name] == nil {
      // Nothing twice: all that is there is known to be there.
      let held = plan.held[stream.name]?.map(\.position) ?? []
      if let tail = stream.tail?.position, !held.contains(tail),
        (plan.watermarks[stream.name]?.position).map({ $0 < tail }) ?? true
      {
        return "\(stream.name) would get its last message again"
      }
      let isLookedUp = plan.earlierRules?.streams.contains(stream.name) ?? false
      if stream.unproven != nil {
        if !isLookedUp, plan.watermarks[stream.name]?.position != event(500) {
          return "what \(stream.name) may lack is taken for stored"
        }
        if plan.found[stream.name]?.sequence != 10 { return "a crash would forget the gap" }
      }
      guard !plan.isFresh, let acked = checkpoint?.streams[stream.name] else { continue }
      // Nothing skipped: what is gone is read again, or given up by configuration.
      let isLost =
        stream.created != acked.created || stream.lastSequence < acked.sequence
      if isLost, stream.onLoss == .refill {
        let last = stream.patchwork == nil ? stream.tail?.position.entry : nil
        if plan.start > last ?? entry(200) { return "\(stream.name) is not refilled" }
        if plan.refilling[stream.name].map({ $0 < acked.position }) ?? true {
          return "\(stream.name) is refilled too little"
        }
      } else if plan.start > checkpoint?.resume ?? entry(0) {
        return "reading begins too late"
      }
    }
    return nil
  }
}
