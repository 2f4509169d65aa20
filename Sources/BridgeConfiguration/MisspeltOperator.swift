import Mapping

/// A key of a condition that was probably meant as an operator, though it lacks its `$`.
struct MisspeltOperator {
  /// What to write, beginning with a verb.
  let remedy: String

  /// Nil if it looks like a field of an embedded document.
  init?(key: String, value: ConfigNode) {
    let operators = WhereReading.comparisons.map { String($0.dropFirst()) }
    let names = operators + ["options", "elemMatch", "all", "mod"]
    // Names of two or three letters resemble too many others.
    let near =
      names.first { $0.lowercased() == key.lowercased() }
      ?? (key.count > 3
        ? nearest(to: key, among: names.filter { $0.count > 4 }, most: key.count > 6 ? 2 : 1) : nil)
    guard let name = near, Self.takes(name, value) else { return nil }
    remedy =
      Self.unavailable[name] ?? "write $\(name), or $eq: { … } if such a document is meant"
  }

  /// Operators of MongoDB's that this version does not have, and what to write instead.
  static let unavailable = [
    "elemMatch": "write a path through the array: fullDocument.mentions.username",
    "all": "write $and with an $eq for each value", "size": "ask for an item: fullDocument.tags.0",
    "mod": "use $in, or let consumers filter", "expr": "compare paths with values",
    "where": "write operators; code is not run",
    "and": "write $and: [ … ] beside the paths", "or": "write $or: [ … ] beside the paths",
    "nor": "write $nor: [ … ] beside the paths",
  ]

  /// The value has a type that the operator accepts.
  private static func takes(_ name: String, _ value: ConfigNode) -> Bool {
    switch (name, value) {
    case ("exists", .scalar(let scalar)):
      return ["true", "false", "1", "0"].contains(scalar.text.lowercased())
    case ("type", .scalar(let scalar)): return isType(scalar)
    case ("type", .sequence(let items, _)):
      return items.allSatisfy { $0.scalar.map(isType) ?? false }
    case ("in", .sequence), ("nin", .sequence), ("all", .sequence), ("mod", .sequence): return true
    case ("regex", .scalar(let scalar)), ("options", .scalar(let scalar)): return !scalar.isNull
    case ("not", .mapping(let entries, _)), ("elemMatch", .mapping(let entries, _)):
      return name == "elemMatch"
        || entries.allSatisfy {
          $0.key.text.hasPrefix("$") || MisspeltOperator(key: $0.key.text, value: $0.value) != nil
        }
    case ("eq", _), ("ne", _): return true
    case ("gt", .scalar), ("gte", .scalar), ("lt", .scalar), ("lte", .scalar): return true
    // A date or an id: `{ gt: { $date: … } }`.
    case ("gt", .mapping(let entries, _)), ("gte", .mapping(let entries, _)),
      ("lt", .mapping(let entries, _)), ("lte", .mapping(let entries, _)):
      return entries.count == 1 && entries[0].key.text.hasPrefix("$")
    default: return false
    }
  }

  private static func isType(_ scalar: ConfigScalar) -> Bool {
    WhereReading.typeNames.contains { $0.name == scalar.text }
  }
}
