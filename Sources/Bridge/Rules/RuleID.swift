import Mapping

/// Which rule made a message: its name, the same in every version of the configuration.
///
/// Indices of rules are never stored: they have a meaning only within one `RuleSet`.
public struct RuleID: Hashable, Sendable, CustomStringConvertible {
  public let name: String

  public init(_ name: String) { self.name = name.isEmpty ? Self.unmatchedName : name }

  /// The "rule" of dead letters of events that no rule takes. No rule may have this name.
  package static let unmatched = RuleID(unmatchedName)
  private static let unmatchedName = DeadLetterSubject.unmatchedRule

  public var description: String { name }
}

extension RuleID: ExpressibleByStringLiteral {
  public init(stringLiteral name: String) { self.init(name) }
}
