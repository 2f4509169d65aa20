import Patterns

/// URIs (RFC 3986) and IRIs (RFC 3987), by their grammar.
enum URIFormat {
  static func accepts(
    _ text: UnsafeRawBufferPointer, isInternational: Bool, needsScheme: Bool
  ) -> Bool {
    if isPlainLink(text) { return true }
    var reader = URIReader(text, isInternational: isInternational)
    let hasScheme = reader.scheme()
    if needsScheme, !hasScheme { return false }
    return reader.hierarchy(hasScheme: hasScheme) && reader.queryAndFragment()
  }

  /// What most are: `http` or `https`, and then unreserved characters and slashes only, which are an
  /// authority and a path whatever their order.
  @inline(__always)
  private static func isPlainLink(_ text: UnsafeRawBufferPointer) -> Bool {
    guard text.count > 8, let base = text.baseAddress,
      UInt32(littleEndian: base.loadUnaligned(as: UInt32.self)) == 0x7074_7468
    else { return false }
    var at = text[4] == UInt8(ascii: "s") ? 5 : 4
    guard text[at] == UInt8(ascii: ":"), text[at &+ 1] == UInt8(ascii: "/"),
      text[at &+ 2] == UInt8(ascii: "/")
    else { return false }
    at &+= 3
    // A bit for each character of ASCII, those below 64 first: - . / 0-9, and A-Z _ a-z ~ .
    let low: UInt64 = 0x03FF_E000_0000_0000
    let high: UInt64 = 0x47FF_FFFE_87FF_FFFE
    var isFine: UInt64 = 1
    while at < text.count {
      let byte = text[at]
      isFine &= (byte < 64 ? low : byte < 128 ? high : 0) &>> UInt64(byte & 63)
      at &+= 1
    }
    return isFine & 1 == 1
  }
}

/// Safety invariant: borrows `text`, within one check of a value.
private struct URIReader {
  private let text: UnsafeRawBufferPointer
  private let isInternational: Bool
  private var at = 0

  init(_ text: UnsafeRawBufferPointer, isInternational: Bool) {
    self.text = text
    self.isInternational = isInternational
  }

  private var current: UInt8 { at < text.count ? text[at] : 0 }

  private func isCurrent(_ character: Unicode.Scalar) -> Bool {
    at < text.count && text[at] == UInt8(ascii: character)
  }

  /// A scheme with its colon, if there is one.
  mutating func scheme() -> Bool {
    guard TextReader.isLetter(current) else { return false }
    var index = 1
    while index < text.count {
      let byte = text[index]
      if byte == UInt8(ascii: ":") {
        at = index + 1
        return true
      }
      let isFine =
        TextReader.isLetter(byte) || TextReader.isDigit(byte) || byte == UInt8(ascii: "+")
        || byte == UInt8(ascii: "-") || byte == UInt8(ascii: ".")
      guard isFine else { return false }
      index += 1
    }
    return false
  }

  mutating func hierarchy(hasScheme: Bool) -> Bool {
    if isCurrent("/"), at + 1 < text.count, text[at + 1] == UInt8(ascii: "/") {
      at += 2
      guard authority() else { return false }
      // What follows is a path from a slash on, or nothing.
      return path()
    }
    if !hasScheme {
      // The first segment must not look like a scheme.
      let start = at
      guard path() else { return false }
      for index in start..<at {
        if text[index] == UInt8(ascii: "/") { break }
        if text[index] == UInt8(ascii: ":") { return false }
      }
      return true
    }
    return path()
  }

  private mutating func path() -> Bool {
    while at < text.count, text[at] != UInt8(ascii: "?"), text[at] != UInt8(ascii: "#") {
      if isCurrent("/") {
        at += 1
      } else if !character(extra: .path) {
        return false
      }
    }
    return true
  }

