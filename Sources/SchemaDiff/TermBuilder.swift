import JSON
import JSONSchema
import Patterns

/// Makes terms of schemas.
struct TermBuilder {
  var table = TermTable()
  let classes: SchemaClasses
  private var bodies: [Int: Literal] = [:]

  init(_ classes: SchemaClasses) { self.classes = classes }

  /// A schema as a literal, without looking into it.
  mutating func literal(_ key: SchemaKey) -> Literal {
    guard let node = classes.node(key), !node.asksNothing else { return .always }
    if case .never = node.content { return .never }
    return table.literal(.schema(classes[key]))
  }

  /// A schema that a keyword of another one has or refers to.
  mutating func literal(_ schema: SchemaID, in key: SchemaKey) -> Literal {
    literal(classes.below(key, schema))
  }

  /// What a class of schemas says.
  mutating func body(_ number: Int) -> Literal {
    if let known = bodies[number] { return known }
    let key = classes.samples[number]
    let body: Literal
    switch classes.node(key)?.content {
    case .keywords(let keywords)?:
      let needsEvaluation = keywords.contains { keyword in
        switch keyword.keyword {
        case .unevaluatedItems(let schema), .unevaluatedProperties(let schema):
          self.literal(schema, in: key) != .always
        default: false
        }
      }
      if needsEvaluation {
        body = evaluated(key, keywords.map(\.keyword))
      } else {
        var parts: [Literal] = []
        for (_, keyword) in keywords { parts.append(self.literal(keyword, key)) }
        body = table.all(parts)
      }
    case .never?: body = .never
    default: body = .always
    }
    bodies[number] = body
    return body
  }

  /// The schemas that a class speaks of for the same value. Its body may lack them, where they change nothing: an `if`
  /// without `then`.
  mutating func spoken(_ number: Int) -> [Literal] {
    let key = classes.samples[number]
    guard case .keywords(let keywords)? = classes.node(key)?.content else { return [] }
    var found: [Literal] = []
    for (_, keyword) in keywords {
      switch keyword {
      case .allOf(let schemas), .anyOf(let schemas), .oneOf(let schemas):
        found += literals(schemas, in: key)
      case .not(let schema), .reference(let schema): found.append(literal(schema, in: key))
      case .condition(let test, let then, let otherwise):
        found += literals([test] + [then, otherwise].compactMap { $0 }, in: key)
      case .dependentSchemas(let named): found += literals(named.map(\.schema), in: key)
      default: break
      }
    }
    return found
  }

  /// Alternatives of evaluation, of which exactly one holds for each value that is valid.
  private mutating func evaluated(_ key: SchemaKey, _ keywords: [Keyword]) -> Literal {
    var evaluation = EvaluationAlternatives(self)
    let alternatives = evaluation.alternatives(of: key)
    self = evaluation.builder
    guard let alternatives else {
      return table.literal(
        .opaque("what is left unevaluated depends on too much", classes[key]))
    }
    return table.any(alternatives.map(\.condition))
  }

  // MARK: Keywords

