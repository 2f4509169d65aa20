import JSON
import Patterns

// The keywords, one group of the specification after the other. Invalid values are errors;
// unknown keywords are annotations.

extension SchemaReader {
  typealias Keywords = [(name: String, keyword: Keyword)]

  func readTypes(_ object: SchemaObject, into keywords: inout Keywords) throws(SchemaError) {
    if let value = object["type"] {
      var types: JSONTypes = []
      let given: [JSONValue] = value.arrayValue ?? [value]
      guard !given.isEmpty else { throw error(object, "type", "needs at least one type") }
      for each in given {
        guard let type = each.stringValue.flatMap(JSONTypes.init(name:)) else {
          throw error(
            object, "type",
            "needs a type or a list of types out of null, boolean, integer, number, string, array "
              + "and object; \(each.text()) is none")
        }
        types.formUnion(type)
      }
      keywords.append(("type", .type(types)))
    }
    if let value = object["const"] { keywords.append(("const", .const(value))) }
    if let value = object["enum"] {
      guard let values = value.arrayValue else {
        throw error(object, "enum", "needs a list of values")
      }
      keywords.append(("enum", .enumeration(values)))
    }
  }

  func readNumbers(_ object: SchemaObject, into keywords: inout Keywords) throws(SchemaError) {
    let bounds: [(String, Keyword.Bound)] = [
      ("minimum", .minimum), ("maximum", .maximum), ("exclusiveMinimum", .exclusiveMinimum),
      ("exclusiveMaximum", .exclusiveMaximum),
    ]
    for (name, bound) in bounds {
      guard let value = object[name] else { continue }
      guard case .number(let text) = value, let decimal = ExactDecimal(text) else {
        throw error(object, name, "needs a number")
      }
      keywords.append((name, .bound(bound, decimal)))
    }
    if let value = object["multipleOf"] {
      guard case .number(let text) = value, let decimal = ExactDecimal(text), !decimal.isZero,
        !decimal.isNegative
      else { throw error(object, "multipleOf", "needs a number above 0") }
      guard let divisor = DecimalDivisor(decimal) else {
        throw error(object, "multipleOf", "has more than 38 significant digits")
      }
      keywords.append(("multipleOf", .multipleOf(decimal, divisor)))
    }
  }

  mutating func readStrings(
    _ object: SchemaObject, into keywords: inout Keywords
  ) throws(SchemaError) {
    if object.vocabularies.contains(.validation) {
      if let least = try count(object, "minLength") {
        keywords.append(("minLength", .minLength(least)))
      }
      if let most = try count(object, "maxLength") {
        keywords.append(("maxLength", .maxLength(most)))
      }
      if let value = object["pattern"] {
        guard let text = value.stringValue else {
          throw error(object, "pattern", "needs a regular expression as a string")
        }
        keywords.append(("pattern", .pattern(try pattern(object, "pattern", text))))
      }
    }
    if object.vocabularies.contains(.format), let value = object["format"] {
      guard let name = value.stringValue else { throw error(object, "format", "needs a string") }
      let asserts = options.assertFormats || object.vocabularies.contains(.formatAssertion)
      let format = StringFormat(name: name, draft: object.draft)
      keywords.append(("format", .format(format, name: name, asserts: asserts)))
    }
    if object.vocabularies.contains(.content) { readContent(object, into: &keywords) }
  }

  private func readContent(_ object: SchemaObject, into keywords: inout Keywords) {
    let encoding = object["contentEncoding"]
    let mediaType = object["contentMediaType"]
    var check = ContentCheck.none
    if options.assertContent, object.draft == .draft7 {
      switch (encoding?.stringValue, mediaType?.stringValue) {
      case ("base64", "application/json"): check = .base64JSON
      case ("base64", _): check = .base64
      case (nil, "application/json"): check = .json
      default: break
      }
    }
    // The keyword that depends on the other one gets the check.
    if let encoding {
      keywords.append(("contentEncoding", .content(mediaType == nil ? check : .none, encoding)))
    }
    if let mediaType { keywords.append(("contentMediaType", .content(check, mediaType))) }
  }

