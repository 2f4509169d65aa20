public import BSON

/// The kind of a change, as in MongoDB change streams.
@frozen
public enum OperationType: UInt8, Sendable, CaseIterable {
  case insert, update, replace, delete
  case drop, rename, dropDatabase, create, createIndexes, dropIndexes, modify

  /// The `operationType` of change streams.
  @inlinable
  public var name: StaticString {
    switch self {
    case .insert: "insert"
    case .update: "update"
    case .replace: "replace"
    case .delete: "delete"
    case .drop: "drop"
    case .rename: "rename"
    case .dropDatabase: "dropDatabase"
    case .create: "create"
    case .createIndexes: "createIndexes"
    case .dropIndexes: "dropIndexes"
    case .modify: "modify"
    }
  }
}

/// How a document that was read for an event relates to it.
@frozen
public enum ImageKind: UInt8, Sendable, CaseIterable {
  /// The state that the event left.
  case post
  /// The state just before the event.
  case pre
  /// Some later state: the exact one can't be read any more.
  case lookup
  /// No document: deleted since, the collection dropped, or the pre-image not recorded or expired.
  case none

  /// The value of the header `Tailrace-Image`.
  @inlinable
  public var name: StaticString {
    switch self {
    case .post: "post"
    case .pre: "pre"
    case .lookup: "lookup"
    case .none: "none"
    }
  }
}

/// One change, as views over its oplog entry.
///
/// Safety invariant: an event owns no memory. Its pointers point into the entry's bytes, into the
/// decoder's memory (stored entries of a transaction; scratch memory for an `updateDescription`, the
/// `documentKey` of an insert before 6.0 and the namespace of most commands), or into documents that the
/// caller set (`fullDocument` of an update, `fullDocumentBeforeChange`). So it is valid while the caller
/// keeps the entry and those documents alive and unchanged, and until the next call of the decoder's
/// `begin` or `next`. It is not Sendable: it must not leave the owner of the decoder.
public struct ChangeEvent {
  public var operation: OperationType
  public var position: EventPosition
  /// `db.collection`, or only `db` for events of a whole database; never empty.
  public var namespace: UnsafeRawBufferPointer
  /// Length of the database name in `namespace`.
  public var databaseLength: Int
  /// Not a change: an existing document of a snapshot, reported as an insert (`docs/snapshot.md`).
  public var isSnapshot = false
  /// An update without a description, which would exceed `OplogDecoder.maximumUpdate`.
  public var isOversized = false
  /// The document's `_id`, with the shard key if the entry has it.
  public var documentKey: BSONView?
  /// The document after an insert or replacement.
  public var fullDocument: BSONView?
  /// Of an update: `{updatedFields, removedFields, truncatedArrays}`, and `disambiguatedPaths` if the
  /// decoder's option is set.
  public var updateDescription: BSONView?
  /// Milliseconds since 1970, by the primary's clock.
  public var wallTime: Int64?
  /// Only of events in a transaction, like `lsid`; not of retryable writes.
  public var txnNumber: Int64?
  public var lsid: BSONView?
  /// The collection's UUID (16 bytes), if the entry has it.
  public var collectionUUID: UnsafeRawBufferPointer?
  /// Of a rename: the new name, `db.collection`.
  public var to: UnsafeRawBufferPointer?
  /// Of an update whose full document was requested: what `fullDocument` is. The code that fetched it
  /// sets both.
  public var image: ImageKind?
  /// The document before an update, replacement or delete, if requested and kept by the server. Set by
  /// the code that fetched it.
  public var fullDocumentBeforeChange: BSONView?

  /// Of `create`, `createIndexes`, `dropIndexes`, `modify` and `rename`: the details, as in change
  /// streams with `showExpandedEvents`.
  @inlinable
  public var operationDescription: BSONView? {
    get { BSONView(at: operationDescriptionStart) }
    set { operationDescriptionStart = newValue?.bytes.baseAddress }
  }

  /// Of `modify`: the previous `{collectionOptions, indexOptions}`, if the entry has them.
  @inlinable
  public var stateBeforeChange: BSONView? {
    get { BSONView(at: stateBeforeChangeStart) }
    set { stateBeforeChangeStart = newValue?.bytes.baseAddress }
  }

  // Events are copied several times, and two more views made each copy a sixth slower. So these rare
  // ones are stored as pointers to their first byte. Invariant: nil, or the start of a valid document
  // with the lifetime of the event's other pointers (the setters take it from a view).
  @usableFromInline var operationDescriptionStart: UnsafeRawPointer?
  @usableFromInline var stateBeforeChangeStart: UnsafeRawPointer?

  @inlinable
  public var database: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: namespace[..<databaseLength])
  }

  /// Empty for events of a whole database.
  @inlinable
  public var collection: UnsafeRawBufferPointer {
    databaseLength < namespace.count
      ? UnsafeRawBufferPointer(rebasing: namespace[(databaseLength &+ 1)...])
      : UnsafeRawBufferPointer(start: nil, count: 0)
  }

  @inlinable
  public init(
    operation: OperationType, position: EventPosition, namespace: UnsafeRawBufferPointer,
    databaseLength: Int, documentKey: BSONView? = nil, fullDocument: BSONView? = nil,
    updateDescription: BSONView? = nil, wallTime: Int64? = nil, txnNumber: Int64? = nil,
    lsid: BSONView? = nil, collectionUUID: UnsafeRawBufferPointer? = nil,
    to: UnsafeRawBufferPointer? = nil
  ) {
    self.operation = operation
    self.position = position
    self.namespace = namespace
    self.databaseLength = databaseLength
    self.documentKey = documentKey
    self.fullDocument = fullDocument
    self.updateDescription = updateDescription
    self.wallTime = wallTime
    self.txnNumber = txnNumber
    self.lsid = lsid
    self.collectionUUID = collectionUUID
    self.to = to
  }
}

extension BSONView {
  /// The document at `start`, by its length field. `start` must be the start of another view's bytes.
  @inlinable
  init?(at start: UnsafeRawPointer?) {
    guard let start else { return nil }
    let length = UnsafeRawBufferPointer(start: start, count: 4).readInt32(at: 0)
    try? self.init(UnsafeRawBufferPointer(start: start, count: Int(length)))
  }
}
