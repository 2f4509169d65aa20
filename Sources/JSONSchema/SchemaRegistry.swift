import JSON

/// A schema with an identity of its own: a document, or a part of one that has an `$id`.
struct SchemaResource {
  let uri: String
  let document: Int
  /// Where it starts in its document.
  let pointer: String
  let root: JSONValue
  let draft: SchemaDraft
  let vocabularies: Vocabularies
  /// Pointers (from this resource's start) by name.
  var anchors: [String: String] = [:]
  var dynamicAnchors: [String: String] = [:]
  /// 2019-09's `$recursiveAnchor: true`.
  var isRecursive = false
}

/// A place of a schema: resource and JSON pointer from its start.
///
/// Pointers are compared by their bytes: names may differ in the composition of their characters alone, and
/// such strings are equal in Swift.
struct SchemaPlace: Hashable {
  var resource: Int
  var pointer: String

  static func == (one: SchemaPlace, other: SchemaPlace) -> Bool {
    one.resource == other.resource && one.pointer.isSame(as: other.pointer)
  }

  func hash(into hasher: inout Hasher) {
    hasher.combine(resource)
    for byte in pointer.utf8 { hasher.combine(byte) }
  }
}

/// All documents that a compilation came across, and the identifiers in them. Lives only while a
/// schema is compiled.
struct SchemaRegistry {
  private(set) var resources: [SchemaResource] = []
  private var byURI: [String: Int] = [:]
  /// Which resource starts at a place of a document.
  private var starts: [SchemaPlace: Int] = [:]
  /// The URIs that documents were requested by, in the order of `SchemaResource.document`.
  private(set) var documents: [String] = []
  private var isWholeSetLoaded = false
  private let set: SchemaSet
  private let defaultDraft: SchemaDraft

  init(set: SchemaSet, defaultDraft: SchemaDraft) {
    self.set = set
    self.defaultDraft = defaultDraft
  }

  /// A place as errors name it: document and pointer in it.
  func error(at place: SchemaPlace, _ message: String) -> SchemaError {
    let resource = resources[place.resource]
    return SchemaError(
      document: resource.uri, pointer: place.pointer, message: message)
  }

  // MARK: Documents

  /// Adds a document with its resources and anchors. Returns its root resource.
  mutating func load(_ document: JSONValue, uri: String) throws(SchemaError) -> Int {
    let base = URIReference(uri).resource
    if let known = byURI[base], resources[known].pointer.isEmpty { return known }
    try refuseRepeatedNames(document, "", base)
    let number = documents.count
    documents.append(base)
    let root = try makeResource(
      document, document: number, pointer: "", base: base, inherited: nil)
    // It is also known by the URI of the request.
    if byURI[base] == nil { byURI[base] = root }
    try scan(document, document: number, pointer: "", in: SchemaPlace(resource: root, pointer: ""))
    return root
  }

  /// Of two members of one name, the first counts here, and the last for most others: producers who validate by the same
  /// text would have another contract.
  private func refuseRepeatedNames(
    _ value: JSONValue, _ pointer: String, _ uri: String
  ) throws(SchemaError) {
    switch value {
    case .object(let members):
      var names: Set<[UInt8]> = []
      for member in members {
        let below = "\(pointer)/\(JSONPointer.escaped(member.key))"
        guard names.insert(Array(member.key.utf8)).inserted else {
          throw SchemaError(
            document: uri, pointer: below,
            message: "the name is there twice in one object: which of the two counts is not defined"
          )
        }
        try refuseRepeatedNames(member.value, below, uri)
      }
    case .array(let items):
      for (index, item) in items.enumerated() {
        try refuseRepeatedNames(item, "\(pointer)/\(index)", uri)
      }
    case .null, .bool, .number, .string: break
    }
  }

  private mutating func makeResource(
    _ value: JSONValue, document: Int, pointer: String, base: String, inherited: Int?
  ) throws(SchemaError) -> Int {
    var draft = inherited.map { resources[$0].draft } ?? defaultDraft
    var vocabularies = inherited.map { resources[$0].vocabularies } ?? .standard
    if let metaschema = value["$schema"]?.stringValue {
      (draft, vocabularies) = try dialect(metaschema, of: base)
    }
    var uri = base
    if let id = Self.identifier(of: value, draft: draft) {
      uri = URIReference(base).resolving(id).resource
    }
    let index = resources.count
    resources.append(
      SchemaResource(
        uri: uri, document: document, pointer: pointer, root: value, draft: draft,
        vocabularies: vocabularies))
    if let other = byURI[uri], inherited != nil, resources[other].root != value {
      throw SchemaError(
        document: base, pointer: pointer,
        message: "the identifier \(uri) is taken by another schema already")
    }
    if byURI[uri] == nil { byURI[uri] = index }
    starts[SchemaPlace(resource: document, pointer: pointer)] = index
    return index
  }

