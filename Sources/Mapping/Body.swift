import BSON
import Oplog

// Bodies: the event's facts in a fixed order, documents through the rule's filter.

extension MappingPlan {
  func writeBody(
    _ rule: RulePlan, event: borrowing ChangeEvent, match: Int, scratch: inout Scratch,
    into: inout ByteWriter
  ) throws(MappingError) {
    if rule.requiresImage, event.operation == .update, event.fullDocument == nil {
      throw MappingError(
        .imageMissing, "full_document is required, and this update's document can't be had")
    }
    if rule.requiresBeforeChange, event.fullDocumentBeforeChange == nil,
      OperationSet.changes.contains(event.operation)
    {
      throw MappingError(
        .imageMissing,
        "full_document_before_change is required, and the server kept none for this "
          + "\(event.operation.name); enable changeStreamPreAndPostImages on the collection")
    }
    try checkBudget(ofBody: rule, event)
    if rule.hasRenames { try checkNames(rule, event: event) }
    let start = into.count
    do {
      switch rule.envelope {
      case .cloudEventsStructured:
        try writeStructured(rule, event: event, match: match, scratch: &scratch, into: &into)
      case .debezium: try writeDebezium(rule, event: event, scratch: &scratch, into: &into)
      case .cloudEvents, .changeEvent, .document:
        try writePlain(rule, event: event, scratch: &scratch, into: &into)
      }
    } catch {
      into.truncate(to: start)
      throw error
    }
  }

  /// The payload without an envelope around it, with the rule's constants.
  func writePlain(
    _ rule: RulePlan, event: borrowing ChangeEvent, scratch: inout Scratch, into: inout ByteWriter
  ) throws(MappingError) {
    if let outbox = rule.outbox {
      return try writePayload(outbox, rule, event: event, into: &into)
    }
    switch rule.envelope {
    case .changeEvent: try writeChangeEvent(rule, event: event, into: &into)
    case .document: try writeDocument(rule, event: event, into: &into)
    case .cloudEvents, .cloudEventsStructured, .debezium:
      try writeData(rule, event: event, into: &into)
    }
    appendConstants(rule, into: &into)
  }

  /// Into the object that was just closed.
  func appendConstants(_ rule: RulePlan, into: inout ByteWriter) {
    guard rule.constants.count > 0 else { return }
    into.truncate(to: into.count - 1)
    let constants = bytes(rule.constants)
    let isEmpty = into.bytes[into.count - 1] == UInt8(ascii: "{")
    into.append(UnsafeRawBufferPointer(rebasing: constants[(isEmpty ? 1 : 0)...]))
    into.append(UInt8(ascii: "}"))
  }

  /// `{"operationType", "documentKey"?, "fullDocument"?, "updateDescription"?}`
  private func writeData(
    _ rule: RulePlan, event: borrowing ChangeEvent, into: inout ByteWriter
  ) throws(MappingError) {
    into.append("{\"operationType\":\"")
    into.append(event.operation.name)
    into.append(UInt8(ascii: "\""))
    try writeDocuments(rule, event: event, into: &into)
    into.append(UInt8(ascii: "}"))
  }

  /// `{"operationType", "clusterTime", "wallTime"?, "ns", "documentKey"?, "fullDocument"?,
  /// "updateDescription"?, "txnNumber"?, "lsid"?, "collectionUUID"?}`
  private func writeChangeEvent(
    _ rule: RulePlan, event: borrowing ChangeEvent, into: inout ByteWriter
  ) throws(MappingError) {
    do throws(BSONError) {
      try into.append(factsBefore: event, rule.facts, style: rule.json)
    } catch {
      throw MappingError(error, in: "the event")
    }
    try writeDocuments(rule, event: event, into: &into)
    do throws(BSONError) {
      try into.append(factsAfter: event, rule.facts, style: rule.json)
    } catch {
      throw MappingError(error, in: "the event")
    }
    into.append(UInt8(ascii: "}"))
  }

