import JSON

extension Explainer {
  mutating func judgeCombination(
    _ keyword: Keyword, _ context: Context, _ outcome: inout Outcome
  ) throws(SchemaFault) {
    let value = context.value
    let place = context.place.under("/\(context.name)")
    switch keyword {
    case .reference(let target): outcome.add(try judge(target, value, place))
    case .dynamicReference(let target, let anchor):
      let resource = context.place.scope.first { resource in
        model.resources[resource].dynamicAnchors[anchor] != nil
      }
      let found = resource.flatMap { model.resources[$0].dynamicAnchors[anchor] }
      outcome.add(try judge(found ?? target, value, place))
    case .allOf(let schemas):
      for (index, schema) in schemas.enumerated() {
        outcome.add(try judge(schema, value, place.under("/\(index)")))
      }
    case .anyOf(let schemas), .oneOf(let schemas):
      try judgeAlternatives(keyword, schemas, context, &outcome)
    case .not(let schema):
      guard try judge(schema, value, place).isValid else { return }
      outcome.violations.append(
        violation(context, "\(Self.excerpt(value)) is what it must not be"))
    case .condition(let test, let then, let otherwise):
      let tested = try judge(test, value, place)
      if tested.isValid { outcome.add(tested) }
      if tested.isValid, let then {
        outcome.add(try judge(then, value, context.place.under("/then")))
      } else if !tested.isValid, let otherwise {
        outcome.add(try judge(otherwise, value, context.place.under("/else")))
      }
    default: break
    }
  }

  private mutating func judgeAlternatives(
    _ keyword: Keyword, _ schemas: [SchemaID], _ context: Context, _ outcome: inout Outcome
  ) throws(SchemaFault) {
    var matched: [(index: Int, outcome: Outcome)] = []
    var failed: [Outcome] = []
    for (index, schema) in schemas.enumerated() {
      let place = context.place.under("/\(context.name)/\(index)")
      let found = try judge(schema, context.value, place)
      if found.isValid { matched.append((index, found)) } else { failed.append(found) }
    }
    let excerpt = Self.excerpt(context.value)
    if matched.isEmpty {
      outcome.violations.append(
        violation(context, "\(excerpt) is valid by none of the \(schemas.count) schemas"))
      for found in failed { outcome.violations += found.violations }
    } else if case .oneOf = keyword, matched.count > 1 {
      let list = matched.map { "\($0.index)" }.joined(separator: " and ")
      outcome.violations.append(
        violation(context, "\(excerpt) is valid by the schemas \(list), and must be by one only"))
    } else {
      for (_, found) in matched { outcome.add(found) }
    }
  }

  /// Counts a step that isn't a schema.
  mutating func take() throws(SchemaFault) {
    stepsLeft -= 1
    guard stepsLeft > 0 else { throw .tooComplex }
  }
}
