import BSON
import Oplog

// Filling templates: paths looked up in the event, values rendered and escaped in place.

/// No value of a subject or an id can be longer.
private let longestLength = max(MessageLimits.subject, MessageLimits.id)

extension MappingPlan {
  /// On an error `into` may hold a part of the text; callers take it back.
  func write(
    _ template: TemplateRange, escaping: Escaping, event: borrowing ChangeEvent,
    scratch: inout Scratch, into: inout ByteWriter
  ) throws(MappingError) {
    var index = Int(template.start)
    let end = index &+ Int(template.count)
    while index < end {
      let step = steps[index]
      if let field = step.field {
        let before = into.count
        let found = try writeValue(
          field, bytes(step.bytes), escaping: escaping, event: event, scratch: &scratch, into: &into
        )
        guard found else { throw pathMissing(step, event) }
        guard into.count > before else { throw emptyValue(step, escaping) }
      } else {
        into.append(bytes(step.bytes))
      }
      index &+= 1
    }
  }

  func writeSubject(
    _ rule: RulePlan, event: borrowing ChangeEvent, scratch: inout Scratch,
    into: inout ByteWriter
  ) throws(MappingError) {
    let start = into.count
    do {
      if let outbox = rule.outbox {
        return try writeSubject(outbox, event: event, into: &into)
      }
      try write(rule.subject, escaping: rule.escaping, event: event, scratch: &scratch, into: &into)
      if into.count &- start > SubjectToken.maximumLength {
        try checkLengths(UnsafeRawBufferPointer(rebasing: into.bytes[start...]))
      }
    } catch {
      into.truncate(to: start)
      throw error
    }
  }

  func writeID(
    _ rule: RulePlan, event: borrowing ChangeEvent, match: Int, scratch: inout Scratch,
    into: inout ByteWriter
  ) throws(MappingError) {
    if let outbox = rule.outbox {
      return try writeID(outbox, event: event, scratch: &scratch, into: &into)
    }
    guard let template = rule.id else {
      return writePositionalID(rule, event: event, match: match, into: &into)
    }
    let start = into.count
    try write(template, escaping: .header, event: event, scratch: &scratch, into: &into)
    if event.isSnapshot {
      // Of its own: a snapshot repeats what streams have, and would be dropped as a repetition.
      into.append(":snapshot:")
      into.append(event.position.entry)
    }
    guard into.count &- start <= MessageLimits.id else {
      throw MappingError(
        .idInvalid,
        "the id is \(into.count - start) bytes long; at most \(MessageLimits.id) are allowed")
    }
  }

  /// The rule's own id where it can be derived, else the positional one.
  func writeIdentity(
    _ rule: RulePlan?, event: borrowing ChangeEvent, match: Int, scratch: inout Scratch,
    into: inout ByteWriter
  ) {
    let start = into.count
    do throws(MappingError) {
      guard let rule else { throw MappingError(.unmatched, "") }
      try writeID(rule, event: event, match: match, scratch: &scratch, into: &into)
    } catch {
      into.truncate(to: start)
      writePositionalID(rule, event: event, match: match, into: &into)
    }
  }

  func writePositionalID(
    _ rule: RulePlan?, event: borrowing ChangeEvent, match: Int, into: inout ByteWriter
  ) {
    into.append(bytes(idPrefix))
    if event.isSnapshot {
      write(
        snapshotIdentity: event, rule, isFollowed: match > 0 && rule != nil, into: &into)
    } else {
      into.append(event.position)
    }
    if match > 0, let rule { into.append(bytes(rule.idSuffix)) }
  }

