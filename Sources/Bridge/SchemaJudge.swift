import BSON
import BridgeConfiguration
import JSONSchema
import Mapping
import Oplog

/// Holds messages against their rules' schemas, before they are sent.
///
/// What is judged is the body. Where that is made of the event's documents as they are, its BSON is
/// judged, which costs a fraction of a microsecond; where a rule leaves out, renames or redacts, the
/// body's JSON is. Both find the same: a body is what the schema's style makes of its BSON.
///
/// Owned by one event loop, or one command.
package final class SchemaJudge {
  private var judges: [RuleJudge?]
  @exclusivity(unchecked) private var bson = ByteWriter(capacity: 1024)

  private struct RuleJudge {
    /// On the event's own BSON; nil where the body is not made of that alone.
    var direct: SchemaValidator?
    var plain: SchemaValidator
    var rule: Rule
  }

  package init(_ configuration: BridgeConfiguration) {
    judges = zip(configuration.rules, configuration.schemas).map { rule, schema in
      guard let schema else { return nil }
      let isDirect = rule.bodyIsItsDocuments
      return RuleJudge(
        direct: isDirect ? SchemaValidator(schema.compiled) : nil,
        plain: SchemaValidator(schema.plain), rule: rule)
    }
  }

  /// Throws `schemaInvalid`, with what is wrong and where, if the body does not keep its contract.
  @inline(__always)
  package func check(
    rule: Int, event: borrowing ChangeEvent, body: UnsafeRawBufferPointer
  ) throws(MappingError) {
    guard let judge = judges[rule] else { return }
    try check(judge, event: event, body: body)
  }

  private func check(
    _ judge: RuleJudge, event: borrowing ChangeEvent, body: UnsafeRawBufferPointer
  ) throws(MappingError) {
    if let direct = judge.direct, isValid(event, judge.rule, direct) { return }
    // Also in order to explain.
    let report = try report(judge.plain, body)
    guard let report else { return }
    throw MappingError(.schemaInvalid, Self.text(report))
  }

  private func isValid(
    _ event: borrowing ChangeEvent, _ rule: Rule, _ validator: SchemaValidator
  ) -> Bool {
    var event = copy event
    // Documents fetched for other rules are not in this one's body.
    if event.image != nil, rule.fullDocument == .off { event.fullDocument = nil }
    if rule.fullDocumentBeforeChange == .off { event.fullDocumentBeforeChange = nil }
    if rule.envelope == .document {
      if let document = event.fullDocument { return validator.validate(document) }
      return event.documentKey.map { validator.validate($0) } ?? false
    }
    return EventMembers.with(event) { validator.validate(members: $0) }
  }

  /// Nil for a valid body.
  private func report(
    _ validator: SchemaValidator, _ body: UnsafeRawBufferPointer
  ) throws(MappingError) -> SchemaReport? {
    bson.removeAll()
    do {
      try bson.append(bsonOf: body)
      guard let value = try BSONView(bson.bytes).first("") else { return nil }
      return validator.validate(value: value) ? nil : validator.explain(value: value)
    } catch {
      throw MappingError(.schemaInvalid, "the body can't be judged: \(error)")
    }
  }

  /// The sentences of the standard's basic output, most of them at least.
  static func text(_ report: SchemaReport) -> String {
    let shown = report.violations.prefix(8).map { violation in
      let place = violation.instanceLocation.isEmpty ? "the body" : violation.instanceLocation
      return "\(place): \(violation.error) (\(violation.keywordLocation))"
    }
    let rest = report.violations.count - shown.count
    return shown.joined(separator: "; ") + (rest > 0 ? "; and \(rest) more" : "")
  }
}

/// The members of the envelope `cloudevents`, as elements that stand where they are.
private enum EventMembers {
  /// By raw value: the operation's name as a BSON string.
  private static let names: [[UInt8]] = OperationType.allCases.map { operation in
    let name = Array("\(operation.name)".utf8)
    let length = UInt32(name.count + 1).littleEndian
    return withUnsafeBytes(of: length) { Array($0) } + name + [0]
  }

  static func with(
    _ event: borrowing ChangeEvent, _ body: (UnsafeBufferPointer<BSONElement>) -> Bool
  ) -> Bool {
    let event = copy event
    return names[Int(event.operation.rawValue)].withUnsafeBytes { name in
      withUnsafeTemporaryAllocation(of: BSONElement.self, capacity: 7) { members in
        var count = 0
        func add(_ key: StaticString, _ type: BSONType, _ value: UnsafeRawBufferPointer) {
          let key = UnsafeRawBufferPointer(start: key.utf8Start, count: key.utf8CodeUnitCount)
          members.initializeElement(
            at: count, to: BSONElement(type: type, key: key, value: value))
          count += 1
        }
        add("operationType", .string, name)
        if let view = event.documentKey { add("documentKey", .document, view.bytes) }
        if let view = event.fullDocument { add("fullDocument", .document, view.bytes) }
        if let view = event.fullDocumentBeforeChange {
          add("fullDocumentBeforeChange", .document, view.bytes)
        }
        if let view = event.operationDescription {
          add("operationDescription", .document, view.bytes)
        }
        if let view = event.stateBeforeChange { add("stateBeforeChange", .document, view.bytes) }
        if let view = event.updateDescription { add("updateDescription", .document, view.bytes) }
        return body(UnsafeBufferPointer(rebasing: members[..<count]))
      }
    }
  }
}

extension Rule {
  /// The body is the event's documents, nothing left out or changed, in an envelope that adds no more
  /// than the operation.
  fileprivate var bodyIsItsDocuments: Bool {
    (envelope == .cloudEvents || envelope == .document) && filter == .everything
      && changes.isEmpty && outbox == nil
  }
}

extension SchemaJudge {
  /// What is wrong with a body, whoever made it; nil where nothing is, or the rule has no schema.
  func violation(rule: Int, body: [UInt8]) -> String? {
    guard let judge = judges[rule] else { return nil }
    return body.withUnsafeBytes { bytes in
      do throws(MappingError) {
        return try report(judge.plain, bytes).map(Self.text)
      } catch {
        return error.detail
      }
    }
  }
}
