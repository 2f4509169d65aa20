import BSON
import Oplog

extension MappingPlan {
  func writeHeaders(
    _ rule: RulePlan, event: borrowing ChangeEvent, match: Int, scratch: inout Scratch,
    into: inout ByteWriter
  ) throws(MappingError) {
    let start = into.count
    do {
      into.append("Nats-Msg-Id: ")
      let idStart = into.count
      try writeID(rule, event: event, match: match, scratch: &scratch, into: &into)
      let idEnd = into.count
      into.append("\r\nTailrace-Position: ")
      if rule.id == nil, match == 0, !event.isSnapshot, rule.outbox == nil {
        // The same digits stand at the end of the id.
        into.appendCopy(of: (idStart &+ Int(idPrefix.count))..<idEnd)
      } else {
        into.append(event.position)
      }
      into.append(bytes(rule.ruleHeader))
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
      into.append(escaping: try text(at: outbox.type, event: event), for: .header)
    } else if rule.eventType.count > 0 {
      into.append(bytes(rule.eventType))
    } else {
      let collection = event.collection
      into.append(escaping: collection.isEmpty ? event.database : collection, for: .header)
      into.append(UInt8(ascii: "."))
      into.append(event.operation.name)
    }
    into.append("\r\nce-time: ")
    // A clock beyond RFC 3339's years is as good as none.
    let clusterTime = Int64(event.position.entry.seconds) &* 1000
    let time = event.wallTime ?? clusterTime
    scratch.append(time: ISODate.range.contains(time) ? time : clusterTime, to: &into)
    into.append("\r\n")
    if let key = event.documentKey {
      try writeCloudEventsSubject(key, scratch: &scratch.bytes, into: &into)
    }
    into.append(bytes(rule.dataSchema))
  }

  /// `ce-subject` is the document's `_id`; left out where the event has none, or an empty one, since
  /// CloudEvents allows no empty attribute.
  private func writeCloudEventsSubject(
    _ key: BSONView, scratch: inout ByteWriter, into: inout ByteWriter
  ) throws(MappingError) {
    let start = into.count
    into.append("ce-subject: ")
    let valueStart = into.count
    do throws(BSONError) {
      if let id = try key.first("_id"),
        try !into.append(scalar: id, escaping: .header, scratch: &scratch)
      {
        // Not a single value: its JSON, then.
        scratch.removeAll()
        try scratch.appendJSON(value: id, style: .simplified)
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

  /// What every dead letter can have, whatever is wrong with the event.
  func writePositionalHeaders(
    _ rule: RulePlan?, name: String, event: borrowing ChangeEvent, match: Int,
    into: inout ByteWriter
  ) {
    into.append("Nats-Msg-Id: ")
    writePositionalID(rule, event: event, match: match, into: &into)
    into.append("\r\nTailrace-Position: ")
    into.append(event.position)
    into.append("\r\nTailrace-Rule: ")
    into.append(name, escapedFor: .header)
    into.append("\r\n")
    if event.isSnapshot { into.append("Tailrace-Snapshot: true\r\n") }
  }
}

extension ByteWriter {
  /// Appends bytes that this writer already holds.
  mutating func appendCopy(of range: Range<Int>) {
    // Room first: growing in the middle would move the source away.
    reserve(range.count)
    let source = UnsafeRawBufferPointer(rebasing: bytes[range])
    append(source)
  }

  /// One line of ASCII for people: anything else as `\u{NN}`, no more than `limit` bytes, never cut
  /// within an escape.
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
