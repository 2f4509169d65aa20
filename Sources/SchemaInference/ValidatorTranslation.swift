import JSON
import JSONSchema

/// A part of a collection's validator, and what is known around it.
struct ValidatorPlace {
  let validator: JSONValue
  /// The same with its types: in relaxed Extended JSON.
  let typed: JSONValue
  /// Where it is in the whole validator.
  let path: [String]
  /// The BSON types that the value can have, as far as they are stated.
  var types: [String]?

  static let compositions = ["anyOf", "oneOf", "dependencies", "patternProperties"]

  /// Of whole documents.
  init(_ validator: JSONValue, typed: JSONValue) { self.init(validator, typed, [], ["object"]) }

  private init(_ validator: JSONValue, _ typed: JSONValue, _ path: [String], _ types: [String]?) {
    self.validator = validator
    self.typed = typed
    self.path = path
    let stated = validator["bsonType"] ?? validator["type"]
    let own = stated.map { $0.arrayValue?.compactMap(\.stringValue) ?? [$0.stringValue ?? ""] }
    self.types = own ?? types
  }

  /// A validator of the same value.
  func same(_ validator: JSONValue, _ steps: String...) -> ValidatorPlace {
    ValidatorPlace(validator, typed(steps), path + steps, types)
  }

  /// A validator of a part of the value.
  func inner(_ validator: JSONValue, _ steps: String...) -> ValidatorPlace {
    ValidatorPlace(validator, typed(steps), path + steps, nil)
  }

  private func typed(_ steps: [String]) -> JSONValue {
    JSONPointer.value(at: steps[...], in: typed) ?? .null
  }

  func pointer(_ keyword: String) -> String { JSONPointer.text(path + [keyword]) }

  // MARK: What JSON tells apart

  /// Whether what is an object in JSON is one in BSON, too: a timestamp, a regular expression and a few others become
  /// objects, and MongoDB doesn't ask of them what it asks of objects.
  var isObjectAlone: Bool { types?.allSatisfy { ValidatorTranslation.types[$0] != nil } ?? false }

  /// Whether what is a string in JSON is one in BSON, too: only then it is what MongoDB measures.
  var isText: Bool {
    types?.allSatisfy {
      $0 == "string" || ValidatorTranslation.types[$0]?.contains("string") == false
    } ?? false
  }

  /// Whether numbers can be decimals, which are strings in JSON.
  var mayBeDecimal: Bool {
    types?.contains { ["decimal", "number"].contains($0) || ValidatorTranslation.types[$0] == nil }
      ?? true
  }
}

/// Says in JSON Schema what a validator says, for documents in simplified JSON: as precisely as that can be, and where it
/// can't, more widely. So nothing is refused that the validator accepts.
struct ValidatorTranslation {
  /// What is left out, and why.
  private(set) var leftOut: [String] = []

  static let aboutNot = "what it forbids has no exact counterpart in JSON; add it by hand"

  private mutating func leave(_ place: ValidatorPlace, _ name: String, _ reason: String) {
    leftOut.append("\(place.pointer(name)) of the validator is not taken over: \(reason)")
  }

  /// A whole validator.
  mutating func schema(_ place: ValidatorPlace) -> JSONValue {
    let validator = place.validator
    guard case .object = validator else { return .bool(validator.boolValue ?? true) }
    var schema = Self.type(of: place)
    for name in ["title", "description"] where validator[name] != nil {
      schema[name] = validator[name]
    }
    if validator["required"] != nil, isAboutObjects(place, "required") {
      schema["required"] = validator["required"]
    }
    for (keyword, value) in plain(of: place) { schema[keyword] = value }
    let all = parts(of: place).map(\.part)
    if let properties = properties(of: place) { schema["properties"] = properties }
    if validator["additionalProperties"] == .bool(false), validator["patternProperties"] == nil,
      isAboutObjects(place, "additionalProperties")
    {
      schema["additionalProperties"] = false
    }
    if let items = validator["items"], case .object = items {
      schema["items"] = self.schema(place.inner(items, "items"))
    }
    var inner = all
    for (index, part) in (validator["allOf"]?.arrayValue ?? []).enumerated() {
      inner.append(self.schema(place.same(part, "allOf", "\(index)")))
    }
    if validator["not"] != nil, negation(of: place) == nil { leave(place, "not", Self.aboutNot) }
    if inner.count == 1, let members = inner[0].objectValue,
      members.allSatisfy({ schema[$0.key] == nil })
    {
      for member in members { schema[member.key] = member.value }
    } else if !inner.isEmpty {
      schema["allOf"] = .array(inner)
    }
    return schema
  }

