/// Mailboxes of RFC 5321, and of RFC 6531 where international: `local@domain`, not the forms in
/// the header of a mail.
enum EmailFormat {
  static func accepts(_ text: UnsafeRawBufferPointer, isInternational: Bool) -> Bool {
    var reader = TextReader(text)
    let isQuoted = reader.current == UInt8(ascii: "\"")
    let hasLocal =
      isQuoted
      ? quoted(&reader, isInternational: isInternational)
      : dotted(&reader, isInternational: isInternational)
    guard hasLocal, reader.at <= 64, reader.eat("@") else { return false }
    let domain = UnsafeRawBufferPointer(rebasing: text[reader.at...])
    if reader.eat("[") { return literal(&reader) }
    return HostnameFormat.hasLabels(domain, isInternational: isInternational)
  }

  private static func dotted(_ reader: inout TextReader, isInternational: Bool) -> Bool {
    repeat {
      let start = reader.at
      while !reader.isAtEnd, isAtom(reader.current, isInternational: isInternational) {
        reader.at += 1
      }
      guard reader.at > start else { return false }
    } while reader.eat(".")
    return true
  }

  private static func isAtom(_ byte: UInt8, isInternational: Bool) -> Bool {
    if TextReader.isLetter(byte) || TextReader.isDigit(byte) { return true }
    switch byte {
    case UInt8(ascii: "!"), UInt8(ascii: "#"), UInt8(ascii: "$"), UInt8(ascii: "%"),
      UInt8(ascii: "&"), UInt8(ascii: "'"), UInt8(ascii: "*"), UInt8(ascii: "+"),
      UInt8(ascii: "-"), UInt8(ascii: "/"), UInt8(ascii: "="), UInt8(ascii: "?"),
      UInt8(ascii: "^"), UInt8(ascii: "_"), UInt8(ascii: "`"), UInt8(ascii: "{"),
      UInt8(ascii: "|"), UInt8(ascii: "}"), UInt8(ascii: "~"):
      return true
    default: return byte >= 0x80 && isInternational
    }
  }

  private static func quoted(_ reader: inout TextReader, isInternational: Bool) -> Bool {
    reader.at += 1
    while !reader.isAtEnd {
      if reader.eat("\"") { return true }
      if reader.eat("\\") {
        guard (0x20...0x7E).contains(reader.current) else { return false }
      } else if reader.current >= 0x80 {
        guard isInternational else { return false }
      } else {
        guard (0x20...0x7E).contains(reader.current) else { return false }
      }
      reader.at += 1
    }
    return false
  }

  /// After the bracket.
  private static func literal(_ reader: inout TextReader) -> Bool {
    let start = reader.at
    if reader.eat(letter: "i"), reader.eat(letter: "p"), reader.eat(letter: "v"), reader.eat("6"),
      reader.eat(":")
    {
      return reader.ipv6() && reader.eat("]") && reader.isAtEnd
    }
    reader.at = start
    return reader.ipv4() && reader.eat("]") && reader.isAtEnd
  }
}
