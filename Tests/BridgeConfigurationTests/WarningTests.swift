import BridgeConfiguration
import Foundation
import JSON
import Mapping
import Testing

/// `line:column id` each.
private func warnings(_ yaml: String, file: String = "t.yaml") throws -> [String] {
  try configuration(yaml, file: file).warnings.map { "\($0.line):\($0.column) \($0.id.rawValue)" }
}

/// One rule on lines 4 and 5, which the arguments complete.
func rule(_ text: String, stream: String = "") -> String {
  """
  streams:
    - { name: S, subjects: ["s.>"]\(stream) }
  rules:
    - name: r
      \(text)
  """
}

/// Conditions that only events with `fullDocument.rid` satisfy, of all operations on documents.
private let demanding = [
  "fullDocument.rid: { $ne: null }", "fullDocument.rid: { $nin: [\"\", null] }",
  "fullDocument.rid: { $not: { $eq: null } }", "$nor: [{ fullDocument.rid: null }]",
  "$nor: [{ fullDocument.rid: { $exists: false } }, { ns.db: x }]",
  "fullDocument.rid: { $exists: true }", "fullDocument.rid: { $type: string }",
  "fullDocument.rid: { $type: [string, int] }", "fullDocument.rid: { $in: [a, b] }",
  "fullDocument.rid: GENERAL", "fullDocument.rid: { $gt: \"\" }",
  "fullDocument.rid: { $gte: 1, $lt: 9 }", "fullDocument.rid: { $regex: \"^a\" }",
  "$and: [{ fullDocument.t: 1 }, { $and: [{ fullDocument.rid: a }] }]",
  "$or: [{ fullDocument.rid: a }, { fullDocument.rid: { $ne: null }, ns.coll: b }]",
  "fullDocument.rid: { $not: { $in: [null, x] } }", "operationType: insert",
  "operationType: { $in: [insert, replace] }", "operationType: { $nin: [update, delete] }",
  "operationType: { $regex: \"^(insert|replace)$\" }",
  "$nor: [{ operationType: { $in: [update, delete] } }]",
  "fullDocument: { $exists: true }", "fullDocument.other: { $ne: null }",
  "fullDocument.rid: { $not: { $exists: false } }",
]
private let open = [
  "fullDocument.rid: { $ne: a }", "fullDocument.rid: { $nin: [a] }",
  "fullDocument.rid: { $in: [a, null] }", "fullDocument.rid: { $not: { $gt: 5 } }",
  "$or: [{ fullDocument.rid: a }, { ns.coll: b }]", "fullDocument.rid: { $gte: null }",
  "fullDocument.rid: null", "operationType: { $ne: delete }", "documentKey._id: { $ne: null }",
]

