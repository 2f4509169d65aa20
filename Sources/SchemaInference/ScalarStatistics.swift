/// What strings at one place are like. Bounded: few different values are kept, with their counts.
struct StringStatistics {
  private(set) var count = 0
  /// In code points.
  private(set) var shortest = Int.max
  private(set) var longest = 0
  private(set) var forms = TextForms.all
  /// The different values; nil once there are too many, or too long ones.
  private(set) var values: [(text: [UInt8], count: Int)]? = []

  static let mostValues = 32
  static let longestValue = 64

  /// - Parameters:
  ///   - text: UTF-8.
  ///   - times: how often it was there.
  mutating func observe(_ text: UnsafeRawBufferPointer, times: Int = 1) {
    count += times
    var length = 0
    for byte in text where byte & 0xC0 != 0x80 { length &+= 1 }
    shortest = min(shortest, length)
    longest = max(longest, length)
    if !forms.isEmpty { forms = forms.kept(by: text) }
    guard let known = values?.count else { return }
    for index in 0..<known where Self.isEqual(values?[index].text, text) {
      values?[index].count += times
      return
    }
    if known == Self.mostValues || text.count > Self.longestValue {
      values = nil
    } else {
      values?.append((Array(text), times))
    }
  }

  private static func isEqual(_ text: [UInt8]?, _ other: UnsafeRawBufferPointer) -> Bool {
    guard let text, text.count == other.count else { return false }
    return text.elementsEqual(other)
  }

  mutating func merge(_ other: StringStatistics) {
    guard other.count > 0 else { return }
    count += other.count
    shortest = min(shortest, other.shortest)
    longest = max(longest, other.longest)
    forms.formIntersection(other.forms)
    guard let theirs = other.values, var mine = values else {
      values = nil
      return
    }
    for value in theirs {
      if let index = mine.firstIndex(where: { $0.text == value.text }) {
        mine[index].count += value.count
      } else {
        mine.append(value)
      }
    }
    values = mine.count <= Self.mostValues ? mine : nil
  }
}

/// What numbers at one place are like.
struct NumberStatistics {
  private(set) var integers = 0
  /// Written with a fraction or an exponent.
  private(set) var fractions = 0
  private(set) var least = Double.infinity
  private(set) var greatest = -Double.infinity

  var count: Int { integers + fractions }

  mutating func observe(_ digits: UnsafeRawBufferPointer, isInteger: Bool) {
    if isInteger { integers += 1 } else { fractions += 1 }
    let value = Self.value(digits, isInteger)
    // A number may lie beside its nearest double.
    least = min(least, abs(value) < 0x1p53 && isInteger ? value : value.nextDown)
    greatest = max(greatest, abs(value) < 0x1p53 && isInteger ? value : value.nextUp)
  }

  private static func value(_ digits: UnsafeRawBufferPointer, _ isInteger: Bool) -> Double {
    if isInteger, digits.count <= 16 {
      var value = 0
      var isNegative = false
      for byte in digits {
        if byte == UInt8(ascii: "-") {
          isNegative = true
        } else {
          value = value * 10 + Int(byte & 15)
        }
      }
      return Double(isNegative ? -value : value)
    }
    return Double(String(decoding: digits, as: UTF8.self)) ?? .infinity
  }

  mutating func merge(_ other: NumberStatistics) {
    integers += other.integers
    fractions += other.fractions
    least = min(least, other.least)
    greatest = max(greatest, other.greatest)
  }
}
