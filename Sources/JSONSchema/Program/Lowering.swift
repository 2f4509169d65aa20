import JSON
import Patterns

/// Lays a `SchemaModel` out as flat tables.
struct Lowering {
  let model: SchemaModel
  private(set) var tables = LoweredTables()
  /// Nodes by schema; 0 for one that wasn't met yet.
  private var numbers: [Int32]
  private var open: [SchemaID] = []
  private var patternNumbers: [ObjectIdentifier: Int32] = [:]

  static func program(_ model: SchemaModel) -> Program {
    var lowering = Lowering(model)
    return lowering.lower()
  }

  private init(_ model: SchemaModel) {
    self.model = model
    numbers = Array(repeating: -1, count: model.schemas.count)
  }

  private mutating func lower() -> Program {
    tables.usesDynamicScope = model.usesDynamicScope
    tables.nodes = [
      ProgramNode(types: JSONTypes.all.rawValue, resource: 0), ProgramNode(types: 0, resource: 0),
    ]
    tables.root = node(model.root)
    while let id = open.popLast() { fill(id) }
    tables.nodesOfSchemas = model.schemas.indices.map { nodeIfReached($0) }
    return Program(tables)
  }

  /// The node of a schema, to be filled later.
  mutating func node(_ id: SchemaID) -> Int32 {
    var id = id
    // A schema that only refers to another one is that one, unless entering it counts.
    if !model.usesDynamicScope {
      for _ in 0..<model.schemas.count {
        guard let target = onlyReference(id) else { break }
        id = target
      }
    }
    if numbers[id] >= 0 { return numbers[id] }
    switch model.schemas[id].content {
    case .always: numbers[id] = ProgramNode.always
    case .never: numbers[id] = ProgramNode.never
    case .keywords(let keywords):
      if keywords.allSatisfy({ isSilent($0.keyword) }) {
        numbers[id] = ProgramNode.always
      } else {
        numbers[id] = Int32(tables.nodes.count)
        tables.nodes.append(
          ProgramNode(
            types: JSONTypes.all.rawValue, resource: Int32(model.schemas[id].resource)))
        open.append(id)
      }
    }
    return numbers[id]
  }

  /// The node of a schema that judging can get to, else -1.
  private func nodeIfReached(_ id: SchemaID) -> Int32 {
    var id = id
    if !model.usesDynamicScope {
      for _ in 0..<model.schemas.count {
        guard let target = onlyReference(id) else { break }
        id = target
      }
    }
    return numbers[id]
  }

  /// What a schema refers to, if it says nothing else.
  private func onlyReference(_ id: SchemaID) -> SchemaID? {
    guard case .keywords(let keywords) = model.schemas[id].content else { return nil }
    var target: SchemaID?
    for (_, keyword) in keywords where !isSilent(keyword) {
      guard target == nil, case .reference(let reference) = keyword else { return nil }
      target = reference
    }
    return target
  }

  private func isSilent(_ keyword: Keyword) -> Bool {
    switch keyword {
    case .annotation, .content(.none, _), .format(nil, _, _), .format(_, _, false): true
    default: false
    }
  }

  private mutating func list(_ ids: [SchemaID]) -> (first: Int32, count: Int32) {
    let nodes = ids.map { node($0) }
    let first = Int32(tables.lists.count)
    tables.lists += nodes
    return (first, Int32(nodes.count))
  }

  // MARK: One schema

