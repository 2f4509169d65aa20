/// Instants as text: RFC 3339 in UTC.
public enum ISODate {
  /// What four digits of a year can say: milliseconds since 1970 from the start of year 0 to the
  /// end of year 9999, in the proleptic Gregorian calendar.
  @inlinable
  public static var range: ClosedRange<Int64> { -62_167_219_200_000...253_402_300_799_999 }
}

extension ByteWriter {
  /// Writes `2026-11-23T13:00:00.123Z`, always with milliseconds; outside of `ISODate.range` the
  /// number of milliseconds since 1970 instead.
  public mutating func appendISODate(milliseconds: Int64) {
    appendISODate(milliseconds: milliseconds, alwaysFraction: true)
  }

  /// Without `alwaysFraction`, whole seconds have no fraction, as Extended JSON asks.
  mutating func appendISODate(milliseconds: Int64, alwaysFraction: Bool) {
    guard ISODate.range.contains(milliseconds) else { return append(decimal: milliseconds) }
    // Unsigned from here on: counted from the start of year 0, nothing is negative.
    let sinceYear0 = UInt64(bitPattern: milliseconds &- ISODate.range.lowerBound)
    let (day, inDay) = sinceYear0.quotientAndRemainder(dividingBy: 86_400_000)
    let date = Self.calendarDate(daysSinceYear0: day)
    let seconds = inDay / 1000

    reserve(24)
    store(pair: date.year / 100)
    store(pair: date.year % 100)
    store(UInt8(ascii: "-"), pair: date.month)
    store(UInt8(ascii: "-"), pair: date.day)
    store(UInt8(ascii: "T"), pair: seconds / 3600)
    store(UInt8(ascii: ":"), pair: seconds / 60 % 60)
    store(UInt8(ascii: ":"), pair: seconds % 60)
    if alwaysFraction || inDay % 1000 != 0 {
      append(UInt8(ascii: "."))
      append(UInt8(truncatingIfNeeded: 48 &+ inDay % 1000 / 100))
      store(pair: inDay % 100)
    }
    append(UInt8(ascii: "Z"))
  }

  @inline(__always)
  private mutating func store(_ separator: UInt8, pair: UInt64) {
    base[_count] = separator
    _count &+= 1
    store(pair: pair)
  }

  /// Years are counted from March, so that the leap day is the last day of a year, in cycles of 400
  /// years or 146,097 days. One cycle is added and taken off again: January and February of year 0
  /// belong to the March year before it.
  private static func calendarDate(
    daysSinceYear0: UInt64
  ) -> (year: UInt64, month: UInt64, day: UInt64) {
    let daysBeforeMarch: UInt64 = 60  // January and February of year 0, a leap year
    let sinceMarch = daysSinceYear0 &+ 146_097 &- daysBeforeMarch
    let (cycle, inCycle) = sinceMarch.quotientAndRemainder(dividingBy: 146_097)
    // Take out the leap days to be left with years of 365 days.
    let year = (inCycle &- inCycle / 1460 &+ inCycle / 36_524 &- inCycle / 146_096) / 365
    let inYear = inCycle &- (365 &* year &+ year / 4 &- year / 100)
    // Five months from March on have 153 days: the line (153 m + 2) / 5 gives each one's start.
    let month = (5 &* inYear &+ 2) / 153
    let day = inYear &- (153 &* month &+ 2) / 5 &+ 1
    let isNextYear = month >= 10
    return (
      year &+ 400 &* cycle &- 400 &+ (isNextYear ? 1 : 0),
      isNextYear ? month &- 9 : month &+ 3,
      day
    )
  }
}
