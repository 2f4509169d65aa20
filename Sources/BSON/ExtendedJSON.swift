internal import JSON

/// Reads MongoDB's Extended JSON v2 (canonical, relaxed, and older formats that servers and tools still
/// print) as BSON. For files and commands, not for events.
///
/// An object with exactly a wrapper's keys (`{"$oid": …}`) is that wrapper and must have a valid value.
/// Any other object is a document. A number without a wrapper is an int32 or int64 if it is written as
/// an integer and fits, otherwise a double.
public enum ExtendedJSON {
  /// Invalid Extended JSON: what is wrong, and where.
  public struct Malformed: Error, Equatable, Sendable, CustomStringConvertible {
    /// A JSON pointer to the value; empty for the whole text.
    public var pointer: String
    public var message: String
    public var description: String { pointer.isEmpty ? message : "at \(pointer): \(message)" }
  }

  /// The origin of the text.
  public enum Dialect: Sendable {
    /// Written by people or any tool: an object with a wrapper's keys must be a valid wrapper.
    case any
    /// Printed from BSON by a program, in v2: an invalid wrapper is a document that looks like one, such as
    /// `{"$oid": "unknown"}` or `{"$regex": "^a", "$options": "i"}`.
    case printed
  }

  /// Reads one document. Keys keep their order and may repeat. In the dialect `printed`, a lone
  /// `{"$binary": …}` is the document's BSON itself.
  public static func bson(
    _ text: some StringProtocol, as dialect: Dialect = .any
  ) throws(Malformed) -> [UInt8] {
    let json: JSONValue
    do {
      json = try JSONValue(parsing: text.utf8)
    } catch {
      throw Malformed(pointer: "", message: "\(error)")
    }
    guard case .object(let members) = json else {
      throw Malformed(pointer: "", message: "not an object")
    }
    if dialect == .printed, members.count == 1, members[0].key == "$binary",
      let base64 = members[0].value["base64"]?.stringValue, let bytes = Base64.decode(base64),
      bytes.withUnsafeBytes({ (try? BSONView($0)) != nil })
    {
      return bytes
    }
    var reader = ExtendedJSONReader(dialect)
    try reader.document(members)
    return Array(reader.out.bytes)
  }
}

/// Writes BSON while it reads the JSON.
struct ExtendedJSONReader: ~Copyable {
  var out = ByteWriter(capacity: 1024)
  private var path: [String] = []
  private let dialect: ExtendedJSON.Dialect

  init(_ dialect: ExtendedJSON.Dialect) { self.dialect = dialect }

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
      guard !member.key.utf8.contains(0) else { throw fail("a key can't contain a NUL byte") }
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
      if try isWrapper(key, members) { return }
      header(.document, key)
      try document(members)
    }
  }

  /// Writes the element if the object is a wrapper; otherwise returns false.
  private mutating func isWrapper(
    _ key: [UInt8], _ members: [JSONValue.Member]
  ) throws(ExtendedJSON.Malformed) -> Bool {
    guard let first = members.first, members.count <= 2 else { return false }
    guard members.count == 1 else { return try double(key, members, dialect) }
    guard dialect == .printed else { return try single(key, first) }
    let start = out.count
    do {
      return try single(key, first)
    } catch {
      out.truncate(to: start)
      return false
    }
  }

  mutating func header(_ type: BSONType, _ key: [UInt8]) {
    key.withUnsafeBytes { out.appendHeader(type, key: $0) }
  }

  mutating func string(_ type: BSONType, _ key: [UInt8], _ text: String) {
    header(type, key)
    append(text)
  }

  /// Length, text, NUL.
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
      throw fail("\(digits) is not a number")
    }
  }
}
