import Patterns

extension Lowering {
  /// What a schema asks of objects, before names are assigned their bits.
  struct ObjectParts {
    var isUsed = false
    var least = 0
    var most = Int.max
    var required: [String] = []
    var properties: [(name: String, schema: SchemaID)] = []
    var patterns: [(pattern: Pattern, schema: SchemaID)] = []
    var additional: SchemaID?
    var names: SchemaID?
    var dependentRequired: [(name: String, required: [String])] = []
    var dependentSchemas: [(name: String, schema: SchemaID)] = []
  }

  func collect(_ keyword: Keyword, into parts: inout ObjectParts) {
    parts.isUsed = true
    switch keyword {
    case .minProperties(let least): parts.least = least
    case .maxProperties(let most): parts.most = most
    case .required(let names): parts.required = names
    case .properties(let named): parts.properties = named
    case .patternProperties(let patterns): parts.patterns = patterns
    case .additionalProperties(let schema, _, _): parts.additional = schema
    case .propertyNames(let schema): parts.names = schema
    // Draft-07's `dependencies` may come on top.
    case .dependentRequired(let dependent): parts.dependentRequired += dependent
    case .dependentSchemas(let dependent): parts.dependentSchemas += dependent
    default: break
    }
  }

  mutating func plan(_ parts: ObjectParts) -> ObjectPlan? {
    guard parts.isUsed else { return nil }
    var keys = KeySet()
    for (name, schema) in parts.properties { keys.set(name, node: node(schema)) }
    for name in parts.required { keys.track(name) }
    for (name, required) in parts.dependentRequired {
      keys.track(name)
      for other in required { keys.track(other) }
    }
    for (name, _) in parts.dependentSchemas { keys.track(name) }
    let wordCount = (keys.tracked + 63) / 64

    var plan = ObjectPlan(keys: table(keys))
    plan.least = parts.least
    plan.most = parts.most
    plan.additional = parts.additional.map { node($0) } ?? -1
    plan.names = parts.names.map { node($0) } ?? -1
    plan.wordCount = Int32(wordCount)
    plan.firstWord = mask(parts.required, keys, wordCount)
    plan.required = wordCount > 0 ? tables.words[Int(plan.firstWord)] : 0
    let patterns = parts.patterns.map { part in
      ProgramPattern(
        table: part.pattern.table?.view, pattern: number(part.pattern),
        node: node(part.schema))
    }
    plan.firstPattern = Int32(tables.propertyPatterns.count)
    plan.patternCount = Int32(patterns.count)
    tables.propertyPatterns += patterns
    var dependents: [ProgramDependent] = []
    for (name, required) in parts.dependentRequired {
      dependents.append(
        ProgramDependent(bit: keys.bit(name), firstWord: mask(required, keys, wordCount)))
    }
    for (name, schema) in parts.dependentSchemas {
      dependents.append(ProgramDependent(bit: keys.bit(name), node: node(schema)))
    }
    plan.firstDependent = Int32(tables.dependents.count)
    plan.dependentCount = Int32(dependents.count)
    tables.dependents += dependents
    return plan
  }

  private mutating func mask(_ names: [String], _ keys: KeySet, _ wordCount: Int) -> Int32 {
    var words = [UInt64](repeating: 0, count: wordCount)
    for name in names {
      let bit = Int(keys.bit(name))
      words[bit / 64] |= 1 << UInt64(bit % 64)
    }
    tables.words += words
    return Int32(tables.words.count - wordCount)
  }
}
