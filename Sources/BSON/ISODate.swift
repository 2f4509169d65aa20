/// Times as text: RFC 3339 in UTC.
public enum ISODate {
  /// The range of four-digit years: milliseconds since 1970 from the start of year 0 to the end of year
  /// 9999 in the proleptic Gregorian calendar.
  @inlinable
  public static var range: ClosedRange<Int64> { -62_167_219_200_000...253_402_300_799_999 }

  /// Reads RFC 3339 (`2026-11-23T13:00:00.123Z`, `…+01:00`, also `…+0100`), truncated to milliseconds. Nil
  /// for anything else.
  public static func milliseconds(parsing text: String) -> Int64? {
    var rest = Array(text.utf8)[...]
    func number(_ digits: Int) -> Int64? {
      guard rest.count >= digits else { return nil }
      var value: Int64 = 0
      for digit in rest.prefix(digits) {
        guard (48...57).contains(digit) else { return nil }
        value = value * 10 + Int64(digit - 48)
      }
      rest = rest.dropFirst(digits)
      return value
    }
    func mark(_ choices: String) -> UInt8? {
      guard let first = rest.first, choices.utf8.contains(first) else { return nil }
      rest = rest.dropFirst()
      return first
    }
    guard let year = number(4), mark("-") != nil, let month = number(2), mark("-") != nil,
      let day = number(2), mark("Tt ") != nil, let hour = number(2), mark(":") != nil,
      let minute = number(2), mark(":") != nil, let second = number(2)
    else { return nil }
    var fraction: Int64 = 0
    if mark(".") != nil {
      let digits = rest.prefix { (48...57).contains($0) }
      guard !digits.isEmpty else { return nil }
      rest = rest.dropFirst(digits.count)
      for place in 0..<3 {
        let digit = place < digits.count ? digits[digits.startIndex + place] - 48 : 0
        fraction = fraction * 10 + Int64(digit)
      }
    }
    var offset: Int64 = 0
    if let sign = mark("+-") {
      guard let hours = number(2) else { return nil }
      _ = mark(":")
      guard let minutes = number(2), hours < 24, minutes < 60 else { return nil }
      offset = (hours * 60 + minutes) * (sign == UInt8(ascii: "-") ? -1 : 1)
    } else if mark("Zz") == nil {
      return nil
    }
    guard rest.isEmpty, (1...12).contains(month), day >= 1, day <= days(in: month, of: year),
      hour < 24, minute < 60, second < 60
    else { return nil }
    let minutes = (daysSince1970(year, month, day) * 24 + hour) * 60 + minute - offset
    return (minutes * 60 + second) * 1000 + fraction
  }

  private static func days(in month: Int64, of year: Int64) -> Int64 {
    let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    return month == 2 ? (isLeap ? 29 : 28) : [4, 6, 9, 11].contains(month) ? 30 : 31
  }

  /// Counts years from March, so that the leap day is the last day of a year.
  private static func daysSince1970(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
    let y = (month <= 2 ? year - 1 : year) + 400
    let inYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    return 365 * y + y / 4 - y / 100 + y / 400 + inYear - 719_468 - 146_097
  }
}

extension ByteWriter {
  /// Writes `2026-11-23T13:00:00.123Z`, always with milliseconds; outside `ISODate.range` the number of
  /// milliseconds since 1970 instead.
  public mutating func appendISODate(milliseconds: Int64) {
    appendISODate(milliseconds: milliseconds, alwaysFraction: true)
  }

  /// Without `alwaysFraction`, whole seconds have no fraction, as Extended JSON requires.
  mutating func appendISODate(milliseconds: Int64, alwaysFraction: Bool) {
    guard ISODate.range.contains(milliseconds) else { return append(decimal: milliseconds) }
    // Unsigned from here on: counted from the start of year 0.
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

  /// Counts years from March, so that the leap day is the last day of a year, in cycles of 400 years or
  /// 146,097 days. One cycle is added and subtracted again, because January and February of year 0 belong
  /// to the previous March year.
  private static func calendarDate(
    daysSinceYear0: UInt64
  ) -> (year: UInt64, month: UInt64, day: UInt64) {
    let daysBeforeMarch: UInt64 = 60  // January and February of year 0, a leap year
    let sinceMarch = daysSinceYear0 &+ 146_097 &- daysBeforeMarch
    let (cycle, inCycle) = sinceMarch.quotientAndRemainder(dividingBy: 146_097)
    // Subtract the leap days, which leaves years of 365 days.
    let year = (inCycle &- inCycle / 1460 &+ inCycle / 36_524 &- inCycle / 146_096) / 365
    let inYear = inCycle &- (365 &* year &+ year / 4 &- year / 100)
    // From March on, five months have 153 days: month m starts at (153 m + 2) / 5.
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
