import BSON
import TestRandom
import Testing

@Suite struct NumberTests {
  @Test(arguments: [
    (0.0, "0.0"), (-0.0, "-0.0"), (1, "1.0"), (-1, "-1.0"), (0.1, "0.1"), (-1.5, "-1.5"),
    (0.30000000000000004, "0.30000000000000004"), (123456.789, "123456.789"),
    (9_007_199_254_740_992, "9007199254740992.0"), (-9_007_199_254_740_992, "-9007199254740992.0"),
    (9_007_199_254_740_994, "9.007199254740994e+15"), (1e16, "1e+16"), (1e22, "1e+22"),
    (0.0001, "0.0001"), (0.00001, "1e-05"), (.leastNonzeroMagnitude, "5e-324"),
    (.greatestFiniteMagnitude, "1.7976931348623157e+308"),
    (.leastNormalMagnitude, "2.2250738585072014e-308"),
    (.nan, "NaN"), (.infinity, "Infinity"), (-.infinity, "-Infinity"),
    (Double(bitPattern: 0xFFF8_0000_0000_0001), "NaN"),
  ])
  func doubleIsShortest(value: Double, expected: String) {
    #expect(text { $0.append(shortest: value) } == expected)
  }

  @Test func doublesAreTheStandardLibrarys() {
    var random = SeededRandom(seed: 0xD0_0B1E)
    for round in 0..<100_000 {
      let value =
        round % 2 == 0
        ? Double(bitPattern: random.next()) : Double(Int64(bitPattern: random.next()) >> 20) / 1000
      guard value.isFinite else { continue }
      let written = text { $0.append(shortest: value) }
      guard written == value.description, Double(written)?.bitPattern == value.bitPattern else {
        Issue.record("\(value) is written \(written)")
        return
      }
    }
  }

  @Test func integersAreTheStandardLibrarys() {
    var values: [UInt64] = [0, .max, UInt64(Int64.max), UInt64(Int64.max) + 1]
    var power: UInt64 = 1
    while power < 10_000_000_000_000_000_000 {
      values += [power - 1, power, power + 1]
      power *= 10
    }
    values += [9_999_999_999_999_999_999, 10_000_000_000_000_000_000, 10_000_000_000_000_000_001]
    var random = SeededRandom(seed: 1)
    for _ in 0..<20_000 { values.append(random.next() >> UInt64(random.below(64))) }
    for value in values {
      let signed = Int64(bitPattern: value)
      guard text({ $0.append(decimal: value) }) == "\(value)",
        text({ $0.append(decimal: signed) }) == "\(signed)"
      else {
        Issue.record("\(value)")
        return
      }
    }
  }
}
