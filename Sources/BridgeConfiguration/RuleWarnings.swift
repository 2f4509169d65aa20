import BSON
import JSONSchema
import Mapping
import Oplog

/// A parsed rule, with the positions of its parts.
struct ReadRule {
  var rule: Rule
  var schema: RuleSchema?
  var section: Section
}

/// Parts of rules that are legal and almost certainly unintended.
struct RuleWarnings {
  let streams: [StreamSpec]
  let problems: ProblemList

  func check(_ rules: [ReadRule]) {
    for (index, read) in rules.enumerated() {
      checkTemplates(read)
      checkHidden(read)
      checkID(read)
      checkConstants(read)
      checkCondition(read)
      checkDocuments(read)
      checkSchema(read)
      checkNamespace(read)
      checkReach(read, rules[..<index])
      checkShared(read, rules[..<index])
    }
  }

  // MARK: Ids

  private func checkID(_ read: ReadRule) {
    guard read.rule.outbox == nil, case .template(let template) = read.rule.id,
      let scalar = read.section.scalar("id")
    else { return }
    let rule = read.rule
    guard template.paths.contains(where: \.field.isDocument) else {
      problems.warn(
        .idRepeats, scalar.position,
        "the id \(template.text) names no document: different events have the same id",
        "add documentKey._id, or use positional ids")
      return
    }
    let varies = template.paths.contains { !$0.isOfTheDocument }
    guard !varies else { return }
    let operations = rule.possibleOperations
    let again = [OperationType.update, .replace].filter(operations.contains)
    if !again.isEmpty {
      problems.warn(
        .idRepeats, scalar.position,
        "every \(list(again.map(\.configurationName))) event of a document has the same id: "
          + "the second one within the dedup window is an id conflict",
        "use positional ids, or add what differs: {updateDescription.updatedFields.version}")
    } else if operations.count > 1, !template.names(.operationType) {
      problems.warn(
        .idRepeats, scalar.position,
        "the \(list(operations.map(\.configurationName))) events of a document "
          + "have the same id", "add {operationType} to the id")
    }
  }

  /// Two rules that give events of one stream the same ids.
  private func checkShared(_ read: ReadRule, _ earlier: ArraySlice<ReadRule>) {
    guard read.rule.outbox == nil, case .template(let template) = read.rule.id,
      let scalar = read.section.scalar("id"), let index = read.rule.streamIndex
    else { return }
    for other in earlier
    where other.rule.streamIndex == index && other.rule.outbox == nil {
      guard case .template(let same) = other.rule.id, same.pieces == template.pieces,
        collide(other.rule, read.rule, template)
      else { continue }
      let stream = streams[index]
      problems.warn(
        .idShared, scalar.position,
        "rule \(other.rule.name) makes the same ids in the \(stream.ownership.rawValue) stream "
          + "\(stream.name): of two such events it takes one",
        "end the id with something of the rule's own, such as .\(read.rule.name)")
      return
    }
  }

  private func collide(_ one: Rule, _ other: Rule, _ template: Template) -> Bool {
    let sameNamespace = one.namespace.overlaps(other.namespace)
    if !sameNamespace {
      // Ids of documents in different collections are often equal.
      return !template.names(.collection) || one.namespace.text == other.namespace.text
    }
    let (ones, others) = (Set(one.possibleOperations), Set(other.possibleOperations))
    if ones.isEmpty || others.isEmpty { return false }
    if one.continues, !ones.isDisjoint(with: others) { return true }
    // Alternatives of one operation (two rooms' kinds, say) never take the same document.
    return ones.union(others).count > 1 && !template.names(.operationType)
  }

  // MARK: Conditions and documents

  private func checkCondition(_ read: ReadRule) {
    guard let condition = read.rule.condition,
      let node = read.section.section("match").node("where")
    else { return }
    for (value, meant) in condition.unknownOperations {
      problems.warn(
        .whereValue, node.position(ofValue: value) ?? node.position,
        "operationType is never \(value)",
        meant.map { "did you mean \($0)?" } ?? "write insert, update, replace or delete")
    }
    var told: [EventField] = []
    for path in condition.paths where !told.contains(path.field) {
      guard read.rule.operations.operations.allSatisfy({ !read.rule.canHave(path.field, in: $0) })
      else { continue }
      told.append(path.field)
      problems.warn(
        .whereAbsent, node.position(of: path.text) ?? node.position,
        "\(path.text) has no value in any event of the rule",
        "use documentKey"
          + (read.rule.operations.contains(.update) ? ", or set payload.full_document" : ""))
    }
    if told.isEmpty, condition.unknownOperations.isEmpty, read.rule.possibleOperations.isEmpty {
      problems.warn(
        .ruleNeverMatches, node.position, "no event of the rule satisfies where",
        "ask for what its operations have, or take it out")
    }
  }

  private func checkDocuments(_ read: ReadRule) {
    let payload = read.section.section("payload")
    let operations = OperationSet(read.rule.possibleOperations.map { OperationSet($0) })
    guard !operations.isEmpty else { return }
    if read.rule.fullDocument != .off, !operations.contains(.update) {
      problems.warn(
        .documentUnused, payload.position(of: "full_document"),
        "full_document is about updates, and the rule takes none",
        "leave it out, or add update to match.operations")
    }
    if read.rule.fullDocumentBeforeChange != .off, operations.isDisjoint(with: .changes) {
      problems.warn(
        .documentUnused, payload.position(of: "full_document_before_change"),
        "no event of the rule has a document from before it",
        "leave it out, or add update, replace or delete to match.operations")
    }
  }