  /// `$id` if it identifies a resource: not next to a draft-07 `$ref`, not a mere fragment.
  private static func identifier(of value: JSONValue, draft: SchemaDraft) -> String? {
    guard let id = value["$id"]?.stringValue else { return nil }
    if draft == .draft7, value["$ref"] != nil { return nil }
    return id.hasPrefix("#") ? nil : id
  }

  /// Draft and vocabularies of the metaschema that `$schema` names.
  private mutating func dialect(
    _ metaschema: String, of document: String
  ) throws(SchemaError) -> (SchemaDraft, Vocabularies) {
    if let draft = SchemaDraft(metaschema: metaschema) { return (draft, .standard) }
    let uri = URIReference(metaschema).resource
    // Followed at most this far: metaschemas may name each other.
    var next: String? = uri
    var vocabularies: Vocabularies?
    for _ in 0..<8 {
      guard let name = next, let found = lookUp(name) else { break }
      if vocabularies == nil, case .object(let members)? = found["$vocabulary"] {
        var enabled: Vocabularies = .core
        for member in members {
          if let known = Vocabularies(uri: member.key) {
            enabled.formUnion(known)
          } else if member.value.boolValue == true {
            throw SchemaError(
              document: document, pointer: "/$schema",
              message: "the metaschema \(uri) demands the vocabulary \(member.key), "
                + "which isn't known here")
          }
        }
        vocabularies = enabled
      }
      let above = found["$schema"]?.stringValue
      if let above, let draft = SchemaDraft(metaschema: above) {
        return (draft, vocabularies ?? .standard)
      }
      next = above.map { URIReference($0).resource }
    }
    throw SchemaError(
      document: document, pointer: "/$schema",
      message: "\(metaschema) is not a draft known here (draft-07, 2019-09 and 2020-12 are), "
        + "and no metaschema of that name that builds on one is at hand")
  }

  /// A document by URI, from the set, the built-in ones or the resolver.
  private func lookUp(_ uri: String) -> JSONValue? {
    if let index = byURI[uri] { return resources[index].root }
    if let given = set.documents[uri] { return given }
    if let builtIn = Metaschemas.document(uri) { return builtIn }
    return set.resolver?(uri)
  }

  /// Finds identifiers below `value`, which starts at `place`.
  private mutating func scan(
    _ value: JSONValue, document: Int, pointer: String, in place: SchemaPlace
  ) throws(SchemaError) {
    guard case .object(let members) = value else { return }
    var place = place
    if place.pointer != "" || resources[place.resource].pointer != pointer {
      let draft = resources[place.resource].draft
      if Self.identifier(of: value, draft: draft) != nil {
        let index = try makeResource(
          value, document: document, pointer: pointer, base: resources[place.resource].uri,
          inherited: place.resource)
        place = SchemaPlace(resource: index, pointer: "")
      }
    }
    let draft = resources[place.resource].draft
    try noteAnchors(of: value, at: place, draft: draft)
    for member in members {
      let below = "/" + JSONPointer.escaped(member.key)
      let kind = Subschemas(of: member.key, in: draft)
      switch (kind, member.value) {
      case (.none, _): continue
      case (.one, _), (.oneOrList, .object):
        try scan(
          member.value, document: document, pointer: pointer + below,
          in: SchemaPlace(resource: place.resource, pointer: place.pointer + below))
      case (.list, .array(let elements)), (.oneOrList, .array(let elements)):
        for (index, element) in elements.enumerated() {
          try scan(
            element, document: document, pointer: pointer + below + "/\(index)",
            in: SchemaPlace(
              resource: place.resource, pointer: place.pointer + below + "/\(index)"))
        }
      case (.map, .object(let entries)), (.dependencies, .object(let entries)):
        for entry in entries {
          let name = below + "/" + JSONPointer.escaped(entry.key)
          try scan(
            entry.value, document: document, pointer: pointer + name,
            in: SchemaPlace(resource: place.resource, pointer: place.pointer + name))
        }
      default: continue
      }
    }
  }

  private mutating func noteAnchors(
    of value: JSONValue, at place: SchemaPlace, draft: SchemaDraft
  ) throws(SchemaError) {
    if draft == .draft7 {
      if let id = value["$id"]?.stringValue, value["$ref"] == nil, id.hasPrefix("#"), id.count > 1 {
        try note(anchor: String(id.dropFirst()), at: place)
      }
      return
    }
    if let anchor = value["$anchor"]?.stringValue { try note(anchor: anchor, at: place) }
    if draft == .draft2020, let anchor = value["$dynamicAnchor"]?.stringValue {
      try note(anchor: anchor, at: place)
      resources[place.resource].dynamicAnchors[anchor] = place.pointer
    }
    if draft == .draft2019, place.pointer.isEmpty, value["$recursiveAnchor"]?.boolValue == true {
      resources[place.resource].isRecursive = true
    }
  }

