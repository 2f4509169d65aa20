/// The server's way to write times: RFC 3339 in UTC, with as many digits of a second as are needed.
public enum Timestamp {
  /// What Go writes for no time at all.
  public static let none = "0001-01-01T00:00:00Z"

  /// - Parameter time: nanoseconds since 1970.
  public static func text(_ time: Int64) -> String {
    let (seconds, nanoseconds) = split(time, 1_000_000_000)
    let (days, second) = split(seconds, 86_400)
    let (year, month, day) = date(days)
    var text = "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))T"
    text += "\(padded(second / 3600, 2)):\(padded(second / 60 % 60, 2)):\(padded(second % 60, 2))"
    if nanoseconds > 0 {
      var digits = padded(nanoseconds, 9)
      while digits.hasSuffix("0") { digits.removeLast() }
      text += ".\(digits)"
    }
    return text + "Z"
  }

  private static func split(_ value: Int64, _ by: Int64) -> (Int64, Int64) {
    var (quotient, rest) = value.quotientAndRemainder(dividingBy: by)
    if rest < 0 {
      quotient -= 1
      rest += by
    }
    return (quotient, rest)
  }

  private static func padded(_ value: Int64, _ width: Int) -> String {
    let digits = String(value)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }

  /// The civil date of a day since 1970: years begin in March, so that the leap day is the last.
  private static func date(_ days: Int64) -> (Int64, Int64, Int64) {
    let (era, ofEra) = split(days + 719_468, 146_097)
    let year = (ofEra - ofEra / 1460 + ofEra / 36_524 - ofEra / 146_096) / 365
    let day = ofEra - (365 * year + year / 4 - year / 100)
    let month = (5 * day + 2) / 153
    let civil = month < 10 ? month + 3 : month - 9
    return (year + era * 400 + (civil <= 2 ? 1 : 0), civil, day - (153 * month + 2) / 5 + 1)
  }
}
