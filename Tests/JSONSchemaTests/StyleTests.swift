import BSON
import JSON
import JSONSchema
import Testing

/// The validator judges what the JSON writer writes, in every style.
@Suite struct StyleTests {
  /// One value of each BSON type, and more where the value matters.
  private static let values: [(BSONType, [UInt8])] = [
    (.string, littleEndian(Int32(2)) + [0x61, 0]), (.symbol, littleEndian(Int32(2)) + [0x61, 0]),
    (.javascript, littleEndian(Int32(2)) + [0x61, 0]), (.int32, littleEndian(Int32(5))),
    (.int64, littleEndian(Int64.max)), (.double, littleEndian((1.5).bitPattern)),
    (.double, littleEndian((3.0).bitPattern)), (.double, littleEndian(Double.nan.bitPattern)),
    (.double, littleEndian((-Double.infinity).bitPattern)), (.bool, [1]), (.null, []),
    (.undefined, []), (.minKey, []), (.maxKey, []), (.objectID, (0..<12).map { UInt8($0) }),
    (.date, littleEndian(Int64(1_795_438_800_123))), (.date, littleEndian(Int64.max)),
    (.decimal128, littleEndian(UInt64(150)) + littleEndian(UInt64(0x303C) << 48)),
    (.binary, littleEndian(Int32(16)) + [4] + (0..<16).map { UInt8($0) }),
    (.binary, littleEndian(Int32(2)) + [0, 1, 2]),
    (.timestamp, littleEndian(UInt32(1)) + littleEndian(UInt32(7))),
    (.regex, [0x61, 0, 0x69, 0]), (.document, [5, 0, 0, 0, 0]), (.array, [5, 0, 0, 0, 0]),
    (.dbPointer, littleEndian(Int32(2)) + [0x61, 0] + (0..<12).map { UInt8($0) }),
    (
      .javascriptWithScope,
      littleEndian(Int32(15)) + littleEndian(Int32(2)) + [0x61, 0] + [5, 0, 0, 0, 0]
    ),
  ]

  private static func written(_ value: Wrapped, _ style: JSONStyle) throws -> JSONValue {
    var writer = ByteWriter()
    try value.use { try writer.appendJSON(value: $0, style: style) }
    return try JSONValue(parsing: writer.bytes)
  }

  private static func type(of value: JSONValue) -> String {
    switch value {
    case .null: "null"
    case .bool: "boolean"
    case .number(let text): text.contains(".5") ? "number" : "integer"
    case .string: "string"
    case .array: "array"
    case .object: "object"
    }
  }

  @Test(arguments: [JSONStyle.simplified, .relaxed, .canonical])
  func `every BSON type is what the writer makes of it`(style: JSONStyle) throws {
    let types = ["null", "boolean", "integer", "number", "string", "array", "object"]
    for (bsonType, bytes) in Self.values {
      let value = wrapped(bsonType, bytes)
      let json = try Self.written(value, style)
      let options = SchemaOptions(style: style)
      for type in types {
        let own = Self.type(of: json)
        let expected = own == type || (own == "integer" && type == "number")
        let schema = try CompiledSchema(text: #"{"type": "\#(type)"}"#, options: options)
        let isValid = try value.use { SchemaValidator(schema).validate(value: $0) }
        #expect(isValid == expected, "\(bsonType) \(json.text()) \(type)")
      }
      // It is equal to what is written, and to nothing else.
      let schema = JSONValue.object([.init("const", json)])
      let validator = SchemaValidator(try CompiledSchema(schema, options: options))
      #expect(try value.use { validator.validate(value: $0) }, "\(bsonType) \(json.text())")
      let other = JSONValue.object([.init("enum", .array(["other", [json], 6, ["a": json]]))])
      let otherValidator = SchemaValidator(try CompiledSchema(other, options: options))
      #expect(try !value.use { otherValidator.validate(value: $0) }, "\(bsonType) \(json.text())")
    }
  }

  /// What is known of ids, dates and UUIDs without writing them is what is so of what is written.
  @Test func `what a form alone tells is true of the text`() throws {
    let formats = [
      "date-time", "date", "time", "duration", "email", "idn-email", "hostname", "idn-hostname",
      "ipv4", "ipv6", "uri", "uri-reference", "iri", "iri-reference", "uri-template", "uuid",
      "json-pointer", "relative-json-pointer", "regex",
    ]
    let patterns = [
      "^[0-9a-f]{24}$", "^[0-9]{4}-", "Z$", "^.{24}$", "-", "^[0-9]{24}$", "^00", "a", "^\\S+$",
    ]
    var demands = formats.map { #"{"format": "\#($0)"}"# }
    demands += patterns.map { #"{"pattern": "\#($0.replacing("\\", with: "\\\\"))"}"# }
    demands += [#"{"minLength": 25}"#, #"{"maxLength": 24}"#, #"{"maxLength": 23}"#]
    for (type, bytes) in Self.values {
      let value = wrapped(type, bytes)
      let json = try Self.written(value, .simplified)
      guard case .string = json else { continue }
      for demand in demands {
        let schema = try CompiledSchema(text: demand)
        let expected = schema.explain(json).isValid
        let isValid = try value.use { SchemaValidator(schema).validate(value: $0) }
        #expect(isValid == expected, "\(type) \(json.text()) \(demand)")
      }
    }
  }

  @Test func `an object is judged in parts as it is in one piece`() throws {
    let schema = try CompiledSchema(text: Event.combined)
    let validator = SchemaValidator(schema)
    try Event.native.withUnsafeBytes { raw in
      var elements = try BSONView(raw).elements()
      var members: [BSONElement] = []
      while let element = try elements.next() { members.append(element) }
      members.withUnsafeBufferPointer { #expect(validator.validate(members: $0)) }
      members.removeLast()
      members.append(members[0])
      members.withUnsafeBufferPointer {
        #expect(validator.validate(members: $0))
        #expect(validator.explain(members: $0).isValid)
      }
      members.removeFirst(2)
      members.withUnsafeBufferPointer {
        #expect(!validator.validate(members: $0))
        #expect(validator.explain(members: $0).violations.first?.error == "\"rid\" is missing")
      }
    }
    let empty = UnsafeBufferPointer<BSONElement>(start: nil, count: 0)
    #expect(!validator.validate(members: empty))
  }
}
