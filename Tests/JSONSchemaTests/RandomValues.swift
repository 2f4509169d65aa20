import BSON
import JSON
import TestRandom

/// Random documents of all types, and random schemas that have something to say about them: both
/// out of few keys and values, so that they meet.
struct RandomValues {
  var random: SeededRandom

  init(seed: UInt64) { random = SeededRandom(seed: seed) }

  static let keys = ["a", "b", "c", "key", "longer key", "$oid", "t", "é", "kind", ""]
  static let texts = [
    "", "a", "b", "abc", "text", "file", "é😀", "2026-11-23T13:00:00.123Z", "127.0.0.1", "42",
    "56e1fc72e0c917e9c4714161", "73ffd264-44b3-4c69-90e8-e7d1dfc035d4", "NaN", "1.50", "aaaa",
  ]
  static let numbers = [
    "0", "1", "2", "3", "-1", "1.0", "1.5", "0.1", "0.0001", "2.5", "1e3", "9007199254740993",
    "9223372036854775807", "-9223372036854775808", "9223372036854775808", "1e30", "-0.0", "7",
  ]

  mutating func chance(_ one: Int, _ many: Int) -> Bool { random.chance(one, in: many) }

  // MARK: Documents

  mutating func document() -> [UInt8] {
    var writer = ByteWriter()
    let mark = writer.beginDocument()
    append(to: &writer, depth: 0)
    writer.endDocument(mark)
    return Array(writer.bytes)
  }

  private mutating func append(to writer: inout ByteWriter, depth: Int) {
    var used: Set<String> = []
    for _ in 0..<random.below(6) {
      let key = random.pick(Self.keys)
      guard used.insert(key).inserted else { continue }
      Array(key.utf8).withUnsafeBytes { value(to: &writer, key: $0, depth: depth) }
    }
  }

  private mutating func value(
    to writer: inout ByteWriter, key: UnsafeRawBufferPointer, depth: Int
  ) {
    func put(_ type: BSONType, _ bytes: [UInt8]) {
      bytes.withUnsafeBytes { writer.appendElement(type: type, key: key, value: $0) }
    }
    func little(_ value: some FixedWidthInteger) -> [UInt8] {
      withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }
    func text(_ text: String) -> [UInt8] {
      little(Int32(text.utf8.count + 1)) + Array(text.utf8) + [0]
    }
    switch random.below(depth < 3 ? 26 : 20) {
    case 0, 1, 2: put(.string, text(random.pick(Self.texts)))
    case 3, 4: put(.int32, little(Int32(random.below(5)) - 1))
    case 5: put(.int64, little(random.pick([0, 1, .max, .min, 1 << 53 + 1] as [Int64])))
    case 6, 7:
      let doubles = [0, 1, 1.5, 0.1, 0.3, 2.5, -0.0, 1e30, 0x1p63, .nan, .infinity, 1e-7]
      put(.double, little(random.pick(doubles).bitPattern))
    case 8: put(.bool, [UInt8(random.below(2))])
    case 9: put(.null, [])
    case 10:
      put(.objectID, [0x56, 0xe1, 0xfc, 0x72, 0xe0, 0xc9, 0x17, 0xe9, 0xc4, 0x71, 0x41, 0x61])
    case 11: put(.date, little(random.pick([1_795_438_800_123, 0, -1, .max] as [Int64])))
    case 12:
      put(.decimal128, little(random.pick([1, 150] as [UInt64])) + little(0x303C << 48 as UInt64))
    case 13: put(.binary, little(Int32(16)) + [4] + (0..<16).map { UInt8($0) })
    case 14: put(.binary, little(Int32(3)) + [0, 1, 2, 3])
    case 15: put(.timestamp, little(1 as UInt32) + little(7 as UInt32))
    case 16: put(.regex, Array("^a".utf8) + [0] + Array("i".utf8) + [0])
    case 17: put(random.pick([.javascript, .symbol]), text(random.pick(Self.texts)))
    case 18: put(random.pick([.minKey, .maxKey, .undefined]), [])
    case 19:
      let scope: [UInt8] = [12, 0, 0, 0, 0x10, 0x61, 0, 1, 0, 0, 0, 0]
      let code = text("f()")
      put(.javascriptWithScope, little(Int32(4 + code.count + scope.count)) + code + scope)
    case 20, 21, 22:
      let mark = writer.beginDocument(key: key)
      append(to: &writer, depth: depth + 1)
      writer.endDocument(mark)
    default:
      let mark = writer.beginArray(key: key)
      // Now and then enough for other ways than comparing each with each.
      let count = chance(1, 12) ? 20 : random.below(5)
      for index in 0..<count {
        Array("\(index)".utf8).withUnsafeBytes { value(to: &writer, key: $0, depth: depth + 1) }
      }
      writer.endDocument(mark)
    }
  }

  // MARK: Schemas

  mutating func schema() -> JSONValue {
    var schema = self.schema(depth: 0)
    guard case .object = schema else { return schema }
    let drafts = SchemaURIs.all
    schema["$schema"] = .string(random.pick(drafts))
    let defs = (0..<2).map { JSONValue.Member("d\($0)", self.schema(depth: 1)) }
    schema["$defs"] = .object(defs)
    return schema
  }

  enum SchemaURIs {
    static let all = [
      "https://json-schema.org/draft/2020-12/schema",
      "https://json-schema.org/draft/2019-09/schema",
      "http://json-schema.org/draft-07/schema#",
    ]
  }

