/// A JSON number exactly as it is written: a coefficient of any length times a power of ten.
///
/// Cold: used when a schema is compiled and when a failure is explained. Values on the hot path
/// are compared with the bounds that `NumberBounds` works out from it.
package struct ExactDecimal: Sendable {
  package let isNegative: Bool
  /// Digits 0…9 without zeros at either end; empty for zero.
  package let digits: [UInt8]
  /// The last digit's power of ten.
  package let exponent: Int

  /// Exponents are cut off here: nothing a double or an integer holds comes near.
  private static let exponentLimit = 1_000_000_000

  /// From a JSON number; nil for other text.
  package init?(_ text: String) {
    var digits: [UInt8] = []
    var exponent = 0
    var isNegative = false
    var rest = Array(text.utf8)[...]
    if rest.first == UInt8(ascii: "-") {
      isNegative = true
      rest.removeFirst()
    }
    var isFraction = false
    var any = false
    while let byte = rest.first {
      if byte == UInt8(ascii: "."), !isFraction {
        isFraction = true
      } else if (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
        any = true
        digits.append(byte - UInt8(ascii: "0"))
        if isFraction { exponent -= 1 }
      } else {
        break
      }
      rest.removeFirst()
    }
    guard any else { return nil }
    if let mark = rest.first {
      guard mark == UInt8(ascii: "e") || mark == UInt8(ascii: "E") else { return nil }
      rest.removeFirst()
      let isBelow = rest.first == UInt8(ascii: "-")
      if isBelow || rest.first == UInt8(ascii: "+") { rest.removeFirst() }
      guard !rest.isEmpty else { return nil }
      var power = 0
      for byte in rest {
        guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
        power = min(power * 10 + Int(byte - UInt8(ascii: "0")), Self.exponentLimit)
      }
      exponent += isBelow ? -power : power
    }
    self.init(isNegative: isNegative, digits: digits, exponent: exponent)
  }

  package init(isNegative: Bool, digits: [UInt8], exponent: Int) {
    var digits = digits[...]
    var exponent = exponent
    while digits.first == 0 { digits.removeFirst() }
    while digits.last == 0 {
      digits.removeLast()
      exponent += 1
    }
    self.isNegative = isNegative && !digits.isEmpty
    self.digits = Array(digits)
    self.exponent = digits.isEmpty ? 0 : exponent
  }

  package var isZero: Bool { digits.isEmpty }
  package var isInteger: Bool { exponent >= 0 }
  /// The power of ten in front of the first digit: 0 for 0.5, 1 for 5, 2 for 50.
  private var magnitude: Int { digits.count + exponent }

  /// -1, 0 or 1.
  package func compared(to other: ExactDecimal) -> Int {
    if isZero || other.isZero {
      if isZero && other.isZero { return 0 }
      return isZero ? (other.isNegative ? 1 : -1) : (isNegative ? -1 : 1)
    }
    if isNegative != other.isNegative { return isNegative ? -1 : 1 }
    let larger = isNegative ? -1 : 1
    if magnitude != other.magnitude { return magnitude > other.magnitude ? larger : -larger }
    for (mine, theirs) in zip(digits, other.digits) where mine != theirs {
      return mine > theirs ? larger : -larger
    }
    if digits.count == other.digits.count { return 0 }
    return digits.count > other.digits.count ? larger : -larger
  }

  /// The nearest double, infinite beyond their range.
  package var nearestDouble: Double {
    let text = (isNegative ? "-" : "") + digits.map(String.init).joined() + "e\(exponent)"
    return isZero ? 0 : Double(text) ?? (isNegative ? -.infinity : .infinity)
  }

  /// The integer part, truncated towards zero, if it fits 64 bits; and whether there is a fraction.
  private var truncated: (magnitude: UInt64?, hasFraction: Bool) {
    guard magnitude > 0 else { return (0, !isZero) }
    guard magnitude <= 20 else { return (nil, exponent < 0) }
    var value: UInt64 = 0
    for place in 0..<magnitude {
      let digit = place < digits.count ? digits[place] : 0
      let (product, tooLarge) = value.multipliedReportingOverflow(by: 10)
      let (sum, carried) = product.addingReportingOverflow(UInt64(digit))
      if tooLarge || carried { return (nil, exponent < 0) }
      value = sum
    }
    return (value, exponent < 0)
  }

  /// The value as an integer, if it is one and fits.
  package var int64: Int64? {
    guard isInteger, let magnitude = truncated.magnitude else { return nil }
    if isNegative { return magnitude <= 1 << 63 ? Int64(truncatingIfNeeded: 0 &- magnitude) : nil }
    return Int64(exactly: magnitude)
  }

  /// The smallest integer that is not below; nil if it is above every int64, `.min` below them.
  var ceiling: Int64? {
    let (magnitude, hasFraction) = truncated
    if isNegative {
      guard let magnitude, magnitude <= 1 << 63 else { return .min }
      return Int64(truncatingIfNeeded: 0 &- magnitude)
    }
    guard let magnitude, let whole = Int64(exactly: magnitude) else { return nil }
    guard hasFraction else { return whole }
    return whole == .max ? nil : whole + 1
  }

  /// The coefficient as a number, if it has 38 digits at most.
  var coefficient: UInt128? {
    guard digits.count <= 38 else { return nil }
    return digits.reduce(0) { $0 * 10 + UInt128($1) }
  }

  var negated: ExactDecimal {
    ExactDecimal(isNegative: !isNegative, digits: digits, exponent: exponent)
  }
}