  mutating func readReferences(
    _ object: SchemaObject, into keywords: inout Keywords
  ) throws(SchemaError) {
    if let value = object["$ref"] {
      guard let reference = value.stringValue else {
        throw error(object, "$ref", "needs a URI as a string")
      }
      keywords.append(("$ref", .reference(try follow(reference, object, "$ref").id)))
    }
    if object.draft == .draft2020, let value = object["$dynamicRef"] {
      guard let reference = value.stringValue else {
        throw error(object, "$dynamicRef", "needs a URI as a string")
      }
      let (id, place) = try follow(reference, object, "$dynamicRef")
      let anchor = URIReference(reference).decodedFragment ?? ""
      let resource = registry.resources[place.resource]
      // Only a dynamic anchor makes it dynamic.
      if !anchor.isEmpty, resource.dynamicAnchors[anchor] == place.pointer {
        noteDynamic(anchor)
        keywords.append(("$dynamicRef", .dynamicReference(id, anchor: anchor)))
      } else {
        keywords.append(("$dynamicRef", .reference(id)))
      }
    }
    if object.draft == .draft2019, let value = object["$recursiveRef"] {
      guard value.stringValue == "#" else {
        throw error(object, "$recursiveRef", "needs the string \"#\"")
      }
      let (id, place) = try follow("#", object, "$recursiveRef")
      if registry.resources[place.resource].isRecursive {
        noteDynamic(SchemaModel.recursiveAnchor)
        keywords.append(
          ("$recursiveRef", .dynamicReference(id, anchor: SchemaModel.recursiveAnchor)))
      } else {
        keywords.append(("$recursiveRef", .reference(id)))
      }
    }
  }

  mutating func readCombinations(
    _ object: SchemaObject, into keywords: inout Keywords
  ) throws(SchemaError) {
    guard object.vocabularies.contains(.applicator) else { return }
    if let value = object["allOf"] {
      keywords.append(("allOf", .allOf(try schemas(object, "allOf", value))))
    }
    if let value = object["anyOf"] {
      keywords.append(("anyOf", .anyOf(try schemas(object, "anyOf", value))))
    }
    if let value = object["oneOf"] {
      keywords.append(("oneOf", .oneOf(try schemas(object, "oneOf", value))))
    }
    if let inner = schema(object, keyword: "not") { keywords.append(("not", .not(inner))) }
    if let test = schema(object, keyword: "if") {
      let then = schema(object, keyword: "then")
      let otherwise = schema(object, keyword: "else")
      keywords.append(("if", .condition(test, then: then, otherwise: otherwise)))
    }
  }

  mutating func readArrays(
    _ object: SchemaObject, into keywords: inout Keywords
  ) throws(SchemaError) {
    if object.vocabularies.contains(.validation) {
      if let least = try count(object, "minItems") {
        keywords.append(("minItems", .minItems(least)))
      }
      if let most = try count(object, "maxItems") {
        keywords.append(("maxItems", .maxItems(most)))
      }
      if let value = object["uniqueItems"] {
        guard let isOn = value.boolValue else {
          throw error(object, "uniqueItems", "needs true or false")
        }
        if isOn { keywords.append(("uniqueItems", .uniqueItems)) }
      }
    }
    guard object.vocabularies.contains(.applicator) else { return }
    if object.draft == .draft2020 {
      var from = 0
      if let value = object["prefixItems"] {
        let prefix = try schemas(object, "prefixItems", value)
        from = prefix.count
        keywords.append(("prefixItems", .prefixItems(prefix)))
      }
      if let rest = schema(object, keyword: "items") {
        keywords.append(("items", .items(rest, from: from)))
      }
    } else if let value = object["items"] {
      if let elements = value.arrayValue {
        let prefix = elements.enumerated().map { schema(object, "/items/\($0)", $1) }
        keywords.append(("items", .prefixItems(prefix)))
        if let rest = schema(object, keyword: "additionalItems") {
          keywords.append(("additionalItems", .items(rest, from: prefix.count)))
        }
      } else {
        keywords.append(("items", .items(schema(object, "/items", value), from: 0)))
      }
    }
    if let inner = schema(object, keyword: "contains") {
      var least = 1
      var most: Int?
      if object.draft != .draft7, object.vocabularies.contains(.validation) {
        least = try count(object, "minContains") ?? 1
        most = try count(object, "maxContains")
      }
      keywords.append(
        (
          "contains",
          .contains(inner, least: least, most: most, evaluates: object.draft == .draft2020)
        ))
    }
  }

