import BSON
import Mapping
import Oplog
import TestRandom
import Testing

@Suite("Bodies")
struct BodyTests {
  static let insert = Change.insert(
    ["_id": "m1", "msg": "hé \"hi\"", "n": .int64(5), "at": .date(1_732_360_000_123)])
  static let update = Change.update(["updatedFields": ["msg": "x"], "removedFields": ["y"]])
  static var transaction: Change {
    var change = update
    change.txnNumber = 7
    change.lsid = ["id": .binary(4, Array(0..<16))]
    change.collectionUUID = Array(16..<32)
    return change
  }

  @Test("cloudevents: one shape for all operations") func cloudEvents() throws {
    let written = Written(try rule())
    #expect(
      try written.body(Self.insert)
        == #"{"operationType":"insert","documentKey":{"_id":"m1"},"fullDocument":{"_id":"m1","#
        + #""msg":"hé \"hi\"","n":5,"at":"2024-11-23T11:06:40.123Z"}}"#)
    #expect(
      try written.body(Self.transaction)
        == #"{"operationType":"update","documentKey":{"_id":"m1"},"updateDescription":"#
        + #"{"updatedFields":{"msg":"x"},"removedFields":["y"]}}"#)
    #expect(
      try written.body(.delete()) == #"{"operationType":"delete","documentKey":{"_id":"m1"}}"#)
    #expect(
      try written.body(Change(operation: .dropDatabase, namespace: "db", documentKey: nil))
        == #"{"operationType":"dropDatabase"}"#)
  }

  @Test("change_event: all facts, in change streams' words") func changeEvent() throws {
    #expect(
      try Written(try rule(envelope: .changeEvent)).body(Self.transaction)
        == #"{"operationType":"update","clusterTime":{"t":1732360000,"i":42},"#
        + #""wallTime":"2024-11-23T11:06:40.123Z","ns":{"db":"rocketchat","#
        + #""coll":"rocketchat_message"},"documentKey":{"_id":"m1"},"updateDescription":"#
        + #"{"updatedFields":{"msg":"x"},"removedFields":["y"]},"txnNumber":7,"#
        + #""lsid":{"id":"00010203-0405-0607-0809-0a0b0c0d0e0f"},"#
        + #""collectionUUID":"10111213-1415-1617-1819-1a1b1c1d1e1f"}"#)
    #expect(
      try Written(try rule(envelope: .changeEvent, json: .canonical)).body(Self.transaction)
        == #"{"operationType":"update","clusterTime":{"$timestamp":{"t":1732360000,"i":42}},"#
        + #""wallTime":{"$date":{"$numberLong":"1732360000123"}},"ns":{"db":"rocketchat","#
        + #""coll":"rocketchat_message"},"documentKey":{"_id":"m1"},"updateDescription":"#
        + #"{"updatedFields":{"msg":"x"},"removedFields":["y"]},"txnNumber":{"$numberLong":"7"},"#
        + #""lsid":{"id":{"$binary":{"base64":"AAECAwQFBgcICQoLDA0ODw==","subType":"04"}}},"#
        + #""collectionUUID":{"$binary":{"base64":"EBESExQVFhcYGRobHB0eHw==","subType":"04"}}}"#)
    var rename = Change(operation: .rename, documentKey: nil, wallTime: nil)
    rename.namespace = "db.old"
    let to = Array("db2.new.name".utf8)
    let body = try rename.with { event in
      try to.withUnsafeBytes { bytes in
        var event = event
        event.to = bytes
        var mapper = Mapper(rules: [try rule(envelope: .changeEvent)], sourceName: "rs0")
        var out = ByteWriter()
        try mapper.writeBody(rule: 0, event: event, match: 0, into: &out)
        return String(decoding: out.bytes, as: UTF8.self)
      }
    }
    #expect(
      body == #"{"operationType":"rename","clusterTime":{"t":1732360000,"i":42},"#
        + #""ns":{"db":"db","coll":"old"},"to":{"db":"db2","coll":"new.name"}}"#)
  }

