import BSON
import Oplog

// Why an event doesn't satisfy a condition, for people. Nothing of this is on an event's usual way.

extension MappingPlan {
  private static let mostValues = 5
  private static let mostCharacters = 120
  private static let mostSteps = 200_000

  /// The smallest part that is not satisfied: of several that must all be, the first one that isn't.
  ///
  /// - Parameter place: the condition's node.
  func refusal(
    _ condition: Condition, at place: Int32, _ event: borrowing ChangeEvent,
    _ scratch: inout Scratch
  ) -> RefusedCondition {
    if case .all(let parts) = condition {
      let node = conditions.nodes[Int(place)]
      for (number, part) in parts.enumerated() {
        let child = conditions.children[Int(node.first) + number]
        // Each with steps of its own: the whole was decided.
        var steps = conditions.budget.start
        if judge(child, event, &steps, &scratch) == .refused {
          return refusal(part, at: child, event, &scratch)
        }
      }
    }
    var found: [RefusedCondition.Found] = []
    for path in condition.paths where !found.contains(where: { $0.path == path.text }) {
      found.append(RefusedCondition.Found(path: path.text, values: values(at: path, event)))
    }
    return RefusedCondition(condition: condition.text, found: found)
  }

  private func values(at path: EventPath, _ event: borrowing ChangeEvent) -> [String] {
    let document: BSONView?
    switch path.field {
    case .documentKey: document = event.documentKey
    case .fullDocument: document = event.fullDocument
    case .updateDescription: document = event.updateDescription
    case .lsid: document = event.lsid
    case .operationType: return ["\"\(event.operation.name)\""]
    case .database: return [Self.quoted(event.database)]
    case .collection:
      return [event.collection.isEmpty ? "nothing" : Self.quoted(event.collection)]
    case .clusterTime: return ["\(event.position.entry)"]
    case .wallTime: return [event.wallTime.map { "\($0) ms" } ?? "nothing"]
    case .txnNumber: return [event.txnNumber.map { "\($0)" } ?? "nothing"]
    }
    guard let document else { return ["nothing"] }
    if path.remainder.isEmpty { return ["a document"] }
    return Self.values(document, Array(path.remainder.utf8))
  }

  private static func quoted(_ bytes: UnsafeRawBufferPointer) -> String {
    "\"\(String(decoding: bytes, as: UTF8.self))\""
  }

  private static func values(_ document: BSONView, _ path: [UInt8]) -> [String] {
    var values: [String] = []
    var steps = mostSteps
    path.withUnsafeBytes { path in
      _ = PathVisit.visitValues(document, path) {
        steps.spend($0)
      } visit: { element in
        values.append(element.map { text($0) } ?? "nothing")
        return values.count == mostValues
      }
    }
    return values.isEmpty ? ["nothing"] : values
  }

  private static func text(_ element: BSONElement) -> String {
    element.relaxedText(atMost: mostCharacters)
  }
}

extension BSONElement {
  /// Relaxed Extended JSON, cut to a length.
  fileprivate func relaxedText(atMost most: Int) -> String {
    var out = ByteWriter(capacity: 256)
    do {
      try out.appendJSON(value: self, style: .relaxed)
    } catch {
      return "a value that JSON can't show"
    }
    let text = String(decoding: out.bytes, as: UTF8.self)
    return text.count > most ? "\(text.prefix(most))…" : text
  }
}

extension EventPath {
  /// As it is written.
  package var text: String { remainder.isEmpty ? field.name : "\(field.name).\(remainder)" }
}

extension Condition {
  /// As a configuration would have it under `where`.
  package var text: String {
    switch self {
    case .all(let parts): parts.map(\.text).joined(separator: ", ")
    case .any(let parts): "$or: [\(parts.map { "{ \($0.text) }" }.joined(separator: ", "))]"
    case .not(.test(let path, .exists)): "\(path.text): { $exists: false }"
    case .not(.test(let path, .equals(let values))):
      values.count == 1
        ? "\(path.text): { $ne: \(values[0].text) }"
        : "\(path.text): { $nin: \(Self.list(values)) }"
    case .not(.test(let path, let test)): "\(path.text): { $not: { \(test.text) } }"
    case .not(let part): "$not: { \(part.text) }"
    case .test(let path, .equals(let values)) where values.count == 1:
      "\(path.text): \(values[0].text)"
    case .test(let path, let test): "\(path.text): { \(test.text) }"
    }
  }

  fileprivate static func list(_ values: [ConditionValue]) -> String {
    let most = 10
    let shown = values.prefix(most).map(\.text).joined(separator: ", ")
    return values.count > most ? "[\(shown), … (\(values.count) values)]" : "[\(shown)]"
  }
}

extension ConditionTest {
  fileprivate var text: String {
    switch self {
    case .equals(let values):
      values.count == 1 ? "$eq: \(values[0].text)" : "$in: \(Condition.list(values))"
    case .exists: "$exists: true"
    case .type(let types): "$type: [\(types.map(\.alias).joined(separator: ", "))]"
    case .greater(let value): "$gt: \(value.text)"
    case .greaterOrEqual(let value): "$gte: \(value.text)"
    case .less(let value): "$lt: \(value.text)"
    case .lessOrEqual(let value): "$lte: \(value.text)"
    case .matches(let pattern): "$regex: \"\(pattern.text)\""
    }
  }
}

extension ConditionValue {
  fileprivate var text: String {
    bytes.withUnsafeBytes {
      BSONElement(type: type, key: UnsafeRawBufferPointer(start: nil, count: 0), value: $0)
        .relaxedText(atMost: 120)
    }
  }
}

extension BSONType {
  /// MongoDB's name for it in `$type`.
  fileprivate var alias: String {
    switch self {
    case .document: "object"
    case .binary: "binData"
    case .objectID: "objectId"
    case .int32: "int"
    case .int64: "long"
    case .decimal128: "decimal"
    default: "\(self)"
    }
  }
}
