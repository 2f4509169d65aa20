import Bridge
import BridgeConfiguration
import JetStream
import Oplog
import Testing

private func own(_ sequence: UInt64, _ seconds: UInt32) -> StreamObservation.Own {
  StreamObservation.Own(sequence: sequence, position: event(seconds), rule: "r", id: "id")
}

private func tail(settled: UInt32? = nil) -> UnprovenTail {
  UnprovenTail(behind: 10, acknowledged: own(10, 500), settled: settled.map { event($0) })
}

/// Stream A, and what is behind sequence 10; `name`: of another one.
private func situation(
  _ tail: UnprovenTail, name: String = "A", window: Duration? = nil
) -> EpochSituation {
  var stream = streamFound(name, last: tail.last, tail: nil)
  stream.tail = tail.newest ?? tail.firm
  stream.unproven = tail
  stream.idsProveFor = window
  stream.survivors = tail.last - (stream.tail?.sequence ?? 0) - min(tail.gone, tail.last - 10)
  return EpochSituation(checkpoint: checkpointFound(), streams: [stream])
}

private func begun(_ names: [String] = ["A"]) -> EpochMachine {
  var bridge = machine()
  var checkpoint = checkpointFound(
    at: 500, Dictionary(uniqueKeysWithValues: names.map { ($0, (10, 500)) }))
  for name in names {
    checkpoint.states[name] = Checkpoint.StreamState(created: "c1")
    checkpoint.states[name]?.mayLeaveGaps = true
  }
  bridge.began(checkpoint)
  bridge.memory.unanswered = Dictionary(uniqueKeysWithValues: names.map { ($0, 5) })
  return bridge
}

private func refuse(_ lane: String, _ bridge: inout EpochMachine) throws {
  let refused = JetStreamError(code: JetStreamCode.wrongLastSequence, operation: "publish")
  let checkpoint = try #require(bridge.memory.checkpoint)
  _ = bridge.ended(
    .publishFailed(lane: lane, refused),
    EpochMachine.Remains(
      checkpoint: checkpoint, proven: [:], unanswered: bridge.memory.unanswered))
}

@Suite struct UnprovenTailTests {
  @Test func `messages of others count where one of ours comes behind them`() {
    var tail = tail()
    tail.take(11, nil)
    #expect(tail.others == 0)
    tail.take(12, own(12, 520))
    tail.take(13, nil)
    #expect(tail.others == 1 && tail.own == [own(12, 520)] && tail.gone == 0)
    tail.take(16, own(16, 510))
    tail.end(at: 17)
    #expect(tail.others == 2 && tail.gone == 3 && tail.last == 17)
    #expect(tail.newest == own(12, 520) && tail.firm == own(10, 500))
  }

  @Test func `what is settled is proven, in whatever order it is stored`() {
    var tail = tail(settled: 600)
    tail.take(11, nil)
    tail.take(12, own(12, 580))
    #expect(tail.firm == own(12, 580) && tail.others == 0 && tail.after == 12)
    // It was sent late.
    tail.take(13, own(13, 560))
    #expect(tail.firm == own(12, 580) && tail.own.isEmpty)
    tail.take(14, own(14, 620))
    // Behind one that is not settled, which would be out of sight behind it.
    tail.take(15, own(15, 590))
    #expect(tail.firm == own(12, 580) && tail.own == [own(14, 620)])
  }

  @Test func `a long run proves what comes before it, unless something is between`() {
    func filled(_ gap: UInt64?) -> UnprovenTail {
      var tail = tail()
      for n in 1...UInt64(2 * UnprovenTail.window) {
        if n == gap {
          tail.take(10 + n, nil)
        } else {
          tail.take(10 + n, own(10 + n, UInt32(500 + n)))
        }
      }
      return tail
    }
    let whole = filled(nil)
    let middle = UInt64(UnprovenTail.window)
    #expect(whole.own.count == UnprovenTail.window && whole.firm?.sequence == 10 + middle)
    #expect(filled(5).own.count == 2 * UnprovenTail.window - 1)
    #expect(filled(5).firm?.sequence == 10)
    // Later ones before it: then it does not say that all behind it comes later.
    var late = tail()
    late.take(11, own(11, 100_000))
    for n in 2...UInt64(2 * UnprovenTail.window + 10) {
      late.take(10 + n, own(10 + n, UInt32(500 + n)))
    }
    #expect(late.firm?.sequence == 10 && late.newest?.sequence == 11)
  }

