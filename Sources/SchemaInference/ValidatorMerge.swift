public import JSON
import JSONSchema

/// Adds what a collection's own validator (`$jsonSchema`) asks for to a schema that was inferred from its documents.
///
/// MongoDB validates what is written, by the rules of the moment: documents may well break them. What one that was
/// seen breaks is withdrawn, so that the schema still accepts all of them. And nothing is asked that the validator does
/// not ask: what JSON can't say as precisely is said more widely, or left out, and `leftOut` says so.
public struct ValidatorMerge {
  /// While it is compared with documents: pointers into it don't change.
  public private(set) var schema: JSONValue
  /// What of the validator is not taken over.
  public private(set) var leftOut: [String] = []

  /// Something in the schema that came from the validator.
  private struct Addition {
    /// Where it is in the validator.
    var source: String
    /// What was there before.
    var previous: JSONValue?
  }

  /// By pointer into the schema.
  private var added: [String: Addition] = [:]
  /// The BSON types that parts of the validator state, by path into the schema.
  private var types: [[String]: [String]] = [:]
  /// Names that the validator requires, by pointer to `required`.
  private var required: [String: Set<String>] = [:]
  /// Pointers to items of `allOf` that were withdrawn.
  private var emptied: Set<String> = []
  private let isSimplified: Bool

  /// - Parameters:
  ///   - validator: the `$jsonSchema`, as JSON in the style of the documents.
  ///   - typed: the same in relaxed Extended JSON, which has the types of its values; nil: they are what they look like.
  ///   - isSimplified: the style is `simplified`. Only then values look as the validator describes them, and more than
  ///     names is taken over.
  public init(
    _ inferred: JSONValue, _ validator: JSONValue, typed: JSONValue? = nil, isSimplified: Bool
  ) {
    schema = inferred
    self.isSimplified = isSimplified
    schema = merge(
      inferred, ValidatorPlace(validator, typed: typed ?? validator), at: [])
  }

  /// The schema without what withdrawing has left empty.
  public var finished: JSONValue {
    var finished = schema
    // From the end, so that pointers to those before stay right.
    for pointer in emptied.sorted(by: { Self.index($0) > Self.index($1) }) {
      let path = JSONPointer.parts(pointer).dropLast()
      var parts = JSONPointer.value(at: path, in: finished)?.arrayValue ?? []
      guard parts.indices.contains(Self.index(pointer)) else { continue }
      parts.remove(at: Self.index(pointer))
      finished = JSONPointer.replacing(
        path, with: parts.isEmpty ? nil : .array(parts), in: finished)
    }
    return finished
  }

  private static func index(_ pointer: String) -> Int {
    JSONPointer.parts(pointer).last.flatMap { Int($0) } ?? 0
  }

  private mutating func merge(
    _ inferred: JSONValue, _ place: ValidatorPlace, at path: [String]
  ) -> JSONValue {
    let validator = place.validator
    guard case .object = inferred, case .object = validator else { return inferred }
    var place = place
    place.types = place.types ?? types[path]
    types[path] = place.types
    var merged = inferred
    for name in ["title", "description"] where merged[name] == nil {
      merged[name] = validator[name]
    }
    if case .array(let names)? = validator["required"], isAboutObjects(place, "required") {
      let present = merged["required"]?.arrayValue ?? []
      let new = names.filter { !present.contains($0) }
      if !new.isEmpty {
        merged["required"] = .array(present + new)
        required[JSONPointer.text(path + ["required"]), default: []]
          .formUnion(new.compactMap(\.stringValue))
      }
    }
    if isSimplified { addKeywords(of: place, to: &merged, at: path) }
    mergeProperties(of: place, into: &merged, at: path)
    if let items = validator["items"], case .object = items, let present = merged["items"] {
      merged["items"] = merge(present, place.inner(items, "items"), at: path + ["items"])
    }
    if let parts = validator["allOf"]?.arrayValue {
      for (index, part) in parts.enumerated() {
        merged = merge(merged, place.same(part, "allOf", "\(index)"), at: path)
      }
    }
    if isSimplified {
      addParts(of: place, to: &merged, at: path)
    } else {
      for name in ValidatorPlace.compositions where validator[name] != nil {
        leave(place, name, "its values look otherwise in this style")
      }
    }
    if validator["not"] != nil, !isSimplified || translate(place, { $0.negation(of: $1) }) == nil {
      leave(place, "not", ValidatorTranslation.aboutNot)
    }
    return merged
  }

  /// Whether what is an object in JSON is one in BSON; says so if not.
  private mutating func isAboutObjects(_ place: ValidatorPlace, _ name: String) -> Bool {
    let plain: Set<String> = ["object", "array", "string", "bool", "boolean", "null"]
    let isAlone =
      isSimplified ? place.isObjectAlone : place.types?.allSatisfy(plain.contains) ?? false
    if !isAlone { leave(place, name, ValidatorTranslation.aboutObjects) }
    return isAlone
  }

