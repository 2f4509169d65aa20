import BSON

/// The text that `body` writes.
func written<Failure: Error>(
  _ body: (inout ByteWriter) throws(Failure) -> Void
) throws(Failure) -> [UInt8] {
  var writer = ByteWriter(capacity: 64)
  try body(&writer)
  return Array(writer.bytes)
}

func text<Failure: Error>(
  _ body: (inout ByteWriter) throws(Failure) -> Void
) throws(Failure) -> String {
  String(decoding: try written(body), as: UTF8.self)
}

/// A document with the elements that `body` writes.
func document(_ body: (inout ByteWriter) -> Void) -> [UInt8] {
  written { writer in
    let mark = writer.beginDocument()
    body(&writer)
    writer.endDocument(mark)
  }
}

/// The document `{v: …}` with one value of any type, given as BSON bytes.
func document(of type: BSONType, _ value: [UInt8]) -> [UInt8] {
  document { writer in
    value.withUnsafeBytes { writer.appendElement(type: type, key: "v", value: $0) }
  }
}

func json(_ document: [UInt8], _ style: JSONStyle) throws -> String {
  try document.withUnsafeBytes { bytes in
    let view = try BSONView(bytes)
    return try text { writer throws(BSONError) in try writer.appendJSON(view, style: style) }
  }
}

/// The JSON of the value of `{v: …}`.
func jsonValue(_ type: BSONType, _ value: [UInt8], _ style: JSONStyle) throws -> String {
  let json = try json(document(of: type, value), style)
  return String(json.dropFirst(#"{"v":"#.count).dropLast())
}

func error(_ body: () throws -> Void) -> BSONError? {
  do {
    try body()
    return nil
  } catch {
    return error as? BSONError
  }
}

func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
  withUnsafeBytes(of: value.littleEndian) { Array($0) }
}

func littleEndian(_ value: Double) -> [UInt8] { littleEndian(value.bitPattern) }

/// A string's value: length, text, NUL.
func bsonString(_ text: String) -> [UInt8] {
  littleEndian(Int32(text.utf8.count + 1)) + Array(text.utf8) + [0]
}

func cString(_ text: String) -> [UInt8] { Array(text.utf8) + [0] }

/// Bytes from hexadecimal digits; spaces are ignored.
func hex(_ digits: String) -> [UInt8] {
  let nibbles = digits.compactMap(\.hexDigitValue)
  return stride(from: 0, to: nibbles.count, by: 2).map {
    UInt8(nibbles[$0] << 4 | nibbles[$0 + 1])
  }
}

extension ByteWriter {
  /// An element of any type, with any key without NUL.
  mutating func appendElement(type: BSONType, key: String, value: UnsafeRawBufferPointer) {
    var key = key
    key.withUTF8 {
      appendElement(type: type, key: UnsafeRawBufferPointer($0), value: value)
    }
  }

  mutating func appendElement(type: BSONType, key: String, value: [UInt8]) {
    value.withUnsafeBytes { appendElement(type: type, key: key, value: $0) }
  }
}
