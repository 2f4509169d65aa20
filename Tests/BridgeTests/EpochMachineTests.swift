import Bridge
import BridgeConfiguration
import JetStream
import MongoSource
import Oplog
import Testing

private func entry(_ seconds: UInt32) -> OplogPosition {
  OplogPosition(seconds: seconds, increment: 1)
}

private func event(_ seconds: UInt32) -> EventPosition {
  EventPosition(entry: entry(seconds), index: 0)
}

/// A server that holds entries 100 to 900, and answers everything.
private struct Answers {
  var oldest: UInt32 = 100
  var newest: UInt32 = 900
  var trace: String?
  var isGone = false
  var transactionStart: UInt32?
  var own: [StreamObservation.Own] = []

  func answer(_ question: EpochQuestion) -> EpochAnswer {
    switch question {
    case .newestEntry: .entry(ResumePoint(position: entry(newest), term: 1))
    case .oldestEntry: .entry(ResumePoint(position: entry(oldest), term: 1))
    case .markedEntry(let mark):
      mark < entry(oldest)
        ? .mark(.lost(oldest: ResumePoint(position: entry(oldest))))
        : mark > entry(newest)
          ? .mark(.ahead(newest: ResumePoint(position: entry(newest))))
          : .mark(.entry(ResumePoint(position: mark, term: 1)))
    case .firstEntry(let position): .entry(ResumePoint(position: position, term: 1))
    case .transactionStart:
      .entry(transactionStart.map { ResumePoint(position: entry($0)) })
    case .checkpointAge: .age(.seconds(5))
    case .unnamedTrace: .reason(trace)
    case .loss: .reason(isGone ? "gone" : nil)
    case .ownMessages: .messages(own)
    case .snapshotIDs: .ids([Array("x".utf8)])
    }
  }
}

private enum Result {
  case decided(EpochDecision)
  case refused(BridgeError)

  var tail: ResumePlan? {
    guard case .decided(let decision) = self, case .tail(let plan) = decision.mode else {
      return nil
    }
    return plan
  }

  var snapshot: SnapshotPlan? {
    guard case .decided(let decision) = self, case .snapshot(let plan) = decision.mode else {
      return nil
    }
    return plan
  }

  var catchUp: ResumePoint? {
    guard case .decided(let decision) = self else { return nil }
    return decision.catchUp
  }

  var error: BridgeError? {
    guard case .refused(let error) = self else { return nil }
    return error
  }
}

private struct Endless: Error { var question: EpochQuestion }

/// Decides, with every question answered once.
private func decide(
  _ machine: EpochMachine, _ situation: EpochSituation, _ answers: Answers = Answers(),
  asked: inout [EpochQuestion]
) throws -> Result {
  var facts = EpochFacts()
  while true {
    do {
      return .decided(try machine.decide(situation, facts))
    } catch {
      switch error {
      case .refused(let why): return .refused(why)
      case .asks(let question):
        guard facts[question] == nil else { throw Endless(question: question) }
        asked.append(question)
        facts[question] = answers.answer(question)
      }
    }
  }
}

private func decide(
  _ machine: EpochMachine, _ situation: EpochSituation, _ answers: Answers = Answers()
) throws -> Result {
  var asked: [EpochQuestion] = []
  return try decide(machine, situation, answers, asked: &asked)
}

private func next(
  _ machine: inout EpochMachine, after end: EpochEnd, isStopping: Bool = false,
  _ answers: Answers = Answers()
) throws -> EpochOutcome {
  var facts = EpochFacts()
  while true {
    do {
      return try machine.next(after: end, isStopping: isStopping, facts)
    } catch {
      switch error {
      case .refused(let why): throw why
      case .asks(let question):
        guard facts[question] == nil else { throw Endless(question: question) }
        facts[question] = answers.answer(question)
      }
    }
  }
}

private func checkpoint(
  at seconds: UInt32 = 500, _ streams: [String: (UInt64, UInt32)] = ["A": (10, 500)]
) -> Checkpoint {
  var checkpoint = Checkpoint(
    bridge: "b", source: "rs0", instance: "i", version: 7, resume: entry(seconds), term: 3,
    origin: Checkpoint.Origin(position: entry(200), inclusive: false),
    streams: streams.mapValues {
      Checkpoint.Stream(
        sequence: $0.0, id: "id", position: event($0.1), rule: "r", created: "c1")
    }, configurationHash: "h")
  checkpoint.settled = EventPosition(entry: entry(seconds), index: .max)
  return checkpoint
}

private func stream(
  _ name: String = "A", last: UInt64 = 10, tail: UInt32? = 500, created: String = "c1",
  deadLetter: Bool = false
) -> StreamObservation {
  StreamObservation(
    name: name, created: created, firstSequence: last > 0 ? 1 : 0, lastSequence: last,
    exclusive: !deadLetter, isDeadLetter: deadLetter,
    tail: tail.map {
      StreamObservation.Own(sequence: last, position: event($0), rule: "r", id: "id")
    })
}