  private mutating func note(anchor: String, at place: SchemaPlace) throws(SchemaError) {
    if let other = resources[place.resource].anchors[anchor], other != place.pointer {
      throw error(at: place, "the anchor \"\(anchor)\" is taken by \(other) already")
    }
    resources[place.resource].anchors[anchor] = place.pointer
  }

  // MARK: References

  /// The resource with a URI, loaded if necessary.
  private mutating func resource(_ uri: String) throws(SchemaError) -> Int? {
    if let index = byURI[uri] { return index }
    if let document = lookUp(uri) { return try load(document, uri: uri) }
    guard !isWholeSetLoaded else { return nil }
    // An `$id` may be anywhere in the given documents.
    isWholeSetLoaded = true
    for (uri, document) in set.documents.sorted(by: { $0.key < $1.key }) {
      _ = try load(document, uri: uri)
    }
    return byURI[uri]
  }

  /// The target of `reference`, found at `place`.
  mutating func resolve(
    _ reference: String, from place: SchemaPlace, keyword: String
  ) throws(SchemaError) -> SchemaPlace {
    let target = URIReference(resources[place.resource].uri).resolving(reference)
    guard let index = try resource(target.resource) else {
      throw error(
        at: below(place, keyword),
        "nothing is known of \(target.resource), which \"\(reference)\" refers to; schemas are "
          + "never fetched, so it has to be among those given")
    }
    guard let fragment = target.decodedFragment else {
      throw error(at: below(place, keyword), "\"\(reference)\" has a broken percent-encoding")
    }
    if fragment.isEmpty { return SchemaPlace(resource: index, pointer: "") }
    if fragment.hasPrefix("/") {
      guard let found = walk(fragment, from: index) else {
        throw error(
          at: below(place, keyword),
          "\"\(reference)\" leads nowhere: there is no \(fragment) in \(resources[index].uri)")
      }
      return found
    }
    guard let pointer = resources[index].anchors[fragment] else {
      throw error(
        at: below(place, keyword),
        "\"\(reference)\" leads nowhere: there is no anchor \"\(fragment)\" in "
          + "\(resources[index].uri)")
    }
    return SchemaPlace(resource: index, pointer: pointer)
  }

  private func below(_ place: SchemaPlace, _ keyword: String) -> SchemaPlace {
    SchemaPlace(resource: place.resource, pointer: place.pointer + "/" + keyword)
  }

  /// Follows a pointer, into embedded resources too.
  private func walk(_ pointer: String, from resource: Int) -> SchemaPlace? {
    guard let tokens = JSONPointer.tokens(pointer) else { return nil }
    var place = SchemaPlace(resource: resource, pointer: "")
    var value = resources[resource].root
    var inDocument = resources[resource].pointer
    for token in tokens {
      guard let next = Self.child(of: value, token) else { return nil }
      value = next
      let step = "/" + JSONPointer.escaped(token)
      inDocument += step
      place.pointer += step
      let start = SchemaPlace(resource: resources[resource].document, pointer: inDocument)
      if let embedded = starts[start] { place = SchemaPlace(resource: embedded, pointer: "") }
    }
    return place
  }

  private static func child(of value: JSONValue, _ token: String) -> JSONValue? {
    switch value {
    case .object: return value[token]
    case .array(let elements):
      guard let index = Int(token), String(index) == token, elements.indices.contains(index) else {
        return nil
      }
      return elements[index]
    default: return nil
    }
  }

  /// The schema at a place that was found by scanning or resolving.
  func value(at place: SchemaPlace) -> JSONValue? {
    guard let tokens = JSONPointer.tokens(place.pointer) else { return nil }
    var value = resources[place.resource].root
    for token in tokens {
      guard let next = Self.child(of: value, token) else { return nil }
      value = next
    }
    return value
  }

  /// The place of a schema below another one: another resource's start if it has an `$id`.
  func place(below place: SchemaPlace, _ steps: String) -> SchemaPlace {
    let resource = resources[place.resource]
    let inDocument = resource.pointer + place.pointer + steps
    if let start = starts[SchemaPlace(resource: resource.document, pointer: inDocument)] {
      return SchemaPlace(resource: start, pointer: "")
    }
    return SchemaPlace(resource: place.resource, pointer: place.pointer + steps)
  }
}