  private mutating func fill(_ id: SchemaID) {
    guard case .keywords(let keywords) = model.schemas[id].content else { return }
    let number = Int(numbers[id])
    var node = tables.nodes[number]
    var string: StringPlan?
    var numeric: NumberPlan?
    var array: ArrayPlan?
    var object = ObjectParts()
    var steps: [ProgramStep] = []
    for (_, keyword) in keywords {
      switch keyword {
      case .type(let types): node.types = types.rawValue
      case .const(let value):
        steps.append(ProgramStep(kind: .const, a: constant(value)))
        node.types &= Self.types(of: value).rawValue
      case .enumeration(let values):
        steps.append(enumeration(values))
        node.types &= values.reduce(0) { $0 | Self.types(of: $1).rawValue }
      case .bound, .multipleOf: numeric = plan(keyword, numeric ?? NumberPlan())
      case .minLength, .maxLength, .pattern, .format, .content:
        string = plan(keyword, string)
      case .minItems, .maxItems, .uniqueItems, .prefixItems, .items, .contains:
        array = plan(keyword, array ?? ArrayPlan())
      case .minProperties, .maxProperties, .required, .properties, .patternProperties,
        .additionalProperties, .propertyNames, .dependentRequired, .dependentSchemas:
        collect(keyword, into: &object)
      case .unevaluatedItems(let schema): node.unevaluatedItems = self.node(schema)
      case .unevaluatedProperties(let schema): node.unevaluatedProperties = self.node(schema)
      case .allOf(let ids):
        // The always-true ones needn't be asked.
        let (first, count) = list(ids)
        steps.append(ProgramStep(kind: .allOf, b: first, c: count))
      case .anyOf(let ids): steps.append(alternatives(ids, .anyOf))
      case .oneOf(let ids): steps.append(alternatives(ids, .oneOf))
      case .not(let schema): steps.append(ProgramStep(kind: .not, a: self.node(schema)))
      case .condition(let test, let then, let otherwise):
        steps.append(
          ProgramStep(
            kind: .condition, a: self.node(test),
            b: then.map { self.node($0) } ?? ProgramNode.always,
            c: otherwise.map { self.node($0) } ?? ProgramNode.always))
      case .reference(let schema):
        steps.append(ProgramStep(kind: .reference, a: self.node(schema)))
      case .dynamicReference(let schema, let anchor):
        steps.append(dynamic(schema, anchor))
      case .annotation: break
      }
    }
    if var string {
      string.cost = SchemaBudget.cost(of: string)
      StringForms.judge(&string)
      node.string = Int32(tables.strings.count)
      tables.strings.append(string)
    }
    if let numeric {
      node.number = Int32(tables.numbers.count)
      tables.numbers.append(numeric)
    }
    if let array {
      node.array = Int32(tables.arrays.count)
      tables.arrays.append(array)
    }
    if let plan = plan(object) {
      node.object = Int32(tables.objects.count)
      tables.objects.append(plan)
    }
    node.firstStep = Int32(tables.steps.count)
    node.stepCount = Int32(steps.count)
    tables.steps += steps
    tables.nodes[number] = node
  }

  static func types(of value: JSONValue) -> JSONTypes {
    switch value {
    case .null: .null
    case .bool: .boolean
    case .number(let text): ExactDecimal(text)?.isInteger == true ? .integer : .fraction
    case .string: .string
    case .array: .array
    case .object: .object
    }
  }

  private func plan(_ keyword: Keyword, _ plan: NumberPlan) -> NumberPlan {
    var plan = plan
    switch keyword {
    case .bound(.minimum, let bound): plan.bounds.limit(low: bound, isExclusive: false)
    case .bound(.exclusiveMinimum, let bound): plan.bounds.limit(low: bound, isExclusive: true)
    case .bound(.maximum, let bound): plan.bounds.limit(high: bound, isExclusive: false)
    case .bound(.exclusiveMaximum, let bound): plan.bounds.limit(high: bound, isExclusive: true)
    case .multipleOf(_, let divisor):
      plan.hasDivisor = true
      plan.divisor = ProgramDivisor(divisor)
    default: break
    }
    return plan
  }

  private mutating func plan(_ keyword: Keyword, _ given: StringPlan?) -> StringPlan? {
    var plan = given ?? StringPlan()
    switch keyword {
    case .minLength(let least): plan.least = least
    case .maxLength(let most): plan.most = most
    case .pattern(let pattern):
      plan.pattern = number(pattern)
      plan.table = pattern.table?.view
    case .format(let format?, _, true): plan.format = format
    case .content(let check, _) where check != .none: plan.content = check
    default: return given
    }
    return plan
  }

