import BSON
import JSON
import JSONSchema
import Testing

/// Judges a JSON value, given as text, by a schema; both ways have to agree.
func isValid(
  _ schema: String, _ value: String, options: SchemaOptions = SchemaOptions(),
  set: SchemaSet = SchemaSet()
) throws -> Bool {
  let validator = SchemaValidator(try CompiledSchema(text: schema, options: options, set: set))
  let instance = try JSONValue(parsing: value)
  return try #require(Wrapped(instance)).use { element in
    let isValid = validator.validate(value: element)
    #expect(validator.explain(value: element).isValid == isValid, "\(schema) \(value)")
    return isValid
  }
}

/// The first thing wrong with a schema.
func schemaError(_ schema: String, set: SchemaSet = SchemaSet()) -> SchemaError? {
  do throws(SchemaError) {
    _ = try CompiledSchema(text: schema, set: set)
    return nil
  } catch {
    return error
  }
}

/// What is wrong with a value.
func violations(_ schema: String, _ value: String) throws -> [SchemaViolation] {
  try CompiledSchema(text: schema).explain(JSONValue(parsing: value)).violations
}

/// The document `{"v": value}` with a value of any type, given as the bytes it has in BSON.
func wrapped(_ type: BSONType, _ value: [UInt8]) -> Wrapped {
  var writer = ByteWriter()
  let mark = writer.beginDocument()
  let key: StaticString = "v"
  value.withUnsafeBytes {
    writer.appendElement(
      type: type, key: UnsafeRawBufferPointer(start: key.utf8Start, count: 1), value: $0)
  }
  writer.endDocument(mark)
  return Wrapped(document: Array(writer.bytes))
}

func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
  withUnsafeBytes(of: value.littleEndian) { Array($0) }
}