  @Test func `a tail needs a stream that is what it was`() {
    var checkpoint = checkpointFound()
    #expect(UnprovenTail(of: streamFound(last: 12, tail: 520), checkpoint)?.firm?.sequence == 10)
    #expect(UnprovenTail(of: streamFound(last: 9, tail: 480), checkpoint) == nil)
    #expect(UnprovenTail(of: streamFound(last: 12, tail: 520, created: "c2"), checkpoint) == nil)
    var overwritten = streamFound(last: 12, tail: 520)
    overwritten.checkpointOverwritten = true
    #expect(UnprovenTail(of: overwritten, checkpoint) == nil)
    // Nothing was acknowledged yet.
    checkpoint.streams = [:]
    #expect(UnprovenTail(of: streamFound(last: 12, tail: 520), checkpoint) == nil)
    checkpoint.states["A"] = Checkpoint.StreamState(created: "c1")
    checkpoint.states["A"]?.base = 3
    let first = UnprovenTail(of: streamFound(last: 12, tail: 520), checkpoint)
    #expect(first?.after == 3 && first?.firm == nil)
  }
}

@Suite struct UnprovenTailDecisionTests {
  private static let withGap: UnprovenTail = {
    var tail = tail()
    tail.take(11, nil)
    tail.take(12, own(12, 520))
    return tail
  }()

  @Test func `after a kill and after any end, each message is looked up`() throws {
    for bridge in [machine(), begun()] {
      let result = try decide(bridge, situation(Self.withGap))
      let plan = try #require(result.tail)
      #expect(plan.watermarks["A"]?.position == event(500))
      #expect(plan.held["A"]?.map(\.position) == [event(520)])
      #expect(plan.lacksUpTo["A"]?.position == event(520))
      // A crash comes back to the same place.
      #expect(plan.found["A"]?.sequence == 10 && plan.start == entry(500))
      guard case .decided(let decision) = result else { return }
      let says = decision.remarks.contains { remark in
        guard case .error(let text, _) = remark else { return false }
        return text.contains("out of order")
      }
      #expect(says && plan.doubts.isEmpty)
    }
  }

  @Test func `where nobody else published, nothing is said`() throws {
    var quiet = tail()
    quiet.take(11, own(11, 510))
    let result = try decide(machine(), situation(quiet))
    guard case .decided(let decision) = result else { return }
    #expect(result.tail?.held["A"]?.count == 1)
    #expect(
      decision.remarks.allSatisfy { remark in
        if case .resuming = remark { return true }
        return false
      })
  }

  /// Consumers took them: as many of ours as there are sequences, if nobody else published.
  @Test func `messages that are gone are counted, unless somebody else's may be among them`() throws
  {
    var gone = tail()
    gone.end(at: 13)
    var bridge = begun()
    let counted = try #require(try decide(bridge, situation(gone)).tail)
    #expect(counted.unseen["A"]?.count == 3 && counted.watermarks["A"]?.position == event(500))
    // The server knows of each id.
    let asked = try #require(try decide(bridge, situation(gone, window: .seconds(120))).tail)
    #expect(asked.unseen.isEmpty && asked.doubts.isEmpty && asked.uncounted.isEmpty)
    #expect(asked.inherited["A"]?.byIDs == true && asked.inherited["A"]?.through == 13)
    let late = EpochAnswers(checkpointAge: 100)
    let old = try #require(
      try decide(bridge, situation(gone, window: .seconds(120)), late).tail)
    #expect(old.unseen["A"]?.count == 3)
    // A message was refused: one of those that are gone was somebody else's.
    try refuse("A", &bridge)
    let doubted = try #require(try decide(bridge, situation(gone)).tail)
    #expect(doubted.unseen.isEmpty && doubted.doubts.count == 1 && doubted.uncounted["A"] == 13)
  }

  @Test func `each stream is remembered by itself, until something later is acknowledged`() throws {
    var bridge = begun(["A", "B"])
    try refuse("A", &bridge)
    try refuse("B", &bridge)
    #expect(bridge.memory.intruded == ["A", "B"])
    var checkpoint = try #require(bridge.memory.checkpoint)
    checkpoint.streams["B"]?.sequence = 20
    _ = bridge.ended(
      .connectionLost("cut"), EpochMachine.Remains(checkpoint: checkpoint, proven: [:]))
    #expect(bridge.memory.intruded == ["A"])
    // Other protocols: with the one that was refused, all behind it were.
    var batches = begun()
    batches.memory.checkpoint?.states["A"]?.mayLeaveGaps = false
    try refuse("A", &batches)
    #expect(batches.memory.intruded.isEmpty && batches.memory.unanswered == ["A": 0])
  }

  @Test func `under other rules the same messages are looked up by their ids`() throws {
    var found = situation(Self.withGap)
    found.rules = RuleSet.Identity(hash: "other", ids: ["r"])
    var answers = EpochAnswers()
    answers.stored = ["A": [own(12, 520)]]
    let plan = try #require(try decide(machine(), found, answers).tail)
    let earlier = try #require(plan.earlierRules)
    #expect(earlier.to == event(520) && earlier.streams == ["A"] && plan.held["A"] == nil)
    guard case .missing = earlier.find(event(510), rule: "r", stream: "A", id: { "x" }) else {
      Issue.record("the gap is taken for stored")
      return
    }
    // They stand behind later ones, so they don't tell where the stream is.
    #expect(plan.found["A"]?.sequence == 10 && plan.watermarks["A"]?.position == event(520))
  }
}