@Suite("warnings") struct WarningTests {
  private static let alone: [(String, [String])] = [
    // Paths that some of the rule's events never have.
    (
      "{ match: { namespace: a.b }, subject: \"s.{fullDocument.rid}\" }",
      ["template.absent"]
    ),
    (
      "{ match: { namespace: a.b, operations: [insert, delete] }, subject: \"s.{fullDocument.x}\" }",
      ["template.absent"]
    ),
    (
      "{ match: { namespace: a.*, operations: [drop, drop_database] }, subject: \"s.{ns.coll}\" }",
      ["template.absent"]
    ),
    ("{ match: { namespace: a.b }, subject: \"s.{txnNumber}\" }", ["template.rare"]),
    (
      "{ match: { namespace: a.b, operations: [update] }, subject: \"s.{updateDescription.updatedFields.v}\" }",
      ["template.rare"]
    ),
    (
      "{ match: { namespace: a.b, operations: [update] }, subject: s.x, id: \"{documentKey._id}.{updateDescription.updatedFields.v}\" }",
      []
    ),
    // Conditions that leave only events with the path.
    (
      "{ match: { namespace: a.b, where: { fullDocument.rid: { $exists: true } } }, subject: \"s.{fullDocument.rid}\" }",
      []
    ),
    (
      "{ match: { namespace: a.b, operations: [insert, update] }, subject: \"s.{fullDocument.x}\", payload: { full_document: required } }",
      []
    ),
    (
      "{ match: { namespace: a.b, where: { operationType: insert } }, subject: s.x, id: \"{documentKey._id}.created\" }",
      []
    ),
    (
      "{ match: { namespace: a.b, where: { operationType: { $ne: insert } } }, subject: s.x, id: \"{documentKey._id}.c\" }",
      ["id.repeats"]
    ),
    (
      "{ match: { namespace: a.b, operations: [insert], where: { fullDocument.rid: { $exists: false } } }, subject: \"s.{fullDocument.rid}\" }",
      ["template.absent"]
    ),
    (
      "{ match: { namespace: a.b, where: { txnNumber: { $exists: true } } }, subject: \"s.{txnNumber}.{lsid.id}\" }",
      []
    ),
    (
      "{ match: { namespace: a.b, operations: [update], where: { updateDescription.updatedFields.v: { $gt: 5 } } }, subject: \"s.{updateDescription.updatedFields.v}\" }",
      []
    ),
    (
      "{ match: { namespace: a.b, operations: [update], where: { updateDescription.updatedFields.w: 1 } }, subject: \"s.{updateDescription.updatedFields.v}\" }",
      ["template.rare"]
    ),
    (
      "{ match: { namespace: a.b, operations: [insert], where: { operationType: update } }, subject: s.x }",
      ["rule.never_matches"]
    ),
    (
      "{ match: { namespace: a.b, where: { operationType: inserts } }, subject: s.x }",
      ["where.value"]
    ),
    // Paths without braces.
    ("{ match: { namespace: a.b }, subject: \"s.$fullDocument.rid\" }", ["template.literal"]),
    ("{ match: { namespace: a.b }, subject: \"s.documentKey._id\" }", ["template.literal"]),
    (
      "{ match: { namespace: a.b, operations: [insert] }, subject: s.x, id: \"documentKey.{documentKey._id}\" }",
      ["template.literal"]
    ),
    (
      "{ match: { namespace: a.b }, subject: s.x, event_type: \"x.{operationType}\" }",
      ["template.literal"]
    ),
    (
      "{ match: { namespace: a.b }, subject: s.x, payload: { set: { who: \"{fullDocument.u}\" } } }",
      ["template.literal"]
    ),
    // Ids that come again.
    (
      "{ match: { namespace: a.b, operations: [update] }, subject: s.x, id: \"{documentKey._id}.updated\" }",
      ["id.repeats"]
    ),
    (
      "{ match: { namespace: a.b, operations: [replace] }, subject: s.x, id: \"{fullDocument._id}\" }",
      ["id.repeats"]
    ),
    (
      "{ match: { namespace: a.b, operations: [insert, delete] }, subject: s.x, id: \"{documentKey._id}\" }",
      ["id.repeats"]
    ),
    (
      "{ match: { namespace: a.b, operations: [insert, delete] }, subject: s.x, id: \"{documentKey._id}.{operationType}\" }",
      []
    ),
    (
      "{ match: { namespace: a.b }, subject: s.x, id: \"{ns.coll}.{clusterTime}\" }",
      ["id.repeats"]
    ),
    (
      "{ match: { namespace: a.b, operations: [update] }, subject: s.x, id: \"{documentKey._id}.{clusterTime}\" }",
      []
    ),
    // Conditions.
    (
      "{ match: { namespace: a.b, where: { fullDocument.x: { exists: false } } }, subject: s.x }",
      ["where.operator"]
    ),
    (
      "{ match: { namespace: a.b, where: { $or: [ { fullDocument.x: { regexp: \"^a\" } } ] } }, subject: s.x }",
      ["where.operator"]
    ),
    (
      "{ match: { namespace: a.b, where: { fullDocument.x: { $not: { in: [1] } } } }, subject: s.x }",
      ["where.operator"]
    ),
    ("{ match: { namespace: a.b, where: { fullDocument.x: { name: n } } }, subject: s.x }", []),
    (
      "{ match: { namespace: a.b, operations: [delete], where: { fullDocument.x: 1 } }, subject: s.x }",
      ["where.absent"]
    ),
    // Documents that nothing asks for.
    (
      "{ match: { namespace: a.b, operations: [insert] }, subject: s.x, payload: { full_document: required } }",
      ["payload.document_unused"]
    ),
    (
      "{ match: { namespace: a.b, operations: [insert] }, subject: s.x, payload: { full_document_before_change: required } }",
      ["payload.document_unused"]
    ),
    // Namespaces without events.
    ("{ match: { namespace: local.x }, subject: s.x }", ["rule.never_matches"]),
    ("{ match: { namespace: a.system.users }, subject: s.x }", ["rule.never_matches"]),
    (
      "{ match: { namespace: a.b, operations: [drop_database] }, subject: s.x }",
      ["rule.never_matches"]
    ),
    ("{ match: { namespace: \"a.*\", operations: [drop_database] }, subject: s.x }", []),
  ]

  /// A rule for documents' changes with a condition, and a subject that shows `fullDocument.rid`.
  private static func showing(_ condition: String, _ told: [String]) -> (String, [String]) {
    (
      "{ match: { namespace: a.b, where: { \(condition) } }, subject: \"s.{fullDocument.rid}\" }",
      told
    )
  }

