import BSON

// How MongoDB compares values (its comparison order, without collations): first by kind, where all
// numbers are one, then by value.

/// The place of a type's kind in that order.
func comparisonClass(_ type: BSONType) -> Int {
  switch type {
  case .minKey: -1
  case .undefined: 0
  case .null: 5
  case .double, .int32, .int64, .decimal128: 10
  case .string, .symbol: 15
  case .document: 20
  case .array: 25
  case .binary: 30
  case .objectID: 35
  case .bool: 40
  case .date: 45
  case .timestamp: 47
  case .regex: 50
  case .dbPointer: 55
  case .javascript: 60
  case .javascriptWithScope: 65
  case .maxKey: 127
  }
}

/// As servers compare in queries: values of the same kind only; but what is missing equals null, and
/// everything lies between minKey and maxKey.
///
/// - Parameter steps: what is taken is taken out of these. Negative: there were not enough, and the result
///   means nothing.
func comparison(
  _ kind: ConditionNode.Kind, _ value: BSONElement, _ literal: BSONElement, _ steps: inout Int
) -> Bool {
  let (own, wanted) = (comparisonClass(value.type), comparisonClass(literal.type))
  guard own == wanted else {
    if own &+ wanted == 5, own == 0 || wanted == 0 {
      return kind == .equals || kind == .greaterOrEqual || kind == .lessOrEqual
    }
    switch literal.type {
    case .maxKey: return kind == .less || kind == .lessOrEqual
    case .minKey: return kind == .greater || kind == .greaterOrEqual
    default: return false
    }
  }
  guard let order = compare(value, literal, &steps) else { return false }
  switch kind {
  case .equals: return order == 0
  case .greater: return order > 0
  case .greaterOrEqual: return order >= 0
  case .less: return order < 0
  default: return order <= 0
  }
}

extension ConditionValue {
  /// Values of its kind have one order, in which it has a place.
  var hasOrder: Bool {
    switch type {
    case .string, .symbol, .objectID, .date, .bool, .timestamp, .binary, .int32, .int64: true
    case .double, .decimal128: !withElement { $0.isNaN }
    default: false
    }
  }

  func isLess(than other: ConditionValue) -> Bool {
    var steps = Int.max
    return withElement { a in other.withElement { b in (compare(a, b, &steps) ?? 0) < 0 } }
  }

  private func withElement<R>(_ body: (BSONElement) -> R) -> R {
    bytes.withUnsafeBytes {
      body(BSONElement(type: type, key: .init(start: nil, count: 0), value: $0))
    }
  }
}

/// Negative, zero or positive; nil where a NaN has no order to a number, or the steps are used up.
func compare(_ a: BSONElement, _ b: BSONElement, _ steps: inout Int) -> Int? {
  let (classA, classB) = (comparisonClass(a.type), comparisonClass(b.type))
  if classA != classB { return classA < classB ? -1 : 1 }
  switch a.type {
  case .double, .int32, .int64, .decimal128: return compareNumbers(a, b, &steps)
  case .document, .array: return compareDocuments(a, b, &steps)
  case .date, .bool:
    let (x, y) = (a.order, b.order)
    return x == y ? 0 : x < y ? -1 : 1
  case .timestamp:
    let (x, y) = (UInt64(bitPattern: a.order), UInt64(bitPattern: b.order))
    return x == y ? 0 : x < y ? -1 : 1
  case .null, .undefined, .minKey, .maxKey: return 0
  default: break
  }
  guard steps.charge(min(a.value.count, b.value.count) &>> 5) else { return nil }
  switch a.type {
  case .string, .symbol: return compareBytes(a.text(b), b.text(a))
  case .binary:
    let (x, y) = (a.binary, b.binary)
    guard let x, let y else { return 0 }
    if x.bytes.count != y.bytes.count { return x.bytes.count < y.bytes.count ? -1 : 1 }
    if x.subtype != y.subtype { return x.subtype < y.subtype ? -1 : 1 }
    return compareBytes(x.bytes, y.bytes)
  default: return compareBytes(a.value, b.value)
  }
}

extension BSONElement {
  fileprivate var isNaN: Bool {
    if let double { return double.isNaN }
    // The five bits behind the sign: a NaN's are all set.
    return decimal128.map { $0.high &>> 58 & 0b11111 == 0b11111 } ?? false
  }