  private mutating func mergeProperties(
    of place: ValidatorPlace, into merged: inout JSONValue, at path: [String]
  ) {
    guard case .object(let properties)? = place.validator["properties"] else { return }
    if properties.contains(where: { ValidatorTranslation.namesOfOthers.contains($0.key) }),
      !isAboutObjects(place, "properties")
    {
      return
    }
    for property in properties {
      let inner = path + ["properties", property.key]
      let there = place.inner(property.value, "properties", property.key)
      if let present = merged["properties"]?[property.key] {
        merged["properties"]?[property.key] = merge(present, there, at: inner)
        continue
      }
      // No document has it, or only some kinds of them.
      let stated = isSimplified ? ValidatorTranslation.type(of: there) : .object([])
      for member in stated.objectValue ?? [] {
        added[JSONPointer.text(inner + [member.key])] = Addition(source: there.pointer("bsonType"))
      }
      if merged["properties"] == nil { merged["properties"] = .object([]) }
      merged["properties"]?[property.key] = merge(stated, there, at: inner)
    }
  }

  // MARK: Keywords

  private mutating func addKeywords(
    of place: ValidatorPlace, to merged: inout JSONValue, at path: [String]
  ) {
    let present = merged["type"].map {
      Set($0.arrayValue?.compactMap(\.stringValue) ?? [$0.stringValue ?? ""])
    }
    for (keyword, value) in translate(place, { $0.plain(of: $1, present) }) {
      let pointer = JSONPointer.text(path + [keyword])
      guard let present = merged[keyword] else {
        merged[keyword] = value
        added[pointer] = Addition(source: place.pointer(keyword))
        continue
      }
      switch ValidatorTranslation.both(present, value, keyword) {
      case .present: break
      case .one(let narrower):
        // What all documents show is within it, or they break it.
        if keyword == "enum", added[pointer] == nil { break }
        merged[keyword] = narrower
        added[pointer] =
          added[pointer] ?? Addition(source: place.pointer(keyword), previous: present)
      case .two: conjoin([keyword: value], place.pointer(keyword), to: &merged, at: path)
      }
    }
    if place.validator["additionalProperties"] == .bool(false),
      place.validator["patternProperties"] == nil, merged["additionalProperties"] == nil,
      isAboutObjects(place, "additionalProperties")
    {
      merged["additionalProperties"] = false
      added[JSONPointer.text(path + ["additionalProperties"])] =
        Addition(source: place.pointer("additionalProperties"))
    }
  }

  /// What depends on its neighbours, or is composed of schemas: each becomes a schema of its own.
  private mutating func addParts(
    of place: ValidatorPlace, to merged: inout JSONValue, at path: [String]
  ) {
    for (name, part) in translate(place, { $0.parts(of: $1) }) {
      let source = place.pointer(name)
      // By itself it needs no allOf.
      if let members = part.objectValue, members.count == 1, merged[members[0].key] == nil,
        ["anyOf", "dependentRequired", "dependentSchemas", "not"].contains(members[0].key)
      {
        merged[members[0].key] = members[0].value
        added[JSONPointer.text(path + [members[0].key])] = Addition(source: source)
      } else {
        conjoin(part, source, to: &merged, at: path)
      }
    }
  }

  private mutating func translate<Result>(
    _ place: ValidatorPlace, _ body: (inout ValidatorTranslation, ValidatorPlace) -> Result
  ) -> Result {
    var translation = ValidatorTranslation()
    let result = body(&translation, place)
    leftOut += translation.leftOut
    return result
  }

  private mutating func conjoin(
    _ part: JSONValue, _ source: String, to merged: inout JSONValue, at path: [String]
  ) {
    let present = merged["allOf"]?.arrayValue ?? []
    merged["allOf"] = .array(present + [part])
    added[JSONPointer.text(path + ["allOf", "\(present.count)"])] = Addition(source: source)
  }

  private mutating func leave(_ place: ValidatorPlace, _ name: String, _ reason: String) {
    leftOut.append("\(place.pointer(name)) of the validator is not taken over: \(reason)")
  }

  // MARK: Withdrawing

  /// Withdraws what refuses a document.
  ///
  /// - Parameters:
  ///   - keywordLocation: the keyword that refuses it.
  ///   - missing: whether a member of this name is missing where the keyword is `required`.
  /// - Returns: false if the keyword is not the validator's.
  public mutating func withdraw(_ keywordLocation: String, missing: (String) -> Bool) -> Bool {
    guard let names = required[keywordLocation] else { return withdraw(around: keywordLocation) }
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

  /// The keyword itself, or the part that it is in.
  private mutating func withdraw(around keywordLocation: String) -> Bool {
    var path = JSONPointer.parts(keywordLocation)
    while !path.isEmpty {
      let pointer = JSONPointer.text(path)
      if let addition = added.removeValue(forKey: pointer) {
        let isPart = path.dropLast().last == "allOf"
        // An item that is removed would move the others.
        schema = JSONPointer.replacing(
          path[...], with: addition.previous ?? (isPart ? .object([]) : nil), in: schema)
        if isPart { emptied.insert(pointer) }
        leftOut.append("\(addition.source) of the validator: documents break it")
        return true
      }
      path.removeLast()
    }
    return false
  }
}
