// A compiled schema as flat tables. Everything here is plain data, addressed by index, so that
// validation touches no reference count. Indices of nodes are `Int32`; -1 means "none".

import Patterns

/// A schema: its checks for each type, and those for all types.
struct ProgramNode {
  /// The types that are allowed, as `JSONTypes`.
  var types: UInt8
  /// Resource for the dynamic scope.
  var resource: Int32
  var string: Int32 = -1
  var number: Int32 = -1
  var object: Int32 = -1
  var array: Int32 = -1
  var firstStep: Int32 = 0
  var stepCount: Int32 = 0
  /// Nodes for what nothing else evaluated.
  var unevaluatedProperties: Int32 = -1
  var unevaluatedItems: Int32 = -1

  /// The two schemas that accept everything and nothing: they come first.
  static let always: Int32 = 0
  static let never: Int32 = 1
}

/// A keyword that applies to values of all types.
struct ProgramStep {
  enum Kind: UInt8 {
    /// `a`: constant.
    case const
    /// `a`: key table of all strings; `b`, `c`: further constants; `d`: these sorted by their
    /// hashes, or -1 if they are few.
    case enumeration
    /// `a`: node.
    case reference
    /// `a`: node of the initial target; `b`, `c`: list of resource and node in turns.
    case dynamicReference
    /// `b`, `c`: list of nodes.
    case allOf, anyOf, oneOf
    /// At most one branch can match, which a string selects: `a`: key table of the values, whose entries
    /// name the branches; `b`: key table with the one key.
    case choice
    /// `a`: node.
    case not
    /// `a`: test; `b`, `c`: nodes for either case.
    case condition
  }
  var kind: Kind
  var a: Int32 = -1
  var b: Int32 = -1
  var c: Int32 = -1
  var d: Int32 = -1
}

/// A constant of an `enum` by its hash; the ones of one `enum` are adjacent and sorted.
struct HashedConstant {
  var hash: UInt64
  var constant: Int32
}

struct StringPlan {
  var least: Int = 0
  var most: Int = .max
  /// The only pattern: its table, or its index if it has none.
  var table: PatternTable.View?
  var pattern: Int32 = -1
  var format: StringFormat?
  var content: ContentCheck = .none
  /// Steps for 64 bytes of text.
  var cost = SchemaBudget.textCost
  /// The results that are the same for all strings of a form (see `StringForms`).
  var objectID = KnownVerdict.unknown
  var uuid = KnownVerdict.unknown
  var dateTime = KnownVerdict.unknown
}

enum KnownVerdict: UInt8 { case unknown, valid, invalid }

struct NumberPlan {
  var bounds = NumberBounds()
  var hasDivisor = false
  var divisor = ProgramDivisor()
}

struct ArrayPlan {
  var least: Int = 0
  var most: Int = .max
  var firstPrefix: Int32 = 0
  var prefixCount: Int32 = 0
  var items: Int32 = -1
  var contains: Int32 = -1
  var leastContained: Int = 1
  var mostContained: Int = .max
  var containsEvaluates = false
  var isUnique = false
}

struct ObjectPlan {
  /// The key table of all relevant names.
  var keys: Int32
  var firstPattern: Int32 = 0
  var patternCount: Int32 = 0
  var additional: Int32 = -1
  var names: Int32 = -1
  var least: Int = 0
  var most: Int = .max
  /// What `required` names, as bits of the first 64 tracked keys; further words are in `words`.
  var required: UInt64 = 0
  var firstWord: Int32 = 0
  /// Words of 64 tracked keys each.
  var wordCount: Int32 = 0
  var firstDependent: Int32 = 0
  var dependentCount: Int32 = 0
}

/// Requirements if the key with `bit` is present: the keys in `words`, or the schema `node`.
struct ProgramDependent {
  var bit: Int32
  var firstWord: Int32 = -1
  var node: Int32 = -1
}

struct ProgramPattern {
  var table: PatternTable.View?
  var pattern: Int32
  var node: Int32
}

/// A set of byte strings: entries in order of the schema, slots for looking one up.
struct KeyTable {
  var first: Int32
  var count: Int32
  var firstSlot: Int32
  var slotMask: Int32
  /// The length of its longest key.
  var longest: Int32
  /// Where predictions for this table start: one more than entries.
  var firstPrediction: Int32
}

struct KeyEntry {
  /// The first eight bytes, zeros behind.
  var word: UInt64
  var offset: Int32
  var length: Int32
  /// The property's schema, or the branch.
  var node: Int32
  /// The tracked bit, or -1.
  var bit: Int32
}

