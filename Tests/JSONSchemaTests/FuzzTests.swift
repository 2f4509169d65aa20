import BSON
import Foundation
import JSON
import JSONSchema
import TestRandom
import Testing

/// Random schemas and values. Runner and explainer are independent of each other and have to agree;
/// nothing may crash or hang. `FUZZ_ROUNDS` multiplies the rounds.
@Suite struct FuzzTests {
  private static let factor =
    ProcessInfo.processInfo.environment["FUZZ_ROUNDS"].flatMap(Int.init) ?? 1
  private static let styles = [JSONStyle.simplified, .relaxed, .canonical]

  @Test(arguments: 0..<4)
  func randomSchemasOnRandomDocuments(seed: Int) throws {
    var values = RandomValues(seed: UInt64(seed) &+ 0x5C4E_3A00)
    var valid = 0
    var invalid = 0
    for round in 0..<500 * Self.factor {
      let schema = values.schema()
      let style = values.random.pick(Self.styles)
      guard let compiled = try? CompiledSchema(schema, options: SchemaOptions(style: style)) else {
        continue
      }
      let validator = SchemaValidator(compiled)
      for _ in 0..<20 {
        let document = values.document()
        let isValid = Self.agree(validator, document)
        guard let isValid else {
          Issue.record(
            "seed \(seed), round \(round), \(style): \(schema.text()) \(Self.text(document, style))"
          )
          return
        }
        if isValid { valid += 1 } else { invalid += 1 }
      }
    }
    #expect(valid > 1_000 && invalid > 1_000, "\(valid) valid, \(invalid) invalid")
  }

  private static func text(_ document: [UInt8], _ style: JSONStyle) -> String {
    var writer = ByteWriter()
    try? document.withUnsafeBytes { try writer.appendJSON(BSONView($0), style: style) }
    return String(decoding: writer.bytes, as: UTF8.self)
  }

  /// Whether a document is valid, or nil if that depends on whom one asks.
  private static func agree(_ validator: SchemaValidator, _ document: [UInt8]) -> Bool? {
    document.withUnsafeBytes { raw in
      guard let view = try? BSONView(raw) else { return nil }
      let isValid = validator.validate(view)
      if validator.fault != nil { return isValid ? nil : false }
      guard validator.explain(view).isValid == isValid else { return nil }
      // As its members, too.
      var members: [BSONElement] = []
      var elements = view.elements()
      while let element = try? elements.next() { members.append(element) }
      let again = members.withUnsafeBufferPointer { validator.validate(members: $0) }
      return again == isValid ? isValid : nil
    }
  }

