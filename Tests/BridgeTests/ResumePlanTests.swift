import Bridge
import MongoSource
import Oplog
import Testing

private func position(_ text: String) -> EventPosition {
  EventPosition(text) ?? EventPosition(entry: OplogPosition(seconds: 0, increment: 0), index: 0)
}

private func entry(_ text: String) -> OplogPosition {
  OplogPosition(text) ?? OplogPosition(seconds: 0, increment: 0)
}

private func stream(
  _ name: String = "A", last: UInt64, first: UInt64 = 1, tail: String? = nil, at: UInt64? = nil,
  created: String = "c1", exclusive: Bool = true, deadLetter: Bool = false
) -> StreamObservation {
  StreamObservation(
    name: name, created: created, firstSequence: first, lastSequence: last, exclusive: exclusive,
    isDeadLetter: deadLetter,
    tail: tail.map {
      StreamObservation.Own(sequence: at ?? last, position: position($0), rule: "r", id: "id")
    })
}

private func checkpoint(_ resume: String, _ streams: [String: (UInt64, String)]) -> Checkpoint {
  Checkpoint(
    bridge: "b", source: "rs0", instance: "i", version: 7, resume: entry(resume), term: 3,
    origin: Checkpoint.Origin(position: entry("100.1"), inclusive: false),
    streams: streams.mapValues {
      Checkpoint.Stream(
        sequence: $0.0, id: "id", position: position($0.1), rule: "r", created: "c1")
    }, configurationHash: "h")
}

private func resume(_ decision: ResumeDecision) throws -> ResumePlan {
  guard case .resume(let plan) = decision else {
    throw Unexpected(what: "\(decision)")
  }
  return plan
}

struct Unexpected: Error { var what: String }

@Suite struct ResumePlanTests {
  /// Somebody else's message came in between, so the sequence that was counted is another's.
  @Test func `a remembered sequence gives way to the one found`() throws {
    let plan = try resume(
      ResumePlan.decide(
        checkpoint: checkpoint("200.5", ["A": (909, "200.5.0")]),
        streams: [stream(last: 912, tail: "200.5.0", at: 910)]))
    #expect(plan.found["A"]?.sequence == 910)
    #expect(plan.found["A"]?.position == position("200.5.0"))
    #expect(plan.losses.isEmpty && plan.start == entry("200.5"))
  }

  /// An index that snapshots alone have.
  private let late = UInt32(1) << 24

  @Test func `messages of a snapshot that a server lost can't be read from the oplog again`() throws
  {
    var there = checkpoint("300.1", ["A": (10, "300.5.0")])
    let place = ResumePoint(position: entry("300.1"), term: 3)
    there.snapshot = Checkpoint.Snapshot(at: place)
    there.snapshot?.marker = nil
    // The stream ends within the snapshot, or has nothing at all.
    for tail in [stream(last: 4, tail: "300.1.\(late + 3)"), stream(last: 0)] {
      let decision = ResumePlan.decide(checkpoint: there, streams: [tail])
      guard case .needsSnapshot(let why) = decision else {
        throw Unexpected(what: "\(decision)")
      }
      #expect(why.contains("tailrace snapshot --force"))
    }
    // It ends behind the snapshot: the oplog has the rest.
    let plan = try resume(
      ResumePlan.decide(checkpoint: there, streams: [stream(last: 7, tail: "300.3.0")]))
    #expect(plan.start == entry("300.1") && plan.losses.count == 1)
  }

  @Test func `without a checkpoint, the end of a snapshot can't be told from its middle`() throws {
    let inside = stream(last: 4, tail: "300.1.\(late + 3)")
    guard case .needsSnapshot = ResumePlan.decide(checkpoint: nil, streams: [inside]) else {
      throw Unexpected(what: "a snapshot was taken for complete")
    }
    // Another stream has had events from behind the snapshot: so it was over.
    let behind = stream("B", last: 9, tail: "300.7.0")
    let plan = try resume(ResumePlan.decide(checkpoint: nil, streams: [inside, behind]))
    #expect(plan.start == entry("300.1"))
  }

