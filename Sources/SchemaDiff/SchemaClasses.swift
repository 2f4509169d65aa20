import JSON
import JSONSchema
import Patterns

/// A schema of one of the two compared documents, as it is reached: in a dynamic scope.
struct SchemaKey: Hashable, Sendable {
  var side: Side
  var schema: SchemaID
  /// By `DynamicScopes`.
  var scope: Int
}

/// The compared documents.
enum Side: UInt8, Hashable, Sendable { case old, new }

/// Schemas that mean the same for their form, found by refinement: at first all with the same keywords are
/// alike, then those are distinguished whose subschemas are not alike. Handles schemas that refer to themselves.
struct SchemaClasses {
  private(set) var numbers: [SchemaKey: Int] = [:]
  /// One schema of each class.
  private(set) var samples: [SchemaKey] = []
  private let models: [Side: SchemaModel]
  private var scopes: [Side: DynamicScopes] = [:]
  /// What can be reached from the document's own schema.
  private var reached: [Side: [SchemaKey]] = [:]

  init(old: SchemaModel, new: SchemaModel) {
    models = [.old: old, .new: new]
    var shapes: [(key: SchemaKey, shape: Text, children: [SchemaKey])] = []
    for (side, model) in [(Side.old, old), (.new, new)] {
      let scopes = DynamicScopes(model)
      self.scopes[side] = scopes
      for place in scopes.reached {
        let key = SchemaKey(side: side, schema: place.schema, scope: place.scope)
        reached[side, default: []].append(key)
        let (shape, children) = shape(model.schemas[place.schema], key)
        shapes.append((key, Text(shape), children))
      }
    }
    struct Signature: Hashable {
      var shape: Text
      var children: [Int]
    }
    for each in shapes { numbers[each.key] = 0 }
    var count = 1
    while true {
      var found: [Signature: Int] = [:]
      var next: [SchemaKey: Int] = [:]
      samples = []
      for each in shapes {
        let signature = Signature(
          shape: each.shape, children: each.children.map { numbers[$0] ?? 0 })
        if found[signature] == nil {
          found[signature] = found.count
          samples.append(each.key)
        }
        next[each.key] = found[signature]
      }
      numbers = next
      if found.count == count { break }
      count = found.count
    }
  }

  subscript(key: SchemaKey) -> Int { numbers[key] ?? 0 }

  func node(_ key: SchemaKey) -> SchemaNode? { models[key.side]?.schemas[key.schema] }
  func model(_ side: Side) -> SchemaModel? { models[side] }
  func keys(_ side: Side) -> [SchemaKey] { reached[side] ?? [] }

  /// The document's own schema.
  func root(_ side: Side) -> SchemaKey {
    keys(side).first ?? SchemaKey(side: side, schema: models[side]?.root ?? 0, scope: 0)
  }

  /// The schema in the same place of the other document.
  func counterpart(of key: SchemaKey, on side: Side) -> SchemaKey? {
    guard let pointer = node(key)?.pointer else { return nil }
    return keys(side).first { node($0)?.pointer == pointer }
  }

  /// A schema that a keyword of another one has or refers to.
  func below(_ key: SchemaKey, _ schema: SchemaID) -> SchemaKey {
    SchemaKey(
      side: key.side, schema: schema,
      scope: scopes[key.side]?.scope(of: schema, from: key.scope) ?? key.scope)
  }

  /// Where a dynamic reference of a schema leads; nil if that is not known.
  func target(_ key: SchemaKey, _ initial: SchemaID, _ anchor: String) -> SchemaKey? {
    scopes[key.side]?.target(initial, anchor, in: key.scope).map { below(key, $0) }
  }

  /// Keywords with all that isn't a subschema, and the subschemas in order.
  private func shape(_ node: SchemaNode, _ key: SchemaKey) -> (String, [SchemaKey]) {
    switch node.content {
    case .always: return ("true", [])
    case .never: return ("false", [])
    case .keywords(let keywords):
      var parts: [String] = []
      var children: [SchemaKey] = []
      for (_, keyword) in keywords {
        var (part, below) = Self.shape(keyword)
        guard !part.isEmpty else { continue }
        if case .dynamicReference(let schema, let anchor) = keyword {
          below = []
          if let target = target(key, schema, anchor) {
            // As any other reference.
            part = Self.shape(.reference(schema)).0
            children.append(target)
          } else {
            // What it leads to depends on where one comes from.
            part += " \(key.side) \(node.resource) \(node.pointer)"
          }
        }
        parts.append(part)
        children += below.map { self.below(key, $0) }
      }
      if parts.isEmpty { return ("true", []) }
      return (parts.joined(separator: "\n"), children)
    }
  }

