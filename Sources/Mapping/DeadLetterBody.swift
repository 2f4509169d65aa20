import BSON
import Oplog

extension MappingPlan {
  func writeDeadLetterBody(event: borrowing ChangeEvent, limit: Int, into: inout ByteWriter) {
    let start = into.count
    let event = copy event
    var omitted: [DocumentField] = event.isOversized ? [.updateDescription] : []
    // Documents are the large parts. The largest is left out first, until the rest fits. One that can't fit
    // is not written in vain: even empty arrays in an array keep a fifth of their size as JSON.
    let bySize = DocumentField.allCases
      .map { ($0, $0.view(of: event)?.bytes.count ?? 0) }
      .filter { $0.1 > 0 }.sorted { $0.1 > $1.1 }
    var rest = bySize[...]
    while let (field, size) = rest.first, size / 8 > limit {
      omitted.append(field)
      rest.removeFirst()
    }
    let end = limit < .max - start ? start + limit : .max
    for field in [nil] + rest.map({ Optional($0.0) }) {
      if let field { omitted.append(field) }
      into.truncate(to: start)
      into.limit(to: end)
      into.append(changeEvent: event, omitting: omitted)
      let fits = !into.isCut && into.count <= end
      into.limit(to: nil)
      if fits { return }
    }
    // Names can be long as well.
    into.truncate(to: start)
    into.append("{\"operationType\":\"")
    into.append(event.operation.name)
    into.append("\",\"omitted\":[\"")
    into.append((omitted.map(\.rawValue) + ["ns"]).joined(separator: "\",\""))
    into.append("\"]}")
  }
}

/// The documents of a change event, in the order bodies have them.
private enum DocumentField: String, CaseIterable {
  case documentKey, fullDocument, fullDocumentBeforeChange, updateDescription
  case operationDescription, stateBeforeChange, lsid

  func view(of event: borrowing ChangeEvent) -> BSONView? {
    switch self {
    case .documentKey: event.documentKey
    case .fullDocument: event.fullDocument
    case .fullDocumentBeforeChange: event.fullDocumentBeforeChange
    case .updateDescription: event.updateDescription
    case .operationDescription: event.operationDescription
    case .stateBeforeChange: event.stateBeforeChange
    case .lsid: event.lsid
    }
  }
}

extension ByteWriter {
  /// The whole event in canonical form; never fails, since there is no further fallback.
  fileprivate mutating func append(
    changeEvent event: borrowing ChangeEvent, omitting omitted: [DocumentField]
  ) {
    let start = count
    do {
      try append(factsBefore: event, .all, style: .canonical)
    } catch {
      // Only a namespace that is not UTF-8 gets here.
      truncate(to: start)
      append("{\"operationType\":\"")
      append(event.operation.name)
      append("\"")
    }
    for field in DocumentField.allCases where field != .lsid && !omitted.contains(field) {
      append(field, field.view(of: event))
    }
    var after = EventFacts([.txnNumber, .collectionUUID])
    if !omitted.contains(.lsid) { after.insert(.lsid) }
    let end = count
    do { try append(factsAfter: event, after, style: .canonical) } catch { truncate(to: end) }
    if !omitted.isEmpty {
      append(",\"omitted\":[\"")
      append(omitted.map(\.rawValue).joined(separator: "\",\""))
      append("\"]")
    }
    append(UInt8(ascii: "}"))
  }

  private mutating func append(_ field: DocumentField, _ document: BSONView?) {
    guard let document else { return }
    append(",\"")
    append(field.rawValue)
    append("\":")
    let start = count
    do {
      // A replay must find the identical document.
      if try document.isExactInExtendedJSON() {
        return try appendJSON(document, style: .canonical)
      }
    } catch {
      truncate(to: start)
      if isCut { return }
    }
    append("{\"$binary\":{\"base64\":\"")
    appendBase64(document.bytes)
    append("\",\"subType\":\"00\"}}")
  }
}
