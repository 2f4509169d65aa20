import BSON
import Oplog

// Envelopes that are one JSON object around the payload.
extension MappingPlan {
  /// CloudEvents 1.0, JSON format: the attributes of `cloudevents`' headers, then `data`.
  func writeStructured(
    _ rule: RulePlan, event: borrowing ChangeEvent, match: Int, scratch: inout Scratch,
    into: inout ByteWriter
  ) throws(MappingError) {
    into.append("{\"specversion\":\"1.0\",\"id\":\"")
    // An id holds nothing that JSON escapes but the backslash.
    let start = into.count
    try writeID(rule, event: event, match: match, scratch: &scratch, into: &into)
    if into.bytes[start...].contains(UInt8(ascii: "\\")) {
      scratch.bytes.removeAll()
      scratch.bytes.append(UnsafeRawBufferPointer(rebasing: into.bytes[start...]))
      into.truncate(to: start - 1)
      try string(scratch.bytes.bytes, in: "id", into: &into)
    } else {
      into.append("\"")
    }
    into.append(",\"source\":\"/mongodb/")
    into.append(uri: bytes(source))
    into.append("/")
    into.append(uri: event.database)
    into.append("\",\"type\":")
    try writeType(rule, event: event, scratch: &scratch, into: &into)
    into.append(",\"time\":\"")
    let clusterTime = Int64(event.position.entry.seconds) &* 1000
    let time = event.wallTime ?? clusterTime
    scratch.append(time: ISODate.range.contains(time) ? time : clusterTime, to: &into)
    into.append("\"")
    try writeSubjectAttribute(rule, event, scratch: &scratch, into: &into)
    if rule.dataSchemaText.count > 0 {
      into.append(",\"dataschema\":")
      try string(bytes(rule.dataSchemaText), in: "schema", into: &into)
    }
    into.append(",\"datacontenttype\":\"application/json\",\"data\":")
    try writePlain(rule, event: event, scratch: &scratch, into: &into)
    into.append("}")
  }

  private func writeType(
    _ rule: RulePlan, event: borrowing ChangeEvent, scratch: inout Scratch, into: inout ByteWriter
  ) throws(MappingError) {
    if let outbox = rule.outbox {
      let type = try text(at: outbox.type, event: event)
      return try string(type, in: "type", into: &into)
    }
    if rule.eventTypeText.count > 0 {
      return try string(bytes(rule.eventTypeText), in: "event_type", into: &into)
    }
    scratch.bytes.removeAll()
    let collection = event.collection
    scratch.bytes.append(collection.isEmpty ? event.database : collection)
    scratch.bytes.append(".")
    scratch.bytes.append(event.operation.name)
    try string(scratch.bytes.bytes, in: "ns", into: &into)
  }

  private func writeSubjectAttribute(
    _ rule: RulePlan, _ event: borrowing ChangeEvent, scratch: inout Scratch, into: inout ByteWriter
  ) throws(MappingError) {
    guard let key = event.documentKey, !rule.documentID.hidesAll else { return }
    do throws(BSONError) {
      guard let id = try key.first("_id") else { return }
      try writeText(ofID: id, rule, into: &scratch.bytes)
      if rule.documentID.redaction == nil, scratch.bytes.bytes.first == UInt8(ascii: "\"") {
        // CloudEvents allows no empty attribute.
        guard scratch.bytes.count > 2 else { return }
        into.append(",\"subject\":")
        into.append(scratch.bytes.bytes)
      } else {
        into.append(",\"subject\":")
        try into.appendJSONString(scratch.bytes.bytes)
      }
    } catch {
      throw MappingError(error, in: "documentKey._id")
    }
  }

  private func string(
    _ text: UnsafeRawBufferPointer, in place: String, into: inout ByteWriter
  ) throws(MappingError) {
    do throws(BSONError) {
      try into.appendJSONString(text)
    } catch {
      throw MappingError(error, in: place)
    }
  }

  // MARK: Debezium

