/// A number's value independent of its BSON type: numbers that a server treats as the same `_id` (1, 1.0,
/// NumberLong(1), NumberDecimal("1.00")) have the same text, different ones have different texts.
struct EqualNumber: Sendable {
  /// `[-]<odd integer>p<power of two>` for values of binary types, `[-]<integer>e<power of ten>` for other
  /// decimals, `0`, `NaN`, `Infinity` and `-Infinity`.
  let text: String

  private init(text: String) { self.text = text }

  /// From an integer, or a double in shortest digits.
  init?(json digits: String) {
    if let integer = Int64(digits) {
      self.init(negative: integer < 0, odd: integer.magnitude, power: 0)
    } else if let double = Double(digits) {
      self.init(double)
    } else {
      return nil
    }
  }

  private init(_ double: Double) {
    guard double.isFinite, double != 0 else {
      self.init(
        text: double.isNaN ? "NaN" : double == 0 ? "0" : double < 0 ? "-Infinity" : "Infinity")
      return
    }
    // The significand is in 1..<2, so this is exact and below 2^53.
    let significand = UInt64(double.significand * 0x1p52)
    self.init(negative: double < 0, odd: significand, power: Int(double.exponent) - 52)
  }

  private init(negative: Bool, odd magnitude: UInt64, power: Int) {
    guard magnitude != 0 else {
      self.init(text: "0")
      return
    }
    let zeros = magnitude.trailingZeroBitCount
    self.init(text: "\(negative ? "-" : "")\(magnitude >> UInt64(zeros))p\(power + zeros)")
  }

  /// A readable number for such a text; other texts unchanged.
  static func readable(_ text: [UInt8]) -> [UInt8] {
    let parts = String(decoding: text, as: UTF8.self).split(separator: "p")
    guard parts.count == 2, let odd = Int64(parts[0]), let power = Int(parts[1]) else {
      return text
    }
    if (0..<63).contains(power), odd.magnitude <= UInt64(Int64.max) >> UInt64(power) {
      return Array("\(odd << Int64(power))".utf8)
    }
    let double = Double(sign: .plus, exponent: power, significand: Double(odd))
    return Int64(exactly: Double(odd)) == odd && double.isFinite ? Array("\(double)".utf8) : text
  }

  /// From a decimal in the specification's format: up to 34 digits and an exponent.
  init?(decimal given: String) {
    var rest = given.utf8[...]
    let isNegative = rest.first == UInt8(ascii: "-")
    if isNegative || rest.first == UInt8(ascii: "+") { rest.removeFirst() }
    if rest.first.map({ $0 | 0x20 }) == UInt8(ascii: "n") {
      self.init(text: "NaN")
      return
    }
    if rest.first.map({ $0 | 0x20 }) == UInt8(ascii: "i") {
      self.init(text: isNegative ? "-Infinity" : "Infinity")
      return
    }
    var coefficient: UInt128 = 0
    var exponent = 0
    var isFraction = false
    var count = 0
    while let byte = rest.first, byte | 0x20 != UInt8(ascii: "e") {
      rest.removeFirst()
      if byte == UInt8(ascii: "."), !isFraction {
        isFraction = true
        continue
      }
      guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
      if coefficient > 0 || byte != UInt8(ascii: "0") { count += 1 }
      // More than a decimal has and 128 bits hold.
      guard count <= 38 else { return nil }
      coefficient = coefficient * 10 + UInt128(byte - UInt8(ascii: "0"))
      if isFraction { exponent -= 1 }
    }
    if !rest.isEmpty {
      guard let power = Int(String(rest.dropFirst()) ?? ""), power.magnitude < 1 << 20 else {
        return nil
      }
      exponent += power
    }
    self.init(isNegative, coefficient, exponent)
  }

  private init(_ isNegative: Bool, _ given: UInt128, _ power: Int) {
    guard given != 0 else {
      self.init(text: "0")
      return
    }
    var coefficient = given
    var exponent = power
    while coefficient % 10 == 0 {
      coefficient /= 10
      exponent += 1
    }
    // coefficient × 10^exponent = odd × 2^power if a binary type holds it: these have at most 64 bits, so
    // at most 27 factors of five.
    var odd: UInt128? = coefficient
    var fives = exponent
    while let value = odd, fives != 0 {
      if fives > 0 {
        odd = value <= UInt128(UInt64.max) ? value * 5 : nil
        fives -= 1
      } else {
        odd = value % 5 == 0 ? value / 5 : nil
        fives += 1
      }
    }
    if let odd {
      let zeros = odd.trailingZeroBitCount
      if let small = UInt64(exactly: odd >> UInt128(zeros)) {
        self.init(negative: isNegative, odd: small, power: exponent + zeros)
        return
      }
    }
    self.init(text: "\(isNegative ? "-" : "")\(coefficient)e\(exponent)")
  }
}
