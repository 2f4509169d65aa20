import BSON
package import Oplog

/// A change event that was written down as Extended JSON (by `tailrace decode`, or as a dead letter's
/// body), to be mapped again.
package struct RecordedEvent: Sendable {
  package struct Malformed: Error, CustomStringConvertible {
    package var description: String
  }

  private let bytes: [UInt8]
  private let namespace: [UInt8]
  private let databaseLength: Int
  private let to: [UInt8]?
  package let operation: OperationType
  package var position: EventPosition
  package var isSnapshot = false
  /// The kind of an update's `fullDocument`, if that was looked up.
  package var image: ImageKind?

  /// `index` is the event's place within its oplog entry, which the text doesn't contain.
  package init(_ text: some StringProtocol, index: UInt32) throws(Malformed) {
    do {
      bytes = try ExtendedJSON.bson(text, as: .printed)
    } catch {
      throw Malformed(description: error.description)
    }
    var fields = Fields()
    do {
      try bytes.withUnsafeBytes { try fields.read(BSONView($0)) }
    } catch {
      throw Malformed(description: "\(error)")
    }
    guard let operation = fields.operation else {
      throw Malformed(description: "operationType is missing or unknown")
    }
    guard let time = fields.clusterTime else {
      throw Malformed(description: "clusterTime is missing or no timestamp")
    }
    guard !fields.database.isEmpty else { throw Malformed(description: "ns.db is missing") }
    self.operation = operation
    position = EventPosition(entry: time, index: index)
    namespace = Self.joined(fields.database, fields.collection)
    databaseLength = fields.database.count
    to = fields.toDatabase.isEmpty ? nil : Self.joined(fields.toDatabase, fields.toCollection)
  }

  private static func joined(_ database: [UInt8], _ collection: [UInt8]) -> [UInt8] {
    collection.isEmpty ? database : database + [UInt8(ascii: ".")] + collection
  }

  private struct Fields {
    var operation: OperationType?
    var clusterTime: OplogPosition?
    var database: [UInt8] = []
    var collection: [UInt8] = []
    var toDatabase: [UInt8] = []
    var toCollection: [UInt8] = []

    mutating func read(_ view: BSONView) throws(BSONError) {
      if let name = try view.first("operationType")?.string {
        let text = String(decoding: name, as: UTF8.self)
        operation = OperationType.allCases.first { "\($0.name)" == text }
      }
      if let time = try view.first("clusterTime")?.timestamp {
        clusterTime = OplogPosition(seconds: time.seconds, increment: time.increment)
      }
      if let ns = try view.first("ns")?.document { (database, collection) = try Self.name(ns) }
      if let to = try view.first("to")?.document { (toDatabase, toCollection) = try Self.name(to) }
    }

    private static func name(_ view: BSONView) throws(BSONError) -> ([UInt8], [UInt8]) {
      (
        try view.first("db")?.string.map { Array($0) } ?? [],
        try view.first("coll")?.string.map { Array($0) } ?? []
      )
    }
  }

  /// Lends the event; its memory lives as long as the call.
  package func withEvent<R>(_ body: (ChangeEvent) throws -> R) throws -> R {
    try bytes.withUnsafeBytes { raw in
      try namespace.withUnsafeBytes { namespace in
        try (to ?? []).withUnsafeBytes { toBytes in
          let view = try BSONView(raw)
          var event = ChangeEvent(
            operation: operation, position: position, namespace: namespace,
            databaseLength: databaseLength)
          event.isSnapshot = isSnapshot
          event.image = image
          event.documentKey = try Self.document(view, "documentKey")
          event.fullDocument = try Self.document(view, "fullDocument")
          event.fullDocumentBeforeChange = try Self.document(view, "fullDocumentBeforeChange")
          event.updateDescription = try Self.document(view, "updateDescription")
          event.operationDescription = try Self.document(view, "operationDescription")
          event.stateBeforeChange = try Self.document(view, "stateBeforeChange")
          event.lsid = try Self.document(view, "lsid")
          event.wallTime = try view.first("wallTime")?.date
          event.txnNumber = try view.first("txnNumber")?.integer
          event.collectionUUID = try view.first("collectionUUID")?.uuid
          if to != nil { event.to = toBytes }
          if operation == .update, event.updateDescription == nil {
            event.isOversized = try Self.omits("updateDescription", view)
          }
          return try body(event)
        }
      }
    }
  }

  /// Whether a document was left out when the event was written down.
  private static func omits(_ name: StaticString, _ view: BSONView) throws(BSONError) -> Bool {
    guard var walk = try view.first("omitted")?.document?.elements() else { return false }
    while let element = try walk.next() {
      if element.string?.equals(name) == true { return true }
    }
    return false
  }

  /// A document that JSON can't represent exactly is written as its bytes.
  private static func document(_ view: BSONView, _ key: StaticString) throws(BSONError) -> BSONView?
  {
    guard let element = try view.first(key) else { return nil }
    if let document = element.document { return document }
    guard let binary = element.binary else { return nil }
    return try BSONView(binary.bytes)
  }
}