private func machine(
  from: RunOptions.Start? = nil, force: Bool = false, snapshot: Bool = false,
  start: RunOptions.Start = .now, closesGaps: Bool = false, oplog: Bool = true
) -> EpochMachine {
  var options = RunOptions()
  options.from = from
  options.force = force
  options.snapshot = snapshot
  var settings = EpochMachine.Settings(options: options, start: start)
  settings.snapshotsOnLoss = closesGaps
  settings.readsOplog = oplog
  return EpochMachine(settings)
}

private let checkpointOfBoth = checkpoint(at: 500, ["A": (10, 500), "Q": (10, 500)])

private func found(_ name: String, _ last: UInt64, _ tail: UInt32?) -> StreamObservation {
  stream(name, last: last, tail: tail, deadLetter: name == "Q")
}

private let quiet = EpochSituation(checkpoint: checkpoint(), streams: [stream()])
private let nothing = EpochSituation(checkpoint: nil, streams: [stream(last: 0, tail: nil)])

@Suite struct EpochDecisionTests {
  @Test func `the checkpoint is where an epoch continues, and costs no question`() throws {
    var asked: [EpochQuestion] = []
    let plan = try #require(try decide(machine(), quiet, asked: &asked).tail)
    #expect(plan.start == entry(500) && plan.floor == entry(500) && !plan.isFresh)
    #expect(plan.horizons["A"]?.position == event(500))
    #expect(asked.isEmpty)
  }

  @Test(
    arguments: [
      (RunOptions.Start.now, 900, false), (.oldest, 100, true), (.at(entry(300)), 300, true),
    ] as [(RunOptions.Start, UInt32, Bool)])
  func `a first start begins as configured`(
    start: RunOptions.Start, seconds: UInt32, inclusive: Bool
  ) throws {
    let plan = try #require(try decide(machine(start: start), nothing).tail)
    #expect(plan.isFresh && plan.start == entry(seconds))
    #expect(plan.origin == Checkpoint.Origin(position: entry(seconds), inclusive: inclusive))
    // The command line is worth more.
    let other = try #require(try decide(machine(from: .at(entry(150)), start: start), nothing).tail)
    #expect(other.start == entry(150))
  }