  @Test("document: the document alone, of a deletion its key, of an update nothing")
  func document() throws {
    let written = Written(try rule(envelope: .document, json: .relaxed))
    #expect(
      try written.body(Self.insert)
        == #"{"_id":"m1","msg":"hé \"hi\"","n":5,"at":{"$date":"2024-11-23T11:06:40.123Z"}}"#)
    #expect(try written.body(.delete()) == #"{"_id":"m1"}"#)
    #expect(mappingError { try written.body(Self.update) }?.code == .pathMissing)
    #expect(
      mappingError { try written.body(Change(operation: .drop, documentKey: nil)) }?.code
        == .pathMissing)
  }

  @Test("JSON styles") func styles() throws {
    func body(_ style: JSONStyle) throws -> String {
      try Written(try rule(envelope: .document, json: style)).body(.insert(["n": .int64(5)]))
    }
    #expect(try body(.simplified) == #"{"n":5}"#)
    #expect(try body(.relaxed) == #"{"n":5}"#)
    #expect(try body(.canonical) == #"{"n":{"$numberLong":"5"}}"#)
  }

  @Test("text that is not UTF-8 is one event's trouble, broken bytes are the source's")
  func broken() throws {
    let written = Written(try rule())
    let latin = Change.insert(["s": .raw(.string, [2, 0, 0, 0, 0xE9, 0])])
    #expect(mappingError { try written.body(latin) }?.code == .valueUnsupported)
    // A string that claims more bytes than there are.
    let short = Change.insert(["s": .raw(.string, [99, 0, 0, 0, 65, 0])])
    let error = try #require(mappingError { try written.body(short) })
    #expect(error.code == .corrupt)
    #expect(error.detail.hasPrefix("fullDocument: corrupt BSON at byte "))
    #expect(
      mappingError { try Written(try rule("x.{fullDocument.z}")).subject(short) }?.code == .corrupt)
    let filtered = Written(try rule(exclude: ["fullDocument.z"]))
    #expect(mappingError { try filtered.body(short) }?.code == .corrupt)
    #expect(mappingError { try filtered.body(latin) }?.code == .valueUnsupported)
  }

  @Test("random damage is an error or another message, never a crash") func fuzz() throws {
    var chance = SeededRandom(seed: 5)
    let whole = Value.document([
      .init(key: "rid", value: "GENERAL"), .init(key: "u", value: ["_id": "1", "name": "n"]),
      .init(key: "list", value: [["a": 1], ["b": .date(5)]]), .init(key: "x", value: someObjectID),
    ]).bytes
    let rules = [
      try rule("x.{fullDocument.rid}.{fullDocument.list.1.b}"),
      try rule("x.{fullDocument.u.name}", include: ["fullDocument.list.a", "fullDocument.u"]),
      try rule(id: "{fullDocument.x}", envelope: .document, exclude: ["fullDocument.u.name"]),
      try rule(envelope: .changeEvent, json: .canonical),
    ]
    var mapper = Mapper(rules: rules, sourceName: "rs0")
    var failures = 0
    for _ in 0..<20_000 {
      var bytes = whole
      for _ in 0...chance.below(4) { bytes[chance.below(bytes.count)] = UInt8(chance.below(256)) }
      bytes.withUnsafeBytes { raw in
        guard let view = try? BSONView(raw) else { return }
        Array("a.b".utf8).withUnsafeBytes { namespace in
          let event = ChangeEvent(
            operation: .insert,
            position: EventPosition(entry: OplogPosition(seconds: 1, increment: 1), index: 0),
            namespace: namespace, databaseLength: 1, documentKey: view, fullDocument: view,
            updateDescription: view)
          for rule in rules.indices {
            let out = ByteBuffer()
            do {
              try out.write(&mapper, rule, event, 0)
            } catch {
              failures += 1
            }
          }
          var letter = ByteWriter()
          mapper.writeDeadLetterBody(event: event, into: &letter)
          #expect(letter.bytes.last == UInt8(ascii: "}"))
        }
      }
    }
    #expect(failures > 1000)
  }
}
