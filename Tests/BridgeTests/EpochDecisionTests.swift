import Bridge
import BridgeConfiguration
import JetStream
import MongoSource
import Oplog
import Testing

@Suite struct EpochDecisionTests {
  @Test func `the checkpoint is where an epoch continues, and costs no question`() throws {
    var asked: [EpochQuestion] = []
    let plan = try #require(try decide(machine(), quiet, asked: &asked).tail)
    #expect(plan.start == entry(500) && plan.floor == entry(500) && !plan.isFresh)
    #expect(plan.watermarks["A"]?.position == event(500))
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
    let gone = try decide(machine(from: .at(entry(50))), nothing, EpochAnswers(isGone: true))
    #expect(gone.error?.exitCode == 75)
    #expect(
      try decide(
        machine(from: .at(entry(50)), closesGaps: true), nothing, EpochAnswers(isGone: true)
      )
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
    let answers = EpochAnswers(trace: "whose are they?")
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
    #expect(result.tail?.watermarks["A"]?.position == event(500))
    guard case .decided(let decision) = result else { return }
    forced.adopt(decision)
    forced.began(checkpointFound())
    #expect(try decide(forced, quiet).tail?.start == entry(500))
  }

  @Test func `a snapshot that was asked for comes after what is unpublished`() throws {
    var bridge = machine(snapshot: true)
    let first = try decide(bridge, quiet)
    #expect(first.tail?.start == entry(500) && first.catchUp?.position == entry(900))
    guard case .decided(let decision) = first else { return }
    bridge.adopt(decision)
    bridge.began(checkpointFound())
    _ = bridge.ended(
      .finished, EpochMachine.Remains(checkpoint: checkpointFound(at: 900), proven: [:]))
    let outcome = try next(&bridge, after: .finished)
    guard case .another = outcome.next else {
      Issue.record("\(outcome)")
      return
    }
    let caughtUp = EpochSituation(
      checkpoint: checkpointFound(at: 900, ["A": (20, 900)]),
      streams: [streamFound(last: 20, tail: 900)])
    let second = try decide(bridge, caughtUp)
    #expect(second.snapshot?.snapshot.position == entry(900))
    // What came before was published, and can be again.
    #expect(second.snapshot?.origin.position == entry(200))
    guard case .decided(let snapshot) = second else { return }
    bridge.adopt(snapshot)
    bridge.began(checkpointFound(at: 900))
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
    var known = checkpointFound(at: 400)
    known.snapshot = Checkpoint.Snapshot(at: ResumePoint(position: entry(400)))
    var tail = streamFound()
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
    bridge.began(checkpointFound())
    _ = try next(&bridge, after: .needsEarlier(entry(450)), EpochAnswers(transactionStart: 420))
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

  @Test func `ids that were met are looked up in the next epoch, and only there`() throws {
    var bridge = machine()
    bridge.began(checkpointFound())
    let remains = EpochMachine.Remains(checkpoint: checkpointFound(), proven: [:])
    let end = EpochEnd.publishFailed(
      lane: "A", .duplicates(in: "A", "known"))
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
      (.settled, .another(pause: false), .another(pause: false)),
      (.halted(.unexpected("x")), .fail(70), .fail(70)),
      (.connectionLost("x"), .another(pause: true), .another(pause: true)),
      (.blocked("x"), .another(pause: true), .another(pause: true)),
      (.acksRefused("x"), .another(pause: true), .another(pause: true)),
      (.abandoned("x"), .stop, .stop),
      (
        .publishFailed(lane: "A", publish), .another(pause: true),
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
          bridge.began(checkpointFound())
          snapshots.began(checkpointFound())
        }
        #expect(wanted(try next(&bridge, after: end)) == plain, "\(end)")
        #expect(wanted(try next(&snapshots, after: end)) == snapshot, "\(end)")
      }
    }
  }

  @Test
  func `rules that wait take over where all is settled, or where those before may be at fault`()
    throws
  {
    let publish = JetStreamError(code: 10077, operation: "publish")
    let table: [(EpochEnd?, tail: Bool, snapshot: Bool)] = [
      (nil, false, false),
      (.settled, true, true),
      (.finished, true, true),
      (.snapshotFinished(tailFrom: ResumePoint(position: entry(1))), true, true),
      (.publishFailed(lane: "A", publish), true, false),
      (.acksRefused("x"), true, false),
      (.connectionLost("x"), false, false),
      (.blocked("x"), false, false),
      (.needsEarlier(entry(50)), false, false),
      (.sourceFailed(.refused("x")), false, false),
      (.halted(.unexpected("x")), false, false),
      (.abandoned("x"), false, false),
    ]
    for (end, tail, snapshot) in table {
      var bridge = machine()
      // Nothing was published by this process: it is a start with the file as it is now.
      #expect(bridge.admitsRules(after: end), "\(String(describing: end))")
      bridge.began(checkpointFound())
      #expect(bridge.admitsRules(after: end) == tail, "\(String(describing: end))")
      bridge.memory.isSnapshot = true
      #expect(bridge.admitsRules(after: end) == snapshot, "\(String(describing: end))")
    }
    var stopping = machine()
    stopping.began(checkpointFound())
    #expect(wanted(try next(&stopping, after: .settled, isStopping: true)) == .stop)
  }

  @Test func `a lost position is closed by a snapshot where that is configured`() throws {
    var bridge = machine(closesGaps: true)
    bridge.began(checkpointFound())
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