  /// The document itself: the inserted or replacing one, for a deletion the key.
  private func writeDocument(
    _ rule: RulePlan, event: borrowing ChangeEvent, into: inout ByteWriter
  ) throws(MappingError) {
    if let document = event.fullDocument {
      try write(document, rule.fullDocument, rule.json, in: "fullDocument", into: &into)
    } else if event.operation == .delete, let key = event.documentKey {
      try write(key, rule.documentKey, rule.json, in: "documentKey", into: &into)
    } else {
      throw MappingError(
        .pathMissing,
        "fullDocument is missing in this \(event.operation.name), and the envelope is document; "
          + (event.operation == .update
            ? "set full_document, or use the envelope cloudevents or change_event for it"
            : "use the envelope cloudevents or change_event for it"))
    }
  }

  func writeDocuments(
    _ rule: RulePlan, event: borrowing ChangeEvent, into: inout ByteWriter
  ) throws(MappingError) {
    if let key = event.documentKey, !rule.documentKey.isDropped {
      into.append(",\"documentKey\":")
      try write(key, rule.documentKey, rule.json, in: "documentKey", into: &into)
    }
    if let document = event.fullDocument, !rule.fullDocument.isDropped {
      into.append(",\"fullDocument\":")
      try write(document, rule.fullDocument, rule.json, in: "fullDocument", into: &into)
    }
    if let document = event.fullDocumentBeforeChange, !rule.beforeChange.isDropped {
      into.append(",\"fullDocumentBeforeChange\":")
      try write(
        document, rule.beforeChange, rule.json, in: "fullDocumentBeforeChange", into: &into)
    }
    if let description = event.operationDescription, !rule.operationDescription.isDropped {
      into.append(",\"operationDescription\":")
      try write(
        description, rule.operationDescription, rule.json, in: "operationDescription", into: &into)
    }
    if let state = event.stateBeforeChange, !rule.stateBeforeChange.isDropped {
      into.append(",\"stateBeforeChange\":")
      try write(state, rule.stateBeforeChange, rule.json, in: "stateBeforeChange", into: &into)
    }
    if let update = event.updateDescription, !rule.updateDescription.isDropped {
      into.append(",\"updateDescription\":")
      do throws(BSONError) {
        if rule.updateDescription.isWhole {
          try into.appendJSON(update, style: rule.json)
        } else {
          try writeUpdate(update, rule.updateDescription, rule.json, into: &into)
        }
      } catch {
        throw MappingError(error, in: "updateDescription")
      }
    }
  }

  func write(
    _ document: BSONView, _ state: FilterState, _ style: JSONStyle, in place: StaticString,
    into: inout ByteWriter
  ) throws(MappingError) {
    do throws(BSONError) {
      if state.isWhole {
        try into.appendJSON(document, style: style)
      } else {
        try writeFiltered(document, state, isArray: false, style, depth: 1, into: &into)
      }
    } catch {
      throw MappingError(error, in: "\(place)")
    }
  }

  // MARK: Filtering

  func writeFiltered(
    _ view: BSONView, _ state: FilterState, isArray: Bool, _ style: JSONStyle, depth: Int,
    into: inout ByteWriter
  ) throws(BSONError) {
    guard depth <= BSONView.maximumDepth else { throw BSONError(.tooDeep, at: 0) }
    into.append(isArray ? UInt8(ascii: "[") : UInt8(ascii: "{"))
    var first = true
    var hidden = HiddenPaths()
    try writeElements(
      view, state, isArray: isArray, style, depth: depth, &hidden, first: &first, into: &into)
    into.append(isArray ? UInt8(ascii: "]") : UInt8(ascii: "}"))
  }

  /// The part between the brackets.
  func writeElements(
    _ view: BSONView, _ state: FilterState, isArray: Bool, _ style: JSONStyle, depth: Int,
    _ hidden: inout HiddenPaths, first: inout Bool, into: inout ByteWriter
  ) throws(BSONError) {
    var walk = view.elements()
    while let element = try walk.next() {
      let next = filters.step(state, key: element.key, inArray: isArray)
      if leavesOut(element, next, below: state, inArray: isArray) { continue }
      if let length = filters.cutLength(of: element.key, next, below: state, inArray: isArray) {
        try write(
          masked: element.key, length, of: view, state, &hidden, first: &first, into: &into)
        continue
      }
      if !first { into.append(UInt8(ascii: ",")) }
      first = false
      if !isArray {
        try write(key: element.key, below: state, into: &into)
        into.append(UInt8(ascii: ":"))
      }
      if let redaction = next.redaction {
        try write(element, redacted: redaction, into: &into)
      } else if let inner = element.document, !next.isWhole {
        try writeFiltered(
          inner, next, isArray: element.type == .array, style, depth: depth &+ 1, into: &into)
      } else {
        try into.appendJSON(value: element, style: style)
      }
    }
  }

