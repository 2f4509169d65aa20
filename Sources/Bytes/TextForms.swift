// Values as text, without quotes: hex, UUID, base64, doubles.

extension ByteWriter {
  /// Two lowercase digits per byte.
  public mutating func appendHex(_ bytes: UnsafeRawBufferPointer) {
    let count = bytes.count
    reserve(count &* 2)
    var at = 0
    while at &+ 4 <= count {
      // Each byte in 16 bits, its halves in bytes of their own, and those as digits: all eight at once.
      var word = UInt64(UInt32(bitPattern: bytes.readInt32(at: at)))
      word = (word | word << 16) & 0x0000_FFFF_0000_FFFF
      word = (word | word << 8) & 0x00FF_00FF_00FF_00FF
      word = (word >> 4 | word << 8) & 0x0F0F_0F0F_0F0F_0F0F
      let letters = (word &+ 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101
      word = word &+ 0x3030_3030_3030_3030 &+ letters &* 39
      UnsafeMutableRawPointer(base + _count).storeBytes(of: word.littleEndian, as: UInt64.self)
      _count &+= 8
      at &+= 4
    }
    while at < count {
      appendHex(bytes.readByte(at: at))
      at &+= 1
    }
  }

  @inlinable
  package mutating func appendHex(_ byte: UInt8) {
    reserve(2)
    base[_count] = Self.lowerHexDigit(byte >> 4)
    base[_count &+ 1] = Self.lowerHexDigit(byte & 15)
    _count &+= 2
  }

  /// The lowercase digit of half a byte.
  @inlinable @inline(__always)
  package static func lowerHexDigit(_ nibble: UInt8) -> UInt8 {
    nibble &+ (nibble < 10 ? UInt8(ascii: "0") : UInt8(ascii: "a") &- 10)
  }

  /// The canonical form of RFC 9562: lowercase, in groups of 8-4-4-4-12. Plain hex unless there are 16
  /// bytes.
  public mutating func appendUUID(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count == 16 else { return appendHex(bytes) }
    reserve(36)
    for (index, byte) in bytes.enumerated() {
      if index == 4 || index == 6 || index == 8 || index == 10 { append(UInt8(ascii: "-")) }
      appendHex(byte)
    }
  }

  /// The standard alphabet of RFC 4648, padded.
  public mutating func appendBase64(_ bytes: UnsafeRawBufferPointer) {
    let alphabet: StaticString = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    let count = bytes.count
    reserve((count &+ 2) / 3 &* 4)
    var at = 0
    while at < count {
      let first = bytes.readByte(at: at)
      let second = at &+ 1 < count ? bytes.readByte(at: at &+ 1) : 0
      let third = at &+ 2 < count ? bytes.readByte(at: at &+ 2) : 0
      let group = Int(first) << 16 | Int(second) << 8 | Int(third)
      let to = base + _count
      to[0] = alphabet.utf8Start[group >> 18]
      to[1] = alphabet.utf8Start[group >> 12 & 63]
      to[2] = at &+ 1 < count ? alphabet.utf8Start[group >> 6 & 63] : UInt8(ascii: "=")
      to[3] = at &+ 2 < count ? alphabet.utf8Start[group & 63] : UInt8(ascii: "=")
      _count &+= 4
      at &+= 3
    }
  }

  /// The shortest digits that read back as the same double: `1.0`, `0.1`, `1e+16`, `-0.0`. Non-finite
  /// values are `NaN`, `Infinity` or `-Infinity`, which aren't JSON numbers.
  public mutating func append(shortest value: Double) {
    guard value.isFinite else {
      if value.isNaN { return append("NaN") }
      if value < 0 { return append("-Infinity") }
      return append("Infinity")
    }
    // Up to 2^53, an integral double is exactly its integer.
    if value.magnitude <= 0x1p53, value != 0 {
      let whole = Int64(value)
      if Double(whole) == value {
        append(decimal: whole)
        return append(".0")
      }
    }
    // At most 24 bytes: "-2.2250738585072014e-308".
    let room = 32
    reserve(room)
    var sink = DigitSink(base: base + _count, room: room)
    value.write(to: &sink)
    _count &+= sink.count
  }
}

/// Receives a double's digits from the standard library without a `String`.
///
/// The standard library calls `_writeASCII`; if it ever doesn't, `write` takes the same bytes, only
/// slower.
///
/// Safety invariant: used only inside `append(shortest:)`, which has reserved `room` bytes at `base` and
/// doesn't mutate the writer meanwhile.
private struct DigitSink: TextOutputStream {
  let base: UnsafeMutablePointer<UInt8>
  let room: Int
  var count = 0

  mutating func _writeASCII(_ buffer: UnsafeBufferPointer<UInt8>) {
    guard let start = buffer.baseAddress else { return }
    precondition(buffer.count <= room &- count)
    (base + count).update(from: start, count: buffer.count)
    count &+= buffer.count
  }

  mutating func write(_ string: String) {
    var string = string
    string.withUTF8 { _writeASCII($0) }
  }
}