  mutating func queryAndFragment() -> Bool {
    if isCurrent("?") {
      at += 1
      while at < text.count, text[at] != UInt8(ascii: "#") {
        guard character(extra: .query) else { return false }
      }
    }
    if isCurrent("#") {
      at += 1
      while at < text.count {
        guard character(extra: .fragment) else { return false }
      }
    }
    return at == text.count
  }

  private mutating func authority() -> Bool {
    var end = at
    var lastAt: Int?
    while end < text.count {
      let byte = text[end]
      if byte == UInt8(ascii: "/") || byte == UInt8(ascii: "?") || byte == UInt8(ascii: "#") {
        break
      }
      if byte == UInt8(ascii: "@") {
        guard lastAt == nil else { return false }
        lastAt = end
      }
      end += 1
    }
    if let lastAt {
      while at < lastAt {
        guard character(extra: .userInformation) else { return false }
      }
      at += 1
    }
    if isCurrent("[") {
      guard literal(before: end) else { return false }
    } else {
      while at < end, !isCurrent(":") {
        guard character(extra: .host) else { return false }
      }
    }
    if isCurrent(":") {
      at += 1
      while at < end {
        guard TextReader.isDigit(current) else { return false }
        at += 1
      }
    }
    return at == end
  }

  /// An IPv6 address or a future kind in brackets.
  private mutating func literal(before end: Int) -> Bool {
    var close = at
    while close < end, text[close] != UInt8(ascii: "]") { close += 1 }
    guard close < end else { return false }
    let inner = UnsafeRawBufferPointer(rebasing: text[(at + 1)..<close])
    at = close + 1
    var reader = TextReader(inner)
    if reader.eat(letter: "v") {
      let start = reader.at
      while TextReader.isHex(reader.current) { reader.at += 1 }
      guard reader.at > start, reader.eat("."), !reader.isAtEnd else { return false }
      while !reader.isAtEnd {
        guard
          Self.isUnreserved(reader.current) || Self.isSubDelimiter(reader.current)
            || reader.current == UInt8(ascii: ":")
        else { return false }
        reader.at += 1
      }
      return true
    }
    return reader.ipv6() && reader.isAtEnd
  }

  private enum Part {
    case userInformation, host, path, query, fragment

    /// Whether an ASCII character is literal here: a bit for each, those below 64 first.
    @inline(__always)
    func allows(_ byte: UInt8) -> Bool {
      // Unreserved and sub-delimiters, that is letters, digits and -._~!$&'()*+,;= .
      let low: UInt64 = 0x2BFF_7FD2_0000_0000
      let high: UInt64 = 0x47FF_FFFE_87FF_FFFE
      let colon: UInt64 = 1 << 58
      let at: UInt64 = 1
      let slashAndMark: UInt64 = 1 << 47 | 1 << 63
      let (lower, upper): (UInt64, UInt64) =
        switch self {
        case .host: (low, high)
        case .userInformation: (low | colon, high)
        case .path: (low | colon, high | at)
        case .query, .fragment: (low | colon | slashAndMark, high | at)
        }
      return (byte < 64 ? lower : byte < 128 ? upper : 0) &>> UInt64(byte & 63) & 1 == 1
    }
  }

  /// One character that a part may contain, percent-encoded ones included.
  @inline(__always)
  private mutating func character(extra part: Part) -> Bool {
    guard at < text.count else { return false }
    let byte = text[at]
    if part.allows(byte) {
      at += 1
      return true
    }
    if byte == UInt8(ascii: "%") {
      guard at + 2 < text.count, TextReader.isHex(text[at + 1]), TextReader.isHex(text[at + 2])
      else { return false }
      at += 3
      return true
    }
    return byte >= 0x80 && isInternational && internationalCharacter(part)
  }

