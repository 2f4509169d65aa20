import BSON
import JetStream
import Testing

/// One protocol line pair as the server would read it.
struct Line: Equatable {
  var verb: String
  var subject: String
  var reply: String
  var headers: [String]
  var body: String
}

/// Reads what a lane wrote, as strictly as a server: sizes must fit to the byte.
func lines(_ bytes: UnsafeRawBufferPointer) throws -> [Line] {
  struct Malformed: Error { var at: Int }
  let all = Array(bytes)
  var found: [Line] = []
  var at = 0
  while at < all.count {
    guard let end = all[at...].firstIndex(of: 13), all[end + 1] == 10 else {
      throw Malformed(at: at)
    }
    let words = String(decoding: all[at..<end], as: UTF8.self).split(separator: " ").map(
      String.init)
    let payload = end + 2
    switch words.first {
    case "HPUB":
      guard let head = Int(words[words.count - 2]), let total = Int(words[words.count - 1]),
        payload + total + 2 <= all.count, all[payload + total] == 13, all[payload + total + 1] == 10
      else { throw Malformed(at: at) }
      let text = String(decoding: all[payload..<(payload + head)], as: UTF8.self)
      guard text.hasPrefix("NATS/1.0\r\n"), text.hasSuffix("\r\n\r\n") else {
        throw Malformed(at: at)
      }
      found.append(
        Line(
          verb: "HPUB", subject: words[1], reply: words.count == 5 ? words[2] : "",
          headers: text.split(separator: "\r\n").dropFirst().map(String.init),
          body: String(decoding: all[(payload + head)..<(payload + total)], as: UTF8.self)))
      at = payload + total + 2
    case "PUB":
      guard let total = Int(words[words.count - 1]) else { throw Malformed(at: at) }
      found.append(
        Line(
          verb: "PUB", subject: words[1], reply: words[2], headers: [],
          body: String(decoding: all[payload..<(payload + total)], as: UTF8.self)))
      at = payload + total + 2
    default: throw Malformed(at: at)
    }
  }
  return found
}

private func makeLane(
  _ mode: PublishProtocol, exclusive: Bool = true, base: UInt64 = 10, window: Int = 4096,
  windowBytes: Int = 8 << 20
) -> PublishLane {
  PublishLane(
    LaneOptions(
      stream: "T", mode: mode, exclusive: exclusive, baseSequence: base, inbox: "_IN.0",
      batchPrefix: "b", window: window, windowBytes: windowBytes))
}

private func send(_ lane: PublishLane, _ n: Int, body: String = "{}") {
  lane.beginMessage()
  lane.output.append("t.\(n)")
  lane.beginHeaders()
  lane.output.append("Nats-Msg-Id: m\(n)\r\n")
  lane.beginBody()
  lane.output.append(body)
  lane.endMessage()
}

func ack(
  _ lane: PublishLane, _ token: String, _ payload: String, headers: String = "",
  status: Int? = nil
) throws -> LaneProgress {
  try Array(token.utf8).withUnsafeBytes { token in
    try Array(headers.utf8).withUnsafeBytes { headers in
      try Array(payload.utf8).withUnsafeBytes { payload in
        try lane.received(token: token, headers: headers, payload: payload, status: status)
      }
    }
  }
}

