import BSON
import Foundation
import JetStream
import TestRandom
import Testing

/// A stream as the servers were measured to treat ids, assertions and batches. Reads what a lane wrote.
private struct FakeStream {
  struct Stored {
    var id: String
    var headers: [String]
    var body: String
  }

  var stored: [Stored] = []
  var sequences: [String: UInt64] = [:]
  let isReplicated: Bool
  /// nats-server 2.15 with one replica looks at the expected sequence before the id.
  let sequenceFirst: Bool
  private var batch: [Stored] = []
  private var batchExpected: UInt64?
  private var fast: (count: Int, last: UInt64, isOne: Bool, original: UInt64)?
  /// Called once before the next batch or message is stored.
  var racing: [String] = []

  init(isReplicated: Bool, sequenceFirst: Bool) {
    self.isReplicated = isReplicated
    self.sequenceFirst = sequenceFirst
  }

  var last: UInt64 { UInt64(stored.count) }

  mutating func store(_ message: Stored) -> UInt64 {
    stored.append(message)
    sequences[message.id] = last
    return last
  }

  mutating func produce(_ id: String) {
    guard sequences[id] == nil else { return }
    _ = store(Stored(id: id, headers: ["Nats-Msg-Id: \(id)"], body: "producer"))
  }

  private mutating func race() {
    for id in racing { produce(id) }
    racing = []
  }

  private static func refusal(_ code: Int) -> String {
    #"{"error":{"code":400,"err_code":\#(code)},"stream":"T","seq":0}"#
  }

  /// The answers, with their subjects.
  mutating func take(_ bytes: UnsafeRawBufferPointer) throws -> [(subject: String, payload: String)]
  {
    var answers: [(String, String)] = []
    for line in try lines(bytes) {
      if line.subject.hasPrefix("$JS.API.STREAM.MSG.GET.T") {
        answers.append((line.reply, get(line.body)))
      } else if let answer = publish(line) {
        answers.append((line.reply, answer))
      }
    }
    return answers
  }

  private func get(_ question: String) -> String {
    guard let sequence = Int(question.dropFirst(7).dropLast()), sequence <= stored.count,
      sequence > 0
    else { return Self.refusal(10037) }
    let message = stored[sequence - 1]
    let head = "NATS/1.0\r\n" + message.headers.map { $0 + "\r\n" }.joined() + "\r\n"
    return """
      {"message":{"subject":"t","seq":\(sequence),"hdrs":"\(Data(head.utf8).base64EncodedString())",\
      "data":"\(Data(message.body.utf8).base64EncodedString())"}}
      """
  }

  private mutating func publish(_ line: Line) -> String? {
    func value(_ name: String) -> String? {
      line.headers.first { $0.hasPrefix(name + ": ") }.map { String($0.dropFirst(name.count + 2)) }
    }
    let message = Stored(id: value("Nats-Msg-Id") ?? "", headers: line.headers, body: line.body)
    let expected = value("Nats-Expected-Last-Sequence").flatMap { UInt64($0) }
    if line.reply.hasSuffix(".$FI") { return ingest(line, message, expected) }
    if value("Nats-Batch-Id") != nil {
      if batch.isEmpty { batchExpected = expected }
      batch.append(message)
      return value("Nats-Batch-Commit") != nil ? commit() : nil
    }
    let expectedID = value("Nats-Expected-Last-Msg-Id")
    if expected == nil || expected != .max >> 1, expectedID != ".tailrace.no-such-id" { race() }
    let wrongSequence = expected.map { $0 != last } ?? false
    if sequenceFirst, !isReplicated, wrongSequence { return Self.refusal(10071) }
    if let original = sequences[message.id] {
      return #"{"stream":"T","seq":\#(original),"duplicate": true}"#
    }
    if wrongSequence { return Self.refusal(10071) }
    if let expectedID, expectedID != stored.last?.id { return Self.refusal(10070) }
    return #"{"stream":"T","seq":\#(store(message))}"#
  }

  private mutating func commit() -> String {
    race()
    defer { batch = [] }
    if let expected = batchExpected, expected != last { return Self.refusal(10071) }
    let ids = batch.map(\.id)
    guard Set(ids).count == ids.count, ids.allSatisfy({ sequences[$0] == nil }) else {
      return Self.refusal(10201)
    }
    for message in batch { _ = store(message) }
    return #"{"stream":"T","seq":\#(last),"batch":"b","count":\#(batch.count)}"#
  }