  private static func isSchema(_ value: JSONValue?) -> Bool {
    if case .object? = value { return true }
    return false
  }

  private mutating func properties(of place: ValidatorPlace) -> JSONValue? {
    guard case .object(let members)? = place.validator["properties"] else { return nil }
    let isCertain = !members.contains { Self.namesOfOthers.contains($0.key) }
    guard isCertain || isAboutObjects(place, "properties") else { return nil }
    var properties: [JSONValue.Member] = []
    for member in members {
      properties.append(
        .init(member.key, schema(place.inner(member.value, "properties", member.key))))
    }
    return .object(properties)
  }

  // MARK: Types

  /// `type` and what else follows from BSON types.
  static func type(of place: ValidatorPlace) -> JSONValue {
    guard place.validator["bsonType"] != nil || place.validator["type"] != nil,
      let names = place.types
    else { return .object([]) }
    var types: [String] = []
    for name in names {
      guard let some = Self.types[name] else { return .object([]) }
      for type in some where !types.contains(type) { types.append(type) }
    }
    guard !types.isEmpty else { return .object([]) }
    var members: [JSONValue.Member] = [
      .init("type", types.count == 1 ? .string(types[0]) : .array(types.map { .string($0) }))
    ]
    if names == ["objectId"] {
      members.append(.init("pattern", .string(TextForms.objectIDPattern)))
    }
    return .object(members)
  }

  /// What BSON's types become in simplified JSON. Doubles that are no numbers, and decimals, are strings.
  static let types: [String: [String]] = [
    "double": ["number", "string"], "int": ["integer"], "long": ["integer"], "decimal": ["string"],
    "number": ["number", "string"], "string": ["string"], "object": ["object"], "array": ["array"],
    "bool": ["boolean"], "boolean": ["boolean"], "null": ["null"], "objectId": ["string"],
    "date": ["string"], "binData": ["string"], "symbol": ["string"], "javascript": ["string"],
  ]

  // MARK: Keywords

  /// Keywords that mean the same in MongoDB's dialect (draft 4) and here.
  private static let same = [
    "enum", "minimum", "maximum", "minItems", "maxItems", "uniqueItems", "multipleOf",
    "minProperties", "maxProperties", "minLength", "maxLength", "pattern",
  ]
  private static let ofText: Set<String> = ["minLength", "maxLength", "pattern"]
  static let ofObjects: Set<String> = [
    "required", "properties", "additionalProperties", "patternProperties", "dependencies",
    "minProperties", "maxProperties",
  ]
  /// Names in what is an object in JSON, but not in BSON. Only these can `properties` be wrong about.
  static let namesOfOthers: Set<String> = [
    "t", "i", "pattern", "options", "code", "scope", "$ref", "$id", "$minKey", "$maxKey",
  ]
  static let aboutObjects =
    "without bsonType \"object\" it is not about all that JSON has as objects"

  /// - Parameter present: the JSON types that the value has anyway; nil: any.
  mutating func plain(
    of place: ValidatorPlace, _ present: Set<String>? = nil
  ) -> [(keyword: String, value: JSONValue)] {
    var found: [(keyword: String, value: JSONValue)] = []
    for name in Self.same {
      guard let value = place.validator[name] else { continue }
      if let reason = obstacle(to: name, value, place, present) {
        leave(place, name, reason)
        continue
      }
      // Draft 4: a flag beside the bound.
      let exclusive = name == "minimum" ? "exclusiveMinimum" : "exclusiveMaximum"
      let isBound = name == "minimum" || name == "maximum"
      if name == "pattern" {
        guard let pattern = value.stringValue.flatMap(PatternTranslation.pattern) else { continue }
        found.append((name, .string(pattern)))
      } else {
        found.append(
          (isBound && place.validator[exclusive] == .bool(true) ? exclusive : name, value))
      }
    }
    return found
  }

  /// Why a keyword can't be taken over: it would refuse in JSON what it accepts in BSON.
  private func obstacle(
    to name: String, _ value: JSONValue, _ place: ValidatorPlace, _ present: Set<String>?
  ) -> String? {
    if Self.ofText.contains(name), !place.isText {
      return "without bsonType \"string\" it is not about all that JSON has as strings"
    }
    if Self.ofObjects.contains(name), !place.isObjectAlone { return Self.aboutObjects }
    switch name {
    case "pattern":
      return value.stringValue.flatMap(PatternTranslation.pattern) == nil
        ? PatternTranslation.obstacle : nil
    case "enum": return Self.obstacle(toEnum: value, place, present)
    case "uniqueItems":
      return value != .bool(true) || ItemDistinction.isSame(place.validator["items"])
        ? nil : ItemDistinction.obstacle
    case "minimum", "maximum":
      return value.doubleValue == nil
        ? "\(value.text()) is no number in JSON"
        : Self.isExact(value) ? nil : "numbers that large are written in several ways"
    case "multipleOf":
      if value.doubleValue == nil { return "\(value.text()) is no number in JSON" }
      guard case .number(let digits) = value, ExactDecimal(digits)?.isInteger == true,
        Self.isExact(value),
        place.types?.allSatisfy({ !["double", "number"].contains($0) && Self.types[$0] != nil })
          == true
      else { return "MongoDB rounds doubles for it" }
      return nil
    default:
      return value.doubleValue == nil ? "\(value.text()) is no number in JSON" : nil
    }
  }

