import BSON

/// Why a value can't be validated. It counts as invalid.
public enum SchemaFault: Error, Equatable, Sendable, CustomStringConvertible {
  /// The bytes aren't BSON.
  case corrupt(BSONError)
  /// A text that isn't UTF-8, which JSON can't represent.
  case invalidUTF8
  /// Schemas and values are nested too deep within each other.
  case tooDeep
  /// A pattern that looks around or refers back needs too many steps for a text.
  case patternTooComplex(pattern: String)
  /// Schema and value together need too many steps.
  case tooComplex

  /// Whether the value exceeds `SchemaBudget` or another bound: then it does so each time, in every command.
  public var isBound: Bool {
    switch self {
    case .tooDeep, .patternTooComplex, .tooComplex: true
    case .corrupt, .invalidUTF8: false
    }
  }

  public var description: String {
    switch self {
    case .corrupt(let error): "\(error)"
    case .invalidUTF8: "a text isn't valid UTF-8"
    case .tooDeep: "value and schema are nested too deep to be judged"
    case .patternTooComplex(let pattern):
      "matching the pattern \"\(pattern)\" takes too many steps"
    case .tooComplex: "judging the value takes too many steps"
    }
  }
}
