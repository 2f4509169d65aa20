import JSON
import Patterns

extension Explainer {
  // MARK: Arrays

  mutating func judgeArray(
    _ keyword: Keyword, _ items: [JSONValue], _ context: Context, _ outcome: inout Outcome
  ) throws(SchemaFault) {
    switch keyword {
    case .minItems(let least) where items.count < least:
      outcome.violations.append(
        violation(context, "there are \(items.count) items, fewer than \(least)"))
    case .maxItems(let most) where items.count > most:
      outcome.violations.append(
        violation(context, "there are \(items.count) items, more than \(most)"))
    case .uniqueItems:
      guard let (first, second) = try equalItems(items) else { return }
      outcome.violations.append(
        violation(context, "items \(first) and \(second) are the same, and each must be unique"))
    case .prefixItems(let schemas):
      for (index, pair) in zip(schemas, items).enumerated() {
        let place = context.place.under("/\(context.name)/\(index)", at: "\(index)")
        outcome.add(part: try judge(pair.0, pair.1, place))
        outcome.evaluated.insert(index)
      }
      if !items.isEmpty {
        let last = min(schemas.count, items.count) - 1
        outcome.annotations.append(
          annotation(context, schemas.count >= items.count ? .bool(true) : .int(last)))
      }
    case .items(let schema, let from):
      try judgeItems(schema, items, from: from, context, &outcome)
    case .contains(let schema, let least, let most, let evaluates):
      try judgeContains(
        schema, items, least: least, most: most, evaluates: evaluates, context, &outcome)
    case .unevaluatedItems(let schema):
      var any = false
      for (index, item) in items.enumerated() where !outcome.evaluated.contains(index) {
        any = true
        let place = context.place.under("/\(context.name)", at: "\(index)")
        outcome.add(part: try judge(schema, item, place))
        outcome.evaluated.insert(index)
      }
      if any { outcome.annotations.append(annotation(context, .bool(true))) }
    default: break
    }
  }

  private mutating func judgeItems(
    _ schema: SchemaID, _ items: [JSONValue], from: Int, _ context: Context,
    _ outcome: inout Outcome
  ) throws(SchemaFault) {
    guard items.count > from else { return }
    for index in from..<items.count {
      let place = context.place.under("/\(context.name)", at: "\(index)")
      outcome.add(part: try judge(schema, items[index], place))
      outcome.evaluated.insert(index)
    }
    outcome.annotations.append(annotation(context, .bool(true)))
  }

  private mutating func judgeContains(
    _ schema: SchemaID, _ items: [JSONValue], least: Int, most: Int?, evaluates: Bool,
    _ context: Context, _ outcome: inout Outcome
  ) throws(SchemaFault) {
    var matched: [Int] = []
    for (index, item) in items.enumerated() {
      let place = context.place.under("/\(context.name)", at: "\(index)")
      let found = try judge(schema, item, place)
      guard found.isValid else { continue }
      matched.append(index)
      outcome.annotations += found.annotations
      if evaluates { outcome.evaluated.insert(index) }
    }
    if matched.count < least {
      outcome.violations.append(
        violation(
          context,
          least == 1
            ? "no item is as it must contain one"
            : "\(matched.count) items are as it must contain at least \(least)"))
    } else if let most, matched.count > most {
      outcome.violations.append(
        violation(context, "\(matched.count) items are as it must contain at most \(most)"))
    } else {
      outcome.annotations.append(
        annotation(
          context,
          matched.count == items.count ? .bool(true) : .array(matched.map { .int($0) })))
    }
  }

  private mutating func equalItems(_ items: [JSONValue]) throws(SchemaFault) -> (Int, Int)? {
    // Only those with the same hash can be equal.
    var known: [UInt64: [Int]] = [:]
    for second in items.indices {
      try take()
      let hash = items[second].stableHash
      for first in known[hash] ?? [] {
        try take()
        if JSONEquality.areEqual(items[first], items[second]) { return (first, second) }
      }
      known[hash, default: []].append(second)
    }
    return nil
  }

  // MARK: Objects