  private mutating func schema(depth: Int) -> JSONValue {
    if chance(1, 12) { return .bool(chance(2, 3)) }
    var schema = JSONValue.object([])
    for _ in 0..<(1 + random.below(4)) { addKeyword(to: &schema, depth: depth) }
    return schema
  }

  private mutating func named(depth: Int) -> JSONValue {
    var members: [JSONValue.Member] = []
    for _ in 0..<(1 + random.below(3)) {
      members.append(.init(random.pick(Self.keys), schema(depth: depth + 1)))
    }
    return .object(members)
  }

  private mutating func list(depth: Int) -> JSONValue {
    .array((0..<(1 + random.below(3))).map { _ in schema(depth: depth + 1) })
  }

  private mutating func names() -> JSONValue {
    .array((0..<random.below(3)).map { _ in .string(random.pick(Self.keys)) })
  }

  private mutating func constant(depth: Int) -> JSONValue {
    switch random.below(depth < 2 ? 8 : 5) {
    case 0: return .null
    case 1: return .bool(chance(1, 2))
    case 2: return .number(random.pick(Self.numbers))
    case 3, 4: return .string(random.pick(Self.texts))
    case 5: return .array((0..<random.below(3)).map { _ in constant(depth: depth + 1) })
    case 6: return ["t": 7, "i": 1]
    default:
      var object = JSONValue.object([])
      for _ in 0..<random.below(3) { object[random.pick(Self.keys)] = constant(depth: depth + 1) }
      return object
    }
  }

  private mutating func addKeyword(to schema: inout JSONValue, depth: Int) {
    let types = ["null", "boolean", "integer", "number", "string", "array", "object"]
    let patterns = [
      "^a", "a", "^[a-z]+$", "^.{2}$", "\\p{L}", "^(a|b)*$", "(?=a)a", "^(a)\\1", "[^a]$", "\\b",
      "^[0-9a-f]{24}$", "^\\d{4}-", "",
    ]
    let formats = [
      "date-time", "date", "uuid", "ipv4", "email", "uri-reference", "hostname", "none",
    ]
    let flat = 18
    switch random.below(depth < 3 ? flat + 22 : flat) {
    case 0, 1: schema["type"] = .string(random.pick(types))
    case 2: schema["type"] = .array([.string(random.pick(types)), .string(random.pick(types))])
    case 3: schema["const"] = constant(depth: 0)
    case 4: schema["enum"] = .array((0..<3).map { _ in constant(depth: 0) })
    case 5: schema["minimum"] = .number(random.pick(Self.numbers))
    case 6: schema["exclusiveMinimum"] = .number(random.pick(Self.numbers))
    case 7: schema["maximum"] = .number(random.pick(Self.numbers))
    case 8: schema["exclusiveMaximum"] = .number(random.pick(Self.numbers))
    case 9:
      schema["multipleOf"] = .number(random.pick(["1", "2", "0.1", "0.5", "1e-8", "1e20", "3"]))
    case 10: schema["minLength"] = .int(random.below(4))
    case 11: schema["maxLength"] = .int(random.below(40))
    case 12: schema["pattern"] = .string(random.pick(patterns))
    case 13: schema["format"] = .string(random.pick(formats))
    case 14: schema["required"] = names()
    case 15: schema["minProperties"] = .int(random.below(3))
    case 16: schema["maxItems"] = .int(random.below(4))
    case 17: schema["uniqueItems"] = true
    case 18, 19, 20, 21: schema["properties"] = named(depth: depth)
    case 22:
      schema["patternProperties"] = .object([
        .init(random.pick(patterns), self.schema(depth: depth + 1))
      ])
    case 23: schema["additionalProperties"] = self.schema(depth: depth + 1)
    case 24: schema["propertyNames"] = self.schema(depth: depth + 1)
    case 25: schema["items"] = self.schema(depth: depth + 1)
    case 26: schema["prefixItems"] = list(depth: depth)
    case 27:
      schema["contains"] = self.schema(depth: depth + 1)
      if chance(1, 3) { schema["minContains"] = .int(random.below(3)) }
      if chance(1, 3) { schema["maxContains"] = .int(random.below(3)) }
    case 28: schema["allOf"] = list(depth: depth)
    case 29: schema["anyOf"] = list(depth: depth)
    case 30: schema["oneOf"] = list(depth: depth)
    case 31: schema["oneOf"] = choice(depth: depth)
    case 32: schema["not"] = self.schema(depth: depth + 1)
    case 33:
      schema["if"] = self.schema(depth: depth + 1)
      schema["then"] = self.schema(depth: depth + 1)
      schema["else"] = self.schema(depth: depth + 1)
    case 34: schema["dependentRequired"] = .object([.init(random.pick(Self.keys), names())])
    case 35: schema["dependentSchemas"] = named(depth: depth)
    case 36: schema["unevaluatedProperties"] = self.schema(depth: depth + 1)
    case 37: schema["unevaluatedItems"] = self.schema(depth: depth + 1)
    default:
      // Only from outside of the definitions, lest they go round in circles.
      if depth == 0 { schema["$ref"] = .string("#/$defs/d\(random.below(2))") }
    }
  }

  private mutating func choice(depth: Int) -> JSONValue {
    .array(
      ["text", "file", "NaN"].map { kind in
        .object([
          .init("type", "object"), .init("required", ["kind"]),
          .init(
            "properties",
            .object([
              .init("kind", .object([.init("const", .string(kind))])),
              .init(random.pick(Self.keys.filter { $0 != "kind" }), schema(depth: depth + 1)),
            ])),
        ])
      })
  }
}
