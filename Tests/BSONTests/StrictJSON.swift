/// The tokens of a JSON text, without whitespace.
enum JSONToken: Equatable {
  case punctuation(UInt8)
  /// Decoded.
  case string([UInt8])
  /// `true`, `false`, `null` or a number, verbatim.
  case literal(String)
}

/// A strict reader of RFC 8259: no trailing commas, no leading zeros, no control characters or
/// malformed UTF-8 in strings, no lone surrogates, nothing after the value.
struct StrictJSON {
  struct Malformed: Error {
    var offset: Int
    var text: String
  }

  private let bytes: [UInt8]
  private var at = 0
  private var tokens: [JSONToken] = []

  static func tokens(_ bytes: [UInt8]) throws -> [JSONToken] {
    var reader = StrictJSON(bytes: bytes)
    reader.skipSpace()
    try reader.value()
    guard reader.at == bytes.count else { throw reader.malformed }
    return reader.tokens
  }

  private init(bytes: [UInt8]) { self.bytes = bytes }

  private var malformed: Malformed {
    Malformed(offset: at, text: String(decoding: bytes, as: UTF8.self))
  }

  private var current: UInt8 { at < bytes.count ? bytes[at] : 0 }

  private static func isSpace(_ byte: UInt8) -> Bool {
    byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D
  }

  private mutating func skipSpace() {
    while Self.isSpace(current) { at += 1 }
  }

  private mutating func punctuation(_ byte: UInt8) -> Bool {
    guard current == byte else { return false }
    at += 1
    tokens.append(.punctuation(byte))
    skipSpace()
    return true
  }

  private mutating func value() throws {
    if punctuation(UInt8(ascii: "{")) {
      if punctuation(UInt8(ascii: "}")) { return }
      repeat {
        try string()
        guard punctuation(UInt8(ascii: ":")) else { throw malformed }
        try value()
      } while punctuation(UInt8(ascii: ","))
      guard punctuation(UInt8(ascii: "}")) else { throw malformed }
    } else if punctuation(UInt8(ascii: "[")) {
      if punctuation(UInt8(ascii: "]")) { return }
      repeat { try value() } while punctuation(UInt8(ascii: ","))
      guard punctuation(UInt8(ascii: "]")) else { throw malformed }
    } else if current == UInt8(ascii: "\"") {
      try string()
    } else {
      try literal()
    }
  }

  private mutating func literal() throws {
    let start = at
    while at < bytes.count, !Self.isSpace(bytes[at]), ![0x2C, 0x5D, 0x7D].contains(bytes[at]) {
      at += 1
    }
    let text = String(decoding: bytes[start..<at], as: UTF8.self)
    guard ["true", "false", "null"].contains(text) || Self.isNumber(bytes[start..<at]) else {
      throw malformed
    }
    tokens.append(.literal(text))
    skipSpace()
  }

  private static func isNumber(_ text: ArraySlice<UInt8>) -> Bool {
    var rest = text
    func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
    func digits() -> Int {
      let run = rest.prefix(while: isDigit)
      rest = rest.dropFirst(run.count)
      return run.count
    }
    if rest.first == UInt8(ascii: "-") { rest = rest.dropFirst() }
    let startsWithZero = rest.first == UInt8(ascii: "0")
    let whole = digits()
    guard whole == 1 || (whole > 1 && !startsWithZero) else { return false }
    if rest.first == UInt8(ascii: ".") {
      rest = rest.dropFirst()
      guard digits() > 0 else { return false }
    }
    if rest.first == UInt8(ascii: "e") || rest.first == UInt8(ascii: "E") {
      rest = rest.dropFirst()
      if rest.first == UInt8(ascii: "+") || rest.first == UInt8(ascii: "-") {
        rest = rest.dropFirst()
      }
      guard digits() > 0 else { return false }
    }
    return rest.isEmpty
  }

  private mutating func string() throws {
    guard current == UInt8(ascii: "\"") else { throw malformed }
    at += 1
    var decoded: [UInt8] = []
    while current != UInt8(ascii: "\"") {
      guard at < bytes.count, current >= 0x20 else { throw malformed }
      if current == UInt8(ascii: "\\") {
        try escape(into: &decoded)
      } else {
        decoded.append(current)
        at += 1
      }
    }
    at += 1
    guard String(validating: decoded, as: UTF8.self) != nil else { throw malformed }
    tokens.append(.string(decoded))
    skipSpace()
  }

  private static let simpleEscapes: [UInt8: UInt8] = [
    0x22: 0x22, 0x5C: 0x5C, 0x2F: 0x2F, 0x62: 8, 0x66: 12, 0x6E: 10, 0x72: 13, 0x74: 9,
  ]

  private mutating func escape(into decoded: inout [UInt8]) throws {
    at += 1
    let kind = current
    at += 1
    if let byte = Self.simpleEscapes[kind] {
      decoded.append(byte)
    } else {
      // Escapes of characters beyond U+007F are valid JSON, but the writer doesn't use them.
      let digits = String(decoding: bytes[at..<min(at + 4, bytes.count)], as: UTF8.self)
      guard kind == UInt8(ascii: "u"), digits.utf8.count == 4,
        let code = UInt8(digits, radix: 16), code < 0x80
      else { throw malformed }
      at += 4
      decoded.append(code)
    }
  }
}