  @Test(
    "of one rule",
    arguments: alone + demanding.map { showing($0, []) }
      + open.map { showing($0, ["template.absent"]) }) func one(
      _ text: String, _ expected: [String]
    ) throws
  {
    let keys = text.dropFirst(2).dropLast(2)
    let found = try configuration(rule("<<: { \(keys) }")).warnings
    #expect(found.map(\.id.rawValue) == expected)
    #expect(found.allSatisfy { $0.line == 5 && $0.column > 7 })
  }

  @Test("they have their place, a name and a remedy") func whole() throws {
    let all = try configuration(
      """
      streams:
        - { name: S, subjects: ["s.>"] }
      rules:
        - name: r
          match: { namespace: a.b, where: { documentKey._id: { exists: false } } }
          subject: "s.$fullDocument.rid.{fullDocument.rid}"
          id: "{documentKey._id}.updated"
      """
    ).warnings
    #expect(
      all.map(\.description) == [
        "t.yaml:5:58: warning: exists is compared with a field of that name: an operator begins "
          + "with $. Write $exists, or $eq: { … } if such a document is meant. [where.operator]",
        "t.yaml:6:17: warning: $fullDocument appears literally in the subject of every message. "
          + "Put paths in braces: {fullDocument.…}. [template.literal]",
        "t.yaml:6:36: warning: fullDocument.rid has no value in update or delete events: each of "
          + "them is invalid (on_invalid). Use documentKey, or give update or delete a rule of "
          + "their own. [template.absent]",
        "t.yaml:7:9: warning: every update or replace event of a document has the same id: the "
          + "second one within the dedup window is an id conflict. Use positional ids, or add what "
          + "differs: {updateDescription.updatedFields.version}. [id.repeats]",
      ])
  }

  @Test(
    "of rules among themselves",
    arguments: [
      ("a.*", "", "a.b", "", ["9:11 rule.unreachable"]),
      ("a.*", "continue: true", "a.b", "", []),
      ("a.*", "", "b.a", "", []),
      ("a.b", "", "a.*", "", []),
      ("*.b*", "", "*.bc", "", ["9:11 rule.unreachable"]),
      ("a.b", "", "a.b", "group: g", ["9:11 rule.unreachable"]),
    ])
  func unreachable(
    _ first: String, _ more: String, _ second: String, _ rest: String, _ expected: [String]
  ) throws {
    let yaml = """
      streams:
        - { name: S, subjects: ["s.>"] }
      rules:
        - name: one
          match: { namespace: "\(first)" }
          subject: s.x
          stream: S
          \(more)
        - name: two
          match: { namespace: "\(second)" }
          subject: s.x
          \(rest)
      """
    #expect(try warnings(yaml) == expected)
  }

  @Test("several rules together, and one with the same condition") func covered() throws {
    let yaml = """
      streams: [{ name: S, subjects: ["s.>"] }]
      rules:
        - { name: i, match: { namespace: a.b, operations: [insert] }, subject: s.x }
        - { name: u, match: { namespace: a.b, operations: [update, replace] }, subject: s.x }
        - { name: x, match: { namespace: a.b, operations: [insert, update] }, subject: s.x }
        - { name: d, match: { namespace: a.b }, subject: s.x }
        - { name: c, match: { namespace: c.d, where: { ns.db: c } }, subject: s.x }
        - { name: same, match: { namespace: c.d, where: { ns.db: c } }, subject: s.x }
        - { name: rest, match: { namespace: c.d }, subject: s.x }
      """
    let all = try configuration(yaml).warnings
    #expect(
      all.map { "\($0.line) \($0.id.rawValue)" } == [
        "5 rule.unreachable", "8 rule.unreachable", "9 rule.unreachable",
      ])
    #expect(all.first?.message.contains("i, u before it") == true)
  }

  @Test(
    "ids that two rules make",
    arguments: [
      ("a.b", "[insert]", "a.c", "[insert]", "{documentKey._id}.x", true),
      ("a.b", "[insert]", "a.c", "[insert]", "{ns.coll}.{documentKey._id}", false),
      ("a.b", "[insert]", "a.b", "[delete]", "{documentKey._id}", true),
      ("a.b", "[insert]", "a.b", "[delete]", "{documentKey._id}.{operationType}", false),
      (
        "a.b, where: { fullDocument.t: 1 }", "[insert]", "a.b", "[insert]", "{documentKey._id}",
        false
      ),
    ])
  func shared(
    _ a: String, _ operations: String, _ b: String, _ others: String, _ id: String, _ told: Bool
  ) throws {
    let yaml = """
      streams: [{ name: S, subjects: ["s.>"] }]
      rules:
        - { name: a, match: { namespace: \(a), operations: \(operations) }, subject: s.x, id: "\(id)" }
        - { name: b, match: { namespace: \(b), operations: \(others) }, subject: s.x, id: "\(id)" }
      """
    let all = try configuration(yaml).warnings
    #expect(all.map { "\($0.line) \($0.id.rawValue)" } == (told ? ["4 id.shared"] : []))
  }

  @Test("of streams, consumers and variables") func others() throws {
    let yaml = """
      streams:
        - name: S
          subjects: ["s.>", "s.a.*"]
          consumers: [{ durable_name: c, filter_subject: "t.x" }]
      nats: { token: $NATS_TOKEN }
      rules: [{ name: r, match: { namespace: a.b }, subject: s.x }]
      """
    let all = try configuration(yaml).warnings
    #expect(
      all.map { "\($0.line):\($0.column) \($0.id.rawValue)" } == [
        "3:23 stream.overlap", "4:52 consumer.filter", "5:16 variable.braces",
      ])
    #expect(!"\(all)".contains("NATS_TOKEN"))
  }

  @Test(
    "of schemas",
    arguments: [
      (#"{"requierd": ["a"]}"#, "/requierd"), (#"{"Type": "object"}"#, "/Type"),
      (#"{"properties": {"requierd": {"typ": "string"}}}"#, "/properties/requierd/typ"),
      (#"{"allOf": [{}, {"propertys": {}}]}"#, "/allOf/1/propertys"),
      (#"{"$defs": {"a/b": {"itmes": {}}}}"#, "/$defs/a~1b/itmes"),
      (#"{"properties": {"a": {"bsonType": "date"}}}"#, "/properties/a/bsonType"),
      (
        #"{"$schema": "http://json-schema.org/draft-07/schema#", "prefixItems": [{}]}"#,
        "/prefixItems"
      ),
      // No keywords: names, constants, examples, annotations.
      (#"{"enum": [{"requierd": 1}], "examples": [{"typ": 1}], "default": {"itmes": 1}}"#, ""),
      (#"{"x-typ": 1, "example": 1, "owner": "me", "note": "n", "unit": "s"}"#, ""),
      (#"{"definitions": {"itmes": {}}, "dependentRequired": {"typ": []}}"#, ""),
    ])
  func schemas(_ text: String, _ pointer: String) throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("tailrace-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try text.write(to: folder.appendingPathComponent("s.json"), atomically: true, encoding: .utf8)
    let all = try configuration(
      """
      streams: [{ name: S, subjects: ["s.>"] }]
      rules:
        - { name: r, match: { namespace: a.b }, subject: s.x, schema: s.json }
      """, file: "\(folder.path)/t.yaml"
    ).warnings
    #expect(all.map(\.id) == (pointer.isEmpty ? [] : [.schemaKeyword]))
    if let first = all.first {
      #expect(first.line == 3 && first.column == 65)
      #expect(first.message.hasPrefix("s.json#\(pointer): the keyword "))
    }
  }

  @Test("of schemas that a schema refers to") func schemasBeside() throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("tailrace-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    for (name, text) in [
      ("s.json", #"{"properties": {"a": {"$ref": "t.json"}}}"#), ("t.json", #"{"requierd": []}"#),
      ("u.json", #"{"typ": "string"}"#),
    ] {
      try text.write(to: folder.appendingPathComponent(name), atomically: true, encoding: .utf8)
    }
    let all = try configuration(
      """
      streams: [{ name: S, subjects: ["s.>"] }]
      rules:
        - { name: r, match: { namespace: a.b }, subject: s.x, schema: s.json }
      """, file: "\(folder.path)/t.yaml"
    ).warnings
    #expect(all.count == 1)
    #expect(all.first?.message.hasPrefix("t.json#/requierd: ") == true)
  }

  @Test("beside errors, too") func besideErrors() throws {
    let problems = #expect(throws: ConfigurationProblems.self) {
      try configuration(
        base + "nats: { name: $NAME }\nlog: { level: $LEVEL }\nsurprise: 1")
    }
    #expect(problems?.problems.count == 2)
    #expect(problems?.warnings.map(\.id).contains(.variableBraces) == true)
  }

  @Test("none of the examples has one") func examples() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
    for name in ["config/minimal.yaml", "config/chat.yaml"] {
      let path = root.appendingPathComponent(name).path
      #expect(try BridgeConfiguration.load(path: path, environment: [:]).warnings == [])
    }
    let readme = try String(contentsOf: root.appendingPathComponent("README.md"), encoding: .utf8)
    let block = try #require(readme.components(separatedBy: "```yaml\n").dropFirst().first)
    let yaml = try #require(block.components(separatedBy: "```").first)
    #expect(try configuration(yaml).warnings == [])
  }

  @Test("the page of commands has every name") func documented() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
    let page = try String(
      contentsOf: root.appendingPathComponent("docs/commands.md"), encoding: .utf8)
    for id in ConfigurationWarning.ID.allCases { #expect(page.contains("| `\(id.rawValue)` |")) }
  }
}
