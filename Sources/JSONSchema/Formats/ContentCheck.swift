import JSON

extension ContentCheck {
  /// Whether a text holds what is announced. Not for the hot path.
  func accepts(_ text: UnsafeRawBufferPointer) -> Bool {
    switch self {
    case .none: true
    case .base64: Self.decodedBase64(text) != nil
    case .json: Self.isJSON(text)
    case .base64JSON: Self.decodedBase64(text).map { $0.withUnsafeBytes(Self.isJSON) } ?? false
    }
  }

  private static func isJSON(_ text: UnsafeRawBufferPointer) -> Bool {
    (try? JSONValue(parsing: text)) != nil
  }

  /// The standard alphabet of RFC 4648, padded.
  private static func decodedBase64(_ text: UnsafeRawBufferPointer) -> [UInt8]? {
    guard text.count % 4 == 0 else { return nil }
    var bytes: [UInt8] = []
    var group: UInt32 = 0
    var padding = 0
    for (index, byte) in text.enumerated() {
      let value: UInt32
      switch byte {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = UInt32(byte - UInt8(ascii: "A"))
      case UInt8(ascii: "a")...UInt8(ascii: "z"): value = UInt32(byte - UInt8(ascii: "a")) + 26
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = UInt32(byte - UInt8(ascii: "0")) + 52
      case UInt8(ascii: "+"): value = 62
      case UInt8(ascii: "/"): value = 63
      case UInt8(ascii: "=") where index >= text.count - 2:
        value = 0
        padding += 1
      default: return nil
      }
      // Nothing but padding follows padding.
      if padding > 0, byte != UInt8(ascii: "=") { return nil }
      group = group << 6 | value
      if index % 4 == 3 {
        bytes += [UInt8(group >> 16 & 255), UInt8(group >> 8 & 255), UInt8(group & 255)]
        group = 0
      }
    }
    bytes.removeLast(padding)
    return bytes
  }
}
