import JSON
import Patterns

/// Reads schemas into a `SchemaModel`: every schema that the root reaches, once.
struct SchemaReader {
  private(set) var registry: SchemaRegistry
  let options: SchemaOptions
  private var schemas: [SchemaNode] = []
  private var ids: [SchemaPlace: SchemaID] = [:]
  /// Locations with an id that weren't read yet, with the schema if it was available.
  private var open: [(SchemaID, SchemaPlace, JSONValue?)] = []
  private var dynamicNames: Set<String> = []
  private var patterns: [String: Pattern] = [:]

  /// More schemas than this (after following all references) are refused.
  private static let maximumSchemas = 100_000

  static func model(
    _ document: JSONValue, uri: String, set: SchemaSet, options: SchemaOptions
  ) throws(SchemaError) -> SchemaModel {
    var reader = SchemaReader(
      registry: SchemaRegistry(set: set, defaultDraft: options.defaultDraft), options: options)
    return try reader.read(document, uri: uri)
  }

  private init(registry: SchemaRegistry, options: SchemaOptions) {
    self.registry = registry
    self.options = options
  }

  private mutating func read(
    _ document: JSONValue, uri: String
  ) throws(SchemaError) -> SchemaModel {
    let resource = try registry.load(document, uri: uri)
    let target = URIReference(uri)
    var place = SchemaPlace(resource: resource, pointer: "")
    if let fragment = target.fragment, !fragment.isEmpty {
      place = try registry.resolve("#" + fragment, from: place, keyword: "")
    }
    let root = id(of: place)
    try readOpen()
    let resources = try readDynamicAnchors()
    let model = SchemaModel(
      schemas: schemas, resources: resources, root: root,
      usesDynamicScope: !dynamicNames.isEmpty)
    if let loop = model.endlessReference() {
      throw registry.error(
        at: SchemaPlace(resource: schemas[loop].resource, pointer: schemas[loop].pointer),
        "the schema refers back to itself without going into the value, so judging it would never "
          + "end")
    }
    return model
  }

  private mutating func readOpen() throws(SchemaError) {
    while let (id, place, value) = open.popLast() {
      guard schemas.count <= Self.maximumSchemas else {
        throw registry.error(at: place, "more than \(Self.maximumSchemas) schemas")
      }
      schemas[id].content = try content(at: place, value)
    }
  }

  /// Reads the possible targets of dynamic references, until there is no new one.
  private mutating func readDynamicAnchors() throws(SchemaError) -> [SchemaModel.Resource] {
    var found: [[String: SchemaID]] = []
    guard !dynamicNames.isEmpty else {
      return registry.resources.map { model($0, [:]) }
    }
    var known = -1
    while known != schemas.count {
      known = schemas.count
      found = []
      for (index, resource) in registry.resources.enumerated() {
        var anchors: [String: SchemaID] = [:]
        for (name, pointer) in resource.dynamicAnchors where dynamicNames.contains(name) {
          anchors[name] = id(of: SchemaPlace(resource: index, pointer: pointer))
        }
        if resource.isRecursive, dynamicNames.contains(SchemaModel.recursiveAnchor) {
          anchors[SchemaModel.recursiveAnchor] = id(of: SchemaPlace(resource: index, pointer: ""))
        }
        found.append(anchors)
      }
      try readOpen()
    }
    // Resources that the last round loaded hold no anchors that are looked for.
    while found.count < registry.resources.count { found.append([:]) }
    return zip(registry.resources, found).map(model)
  }

  private func model(
    _ resource: SchemaResource, _ anchors: [String: SchemaID]
  ) -> SchemaModel.Resource {
    SchemaModel.Resource(
      uri: resource.uri, document: registry.documents[resource.document],
      pointer: resource.pointer, dynamicAnchors: anchors)
  }

  private mutating func id(of place: SchemaPlace, _ value: JSONValue? = nil) -> SchemaID {
    if let known = ids[place] { return known }
    let id = schemas.count
    ids[place] = id
    schemas.append(SchemaNode(resource: place.resource, pointer: place.pointer))
    open.append((id, place, value))
    return id
  }

  // MARK: One schema

  private func content(
    _ value: JSONValue, at place: SchemaPlace
  ) throws(SchemaError) -> [JSONValue.Member]? {
    switch value {
    case .object(let members): return members
    case .bool: return nil
    default:
      throw registry.error(at: place, "a schema is an object, true or false")
    }
  }

  private mutating func content(
    at place: SchemaPlace, _ known: JSONValue?
  ) throws(SchemaError) -> SchemaNode.Content {
    guard let value = known ?? registry.value(at: place) else {
      throw registry.error(at: place, "there is no schema here")
    }
    guard let members = try content(value, at: place) else {
      return value.boolValue == true ? .always : .never
    }
    let resource = registry.resources[place.resource]
    var object = SchemaObject(members: members, value: value, place: place)
    object.draft = resource.draft
    object.vocabularies = resource.vocabularies
    var keywords: [(name: String, keyword: Keyword)] = []
    if object.draft == .draft7, value["$ref"] != nil {
      // In draft-07 everything beside a reference is ignored.
      try readReferences(object, into: &keywords)
      return .keywords(keywords)
    }
    if object.vocabularies.contains(.validation) {
      try readTypes(object, into: &keywords)
      try readNumbers(object, into: &keywords)
    }
    try readStrings(object, into: &keywords)
    try readReferences(object, into: &keywords)
    try readCombinations(object, into: &keywords)
    try readArrays(object, into: &keywords)
    try readObjects(object, into: &keywords)
    readAnnotations(object, into: &keywords)
    readUnevaluated(object, into: &keywords)
    return .keywords(keywords)
  }

  // MARK: Helpers for keywords

