package import BSON
package import MongoSource
package import Oplog

/// Makes events of the documents of collections: inserts at the snapshot's cluster time, numbered.
///
/// What an event shows points into its batch and this decoder's memory, as `ChangeEvent` says of
/// `OplogDecoder`. `document` is valid from `begin` until the event has been taken, while the caller keeps
/// the batch alive.
package struct SnapshotDecoder: ~Copyable {
  /// Snapshots number their events from here on, which the events of an oplog entry don't reach. So
  /// positions grow from the entry at the snapshot's time through the snapshot to what follows it.
  package static let firstIndex: UInt32 = 1 << 24

  /// The index of the next document's event.
  var nextIndex = SnapshotDecoder.firstIndex

  private var position = OplogPosition(seconds: 0, increment: 0)
  private var term: Int64 = -1
  private var databaseLength = 0
  private var namespace = ByteWriter(capacity: 256)
  private var uuid = ByteWriter(capacity: 16)
  private var key = ByteWriter(capacity: 256)
  private var document: BSONView?

  package init() {}

  package mutating func begin(_ batch: SnapshotBatch) {
    position = batch.marker.position.position
    term = batch.marker.position.term ?? -1
    databaseLength = batch.database.utf8.count
    namespace.removeAll()
    namespace.append(batch.namespace)
    uuid.removeAll()
    uuid.append(batch.collectionUUID)
  }

  package mutating func begin(_ document: BSONView) throws(OplogError) -> OplogEntryHeader {
    let id: BSONElement?
    do {
      id = try document.first("_id")
    } catch {
      throw OplogError(.corrupt(error), at: position)
    }
    guard let id else { throw OplogError(.missingField("_id"), at: position) }
    key.removeAll()
    let start = key.beginDocument()
    key.append(element: id)
    key.endDocument(start)
    self.document = document
    return OplogEntryHeader(position: position, term: term, wallTime: nil, isNoop: false)
  }

  package mutating func next() -> ChangeEvent? {
    guard let document else { return nil }
    self.document = nil
    var event = ChangeEvent(
      operation: .insert, position: EventPosition(entry: position, index: nextIndex),
      namespace: namespace.bytes, databaseLength: databaseLength,
      documentKey: try? BSONView(key.bytes), fullDocument: document, collectionUUID: uuid.bytes)
    event.isSnapshot = true
    nextIndex += 1
    return event
  }
}