  mutating func readObjects(
    _ object: SchemaObject, into keywords: inout Keywords
  ) throws(SchemaError) {
    if object.vocabularies.contains(.validation) {
      if let least = try count(object, "minProperties") {
        keywords.append(("minProperties", .minProperties(least)))
      }
      if let most = try count(object, "maxProperties") {
        keywords.append(("maxProperties", .maxProperties(most)))
      }
      if let value = object["required"] {
        keywords.append(("required", .required(try names(object, "required", value))))
      }
      if object.draft != .draft7, let value = object["dependentRequired"] {
        guard case .object(let members) = value else {
          throw error(object, "dependentRequired", "needs an object with a list for each name")
        }
        var dependent: [(name: String, required: [String])] = []
        for member in members {
          dependent.append(
            (member.key, try names(object, "dependentRequired", member.value)))
        }
        keywords.append(("dependentRequired", .dependentRequired(dependent)))
      }
    }
    guard object.vocabularies.contains(.applicator) else { return }
    var known: [String] = []
    var patterns: [Pattern] = []
    if let value = object["properties"] {
      let named = try namedSchemas(object, "properties", value)
      known = named.map(\.name)
      keywords.append(("properties", .properties(named)))
    }
    if let value = object["patternProperties"] {
      var matched: [(pattern: Pattern, schema: SchemaID)] = []
      for (text, schema) in try namedSchemas(object, "patternProperties", value) {
        matched.append((try pattern(object, "patternProperties", text), schema))
      }
      patterns = matched.map(\.pattern)
      keywords.append(("patternProperties", .patternProperties(matched)))
    }
    if let rest = schema(object, keyword: "additionalProperties") {
      keywords.append(
        (
          "additionalProperties",
          .additionalProperties(rest, names: known, patterns: patterns)
        ))
    }
    if let names = schema(object, keyword: "propertyNames") {
      keywords.append(("propertyNames", .propertyNames(names)))
    }
    if object.draft != .draft7, let value = object["dependentSchemas"] {
      let named = try namedSchemas(object, "dependentSchemas", value)
      keywords.append(("dependentSchemas", .dependentSchemas(named)))
    }
    if let value = object["dependencies"] {
      try readDependencies(object, value, into: &keywords)
    }
  }

  /// Draft-07's `dependencies`, which later drafts split in two and still tolerate.
  private mutating func readDependencies(
    _ object: SchemaObject, _ value: JSONValue, into keywords: inout Keywords
  ) throws(SchemaError) {
    guard case .object(let members) = value else {
      throw error(object, "dependencies", "needs an object with a schema or list for each name")
    }
    var required: [(name: String, required: [String])] = []
    var named: [(name: String, schema: SchemaID)] = []
    for member in members {
      if case .array = member.value {
        required.append((member.key, try names(object, "dependencies", member.value)))
      } else {
        let steps = "/dependencies/" + JSONPointer.escaped(member.key)
        named.append((member.key, schema(object, steps, member.value)))
      }
    }
    if !required.isEmpty { keywords.append(("dependencies", .dependentRequired(required))) }
    if !named.isEmpty { keywords.append(("dependencies", .dependentSchemas(named))) }
  }

  /// Last, since they depend on what all others have evaluated.
  mutating func readUnevaluated(
    _ object: SchemaObject, into keywords: inout Keywords
  ) {
    guard object.draft != .draft7, object.vocabularies.contains(.unevaluated) else { return }
    if let rest = schema(object, keyword: "unevaluatedItems") {
      keywords.append(("unevaluatedItems", .unevaluatedItems(rest)))
    }
    if let rest = schema(object, keyword: "unevaluatedProperties") {
      keywords.append(("unevaluatedProperties", .unevaluatedProperties(rest)))
    }
  }

  /// Annotations: titles and the like, and every unknown keyword.
  func readAnnotations(_ object: SchemaObject, into keywords: inout Keywords) {
    for member in object.members where Self.isAnnotation(member.key, in: object.draft) {
      keywords.append((member.key, .annotation(member.value)))
    }
  }

  private static func isAnnotation(_ name: String, in draft: SchemaDraft) -> Bool {
    switch name {
    case "$schema", "$id", "$ref", "$comment", "$defs", "$anchor", "$vocabulary", "$dynamicRef",
      "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "definitions", "type", "const", "enum",
      "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength",
      "maxLength", "pattern", "format", "contentEncoding", "contentMediaType", "allOf", "anyOf",
      "oneOf", "not", "if", "then", "else", "minItems", "maxItems", "uniqueItems", "items",
      "prefixItems", "additionalItems", "contains", "minContains", "maxContains",
      "unevaluatedItems", "minProperties", "maxProperties", "required", "properties",
      "patternProperties", "additionalProperties", "propertyNames", "dependentRequired",
      "dependentSchemas", "dependencies", "unevaluatedProperties":
      false
    default: true
    }
  }
}
