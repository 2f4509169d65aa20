import JSON

/// A schema as a part of a larger document, whose tools take what is behind `$ref` for places in the whole document.
///
/// So references within the schema are gone there: they are replaced by what they lead to. Of a schema that refers to
/// itself they become pointers through the whole document.
package struct EmbeddedSchema {
  private let document: JSONValue
  private let place: String
  /// Pointers into the document: of resources by URI, and of anchors by URI and name.
  private var resources: [String: String] = [:]
  private var anchors: [String: String] = [:]
  private var dynamicAnchors: [String: Int] = [:]
  private var recursiveAnchors = 0
  private let draft: SchemaDraft
  private var isMixed = false
  private var hasReference = false
  /// The resources that are referred to.
  private var requested: [String] = []

  /// A schema that grows beyond this many values is not inlined.
  private static let most = 20_000

  /// - Parameters:
  ///   - document: the schema, with everything that it refers to.
  ///   - place: JSON pointer to where it will be.
  package static func embedded(_ document: JSONValue, at place: String) -> JSONValue {
    let alone = EmbeddedSchema(document, at: place)
    let embedding =
      alone.withMetaschemas.map { EmbeddedSchema($0, at: place) } ?? alone
    // Where it depends on the way which place is meant, only the schema's own rules tell.
    guard embedding.hasReference, !embedding.isMixed, !embedding.isDynamic else { return document }
    return embedding.inlined ?? embedding.pointed
  }

  private init(_ document: JSONValue, at place: String) {
    self.document = document
    self.place = place
    draft =
      document["$schema"]?.stringValue.flatMap { SchemaDraft(metaschema: $0) } ?? .draft2020
    resources[""] = ""
    note(document, "", "")
  }

  private var isDynamic: Bool {
    recursiveAnchors > 1 || dynamicAnchors.values.contains { $0 > 1 }
  }

  // MARK: What there is

  static func base(of schema: JSONValue, in base: String, _ draft: SchemaDraft) -> String {
    guard let id = schema["$id"]?.stringValue, !id.hasPrefix("#"),
      draft != .draft7 || schema["$ref"] == nil
    else { return base }
    return URIReference(base).resolving(id).resource
  }

  private mutating func note(_ schema: JSONValue, _ pointer: String, _ around: String) {
    guard case .object = schema else { return }
    let base = Self.base(of: schema, in: around, draft)
    if base != around || pointer.isEmpty { resources[base] = pointer }
    if let metaschema = schema["$schema"]?.stringValue,
      SchemaDraft(metaschema: metaschema) != draft
    {
      isMixed = true
    }
    if let anchor = schema["$anchor"]?.stringValue { anchors["\(base)#\(anchor)"] = pointer }
    if draft == .draft7, let id = schema["$id"]?.stringValue, id.hasPrefix("#") {
      anchors["\(base)\(id)"] = pointer
    }
    if let anchor = schema["$dynamicAnchor"]?.stringValue {
      anchors["\(base)#\(anchor)"] = pointer
      dynamicAnchors[anchor, default: 0] += 1
    }
    if schema["$recursiveAnchor"] == .bool(true) { recursiveAnchors += 1 }
    if let reference = Self.reference(of: schema) {
      hasReference = true
      requested.append(URIReference(base).resolving(reference.text).resource)
    }
    for (inner, steps) in Self.subschemas(of: schema, draft) { note(inner, pointer + steps, base) }
  }

  private static func reference(of schema: JSONValue) -> (keyword: String, text: String)? {
    for keyword in ["$ref", "$dynamicRef", "$recursiveRef"] {
      if let text = schema[keyword]?.stringValue { return (keyword, text) }
    }
    return nil
  }

  private static func subschemas(
    of schema: JSONValue, _ draft: SchemaDraft
  ) -> [(schema: JSONValue, steps: String)] {
    var found: [(JSONValue, String)] = []
    for member in schema.objectValue ?? [] {
      let step = "/" + JSONPointer.escaped(member.key)
      switch (Subschemas(of: member.key, in: draft), member.value) {
      case (.one, _), (.oneOrList, .object): found.append((member.value, step))
      case (.list, .array(let items)), (.oneOrList, .array(let items)):
        found += items.enumerated().map { ($1, "\(step)/\($0)") }
      case (.map, .object(let entries)), (.dependencies, .object(let entries)):
        found += entries.map { ($0.value, "\(step)/\(JSONPointer.escaped($0.key))") }
      default: break
      }
    }
    return found
  }

  private func rebuilt(
    _ schema: JSONValue, _ pointer: String, _ body: (JSONValue, String) -> JSONValue?
  ) -> JSONValue? {
    Self.rebuilt(schema, pointer, draft, body)
  }

  /// A schema with each of its subschemas replaced.
  static func rebuilt(
    _ schema: JSONValue, _ pointer: String, _ draft: SchemaDraft,
    _ body: (JSONValue, String) -> JSONValue?
  ) -> JSONValue? {
    guard case .object(let members) = schema else { return schema }
    var new: [JSONValue.Member] = []
    for member in members {
      let here = "\(pointer)/\(JSONPointer.escaped(member.key))"
      var value = member.value
      switch (Subschemas(of: member.key, in: draft), member.value) {
      case (.one, _), (.oneOrList, .object):
        guard let inner = body(value, here) else { return nil }
        value = inner
      case (.list, .array(let items)), (.oneOrList, .array(let items)):
        var all: [JSONValue] = []
        for (index, item) in items.enumerated() {
          guard let inner = body(item, "\(here)/\(index)") else { return nil }
          all.append(inner)
        }
        value = .array(all)
      case (.map, .object(let entries)), (.dependencies, .object(let entries)):
        var all: [JSONValue.Member] = []
        for entry in entries {
          guard let inner = body(entry.value, "\(here)/\(JSONPointer.escaped(entry.key))") else {
            return nil
          }
          all.append(.init(entry.key, inner))
        }
        value = .object(all)
      default: break
      }
      new.append(.init(member.key, value))
    }
    return .object(new)
  }

  /// With the metaschemas that it refers to among its definitions. Nil if there are none, or if they can't be parts of a
  /// schema of this draft.
  private var withMetaschemas: JSONValue? {
    let missing = requested.filter { resources[$0] == nil && Metaschemas.document($0) != nil }
    guard !missing.isEmpty, case .object(var members) = document else { return nil }
    let keyword = draft == .draft7 ? "definitions" : "$defs"
    var definitions = document[keyword]?.objectValue ?? []
    var added: Set<String> = []
    for uri in Set(missing).sorted() {
      guard let parts = MetaschemaParts(uri, in: draft) else { return nil }
      for part in parts.documents {
        // A part of two of them leads to one of the two only.
        guard added.insert(part.uri).inserted else { return nil }
        definitions.append(.init(part.uri, part.document))
      }
    }
    members.removeAll { $0.key == keyword }
    return .object(members + [.init(keyword, .object(definitions))])
  }

  // MARK: References

  /// The base URI at a place.
  private func base(at pointer: String) -> String {
    var value = document
    var base = Self.base(of: value, in: "", draft)
    for token in JSONPointer.tokens(pointer) ?? [] {
      guard let next = Self.child(of: value, token) else { return base }
      value = next
      if case .object = value { base = Self.base(of: value, in: base, draft) }
    }
    return base
  }

  private static func child(of value: JSONValue, _ token: String) -> JSONValue? {
    guard case .array(let items) = value else { return value[token] }
    return Int(token).flatMap { items.indices.contains($0) ? items[$0] : nil }
  }

  private func value(at pointer: String) -> JSONValue? {
    (JSONPointer.tokens(pointer) ?? []).reduce(Optional(document)) { value, token in
      value.flatMap { Self.child(of: $0, token) }
    }
  }

  /// Where a reference leads in the document; nil: elsewhere.
  private func target(_ reference: String, from base: String) -> String? {
    let target = URIReference(base).resolving(reference)
    guard let resource = resources[target.resource], let fragment = target.decodedFragment else {
      return nil
    }
    if fragment.isEmpty { return resource }
    let pointer =
      fragment.hasPrefix("/") ? resource + fragment : anchors["\(target.resource)#\(fragment)"]
    return pointer.flatMap { value(at: $0) == nil ? nil : $0 }
  }

  private static let identifiers: Set<String> = [
    "$id", "$anchor", "$dynamicAnchor", "$recursiveAnchor",
  ]

  // MARK: Inlined

  /// Nil if it refers to itself, or would be too large.
  private var inlined: JSONValue? {
    var left = Self.most
    guard let schema = inline(document, "", [""], &left), case .object(let members) = schema else {
      return nil
    }
    // Which a root that is a reference itself has lost.
    let head = document["$schema"].map { [JSONValue.Member("$schema", $0)] } ?? []
    return .object(head + members.filter { $0.key != "$schema" })
  }

  private func inline(
    _ schema: JSONValue, _ pointer: String, _ path: Set<String>, _ left: inout Int
  ) -> JSONValue? {
    left -= 1
    guard left > 0 else { return nil }
    guard case .object(let members) = schema else { return schema }
    var own = JSONValue.object(
      members.filter {
        !Self.identifiers.contains($0.key) && !["$defs", "definitions"].contains($0.key)
      })
    var inner: JSONValue?
    if let reference = Self.reference(of: schema),
      let target = target(reference.text, from: base(at: pointer)), let found = value(at: target)
    {
      guard !path.contains(target),
        let there = inline(found, target, path.union([target]), &left)
      else { return nil }
      if draft == .draft7 || own.objectValue?.count == 1 { return Self.withoutHead(there) }
      inner = Self.withoutHead(there)
      own[reference.keyword] = nil
    }
    var count = left
    guard
      var rebuilt = rebuilt(
        own, pointer,
        { schema, pointer in
          inline(schema, pointer, path, &count)
        })
    else { return nil }
    left = count
    if let inner {
      rebuilt["allOf"] = .array((rebuilt["allOf"]?.arrayValue ?? []) + [inner])
    }
    return rebuilt
  }

  private static func withoutHead(_ schema: JSONValue) -> JSONValue {
    var schema = schema
    if case .object = schema { schema["$schema"] = nil }
    return schema
  }

  // MARK: By pointers

  private var pointed: JSONValue { point(document, "") }

  private func point(_ schema: JSONValue, _ pointer: String) -> JSONValue {
    guard case .object(let members) = schema else { return schema }
    var own = JSONValue.object(
      members.filter { member in
        // A pointer needs no name, and a URI of its own would be what pointers start from.
        !Self.identifiers.contains(member.key)
      })
    if !pointer.isEmpty { own["$schema"] = nil }
    if let reference = Self.reference(of: schema),
      let target = target(reference.text, from: base(at: pointer))
    {
      own[reference.keyword] = nil
      own["$ref"] = .string("#" + Self.encoded(place + target))
    }
    return rebuilt(own, pointer) { point($0, $1) } ?? own
  }

  /// As a fragment has it (RFC 3986).
  private static func encoded(_ pointer: String) -> String {
    var text = ""
    for byte in pointer.utf8 {
      let scalar = Unicode.Scalar(byte)
      let isPlain =
        ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar)
        || ("0"..."9").contains(scalar) || "-._~!$&'()*+,;=:@/?".unicodeScalars.contains(scalar)
      if isPlain {
        text.unicodeScalars.append(scalar)
      } else {
        let digits = String(byte, radix: 16, uppercase: true)
        text += "%" + (digits.count == 1 ? "0" : "") + digits
      }
    }
    return text
  }
}
