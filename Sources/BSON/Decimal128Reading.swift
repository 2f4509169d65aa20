/// A decimal's 128 bits in BSON's format (IEEE 754-2008, binary integer significand).
struct Decimal128Bits: Equatable {
  var high: UInt64
  var low: UInt64

  private static let bias = 6176
  private static let exponents = -6176...6111
  private static let digits = 34

  /// Reads `-1.50`, `1E+3`, `NaN`, `Infinity`. Nil if the text is not a number, or would be rounded.
  init?(parsing text: String) {
    var rest = Substring(text)
    let negative = rest.first == "-"
    if rest.first == "-" || rest.first == "+" { rest.removeFirst() }
    let sign: UInt64 = negative ? 1 << 63 : 0
    switch rest.lowercased() {
    case "infinity", "inf":
      self.init(high: sign | 0x78 << 56, low: 0)
      return
    case "nan":
      self.init(high: 0x7C << 56, low: 0)
      return
    default: break
    }
    guard let (significand, exponent) = Self.parse(rest) else { return nil }
    guard let (coefficient, power) = Self.fit(significand, exponent) else { return nil }
    self.init(
      high: sign | UInt64(power + Self.bias) << 49 | UInt64(coefficient >> 64),
      low: UInt64(truncatingIfNeeded: coefficient))
  }

  private init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// Digits without leading zeros, and the exponent of the last one.
  private static func parse(_ text: Substring) -> (digits: [UInt8], exponent: Int)? {
    var digits: [UInt8] = []
    var exponent = 0
    var sawDigit = false
    var sawPoint = false
    var rest = text
    while let c = rest.utf8.first {
      if (48...57).contains(c) {
        sawDigit = true
        if !(digits.isEmpty && c == 48) { digits.append(c - 48) }
        if sawPoint { exponent -= 1 }
      } else if c == UInt8(ascii: "."), !sawPoint {
        sawPoint = true
      } else {
        break
      }
      rest.removeFirst()
    }
    guard sawDigit else { return nil }
    if let mark = rest.first {
      guard mark == "e" || mark == "E" else { return nil }
      rest.removeFirst()
      if rest.first == "+" { rest.removeFirst() }
      guard let shift = Int(rest), (-1_000_000...1_000_000).contains(shift) else { return nil }
      exponent += shift
    }
    return (digits, exponent)
  }

  /// The same number with at most 34 digits and an exponent in range.
  private static func fit(_ given: [UInt8], _ power: Int) -> (UInt128, Int)? {
    var digits = given
    var exponent = power
    if digits.isEmpty {
      return (0, min(max(exponent, exponents.lowerBound), exponents.upperBound))
    }
    while digits.count > Self.digits || exponent < exponents.lowerBound {
      guard digits.last == 0 else { return nil }
      digits.removeLast()
      exponent += 1
    }
    while exponent > exponents.upperBound {
      guard digits.count < Self.digits else { return nil }
      digits.append(0)
      exponent -= 1
    }
    return (digits.reduce(UInt128(0)) { $0 * 10 + UInt128($1) }, exponent)
  }
}
