import BSON

/// Plain JSON as BSON: documents, arrays, strings, booleans and null; numbers as integers where
/// they are written as some and fit, else as doubles.
package enum PlainBSON {
  /// Appends the document for an object's text. False if the text is no object, isn't JSON, has a
  /// key with a NUL, or is nested too deep; what was appended is useless then.
  package static func append(
    json text: UnsafeRawBufferPointer, to writer: inout ByteWriter
  ) -> Bool {
    var reader = PlainReader(text: text)
    reader.cursor.skipSpace()
    guard reader.cursor.eat("{") else { return false }
    let document = writer.beginDocument()
    guard reader.members(to: &writer, depth: 1) else { return false }
    writer.endDocument(document)
    reader.cursor.skipSpace()
    return reader.cursor.at == text.count
  }
}

private struct PlainReader: ~Copyable {
  var cursor: PlainCursor
  private var key = ByteWriter(capacity: 64)

  init(text: UnsafeRawBufferPointer) { cursor = PlainCursor(text: text) }

  /// After the brace, to the closing one.
  mutating func members(to writer: inout ByteWriter, depth: Int) -> Bool {
    guard depth <= 2 * BSONView.maximumDepth else { return false }
    cursor.skipSpace()
    if cursor.eat("}") { return true }
    while true {
      cursor.skipSpace()
      guard cursor.eat("\"") else { return false }
      key.removeAll()
      guard cursor.string(to: &key), !key.bytes.contains(0) else { return false }
      cursor.skipSpace()
      guard cursor.eat(":") else { return false }
      guard value(to: &writer, index: nil, depth: depth) else { return false }
      cursor.skipSpace()
      if cursor.eat("}") { return true }
      guard cursor.eat(",") else { return false }
    }
  }

  private mutating func elements(to writer: inout ByteWriter, depth: Int) -> Bool {
    guard depth <= 2 * BSONView.maximumDepth else { return false }
    cursor.skipSpace()
    if cursor.eat("]") { return true }
    var index = 0
    while true {
      guard value(to: &writer, index: index, depth: depth) else { return false }
      index += 1
      cursor.skipSpace()
      if cursor.eat("]") { return true }
      guard cursor.eat(",") else { return false }
    }
  }

  private func header(_ type: BSONType, index: Int?, to writer: inout ByteWriter) {
    if let index {
      writer.appendHeader(type, index: index)
    } else {
      writer.appendHeader(type, key: key.bytes)
    }
  }

  private mutating func value(to writer: inout ByteWriter, index: Int?, depth: Int) -> Bool {
    cursor.skipSpace()
    switch cursor.current {
    case UInt8(ascii: "{"):
      cursor.at += 1
      header(.document, index: index, to: &writer)
      let document = writer.beginDocument()
      guard members(to: &writer, depth: depth + 1) else { return false }
      writer.endDocument(document)
      return true
    case UInt8(ascii: "["):
      cursor.at += 1
      header(.array, index: index, to: &writer)
      let array = writer.beginDocument()
      guard elements(to: &writer, depth: depth + 1) else { return false }
      writer.endDocument(array)
      return true
    case UInt8(ascii: "\""):
      cursor.at += 1
      header(.string, index: index, to: &writer)
      let length = writer.appendPlaceholder(4, fill: 0)
      guard cursor.string(to: &writer) else { return false }
      writer.append(0 as UInt8)
      writer.patch(littleEndian: Int32(writer.count - length - 4), at: length)
      return true
    case UInt8(ascii: "t"):
      header(.bool, index: index, to: &writer)
      writer.append(1 as UInt8)
      return cursor.eat(literal: "true")
    case UInt8(ascii: "f"):
      header(.bool, index: index, to: &writer)
      writer.append(0 as UInt8)
      return cursor.eat(literal: "false")
    case UInt8(ascii: "n"):
      header(.null, index: index, to: &writer)
      return cursor.eat(literal: "null")
    default: return number(to: &writer, index: index)
    }
  }