  // MARK: Schemas

  private func checkSchema(_ read: ReadRule) {
    guard let schema = read.schema, let scalar = read.section.scalar("schema") else { return }
    for (document, unknown) in schema.unknownKeywords {
      guard let meant = unknown.meant else { continue }
      problems.warn(
        .schemaKeyword, scalar.position,
        "\(document)#\(unknown.pointer): \(meant.what)", meant.remedy)
    }
  }

  // MARK: Reach

  private func checkNamespace(_ read: ReadRule) {
    let rule = read.rule
    guard let scalar = read.section.section("match").scalar("namespace") else { return }
    if let database = rule.namespace.literalDatabase,
      ["admin", "config", "local"].contains(database)
    {
      problems.warn(
        .ruleNeverMatches, scalar.position,
        "changes in the server's own database \(database) are no events",
        "name a database of your own")
    } else if rule.namespace.literalCollection?.hasPrefix("system.") == true {
      problems.warn(
        .ruleNeverMatches, scalar.position,
        "changes in the server's own collections (system.…) are no events",
        "name a collection of your own")
    } else if rule.operations.contains(.dropDatabase),
      !rule.namespace.matches("\(rule.namespace.literalDatabase ?? "x").")
    {
      problems.warn(
        .ruleNeverMatches, scalar.position,
        "drop_database events have no collection, so this namespace takes none of them",
        "give them a rule with \(rule.namespace.literalDatabase ?? "database").*")
    }
  }

  /// Every operation is taken by an earlier rule without `continue`.
  private func checkReach(_ read: ReadRule, _ earlier: ArraySlice<ReadRule>) {
    var takers: [String] = []
    for operation in read.rule.possibleOperations {
      let taker = earlier.first { other in
        !other.rule.continues && other.rule.operations.contains(operation)
          && other.rule.takesAll(of: read.rule, operation)
          && other.rule.namespace.covers(read.rule.namespace)
      }
      guard let taker else { return }
      if !takers.contains(taker.rule.name) { takers.append(taker.rule.name) }
    }
    guard !takers.isEmpty else { return }
    let place = read.section.scalar("name")?.position ?? read.section.position
    problems.warn(
      .ruleUnreachable, place,
      "no event reaches rule \(read.rule.name): \(takers.joined(separator: ", ")) before it "
        + "takes all of them",
      "put it first, narrow the earlier one with match.where, or let that say continue: true")
  }
}

extension Rule {
  /// Events of an operation can have the field: its own, or one that is fetched for the rule.
  func canHave(_ field: EventField, in operation: OperationType) -> Bool {
    switch field {
    case .fullDocument where operation == .update: fullDocument != .off
    case .collection: operation != .dropDatabase
    default: field.operations.contains(operation)
    }
  }

  /// Facts about the rule's events of an operation.
  func events(_ operation: OperationType) -> ExpectedEvents {
    ExpectedEvents(
      operation, lacking: EventField.allCases.filter { !canHave($0, in: operation) },
      // A rename is an event of both its names.
      database: operation == .rename ? nil : namespace.literalDatabase,
      collection: operation == .rename ? nil : namespace.literalCollection)
  }

  /// The operations with events that its condition may accept.
  var possibleOperations: [OperationType] {
    operations.operations.filter { condition?.outcome(for: events($0)) != false }
  }

  /// No condition, one that every event satisfies, or the same as the other rule's on the same documents.
  fileprivate func takesAll(of other: Rule, _ operation: OperationType) -> Bool {
    guard let condition, condition.outcome(for: other.events(operation)) != true else {
      return true
    }
    return condition == other.condition && (fullDocument == .off) == (other.fullDocument == .off)
  }
}

extension EventPath {
  /// As written in the file.
  var text: String { remainder.isEmpty ? field.name : "\(field.name).\(remainder)" }

  /// The same in every event of a document.
  fileprivate var isOfTheDocument: Bool {
    switch field {
    case .documentKey, .database, .collection, .operationType: true
    case .fullDocument: remainder == "_id"
    default: false
    }
  }
}

extension Condition {
  /// Unknown names that `operationType` is compared with, and what was probably meant.
  fileprivate var unknownOperations: [(String, meant: String?)] {
    switch self {
    case .all(let parts), .any(let parts): return parts.flatMap(\.unknownOperations)
    case .not(let part): return part.unknownOperations
    case .test(let path, .equals(let values)) where path.field == .operationType:
      let names = OperationType.allCases.map { "\($0.name)" }
      return values.compactMap { value in
        guard value.type == .string, value.bytes.count > 4 else { return nil }
        let text = String(decoding: value.bytes.dropFirst(4).dropLast(), as: UTF8.self)
        return names.contains(text) ? nil : (text, nearest(to: text, among: names))
      }
    case .test: return []
    }
  }
}

extension Template {
  fileprivate func names(_ field: EventField) -> Bool { paths.contains { $0.field == field } }
}

extension NamespacePattern {
  /// Everything that the other pattern matches. The other's star can only be covered by a star.
  fileprivate func covers(_ other: NamespacePattern) -> Bool { matches(other.text) }

  /// Approximately: patterns with stars of both sides count as overlapping.
  fileprivate func overlaps(_ other: NamespacePattern) -> Bool {
    func apart(_ one: String?, _ two: String?) -> Bool {
      if let one, let two { one != two } else { false }
    }
    return !apart(literalDatabase, other.literalDatabase)
      && !apart(literalCollection, other.literalCollection)
  }
}