  private mutating func number(_ pattern: Pattern) -> Int32 {
    let identity = ObjectIdentifier(pattern)
    if let known = patternNumbers[identity] { return known }
    let number = Int32(tables.patterns.count)
    tables.patterns.append(pattern)
    patternNumbers[identity] = number
    return number
  }

  private mutating func plan(_ keyword: Keyword, _ plan: ArrayPlan) -> ArrayPlan {
    var plan = plan
    switch keyword {
    case .minItems(let least): plan.least = least
    case .maxItems(let most): plan.most = most
    case .uniqueItems: plan.isUnique = true
    case .prefixItems(let ids): (plan.firstPrefix, plan.prefixCount) = list(ids)
    case .items(let schema, _): plan.items = node(schema)
    case .contains(let schema, let least, let most, let evaluates):
      plan.contains = node(schema)
      plan.leastContained = least
      plan.mostContained = most ?? .max
      plan.containsEvaluates = evaluates
    default: break
    }
    return plan
  }

  // MARK: Objects

  /// What a schema asks of objects, before names have got their bits.
  private struct ObjectParts {
    var isUsed = false
    var least = 0
    var most = Int.max
    var required: [String] = []
    var properties: [(name: String, schema: SchemaID)] = []
    var patterns: [(pattern: Pattern, schema: SchemaID)] = []
    var additional: SchemaID?
    var names: SchemaID?
    var dependentRequired: [(name: String, required: [String])] = []
    var dependentSchemas: [(name: String, schema: SchemaID)] = []
  }

  private func collect(_ keyword: Keyword, into parts: inout ObjectParts) {
    parts.isUsed = true
    switch keyword {
    case .minProperties(let least): parts.least = least
    case .maxProperties(let most): parts.most = most
    case .required(let names): parts.required = names
    case .properties(let named): parts.properties = named
    case .patternProperties(let patterns): parts.patterns = patterns
    case .additionalProperties(let schema, _, _): parts.additional = schema
    case .propertyNames(let schema): parts.names = schema
    // Draft-07's `dependencies` may come on top.
    case .dependentRequired(let dependent): parts.dependentRequired += dependent
    case .dependentSchemas(let dependent): parts.dependentSchemas += dependent
    default: break
    }
  }

  private mutating func plan(_ parts: ObjectParts) -> ObjectPlan? {
    guard parts.isUsed else { return nil }
    var keys = KeySet()
    for (name, schema) in parts.properties { keys.set(name, node: node(schema)) }
    for name in parts.required { keys.track(name) }
    for (name, required) in parts.dependentRequired {
      keys.track(name)
      for other in required { keys.track(other) }
    }
    for (name, _) in parts.dependentSchemas { keys.track(name) }
    let wordCount = (keys.tracked + 63) / 64

    var plan = ObjectPlan(keys: table(keys))
    plan.least = parts.least
    plan.most = parts.most
    plan.additional = parts.additional.map { node($0) } ?? -1
    plan.names = parts.names.map { node($0) } ?? -1
    plan.wordCount = Int32(wordCount)
    plan.firstWord = mask(parts.required, keys, wordCount)
    plan.required = wordCount > 0 ? tables.words[Int(plan.firstWord)] : 0
    let patterns = parts.patterns.map { part in
      ProgramPattern(
        table: part.pattern.table?.view, pattern: number(part.pattern),
        node: node(part.schema))
    }
    plan.firstPattern = Int32(tables.propertyPatterns.count)
    plan.patternCount = Int32(patterns.count)
    tables.propertyPatterns += patterns
    var dependents: [ProgramDependent] = []
    for (name, required) in parts.dependentRequired {
      dependents.append(
        ProgramDependent(bit: keys.bit(name), firstWord: mask(required, keys, wordCount)))
    }
    for (name, schema) in parts.dependentSchemas {
      dependents.append(ProgramDependent(bit: keys.bit(name), node: node(schema)))
    }
    plan.firstDependent = Int32(tables.dependents.count)
    plan.dependentCount = Int32(dependents.count)
    tables.dependents += dependents
    return plan
  }

