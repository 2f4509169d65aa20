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
  /// with more than `most` values is an error.
  public mutating func append(
    bsonOf json: UnsafeRawBufferPointer, most: Int = .max
  ) throws(PlainJSONError) {
    var reader = PlainJSONReader(json, most: most)
    let start = beginDocument()
    try reader.element(key: UnsafeRawBufferPointer(start: nil, count: 0), depth: 0, into: &self)
    try reader.finish()
    endDocument(start)
  }
}

/// Reads the text in one pass and writes BSON.
///
/// Safety invariant: `json` is borrowed from the caller of `append(bsonOf:most:)` and used only during
/// that call. Keys point into `json` or into a writer that isn't changed while the key is in use.
private struct PlainJSONReader: ~Copyable {
  let json: UnsafeRawBufferPointer
  var at = 0
  /// For keys with escapes.
  var scratch = ByteWriter(capacity: 64)

  static let maximumDepth = 256

  /// How many more values are permitted.
  var left: Int

  init(_ json: UnsafeRawBufferPointer, most: Int) {
    self.json = json
    left = most
  }

  private func fail() -> PlainJSONError { PlainJSONError(offset: at) }

  private var current: UInt8? { at < json.count ? json[at] : nil }

  private mutating func skipSpace() {
    while let c = current, c == 0x20 || c == 0x0A || c == 0x0D || c == 0x09 { at += 1 }
  }

  mutating func finish() throws(PlainJSONError) {
    skipSpace()
    guard at == json.count else { throw fail() }
  }

  mutating func element(
    key: UnsafeRawBufferPointer, depth: Int, into: inout ByteWriter
  ) throws(PlainJSONError) {
    guard depth < Self.maximumDepth else { throw fail() }
    guard left > 0 else { throw PlainJSONError(offset: at, isTooLarge: true) }
    left -= 1
    skipSpace()
    switch current {
    case UInt8(ascii: "{"):
      into.appendHeader(.document, key: key)
      try object(depth: depth, into: &into)
    case UInt8(ascii: "["):
      into.appendHeader(.array, key: key)
      try array(depth: depth, into: &into)
    case UInt8(ascii: "\""):
      into.appendHeader(.string, key: key)
      let length = into.appendPlaceholder(4, fill: 0)
      try string(into: &into)
      into.append(UInt8(0))
      into.patch(littleEndian: Int32(truncatingIfNeeded: into.count - length - 4), at: length)
    case UInt8(ascii: "t"):
      try word("true")
      into.append(key: key, bool: true)
    case UInt8(ascii: "f"):
      try word("false")
      into.append(key: key, bool: false)
    case UInt8(ascii: "n"):
      try word("null")
      into.appendNull(key: key)
    default: try number(key: key, into: &into)
    }
  }

  private mutating func word(_ text: StaticString) throws(PlainJSONError) {
    let length = text.utf8CodeUnitCount
    guard json.count - at >= length else { throw fail() }
    for n in 0..<length where json[at + n] != text.utf8Start[n] { throw fail() }
    at += length
  }

  private mutating func object(depth: Int, into: inout ByteWriter) throws(PlainJSONError) {
    at += 1
    let start = into.beginDocument()
    skipSpace()
    if current == UInt8(ascii: "}") {
      at += 1
    } else {
      while true {
        skipSpace()
        guard current == UInt8(ascii: "\"") else { throw fail() }
        let key = try key()
        skipSpace()
        guard current == UInt8(ascii: ":") else { throw fail() }
        at += 1
        if let key {
          try element(key: key, depth: depth + 1, into: &into)
        } else {
          // Nested objects reuse `scratch`.
          var copy = ByteWriter(capacity: scratch.count)
          copy.append(scratch.bytes)
          try element(key: copy.bytes, depth: depth + 1, into: &into)
        }
        skipSpace()
        if current == UInt8(ascii: ",") {
          at += 1
          continue
        }
        guard current == UInt8(ascii: "}") else { throw fail() }
        at += 1
        break
      }
    }
    into.endDocument(start)
  }

