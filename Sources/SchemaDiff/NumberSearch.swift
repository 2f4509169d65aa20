import JSON
import JSONSchema

/// Looks for a number: an integer, or one that isn't. Decides in exact arithmetic, on all numbers scaled to
/// integers, unless they don't fit 128 bits.
struct NumberSearch {
  private let conjunction: Conjunction
  private let solver: Solver
  private var lower: (number: ExactDecimal, isExclusive: Bool)?
  private var upper: (number: ExactDecimal, isExclusive: Bool)?
  private var divisors: [ExactDecimal] = []
  private var notDivisors: [ExactDecimal] = []
  private var excluded: [ExactDecimal] = []

  /// How many multiples are looked at before giving up.
  private static let most = 100_000

  init(_ conjunction: Conjunction, _ solver: Solver) {
    self.conjunction = conjunction
    self.solver = solver
    for (literal, _) in conjunction.sorted { read(literal) }
  }

  private mutating func read(_ literal: Literal) {
    switch solver.builder.table[literal] {
    case .atLeast(let bound, let isExclusive):
      let number = bound.decimal
      if literal.isPositive {
        let order = lower.map { number.compared(to: $0.number) } ?? 1
        if order > 0 || order == 0 && isExclusive { lower = (number, isExclusive) }
      } else {
        let order = upper.map { number.compared(to: $0.number) } ?? -1
        if order < 0 || order == 0 && !isExclusive { upper = (number, !isExclusive) }
      }
    case .multipleOf(let divisor):
      if literal.isPositive {
        divisors.append(divisor.decimal)
      } else {
        notDivisors.append(divisor.decimal)
      }
    case .value(let text):
      if case .number(let digits)? = solver.builder.table.values[text],
        let number = ExactDecimal(digits)
      {
        excluded.append(number)
      }
    default: break
    }
  }

  var answer: Answer {
    var other: String?
    for text in Self.usual + near where fits(text) {
      if Self.isDouble(text) { return .found(.number(text)) }
      other = other ?? text
    }
    guard let other else { return exact }
    if case .found(.number(let text)) = exact, Self.isDouble(text) { return .found(.number(text)) }
    return .found(.number(other))
  }

  /// Whether most readers have such a number: neither infinite for a double, nor too near to zero.
  private static func isDouble(_ text: String) -> Bool {
    guard let value = Double(text), value.isFinite else { return false }
    return !value.isZero || ExactDecimal(text)?.isZero == true
  }

  private static let usual = ["0", "1", "2", "7", "-1", "42", "0.5", "1.5", "0.25", "-0.5"]

  /// Bounds, and what is just beside them.
  private var near: [String] {
    var texts: [String] = []
    for number in [lower?.number, upper?.number].compactMap({ $0 }) {
      texts.append(number.description)
      if number.digits.count + number.exponent > 15 {
        // A little farther out.
        let digits = number.digits + [1]
        texts.append(
          ExactDecimal(
            isNegative: number.isNegative, digits: digits, exponent: number.exponent - 1
          ).description)
      }
      for exponent in [number.exponent + 1, number.exponent - 1] {
        texts.append(
          ExactDecimal(isNegative: number.isNegative, digits: number.digits, exponent: exponent)
            .description)
      }
      if let integer = number.int64, abs(integer) < 1 << 60 {
        texts += ["\(integer + 1)", "\(integer - 1)", "\(integer).5"]
        if integer > 0 { texts.append("\(integer - 1).5") }
      }
    }
    return texts
  }

  private func fits(_ text: String) -> Bool {
    let value = JSONValue.number(text)
    return value.schemaType == conjunction.type
      && conjunction.atoms.keys.allSatisfy { solver.holds($0, value) == true }
  }

  // MARK: Exact

  private var exact: Answer {
    if let lower, let upper {
      let order = lower.number.compared(to: upper.number)
      if order > 0 || order == 0 && (lower.isExclusive || upper.isExclusive) { return .none }
    }
    let all =
      [lower?.number, upper?.number].compactMap { $0 } + divisors + notDivisors + excluded
    let exponent = min(0, all.filter { !$0.isZero }.map(\.exponent).min() ?? 0)
    guard exponent >= -30, let scaled = Scaled(self, exponent) else {
      return .undecided("numbers with too many digits")
    }
    switch scaled.find(isInteger: conjunction.type == .integer) {
    case .number(let value, let exponent):
      let digits = String(value.magnitude).utf8.map { $0 - UInt8(ascii: "0") }
      let number = ExactDecimal(isNegative: value < 0, digits: digits, exponent: exponent)
      return .found(.number(number.description))
    case .none: return .none
    case .tooMany: return .undecided("too many multiples")
    }
  }

