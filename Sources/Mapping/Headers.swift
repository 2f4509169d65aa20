import BSON
import Oplog

extension MappingPlan {
  /// `asLetter`: for the event's dead letter, which names its bridge whatever the rule's stream is.
  func writeHeaders(
    _ rule: RulePlan, event: borrowing ChangeEvent, match: Int, asLetter: Bool = false,
    scratch: inout Scratch, into: inout ByteWriter
  ) throws(MappingError) {
    let start = into.count
    do {
      into.append("Nats-Msg-Id: ")
      let idStart = into.count
      try writeID(rule, event: event, match: match, scratch: &scratch, into: &into)
      let idEnd = into.count
      into.append("\r\nTailrace-Position: ")
      if rule.id == nil, match == 0, !event.isSnapshot, rule.outbox == nil {
        // The id ends with the same digits.
        into.appendCopy(of: (idStart &+ Int(idPrefix.count))..<idEnd)
      } else {
        into.append(event.position)
      }
      into.append(bytes(asLetter ? rule.letterRuleHeader : rule.ruleHeader))
      if rule.envelope == .cloudEvents {
        into.append("ce-specversion: 1.0\r\nce-id: ")
        into.appendCopy(of: idStart..<idEnd)
        try writeCloudEventsContext(rule, event: event, scratch: &scratch, into: &into)
      }
      if rule.envelope == .cloudEventsStructured {
        into.append("Content-Type: application/cloudevents+json\r\n")
      }
      if let image = event.image {
        into.append("Tailrace-Image: ")
        into.append(image.name)
        into.append("\r\n")
      }
      if event.isSnapshot { into.append("Tailrace-Snapshot: true\r\n") }
      if rule.isBucket, !asLetter {
        if event.operation == .delete {
          into.append("KV-Operation: PURGE\r\nNats-Rollup: sub\r\n")
        } else {
          into.append(bytes(rule.keyTTL))
        }
      }
      try MessageLimits.check(headerLines: into.count &- start)
    } catch {
      into.truncate(to: start)
      throw error
    }
  }

  /// From the end of `ce-id` on.
  private func writeCloudEventsContext(
    _ rule: RulePlan, event: borrowing ChangeEvent, scratch: inout Scratch,
    into: inout ByteWriter
  ) throws(MappingError) {
    into.append(bytes(ceSource))
    scratch.append(database: event.database, to: &into)
    into.append("\r\nce-type: ")
    if let outbox = rule.outbox {
      let type = try text(at: outbox.type, event: event)
      guard type.count <= MessageLimits.headerLines else {
        throw MessageLimits.headersTooLarge("ce-type", type.count)
      }
      into.append(escaping: type, for: .header)
    } else if rule.eventType.count > 0 {
      into.append(bytes(rule.eventType))
    } else {
      let collection = event.collection
      into.append(escaping: collection.isEmpty ? event.database : collection, for: .header)
      into.append(UInt8(ascii: "."))
      into.append(event.operation.name)
    }
    into.append("\r\nce-time: ")
    // A clock beyond RFC 3339's years is useless.
    let clusterTime = Int64(event.position.entry.seconds) &* 1000
    let time = event.wallTime ?? clusterTime
    scratch.append(time: ISODate.range.contains(time) ? time : clusterTime, to: &into)
    into.append("\r\n")
    if let key = event.documentKey {
      try writeCloudEventsSubject(key, rule, scratch: &scratch.bytes, into: &into)
    }
    into.append(bytes(rule.dataSchema))
  }

