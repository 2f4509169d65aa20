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
    var parser = JSONParser(bytes: Array(bytes), maximumDepth: maximumDepth)
    self = try parser.document()
  }

  public init(parsing text: String) throws(JSONError) {
    try self.init(parsing: text.utf8)
  }
}

private struct JSONParser {
  let bytes: [UInt8]
  let maximumDepth: Int
  var at = 0

  init(bytes: [UInt8], maximumDepth: Int) {
    self.bytes = bytes
    self.maximumDepth = maximumDepth
  }

  func fail(_ message: String) -> JSONError { JSONError(message: message, offset: at) }

  var current: UInt8? { at < bytes.count ? bytes[at] : nil }

  mutating func skipSpace() {
    while let c = current, c == 0x20 || c == 0x0A || c == 0x0D || c == 0x09 { at += 1 }
  }

  mutating func document() throws(JSONError) -> JSONValue {
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { at = 3 }
    let value = try self.value(depth: 0)
    skipSpace()
    guard current == nil else { throw fail("text after the end of the value") }
    return value
  }

  mutating func value(depth: Int) throws(JSONError) -> JSONValue {
    guard depth < maximumDepth else { throw fail("nested too deep") }
    skipSpace()
    guard let c = current else { throw fail("expected a value, but the text ends") }
    switch c {
    case UInt8(ascii: "{"): return try object(depth: depth)
    case UInt8(ascii: "["): return try array(depth: depth)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"):
      try literal("true")
      return .bool(true)
    case UInt8(ascii: "f"):
      try literal("false")
      return .bool(false)
    case UInt8(ascii: "n"):
      try literal("null")
      return .null
    default: return .number(try number())
    }
  }

  mutating func literal(_ word: String) throws(JSONError) {
    for expected in word.utf8 {
      guard current == expected else { throw fail("expected \(word)") }
      at += 1
    }
  }

  mutating func object(depth: Int) throws(JSONError) -> JSONValue {
    at += 1
    var members: [JSONValue.Member] = []
    skipSpace()
    if current == UInt8(ascii: "}") {
      at += 1
      return .object(members)
    }
    while true {
      skipSpace()
      guard current == UInt8(ascii: "\"") else { throw fail("expected a member name") }
      let key = try string()
      skipSpace()
      guard current == UInt8(ascii: ":") else { throw fail("expected ':'") }
      at += 1
      members.append(JSONValue.Member(key, try value(depth: depth + 1)))
      skipSpace()
      if current == UInt8(ascii: ",") {
        at += 1
      } else if current == UInt8(ascii: "}") {
        at += 1
        return .object(members)
      } else {
        throw fail("expected ',' or '}'")
      }
    }
  }

  mutating func array(depth: Int) throws(JSONError) -> JSONValue {
    at += 1
    var elements: [JSONValue] = []
    skipSpace()
    if current == UInt8(ascii: "]") {
      at += 1
      return .array(elements)
    }
    while true {
      elements.append(try value(depth: depth + 1))
      skipSpace()
      if current == UInt8(ascii: ",") {
        at += 1
      } else if current == UInt8(ascii: "]") {
        at += 1
        return .array(elements)
      } else {
        throw fail("expected ',' or ']'")
      }
    }
  }

  mutating func digits() throws(JSONError) {
    let from = at
    while let c = current, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(c) { at += 1 }
    guard at > from else { throw fail("expected a digit") }
  }

  mutating func number() throws(JSONError) -> String {
    let from = at
    if current == UInt8(ascii: "-") { at += 1 }
    if current == UInt8(ascii: "0") { at += 1 } else { try digits() }
    if current == UInt8(ascii: ".") {
      at += 1
      try digits()
    }
    if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
      at += 1
      if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { at += 1 }
      try digits()
    }
    return String(decoding: bytes[from..<at], as: UTF8.self)
  }

  mutating func string() throws(JSONError) -> String {
    at += 1
    var out: [UInt8] = []
    while true {
      guard let c = current else { throw fail("a string without closing quote") }
      at += 1
      switch c {
      case UInt8(ascii: "\""):
        guard let text = String(validating: out, as: UTF8.self) else {
          throw fail("a string that is not UTF-8")
        }
        return text
      case UInt8(ascii: "\\"): try escape(into: &out)
      case 0..<0x20: throw fail("a control character inside a string")
      default: out.append(c)
      }
    }
  }

  mutating func escape(into out: inout [UInt8]) throws(JSONError) {
    guard let c = current else { throw fail("an escape without a character") }
    at += 1
    switch c {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): out.append(c)
    case UInt8(ascii: "b"): out.append(0x08)
    case UInt8(ascii: "f"): out.append(0x0C)
    case UInt8(ascii: "n"): out.append(0x0A)
    case UInt8(ascii: "r"): out.append(0x0D)
    case UInt8(ascii: "t"): out.append(0x09)
    case UInt8(ascii: "u"):
      var code = try hex4()
      if (0xD800..<0xDC00).contains(code) {
        guard current == UInt8(ascii: "\\"), at + 1 < bytes.count,
          bytes[at + 1] == UInt8(ascii: "u")
        else { throw fail("half a surrogate pair") }
        at += 2
        let low = try hex4()
        guard (0xDC00..<0xE000).contains(low) else { throw fail("half a surrogate pair") }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(code) else { throw fail("half a surrogate pair") }
      out.append(contentsOf: String(Character(scalar)).utf8)
    default: throw fail("an unknown escape")
    }
  }

  mutating func hex4() throws(JSONError) -> UInt32 {
    var code: UInt32 = 0
    for _ in 0..<4 {
      guard let c = current, let digit = Character(Unicode.Scalar(c)).hexDigitValue else {
        throw fail("expected four hexadecimal digits")
      }
      code = code << 4 | UInt32(digit)
      at += 1
    }
    return code
  }
}
