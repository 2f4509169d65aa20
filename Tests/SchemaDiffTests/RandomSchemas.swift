import JSON
import TestRandom

/// Random schemas out of few names and values, and small changes of them, as new versions have.
struct RandomSchemas {
  var random: SeededRandom

  init(seed: UInt64) { random = SeededRandom(seed: seed) }

  static let names = ["a", "b", "c", "xa", "kind"]
  static let patterns = ["^a", "^[a-c]+$", "^x", "b$", "^.{2}$", "\\d"]
  static let formats = ["date-time", "uuid", "email", "idn-email", "ipv4", "date"]
  static let types = ["null", "boolean", "integer", "number", "string", "array", "object"]
  static let constants: [JSONValue] = [
    .null, true, false, 0, 1, 2, "a", "b", "xa", .number("1.5"), [], [1], .object([]), ["a": 1],
    ["a", "b"],
  ]

  mutating func schema() -> JSONValue {
    var schema = schema(depth: 0)
    guard case .object = schema else { return schema }
    if schema.text().contains("$defs") {
      schema["$defs"] = .object([.init("d", self.schema(depth: 2))])
    }
    return schema
  }

  mutating func schema(depth: Int) -> JSONValue {
    if random.chance(1, in: 14) { return .bool(random.chance(2, in: 3)) }
    var schema = JSONValue.object([])
    // Mostly of one type, and then about that type.
    let type = random.pick(Self.types + ["object", "object", "string", "array"])
    if random.chance(3, in: 4) { schema["type"] = .string(type) }
    for _ in 0..<(1 + random.below(3)) { addKeyword(to: &schema, type, depth) }
    return schema
  }

  private mutating func count() -> JSONValue { .int(random.below(4)) }

  private mutating func number() -> JSONValue {
    .number(random.pick(["0", "1", "2", "3", "1.5", "-1", "10", "0.5"]))
  }

  private mutating func addKeyword(to schema: inout JSONValue, _ type: String, _ depth: Int) {
    if random.chance(1, in: 4) { return addCombination(to: &schema, depth) }
    switch type {
    case "integer", "number":
      let keywords = [
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minimum", "maximum",
      ]
      if random.chance(1, in: 4) {
        schema["multipleOf"] = .number(random.pick(["1", "2", "3", "0.5", "1.5"]))
      } else {
        schema[random.pick(keywords)] = number()
      }
    case "string":
      switch random.below(5) {
      case 0: schema["minLength"] = count()
      case 1: schema["maxLength"] = count()
      case 2: schema["format"] = .string(random.pick(Self.formats))
      default: schema["pattern"] = .string(random.pick(Self.patterns))
      }
    case "array":
      switch random.below(depth < 3 ? 9 : 3) {
      case 0: schema["minItems"] = count()
      case 1: schema["maxItems"] = count()
      case 2: schema["uniqueItems"] = true
      case 3, 4: schema["items"] = self.schema(depth: depth + 1)
      case 5:
        schema["prefixItems"] = .array(
          (0..<(1 + random.below(2))).map { _ in self.schema(depth: depth + 1) })
      case 6: schema["unevaluatedItems"] = self.schema(depth: depth + 1)
      default:
        schema["contains"] = self.schema(depth: depth + 1)
        if random.chance(1, in: 3) { schema["minContains"] = count() }
        if random.chance(1, in: 3) { schema["maxContains"] = count() }
      }
    case "object":
      switch random.below(depth < 3 ? 14 : 5) {
      case 0: schema["minProperties"] = count()
      case 1: schema["maxProperties"] = count()
      case 2, 3:
        schema["required"] = .array([.string(random.pick(Self.names))])
      case 4:
        schema["dependentRequired"] = .object([
          .init(random.pick(Self.names), [.string(random.pick(Self.names))])
        ])
      case 5, 6, 7, 8:
        var properties = JSONValue.object([])
        for _ in 0..<(1 + random.below(3)) {
          properties[random.pick(Self.names)] = self.schema(depth: depth + 1)
        }
        schema["properties"] = properties
      case 9:
        schema["patternProperties"] = .object([
          .init(random.pick(Self.patterns), self.schema(depth: depth + 1))
        ])
      case 10, 11:
        schema["additionalProperties"] =
          random.chance(1, in: 2) ? false : self.schema(depth: depth + 1)
      case 12: schema["propertyNames"] = ["pattern": .string(random.pick(Self.patterns))]
      default:
        schema["unevaluatedProperties"] = random.chance(1, in: 2) ? false : ["type": "string"]
      }
    default: schema["enum"] = .array((0..<2).map { _ in random.pick(Self.constants) })
    }
  }

  private mutating func addCombination(to schema: inout JSONValue, _ depth: Int) {
    func list(_ random: inout RandomSchemas) -> JSONValue {
      .array((0..<(1 + random.random.below(2))).map { _ in random.schema(depth: depth + 1) })
    }
    switch random.below(depth < 2 ? 9 : 2) {
    case 0: schema["const"] = random.pick(Self.constants)
    case 1: schema["enum"] = .array((0..<3).map { _ in random.pick(Self.constants) })
    case 2: schema["allOf"] = list(&self)
    case 3: schema["anyOf"] = list(&self)
    case 4: schema["oneOf"] = list(&self)
    case 5: schema["not"] = self.schema(depth: depth + 1)
    case 6:
      schema["if"] = self.schema(depth: depth + 1)
      schema["then"] = self.schema(depth: depth + 1)
      schema["else"] = self.schema(depth: depth + 1)
    case 7:
      schema["dependentSchemas"] = .object([
        .init(random.pick(Self.names), self.schema(depth: depth + 1))
      ])
    default:
      if depth > 0 { schema["$ref"] = "#/$defs/d" }
    }
  }

