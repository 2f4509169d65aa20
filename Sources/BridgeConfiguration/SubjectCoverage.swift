import Mapping
import Oplog

/// The part of a subject that the configuration determines: literal tokens, and tokens that vary.
struct SubjectShape {
  /// Nil if the token varies from event to event.
  var tokens: [String?]

  init(tokens: [String?]) { self.tokens = tokens }

  /// A subject with `*` for tokens that vary.
  init(pattern: String) {
    tokens = pattern.split(separator: ".").map { $0 == "*" ? nil : String($0) }
  }

  /// Every subject a template can make, with values that the rule itself fixes filled in: its
  /// operations, and database and collection where their patterns have no star. (A rename's are those
  /// that it had before, and the rule may be that of the new name.)
  static func shapes(
    of template: Template, operations: OperationSet, namespace: NamespacePattern
  ) -> [SubjectShape] {
    var texts = [""]
    for piece in template.pieces {
      let values: [String]
      switch piece {
      case .literal(let text): values = [text]
      case .path(let path): values = fixedValues(path.field, operations, namespace) ?? [varying]
      }
      texts = texts.flatMap { text in values.map { text + $0 } }
    }
    return texts.map { text in
      SubjectShape(
        tokens: text.split(separator: ".", omittingEmptySubsequences: false)
          .map { $0.contains(varying) ? nil : String($0) })
    }
  }

  /// The same of a rule, with `*` for tokens that vary.
  static func patterns(of rule: Rule) -> [String] {
    shapes(of: rule.subject, operations: rule.operations, namespace: rule.namespace).map(\.pattern)
  }

  /// Templates contain no control characters.
  private static let varying = "\u{0}"

  private static func fixedValues(
    _ field: EventField, _ operations: OperationSet, _ namespace: NamespacePattern
  ) -> [String]? {
    switch field {
    case .operationType: operations.operations.map { "\($0.name)" }
    case .database, .collection:
      operations.contains(.rename)
        ? nil
        : (field == .database ? namespace.literalDatabase : namespace.literalCollection)
          .map { [SubjectToken.escape($0)] }
    default: nil
    }
  }

  /// Whether a stream's subject covers it.
  func isCovered(by filter: String) -> Bool {
    let filters = filter.split(separator: ".")
    for (index, wanted) in filters.enumerated() {
      if wanted == ">" { return tokens.count > index }
      guard index < tokens.count else { return false }
      if wanted != "*", tokens[index].map({ $0 != wanted }) ?? true { return false }
    }
    return filters.count == tokens.count
  }

  /// With `*` for tokens that vary.
  var pattern: String { tokens.map { $0 ?? "*" }.joined(separator: ".") }
}

extension BridgeConfiguration {
  /// The subjects that a rule's messages can have, with `*` for tokens that vary: all of its stream's subjects
  /// if the events themselves name them.
  package func subjectPatterns(of rule: Rule) -> [String] {
    if let index = rule.streamIndex, rule.outbox != nil || rule.route.isBucket {
      return streams[index].subjects
    }
    return SubjectShape.patterns(of: rule)
  }
}

/// Whether every subject of the first pattern belongs to the second.
package func subjectIsCovered(_ pattern: String, by filter: String) -> Bool {
  let tokens = pattern.split(separator: ".")
  let filters = filter.split(separator: ".")
  for (index, wanted) in filters.enumerated() {
    if wanted == ">" { return tokens.count > index }
    guard index < tokens.count, tokens[index] != ">" else { return false }
    if wanted != "*", tokens[index] != wanted { return false }
  }
  return filters.count == tokens.count
}

/// Whether some subject belongs to both patterns.
package func subjectsOverlap(_ a: String, _ b: String) -> Bool {
  let a = a.split(separator: ".")
  let b = b.split(separator: ".")
  for index in 0..<max(a.count, b.count) {
    guard index < a.count, index < b.count else { return false }
    if a[index] == ">" || b[index] == ">" { return true }
    if a[index] != "*", b[index] != "*", a[index] != b[index] { return false }
  }
  return true
}
