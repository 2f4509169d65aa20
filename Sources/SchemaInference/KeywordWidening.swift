import JSON
import JSONSchema

/// Lets one keyword give way, as far as the values that it refuses take.
struct KeywordWidening {
  private(set) var schema: JSONValue
  private let path: [String]
  private let refused: [WideningAttempt.Refused]
  /// For people: the document, unless it is the schema itself, and the pointer.
  private let place: String
  private let compiled: CompiledSchema

  /// - Parameters:
  ///   - schema: the whole document.
  ///   - name: the document's; empty for the schema's own.
  ///   - compiled: the schema as it is by now.
  init(
    _ schema: JSONValue, at pointer: String, named name: String,
    _ refused: [WideningAttempt.Refused], _ compiled: CompiledSchema
  ) {
    self.schema = schema
    path = JSONPointer.parts(pointer)
    place = name.isEmpty ? pointer.isEmpty ? "the schema" : pointer : "\(name)#\(pointer)"
    self.refused = refused
    self.compiled = compiled
  }

  private var instances: [JSONValue] { refused.map(\.instance) }

  /// Changes the schema. Returns how, in words.
  mutating func widened() throws(WideningRefusal) -> String {
    guard let present = JSONPointer.value(at: path[...], in: schema) else {
      throw WideningRefusal("\(place) can't be found")
    }
    let keyword = path.last ?? ""
    let isOpening = ["additionalProperties", "unevaluatedProperties"].contains(keyword)
    // `false` for the whole, under a name, or for an item.
    if present == .bool(false), !isOpening {
      replace(path, with: WideningValues.schema(instances))
      return "is allowed"
    }
    switch keyword {
    case "type": return widenType(present)
    case "enum", "const", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum":
      // Its values aren't to be quoted.
      if isSecret {
        replace(path, with: nil)
        return "taken out: the field looks like a secret"
      }
      if keyword != "enum", keyword != "const" { return try widenBound(keyword) }
      var values = keyword == "const" ? [present] : present.arrayValue ?? []
      let new = WideningValues.distinct(instances).filter { !values.contains($0) }
      values += new
      replace(path, with: nil)
      replace(path.dropLast() + ["enum"], with: .array(values))
      return "\(WideningValues.list(new)) added"
    case "required":
      let names = present.arrayValue ?? []
      let kept = names.filter { name in
        instances.allSatisfy { $0[name.stringValue ?? ""] != nil }
      }
      replace(path, with: kept.isEmpty ? nil : .array(kept))
      let gone = names.filter { !kept.contains($0) }
      return "\(WideningValues.list(gone)) no longer required"
    case "dependentRequired", "dependencies": return try widenDependencies(present)
    case "additionalProperties", "unevaluatedProperties": return declare()
    case "minLength", "minItems", "minProperties":
      let least = instances.map(WideningValues.size).min() ?? 0
      replace(path, with: least == 0 ? nil : .int(least))
      return "\(present.text()) → \(least)"
    case "maxLength", "maxItems", "maxProperties":
      let most = instances.map(WideningValues.size).max() ?? 0
      replace(path, with: .int(most))
      return "\(present.text()) → \(most)"
    case "anyOf":
      let more = WideningValues.schema(instances)
      replace(path, with: .array((present.arrayValue ?? []) + [more]))
      return "one more alternative"
    case "oneOf":
      // Several alternatives that accept a value are no reason to refuse it any more.
      var alternatives = present.arrayValue ?? []
      let unmatched = refused.filter { !$0.violation.error.contains("by one only") }
      if !unmatched.isEmpty {
        alternatives.append(WideningValues.schema(unmatched.map(\.instance)))
      }
      guard JSONPointer.value(at: (path.dropLast() + ["anyOf"])[...], in: schema) == nil else {
        throw WideningRefusal(
          "\(place): beside it there is an anyOf, so that it can't become one; change it by hand")
      }
      replace(path, with: nil)
      replace(path.dropLast() + ["anyOf"], with: .array(alternatives))
      return unmatched.isEmpty ? "becomes anyOf" : "becomes anyOf, with one more alternative"
    case "contains": return widenContains(present)
    case "pattern", "format", "multipleOf", "uniqueItems", "contentEncoding", "contentMediaType":
      replace(path, with: nil)
      return "\(present.text()) taken out"
    case "not":
      throw WideningRefusal(
        "\(place) forbids what is at \(places). How much of it to allow is for a person to say: "
          + "narrow what it describes, or take it out")
    default:
      throw WideningRefusal(
        refused.first.map { "\(place): \($0.violation.error). Change it by hand" } ?? place)
    }
  }

  /// Whether what it refuses looks like a secret, by the names of fields or by itself.
  private var isSecret: Bool {
    refused.contains { each in
      let names = JSONPointer.parts(each.violation.instanceLocation)
      let isNamed = names.contains {
        SecretLikeness.reason(name: $0, Self.kind(each.instance)) != nil
      }
      let text = each.instance.stringValue
      return isNamed || text.flatMap { SecretLikeness.reason(value: $0) } != nil
    }
  }

