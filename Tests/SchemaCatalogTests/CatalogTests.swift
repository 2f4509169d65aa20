import JSON
import JSONSchema
import SchemaCatalog
import SchemaDiff
import Testing

@Suite("Published schemas") struct CatalogTests {
  @Test(arguments: ["message", "chat.message", "a-b_c.D9x", "v1", "a.1.b"])
  func `names`(_ text: String) throws {
    let name = try #require(SchemaName(text))
    let key = name.key(version: 12)
    #expect(key == "\(text).12")
    #expect(SchemaName.version(ofKey: key)?.name == name)
    #expect(SchemaName.version(ofKey: key)?.version == 12)
  }

  @Test(arguments: ["", ".", "a.", ".a", "a..b", "a b", "a.7", "*", "a.>", "\u{E9}", "a.policy"])
  func `what is no name`(_ text: String) {
    #expect(SchemaName(text) == nil)
  }

  /// The report names what is wrong with this one.
  @Test(arguments: [
    ("", "empty"), ("a..b", "dots"), (".a", "dots"), ("a b", "' '"), ("caf\u{E9}", "'\u{E9}'"),
    ("a.12", "number"), ("policy", "policy"), ("chat.policy", "policy"),
    (String(repeating: "n", count: 300), "300 characters"),
  ])
  func `why it is none`(_ text: String, _ reason: String) throws {
    let fault = try #require(SchemaName.fault(of: text))
    #expect(fault.contains(reason), "\(fault)")
    #expect(SchemaName.fault(of: "chat.message") == nil)
  }

  @Test func `the record of the highest number is no version`() throws {
    for text in ["chat.message", "highest", "a.highest"] {
      let name = try #require(SchemaName(text))
      #expect(SchemaName.version(ofKey: name.highestKey) == nil)
      #expect(name.highestKey != name.policyKey)
    }
    #expect(HighestVersion(HighestVersion(7).bytes) == HighestVersion(7))
    for text in ["{}", "7", #"{"version":"7"}"#, #"{"version":-1}"#, #"{"version":1.5}"#] {
      #expect(HighestVersion(Array(text.utf8)) == nil, "\(text)")
    }
  }

  @Test(arguments: ["message", "message.policy", "message.0", "message.-1", "message.01", ".1"])
  func `keys that are no versions`(_ key: String) {
    #expect(SchemaName.version(ofKey: key) == nil)
  }

  @Test func `the same schema has the same bytes`() throws {
    let one = PublishedSchema(try JSONValue(parsing: #"{"type":"object","minProperties":1.0}"#))
    let other = PublishedSchema(
      try JSONValue(parsing: "{ \"minProperties\" : 1e0,\n \"type\": \"object\" }"))
    #expect(one.bytes == other.bytes)
    #expect(one.hash == other.hash)
    #expect(String(decoding: one.bytes, as: UTF8.self) == #"{"minProperties":1,"type":"object"}"#)
    #expect(one.hash.count == 64)
    #expect(
      PublishedSchema.hash(of: Array("abc".utf8))
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
  }

  @Test func `policies`() {
    for compatibility in SchemaCompatibility.allCases {
      for isTransitive in [false, true] {
        let policy = SchemaPolicy(compatibility: compatibility, isTransitive: isTransitive)
        #expect(SchemaPolicy(policy.bytes) == policy)
      }
    }
    #expect(SchemaPolicy(Array("{}".utf8)) == nil)
  }

  // MARK: Decisions

  func schema(_ text: String) throws -> PublishedSchema {
    PublishedSchema(try JSONValue(parsing: text))
  }

  func decision(
    _ text: String, after versions: [String], _ policy: SchemaPolicy = SchemaPolicy()
  ) throws -> PublishDecision {
    let schema = try schema(text)
    return try PublishDecision(
      schema, after: versions.enumerated().map { ($0 + 1, try self.schema($1).bytes) },
      next: versions.count + 1, policy, compiled: schema.compiled())
  }

  @Test func `a stored version that is no schema is blamed itself`() throws {
    let new = try schema(#"{"type":"string"}"#)
    for damaged in ["no JSON", #"{"type":"strin"}"#, "", "[]"] {
      let error = #expect(throws: StoredVersionError.self) {
        try PublishDecision(
          new, after: [(4, Array(damaged.utf8))], next: 5, SchemaPolicy(),
          compiled: new.compiled())
      }
      #expect(error?.version == 4, "\(damaged)")
    }
    // Nothing is compared with it.
    let none = SchemaPolicy(compatibility: .none)
    guard
      case .mayPublish(5) = try PublishDecision(
        new, after: [(4, Array("x".utf8))], next: 5, none, compiled: new.compiled())
    else {
      Issue.record("refused")
      return
    }
  }

  @Test func `the first version, and one that is there`() throws {
    guard case .mayPublish(1) = try decision(#"{"type":"string"}"#, after: []) else {
      Issue.record("refused")
      return
    }
    let versions = [#"{"type":"string"}"#, #"{"type":["string","null"]}"#]
    guard case .isPublished(1) = try decision(#"{ "type": "string" }"#, after: versions) else {
      Issue.record("not recognized")
      return
    }
  }

  @Test func `a policy refuses, with the version and a witness`() throws {
    let versions = [#"{"type":"integer"}"#, #"{"type":"number"}"#]
    guard
      case .refused(.incompatible, let refusing) = try decision(
        #"{"type":"number","minimum":0}"#, after: versions)
    else {
      Issue.record("not refused")
      return
    }
    #expect(refusing.map(\.version) == [2])
    #expect(refusing[0].comparison.backward.differences.first?.witness == .number("-1"))
  }

  @Test func `transitive policies look at all versions`() throws {
    // Compatible with the second version, not with the first.
    let versions = [#"{"type":["string","null"]}"#, #"{"type":"string","maxLength":3}"#]
    let text = #"{"type":"string"}"#
    guard case .mayPublish(3) = try decision(text, after: versions) else {
      Issue.record("refused")
      return
    }
    guard
      case .refused(_, let refusing) = try decision(
        text, after: versions, SchemaPolicy(compatibility: .backward, isTransitive: true))
    else {
      Issue.record("not refused")
      return
    }
    #expect(refusing.map(\.version) == [1])
    let none = SchemaPolicy(compatibility: .none, isTransitive: true)
    guard case .mayPublish(3) = try decision(text, after: versions, none) else {
      Issue.record("refused")
      return
    }
  }

  @Test func `what isn't decided isn't published`() throws {
    let versions = [#"{"type":"string","pattern":"^(?=a)b"}"#]
    guard
      case .refused(.undecided, _) = try decision(
        #"{"type":"string","const":"x"}"#, after: versions)
    else {
      Issue.record("published")
      return
    }
  }

  @Test func `schemas that need other files are refused`() {
    #expect(throws: SchemaError.self) {
      try decision(#"{"properties":{"a":{"$ref":"other.json"}}}"#, after: [])
    }
  }
}
