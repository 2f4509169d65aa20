import BSON
import JSON

/// Finds the first few violations of an invalid value, in the BSON that was validated.
///
/// The runner decides which part of a value fails which schema; only those are examined, keyword by keyword in
/// the order of `Explainer`, and with its sentences. All within the runner's budget: once that is used up, the
/// violations found so far are the result.
struct FailureFinder {
  typealias Bytes = UnsafeRawBufferPointer

  let runner: Runner
  let model: SchemaModel
  let limit: Int
  private(set) var violations: [SchemaViolation] = []
  /// The path here, as tokens of JSON pointers: through the schema, and through the value.
  private var keywordSteps: [String] = []
  private var instanceSteps: [String] = []
  private var depth = 0

  /// Below this depth, it only reports that there is a violation.
  private static let maximumDepth = 500
  /// The maximum number of characters of a pointer's token.
  static let maximumToken = 256
  /// The steps for recording a violation.
  private static let violationCost = 500

  init(_ runner: Runner, _ model: SchemaModel, limit: Int) {
    self.runner = runner
    self.model = model
    self.limit = limit
  }

  mutating func find(_ type: BSONType, _ value: Bytes) {
    search(model.root, type, value)
    if violations.isEmpty {
      violations = [
        violation(
          model.schemas[model.root], at: "",
          "it is invalid, and finding out where takes too many steps")
      ]
    }
  }

  /// Whether to search for more.
  var isOpen: Bool { violations.count < limit && !runner.hasFault }

  var state: UnsafeMutablePointer<RunState> { runner.state }

  func isValid(_ schema: SchemaID, _ type: BSONType, _ value: Bytes) -> Bool {
    runner.check(state.pointee.program.nodesOfSchemas[schema], type, value, -1)
  }

  // MARK: Violations

  private func violation(
    _ schema: SchemaNode, at keyword: String, _ sentence: String
  ) -> SchemaViolation {
    SchemaViolation(
      keywordLocation: keywordSteps.joined() + keyword,
      absoluteKeywordLocation: Explainer.absolute(
        model, schema.resource, schema.pointer + keyword),
      instanceLocation: instanceSteps.joined(), error: sentence)
  }

  mutating func add(_ schema: SchemaNode, _ name: String?, _ sentence: String) {
    guard isOpen else { return }
    let keyword = name.map { "/" + JSONPointer.escaped($0) } ?? ""
    violations.append(violation(schema, at: keyword, sentence))
    _ = runner.charge(Self.violationCost)
  }

  // MARK: A schema

  /// Looks into a part that is known to fail.
  mutating func descend(
    _ schema: SchemaID, _ type: BSONType, _ value: Bytes, under keyword: String,
    at token: String? = nil
  ) {
    guard isOpen else { return }
    keywordSteps.append(keyword)
    if let token { instanceSteps.append("/" + JSONPointer.escaped(token)) }
    search(schema, type, value)
    keywordSteps.removeLast()
    if token != nil { instanceSteps.removeLast() }
  }

  /// For a violation further inside the value.
  mutating func at(_ token: String, _ body: (inout FailureFinder) -> Void) {
    instanceSteps.append("/" + JSONPointer.escaped(token))
    body(&self)
    instanceSteps.removeLast()
  }

  private mutating func search(_ id: SchemaID, _ type: BSONType, _ value: Bytes) {
    guard isOpen else { return }
    let schema = model.schemas[id]
    switch schema.content {
    case .always: return
    case .never: add(schema, nil, "nothing is allowed here")
    case .keywords(let keywords):
      guard depth < Self.maximumDepth else {
        return add(schema, nil, "something is wrong further inside")
      }
      depth += 1
      defer { depth -= 1 }
      let scopeCount = state.pointee.scopeCount
      let resource = Int32(schema.resource)
      if state.pointee.usesDynamicScope,
        scopeCount == 0 || state.pointee.scope[scopeCount - 1] != resource
      {
        state.pointee.enter(resource)
      }
      defer { state.pointee.scopeCount = scopeCount }
      guard let kind = runner.kind(type, value) else {
        // An object only in JSON.
        guard
          let document = runner.writtenDocument(type, value, &state.pointee.plain)
        else { return }
        let runner = runner
        _ = runner.asPlain {
          search(id, schema, keywords, .object, .document, document)
          return true
        }
        return
      }
      search(id, schema, keywords, kind, type, value)
    }
  }

