import BSON
import JSONSchema
import Testing

/// Numbers are what the JSON has, digit by digit.
@Suite struct NumberTests {
  @Test(arguments: [
    (#"{"multipleOf": 0.0001}"#, "0.0075", true), (#"{"multipleOf": 0.0001}"#, "0.00751", false),
    (#"{"multipleOf": 0.01}"#, "4.35", true), (#"{"multipleOf": 0.1}"#, "0.3", true),
    (#"{"multipleOf": 1e-8}"#, "12391239123", true), (#"{"multipleOf": 0.5}"#, "1e308", true),
    (#"{"multipleOf": 0.123456789}"#, "1e308", false), (#"{"multipleOf": 3e300}"#, "6e300", true),
    (#"{"multipleOf": 1e400}"#, "0", true), (#"{"multipleOf": 1e400}"#, "5", false),
    (#"{"multipleOf": 12345678901234567890123}"#, "7", false),
    (#"{"multipleOf": 2}"#, "-4.0", true),
    (#"{"maximum": 0.1}"#, "0.1", true), (#"{"exclusiveMaximum": 0.1}"#, "0.1", false),
    (#"{"maximum": 0.10000000000000000001}"#, "0.1", true),
    (#"{"minimum": 0.10000000000000000001}"#, "0.1", false),
    (#"{"minimum": 9223372036854775807}"#, "9223372036854775807", true),
    (#"{"minimum": 9223372036854775808}"#, "9223372036854775807", false),
    (#"{"exclusiveMinimum": 9223372036854775807}"#, "9223372036854775807", false),
    (#"{"maximum": -9223372036854775808}"#, "-9223372036854775808", true),
    (#"{"exclusiveMaximum": -9223372036854775808}"#, "-9223372036854775808", false),
    (#"{"maximum": 9007199254740992}"#, "9007199254740993", false),
    (#"{"const": 9007199254740992}"#, "9007199254740993", false),
    (#"{"const": 1}"#, "1.0", true), (#"{"const": 1.0}"#, "1", true),
    (#"{"const": 0}"#, "-0.0", true),
    (#"{"const": 1e0}"#, "1", true), (#"{"const": 100e-2}"#, "1", true),
    (#"{"enum": [1e400]}"#, "1e308", false), (#"{"type": "integer"}"#, "1.0", true),
    (#"{"type": "integer"}"#, "1e308", true), (#"{"type": "integer"}"#, "1.5", false),
    (#"{"maxLength": 2.0}"#, "\"abc\"", false), (#"{"minimum": 1e400}"#, "1e308", false),
    (#"{"maximum": -1e400}"#, "-1e308", false), (#"{"uniqueItems": true}"#, "[1, 1.0]", false),
    (#"{"uniqueItems": true}"#, "[9007199254740993, 9007199254740992.0]", true),
    (#"{"uniqueItems": true}"#, "[1000000000000000000, 1e18]", false),
  ])
  func exact(schema: String, value: String, expected: Bool) throws {
    #expect(try isValid(schema, value) == expected, "\(schema) \(value)")
  }

  @Test func `decimals are strings, or objects`() throws {
    // 1.50
    let value = wrapped(.decimal128, littleEndian(UInt64(150)) + littleEndian(UInt64(0x303C) << 48))
    let simplified = try CompiledSchema(text: #"{"const": "1.50"}"#)
    #expect(try value.use { SchemaValidator(simplified).validate(value: $0) })
    let relaxed = try CompiledSchema(
      text:
        #"{"required": ["$numberDecimal"], "properties": {"$numberDecimal": {"const": "1.50"}}}"#,
      options: SchemaOptions(style: .relaxed))
    #expect(try value.use { SchemaValidator(relaxed).validate(value: $0) })
  }
}
