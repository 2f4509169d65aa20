import BSON
internal import JSONSchema
import Oplog

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
}

/// All rules' conditions: flat, like the rest of a plan.
struct ConditionPlans: ~Copyable {
  private(set) var nodes: [ConditionNode] = []
  private(set) var children: [Int32] = []
  private(set) var values: [(type: BSONType, bytes: PoolRange)] = []
  private(set) var patterns: [Pattern] = []

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
    let node = ConditionNode(kind: kind, first: Int32(values.count), count: Int32(wanted.count))
    for value in wanted { values.append((value.type, pool.keep(value.bytes))) }
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
  func satisfies(
    _ condition: Int32, _ event: borrowing ChangeEvent, _ scratch: inout Scratch
  ) -> Bool {
    let node = conditions.nodes[Int(condition)]
    switch node.kind {
    case .all:
      for n in Int(node.first)..<Int(node.first &+ node.count)
      where !satisfies(conditions.children[n], event, &scratch) { return false }
      return true
    case .any:
      for n in Int(node.first)..<Int(node.first &+ node.count)
      where satisfies(conditions.children[n], event, &scratch) { return true }
      return false
    case .not: return !satisfies(conditions.children[Int(node.first)], event, &scratch)
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
    return visitValues(document, path) { passes(node, $0, &scratch) }
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
      return conditions.patterns[Int(node.first)].search(text, &scratch.pattern) == .found
    default:
      for n in Int(node.first)..<Int(node.first &+ node.count)
      where passes(node.kind, value, literal(n)) { return true }
      return false
    }
  }

  /// As servers compare in queries: values of the same kind only; but what is missing equals null, and
  /// everything lies between minKey and maxKey.
  private func passes(
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

  private func literal(_ index: Int) -> BSONElement {
    let value = conditions.values[index]
    return BSONElement(
      type: value.type, key: UnsafeRawBufferPointer(start: nil, count: 0),
      value: bytes(value.bytes))
  }
}
