import Foundation
public import JSON
import JSONSchema

/// Finds the smallest changes to a schema after which it accepts values that it refuses: each keyword that refuses
/// one gives way as far as that takes, and no further.
public struct SchemaWidening {
  /// One keyword that gave way.
  public struct Change: Sendable {
    /// JSON pointer to the keyword, in the schema as it was.
    public var pointer: String
    /// How, in words.
    public var what: String
    /// Values that it refused.
    public var count: Int
  }

  /// The schema that accepts the values, but for those that are `unresolved`.
  public private(set) var schema: JSONValue
  public private(set) var changes: [Change] = []
  /// Why values are still refused.
  public private(set) var unresolved: [String] = []

  /// Each round shows what the keywords of the round before have hidden.
  private static let mostRounds = 32

  /// - Throws: if the schema, as it is, can't be compiled.
  public init(_ schema: JSONValue, toAccept values: [JSONValue]) throws(SchemaError) {
    self.schema = schema
    var left = values
    for _ in 0..<Self.mostRounds {
      let compiled = try CompiledSchema(self.schema)
      var refusals: [String: [(value: JSONValue, violation: SchemaViolation)]] = [:]
      var order: [String] = []
      left = left.filter { value in
        let violations = Self.decisive(compiled.explain(value).violations)
        for violation in violations {
          let place = violation.absoluteKeywordLocation
          if refusals[place] == nil { order.append(place) }
          refusals[place, default: []].append((value, violation))
        }
        return !violations.isEmpty
      }
      guard !left.isEmpty else { return }
      var reasons: [String] = []
      let before = self.schema
      for place in order {
        guard let refused = refusals[place] else { continue }
        guard place.hasPrefix(compiled.uri + "#") else {
          reasons.append("\(place) is in a schema of its own: change that one")
          continue
        }
        // In a URI, pointers are percent-encoded.
        let fragment = String(place.dropFirst(compiled.uri.count + 1))
        let pointer = fragment.removingPercentEncoding ?? fragment
        if let reason = widen(at: pointer, refused) { reasons.append(reason) }
      }
      guard self.schema != before else {
        unresolved = reasons.isEmpty ? ["\(left.count) values are still refused"] : reasons
        return
      }
    }
    unresolved = ["\(left.count) values are still refused after \(Self.mostRounds) rounds"]
  }

  /// Without what follows from another violation, and without what only sums up others.
  private static func decisive(_ violations: [SchemaViolation]) -> [SchemaViolation] {
    let deciding: Set<String> = ["anyOf", "oneOf", "not", "contains"]
    let summing: Set<String> = [
      "allOf", "$ref", "$dynamicRef", "properties", "patternProperties", "items", "prefixItems",
      "then", "else", "dependentSchemas",
    ]
    let places = Set(violations.map(\.keywordLocation))
    return violations.filter { violation in
      var parts = violation.keywordLocation.split(separator: "/", omittingEmptySubsequences: false)
      if let last = parts.last, summing.contains(String(last)),
        places.contains(where: { $0.hasPrefix(violation.keywordLocation + "/") })
      {
        return false
      }
      while parts.count > 2 {
        parts.removeLast()
        if let last = parts.last, deciding.contains(String(last)),
          places.contains(parts.joined(separator: "/"))
        {
          return false
        }
      }
      return true
    }
  }

  // MARK: One keyword

  /// Returns why it can't give way; nil if it did.
  private mutating func widen(
    at pointer: String, _ refused: [(value: JSONValue, violation: SchemaViolation)]
  ) -> String? {
    let path = JSONPointer.parts(pointer)
    let instances = refused.compactMap { value, violation -> JSONValue? in
      let place = JSONPointer.parts(violation.instanceLocation)
      if path.dropLast().last == "propertyNames" { return place.last.map { .string($0) } }
      return JSONPointer.value(at: place[...], in: value)
    }
    guard let keyword = path.last, let present = JSONPointer.value(at: path[...], in: schema),
      !instances.isEmpty
    else { return "\(pointer) can't be found" }
    // `false` under a name, or for an item.
    if present == .bool(false),
      !["additionalProperties", "unevaluatedProperties"].contains(keyword)
    {
      replace(path, with: Self.inferred(instances))
      return note(pointer, "is allowed", refused.count)
    }
    switch keyword {
    case "type": return widenType(path, present, instances)
    case "enum", "const":
      var values = keyword == "const" ? [present] : present.arrayValue ?? []
      let new = Self.distinct(instances).filter { !values.contains($0) }
      values += new
      replace(path, with: nil)
      replace(path.dropLast() + ["enum"], with: .array(values))
      return note(pointer, "\(Self.list(new)) added", refused.count)
    case "required":
      let names = present.arrayValue ?? []
      let kept = names.filter { name in
        instances.allSatisfy { $0[name.stringValue ?? ""] != nil }
      }
      replace(path, with: kept.isEmpty ? nil : .array(kept))
      let gone = names.filter { !kept.contains($0) }
      return note(pointer, "\(Self.list(gone)) no longer required", refused.count)
    case "additionalProperties", "unevaluatedProperties":
      return declare(path, refused)
    case "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum":
      return widenBound(path, keyword, instances)
    case "minLength", "minItems", "minProperties":
      let least = instances.map(Self.size).min() ?? 0
      replace(path, with: least == 0 ? nil : .int(least))
      return note(pointer, "\(present.text()) → \(least)", refused.count)
    case "maxLength", "maxItems", "maxProperties":
      let most = instances.map(Self.size).max() ?? 0
      replace(path, with: .int(most))
      return note(pointer, "\(present.text()) → \(most)", refused.count)
    case "anyOf":
      replace(path, with: .array((present.arrayValue ?? []) + [Self.inferred(instances)]))
      return note(pointer, "one more alternative", refused.count)
    case "oneOf":
      // Several alternatives that accept a value are no reason to refuse it any more.
      var alternatives = present.arrayValue ?? []
      if refused.contains(where: { !$0.violation.error.contains("by one only") }) {
        alternatives.append(Self.inferred(instances))
      }
      replace(path, with: nil)
      replace(path.dropLast() + ["anyOf"], with: .array(alternatives))
      return note(pointer, "becomes anyOf", refused.count)
    case "pattern", "format", "multipleOf", "uniqueItems", "contains", "minContains", "maxContains",
      "dependentRequired", "unevaluatedItems":
      replace(path, with: nil)
      return note(pointer, "\(present.text()) taken out", refused.count)
    default: return "\(pointer): \(keyword) does not give way by itself"
    }
  }

