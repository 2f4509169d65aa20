import JSON

/// A member of a schema, or a `format`, that its draft does not define, so it has no effect: a custom annotation,
/// or a mistake.
package struct UnknownKeyword: Sendable, Equatable {
  package var keyword: String
  package var value: JSONValue
  /// A JSON pointer to it.
  package var pointer: String
  /// The draft of the schema it is in.
  package var draft: SchemaDraft
  /// Another draft knows it.
  package var isOfAnotherDraft: Bool

  /// In a whole document, wherever a schema may be; not among names of properties, constants or examples.
  package static func all(
    in document: JSONValue, default draft: SchemaDraft = .draft2020
  ) -> [UnknownKeyword] {
    var found: [UnknownKeyword] = []
    collect(document, "", draft, 0, &found)
    return found
  }

  /// The formats that a draft defines.
  package static func formats(in draft: SchemaDraft) -> [String] {
    StringFormat.names.filter { StringFormat(name: $0, draft: draft) != nil }
  }

  /// The keywords of a draft.
  package static func known(in draft: SchemaDraft) -> [String] {
    switch draft {
    case .draft7: always + ["additionalItems", "dependencies", "definitions"]
    case .draft2019:
      always + since2019 + [
        "additionalItems", "dependencies", "definitions", "$recursiveRef", "$recursiveAnchor",
      ]
    case .draft2020:
      always + since2019
        + ["prefixItems", "$dynamicRef", "$dynamicAnchor", "dependencies", "definitions"]
    }
  }

  private static let always = [
    "$schema", "$id", "$ref", "$comment", "title", "description", "default", "examples", "readOnly",
    "writeOnly", "type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum",
    "exclusiveMinimum", "maxLength", "minLength", "pattern", "items", "maxItems", "minItems",
    "uniqueItems", "contains", "maxProperties", "minProperties", "required", "properties",
    "patternProperties", "additionalProperties", "propertyNames", "if", "then", "else", "allOf",
    "anyOf", "oneOf", "not", "format", "contentMediaType", "contentEncoding",
  ]
  private static let since2019 = [
    "$anchor", "$vocabulary", "$defs", "dependentRequired", "dependentSchemas", "maxContains",
    "minContains", "unevaluatedItems", "unevaluatedProperties", "contentSchema", "deprecated",
  ]
  /// They have no effect on values in any draft, and locations of schemas and names need no keyword.
  private static let harmless: Set = ["$defs", "$anchor", "deprecated", "$vocabulary"]

  private static func collect(
    _ schema: JSONValue, _ pointer: String, _ draft: SchemaDraft, _ depth: Int,
    _ found: inout [UnknownKeyword]
  ) {
    guard case .object(let members) = schema, depth < JSONValue.maximumDepth else { return }
    let own = schema["$schema"]?.stringValue.flatMap { SchemaDraft(metaschema: $0) } ?? draft
    let known = known(in: own)
    let anywhere = SchemaDraft.allCases.flatMap { Self.known(in: $0) }
    for member in members {
      let place = "\(pointer)/\(JSONPointer.escaped(member.key))"
      if !known.contains(member.key), !harmless.contains(member.key) {
        found.append(
          UnknownKeyword(
            keyword: member.key, value: member.value, pointer: place, draft: own,
            isOfAnotherDraft: anywhere.contains(member.key)))
      }
      if member.key == "format", let name = member.value.stringValue,
        StringFormat(name: name, draft: own) == nil
      {
        found.append(
          UnknownKeyword(
            keyword: "format", value: member.value, pointer: place, draft: own,
            isOfAnotherDraft: SchemaDraft.allCases.contains {
              StringFormat(name: name, draft: $0) != nil
            }))
      }
      descend(member, place, own, depth + 1, &found)
    }
  }

  private static func descend(
    _ member: JSONValue.Member, _ place: String, _ draft: SchemaDraft, _ depth: Int,
    _ found: inout [UnknownKeyword]
  ) {
    switch Subschemas(of: member.key, in: draft) {
    case .none: break
    case .one: collect(member.value, place, draft, depth, &found)
    case .list, .oneOrList:
      collect(member.value, place, draft, depth, &found)
      for (index, schema) in (member.value.arrayValue ?? []).enumerated() {
        collect(schema, "\(place)/\(index)", draft, depth, &found)
      }
    case .map, .dependencies:
      guard case .object(let schemas) = member.value else { return }
      for schema in schemas {
        collect(schema.value, "\(place)/\(JSONPointer.escaped(schema.key))", draft, depth, &found)
      }
    }
  }
}