/// A constant to compare with.
struct ProgramConstant {
  enum Kind: UInt8 { case null, boolean, number, string, array, object }
  var kind: Kind
  /// Boolean: 1 for true. Number: its index. String: offset. Array: first of its `count` children
  /// in `lists`. Object: its key table, whose entries' nodes are constants.
  var value: Int32
  var count: Int32 = 0
}

/// A number to be equal to.
struct NumberConstant {
  var integer: Int64 = 0
  var isInteger = false
  var double: Double = 0
  /// Whether the double, as JSON writes it, is exactly this number.
  var isDouble = false

  init(_ decimal: ExactDecimal) {
    if let integer = decimal.int64 {
      self.integer = integer
      isInteger = true
    }
    double = decimal.nearestDouble
    isDouble = NumberBounds.written(double).map { $0.compared(to: decimal) == 0 } ?? false
  }
}

/// Minimum and maximum, exact for integers and for doubles as JSON writes them.
struct NumberBounds {
  var low: Int64 = .min
  var high: Int64 = .max
  /// No integer is within the bounds.
  var excludesIntegers = false
  var lowDouble: Double = -.infinity
  var highDouble: Double = .infinity
  /// Whether the exact double is within the bounds: its JSON text may be on either side of a bound.
  var includesLow = false
  var includesHigh = false

  /// A double as JSON writes it.
  static func written(_ double: Double) -> ExactDecimal? {
    guard double.isFinite else { return nil }
    return ExactDecimal("\(double)")
  }

  mutating func limit(low bound: ExactDecimal, isExclusive: Bool) {
    if let least = bound.ceiling {
      var least = least
      if isExclusive, bound.int64 == least {
        if least == .max { excludesIntegers = true } else { least += 1 }
      }
      low = max(low, least)
    } else {
      excludesIntegers = true
    }
    let double = bound.nearestDouble
    let order = Self.written(double)?.compared(to: bound) ?? 0
    let includes = isExclusive ? order > 0 : order >= 0
    if double > lowDouble {
      lowDouble = double
      includesLow = includes
    } else if double == lowDouble {
      includesLow = includesLow && includes
    }
  }

  mutating func limit(high bound: ExactDecimal, isExclusive: Bool) {
    // The same from the other side.
    var mirrored = NumberBounds()
    mirrored.limit(low: bound.negated, isExclusive: isExclusive)
    if mirrored.excludesIntegers, bound.int64 != .min { excludesIntegers = true }
    if bound.int64 == .min {
      // Its negative is no int64.
      excludesIntegers = excludesIntegers || isExclusive
      high = .min
    } else if mirrored.low > .min {
      high = min(high, -mirrored.low)
    }
    let double = -mirrored.lowDouble
    if double < highDouble {
      highDouble = double
      includesHigh = mirrored.includesLow
    } else if double == highDouble {
      includesHigh = includesHigh && mirrored.includesLow
    }
  }

  @inline(__always)
  func contains(_ integer: Int64) -> Bool {
    integer >= low && integer <= high && !excludesIntegers
  }

  @inline(__always)
  func contains(_ double: Double) -> Bool {
    (double > lowDouble || (double == lowDouble && includesLow))
      && (double < highDouble || (double == highDouble && includesHigh))
  }
}

/// The divisor of `multipleOf`.
struct ProgramDivisor {
  /// The divisor itself, where it is an integer of 64 bits; else 0.
  var whole: UInt64 = 0
  var coefficient: UInt128 = 1
  var exponent: Int = 0

  init() {}

  /// The maximum steps of a division.
  var cost: Int {
    if whole != 0 { return 8 }
    let powers = Int.bitWidth - abs(exponent &- 340).leadingZeroBitCount
    return (coefficient > UInt128(UInt64.max) ? 128 : 16) &* powers
  }

  init(_ divisor: DecimalDivisor) {
    coefficient = divisor.coefficient
    exponent = divisor.exponent
    guard exponent >= 0, exponent < 20, var value = UInt64(exactly: coefficient) else { return }
    for _ in 0..<exponent {
      let (product, tooLarge) = value.multipliedReportingOverflow(by: 10)
      if tooLarge { return }
      value = product
    }
    whole = value
  }

  @inline(__always)
  func divides(_ integer: Int64) -> Bool {
    if whole != 0 { return integer.magnitude % whole == 0 }
    return divides(digits: integer.magnitude, exponent: 0)
  }

  /// Whether digits times ten to the exponent is a multiple.
  func divides(digits: UInt64, exponent: Int) -> Bool {
    if digits == 0 { return true }
    var digits = digits
    var shift = exponent - self.exponent
    while shift < 0 {
      guard digits % 10 == 0 else { return false }
      digits /= 10
      shift += 1
    }
    let power = DecimalDivisor.powerOfTen(shift, modulo: coefficient)
    return DecimalDivisor.product(UInt128(digits) % coefficient, power, modulo: coefficient) == 0
  }
}
