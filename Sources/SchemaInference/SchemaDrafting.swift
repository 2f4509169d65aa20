import JSON

/// Writes what statistics say as a schema.
struct SchemaDrafting {
  let options: InferenceOptions
  private var isStrict: Bool { options.isStrict }

  /// With fewer values than this, what all have in common may be chance.
  private static let enough = 20
  /// So many different strings may be an enumeration, each seen so often on average.
  private static let mostConstants = 20
  private static let repetitions = 8

  init(_ options: InferenceOptions) { self.options = options }

  private func schema(
    _ statistics: ValueStatistics, evidence: String, _ secrecy: Secrecy
  ) -> JSONValue {
    .object(members(statistics, evidence: evidence, secrecy))
  }

  /// - Parameter evidence: how often the place was there.
  func members(
    _ value: ValueStatistics, evidence: String?, _ secrecy: Secrecy = Secrecy()
  ) -> [JSONValue.Member] {
    var members: [JSONValue.Member] = []
    if options.withEvidence, let evidence {
      members.append(.init("$comment", .string(evidence + details(value, secrecy))))
    }
    guard value.count > 0, value.opaque == 0 else { return members }
    var types = types(value)
    if let objects = value.objects, objects.kinds != nil, types.count > 1 {
      // What the kinds say is about objects only.
      types.removeAll { $0 == "object" }
      let other = ValueStatistics(depth: value.depth)
      var memory = InferenceMemory()
      other.merge(value, &memory)
      other.objects = nil
      members.append(
        .init(
          "anyOf",
          .array([
            .object(self.members(other, evidence: nil, secrecy)),
            .object([.init("type", "object")] + self.members(objects, secrecy)),
          ])))
      return members
    }
    members.append(
      .init("type", types.count == 1 ? .string(types[0]) : .array(types.map { .string($0) })))
    if value.strings.count > 0 { members += strings(value, types, secrecy) }
    if value.numbers.count > 0, !secrecy.ofNumbers { members += numbers(value.numbers) }
    if value.arrays > 0 { members += arrays(value, secrecy) }
    if let objects = value.objects { members += self.members(objects, secrecy) }
    return members
  }

  private func types(_ value: ValueStatistics) -> [String] {
    var types: [String] = []
    if value.objects != nil { types.append("object") }
    if value.arrays > 0 { types.append("array") }
    if value.strings.count > 0 { types.append("string") }
    if value.numbers.count > 0 {
      let isInteger =
        value.numbers.fractions == 0 && (isStrict || value.numbers.count >= Self.enough)
      types.append(isInteger ? "integer" : "number")
    }
    if value.trues + value.falses > 0 { types.append("boolean") }
    if value.nulls > 0 { types.append("null") }
    return types
  }

  // MARK: Strings

  private func strings(
    _ value: ValueStatistics, _ types: [String], _ secrecy: Secrecy
  ) -> [JSONValue.Member] {
    let strings = value.strings
    if let form = form(strings) { return form }
    guard isStrict else { return [] }
    if !secrecy.ofTexts, Set(types).isSubset(of: ["string", "null"]),
      let constants = constants(strings)
    {
      let values = constants.map { JSONValue.string($0) }
      if values.count == 1, types.count == 1 { return [.init("const", values[0])] }
      return [.init("enum", .array(values + (types.count > 1 ? [.null] : [])))]
    }
    var members: [JSONValue.Member] = []
    let isEnough = strings.count >= Self.enough
    if isEnough, strings.shortest == strings.longest {
      members.append(.init("minLength", .int(strings.shortest)))
      members.append(.init("maxLength", .int(strings.longest)))
    } else {
      if strings.shortest > 0 { members.append(.init("minLength", 1)) }
      if let most = RoundNumber.notBelow(Double(strings.longest)) {
        members.append(.init("maxLength", .number(most)))
      }
    }
    if isEnough, strings.forms.contains(.digits) {
      members.append(.init("pattern", "^[0-9]+$"))
    }
    return members
  }

  private func form(_ strings: StringStatistics) -> [JSONValue.Member]? {
    guard strings.count >= (isStrict ? 1 : Self.enough / 2) else { return nil }
    if strings.forms.contains(.objectID) {
      return [.init("pattern", .string(TextForms.objectIDPattern))]
    }
    guard let format = strings.forms.format else { return nil }
    // Some words look like a URI.
    if format == "uri", strings.count < 3 { return nil }
    return [.init("format", .string(format))]
  }

