import JSON
import JSONSchema
import Patterns

/// Text compared by its bytes: Swift's strings are equal if they are canonically equivalent.
struct Text: Hashable, Comparable, Sendable {
  let string: String

  init(_ string: String) { self.string = string }

  static func == (one: Text, other: Text) -> Bool { one.string.isSame(as: other.string) }
  static func < (one: Text, other: Text) -> Bool {
    one.string.utf8.lexicographicallyPrecedes(other.string.utf8)
  }

  func hash(into hasher: inout Hasher) {
    for byte in string.utf8 { hasher.combine(byte) }
  }
}

/// A number as it is compared, whatever its notation.
struct Number: Hashable, Sendable {
  let isNegative: Bool
  let digits: [UInt8]
  let exponent: Int

  init(_ decimal: ExactDecimal) {
    isNegative = decimal.isNegative
    digits = decimal.digits
    exponent = decimal.exponent
  }

  var decimal: ExactDecimal {
    ExactDecimal(isNegative: isNegative, digits: digits, exponent: exponent)
  }
}

/// A term or its negation.
struct Literal: Hashable, Comparable, Sendable {
  /// The term's index from 1 on; negative for its negation.
  let raw: Int32

  init(term: Int) { raw = Int32(term) + 1 }
  private init(raw: Int32) { self.raw = raw }

  var term: Int { Int(abs(raw)) - 1 }
  var isPositive: Bool { raw > 0 }

  static prefix func ! (literal: Literal) -> Literal { Literal(raw: -literal.raw) }
  static func < (one: Literal, other: Literal) -> Bool { one.raw < other.raw }

  /// The term 0 holds for every value.
  static let always = Literal(term: 0)
  static let never = !always
}

/// Names of an object's members.
enum KeySet: Hashable, Sendable {
  /// Those that a pattern is found in, by its index.
  case matching(Int)
  /// All but these names, and those that these patterns are found in.
  case outside(names: [Text], patterns: [Int])
}

/// What a schema says, in few words: every keyword is a combination of these.
///
/// A term other than `always`, `all`, `schema` and `types` implies the type it is about: `length(3)` holds for
/// strings only. What holds for all members or items is the negation of what holds for one.
enum Term: Hashable, Sendable {
  case always
  case all([Literal])
  /// One of the compared schemas, by its class; its body is made when it is needed.
  case schema(Int)
  /// Types, as `JSONTypes` has them.
  case types(UInt8)
  /// Equal to a value, by its canonical text.
  case value(Text)

  /// Numbers not below it, or above it.
  case atLeast(Number, isExclusive: Bool)
  case multipleOf(Number)

  /// Strings of so many code points or more.
  case length(Int)
  /// Strings that a pattern is found in, by its index.
  case pattern(Int)
  case format(StringFormat)

  /// Arrays with so many items or more.
  case items(Int)
  /// Arrays with all items different.
  case unique
  /// Arrays with an item at an index, for which it holds.
  case itemAt(Int, Literal)
  /// Arrays with an item from an index on, for which it holds.
  case someItem(from: Int, Literal)
  /// Arrays with so many items (2 or more) for which it holds.
  case count(Int, Literal)

  /// Objects with so many members or more.
  case members(Int)
  /// Objects with a member of a name, for whose value it holds.
  case member(Text, Literal)
  /// Objects with a member out of a set, for whose value it holds.
  case someMember(KeySet, Literal)
  /// Objects with a member for whose name it holds.
  case someKey(Literal)

  /// Nothing is known of it: why, and the schema's class.
  case opaque(String, Int)

  /// The types of the values for which it can hold.
  var domain: JSONTypes {
    switch self {
    case .always, .all, .schema, .opaque, .value: .all
    case .types(let types): JSONTypes(rawValue: types)
    case .atLeast, .multipleOf: .number
    case .length, .pattern, .format: .string
    case .items, .unique, .itemAt, .someItem, .count: .array
    case .members, .member, .someMember, .someKey: .object
    }
  }
}

/// Terms, each once, so that equal parts of two schemas are the same literal.
struct TermTable {
  private(set) var terms: [Term] = [.always]
  private var numbers: [Term: Int] = [.always: 0]
  /// Values by their canonical text.
  private(set) var values: [Text: JSONValue] = [:]
  private(set) var patterns: [Pattern] = []
  private var patternNumbers: [Text: Int] = [:]

  subscript(literal: Literal) -> Term { terms[literal.term] }

  mutating func literal(_ term: Term) -> Literal {
    if let known = numbers[term] { return Literal(term: known) }
    terms.append(term)
    numbers[term] = terms.count - 1
    return Literal(term: terms.count - 1)
  }

  mutating func all(_ literals: [Literal]) -> Literal {
    let parts = Set(literals).subtracting([.always])
    if parts.isEmpty { return .always }
    if parts.contains(.never) || parts.contains(where: { parts.contains(!$0) }) { return .never }
    if parts.count == 1, let only = parts.first { return only }
    return literal(.all(parts.sorted()))
  }

  mutating func any(_ literals: [Literal]) -> Literal { !all(literals.map { !$0 }) }

  mutating func types(_ types: JSONTypes) -> Literal {
    types == .all ? .always : types.isEmpty ? .never : literal(.types(types.rawValue))
  }

  mutating func value(_ value: JSONValue) -> Literal {
    let text = Text(Canonical.text(value))
    if values[text] == nil { values[text] = value }
    return literal(.value(text))
  }

  mutating func pattern(_ pattern: Pattern) -> Int {
    let text = Text(pattern.text)
    if let known = patternNumbers[text] { return known }
    patterns.append(pattern)
    patternNumbers[text] = patterns.count - 1
    return patterns.count - 1
  }

  /// Some item from an index on, or several.
  mutating func count(_ least: Int, _ literal: Literal) -> Literal {
    switch least {
    case ...0: types(.array)
    case 1: self.literal(.someItem(from: 0, literal))
    default: self.literal(.count(least, literal))
    }
  }
}

/// JSON with one text for all equal values.
package enum Canonical {
  /// Members are in the order of their names' bytes, numbers without superfluous digits.
  package static func text(_ value: JSONValue) -> String { canonical(value).text() }

  private static func canonical(_ value: JSONValue) -> JSONValue {
    switch value {
    case .number(let text): .number(ExactDecimal(text)?.description ?? text)
    case .array(let items): .array(items.map(canonical))
    case .object(let members):
      .object(
        members.map { .init($0.key, canonical($0.value)) }
          .sorted { Text($0.key) < Text($1.key) })
    default: value
    }
  }
}

extension JSONValue {
  /// The type as schemas have it: integers are those without a fraction, in any notation.
  var schemaType: JSONTypes {
    switch self {
    case .null: .null
    case .bool: .boolean
    case .number(let text): ExactDecimal(text)?.isInteger == true ? .integer : .fraction
    case .string: .string
    case .array: .array
    case .object: .object
    }
  }
}
