import Foundation
import Mapping
import Testing

/// `include` names a field, and an update puts a plain value where the way to it was.
@Suite("Included fields that an update makes vanish")
struct VanishedFieldTests {
  private func update(
    _ description: Value, include: [String], exclude: [String] = [],
    _ changes: PayloadChanges = .none, envelope: Envelope = .cloudEvents
  ) throws -> String {
    var rule = try rule(envelope: envelope, include: include, exclude: exclude)
    rule.changes = changes
    let body = try Written(rule).body(.update(description))
    let start = try #require(body.range(of: "\"updateDescription\":")).upperBound
    return String(body[start...])
  }

  static let include = ["fullDocument.b.a.c", "fullDocument.t.x"]

  @Test("they are among what is removed", arguments: ["b", "b.a", "t", "t.0", "t.0.1"])
  func removed(_ path: String) throws {
    for value: Value in [5, .null, "x", .bool(false), .date(1)] {
      let description: Value = [
        "updatedFields": .document([
          .init(key: path, value: value), .init(key: "other", value: 1),
        ]),
        "removedFields": ["b.z", "b.a.c.d"],
      ]
      #expect(
        try update(description, include: Self.include)
          == #"{"updatedFields":{},"removedFields":["b.a.c.d","\#(path)"]}}"#)
    }
    #expect(
      try update(
        ["updatedFields": ["b": 5], "removedFields": ["gone"]],
        include: ["fullDocument.b.a", "updateDescription.removedFields"])
        == #"{"updatedFields":{},"removedFields":["gone","b"]}}"#)
  }

  @Test("beside what else is shown; documents and arrays are shown as ever") func others() throws {
    #expect(
      try update(
        [
          "updatedFields": ["b.a": 5, "t": [1, ["x": 2]], "t.1": ["y": 1], "b.a.c": .null],
          "removedFields": [], "truncatedArrays": [["field": "t", "newSize": 2]],
          "disambiguatedPaths": ["t.1": ["t", "1"], "b.a": ["b.a"]],
        ], include: Self.include)
        == #"{"updatedFields":{"t":[{"x":2}],"t.1":{},"b.a.c":null},"removedFields":["b.a"],"#
        + #""truncatedArrays":[{"field":"t","newSize":2}],"#
        + #""disambiguatedPaths":{"t.1":["t","1"],"b.a":["b.a"]}}}"#)
    // Descriptions without the list get one.
    #expect(
      try update(["updatedFields": ["b": 5]], include: Self.include)
        == #"{"updatedFields":{},"removedFields":["b"]}}"#)
    #expect(
      try update(["updatedFields": ["other": 5]], include: Self.include)
        == #"{"updatedFields":{}}}"#)
  }

  @Test("under their new names, and not where they are hidden") func changed() throws {
    let description: Value = ["updatedFields": ["b.a": 5], "removedFields": []]
    func changes(_ path: String, _ redaction: Redaction) throws -> PayloadChanges {
      PayloadChanges(redactions: [.init(path: try .init(include: path), redaction: redaction)])
    }
    let renamed = PayloadChanges(renames: [
      .init(path: try .init(include: "fullDocument.b"), name: "n"),
      .init(path: try .init(include: "fullDocument.b.a"), name: "m"),
    ])
    #expect(
      try update(description, include: Self.include, renamed)
        == #"{"updatedFields":{},"removedFields":["n.m"]}}"#)
    for redaction in [Redaction.mask, .hash] {
      #expect(
        try update(description, include: Self.include, changes("fullDocument.b.a", redaction))
          == #"{"updatedFields":{},"removedFields":["b.a"]}}"#)
      // The inside of what is redacted.
      #expect(
        try update(description, include: Self.include, changes("fullDocument.b", redaction))
          == #"{"updatedFields":{"b":"***"},"removedFields":[]}}"#)
    }
    #expect(
      try update(description, include: Self.include, exclude: ["fullDocument.b"])
        == #"{"updatedFields":{},"removedFields":[]}}"#)
    #expect(
      try update(
        description, include: Self.include, exclude: ["updateDescription.removedFields"])
        == #"{"updatedFields":{}}}"#)
    #expect(
      try update(description, include: Self.include, envelope: .debezium)
        .hasPrefix(#"{"removedFields":["b.a"],"updatedFields":"{}""#))
  }

  @Test("of two fields with one name, an update that removes one so is invalid") func names() throws
  {
    let changes = PayloadChanges(renames: [
      .init(path: try .init(include: "fullDocument.b"), name: "z")
    ])
    let include = ["fullDocument.b.a", "fullDocument.z"]
    let description: Value = ["updatedFields": ["b": 5, "z": 1], "removedFields": []]
    let error = mappingError { try update(description, include: include, changes) }
    #expect(error?.code == .nameTaken)
    var rule = try rule(include: include)
    rule.changes = changes
    #expect(
      try Written(rule).body(.insert(["b": 5, "z": 1])).hasSuffix(#""fullDocument":{"z":1}}"#))
  }
}
