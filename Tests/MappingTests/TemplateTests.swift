import BSON
import Mapping
import Oplog
import Testing

@Suite("Templates")
struct TemplateTests {
  @Test(
    "values as tokens",
    arguments: [
      (Value.string("GENERAL"), "GENERAL"), (.int32(-5), "-5"),
      (.int64(.max), "9223372036854775807"),
      (.double(1.5), "1%2E5"), (.double(2), "2"), (.bool(true), "true"), (.null, "null"),
      (someObjectID, "56e1fc72e0c917e9c4714161"), (.date(0), "1970-01-01T00%3A00%3A00%2E000Z"),
      (.double(.nan), "NaN"),
      (.binary(4, Array(0..<16)), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
      (.binary(0, [0xFB, 0xFF]), "%2B%2F8%3D"),
    ])
  func values(_ value: Value, _ token: String) throws {
    let written = Written(try rule("x.{fullDocument.v}.y"))
    #expect(try written.subject(.insert(["a": 1, "v": value])) == "x.\(token).y")
  }

  @Test(
    "values that are not single",
    arguments: [
      Value.document([]), .array([1]), .timestamp(1, 2), .regex("a", ""), .raw(.minKey, []),
    ])
  func notSingle(_ value: Value) throws {
    let written = Written(try rule("x.{fullDocument.v}", id: "{fullDocument.v}"))
    let change = Change.insert(["v": value])
    #expect(mappingError { try written.subject(change) }?.code == .valueUnsupported)
    #expect(mappingError { try written.headers(change) }?.code == .valueUnsupported)
  }

  @Test("every field of the change event") func fields() throws {
    var change = Change.update(["updatedFields": ["a": 7]])
    change.txnNumber = 3
    change.lsid = ["id": .binary(4, Array(0..<16))]
    let subject =
      "{operationType}.{ns.db}.{ns.coll}.{documentKey._id}.{updateDescription.updatedFields.a}"
      + ".{clusterTime}.{wallTime}.{txnNumber}.{lsid.id}"
    #expect(
      try Written(try rule(subject)).subject(change)
        == "update.rocketchat.rocketchat_message.m1.7.1732360000%2E42"
        + ".2024-11-23T11%3A06%3A40%2E123Z.3.00010203-0405-0607-0809-0a0b0c0d0e0f")
    #expect(
      try Written(try rule(id: subject)).id(change)
        == "update.rocketchat.rocketchat_message.m1.7.1732360000.42"
        + ".2024-11-23T11:06:40.123Z.3.00010203-0405-0607-0809-0a0b0c0d0e0f")
  }

  @Test(
    "paths into documents, arrays and keys with dots",
    arguments: [
      ("u.username", "bob"), ("tags.1", "y"), ("list.0.name", "n"), ("a.b", "dotted"),
      ("a.b.c", "below"), ("p.q.r.s", "deep"), ("x", "1"), ("x.y", "nested"),
    ])
  func paths(_ path: String, _ expected: String) throws {
    let document: Value = [
      "u": ["_id": "1", "username": "bob"], "tags": ["x", "y"], "list": [["name": "n"]],
      "a.b": "dotted", "a": ["b": ["c": "below"]], "p.q": ["r.s": "deep"], "x": 1, "x.y": "nested",
    ]
    let written = Written(try rule("t.{fullDocument.\(path)}"))
    #expect(try written.subject(.insert(document)) == "t.\(expected)")
  }

  @Test("updated fields are named by their whole path") func updatedFields() throws {
    let written = Written(try rule("t.{updateDescription.updatedFields.profile.status}"))
    #expect(
      try written.subject(.update(["updatedFields": ["profile.status": "away"]])) == "t.away")
    #expect(
      try written.subject(.update(["updatedFields": ["profile": ["status": "away"]]])) == "t.away")
  }

  @Test("literal text around values") func mixed() throws {
    let written = Written(try rule("room-{fullDocument.rid}-x.{operationType}{ns.coll}"))
    var change = Change.insert(["rid": "a.b"])
    change.namespace = "db.sys.tem"
    #expect(try written.subject(change) == "room-a%2Eb-x.insertsys%2Etem")
  }

  @Test("what is missing makes the event invalid, in subject and id") func missing() throws {
    let cases: [(String, Change)] = [
      ("fullDocument.rid", .insert(["x": 1])), ("fullDocument.rid", .delete()),
      ("fullDocument.rid.x", .insert(["rid": "text"])),
      ("fullDocument.ri", .insert(["rid": "text"])),
      ("updateDescription.updatedFields.a", .insert([:])), ("txnNumber", .insert([:])),
      ("lsid.id", .insert([:])), ("wallTime", Change(wallTime: nil)),
      ("ns.coll", Change(operation: .dropDatabase, namespace: "db", documentKey: nil)),
      ("documentKey._id", Change(operation: .drop, documentKey: nil)),
    ]
    for (path, change) in cases {
      let written = Written(try rule("x.{\(path)}", id: "{\(path)}"))
      let inSubject = try #require(mappingError { try written.subject(change) })
      #expect(inSubject.code == .pathMissing)
      #expect(inSubject.detail == "\(path) is missing in this \(change.operation.name)")
      #expect(mappingError { try written.headers(change) }?.code == .pathMissing)
    }
    let update = mappingError { try Written(try rule("x.{fullDocument.a}")).subject(.update([:])) }
    #expect(
      update?.detail
        == "fullDocument.a is missing: the oplog holds no full document for an update; "
        + "set payload.full_document, or use documentKey or updateDescription")
  }

  @Test("an empty value is never an empty token") func empty() throws {
    let written = Written(try rule("x.{fullDocument.v}.y", id: "{fullDocument.v}.created"))
    let error = mappingError { try written.subject(.insert(["v": ""])) }
    #expect(error == MappingError(.subjectInvalid, "fullDocument.v is an empty string"))
    #expect(mappingError { try written.headers(.insert(["v": ""])) }?.code == .idInvalid)
    #expect(
      mappingError { try written.subject(.insert(["v": .binary(0, [])])) }?.code == .subjectInvalid)
  }

  @Test("lengths are bounded") func lengths() throws {
    let written = Written(try rule("x.{fullDocument.v}", id: "i{fullDocument.v}"))
    func change(_ count: Int) -> Change {
      .insert(["v": .string(String(repeating: "a", count: count))])
    }
    #expect(try written.subject(change(255)).utf8.count == 257)
    let error = try #require(mappingError { try written.subject(change(256)) })
    #expect(error.code == .subjectInvalid)
    #expect(error.detail.contains("is 256 bytes long; at most 255 are allowed"))
    // Literal text counts too.
    let around = Written(try rule("x.room-{fullDocument.v}"))
    #expect(try around.subject(change(250)).utf8.count == 257)
    #expect(mappingError { try around.subject(change(251)) }?.code == .subjectInvalid)
    // Escapes count as what they are written as.
    let dots = Change.insert(["v": .string(String(repeating: ".", count: 86))])
    #expect(mappingError { try written.subject(dots) }?.code == .subjectInvalid)
    let many = Written(
      try rule(Array(repeating: "{fullDocument.v}", count: 5).joined(separator: ".")))
    #expect(mappingError { try many.subject(change(250)) }?.code == .subjectInvalid)
    #expect(try written.id(change(1023)).utf8.count == 1024)
    #expect(mappingError { try written.id(change(1024)) }?.code == .idInvalid)
  }

  @Test(
    "impossible subjects",
    arguments: [
      ("", 0), (".a", 0), ("a.", 1), ("a..b", 2), ("{documentKey._id}.", 17),
      ("{documentKey._id}..a", 18), ("a b", 1), ("a*", 1), ("a.>", 2), ("a%2E", 1), ("é", 0),
      ("a\u{1}", 1), ("$JS.x", 0), ("{", 0), ("a}", 1), ("{a", 0), ("{a{", 2), ("{}", 1),
      ("{nothing}", 1), ("a.{ns}", 3), ("{ns.name}", 4), ("{documentKey}", 1),
      ("{fullDocument.}", 14),
      ("{.x}", 1), ("{operationType.x}", 15), ("{clusterTime.t}", 13), ("{lsid}", 1),
    ])
  func impossible(_ text: String, _ offset: Int) {
    let found = error { _ = try Template(subject: text) }
    #expect(found?.offset == offset, "\(String(describing: found))")
    #expect(found?.remedy.isEmpty == false)
  }

  @Test(
    "impossible ids",
    arguments: [
      ("", 0), ("fixed", 0), ("a b{ns.db}", 1), ("\"{ns.db}", 0), ("%{ns.db}", 0), ("é{ns.db}", 0),
      ("{documentKey}", 1), ("{x}", 1),
    ])
  func impossibleIDs(_ text: String, _ offset: Int) {
    #expect(error { _ = try Template(id: text) }?.offset == offset)
  }

  @Test("paths no operation can fill") func neverFilled() throws {
    let full = try Template(subject: "x.{fullDocument.a}")
    let update = try Template(subject: "x.{updateDescription.updatedFields.a}")
    #expect(full.impossiblePath(for: OperationSet(.delete))?.field == .fullDocument)
    #expect(full.impossiblePath(for: .documents) == nil)
    #expect(update.impossiblePath(for: [OperationSet(.insert), OperationSet(.delete)]) != nil)
    #expect(update.impossiblePath(for: OperationSet(.update)) == nil)
    #expect(
      try Template(subject: "x.{documentKey._id}").impossiblePath(for: OperationSet(.drop)) != nil)
  }

  @Test("a near miss is named") func nearMiss() {
    #expect(
      error { _ = try Template(subject: "{fulldocument.x}") }?.remedy
        == "did you mean fullDocument?")
    #expect(
      error { _ = try Template(subject: "{docKey._id}") }?.remedy.contains("paths start with")
        == true)
    #expect(
      error { _ = try Template(subject: "{rid}") }?.remedy.contains("fullDocument.rid") == true)
  }
}