extension ExactDecimal {
  /// Whether this is a multiple of the positive decimal `divisor`, in exact arithmetic.
  package func isMultiple(of divisor: DecimalDivisor) -> Bool {
    if isZero { return true }
    // value / divisor = digits * 10^shift / coefficient.
    let shift = exponent - divisor.exponent
    var remainder: UInt128 = 0
    for digit in digits {
      remainder = DecimalDivisor.product(remainder, 10, modulo: divisor.coefficient)
      remainder = (remainder + UInt128(digit)) % divisor.coefficient
    }
    if shift >= 0 {
      let power = DecimalDivisor.powerOfTen(shift, modulo: divisor.coefficient)
      return DecimalDivisor.product(remainder, power, modulo: divisor.coefficient) == 0
    }
    // The last digit isn't zero, so no power of ten can be taken out of the digits: only one that
    // the coefficient doesn't contain either, and the coefficient doesn't end in zero.
    return false
  }
}

/// The divisor of `multipleOf`: coefficient times ten to the exponent, the coefficient not ending
/// in zero.
package struct DecimalDivisor: Sendable {
  let coefficient: UInt128
  let exponent: Int

  package init?(_ decimal: ExactDecimal) {
    guard !decimal.isZero, !decimal.isNegative, let coefficient = decimal.coefficient else {
      return nil
    }
    self.coefficient = coefficient
    self.exponent = decimal.exponent
  }

  @inline(__always)
  static func product(_ a: UInt128, _ b: UInt128, modulo: UInt128) -> UInt128 {
    if a <= UInt128(UInt64.max), b <= UInt128(UInt64.max) { return a * b % modulo }
    let (high, low) = (a % modulo).multipliedFullWidth(by: b % modulo)
    return modulo.dividingFullWidth((high, low)).remainder
  }

  static func powerOfTen(_ exponent: Int, modulo: UInt128) -> UInt128 {
    var result: UInt128 = 1 % modulo
    var factor: UInt128 = 10 % modulo
    var rest = exponent
    while rest > 0 {
      if rest & 1 == 1 { result = product(result, factor, modulo: modulo) }
      factor = product(factor, factor, modulo: modulo)
      rest >>= 1
    }
    return result
  }
}
