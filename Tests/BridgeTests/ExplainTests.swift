import BSON
import Bridge
import BridgeConfiguration
import JSON
import JetStream
import Mapping
import Operator
import Oplog
import Testing

/// The pure parts of `tailrace explain`: what rules make of an event, and why a stream has nothing of it.
@Suite("Explain") struct ExplainTests {
  private static func configuration(_ unmatched: String = "ignore") throws -> BridgeConfiguration {
    try BridgeConfiguration.parse(
      yaml: """
        source: { uri: "mongodb://h/?replicaSet=rs0", name: rs0 }
        streams: [{ name: S, subjects: [s.>] }]
        unmatched: \(unmatched)
        rules:
          - { name: deletes, stream: S, match: { namespace: d.c, operations: [delete] }, subject: s.gone }
          - { name: system, stream: S, subject: s.system,
              match: { namespace: d.c, where: { fullDocument.t: { $exists: true } } } }
          - { name: copy, stream: S, subject: s.copy, continue: true, match: { namespace: d.* } }
          - { name: rooms, stream: S, subject: "s.{fullDocument.rid}", match: { namespace: d.c } }
          - { name: heard, delivery: core, subject: h.it, match: { namespace: d.heard } }
          - { name: strict, stream: S, subject: "s.{fullDocument.rid}", on_invalid: drop,
              match: { namespace: e.strict } }
          - { name: halts, stream: S, subject: "s.{fullDocument.rid}", on_invalid: halt,
              match: { namespace: e.halts } }
        dead_letter: { stream: DLQ, subject: "dlq.{rule}" }
        """, file: "t.yaml", environment: [:])
  }

  private static func derive(
    _ namespace: String, _ document: String, _ unmatched: String = "ignore"
  ) throws -> DerivedEvent {
    let parts = namespace.split(separator: ".")
    let recorded = try RecordedEvent(
      """
      {"operationType":"insert","clusterTime":{"$timestamp":{"t":100,"i":7}},
      "ns":{"db":"\(parts[0])","coll":"\(parts[1])"},"documentKey":{"_id":1},"fullDocument":\(document)}
      """, index: 0)
    var deriver = EventDeriver(try configuration(unmatched), sourceName: "rs0")
    return try recorded.withEvent { deriver.derive($0) }
  }