  private mutating func mask(_ names: [String], _ keys: KeySet, _ wordCount: Int) -> Int32 {
    var words = [UInt64](repeating: 0, count: wordCount)
    for name in names {
      let bit = Int(keys.bit(name))
      words[bit / 64] |= 1 << UInt64(bit % 64)
    }
    tables.words += words
    return Int32(tables.words.count - wordCount)
  }

  // MARK: Keys

  /// Names with what is known of them, in the order in which they came.
  struct KeySet {
    private(set) var keys: [(bytes: [UInt8], node: Int32, bit: Int32)] = []
    private(set) var tracked = 0
    private var indices: [[UInt8]: Int] = [:]

    private mutating func index(_ name: String) -> Int {
      let bytes = Array(name.utf8)
      if let known = indices[bytes] { return known }
      keys.append((bytes, -1, -1))
      indices[bytes] = keys.count - 1
      return keys.count - 1
    }

    mutating func set(_ name: String, node: Int32) {
      let index = index(name)
      keys[index].node = node
    }

    mutating func track(_ name: String) {
      let index = index(name)
      guard keys[index].bit < 0 else { return }
      keys[index].bit = Int32(tracked)
      tracked += 1
    }

    func bit(_ name: String) -> Int32 { indices[Array(name.utf8)].map { keys[$0].bit } ?? 0 }
  }

  mutating func table(_ keys: KeySet) -> Int32 {
    let first = tables.entries.count
    for key in keys.keys {
      let word = key.bytes.withUnsafeBytes(KeyHash.word)
      tables.entries.append(
        KeyEntry(
          word: word, offset: Int32(tables.text.count), length: Int32(key.bytes.count),
          node: key.node, bit: key.bit))
      tables.text += key.bytes
    }
    var size = 2
    while size < 2 * keys.keys.count { size *= 2 }
    let firstSlot = tables.slots.count
    tables.slots += [Int32](repeating: -1, count: size)
    for index in keys.keys.indices {
      let entry = tables.entries[first + index]
      var slot =
        keys.keys[index].bytes.withUnsafeBytes { KeyHash.hash(entry.word, $0) } & (size - 1)
      while tables.slots[firstSlot + slot] >= 0 { slot = (slot + 1) & (size - 1) }
      tables.slots[firstSlot + slot] = Int32(index)
    }
    tables.tables.append(
      KeyTable(
        first: Int32(first), count: Int32(keys.keys.count), firstSlot: Int32(firstSlot),
        slotMask: Int32(size - 1), longest: Int32(keys.keys.map(\.bytes.count).max() ?? -1),
        firstPrediction: Int32(tables.predictionCount)))
    tables.predictionCount += keys.keys.count + 1
    return Int32(tables.tables.count - 1)
  }

  // MARK: Constants

  /// Up to this many constants a value is compared with each.
  private static let fewConstants = 4

  private mutating func enumeration(_ values: [JSONValue]) -> ProgramStep {
    var strings = KeySet()
    var others: [ProgramConstant] = []
    var hashes: [UInt64] = []
    for value in values {
      if case .string(let text) = value {
        strings.set(text, node: 0)
      } else {
        others.append(tables.constants[Int(constant(value))])
        hashes.append(value.stableHash)
      }
    }
    let first = Int32(tables.constants.count)
    tables.constants += others
    var hashed: Int32 = -1
    if others.count > Self.fewConstants {
      hashed = Int32(tables.hashed.count)
      tables.hashed += hashes.enumerated()
        .map { HashedConstant(hash: $0.element, constant: first + Int32($0.offset)) }
        .sorted { ($0.hash, $0.constant) < ($1.hash, $1.constant) }
    }
    return ProgramStep(
      kind: .enumeration, a: table(strings), b: first, c: Int32(others.count), d: hashed)
  }

