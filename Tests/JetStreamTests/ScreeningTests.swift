import BSON
import JetStream
import TestRandom
import Testing

@Suite struct ScreeningTests {
  @Test(arguments: [false, true])
  func `ids are asked for with assertions that can't hold, and without bodies`(
    replicated: Bool
  ) throws {
    let lane = screeningLane(.atomic, replicated: replicated)
    send(lane, "a")
    send(lane, "b")
    #expect(!lane.mayFlush)
    #expect(lane.waitsForSeal)
    lane.seal()
    #expect(lane.mayFlush)
    #expect(!lane.canSend)
    let wrote = try lines(lane.output.bytes)
    #expect(wrote.map(\.reply) == ["_IN.0.p0", "_IN.0.p1"])
    #expect(wrote.map(\.body) == ["", ""])
    #expect(
      wrote[1].headers == [
        "Nats-Msg-Id: b",
        replicated
          ? "Nats-Expected-Last-Sequence: 9223372036854775807"
          : "Nats-Expected-Last-Msg-Id: .tailrace.no-such-id",
      ])
  }

  @Test(arguments: PublishProtocol.allCases)
  func `what the stream lacks is published, and all is settled together`(
    mode: PublishProtocol
  ) throws {
    var stream = FakeStream(isReplicated: false, sequenceFirst: true)
    for id in ["x", "b", "d"] { stream.produce(id) }
    let lane = screeningLane(mode, base: 3)
    for id in ["a", "b", "c", "d", "e", "b2"] { send(lane, id) }
    lane.seal()
    let progress = try settle(lane, &stream)
    #expect(stream.stored.map(\.id) == ["x", "b", "d", "a", "c", "e", "b2"])
    #expect(progress.acked == 6)
    #expect(progress.duplicates == 2)
    #expect(progress.wereStored == [false, true, false, true, false, false])
    #expect(progress.lastStored == 5)
    #expect(progress.sequence == 7)
    #expect(lane.inFlight == 0)
    #expect(lane.canSend)
    send(lane, "f")
    lane.seal()
    #expect(try settle(lane, &stream).sequence == 8)
  }

  @Test(arguments: PublishProtocol.allCases)
  func `nothing but duplicates: nothing is published, and the end stays where it is`(
    mode: PublishProtocol
  ) throws {
    var stream = FakeStream(isReplicated: true, sequenceFirst: false)
    for n in 0..<700 { stream.produce("m\(n)") }
    let lane = screeningLane(mode, base: 700, exclusive: false, replicated: true)
    var sum = LaneProgress(acked: 0, duplicates: 0)
    for n in 0..<700 {
      #expect(lane.canSend)
      send(lane, "m\(n)")
      let some = try settle(lane, &stream)
      sum.acked += some.acked
      sum.duplicates += some.duplicates
    }
    lane.seal()
    let rest = try settle(lane, &stream)
    #expect(sum.acked + rest.acked == 700)
    #expect(sum.duplicates + rest.duplicates == 700)
    #expect(rest.lastStored == nil)
    #expect(stream.stored.count == 700)
    #expect(lane.lastSequence == 700)
  }

  /// Fast ingest gets no more at once than its flow control allows, which is less than is looked up.
  @Test(arguments: PublishProtocol.allCases, [true, false])
  func `a thousand are looked up at once, and published in parts`(
    mode: PublishProtocol, exclusive: Bool
  ) throws {
    guard exclusive || mode != .chain else { return }
    var stream = FakeStream(isReplicated: false, sequenceFirst: true)
    stream.produce("m7")
    let lane = screeningLane(mode, base: 1, exclusive: exclusive, judge: eventJudge)
    for n in 0..<1000 {
      #expect(lane.canSend)
      send(lane, "m\(n)", event: n)
    }
    #expect(try lines(lane.output.bytes).count == 1000)
    #expect(!lane.canSend)
    // Somebody is faster while the first part is on its way.
    if mode == .fast, !exclusive { stream.racing = ["m3"] }
    let progress = try settle(lane, &stream)
    #expect(progress.acked == 1000 && lane.inFlight == 0 && lane.canSend)
    #expect(Set(stream.stored.map(\.id)).count == 1000 && stream.stored.count == 1000)
    let ours = stream.stored.filter { $0.body != "producer" }.compactMap {
      Int($0.id.dropFirst())
    }
    #expect(ours == ours.sorted())
    #expect(progress.lastStored == 999)
    #expect(stream.stored[Int(progress.sequence) - 1].id == "m999")
    #expect(lane.lastSequence == progress.sequence)
  }

  @Test(arguments: PublishProtocol.allCases)
  func `the next messages are collected while the server answers`(mode: PublishProtocol) throws {
    var stream = FakeStream(isReplicated: false, sequenceFirst: true)
    for n in stride(from: 0, to: 2500, by: 3) { stream.produce("m\(n)") }
    let lane = screeningLane(mode, base: stream.last, judge: eventJudge)
    var next = 0
    var sum = LaneProgress(acked: 0, duplicates: 0)
    func fill() {
      while next < 2500, lane.canSend {
        send(lane, "m\(next)", event: next)
        next += 1
        // One that is cancelled leaves nothing behind, neither there nor on the wire.
        lane.beginMessage()
        lane.output.append("t.no")
        lane.cancelMessage()
      }
    }
    fill()
    #expect(next == 1000)
    while sum.acked < 2500 {
      try exchange(lane, &stream, &sum, between: fill)
      if sum.acked == 0 { #expect(next == 2000) }
      if next == 2500 { lane.seal() }
    }
    #expect(sum.duplicates == 834)
    #expect(Set(stream.stored.map(\.id)).count == 2500 && stream.stored.count == 2500)
    let ours = stream.stored[834...].compactMap { Int($0.id.dropFirst()) }
    #expect(ours == (0..<2500).filter { $0 % 3 != 0 })
    #expect(stream.stored[834...].allSatisfy { $0.body == "event \($0.id.dropFirst())" })
    #expect(lane.inFlight == 0)
  }

  @Test func `a conflict counts from the oldest message in flight`() throws {
    var stream = FakeStream(isReplicated: false, sequenceFirst: true)
    stream.produce("m4")
    stream.stored[0].headers.append("Event: 77")
    let lane = screeningLane(.atomic, base: 1, judge: eventJudge)
    for n in 0..<6 { send(lane, "m\(n)", event: n) }
    lane.seal()
    var sum = LaneProgress(acked: 0, duplicates: 0)
    try exchange(lane, &stream, &sum)
    // The question for the original is on its way.
    let answers = try stream.take(lane.output.bytes)
    lane.output.removeAll()
    #expect(lane.canSend)
    send(lane, "m4", event: 6)
    #expect(lane.inFlight == 7)
    let answer = try #require(answers.first)
    #expect(try ack(lane, "g4", answer.payload).conflicts.map(\.offset) == [4])
    #expect(stream.stored.count == 1)
  }

  @Test func `an id that is not settled is asked for again`() throws {
    let lane = screeningLane(.chain)
    send(lane, "a")
    send(lane, "b")
    lane.seal()
    lane.output.removeAll()
    #expect(try ack(lane, "p0", #"{"stream":"T","seq":0,"duplicate":true}"#).acked == 0)
    #expect(
      try ack(lane, "p1", #"{"error":{"code":409,"err_code":10158},"stream":"T","seq":0}"#).moved)
    #expect(try lines(lane.output.bytes).map(\.reply) == ["_IN.0.p0", "_IN.0.p1"])
    lane.output.removeAll()
    _ = try ack(lane, "p0", #"{"stream":"T","seq":4,"duplicate":true}"#)
    #expect(try ack(lane, "p1", #"{"stream":"T","seq":5,"duplicate":true}"#).duplicates == 2)
  }

  @Test func `a question that was stored, or refused for another reason, is no answer`() {
    for answer in [
      #"{"stream":"T","seq":4}"#, #"{"error":{"code":503,"err_code":10077},"stream":"T","seq":0}"#,
      #"{"error":{"code":400,"err_code":10060}}"#, "",
    ] {
      let lane = screeningLane(.atomic)
      send(lane, "a")
      lane.seal()
      #expect(throws: JetStreamError.self) { _ = try ack(lane, "p0", answer) }
      #expect(lane.acked == 0)
    }
  }

  @Test(arguments: PublishProtocol.allCases)
  func `an id that belongs to another event is reported, and nothing is published`(
    mode: PublishProtocol
  ) throws {
    var stream = FakeStream(isReplicated: false, sequenceFirst: true)
    let first = screeningLane(mode, judge: eventJudge)
    send(first, "a", event: 1)
    send(first, "b", event: 2)
    first.seal()
    #expect(try settle(first, &stream).acked == 2)
    let lane = screeningLane(mode, base: 2, judge: eventJudge)
    stream.produce("p")
    send(lane, "new", event: 3)
    send(lane, "b", event: 2)  // Once more.
    send(lane, "a", event: 4)  // Another one under its id.
    send(lane, "p", event: 5)  // A producer was first.
    lane.seal()
    let progress = try settle(lane, &stream)
    #expect(progress.acked == 0)
    #expect(progress.conflicts.map(\.offset) == [2])
    #expect(progress.conflicts.map(\.id) == [Array("a".utf8)])
    #expect(progress.conflicts.map(\.detail) == ["it is event 1"])
    #expect(stream.stored.count == 3)
  }

  @Test func `two events of one batch under one id`() throws {
    var stream = FakeStream(isReplicated: false, sequenceFirst: true)
    let lane = screeningLane(.atomic, judge: eventJudge)
    for (id, event) in [("a", 1), ("b", 2), ("a", 3), ("b", 2)] { send(lane, id, event: event) }
    lane.seal()
    #expect(try settle(lane, &stream).conflicts.map(\.offset) == [2])
    #expect(stream.stored.isEmpty)
  }

  @Test(arguments: [PublishProtocol.single, .atomic, .fast])
  func `a producer that comes between the question and the publish`(mode: PublishProtocol) throws {
    var stream = FakeStream(isReplicated: false, sequenceFirst: true)
    stream.produce("x")
    let lane = screeningLane(mode, base: 1, exclusive: false, judge: eventJudge)
    for n in 0..<6 { send(lane, "m\(n)", event: n) }
    stream.racing = ["m1", "m5"]
    lane.seal()
    let progress = try settle(lane, &stream)
    #expect(progress.acked == 6)
    #expect(Set(stream.stored.map(\.id)).count == stream.stored.count)
    #expect(
      stream.stored.filter { $0.body != "producer" }.map(\.id) == ["m0", "m2", "m3", "m4"])
    let last = try #require(progress.lastStored)
    #expect(last == 4)
    #expect(stream.stored[Int(progress.sequence) - 1].id == "m4")
  }

  @Test func `after a long while without duplicates ids are not asked for any more`() throws {
    var stream = FakeStream(isReplicated: false, sequenceFirst: true)
    let lane = screeningLane(.atomic)
    var n = 0
    while lane.sent < 52_000 {
      send(lane, "m\(n)")
      n += 1
      _ = try settle(lane, &stream)
    }
    send(lane, "plain")
    lane.seal()
    #expect(try lines(lane.output.bytes).last?.headers.last == "Nats-Batch-Commit: 1")
  }

  /// Every protocol, with any share of ids stored before: what the stream holds at the end is each id
  /// once, ours in order, and every statement about what is stored is true.
  @Test(arguments: PublishProtocol.allCases)
  func `any share of duplicates, by a model of the server`(mode: PublishProtocol) throws {
    var random = SeededRandom(seed: 7)
    for round in 0..<40 {
      let exclusive = mode == .chain || round % 2 == 0
      let replicated = round % 3 == 0
      var stream = FakeStream(isReplicated: replicated, sequenceFirst: round % 5 < 3)
      let count = 1 + Int(random.next() % 900)
      let share = [0, 1, 5, 50, 100, 100][Int(random.next() % 6)]
      for n in 0..<count where random.next() % 100 < UInt64(share) { stream.produce("m\(n)") }
      let before = stream.stored.count
      var next = 0
      var acked = 0
      var duplicates = 0
      var screened = mode == .fast && !exclusive
      while acked < count {
        let lane = screeningLane(
          mode, base: stream.last, exclusive: exclusive, replicated: replicated,
          screening: screened ? .whileNeeded : .never)
        next = acked
        do {
          while acked < count {
            while next < count, lane.canSend, random.next() % 50 != 0 {
              send(lane, "m\(next)", event: next)
              next += 1
            }
            if next == count || lane.waitsForSeal || random.next() % 20 == 0 { lane.seal() }
            // Messages are collected while answers are still to come.
            var progress = LaneProgress(acked: 0, duplicates: 0)
            if random.next() % 2 == 0 {
              progress = try settle(lane, &stream)
            } else {
              try exchange(lane, &stream, &progress) {
                while next < count, lane.canSend, random.next() % 50 != 0 {
                  send(lane, "m\(next)", event: next)
                  next += 1
                }
              }
            }
            if let last = progress.lastStored {
              let stored = stream.stored[Int(progress.sequence) - 1]
              #expect(stored.id == "m\(acked + last)" && stored.body == "event \(acked + last)")
            }
            acked += progress.acked
            duplicates += progress.duplicates
          }
        } catch let error as JetStreamError {
          #expect(error.meansDuplicate && !screened, "\(error)")
          screened = true
          // As a resuming bridge does: what is ours and stored is not sent again.
          while acked < count, let at = stream.sequences["m\(acked)"],
            stream.stored[Int(at) - 1].body != "producer"
          {
            acked += 1
          }
        }
      }
      #expect(Set(stream.stored.map(\.id)).count == count)
      #expect(stream.stored.count == count)
      let ours = stream.stored[before...].compactMap { Int($0.id.dropFirst()) }
      #expect(ours == ours.sorted())
      if mode != .fast { #expect(duplicates == before, "\(mode) \(count) \(share)") }
    }
  }
}
