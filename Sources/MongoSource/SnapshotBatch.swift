public import BSON
internal import Oplog

/// Some documents of one collection, in the order of `_id`, as the server sent them.
///
/// Immutable, so any thread may read it; its bytes are freed with it.
public final class SnapshotBatch: Sendable {
  /// The `restart` of the reader this belongs to.
  public let generation: UInt64
  public let database: String
  public let collection: String
  /// Sixteen bytes.
  public let collectionUUID: [UInt8]
  /// The documents are as they were at `marker.position`. Otherwise they may be newer, and the
  /// oplog from there on repeats what they have seen already.
  public let isExact: Bool
  /// How many documents there are. 0 only where a collection's end came alone.
  public let count: Int
  /// Size of the documents.
  public let byteCount: Int
  /// No more of this collection follows.
  public let isLast: Bool
  /// Once this batch is taken care of, the snapshot can be resumed after it from here.
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
    self.collection = String(decoding: collection.listedName, as: UTF8.self)
    collectionUUID = collection.uuid
    self.isExact = isExact
    self.count = count
    self.byteCount = byteCount
    self.isLast = isLast
    self.marker = marker
    self.generation = generation
  }

  /// `db.collection`, under which the documents' changes stand in the oplog from there on.
  public var namespace: String { "\(database).\(collection)" }

  /// Size of what is held in memory.
  var replySize: Int { reply.bytes.count }

  /// A walk over the batch: each element holds one document. What it yields points into this batch,
  /// which must be kept alive meanwhile: hold it in `withExtendedLifetime`.
  public func elements() -> BSONElements { documents.elements() }
}

/// A collection to be read.
struct SnapshotCollection: Sendable {
  var database: String
  /// What it is called now …
  var name: [UInt8]
  /// … and what its documents are told by: its name at the snapshot's position, if there was it then.
  var listedName: [UInt8]
  /// Sixteen bytes.
  var uuid: [UInt8]

  var namespace: String { "\(database).\(String(decoding: listedName, as: UTF8.self))" }
}
