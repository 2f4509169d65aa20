import BSON
import TestRandom
import Testing

@Suite struct Decimal128Tests {
  /// Bits by the encoding's rules: exponent + 6176 from bit 113 on, then the coefficient.
  @Test(
    arguments: [
      ("0", 0x3040_0000_0000_0000, 0),
      ("-0", 0xB040_0000_0000_0000, 0),
      ("1", 0x3040_0000_0000_0000, 1),
      ("-1", 0xB040_0000_0000_0000, 1),
      ("0.1", 0x303E_0000_0000_0000, 1),
      ("1.50", 0x303C_0000_0000_0000, 150),
      ("-0.00", 0xB03C_0000_0000_0000, 0),
      ("0.000001", 0x3034_0000_0000_0000, 1),
      ("0.000010", 0x3034_0000_0000_0000, 10),
      ("1E-7", 0x3032_0000_0000_0000, 1),
      ("0.0000010", 0x3032_0000_0000_0000, 10),
      ("1.0E-7", 0x3030_0000_0000_0000, 10),
      ("0E-7", 0x3032_0000_0000_0000, 0),
      ("0.000000", 0x3034_0000_0000_0000, 0),
      ("1E+1", 0x3042_0000_0000_0000, 1),
      ("0E+3", 0x3046_0000_0000_0000, 0),
      ("1.23E+5", 0x3046_0000_0000_0000, 123),
      ("12345678.543210", 0x3034_0000_0000_0000, 12_345_678_543_210),
      ("1E-6176", 0x0000_0000_0000_0000, 1),
      ("-1E-6176", 0x8000_0000_0000_0000, 1),
      ("0E-6176", 0x0000_0000_0000_0000, 0),
      ("0E+6111", 0x5FFE_0000_0000_0000, 0),
      // 10^34 - 1, the largest coefficient, and one more, which isn't canonical and means zero.
      ("9999999999999999999999999999999999", 0x3041_ED09_BEAD_87C0, 0x378D_8E63_FFFF_FFFF),
      ("0", 0x3041_ED09_BEAD_87C0, 0x378D_8E64_0000_0000),
      ("9.999999999999999999999999999999999E+6144", 0x5FFF_ED09_BEAD_87C0, 0x378D_8E63_FFFF_FFFF),
      ("9.999999999999999999999999999999999E-6143", 0x0001_ED09_BEAD_87C0, 0x378D_8E63_FFFF_FFFF),
      // 10^18: the boundary between the two halves of the digits.
      ("1000000000000000000", 0x3040_0000_0000_0000, 1_000_000_000_000_000_000),
      ("999999999999999999", 0x3040_0000_0000_0000, 999_999_999_999_999_999),
      ("18446744073709551616", 0x3040_0000_0000_0001, 0),
      // The format for larger coefficients: always zero, but with an exponent.
      ("0", 0x6C10_0000_0000_0000, 1),
      ("0E+3", 0x6C11_8000_0000_0000, 7),
      ("-0E-7", 0xEC0C_8000_0000_0000, 7),
      ("Infinity", 0x7800_0000_0000_0000, 0),
      ("-Infinity", 0xF800_0000_0000_0000, 0),
      ("Infinity", 0x7800_0000_0000_0001, 5),
      ("NaN", 0x7C00_0000_0000_0000, 0),
      ("NaN", 0xFC00_0000_0000_0000, 0),
      ("NaN", 0x7E00_0000_0000_0000, 12),
    ] as [(String, UInt64, UInt64)])
  func decimalIsAsSpecified(expected: String, high: UInt64, low: UInt64) {
    #expect(text { $0.appendDecimal128(high: high, low: low) } == expected)
  }

  @Test func decimalsAreLibBSONs() {
    var random = SeededRandom(seed: 0xDEC_128)
    for round in 0..<60_000 {
      let low = random.next() >> UInt64(random.below(64))
      // Without coefficients from 10^34 on, which libbson writes as (wrong) numbers.
      var high = random.next() & ~(1 << 48)
      if round % 2 == 0 {
        // Exponents near zero, at the boundary of plain and scientific notation.
        let exponent = UInt64(6176 - 45 + random.below(60))
        high = (high >> 63) << 63 | exponent << 49 | high >> UInt64(16 + random.below(48))
      }
      let ours = text { $0.appendDecimal128(high: high, low: low) }
      let theirs = LibBSON.decimal(high: high, low: low)
      guard ours == theirs else {
        Issue.record("\(String(high, radix: 16)) \(String(low, radix: 16)): \(ours), not \(theirs)")
        return
      }
    }
  }

  @Test func decimalsReadBack() throws {
    var random = SeededRandom(seed: 0xDEC_BAC)
    for _ in 0..<20_000 {
      let exponent = UInt64(random.below(12_288))
      let high = (random.next() >> 63) << 63 | exponent << 49 | random.next() >> 16
      let low = random.next()
      let written = text { $0.appendDecimal128(high: high, low: low) }
      let read = try #require(LibBSON.decimal(written))
      guard read == (high, low) else {
        Issue.record("\(written)")
        return
      }
    }
  }
}
