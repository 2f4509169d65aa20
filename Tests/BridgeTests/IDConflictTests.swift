import Bridge
import DeadLetters
import JSON
import Oplog
import Testing

private typealias Content = EventIdentity.Message

private func message(
  _ position: String?, rule: String = "created", snapshot: Bool = false, bridge: String? = nil,
  error: Bool = false, body: String = #"{"fullDocument":{"_id":1}}"#, sequence: UInt64 = 7
) -> Content {
  var headers = [("Nats-Msg-Id", "1.created")]
  if let position { headers += [("Tailrace-Position", position), ("Tailrace-Rule", rule)] }
  if let bridge { headers.append(("Tailrace-Bridge", bridge)) }
  if snapshot { headers.append(("Tailrace-Snapshot", "true")) }
  if error { headers.append(("Tailrace-Error", "path_missing")) }
  return Content(headers: headers, payload: Array(body.utf8), sequence: sequence)
}

private let mine = message("10.1.0")

@Suite struct IDConflictTests {
  private func isSame(
    _ message: Content, _ original: Content?, exclusive: Bool = true
  ) -> Bool {
    EventIdentity(exclusive: exclusive, claims: ProducerClaims())
      .difference(message, original: original) == nil
  }

  @Test func `the same event, whoever has published it`() {
    #expect(isSame(mine, message("10.1.0")))
    #expect(isSame(mine, message(nil)))
    #expect(isSame(mine, message(nil), exclusive: false))
    #expect(isSame(message("10.1.0", bridge: "a"), message("10.1.0", bridge: "a")))
  }

