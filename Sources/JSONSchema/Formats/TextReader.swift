/// Reads a text from its start, byte after byte. What reads a part returns whether it was there.
///
/// Safety invariant: borrows `text`, which outlives it: it is made and used within one check of a value.
struct TextReader {
  let text: UnsafeRawBufferPointer
  var at = 0

  @inline(__always)
  init(_ text: UnsafeRawBufferPointer) { self.text = text }

  @inline(__always)
  var isAtEnd: Bool { at == text.count }

  /// The byte here, or 0 at the end; a NUL in the text reads alike, and nothing accepts one.
  @inline(__always)
  var current: UInt8 { at < text.count ? text[at] : 0 }

  @inline(__always)
  mutating func eat(_ character: Unicode.Scalar) -> Bool {
    guard at < text.count, text[at] == UInt8(ascii: character) else { return false }
    at &+= 1
    return true
  }

  /// A letter in either case.
  @inline(__always)
  mutating func eat(letter: Unicode.Scalar) -> Bool {
    guard at < text.count, text[at] | 0x20 == UInt8(ascii: letter) else { return false }
    at &+= 1
    return true
  }

  /// A run of decimal digits; its length.
  @inline(__always)
  mutating func digits() -> Int {
    let start = at
    while at < text.count, text[at] &- 0x30 < 10 { at &+= 1 }
    return at &- start
  }

  /// Exactly two digits, or nil.
  @inline(__always)
  mutating func pair() -> Int? {
    guard at &+ 2 <= text.count else { return nil }
    let tens = text[at] &- 0x30
    let ones = text[at &+ 1] &- 0x30
    guard tens < 10, ones < 10 else { return nil }
    at &+= 2
    return Int(tens) &* 10 &+ Int(ones)
  }

  @inline(__always)
  static func isHex(_ byte: UInt8) -> Bool {
    byte &- 0x30 < 10 || (byte | 0x20) &- 0x61 < 6
  }

  @inline(__always)
  static func isLetter(_ byte: UInt8) -> Bool { (byte | 0x20) &- 0x61 < 26 }

  @inline(__always)
  static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }

  // MARK: Dates and times (RFC 3339)

  @inline(__always)
  mutating func date() -> Bool {
    guard let century = pair(), let year = pair(), eat("-"), let month = pair(), eat("-"),
      let day = pair()
    else { return false }
    return (1...12).contains(month) && day >= 1
      && day <= Self.days(in: month, of: century &* 100 &+ year)
  }

  @inline(__always)
  private static func days(in month: Int, of year: Int) -> Int {
    if month == 2 {
      return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
    }
    // 31 days in 1, 3, 5, 7, 8, 10 and 12.
    return 30 &+ (month &+ month / 8) & 1
  }

  @inline(__always)
  mutating func dateTime() -> Bool {
    date() && eat(letter: "t") && time()
  }

  /// With its offset. A leap second is one only at the end of a day in UTC.
  @inline(__always)
  mutating func time() -> Bool {
    guard let hour = pair(), eat(":"), let minute = pair(), eat(":"), let second = pair(),
      hour < 24, minute < 60, second <= 60
    else { return false }
    if eat("."), digits() == 0 { return false }
    if eat(letter: "z") { return second < 60 || (hour == 23 && minute == 59) }
    let isWest = current == UInt8(ascii: "-")
    guard isWest || current == UInt8(ascii: "+") else { return false }
    at &+= 1
    guard let offsetHour = pair(), eat(":"), let offsetMinute = pair(), offsetHour < 24,
      offsetMinute < 60
    else { return false }
    if second < 60 { return true }
    let offset = (offsetHour &* 60 &+ offsetMinute) &* (isWest ? 1 : -1)
    return (hour &* 60 &+ minute &+ offset &+ 2 &* 1440) % 1440 == 1439
  }

  /// Appendix A of RFC 3339: units in order, none left out in between, weeks alone.
  mutating func duration() -> Bool {
    guard eat("P") else { return false }
    let start = at
    if digits() > 0, eat("W") { return true }
    at = start
    guard let hasDate = units("Y", "M", "D") else { return false }
    guard eat("T") else { return hasDate }
    return units("H", "M", "S") == true
  }

  /// Up to three numbers with these units; nil if one is out of order, false if there is none.
  private mutating func units(
    _ first: Unicode.Scalar, _ second: Unicode.Scalar, _ third: Unicode.Scalar
  ) -> Bool? {
    var last = 0
    while Self.isDigit(current) {
      _ = digits()
      let unit = eat(first) ? 1 : eat(second) ? 2 : eat(third) ? 3 : 0
      // The first unit may be any, each further one the next.
      guard unit > 0, last == 0 || unit == last + 1 else { return nil }
      last = unit
      if unit == 3 { break }
    }
    return last > 0
  }

  // MARK: Addresses

  /// Four numbers up to 255 without leading zeros.
  mutating func ipv4() -> Bool {
    for part in 0..<4 {
      if part > 0, !eat(".") { return false }
      let start = at
      let count = digits()
      guard count > 0, count <= 3, count == 1 || text[start] != UInt8(ascii: "0") else {
        return false
      }
      var value = 0
      for index in start..<at { value = value &* 10 &+ Int(text[index] &- 0x30) }
      guard value <= 255 else { return false }
    }
    return true
  }

  /// RFC 4291, section 2.2.
  mutating func ipv6() -> Bool {
    var groups = 0
    var hasGap = false
    if eat(":") {
      guard eat(":") else { return false }
      hasGap = true
    }
    // After a gap there may be nothing more.
    var mayEnd = hasGap
    while true {
      let start = at
      while Self.isHex(current), at &- start < 5 { at &+= 1 }
      let length = at &- start
      if length == 0 { return mayEnd && (hasGap ? groups < 8 : groups == 8) }
      if current == UInt8(ascii: ".") {
        at = start
        guard ipv4() else { return false }
        groups &+= 2
        return hasGap ? groups < 8 : groups == 8
      }
      guard length <= 4 else { return false }
      groups &+= 1
      guard groups <= 8 else { return false }
      guard eat(":") else { return hasGap ? groups < 8 : groups == 8 }
      mayEnd = false
      if eat(":") {
        guard !hasGap else { return false }
        hasGap = true
        mayEnd = true
      }
    }
  }

  @inline(__always)
  mutating func uuid() -> Bool {
    guard text.count == 36 else { return false }
    for index in 0..<36 {
      let byte = text[index]
      switch index {
      case 8, 13, 18, 23: if byte != UInt8(ascii: "-") { return false }
      default: if !Self.isHex(byte) { return false }
      }
    }
    at = 36
    return true
  }

  // MARK: Pointers

  /// RFC 6901.
  mutating func jsonPointer() -> Bool {
    guard !isAtEnd else { return true }
    guard current == UInt8(ascii: "/") else { return false }
    while at < text.count {
      if text[at] == UInt8(ascii: "~") {
        at &+= 1
        guard at < text.count, text[at] == UInt8(ascii: "0") || text[at] == UInt8(ascii: "1")
        else { return false }
      }
      at &+= 1
    }
    return true
  }

  mutating func relativeJSONPointer() -> Bool {
    let startsWithZero = current == UInt8(ascii: "0")
    let count = digits()
    guard count > 0, count == 1 || !startsWithZero else { return false }
    return eat("#") || jsonPointer()
  }
}