  /// `ucschar`, and in queries `iprivate`.
  private mutating func internationalCharacter(_ part: Part) -> Bool {
    guard let (point, length) = UTF8Decoding.codePoint(text, at) else { return false }
    at += length
    switch point {
    case 0xA0...0xD7FF, 0xF900...0xFDCF, 0xFDF0...0xFFEF: return true
    case 0xE000...0xF8FF, 0xF0000...0xFFFFD, 0x100000...0x10FFFD: return part == .query
    case 0x10000...0xEFFFF:
      return point & 0xFFFF < 0xFFFE && (point < 0xE0000 || point >= 0xE1000)
    default: return false
    }
  }

  private static func isUnreserved(_ byte: UInt8) -> Bool {
    TextReader.isLetter(byte) || TextReader.isDigit(byte) || byte == UInt8(ascii: "-")
      || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "~")
  }

  private static func isSubDelimiter(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "!"), UInt8(ascii: "$"), UInt8(ascii: "&"), UInt8(ascii: "'"),
      UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "*"), UInt8(ascii: "+"),
      UInt8(ascii: ","), UInt8(ascii: ";"), UInt8(ascii: "="):
      true
    default: false
    }
  }
}

/// URI templates (RFC 6570).
enum URITemplateFormat {
  static func accepts(_ text: UnsafeRawBufferPointer) -> Bool {
    var reader = TextReader(text)
    while !reader.isAtEnd {
      if reader.eat("{") {
        guard expression(&reader) else { return false }
      } else if reader.current >= 0x80 {
        guard let (point, length) = UTF8Decoding.codePoint(text, reader.at),
          isLiteral(point)
        else { return false }
        reader.at += length
      } else if reader.eat("%") {
        guard hexPair(&reader) else { return false }
      } else {
        switch reader.current {
        case 0...0x20, 0x7F, UInt8(ascii: "\""), UInt8(ascii: "<"), UInt8(ascii: ">"),
          UInt8(ascii: "\\"), UInt8(ascii: "^"), UInt8(ascii: "`"), UInt8(ascii: "|"),
          UInt8(ascii: "}"):
          return false
        default: reader.at += 1
        }
      }
    }
    return true
  }

  private static func isLiteral(_ point: UInt32) -> Bool {
    switch point {
    case 0xA0...0xD7FF, 0xE000...0xF8FF, 0xF900...0xFDCF, 0xFDF0...0xFFEF: true
    case 0x10000...0x10FFFF:
      point & 0xFFFF < 0xFFFE && (point < 0xE0000 || point >= 0xE1000)
    default: false
    }
  }

  private static func hexPair(_ reader: inout TextReader) -> Bool {
    for _ in 0..<2 {
      guard TextReader.isHex(reader.current) else { return false }
      reader.at += 1
    }
    return true
  }

  /// After the brace: an operator, then variables.
  private static func expression(_ reader: inout TextReader) -> Bool {
    switch reader.current {
    case UInt8(ascii: "+"), UInt8(ascii: "#"), UInt8(ascii: "."), UInt8(ascii: "/"),
      UInt8(ascii: ";"), UInt8(ascii: "?"), UInt8(ascii: "&"), UInt8(ascii: "="),
      UInt8(ascii: ","), UInt8(ascii: "!"), UInt8(ascii: "@"), UInt8(ascii: "|"):
      reader.at += 1
    default: break
    }
    repeat {
      guard variable(&reader) else { return false }
    } while reader.eat(",")
    return reader.eat("}")
  }

  private static func variable(_ reader: inout TextReader) -> Bool {
    repeat {
      let start = reader.at
      while true {
        if reader.eat("%") {
          guard hexPair(&reader) else { return false }
        } else if TextReader.isLetter(reader.current) || TextReader.isDigit(reader.current)
          || reader.current == UInt8(ascii: "_")
        {
          reader.at += 1
        } else {
          break
        }
      }
      guard reader.at > start else { return false }
    } while reader.eat(".")
    if reader.eat("*") { return true }
    if reader.eat(":") {
      guard reader.current != UInt8(ascii: "0") else { return false }
      let count = reader.digits()
      return count >= 1 && count <= 4
    }
    return true
  }
}
