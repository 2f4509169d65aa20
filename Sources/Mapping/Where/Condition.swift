public import BSON
internal import JSONSchema

/// What a rule demands of an event besides its namespace and operation (`match.where`), in the
/// language of MongoDB's queries.
public indirect enum Condition: Sendable, Equatable {
  case all([Condition])
  case any([Condition])
  case not(Condition)
  case test(EventPath, ConditionTest)
}

/// A BSON value to compare with.
public struct ConditionValue: Sendable, Equatable {
  public var type: BSONType
  /// As BSON has it.
  public var bytes: [UInt8]

  public init(type: BSONType, bytes: [UInt8]) {
    self.type = type
    self.bytes = bytes
  }
}

/// What is asked of the values at a path.
public enum ConditionTest: Sendable, Equatable {
  case equals([ConditionValue])
  case exists
  /// Of one of these types.
  case type([BSONType])
  case greater(ConditionValue)
  case greaterOrEqual(ConditionValue)
  case less(ConditionValue)
  case lessOrEqual(ConditionValue)
  /// Found anywhere in a string.
  case matches(ConditionPattern)
}

/// A regular expression of ECMA-262 that no text can make slow.
public struct ConditionPattern: Sendable, Equatable {
  public let text: String
  let pattern: Pattern

  public init(_ text: String) throws(RuleSyntaxError) {
    self.text = text
    do {
      pattern = try Pattern(text)
    } catch {
      throw RuleSyntaxError(
        "no regular expression: \(error)", remedy: "write one of ECMA-262 (JavaScript)", at: 0)
    }
  }

  public static func == (a: Self, b: Self) -> Bool { a.text == b.text }
}

extension Condition {
  /// A text that is the same for the same condition only.
  public var digest: String {
    switch self {
    case .all(let parts): "all(\(parts.map(\.digest).joined(separator: ",")))"
    case .any(let parts): "any(\(parts.map(\.digest).joined(separator: ",")))"
    case .not(let part): "not(\(part.digest))"
    case .test(let path, let test): "\(path.field.name).\(path.remainder) \(test)"
    }
  }

  /// Whether it looks into documents that updates have only where they are fetched.
  var readsFullDocument: Bool {
    switch self {
    case .all(let parts), .any(let parts): parts.contains(where: \.readsFullDocument)
    case .not(let part): part.readsFullDocument
    case .test(let path, _): path.field == .fullDocument
    }
  }
}
