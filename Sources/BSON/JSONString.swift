// JSON strings (RFC 8259) with only the escapes that JSON requires. Text is validated as UTF-8, without
// overlong forms and surrogates.

extension ByteWriter {
  /// Writes `utf8` as a JSON string, quotes included.
  ///
  /// Escapes quote, backslash and characters below U+0020, as `\b \f \n \r \t` or `\u00xx`; everything
  /// else is copied. Writes nothing on an error.
  /// - Throws: `.invalidUTF8`, with the offset in `utf8` of the first invalid byte.
  public mutating func appendJSONString(_ utf8: UnsafeRawBufferPointer) throws(BSONError) {
    let start = count
    if let wrong = appendQuoted(utf8, in: utf8) {
      truncate(to: start)
      throw BSONError(.invalidUTF8, at: wrong)
    }
  }

  /// The same for text inside `view`, all of which may be read. On invalid UTF-8, leaves the string
  /// half-written and returns the offset of the first invalid byte in `text`.
  @inline(__always)
  mutating func appendQuoted(
    _ text: UnsafeRawBufferPointer, in view: UnsafeRawBufferPointer
  ) -> Int? {
    let length = text.count
    // Both quotes, and a whole word that may be stored past the end.
    reserve(length &+ 10)
    let to = base + _count
    to[0] = UInt8(ascii: "\"")
    let clean = UTF8Scan.copyClean(text, in: view, to: to + 1)
    _count &+= clean &+ 1
    if clean < length { return appendRest(of: text, from: clean) }
    to[length &+ 1] = UInt8(ascii: "\"")
    _count &+= 1
    return nil
  }

  /// A member's key with `separator`, quotes and colon. Otherwise as `appendQuoted`.
  @inline(__always)
  mutating func appendKey(
    _ key: UnsafeRawBufferPointer, in view: UnsafeRawBufferPointer, separator: UInt8
  ) -> Int? {
    let length = key.count
    reserve(length &+ 12)
    let to = base + _count
    to[0] = separator
    to[1] = UInt8(ascii: "\"")
    let clean = UTF8Scan.copyClean(key, in: view, to: to + 2)
    _count &+= clean &+ 2
    if clean < length {
      if let wrong = appendRest(of: key, from: clean) { return wrong }
      append(UInt8(ascii: ":"))
      return nil
    }
    to[length &+ 2] = UInt8(ascii: "\"")
    to[length &+ 3] = UInt8(ascii: ":")
    _count &+= 2
    return nil
  }

  /// Continues from the first byte that can't be copied directly, and closes the string. The caller has
  /// reserved the rest of the text and nine bytes more, which the loop maintains.
  @inline(never)
  mutating func appendRest(of text: UnsafeRawBufferPointer, from: Int) -> Int? {
    let length = text.count
    var at = from
    while at < length {
      if at &+ 8 <= length {
        let word = UInt64(bitPattern: text.readInt64(at: at))
        let special = UTF8Scan.bytesToEscape(word)
        UnsafeMutableRawPointer(base + _count).storeBytes(of: word.littleEndian, as: UInt64.self)
        let clean = special == 0 ? 8 : special.trailingZeroBitCount >> 3
        at &+= clean
        _count &+= clean
        if special == 0 { continue }
      }
      let byte = text.readByte(at: at)
      if byte < 0x80 {
        if isBeyondLimit() { return at }
        appendJSONCharacter(byte)
        at &+= 1
        reserve(length &- at &+ 9)
        continue
      }
      repeat {
        let size = UTF8Scan.characterLength(in: text, at: at)
        if size == 0 { return at }
        var offset = 0
        while offset < size {
          base[_count &+ offset] = text.readByte(at: at &+ offset)
          offset &+= 1
        }
        at &+= size
        _count &+= size
      } while at < length && text.readByte(at: at) >= 0x80
    }
    base[_count] = UInt8(ascii: "\"")
    _count &+= 1
    return nil
  }

  /// One ASCII character of a JSON string.
  mutating func appendJSONCharacter(_ byte: UInt8) {
    if UTF8Scan.bytesToEscape(UInt64(byte)) & 0x80 != 0 {
      appendEscape(byte)
    } else {
      append(byte)
    }
  }