  private static func quoted(_ texts: [String]) -> String {
    JSONValue.array(texts.map { .string($0) }).text()
  }

  static func shape(_ keyword: Keyword) -> (String, [SchemaID]) {
    switch keyword {
    case .type(let types): ("type \(types.rawValue)", [])
    case .const(let value): ("value \(Canonical.text(value))", [])
    case .enumeration(let values):
      ("enum \(quoted(values.map(Canonical.text).sorted()))", [])
    case .multipleOf(let number, _): ("multipleOf \(number.description)", [])
    case .bound(let bound, let number): ("\(bound) \(number.description)", [])
    case .minLength(let count): ("minLength \(count)", [])
    case .maxLength(let count): ("maxLength \(count)", [])
    case .pattern(let pattern): ("pattern \(quoted([pattern.text]))", [])
    case .format(let format, _, let asserts):
      (asserts ? format.map { "format \($0)" } ?? "" : "", [])
    case .content(let check, _): (check == .none ? "" : "content \(check)", [])
    case .minItems(let count): ("minItems \(count)", [])
    case .maxItems(let count): ("maxItems \(count)", [])
    case .uniqueItems: ("uniqueItems", [])
    case .prefixItems(let schemas): ("prefixItems \(schemas.count)", schemas)
    case .items(let schema, let from): ("items \(from)", [schema])
    case .contains(let schema, let least, let most, let evaluates):
      ("contains \(least) \(most ?? -1) \(evaluates)", [schema])
    case .unevaluatedItems(let schema): ("unevaluatedItems", [schema])
    case .minProperties(let count): ("minProperties \(count)", [])
    case .maxProperties(let count): ("maxProperties \(count)", [])
    case .required(let names): ("required \(quoted(names.sorted()))", [])
    case .properties(let named):
      ("properties \(quoted(named.map(\.name)))", named.map(\.schema))
    case .patternProperties(let matched):
      ("patternProperties \(quoted(matched.map(\.pattern.text)))", matched.map(\.schema))
    case .additionalProperties(let schema, let names, let patterns):
      (
        "additionalProperties \(quoted(names.sorted())) \(quoted(patterns.map(\.text).sorted()))",
        [schema]
      )
    case .propertyNames(let schema): ("propertyNames", [schema])
    case .dependentRequired(let named):
      (
        "dependentRequired "
          + named.map { quoted([$0.name]) + quoted($0.required) }.joined(separator: " "), []
      )
    case .dependentSchemas(let named):
      ("dependentSchemas \(quoted(named.map(\.name)))", named.map(\.schema))
    case .unevaluatedProperties(let schema): ("unevaluatedProperties", [schema])
    case .allOf(let schemas): ("allOf \(schemas.count)", schemas)
    case .anyOf(let schemas): ("anyOf \(schemas.count)", schemas)
    case .oneOf(let schemas): ("oneOf \(schemas.count)", schemas)
    case .not(let schema): ("not", [schema])
    case .condition(let test, let then, let otherwise):
      (
        "if \(then != nil) \(otherwise != nil)",
        [test] + [then, otherwise].compactMap { $0 }
      )
    case .reference(let schema): ("$ref", [schema])
    case .dynamicReference(let schema, let anchor): ("$dynamicRef \(quoted([anchor]))", [schema])
    case .annotation: ("", [])
    }
  }
}

extension SchemaNode {
  /// It has no keyword that asks for anything: `{}`, or one with a title.
  var asksNothing: Bool {
    switch content {
    case .always: true
    case .never: false
    case .keywords(let keywords):
      keywords.allSatisfy { SchemaClasses.shape($0.keyword).0.isEmpty }
    }
  }
}

extension Keyword {
  /// Its own schemas, and those that it refers to.
  var subschemas: [SchemaID] { SchemaClasses.shape(self).1 }
}
