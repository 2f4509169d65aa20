import JSON

/// References to schemas that are known by another URI from now on.
package struct RenamedReferences {
  private let uris: [String: String]

  /// - Parameters:
  ///   - uris: the new ones, by the old ones.
  ///   - base: what the new ones start from, if they are relative.
  package init(_ uris: [String: String], in base: String) {
    self.uris = uris.mapValues { URIReference(base).resolving($0).resource }
  }

  /// - Parameter base: what relative references in the document start from, unless it has an `$id`.
  package func renamed(_ document: JSONValue, base: String) -> JSONValue {
    uris.isEmpty ? document : renamed(document, base, .draft2020)
  }

  private func renamed(
    _ schema: JSONValue, _ around: String, _ outer: SchemaDraft
  ) -> JSONValue {
    guard case .object(let members) = schema else { return schema }
    let draft = schema["$schema"]?.stringValue.flatMap { SchemaDraft(metaschema: $0) } ?? outer
    let base = EmbeddedSchema.base(of: schema, in: around, draft)
    let own = JSONValue.object(
      members.map { member in
        guard ["$ref", "$dynamicRef"].contains(member.key), let text = member.value.stringValue
        else { return member }
        let target = URIReference(base).resolving(text)
        guard let uri = uris[target.resource] else { return member }
        return .init(member.key, .string(uri + (target.fragment.map { "#\($0)" } ?? "")))
      })
    return EmbeddedSchema.rebuilt(own, "", draft) { inner, _ in renamed(inner, base, draft) } ?? own
  }
}
