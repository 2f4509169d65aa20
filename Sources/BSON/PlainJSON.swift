internal import JSON

/// A JSON text that can't be read.
public struct PlainJSONError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The byte at which it is invalid, or exceeds the permitted number of values.
  public var offset: Int
  /// It has more values than permitted.
  public var isTooLarge = false
  public var description: String {
    isTooLarge ? "too many values from byte \(offset) on" : "invalid JSON at byte \(offset)"
  }
}

extension ByteWriter {
  /// Appends a BSON document with one element, whose key is empty and whose value is the JSON text's. No
  /// Extended JSON: wrappers are plain objects. Integers that fit are int64, other numbers doubles. A text
  /// with more than `most` values is an error. Strings need not be UTF-8.
  public mutating func append(
    bsonOf json: UnsafeRawBufferPointer, most: Int = .max
  ) throws(PlainJSONError) {
    var reader = PlainJSONReader(json, most: most, maximumDepth: BSONView.maximumDepth)
    let start = beginDocument()
    try reader.append(to: &self)
    endDocument(start)
  }

  /// Appends the document that a JSON object is, which may be as deep as Extended JSON makes any.
  package mutating func append(
    documentOf json: UnsafeRawBufferPointer
  ) throws(PlainJSONError) {
    var reader = PlainJSONReader(json, most: .max, maximumDepth: 2 * BSONView.maximumDepth)
    try reader.appendObject(to: &self)
  }
}

/// Reads a text in one pass and writes BSON.
///
/// Safety invariant: the scanner borrows the text from the caller of `append`, during that call. Keys point
/// into the text or into a writer that isn't changed while the key is in use.
private struct PlainJSONReader: ~Copyable {
  private var scanner: JSONScanner
  /// For keys with escapes.
  private var scratch = ByteWriter(capacity: 64)
  /// How many more values are permitted.
  private var left: Int
  private var isTooLarge = false
  private let maximumDepth: Int

  init(_ json: UnsafeRawBufferPointer, most: Int, maximumDepth: Int) {
    scanner = JSONScanner(json)
    left = most
    self.maximumDepth = maximumDepth
  }

  /// The text's value, as an element with an empty key.
  mutating func append(to out: inout ByteWriter) throws(PlainJSONError) {
    do throws(JSONError) {
      try element(key: UnsafeRawBufferPointer(start: nil, count: 0), depth: 0, into: &out)
      try scanner.finish()
    } catch {
      throw PlainJSONError(offset: error.offset, isTooLarge: isTooLarge)
    }
  }

  mutating func appendObject(to out: inout ByteWriter) throws(PlainJSONError) {
    do throws(JSONError) {
      scanner.skipSpace()
      guard scanner.current == UInt8(ascii: "{") else { throw scanner.fail("not an object") }
      try object(depth: 0, into: &out)
      try scanner.finish()
    } catch {
      throw PlainJSONError(offset: error.offset, isTooLarge: isTooLarge)
    }
  }

  private mutating func element(
    key: UnsafeRawBufferPointer, depth: Int, into out: inout ByteWriter
  ) throws(JSONError) {
    guard depth < maximumDepth else { throw scanner.fail("nested too deep") }
    guard left > 0 else {
      isTooLarge = true
      throw scanner.fail("too many values")
    }
    left -= 1
    scanner.skipSpace()
    switch scanner.current {
    case UInt8(ascii: "{"):
      out.appendHeader(.document, key: key)
      try object(depth: depth, into: &out)
    case UInt8(ascii: "["):
      out.appendHeader(.array, key: key)
      try array(depth: depth, into: &out)
    case UInt8(ascii: "\""):
      out.appendHeader(.string, key: key)
      let length = out.appendPlaceholder(4, fill: 0)
      try scanner.string(into: &out)
      out.append(UInt8(0))
      out.patch(littleEndian: Int32(truncatingIfNeeded: out.count - length - 4), at: length)
    case UInt8(ascii: "t"):
      try scanner.literal("true")
      out.append(key: key, bool: true)
    case UInt8(ascii: "f"):
      try scanner.literal("false")
      out.append(key: key, bool: false)
    case UInt8(ascii: "n"):
      try scanner.literal("null")
      out.appendNull(key: key)
    default: try number(key: key, into: &out)
    }
  }

  private mutating func object(depth: Int, into out: inout ByteWriter) throws(JSONError) {
    _ = scanner.eat("{")
    let start = out.beginDocument()
    var isFirst = true
    while try scanner.hasNext(&isFirst, until: "}") {
      try scanner.beginName()
      if let key = try scanner.plainString() {
        try scanner.endName()
        try element(key: key, depth: depth + 1, into: &out)
      } else {
        scratch.removeAll()
        try scanner.string(into: &scratch)
        guard !scratch.bytes.contains(0) else { throw scanner.fail("a NUL in a member name") }
        // Nested objects reuse `scratch`.
        var key = ByteWriter(capacity: scratch.count)
        key.append(scratch.bytes)
        try scanner.endName()
        try element(key: key.bytes, depth: depth + 1, into: &out)
      }
    }
    out.endDocument(start)
  }

  private mutating func array(depth: Int, into out: inout ByteWriter) throws(JSONError) {
    _ = scanner.eat("[")
    let start = out.beginDocument()
    var isFirst = true
    var index = 0
    var digits = ByteWriter(capacity: 16)
    while try scanner.hasNext(&isFirst, until: "]") {
      digits.removeAll()
      digits.append(decimal: UInt64(index))
      try element(key: digits.bytes, depth: depth + 1, into: &out)
      index += 1
    }
    out.endDocument(start)
  }

  private mutating func number(
    key: UnsafeRawBufferPointer, into out: inout ByteWriter
  ) throws(JSONError) {
    let number = try scanner.number()
    if number.isInteger, let value = Self.integer(number.digits) {
      out.append(key: key, int64: value)
      return
    }
    guard let double = Double(String(decoding: number.digits, as: UTF8.self)) else {
      throw scanner.fail("a number that can't be read")
    }
    out.append(key: key, double: double)
  }

  /// Nil if it doesn't fit.
  private static func integer(_ digits: UnsafeRawBufferPointer) -> Int64? {
    let isNegative = digits.first == UInt8(ascii: "-")
    var value: Int64 = 0
    for digit in isNegative ? digits.dropFirst() : digits[...] {
      let (product, over) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) =
        isNegative
        ? product.subtractingReportingOverflow(Int64(digit - 48))
        : product.addingReportingOverflow(Int64(digit - 48))
      if over || carry { return nil }
      value = sum
    }
    return value
  }
}
