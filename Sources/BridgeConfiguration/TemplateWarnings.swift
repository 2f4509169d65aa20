import Mapping
import Oplog

// Parts of templates that are legal and almost certainly unintended.
extension RuleWarnings {
  private func templates(_ read: ReadRule) -> [(key: String, template: Template, at: ConfigScalar)]
  {
    guard read.rule.outbox == nil else { return [] }
    var found: [(String, Template, ConfigScalar)] = []
    if let scalar = read.section.scalar("subject") {
      found.append(("subject", read.rule.subject, scalar))
    }
    if case .template(let template) = read.rule.id, let scalar = read.section.scalar("id") {
      found.append(("id", template, scalar))
    }
    return found
  }

  func checkTemplates(_ read: ReadRule) {
    for (key, template, scalar) in templates(read) {
      for path in template.paths { check(path, of: key, in: scalar, read.rule) }
      for literal in template.literals { check(literal: literal, of: key, in: scalar) }
    }
  }

  private func check(_ path: EventPath, of key: String, in scalar: ConfigScalar, _ rule: Rule) {
    let operations = rule.possibleOperations
    let lacking = operations.filter { !rule.canHave(path.field, in: $0) }
    let place = scalar.position(at: scalar.text.offset(of: "{\(path.text)}").map { $0 + 1 } ?? 0)
    let isDemanded =
      rule.condition.map { condition in
        operations.allSatisfy { condition.demands(path, of: rule.events($0)) }
      } ?? false
    if operations.isEmpty || isDemanded { return }
    if let condition = rule.condition,
      operations.allSatisfy({ condition.refuses(path, of: rule.events($0)) })
    {
      problems.warn(
        .templateAbsent, place,
        "\(path.text) has no value in any event that satisfies match.where: each of them is "
          + "invalid (on_invalid)", "use documentKey, or correct where")
    } else if !lacking.isEmpty {
      // If no operation has it, that is an error already, unless `where` excludes the others.
      guard lacking.count < rule.operations.operations.count else { return }
      let names = list(lacking.map(\.configurationName))
      let fetches = path.field == .fullDocument && lacking == [.update]
      problems.warn(
        .templateAbsent, place,
        "\(path.text) has no value in \(names) events: each of them is invalid (on_invalid)",
        fetches
          ? "use documentKey, give updates a rule of their own, or set payload.full_document"
          : "use documentKey, or give \(names) a rule of their own")
    } else if path.field == .txnNumber || path.field == .lsid {
      problems.warn(
        .templateRare, place,
        "\(path.text) has a value only in transactions: every other event is invalid (on_invalid)",
        "use documentKey or clusterTime, or add where: { \(path.text): { $exists: true } }")
    } else if key == "subject", path.field == .updateDescription,
      path.remainder.hasPrefix("updatedFields.")
    {
      // In ids, this distinguishes updates: a version that every write increments.
      problems.warn(
        .templateRare, place,
        "\(path.text) has a value only where an update sets it: others are invalid (on_invalid)",
        "add where: { \(path.text): { $exists: true } }, or use documentKey")
    } else if path.field == .documentKey, let meant = Self.misspeltIDs[path.remainder] {
      problems.warn(
        .templateRare, place,
        "\(path.text) has a value only where a shard key is named so: documents' keys are _id",
        "did you mean documentKey.\(meant)?")
    }
  }

  private static let misspeltIDs = Dictionary(
    uniqueKeysWithValues: [
      "id", "ID", "Id", "_ID", "_Id", "_iD", "_di", "i_d", "__id", "oid", "_oid",
    ].map { ($0, "_id") })

  /// Values that are hidden in bodies but shown in subjects or ids.
  func checkHidden(_ read: ReadRule) {
    for (key, template, scalar) in templates(read) {
      for path in template.paths {
        let place = scalar.text.offset(of: "{\(path.text)}").map { $0 + 1 } ?? 0
        warnIfHidden(path, as: key, scalar.position(at: place), read.rule)
      }
    }
    guard let outbox = read.rule.outbox else { return }
    let section = read.section.section("outbox")
    for (key, path) in [("id", outbox.id), ("subject", outbox.subject), ("type", outbox.type)] {
      warnIfHidden(path, as: key, section.position(of: key), read.rule)
    }
  }

  private func warnIfHidden(
    _ path: EventPath, as key: String, _ place: TextPosition, _ rule: Rule
  ) {
    guard let hiding = rule.hidingPath(of: path) else { return }
    let isRedacted = rule.changes.redactions.contains { $0.path.text == hiding }
    let what = "payload.\(isRedacted ? "redact" : "exclude")"
    problems.warn(
      .templateHidden, place,
      "\(path.text) is hidden from bodies by \(what) (\(hiding)), and the \(key) shows its value",
      "use another field in the \(key), or take \(hiding) out of \(what)")
  }

  /// `chat.$fullDocument.rid`, `chat.documentKey._id`, `chat.fulldocument.rid`: a path without its braces.
  private func check(literal: String, of key: String, in scalar: ConfigScalar) {
    let words = literal.split { !$0.isLetter && !$0.isNumber && $0 != "$" && $0 != "_" }
    for (index, word) in words.enumerated() {
      let name = String(word.drop { $0 == "$" })
      let next = index + 1 < words.count ? words[index + 1] : ""
      let root = name == "ns" && ["db", "coll"].contains(next) ? "ns.\(next)" : Self.root(name)
      guard root != nil || word.contains("$") else { continue }
      problems.warn(
        .templateLiteral, scalar.position(at: scalar.text.offset(of: String(word)) ?? 0),
        "\(word) appears literally in the \(key) of every message",
        root.map { "put paths in braces: {\($0)\($0.hasPrefix("ns.") ? "" : ".…")}" }
          ?? "put paths in braces, and variables too: ${NAME}")
      return
    }
  }

  private static let roots = EventField.allCases.map(\.name)

  /// The part of an event that a word names, or misspells.
  private static func root(_ word: String) -> String? {
    if roots.contains(word) { return word }
    return nearest(to: word, among: roots.filter { $0.count > 7 && !$0.contains(".") }, most: 2)
  }

  func checkConstants(_ read: ReadRule) {
    if let scalar = read.section.scalar("event_type"), scalar.text.contains("{") {
      problems.warn(
        .templateLiteral, scalar.position,
        "event_type is no template: \(scalar.text) stays as it is",
        "write a name, or leave it out for <collection>.<operation>")
    }
    guard case .mapping(let entries, _) = read.section.section("payload").node("set") else {
      return
    }
    for (key, value) in entries {
      guard let scalar = value.scalar, (try? Template(id: scalar.text)) != nil else { continue }
      problems.warn(
        .templateLiteral, scalar.position,
        "\(key.text) is a constant: \(scalar.text) stays as it is",
        "constants are the same for every event; other values are in the body under their own names"
      )
    }
  }
}

extension Template {
  fileprivate var literals: [String] {
    pieces.compactMap { if case .literal(let text) = $0 { text } else { nil } }
  }
}
