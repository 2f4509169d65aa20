import JSONSchema

/// `unevaluatedProperties` and `unevaluatedItems` depend on which subschemas a value is valid by. Here a schema
/// is taken apart into cases, one for each such outcome: conditions that exclude each other and together are the
/// schema, each with what is evaluated in its case.
struct EvaluationAlternatives {
  /// What a case evaluates.
  struct Evaluated {
    var names: Set<Text> = []
    var patterns: Set<Int> = []
    var allMembers = false
    /// The first so many items.
    var prefix = 0
    var allItems = false
    /// Items for which one of these holds.
    var matching: Set<Literal> = []

    func union(_ other: Evaluated) -> Evaluated {
      Evaluated(
        names: names.union(other.names), patterns: patterns.union(other.patterns),
        allMembers: allMembers || other.allMembers, prefix: max(prefix, other.prefix),
        allItems: allItems || other.allItems, matching: matching.union(other.matching))
    }
  }

  struct Alternative {
    var condition: Literal
    var evaluated = Evaluated()
  }

  var builder: TermBuilder
  private var path: Set<SchemaKey> = []

  /// With more cases than this nothing is decided.
  private static let most = 64

  init(_ builder: TermBuilder) { self.builder = builder }

  /// Nil if there are too many, or it never ends.
  mutating func alternatives(of key: SchemaKey) -> [Alternative]? {
    guard let node = builder.classes.node(key) else { return nil }
    switch node.content {
    case .always: return [Alternative(condition: .always)]
    case .never: return []
    case .keywords(let keywords):
      guard path.insert(key).inserted else { return nil }
      defer { path.remove(key) }
      var found = [Alternative(condition: .always)]
      for (_, keyword) in keywords {
        guard let cases = cases(keyword, key, found), cases.count <= Self.most else { return nil }
        found = cases
      }
      return found
    }
  }

  private mutating func alternatives(
    of schema: SchemaID, in key: SchemaKey
  ) -> [Alternative]? { alternatives(of: builder.classes.below(key, schema)) }

  /// Each alternative so far with each case of a keyword.
  private mutating func cases(
    _ keyword: Keyword, _ key: SchemaKey, _ found: [Alternative]
  ) -> [Alternative]? {
    switch keyword {
    case .unevaluatedProperties(let schema):
      return found.map { alternative in
        var alternative = alternative
        guard !alternative.evaluated.allMembers else { return alternative }
        let keys = KeySet.outside(
          names: alternative.evaluated.names.sorted(),
          patterns: alternative.evaluated.patterns.sorted())
        let inner = builder.literal(schema, in: key)
        let rest = !builder.table.literal(.someMember(keys, !inner))
        alternative.condition = builder.table.all([alternative.condition, rest])
        alternative.evaluated.allMembers = true
        return alternative
      }
    case .unevaluatedItems(let schema):
      return found.map { alternative in
        var alternative = alternative
        guard !alternative.evaluated.allItems else { return alternative }
        let inner = builder.literal(schema, in: key)
        let fine = builder.table.any([inner] + alternative.evaluated.matching)
        let rest = !builder.table.literal(.someItem(from: alternative.evaluated.prefix, !fine))
        alternative.condition = builder.table.all([alternative.condition, rest])
        alternative.evaluated.allItems = true
        return alternative
      }
    default:
      guard let cases = cases(keyword, key) else { return nil }
      guard found.count * cases.count <= Self.most else { return nil }
      var result: [Alternative] = []
      for one in found {
        for other in cases {
          let condition = builder.table.all([one.condition, other.condition])
          guard condition != .never else { continue }
          result.append(
            Alternative(condition: condition, evaluated: one.evaluated.union(other.evaluated)))
        }
      }
      return result
    }
  }

