import BSON
import Oplog

/// A rule whose collection holds events as documents: an application writes its events in the same transaction
/// as its data, and ids are known before anything is published.
public struct Outbox: Sendable, Equatable {
  /// Where a document has its event's id, subject, type and payload.
  public var id: EventPath
  public var subject: EventPath
  public var type: EventPath
  public var payload: EventPath
  /// The subjects of the rule's stream: a document's subject must be among them.
  public var subjects: [String]

  public init(
    id: EventPath, subject: EventPath, type: EventPath, payload: EventPath, subjects: [String]
  ) {
    self.id = id
    self.subject = subject
    self.type = type
    self.payload = payload
    self.subjects = subjects
  }
}

/// A compiled path.
struct PathPlan {
  var field: EventField
  var remainder: PoolRange
}

struct OutboxPlan {
  var id: PathPlan
  var subject: PathPlan
  var type: PathPlan
  var payload: PathPlan
  /// The stream's subjects, each followed by a space.
  var subjects: PoolRange
}

extension MappingPlan {
  /// The element at a path, or an error that names it.
  func element(
    at path: PathPlan, event: borrowing ChangeEvent
  ) throws(MappingError) -> BSONElement {
    let document: BSONView?
    switch path.field {
    case .documentKey: document = event.documentKey
    case .fullDocument: document = event.fullDocument
    default: document = nil
    }
    let remainder = bytes(path.remainder)
    var steps = LookupBudget.outbox
    do throws(BSONError) {
      if let found = try document?.find(remainder, steps: &steps) { return found }
    } catch {
      throw MappingError(error, in: path.field.name)
    }
    if steps < 0 { throw LookupBudget.exceeded(text(of: path), LookupBudget.outbox) }
    throw MappingError(.pathMissing, "\(text(of: path)) is missing in this \(event.operation.name)")
  }

  /// The string at a path, not empty.
  func text(
    at path: PathPlan, event: borrowing ChangeEvent
  ) throws(MappingError) -> UnsafeRawBufferPointer {
    let element = try element(at: path, event: event)
    guard element.type == .string, let text = element.string, !text.isEmpty else {
      throw MappingError(.valueUnsupported, "\(text(of: path)) is no text, or an empty one")
    }
    return text
  }

  private func text(of path: PathPlan) -> String {
    "\(path.field.name).\(String(decoding: bytes(path.remainder), as: UTF8.self))"
  }

  /// The document's subject, if it is valid and the stream accepts it.
  func writeSubject(
    _ outbox: OutboxPlan, event: borrowing ChangeEvent, into: inout ByteWriter
  ) throws(MappingError) {
    let subject = try text(at: outbox.subject, event: event)
    guard subject.count <= MessageLimits.subject, Self.isSubject(subject) else {
      throw MappingError(
        .subjectInvalid,
        "\(text(of: outbox.subject)) is no subject to publish to: tokens of printable ASCII between "
          + "dots, without wildcards, at most \(MessageLimits.subject) bytes")
    }
    var patterns = bytes(outbox.subjects)[...]
    while let end = patterns.firstIndex(of: 0x20) {
      let pattern = UnsafeRawBufferPointer(rebasing: patterns[patterns.startIndex..<end])
      if Self.pattern(pattern, takes: subject) { return into.append(subject) }
      patterns = patterns[(end + 1)...]
    }
    throw MappingError(
      .subjectInvalid,
      "the rule's stream does not take \(String(decoding: subject, as: UTF8.self))",
      outline: "the rule's stream does not take the subject in \(text(of: outbox.subject))")
  }

  private static func isSubject(_ subject: UnsafeRawBufferPointer) -> Bool {
    var tokenIsEmpty = true
    for (index, byte) in subject.enumerated() {
      if byte == UInt8(ascii: ".") {
        if tokenIsEmpty { return false }
        tokenIsEmpty = true
        continue
      }
      guard byte > 0x20, byte < 0x7F, byte != UInt8(ascii: "*"), byte != UInt8(ascii: ">"),
        index > 0 || byte != UInt8(ascii: "$")
      else { return false }
      tokenIsEmpty = false
    }
    return !tokenIsEmpty
  }

  /// Whether a stream's subject takes another, token by token.
  static func pattern(
    _ pattern: UnsafeRawBufferPointer, takes subject: UnsafeRawBufferPointer
  ) -> Bool {
    var (p, s) = (0, 0)
    while p < pattern.count {
      if pattern[p] == UInt8(ascii: ">") { return s < subject.count }
      guard s < subject.count else { return false }
      var (pEnd, sEnd) = (p, s)
      while pEnd < pattern.count, pattern[pEnd] != UInt8(ascii: ".") { pEnd += 1 }
      while sEnd < subject.count, subject[sEnd] != UInt8(ascii: ".") { sEnd += 1 }
      let isStar = pEnd - p == 1 && pattern[p] == UInt8(ascii: "*")
      guard
        isStar
          || UnsafeRawBufferPointer(rebasing: pattern[p..<pEnd]).equals(
            UnsafeRawBufferPointer(rebasing: subject[s..<sEnd]))
      else { return false }
      (p, s) = (pEnd + 1, sEnd + 1)
    }
    return s >= subject.count
  }

  func writeID(
    _ outbox: OutboxPlan, event: borrowing ChangeEvent, scratch: inout Scratch,
    into: inout ByteWriter
  ) throws(MappingError) {
    let element = try element(at: outbox.id, event: event)
    guard element.leastTextLength <= MessageLimits.id else {
      throw MappingError(
        .idInvalid, "\(text(of: outbox.id)) is longer than \(MessageLimits.id) bytes")
    }
    let start = into.count
    do throws(BSONError) {
      guard try into.append(scalar: element, escaping: .header, scratch: &scratch.bytes) else {
        throw BSONError(.invalidUTF8, at: 0)
      }
    } catch {
      throw MappingError(.valueUnsupported, "\(text(of: outbox.id)) is no single value")
    }
    guard into.count > start, into.count - start <= MessageLimits.id else {
      throw MappingError(
        .idInvalid, "\(text(of: outbox.id)) is empty, or longer than \(MessageLimits.id) bytes")
    }
  }

  /// The state of the rule's paths at the payload.
  func state(ofPayload outbox: OutboxPlan, _ rule: RulePlan) -> FilterState {
    let document = outbox.payload.field == .documentKey ? rule.documentKey : rule.fullDocument
    return filters.step(document, key: bytes(outbox.payload.remainder), inArray: false)
  }

  /// The payload's JSON, whatever it is.
  func writePayload(
    _ outbox: OutboxPlan, _ rule: RulePlan, event: borrowing ChangeEvent, into: inout ByteWriter
  ) throws(MappingError) {
    let element = try element(at: outbox.payload, event: event)
    let state = state(ofPayload: outbox, rule)
    let inner = element.document
    if state.isDropped || (inner == nil && state.include >= 0) {
      throw MappingError(
        .pathMissing, "include and exclude leave nothing of \(text(of: outbox.payload))")
    }
    do throws(BSONError) {
      if let redaction = state.redaction {
        return try write(element, redacted: redaction, into: &into)
      } else if let inner, !state.isWhole {
        try writeFiltered(
          inner, state, isArray: element.type == .array, rule.json, depth: 1, into: &into)
      } else {
        try into.appendJSON(value: element, style: rule.json)
      }
    } catch {
      throw MappingError(error, in: text(of: outbox.payload))
    }
    if element.type == .document { appendConstants(rule, into: &into) }
  }
}
