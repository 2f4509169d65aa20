/// Something in a configuration that is legal and almost certainly unintended.
public struct ConfigurationWarning: Sendable, Hashable, CustomStringConvertible {
  /// Stable names, for scripts; docs/commands.md explains them.
  public enum ID: String, Sendable, CaseIterable {
    case templateAbsent = "template.absent"
    case templateRare = "template.rare"
    case templateLiteral = "template.literal"
    case templateHidden = "template.hidden"
    case idRepeats = "id.repeats"
    case idShared = "id.shared"
    case whereOperator = "where.operator"
    case whereAbsent = "where.absent"
    case whereValue = "where.value"
    case ruleUnreachable = "rule.unreachable"
    case ruleNeverMatches = "rule.never_matches"
    case documentUnused = "payload.document_unused"
    case schemaKeyword = "schema.keyword"
    case streamOverlap = "stream.overlap"
    case consumerFilter = "consumer.filter"
    case variableBraces = "variable.braces"
    case mongoOption = "uri.option"
  }

  public var id: ID
  public var file: String
  /// From 1.
  public var line: Int
  /// From 1, in Unicode scalars.
  public var column: Int
  /// One clause without a closing full stop.
  public var message: String
  /// What to write or do; a sentence.
  public var remedy: String

  /// `file:line:column: warning: message. remedy [id]`
  public var description: String {
    "\(file):\(line):\(column): warning: \(message). \(remedy) [\(id.rawValue)]"
  }
}