  /// Where a number equals others by MongoDB, it has to equal them as it is written in JSON.
  private static func obstacle(
    toEnum value: JSONValue, _ place: ValidatorPlace, _ present: Set<String>?
  ) -> String? {
    guard case .array(let typed)? = place.typed["enum"] ?? place.validator["enum"],
      case .array = value
    else { return "it is no list" }
    let mayBeDecimal = place.mayBeDecimal && present?.contains("string") != false
    for each in typed {
      switch each {
      case .number:
        guard !mayBeDecimal else { return "decimals that equal its numbers are strings in JSON" }
        guard isExact(each) else { return "numbers that large are written in several ways" }
      case .array, .object:
        guard !hasNumber(each) else { return "numbers in it are written in several ways" }
      case .null, .bool, .string: break
      }
    }
    return nil
  }

  /// Whether a value is a number, or has one in it that has more than one form in JSON.
  private static func hasNumber(_ value: JSONValue) -> Bool {
    switch value {
    case .number: true
    case .array(let items): items.contains(where: hasNumber)
    case .object(let members):
      members.contains {
        ["$numberDecimal", "$numberDouble", "$numberLong", "$numberInt"].contains($0.key)
          || hasNumber($0.value)
      }
    case .null, .bool, .string: false
    }
  }

  /// Whether a number is the same as an integer and as a double, in JSON as in BSON.
  private static func isExact(_ value: JSONValue) -> Bool {
    value.doubleValue.map { abs($0) < 0x1p53 } ?? false
  }

  /// Parts that are a schema of their own, each with the keyword that it comes from.
  mutating func parts(of place: ValidatorPlace) -> [(name: String, part: JSONValue)] {
    var found: [(name: String, part: JSONValue)] = []
    if let part = alternatives(place, "anyOf") { found.append(("anyOf", part)) }
    if let part = alternatives(place, "oneOf") {
      leftOut.append(
        "\(place.pointer("oneOf")) of the validator is taken over as anyOf: in JSON more than one may hold"
      )
      found.append(("oneOf", part))
    }
    found += dependencies(place)
    if let part = otherMembers(place) { found.append(part) }
    if let part = itemList(place) { found.append(("items", part)) }
    if let part = negation(of: place) { found.append(("not", part)) }
    return found
  }

  /// What must not be, where JSON shows exactly that: members that are not to be there together, types of a
  /// form of their own, texts.
  func negation(of place: ValidatorPlace) -> JSONValue? {
    guard case .object(let members)? = place.validator["not"] else { return nil }
    let keywords = members.filter { !["title", "description"].contains($0.key) }
    guard keywords.count == 1, let only = keywords.first else { return nil }
    switch only.key {
    case "required" where place.isObjectAlone:
      return only.value.arrayValue.map { ["not": ["required": .array($0)]] }
    case "bsonType", "type":
      let names = only.value.arrayValue?.compactMap(\.stringValue) ?? [only.value.stringValue ?? ""]
      let ownForm: Set<String> = ["array", "bool", "boolean", "null"]
      guard !names.isEmpty, names.allSatisfy(ownForm.contains) else { return nil }
      let types = names.map { JSONValue.string($0 == "bool" ? "boolean" : $0) }
      return ["not": ["type": types.count == 1 ? types[0] : .array(types)]]
    case "enum" where place.isText:
      guard let typed = place.typed["not"]?["enum"]?.arrayValue,
        typed.allSatisfy({ $0.stringValue != nil })
      else { return nil }
      return ["not": ["enum": only.value]]
    default: return nil
    }
  }

  /// Whether a keyword of objects can be taken over; says so if not.
  private mutating func isAboutObjects(_ place: ValidatorPlace, _ name: String) -> Bool {
    if !place.isObjectAlone { leave(place, name, Self.aboutObjects) }
    return place.isObjectAlone
  }

