import Patterns

/// Host names (RFC 1123), whose labels may be encoded international ones, and international host
/// names (RFC 5890 to 5893).
enum HostnameFormat {
  private static let maximumLength = 253
  private static let maximumLabel = 63

  static func accepts(_ text: UnsafeRawBufferPointer) -> Bool {
    // Only an encoded label needs more than a look at the bytes.
    guard let hasEncoded = scan(text) else { return false }
    return !hasEncoded || acceptsLabels(text, isInternational: false)
  }

  static func acceptsInternational(_ text: UnsafeRawBufferPointer) -> Bool {
    // A character takes one byte at least if encoded, and at most four if not.
    text.count <= 4 * maximumLength && acceptsLabels(text, isInternational: true)
  }

  /// Labels of letters, digits and hyphens, as an e-mail address has them. Where international, any
  /// character beyond ASCII counts as a letter.
  static func hasLabels(_ text: UnsafeRawBufferPointer, isInternational: Bool) -> Bool {
    if !isInternational { return scan(text) != nil }
    guard !text.isEmpty, text.count <= 255 else { return false }
    var start = 0
    for index in 0...text.count where index == text.count || text[index] == UInt8(ascii: ".") {
      let label = UnsafeRawBufferPointer(rebasing: text[start..<index])
      guard isLabel(label, allows: 0xFF) else { return false }
      start = index + 1
    }
    return true
  }

  /// Nil if this is no host name by its bytes; else whether a label starts with "xn--".
  private static func scan(_ text: UnsafeRawBufferPointer) -> Bool? {
    guard !text.isEmpty, text.count <= maximumLength else { return nil }
    var start = 0
    var hasEncoded = false
    for index in 0...text.count where index == text.count || text[index] == UInt8(ascii: ".") {
      let label = UnsafeRawBufferPointer(rebasing: text[start..<index])
      guard isLabel(label, allows: 0x7F) else { return nil }
      if isEncoded(label) { hasEncoded = true }
      start = index + 1
    }
    return hasEncoded
  }

  /// Letters, digits and hyphens, these not at an end; bytes from 0x80 to `allows` are letters.
  private static func isLabel(_ label: UnsafeRawBufferPointer, allows: UInt8) -> Bool {
    guard !label.isEmpty, label.count <= maximumLabel || allows > 0x7F,
      label[0] != UInt8(ascii: "-"), label[label.count - 1] != UInt8(ascii: "-")
    else { return false }
    for byte in label {
      let isFine =
        byte < 0x80
        ? TextReader.isLetter(byte) || TextReader.isDigit(byte) || byte == UInt8(ascii: "-")
        : byte <= allows
      guard isFine else { return false }
    }
    return true
  }

  private static func isEncoded(_ label: UnsafeRawBufferPointer) -> Bool {
    label.count >= 4 && label[0] | 0x20 == UInt8(ascii: "x")
      && label[1] | 0x20 == UInt8(ascii: "n") && label[2] == UInt8(ascii: "-")
      && label[3] == UInt8(ascii: "-")
  }

  /// All rules, label by label. A name with a right-to-left label holds all its labels to the rules
  /// for these.
  private static func acceptsLabels(
    _ text: UnsafeRawBufferPointer, isInternational: Bool
  ) -> Bool {
    var at = 0
    var start = 0
    // The length that the name has when it is encoded.
    var length = 0
    var isBidirectional = false
    var satisfiesBidi = true
    while true {
      var separator = 0
      if at < text.count {
        guard let (point, size) = UTF8Decoding.codePoint(text, at) else { return false }
        let isDot =
          point == 0x2E
          || isInternational && (point == 0x3002 || point == 0xFF0E || point == 0xFF61)
        guard isDot else {
          at += size
          continue
        }
        separator = size
      }
      let label = UnsafeRawBufferPointer(rebasing: text[start..<at])
      guard let found = judge(label, isInternational: isInternational) else { return false }
      length += found.length
      isBidirectional = isBidirectional || found.isRightToLeft
      satisfiesBidi = satisfiesBidi && found.satisfiesBidi
      if separator == 0 { break }
      length += 1
      at += separator
      start = at
    }
    return length <= maximumLength && (!isBidirectional || satisfiesBidi)
  }

  private struct Verdict {
    /// Of the label's encoded form.
    var length: Int
    var isRightToLeft: Bool
    var satisfiesBidi: Bool
  }

  /// Nil if the label isn't one.
  private static func judge(
    _ label: UnsafeRawBufferPointer, isInternational: Bool
  ) -> Verdict? {
    let isASCII = label.allSatisfy { $0 < 0x80 }
    if isASCII {
      guard isLabel(label, allows: 0x7F) else { return nil }
    } else {
      guard isInternational else { return nil }
    }
    // A label has at most as many characters as its encoded form has bytes.
    return withUnsafeTemporaryAllocation(of: UInt32.self, capacity: maximumLabel) { points in
      var count = 0
      if isASCII, isEncoded(label) {
        let digits = UnsafeRawBufferPointer(rebasing: label[4...])
        guard let decoded = Punycode.decode(digits, into: points) else { return nil }
        count = decoded
        let characters = UnsafeBufferPointer(rebasing: points[..<count])
        // It must be the one form that encoding gives, of something that needs it.
        guard characters.contains(where: { $0 >= 0x80 }),
          Punycode.encodes(characters, as: digits), InternationalLabel.isValid(characters)
        else { return nil }
        return verdict(characters, length: label.count)
      }
      var at = 0
      while at < label.count {
        guard count < points.count, let (point, size) = UTF8Decoding.codePoint(label, at) else {
          return nil
        }
        // The rules for directions know no upper case.
        let isUpper = isASCII && point &- 0x41 < 26
        points[count] = isUpper ? point | 0x20 : point
        count += 1
        at += size
      }
      let characters = UnsafeBufferPointer(rebasing: points[..<count])
      if isASCII {
        let isReserved =
          count > 3 && characters[2] == 0x2D && characters[3] == 0x2D && isInternational
        return isReserved ? nil : verdict(characters, length: count)
      }
      guard InternationalLabel.isValid(characters) else { return nil }
      let length = 4 + Punycode.encodedLength(characters)
      return length <= maximumLabel ? verdict(characters, length: length) : nil
    }
  }

  private static func verdict(_ label: UnsafeBufferPointer<UInt32>, length: Int) -> Verdict {
    let bidi = InternationalLabel.bidi(label)
    return Verdict(
      length: length, isRightToLeft: bidi.isRightToLeft, satisfiesBidi: bidi.isSatisfied)
  }
}