  @Test(arguments: 0..<4)
  func brokenDocuments(seed: Int) throws {
    var values = RandomValues(seed: UInt64(seed) &+ 0xB50)
    var schemas = [Event.schema, Event.combined].compactMap { try? JSONValue(parsing: $0) }
    for _ in 0..<40 { schemas.append(values.schema()) }
    var corrupt = 0
    for schema in schemas {
      let style = values.random.pick(Self.styles)
      guard let compiled = try? CompiledSchema(schema, options: SchemaOptions(style: style)) else {
        continue
      }
      let validator = SchemaValidator(compiled)
      for _ in 0..<200 * Self.factor {
        let original = values.chance(1, 2) ? Event.native : values.document()
        let bytes = Self.mutated(original, &values.random)
        // Exactly as many bytes on the heap as there are: what is read beyond shows under ASan.
        let raw = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        defer { raw.deallocate() }
        raw.copyBytes(from: bytes)
        guard let view = try? BSONView(UnsafeRawBufferPointer(raw)) else { continue }
        let isValid = validator.validate(view)
        if case .corrupt? = validator.fault { corrupt += 1 }
        guard (try? view.validate(utf8: true)) != nil, validator.fault == nil else { continue }
        #expect(
          validator.explain(view).isValid == isValid, "seed \(seed): \(schema.text()) \(bytes)")
      }
    }
    #expect(corrupt > 100)
  }

  private static func mutated(_ original: [UInt8], _ random: inout SeededRandom) -> [UInt8] {
    var bytes = original
    for _ in 0..<(1 + random.below(3)) where bytes.count > 5 {
      let at = 4 + random.below(bytes.count - 5)
      switch random.below(6) {
      case 0: bytes[at] = UInt8(truncatingIfNeeded: random.next())
      case 1: bytes[at] ^= 1 << UInt8(random.below(8))
      case 2: bytes[at] = random.pick([0, 1, 2, 0x7F, 0x80, 0xFF])
      case 3: bytes[at] = random.pick(BSONType.allCases).rawValue
      case 4: bytes.insert(contentsOf: random.bytes(1 + random.below(4)), at: at)
      default: bytes.removeSubrange(at..<min(bytes.count - 1, at + 1 + random.below(4)))
      }
    }
    if bytes.count >= 4, random.chance(15, in: 16) {
      withUnsafeBytes(of: Int32(bytes.count).littleEndian) {
        bytes.replaceSubrange(0..<4, with: $0)
      }
    }
    return bytes
  }

  /// Schemas broken at random: an error with a place, or one that works.
  @Test(arguments: 0..<4)
  func brokenSchemas(seed: Int) throws {
    var values = RandomValues(seed: UInt64(seed) &+ 0x5C)
    var originals = [Event.schema, Event.combined].compactMap { try? JSONValue(parsing: $0) }
    originals += Self.suiteSchemas
    var refused = 0
    var accepted = 0
    for _ in 0..<1_500 * Self.factor {
      let original =
        values.chance(1, 3) ? values.schema() : values.random.pick(originals)
      var schema = original
      for _ in 0..<(1 + values.random.below(3)) {
        schema = Self.mutated(schema, originals, &values)
      }
      do throws(SchemaError) {
        let compiled = try CompiledSchema(schema, set: Suite.remotes)
        accepted += 1
        let validator = SchemaValidator(compiled)
        for _ in 0..<3 {
          let document = values.document()
          #expect(Self.agree(validator, document) != nil, "seed \(seed): \(schema.text())")
        }
      } catch {
        refused += 1
        #expect(!error.message.isEmpty)
      }
    }
    #expect(refused > 100 && accepted > 100, "\(refused) refused, \(accepted) accepted")
  }

  private static let suiteSchemas: [JSONValue] = Suite.drafts.flatMap { draft in
    ((try? Suite.cases("tests/\(draft.folder)")) ?? []).map(\.schema)
  }

  /// One value somewhere inside replaced, renamed, removed or doubled.
  private static func mutated(
    _ value: JSONValue, _ originals: [JSONValue], _ values: inout RandomValues
  ) -> JSONValue {
    switch value {
    case .object(var members) where !members.isEmpty && values.chance(5, 6):
      let index = values.random.below(members.count)
      switch values.random.below(8) {
      case 0: members.remove(at: index)
      case 1: members[index].key = values.random.pick(Self.keywords)
      case 2: members.append(.init(values.random.pick(Self.keywords), members[index].value))
      default: members[index].value = mutated(members[index].value, originals, &values)
      }
      return .object(members)
    case .array(var elements) where !elements.isEmpty && values.chance(5, 6):
      let index = values.random.below(elements.count)
      if values.chance(1, 6) {
        elements.append(elements[index])
      } else {
        elements[index] = mutated(elements[index], originals, &values)
      }
      return .array(elements)
    case .string(let text) where values.chance(1, 2):
      var bytes = Array(text.unicodeScalars)
      let at = values.random.below(bytes.count + 1)
      bytes.insert(values.random.pick(Array("()[]{}^$|*+?\\#/.-~%:".unicodeScalars)), at: at)
      var mutated = ""
      mutated.unicodeScalars.append(contentsOf: bytes)
      return .string(mutated)
    default:
      switch values.random.below(6) {
      case 0: return .number(values.random.pick(RandomValues.numbers))
      case 1:
        return .string(values.random.pick(["#", "#/properties", "string", "object", "(", "^a"]))
      case 2: return .bool(values.chance(1, 2))
      case 3: return .null
      case 4: return values.random.pick(originals)
      default: return .object([])
      }
    }
  }

  private static let keywords = [
    "$ref", "$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$schema", "type",
    "items", "prefixItems", "properties", "required", "pattern", "enum", "minLength", "maximum",
    "multipleOf", "allOf", "anyOf", "not", "if", "then", "contains", "unevaluatedProperties",
    "dependencies", "dependentSchemas", "patternProperties", "format", "$vocabulary", "definitions",
  ]

  /// Patterns out of the characters that mean something, on texts of few characters.
  @Test func randomPatterns() throws {
    var random = SeededRandom(seed: 0xEC3A)
    let parts = Array("aab.^$|()[]{}*+?\\-,0123dwsbBké<>=!:".unicodeScalars)
    var accepted = 0
    for _ in 0..<20_000 * Self.factor {
      var pattern = ""
      for _ in 0..<random.below(14) { pattern.unicodeScalars.append(random.pick(parts)) }
      let schema = JSONValue.object([.init("pattern", .string(pattern))])
      guard let compiled = try? CompiledSchema(schema) else { continue }
      accepted += 1
      let validator = SchemaValidator(compiled)
      for text in ["", "a", "ab", "aabb", "é", String(repeating: "ab", count: 20)] {
        let value = try #require(Wrapped(.string(text)))
        _ = try value.use { validator.validate(value: $0) }
      }
    }
    #expect(accepted > 1_000)
  }
}