  /// A subschema.
  mutating func schema(_ object: SchemaObject, _ steps: String, _ value: JSONValue) -> SchemaID {
    id(of: registry.place(below: object.place, steps), value)
  }

  /// A keyword's schema, if it is present.
  mutating func schema(_ object: SchemaObject, keyword: String) -> SchemaID? {
    object[keyword].map { schema(object, "/" + keyword, $0) }
  }

  mutating func schemas(
    _ object: SchemaObject, _ keyword: String, _ value: JSONValue
  ) throws(SchemaError) -> [SchemaID] {
    guard let elements = value.arrayValue, !elements.isEmpty else {
      throw error(object, keyword, "needs a list of schemas that isn't empty")
    }
    return elements.enumerated().map { schema(object, "/\(keyword)/\($0)", $1) }
  }

  mutating func namedSchemas(
    _ object: SchemaObject, _ keyword: String, _ value: JSONValue
  ) throws(SchemaError) -> [(name: String, schema: SchemaID)] {
    guard case .object(let members) = value else {
      throw error(object, keyword, "needs an object with a schema for each name")
    }
    var named: [(name: String, schema: SchemaID)] = []
    for member in members {
      let steps = "/\(keyword)/" + JSONPointer.escaped(member.key)
      named.append((member.key, schema(object, steps, member.value)))
    }
    return named
  }

  func error(_ object: SchemaObject, _ keyword: String, _ message: String) -> SchemaError {
    registry.error(
      at: SchemaPlace(
        resource: object.place.resource, pointer: object.place.pointer + "/" + keyword),
      "\"\(keyword)\" \(message)")
  }

  /// A non-negative integer in any notation.
  func count(
    _ object: SchemaObject, _ keyword: String
  ) throws(SchemaError) -> Int? {
    guard let value = object[keyword] else { return nil }
    guard case .number(let text) = value, let decimal = ExactDecimal(text), decimal.isInteger,
      !decimal.isNegative
    else { throw error(object, keyword, "needs a whole number of 0 or more") }
    return decimal.int64.map(Int.init) ?? .max
  }

  func names(
    _ object: SchemaObject, _ keyword: String, _ value: JSONValue
  ) throws(SchemaError) -> [String] {
    guard let elements = value.arrayValue else {
      throw error(object, keyword, "needs a list of names")
    }
    var names: [String] = []
    for element in elements {
      guard let name = element.stringValue else {
        throw error(object, keyword, "needs a list of names, and \(element.text()) is none")
      }
      if !names.contains(where: { $0.utf8.elementsEqual(name.utf8) }) { names.append(name) }
    }
    return names
  }

  /// A pattern, compiled once for all its places.
  mutating func pattern(
    _ object: SchemaObject, _ keyword: String, _ text: String
  ) throws(SchemaError) -> Pattern {
    // Strings with the same characters may differ in their bytes, and patterns then do.
    let key = text.unicodeScalars.map { String($0.value, radix: 16) }.joined(separator: " ")
    if let known = patterns[key] { return known }
    do throws(PatternError) {
      let pattern = try Pattern(text)
      patterns[key] = pattern
      return pattern
    } catch {
      throw self.error(object, keyword, "holds a pattern that can't be used: \(error)")
    }
  }

  /// The place that a reference leads to, as a schema.
  mutating func follow(
    _ reference: String, _ object: SchemaObject, _ keyword: String
  ) throws(SchemaError) -> (id: SchemaID, place: SchemaPlace) {
    let place = try registry.resolve(reference, from: object.place, keyword: keyword)
    return (id(of: place), place)
  }

  mutating func noteDynamic(_ anchor: String) { dynamicNames.insert(anchor) }
}

/// A schema that is an object, while its keywords are read.
struct SchemaObject {
  let members: [JSONValue.Member]
  let value: JSONValue
  let place: SchemaPlace
  var draft = SchemaDraft.draft2020
  var vocabularies = Vocabularies.standard

  subscript(keyword: String) -> JSONValue? {
    members.first { $0.key.utf8.elementsEqual(keyword.utf8) }?.value
  }
}

extension SchemaModel {
  /// A schema that reaches itself through keywords that stay at the same value, if there is one.
  /// Dynamic references count with their initial target; the depth is bounded for the others.
  func endlessReference() -> SchemaID? {
    // 0: new, 1: on the path, 2: done.
    var marks = [UInt8](repeating: 0, count: schemas.count)
    var path: [(id: SchemaID, next: [SchemaID])] = []
    for start in schemas.indices where marks[start] == 0 {
      marks[start] = 1
      path.append((start, sameValue(start)))
      while let top = path.last {
        guard let next = top.next.last else {
          marks[top.id] = 2
          path.removeLast()
          continue
        }
        path[path.count - 1].next.removeLast()
        if marks[next] == 1 { return next }
        if marks[next] == 0 {
          marks[next] = 1
          path.append((next, sameValue(next)))
        }
      }
    }
    return nil
  }

  /// The schemas that a schema applies to the same value (in place).
  private func sameValue(_ id: SchemaID) -> [SchemaID] {
    guard case .keywords(let keywords) = schemas[id].content else { return [] }
    var ids: [SchemaID] = []
    for (_, keyword) in keywords {
      switch keyword {
      case .allOf(let all), .anyOf(let all), .oneOf(let all): ids += all
      case .not(let one), .reference(let one), .dynamicReference(let one, _): ids.append(one)
      case .condition(let test, let then, let otherwise):
        ids.append(test)
        if let then { ids.append(then) }
        if let otherwise { ids.append(otherwise) }
      case .dependentSchemas(let named): ids += named.map(\.schema)
      default: break
      }
    }
    return ids
  }
}
