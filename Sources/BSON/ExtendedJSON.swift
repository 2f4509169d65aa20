internal import JSON

/// MongoDB's Extended JSON v2 (canonical, relaxed, and the older forms that servers and tools still
/// print) as BSON bytes. For files and commands, not for events.
///
/// An object is taken for a wrapper (`{"$oid": …}`) when it has exactly a wrapper's keys; then its
/// value must fit. Anything else is a document, whatever its keys are called. A number without a
/// wrapper is an int32 or int64 if it is written as an integer and fits, else a double.
public enum ExtendedJSON {
  /// What is wrong with a text that should be one document, and where in it.
  public struct Malformed: Error, Equatable, Sendable, CustomStringConvertible {
    /// A JSON pointer to the value; empty for the text as a whole.
    public var pointer: String
    public var message: String
    public var description: String { pointer.isEmpty ? message : "at \(pointer): \(message)" }
  }

  /// A document may be nested 200 levels deep in a server, and wrappers add some.
  static let maximumDepth = 256

  /// Reads one document. Keys keep their order and may repeat.
  public static func bson(_ text: some StringProtocol) throws(Malformed) -> [UInt8] {
    let json: JSONValue
    do {
      json = try JSONValue(parsing: text.utf8, maximumDepth: maximumDepth)
    } catch {
      throw Malformed(pointer: "", message: "\(error)")
    }
    guard case .object(let members) = json else {
      throw Malformed(pointer: "", message: "not an object")
    }
    var reader = ExtendedJSONReader()
    try reader.document(members)
    return Array(reader.out.bytes)
  }
}

/// Writes BSON while it walks the text.
struct ExtendedJSONReader: ~Copyable {
  var out = ByteWriter(capacity: 1024)
  private var path: [String] = []

  func fail(_ message: String) -> ExtendedJSON.Malformed {
    let pointer = path.map { key in
      "/" + key.flatMap { $0 == "~" ? "~0" : $0 == "/" ? "~1" : String($0) }
    }
    return ExtendedJSON.Malformed(pointer: pointer.joined(), message: message)
  }

  mutating func document(_ members: [JSONValue.Member]) throws(ExtendedJSON.Malformed) {
    let start = out.beginDocument()
    for member in members {
      path.append(member.key)
      guard !member.key.utf8.contains(0) else { throw fail("a key can't hold a zero byte") }
      try element(Array(member.key.utf8), member.value)
      path.removeLast()
    }
    out.endDocument(start)
  }

  private mutating func array(_ items: [JSONValue]) throws(ExtendedJSON.Malformed) {
    let start = out.beginDocument()
    for (index, item) in items.enumerated() {
      path.append(String(index))
      try element(Array(String(index).utf8), item)
      path.removeLast()
    }
    out.endDocument(start)
  }

  private mutating func element(
    _ key: [UInt8], _ value: JSONValue
  ) throws(ExtendedJSON.Malformed) {
    switch value {
    case .null: header(.null, key)
    case .bool(let flag):
      header(.bool, key)
      out.append(UInt8(flag ? 1 : 0))
    case .number(let digits): try number(key, digits)
    case .string(let text): string(.string, key, text)
    case .array(let items):
      header(.array, key)
      try array(items)
    case .object(let members):
      if try wrapped(key, members) { return }
      header(.document, key)
      try document(members)
    }
  }

  mutating func header(_ type: BSONType, _ key: [UInt8]) {
    key.withUnsafeBytes { out.appendHeader(type, key: $0) }
  }

  mutating func string(_ type: BSONType, _ key: [UInt8], _ text: String) {
    header(type, key)
    append(text)
  }

  /// Length, text, zero byte.
  mutating func append(_ text: String) {
    Array(text.utf8).withUnsafeBytes { out.appendStringValue($0) }
  }

  mutating func double(_ key: [UInt8], _ value: Double) {
    header(.double, key)
    out.append(littleEndian: Int64(bitPattern: value.bitPattern))
  }

  mutating func int64(_ type: BSONType, _ key: [UInt8], _ value: Int64) {
    header(type, key)
    out.append(littleEndian: value)
  }

  private mutating func number(
    _ key: [UInt8], _ digits: String
  ) throws(ExtendedJSON.Malformed) {
    if let value = Int32(digits) {
      header(.int32, key)
      out.append(littleEndian: value)
    } else if let value = Int64(digits) {
      int64(.int64, key, value)
    } else if let value = Double(digits) {
      double(key, value)
    } else {
      throw fail("\(digits) is no number")
    }
  }
}
