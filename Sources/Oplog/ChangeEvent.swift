public import BSON

/// What happened, in the vocabulary of MongoDB change streams.
@frozen
public enum OperationType: UInt8, Sendable, CaseIterable {
  case insert, update, replace, delete
  case drop, rename, dropDatabase, create, createIndexes, dropIndexes, modify

  /// As change streams spell it (`operationType`).
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

/// How true to its event a document is that was read for it afterwards.
@frozen
public enum ImageKind: UInt8, Sendable, CaseIterable {
  /// Exactly as the event left it.
  case post
  /// As it was just before the event.
  case pre
  /// As it was at some later moment: the exact state can't be read any more.
  case lookup
  /// There is none: deleted since, its collection gone, or a pre-image never kept or expired.
  case none

  /// As the header `Tailrace-Image` spells it.
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

/// One change, as views over the oplog entry it came from.
///
/// Valid only while the entry's bytes are, and until the next call of `OplogDecoder.begin(_:)` or
/// `next()`: what the entry doesn't hold ready-made (an `updateDescription`, the `documentKey` of
/// an insert before 6.0, the namespace of most commands) lives in the decoder's scratch memory.
public struct ChangeEvent: @unchecked Sendable {
  public var operation: OperationType
  public var position: EventPosition
  /// `db.collection`, or only `db` for events of a whole database; never empty.
  public var namespace: UnsafeRawBufferPointer
  /// Length of the database's name within `namespace`.
  public var databaseLength: Int
  /// Nothing that happened: a document as it was found, told as an insert (`docs/snapshot.md`).
  public var isSnapshot = false
  /// An update whose description was not made, since it would have been too large
  /// (`OplogDecoder.maximumUpdate`); it has none.
  public var isOversized = false
  /// Identity of the document: `_id`, with the shard key where the entry has it.
  public var documentKey: BSONView?
  /// The document after an insert or replacement.
  public var fullDocument: BSONView?
  /// Of an update: `{updatedFields, removedFields, truncatedArrays}`, and `disambiguatedPaths` where
  /// the decoder was asked for them.
  public var updateDescription: BSONView?
  /// Milliseconds since 1970, the primary's clock.
  public var wallTime: Int64?
  /// Only of events in a transaction, like `lsid`: a retryable write's number is not reported.
  public var txnNumber: Int64?
  public var lsid: BSONView?
  /// Sixteen bytes, where the entry names its collection's UUID.
  public var collectionUUID: UnsafeRawBufferPointer?
  /// Of a rename: the new name, `db.collection`.
  public var to: UnsafeRawBufferPointer?
  /// Of an update whose full document was asked for: what `fullDocument` is. The oplog itself has
  /// none; whoever fetched it sets both.
  public var image: ImageKind?
  /// The document before an update, replacement or deletion, where it was asked for and is kept by
  /// the server; set by whoever fetched it.
  public var fullDocumentBeforeChange: BSONView?

  /// Of `create`, `createIndexes`, `dropIndexes`, `modify` and `rename`: what exactly was done, in
  /// the form that change streams show with `showExpandedEvents`.
  @inlinable
  public var operationDescription: BSONView? {
    get { BSONView(at: operationDescriptionStart) }
    set { operationDescriptionStart = newValue?.bytes.baseAddress }
  }

  /// Of `modify`: `{collectionOptions, indexOptions}` as they were before, where the entry has them.
  @inlinable
  public var stateBeforeChange: BSONView? {
    get { BSONView(at: stateBeforeChangeStart) }
    set { stateBeforeChangeStart = newValue?.bytes.baseAddress }
  }

  // Events are copied a few times on their way, and with two more views in them each cost a sixth
  // more. So these, which are rare, are kept as no more than their start.
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
  /// The document that begins at `start`, which is where another view's bytes began: a document
  /// begins with its length.
  @inlinable
  init?(at start: UnsafeRawPointer?) {
    guard let start else { return nil }
    let length = UnsafeRawBufferPointer(start: start, count: 4).readInt32(at: 0)
    try? self.init(UnsafeRawBufferPointer(start: start, count: Int(length)))
  }
}