  private static func kind(_ value: JSONValue) -> SecretLikeness.Value {
    switch value {
    case .null, .bool: .mark
    case .number: .number
    case .string, .array, .object: .other
    }
  }

  /// Where in the values, for a few of them.
  private var places: String {
    var found: [String] = []
    for each in refused {
      let place = EvaluationPath.place(each.violation.keywordLocation)
      let named = place.isEmpty ? "the body's root" : place
      if !found.contains(named) { found.append(named) }
    }
    return found.prefix(3).joined(separator: ", ")
  }

  private mutating func replace(_ path: [String], with value: JSONValue?) {
    schema = JSONPointer.replacing(path[...], with: value, in: schema)
  }

  // MARK: Single keywords

  private mutating func widenType(_ present: JSONValue) -> String {
    var types = present.arrayValue?.compactMap(\.stringValue) ?? [present.stringValue ?? ""]
    var added: [String] = []
    for type in WideningValues.typeNames(instances) where !types.contains(type) {
      if type == "number" { types.removeAll { $0 == "integer" } }
      types.append(type)
      added.append(type)
    }
    replace(path, with: types.count == 1 ? .string(types[0]) : .array(types.map { .string($0) }))
    return "\(added.joined(separator: ", ")) added to \(present.text())"
  }

  private mutating func widenBound(_ keyword: String) throws(WideningRefusal) -> String {
    let isLower = keyword.hasSuffix("inimum")
    guard let bound = WideningValues.extreme(instances, least: isLower) else {
      throw WideningRefusal("\(place): no number is refused")
    }
    replace(path, with: nil)
    replace(path.dropLast() + [isLower ? "minimum" : "maximum"], with: bound)
    return "→ \(bound.text())"
  }

  /// The least or the greatest number of items gives way. Before 2019-09 there is only the one that an array has
  /// to contain.
  private mutating func widenContains(_ present: JSONValue) -> String {
    let around = path.dropLast()
    func number(_ name: String) -> Int? {
      JSONPointer.value(at: (around + [name])[...], in: schema)?.doubleValue.flatMap {
        Int(exactly: $0)
      }
    }
    let counts = refused.compactMap { each -> Int? in
      let items = each.instance.arrayValue ?? []
      let verdicts = items.map {
        compiled.explain($0, by: each.violation.absoluteKeywordLocation)?.isValid
      }
      return verdicts.contains(nil) ? nil : verdicts.count { $0 == true }
    }
    let isOld = schema["$schema"]?.stringValue.flatMap { SchemaDraft(metaschema: $0) } == .draft7
    let (least, most) = (number("minContains") ?? 1, number("maxContains"))
    var parts: [String] = []
    if !isOld, counts.count == refused.count, let fewest = counts.min(), let greatest = counts.max()
    {
      if fewest < least {
        replace(around + ["minContains"], with: .int(fewest))
        parts.append("minContains \(least) → \(fewest)")
      }
      if let most, greatest > most {
        replace(around + ["maxContains"], with: .int(greatest))
        parts.append("maxContains \(most) → \(greatest)")
      }
    }
    if !parts.isEmpty { return parts.joined(separator: ", ") }
    replace(path, with: nil)
    for name in ["minContains", "maxContains"] { replace(around + [name], with: nil) }
    return "\(present.text()) taken out"
  }

  /// Names that a body lacks beside another one are no longer required beside it.
  private mutating func widenDependencies(
    _ present: JSONValue
  ) throws(WideningRefusal) -> String {
    var gone: [String] = []
    var kept: [JSONValue.Member] = []
    for member in present.objectValue ?? [] {
      guard case .array(let names) = member.value else {
        kept.append(member)
        continue
      }
      let needed = names.filter { name in
        instances.allSatisfy { $0[member.key] == nil || $0[name.stringValue ?? ""] != nil }
      }
      if needed.count < names.count {
        let without = names.filter { !needed.contains($0) }
        gone.append(
          "\(WideningValues.list(without)) beside \(JSONValue.string(member.key).text())")
      }
      if !needed.isEmpty { kept.append(.init(member.key, .array(needed))) }
    }
    guard !gone.isEmpty else { throw WideningRefusal("\(place): change it by hand") }
    replace(path, with: kept.isEmpty ? nil : .object(kept))
    return "\(gone.joined(separator: ", ")) no longer required"
  }

  /// Members that were not allowed become properties, with what is known of their values.
  private mutating func declare() -> String {
    var values: [String: [JSONValue]] = [:]
    var names: [String] = []
    for each in refused {
      guard let name = JSONPointer.parts(each.violation.instanceLocation).last else { continue }
      if values[name] == nil { names.append(name) }
      values[name, default: []].append(each.instance)
    }
    for name in names {
      replace(
        path.dropLast() + ["properties", name],
        with: WideningValues.schema(values[name] ?? []))
    }
    return "\(names.joined(separator: ", ")) declared"
  }
}
