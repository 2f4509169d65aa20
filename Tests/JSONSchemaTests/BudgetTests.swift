import BSON
import Foundation
import JSON
import JSONSchema
import TestRandom
import Testing

/// What judging a value takes is bounded, whatever the document and the schema. Steps are counted, not
/// time: how long they take is printed.
@Suite struct BudgetTests {
  /// As large as a server takes them with `WORST_CASE_BYTES=16000000`.
  private static let size =
    ProcessInfo.processInfo.environment["WORST_CASE_BYTES"].flatMap(Int.init) ?? 1_500_000

  @Test(arguments: WorstCase.all)
  func `judging and explaining keep their budgets`(_ worst: WorstCase) throws {
    let document = worst.document(Self.size)
    let schema = try CompiledSchema(
      text: worst.schema, options: SchemaOptions(style: worst.style))
    let validator = SchemaValidator(schema)
    try document.withUnsafeBytes { raw in
      let view = try BSONView(raw)
      let start = DispatchTime.now().uptimeNanoseconds
      let found = validator.firstViolations(view)
      let microseconds = (DispatchTime.now().uptimeNanoseconds - start) / 1_000
      print("budget: \(worst.name): \(microseconds) µs, \(validator.steps) steps")
      let fault = validator.fault
      #expect(found.count <= SchemaBudget.violations)
      for violation in found {
        #expect(violation.error.utf8.count + violation.instanceLocation.utf8.count < 100_000)
      }
      if let fault {
        #expect(fault.isBound && found.count == 1)
      } else if found.isEmpty {
        #expect(validator.steps <= SchemaBudget.steps)
      }
      // The same with another validator, which has seen nothing before, and again with this one.
      for again in [SchemaValidator(schema), validator] {
        let isValid = again.validate(view)
        #expect(isValid == found.isEmpty && again.fault == fault)
        let steps = again.steps
        _ = again.validate(view)
        #expect(again.steps == steps)
      }
    }
  }