  private mutating func cases(_ keyword: Keyword, _ key: SchemaKey) -> [Alternative]? {
    var evaluated = Evaluated()
    switch keyword {
    case .properties(let named): evaluated.names = Set(named.map { Text($0.name) })
    case .patternProperties(let matched):
      for (pattern, _) in matched { evaluated.patterns.insert(builder.table.pattern(pattern)) }
    case .additionalProperties: evaluated.allMembers = true
    case .prefixItems(let schemas): evaluated.prefix = schemas.count
    case .items: evaluated.allItems = true
    case .contains(let schema, _, _, evaluates: true):
      evaluated.matching = [builder.literal(schema, in: key)]
    case .allOf(let schemas):
      var found = [Alternative(condition: .always)]
      for schema in schemas {
        guard let inner = alternatives(of: schema, in: key), let both = product(found, inner) else {
          return nil
        }
        found = both
      }
      return found
    case .reference(let schema): return alternatives(of: schema, in: key)
    case .dynamicReference(let schema, let anchor):
      guard let target = builder.classes.target(key, schema, anchor) else { return nil }
      return alternatives(of: target)
    case .anyOf(let schemas): return outcomes(schemas, in: key) { $0 > 0 }
    case .oneOf(let schemas): return outcomes(schemas, in: key) { $0 == 1 }
    case .condition(let test, let then, let otherwise):
      guard let inner = alternatives(of: test, in: key) else { return nil }
      let thenCases =
        then.map { alternatives(of: $0, in: key) } ?? [Alternative(condition: .always)]
      let elseCases =
        otherwise.map { alternatives(of: $0, in: key) } ?? [Alternative(condition: .always)]
      guard let thenCases, let elseCases, let yes = product(inner, thenCases) else { return nil }
      let failed = [Alternative(condition: !builder.literal(test, in: key))]
      return product(failed, elseCases).map { yes + $0 }
    case .dependentSchemas(let named):
      var found = [Alternative(condition: .always)]
      for (name, schema) in named {
        guard let inner = alternatives(of: schema, in: key) else { return nil }
        let has = builder.has(name)
        guard let present = product([Alternative(condition: has)], inner),
          let both = product(found, present + [Alternative(condition: !has)])
        else { return nil }
        found = both
      }
      return found
    default: break
    }
    return [Alternative(condition: builder.literal(keyword, key), evaluated: evaluated)]
  }

  private mutating func product(
    _ one: [Alternative], _ other: [Alternative]
  ) -> [Alternative]? {
    guard one.count * other.count <= Self.most else { return nil }
    var result: [Alternative] = []
    for left in one {
      for right in other {
        let condition = builder.table.all([left.condition, right.condition])
        guard condition != .never else { continue }
        result.append(
          Alternative(condition: condition, evaluated: left.evaluated.union(right.evaluated)))
      }
    }
    return result
  }

  /// All ways in which schemas can be valid or not, where the number of the valid ones is as wanted.
  private mutating func outcomes(
    _ schemas: [SchemaID], in key: SchemaKey, where isWanted: (Int) -> Bool
  ) -> [Alternative]? {
    let kinds = schemas.map { ObjectKind(builder.classes.below(key, $0), builder.classes) }
    let types = types(of: key)
    var found: [(alternative: Alternative, valid: [Int])] = [(Alternative(condition: .always), [])]
    for (index, schema) in schemas.enumerated() {
      guard let inner = alternatives(of: schema, in: key) else { return nil }
      let failed = [Alternative(condition: !builder.literal(schema, in: key))]
      var next: [(Alternative, [Int])] = []
      for (alternative, valid) in found {
        guard let no = product([alternative], failed) else { return nil }
        next += no.map { ($0, valid) }
        // No value is of two kinds.
        let isExcluded = valid.contains {
          kinds[$0].excludes(kinds[index]) && !kinds[$0].shares(kinds[index], within: types)
        }
        if isExcluded { continue }
        guard let yes = product([alternative], inner) else { return nil }
        next += yes.map { ($0, valid + [index]) }
      }
      guard next.count <= Self.most else { return nil }
      found = next
    }
    return found.filter { isWanted($0.valid.count) }.map(\.alternative)
  }

  /// What values have to be, whatever else a schema says.
  private func types(of key: SchemaKey) -> JSONTypes {
    guard case .keywords(let keywords)? = builder.classes.node(key)?.content else { return .all }
    return keywords.reduce(into: JSONTypes.all) { types, keyword in
      if case .type(let some) = keyword.keyword { types.formIntersection(some) }
    }
  }
}
