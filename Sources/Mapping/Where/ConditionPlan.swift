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
  /// Of `all`, `any` and `not`: the range of its parts in the list of children. Of tests: where their
  /// values do, or which pattern it is.
  var first: Int32 = 0
  var count: Int32 = 0
  /// Of `equals` with many values: behind those, so many that are sorted.
  var sortedCount: Int32 = 0
  var field = EventField.operationType
  var path = PoolRange.empty
  /// Bit n: BSON's type number n, with minKey as 0.
  var types: UInt64 = 0
  var hasMaxKey = false
}

/// All rules' conditions: flat, like the rest of a plan.
struct ConditionPlans: ~Copyable {
  private(set) var nodes: [ConditionNode] = []
  private(set) var children: [Int32] = []
  private(set) var values: [(type: BSONType, bytes: PoolRange)] = []
  private(set) var patterns: [Pattern] = []
  /// What they may take of one event.
  private(set) var budget = ConditionBudget()

  /// A rule's condition, as a whole.
  /// - Returns: its place in `nodes`.
  mutating func add(rule condition: Condition, pool: inout ByteWriter) -> Int32 {
    budget.conditions += 1
    return add(condition, pool: &pool)
  }

  /// - Returns: the condition's place in `nodes`.
  private mutating func add(
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
    }
    nodes.append(node)
    return Int32(nodes.count - 1)
  }

  private mutating func group(
    _ kind: ConditionNode.Kind, _ parts: [Condition], pool: inout ByteWriter
  ) -> ConditionNode {
    var places: [Int32] = []
    for part in parts { places.append(add(part, pool: &pool)) }
    let node = ConditionNode(
      kind: kind, first: Int32(children.count), count: Int32(places.count))
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
      return ConditionNode(kind: .matches, first: Int32(patterns.count - 1))
    }
  }

  private mutating func compared(
    _ kind: ConditionNode.Kind, _ wanted: [ConditionValue], pool: inout ByteWriter
  ) -> ConditionNode {
    var sorted: [ConditionValue] = []
    var others = wanted
    if kind == .equals, wanted.count > Self.fewValues {
      sorted = wanted.filter(\.hasOrder).sorted { $0.isLess(than: $1) }
      others = wanted.filter { !$0.hasOrder }
    }
    let node = ConditionNode(
      kind: kind, first: Int32(values.count), count: Int32(others.count),
      sortedCount: Int32(sorted.count))
    for value in others + sorted { values.append((value.type, pool.keep(value.bytes))) }
    return node
  }

  /// Up to this many values are compared one by one.
  private static let fewValues = 8
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
  /// Whether the event satisfies a rule's condition. Nothing is allocated, but for decimals.
  ///
  /// - Parameter steps: what the event's conditions have left; this one takes its own out of it.
  func judge(
    _ condition: Int32, _ event: borrowing ChangeEvent, _ steps: inout ConditionSteps,
    _ scratch: inout Scratch
  ) -> ConditionVerdict {
    guard steps.overdrawn <= ConditionBudget.mostOverdrawn else { return .undecided }
    scratch.conditionSteps = conditions.budget.own &+ steps.shared
    let holds = holds(condition, event, &scratch)
    steps.shared = min(steps.shared, max(scratch.conditionSteps, 0))
    if scratch.conditionSteps < 0 {
      steps.overdrawn &-= scratch.conditionSteps
      return .undecided
    }
    return holds ? .satisfied : .refused
  }

  private func holds(
    _ condition: Int32, _ event: borrowing ChangeEvent, _ scratch: inout Scratch
  ) -> Bool {
    guard scratch.conditionSteps.charge(1) else { return false }
    let node = conditions.nodes[Int(condition)]
    switch node.kind {
    case .all, .any:
      let isAll = node.kind == .all
      for n in Int(node.first)..<Int(node.first &+ node.count) {
        let isTrue = holds(conditions.children[n], event, &scratch)
        if isTrue != isAll || scratch.conditionSteps < 0 { return isTrue }
      }
      return isAll
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
      scratch.conditionSteps.spend($0)
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
      let sorted = Int(node.first &+ node.count)
      for n in Int(node.first)..<sorted {
        guard scratch.conditionSteps.charge(1) else { return false }
        if comparison(node.kind, value, literal(n), &scratch.conditionSteps) { return true }
      }
      guard node.sortedCount > 0 else { return false }
      return isAmong(sorted..<(sorted &+ Int(node.sortedCount)), value, &scratch)
    }
  }

  /// Whether a value equals one of the given ones, which are sorted.
  private func isAmong(
    _ places: Range<Int>, _ value: BSONElement, _ scratch: inout Scratch
  ) -> Bool {
    var (low, high) = (places.lowerBound, places.upperBound)
    while low < high {
      let middle = low &+ (high &- low) / 2
      guard scratch.conditionSteps.charge(1),
        // A NaN is none of them.
        let order = compare(value, literal(middle), &scratch.conditionSteps)
      else { return false }
      if order == 0 { return true }
      if order < 0 { high = middle } else { low = middle &+ 1 }
    }
    return false
  }

  private func search(
    _ pattern: Pattern, _ text: UnsafeRawBufferPointer, _ scratch: inout Scratch
  ) -> Bool {
    guard scratch.conditionSteps.charge(2 &+ text.count &>> 2) else { return false }
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
