import BSON
import Oplog
internal import Patterns

/// A condition's part as numbers, its children behind it in one array.
struct ConditionNode {
  enum Kind: UInt8 {
    case all, any, not
    case equals, exists, type, greater, greaterOrEqual, less, lessOrEqual, matches
  }

  var kind: Kind
  /// Of `all`, `any` and `not`: where its parts stand in the list of children. Of tests: where their
  /// values do, or which pattern it is.
  var first: Int32 = 0
  var count: Int32 = 0
  var field = EventField.operationType
  var path = PoolRange.empty
  /// Bit n: BSON's type number n, with minKey as 0.
  var types: UInt64 = 0
  var hasMaxKey = false
  /// Steps it takes at most for each byte of the event's documents.
  var weight = 1
}

/// What conditions may take of one event. Counted in steps, not in time: a second run decides alike.
enum ConditionBudget {
  /// For all rules' conditions together, in equal parts.
  static let steps = 2_000_000
  /// But a rule's condition has so many at least.
  static let least = 50_000
  /// For a step of a pattern that has no table.
  static let patternStepCost = 1
  /// A pattern that needs trying has no bound by an event's size.
  static let unbounded = 1 << 40

  /// Steps for comparing with a value.
  static func cost(_ literal: BSONElement) -> Int {
    1 &+ literal.value.count &>> 5 &+ (literal.type == .decimal128 ? 64 : 0)
  }
}

/// All rules' conditions: flat, like the rest of a plan.
struct ConditionPlans: ~Copyable {
  private(set) var nodes: [ConditionNode] = []
  private(set) var children: [Int32] = []
  private(set) var values: [(type: BSONType, bytes: PoolRange)] = []
  private(set) var patterns: [Pattern] = []
  private var rules = 0
  /// What each rule's condition may take of one event.
  private(set) var steps = ConditionBudget.steps

  /// A rule's condition, as a whole.
  /// - Returns: its place in `nodes`.
  mutating func add(rule condition: Condition, pool: inout ByteWriter) -> Int32 {
    rules += 1
    steps = max(ConditionBudget.least, ConditionBudget.steps / rules)
    return add(condition, pool: &pool)
  }

  /// - Returns: the condition's place in `nodes`.
  mutating func add(
    _ condition: Condition, pool: inout ByteWriter
  ) -> Int32 {
    var node: ConditionNode
    switch condition {
    case .all(let parts): node = group(.all, parts, pool: &pool)
    case .any(let parts): node = group(.any, parts, pool: &pool)
    case .not(let part): node = group(.not, [part], pool: &pool)
    case .test(let path, let test):
      node = self.test(test, pool: &pool)
      node.field = path.field
      node.path = pool.keep(Array(path.remainder.utf8))
      // A number may name an item, or a field of each item.
      for part in path.remainder.split(separator: ".") where part.utf8.allSatisfy({ $0 < 0x3A }) {
        node.weight = min(ConditionBudget.unbounded, node.weight * 2)
      }
    }
    nodes.append(node)
    return Int32(nodes.count - 1)
  }

  private mutating func group(
    _ kind: ConditionNode.Kind, _ parts: [Condition], pool: inout ByteWriter
  ) -> ConditionNode {
    var places: [Int32] = []
    for part in parts { places.append(add(part, pool: &pool)) }
    var node = ConditionNode(
      kind: kind, first: Int32(children.count), count: Int32(places.count))
    node.weight = places.reduce(1) {
      min(ConditionBudget.unbounded, $0 + nodes[Int($1)].weight)
    }
    children += places
    return node
  }

  private mutating func test(
    _ test: ConditionTest, pool: inout ByteWriter
  ) -> ConditionNode {
    switch test {
    case .equals(let values): return compared(.equals, values, pool: &pool)
    case .greater(let value): return compared(.greater, [value], pool: &pool)
    case .greaterOrEqual(let value): return compared(.greaterOrEqual, [value], pool: &pool)
    case .less(let value): return compared(.less, [value], pool: &pool)
    case .lessOrEqual(let value): return compared(.lessOrEqual, [value], pool: &pool)
    case .exists: return ConditionNode(kind: .exists)
    case .type(let types):
      var node = ConditionNode(kind: .type)
      for type in types {
        switch type {
        case .minKey: node.types |= 1
        case .maxKey: node.hasMaxKey = true
        default: node.types |= 1 << UInt64(type.rawValue)
        }
      }
      return node
    case .matches(let pattern):
      patterns.append(pattern.pattern)
      var node = ConditionNode(kind: .matches, first: Int32(patterns.count - 1))
      if !pattern.pattern.hasTable { node.weight = ConditionBudget.unbounded }
      return node
    }
  }