  private mutating func note(_ pointer: String, _ what: String, _ count: Int) -> String? {
    changes.append(Change(pointer: pointer, what: what, count: count))
    return nil
  }

  private mutating func widenType(
    _ path: [String], _ present: JSONValue, _ instances: [JSONValue]
  ) -> String? {
    var types = present.arrayValue?.compactMap(\.stringValue) ?? [present.stringValue ?? ""]
    let new = Self.typeNames(instances)
    var added: [String] = []
    for type in new where !types.contains(type) {
      if type == "number" { types.removeAll { $0 == "integer" } }
      types.append(type)
      added.append(type)
    }
    replace(path, with: types.count == 1 ? .string(types[0]) : .array(types.map { .string($0) }))
    return note(
      JSONPointer.text(path), "\(added.joined(separator: ", ")) added to \(present.text())",
      instances.count)
  }

  private mutating func widenBound(
    _ path: [String], _ keyword: String, _ instances: [JSONValue]
  ) -> String? {
    let isLower = keyword.hasSuffix("inimum")
    let sorted = instances.filter { $0.doubleValue != nil }
      .sorted { ($0.doubleValue ?? 0) < ($1.doubleValue ?? 0) }
    guard let bound = isLower ? sorted.first : sorted.last else { return "no number" }
    replace(path, with: nil)
    replace(path.dropLast() + [isLower ? "minimum" : "maximum"], with: bound)
    return note(JSONPointer.text(path), "→ \(bound.text())", instances.count)
  }

  /// Members that were not allowed become properties, with what is known of their values.
  private mutating func declare(
    _ path: [String], _ refused: [(value: JSONValue, violation: SchemaViolation)]
  ) -> String? {
    var values: [String: [JSONValue]] = [:]
    var names: [String] = []
    for (value, violation) in refused {
      let place = JSONPointer.parts(violation.instanceLocation)
      guard let name = place.last, let member = JSONPointer.value(at: place[...], in: value) else {
        continue
      }
      if values[name] == nil { names.append(name) }
      values[name, default: []].append(member)
    }
    for name in names {
      replace(
        path.dropLast() + ["properties", name], with: Self.inferred(values[name] ?? []))
    }
    return note(
      JSONPointer.text(path), "\(names.joined(separator: ", ")) declared", refused.count)
  }

  private mutating func replace(_ path: [String], with value: JSONValue?) {
    schema = JSONPointer.replacing(path[...], with: value, in: schema)
  }

  // MARK: Values

  /// A lenient schema of values, without its head.
  private static func inferred(_ values: [JSONValue]) -> JSONValue {
    let inference = SchemaInference()
    // Values that were read once.
    for value in values { try? inference.observe(value.text()) }
    var schema = inference.schema()
    schema["$schema"] = nil
    return schema
  }

  private static func typeNames(_ values: [JSONValue]) -> [String] {
    var names: [String] = []
    for value in values {
      let name =
        switch value {
        case .null: "null"
        case .bool: "boolean"
        case .number(let digits): Int64(digits) == nil ? "number" : "integer"
        case .string: "string"
        case .array: "array"
        case .object: "object"
        }
      if !names.contains(name) { names.append(name) }
    }
    if names.contains("number") { names.removeAll { $0 == "integer" } }
    return names
  }

  private static func size(_ value: JSONValue) -> Int {
    switch value {
    case .string(let text): text.unicodeScalars.count
    case .array(let items): items.count
    case .object(let members): members.count
    case .null, .bool, .number: 0
    }
  }

  private static func distinct(_ values: [JSONValue]) -> [JSONValue] {
    values.reduce(into: []) { found, value in if !found.contains(value) { found.append(value) } }
  }

  private static func list(_ values: [JSONValue]) -> String {
    let shown = values.prefix(5).map { $0.text() }.joined(separator: ", ")
    return values.count > 5 ? "\(shown) and \(values.count - 5) more" : shown
  }
}