  private mutating func array(depth: Int, into: inout ByteWriter) throws(PlainJSONError) {
    at += 1
    let start = into.beginDocument()
    skipSpace()
    if current == UInt8(ascii: "]") {
      at += 1
    } else {
      var index = 0
      var digits = ByteWriter(capacity: 16)
      while true {
        digits.removeAll()
        digits.append(decimal: UInt64(index))
        try element(key: digits.bytes, depth: depth + 1, into: &into)
        index += 1
        skipSpace()
        if current == UInt8(ascii: ",") {
          at += 1
          continue
        }
        guard current == UInt8(ascii: "]") else { throw fail() }
        at += 1
        break
      }
    }
    into.endDocument(start)
  }

  /// A key as a range of the text; nil if it has escapes: then it is in `scratch`.
  private mutating func key() throws(PlainJSONError) -> UnsafeRawBufferPointer? {
    let from = at + 1
    var end = from
    while end < json.count, json[end] != UInt8(ascii: "\"") {
      if json[end] == UInt8(ascii: "\\") {
        scratch.removeAll()
        var text = ByteWriter(capacity: 64)
        try string(into: &text)
        guard !text.bytes.contains(0) else { throw fail() }
        scratch.append(text.bytes)
        return nil
      }
      guard json[end] >= 0x20 else { throw fail() }
      end += 1
    }
    guard end < json.count else { throw fail() }
    at = end + 1
    return UnsafeRawBufferPointer(rebasing: json[from..<end])
  }

  /// Reads from the opening quote to after the closing one.
  private mutating func string(into: inout ByteWriter) throws(PlainJSONError) {
    at += 1
    var from = at
    while true {
      guard let c = current, c >= 0x20 else { throw fail() }
      if c == UInt8(ascii: "\"") || c == UInt8(ascii: "\\") {
        into.append(UnsafeRawBufferPointer(rebasing: json[from..<at]))
        at += 1
        if c == UInt8(ascii: "\"") { return }
        try escape(into: &into)
        from = at
      } else {
        at += 1
      }
    }
  }

  private mutating func escape(into: inout ByteWriter) throws(PlainJSONError) {
    guard let c = current else { throw fail() }
    at += 1
    switch c {
    case UInt8(ascii: "n"): into.append(UInt8(0x0A))
    case UInt8(ascii: "r"): into.append(UInt8(0x0D))
    case UInt8(ascii: "t"): into.append(UInt8(0x09))
    case UInt8(ascii: "b"): into.append(UInt8(0x08))
    case UInt8(ascii: "f"): into.append(UInt8(0x0C))
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): into.append(c)
    case UInt8(ascii: "u"):
      var code = try hex()
      if (0xD800..<0xDC00).contains(code) {
        guard json.count - at >= 6, json[at] == UInt8(ascii: "\\"),
          json[at + 1] == UInt8(ascii: "u")
        else { throw fail() }
        at += 2
        let low = try hex()
        guard (0xDC00..<0xE000).contains(low) else { throw fail() }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(code) else { throw fail() }
      for unit in UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter { into.append(unit) }
    default: throw fail()
    }
  }

  private mutating func hex() throws(PlainJSONError) -> UInt32 {
    guard json.count - at >= 4 else { throw fail() }
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard let digit = Character(Unicode.Scalar(json[at])).hexDigitValue else { throw fail() }
      value = value << 4 | UInt32(digit)
      at += 1
    }
    return value
  }

  private mutating func number(
    key: UnsafeRawBufferPointer, into: inout ByteWriter
  ) throws(PlainJSONError) {
    let from = at
    var isInteger = true
    var value: Int64 = 0
    var overflow = false
    let negative = current == UInt8(ascii: "-")
    if negative { at += 1 }
    while let c = current {
      if (48...57).contains(c) {
        let (product, over) = value.multipliedReportingOverflow(by: 10)
        let digit = Int64(c - 48)
        let (sum, over2) =
          negative
          ? product.subtractingReportingOverflow(digit) : product.addingReportingOverflow(digit)
        overflow = overflow || over || over2
        value = sum
      } else if c == UInt8(ascii: ".") || c == UInt8(ascii: "e") || c == UInt8(ascii: "E")
        || c == UInt8(ascii: "+") || c == UInt8(ascii: "-")
      {
        isInteger = false
      } else {
        break
      }
      at += 1
    }
    guard at > from + (negative ? 1 : 0) else { throw fail() }
    if isInteger, !overflow {
      into.append(key: key, int64: value)
      return
    }
    let text = String(decoding: json[from..<at], as: UTF8.self)
    guard let double = Double(text) else { throw fail() }
    into.append(key: key, double: double)
  }
}
