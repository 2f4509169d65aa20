package import Bytes

/// Takes a JSON text (RFC 8259) apart: the one tokenizer, for all that is made of such texts.
///
/// Safety invariant: borrows `text`, which must outlive it. Reads nothing beyond its end: `at <= text.count`.
///
/// Inlinable, since its readers are in other modules and call it for every few bytes.
package struct JSONScanner {
  @usableFromInline let text: UnsafeRawBufferPointer
  @usableFromInline var at = 0

  @inlinable
  package init(_ text: UnsafeRawBufferPointer) { self.text = text }

  /// How many bytes are behind.
  @inlinable
  package var offset: Int { at }
  @inlinable
  package var isAtEnd: Bool { at == text.count }
  /// The byte here; 0 at the end (a NUL in the text is no token either).
  @inlinable
  package var current: UInt8 { at < text.count ? text[at] : 0 }

  package func fail(_ message: String) -> JSONError { JSONError(message: message, offset: at) }

  /// Skips the byte order mark that some editors write.
  package mutating func skipMark() {
    if text.count >= 3, text[0] == 0xEF, text[1] == 0xBB, text[2] == 0xBF { at = 3 }
  }

  @inlinable
  package mutating func skipSpace() {
    while at < text.count {
      switch text[at] {
      case 0x20, 0x0A, 0x0D, 0x09: at &+= 1
      default: return
      }
    }
  }

  /// Whether this character comes next; then it is behind.
  @inlinable
  package mutating func eat(_ character: Unicode.Scalar) -> Bool {
    guard at < text.count, text[at] == UInt8(truncatingIfNeeded: character.value) else {
      return false
    }
    at &+= 1
    return true
  }

  package mutating func literal(_ word: StaticString) throws(JSONError) {
    for number in 0..<word.utf8CodeUnitCount {
      guard current == word.utf8Start[number] else { throw fail("expected \(word)") }
      at &+= 1
    }
  }

  /// Only white space may follow.
  package mutating func finish() throws(JSONError) {
    skipSpace()
    guard isAtEnd else { throw fail("text after the end of the value") }
  }

  // MARK: Objects and arrays

  /// Whether an object or array, whose opening bracket is behind, has another member or element. False: its
  /// closing bracket is behind.
  @inlinable
  package mutating func hasNext(
    _ isFirst: inout Bool, until close: Unicode.Scalar
  ) throws(JSONError) -> Bool {
    skipSpace()
    if isFirst {
      isFirst = false
      return !eat(close)
    }
    if eat(",") { return true }
    guard eat(close) else { throw fail("expected ',' or '\(close)'") }
    return false
  }

  /// Before the name of a member.
  @inlinable
  package mutating func beginName() throws(JSONError) {
    skipSpace()
    guard current == UInt8(ascii: "\"") else { throw fail("expected a member name") }
  }

  /// Between the name of a member and its value.
  @inlinable
  package mutating func endName() throws(JSONError) {
    skipSpace()
    guard eat(":") else { throw fail("expected ':'") }
  }

  // MARK: Strings

  /// The string whose opening quote is here, if it has no escapes; else nil, and nothing was read. Its bytes
  /// need not be UTF-8.
  @inlinable
  package mutating func plainString() throws(JSONError) -> UnsafeRawBufferPointer? {
    let from = at &+ 1
    var end = from
    while end < text.count {
      let byte = text[end]
      if byte == UInt8(ascii: "\"") {
        at = end &+ 1
        return UnsafeRawBufferPointer(rebasing: text[from..<end])
      }
      if byte == UInt8(ascii: "\\") { return nil }
      guard byte >= 0x20 else { break }
      end &+= 1
    }
    at = end
    throw fail(
      end < text.count
        ? "a control character inside a string" : "a string without closing quote")
  }

  /// Appends the string whose opening quote is here. Its bytes need not be UTF-8.
  @inlinable
  package mutating func string(into out: inout ByteWriter) throws(JSONError) {
    at &+= 1
    var from = at
    while at < text.count {
      switch text[at] {
      case UInt8(ascii: "\""):
        out.append(UnsafeRawBufferPointer(rebasing: text[from..<at]))
        at &+= 1
        return
      case UInt8(ascii: "\\"):
        out.append(UnsafeRawBufferPointer(rebasing: text[from..<at]))
        at &+= 1
        try escape(into: &out)
        from = at
      case 0..<0x20: throw fail("a control character inside a string")
      default: at &+= 1
      }
    }
    throw fail("a string without closing quote")
  }

  @usableFromInline
  mutating func escape(into out: inout ByteWriter) throws(JSONError) {
    guard !isAtEnd else { throw fail("an escape without a character") }
    let character = text[at]
    switch character {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): out.append(character)
    case UInt8(ascii: "b"): out.append(0x08 as UInt8)
    case UInt8(ascii: "f"): out.append(0x0C as UInt8)
    case UInt8(ascii: "n"): out.append(0x0A as UInt8)
    case UInt8(ascii: "r"): out.append(0x0D as UInt8)
    case UInt8(ascii: "t"): out.append(0x09 as UInt8)
    case UInt8(ascii: "u"):
      at &+= 1
      let scalar = try codePoint()
      for unit in UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter { out.append(unit) }
      return
    default: throw fail("an unknown escape")
    }
    at &+= 1
  }

  /// What the digits behind `\u` name, with those of the second half of a surrogate pair.
  private mutating func codePoint() throws(JSONError) -> Unicode.Scalar {
    var code = try fourDigits()
    if (0xD800..<0xDC00).contains(code) {
      guard eat("\\"), eat("u") else { throw fail("half a surrogate pair") }
      let low = try fourDigits()
      guard (0xDC00..<0xE000).contains(low) else { throw fail("half a surrogate pair") }
      code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
    }
    guard let scalar = Unicode.Scalar(code) else { throw fail("half a surrogate pair") }
    return scalar
  }

  private mutating func fourDigits() throws(JSONError) -> UInt32 {
    var code: UInt32 = 0
    for _ in 0..<4 {
      let digit: UInt8
      switch current {
      case let byte where byte &- 0x30 < 10: digit = byte &- 0x30
      case let byte where (byte | 0x20) &- 0x61 < 6: digit = (byte | 0x20) &- 0x61 &+ 10
      default: throw fail("expected four hexadecimal digits")
      }
      code = code << 4 | UInt32(digit)
      at &+= 1
    }
    return code
  }

  // MARK: Numbers

  /// The digits of the number here, and whether they have neither fraction nor exponent.
  @inlinable
  package mutating func number() throws(JSONError) -> (
    digits: UnsafeRawBufferPointer, isInteger: Bool
  ) {
    let from = at
    var isInteger = true
    _ = eat("-")
    if !eat("0") { try digits() }
    if eat(".") {
      isInteger = false
      try digits()
    }
    if eat("e") || eat("E") {
      isInteger = false
      _ = eat("+") || eat("-")
      try digits()
    }
    return (UnsafeRawBufferPointer(rebasing: text[from..<at]), isInteger)
  }

  @inlinable
  mutating func digits() throws(JSONError) {
    let from = at
    while at < text.count, text[at] &- 0x30 < 10 { at &+= 1 }
    guard at > from else { throw fail("expected a digit") }
  }
}