  /// Returns false where the event has no such value.
  private func writeValue(
    _ field: EventField, _ remainder: UnsafeRawBufferPointer, escaping: Escaping,
    event: borrowing ChangeEvent, scratch: inout Scratch, into: inout ByteWriter
  ) throws(MappingError) -> Bool {
    let document: BSONView?
    switch field {
    case .operationType:
      into.append(event.operation.name)
      return true
    case .database:
      into.append(escaping: event.database, for: escaping)
      return true
    case .collection:
      guard !event.collection.isEmpty else { return false }
      into.append(escaping: event.collection, for: escaping)
      return true
    case .clusterTime:
      scratch.bytes.removeAll()
      scratch.bytes.append(event.position.entry)
      into.append(escaping: scratch.bytes.bytes, for: escaping)
      return true
    case .wallTime:
      guard let wallTime = event.wallTime else { return false }
      scratch.bytes.removeAll()
      scratch.bytes.appendISODate(milliseconds: wallTime)
      into.append(escaping: scratch.bytes.bytes, for: escaping)
      return true
    case .txnNumber:
      guard let txnNumber = event.txnNumber else { return false }
      into.append(decimal: txnNumber)
      return true
    case .documentKey: document = event.documentKey
    case .fullDocument: document = event.fullDocument
    case .updateDescription: document = event.updateDescription
    case .lsid: document = event.lsid
    }
    guard let document else { return false }
    let element: BSONElement?
    do { element = try document.find(remainder, steps: &scratch.lookupSteps) } catch {
      throw MappingError(error, in: field.name)
    }
    if scratch.lookupSteps < 0 {
      throw LookupBudget.exceeded(pathText(field, remainder), LookupBudget.part)
    }
    guard let element else { return false }
    try writeScalar(
      element, field, remainder, escaping: escaping, scratch: &scratch, into: &into)
    return true
  }

  private func writeScalar(
    _ element: BSONElement, _ field: EventField, _ remainder: UnsafeRawBufferPointer,
    escaping: Escaping, scratch: inout Scratch, into: inout ByteWriter
  ) throws(MappingError) {
    switch element.type {
    case .document, .array:
      throw MappingError(
        .valueUnsupported,
        "\(pathText(field, remainder)) is \(element.type == .array ? "an array" : "a document"), "
          + "not a single value")
    default:
      guard element.leastTextLength <= longestLength else {
        throw MappingError(
          escaping == .header ? .idInvalid : .subjectInvalid,
          "\(pathText(field, remainder)) is \(element.value.count) bytes long; "
            + "at most \(longestLength) are allowed")
      }
      let supported: Bool
      do {
        supported = try into.append(
          scalar: element, escaping: escaping, scratch: &scratch.bytes)
      } catch {
        throw MappingError(error, in: pathText(field, remainder))
      }
      guard supported else {
        throw MappingError(
          .valueUnsupported,
          "\(pathText(field, remainder)) is a \(element.type), which has no plain text form")
      }
    }
  }

  // MARK: Cold

  private func checkLengths(_ subject: UnsafeRawBufferPointer) throws(MappingError) {
    guard subject.count <= MessageLimits.subject else {
      throw MappingError(
        .subjectInvalid,
        "the subject is \(subject.count) bytes long; at most \(MessageLimits.subject) are allowed")
    }
    for token in subject.split(separator: UInt8(ascii: "."))
    where token.count > SubjectToken.maximumLength {
      let start = String(decoding: token.prefix(40), as: UTF8.self)
      throw MappingError(
        .subjectInvalid,
        "the token \(start)… is \(token.count) bytes long; "
          + "at most \(SubjectToken.maximumLength) are allowed")
    }
  }

  private func pathText(_ field: EventField, _ remainder: UnsafeRawBufferPointer) -> String {
    remainder.isEmpty ? field.name : "\(field.name).\(String(decoding: remainder, as: UTF8.self))"
  }

  private func pathMissing(_ step: TemplateStep, _ event: borrowing ChangeEvent) -> MappingError {
    guard let field = step.field else { return MappingError(.pathMissing, "no path") }
    let path = pathText(field, bytes(step.bytes))
    let operation = "\(event.operation.name)"
    if field == .fullDocument, event.operation == .update {
      return MappingError(
        .pathMissing,
        "\(path) is missing: the oplog holds no full document for an update; "
          + "set payload.full_document, or use documentKey or updateDescription")
    }
    return MappingError(.pathMissing, "\(path) is missing in this \(operation)")
  }