  private mutating func compared(
    _ kind: ConditionNode.Kind, _ wanted: [ConditionValue], pool: inout ByteWriter
  ) -> ConditionNode {
    var node = ConditionNode(kind: kind, first: Int32(values.count), count: Int32(wanted.count))
    for value in wanted {
      values.append((value.type, pool.keep(value.bytes)))
      node.weight += 65 + value.bytes.count
    }
    return node
  }
}

extension ByteWriter {
  fileprivate mutating func keep(_ bytes: [UInt8]) -> PoolRange {
    let start = count
    append(bytes)
    return PoolRange(start: Int32(start), count: Int32(bytes.count))
  }
}

// MARK: - Judging

extension MappingPlan {
  /// Whether the event satisfies a condition. Nothing is allocated, but for decimals.
  ///
  /// An event that uses the condition's steps up counts as one that satisfies it, so that the rule
  /// takes it and `checkBudget` makes it a dead letter: it is not passed over.
  func satisfies(
    _ condition: Int32, _ event: borrowing ChangeEvent, _ scratch: inout Scratch
  ) -> Bool {
    scratch.conditionSteps = conditions.steps
    return holds(condition, event, &scratch) || scratch.conditionSteps < 0
  }

  /// Throws `too_complex` for an event on which a condition can't be decided. Only large events, and
  /// patterns that need trying, can use the steps up: for others nothing is worked out twice.
  func checkBudget(
    _ condition: Int32, _ event: borrowing ChangeEvent, _ scratch: inout Scratch
  ) throws(MappingError) {
    guard condition >= 0 else { return }
    let weight = conditions.nodes[Int(condition)].weight
    let (bound, isLarge) = weight.multipliedReportingOverflow(by: 64 &+ event.documentBytes)
    guard isLarge || bound >= conditions.steps else { return }
    _ = satisfies(condition, event, &scratch)
    guard scratch.conditionSteps < 0 else { return }
    throw MappingError(
      .tooComplex,
      "the rule's condition (where) takes more than \(conditions.steps) steps on this event")
  }

  private func holds(
    _ condition: Int32, _ event: borrowing ChangeEvent, _ scratch: inout Scratch
  ) -> Bool {
    if scratch.conditionSteps < 0 { return false }
    let node = conditions.nodes[Int(condition)]
    switch node.kind {
    case .all:
      for n in Int(node.first)..<Int(node.first &+ node.count)
      where !holds(conditions.children[n], event, &scratch) { return false }
      return true
    case .any:
      for n in Int(node.first)..<Int(node.first &+ node.count)
      where holds(conditions.children[n], event, &scratch) { return true }
      return false
    case .not: return !holds(conditions.children[Int(node.first)], event, &scratch)
    default: return passes(node, event, &scratch)
    }
  }

  private func passes(
    _ node: ConditionNode, _ event: borrowing ChangeEvent, _ scratch: inout Scratch
  ) -> Bool {
    let document: BSONView?
    switch node.field {
    case .documentKey: document = event.documentKey
    case .fullDocument: document = event.fullDocument
    case .updateDescription: document = event.updateDescription
    case .lsid: document = event.lsid
    default: return passesFact(node, event, &scratch)
    }
    guard let document else { return passes(node, nil, &scratch) }
    let path = bytes(node.path)
    guard !path.isEmpty else {
      let whole = BSONElement(
        type: .document, key: UnsafeRawBufferPointer(start: nil, count: 0), value: document.bytes)
      return passes(node, whole, &scratch)
    }
    return PathVisit.visitValues(document, path) {
      scratch.charge($0)
    } visit: {
      passes(node, $0, &scratch)
    }
  }