  fileprivate func text(_ other: BSONElement) -> UnsafeRawBufferPointer { string ?? value }

  /// Eight bytes, or one.
  fileprivate var order: Int64 {
    value.count == 8 ? value.readInt64(at: 0) : Int64(value.readByte(at: 0))
  }
}

private func compareBytes(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int {
  let shared = min(a.count, b.count)
  var at = 0
  while at &+ 8 <= shared, a.readInt64(at: at) == b.readInt64(at: at) { at &+= 8 }
  while at < shared {
    let (x, y) = (a.readByte(at: at), b.readByte(at: at))
    if x != y { return x < y ? -1 : 1 }
    at &+= 1
  }
  return a.count == b.count ? 0 : a.count < b.count ? -1 : 1
}

/// Field by field: kind, then name (not in arrays), then value.
private func compareDocuments(_ a: BSONElement, _ b: BSONElement, _ steps: inout Int) -> Int? {
  guard let first = a.document, let second = b.document else { return 0 }
  var (walkA, walkB) = (first.elements(), second.elements())
  while true {
    guard let x = try? walkA.next() else { return (try? walkB.next()) == nil ? 0 : -1 }
    guard let y = try? walkB.next() else { return 1 }
    guard steps.spend(ConditionBudget.pairCost &+ x.searchCost) else { return nil }
    let (classX, classY) = (comparisonClass(x.type), comparisonClass(y.type))
    if classX != classY { return classX < classY ? -1 : 1 }
    if a.type == .document {
      let names = compareBytes(x.key, y.key)
      if names != 0 { return names }
    }
    guard let values = compare(x, y, &steps) else { return nil }
    if values != 0 { return values }
  }
}

// MARK: Numbers

private func compareNumbers(_ a: BSONElement, _ b: BSONElement, _ steps: inout Int) -> Int? {
  if let x = a.integer, let y = b.integer { return x == y ? 0 : x < y ? -1 : 1 }
  if a.type == .decimal128 || b.type == .decimal128 {
    guard steps.charge(ConditionBudget.decimalCost) else { return nil }
    // Digit by digit is slow for doubles: only where they are the decimal's nearest one.
    if let order = compareRoughly(a, b) ?? compareRoughly(b, a).map({ -$0 }) { return order }
    guard steps.charge((a.double ?? b.double).map(ComparableDecimal.cost) ?? 0) else { return nil }
    return compare(ComparableDecimal(a), ComparableDecimal(b))
  }
  if let x = a.double, let y = b.double {
    if x.isNaN || y.isNaN { return x.isNaN && y.isNaN ? 0 : nil }
    return x == y ? 0 : x < y ? -1 : 1
  }
  if let x = a.double, let y = b.integer { return compare(x, y) }
  if let x = a.integer, let y = b.double { return compare(y, x).map { -$0 } }
  return nil
}

/// A finite double and a decimal, where another double lies between them or is one of them.
private func compareRoughly(_ a: BSONElement, _ b: BSONElement) -> Int? {
  guard a.type == .double, let double = a.double, double.isFinite, let decimal = b.decimal128 else {
    return nil
  }
  var text = ByteWriter(capacity: 64)
  text.appendDecimal128(high: decimal.high, low: decimal.low)
  guard let nearest = Double(String(decoding: text.bytes, as: UTF8.self)), !nearest.isNaN else {
    return nil
  }
  return double < nearest ? -1 : double > nearest ? 1 : nil
}

/// Exactly: neither is rounded to the other's type.
private func compare(_ a: Double, _ b: Int64) -> Int? {
  if a.isNaN { return nil }
  if a >= 0x1p63 { return 1 }
  if a < -0x1p63 { return -1 }
  let whole = a.rounded(.towardZero)
  let integer = Int64(whole)
  if integer != b { return integer < b ? -1 : 1 }
  let rest = a - whole
  return rest == 0 ? 0 : rest < 0 ? -1 : 1
}

private func compare(_ a: ComparableDecimal, _ b: ComparableDecimal) -> Int? {
  if a.isNaN || b.isNaN { return a.isNaN && b.isNaN ? 0 : nil }
  if a.infinity != 0 || b.infinity != 0 {
    return a.infinity == b.infinity ? 0 : a.infinity < b.infinity ? -1 : 1
  }
  return a.compared(to: b)
}

/// Any number as decimal digits. Slow; decimals are rare.
private struct ComparableDecimal {
  var isNaN = false
  /// 1, -1, or 0 for a finite number.
  var infinity = 0
  private var isNegative = false
  /// Without zeros at either end.
  private var digits: ArraySlice<UInt8> = []
  private var exponent = 0

  init(_ element: BSONElement) {
    var text = ByteWriter(capacity: 64)
    if let decimal = element.decimal128 {
      text.appendDecimal128(high: decimal.high, low: decimal.low)
    } else if let integer = element.integer {
      text.append(decimal: integer)
    } else if let double = element.double {
      // Its exact value, as the server compares it; 2^-1074 has 767 digits at most.
      guard double.isFinite else {
        isNaN = double.isNaN
        infinity = double.isNaN ? 0 : double < 0 ? -1 : 1
        return
      }
      self = Self(exactly: double)
      return
    }
    switch String(decoding: text.bytes, as: UTF8.self) {
    case "NaN": isNaN = true
    case "Infinity": infinity = 1
    case "-Infinity": infinity = -1
    default: parse(text.bytes)
    }
  }

  private init() {}

  /// Steps for a double's digits: 1e-300 costs as much as thousands of other comparisons.
  static func cost(_ double: Double) -> Int {
    let power = abs(max(Int(double.exponentBitPattern), 1) - 1075)
    return double.isFinite ? power * (power + 64) / 16 : 0
  }

  /// A double is an integer times a power of two, and five times that a power of ten.
  private init(exactly double: Double) {
    self.init()
    isNegative = double < 0
    var mantissa = double.magnitude.significandBitPattern
    var power = Int(double.exponentBitPattern)
    if power == 0 { power = 1 } else { mantissa |= 1 << 52 }
    power -= 1075
    var big: [UInt8] = String(mantissa).utf8.map { $0 - 48 }
    let factor: UInt8 = power < 0 ? 5 : 2
    for _ in 0..<abs(power) { Self.multiply(&big, by: factor) }
    exponent = power < 0 ? power : 0
    digits = big[...]
    trim()
  }

  private static func multiply(_ digits: inout [UInt8], by factor: UInt8) {
    var carry: UInt8 = 0
    for index in digits.indices.reversed() {
      let product = digits[index] * factor + carry
      digits[index] = product % 10
      carry = product / 10
    }
    if carry > 0 { digits.insert(carry, at: 0) }
  }

  private mutating func parse(_ text: UnsafeRawBufferPointer) {
    var sawPoint = false
    var found: [UInt8] = []
    var at = 0
    if text.first == UInt8(ascii: "-") {
      isNegative = true
      at = 1
    }
    while at < text.count {
      let c = text[at]
      if c == UInt8(ascii: ".") {
        sawPoint = true
      } else if c == UInt8(ascii: "E") || c == UInt8(ascii: "e") {
        let rest = String(decoding: text[(at + 1)...], as: UTF8.self)
        exponent += Int(rest.hasPrefix("+") ? String(rest.dropFirst()) : rest) ?? 0
        break
      } else {
        found.append(c &- 48)
        if sawPoint { exponent -= 1 }
      }
      at += 1
    }
    digits = found[...]
    trim()
  }

  private mutating func trim() {
    while digits.first == 0 { digits.removeFirst() }
    while digits.last == 0 {
      digits.removeLast()
      exponent += 1
    }
    if digits.isEmpty {
      isNegative = false
      exponent = 0
    }
  }

  func compared(to other: Self) -> Int {
    if digits.isEmpty || other.digits.isEmpty {
      if digits.isEmpty && other.digits.isEmpty { return 0 }
      return digits.isEmpty ? (other.isNegative ? 1 : -1) : (isNegative ? -1 : 1)
    }
    if isNegative != other.isNegative { return isNegative ? -1 : 1 }
    let sign = isNegative ? -1 : 1
    let (size, otherSize) = (digits.count + exponent, other.digits.count + other.exponent)
    if size != otherSize { return size < otherSize ? -sign : sign }
    for (a, b) in zip(digits, other.digits) where a != b { return a < b ? -sign : sign }
    if digits.count == other.digits.count { return 0 }
    return digits.count < other.digits.count ? -sign : sign
  }
}