@Suite struct PublishLaneTests {
  @Test func `the chain names the sequence that each message follows`() throws {
    let lane = makeLane(.chain)
    for n in 0..<3 { send(lane, n, body: String(repeating: "x", count: n)) }
    let wrote = try lines(lane.output.bytes)
    #expect(wrote.map(\.subject) == ["t.0", "t.1", "t.2"])
    #expect(wrote.map(\.reply) == ["_IN.0.0", "_IN.0.1", "_IN.0.2"])
    #expect(
      wrote.map { $0.headers.last ?? "" } == [
        "Nats-Expected-Last-Sequence: 10", "Nats-Expected-Last-Sequence: 11",
        "Nats-Expected-Last-Sequence: 12",
      ])
    #expect(
      wrote.map(\.headers.first) == ["Nats-Msg-Id: m0", "Nats-Msg-Id: m1", "Nats-Msg-Id: m2"])
    #expect(wrote.map(\.body) == ["", "x", "xx"])
    #expect(lane.inFlight == 3)
    #expect(
      try ack(lane, "0", #"{"stream":"T","seq":11}"#)
        == LaneProgress(acked: 1, duplicates: 0, lastStored: 0, sequence: 11))
    #expect(lane.inFlight == 2)
    #expect(lane.lastSequence == 11)
  }

  /// Whether a message fits must not depend on what its protocol adds.
  @Test(arguments: PublishProtocol.allCases, [1, 127, 128, 129, 1024])
  func `a protocol's headers take 256 bytes at most`(mode: PublishProtocol, length: Int) throws {
    let lane = PublishLane(
      LaneOptions(
        stream: "T", mode: mode, exclusive: true, baseSequence: .max - 100, inbox: "_IN.0",
        batchPrefix: String(repeating: "b", count: 40)))
    for n in 0..<3 {
      guard lane.canSend else { break }
      lane.beginMessage()
      lane.output.append("t")
      lane.beginHeaders()
      lane.output.append("Nats-Msg-Id: \(n)\(String(repeating: "i", count: length - 1))\r\n")
      lane.beginBody()
      lane.endMessage()
      #expect(lane.messageSize - lane.ownSize <= 256)
    }
    lane.seal()
    for line in try lines(lane.output.bytes) {
      let added = line.headers.filter { !$0.hasPrefix("Nats-Msg-Id: ") }
      #expect(added.reduce(0) { $0 + $1.utf8.count + 2 } <= 256)
    }
  }

  @Test func `behind an id too long to be named the chain waits for its ack`() throws {
    let lane = makeLane(.chain)
    func send(_ id: String) {
      lane.beginMessage()
      lane.output.append("t")
      lane.beginHeaders()
      lane.output.append("Nats-Msg-Id: \(id)\r\n")
      lane.beginBody()
      lane.endMessage()
    }
    send("a")
    #expect(lane.canSend)
    send(String(repeating: "b", count: 129))
    #expect(!lane.canSend)
    _ = try ack(lane, "0", #"{"stream":"T","seq":11}"#)
    #expect(!lane.canSend)
    _ = try ack(lane, "1", #"{"stream":"T","seq":12}"#)
    #expect(lane.canSend)
    lane.output.removeAll()
    send("c")
    send("d")
    let wrote = try lines(lane.output.bytes)
    #expect(wrote[0].headers == ["Nats-Msg-Id: c", "Nats-Expected-Last-Sequence: 12"])
    #expect(wrote[1].headers[1] == "Nats-Expected-Last-Msg-Id: c")
  }

  @Test func `a message that is cancelled leaves no trace`() throws {
    for mode in PublishProtocol.allCases where mode != .single {
      let lane = makeLane(mode)
      send(lane, 0)
      lane.beginMessage()
      lane.output.append("t.bad")
      lane.beginHeaders()
      lane.output.append("X: y\r\n")
      lane.cancelMessage()
      send(lane, 1)
      #expect(lane.sent == 2)
      lane.seal()
      #expect(try lines(lane.output.bytes).map(\.subject) == ["t.0", "t.1"])
    }
  }

  /// Longer subject and headers than the message before, so that places mixed up would show.
  private func takeBack(_ lane: PublishLane) {
    lane.beginMessage()
    lane.output.append("t.taken.back.with.a.long.subject")
    lane.beginHeaders()
    lane.output.append("Nats-Msg-Id: taken-back\r\nX: \(String(repeating: "x", count: 300))\r\n")
    lane.beginBody()
    lane.output.append("{}")
    lane.cancelMessage()
  }

  @Test(arguments: [PublishProtocol.atomic, .fast])
  func `the batch's end is the last message that was not cancelled`(mode: PublishProtocol) throws {
    let plain = makeLane(mode)
    send(plain, 0)
    send(plain, 1)
    plain.seal()
    let lane = makeLane(mode)
    send(lane, 0)
    send(lane, 1)
    takeBack(lane)
    lane.seal()
    #expect(try lines(lane.output.bytes) == lines(plain.output.bytes))
  }

  @Test
  func `a fast batch whose last message is gone ends on its subject, whatever was cancelled`()
    throws
  {
    let lane = makeLane(.fast)
    send(lane, 0)
    lane.output.removeAll()
    takeBack(lane)
    lane.seal()
    #expect(try lines(lane.output.bytes).map(\.subject) == ["t.0"])
  }

  @Test func `the window closes and opens again`() throws {
    let lane = makeLane(.chain, window: 2)
    send(lane, 0)
    #expect(lane.canSend)
    send(lane, 1)
    #expect(!lane.canSend)
    _ = try ack(lane, "0", #"{"stream":"T","seq":11}"#)
    #expect(lane.canSend)
    let narrow = makeLane(.chain, windowBytes: 100)
    send(narrow, 0, body: String(repeating: "x", count: 200))
    #expect(!narrow.canSend)
    _ = try ack(narrow, "0", #"{"stream":"T","seq":11}"#)
    #expect(narrow.canSend)
  }

  @Test func `one at a time means one at a time`() throws {
    let lane = makeLane(.single)
    #expect(lane.canSend)
    send(lane, 0)
    #expect(!lane.canSend)
    #expect(try ack(lane, "0", #"{"stream":"T","seq":11}"#).acked == 1)
    send(lane, 1)
    #expect(try lines(lane.output.bytes)[1].headers.last == "Nats-Expected-Last-Sequence: 11")
  }

  @Test func `a duplicate met one at a time is settled, and the next message follows the tail`()
    throws
  {
    let lane = makeLane(.single)
    send(lane, 0)
    var had = LaneProgress(acked: 1, duplicates: 1)
    had.originals = 4
    #expect(try ack(lane, "0", #"{"stream":"T","seq":4,"duplicate":true}"#) == had)
    #expect(lane.lastSequence == 10)
    send(lane, 1)
    #expect(try lines(lane.output.bytes)[1].headers.last == "Nats-Expected-Last-Sequence: 10")
  }

  @Test func `an atomic batch is committed by its last message`() throws {
    let lane = makeLane(.atomic)
    for n in 0..<3 { send(lane, n) }
    #expect(!lane.mayFlush)
    lane.seal()
    #expect(lane.mayFlush)
    let wrote = try lines(lane.output.bytes)
    #expect(wrote.map(\.reply) == ["", "", "_IN.0.0"])
    #expect(
      wrote[0].headers == [
        "Nats-Msg-Id: m0", "Nats-Expected-Last-Sequence: 10", "Nats-Batch-Id: b-0",
        "Nats-Batch-Sequence: 1",
      ])
    #expect(
      wrote[2].headers == [
        "Nats-Msg-Id: m2", "Nats-Batch-Id: b-0", "Nats-Batch-Sequence: 3", "Nats-Batch-Commit: 1",
      ])
    #expect(wrote.map(\.body) == ["{}", "{}", "{}"])
    send(lane, 3)
    lane.seal()
    let more = try lines(lane.output.bytes)
    #expect(more[3].headers.contains("Nats-Expected-Last-Sequence: 13"))
    #expect(more[3].headers.last == "Nats-Batch-Commit: 1")
    #expect(
      try ack(lane, "0", #"{"stream":"T","seq":13,"batch":"b-0","count":3}"#)
        == LaneProgress(acked: 3, duplicates: 0, lastStored: 2, sequence: 13))
    #expect(
      try ack(lane, "1", #"{"stream":"T","seq":14,"batch":"b-1","count":1}"#)
        == LaneProgress(acked: 1, duplicates: 0, lastStored: 0, sequence: 14))
  }

  @Test func `an atomic batch ends by itself at a thousand messages`() throws {
    let lane = makeLane(.atomic)
    for n in 0..<1000 { send(lane, n) }
    #expect(!lane.hasOpenBatch)
    let wrote = try lines(lane.output.bytes)
    #expect(wrote.count == 1000)
    #expect(wrote[999].headers.contains("Nats-Batch-Sequence: 1000"))
    #expect(wrote[999].headers.last == "Nats-Batch-Commit: 1")
  }

  @Test func `a fast batch turns its last message into the commit`() throws {
    let lane = makeLane(.fast)
    for n in 0..<3 { send(lane, n) }
    lane.seal()
    let wrote = try lines(lane.output.bytes)
    #expect(
      wrote.map(\.reply) == [
        "_IN.0.b-0.200.fail.1.0.$FI", "_IN.0.b-0.200.fail.2.1.$FI", "_IN.0.b-0.200.fail.3.2.$FI",
      ])
    #expect(wrote[0].headers.last == "Nats-Expected-Last-Sequence: 10")
    #expect(wrote[1].headers == ["Nats-Msg-Id: m1", "Nats-Expected-Last-Sequence: 11"])
    #expect(wrote[2].headers == ["Nats-Msg-Id: m2", "Nats-Expected-Last-Sequence: 12"])
    #expect(!lane.canSend)
    #expect(try ack(lane, "x", #"{"type":"ack","seq":0,"msgs":200}"#).acked == 0)
    #expect(
      try ack(lane, "x", #"{"stream":"T","seq":13,"batch":"b-0","count":3}"#)
        == LaneProgress(acked: 3, duplicates: 0, lastStored: 2, sequence: 13))
    #expect(lane.canSend)
    send(lane, 3)
    #expect(try lines(lane.output.bytes)[3].headers.last == "Nats-Expected-Last-Sequence: 13")
  }

  @Test func `a fast batch whose last message is gone is ended without one`() throws {
    let lane = makeLane(.fast)
    for n in 0..<3 { send(lane, n) }
    lane.output.removeAll()
    lane.seal()
    #expect(
      try lines(lane.output.bytes) == [
        Line(
          verb: "PUB", subject: "t.2", reply: "_IN.0.b-0.200.fail.4.3.$FI", headers: [], body: "")
      ])
    #expect(try ack(lane, "x", #"{"stream":"T","seq":13,"batch":"b-0","count":3}"#).acked == 3)
  }

  /// As nats-server 2.15.1 ends batches: `seq` is the last message that was stored, 0 if none was, and
  /// a batch of one says `duplicate`.
  @Test(arguments: [
    #"{"stream":"T","seq":13,"batch":"b-0","count":5}"#,
    #"{"stream":"T","seq":0,"batch":"b-0","count":5}"#,
    #"{"stream":"T","seq":4,"duplicate": true,"batch":"b-0","count":5}"#,
  ])
  func `duplicates that fast ingest skipped are never taken for stored`(end: String) throws {
    let lane = makeLane(.fast)
    for n in 0..<5 { send(lane, n) }
    lane.seal()
    do {
      _ = try ack(lane, "x", end)
      Issue.record("nobody knows which of them were stored")
    } catch let error as JetStreamError {
      #expect(error.meansDuplicate)
      #expect(error.remedy == .reread)
    }
    #expect(lane.acked == 0)
  }

  @Test func `fast ingest's flow makes room and settles nothing`() throws {
    let lane = makeLane(.fast)
    for n in 0..<400 { send(lane, n) }
    #expect(!lane.canSend)
    let progress = try ack(lane, "x", #"{"type":"ack","seq":200,"msgs":200}"#)
    #expect(progress.acked == 0)
    #expect(progress.moved)
    #expect(lane.canSend)
    #expect(lane.inFlight == 400)
    lane.seal()
    #expect(
      try ack(lane, "x", #"{"stream":"T","seq":410,"batch":"b-0","count":400}"#)
        == LaneProgress(acked: 400, duplicates: 0, lastStored: 399, sequence: 410))
    #expect(lane.inFlight == 0)
  }

  @Test func `a batch that ends short is never taken for an ack`() {
    let lane = makeLane(.fast)
    for n in 0..<5 { send(lane, n) }
    #expect(throws: JetStreamError.self) {
      _ = try ack(lane, "x", #"{"stream":"T","seq":14,"batch":"b-0","count":4}"#)
    }
    let sealed = makeLane(.fast)
    for n in 0..<5 { send(sealed, n) }
    sealed.seal()
    #expect(throws: JetStreamError.self) {
      _ = try ack(sealed, "x", #"{"stream":"T","seq":14,"batch":"b-0","count":4}"#)
    }
  }

  @Test func `an ack with sequence 0 is never counted`() {
    for mode in PublishProtocol.allCases {
      let lane = makeLane(mode)
      send(lane, 0)
      lane.seal()
      #expect(throws: JetStreamError.self) {
        _ = try ack(lane, "0", #"{"stream":"T","seq":0,"duplicate":true}"#)
      }
      #expect(lane.acked == 0)
    }
  }

  @Test func `every refusal ends the epoch with what to do`() throws {
    let codes: [(Int, JetStreamError.Remedy)] = [
      (10071, .reread), (10070, .reread), (10158, .reread), (10201, .reread), (10164, .backOff),
      (10167, .backOff), (10174, .reread), (10176, .reread), (10177, .reread), (10199, .reread),
      (10205, .reread), (10206, .reread), (10207, .reread), (10208, .reread),
      (10059, .operatorMustAct), (10077, .operatorMustAct), (10054, .rejectMessage),
    ]
    for (code, remedy) in codes {
      let lane = makeLane(.chain)
      send(lane, 0)
      do {
        _ = try ack(lane, "0", #"{"error":{"code":400,"err_code":\#(code)},"stream":"T","seq":0}"#)
        Issue.record("\(code) was taken for an ack")
      } catch let error as JetStreamError {
        #expect(error.code == code)
        #expect(error.remedy == remedy)
      }
      #expect(lane.acked == 0)
    }
    let lane = makeLane(.chain)
    send(lane, 0)
    #expect(throws: JetStreamError.self) { _ = try ack(lane, "0", "", status: 503) }
  }

  @Test func `acks out of turn and foreign sequences are noticed`() {
    let lane = makeLane(.chain)
    for n in 0..<3 { send(lane, n) }
    #expect(throws: JetStreamError.self) { _ = try ack(lane, "1", #"{"stream":"T","seq":12}"#) }
    #expect(throws: JetStreamError.self) { _ = try ack(lane, "0", #"{"stream":"T","seq":12}"#) }
    let atomic = makeLane(.atomic)
    send(atomic, 0)
    atomic.seal()
    #expect(throws: JetStreamError.self) {
      _ = try ack(atomic, "0", #"{"stream":"T","seq":19,"batch":"b-0","count":1}"#)
    }
  }

  @Test func `a full window with nothing on its way back asks to be sealed`() throws {
    let atomic = makeLane(.atomic, windowBytes: 300)
    while atomic.canSend { send(atomic, 0, body: String(repeating: "x", count: 100)) }
    #expect(atomic.waitsForSeal)
    atomic.seal()
    #expect(!atomic.waitsForSeal)
    let fast = makeLane(.fast, windowBytes: 300)
    while fast.canSend { send(fast, 0, body: String(repeating: "x", count: 100)) }
    #expect(fast.waitsForSeal)
  }
}
