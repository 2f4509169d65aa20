import BSON
import BridgeConfiguration
import JSONSchema
package import Mapping
package import Oplog

/// Validates messages by their rules' schemas, before they are sent.
///
/// The body is validated. If it consists of the event's unchanged documents, their BSON is validated, which
/// costs a fraction of a microsecond; if the rule leaves out, renames or redacts fields, the body's JSON. Both
/// give the same result: a body is its BSON written in the schema's style. Either takes a bounded number of
/// steps, which depends on the body and its schema only.
///
/// Not Sendable: owned by one event loop, or one command. `bson` is changed only within `check`, which doesn't
/// call back, so its accesses can't overlap and need no dynamic exclusivity check.
package final class BodyValidator {
  private var judges: [RuleJudge?]
  @exclusivity(unchecked) private var bson = ByteWriter(capacity: 1024)
  @exclusivity(unchecked) private var checks: UInt = 0
  /// How long validation takes: every 64th is timed, so that clocks cost nothing.
  @exclusivity(unchecked) var durations = Histogram(bounds: Histogram.shortSeconds)

  /// A class: the loop passes it on without a copy of what is in it.
  private final class RuleJudge {
    /// Validates the event's own BSON; nil if the body has other parts.
    let direct: SchemaValidator?
    let plain: SchemaValidator
    let rule: Rule

    init(direct: SchemaValidator?, plain: SchemaValidator, rule: Rule) {
      self.direct = direct
      self.plain = plain
      self.rule = rule
    }
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

  /// Bodies that aren't validated as BSON are parsed for it: only up to these sizes.
  package static let maximumBody = 8 << 20
  static let maximumValues = 500_000
  /// The maximum length of one body's report, in characters.
  private static let maximumDetail = 4_096

  /// Throws `schemaInvalid`, with what is wrong and where, if the body violates its schema, and
  /// `tooComplex` if validation takes more than `SchemaBudget` allows: with the same result each time, by every
  /// command.
  @inline(__always)
  package func check(
    rule: Int, event: borrowing ChangeEvent, body: UnsafeRawBufferPointer
  ) throws(MappingError) {
    guard let judge = judges[rule] else { return }
    checks &+= 1
    guard checks & 63 == 0 else { return try check(judge, event, body) }
    let began = ContinuousClock.now
    defer { durations.add((ContinuousClock.now - began).seconds) }
    try check(judge, event, body)
  }

  @inline(__always)
  private func check(
    _ judge: RuleJudge, _ event: borrowing ChangeEvent, _ body: UnsafeRawBufferPointer
  ) throws(MappingError) {
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
    // Without a document there is no body, and this isn't called.
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
    return MappingError(
      .schemaInvalid, text(violations), outline: outline(violations),
      keyword: violations.first?.keywordLocation)
  }

  /// Where which keyword is violated, without the values that violate it: of the first few.
  private static func outline(_ violations: [SchemaViolation]) -> String {
    let shown = violations.prefix(5).map { violation in
      let place = violation.instanceLocation.isEmpty ? "the body" : violation.instanceLocation
      return "\(place) violates \(violation.keywordLocation)".prefix(500)
    }
    return shown.joined(separator: "; ") + (violations.count > shown.count ? "; …" : "")
  }

  /// The sentences of the standard's basic output, at least the first one.
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

/// The members of the envelope `cloudevents`, as elements that point to where they are.
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
  /// The body consists of the event's unchanged documents, in an envelope that adds only the operation.
  fileprivate var bodyIsItsDocuments: Bool {
    (envelope == .cloudEvents || envelope == .document) && filter == .everything
      && changes.isEmpty && outbox == nil
  }
}

extension BodyValidator {
  /// The violations in any body; nil if there are none, or the rule has no schema.
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
