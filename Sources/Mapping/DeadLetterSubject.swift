import BSON
import Oplog

/// The subject of dead letters: `dlq.{rule}`. Its placeholders are values that every dead letter
/// has, so that it never fails itself: `rule`, `error`, `operationType`, `ns.db`.
public struct DeadLetterSubject: Sendable, Equatable, CustomStringConvertible {
  /// Replaces the rule's name if no rule took the event; no rule may have this name.
  public static let unmatchedRule = "unmatched"

  enum Piece: Sendable, Equatable {
    case literal(String)
    case rule, error, operation, database

    /// The maximum length in bytes: for names, the limits are the configuration's (64 for a rule's) and
    /// the server's (63 for a database's, three bytes for each that is escaped).
    var longest: Int {
      switch self {
      case .literal(let text): text.utf8.count
      case .rule: 64
      case .error, .operation: 20
      case .database: 3 * 63
      }
    }
  }

  /// As it was written.
  public let text: String
  let pieces: [Piece]

  public init(parsing text: String) throws(RuleSyntaxError) {
    let parts = try Template.split(text)
    try Template.checkSubject(parts, whole: text)
    var pieces: [Piece] = []
    for part in parts {
      switch part {
      case .literal(let literal, _): pieces.append(.literal(literal))
      case .placeholder("rule", _): pieces.append(.rule)
      case .placeholder("error", _): pieces.append(.error)
      case .placeholder("operationType", _): pieces.append(.operation)
      case .placeholder("ns.db", _): pieces.append(.database)
      case .placeholder(let other, let at):
        throw RuleSyntaxError(
          "a dead letter's subject can't hold {\(other)}",
          remedy: "use {rule}, {error}, {operationType} or {ns.db}, which no dead letter lacks",
          at: at)
      }
    }
    let longest = pieces.reduce(0) { $0 + $1.longest }
    guard longest <= MessageLimits.subject else {
      throw RuleSyntaxError(
        "a dead letter's subject may have up to \(longest) bytes here; "
          + "at most \(MessageLimits.subject) are allowed",
        remedy: "shorten it", at: 0)
    }
    self.text = text
    self.pieces = pieces
  }

  private init(text: String, pieces: [Piece]) {
    self.text = text
    self.pieces = pieces
  }

  /// The error is left open, marked so.
  package func leavingErrorOpen(mark: String) -> DeadLetterSubject {
    DeadLetterSubject(text: text, pieces: pieces.map { $0 == .error ? .literal(mark) : $0 })
  }

  public var description: String { text }

  /// The subject with `*` for every token that varies: a stream needs it to accept all dead letters.
  public var pattern: String { pattern(ofRule: nil) }

  /// The same for each rule, and for unmatched events; only one if the subject doesn't name the rule.
  package func patterns(ofRules rules: [String]) -> [String] {
    guard pieces.contains(.rule) else { return [pattern] }
    return (rules + [Self.unmatchedRule]).map { pattern(ofRule: $0) }
  }

  private func pattern(ofRule rule: String?) -> String {
    pieces.map { piece in
      switch piece {
      case .literal(let literal): literal
      case .rule: rule.map { SubjectToken.escape($0) } ?? "\u{0}"
      default: "\u{0}"
      }
    }.joined()
      .split(separator: ".").map { $0.contains("\u{0}") ? "*" : String($0) }
      .joined(separator: ".")
  }

  func write(
    rule: String, error: MappingErrorCode, event: borrowing ChangeEvent,
    into: inout ByteWriter
  ) {
    for piece in pieces {
      switch piece {
      case .literal(let literal): into.append(literal)
      case .rule: into.append(SubjectToken.escape(rule))
      case .error: into.append(SubjectToken.escape(error.rawValue))
      case .operation: into.append(event.operation.name)
      case .database: into.append(escaping: event.database, for: .token)
      }
    }
  }
}