  private mutating func number(to writer: inout ByteWriter, index: Int?) -> Bool {
    let start = cursor.at
    var isInteger = true
    while cursor.at < cursor.text.count {
      switch cursor.text[cursor.at] {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"): break
      case UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"), UInt8(ascii: "+"):
        isInteger = false
      default: return store(start, isInteger, index, to: &writer)
      }
      cursor.at += 1
    }
    return store(start, isInteger, index, to: &writer)
  }

  private func store(
    _ start: Int, _ isInteger: Bool, _ index: Int?, to writer: inout ByteWriter
  ) -> Bool {
    let digits = String(decoding: cursor.text[start..<cursor.at], as: UTF8.self)
    if isInteger, let integer = Int64(digits) {
      if let small = Int32(exactly: integer) {
        header(.int32, index: index, to: &writer)
        writer.append(littleEndian: small)
      } else {
        header(.int64, index: index, to: &writer)
        writer.append(littleEndian: integer)
      }
      return true
    }
    guard let double = Double(digits) else { return false }
    header(.double, index: index, to: &writer)
    writer.append(littleEndian: Int64(bitPattern: double.bitPattern))
    return true
  }
}

/// A place in a text, and what is read without leaving anything but text behind.
private struct PlainCursor {
  let text: UnsafeRawBufferPointer
  var at = 0

  init(text: UnsafeRawBufferPointer) { self.text = text }

  var current: UInt8 { at < text.count ? text[at] : 0 }

  mutating func skipSpace() {
    while at < text.count {
      switch text[at] {
      case 0x20, 0x09, 0x0A, 0x0D: at += 1
      default: return
      }
    }
  }

  mutating func eat(_ character: Unicode.Scalar) -> Bool {
    guard at < text.count, text[at] == UInt8(ascii: character) else { return false }
    at += 1
    return true
  }

  mutating func eat(literal: StaticString) -> Bool {
    let count = literal.utf8CodeUnitCount
    guard at + count <= text.count,
      UnsafeRawBufferPointer(rebasing: text[at..<(at + count)]).equals(literal)
    else { return false }
    at += count
    return true
  }

  /// After the quote, to the closing one.
  mutating func string(to writer: inout ByteWriter) -> Bool {
    while at < text.count {
      let byte = text[at]
      at += 1
      switch byte {
      case UInt8(ascii: "\""): return true
      case UInt8(ascii: "\\"): guard escape(to: &writer) else { return false }
      case 0..<0x20: return false
      default: writer.append(byte)
      }
    }
    return false
  }

  private mutating func escape(to writer: inout ByteWriter) -> Bool {
    let byte = current
    at += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): writer.append(byte)
    case UInt8(ascii: "b"): writer.append(0x08 as UInt8)
    case UInt8(ascii: "f"): writer.append(0x0C as UInt8)
    case UInt8(ascii: "n"): writer.append(0x0A as UInt8)
    case UInt8(ascii: "r"): writer.append(0x0D as UInt8)
    case UInt8(ascii: "t"): writer.append(0x09 as UInt8)
    case UInt8(ascii: "u"):
      guard var code = hex4() else { return false }
      if (0xD800..<0xDC00).contains(code) {
        guard eat("\\"), eat("u"), let low = hex4(), (0xDC00..<0xE000).contains(low) else {
          return false
        }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(code) else { return false }
      for unit in UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter { writer.append(unit) }
    default: return false
    }
    return true
  }

  private mutating func hex4() -> UInt32? {
    var code: UInt32 = 0
    for _ in 0..<4 {
      guard TextReader.isHex(current) else { return nil }
      let byte = current
      code = code << 4 | UInt32(byte < 0x40 ? byte - 0x30 : (byte | 0x20) - 0x61 + 10)
      at += 1
    }
    return code
  }
}