  @Test func `a mark before the oplog is left to the reader, one behind it waits`() throws {
    let early = try #require(try decide(machine(from: .at(entry(50))), nothing).tail)
    #expect(early.start == entry(50) && early.term == nil)
    let gone = try decide(machine(from: .at(entry(50))), nothing, Answers(isGone: true))
    #expect(gone.error?.exitCode == 75)
    #expect(
      try decide(machine(from: .at(entry(50)), closesGaps: true), nothing, Answers(isGone: true))
        .tail != nil)
    let late = try #require(try decide(machine(from: .at(entry(950))), nothing).tail)
    #expect(late.start == entry(900) && late.origin.position == entry(950))
    // A change stream begins at any moment.
    var asked: [EpochQuestion] = []
    let stream = try #require(
      try decide(machine(from: .at(entry(950)), oplog: false), nothing, asked: &asked).tail)
    #expect(stream.start == entry(950) && asked.isEmpty)
  }

  @Test func `messages that name no bridge forbid a first start at now`() throws {
    let answers = Answers(trace: "whose are they?")
    #expect(try decide(machine(), nothing, answers).error?.exitCode == 75)
    #expect(try decide(machine(from: .now), nothing, answers).tail != nil)
    #expect(try decide(machine(start: .oldest), nothing, answers).tail != nil)
  }

  @Test func `from is no way around a known position, unless it is forced, and only once`() throws {
    #expect(try decide(machine(from: .oldest), quiet).error?.exitCode == 78)
    var forced = machine(from: .oldest, force: true)
    let result = try decide(forced, quiet)
    #expect(result.tail?.start == entry(100) && result.tail?.isFresh == true)
    // What is there already is not sent again.
    #expect(result.tail?.horizons["A"]?.position == event(500))
    guard case .decided(let decision) = result else { return }
    forced.adopt(decision)
    forced.began(checkpoint())
    #expect(try decide(forced, quiet).tail?.start == entry(500))
  }

  @Test func `a snapshot that was asked for comes after what is unpublished`() throws {
    var bridge = machine(snapshot: true)
    let first = try decide(bridge, quiet)
    #expect(first.tail?.start == entry(500) && first.catchUp?.position == entry(900))
    guard case .decided(let decision) = first else { return }
    bridge.adopt(decision)
    bridge.began(checkpoint())
    _ = bridge.ended(.finished, EpochMachine.Remains(checkpoint: checkpoint(at: 900), proven: [:]))
    let outcome = try next(&bridge, after: .finished)
    guard case .another = outcome.next else {
      Issue.record("\(outcome)")
      return
    }
    let caughtUp = EpochSituation(
      checkpoint: checkpoint(at: 900, ["A": (20, 900)]), streams: [stream(last: 20, tail: 900)])
    let second = try decide(bridge, caughtUp)
    #expect(second.snapshot?.snapshot.position == entry(900))
    // What came before was published, and can be again.
    #expect(second.snapshot?.origin.position == entry(200))
    guard case .decided(let snapshot) = second else { return }
    bridge.adopt(snapshot)
    bridge.began(checkpoint(at: 900))
    guard
      case .stop = try next(
        &bridge, after: .snapshotFinished(tailFrom: ResumePoint(position: entry(900)))
      ).next
    else {
      Issue.record("it does not stop")
      return
    }
  }

  @Test func `a snapshot that was begun is continued with what the streams hold of it`() throws {
    var known = checkpoint(at: 400)
    known.snapshot = Checkpoint.Snapshot(at: ResumePoint(position: entry(400)))
    var tail = stream()
    tail.tail?.position = EventPosition(entry: entry(400), index: .max - 1)
    let found = EpochSituation(checkpoint: known, streams: [tail])
    var asked: [EpochQuestion] = []
    let plan = try #require(try decide(machine(), found, asked: &asked).snapshot)
    #expect(plan.stored["A"] == [Array("x".utf8)] && plan.firstIndex == .max)
    #expect(asked.count == 1)
    #expect(try decide(machine(from: .now), found).error?.exitCode == 78)
    #expect(try decide(machine(from: .now, force: true), found).tail != nil)
    var part = machine(snapshot: true).settings
    part.options.selection = SnapshotSelection(rules: ["r"])
    #expect(try decide(EpochMachine(part), found).error?.exitCode == 78)
  }

  @Test func `a transaction that began earlier moves reading back, and nothing else`() throws {
    var bridge = machine()
    bridge.began(checkpoint())
    _ = try next(&bridge, after: .needsEarlier(entry(450)), Answers(transactionStart: 420))
    let plan = try #require(try decide(bridge, quiet).tail)
    #expect(plan.start == entry(420) && plan.floor == entry(500) && plan.term == nil)
    // Its first entries are gone.
    let lost = try next(&bridge, after: .needsEarlier(entry(450)))
    guard case .fail(let error) = lost.next else {
      Issue.record("\(lost)")
      return
    }
    #expect(error.exitCode == 75)
  }

  @Test func `messages that came between ours are made up for, late`() throws {
    var bridge = machine()
    bridge.began(checkpoint())
    let gap = ResumePlan.Horizon(position: event(510), rule: "r")
    let refused = JetStreamError(code: JetStreamCode.wrongLastSequence, operation: "publish")
    _ = bridge.ended(
      .publishFailed(lane: "A", refused, unanswered: [gap]),
      EpochMachine.Remains(checkpoint: checkpoint(), proven: [:], unanswered: ["A": 1]))
    let later = EpochSituation(
      checkpoint: checkpoint(), streams: [stream(last: 11, tail: 520)])
    let plan = try #require(try decide(bridge, later).tail)
    #expect(plan.missing["A"] == [gap])
    // Had it been stored, there would be nothing to do.
    let own = StreamObservation.Own(sequence: 11, position: event(510), rule: "r", id: "")
    let complete = try #require(try decide(bridge, later, Answers(own: [own])).tail)
    #expect(complete.missing.isEmpty)
  }

  @Test func `ids that were met are looked up in the next epoch, and only there`() throws {
    var bridge = machine()
    bridge.began(checkpoint())
    let remains = EpochMachine.Remains(checkpoint: checkpoint(), proven: [:])
    let end = EpochEnd.publishFailed(
      lane: "A", .duplicates(in: "A", "known"), unanswered: [])
    _ = bridge.ended(end, remains)
    #expect(bridge.memory.cautious == ["A"])
    #expect(try next(&bridge, after: end).resetsPause)
    _ = bridge.ended(.connectionLost("gone"), remains)
    #expect(bridge.memory.cautious.isEmpty)
  }
}

/// Every end of an epoch × every policy has one outcome.
@Suite struct EpochOutcomeTests {
  private enum Wanted: Equatable {
    case another(pause: Bool)
    case stop
    case fail(Int32)
  }

  private func wanted(_ outcome: EpochOutcome) -> Wanted {
    switch outcome.next {
    case .another: .another(pause: !outcome.resetsPause)
    case .stop: .stop
    case .fail(let error): .fail(error.exitCode)
    }
  }

  private static let lost = PositionLost(
    reason: .rolledOver, expected: ResumePoint(position: entry(50)), found: nil,
    oldest: ResumePoint(position: entry(100)), newest: nil, host: "h")