  private mutating func search(
    _ id: SchemaID, _ schema: SchemaNode, _ keywords: [(name: String, keyword: Keyword)],
    _ kind: JSONTypes, _ type: BSONType, _ value: Bytes
  ) {
    let node = state.pointee.nodes + Int(state.pointee.program.nodesOfSchemas[id])
    var step = state.pointee.programSteps + Int(node.pointee.firstStep)
    for (name, keyword) in keywords {
      guard isOpen else { return }
      let part = Part(
        schema: schema, name: name, kind: kind, type: type, value: value, node: node)
      switch keyword {
      case .annotation: break
      case .type(let types):
        guard types.isDisjoint(with: kind) else { break }
        add(
          schema, name,
          "\(excerpt(part)) is \(Explainer.article(kind)), and \(types.description) is asked for")
      case .const, .enumeration:
        // A keyword with a step of its own; the steps are in the keywords' order.
        if !runner.check(step, type, value, -1), isOpen {
          add(schema, name, "\(excerpt(part)) is \(Self.unequal(keyword))")
        }
      case .multipleOf, .bound: searchNumber(keyword, part)
      case .minLength, .maxLength, .pattern, .format, .content: searchString(keyword, part)
      case .minItems, .maxItems, .uniqueItems, .prefixItems, .items, .contains:
        if kind == .array { searchArray(keyword, part) }
      case .minProperties, .maxProperties, .required, .dependentRequired, .dependentSchemas,
        .propertyNames, .properties, .patternProperties, .additionalProperties:
        if kind == .object { searchObject(keyword, part) }
      case .unevaluatedItems(let rest):
        if kind == .array { searchUnevaluated(rest, part, keywords) }
      case .unevaluatedProperties(let rest):
        if kind == .object { searchUnevaluated(rest, part, keywords) }
      case .allOf, .anyOf, .oneOf, .not, .condition, .reference, .dynamicReference:
        searchCombination(keyword, part)
      }
      if keyword.hasStep { step += 1 }
    }
  }

  /// A keyword with the value that violates it, or may.
  ///
  /// Safety invariant: made and used within one `find`, whose caller keeps the value's bytes alive; `node`
  /// leads into the program's tables, which the validator keeps alive.
  struct Part {
    let schema: SchemaNode
    let name: String
    let kind: JSONTypes
    let type: BSONType
    let value: Bytes
    let node: UnsafeMutablePointer<ProgramNode>
  }

  private static func unequal(_ keyword: Keyword) -> String {
    switch keyword {
    case .const(let constant): return "not \(Explainer.excerpt(constant))"
    case .enumeration(let values): return Explainer.noneOf(values)
    default: return ""
    }
  }

  // MARK: Combinations

  private mutating func searchCombination(_ keyword: Keyword, _ part: Part) {
    let (type, value) = (part.type, part.value)
    let place = "/\(part.name)"
    switch keyword {
    case .reference(let target):
      if !isValid(target, type, value) { descend(target, type, value, under: place) }
    case .dynamicReference(let initial, let anchor):
      let target = target(initial, anchor)
      if !isValid(target, type, value) { descend(target, type, value, under: place) }
    case .allOf(let schemas):
      for (index, schema) in schemas.enumerated() where isOpen {
        if !isValid(schema, type, value) {
          descend(schema, type, value, under: "\(place)/\(index)")
        }
      }
    case .anyOf(let schemas): searchAlternatives(schemas, isExclusive: false, part)
    case .oneOf(let schemas): searchAlternatives(schemas, isExclusive: true, part)
    case .not(let schema):
      if isValid(schema, type, value), isOpen {
        add(part.schema, part.name, "\(excerpt(part)) is what it must not be")
      }
    case .condition(let test, let then, let otherwise):
      let holds = isValid(test, type, value)
      guard let branch = holds ? then : otherwise, isOpen else { return }
      if !isValid(branch, type, value) {
        descend(branch, type, value, under: holds ? "/then" : "/else")
      }
    default: break
    }
  }

  /// Where a dynamic reference leads from here.
  func target(_ initial: SchemaID, _ anchor: String) -> SchemaID {
    for index in 0..<state.pointee.scopeCount {
      let resource = Int(state.pointee.scope[index])
      if let found = model.resources[resource].dynamicAnchors[anchor] { return found }
    }
    return initial
  }

  private mutating func searchAlternatives(
    _ schemas: [SchemaID], isExclusive: Bool, _ part: Part
  ) {
    var matched: [Int] = []
    for (index, schema) in schemas.enumerated() where isOpen {
      if isValid(schema, part.type, part.value) { matched.append(index) }
    }
    guard isOpen else { return }
    if matched.isEmpty {
      add(
        part.schema, part.name,
        "\(excerpt(part)) is valid by none of the \(schemas.count) schemas")
      for (index, schema) in schemas.enumerated() {
        descend(schema, part.type, part.value, under: "/\(part.name)/\(index)")
      }
    } else if isExclusive, matched.count > 1 {
      let list = matched.map { "\($0)" }.joined(separator: " and ")
      add(
        part.schema, part.name,
        "\(excerpt(part)) is valid by the schemas \(list), and must be by one only")
    }
  }
}

extension Keyword {
  /// Whether the program has a step for it.
  fileprivate var hasStep: Bool {
    switch self {
    case .const, .enumeration, .allOf, .anyOf, .oneOf, .not, .condition, .reference,
      .dynamicReference:
      true
    default: false
    }
  }
}

extension Runner {
  /// What JSON has for a value; nil for an object that is none in BSON.
  func kind(_ type: BSONType, _ value: Bytes) -> JSONTypes? {
    let kind = state.pointee.types[Int(type.rawValue)]
    if kind < ValueTypes.double { return JSONTypes(rawValue: kind) }
    guard kind == ValueTypes.double else { return nil }
    let double = value.readDouble(at: 0)
    if double.isFinite { return double.rounded(.towardZero) == double ? .integer : .fraction }
    return isPlain ? .string : nil
  }
}
