/// RFC 4648 decoding.
public enum Base64 {
  /// The bytes, or nil if the text is not base64.
  public static func decode(_ text: String) -> [UInt8]? {
    var out: [UInt8] = []
    out.reserveCapacity(text.utf8.count / 4 * 3)
    var buffer: UInt32 = 0
    var bits = 0
    var padding = 0
    for c in text.utf8 {
      let value: UInt32
      switch c {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = UInt32(c - 65)
      case UInt8(ascii: "a")...UInt8(ascii: "z"): value = UInt32(c - 71)
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = UInt32(c + 4)
      case UInt8(ascii: "+"): value = 62
      case UInt8(ascii: "/"): value = 63
      case UInt8(ascii: "="):
        padding += 1
        continue
      default: return nil
      }
      guard padding == 0 else { return nil }
      buffer = buffer << 6 | value
      bits += 6
      if bits >= 8 {
        bits -= 8
        out.append(UInt8(truncatingIfNeeded: buffer >> UInt32(bits)))
      }
    }
    return padding <= 2 && bits < 6 ? out : nil
  }
}
