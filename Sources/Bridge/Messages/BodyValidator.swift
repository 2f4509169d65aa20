import BSON
import BridgeConfiguration
import JSONSchema
package import Mapping
package import Oplog

/// Holds messages against their rules' schemas, before they are sent.
///
/// What is judged is the body. Where that is made of the event's documents as they are, its BSON is
/// judged, which costs a fraction of a microsecond; where a rule leaves out, renames or redacts, the
/// body's JSON is. Both find the same: a body is what the schema's style makes of its BSON. Either takes
/// a bounded number of steps, which is a matter of the body and its schema alone.
///
/// Owned by one event loop, or one command.
package final class BodyValidator {
  private var judges: [RuleJudge?]
  @exclusivity(unchecked) private var bson = ByteWriter(capacity: 1024)

  private struct RuleJudge {
    /// On the event's own BSON; nil where the body is not made of that alone.
    var direct: SchemaValidator?
    var plain: SchemaValidator
    var rule: Rule
  }

  package init(_ rules: RuleSet) {
    judges = zip(rules.rules, rules.schemas).map { rule, schema in
      guard let schema else { return nil }
      let isDirect = rule.bodyIsItsDocuments
      return RuleJudge(
        direct: isDirect ? SchemaValidator(schema.compiled) : nil,
        plain: SchemaValidator(schema.plain), rule: rule)
    }
  }

  /// Bodies of which more than their documents is judged are read once more: only up to these sizes.
  package static let maximumBody = 8 << 20
  package static let maximumValues = 500_000
  /// What is reported of one body: so many characters.
  private static let maximumDetail = 4_096

  /// Throws `schemaInvalid`, with what is wrong and where, if the body does not keep its contract, and
  /// `tooComplex` if judging it takes more than `SchemaBudget` allows: again whenever it is tried, by
  /// whatever command.
  @inline(__always)
  package func check(
    rule: Int, event: borrowing ChangeEvent, body: UnsafeRawBufferPointer
  ) throws(MappingError) {
    guard let judge = judges[rule] else { return }
    if let direct = judge.direct {
      let found = violations(event, judge.rule, direct)
      if !found.isEmpty { throw Self.error(found, direct.fault) }
    } else {
      try check(judge.plain, body)
    }
  }

  private func violations(
    _ event: borrowing ChangeEvent, _ rule: Rule, _ validator: SchemaValidator
  ) -> [SchemaViolation] {
    var event = copy event
    // Documents fetched for other rules are not in this one's body.
    if event.image != nil, rule.fullDocument == .off { event.fullDocument = nil }
    if rule.fullDocumentBeforeChange == .off { event.fullDocumentBeforeChange = nil }
    guard rule.envelope == .document else {
      return EventMembers.with(event) { validator.firstViolations(members: $0) }
    }
    // Without a document there is no body, and this is not asked for.
    guard let document = event.fullDocument ?? event.documentKey else { return [] }
    return validator.firstViolations(document)
  }

  private func check(
    _ validator: SchemaValidator, _ body: UnsafeRawBufferPointer
  ) throws(MappingError) {
    guard body.count <= Self.maximumBody else {
      throw MappingError(
        .tooComplex,
        "the body has \(body.count) bytes, and bodies that are judged as JSON may have "
          + "\(Self.maximumBody)")
    }
    bson.removeAll()
    let found: [SchemaViolation]
    do {
      try bson.append(bsonOf: body, most: Self.maximumValues)
      guard let value = try BSONView(bson.bytes).first("") else { return }
      found = validator.firstViolations(value: value)
    } catch let error as PlainJSONError where error.isTooLarge {
      throw MappingError(
        .tooComplex,
        "the body holds more than the \(Self.maximumValues) values that are judged as JSON")
    } catch {
      throw MappingError(.schemaInvalid, "the body can't be judged: \(error)")
    }
    if !found.isEmpty { throw Self.error(found, validator.fault) }
  }

  private static func error(
    _ violations: [SchemaViolation], _ fault: SchemaFault?
  ) -> MappingError {
    if let fault, fault.isBound { return MappingError(.tooComplex, "the body: \(fault)") }
    return MappingError(.schemaInvalid, text(violations))
  }

  /// The sentences of the standard's basic output, the first of them at least.
  static func text(_ violations: [SchemaViolation]) -> String {
    var text = ""
    for violation in violations {
      let place = violation.instanceLocation.isEmpty ? "the body" : violation.instanceLocation
      let sentence = "\(place): \(violation.error) (\(violation.keywordLocation))"
      if !text.isEmpty {
        guard text.utf8.count + sentence.utf8.count < maximumDetail else { return text + "; …" }
        text += "; "
      }
      text += sentence
    }
    // The first alone may be long: its schema's names and texts have no bound.
    guard text.utf8.count > maximumDetail else { return text }
    return String(text.unicodeScalars.prefix(maximumDetail)) + "…"
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

  static func with<Result>(
    _ event: borrowing ChangeEvent, _ body: (UnsafeBufferPointer<BSONElement>) -> Result
  ) -> Result {
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

extension BodyValidator {
  /// What is wrong with a body, whoever made it; nil where nothing is, or the rule has no schema.
  func violation(rule: Int, body: [UInt8]) -> String? {
    guard let judge = judges[rule] else { return nil }
    return body.withUnsafeBytes { bytes in
      do throws(MappingError) {
        try check(judge.plain, bytes)
        return nil
      } catch {
        return error.detail
      }
    }
  }
}