  /// The event's own facts, as BSON values in scratch memory.
  private func passesFact(
    _ node: ConditionNode, _ event: borrowing ChangeEvent, _ scratch: inout Scratch
  ) -> Bool {
    var fact = ByteWriter(capacity: 64)
    swap(&fact, &scratch.fact)
    defer { swap(&fact, &scratch.fact) }
    fact.removeAll()
    let type: BSONType
    switch node.field {
    case .operationType:
      type = .string
      fact.appendStringValue(rawBytes(event.operation.name))
    case .database:
      type = .string
      fact.appendStringValue(event.database)
    case .collection:
      guard !event.collection.isEmpty else { return passes(node, nil, &scratch) }
      type = .string
      fact.appendStringValue(event.collection)
    case .clusterTime:
      type = .timestamp
      fact.append(littleEndian: Int64(bitPattern: event.position.entry.value))
    case .wallTime:
      guard let wallTime = event.wallTime else { return passes(node, nil, &scratch) }
      type = .date
      fact.append(littleEndian: wallTime)
    case .txnNumber:
      guard let txnNumber = event.txnNumber else { return passes(node, nil, &scratch) }
      type = .int64
      fact.append(littleEndian: txnNumber)
    case .documentKey, .fullDocument, .updateDescription, .lsid: return false
    }
    let element = BSONElement(
      type: type, key: UnsafeRawBufferPointer(start: nil, count: 0), value: fact.bytes)
    return passes(node, element, &scratch)
  }

  /// Whether one value, or the lack of one, is what is asked for.
  private func passes(
    _ node: ConditionNode, _ found: BSONElement?, _ scratch: inout Scratch
  ) -> Bool {
    let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
    let value = found ?? BSONElement(type: .undefined, key: nothing, value: nothing)
    switch node.kind {
    case .exists: return found != nil
    case .type:
      switch value.type {
      case .minKey: return node.types & 1 == 1
      case .maxKey: return node.hasMaxKey
      default: return found != nil && node.types >> UInt64(value.type.rawValue) & 1 == 1
      }
    case .matches:
      guard value.type == .string || value.type == .symbol, let text = value.string else {
        return false
      }
      return search(conditions.patterns[Int(node.first)], text, &scratch)
    default:
      for n in Int(node.first)..<Int(node.first &+ node.count) {
        let literal = literal(n)
        guard scratch.charge(ConditionBudget.cost(literal)) else { return false }
        if comparison(node.kind, value, literal) { return true }
      }
      return false
    }
  }

  private func search(
    _ pattern: Pattern, _ text: UnsafeRawBufferPointer, _ scratch: inout Scratch
  ) -> Bool {
    guard scratch.charge(text.count &>> 2) else { return false }
    var steps = scratch.conditionSteps / ConditionBudget.patternStepCost
    let before = steps
    let outcome = pattern.search(text, &scratch.pattern, steps: &steps)
    scratch.conditionSteps &-= (before &- steps) &* ConditionBudget.patternStepCost
    if outcome == .tooComplex { scratch.conditionSteps = -1 }
    scratch.pattern.shrink()
    return outcome == .found
  }

  fileprivate func literal(_ index: Int) -> BSONElement {
    let value = conditions.values[index]
    return BSONElement(
      type: value.type, key: UnsafeRawBufferPointer(start: nil, count: 0),
      value: bytes(value.bytes))
  }
}

/// As servers compare in queries: values of the same kind only; but what is missing equals null, and
/// everything lies between minKey and maxKey.
func comparison(
  _ kind: ConditionNode.Kind, _ value: BSONElement, _ literal: BSONElement
) -> Bool {
  let (own, wanted) = (comparisonClass(value.type), comparisonClass(literal.type))
  guard own == wanted else {
    if own &+ wanted == 5, own == 0 || wanted == 0 {
      return kind == .equals || kind == .greaterOrEqual || kind == .lessOrEqual
    }
    switch literal.type {
    case .maxKey: return kind == .less || kind == .lessOrEqual
    case .minKey: return kind == .greater || kind == .greaterOrEqual
    default: return false
    }
  }
  guard let order = compare(value, literal) else { return false }
  switch kind {
  case .equals: return order == 0
  case .greater: return order > 0
  case .greaterOrEqual: return order >= 0
  case .less: return order < 0
  default: return order <= 0
  }
}

extension ChangeEvent {
  /// Of the documents that conditions look into.
  fileprivate var documentBytes: Int {
    (documentKey?.bytes.count ?? 0) + (fullDocument?.bytes.count ?? 0)
      + (updateDescription?.bytes.count ?? 0) + (lsid?.bytes.count ?? 0)
  }
}

extension Scratch {
  /// Takes steps out of the condition's budget; false if there are none left.
  fileprivate mutating func charge(_ steps: Int) -> Bool {
    conditionSteps &-= steps
    return conditionSteps >= 0
  }
}
