import BSON
import Oplog

/// The subject of dead letters: `dlq.{rule}`. Its placeholders are values that every dead letter
/// has, so that it never fails itself: `rule`, `error`, `operationType`, `ns.db`.
public struct DeadLetterSubject: Sendable, Equatable, CustomStringConvertible {
  /// What stands for the rule where no rule took the event; no rule may have this name.
  public static let unmatchedRule = "unmatched"

  enum Piece: Sendable, Equatable {
    case literal(String)
    case rule, error, operation, database
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
    self.text = text
    self.pieces = pieces
  }

  public var description: String { text }

  /// The subject with `*` for every token that varies: what a stream must hold to take all of it.
  public var pattern: String {
    pieces.map { if case .literal(let literal) = $0 { literal } else { "\u{0}" } }.joined()
      .split(separator: ".").map { $0.contains("\u{0}") ? "*" : String($0) }.joined(separator: ".")
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