  private mutating func ingest(_ line: Line, _ message: Stored, _ expected: UInt64?) -> String? {
    let parts = line.reply.split(separator: ".")
    let operation = parts[parts.count - 2]
    if fast == nil {
      race()
      fast = (0, 0, operation == "2", 0)
    }
    if operation != "3" {
      fast?.count += 1
      if let original = sequences[message.id] {
        fast?.original = original
      } else if let expected, expected != last {
        fast = nil
        return Self.refusal(10071)
      } else {
        let sequence = store(message)
        fast?.last = sequence
      }
    }
    guard let now = fast else { return nil }
    if operation == "2" || operation == "3" {
      fast = nil
      if now.isOne, now.last == 0 {
        return #"{"stream":"T","seq":\#(now.original),"duplicate": true,"batch":"b","count":1}"#
      }
      return #"{"stream":"T","seq":\#(now.last),"batch":"b","count":\#(now.count)}"#
    }
    if now.count == 1 { return #"{"type":"ack","seq":0,"msgs":200}"# }
    return now.count % 200 == 0 ? #"{"type":"ack","seq":\#(now.count),"msgs":200}"# : nil
  }
}

private func makeLane(
  _ mode: PublishProtocol, base: UInt64 = 0, exclusive: Bool = true, replicated: Bool = false,
  screening: LaneOptions.Screening = .whileNeeded, judge: DuplicateJudge? = nil
) -> PublishLane {
  var options = LaneOptions(
    stream: "T", mode: mode, exclusive: exclusive, baseSequence: base, inbox: "_IN.0",
    batchPrefix: "b", assertsPredecessor: !replicated, screening: screening, judge: judge)
  options.isReplicated = replicated
  return PublishLane(options)
}

private func send(_ lane: PublishLane, _ id: String, event: Int = 0) {
  lane.beginMessage()
  lane.output.append("t.a")
  lane.beginHeaders()
  lane.output.append("Nats-Msg-Id: \(id)\r\nEvent: \(event)\r\n")
  lane.beginBody()
  lane.output.append("event \(event)")
  lane.endMessage()
}

/// The same event has the same header; a producer's message has none.
private let judge = DuplicateJudge(
  difference: { message, original in
    guard let original, let event = original.header("Event") else { return nil }
    return event == message.header("Event") ? nil : "it is event \(event)"
  })

/// Hands what the lane wrote to the stream, and the answers back, until nothing moves.
private func settle(_ lane: PublishLane, _ stream: inout FakeStream) throws -> LaneProgress {
  var sum = LaneProgress(acked: 0, duplicates: 0)
  while lane.output.count > 0, lane.mayFlush {
    let answers = try stream.take(lane.output.bytes)
    lane.output.removeAll()
    for answer in answers {
      let progress = try ack(lane, String(answer.subject.dropFirst(6)), answer.payload)
      if let last = progress.lastStored {
        sum.lastStored = sum.acked + last
        sum.sequence = progress.sequence
      }
      sum.acked += progress.acked
      sum.duplicates += progress.duplicates
      sum.wereStored += progress.wereStored
      sum.conflicts += progress.conflicts
    }
  }
  return sum
}

@Suite struct ScreeningTests {
  @Test(arguments: [false, true])
  func `ids are asked for with assertions that can't hold, and without bodies`(
    replicated: Bool
  ) throws {
    let lane = makeLane(.atomic, replicated: replicated)
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
    let lane = makeLane(mode, base: 3)
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
    let lane = makeLane(mode, base: 700, exclusive: false, replicated: true)
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
    let lane = makeLane(mode, base: 1, exclusive: exclusive, judge: judge)
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

  @Test func `an id that is not settled is asked for again`() throws {
    let lane = makeLane(.chain)
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
      let lane = makeLane(.atomic)
      send(lane, "a")
      lane.seal()
      #expect(throws: JetStreamError.self) { _ = try ack(lane, "p0", answer) }
      #expect(lane.acked == 0)
    }
  }

  @Test(arguments: PublishProtocol.allCases)
  func `an id that belongs to another event is told, and nothing is published`(
    mode: PublishProtocol
  ) throws {
    var stream = FakeStream(isReplicated: false, sequenceFirst: true)
    let first = makeLane(mode, judge: judge)
    send(first, "a", event: 1)
    send(first, "b", event: 2)
    first.seal()
    #expect(try settle(first, &stream).acked == 2)
    let lane = makeLane(mode, base: 2, judge: judge)
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
    let lane = makeLane(.atomic, judge: judge)
    for (id, event) in [("a", 1), ("b", 2), ("a", 3), ("b", 2)] { send(lane, id, event: event) }
    lane.seal()
    #expect(try settle(lane, &stream).conflicts.map(\.offset) == [2])
    #expect(stream.stored.isEmpty)
  }

  @Test(arguments: [PublishProtocol.single, .atomic, .fast])
  func `a producer that comes between the question and the publish`(mode: PublishProtocol) throws {
    var stream = FakeStream(isReplicated: false, sequenceFirst: true)
    stream.produce("x")
    let lane = makeLane(mode, base: 1, exclusive: false, judge: judge)
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
    let lane = makeLane(.atomic)
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
        let lane = makeLane(
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
            let progress = try settle(lane, &stream)
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