  @Test func `no trace anywhere is a first start`() {
    #expect(ResumePlan.decide(checkpoint: nil, streams: [stream(last: 0)]) == .fresh)
    #expect(
      ResumePlan.decide(checkpoint: nil, streams: [stream(last: 9, exclusive: false)]) == .fresh)
  }

  @Test func `the stream is ahead of the checkpoint: read on there, skip what is stored`() throws {
    let plan = try resume(
      ResumePlan.decide(
        checkpoint: checkpoint("200.5", ["A": (10, "200.5.0")]),
        streams: [stream(last: 14, tail: "200.9.2")]))
    #expect(plan.start == entry("200.5"))
    #expect(plan.term == 3)
    #expect(plan.horizons["A"]?.position == position("200.9.2"))
    #expect(plan.losses.isEmpty)
  }

  @Test func `limits removed our messages: the sequence proves that they were there`() throws {
    let plan = try resume(
      ResumePlan.decide(
        checkpoint: checkpoint("200.5", ["A": (10, "200.5.0")]),
        streams: [stream(last: 10, first: 11)]))
    #expect(plan.losses.isEmpty)
    #expect(plan.horizons["A"]?.position == position("200.5.0"))
  }

  @Test func `a stream that ends before the checkpoint has lost acknowledged messages`() throws {
    let plan = try resume(
      ResumePlan.decide(
        checkpoint: checkpoint("200.5", ["A": (10, "200.5.0"), "B": (4, "200.4.0")]),
        streams: [stream("A", last: 7, tail: "190.2.0"), stream("B", last: 4, tail: "200.4.0")]))
    #expect(plan.start == entry("190.2"))
    #expect(plan.term == nil)
    #expect(plan.horizons["A"]?.position == position("190.2.0"))
    #expect(plan.horizons["B"]?.position == position("200.4.0"))
    #expect(plan.losses.map(\.stream) == ["A"])
    #expect(plan.losses.first?.acknowledgedSequence == 10)
    #expect(plan.losses.first?.lastSequence == 7)
  }

  @Test func `a stream made anew is filled from the bridge's origin`() throws {
    for observed in [stream(last: 0, created: "c2"), stream(last: 0)] {
      let plan = try resume(
        ResumePlan.decide(
          checkpoint: checkpoint("200.5", ["A": (10, "200.5.0")]), streams: [observed]))
      #expect(plan.start == entry("100.1"))
      #expect(plan.origin.inclusive == false)
      #expect(plan.horizons["A"] == nil)
      #expect(plan.losses.count == 1)
    }
  }

  @Test func `the checkpoint's sequence holds something else: lost and overwritten`() throws {
    var observed = stream(last: 12, tail: "190.1.0", at: 3)
    observed.checkpointOverwritten = true
    let plan = try resume(
      ResumePlan.decide(
        checkpoint: checkpoint("200.5", ["A": (10, "200.5.0")]), streams: [observed]))
    #expect(plan.losses.count == 1)
    #expect(plan.start == entry("190.1"))
  }

  @Test func `a stream new in the configuration starts without a horizon`() throws {
    let plan = try resume(
      ResumePlan.decide(
        checkpoint: checkpoint("200.5", ["A": (10, "200.5.0")]),
        streams: [stream("A", last: 10, tail: "200.5.0"), stream("NEW", last: 0)]))
    #expect(plan.horizons["NEW"] == nil)
    #expect(plan.losses.isEmpty)
    #expect(plan.start == entry("200.5"))
  }

  @Test func `a lost checkpoint is found again at the oldest of the streams' ends`() throws {
    let plan = try resume(
      ResumePlan.decide(
        checkpoint: nil,
        streams: [
          stream("A", last: 50, tail: "200.5.0"), stream("B", last: 4, tail: "190.4.1"),
          stream("DLQ", last: 0, exclusive: false, deadLetter: true),
        ]))
    #expect(plan.start == entry("190.4"))
    #expect(plan.origin == Checkpoint.Origin(position: entry("190.4"), inclusive: true))
    #expect(plan.horizons["A"]?.position == position("200.5.0"))
    #expect(plan.horizons["B"]?.position == position("190.4.1"))
  }

  @Test func `what can't be proven is refused`() {
    // Its messages have expired, so where it ended can't be told.
    for streams in [
      [stream("A", last: 50, tail: "200.5.0"), stream("B", last: 4, first: 5)],
      [stream("B", last: 4, first: 5)],
    ] {
      guard case .refuse(let why) = ResumePlan.decide(checkpoint: nil, streams: streams) else {
        Issue.record("resumed by guessing")
        continue
      }
      #expect(why.contains("B"))
      #expect(why.contains("--force"))
    }
  }

  @Test func `whatever the streams hold, nothing before a start is unpublished`() throws {
    // Model: events 1…n are published in order to two streams; a crash leaves each stream with a
    // prefix of its acknowledged ones (a loss) or more. The plan must begin at or before the first
    // event that a stream misses, and skip none that it misses.
    var random = SystemRandomNumberGenerator()
    for _ in 0..<2000 {
      let n = UInt32.random(in: 5...40, using: &random)
      let lane = (0...n).map { _ in Bool.random(using: &random) ? "A" : "B" }
      func own(_ name: String) -> [UInt32] { (1...n).filter { lane[Int($0)] == name } }
      let acked = UInt32.random(in: 1...n, using: &random)
      var streams: [StreamObservation] = []
      var marks: [String: (UInt64, String)] = [:]
      var missing: [String: UInt32] = [:]
      for name in ["A", "B"] {
        let all = own(name)
        let ackedHere = all.filter { $0 <= acked }
        if let last = ackedHere.last { marks[name] = (UInt64(ackedHere.count), "1.\(last).0") }
        let stored = Array(all.prefix(Int.random(in: 0...all.count, using: &random)))
        missing[name] = all.first { !stored.contains($0) }
        streams.append(
          stream(name, last: UInt64(stored.count), tail: stored.last.map { "1.\($0).0" }))
      }
      var saved = checkpoint("1.\(acked)", marks)
      saved.origin = Checkpoint.Origin(position: entry("1.1"), inclusive: true)
      let plan = try resume(ResumePlan.decide(checkpoint: saved, streams: streams))
      for (name, first) in missing {
        // Only what had been acknowledged, or lies after the checkpoint, was ever promised.
        #expect(plan.start.increment <= first || first > acked)
        if let horizon = plan.horizons[name] { #expect(horizon.position.entry.increment < first) }
      }
    }
  }
}
