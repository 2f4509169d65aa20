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
///
/// An event is copied several times on its way, so it is kept at 128 bytes, which compilers copy without a
/// call: documents are stored as pointers to their first byte, lengths in 32 bits.
public struct ChangeEvent {
  public var position: EventPosition
  public var operation: OperationType
  /// Of an update whose full document was requested: what `fullDocument` is. The code that fetched it
  /// sets both.
  public var image: ImageKind?
  @usableFromInline var marks: Marks = []

  @usableFromInline var namespaceStart: UnsafeRawPointer?
  @usableFromInline var namespaceLength: Int32
  @usableFromInline var databaseEnd: Int32

  // Invariant: nil, or the start of a valid document with the lifetime of the event's other pointers (the
  // setters take it from a view).
  @usableFromInline var documentKeyStart: UnsafeRawPointer?
  @usableFromInline var fullDocumentStart: UnsafeRawPointer?
  @usableFromInline var updateDescriptionStart: UnsafeRawPointer?
  @usableFromInline var beforeChangeStart: UnsafeRawPointer?
  @usableFromInline var lsidStart: UnsafeRawPointer?
  @usableFromInline var operationDescriptionStart: UnsafeRawPointer?
  @usableFromInline var stateBeforeChangeStart: UnsafeRawPointer?

  // Valid where `marks` says so.
  @usableFromInline var wallTimeValue: Int64 = 0
  @usableFromInline var txnNumberValue: Int64 = 0

  @usableFromInline var collectionUUIDStart: UnsafeRawPointer?
  @usableFromInline var toStart: UnsafeRawPointer?
  @usableFromInline var toLength: Int32 = 0
  @usableFromInline var collectionUUIDLength: Int32 = 0

  @usableFromInline
  struct Marks: OptionSet, BitwiseCopyable {
    @usableFromInline let rawValue: UInt8
    @usableFromInline static var snapshot: Marks { Marks(rawValue: 1) }
    @usableFromInline static var oversized: Marks { Marks(rawValue: 2) }
    @usableFromInline static var wallTime: Marks { Marks(rawValue: 4) }
    @usableFromInline static var txnNumber: Marks { Marks(rawValue: 8) }
    @usableFromInline static var to: Marks { Marks(rawValue: 16) }

    @inlinable
    init(rawValue: UInt8) { self.rawValue = rawValue }

    @inlinable
    mutating func set(_ mark: Marks, _ isOn: Bool) {
      if isOn { formUnion(mark) } else { subtract(mark) }
    }
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
    namespaceStart = namespace.baseAddress
    namespaceLength = Int32(namespace.count)
    databaseEnd = Int32(databaseLength)
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

extension ChangeEvent {
  /// `db.collection`, or only `db` for events of a whole database; never empty.
  @inlinable
  public var namespace: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: namespaceStart, count: Int(namespaceLength))
  }

  /// Length of the database name in `namespace`.
  @inlinable
  public var databaseLength: Int { Int(databaseEnd) }

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

  /// Not a change: an existing document of a snapshot, reported as an insert (`docs/snapshot.md`).
  @inlinable
  public var isSnapshot: Bool {
    get { marks.contains(.snapshot) }
    set { marks.set(.snapshot, newValue) }
  }

  /// An update without a description, which would exceed `OplogDecoder.maximumUpdate`.
  @inlinable
  public var isOversized: Bool {
    get { marks.contains(.oversized) }
    set { marks.set(.oversized, newValue) }
  }

  /// Milliseconds since 1970, by the primary's clock.
  @inlinable
  public var wallTime: Int64? {
    get { marks.contains(.wallTime) ? wallTimeValue : nil }
    set {
      wallTimeValue = newValue ?? 0
      marks.set(.wallTime, newValue != nil)
    }
  }

  /// Only of events in a transaction, like `lsid`; not of retryable writes.
  @inlinable
  public var txnNumber: Int64? {
    get { marks.contains(.txnNumber) ? txnNumberValue : nil }
    set {
      txnNumberValue = newValue ?? 0
      marks.set(.txnNumber, newValue != nil)
    }
  }

  @inlinable
  public var lsid: BSONView? {
    get { BSONView(at: lsidStart) }
    set { lsidStart = newValue?.bytes.baseAddress }
  }

  /// The document's `_id`, with the shard key if the entry has it.
  @inlinable
  public var documentKey: BSONView? {
    get { BSONView(at: documentKeyStart) }
    set { documentKeyStart = newValue?.bytes.baseAddress }
  }

  /// The document after an insert or replacement.
  @inlinable
  public var fullDocument: BSONView? {
    get { BSONView(at: fullDocumentStart) }
    set { fullDocumentStart = newValue?.bytes.baseAddress }
  }

  /// The document before an update, replacement or delete, if requested and kept by the server. Set by
  /// the code that fetched it.
  @inlinable
  public var fullDocumentBeforeChange: BSONView? {
    get { BSONView(at: beforeChangeStart) }
    set { beforeChangeStart = newValue?.bytes.baseAddress }
  }

  /// Of an update: `{updatedFields, removedFields, truncatedArrays}`, and `disambiguatedPaths` if the
  /// decoder's option is set.
  @inlinable
  public var updateDescription: BSONView? {
    get { BSONView(at: updateDescriptionStart) }
    set { updateDescriptionStart = newValue?.bytes.baseAddress }
  }

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

  /// The collection's UUID (16 bytes), if the entry has it.
  @inlinable
  public var collectionUUID: UnsafeRawBufferPointer? {
    get {
      guard let collectionUUIDStart else { return nil }
      return UnsafeRawBufferPointer(start: collectionUUIDStart, count: Int(collectionUUIDLength))
    }
    set {
      collectionUUIDStart = newValue?.baseAddress
      collectionUUIDLength = Int32(newValue?.count ?? 0)
    }
  }

  /// Of a rename: the new name, `db.collection`.
  @inlinable
  public var to: UnsafeRawBufferPointer? {
    get {
      guard marks.contains(.to) else { return nil }
      return UnsafeRawBufferPointer(start: toStart, count: Int(toLength))
    }
    set {
      toStart = newValue?.baseAddress
      toLength = Int32(newValue?.count ?? 0)
      marks.set(.to, newValue != nil)
    }
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