  private mutating func alternatives(_ place: ValidatorPlace, _ name: String) -> JSONValue? {
    guard let alternatives = place.validator[name]?.arrayValue else { return nil }
    var schemas: [JSONValue] = []
    for (index, alternative) in alternatives.enumerated() {
      schemas.append(schema(place.same(alternative, name, "\(index)")))
    }
    return ["anyOf": .array(schemas)]
  }

  private mutating func dependencies(
    _ place: ValidatorPlace
  ) -> [(name: String, part: JSONValue)] {
    guard case .object(let members)? = place.validator["dependencies"],
      isAboutObjects(place, "dependencies")
    else { return [] }
    var names: [JSONValue.Member] = []
    var schemas: [JSONValue.Member] = []
    for member in members {
      if case .array = member.value {
        names.append(member)
      } else {
        let inner = place.same(member.value, "dependencies", member.key)
        schemas.append(.init(member.key, schema(inner)))
      }
    }
    var found: [(name: String, part: JSONValue)] = []
    if !names.isEmpty { found.append(("dependencies", ["dependentRequired": .object(names)])) }
    if !schemas.isEmpty { found.append(("dependencies", ["dependentSchemas": .object(schemas)])) }
    return found
  }

  /// `patternProperties`, and what `additionalProperties` says of all that neither declares.
  private mutating func otherMembers(_ place: ValidatorPlace) -> (name: String, part: JSONValue)? {
    let validator = place.validator
    let patterns = validator["patternProperties"]?.objectValue
    guard patterns != nil || Self.isSchema(validator["additionalProperties"]) else { return nil }
    guard isAboutObjects(place, patterns == nil ? "additionalProperties" : "patternProperties")
    else { return nil }
    var part = JSONValue.object([])
    var matched: [JSONValue.Member] = []
    for pattern in patterns ?? [] {
      let inner = place.inner(pattern.value, "patternProperties", pattern.key)
      guard let text = PatternTranslation.pattern(pattern.key) else {
        leftOut.append(
          "\(JSONPointer.text(inner.path)) of the validator is not taken over: \(PatternTranslation.obstacle)"
        )
        continue
      }
      matched.append(.init(text, schema(inner)))
    }
    if !matched.isEmpty { part["patternProperties"] = .object(matched) }
    if let others = validator["additionalProperties"] {
      // Names that a pattern matches which is left out would be among the others.
      if matched.count == (patterns ?? []).count {
        part["additionalProperties"] =
          Self.isSchema(others) ? schema(place.inner(others, "additionalProperties")) : others
        // It doesn't see what is declared elsewhere.
        if case .object(let declared)? = validator["properties"] {
          part["properties"] = .object(declared.map { .init($0.key, true) })
        }
      } else {
        leave(place, "additionalProperties", "a pattern of patternProperties is left out")
      }
    }
    guard part != .object([]) else { return nil }
    return (patterns == nil ? "additionalProperties" : "patternProperties", part)
  }

  /// `items` with a schema for each index, and `additionalItems`.
  private mutating func itemList(_ place: ValidatorPlace) -> JSONValue? {
    guard let items = place.validator["items"]?.arrayValue else { return nil }
    var schemas: [JSONValue] = []
    for (index, item) in items.enumerated() {
      schemas.append(schema(place.inner(item, "items", "\(index)")))
    }
    var part: JSONValue = schemas.isEmpty ? .object([]) : ["prefixItems": .array(schemas)]
    if let others = place.validator["additionalItems"] {
      part["items"] = schema(place.inner(others, "additionalItems"))
    }
    return part
  }

  // MARK: Two at once

  enum Both {
    /// What is there says it already.
    case present
    /// One value that says both.
    case one(JSONValue)
    /// No single value does.
    case two
  }

  /// What says both values of a keyword.
  static func both(_ present: JSONValue, _ new: JSONValue, _ keyword: String) -> Both {
    switch keyword {
    case "minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties":
      return isBelow(present, new) ? .one(new) : .present
    case "maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties":
      return isBelow(new, present) ? .one(new) : .present
    case "enum":
      let others = new.arrayValue ?? []
      let common = (present.arrayValue ?? []).filter { one in
        others.contains { $0.isSameValue(as: one) }
      }
      return .one(.array(common))
    case "uniqueItems": return present == .bool(true) ? .present : .one(new)
    default: return present == new ? .present : .two
    }
  }

  private static func isBelow(_ one: JSONValue, _ other: JSONValue) -> Bool {
    guard case .number(let one) = one, case .number(let other) = other,
      let one = ExactDecimal(one), let other = ExactDecimal(other)
    else { return false }
    return one.compared(to: other) < 0
  }
}