  /// `{"before", "after", "updateDescription", "source", "op", "ts_ms"}`, documents as JSON in strings,
  /// as that connector writes them. Everything is a function of the oplog.
  func writeDebezium(
    _ rule: RulePlan, event: borrowing ChangeEvent, scratch: inout Scratch, into: inout ByteWriter
  ) throws(MappingError) {
    let op: StaticString
    switch event.operation {
    case .insert: op = event.isSnapshot ? "r" : "c"
    case .update, .replace: op = "u"
    case .delete: op = "d"
    default:
      throw MappingError(
        .pathMissing, "the envelope is debezium, which has no form for \(event.operation.name)")
    }
    into.append("{\"before\":")
    try quoted(
      event.fullDocumentBeforeChange, rule, rule.beforeChange, "fullDocumentBeforeChange",
      &scratch, into: &into)
    into.append(",\"after\":")
    try quoted(event.fullDocument, rule, rule.fullDocument, "fullDocument", &scratch, into: &into)
    into.append(",\"updateDescription\":")
    try writeDebeziumUpdate(rule, event: event, &scratch, into: &into)
    into.append(",\"documentKey\":")
    try quoted(event.documentKey, rule, rule.documentKey, "documentKey", &scratch, into: &into)
    try writeDebeziumSource(event, into: &into)
    into.append(",\"op\":\"")
    into.append(op)
    into.append("\",\"ts_ms\":")
    let clusterTime = Int64(event.position.entry.seconds) &* 1000
    into.append(decimal: event.wallTime ?? clusterTime)
    into.append("}")
    appendConstants(rule, into: &into)
  }

  private func writeDebeziumUpdate(
    _ rule: RulePlan, event: borrowing ChangeEvent, _ scratch: inout Scratch,
    into: inout ByteWriter
  ) throws(MappingError) {
    guard let update = event.updateDescription, !rule.updateDescription.isDropped else {
      return into.append("null")
    }
    do throws(BSONError) {
      // Through the rule's filter first; its members are taken apart then.
      scratch.bytes.removeAll()
      if rule.updateDescription.isWhole {
        try scratch.bytes.appendJSON(update, style: rule.json)
      } else {
        try writeUpdate(update, rule.updateDescription, rule.json, into: &scratch.bytes)
      }
      var parsed = ByteWriter(capacity: scratch.bytes.count + 64)
      guard (try? parsed.append(bsonOf: scratch.bytes.bytes)) != nil,
        let members = try BSONView(parsed.bytes).first("")?.document
      else { throw BSONError(.tooDeep, at: 0) }
      into.append("{\"removedFields\":")
      try member(members, "removedFields", into: &into)
      into.append(",\"updatedFields\":")
      if let fields = try members.first("updatedFields")?.document {
        scratch.bytes.removeAll()
        try scratch.bytes.appendJSON(fields, style: .simplified)
        try into.appendJSONString(scratch.bytes.bytes)
      } else {
        into.append("null")
      }
      into.append(",\"truncatedArrays\":")
      try member(members, "truncatedArrays", into: &into)
      into.append("}")
    } catch {
      throw MappingError(error, in: "updateDescription")
    }
  }

  private func member(
    _ members: BSONView, _ key: StaticString, into: inout ByteWriter
  ) throws(BSONError) {
    var walk = try members.first(key)?.document?.elements()
    guard let list = try members.first(key), try walk?.next() != nil else {
      return into.append("null")
    }
    try into.appendJSON(value: list, style: .simplified)
  }

  private func writeDebeziumSource(
    _ event: borrowing ChangeEvent, into: inout ByteWriter
  ) throws(MappingError) {
    into.append(",\"source\":{\"version\":\"tailrace\",\"connector\":\"mongodb\",\"name\":")
    try string(bytes(source), in: "source.name", into: &into)
    into.append(",\"ts_ms\":")
    into.append(decimal: UInt64(event.position.entry.seconds) &* 1000)
    into.append(event.isSnapshot ? ",\"snapshot\":\"true\"" : ",\"snapshot\":\"false\"")
    into.append(",\"db\":")
    try string(event.database, in: "ns.db", into: &into)
    into.append(",\"collection\":")
    try string(event.collection, in: "ns.coll", into: &into)
    into.append(",\"ord\":")
    into.append(decimal: UInt64(event.position.entry.increment))
    into.append(",\"index\":")
    into.append(decimal: UInt64(event.position.index))
    into.append(",\"txnNumber\":")
    if let number = event.txnNumber { into.append(decimal: number) } else { into.append("null") }
    into.append("}")
  }

  /// A document as a string with its JSON.
  private func quoted(
    _ document: BSONView?, _ rule: RulePlan, _ state: FilterState, _ place: StaticString,
    _ scratch: inout Scratch, into: inout ByteWriter
  ) throws(MappingError) {
    guard let document, !state.isDropped else { return into.append("null") }
    scratch.bytes.removeAll()
    try write(document, state, rule.json, in: place, into: &scratch.bytes)
    try string(scratch.bytes.bytes, in: "\(place)", into: &into)
  }
}

extension ByteWriter {
  /// A URI component, percent-encoded once.
  mutating func append(uri bytes: UnsafeRawBufferPointer) {
    for byte in bytes {
      if staysInToken(byte) || byte == UInt8(ascii: ".") {
        append(byte)
      } else {
        append(percent: byte)
      }
    }
  }
}
