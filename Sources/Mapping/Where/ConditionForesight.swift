import BSON
import Oplog
internal import Patterns

/// What is known about events in advance: enough to predict the result of some conditions.
package struct ExpectedEvents: Sendable {
  /// A path at which they have something, or nothing.
  package enum Assumption: Sendable, Equatable {
    case absent(EventPath)
    case present(EventPath)
  }

  package var operation: OperationType
  /// Parts that no such event has.
  package var lacking: [EventField]
  /// Where all of them are of one.
  package var database: String?
  package var collection: String?
  var assumption: Assumption?

  package init(
    _ operation: OperationType, lacking: [EventField], database: String? = nil,
    collection: String? = nil
  ) {
    self.operation = operation
    self.lacking = lacking
    self.database = database
    self.collection = collection
  }

  fileprivate enum Knowledge {
    case text(String)
    case nothing
    /// Something, and not what.
    case something
    case unknown
  }

  fileprivate func knows(_ path: EventPath) -> Knowledge {
    if lacking.contains(path.field) { return .nothing }
    switch path.field {
    case .operationType: return .text("\(operation.name)")
    case .database: return database.map { .text($0) } ?? .something
    case .collection: return collection.map { .text($0) } ?? .something
    case .clusterTime: return .something
    default: break
    }
    switch assumption {
    case .absent(let lost):
      if lost == path { return .nothing }
      // Sessions have an id each, and transaction numbers are those of a session.
      let hasNoSession = lost.field == .lsid && (lost.remainder.isEmpty || lost.remainder == "id")
      return hasNoSession && (path.field == .lsid || path.field == .txnNumber) ? .nothing : .unknown
    case .present(let found):
      return found == path || (found.field == path.field && path.remainder.isEmpty)
        ? .something : .unknown
    case nil: return .unknown
    }
  }
}

extension Condition {
  /// Whether such events satisfy it; nil where some may and others not.
  ///
  /// Arrays on a path's way are left aside: conditions look for the rest of the path in each item.
  package func outcome(for events: ExpectedEvents) -> Bool? {
    switch self {
    case .all(let parts): return Self.all(parts.map { $0.outcome(for: events) })
    case .any(let parts):
      return Self.all(parts.map { $0.outcome(for: events).map { !$0 } }).map { !$0 }
    case .not(let part): return part.outcome(for: events).map { !$0 }
    case .test(let path, let test):
      switch events.knows(path) {
      case .text(let text): return test.passes(text)
      case .nothing: return test.passes(nil as BSONElement?)
      case .something: return test == .exists ? true : test.neverPasses ? false : nil
      case .unknown: return test.neverPasses ? false : nil
      }
    }
  }

  private static func all(_ outcomes: [Bool?]) -> Bool? {
    if outcomes.contains(false) { return false }
    return outcomes.contains(nil) ? nil : true
  }

  /// Such events satisfy it only where they have a value at the path.
  package func demands(_ path: EventPath, of events: ExpectedEvents) -> Bool {
    var without = events
    without.assumption = .absent(path)
    return outcome(for: without) == false
  }

  /// Such events satisfy it only where they have no value at the path.
  package func refuses(_ path: EventPath, of events: ExpectedEvents) -> Bool {
    var with = events
    with.assumption = .present(path)
    return outcome(for: with) == false
  }
}

extension ConditionTest {
  fileprivate var neverPasses: Bool {
    switch self {
    case .equals(let values): values.isEmpty
    case .type(let types): types.isEmpty
    default: false
    }
  }

  fileprivate func passes(_ text: String) -> Bool? {
    if case .matches(let pattern) = self {
      var scratch = PatternScratch()
      var text = text
      return text.withUTF8 { bytes in
        switch pattern.pattern.search(UnsafeRawBufferPointer(bytes), &scratch) {
        case .found: true
        case .tooComplex: nil
        default: false
        }
      }
    }
    let size = Int32(text.utf8.count + 1)
    let bytes = withUnsafeBytes(of: size.littleEndian) { Array($0) } + Array(text.utf8) + [0]
    return bytes.withUnsafeBytes {
      passes(BSONElement(type: .string, key: .init(start: nil, count: 0), value: $0))
    }
  }

  /// As the evaluator does it.
  fileprivate func passes(_ found: BSONElement?) -> Bool {
    let none = UnsafeRawBufferPointer(start: nil, count: 0)
    let value = found ?? BSONElement(type: .undefined, key: none, value: none)
    func compares(_ kind: ConditionNode.Kind, _ literal: ConditionValue) -> Bool {
      var steps = Int.max
      return literal.bytes.withUnsafeBytes {
        comparison(kind, value, BSONElement(type: literal.type, key: none, value: $0), &steps)
      }
    }
    switch self {
    case .exists: return found != nil
    case .type(let types): return found.map { types.contains($0.type) } ?? false
    case .matches: return false
    case .equals(let values): return values.contains { compares(.equals, $0) }
    case .greater(let literal): return compares(.greater, literal)
    case .greaterOrEqual(let literal): return compares(.greaterOrEqual, literal)
    case .less(let literal): return compares(.less, literal)
    case .lessOrEqual(let literal): return compares(.lessOrEqual, literal)
    }
  }
}
