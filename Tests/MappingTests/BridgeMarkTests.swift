import BSON
import Mapping
import Oplog
import TestRandom
import Testing

@Suite("Messages that name their bridge")
struct BridgeMarkTests {
  /// Rule `one` in a stream of the bridge's own, `two` in a shared one.
  func mapper(qualified: Bool = false) throws -> Mapper {
    var two = try rule(name: "two", id: "{documentKey._id}.x")
    two.route = .stream(StreamID(1))
    return Mapper(
      rules: [try rule(name: "one", continues: true), two], sourceName: "rs0",
      mark: BridgeMark(bridge: "chat", streams: [false, true], qualifiesLetterIDs: qualified))
  }

  func headers(_ rule: Int) throws -> [String] {
    try Change.insert(["n": 1]).with { event in
      var mapper = try mapper()
      var out = ByteWriter()
      try mapper.writeHeaders(rule: rule, event: event, match: 0, into: &out)
      return lines(out)
    }
  }

  func letter(_ rule: Int?, qualified: Bool = false, _ change: Change = .insert(["n": 1])) throws
    -> [String]
  {
    try change.with { event in
      var mapper = try mapper(qualified: qualified)
      var out = ByteWriter()
      mapper.writeDeadLetterHeaders(
        rule: rule, event: event, match: 0, error: MappingError(.schemaInvalid, "x"), into: &out)
      return lines(out)
    }
  }

  func lines(_ out: borrowing ByteWriter) -> [String] {
    String(decoding: out.bytes, as: UTF8.self).split(separator: "\r\n").map(String.init)
  }

  static let named = "Tailrace-Bridge: chat"

  @Test("behind the rule, in streams that others may write to") func messages() throws {
    #expect(try !headers(0).contains(Self.named))
    let shared = try headers(1)
    #expect(
      shared[1...4] == [
        "Tailrace-Position: 1732360000.42.0", "Tailrace-Rule: two", Self.named,
        "ce-specversion: 1.0",
      ])
  }

  @Test("dead letters always, whatever can be derived of them") func letters() throws {
    for rule in [0, 1] {
      #expect(
        try letter(rule)[2...3] == ["Tailrace-Rule: \(rule == 0 ? "one" : "two")", Self.named])
    }
    #expect(
      try letter(nil)[2...4] == [
        "Tailrace-Rule: unmatched", Self.named, "Tailrace-Error: schema_invalid",
      ])
    #expect(try letter(1, .insert([:], key: [:]))[2...3] == ["Tailrace-Rule: two", Self.named])
  }

  @Test("ids of their own") func ids() throws {
    #expect(try letter(1)[0] == "Nats-Msg-Id: m1.x")
    #expect(
      try letter(1, qualified: true)[0] == "Nats-Msg-Id: m1.x%letter:chat:two:1732360000.42.0")
    #expect(
      try letter(nil, qualified: true)[0]
        == "Nats-Msg-Id: rs0:1732360000.42.0%letter:chat:unmatched:1732360000.42.0")
    #expect(
      try letter(0, qualified: true)[4...5] == [
        "ce-specversion: 1.0", "ce-id: rs0:1732360000.42.0",
      ])
    #expect(DeadLetterID.wouldBe("m1.x%letter:chat:two:1732360000.42.0") == "m1.x")
  }

  @Test("no id of a message is taken for a letter's own") func unambiguous() throws {
    var chance = SeededRandom(seed: 5)
    let rules = [try rule(id: "{fullDocument.v}")]
    for _ in 0..<2000 {
      let text = (0...chance.below(12)).map { _ in
        chance.pick(["%", "letter:", "%letter:", "l", "a", ":", "%6C", "é"])
      }.joined()
      let id = try Change.insert(["v": .string(text)]).with { event in
        var mapper = Mapper(rules: rules, sourceName: "rs0")
        var out = ByteWriter()
        try mapper.writeID(rule: 0, event: event, match: 0, into: &out)
        return String(decoding: out.bytes, as: UTF8.self)
      }
      #expect(DeadLetterID.wouldBe(id) == id)
    }
  }
}
