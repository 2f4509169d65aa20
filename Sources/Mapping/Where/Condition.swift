public import BSON
internal import Patterns

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

  /// Every path that it looks at.
  package var paths: [EventPath] {
    switch self {
    case .all(let parts), .any(let parts): parts.flatMap(\.paths)
    case .not(let part): part.paths
    case .test(let path, _): [path]
    }
  }

  /// Whether it looks into this part of the event.
  package func reads(_ field: EventField) -> Bool {
    switch self {
    case .all(let parts), .any(let parts): parts.contains { $0.reads(field) }
    case .not(let part): part.reads(field)
    case .test(let path, _): path.field == field
    }
  }
}
