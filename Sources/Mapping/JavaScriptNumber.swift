import BSON

extension ByteWriter {
  /// A double as JavaScript's `String(value)` has it: `1`, `3000000000`, `0.1`, `1e+21`, `1.5e-7`, and
  /// `0` for minus zero as well. Applications know their numbers by that text, since to them a whole
  /// double is an integer.
  mutating func append(javaScript value: Double) {
    if value.magnitude < 0x1p53, value.rounded(.towardZero) == value {
      return append(decimal: Int64(value))
    }
    guard value.isFinite else { return append(shortest: value) }
    var shortest = ByteWriter(capacity: 32)
    shortest.append(shortest: value.magnitude)
    var digits: [UInt8] = []
    var point: Int?
    var exponent = 0
    for (at, byte) in shortest.bytes.enumerated() {
      if byte == UInt8(ascii: ".") {
        point = digits.count
      } else if byte == UInt8(ascii: "e") {
        let text = String(decoding: shortest.bytes[(at + 1)...], as: UTF8.self)
        exponent = Int(text) ?? 0
        break
      } else {
        digits.append(byte)
      }
    }
    // The value is 0.<digits> times ten to the power of `scale`.
    var scale = (point ?? digits.count) + exponent
    while digits.count > 1, digits.last == UInt8(ascii: "0") { digits.removeLast() }
    while digits.count > 1, digits.first == UInt8(ascii: "0") {
      digits.removeFirst()
      scale -= 1
    }
    if value < 0 { append("-") }
    append(javaScript: digits, scale: scale)
  }

  private mutating func append(javaScript digits: [UInt8], scale: Int) {
    let zero = UInt8(ascii: "0")
    switch scale {
    case digits.count...21 where digits.count <= 21:
      append(digits + Array(repeating: zero, count: scale - digits.count))
    case 1...21:
      append(Array(digits[..<scale]))
      append(".")
      append(Array(digits[scale...]))
    case -5...0:
      append("0.")
      append(Array(repeating: zero, count: -scale) + digits)
    default:
      append(digits[0])
      if digits.count > 1 {
        append(".")
        append(Array(digits[1...]))
      }
      append(scale > 0 ? "e+" : "e-")
      append(decimal: Int64((scale - 1).magnitude))
    }
  }
}
