import JSONSchema

/// The part of a format on which validators agree. Beyond it, each draws its own line (host names with hyphens in their
/// third and fourth place, addresses with quotes, leap seconds, …), and a schema that is inferred has to be
/// right for all of them.
enum CommonFormat {
  /// Whether a text that has a format, as it is understood here, has it everywhere.
  static func accepts(_ text: UnsafeRawBufferPointer, _ format: StringFormat) -> Bool {
    switch format {
    case .email: isEmail(text)
    case .uri: isURI(text)
    case .dateTime: isDateTime(text)
    case .date: !text.starts(with: "0000".utf8)
    default: true
    }
  }

  // MARK: Times

  private static func isDateTime(_ text: UnsafeRawBufferPointer) -> Bool {
    // `2026-11-23T13:00:00`, perhaps a fraction, then `Z` or `+01:00`.
    guard text.count >= 20, !text.starts(with: "0000".utf8), text[10] == UInt8(ascii: "T"),
      // No leap second.
      text[17] != UInt8(ascii: "6")
    else { return false }
    var rest = text[19...]
    if rest.first == UInt8(ascii: ".") {
      let fraction = rest.dropFirst().prefix { isDigit($0) }
      guard (1...9).contains(fraction.count) else { return false }
      rest = rest[fraction.endIndex...]
    }
    return rest.elementsEqual("Z".utf8) || rest.count == 6 && !rest.starts(with: "-00:00".utf8)
  }

  // MARK: Addresses

  private static func isEmail(_ text: UnsafeRawBufferPointer) -> Bool {
    let parts = text.split(separator: UInt8(ascii: "@"), omittingEmptySubsequences: false)
    guard parts.count == 2, text.count <= 254, (1...64).contains(parts[0].count) else {
      return false
    }
    let words = parts[0].split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    let areWords = words.allSatisfy { word in
      !word.isEmpty && word.allSatisfy { isAlphanumeric($0) || "_%+-".utf8.contains($0) }
    }
    return areWords && isHost(parts[1], needsDot: true)
  }

  private static func isHost(_ host: Slice<UnsafeRawBufferPointer>, needsDot: Bool) -> Bool {
    let labels = host.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard labels.count >= (needsDot ? 2 : 1), host.count <= 253 else { return false }
    let areLabels = labels.allSatisfy { label in
      let hyphen = UInt8(ascii: "-")
      return (1...63).contains(label.count)
        && label.allSatisfy { isAlphanumeric($0) || $0 == hyphen }
        && label.first != hyphen && label.last != hyphen
        && !label.dropFirst(2).prefix(2).elementsEqual("--".utf8)
    }
    return areLabels && (!needsDot || labels.last?.allSatisfy { isLetter($0) } == true)
  }

  private static func isURI(_ text: UnsafeRawBufferPointer) -> Bool {
    guard let colon = text.firstIndex(of: UInt8(ascii: ":")), colon > 0, colon + 1 < text.count
    else { return false }
    var rest = text[(colon + 1)...]
    guard areURICharacters(rest), rest.count(where: { $0 == UInt8(ascii: "#") }) <= 1 else {
      return false
    }
    guard rest.starts(with: "//".utf8) else { return true }
    rest = rest.dropFirst(2)
    let authority = rest.prefix { !"/?#".utf8.contains($0) }
    let pieces = authority.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
    guard let host = pieces.first, pieces.count <= 2, isHost(host, needsDot: false) else {
      return false
    }
    guard pieces.count == 2 else { return true }
    return (1...4).contains(pieces[1].count) && pieces[1].allSatisfy { isDigit($0) }
  }

  private static func areURICharacters(_ text: Slice<UnsafeRawBufferPointer>) -> Bool {
    var hex = 0
    for byte in text {
      if hex > 0 {
        guard isDigit(byte) || (byte | 0x20) &- 0x61 < 6 else { return false }
        hex -= 1
      } else if byte == UInt8(ascii: "%") {
        hex = 2
      } else {
        guard isAlphanumeric(byte) || "-._~/?#:@!$&'()*+,;=".utf8.contains(byte) else {
          return false
        }
      }
    }
    return hex == 0
  }

  private static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }
  private static func isLetter(_ byte: UInt8) -> Bool { (byte | 0x20) &- 0x61 < 26 }
  private static func isAlphanumeric(_ byte: UInt8) -> Bool { isDigit(byte) || isLetter(byte) }
}
