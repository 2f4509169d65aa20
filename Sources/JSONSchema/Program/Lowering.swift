import JSON
import Patterns

/// Compiles a `SchemaModel` into flat tables.
struct Lowering {
  let model: SchemaModel
  var tables = LoweredTables()
  /// Nodes by schema; -1 for one that wasn't reached yet.
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

  /// The node of a reachable schema, else -1.
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

  /// A schema's reference, if that is its only keyword.
  func onlyReference(_ id: SchemaID) -> SchemaID? {
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

  mutating func list(_ ids: [SchemaID]) -> (first: Int32, count: Int32) {
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
        // Schemas that are always true need no check.
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

  mutating func number(_ pattern: Pattern) -> Int32 {
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
}