  /// Whether a filter leaves nothing of an element.
  @inline(__always)
  func leavesOut(
    _ element: BSONElement, _ next: FilterState, below state: FilterState, inArray: Bool
  ) -> Bool {
    if next.isDropped { return true }
    // Short of what `include` names, only documents and arrays can still lead there; or what a path says
    // of the inside of one that is redacted.
    return next.include >= 0 && element.document == nil
      && filters.cutLength(of: element.key, next, below: state, inArray: inArray) == nil
  }

  /// `removedFields`, `truncatedArrays` and `disambiguatedPaths` name fields: a field that the paths into
  /// `updatedFields` keep out is kept out there too, unless they are named themselves.
  func writeUpdate(
    _ update: BSONView, _ state: FilterState, _ style: JSONStyle, into: inout ByteWriter
  ) throws(BSONError) {
    let fields = filters.step(state, key: rawBytes("updatedFields"), inArray: false)
    // Until they are written.
    var vanished = try vanished(of: update, fields)
    into.append(UInt8(ascii: "{"))
    var first = true
    var walk = update.elements()
    while let element = try walk.next() {
      let own = filters.step(state, key: element.key, inArray: false)
      let gone = element.key.equals("removedFields") ? vanished : nil
      if gone != nil { vanished = nil }
      let paths = element.key.equals("disambiguatedPaths")
      let named = paths || element.listsFields
      if named ? own.exclude == FilterState.all : own.isDropped { continue }
      if !first { into.append(UInt8(ascii: ",")) }
      first = false
      try into.appendJSONString(element.key)
      into.append(UInt8(ascii: ":"))
      if let redaction = own.redaction {
        try write(element, redacted: redaction, into: &into)
        continue
      }
      guard let inner = element.document else {
        try into.appendJSON(value: element, style: style)
        continue
      }
      if paths, fields.redaction != nil {
        // They name values that are redacted as a whole.
        into.append("{}")
      } else if named {
        let include = own.include == FilterState.all ? FilterState.all : fields.include
        let state = FilterState(
          include: include, exclude: fields.exclude, change: fields.change)
        if paths {
          try writeDisambiguated(inner, state, style, into: &into)
        } else {
          try writeNamedFields(inner, state, gone, style, into: &into)
        }
      } else if own.change >= 0, element.key.equals("updatedFields") {
        try writeUpdatedFields(inner, own, of: update, state, style, into: &into)
      } else {
        try writeFiltered(
          inner, own, isArray: element.type == .array, style, depth: 2, into: &into)
      }
    }
    if let vanished {
      try writeRemoved(vanished, state, isFirst: first, into: &into)
    }
    into.append(UInt8(ascii: "}"))
  }

  private func writeNamedFields(
    _ array: BSONView, _ state: FilterState, _ vanished: VanishedFields?, _ style: JSONStyle,
    into: inout ByteWriter
  ) throws(BSONError) {
    into.append(UInt8(ascii: "["))
    var first = true
    var walk = array.elements()
    while let element = try walk.next() {
      let name = try element.listedField
      if let name, filters.step(state, key: name, inArray: false).isDropped { continue }
      // `updatedFields` shows it.
      if let name, maskedLength(of: name, element, below: state) != nil { continue }
      if !first { into.append(UInt8(ascii: ",")) }
      first = false
      if let name, state.change >= 0 {
        try writeNamed(element, name, state, style, into: &into)
      } else {
        try into.appendJSON(value: element, style: style)
      }
    }
    if let vanished { try writeNames(of: vanished, first: &first, into: &into) }
    into.append(UInt8(ascii: "]"))
  }
}

extension BSONElement {
  /// A list of an update's description that names fields instead of containing them.
  var listsFields: Bool { key.equals("removedFields") || key.equals("truncatedArrays") }

  /// The field that an element of such a list names.
  var listedField: UnsafeRawBufferPointer? {
    get throws(BSONError) { try document?.first("field")?.string ?? string }
  }
}