  mutating func constant(_ value: JSONValue) -> Int32 {
    let made: ProgramConstant
    switch value {
    case .null: made = ProgramConstant(kind: .null, value: 0)
    case .bool(let flag): made = ProgramConstant(kind: .boolean, value: flag ? 1 : 0)
    case .number(let text):
      // The parser only lets numbers through.
      let decimal = ExactDecimal(text) ?? ExactDecimal(isNegative: false, digits: [], exponent: 0)
      made = ProgramConstant(kind: .number, value: Int32(tables.constantNumbers.count))
      tables.constantNumbers.append(NumberConstant(decimal))
    case .string(let text):
      made = ProgramConstant(
        kind: .string, value: Int32(tables.text.count), count: Int32(text.utf8.count))
      tables.text += Array(text.utf8)
    case .array(let elements):
      let children = elements.map { constant($0) }
      made = ProgramConstant(
        kind: .array, value: Int32(tables.lists.count), count: Int32(children.count))
      tables.lists += children
    case .object(let members):
      var keys = KeySet()
      for member in members { keys.set(member.key, node: constant(member.value)) }
      made = ProgramConstant(kind: .object, value: table(keys), count: Int32(keys.keys.count))
    }
    tables.constants.append(made)
    return Int32(tables.constants.count - 1)
  }

  // MARK: References and alternatives

  private mutating func dynamic(_ schema: SchemaID, _ anchor: String) -> ProgramStep {
    var pairs: [Int32] = []
    for (index, resource) in model.resources.enumerated() {
      guard let target = resource.dynamicAnchors[anchor] else { continue }
      pairs += [Int32(index), node(target)]
    }
    let first = Int32(tables.lists.count)
    tables.lists += pairs
    return ProgramStep(
      kind: .dynamicReference, a: node(schema), b: first, c: Int32(pairs.count))
  }

  private mutating func alternatives(
    _ ids: [SchemaID], _ kind: ProgramStep.Kind
  ) -> ProgramStep {
    if let choice = choice(ids) { return choice }
    let (first, count) = list(ids)
    return ProgramStep(kind: kind, b: first, c: count)
  }

  /// Where each branch demands an object with a key that holds other strings than in any other
  /// branch, that key's value tells which branch it is.
  private mutating func choice(_ ids: [SchemaID]) -> ProgramStep? {
    guard ids.count > 1 else { return nil }
    let branches = ids.map { tags(of: $0) }
    for (name, _) in branches[0] {
      var keys = KeySet()
      var count = 0
      for (id, tags) in zip(ids, branches) {
        guard let values = tags.first(where: { $0.name.utf8.elementsEqual(name.utf8) })?.values
        else {
          count = -1
          break
        }
        let branch = node(id)
        for value in values { keys.set(value, node: branch) }
        count += values.count
      }
      guard count == keys.keys.count else { continue }
      var key = KeySet()
      key.set(name, node: 0)
      return ProgramStep(kind: .choice, a: table(keys), b: table(key))
    }
    return nil
  }

  /// The names that a schema demands of an object to hold one of some strings.
  private func tags(of id: SchemaID) -> [(name: String, values: [String])] {
    if !model.usesDynamicScope, let target = onlyReference(id) { return tags(of: target) }
    guard case .keywords(let keywords) = model.schemas[id].content else { return [] }
    var isObject = false
    var required: [String] = []
    var named: [(name: String, schema: SchemaID)] = []
    for (_, keyword) in keywords {
      switch keyword {
      case .type(let types): isObject = types == .object
      case .required(let names): required = names
      case .properties(let properties): named = properties
      default: break
      }
    }
    guard isObject else { return [] }
    var tags: [(name: String, values: [String])] = []
    for (name, schema) in named
    where required.contains(where: { $0.utf8.elementsEqual(name.utf8) }) {
      if let values = strings(of: schema) { tags.append((name, values)) }
    }
    return tags
  }

  /// The strings that a schema allows, if these are all it allows.
  private func strings(of id: SchemaID) -> [String]? {
    guard case .keywords(let keywords) = model.schemas[id].content else { return nil }
    for (_, keyword) in keywords {
      switch keyword {
      case .const(.string(let text)): return [text]
      case .enumeration(let values):
        let strings = values.compactMap(\.stringValue)
        return strings.count == values.count ? strings : nil
      default: break
      }
    }
    return nil
  }
}