  /// A message is a text, a quote of a message, or a list of them.
  private static let message = #"""
    {"$ref": "#/$defs/m", "$defs": {"m": {"oneOf": [
      {"type": "object", "required": ["text"], "additionalProperties": false,
        "properties": {"text": {"type": "string"}}},
      {"type": "object", "required": ["quote"], "additionalProperties": false,
        "properties": {"quote": {"$ref": "#/$defs/m"}}},
      {"type": "object", "required": ["quote"],
        "properties": {"quote": {"$ref": "#/$defs/m"}, "note": {"type": "string"}}},
      {"type": "object", "required": ["list"],
        "properties": {"list": {"type": "array", "items": {"$ref": "#/$defs/m"}}}}]}}}
    """#

  @Test(arguments: [1, 5, 12, 20, 60])
  func `one wrong leaf deep inside is explained`(_ depth: Int) throws {
    let validator = SchemaValidator(try CompiledSchema(text: Self.message))
    var text = #"{"text": 5}"#
    for level in 0..<depth {
      text = level % 2 == 0 ? #"{"list": [\#(text)]}"# : #"{"quote": \#(text), "note": "n"}"#
    }
    let value = try #require(Wrapped(JSONValue(parsing: text)))
    try value.use { element in
      let found = validator.firstViolations(value: element)
      #expect(validator.fault == nil && found.count == (depth == 1 ? found.count : 8))
      #expect(found.first?.error.contains("is valid by none of the 4 schemas") == true)
      let all = validator.firstViolations(value: element, limit: 1_000)
      #expect(validator.steps < 1_000_000)
      #expect(all.contains { $0.error == "5 is an integer, and string is asked for" } || depth > 5)
    }
  }

  /// The last of many items is wrong: it is found, without the others being explained.
  @Test func `what is wrong is found behind much that is right`() throws {
    let schema = try CompiledSchema(
      text: #"{"properties": {"v": {"items": {"maximum": 149998}}}}"#)
    let validator = SchemaValidator(schema)
    try Large.integers(.max, most: 150_000).withUnsafeBytes { raw in
      let found = validator.firstViolations(try BSONView(raw))
      #expect(found.map(\.instanceLocation) == ["/v/149999"])
      #expect(found.first?.error == "149999 is more than 149998")
    }
  }

  @Test(arguments: [2, 16, 17, 100, 5_000, 100_000])
  func `items that are unique are so for both`(_ count: Int) throws {
    let schema = try CompiledSchema(text: #"{"properties": {"v": {"uniqueItems": true}}}"#)
    let validator = SchemaValidator(schema)
    var repeated = Large.array(.max, most: count) { index, writer in
      writer.append(index: index, int32: Int32(index == count - 1 ? count / 2 : index))
    }
    if count == 2 { repeated = Large.array(.max, most: 2) { $1.append(index: $0, int32: 7) } }
    try Large.integers(.max, most: count).withUnsafeBytes { raw in
      let view = try BSONView(raw)
      #expect(validator.validate(view))
      #expect(validator.explain(view).isValid)
    }
    try repeated.withUnsafeBytes { raw in
      let view = try BSONView(raw)
      let found = validator.firstViolations(view)
      #expect(found == validator.explain(view).violations && found.count == 1)
    }
  }

  @Test func `a constant is found among many by its value`() throws {
    let schema = #"""
      {"items": {"enum": [1, 2.5, null, true, [1, {"a": 2}], {"a": 1, "b": [2]}, 1e300, -0.5,
        "x", {}, [], 9007199254740993]}}
      """#
    #expect(
      try isValid(
        schema, #"[1.0, 2.50, null, true, [1.0, {"a": 2}], {"b": [2.0], "a": 1}, 1e300, -0.5, "x"]"#
      ))
    #expect(try isValid(schema, "[{}, [], 9007199254740993]"))
    for other in [
      "2", "false", "9007199254740992", #"{"a": 1}"#, #"[1, {"a": 3}]"#, #""y""#, "[[]]",
      #"{"a": 1, "b": [2], "c": 1}"#,
    ] {
      #expect(try !isValid(schema, "[\(other)]"), "\(other)")
    }
  }

  /// Keys and texts with long beginnings in common are told apart.
  @Test func `long names`() throws {
    let names = (0..<300).map { "https://example.com/schemas/number/\(1_000 + $0)/of/many" }
    let properties = names.enumerated().map { #""\#($0.element)": {"const": \#($0.offset)}"# }
    let validator = SchemaValidator(
      try CompiledSchema(
        text:
          #"{"properties": {\#(properties.joined(separator: ","))}, "additionalProperties": false}"#
      ))
    for (index, name) in names.enumerated() {
      let document = Large.document { writer in
        Large.key(name) { writer.append(key: $0, int32: Int32(index)) }
      }
      try document.withUnsafeBytes { raw in
        let view = try BSONView(raw)
        #expect(validator.validate(view))
      }
      let other = Large.document { writer in
        Large.key(name.replacing("of", with: "ov")) { writer.append(key: $0, int32: Int32(index)) }
      }
      try other.withUnsafeBytes { raw in
        let view = try BSONView(raw)
        #expect(!validator.validate(view))
      }
    }
  }

  /// What is found first is what the explanation in full has.
  @Test(arguments: 0..<4)
  func `the first violations are the explanation's`(seed: Int) throws {
    var values = RandomValues(seed: UInt64(seed) &+ 0xF1257)
    var compared = 0
    for _ in 0..<400 {
      let schema = values.schema()
      guard let compiled = try? CompiledSchema(schema) else { continue }
      let validator = SchemaValidator(compiled)
      for _ in 0..<20 {
        let document = values.document()
        try document.withUnsafeBytes { raw in
          let view = try BSONView(raw)
          let found = validator.firstViolations(view, limit: 10_000)
          guard validator.fault == nil else { return }
          let full = validator.explain(view).violations
          #expect(found.isEmpty == full.isEmpty)
          if found.isEmpty { return }
          compared += 1
          #expect(found == full, "\(schema.text())")
          #expect(validator.firstViolations(view, limit: 3) == Array(full.prefix(3)))
        }
      }
    }
    #expect(compared > 500, "\(compared)")
  }

  /// On the BSON, on the JSON that is made of it, and by the other implementation: one verdict, also
  /// for wide arrays and objects, and the same steps where the types are JSON's own.
  @Test(arguments: 0..<4)
  func `all ways agree on wide values`(seed: Int) throws {
    var values = RandomValues(seed: UInt64(seed) &+ 0x91DE)
    var verdicts: [Bool: Int] = [:]
    for _ in 0..<150 {
      let item = values.schema().text()
      let rest = values.random.pick([
        #""uniqueItems": true"#, #""contains": {"minimum": 3}, "minContains": 4"#,
        #""maxItems": 700"#, #""unevaluatedItems": false"#,
        #""items": {"enum": [0, 1, 2, 3, "a", "b", null, 1.5, [], {}]}"#,
      ])
      let text = #"{"properties": {"v": {"allOf": [{"items": \#(item)}], \#(rest)}}}"#
      guard let compiled = try? CompiledSchema(text: text) else { continue }
      let validator = SchemaValidator(compiled)
      for _ in 0..<4 {
        let count = values.random.pick([1, 20, 300, 1_200])
        let kinds = values.random.below(3)
        let document = Large.array(.max, most: count) { index, writer in
          switch kinds {
          case 0: writer.append(index: index, int32: Int32(index))
          case 1: writer.append(index: index, text: values.random.pick(RandomValues.texts))
          default: writer.append(index: index, [("a", Int32(index)), ("b", 1)])
          }
        }
        try document.withUnsafeBytes { raw in
          let view = try BSONView(raw)
          let isValid = validator.validate(view)
          let steps = validator.steps
          #expect(validator.fault == nil, "\(text)")
          verdicts[isValid, default: 0] += 1
          #expect(validator.explain(view).isValid == isValid, "\(text)")
          var json = ByteWriter()
          try json.appendJSON(view, style: .simplified)
          var plain = ByteWriter()
          try plain.append(bsonOf: json.bytes)
          let element = try #require(try BSONView(plain.bytes).first(""))
          #expect(validator.validate(value: element) == isValid)
          // What nothing looked at is counted by the room that the bytes may take.
          #expect(validator.steps == steps || text.contains("unevaluated"), "\(text)")
        }
      }
    }
    #expect((verdicts[true] ?? 0) > 20 && (verdicts[false] ?? 0) > 50, "\(verdicts)")
  }

  @Test func `patterns as texts`() throws {
    let schema = #"{"format": "regex"}"#
    for pattern in [#"\\p{Lu}\\P{Script=Greek}[\\p{scx=Grek}-]"#, #"\\p{gc=Lu}(?<n>a)\\k<n>"#] {
      #expect(try isValid(schema, #""\#(pattern)""#))
    }
    for pattern in [#"\\p{Nothing}"#, #"\\p{Script=Nothing}"#, #"[a"#, #"(?i)a"#, #"\\p{x=Lu}"#] {
      #expect(try !isValid(schema, #""\#(pattern)""#), "\(pattern)")
    }
  }
}
