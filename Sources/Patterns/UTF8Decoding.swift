/// Characters of UTF-8.
package enum UTF8Decoding {
  /// The character at `at` and its length in bytes, or nil if there is none (Unicode 15, table
  /// 3-7).
  @inlinable @inline(__always)
  package static func codePoint(
    _ text: UnsafeRawBufferPointer, _ at: Int
  ) -> (point: UInt32, length: Int)? {
    let left = text.count &- at
    guard left > 0 else { return nil }
    let first = text[at]
    if first < 0x80 { return (UInt32(first), 1) }
    guard left > 1 else { return nil }
    let second = UInt32(text[at &+ 1])
    guard second & 0xC0 == 0x80 else { return nil }
    if first < 0xE0 {
      return first < 0xC2 ? nil : (UInt32(first & 0x1F) << 6 | second & 0x3F, 2)
    }
    guard left > 2 else { return nil }
    let third = UInt32(text[at &+ 2])
    guard third & 0xC0 == 0x80 else { return nil }
    if first < 0xF0 {
      let point = UInt32(first & 0x0F) << 12 | (second & 0x3F) << 6 | third & 0x3F
      return point < 0x800 || point >> 11 == 0x1B ? nil : (point, 3)
    }
    guard left > 3, first < 0xF5 else { return nil }
    let fourth = UInt32(text[at &+ 3])
    guard fourth & 0xC0 == 0x80 else { return nil }
    let point =
      UInt32(first & 0x07) << 18 | (second & 0x3F) << 12 | (third & 0x3F) << 6 | fourth & 0x3F
    return point < 0x10000 || point > 0x10FFFF ? nil : (point, 4)
  }

  /// The number of characters, or -1 if the text isn't UTF-8.
  @inlinable @inline(__always)
  package static func length(_ text: UnsafeRawBufferPointer) -> Int {
    let count = text.count
    guard let base = text.baseAddress else { return 0 }
    // Texts are short, so no loop over their last bytes: words overlap instead.
    if count < 8 {
      let high: Bool
      if count >= 4 {
        let first = base.loadUnaligned(as: UInt32.self)
        let last = base.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self)
        high = (first | last) & 0x8080_8080 != 0
      } else if count > 0 {
        let middle = base.load(fromByteOffset: count &>> 1, as: UInt8.self)
        let last = base.load(fromByteOffset: count &- 1, as: UInt8.self)
        high = (base.load(as: UInt8.self) | middle | last) & 0x80 != 0
      } else {
        high = false
      }
      return high ? lengthBeyondASCII(text, from: 0) : count
    }
    var at = 0
    while at &+ 8 <= count {
      let word = base.loadUnaligned(fromByteOffset: at, as: UInt64.self)
      if word & 0x8080_8080_8080_8080 != 0 { return lengthBeyondASCII(text, from: at) }
      at &+= 8
    }
    let last = base.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
    if last & 0x8080_8080_8080_8080 != 0 { return lengthBeyondASCII(text, from: at) }
    return count
  }

  @usableFromInline @inline(never)
  static func lengthBeyondASCII(_ text: UnsafeRawBufferPointer, from start: Int) -> Int {
    var at = start
    var characters = start
    while at < text.count {
      guard let (_, length) = codePoint(text, at) else { return -1 }
      at &+= length
      characters &+= 1
    }
    return characters
  }
}
