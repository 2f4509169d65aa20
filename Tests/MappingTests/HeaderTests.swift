import Mapping
import Oplog
import TestRandom
import Testing

@Suite("Headers and ids")
struct HeaderTests {
  @Test("cloudevents, in the order of the interface") func cloudEvents() throws {
    let written = Written(try rule(name: "message-created", eventType: "chat.message.created"))
    #expect(
      try written.headers(.insert(["msg": "hi"])) == """
        Nats-Msg-Id: rs0:1732360000.42.0\r
        Tailrace-Position: 1732360000.42.0\r
        Tailrace-Rule: message-created\r
        ce-specversion: 1.0\r
        ce-id: rs0:1732360000.42.0\r
        ce-source: /mongodb/rs0/rocketchat\r
        ce-type: chat.message.created\r
        ce-time: 2024-11-23T11:06:40.123Z\r
        ce-subject: m1\r

        """)
  }

  @Test("other envelopes have the first three alone", arguments: [Envelope.changeEvent, .document])
  func others(_ envelope: Envelope) throws {
    let written = Written(try rule(name: "r", envelope: envelope))
    #expect(
      try written.headers(.insert([:])) == """
        Nats-Msg-Id: rs0:1732360000.42.0\r
        Tailrace-Position: 1732360000.42.0\r
        Tailrace-Rule: r\r

        """)
  }

  /// The value of one header line.
  func value(_ name: String, _ rule: Rule, _ change: Change, source: String = "rs0") throws
    -> String?
  {
    try Written(rule, source: source).headers(change).split(separator: "\r\n")
      .first { $0.hasPrefix("\(name): ") }.map { String($0.dropFirst(name.count + 2)) }
  }

  @Test("the type follows collection and operation") func type() throws {
    #expect(try value("ce-type", try rule(), .delete()) == "rocketchat_message.delete")
    let whole = Change(operation: .dropDatabase, namespace: "db", documentKey: nil)
    #expect(try value("ce-type", try rule(), whole) == "db.dropDatabase")
    #expect(try value("ce-subject", try rule(), whole) == nil)
  }

  @Test("the time is the wall clock's, else the cluster's") func time() throws {
    #expect(try value("ce-time", try rule(), Change(wallTime: nil)) == "2024-11-23T11:06:40.000Z")
    #expect(try value("ce-time", try rule(), Change(wallTime: .max)) == "2024-11-23T11:06:40.000Z")
    #expect(try value("ce-time", try rule(), Change(wallTime: 0)) == "1970-01-01T00:00:00.000Z")
  }

  @Test(
    "the subject is the document's _id",
    arguments: [
      (Value.string("a b"), "a%20b"), (.string("é\r\n"), "%C3%A9%0D%0A"),
      (.string("50%\""), "50%25%22"),
      (.int32(7), "7"), (someObjectID, "56e1fc72e0c917e9c4714161"),
      (.document([.init(key: "a", value: 1)]), "{%22a%22:1}"),
      (.timestamp(1, 2), "{%22t%22:1,%22i%22:2}"),
    ])
  func subject(_ id: Value, _ expected: String) throws {
    #expect(try value("ce-subject", try rule(), .delete(key: ["shard": 1, "_id": id])) == expected)
  }

  @Test("CloudEvents has no empty attributes") func emptySubject() throws {
    #expect(try value("ce-subject", try rule(), .delete(key: ["_id": ""])) == nil)
    #expect(try value("ce-subject", try rule(), .delete(key: ["other": 1])) == nil)
  }

  @Test("source and database are URI components") func source() throws {
    var change = Change.delete()
    change.namespace = "d b.c"
    #expect(
      try value("ce-source", try rule(), change, source: "r/s") == "/mongodb/r%252Fs/d%2520b")
    change.namespace = "dé.c"
    #expect(try value("ce-source", try rule(), change, source: "a.b") == "/mongodb/a.b/d%25C3%25A9")
    #expect(try value("Nats-Msg-Id", try rule(), change, source: "r s") == "r%20s:1732360000.42.0")
  }

  @Test("a schema closes the list") func schema() throws {
    let written = Written(try rule(dataSchema: "urn:chat:message:1"))
    #expect(
      try written.headers(.delete()).hasSuffix(
        "ce-subject: m1\r\nce-dataschema: urn:chat:message:1\r\n"))
  }

  @Test("positional ids: position, and the rule for further matches") func positional() throws {
    let written = Written(try rule(name: "one"), try rule(name: "two"))
    var change = Change.delete()
    change.position = EventPosition(
      entry: OplogPosition(seconds: .max, increment: .max), index: .max)
    #expect(try written.id(change) == "rs0:4294967295.4294967295.4294967295")
    #expect(try written.id(change, rule: 1, match: 1) == "rs0:4294967295.4294967295.4294967295:two")
    #expect(
      try written.headers(change, rule: 1, match: 1).hasPrefix(
        "Nats-Msg-Id: rs0:4294967295.4294967295.4294967295:two\r\n"
          + "Tailrace-Position: 4294967295.4294967295.4294967295\r\nTailrace-Rule: two\r\n"))
  }

  @Test("template ids are the same for every match, and safe in a header") func template() throws {
    let written = Written(try rule(id: "{documentKey._id}.created"))
    let change = Change.delete(key: ["_id": "a b\r\nX: y%é.*"])
    let id = "a%20b%0D%0AX:%20y%25%C3%A9.*.created"
    #expect(try written.id(change) == id)
    #expect(try written.id(change, match: 3) == id)
    let headers = try written.headers(change)
    #expect(headers.contains("Nats-Msg-Id: \(id)\r\n"))
    #expect(headers.contains("ce-id: \(id)\r\n"))
  }

  @Test("whatever an event holds, headers stay lines of printable ASCII") func injection() throws {
    var chance = SeededRandom(seed: 3)
    let written = Written(try rule(id: "{fullDocument.v}"), source: "rs\r\n0")
    for _ in 0..<2000 {
      var text = "x"
      for _ in 0..<chance.below(10) {
        text.unicodeScalars.append(
          chance.pick(["\r", "\n", "\0", ":", " ", "é", "%", "a", "\u{85}"]))
      }
      let headers = try written.headers(.insert(["v": .string(text)], key: ["_id": .string(text)]))
      let lines = headers.split(separator: "\r\n", omittingEmptySubsequences: false)
      #expect(lines.count == 10)
      #expect(lines.dropLast().allSatisfy { $0.utf8.allSatisfy { (0x20..<0x7F).contains($0) } })
    }
  }

  @Test("the same event gives the same bytes, whatever came before") func deterministic() throws {
    let rules = [
      try rule(namespace: "a.*", continues: true),
      try rule("y.{ns.coll}.{documentKey._id}", id: "{documentKey._id}:{clusterTime}"),
    ]
    func bytes(_ changes: [Change]) throws -> [String] {
      var mapper = Mapper(rules: rules, sourceName: "rs0")
      return try changes.map { change in
        try change.with { event in
          let out = ByteBuffer()
          var next = mapper.firstMatch(event)
          var match = 0
          while let taken = next {
            try out.write(&mapper, taken.rule, event, match)
            next = mapper.nextMatch(event, after: taken)
            match += 1
          }
          return out.text
        }
      }
    }
    var chance = SeededRandom(seed: 4)
    let changes = (0..<300).map { n in
      var change = Change.insert(
        ["v": .int32(Int32(n))], key: ["_id": .int32(Int32(chance.below(50)))])
      change.namespace = chance.pick(["a.b", "a.c", "b.c", "c.d.e"])
      change.position.index = UInt32(n)
      return change
    }
    let forwards = try bytes(changes)
    #expect(try bytes(changes) == forwards)
    #expect(try bytes(changes.reversed()) == forwards.reversed())
    #expect(Set(forwards).count == forwards.count)
  }
}
