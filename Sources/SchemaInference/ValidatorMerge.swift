public import JSON
import JSONSchema

/// Adds what a collection's own validator (`$jsonSchema`) asks for to a schema that was inferred from its documents.
///
/// MongoDB validates what is written, by the rules of the moment: documents may well break them. What one that was
/// seen breaks is withdrawn, so that the schema still accepts all of them.
public struct ValidatorMerge {
  public private(set) var schema: JSONValue
  /// Pointers to keywords that came from the validator.
  private var added: Set<String> = []
  /// Names that it requires, by pointer to `required`.
  private var required: [String: Set<String>] = [:]
  /// What of the validator is not taken over.
  public private(set) var leftOut: [String] = []
  private let isSimplified: Bool

  /// - Parameters:
  ///   - validator: the `$jsonSchema`, as JSON in the style of the documents.
  ///   - isSimplified: the style is `simplified`. Only then values look as the validator describes them, and more than
  ///     names is taken over.
  public init(_ inferred: JSONValue, _ validator: JSONValue, isSimplified: Bool) {
    schema = inferred
    self.isSimplified = isSimplified
    schema = merge(inferred, validator, at: [])
    withdrawWhatDoesNotCompile()
  }

  /// Keywords that mean the same in MongoDB's dialect (draft 4) and here.
  private static let plain = [
    "enum", "minimum", "maximum", "minLength", "maxLength", "pattern", "minItems", "maxItems",
    "uniqueItems", "multipleOf", "minProperties", "maxProperties",
  ]
  private static let notTaken = [
    "anyOf", "allOf", "oneOf", "not", "dependencies", "patternProperties", "additionalItems",
  ]

  private mutating func merge(
    _ inferred: JSONValue, _ validator: JSONValue, at path: [String]
  ) -> JSONValue {
    guard case .object = inferred, case .object = validator else { return inferred }
    var merged = inferred
    for name in ["title", "description"] where merged[name] == nil {
      merged[name] = validator[name]
    }
    if case .array(let names)? = validator["required"] {
      let present = merged["required"]?.arrayValue ?? []
      let new = names.filter { !present.contains($0) }
      if !new.isEmpty {
        merged["required"] = .array(present + new)
        required[JSONPointer.text(path + ["required"])] = Set(new.compactMap(\.stringValue))
      }
    }
    if isSimplified { addKeywords(of: validator, to: &merged, at: path) }
    if case .object(let properties)? = validator["properties"] {
      for property in properties {
        let inner = path + ["properties", property.key]
        if let present = merged["properties"]?[property.key] {
          merged["properties"]?[property.key] = merge(present, property.value, at: inner)
        } else {
          // No document has it, or only some kinds of them.
          let stated = types(of: property.value)
          for member in stated.objectValue ?? [] {
            added.insert(JSONPointer.text(inner + [member.key]))
          }
          if merged["properties"] == nil { merged["properties"] = .object([]) }
          merged["properties"]?[property.key] = merge(stated, property.value, at: inner)
        }
      }
    }
    if let items = validator["items"], case .object = items, let present = merged["items"] {
      merged["items"] = merge(present, items, at: path + ["items"])
    }
    for name in Self.notTaken where validator[name] != nil {
      leftOut.append("\(JSONPointer.text(path + [name])) of the validator: not taken over")
    }
    return merged
  }

  private mutating func addKeywords(
    of validator: JSONValue, to merged: inout JSONValue, at path: [String]
  ) {
    for name in Self.plain {
      guard let value = validator[name], merged[name] == nil else { continue }
      // Draft 4: a flag beside the bound.
      let exclusive = name == "minimum" ? "exclusiveMinimum" : "exclusiveMaximum"
      let isBound = name == "minimum" || name == "maximum"
      let keyword = isBound && validator[exclusive] == .bool(true) ? exclusive : name
      guard merged[keyword] == nil else { continue }
      merged[keyword] = value
      added.insert(JSONPointer.text(path + [keyword]))
    }
    if validator["additionalProperties"] == .bool(false), merged["additionalProperties"] == nil {
      merged["additionalProperties"] = false
      added.insert(JSONPointer.text(path + ["additionalProperties"]))
    }
  }

