import JSONSchema

/// Where dynamic references lead. That depends on the resources that one comes through to a schema: of those with the
/// anchor, the outermost counts. So the scopes that can be told apart are few, and each schema is looked at in those
/// that it can be reached in.
struct DynamicScopes: Sendable {
  struct Place: Hashable, Sendable {
    var schema: SchemaID
    var scope: Int
  }

  private struct Step: Hashable, Sendable {
    var scope: Int
    var resource: Int
  }

  /// All that can be reached from the document's own schema, which is the first.
  private(set) var reached: [Place] = []
  private let model: SchemaModel
  /// By scope: where each anchor leads.
  private var anchors: [[String: SchemaID]] = [[:]]
  private var steps: [Step: Int] = [:]

  /// With more, nothing is said of references that could lead to several places.
  private static let most = 256
  private static let mostPlaces = 50_000

  init(_ model: SchemaModel) {
    self.model = model
    guard !explore() else { return }
    // In one scope, whose references are known where there is one place to lead to.
    anchors = [[:]]
    steps = [:]
    isSingle = true
    _ = explore()
  }

  private var isSingle = false

  /// False: there are too many scopes.
  private mutating func explore() -> Bool {
    var numbers: [[String: SchemaID]: Int] = [[:]: 0]
    func enter(_ schema: SchemaID, _ scope: Int, _ scopes: inout DynamicScopes) -> Place {
      let step = Step(scope: scope, resource: scopes.model.schemas[schema].resource)
      guard !scopes.isSingle else { return Place(schema: schema, scope: 0) }
      if let known = scopes.steps[step] { return Place(schema: schema, scope: known) }
      let new = scopes.anchors[scope].merging(
        scopes.model.resources[step.resource].dynamicAnchors
      ) { outer, _ in outer }
      let number = numbers[new] ?? scopes.anchors.count
      if number == scopes.anchors.count {
        scopes.anchors.append(new)
        numbers[new] = number
      }
      scopes.steps[step] = number
      return Place(schema: schema, scope: number)
    }
    var seen: Set<Place> = []
    reached = [enter(model.root, 0, &self)]
    seen.formUnion(reached)
    var next = 0
    while next < reached.count {
      guard isSingle || anchors.count <= Self.most && reached.count <= Self.mostPlaces else {
        return false
      }
      let place = reached[next]
      next += 1
      guard case .keywords(let keywords) = model.schemas[place.schema].content else { continue }
      for (_, keyword) in keywords {
        var below = keyword.subschemas
        if case .dynamicReference(let initial, let anchor) = keyword {
          below = [target(initial, anchor, in: place.scope) ?? initial]
        }
        for schema in below {
          let inner = enter(schema, place.scope, &self)
          if seen.insert(inner).inserted { reached.append(inner) }
        }
      }
    }
    return true
  }

  /// The scope within a schema that is reached from another one.
  func scope(of schema: SchemaID, from scope: Int) -> Int {
    guard model.schemas.indices.contains(schema) else { return scope }
    return steps[Step(scope: scope, resource: model.schemas[schema].resource)] ?? scope
  }

  /// Where a dynamic reference leads; nil if that is not known.
  func target(_ initial: SchemaID, _ anchor: String, in scope: Int) -> SchemaID? {
    guard isSingle else { return anchors[scope][anchor] ?? initial }
    let targets = Set(model.resources.compactMap { $0.dynamicAnchors[anchor] })
    return targets.subtracting([initial]).isEmpty ? initial : nil
  }
}
