import JSON
import Patterns

/// Evaluates a value completely and reports all violations: slowly, keyword by keyword as the specification
/// defines them. It shares patterns and formats with `Runner`, and nothing else, so that
/// tests can compare the two.
struct Explainer {
  let model: SchemaModel
  private var scratch = PatternScratch()
  private var depth = 0
  var stepsLeft: Int

  /// Evaluation is aborted beyond this.
  static let maximumSteps = 2_000_000
  private static let maximumDepth = 1_000

  static func report(_ model: SchemaModel, _ value: JSONValue) -> SchemaReport {
    var explainer = Explainer(model: model)
    let place = Place(keyword: "", instance: "", scope: [])
    do throws(SchemaFault) {
      let outcome = try explainer.judge(model.root, value, place)
      return SchemaReport(
        violations: outcome.violations, annotations: outcome.isValid ? outcome.annotations : [])
    } catch {
      return report(model, error)
    }
  }

  /// The report for a value that can't be evaluated.
  static func report(_ model: SchemaModel, _ fault: SchemaFault) -> SchemaReport {
    let root = model.schemas[model.root]
    let violation = SchemaViolation(
      keywordLocation: "",
      absoluteKeywordLocation: absolute(model, root.resource, root.pointer),
      instanceLocation: "", error: "\(fault)")
    return SchemaReport(violations: [violation], annotations: [])
  }

  private init(model: SchemaModel) {
    self.model = model
    stepsLeft = Self.maximumSteps
  }

  // MARK: Places and outcomes

  /// The current location of the evaluation.
  struct Place {
    var keyword: String
    var instance: String
    /// Resources entered, outermost first.
    var scope: [Int]

    func under(_ steps: String) -> Place {
      Place(keyword: keyword + steps, instance: instance, scope: scope)
    }

    func under(_ steps: String, at token: String) -> Place {
      Place(
        keyword: keyword + steps, instance: instance + "/" + JSONPointer.escaped(token),
        scope: scope)
    }
  }

  struct Outcome {
    var violations: [SchemaViolation] = []
    var annotations: [SchemaAnnotation] = []
    /// Indices of the evaluated members or items.
    var evaluated: Set<Int> = []
    var isValid: Bool { violations.isEmpty }

    /// Adds the results of a schema for the same value.
    mutating func add(_ other: Outcome) {
      violations += other.violations
      annotations += other.annotations
      if other.isValid { evaluated.formUnion(other.evaluated) }
    }

    /// Adds the results of a schema for a part of the value.
    mutating func add(part other: Outcome) {
      violations += other.violations
      annotations += other.annotations
    }
  }

  /// A keyword during its evaluation.
  struct Context {
    let schema: SchemaNode
    let name: String
    let place: Place
    let value: JSONValue
  }