  /// The types that a property may have which no document shows.
  private func types(of validator: JSONValue) -> JSONValue {
    guard isSimplified, let stated = validator["bsonType"] ?? validator["type"] else {
      return .object([])
    }
    let names = stated.arrayValue?.compactMap(\.stringValue) ?? [stated.stringValue ?? ""]
    var types: [String] = []
    for name in names {
      guard let some = Self.types[name] else { return .object([]) }
      for type in some where !types.contains(type) { types.append(type) }
    }
    var members: [JSONValue.Member] = [
      .init("type", types.count == 1 ? .string(types[0]) : .array(types.map { .string($0) }))
    ]
    if names == ["objectId"] {
      members.append(.init("pattern", .string(TextForms.objectIDPattern)))
    }
    if names == ["date"] { members.append(.init("format", "date-time")) }
    return .object(members)
  }

  /// What BSON's types become in simplified JSON. Doubles that are no numbers, and decimals, are strings.
  private static let types: [String: [String]] = [
    "double": ["number", "string"], "int": ["integer"], "long": ["integer"], "decimal": ["string"],
    "number": ["number", "string"], "string": ["string"], "object": ["object"], "array": ["array"],
    "bool": ["boolean"], "boolean": ["boolean"], "null": ["null"], "objectId": ["string"],
    "date": ["string"], "binData": ["string"], "symbol": ["string"], "javascript": ["string"],
  ]

  // MARK: Withdrawing

  /// MongoDB's patterns are PCRE.
  private mutating func withdrawWhatDoesNotCompile() {
    guard (try? CompiledSchema(schema)) == nil else { return }
    for pointer in added where pointer.hasSuffix("/pattern") {
      withdraw(pointer, "is no pattern of ECMA-262")
    }
  }

  /// Withdraws what refuses a document.
  ///
  /// - Parameters:
  ///   - keywordLocation: the keyword that refuses it.
  ///   - missing: whether a member of this name is missing where the keyword is `required`.
  /// - Returns: false if the keyword is not the validator's.
  public mutating func withdraw(_ keywordLocation: String, missing: (String) -> Bool) -> Bool {
    guard let names = required[keywordLocation] else {
      guard added.contains(keywordLocation) else { return false }
      withdraw(keywordLocation, "documents break it")
      return true
    }
    let gone = names.filter(missing)
    guard !gone.isEmpty else { return false }
    required[keywordLocation] = names.subtracting(gone)
    let path = JSONPointer.parts(keywordLocation)
    let left = (JSONPointer.value(at: path[...], in: schema)?.arrayValue ?? [])
      .filter { !gone.contains($0.stringValue ?? "") }
    schema = JSONPointer.replacing(
      path[...], with: left.isEmpty ? nil : .array(left), in: schema)
    leftOut.append(
      "\(keywordLocation) of the validator: documents lack \(gone.sorted().joined(separator: ", "))"
    )
    return true
  }

  /// The names that a `required` asks for and an object lacks.
  ///
  /// - Parameter instance: pointer to the object, in `value`.
  public static func missing(
    by keywordLocation: String, of schema: JSONValue, at instance: String, in value: JSONValue
  ) -> Set<String> {
    guard let object = JSONPointer.value(at: JSONPointer.parts(instance)[...], in: value),
      let names = JSONPointer.value(at: JSONPointer.parts(keywordLocation)[...], in: schema)?
        .arrayValue
    else { return [] }
    return Set(names.compactMap(\.stringValue).filter { object[$0] == nil })
  }

  private mutating func withdraw(_ pointer: String, _ reason: String) {
    added.remove(pointer)
    schema = JSONPointer.replacing(JSONPointer.parts(pointer)[...], with: nil, in: schema)
    leftOut.append("\(pointer) of the validator: \(reason)")
  }
}