  /// All numbers times a power of ten, so that they are integers.
  private struct Scaled {
    let exponent: Int
    let one: Int128
    var low: Int128?
    var high: Int128?
    var step: Int128?
    var notSteps: [Int128] = []
    var excluded: Set<Int128> = []

    enum Outcome {
      case number(Int128, exponent: Int)
      case none, tooMany
    }

    /// Nil if something doesn't fit.
    init?(_ search: NumberSearch, _ exponent: Int) {
      self.exponent = exponent
      func scale(_ number: ExactDecimal) -> Int128? {
        guard !number.isZero else { return 0 }
        guard number.digits.count + number.exponent - exponent <= 34 else { return nil }
        var value = number.digits.reduce(Int128(0)) { $0 * 10 + Int128($1) }
        for _ in 0..<(number.exponent - exponent) { value *= 10 }
        return number.isNegative ? -value : value
      }
      guard let one = scale(ExactDecimal(isNegative: false, digits: [1], exponent: 0)) else {
        return nil
      }
      self.one = one
      if let lower = search.lower {
        guard let value = scale(lower.number) else { return nil }
        low = value
        isLowExclusive = lower.isExclusive
      }
      if let upper = search.upper {
        guard let value = scale(upper.number) else { return nil }
        high = value
        isHighExclusive = upper.isExclusive
      }
      for divisor in search.divisors {
        guard let value = scale(divisor), let common = Self.lcm(step ?? 1, value) else {
          return nil
        }
        step = common
      }
      for divisor in search.notDivisors {
        guard let value = scale(divisor) else { return nil }
        notSteps.append(value)
      }
      for number in search.excluded {
        // What doesn't fit is out of reach anyway.
        if let value = scale(number) { excluded.insert(value) }
      }
    }

    private var isLowExclusive = false
    private var isHighExclusive = false

    private static func gcd(_ a: Int128, _ b: Int128) -> Int128 {
      var (a, b) = (a, b)
      while b != 0 { (a, b) = (b, a % b) }
      return a
    }

    private static func lcm(_ a: Int128, _ b: Int128) -> Int128? {
      let (product, isTooLarge) = (a / gcd(a, b)).multipliedReportingOverflow(by: b)
      return isTooLarge || product > Int128.max >> 8 ? nil : product
    }

    func find(isInteger: Bool) -> Outcome {
      var step = step
      var notSteps = notSteps
      if isInteger {
        guard let common = Self.lcm(step ?? 1, one) else { return .tooMany }
        step = common
      } else {
        notSteps.append(one)
      }
      guard let step else { return between }
      return multiple(of: step, notSteps)
    }

    /// With one digit more than all numbers that matter: a multiple of none of them.
    private var between: Outcome {
      if let low, let high {
        if low > high || low == high && (isLowExclusive || isHighExclusive) { return .none }
        if low == high {
          let isFine =
            low % one != 0 && !excluded.contains(low) && notSteps.allSatisfy { low % $0 != 0 }
          return isFine ? .number(low, exponent: exponent) : .none
        }
      }
      let start = low.map { $0 * 10 + 5 } ?? high.map { $0 * 10 - 5 } ?? 5
      return .number(start, exponent: exponent - 1)
    }

    private func multiple(of step: Int128, _ notSteps: [Int128]) -> Outcome {
      func floorDivision(_ a: Int128, _ b: Int128) -> Int128 {
        let (quotient, rest) = a.quotientAndRemainder(dividingBy: b)
        return rest < 0 ? quotient - 1 : quotient
      }
      var first: Int128?
      var last: Int128?
      if let low {
        let quotient = floorDivision(low, step)
        let isExact = quotient * step == low
        first = isExact && !isLowExclusive ? quotient : quotient + 1
      }
      if let high {
        let quotient = floorDivision(high, step)
        let isExact = quotient * step == high
        last = isExact && isHighExclusive ? quotient - 1 : quotient
      }
      if let first, let last, first > last { return .none }
      // After so many multiples everything repeats, but for the excluded values.
      var period: Int128 = 1
      for other in notSteps {
        let own = other / Self.gcd(other, step)
        if own == 1 { return .none }
        guard let common = Self.lcm(period, own) else { return .tooMany }
        period = common
      }
      let (wanted, isTooLarge) = period.multipliedReportingOverflow(by: Int128(excluded.count + 1))
      let count = isTooLarge ? Int128(NumberSearch.most) : min(wanted, Int128(NumberSearch.most))
      var number = first ?? last ?? 0
      let direction: Int128 = first == nil && last != nil ? -1 : 1
      for _ in 0..<count {
        if let last, number > last { return .none }
        let value = number * step
        if !excluded.contains(value), notSteps.allSatisfy({ value % $0 != 0 }) {
          return .number(value, exponent: exponent)
        }
        number += direction
      }
      return count == wanted ? .none : .tooMany
    }
  }
}
