import JSON
import TestRandom

/// Random schemas out of few names and values, and small changes of them, as new versions have.
struct RandomSchemas {
  var random: SeededRandom

  init(seed: UInt64) { random = SeededRandom(seed: seed) }

  static let names = ["a", "b", "c", "xa", "kind", "a/b~"]
  static let patterns = [
    "^a", "^[a-c]+$", "^x", "b$", "^.{2}$", "\\d", "^(ab|c)*$", "^\\p{L}+$", "[^a]", "^a?$",
  ]
  static let formats = [
    "date-time", "date", "time", "duration", "email", "idn-email", "hostname", "idn-hostname",
    "ipv4", "ipv6", "uri",
    "uri-reference", "iri", "iri-reference", "uuid", "uri-template", "json-pointer",
    "relative-json-pointer", "regex",
  ]
  static let types = ["null", "boolean", "integer", "number", "string", "array", "object"]
  static let constants: [JSONValue] = [
    .null, true, false, 0, 1, 2, .number("1.0"), "a", "b", "xa", .number("1.5"), [], [1],
    .object([]), ["a": 1],
    ["a", "b"], ["b": 1, "a": .null],
  ]

  /// The drafts by `$schema`, the newest most often.
  private static let drafts = [
    "https://json-schema.org/draft/2020-12/schema", "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2020-12/schema", "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema#",
  ]
  private var draft = drafts[0]
  private var isDraft7: Bool { draft == Self.drafts[4] }

