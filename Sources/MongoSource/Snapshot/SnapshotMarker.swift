internal import BSON
internal import Oplog

/// A snapshot's resume position, which another process can use as well.
///
/// Collections are read in the order of their UUIDs, which a rename doesn't change, and each in the
/// order of `_id`.
public struct SnapshotMarker: Hashable, Sendable {
  /// Where to tail from after the snapshot.
  public var position: ResumePoint
  /// All documents so far have their state at `position`; the rest is to be read so if possible.
  public var isExact: Bool
  /// The collection read last: its UUID, and its name at the time.
  public var collectionUUID: [UInt8]
  public var namespace: String
  /// The last document's `_id` as type byte and value. Nil: the collection is done.
  public var lastID: [UInt8]?
  /// Read so far, in all collections.
  public var documents: UInt64
  public var bytes: UInt64

  package init(
    position: ResumePoint, isExact: Bool, collectionUUID: [UInt8], namespace: String,
    lastID: [UInt8]?, documents: UInt64, bytes: UInt64
  ) {
    self.position = position
    self.isExact = isExact
    self.collectionUUID = collectionUUID
    self.namespace = namespace
    self.lastID = lastID
    self.documents = documents
    self.bytes = bytes
  }

  /// The start of a snapshot at `position`.
  public init(beginningAt position: ResumePoint) {
    self.init(
      position: position, isExact: true, collectionUUID: [UInt8](repeating: 0, count: 16),
      namespace: "", lastID: nil, documents: 0, bytes: 0)
  }

  /// A BSON document for storage.
  public func encoded() -> [UInt8] {
    var writer = ByteWriter(capacity: 256)
    let document = writer.beginDocument()
    writer.append(
      key: "position", timestamp: position.position.seconds,
      increment: position.position.increment)
    if let term = position.term { writer.append(key: "term", int64: term) }
    writer.append(key: "exact", bool: isExact)
    writer.append(key: "collection", uuid: collectionUUID)
    Array(namespace.utf8).withUnsafeBytes { writer.append(key: "namespace", string: $0) }
    if let lastID { writer.append(key: "last", identity: lastID) }
    writer.append(key: "documents", int64: Int64(clamping: documents))
    writer.append(key: "bytes", int64: Int64(clamping: bytes))
    writer.endDocument(document)
    return Array(writer.bytes)
  }

  /// Decodes the result of `encoded()`; nil if it is invalid.
  public init?(encoded bytes: [UInt8]) {
    var fields = Fields()
    let isComplete = bytes.withUnsafeBytes { raw in
      (try? fields.read(BSONView(raw))) != nil
    }
    guard isComplete, let position = fields.position, let uuid = fields.uuid else { return nil }
    self.init(
      position: ResumePoint(position: position, term: fields.term), isExact: fields.isExact,
      collectionUUID: uuid, namespace: fields.namespace, lastID: fields.lastID,
      documents: fields.documents, bytes: fields.bytes)
  }

  private struct Fields {
    var position: OplogPosition?
    var term: Int64?
    var isExact = false
    var uuid: [UInt8]?
    var namespace = ""
    var lastID: [UInt8]?
    var documents: UInt64 = 0
    var bytes: UInt64 = 0

    mutating func read(_ view: BSONView) throws(BSONError) {
      var walk = view.elements()
      while let element = try walk.next() {
        if element.key.equals("position"), let time = element.timestamp {
          position = OplogPosition(seconds: time.seconds, increment: time.increment)
        } else if element.key.equals("term") {
          term = element.integer
        } else if element.key.equals("exact") {
          isExact = element.bool ?? false
        } else if element.key.equals("collection") {
          uuid = element.uuid.map(Array.init)
        } else if element.key.equals("namespace") {
          namespace = element.text ?? ""
        } else if element.key.equals("last") {
          lastID = element.identity
        } else if element.key.equals("documents") {
          documents = UInt64(clamping: element.integer ?? 0)
        } else if element.key.equals("bytes") {
          bytes = UInt64(clamping: element.integer ?? 0)
        }
      }
    }
  }
}

extension BSONElement {
  /// Type byte and value, which identify an `_id`.
  var identity: [UInt8] { [type.rawValue] + Array(value) }
}