  mutating func judgeObject(
    _ keyword: Keyword, _ members: [JSONValue.Member], _ context: Context,
    _ outcome: inout Outcome
  ) throws(SchemaFault) {
    switch keyword {
    case .minProperties(let least) where members.count < least:
      outcome.violations.append(
        violation(context, "there are \(members.count) properties, fewer than \(least)"))
    case .maxProperties(let most) where members.count > most:
      outcome.violations.append(
        violation(context, "there are \(members.count) properties, more than \(most)"))
    case .required(let names):
      let missing = names.filter { !Self.has(members, $0) }
      if !missing.isEmpty {
        outcome.violations.append(violation(context, "\(Self.list(missing)) missing"))
      }
    case .dependentRequired(let dependent):
      for (name, required) in dependent where Self.has(members, name) {
        let missing = required.filter { !Self.has(members, $0) }
        guard !missing.isEmpty else { continue }
        outcome.violations.append(
          violation(context, "\(Self.list(missing)) missing, required beside \"\(name)\""))
      }
    case .dependentSchemas(let dependent):
      for (name, schema) in dependent where Self.has(members, name) {
        let steps = "/\(context.name)/" + JSONPointer.escaped(name)
        outcome.add(try judge(schema, context.value, context.place.under(steps)))
      }
    case .propertyNames(let schema):
      for member in members {
        let place = context.place.under("/\(context.name)", at: member.key)
        outcome.add(part: try judge(schema, .string(member.key), place))
      }
    default: try judgeMembers(keyword, members, context, &outcome)
    }
  }

  private static func has(_ members: [JSONValue.Member], _ name: String) -> Bool {
    members.contains { $0.key.utf8.elementsEqual(name.utf8) }
  }

  static func list(_ names: [String]) -> String {
    let quoted = names.map { "\"\($0)\"" }
    guard let last = quoted.last, quoted.count > 1 else { return (quoted.first ?? "") + " is" }
    return quoted.dropLast().joined(separator: ", ") + " and " + last + " are"
  }

  /// The keywords that apply to members' values. Each records which it evaluated.
  private mutating func judgeMembers(
    _ keyword: Keyword, _ members: [JSONValue.Member], _ context: Context,
    _ outcome: inout Outcome
  ) throws(SchemaFault) {
    var looked: [Int] = []
    for (index, member) in members.enumerated() {
      let name = JSONPointer.escaped(member.key)
      switch keyword {
      case .properties(let named):
        // The last member of a repeated name, as in parsers.
        guard
          let schema = named.last(where: { $0.name.utf8.elementsEqual(member.key.utf8) })?.schema
        else { continue }
        let place = context.place.under("/\(context.name)/\(name)", at: member.key)
        outcome.add(part: try judge(schema, member.value, place))
      case .patternProperties(let patterns):
        var any = false
        for (pattern, schema) in patterns where try search(pattern, member.key) {
          any = true
          let steps = "/\(context.name)/" + JSONPointer.escaped(pattern.text)
          outcome.add(
            part: try judge(schema, member.value, context.place.under(steps, at: member.key)))
        }
        guard any else { continue }
      case .additionalProperties(let schema, let names, let patterns):
        var isKnown = names.contains { $0.utf8.elementsEqual(member.key.utf8) }
        for pattern in patterns where !isKnown { isKnown = try search(pattern, member.key) }
        guard !isKnown else { continue }
        outcome.add(part: try judgeExtra(schema, member, context))
      case .unevaluatedProperties(let schema):
        guard !outcome.evaluated.contains(index) else { continue }
        outcome.add(part: try judgeExtra(schema, member, context))
      default: continue
      }
      looked.append(index)
    }
    outcome.evaluated.formUnion(looked)
    outcome.annotations.append(
      annotation(context, .array(looked.map { .string(members[$0].key) })))
  }

  /// A member that no other keyword evaluated.
  private mutating func judgeExtra(
    _ schema: SchemaID, _ member: JSONValue.Member, _ context: Context
  ) throws(SchemaFault) -> Outcome {
    let place = context.place.under("/\(context.name)", at: member.key)
    guard case .never = model.schemas[schema].content else {
      return try judge(schema, member.value, place)
    }
    let own = Context(
      schema: context.schema, name: context.name, place: context.place, value: .null)
    var violation = violation(own, "the property \"\(member.key)\" is not allowed")
    violation.instanceLocation = place.instance
    return Outcome(violations: [violation])
  }
}