  private mutating func appendEscape(_ byte: UInt8) {
    switch byte {
    case UInt8(ascii: "\""): append("\\\"")
    case UInt8(ascii: "\\"): append("\\\\")
    case 0x08: append("\\b")
    case 0x09: append("\\t")
    case 0x0A: append("\\n")
    case 0x0C: append("\\f")
    case 0x0D: append("\\r")
    default:
      reserve(8)
      // `\u00`, then two digits.
      let to = UnsafeMutableRawPointer(base + _count)
      to.storeBytes(of: UInt32(0x3030_755C).littleEndian, as: UInt32.self)
      base[_count &+ 4] = Self.lowerHexDigit(byte >> 4)
      base[_count &+ 5] = Self.lowerHexDigit(byte & 15)
      _count &+= 6
    }
  }
}

/// Scans ASCII text eight bytes at a time, and other characters one at a time.
enum UTF8Scan {
  private static var ones: UInt64 { 0x0101_0101_0101_0101 }
  private static var tops: UInt64 { 0x8080_8080_8080_8080 }

  /// Sets the top bit of each byte that can't be copied directly: below 0x20, quote, backslash, or not
  /// ASCII. Only the lowest bit set is reliable: borrows may set others above it.
  @inline(__always)
  static func bytesToEscape(_ word: UInt64) -> UInt64 {
    let quote = word ^ (ones &* 0x22)
    let backslash = word ^ (ones &* 0x5C)
    let control = (word &- ones &* 0x20) & ~word
    return (word | control | (quote &- ones) & ~quote | (backslash &- ones) & ~backslash) & tops
  }

  /// Copies the bytes before the first one that can't be copied directly, and returns their number.
  ///
  /// Safety invariant: `text` is inside `view`, and `to` has room for `text` and seven bytes more. The last
  /// word may be read past the end of `text`, but never past the end of `view`.
  @inline(__always)
  static func copyClean(
    _ text: UnsafeRawBufferPointer, in view: UnsafeRawBufferPointer, to: UnsafeMutablePointer<UInt8>
  ) -> Int {
    guard let from = text.baseAddress, let origin = view.baseAddress else { return 0 }
    let target = UnsafeMutableRawPointer(to)
    let length = text.count
    var at = 0
    while at &+ 8 <= length {
      let word = UInt64(littleEndian: from.loadUnaligned(fromByteOffset: at, as: UInt64.self))
      target.storeBytes(of: word.littleEndian, toByteOffset: at, as: UInt64.self)
      let special = bytesToEscape(word)
      if special != 0 { return at &+ special.trailingZeroBitCount >> 3 }
      at &+= 8
    }
    let left = length &- at
    if left == 0 { return length }
    var word: UInt64 = 0
    if from + (at &+ 8) <= origin + view.count {
      word = UInt64(littleEndian: from.loadUnaligned(fromByteOffset: at, as: UInt64.self))
    } else {
      for index in 0..<left {
        let byte = from.load(fromByteOffset: at &+ index, as: UInt8.self)
        word |= UInt64(byte) &<< UInt64(8 &* index)
      }
    }
    target.storeBytes(of: word.littleEndian, toByteOffset: at, as: UInt64.self)
    // Marks the byte after the last one as the end.
    let special = bytesToEscape(word) | 0x80 &<< UInt64(8 &* left)
    return at &+ special.trailingZeroBitCount >> 3
  }

  /// The length of the character at `at`, or 0 if it is not UTF-8 (Unicode 15, table 3-7).
  @inline(__always)
  static func characterLength(in text: UnsafeRawBufferPointer, at: Int) -> Int {
    let first = text.readByte(at: at)
    let size: Int
    var second: ClosedRange<UInt8> = 0x80...0xBF
    switch first {
    case 0x00...0x7F: return 1
    case 0xC2...0xDF: size = 2
    case 0xE0:
      size = 3
      second = 0xA0...0xBF
    case 0xED:
      size = 3
      second = 0x80...0x9F
    case 0xE1...0xEF: size = 3
    case 0xF0:
      size = 4
      second = 0x90...0xBF
    case 0xF1...0xF3: size = 4
    case 0xF4:
      size = 4
      second = 0x80...0x8F
    default: return 0
    }
    guard size <= text.count &- at, second.contains(text.readByte(at: at &+ 1)) else { return 0 }
    var offset = 2
    while offset < size {
      if text.readByte(at: at &+ offset) & 0xC0 != 0x80 { return 0 }
      offset &+= 1
    }
    return size
  }

  /// The offset of the first byte of `text` that isn't valid UTF-8.
  static func firstInvalid(in text: UnsafeRawBufferPointer) -> Int? {
    var at = 0
    while at < text.count {
      if text.count &- at >= 8, text.readInt64(at: at) & Int64(bitPattern: tops) == 0 {
        at &+= 8
        continue
      }
      let size = characterLength(in: text, at: at)
      if size == 0 { return at }
      at &+= size
    }
    return nil
  }
}
