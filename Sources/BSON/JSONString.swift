// JSON strings (RFC 8259): quotes around, escapes where JSON demands them and nowhere else. Text is
// checked to be UTF-8 on the way, without overlong forms and surrogates.

extension ByteWriter {
  /// Writes `utf8` as a JSON string, quotes included.
  ///
  /// Quote, backslash and the characters below U+0020 are escaped, as `\b \f \n \r \t` where these
  /// exist and as `\u00xx` else; everything other stands as it is. On error nothing was written.
  /// - Throws: `.invalidUTF8`, with the offset in `utf8` of the first character that is none.
  public mutating func appendJSONString(_ utf8: UnsafeRawBufferPointer) throws(BSONError) {
    let start = count
    if let wrong = appendQuoted(utf8) {
      truncate(to: start)
      throw BSONError(.invalidUTF8, at: wrong)
    }
  }

  /// The same; returns the offset of the first byte that isn't UTF-8, and then is left half-written.
  ///
  /// Text that needs no escape is all this does by itself: it stores word after word and looks at
  /// each on the way.
  @inline(__always)
  mutating func appendQuoted(_ text: UnsafeRawBufferPointer) -> Int? {
    let length = text.count
    // Both quotes, and room to store a whole word at the end.
    reserve(length &+ 10)
    let to = UnsafeMutableRawPointer(base + _count)
    to.storeBytes(of: UInt8(ascii: "\""), as: UInt8.self)
    var at = 0
    while at &+ 8 <= length {
      let word = text.word(at)
      if UTF8Scan.bytesToEscape(word) != 0 { break }
      to.storeBytes(of: word.littleEndian, toByteOffset: at &+ 1, as: UInt64.self)
      at &+= 8
    }
    let left = length &- at
    if left < 8 {
      let word = text.lastWord(left)
      if UTF8Scan.bytesToEscape(word) & (1 << UInt64(left &* 8) &- 1) == 0 {
        to.storeBytes(of: word.littleEndian, toByteOffset: at &+ 1, as: UInt64.self)
        to.storeBytes(of: UInt8(ascii: "\""), toByteOffset: length &+ 1, as: UInt8.self)
        _count &+= length &+ 2
        return nil
      }
    }
    _count &+= at &+ 1
    return appendRest(of: text, from: at)
  }

  /// Goes on where an escape or a character beyond ASCII may be near.
  @inline(never)
  private mutating func appendRest(of text: UnsafeRawBufferPointer, from: Int) -> Int? {
    let length = text.count
    var at = from
    while at < length {
      if at &+ 8 <= length {
        let word = text.word(at)
        let special = UTF8Scan.bytesToEscape(word)
        UnsafeMutableRawPointer(base + _count).storeBytes(of: word.littleEndian, as: UInt64.self)
        let clean = special == 0 ? 8 : special.trailingZeroBitCount >> 3
        at &+= clean
        _count &+= clean
        if special == 0 { continue }
      }
      let byte = text.readByte(at: at)
      if byte < 0x80 {
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
      append("\\u00")
      appendHex(byte)
    }
  }
}

/// Looking at text eight bytes at a time, and at characters beyond ASCII one at a time.
enum UTF8Scan {
  private static var ones: UInt64 { 0x0101_0101_0101_0101 }
  private static var tops: UInt64 { 0x8080_8080_8080_8080 }

  /// Sets the top bit of each byte that can't be copied unseen: below 0x20, quote, backslash, not
  /// ASCII. Bytes above the lowest one set may be set wrongly (borrows), so only that one counts.
  @inline(__always)
  static func bytesToEscape(_ word: UInt64) -> UInt64 {
    let quote = word ^ (ones &* 0x22)
    let backslash = word ^ (ones &* 0x5C)
    let control = (word &- ones &* 0x20) & ~word
    return (word | control | (quote &- ones) & ~quote | (backslash &- ones) & ~backslash) & tops
  }

  /// The length of the character at `at`, or 0 if it is no UTF-8 (Unicode 15, table 3-7).
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

  /// The offset of the first byte of `text` that isn't part of a UTF-8 character.
  static func firstInvalid(in text: UnsafeRawBufferPointer) -> Int? {
    var at = 0
    while at < text.count {
      if text.count &- at >= 8, text.word(at) & tops == 0 {
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

extension UnsafeRawBufferPointer {
  /// Eight bytes, the first one lowest.
  @inline(__always)
  fileprivate func word(_ offset: Int) -> UInt64 { UInt64(bitPattern: readInt64(at: offset)) }

  /// The last `left` bytes, at most seven, the first one lowest and zeros above: one read where
  /// there is a word that ends there, else reads that overlap.
  @inline(__always)
  fileprivate func lastWord(_ left: Int) -> UInt64 {
    if left == 0 { return 0 }
    if count >= 8 { return word(count &- 8) >> UInt64(64 &- 8 &* left) }
    // Then these are all the bytes there are.
    if left >= 4 {
      let low = UInt64(UInt32(bitPattern: readInt32(at: 0)))
      let high = UInt64(UInt32(bitPattern: readInt32(at: left &- 4)))
      return low | high << UInt64(8 &* (left &- 4))
    }
    let middle = left >> 1
    let last = left &- 1
    return UInt64(readByte(at: 0)) | UInt64(readByte(at: middle)) << UInt64(8 &* middle)
      | UInt64(readByte(at: last)) << UInt64(8 &* last)
  }
}
