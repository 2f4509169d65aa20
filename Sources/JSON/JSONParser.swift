internal import Bytes

/// Invalid JSON: what is wrong, and at which byte.
public struct JSONError: Error, Equatable, Sendable, CustomStringConvertible {
  public var message: String
  public var offset: Int
  public var description: String { "invalid JSON at byte \(offset): \(message)" }
}

extension JSONValue {
  /// The default limit of nesting, enough for everything that is published: 256 levels of BSON, each of
  /// which may be two in Extended JSON (code with scope), and the levels of message and values.
  public static let maximumDepth = 2 * 256 + 16

  /// Reads one RFC 8259 text; only white space may follow. Skips a leading byte order mark, which some
  /// editors write.
  public init(
    parsing bytes: some Sequence<UInt8>, maximumDepth: Int = JSONValue.maximumDepth
  ) throws(JSONError) {
    let copy = Array(bytes)
    var result: Result<JSONValue, JSONError>?
    copy.withUnsafeBytes { text in
      var parser = JSONParser(scanner: JSONScanner(text), maximumDepth: maximumDepth)
      result = Result { () throws(JSONError) in try parser.document() }
    }
    self = try result.unsafelyUnwrapped.get()
  }

  public init(parsing text: String) throws(JSONError) {
    try self.init(parsing: text.utf8)
  }
}

/// Borrows the text of its scanner.
private struct JSONParser: ~Copyable {
  var scanner: JSONScanner
  let maximumDepth: Int
  private var scratch = ByteWriter(capacity: 64)

  init(scanner: JSONScanner, maximumDepth: Int) {
    self.scanner = scanner
    self.maximumDepth = maximumDepth
  }

  mutating func document() throws(JSONError) -> JSONValue {
    scanner.skipMark()
    let value = try self.value(depth: 0)
    try scanner.finish()
    return value
  }

  private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
    guard depth < maximumDepth else { throw scanner.fail("nested too deep") }
    scanner.skipSpace()
    guard !scanner.isAtEnd else { throw scanner.fail("expected a value, but the text ends") }
    switch scanner.current {
    case UInt8(ascii: "{"): return try object(depth: depth)
    case UInt8(ascii: "["): return try array(depth: depth)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"):
      try scanner.literal("true")
      return .bool(true)
    case UInt8(ascii: "f"):
      try scanner.literal("false")
      return .bool(false)
    case UInt8(ascii: "n"):
      try scanner.literal("null")
      return .null
    default: return .number(String(decoding: try scanner.number().digits, as: UTF8.self))
    }
  }

  private mutating func object(depth: Int) throws(JSONError) -> JSONValue {
    _ = scanner.eat("{")
    var members: [JSONValue.Member] = []
    var isFirst = true
    while try scanner.hasNext(&isFirst, until: "}") {
      try scanner.beginName()
      let key = try string()
      try scanner.endName()
      members.append(JSONValue.Member(key, try value(depth: depth + 1)))
    }
    return .object(members)
  }

  private mutating func array(depth: Int) throws(JSONError) -> JSONValue {
    _ = scanner.eat("[")
    var elements: [JSONValue] = []
    var isFirst = true
    while try scanner.hasNext(&isFirst, until: "]") {
      elements.append(try value(depth: depth + 1))
    }
    return .array(elements)
  }

  private mutating func string() throws(JSONError) -> String {
    let text: String?
    if let plain = try scanner.plainString() {
      text = String(validating: plain, as: UTF8.self)
    } else {
      scratch.removeAll()
      try scanner.string(into: &scratch)
      text = String(validating: scratch.bytes, as: UTF8.self)
    }
    guard let text else { throw scanner.fail("a string that is not UTF-8") }
    return text
  }
}
