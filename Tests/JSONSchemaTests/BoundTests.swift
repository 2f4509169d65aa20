import BSON
import Foundation
import JSON
import JSONSchema
import Testing

/// Nesting is bounded: of values, of schemas, and of both within each other.
@Suite struct BoundTests {
  /// Documents within each other, each the only member `a` of the one around it.
  private static func nested(_ depth: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    for level in stride(from: depth, through: 1, by: -1) {
      bytes += littleEndian(Int32(5 + 8 * (level - 1)))
      if level > 1 { bytes += [BSONType.document.rawValue, 0x61, 0] }
    }
    return bytes + [UInt8](repeating: 0, count: depth)
  }

  @Test(arguments: [1, 100, 256, 1_000, 10_000, 200_000])
  func `deep values are judged or refused`(depth: Int) throws {
    let schemas = [
      ##"{"additionalProperties": {"$ref": "#"}}"##,
      ##"{"allOf": [{"anyOf": [{"properties": {"a": {"$ref": "#"}}}]}]}"##,
      ##"{"$dynamicAnchor": "x", "properties": {"a": {"$dynamicRef": "#x"}}, "unevaluatedProperties": false}"##,
      #"{"const": {"a": {"a": {"b": 1}}}}"#, #"{"properties": {"a": {"uniqueItems": true}}}"#,
    ]
    let bytes = Self.nested(depth)
    for schema in schemas {
      let validator = SchemaValidator(try CompiledSchema(text: schema))
      bytes.withUnsafeBytes { raw in
        guard let view = try? BSONView(raw) else { return }
        let isValid = validator.validate(view)
        if validator.fault != nil { #expect(!isValid && validator.fault == .tooDeep) }
        if depth <= 256, !schema.contains("const") { #expect(isValid, "\(schema)") }
        let report = validator.explain(view)
        if depth > 300 { #expect(!report.isValid) }
      }
    }
  }

  /// As deep as possible on a thread with as little stack as any has here.
  @Test func `the deepest judging fits half a stack`() throws {
    let schema = try CompiledSchema(
      text: ##"{"allOf": [{"properties": {"a": {"$ref": "#"}}, "unevaluatedProperties": false}]}"##)
    let bytes = Self.nested(5_000)
    let nested = Self.nested
    let done = DispatchSemaphore(value: 0)
    let thread = Thread {
      let validator = SchemaValidator(schema)
      bytes.withUnsafeBytes { raw in
        if let view = try? BSONView(raw) { _ = validator.validate(view) }
      }
      nested(256).withUnsafeBytes { raw in
        if let view = try? BSONView(raw) { _ = validator.explain(view) }
      }
      done.signal()
    }
    thread.stackSize = 4 << 20
    thread.start()
    done.wait()
  }

  @Test func `a schema that splits without end is given up`() throws {
    let schema = try CompiledSchema(
      text: #"""
        {"anyOf": [{"properties": {"a": {"$ref": "#"}}, "required": ["b"]},
          {"properties": {"a": {"$ref": "#"}}, "required": ["c"]}]}
        """#)
    let validator = SchemaValidator(schema)
    Self.nested(60).withUnsafeBytes { raw in
      guard let view = try? BSONView(raw) else { return }
      #expect(!validator.validate(view))
    }
  }

  @Test func `text that isn't UTF-8 is no valid string`() throws {
    let value = wrapped(.string, littleEndian(Int32(3)) + [0xC3, 0x28, 0])
    let validator = SchemaValidator(try CompiledSchema(text: #"{"type": "string"}"#))
    try value.use {
      #expect(!validator.validate(value: $0))
      #expect(validator.fault == .invalidUTF8)
      #expect(!validator.explain(value: $0).isValid)
    }
  }
}