  @Test func `rules that did not take it say why; those that did make messages`() throws {
    let event = try Self.derive("d.c", #"{"_id":1,"rid":"a"}"#)
    #expect(
      event.rules.map(\.verdict).prefix(5) == ["operation", "where", "taken", "taken", "not_tried"])
    #expect(event.rules[0].reason == "its operations are delete")
    #expect(
      event.rules[1].reason
        == "its where has fullDocument.t: { $exists: true }, and fullDocument.t is nothing")
    #expect(event.rules[4].reason == "rooms took the event before")
    #expect(event.outcomes.map(\.kind) == [.message, .message])
    #expect(event.outcomes.map(\.rule) == ["copy", "rooms"])
    #expect(event.outcomes.map(\.subject) == ["s.copy", "s.a"])
    #expect(event.outcomes.map(\.id) == ["rs0:100.7.0", "rs0:100.7.0:rooms"])
    #expect(event.outcomes.map(\.stream) == ["S", "S"])
    #expect(event.documentKey == #"{"_id":1}"#)
  }

  @Test func `each outcome that has no message, with its reason`() throws {
    func only(_ namespace: String, _ document: String, _ unmatched: String = "ignore") throws
      -> DerivedOutcome
    {
      let outcomes = try Self.derive(namespace, document, unmatched).outcomes
      return try #require(outcomes.last)
    }
    let letter = try only("d.c", #"{"_id":1}"#)
    guard case .deadLetter("path_missing", let detail) = letter.kind else {
      Issue.record("\(letter)")
      return
    }
    #expect(detail.contains("rid") && letter.stream == "DLQ" && letter.subject == "dlq.rooms")
    let cases: [(DerivedOutcome, String, Absence.State)] = [
      (try only("d.heard", "{}"), "core", .notDue),
      (try only("e.strict", "{}"), "dropped", .notDue),
      (try only("e.halts", "{}"), "halt", .missing),
      (try only("e.none", "{}"), "unmatched", .notDue),
      (try only("e.none", "{}", "halt"), "halt", .missing),
    ]
    for (outcome, code, state) in cases {
      let absence = Absence.judge(outcome, at: Self.position(100), AbsenceFacts())
      #expect(absence.code == code && absence.state == state, "\(outcome)")
    }
    #expect(try only("e.none", "{}", "dead_letter").kind.isLetter("unmatched"))
  }

  // MARK: Why nothing is there

  private static func position(_ seconds: UInt32, _ index: UInt32 = 0) -> EventPosition {
    EventPosition(entry: OplogPosition(seconds: seconds, increment: 7), index: index)
  }

  private static func facts(
    _ change: (inout AbsenceFacts, inout Checkpoint) -> Void = { _, _ in },
    stream: String = #"{"config":{"name":"S"},"state":{"first_seq":1,"last_seq":9,"messages":9}}"#
  ) throws -> AbsenceFacts {
    var facts = AbsenceFacts()
    facts.bridge = "chat"
    facts.now = 2000
    facts.configurationHash = "h"
    facts.stream = StreamInfo(try JSONValue(parsing: stream))
    facts.firstOwn = position(50)
    var checkpoint = Checkpoint(
      bridge: "chat", source: "rs0", instance: "i", version: 1,
      resume: OplogPosition(seconds: 1000, increment: 1), term: 1,
      origin: .init(position: OplogPosition(seconds: 50, increment: 7), inclusive: true),
      streams: [:], configurationHash: "h")
    change(&facts, &checkpoint)
    facts.checkpoint = checkpoint
    return facts
  }

  private func judge(_ facts: AbsenceFacts, at seconds: UInt32 = 100) throws -> Absence {
    let outcome = try #require(try Self.derive("d.c", #"{"_id":1,"rid":"a"}"#).outcomes.first)
    return Absence.judge(outcome, at: Self.position(seconds), facts)
  }

  @Test func `what has to be there and is not`() throws {
    let absence = try judge(try Self.facts())
    #expect(absence.code == "missing" && absence.state == .missing)
    let deleted = try judge(
      try Self.facts(
        stream:
          #"{"config":{"name":"S"},"state":{"first_seq":1,"last_seq":9,"messages":7,"num_deleted":2}}"#
      ))
    #expect(deleted.state == .missing && deleted.reason.contains("2 messages were deleted"))
    #expect(try judge(try Self.facts { facts, _ in facts.stream = nil }).code == "no_stream")
  }

  @Test func `before the beginning, and not published yet`() throws {
    var none = try Self.facts()
    none.checkpoint = nil
    #expect(try judge(none).code == "no_checkpoint")
    #expect(try judge(try Self.facts(), at: 49).code == "before_origin")
    #expect(try judge(try Self.facts(), at: 50).state == .missing)
    #expect(
      try judge(try Self.facts { $1.origin.inclusive = false }, at: 50).code == "before_origin")
    #expect(try judge(try Self.facts(), at: 1000).code == "not_published_yet")
    #expect(try judge(try Self.facts(), at: 999).state == .missing)
    // The stream is past it: what a checkpoint says is up to a second old.
    let passed = try Self.facts { facts, _ in facts.isPassed = true }
    #expect(try judge(passed, at: 1000).state == .missing)
    let settled = try Self.facts { $1.settled = Self.position(1000, 3) }
    #expect(try judge(settled, at: 1000).state == .missing)
  }

  @Test func `gone by the stream's limits`() throws {
    func stream(_ config: String, first: Int = 1) -> String {
      #"{"config":{"name":"S",\#(config)},"state":{"first_seq":\#(first),"last_seq":9,"messages":5}}"#
    }
    let age = try Self.facts(stream: stream(#""max_age":1900000000000"#))
    #expect(try judge(age).code == "expired")
    let young = try Self.facts(stream: stream(#""max_age":1901000000000"#))
    #expect(try judge(young).state == .missing)
    var entry = try #require(try Self.derive("d.c", #"{"_id":1,"rid":"a"}"#).outcomes.first)
    entry.timeToLive = 1893
    #expect(Absence.judge(entry, at: Self.position(100), try Self.facts()).code == "expired")
    entry.timeToLive = 1901
    #expect(Absence.judge(entry, at: Self.position(100), try Self.facts()).state == .missing)
    let cut = stream(#""max_msgs":5"#, first: 5)
    let before = try judge(
      try Self.facts({ facts, _ in facts.firstOwn = Self.position(101) }, stream: cut))
    #expect(before.code == "before_stream" && before.reason.contains("max_msgs"))
    // It begins before the event: the event's message was not cut off.
    #expect(try judge(try Self.facts(stream: cut)).state == .missing)
    let queue = try Self.facts(stream: stream(#""retention":"workqueue""#))
    #expect(try judge(queue).code == "consumed")
    let last = stream(#""max_msgs_per_subject":1"#)
    #expect(
      try judge(try Self.facts({ facts, _ in facts.laterOnSubject = 8 }, stream: last)).code
        == "replaced")
    #expect(try judge(try Self.facts(stream: last)).state == .missing)
  }

  @Test func `other rules`() throws {
    let other = try judge(try Self.facts { $1.configurationHash = "g" })
    #expect(other.code == "other_rules" && other.state == .unknown)
    let since = OplogPosition(seconds: 101, increment: 0)
    let earlier = try judge(try Self.facts { $1.configurationSince = since })
    #expect(earlier.code == "earlier_rules")
    #expect(try judge(try Self.facts { $1.configurationSince = since }, at: 101).state == .missing)
  }

  @Test func `streams that are halted or refilled, and dropped letters`() throws {
    func state(_ change: (inout Checkpoint.StreamState) -> Void) -> Checkpoint.StreamState {
      var state = Checkpoint.StreamState(created: "c")
      change(&state)
      return state
    }
    let halted = state { $0.halted = OplogPosition(seconds: 100, increment: 0) }
    #expect(try judge(try Self.facts { $1.states["S"] = halted }).code == "stream_halted")
    #expect(try judge(try Self.facts { $1.states["S"] = halted }, at: 99).code == "missing")
    let refill = state { $0.refillTo = Self.position(100) }
    #expect(try judge(try Self.facts { $1.states["S"] = refill }).code == "refilling")
    #expect(try judge(try Self.facts { $1.states["S"] = refill }, at: 101).code == "missing")
    let dropped = try judge(try Self.facts { facts, _ in facts.isDroppedLetter = true })
    #expect(dropped.code == "letter_dropped" && dropped.state == .gone)
    // Whatever the checkpoint says yet.
    let soon = try judge(try Self.facts { facts, _ in facts.isDroppedLetter = true }, at: 1000)
    #expect(soon.code == "letter_dropped")
  }

  @Test(arguments: [
    (CutoverPhase.dual, 100, 2000, "missing"), (.dual, 1960, 2000, "dual"),
    (.committing, 1000, 2000, "committing"), (.committed, 100, 2000, "producers"),
    (.finalized, 100, 2000, "finalized"), (.finalized, 80, 2000, "missing"),
    (.bridge, 100, 2000, "missing"),
  ])
  func `groups on their way to their producers`(
    _ phase: CutoverPhase, _ seconds: Int, _ now: Int, _ code: String
  ) throws {
    var record = CutoverRecord(group: "copy")
    record.phase = phase
    record.ranges = [HandedRange(from: OplogPosition(seconds: 60, increment: 0))]
    if phase != .dual { record.fence = OplogPosition(seconds: 90, increment: 0) }
    let facts = try Self.facts { facts, checkpoint in
      facts.cutover = record
      facts.now = now
      checkpoint.resume = OplogPosition(seconds: 3000, increment: 0)
    }
    #expect(try judge(facts, at: UInt32(seconds)).code == code)
  }

  // MARK: Documents

  @Test(arguments: [
    (#""a""#, "a", true), (#""a""#, #""a""#, true), (#""a b""#, "a b", true), ("1", "1", true),
    (#"{"$numberLong":"5"}"#, "5", true), ("1", "2", false), (#""1""#, "1", true),
    (#"{"$oid":"56e1fc72e0c917e9c4714161"}"#, "56e1fc72e0c917e9c4714161", true),
    (
      #"{"$oid":"56e1fc72e0c917e9c4714161"}"#, #"{ "$oid": "56e1fc72e0c917e9c4714161" }"#, true
    ),
    (#"{"a":1}"#, #"{"a":1}"#, true), (#"{"a":1}"#, #"{"a":2}"#, false), (#""ab""#, "a", false),
  ])
  func `a document by its id, as people write it`(_ id: String, _ given: String, _ fits: Bool)
    throws
  {
    let recorded = try RecordedEvent(
      #"{"operationType":"delete","clusterTime":{"$timestamp":{"t":1,"i":1}},"ns":{"db":"d","coll":"c"},"documentKey":{"_id":\#(id)}}"#,
      index: 0)
    try recorded.withEvent { event in
      #expect(WantedDocument(namespace: "d.c", id: given).matches(event) == fits)
      #expect(!WantedDocument(namespace: "d.d", id: given).matches(event))
    }
  }
}

extension DerivedOutcome.Kind {
  fileprivate func isLetter(_ code: String) -> Bool {
    if case .deadLetter(code, _) = self { true } else { false }
  }
}