  private func emptyValue(_ step: TemplateStep, _ escaping: Escaping) -> MappingError {
    let path = step.field.map { pathText($0, bytes(step.bytes)) } ?? ""
    return MappingError(
      escaping == .header ? .idInvalid : .subjectInvalid, "\(path) is an empty string")
  }
}

extension BSONView {
  /// The element at a dotted path. A key that itself holds dots is found as well, whole (`"a.b"`
  /// in an update's `updatedFields`) or as a part of the way; the first in document order wins.
  ///
  /// `steps` is lowered by the number of fields that were passed. Below zero, the search was given up.
  func find(
    _ path: UnsafeRawBufferPointer, steps: inout Int
  ) throws(BSONError) -> BSONElement? {
    var walk = elements()
    while let element = try walk.next() {
      steps &-= 1
      if steps < 0 { return nil }
      let key = element.key
      if key.count == path.count {
        if key.equals(path) { return element }
      } else if key.count < path.count, path[key.count] == UInt8(ascii: "."),
        element.type == .document || element.type == .array,
        key.equals(UnsafeRawBufferPointer(rebasing: path[..<key.count])),
        let inner = element.document,
        let found = try inner.find(
          UnsafeRawBufferPointer(rebasing: path[(key.count &+ 1)...]), steps: &steps)
      {
        return found
      }
    }
    return nil
  }
}

extension BSONElement {
  /// A bound that the value's text is not shorter than, known without writing it; 0 where none is.
  var leastTextLength: Int {
    switch type {
    case .string, .symbol, .javascript, .binary: value.count &- 5
    default: 0
    }
  }
}

extension ByteWriter {
  /// `<seconds>.<increment>`.
  mutating func append(_ position: OplogPosition) {
    append(decimal: UInt64(position.seconds))
    append(UInt8(ascii: "."))
    append(decimal: UInt64(position.increment))
  }

  /// `<seconds>.<increment>.<index>`.
  mutating func append(_ position: EventPosition) {
    append(position.entry)
    append(UInt8(ascii: "."))
    append(decimal: UInt64(position.index))
  }

  /// A value as a template shows it: its simplified JSON without quotes, but doubles as JavaScript
  /// prints them. Returns false for a type that has no such text.
  mutating func append(
    scalar element: BSONElement, escaping: Escaping, scratch: inout ByteWriter
  ) throws(BSONError) -> Bool {
    if let double = element.double {
      scratch.removeAll()
      scratch.append(javaScript: double)
      append(escaping: scratch.bytes, for: escaping)
      return true
    }
    return try append(plain: element, escaping: escaping, scratch: &scratch)
  }

  /// A value as its simplified JSON without quotes. Returns false for a type that has no such text.
  mutating func append(
    plain element: BSONElement, escaping: Escaping, scratch: inout ByteWriter
  ) throws(BSONError) -> Bool {
    let form = element.simplifiedForm
    switch form {
    case .text:
      guard let text = element.string else { return false }
      append(escaping: text, for: escaping)
    case .integer:
      guard let value = element.integer else { return false }
      append(decimal: value)
    case .objectID:
      appendHex(element.value)
    default:
      if form.jsonType == .object || form.jsonType == .array { return false }
      scratch.removeAll()
      try scratch.appendJSON(value: element, style: .simplified)
      var text = scratch.bytes
      if form.jsonType == .string, text.count >= 2 {
        // None of these strings holds anything that JSON escapes.
        text = UnsafeRawBufferPointer(rebasing: text[1..<(text.count &- 1)])
      }
      append(escaping: text, for: escaping)
    }
    return true
  }
}
