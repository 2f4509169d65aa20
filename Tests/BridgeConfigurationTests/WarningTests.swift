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
private func rule(_ text: String, stream: String = "") -> String {
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

  /// A template's path, the payload, and the path that hides it.
  private static let hidden: [(String, String, String?)] = [
    ("fullDocument.a", "exclude: [fullDocument.a]", "fullDocument.a"),
    ("fullDocument.a.b", "exclude: [fullDocument.a]", "fullDocument.a"),
    ("fullDocument.a", "redact: { fullDocument.a: mask }", "fullDocument.a"),
    ("fullDocument.a", "redact: { fullDocument.a: hash }", "fullDocument.a"),
    ("fullDocument.a", "redact: { fullDocument.a: drop }", "fullDocument.a"),
    ("fullDocument.map.7.a", "exclude: [fullDocument.map.a]", "fullDocument.map.a"),
    ("fullDocument.urls.0", "redact: { fullDocument.urls: mask }", "fullDocument.urls"),
    ("fullDocument.a", "exclude: [fullDocument.b, fullDocument.a]", "fullDocument.a"),
    // Names are those that documents have.
    (
      "fullDocument.a", "rename: { fullDocument.a: b }, exclude: [fullDocument.a]", "fullDocument.a"
    ),
    ("fullDocument.a", "rename: { fullDocument.a: b }, exclude: [fullDocument.b]", nil),
    ("documentKey._id", "redact: { fullDocument._id: hash }", "fullDocument._id"),
    ("fullDocument._id", "redact: { fullDocument._id: hash }", "fullDocument._id"),
    ("documentKey._id", "exclude: [documentKey._id]", "documentKey._id"),
    ("documentKey._id", "exclude: [documentKey]", "documentKey"),
    ("documentKey.tenant", "exclude: [fullDocument.tenant]", "fullDocument.tenant"),
    ("documentKey._id.user", "exclude: [fullDocument._id.user]", "fullDocument._id.user"),
    // The body shows the same value in documentKey.
    ("documentKey._id", "exclude: [fullDocument._id]", nil),
    ("fullDocument._id", "exclude: [fullDocument._id]", nil),
    ("fullDocument._id", "exclude: [fullDocument._id, documentKey._id]", "documentKey._id"),
    ("fullDocument._id", "exclude: [documentKey._id]", nil),
    ("fullDocument.a", "exclude: [fullDocument.a.b, fullDocument.ab]", nil),
    ("fullDocument.a", "exclude: [fullDocument.b], redact: { fullDocument.c: mask }", nil),
    // Whole parts of events are left out for size.
    ("fullDocument.a", "exclude: [fullDocument]", nil),
    ("fullDocument.a", "include: [documentKey]", nil),
    ("ns.coll", "exclude: [ns]", nil),
    ("fullDocument.a", "envelope: document, set: { a: 1 }", nil),
  ]

  @Test("of values that bodies hide", arguments: hidden) func hiddenValues(
    _ path: String, _ payload: String, _ told: String?
  ) throws {
    for (namespace, operations) in [("a.b", "[insert]"), ("\"*.*\"", "[insert, replace]")] {
      let yaml = """
        redaction: { key: 0123456789abcdef0123456789abcdef }
        streams: [{ name: S, subjects: ["s.>"] }]
        rules:
          - name: r
            match: { namespace: \(namespace), operations: \(operations) }
            subject: "s.x.{\(path)}"
            id: "{clusterTime}.{\(path)}"
            payload: { \(payload) }
        """
      let found = try configuration(yaml).warnings.filter { $0.id == .templateHidden }
      #expect(found.map { "\($0.line):\($0.column)" } == (told == nil ? [] : ["6:20", "7:25"]))
      for warning in found {
        #expect(warning.message.hasPrefix("\(path) is hidden from bodies by payload."))
        #expect(warning.message.contains("(\(told ?? ""))"))
      }
    }
  }

  @Test("of values that bodies hide, in updates and outboxes") func hiddenElsewhere() throws {
    let yaml = """
      streams: [{ name: S, subjects: ["s.>"] }]
      rules:
        - name: u
          match: { namespace: a.b, operations: [update] }
          subject: "s.{documentKey._id}"
          id: "{documentKey._id}.{updateDescription.updatedFields.v}"
          payload: { exclude: [fullDocument.v] }
        - name: o
          match: { namespace: a.c }
          outbox: { type: fullDocument.kind }
          payload: { redact: { fullDocument.kind: mask } }
      """
    let found = try configuration(yaml).warnings.filter { $0.id == .templateHidden }
    #expect(found.map { "\($0.line):\($0.column)" } == ["6:29", "10:15"])
  }

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
        "t.yaml:6:17: warning: $fullDocument stands as it is in the subject of every message. "
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

@Suite("values that servers refuse") struct StreamFieldTests {
  @Test(
    "are errors",
    arguments: [
      ("num_replicas: three", "num_replicas can't be \"three\""),
      ("num_replicas: 6", "num_replicas can't be \"6\""),
      ("storage: ram", "storage can't be \"ram\""),
      ("retention: limit", "retention can't be \"limit\""),
      ("discard: newest", "discard can't be \"newest\""), ("max_msgs: many", "max_msgs can't be"),
      ("num_replicas: 0", "num_replicas can't be \"0\""),
      ("num_replicas: null", "num_replicas has no value"),
      ("compression: gzip", "compression can't be \"gzip\""),
      ("allow_direct: yes!", "allow_direct can't be"), ("max_age: 10", "max_age can't be \"10\""),
      ("max_age: -1", "max_age can't be"), ("duplicate_window: -5s", "not a duration"),
      ("max_age: 1m, duplicate_window: 2m", "it is longer than max_age"),
      ("discard_new_per_subject: true, max_msgs_per_subject: 1", "it needs discard: new"),
      ("allow_rollup_hdrs: true, deny_purge: true", "roll-ups purge"),
      ("mirror_direct: true", "the stream is no mirror"), ("sealed: true", "sealed"),
      ("no_ack: true", "acknowledged"), ("mirror: { name: X }", "a mirror"),
      ("sources: [{ name: X }]", "only producer"), ("persist_mode: async", "could be lost"),
      ("max_msg_size: 3GiB", "max_msg_size can't be"), ("metadata: [a]", "can't be a list"),
      ("placement: { tags: a }", "placement.tags can't be a single value"),
      ("subject_delete_marker_ttl: 10ms", "can't be \"10ms\""), ("first_seq: -1", "first_seq"),
      ("consumers: [{ durable_name: c, deliver_policy: by_start_sequence }]", "opt_start_seq"),
      ("consumers: [{ durable_name: c, opt_start_seq: 5 }]", "by_start_sequence"),
      ("consumers: [{ durable_name: c, deliver_policy: last_per_subject }]", "filter_subject"),
      ("consumers: [{ durable_name: c, flow_control: true }]", "for push consumers"),
      ("consumers: [{ durable_name: c, num_replicas: 3 }]", "the stream has 1"),
      ("consumers: [{ durable_name: a.b }]", "can't be named"),
      ("consumers: [{ durable_name: c, backoff: [1s, 2s], max_deliver: 1 }]", "more steps"),
      ("consumers: [{ durable_name: c, opt_start_time: yesterday }]", "can't be \"yesterday\""),
      ("consumers: [{ durable_name: c, sample_freq: often }]", "sample_freq can't be"),
      ("consumers: [{ durable_name: c, filter_subject: s.a, filter_subjects: [s.b] }]", "too"),
      ("consumers: [{ durable_name: c, ack_policy: explict }]", "ack_policy can't be"),
    ]) func refused(_ field: String, _ message: String)
  {
    let found = problems(rule("match: { namespace: a.b }\n    subject: s.x", stream: ", \(field)"))
    #expect(found.count == 1 && found[0].contains(message), "\(found)")
  }

  @Test("quotes don't matter, and what servers may yet learn passes") func taken() throws {
    let c = try configuration(
      rule(
        "match: { namespace: a.b }\n    subject: s.x",
        stream: ", num_replicas: \"3\", allow_direct: \"true\", compression: \"s2\", new_field: x"))
    #expect(c.streams[0].settings["num_replicas"] == 3)
    #expect(c.streams[0].settings["allow_direct"] == true)
    #expect(c.streams[0].settings["compression"] == "s2")
  }
}

@Suite("files") struct UnreadableFileTests {
  @Test("extensions hold anchors, at any level") func extensions() throws {
    let c = try configuration(
      """
      x-common: &match { namespace: a.b }
      x-anything: [1, { b: c }]
      nats: { x-note: who knows, tls: { x-y: 1 } }
      streams:
        - { name: S, subjects: ["s.>"], x-owner: me, consumers: [{ durable_name: c, x-a: 1 }] }
      rules:
        - { name: r, match: { <<: *match, x-z: 1 }, subject: s.x, x-b: 1, payload: { x-c: 1, set: { x-kept: 1 } } }
      """)
    #expect(c.rules[0].namespace.text == "a.b")
    #expect(c.rules[0].changes.constants.map(\.name) == ["x-kept"])
    #expect(c.streams[0].settings == .object([]))
    #expect(c.streams[0].consumers[0]["x-a"] == nil)
  }

  @Test("a secret in place of its file's name stays secret") func secretAsPath() {
    let secrets = [
      "s3cr3t", "/s3/cr3t==", "eyJh.s3cr3t.x", String(repeating: "s3cr3t", count: 1000),
    ]
    for secret in secrets {
      for key in [
        "source: { uri_file: \"\(secret)\" }", "nats: { token_file: \"\(secret)\" }",
        "nats: { user: u, password_file: \"\(secret)\" }",
        "nats: { nkey_seed_file: \"\(secret)\" }",
        "nats: { credentials_file: \"\(secret)\" }", "http: { token_file: \"\(secret)\" }",
        "redaction: { key_file: \"\(secret)\" }",
        "nats: { tls: { cert_file: /dev/null, key_file: \"\(secret)\" } }",
      ] {
        let list = problemList(base + key)
        #expect(list.contains { $0.message.contains("can't be read") }, "\(key): \(list)")
        #expect(!"\(list)".contains("s3"), "\(list)")
        #expect(list.allSatisfy { $0.line == 12 })
      }
    }
    #expect(
      problemList(base + "http: { token_file: s3cr3t }").first?.remedy
        == "Correct the path (relative ones start from the configuration's folder); if this is the "
        + "secret itself, write it as token.")
  }

  @Test("each obstacle has a remedy that fits") func obstacles() throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("tailrace-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    func write(_ bytes: [UInt8], _ name: String) throws -> String {
      let file = folder.appendingPathComponent(name)
      try Data(bytes).write(to: file)
      return file.path
    }
    let cases: [(path: String, place: String, reason: String, remedy: String)] = [
      (folder.path, "", "Is a directory", "Name a file in that folder."),
      (folder.path + "/no", "", "No such file", "Name the file"),
      ("/dev/zero", "", "larger than 8 MiB", "Name the right file"),
      (
        try write(Array("a: b\nc: \u{e9}".utf8) + [0x78, 0xE9, 0x78], "l1"), ":2:6",
        "line 2, column 6", "UTF-8"
      ),
      (try write([0xFF, 0xFE, 0x61, 0], "u16"), ":1:1", "UTF-16", "UTF-8"),
    ]
    for (path, place, reason, remedy) in cases {
      let error = #expect(throws: ConfigurationProblems.self) {
        try BridgeConfiguration.load(path: path, environment: [:])
      }
      let text = error?.description ?? ""
      #expect(text.hasPrefix("\(path)\(place): the configuration can't be read: "), "\(text)")
      #expect(text.contains(reason) && text.contains(remedy), "\(text)")
      for key in ["schema", "token_file"] where place.isEmpty || key == "schema" {
        let list = problemList(
          key == "schema"
            ? """
            streams: [{ name: S, subjects: ["s.>"] }]
            rules: [{ name: r, match: { namespace: a.b }, subject: s.x, schema: "\(path)" }]
            """ : base + "http: { token_file: \"\(path)\" }")
        #expect(list.count == 1 && list[0].message.contains(reason), "\(list)")
        #expect(list[0].line > 0 && list[0].column > 0)
      }
    }
  }
}
