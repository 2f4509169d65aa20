import BSON

/// A BSON value as a literal: `["insert": "c", "documents": [["_id": 1]]]`. Keys keep their order
/// and may occur twice.
indirect enum Value: Sendable {
  typealias Fields = [(key: String, value: Value)]

  case double(Double)
  case string(String)
  case document(Fields)
  case array([Value])
  case binary(UInt8, [UInt8])
  case undefined
  case objectID([UInt8])
  case bool(Bool)
  case date(Int64)
  case null
  case regex(String, String)
  case pointer(String, [UInt8])
  case code(String)
  case symbol(String)
  case codeWithScope(String, Fields)
  case int32(Int32)
  case timestamp(UInt32, UInt32)
  case int64(Int64)
  case decimal(high: UInt64, low: UInt64)
  case minKey
  case maxKey

  /// A document's bytes.
  static func bytes(of fields: Fields) -> [UInt8] {
    var writer = ByteWriter()
    append(fields, to: &writer)
    return Array(writer.bytes)
  }

  private static func append(_ fields: Fields, to writer: inout ByteWriter) {
    let document = writer.beginDocument()
    for (key, value) in fields { value.append(key, to: &writer) }
    writer.endDocument(document)
  }

  private func append(_ key: String, to writer: inout ByteWriter) {
    Array(key.utf8).withUnsafeBytes { writer.appendHeader(type, key: $0) }
    switch self {
    case .double(let value): writer.append(littleEndian: Int64(bitPattern: value.bitPattern))
    case .string(let text), .code(let text), .symbol(let text): Self.append(text, to: &writer)
    case .document(let fields): Self.append(fields, to: &writer)
    case .array(let values):
      Self.append(values.enumerated().map { ("\($0)", $1) }, to: &writer)
    case .binary(let subtype, let bytes):
      let inner = subtype == 2 ? 4 : 0
      writer.append(littleEndian: Int32(bytes.count + inner))
      writer.append(subtype)
      if inner > 0 { writer.append(littleEndian: Int32(bytes.count)) }
      writer.append(bytes)
    case .objectID(let bytes): writer.append(bytes)
    case .bool(let value): writer.append(value ? 1 : 0 as UInt8)
    case .date(let value), .int64(let value): writer.append(littleEndian: value)
    case .regex(let pattern, let options):
      for text in [pattern, options] {
        writer.append(Array(text.utf8))
        writer.append(0 as UInt8)
      }
    case .pointer(let namespace, let id):
      Self.append(namespace, to: &writer)
      writer.append(id)
    case .codeWithScope(let code, let scope):
      let at = writer.appendPlaceholder(4, fill: 0)
      Self.append(code, to: &writer)
      Self.append(scope, to: &writer)
      writer.patch(littleEndian: Int32(writer.count - at), at: at)
    case .int32(let value): writer.append(littleEndian: value)
    case .timestamp(let seconds, let increment):
      writer.append(littleEndian: Int64(bitPattern: UInt64(seconds) << 32 | UInt64(increment)))
    case .decimal(let high, let low):
      writer.append(littleEndian: Int64(bitPattern: low))
      writer.append(littleEndian: Int64(bitPattern: high))
    case .undefined, .null, .minKey, .maxKey: break
    }
  }

  private static func append(_ text: String, to writer: inout ByteWriter) {
    Array(text.utf8).withUnsafeBytes { writer.appendStringValue($0) }
  }

  private var type: BSONType {
    switch self {
    case .double: .double
    case .string: .string
    case .document: .document
    case .array: .array
    case .binary: .binary
    case .undefined: .undefined
    case .objectID: .objectID
    case .bool: .bool
    case .date: .date
    case .null: .null
    case .regex: .regex
    case .pointer: .dbPointer
    case .code: .javascript
    case .symbol: .symbol
    case .codeWithScope: .javascriptWithScope
    case .int32: .int32
    case .timestamp: .timestamp
    case .int64: .int64
    case .decimal: .decimal128
    case .minKey: .minKey
    case .maxKey: .maxKey
    }
  }
}

extension Value: ExpressibleByDictionaryLiteral, ExpressibleByArrayLiteral {
  init(dictionaryLiteral elements: (String, Value)...) {
    self = .document(elements.map { (key: $0, value: $1) })
  }

  init(arrayLiteral elements: Value...) { self = .array(elements) }
}

extension Value: ExpressibleByStringInterpolation, ExpressibleByIntegerLiteral,
  ExpressibleByBooleanLiteral
{
  init(stringLiteral value: String) { self = .string(value) }
  init(integerLiteral value: Int32) { self = .int32(value) }
  init(booleanLiteral value: Bool) { self = .bool(value) }
}