  /// The values, if they look like all that there can be.
  private func constants(_ strings: StringStatistics) -> [String]? {
    guard let values = strings.values, values.count <= Self.mostConstants,
      strings.count >= max(Self.enough, values.count * Self.repetitions)
    else { return nil }
    let texts = values.map { String(decoding: $0.text, as: UTF8.self) }
    guard texts.allSatisfy({ SecretLikeness.reason(value: $0) == nil }) else { return nil }
    return texts.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  // MARK: Numbers and arrays

  private func numbers(_ numbers: NumberStatistics) -> [JSONValue.Member] {
    guard isStrict else { return [] }
    var members: [JSONValue.Member] = []
    if let least = RoundNumber.notAbove(numbers.least) {
      members.append(.init("minimum", .number(least)))
    }
    if let most = RoundNumber.notBelow(numbers.greatest) {
      members.append(.init("maximum", .number(most)))
    }
    return members
  }

  private func arrays(_ value: ValueStatistics, _ secrecy: Secrecy) -> [JSONValue.Member] {
    var members: [JSONValue.Member] = []
    if isStrict, value.arrays >= Self.enough {
      if value.shortestArray > 0 { members.append(.init("minItems", 1)) }
      if value.longestArray > 0, let most = RoundNumber.notBelow(Double(value.longestArray)) {
        members.append(.init("maxItems", .number(most)))
      }
    }
    if let items = value.items {
      members.append(.init("items", schema(items, evidence: "\(items.count) items", secrecy)))
    }
    return members
  }

  // MARK: Objects

  private func members(_ objects: ObjectStatistics, _ secrecy: Secrecy) -> [JSONValue.Member] {
    guard let kinds = objects.kinds else { return record(objects, secrecy) }
    // A kind is known by a value.
    guard !secrecy.ofTexts else { return record(kinds.together(depth: objects.depth), secrecy) }
    return isStrict ? strictKinds(kinds) : lenientKinds(kinds)
  }

  private func strictKinds(_ kinds: ObjectKinds) -> [JSONValue.Member] {
    let name = String(decoding: kinds.name, as: UTF8.self)
    var alternatives: [JSONValue] = []
    for kind in kinds.kinds {
      alternatives.append(
        .object(record(kind.statistics, Secrecy(), kinds.name, is: kind.value)))
    }
    if let others = kinds.others {
      let known = kinds.kinds.map { JSONValue.string(String(decoding: $0.value, as: UTF8.self)) }
      let isKnown: JSONValue = .object([
        .init("properties", .object([.init(name, .object([.init("enum", .array(known))]))])),
        .init("required", .array([.string(name)])),
      ])
      alternatives.append(.object([.init("not", isKnown)] + record(others, Secrecy())))
    }
    return [.init("oneOf", .array(alternatives))]
  }

  /// Of kinds that were not seen, nothing is asked.
  private func lenientKinds(_ kinds: ObjectKinds) -> [JSONValue.Member] {
    let name = String(decoding: kinds.name, as: UTF8.self)
    var members: [JSONValue.Member] = []
    if kinds.others == nil {
      members.append(.init("required", .array([.string(name)])))
      members.append(
        .init("properties", .object([.init(name, .object([.init("type", "string")]))])))
    }
    let conditions = kinds.kinds.map { kind in
      let value = JSONValue.string(String(decoding: kind.value, as: UTF8.self))
      let test: JSONValue = .object([
        .init("properties", .object([.init(name, .object([.init("const", value)]))])),
        .init("required", .array([.string(name)])),
      ])
      let record = JSONValue.object(
        record(kind.statistics, Secrecy(), kinds.name, is: kind.value))
      return JSONValue.object([.init("if", test), .init("then", record)])
    }
    members.append(.init("allOf", .array(conditions)))
    return members
  }

  /// - Parameter value: what the member of this name is in all of them.
  private func record(
    _ objects: ObjectStatistics, _ secrecy: Secrecy, _ name: [UInt8]? = nil,
    is value: [UInt8]? = nil
  ) -> [JSONValue.Member] {
    let shape = ObjectShape(objects)
    var members: [JSONValue.Member] = []
    if options.withEvidence, name != nil {
      members.append(.init("$comment", .string("\(objects.count) of this kind")))
    }
    let required = shape.fields.filter {
      $0.presence == objects.count && (isStrict || objects.count >= Self.enough)
    }
    if !required.isEmpty {
      members.append(
        .init(
          "required", .array(required.map { .string(String(decoding: $0.name, as: UTF8.self)) })))
    }
    var properties: [JSONValue.Member] = []
    for field in shape.fields {
      let key = String(decoding: field.name, as: UTF8.self)
      if field.name == name, let value {
        let constant = JSONValue.string(String(decoding: value, as: UTF8.self))
        properties.append(.init(key, .object([.init("const", constant)])))
      } else {
        let evidence = "\(field.presence) of \(objects.count)"
        properties.append(
          .init(key, schema(field.value, evidence: evidence, secrecy.below(key))))
      }
    }
    if !properties.isEmpty { members.append(.init("properties", .object(properties))) }
    if let rest = shape.rest {
      if isStrict, let pattern = shape.namePattern {
        let names = shape.fields.map { JSONValue.string(String(decoding: $0.name, as: UTF8.self)) }
        let form = JSONValue.object([.init("pattern", .string(pattern))])
        members.append(
          .init(
            "propertyNames",
            names.isEmpty
              ? form
              : .object([.init("anyOf", [.object([.init("enum", .array(names))]), form])])))
      }
      members.append(
        .init(
          "additionalProperties",
          schema(
            rest, evidence: "\(rest.count) members under \(shape.restNames) names", secrecy)))
    } else if isStrict {
      members.append(.init("additionalProperties", false))
    }
    return members
  }

  // MARK: Evidence

  private func details(_ value: ValueStatistics, _ secrecy: Secrecy) -> String {
    var parts: [String] = []
    func add(_ name: String, _ count: Int) { if count > 0 { parts.append("\(name) \(count)") } }
    add("null", value.nulls)
    add("true", value.trues)
    add("false", value.falses)
    if value.numbers.count > 0 {
      add("integer", value.numbers.integers)
      add("fraction", value.numbers.fractions)
      if !secrecy.ofNumbers {
        let (least, greatest) = (value.numbers.least, value.numbers.greatest)
        parts.append("from \(RoundNumber.shown(least)) to \(RoundNumber.shown(greatest))")
      }
    }
    if value.strings.count > 0 {
      add("string", value.strings.count)
      parts.append("length \(value.strings.shortest) to \(value.strings.longest)")
      if let values = value.strings.values, values.count <= Self.mostConstants {
        parts.append("\(values.count) different")
      }
    }
    if value.arrays > 0 {
      add("array", value.arrays)
      parts.append("of \(value.shortestArray) to \(value.longestArray) items")
    }
    add("object", value.objects?.count ?? 0)
    return parts.isEmpty ? "" : ": " + parts.joined(separator: ", ")
  }
}

/// Bounds that leave some room: 1, 2 or 5 times a power of ten. Only those that are doubles, which is what most
/// validators read them as.
enum RoundNumber {
  /// The least round number that is not below a value; nil if there is none.
  static func notBelow(_ value: Double) -> String? {
    // Above negative values there is 0.
    if value <= 0 { return "0" }
    for exponent in -20...308 {
      for digit in [1, 2, 5] {
        let text = text(digit, exponent)
        if let number = Double(text), number.isFinite, number >= value { return text }
      }
    }
    return nil
  }

  /// The greatest one that is not above; nil if there is none.
  static func notAbove(_ value: Double) -> String? {
    value >= 0 ? "0" : notBelow(-value).map { "-" + $0 }
  }

  /// A number for people: bounds may be a double beside what was seen.
  static func shown(_ value: Double) -> String {
    let near = [value, value.nextUp, value.nextDown]
    if let integer = near.lazy.compactMap({ Int(exactly: $0) }).first, abs(value) < 0x1p53 {
      return "\(integer)"
    }
    return near.map { "\($0)" }.min { $0.count < $1.count } ?? "\(value)"
  }

  private static func text(_ digit: Int, _ exponent: Int) -> String {
    if exponent >= 16 { return "\(digit)e\(exponent)" }
    if exponent >= 0 { return "\(digit)" + String(repeating: "0", count: exponent) }
    return "0." + String(repeating: "0", count: -exponent - 1) + "\(digit)"
  }
}