  static func absolute(_ model: SchemaModel, _ resource: Int, _ pointer: String) -> String {
    var text = model.resources[resource].uri + "#"
    for byte in pointer.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "/"), UInt8(ascii: "~"),
        UInt8(ascii: "$"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
        UInt8(ascii: "!"), UInt8(ascii: "&"), UInt8(ascii: "'"), UInt8(ascii: "("),
        UInt8(ascii: ")"), UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: ","),
        UInt8(ascii: ";"), UInt8(ascii: "="), UInt8(ascii: ":"), UInt8(ascii: "@"),
        UInt8(ascii: "?"):
        text.unicodeScalars.append(Unicode.Scalar(byte))
      default:
        let hex = String(byte, radix: 16, uppercase: true)
        text += hex.count == 1 ? "%0" + hex : "%" + hex
      }
    }
    return text
  }

  func violation(_ context: Context, _ sentence: String) -> SchemaViolation {
    let name = "/" + JSONPointer.escaped(context.name)
    return SchemaViolation(
      keywordLocation: context.place.keyword + name,
      absoluteKeywordLocation: Self.absolute(
        model, context.schema.resource, context.schema.pointer + name),
      instanceLocation: context.place.instance, error: sentence)
  }

  func annotation(_ context: Context, _ value: JSONValue) -> SchemaAnnotation {
    let name = "/" + JSONPointer.escaped(context.name)
    return SchemaAnnotation(
      keywordLocation: context.place.keyword + name,
      absoluteKeywordLocation: Self.absolute(
        model, context.schema.resource, context.schema.pointer + name),
      instanceLocation: context.place.instance, annotation: value)
  }

  // MARK: A schema

  mutating func judge(
    _ id: SchemaID, _ value: JSONValue, _ place: Place
  ) throws(SchemaFault) -> Outcome {
    depth += 1
    defer { depth -= 1 }
    stepsLeft -= 1
    guard depth <= Self.maximumDepth else { throw .tooDeep }
    guard stepsLeft > 0 else { throw .tooComplex }
    let schema = model.schemas[id]
    switch schema.content {
    case .always: return Outcome()
    case .never:
      return Outcome(violations: [
        SchemaViolation(
          keywordLocation: place.keyword,
          absoluteKeywordLocation: Self.absolute(model, schema.resource, schema.pointer),
          instanceLocation: place.instance, error: "nothing is allowed here")
      ])
    case .keywords(let keywords):
      var place = place
      if place.scope.last != schema.resource { place.scope.append(schema.resource) }
      var outcome = Outcome()
      for (name, keyword) in keywords {
        let context = Context(schema: schema, name: name, place: place, value: value)
        try judge(keyword, context, &outcome)
      }
      if !outcome.isValid { outcome.annotations = [] }
      return outcome
    }
  }

  private mutating func judge(
    _ keyword: Keyword, _ context: Context, _ outcome: inout Outcome
  ) throws(SchemaFault) {
    switch keyword {
    case .annotation(let value): outcome.annotations.append(annotation(context, value))
    case .type, .const, .enumeration, .multipleOf, .bound, .minLength, .maxLength, .pattern,
      .format, .content:
      try judgeScalar(keyword, context, &outcome)
    case .minItems, .maxItems, .uniqueItems, .prefixItems, .items, .contains, .unevaluatedItems:
      if case .array(let items) = context.value {
        try judgeArray(keyword, items, context, &outcome)
      }
    case .minProperties, .maxProperties, .required, .properties, .patternProperties,
      .additionalProperties, .propertyNames, .dependentRequired, .dependentSchemas,
      .unevaluatedProperties:
      if case .object(let members) = context.value {
        try judgeObject(keyword, members, context, &outcome)
      }
    case .allOf, .anyOf, .oneOf, .not, .condition, .reference, .dynamicReference:
      try judgeCombination(keyword, context, &outcome)
    }
  }

  mutating func search(_ pattern: Pattern, _ text: String) throws(SchemaFault) -> Bool {
    var text = text
    let found = text.withUTF8 { pattern.search(UnsafeRawBufferPointer($0), &scratch) }
    switch found {
    case .found: return true
    case .missing: return false
    case .tooComplex: throw .patternTooComplex(pattern: pattern.text)
    }
  }

  /// A value as quoted in a sentence.
  static func excerpt(_ value: JSONValue) -> String {
    switch value {
    case .array(let items): return items.isEmpty ? "[]" : "an array of \(items.count)"
    case .object(let members):
      return members.isEmpty ? "{}" : "an object with \(members.count) members"
    case .string(let text):
      // Only its start is read: it may have megabytes.
      let start =
        text.utf8.count <= 400 ? text : String(decoding: text.utf8.prefix(400), as: UTF8.self)
      return shortened(JSONValue.string(start).text(), to: 80)
    default: return shortened(value.text(), to: 80)
    }
  }

  /// A text cut to a number of code points: grapheme clusters have no maximum size.
  static func shortened(_ text: String, to most: Int) -> String {
    guard text.utf8.count > most, text.unicodeScalars.count > most else { return text }
    return String(String.UnicodeScalarView(text.unicodeScalars.prefix(most - 3))) + "…"
  }
}
