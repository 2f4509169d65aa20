import JSON

/// A metaschema as parts of another schema, whose references need no dynamic scope: those to "whatever builds on this"
/// lead to the metaschema itself, as nothing does.
struct MetaschemaParts {
  private(set) var documents: [(uri: String, document: JSONValue)] = []
  private let root: String
  private let draft: SchemaDraft

  /// - Parameter draft: of the schema around it. Nil if the metaschema would mean something else there.
  init?(_ uri: String, in draft: SchemaDraft) {
    guard let document = Metaschemas.document(uri),
      let own = document["$schema"]?.stringValue.flatMap({ SchemaDraft(metaschema: $0) }),
      own == draft || own == .draft7
    else { return nil }
    root = uri
    self.draft = own
    add(uri)
  }

  private mutating func add(_ uri: String) {
    guard !documents.contains(where: { $0.uri == uri }), let document = Metaschemas.document(uri)
    else { return }
    documents.append((uri, .null))
    let index = documents.count - 1
    var found: [String] = []
    var part = plain(document, base: uri, &found)
    part["$id"] = .string(uri)
    documents[index].document = part
    for uri in found { add(uri) }
  }

  private static let dropped: Set<String> = [
    "$schema", "$id", "$vocabulary", "$dynamicAnchor", "$recursiveAnchor",
  ]

  /// - Parameter found: the other documents that it refers to.
  private func plain(_ schema: JSONValue, base: String, _ found: inout [String]) -> JSONValue {
    guard case .object(let members) = schema else { return schema }
    var own: [JSONValue.Member] = []
    for member in members where !Self.dropped.contains(member.key) {
      switch (member.key, member.value) {
      case ("$dynamicRef", .string), ("$recursiveRef", .string):
        own.append(.init("$ref", .string(root)))
      case ("$ref", .string(let text)):
        let target = URIReference(base).resolving(text).resource
        if target != base { found.append(target) }
        own.append(member)
      default: own.append(member)
      }
    }
    let schema = JSONValue.object(own)
    return EmbeddedSchema.rebuilt(schema, "", draft) { inner, _ in
      plain(inner, base: base, &found)
    } ?? schema
  }
}
