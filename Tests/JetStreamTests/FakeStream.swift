import BSON
import Foundation
import JetStream

/// A stream as the servers were measured to treat ids, assertions and batches. Reads what a lane wrote.
struct FakeStream {
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
  /// What it says to direct reads.
  var direct = Direct.answered
  /// What a follower that is behind, or a mirror, has instead at these sequences.
  var elsewhere: [UInt64: Stored?] = [:]
  /// How the server that answers direct reads calls the stream.
  var name = "T"
  private(set) var directReads = 0
  private(set) var leaderReads = 0

  enum Direct { case answered, unanswered, nobody }

  struct Answer {
    var subject: String
    var headers = ""
    var payload = ""
    var status: Int?
  }

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
  mutating func take(_ bytes: UnsafeRawBufferPointer) throws -> [Answer] {
    var answers: [Answer] = []
    for line in try lines(bytes) {
      if line.subject == "$JS.API.STREAM.MSG.GET.T" {
        leaderReads += 1
        answers.append(Answer(subject: line.reply, payload: get(line.body)))
      } else if line.subject == "$JS.API.DIRECT.GET.T" {
        directReads += 1
        if let answer = getDirectly(line) { answers.append(answer) }
      } else if let answer = publish(line) {
        answers.append(Answer(subject: line.reply, payload: answer))
      }
    }
    return answers
  }

  private func getDirectly(_ line: Line) -> Answer? {
    func status(_ status: Int) -> Answer {
      Answer(subject: line.reply, headers: "NATS/1.0 \(status) No\r\n\r\n", status: status)
    }
    switch direct {
    case .unanswered: return nil
    case .nobody: return status(503)
    case .answered: break
    }
    guard let sequence = UInt64(line.body.dropFirst(7).dropLast()), sequence > 0,
      sequence <= last
    else { return status(404) }
    guard let message = elsewhere[sequence] ?? stored[Int(sequence) - 1] else {
      return status(404)
    }
    let head =
      "NATS/1.0\r\n" + message.headers.map { $0 + "\r\n" }.joined()
      + "Nats-Stream: \(name)\r\nNats-Subject: t\r\nNats-Sequence: \(sequence)\r\n"
      + "Nats-Time-Stamp: 2026-01-02T03:04:05.678Z\r\n\r\n"
    return Answer(subject: line.reply, headers: head, payload: message.body)
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

func screeningLane(
  _ mode: PublishProtocol, base: UInt64 = 0, exclusive: Bool = true, replicated: Bool = false,
  screening: LaneOptions.Screening = .whileNeeded, judge: DuplicateJudge? = nil,
  direct: Bool = false
) -> PublishLane {
  var options = LaneOptions(
    stream: "T", mode: mode, exclusive: exclusive, baseSequence: base, inbox: "_IN.0",
    batchPrefix: "b", assertsPredecessor: !replicated, screening: screening, judge: judge)
  options.isReplicated = replicated
  options.readsDirectly = direct
  return PublishLane(options)
}

func send(_ lane: PublishLane, _ id: String, event: Int = 0) {
  lane.beginMessage()
  lane.output.append("t.a")
  lane.beginHeaders()
  lane.output.append("Nats-Msg-Id: \(id)\r\nEvent: \(event)\r\n")
  lane.beginBody()
  lane.output.append("event \(event)")
  lane.endMessage()
}

/// The same event has the same header; a producer's message has none.
let eventJudge = DuplicateJudge(
  difference: { message, original in
    guard let original, let event = original.header("Event") else { return nil }
    return event == message.header("Event") ? nil : "it is event \(event)"
  })

/// Hands what the lane wrote to the stream, and the answers back, until nothing moves.
func settle(_ lane: PublishLane, _ stream: inout FakeStream) throws -> LaneProgress {
  var sum = LaneProgress(acked: 0, duplicates: 0)
  while lane.output.count > 0, lane.mayFlush { try exchange(lane, &stream, &sum) }
  return sum
}

/// The same once, with something between: what the answers make the lane write stays with it.
func exchange(
  _ lane: PublishLane, _ stream: inout FakeStream, _ sum: inout LaneProgress,
  between: () -> Void = {}
) throws {
  guard lane.mayFlush else { return }
  let answers = try stream.take(lane.output.bytes)
  lane.output.removeAll()
  between()
  for answer in answers {
    let progress = try ack(
      lane, String(answer.subject.dropFirst(6)), answer.payload, headers: answer.headers,
      status: answer.status)
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