  mutating func schema() -> JSONValue {
    draft = random.pick(Self.drafts)
    var schema = schema(depth: 0)
    guard case .object = schema else { return schema }
    if draft != Self.drafts[0] || random.chance(1, in: 2) { schema["$schema"] = .string(draft) }
    let text = schema.text()
    if text.contains("#/$defs/d") || text.contains("#d") {
      var definition = self.schema(depth: 2)
      if case .object = definition, !isDraft7 {
        definition[
          draft == Self.drafts[0] && random.chance(1, in: 2) ? "$dynamicAnchor" : "$anchor"] = "d"
      }
      if case .object = definition, random.chance(1, in: 4) {
        // A list or tree of its own kind.
        if random.chance(1, in: 2) {
          definition["items"] = ["$ref": "#/$defs/d"]
        } else {
          definition["properties"] = .object([.init(random.pick(Self.names), ["$ref": "#/$defs/d"])]
          )
        }
      }
      schema["$defs"] = .object([.init("d", definition)])
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
    .number(
      random.pick(["0", "1", "2", "3", "1.5", "-1", "10", "0.5", "1e1", "2.0", "-2.5", "0.1"]))
  }

  private mutating func addKeyword(to schema: inout JSONValue, _ type: String, _ depth: Int) {
    if random.chance(1, in: 4) { return addCombination(to: &schema, depth) }
    switch type {
    case "integer", "number":
      let keywords = [
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minimum", "maximum",
      ]
      if random.chance(1, in: 4) {
        schema["multipleOf"] = .number(random.pick(["1", "2", "3", "0.5", "1.5", "0.1", "4"]))
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
        let list = JSONValue.array(
          (0..<(1 + random.below(2))).map { _ in self.schema(depth: depth + 1) })
        if draft == Self.drafts[0] {
          schema["prefixItems"] = list
        } else {
          schema["items"] = list
          if random.chance(1, in: 2) { schema["additionalItems"] = self.schema(depth: depth + 1) }
        }
      case 6 where !isDraft7: schema["unevaluatedItems"] = self.schema(depth: depth + 1)
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
        schema[isDraft7 ? "dependencies" : "dependentRequired"] = .object([
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
      case 12 where random.chance(1, in: 3): schema["propertyNames"] = self.schema(depth: depth + 1)
      case 12 where random.chance(1, in: 3):
        schema["propertyNames"] = [
          "enum": .array((0..<2).map { _ in .string(random.pick(Self.names)) })
        ]
        schema["minProperties"] = .int(random.below(3))
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
    if depth < 2, random.chance(1, in: 10) { return addKinds(to: &schema, depth) }
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
      schema[isDraft7 ? "dependencies" : "dependentSchemas"] = .object([
        .init(random.pick(Self.names), self.schema(depth: depth + 1))
      ])
    default:
      guard depth > 0 else { break }
      if isDraft7 || random.chance(2, in: 3) {
        schema["$ref"] = "#/$defs/d"
      } else {
        schema[draft == Self.drafts[0] && random.chance(1, in: 2) ? "$dynamicRef" : "$ref"] = "#d"
      }
    }
  }

  /// Objects of several kinds, which a member tells apart.
  private mutating func addKinds(to schema: inout JSONValue, _ depth: Int) {
    let kinds = (0..<(2 + random.below(4))).map { number in
      var kind = JSONValue.object([.init("type", "object")])
      kind["properties"] = .object([
        .init("kind", ["const": .int(number)]), .init("a", self.schema(depth: depth + 2)),
      ])
      if random.chance(7, in: 8) { kind["required"] = ["kind"] }
      return kind
    }
    schema[random.chance(1, in: 2) ? "oneOf" : "anyOf"] = .array(kinds)
  }

  // MARK: Names in other ways

  /// A schema of objects that speaks of a member in another way than by `properties`, and the member's name.
  mutating func naming() -> (schema: JSONValue, name: String) {
    let name = random.pick(["a", "b", "c", "xa"])
    let text = JSONValue.string(name)
    var schema: JSONValue = ["type": "object"]
    let inner = self.schema(depth: 3)
    let kind = random.below(14)
    switch kind {
    case 0: schema["propertyNames"] = ["enum": [text, "b"]]
    case 1: schema["propertyNames"] = ["const": text]
    case 2: schema["propertyNames"] = ["pattern": .string("^\(name)$|^q")]
    case 3: schema["propertyNames"] = ["anyOf": [["const": text], ["maxLength": 1]]]
    case 4: schema["minProperties"] = 1
    case 5: schema["not"] = ["maxProperties": .int(random.below(2))]
    case 6: schema["required"] = [text]
    case 7: schema["dependentRequired"] = .object([.init("k", [text])])
    case 8: schema["dependentSchemas"] = .object([.init(name, ["minProperties": 2])])
    case 9: schema["patternProperties"] = .object([.init("^\(name)", inner)])
    case 10: schema["anyOf"] = [["required": [text]], ["required": ["k"]]]
    case 11:
      schema["if"] = ["required": [text]]
      schema["then"] = ["minProperties": 1]
    case 12: schema["not"] = ["const": .object([.init(name, 1)])]
    default:
      schema["properties"] = .object([.init(name, false), .init("k", inner)])
      schema["minProperties"] = 2
      return (schema, name == "b" ? "c" : "b")
    }
    switch random.below(4) {
    case 0: return (["allOf": [schema, ["minProperties": .int(random.below(2))]]], name)
    case 1 where ![4, 5].contains(kind):
      return (["type": "object", "anyOf": [schema, ["required": ["other"]]]], name)
    default: return (schema, name)
    }
  }

  // MARK: In other words

  /// A schema that says the same in other words somewhere.
  mutating func disguised(_ schema: JSONValue) -> JSONValue {
    guard case .object(var members) = schema, !members.isEmpty else { return schema }
    let index = random.below(members.count)
    let member = members[index]
    switch member.key {
    case "properties", "patternProperties":
      if var entries = member.value.objectValue, !entries.isEmpty {
        let at = random.below(entries.count)
        entries[at].value = worded(entries[at].value)
        members[index].value = .object(entries)
      }
    case "additionalProperties", "not", "contains", "propertyNames":
      members[index].value = worded(member.value)
    case "required", "enum":
      if let list = member.value.arrayValue { members[index].value = .array(list.reversed()) }
    case "type" where member.value == "number": members[index].value = ["integer", "number"]
    default: break
    }
    return .object(members)
  }

  private mutating func worded(_ schema: JSONValue) -> JSONValue {
    switch random.below(8) {
    case 0: ["allOf": [schema, true]]
    case 1: ["anyOf": [schema, false, schema]]
    case 2: ["oneOf": [false, schema]]
    case 3: ["not": ["not": schema]]
    case 4: ["if": schema, "then": true, "else": false]
    case 5: ["if": true, "then": schema]
    case 6: ["not": ["allOf": [["not": schema]]]]
    default:
      [
        "anyOf": [
          ["allOf": [schema, ["minLength": 2]]], ["allOf": [schema, ["not": ["minLength": 2]]]],
        ]
      ]
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
      case "properties", "patternProperties", "$defs", "dependentSchemas", "dependencies":
        changedMembers[index].value = changedEntries(member.value)
      case "items", "additionalProperties", "not", "if", "then", "else", "contains",
        "unevaluatedItems", "additionalItems", "unevaluatedProperties":
        changedMembers[index].value = changed(member.value)
      case "allOf", "anyOf", "oneOf", "prefixItems":
        guard var elements = member.value.arrayValue, !elements.isEmpty else { break }
        let at = random.below(elements.count)
        elements[at] = changed(elements[at])
        changedMembers[index].value = .array(elements)
      case "$schema": break
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
}