  @Test func `each end leads to one thing`() throws {
    let publish = JetStreamError(code: 10077, operation: "publish")
    let table: [(EpochEnd, plain: Wanted, snapshot: Wanted)] = [
      (.finished, .stop, .stop),
      (.halted(.unexpected("x")), .fail(70), .fail(70)),
      (.connectionLost("x"), .another(pause: true), .another(pause: true)),
      (.blocked("x"), .another(pause: true), .another(pause: true)),
      (.acksRefused("x"), .another(pause: true), .another(pause: true)),
      (.abandoned("x"), .stop, .stop),
      (
        .publishFailed(lane: "A", publish, unanswered: []), .another(pause: true),
        .another(pause: true)
      ),
      (
        .snapshotFinished(tailFrom: ResumePoint(position: entry(1))), .another(pause: false), .stop
      ),
      (.sourceFailed(.unsupported("x")), .fail(78), .fail(78)),
      (.sourceFailed(.corruptReply("x")), .fail(70), .fail(70)),
      (.sourceFailed(.refused("x")), .another(pause: true), .another(pause: true)),
      (.sourceFailed(.positionLost(Self.lost)), .fail(75), .another(pause: false)),
      (.needsEarlier(entry(50)), .fail(75), .another(pause: false)),
    ]
    for (end, plain, snapshot) in table {
      for hasBegun in [false, true] {
        var bridge = machine()
        var snapshots = machine(snapshot: true)
        if hasBegun {
          bridge.began(checkpoint())
          snapshots.began(checkpoint())
        }
        #expect(wanted(try next(&bridge, after: end)) == plain, "\(end)")
        #expect(wanted(try next(&snapshots, after: end)) == snapshot, "\(end)")
      }
    }
  }

  @Test func `a lost position is closed by a snapshot where that is configured`() throws {
    var bridge = machine(closesGaps: true)
    bridge.began(checkpoint())
    let outcome = try next(&bridge, after: .sourceFailed(.positionLost(Self.lost)))
    #expect(wanted(outcome) == .another(pause: false))
    let result = try decide(bridge, quiet)
    #expect(result.snapshot?.snapshot.position == entry(900))
    // There was a gap: nothing from before the snapshot can be published again.
    #expect(result.snapshot?.origin.position == entry(900))
    // And a snapshot that falls behind the oplog itself is an operator's matter.
    guard case .decided(let decision) = result else { return }
    bridge.adopt(decision)
    #expect(
      wanted(try next(&bridge, after: .sourceFailed(.positionLost(Self.lost)))) == .fail(75))
  }

  @Test func `a partial snapshot closes no gap`() throws {
    var settings = machine(snapshot: true).settings
    settings.options.selection = SnapshotSelection(rules: ["r"])
    var bridge = EpochMachine(settings)
    #expect(throws: BridgeError.self) {
      try next(&bridge, after: .sourceFailed(.positionLost(Self.lost)))
    }
  }
}

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

    func stream(_ name: String, _ onLoss: StreamSpec.OnLoss, marked: Bool) -> StreamObservation {
      var found =
        switch self {
        case .asKnown: found(name, 10, 500)
        case .ahead: found(name, 12, 520)
        case .behind: found(name, 8, 480)
        case .empty: found(name, 0, nil)
        case .emptied: found(name, 10, nil)
        case .madeAgain: found(name, 0, nil)
        case .older: found(name, 12, 520)
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
          for onLoss in [StreamSpec.OnLoss.refill, .continue, .halt] {
            for marked in [false, true] {
              let streams = [
                a.stream("A", onLoss, marked: marked), q.stream("Q", onLoss, marked: marked),
              ]
              for machine in Self.machines {
                let fault = try fault(
                  Case(known: known, streams: streams, machine: machine), &tally)
                if let fault { Issue.record("\(fault)") }
                guard fault == nil else { return }
              }
            }
          }
        }
      }
    }
    for action in ["tail", "snapshot", "refused"] { #expect(tally[action, default: 0] > 1000) }
    #expect(tally["fresh", default: 0] > 100)
  }

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
    let situation = EpochSituation(checkpoint: checkpoint, streams: tested.streams)
    var asked: [EpochQuestion] = []
    let result = try decide(tested.machine, situation, asked: &asked)
    let options = tested.machine.settings.options
    let isForced = options.force && !tested.machine.memory.hasBegun
    func wrong(_ what: String) -> String { "\(what): \(result)\nfor \(tested)" }
    if asked.count > 5 { return wrong("\(asked.count) questions") }
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
        return judge(plan, checkpoint, tested, isForced).map(wrong)
      }
    }
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
        (plan.horizons[stream.name]?.position).map({ $0 < tail }) ?? true
      {
        return "\(stream.name) would get its last message again"
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