  @Test func `another event`() {
    #expect(!isSame(mine, message("9.1.0")))
    #expect(!isSame(mine, message("10.1.1")))
    #expect(!isSame(mine, message("10.1.0", rule: "other")), "another rule's message of it")
    #expect(!isSame(mine, message("10.1.0", error: true)), "a dead letter is not the message")
    #expect(
      !isSame(
        message("10.1.0", bridge: "a"), message("10.1.0", bridge: "b"), exclusive: false),
      "another bridge's, maybe of another source whose clock showed the same")
  }

  @Test func `what the stream no longer holds was a producer's, or another event's`() {
    #expect(isSame(mine, nil, exclusive: false))
    #expect(!isSame(mine, nil, exclusive: true))
  }

  @Test(arguments: [
    #"{"operationType":"insert","documentKey":{"_id":1},"fullDocument":%}"#,
    #"{"specversion":"1.0","id":"?","data":{"fullDocument":%}}"#, "%",
    #"{"op":"?","ts_ms":1,"after":"%"}"#,
  ])
  func `a snapshot's document is what was told of it, unless it has changed`(envelope: String) {
    func body(_ document: String) -> String {
      let text =
        envelope.contains(#""op""#)
        ? document.split(separator: "\"", omittingEmptySubsequences: false).joined(
          separator: #"\""#) : document
      return envelope.split(separator: "%", omittingEmptySubsequences: false).joined(
        separator: text)
    }
    let then = message("9.1.0", body: body(#"{"_id":1,"n":1}"#))
    let same = message("10.1.16777216", snapshot: true, body: body(#"{"_id":1,"n":1}"#))
    let changed = message("10.1.16777216", snapshot: true, body: body(#"{"_id":1,"n":2}"#))
    #expect(isSame(same, then))
    #expect(!isSame(changed, then))
    #expect(isSame(then, same), "the tail tells again what an overlapping snapshot has shown")
    #expect(!isSame(then, changed))
    #expect(isSame(same, message("8.1.16777217", snapshot: true, body: body(#"{"_id":1,"n":1}"#))))
  }

  @Test func `one producer's message is one event, however often that is looked at`() {
    let identity = EventIdentity(exclusive: false, claims: ProducerClaims(most: 2))
    #expect(identity.difference(mine, original: message(nil)) == nil)
    #expect(identity.difference(mine, original: message(nil)) == nil)
    #expect(identity.difference(message("11.1.0"), original: message(nil)) != nil)
    #expect(identity.difference(message("11.1.0"), original: message(nil, sequence: 8)) == nil)
    // Snapshots tell of documents, not of what happened to them.
    let snapshot = message("12.1.16777216", snapshot: true)
    #expect(identity.difference(snapshot, original: message(nil)) == nil)
  }

  @Test func `claims are bounded`() {
    let claims = ProducerClaims(most: 2)
    func claim(_ sequence: UInt64, _ seconds: UInt32) -> Bool {
      let entry = OplogPosition(seconds: seconds, increment: 1)
      return claims.claim(sequence, for: EventPosition(entry: entry, index: 0)) == nil
    }
    for n in 1...3 { #expect(claim(UInt64(n), UInt32(n))) }
    #expect(!claim(3, 9))
    #expect(!claim(2, 9))
    #expect(claim(1, 9), "forgotten")
  }

  @Test(arguments: [
    ("rs0:10.1.0", "10.1.0", false, false), ("rs0:10.1.0:audit", "10.1.0", false, false),
    ("1.created", "10.1.0", false, true), ("10.1.0", "10.1.0", false, true),
    ("rs0:9.1.0", "10.1.0", false, true), ("rs0:110.1.0", "10.1.0", false, true),
    ("rs0:snapshot:10.1:0a:7:x", "10.1.16777216", true, false),
    ("rs0:snapshot:9.1:0a:7:x", "10.1.16777216", true, true),
    ("1.created", "10.1.16777216", true, true),
  ])
  func `an id that holds the position needs no look at the original`(
    id: String, position: String, snapshot: Bool, needed: Bool
  ) {
    let lines =
      "Nats-Msg-Id: \(id)\r\nTailrace-Position: \(position)\r\nTailrace-Rule: r\r\n"
      + (snapshot ? "Tailrace-Snapshot: true\r\n" : "")
    #expect(Array(lines.utf8).withUnsafeBytes { MessageMarks($0).namesEvent } != needed)
  }
}

@Suite struct ReplayProofTests {
  private func judge(
    _ stored: EventIdentity.Message?, duplicate: Bool = true, last: UInt64 = 20,
    id: String = "1.created", error: String = "schema_invalid", body: [UInt8]? = nil
  ) -> ReplayProof {
    ReplayProof.judge(
      stored, lastSequence: last, ack: .init(stream: "T", sequence: 7, isDuplicate: duplicate),
      id: id, position: "10.1.0", rule: "created",
      letter: (error, body ?? stored?.payload ?? []))
  }

  private func isRefused(_ proof: ReplayProof) -> Bool {
    if case .isNot = proof { true } else { false }
  }

  @Test func `a letter goes only for its own message`() {
    #expect(judge(mine) == .isTheMessage)
    #expect(judge(mine, duplicate: false) == .isTheMessage)
    #expect(judge(message(nil)) == .isProducers)
    #expect(isRefused(judge(message(nil), duplicate: false)))
    #expect(isRefused(judge(message(nil), error: "id_conflict")), "another event had it")
    let other = Array(#"{"fullDocument":{"_id":1,"other":true}}"#.utf8)
    #expect(isRefused(judge(message(nil), body: other)), "perhaps another event's")
    #expect(isRefused(judge(message("9.1.0"))), "another event's")
    #expect(isRefused(judge(message("10.1.0", rule: "other"))), "another rule's")
    #expect(isRefused(judge(message("10.1.0", error: true))), "the letter itself")
    #expect(isRefused(judge(mine, id: "2.created")))
  }

  @Test func `what is gone was stored only if the ack says so, and the stream came so far`() {
    #expect(judge(nil, duplicate: false) == .wasStored)
    #expect(isRefused(judge(nil, duplicate: false, last: 6)))
    #expect(isRefused(judge(nil)))
  }
}
