// Decimal128 as text, by MongoDB's Decimal128 specification (IEEE 754-2008 conversion to a string). All
// digits and the exponent are kept: "1.50" stays "1.50".

extension ByteWriter {
  /// Writes a decimal from its 128 bits: `-1.50`, `1E+3`, `NaN`, `Infinity`, `-Infinity`.
  public mutating func appendDecimal128(high: UInt64, low: UInt64) {
    // Sign, then five bits that select the format of the rest.
    let isNegative = high >> 63 == 1
    let form = high >> 58 & 31
    if form == 31 { return append("NaN") }
    if isNegative { append(UInt8(ascii: "-")) }
    if form == 30 { return append("Infinity") }

    let bias = 6176
    let exponent: Int
    var digits: (high: UInt64, low: UInt64)
    if form >> 3 == 3 {
      // The format for larger coefficients, all of which exceed 34 digits.
      exponent = Int(high >> 47 & 0x3FFF) &- bias
      digits = (0, 0)
    } else {
      exponent = Int(high >> 49 & 0x3FFF) &- bias
      digits = (high & 0x0001_FFFF_FFFF_FFFF, low)
    }
    // Coefficients from 10^34 on aren't canonical and mean zero.
    let limit: (high: UInt64, low: UInt64) = (0x0001_ED09_BEAD_87C0, 0x378D_8E64_0000_0000)
    if digits.high > limit.high || (digits.high == limit.high && digits.low >= limit.low) {
      digits = (0, 0)
    }
    // Two numbers of at most 18 digits. The quotient fits, since `digits.high` is less than 10^18.
    let ten18: UInt64 = 1_000_000_000_000_000_000
    let (upper, lower) = ten18.dividingFullWidth((digits.high, digits.low))
    append(upper: upper, lower: lower, exponent: exponent)
  }

  private mutating func append(upper: UInt64, lower: UInt64, exponent: Int) {
    let start = count
    if upper > 0 {
      append(decimal: upper)
      append(decimal: lower, digits: 18)
    } else {
      append(decimal: lower)
    }
    let digits = count &- start
    // The exponent with one digit before the point.
    let scientific = digits &- 1 &+ exponent
    if exponent > 0 || scientific < -6 {
      if digits > 1 { openGap(at: start &+ 1, width: 1, fill: UInt8(ascii: ".")) }
      append(scientific < 0 ? "E-" : "E+")
      append(decimal: UInt64(scientific.magnitude))
    } else if exponent < 0 {
      let whole = digits &+ exponent
      if whole > 0 {
        openGap(at: start &+ whole, width: 1, fill: UInt8(ascii: "."))
      } else {
        openGap(at: start, width: 2 &- whole, fill: UInt8(ascii: "0"))
        patch(UInt8(ascii: "."), at: start &+ 1)
      }
    }
  }

  /// Moves everything from `offset` on by `width` bytes, which are filled with `fill`.
  private mutating func openGap(at offset: Int, width: Int, fill: UInt8) {
    reserve(width)
    (base + offset + width).update(from: base + offset, count: count &- offset)
    (base + offset).update(repeating: fill, count: width)
    _count &+= width
  }
}
