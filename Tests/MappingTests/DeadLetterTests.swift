import BSON
import Mapping
import Oplog
import Testing

@Suite("Dead letters")
struct DeadLetterTests {
  static let missing = MappingError(.pathMissing, "fullDocument.rid is missing in this insert")

  @Test("the would-be message, the reason, the canonical event") func whole() throws {
    let written = Written(try rule("chat.{fullDocument.rid}", name: "created", eventType: "t"))
    let letter = try written.deadLetter(.insert(["n": 1]), error: Self.missing)
    #expect(letter.subject == "dlq.created")
    #expect(
      letter.headers == """
        Nats-Msg-Id: rs0:1732360000.42.0\r
        Tailrace-Position: 1732360000.42.0\r
        Tailrace-Rule: created\r
        ce-specversion: 1.0\r
        ce-id: rs0:1732360000.42.0\r
        ce-source: /mongodb/rs0/rocketchat\r
        ce-type: t\r
        ce-time: 2024-11-23T11:06:40.123Z\r
        ce-subject: m1\r
        Tailrace-Error: path_missing\r
        Tailrace-Error-Detail: fullDocument.rid is missing in this insert\r

        """)
    #expect(
      letter.body
        == #"{"operationType":"insert","clusterTime":{"$timestamp":{"t":1732360000,"i":42}},"#
        + #""wallTime":{"$date":{"$numberLong":"1732360000123"}},"ns":{"db":"rocketchat","#
        + #""coll":"rocketchat_message"},"documentKey":{"_id":"m1"},"#
        + #""fullDocument":{"n":{"$numberInt":"1"}}}"#)
  }

  @Test("the subject is there when it can be derived; filters don't apply") func tooLarge()
    throws
  {
    let written = Written(
      try rule("chat.{fullDocument.rid}", envelope: .document, exclude: ["fullDocument.secret"]))
    let letter = try written.deadLetter(
      .insert(["rid": "a b", "secret": "s"]), match: 1, error: MappingError(.payloadTooLarge, "big")
    )
    #expect(
      letter.headers == """
        Nats-Msg-Id: rs0:1732360000.42.0:r\r
        Tailrace-Position: 1732360000.42.0\r
        Tailrace-Rule: r\r
        Tailrace-Error: payload_too_large\r
        Tailrace-Error-Detail: big\r
        Tailrace-Subject: chat.a%20b\r

        """)
    #expect(letter.body.contains(#""secret":"s""#))
  }

  @Test("the positional id where the rule's own can't be had") func positionalID() throws {
    let written = Written(try rule(id: "{fullDocument.key}"))
    let letter = try written.deadLetter(.insert([:]), error: MappingError(.pathMissing, "key"))
    #expect(
      letter.headers.hasPrefix(
        "Nats-Msg-Id: rs0:1732360000.42.0\r\nTailrace-Position: 1732360000.42.0\r\n"
          + "Tailrace-Rule: r\r\nTailrace-Error: path_missing\r\n"))
    let own = try written.deadLetter(
      .insert(["key": "k"]), error: MappingError(.schemaInvalid, "x"))
    #expect(own.headers.hasPrefix("Nats-Msg-Id: k\r\n"))
  }

  @Test("an event that no rule takes") func unmatched() throws {
    let letter = try Written(try rule()).deadLetter(
      .delete(), rule: nil, error: MappingError(.unmatched, "no rule"))
    #expect(letter.subject == "dlq.unmatched")
    #expect(
      letter.headers == """
        Nats-Msg-Id: rs0:1732360000.42.0\r
        Tailrace-Position: 1732360000.42.0\r
        Tailrace-Rule: unmatched\r
        Tailrace-Error: unmatched\r
        Tailrace-Error-Detail: no rule\r

        """)
  }

  @Test("the detail is one line of ASCII, and bounded") func detail() throws {
    func line(_ detail: String) throws -> Substring? {
      try Written(try rule()).deadLetter(.delete(), error: MappingError(.corrupt, detail)).headers
        .split(separator: "\r\n").first { $0.hasPrefix("Tailrace-Error-Detail: ") }?
        .dropFirst("Tailrace-Error-Detail: ".count)
    }
    #expect(try line("a\r\nX: y\té\0") == #"a\u{D}\u{A}X: y\u{9}\u{E9}\u{0}"#)
    #expect(try line(String(repeating: "x", count: 600))?.utf8.count == 512)
    let wide = try #require(try line(String(repeating: "é", count: 600)))
    #expect(wide.utf8.count <= 512 && wide.hasSuffix("}"))
  }

  @Test("subjects of dead letters") func subjects() throws {
    let written = Written(try rule(name: "a.b"))
    let letter = try written.deadLetter(
      .delete(), error: MappingError(.idInvalid, "x"),
      subject: "d.{rule}.{error}.{operationType}.{ns.db}-x")
    #expect(letter.subject == "d.a%2Eb.id_invalid.delete.rocketchat-x")
    #expect(try DeadLetterSubject(parsing: "d.{rule}.x-{error}").pattern == "d.*.*")
    #expect(try DeadLetterSubject(parsing: "dead").pattern == "dead")
    for (text, offset) in [
      ("", 0), ("d.{ns.coll}", 3), ("d.{rule", 2), ("d..{rule}", 2), ("d.*", 2),
    ] {
      #expect(error { _ = try DeadLetterSubject(parsing: text) }?.offset == offset)
    }
  }

  @Test("a document that JSON can't hold is there as its bytes") func notUTF8() throws {
    let change = Change.insert(["s": .raw(.string, [2, 0, 0, 0, 0xE9, 0])])
    let letter = try Written(try rule()).deadLetter(
      change, error: MappingError(.valueUnsupported, "x"))
    #expect(
      letter.body.hasSuffix(
        #""documentKey":{"_id":"m1"},"fullDocument":{"$binary":{"base64":"DgAAAAJzAAIAAADpAAA=","subType":"00"}}}"#
      ))
  }

  @Test("documents that would be too large are named instead, the largest first") func limit()
    throws
  {
    var change = Change.insert(["text": .string(String(repeating: "x", count: 10_000))])
    change.lsid = ["id": 1]
    let written = Written(try rule())
    let error = MappingError(.payloadTooLarge, "x")
    let letter = try written.deadLetter(change, error: error, limit: 1000)
    #expect(letter.body.utf8.count < 1000)
    #expect(letter.body.contains(#""documentKey":{"_id":"m1"}"#))
    #expect(
      letter.body.hasSuffix(#","lsid":{"id":{"$numberInt":"1"}},"omitted":["fullDocument"]}"#))
    #expect(try written.deadLetter(change, error: error, limit: 20_000).body.contains("xxxx"))
    let least = try written.deadLetter(change, error: error, limit: 1)
    #expect(
      least.body
        == #"{"operationType":"insert","omitted":["fullDocument","documentKey","lsid","ns"]}"#)
  }
}
