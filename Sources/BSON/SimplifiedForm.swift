/// The representation of a BSON value in simplified JSON. This table is the only definition: both the
/// JSON writer and the schema validator, which runs before a message is written, use it.
@frozen
public enum SimplifiedForm: UInt8, Sendable, CaseIterable {
  case null
  /// `true`, `false`
  case boolean
  /// `42`: int32 and int64, with all digits.
  case integer
  /// `1.5`, `1.0`: a finite double.
  case number
  /// `"NaN"`, `"Infinity"`, `"-Infinity"`: a double that JSON has no number for.
  case nonFiniteNumber
  /// The text of a string, symbol or code.
  case text
  /// `"56e1fc72e0c917e9c4714161"`
  case objectID
  /// `"2026-11-23T13:00:00.123Z"`
  case dateTime
  /// `"253402300800000"`: a date outside of years 0 to 9999, in milliseconds since 1970.
  case milliseconds
  /// `"1.50"`, also `"NaN"`, `"Infinity"`, `"-Infinity"`.
  case decimal
  /// `"c3dffa5f-1f5c-4c4b-8c4f-1f2b3c4d5e6f"`: binary of subtype 4 with 16 bytes.
  case uuid
  /// `"SGVsbG8="`: all other binary.
  case base64
  case array
  case object
  /// `{"t":1763900000,"i":1}`
  case timestamp
  /// `{"pattern":"^a","options":"i"}`
  case regex
  /// `{"code":"…","scope":{…}}`
  case codeWithScope
  /// `{"$ref":"db.collection","$id":"56e1fc72e0c917e9c4714161"}`
  case dbPointer
  /// `{"$minKey":1}`
  case minKey
  /// `{"$maxKey":1}`
  case maxKey

  /// The JSON types.
  @frozen
  public enum JSONType: UInt8, Sendable {
    case null, boolean, number, string, array, object
  }

  @inlinable
  public var jsonType: JSONType {
    switch self {
    case .null: .null
    case .boolean: .boolean
    case .integer, .number: .number
    case .nonFiniteNumber, .text, .objectID, .dateTime, .milliseconds, .decimal, .uuid, .base64:
      .string
    case .array: .array
    case .object, .timestamp, .regex, .codeWithScope, .dbPointer, .minKey, .maxKey: .object
    }
  }
}

extension BSONElement {
  /// By type; for a few types also by value.
  @inlinable
  public var simplifiedForm: SimplifiedForm {
    switch type {
    case .string, .symbol, .javascript: .text
    case .int32, .int64: .integer
    case .document: .object
    case .array: .array
    case .bool: .boolean
    case .null, .undefined: .null
    case .objectID: .objectID
    case .date: ISODate.range.contains(value.readInt64(at: 0)) ? .dateTime : .milliseconds
    case .double: value.readDouble(at: 0).isFinite ? .number : .nonFiniteNumber
    case .decimal128: .decimal
    case .binary: value.count == 21 && value.readByte(at: 4) == 4 ? .uuid : .base64
    case .timestamp: .timestamp
    case .regex: .regex
    case .javascriptWithScope: .codeWithScope
    case .dbPointer: .dbPointer
    case .minKey: .minKey
    case .maxKey: .maxKey
    }
  }
}
