import Bridge
import BridgeConfiguration
import JSON
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

  /// A number of messages that are gone, in a new process, with everything that can say more about them.
  private func trusted(
    final: Bool = false, window: Int? = nil, age: Int? = nil, heard: Int? = nil, last: Int? = nil,
    markers: Bool = false
  ) throws -> ResumePlan {
    func time(_ seconds: Int) -> ServerTime? {
      ServerTime("2026-01-01T00:\(seconds / 60 + 10):\(seconds % 60 + 10)Z")
    }
    var found = stream(last: 20, first: 21)
    found.hasDeleteMarkers = markers
    found.idsProveFor = window.map { .seconds($0) }
    found.lastAt = last.flatMap { time($0) }
    var known = checkpoint("200.5", ["A": (10, "200.5.0")])
    known.isFinal = final
    var plan = try resume(ResumePlan.decide(checkpoint: known, streams: [found]))
    #expect(plan.unseen["A"]?.count == 10)
    plan.trust(
      [found], known, age.map { written(ago: $0) }, heardAt: heard.flatMap { time($0) })
    return plan
  }

  @Test func `messages that are gone are counted only where nothing else can tell`() throws {
    for counted in [
      try trusted(), try trusted(window: 100, age: 75), try trusted(window: 1, age: 1),
      try trusted(age: 1), try trusted(window: 100), try trusted(heard: 10, last: 13),
      try trusted(heard: 10, last: 5), try trusted(last: 40), try trusted(heard: 1),
    ] {
      #expect(
        counted.unseen["A"]?.count == 10 && counted.uncounted.isEmpty && counted.doubts.isEmpty)
    }
    let stopped = try trusted(final: true)
    #expect(stopped.unseen.isEmpty && stopped.uncounted == ["A": 20])
    #expect(stopped.doubts.isEmpty && stopped.remarks.count == 1 && stopped.toldByIDs.isEmpty)
    // Another process may come when the ids are forgotten, and has to count them.
    let told = try trusted(window: 100, age: 74)
    #expect(told.unseen.isEmpty && told.uncounted.isEmpty && told.toldByIDs == ["A"])
    #expect(told.doubts.isEmpty && told.remarks.count == 1)
    // Which it can't, where some are not the bridge's.
    for mixed in [
      try trusted(window: 100, age: 74, markers: true),
      try trusted(window: 100, age: 74, heard: 10, last: 14),
    ] {
      #expect(mixed.unseen.isEmpty && mixed.uncounted == ["A": 20] && mixed.toldByIDs == ["A"])
      #expect(mixed.doubts.isEmpty && mixed.remarks.count == 1)
    }
    for doubted in [try trusted(markers: true), try trusted(heard: 10, last: 14)] {
      #expect(doubted.unseen.isEmpty && doubted.uncounted == ["A": 20])
      #expect(doubted.remarks.isEmpty && doubted.doubts.count == 1)
    }
  }

  /// What was decided once holds for the epochs and processes after.
  @Test func `what was not counted once is never counted`() throws {
    var known = checkpoint("200.5", ["A": (10, "200.5.0")])
    known.states["A"] = Checkpoint.StreamState(created: "c1")
    known.states["A"]?.uncounted = 20
    let read = try Checkpoint(parsing: known.json.utf8)
    #expect(read.states["A"]?.uncounted == 20 && !read.isFinal)
    let same = try resume(
      ResumePlan.decide(checkpoint: read, streams: [stream(last: 20, first: 21)]))
    #expect(same.unseen.isEmpty)
    let more = try resume(
      ResumePlan.decide(checkpoint: read, streams: [stream(last: 23, first: 24)]))
    #expect(more.unseen["A"]?.after == 20 && more.unseen["A"]?.count == 3)
    // Of another stream of that name.
    known.states["A"] = Checkpoint.StreamState(created: "before")
    known.states["A"]?.uncounted = 20
    let other = try resume(
      ResumePlan.decide(checkpoint: known, streams: [stream(last: 20, first: 21)]))
    #expect(other.unseen["A"]?.count == 10)
    known.isFinal = true
    #expect(try Checkpoint(parsing: known.json.utf8).isFinal)
  }

  @Test func `a stream that begins with a higher sequence has never held anything`() throws {
    var fresh = stream(last: 999, first: 1000)
    fresh.beginning = 1000
    fresh.messages = 0
    guard case .fresh = ResumePlan.decide(checkpoint: nil, streams: [fresh]) else {
      throw Unexpected(what: "not a first start")
    }
    var emptied = stream(last: 1004, first: 1005)
    emptied.beginning = 1000
    emptied.messages = 0
    if case .fresh = ResumePlan.decide(checkpoint: nil, streams: [emptied]) {
      throw Unexpected(what: "a first start, with 5 messages gone")
    }
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
    // What others left in a shared stream, or had removed, is no trace of this bridge.
    for first in [UInt64(1), 5, 10] {
      let shared = stream(last: 9, first: first, exclusive: false)
      #expect(ResumePlan.decide(checkpoint: nil, streams: [shared]) == .fresh)
    }
  }

  @Test func `the stream is ahead of the checkpoint: read on there, skip what is stored`() throws {
    let plan = try resume(
      ResumePlan.decide(
        checkpoint: checkpoint("200.5", ["A": (10, "200.5.0")]),
        streams: [stream(last: 14, tail: "200.9.2")]))
    #expect(plan.start == entry("200.5"))
    #expect(plan.term == 3)
    #expect(plan.watermarks["A"]?.position == position("200.9.2"))
    #expect(plan.losses.isEmpty)
  }

  @Test func `limits removed our messages: the sequence proves that they were there`() throws {
    let plan = try resume(
      ResumePlan.decide(
        checkpoint: checkpoint("200.5", ["A": (10, "200.5.0")]),
        streams: [stream(last: 10, first: 11)]))
    #expect(plan.losses.isEmpty)
    #expect(plan.watermarks["A"]?.position == position("200.5.0"))
  }

  @Test func `a stream that ends before the checkpoint has lost acknowledged messages`() throws {
    let plan = try resume(
      ResumePlan.decide(
        checkpoint: checkpoint("200.5", ["A": (10, "200.5.0"), "B": (4, "200.4.0")]),
        streams: [stream("A", last: 7, tail: "190.2.0"), stream("B", last: 4, tail: "200.4.0")]))
    #expect(plan.start == entry("190.2"))
    #expect(plan.term == nil)
    #expect(plan.watermarks["A"]?.position == position("190.2.0"))
    #expect(plan.watermarks["B"]?.position == position("200.4.0"))
    #expect(plan.losses.map(\.stream) == ["A"])
    #expect(plan.losses.first?.acknowledgedSequence == 10)
    #expect(plan.losses.first?.lastSequence == 7)
  }

  @Test func `a stream made again is filled from the bridge's origin`() throws {
    for observed in [stream(last: 0, created: "c2"), stream(last: 0)] {
      let plan = try resume(
        ResumePlan.decide(
          checkpoint: checkpoint("200.5", ["A": (10, "200.5.0")]), streams: [observed]))
      #expect(plan.start == entry("100.1"))
      #expect(plan.origin.inclusive == false)
      #expect(plan.watermarks["A"] == nil)
      #expect(plan.losses.count == 1)
    }
  }

  /// Nothing was acknowledged as stored: it had all messages, which a producer or another process had stored.
  @Test func `a stream that had all messages and was made again is filled`() throws {
    var known = checkpoint("200.5", [:])
    known.settled = position("200.5.0")
    known.states["A"] = Checkpoint.StreamState(created: "c1")
    known.states["A"]?.hadTo = position("200.4.0")
    for found in [
      stream(last: 0, created: "c2"), stream(last: 2, created: "c2"),
      stream(last: 2, tail: "150.1.0", created: "c2"),
    ] {
      let plan = try resume(ResumePlan.decide(checkpoint: known, streams: [found]))
      #expect(plan.losses.count == 1 && plan.refilling["A"] == position("200.5.0"))
      #expect(plan.start == entry(found.tail == nil ? "100.1" : "150.1"))
    }
    var given = stream(last: 0, created: "c2")
    given.onLoss = .continue
    let plan = try resume(ResumePlan.decide(checkpoint: known, streams: [given]))
    #expect(plan.losses.map(\.remedy) == [.accepted] && plan.start == entry("200.5"))
    #expect(plan.watermarks.isEmpty && plan.floors["A"] == position("200.5.0"))
    // Its consumers took them, or it holds a later one.
    let later = stream(last: 9, tail: "200.5.0", created: "c2")
    for intact in [stream(last: 9, first: 10), stream(last: 9), later] {
      #expect(try resume(ResumePlan.decide(checkpoint: known, streams: [intact])).losses.isEmpty)
    }
  }

  /// They were looked up behind the acknowledged message: another one that ends before them has lost some.
  @Test func `a stream that ends before messages that were looked up is filled`() throws {
    var known = checkpoint("200.5", ["A": (3, "110.1.0")])
    known.states["A"] = Checkpoint.StreamState(created: "c1")
    known.states["A"]?.hadTo = position("200.4.0")
    known.states["A"]?.hadThrough = 9
    let state = try #require(known.states["A"])
    var ends = stream(last: 8, tail: "200.4.0", at: 6)
    let firm = StreamObservation.Own(
      sequence: 3, position: position("110.1.0"), rule: "r", id: "id")
    let left = StreamObservation.Own(
      sequence: 6, position: position("200.4.0"), rule: "r", id: "id")
    ends.patchwork = StreamObservation.Patchwork(before: firm, behind: [left])
    let plan = try resume(ResumePlan.decide(checkpoint: known, streams: [ends]))
    #expect(plan.losses.count == 1 && plan.start == entry("110.1"))
    #expect(plan.watermarks["A"]?.position == firm.position && plan.held["A"] == [left])
    #expect(plan.rereads("A", state))
    // Nothing is lost where it has them all; and once its own end shows them, that is all that counts.
    let whole = try resume(
      ResumePlan.decide(
        checkpoint: known, streams: [stream(last: 9, tail: "200.4.0", at: 8)]))
    #expect(whole.losses.isEmpty && !whole.rereads("A", state))
    let later = try resume(
      ResumePlan.decide(checkpoint: known, streams: [stream(last: 10, tail: "200.5.0")]))
    #expect(later.losses.isEmpty && later.rereads("A", state))
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

  @Test func `a stream new in the configuration starts without a watermark`() throws {
    let plan = try resume(
      ResumePlan.decide(
        checkpoint: checkpoint("200.5", ["A": (10, "200.5.0")]),
        streams: [stream("A", last: 10, tail: "200.5.0"), stream("NEW", last: 0)]))
    #expect(plan.watermarks["NEW"] == nil)
    #expect(plan.losses.isEmpty)
    #expect(plan.start == entry("200.5"))
  }

  @Test func `a lost checkpoint is found again at the oldest of the streams' ends`() throws {
    var a = stream("A", last: 50, tail: "200.5.0", created: "2026-01-01T00:00:00.1Z")
    a.firstIsOurs = true
    let b = stream("B", last: 4, tail: "190.4.1", created: "2026-01-01T00:00:00.2Z")
    let letters = stream(
      "DLQ", last: 0, created: "2026-01-01T00:00:00.3Z", exclusive: false, deadLetter: true)
    let plan = try resume(ResumePlan.decide(checkpoint: nil, streams: [a, b, letters]))
    #expect(plan.start == entry("190.4"))
    #expect(plan.origin == Checkpoint.Origin(position: entry("190.4"), inclusive: true))
    #expect(plan.watermarks["A"]?.position == position("200.5.0"))
    #expect(plan.watermarks["B"]?.position == position("190.4.1"))
    // It never had a letter, so none is missing before the newest message.
    #expect(plan.floors["DLQ"] == position("200.5.0"))
  }

  @Test func `an empty stream is a proof only if it cannot have lost anything`() throws {
    var letters = stream(
      "DLQ", last: 1, tail: "200.5.0", created: "2026-01-01T00:00:00Z", exclusive: false,
      deadLetter: true)
    letters.firstIsOurs = true
    // Made again behind the letter; a memory stream; a time that can't be read.
    let later = stream("A", last: 0, created: "2026-01-01T00:10:00Z")
    var memory = stream("A", last: 0, created: "2026-01-01T00:00:00Z")
    memory.isMemory = true
    for empty in [later, memory, stream("A", last: 0, created: "yesterday")] {
      guard case .refuse(let why) = ResumePlan.decide(checkpoint: nil, streams: [empty, letters])
      else {
        Issue.record("an empty stream was taken for a proof: \(empty)")
        continue
      }
      #expect(why.contains("stream A") && why.contains("--force"))
      // Where the configuration says from where on everything is wanted, that is published.
      let origin = Checkpoint.Origin(position: entry("100.1"), inclusive: true)
      let plan = try resume(
        ResumePlan.decide(
          checkpoint: nil, streams: [empty, letters],
          oplog: ResumePlan.Oplog(oldest: entry("100.1"), newest: entry("300.1")),
          refillFrom: origin))
      #expect(plan.start == entry("100.1") && plan.refilling["A"] != nil)
    }
    // Of a stream that is to be made, a time is nobody's.
    var missing = later
    missing.isMissing = true
    for (found, says) in [(later, true), (missing, false)] {
      guard case .refuse(let why) = ResumePlan.decide(checkpoint: nil, streams: [found, letters])
      else {
        Issue.record("an empty stream was taken for a proof: \(found)")
        continue
      }
      #expect(why.contains("was created at 2026-01-01T00:10:00Z") == says)
      #expect(why.contains("does not exist") == !says)
    }
    // Its own metadata say that it had messages, and from where on.
    var marked = later
    marked.mark = .used(from: entry("150.1"), inclusive: false)
    let plan = try resume(ResumePlan.decide(checkpoint: nil, streams: [marked, letters]))
    #expect(plan.start == entry("150.1") && !plan.origin.inclusive)
    // … or that it never had one.
    marked.mark = .unused(nil)
    let other = try resume(ResumePlan.decide(checkpoint: nil, streams: [marked, letters]))
    #expect(other.start == entry("200.5") && other.losses.isEmpty)
  }

  @Test func `messages that consumers took are counted, and not sent again`() throws {
    let saved = checkpoint("200.5", ["A": (10, "200.5.0")])
    // 14 were stored, the last four of them are gone; or all are.
    for taken in [stream(last: 14, tail: "200.5.0", at: 10), stream(last: 14, first: 15)] {
      let plan = try resume(ResumePlan.decide(checkpoint: saved, streams: [taken]))
      #expect(plan.unseen["A"]?.after == 10 && plan.unseen["A"]?.count == 4)
      #expect(plan.watermarks["A"]?.position == position("200.5.0"))
    }
    // Sequences of a stream that others publish to say nothing.
    let shared = stream(last: 14, first: 15, exclusive: false)
    #expect(try resume(ResumePlan.decide(checkpoint: saved, streams: [shared])).unseen.isEmpty)
    // Somebody else's message behind ours: what is there is not ours, …
    var foreign = stream(last: 11, tail: "200.5.0", at: 10)
    foreign.survivors = 1
    let certain = try resume(ResumePlan.decide(checkpoint: saved, streams: [foreign]))
    #expect(certain.unseen.isEmpty && certain.doubts.isEmpty)
    // … but what is gone may be either's: sent again rather than lost, and said so.
    foreign.lastSequence = 14
    let doubtful = try resume(ResumePlan.decide(checkpoint: saved, streams: [foreign]))
    #expect(doubtful.unseen.isEmpty && doubtful.doubts.count == 1)
  }

  @Test func `no sequence that a server sends can break the count`() throws {
    let saved = checkpoint("200.5", ["A": (10, "200.5.0")])
    for last in [UInt64.max, UInt64.max - 1, 1 << 63] {
      let plan = try resume(
        ResumePlan.decide(checkpoint: saved, streams: [stream(last: last, first: last)]))
      #expect(plan.unseen["A"]?.count == last - 10)
      _ = ResumePlan.decide(checkpoint: nil, streams: [stream(last: last, first: 0)])
    }
  }

  @Test func `a refill keeps to what the stream would still hold, and the oplog has`() throws {
    let saved = checkpoint("200.5", ["A": (10, "200.5.0"), "B": (5, "199.1.0")])
    let whole = stream("B", last: 5, tail: "199.1.0")
    func plan(_ lost: StreamObservation, oldest: String) -> ResumeDecision {
      ResumePlan.decide(
        checkpoint: saved, streams: [lost, whole],
        oplog: ResumePlan.Oplog(oldest: entry(oldest), newest: entry("260.1")))
    }
    var lost = stream(last: 0, created: "c2")
    // A hundred seconds are kept.
    lost.maxAgeSeconds = 100
    let aged = try resume(plan(lost, oldest: "90.1"))
    #expect(aged.start == entry("160.0") && aged.startsAtMoment)
    #expect(aged.floors["A"] == position("160.0.0"))
    lost.maxAgeSeconds = nil
    // The oplog begins behind what is missing: this stream stops, the other continues.
    let halted = try resume(plan(lost, oldest: "150.1"))
    #expect(halted.halted["A"] == entry("200.5") && halted.start == entry("200.5"))
    #expect(halted.watermarks["B"] != nil && halted.halted["B"] == nil)
    #expect(halted.losses.first.map { "\($0)".contains("on_loss: continue") } == true)
    // A memory stream gets what there is.
    lost.isMemory = true
    let rest = try resume(plan(lost, oldest: "150.1"))
    #expect(rest.start == entry("150.1") && rest.halted.isEmpty)
    #expect(rest.losses.first?.limit != nil)
    // Where no stream is left to go on, the bridge stops.
    lost.isMemory = false
    let alone = ResumePlan.decide(
      checkpoint: saved, streams: [lost],
      oplog: ResumePlan.Oplog(oldest: entry("150.1"), newest: entry("260.1")))
    guard case .refuse = alone else { throw Unexpected(what: "\(alone)") }
  }

  @Test func `a halted stream gets what it lacks when it may go on`() throws {
    var saved = checkpoint("300.1", ["A": (10, "200.5.0"), "B": (5, "299.1.0")])
    saved.settled = position("300.1.0")
    saved.states["A"] = Checkpoint.StreamState(created: "c1")
    saved.states["A"]?.halted = entry("210.1")
    let other = stream("B", last: 5, tail: "299.1.0")
    let oplog = ResumePlan.Oplog(oldest: entry("90.1"), newest: entry("400.1"))
    // It has what it had: from where it was halted on.
    let back = try resume(
      ResumePlan.decide(
        checkpoint: saved, streams: [stream(last: 10, tail: "200.5.0"), other], oplog: oplog))
    #expect(back.start == entry("210.1") && back.floors["A"] == position("210.1.0"))
    #expect(back.floors["B"] == position("300.1.0") && back.halted.isEmpty)
    // It has lost that: from its end on, …
    var lost = stream(last: 4, tail: "180.1.0")
    let refilled = try resume(
      ResumePlan.decide(checkpoint: saved, streams: [lost, other], oplog: oplog))
    #expect(refilled.start == entry("180.1") && refilled.floors["A"] == nil)
    // … or without it, …
    lost.onLoss = .continue
    let accepted = try resume(
      ResumePlan.decide(checkpoint: saved, streams: [lost, other], oplog: oplog))
    #expect(
      accepted.start == entry("210.1") && accepted.watermarks["A"]?.position == position("200.5.0"))
    // … or still not.
    lost.onLoss = .halt
    let still = try resume(
      ResumePlan.decide(checkpoint: saved, streams: [lost, other], oplog: oplog))
    #expect(still.halted["A"] == entry("210.1") && still.start == entry("300.1"))
  }

  @Test func `what streams say of a bridge, and when they were made`() {
    for mark in [
      StreamMark.unused(nil), .snapshot, .used(from: entry("5.6"), inclusive: true),
      .used(from: entry("5.6"), inclusive: false),
    ] {
      #expect(StreamMark("\(mark)") == mark)
    }
    for text in ["", "used", "from", "after 7", "from 1.2 3", "unused 1"] {
      #expect(StreamMark(text) == nil)
    }
    #expect(ServerTime("1970-01-01T00:00:01.5Z")?.seconds == 1)
    #expect(ServerTime("2000-03-01T00:00:00Z")?.seconds == 951_868_800)
    #expect(ServerTime("2026-11-28T13:11:45.123456789Z")?.seconds == 1_795_871_505)
    for text in [
      "", "Z", "2026-11-28T13:11:45", "2026-13-28T13:11:45Z", "2026-11-28T13:11:45+01:00",
    ] {
      #expect(ServerTime(text) == nil)
    }
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
        if let watermark = plan.watermarks[name] {
          #expect(watermark.position.entry.increment < first)
        }
      }
    }
  }
}