  /// `ce-subject` is the document's `_id`; left out where the event has none, or an empty one, since
  /// CloudEvents allows no empty attribute, and where it is left out of bodies or masked. A hash is given for
  /// an `_id` that is hashed.
  private func writeCloudEventsSubject(
    _ key: BSONView, _ rule: RulePlan, scratch: inout ByteWriter, into: inout ByteWriter
  ) throws(MappingError) {
    let id: BSONElement?
    do { id = try key.first("_id") } catch { throw MappingError(error, in: "documentKey._id") }
    guard let id, !rule.documentID.hidesAll else { return }
    guard id.leastTextLength <= MessageLimits.headerLines else {
      throw MessageLimits.headersTooLarge("documentKey._id", id.value.count)
    }
    let start = into.count
    into.append("ce-subject: ")
    let valueStart = into.count
    do throws(BSONError) {
      var isWritten = false
      if rule.documentID.redaction == nil {
        isWritten = try into.append(scalar: id, escaping: .header, scratch: &scratch)
      }
      if !isWritten {
        // Not a single value: its JSON, then.
        try writeText(ofID: id, rule, into: &scratch)
        into.append(escaping: scratch.bytes, for: .header)
      }
    } catch {
      throw MappingError(error, in: "documentKey._id")
    }
    if into.count > valueStart {
      into.append("\r\n")
    } else {
      into.truncate(to: start)
    }
  }

  /// JSON of a document's `_id` as the rule shows it; of text, without the quotes.
  func writeText(
    ofID id: BSONElement, _ rule: RulePlan, into: inout ByteWriter
  ) throws(BSONError) {
    let state = rule.documentID
    into.removeAll()
    if let redaction = state.redaction {
      var text = ByteWriter(capacity: 80)
      try write(id, redacted: redaction, into: &text)
      let isQuoted = text.bytes.first == UInt8(ascii: "\"")
      into.append(
        UnsafeRawBufferPointer(
          rebasing: isQuoted ? text.bytes.dropFirst().dropLast() : text.bytes[...]))
    } else if let inner = id.document, !state.isWhole {
      try writeFiltered(
        inner, state, isArray: id.type == .array, .simplified, depth: 2, into: &into)
    } else {
      try into.appendJSON(value: id, style: .simplified)
    }
  }

  /// The headers that every dead letter can have: the rule's own id, or the positional one if that can't be
  /// derived, and the event's position.
  func writeLeastHeaders(
    _ rule: RulePlan?, name: String, event: borrowing ChangeEvent, match: Int,
    scratch: inout Scratch, into: inout ByteWriter
  ) {
    into.append("Nats-Msg-Id: ")
    writeIdentity(rule, event: event, match: match, scratch: &scratch, into: &into)
    into.append("\r\nTailrace-Position: ")
    into.append(event.position)
    into.append("\r\nTailrace-Rule: ")
    into.append(name, escapedFor: .header)
    into.append("\r\n")
    into.append(bytes(bridgeHeader))
    if event.isSnapshot { into.append("Tailrace-Snapshot: true\r\n") }
  }
}

extension MappingPlan {
  /// The error for an event whose description would have been too large to be built.
  func oversized(_ event: borrowing ChangeEvent) -> MappingError {
    MappingError(
      .payloadTooLarge,
      "the update's description would have more than \(OplogDecoder.maximumUpdate) bytes; "
        + "the oplog entry has it all")
  }
}

extension ByteWriter {
  /// `Tailrace-Error` and `Tailrace-Error-Detail`.
  ///
  /// - Parameter limit: bytes of the detail.
  mutating func append(reason error: MappingError, limit: Int) {
    append("Tailrace-Error: ")
    append(error.code.rawValue)
    append("\r\nTailrace-Error-Detail: ")
    append(line: error.detail, limit: limit)
    append("\r\n")
  }

  /// Appends bytes that this writer already holds.
  mutating func appendCopy(of range: Range<Int>) {
    // Room first: growing in the middle would move the source away.
    reserve(range.count)
    let source = UnsafeRawBufferPointer(rebasing: bytes[range])
    append(source)
  }

  /// One line of ASCII for people, at most `limit` bytes: other characters as `\u{NN}`, never cut within an
  /// escape.
  mutating func append(line text: String, limit: Int) {
    let start = count
    for scalar in text.unicodeScalars {
      let before = count
      append(
        (0x20..<0x7F).contains(scalar.value)
          ? String(scalar) : "\\u{\(String(scalar.value, radix: 16, uppercase: true))}")
      if count - start > limit {
        truncate(to: before)
        return
      }
    }
  }
}
