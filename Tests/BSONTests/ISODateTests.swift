import BSON
import TestRandom
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

@Suite struct ISODateTests {
  @Test(
    arguments: [
      (0, "1970-01-01T00:00:00.000Z"),
      (-1, "1969-12-31T23:59:59.999Z"),
      (1_763_902_800_123, "2025-11-23T13:00:00.123Z"),
      (951_782_400_000, "2000-02-29T00:00:00.000Z"),
      (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
      (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
      (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
      (-62_162_121_600_000, "0000-02-29T00:00:00.000Z"),
      (-62_162_035_200_000, "0000-03-01T00:00:00.000Z"),
      (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
      (-62_167_219_200_001, "-62167219200001"),
      (253_402_300_800_000, "253402300800000"),
      (.min, "-9223372036854775808"),
      (.max, "9223372036854775807"),
    ] as [(Int64, String)])
  func dateIsRFC3339(milliseconds: Int64, expected: String) {
    #expect(text { $0.appendISODate(milliseconds: milliseconds) } == expected)
  }

  /// Compared with the C library's calendar: the first and last days of months and years, and random times.
  @Test func datesAreTheCLibrarys() {
    var random = SeededRandom(seed: 0xDA7E)
    let range = ISODate.range
    for _ in 0..<50_000 {
      let milliseconds = Int64.random(in: range, using: &random)
      let written = text { $0.appendISODate(milliseconds: milliseconds) }
      guard written == Self.reference(milliseconds) else {
        Issue.record("\(milliseconds): \(written), not \(Self.reference(milliseconds))")
        return
      }
    }
    // 400 years include every kind of year; one time per day.
    for day in -10_000..<136_097 {
      let milliseconds = Int64(day) * 86_400_000
      guard text({ $0.appendISODate(milliseconds: milliseconds) }) == Self.reference(milliseconds)
      else {
        Issue.record("day \(day)")
        return
      }
    }
  }

  private static func reference(_ milliseconds: Int64) -> String {
    var seconds = time_t(milliseconds / 1000)
    var rest = milliseconds % 1000
    if rest < 0 {
      rest += 1000
      seconds -= 1
    }
    var parts = tm()
    gmtime_r(&seconds, &parts)
    func padded(_ number: some BinaryInteger, _ width: Int) -> String {
      let digits = String(number)
      return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
    return "\(padded(parts.tm_year + 1900, 4))-\(padded(parts.tm_mon + 1, 2))-"
      + "\(padded(parts.tm_mday, 2))T\(padded(parts.tm_hour, 2)):\(padded(parts.tm_min, 2)):"
      + "\(padded(parts.tm_sec, 2)).\(padded(rest, 3))Z"
  }
}