  /// A keyword of a schema, all but `unevaluated…`.
  mutating func literal(_ keyword: Keyword, _ key: SchemaKey) -> Literal {
    switch keyword {
    case .type(let types): return table.types(types)
    case .const(let value): return table.value(value)
    case .enumeration(let values):
      var parts: [Literal] = []
      for value in values { parts.append(table.value(value)) }
      return table.any(parts)
    case .multipleOf(let number, _):
      return unless(.number, table.literal(.multipleOf(Number(number))))
    case .bound(let bound, let number):
      let number = Number(number)
      switch bound {
      case .minimum:
        return unless(.number, table.literal(.atLeast(number, isExclusive: false)))
      case .exclusiveMinimum:
        return unless(.number, table.literal(.atLeast(number, isExclusive: true)))
      case .maximum: return !table.literal(.atLeast(number, isExclusive: true))
      case .exclusiveMaximum: return !table.literal(.atLeast(number, isExclusive: false))
      }
    case .minLength(let least):
      return least == 0 ? .always : unless(.string, table.literal(.length(least)))
    case .maxLength(let most): return most == .max ? .always : !table.literal(.length(most + 1))
    case .pattern(let pattern):
      return unless(.string, table.literal(.pattern(table.pattern(pattern))))
    case .format(let format, _, let asserts):
      guard asserts, let format else { return .always }
      return unless(.string, table.literal(.format(format)))
    case .content(let check, _):
      return check == .none
        ? .always
        : table.literal(.opaque("contentEncoding is validated", classes[key]))
    case .annotation: return .always
    case .minItems(let least):
      return least == 0 ? .always : unless(.array, table.literal(.items(least)))
    case .maxItems(let most): return most == .max ? .always : !table.literal(.items(most + 1))
    case .uniqueItems: return unless(.array, table.literal(.unique))
    case .prefixItems(let schemas):
      var parts: [Literal] = []
      for (index, schema) in schemas.enumerated() {
        parts.append(!table.literal(.itemAt(index, !literal(schema, in: key))))
      }
      return table.all(parts)
    case .items(let schema, let from):
      return !table.literal(.someItem(from: from, !literal(schema, in: key)))
    case .contains(let schema, let least, let most, _):
      let inner = literal(schema, in: key)
      var parts = [unless(.array, table.count(least, inner))]
      if let most, most < .max { parts.append(!table.count(most + 1, inner)) }
      return table.all(parts)
    case .minProperties(let least):
      return least == 0 ? .always : unless(.object, table.literal(.members(least)))
    case .maxProperties(let most):
      return most == .max ? .always : !table.literal(.members(most + 1))
    case .required(let names):
      var parts: [Literal] = []
      for name in names { parts.append(unless(.object, has(name))) }
      return table.all(parts)
    case .properties(let named):
      var parts: [Literal] = []
      for (name, schema) in named {
        parts.append(!table.literal(.member(Text(name), !literal(schema, in: key))))
      }
      return table.all(parts)
    case .patternProperties(let matched):
      var parts: [Literal] = []
      for (pattern, schema) in matched {
        let keys = KeySet.matching(table.pattern(pattern))
        parts.append(!table.literal(.someMember(keys, !literal(schema, in: key))))
      }
      return table.all(parts)
    case .additionalProperties(let schema, let names, let patterns):
      return !table.literal(.someMember(outside(names, patterns), !literal(schema, in: key)))
    case .propertyNames(let schema): return !table.literal(.someKey(!literal(schema, in: key)))
    case .dependentRequired(let named):
      var parts: [Literal] = []
      for (name, required) in named {
        for other in required { parts.append(table.any([!has(name), has(other)])) }
      }
      return table.all(parts)
    case .dependentSchemas(let named):
      var parts: [Literal] = []
      for (name, schema) in named {
        parts.append(table.any([!has(name), literal(schema, in: key)]))
      }
      return table.all(parts)
    case .allOf(let schemas): return table.all(literals(schemas, in: key))
    case .anyOf(let schemas): return table.any(literals(schemas, in: key))
    case .oneOf(let schemas): return exactlyOne(schemas, in: key)
    case .not(let schema): return !literal(schema, in: key)
    case .condition(let test, let then, let otherwise):
      let test = literal(test, in: key)
      let then = then.map { literal($0, in: key) } ?? .always
      let otherwise = otherwise.map { literal($0, in: key) } ?? .always
      return table.all([table.any([!test, then]), table.any([test, otherwise])])
    case .reference(let schema): return literal(schema, in: key)
    case .dynamicReference(let schema, let anchor):
      guard let target = classes.target(key, schema, anchor) else {
        return table.literal(.opaque("a dynamic reference", classes[key]))
      }
      return literal(target)
    case .unevaluatedItems, .unevaluatedProperties: return .always
    }
  }

  mutating func literals(_ schemas: [SchemaID], in key: SchemaKey) -> [Literal] {
    var result: [Literal] = []
    for schema in schemas { result.append(literal(schema, in: key)) }
    return result
  }

  mutating func has(_ name: String) -> Literal { table.literal(.member(Text(name), .always)) }

  mutating func outside(_ names: [String], _ patterns: [Pattern]) -> KeySet {
    var numbers: Set<Int> = []
    for pattern in patterns { numbers.insert(table.pattern(pattern)) }
    return .outside(names: Set(names.map(Text.init)).sorted(), patterns: numbers.sorted())
  }

  /// A literal that is asked of values of some types only.
  mutating func unless(_ types: JSONTypes, _ literal: Literal) -> Literal {
    table.any([!table.types(types), literal])
  }

  private mutating func exactlyOne(_ schemas: [SchemaID], in key: SchemaKey) -> Literal {
    let literals = literals(schemas, in: key)
    let kinds = schemas.map { ObjectKind(classes.below(key, $0), classes) }
    var parts = [table.any(literals)]
    /// Of kinds that no object is two of: what is left to be said of other values.
    var otherwise: [Literal] = []
    for (index, one) in literals.enumerated() {
      for (other, kind) in zip(literals, kinds).dropFirst(index + 1) {
        if !kind.excludes(kinds[index]) {
          parts.append(table.any([!one, !other]))
        } else if kind.shares(kinds[index]) {
          otherwise.append(table.any([!one, !other]))
        }
      }
    }
    if !otherwise.isEmpty {
      parts.append(table.any([table.types(.object), table.all(otherwise)]))
    }
    return table.all(parts)
  }
}