  // MARK: Changes

  /// The schema with something changed somewhere.
  mutating func changed(_ schema: JSONValue) -> JSONValue {
    switch schema {
    case .object(let members) where !members.isEmpty:
      if random.chance(1, in: 3) {
        var schema = schema
        addKeyword(to: &schema, schema["type"]?.stringValue ?? random.pick(Self.types), 2)
        return schema
      }
      var changedMembers = members
      let index = random.below(members.count)
      let member = members[index]
      switch member.key {
      case "type" where random.chance(1, in: 2):
        changedMembers[index].value = .string(random.pick(Self.types))
      case "properties", "patternProperties", "$defs", "dependentSchemas":
        changedMembers[index].value = changedEntries(member.value)
      case "items", "additionalProperties", "not", "if", "then", "else", "contains",
        "unevaluatedItems":
        changedMembers[index].value = changed(member.value)
      case "allOf", "anyOf", "oneOf", "prefixItems":
        guard var elements = member.value.arrayValue, !elements.isEmpty else { break }
        let at = random.below(elements.count)
        elements[at] = changed(elements[at])
        changedMembers[index].value = .array(elements)
      case "required", "pattern", "dependentRequired", "propertyNames", "uniqueItems":
        changedMembers.remove(at: index)
      case "enum":
        changedMembers[index].value = .array(
          (member.value.arrayValue ?? []).dropLast() + [random.pick(Self.constants)])
      default:
        if case .number = member.value, member.key != "multipleOf" {
          changedMembers[index].value = random.chance(1, in: 2) ? count() : member.value
        } else if random.chance(1, in: 2) {
          changedMembers.remove(at: index)
        }
      }
      return .object(changedMembers)
    default: return self.schema(depth: 2)
    }
  }

  private mutating func changedEntries(_ value: JSONValue) -> JSONValue {
    guard var members = value.objectValue, !members.isEmpty else { return value }
    let index = random.below(members.count)
    members[index].value = changed(members[index].value)
    return .object(members)
  }

  /// The schema with one more optional property, beside others that it has.
  func withProperty(_ name: String, in schema: JSONValue) -> JSONValue {
    guard case .object(var members) = schema else { return schema }
    for (index, member) in members.enumerated() {
      switch member.key {
      case "properties":
        members[index].value[name] = ["type": "integer"]
        return .object(members)
      case "items", "then", "else":
        members[index].value = withProperty(name, in: member.value)
      case "anyOf", "allOf", "oneOf":
        members[index].value = .array(
          (member.value.arrayValue ?? []).map { withProperty(name, in: $0) })
      default: continue
      }
      if members[index].value != member.value { return .object(members) }
    }
    return schema
  }

  // MARK: Values

  /// A value that a schema may well accept, and with some luck just so.
  mutating func value(_ schemas: [JSONValue], depth: Int = 0) -> JSONValue {
    let schema = random.pick(schemas)
    if random.chance(1, in: 12) { return random.pick(Self.constants) }
    if let constant = schema["const"], random.chance(2, in: 3) { return constant }
    if let values = schema["enum"]?.arrayValue, !values.isEmpty, random.chance(2, in: 3) {
      return random.pick(values)
    }
    for keyword in ["anyOf", "oneOf", "allOf"] {
      if let inner = schema[keyword]?.arrayValue, !inner.isEmpty, random.chance(1, in: 3) {
        return value(inner, depth: depth)
      }
    }
    for keyword in ["if", "then", "else", "not"] {
      if let inner = schema[keyword], random.chance(1, in: 4) {
        return value([inner], depth: depth)
      }
    }
    let type = schema["type"]?.stringValue ?? random.pick(Self.types)
    switch random.chance(1, in: 10) ? random.pick(Self.types) : type {
    case "null": return .null
    case "boolean": return .bool(random.chance(1, in: 2))
    case "integer": return .int(random.below(14) - 2)
    case "number":
      return .number(random.pick(["0", "0.5", "1.5", "1", "2", "-1", "2.5", "3", "9.5", "10"]))
    case "string":
      return .string(
        random.pick([
          "", "a", "b", "c", "ab", "abc", "xa", "aab", "b1", "12", "\u{E9}", "xab", "cc", "1b",
          "2026-11-23", "2026-11-23T13:00:00Z", "a@b.c", "127.0.0.1",
          "73ffd264-44b3-4c69-90e8-e7d1dfc035d4",
        ]))
    case "array":
      guard depth < 4 else { return [] }
      var inner = (schema["prefixItems"]?.arrayValue ?? [])
      inner += ["items", "contains", "unevaluatedItems"].compactMap { schema[$0] }
      if inner.isEmpty { inner = [true] }
      return .array((0..<random.below(5)).map { _ in value(inner, depth: depth + 1) })
    default:
      guard depth < 4 else { return .object([]) }
      var object = JSONValue.object([])
      let inner = [
        "additionalProperties", "unevaluatedProperties",
      ].compactMap { schema[$0] }
      for _ in 0..<random.below(5) {
        let name = random.pick(Self.names + ["d", "xb", "1", "ab"])
        var own = inner
        if let property = schema["properties"]?[name] { own += [property, property, property] }
        own += schema["patternProperties"]?.objectValue?.map(\.value) ?? []
        object[name] = value(own.isEmpty ? [true] : own, depth: depth + 1)
      }
      for name in schema["required"]?.arrayValue?.compactMap(\.stringValue) ?? []
      where object[name] == nil && random.chance(4, in: 5) {
        object[name] = value([schema["properties"]?[name] ?? true], depth: depth + 1)
      }
      return object
    }
  }
}
