// Durations (`500ms 30s 10m 7d`) and sizes (`64KiB 10MiB`).

package enum Units {
  package static let durationRemedy =
    "write a number and a unit (ms, s, m, h, d), such as 500ms or 7d"
  package static let sizeRemedy =
    "write bytes, or a number and a unit (B, KiB, MiB, GiB), such as 64KiB"

  /// Nanoseconds. Several parts may follow each other, largest first or not: `1h30m`.
  static func nanoseconds(_ text: String) -> Int64? {
    var rest = text[...]
    var total: Int64 = 0
    guard !rest.isEmpty else { return nil }
    while !rest.isEmpty {
      guard let number = popNumber(&rest) else { return nil }
      let unit = rest.prefix { $0.isLetter }
      rest = rest.dropFirst(unit.count)
      let factor: Int64
      switch unit {
      case "ns": factor = 1
      case "us", "µs": factor = 1000
      case "ms": factor = 1_000_000
      case "s": factor = 1_000_000_000
      case "m": factor = 60_000_000_000
      case "h": factor = 3_600_000_000_000
      case "d": factor = 86_400_000_000_000
      default: return nil
      }
      let (part, over) = number.multipliedReportingOverflow(by: factor)
      let (sum, overSum) = total.addingReportingOverflow(part)
      if over || overSum { return nil }
      total = sum
    }
    return total
  }

  package static func duration(_ text: String) -> Duration? {
    nanoseconds(text).map { .nanoseconds($0) }
  }

  /// Bytes.
  package static func bytes(_ text: String) -> Int64? {
    var rest = text[...]
    guard let number = popNumber(&rest) else { return nil }
    let shift: Int64
    switch rest.drop(while: { $0 == " " }) {
    case "", "B": shift = 0
    case "KiB": shift = 10
    case "MiB": shift = 20
    case "GiB": shift = 30
    case "TiB": shift = 40
    default: return nil
    }
    let (size, over) = number.multipliedReportingOverflow(by: 1 << shift)
    return over ? nil : size
  }

  private static func popNumber(_ rest: inout Substring) -> Int64? {
    let digits = rest.prefix { $0.isASCII && $0.isNumber }
    rest = rest.dropFirst(digits.count)
    return Int64(digits)
  }

  /// In the largest unit that gives a whole number.
  static func describe(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    let milliseconds = seconds * 1000 + attoseconds / 1_000_000_000_000_000
    for (unit, factor) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)]
    where milliseconds >= factor && milliseconds % Int64(factor) == 0 {
      return "\(milliseconds / Int64(factor))\(unit)"
    }
    return "\(milliseconds)ms"
  }
}
