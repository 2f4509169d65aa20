import BSON
import CLibMongoC

/// MongoDB's C library for comparison. Only the library creates its documents: Swift can't lay out a
/// `bson_t`.
enum LibBSON {
  static func withDocument<Result>(
    _ bytes: [UInt8], _ body: (OpaquePointer) throws -> Result
  ) rethrows -> Result? {
    guard let document = bson_new_from_data(bytes, bytes.count) else { return nil }
    defer { bson_destroy(document) }
    return try body(document)
  }

  /// Extended JSON of a document, or nil if the library rejects it.
  static func json(_ bytes: [UInt8], _ style: JSONStyle) -> [UInt8]? {
    let json = withDocument(bytes) { document -> [UInt8]? in
      var length = 0
      let text =
        style == .canonical
        ? bson_as_canonical_extended_json(document, &length)
        : bson_as_relaxed_extended_json(document, &length)
      guard let text else { return nil }
      defer { bson_free(text) }
      return UnsafeRawBufferPointer(start: text, count: length).map { $0 }
    }
    return json ?? nil
  }

  /// Whether the bytes are a valid document at all depths, with strings and keys in UTF-8.
  static func accepts(_ bytes: [UInt8]) -> Bool {
    let flags = BSON_VALIDATE_UTF8.rawValue | BSON_VALIDATE_UTF8_ALLOW_NULL.rawValue
    let accepts = withDocument(bytes) { document in
      bson_validate(document, bson_validate_flags_t(rawValue: flags), nil)
    }
    return accepts ?? false
  }

  /// The document of an Extended JSON text.
  static func document(fromJSON json: [UInt8]) -> [UInt8]? {
    guard let document = bson_new_from_json(json, json.count, nil) else { return nil }
    defer { bson_destroy(document) }
    return bytes(document)
  }

  static func bytes(_ document: OpaquePointer) -> [UInt8]? {
    guard let data = bson_get_data(document) else { return nil }
    let length = UnsafeRawBufferPointer(start: data, count: 4).readInt32(at: 0)
    return Array(UnsafeRawBufferPointer(start: data, count: Int(length)))
  }

  static func decimal(high: UInt64, low: UInt64) -> String {
    var decimal = bson_decimal128_t(low: low, high: high)
    // The library requires BSON_DECIMAL128_STRING, 43 bytes.
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 43) { text in
      bson_decimal128_to_string(&decimal, text.baseAddress)
      return String(decoding: UnsafeRawBufferPointer(text).prefix { $0 != 0 }, as: UTF8.self)
    }
  }

  static func decimal(_ text: String) -> (high: UInt64, low: UInt64)? {
    var decimal = bson_decimal128_t(low: 0, high: 0)
    guard bson_decimal128_from_string(text, &decimal) else { return nil }
    return (decimal.high, decimal.low)
  }
}
