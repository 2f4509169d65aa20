import JSONSchema

/// A part of a schema that a value can break by itself.
struct SchemaPart {
  /// Where it is: JSON pointer, with the URI of its resource unless that is the document itself.
  var pointer: String
  /// The schema that has it, and its keyword.
  var schema: SchemaKey
  var keyword: String
  /// What of the keyword's value it is about: a name.
  var detail: String?
  /// Where in the value: steps below the schema's place, `*` for any item or member.
  var steps: String = ""
  var content: Content

  enum Content {
    case rule(Literal)
    /// A subschema, and what it being so says about the whole value.
    case subschema(SchemaKey, embed: (Literal) -> Literal)
  }
}

extension Solver {
  /// A schema's parts; it is their conjunction.
  func parts(_ key: SchemaKey) -> [SchemaPart] {
    guard let node = builder.classes.node(key) else { return [] }
    switch node.content {
    case .always: return []
    case .never: return [part(key, "", nil, .never)]
    case .keywords(let keywords):
      return keywords.flatMap { parts($0.name, $0.keyword, key, keywords.map(\.keyword)) }
    }
  }

  private func part(
    _ key: SchemaKey, _ keyword: String, _ detail: String?, _ literal: Literal
  ) -> SchemaPart {
    SchemaPart(
      pointer: pointer(key) + (keyword.isEmpty ? "" : "/\(keyword)"), schema: key,
      keyword: keyword, detail: detail, content: .rule(literal))
  }

  func pointer(_ key: SchemaKey) -> String {
    guard let model = builder.classes.model(key.side) else { return "" }
    let node = model.schemas[key.schema]
    if node.resource == model.schemas[model.root].resource { return node.pointer }
    return model.resources[node.resource].uri + "#" + node.pointer
  }

  private func below(
    _ key: SchemaKey, _ keyword: String, _ schema: SchemaID, _ steps: String = "",
    _ embed: @escaping (Literal) -> Literal
  ) -> SchemaPart {
    below(key, keyword, builder.classes.below(key, schema), steps, embed)
  }

  private func below(
    _ key: SchemaKey, _ keyword: String, _ schema: SchemaKey, _ steps: String = "",
    _ embed: @escaping (Literal) -> Literal
  ) -> SchemaPart {
    SchemaPart(
      pointer: pointer(schema), schema: key,
      keyword: keyword, steps: steps, content: .subschema(schema, embed: embed))
  }

  private func parts(
    _ name: String, _ keyword: Keyword, _ key: SchemaKey, _ all: [Keyword]
  ) -> [SchemaPart] {
    switch keyword {
    case .annotation: return []
    case .required(let names):
      return names.map { member in
        part(key, name, member, builder.unless(.object, builder.has(member)))
      }
    case .dependentRequired(let named):
      return named.flatMap { each in
        each.required.map { member in
          part(
            key, "\(name)/\(JSONPointer.escaped(each.name))", member,
            builder.table.any([!builder.has(each.name), builder.has(member)]))
        }
      }
    case .contains(let schema, let least, let most, _):
      let inner = builder.literal(schema, in: key)
      var found = [
        part(
          key, least == 1 ? "contains" : "minContains", nil,
          builder.unless(.array, builder.table.count(least, inner)))
      ]
      if let most, most < .max {
        found.append(part(key, "maxContains", nil, !builder.table.count(most + 1, inner)))
      }
      return found
    case .allOf(let schemas): return schemas.map { below(key, name, $0) { $0 } }
    case .reference(let schema): return [below(key, name, schema) { $0 }]
    case .dynamicReference(let schema, let anchor):
      guard let target = builder.classes.target(key, schema, anchor) else { break }
      return [below(key, name, target) { $0 }]
    case .condition(let test, let then, let otherwise):
      let test = builder.literal(test, in: key)
      var found: [SchemaPart] = []
      if let then {
        found.append(below(key, "then", then) { self.builder.table.any([!test, $0]) })
      }
      if let otherwise {
        found.append(below(key, "else", otherwise) { self.builder.table.any([test, $0]) })
      }
      return found
    case .properties, .patternProperties, .additionalProperties, .propertyNames,
      .dependentSchemas, .prefixItems, .items:
      return structure(name, keyword, key)
    case .unevaluatedItems, .unevaluatedProperties:
      // The schema without it implies it, or the whole schema holds.
      let whole = builder.literal(key)
      var others: [Literal] = []
      for other in all { others.append(builder.literal(other, key)) }
      let rest = builder.table.all(others)
      return [part(key, name, nil, builder.table.any([whole, !rest]))]
    default: break
    }
    return [part(key, name, nil, builder.literal(keyword, key))]
  }

  /// Subschemas for parts of the value.
  private func structure(
    _ name: String, _ keyword: Keyword, _ key: SchemaKey
  ) -> [SchemaPart] {
    func table(_ term: Term) -> Literal { builder.table.literal(term) }
    switch keyword {
    case .properties(let named):
      return named.map { member, schema in
        below(key, name, schema, "/" + JSONPointer.escaped(member)) {
          !table(.member(Text(member), !$0))
        }
      }
    case .patternProperties(let matched):
      return matched.map { pattern, schema in
        let keys = KeySet.matching(builder.table.pattern(pattern))
        return below(key, name, schema, "/*") { !table(.someMember(keys, !$0)) }
      }
    case .additionalProperties(let schema, let names, let patterns):
      let keys = builder.outside(names, patterns)
      return [below(key, name, schema, "/*") { !table(.someMember(keys, !$0)) }]
    case .propertyNames(let schema):
      return [below(key, name, schema) { !table(.someKey(!$0)) }]
    case .dependentSchemas(let named):
      return named.map { member, schema in
        let has = builder.has(member)
        return below(key, name, schema) { self.builder.table.any([!has, $0]) }
      }
    case .prefixItems(let schemas):
      return schemas.enumerated().map { index, schema in
        below(key, name, schema, "/\(index)") { !table(.itemAt(index, !$0)) }
      }
    case .items(let schema, let from):
      return [below(key, name, schema, "/*") { !table(.someItem(from: from, !$0)) }]
    default: return []
    }
  }

  /// What a part says about the value.
  func literal(_ part: SchemaPart) -> Literal {
    switch part.content {
    case .rule(let literal): literal
    case .subschema(let schema, let embed): embed(builder.literal(schema))
    }
  }
}
