public import BSON
internal import Oplog

/// Documents of one collection in the order of `_id`, as the server sent them.
///
/// Invariant behind `@unchecked Sendable`: immutable, and `documents` points into `reply`, which is
/// immutable too and lives as long as the batch.
public final class SnapshotBatch: @unchecked Sendable, ReaderBatch {
  /// The `restart` of the reader this belongs to.
  public let generation: UInt64
  public let database: String
  public let collection: String
  /// 16 bytes.
  public let collectionUUID: [UInt8]
  /// The documents have their state at `marker.position`. Otherwise they may be newer, and the oplog
  /// after that position repeats changes that they already include.
  public let isExact: Bool
  /// Number of documents. 0 only if the collection's end is reported without any.
  public let count: Int
  /// Size of the documents.
  public let byteCount: Int
  /// The last batch of this collection.
  public let isLast: Bool
  /// Resumes the snapshot after this batch.
  public let marker: SnapshotMarker

  private let reply: MongoReply
  private let documents: BSONView

  init(
    _ page: MongoConnection.Page, of collection: SnapshotCollection, isExact: Bool, count: Int,
    byteCount: Int, isLast: Bool, marker: SnapshotMarker, generation: UInt64
  ) {
    reply = page.bytes
    documents = page.reply.documents
    database = collection.database
    self.collection = String(decoding: collection.reportedName, as: UTF8.self)
    collectionUUID = collection.uuid
    self.isExact = isExact
    self.count = count
    self.byteCount = byteCount
    self.isLast = isLast
    self.marker = marker
    self.generation = generation
  }

  /// `db.collection`: the namespace of the documents' changes in the oplog after the position.
  public var namespace: String { "\(database).\(collection)" }

  var heldBytes: Int { reply.bytes.count }

  /// Iterates over the batch: each element holds one document. The elements point into this batch:
  /// keep it alive with `withExtendedLifetime`.
  public func elements() -> BSONElements { documents.elements() }
}

/// A collection to read.
struct SnapshotCollection: Sendable {
  var database: String
  /// The current name.
  var name: [UInt8]
  /// The name its documents are reported under: its name at the snapshot's position, if it existed then.
  var reportedName: [UInt8]
  /// 16 bytes.
  var uuid: [UInt8]

  var namespace: String { "\(database).\(String(decoding: reportedName, as: UTF8.self))" }
}
