internal import BSON
public import Oplog

/// The documents to read for the events of one section of the oplog, with all changes that determine
/// when they can be read.
///
/// An update's post-image is readable between the update and the document's next change. So a request
/// holds every change in the collections concerned, wanted or not, and every event that removes a
/// whole collection, in oplog order:
///
///     var request = ImageRequest()
///     while let event = try decoder.next() {
///       let number = request.add(event, wanted: takesFullDocument(event))
///     }
///
/// Images are numbered from 0 in the order of the requests; the answer is indexed by that number.
public struct ImageRequest: Sendable {
  /// One change, or one pre-image.
  struct Record {
    enum Kind: UInt8 {
      /// A document is written.
      case document
      /// A collection is dropped or renamed, or is the target of a rename.
      case collection
      /// A database is dropped.
      case database
      /// A transaction was prepared: it may change anything.
      case everything
      /// Not a change, but a request for a pre-image.
      case preImage
    }

    var kind: Kind
    /// The number of the requested image; -1 if there is none.
    var image: Int32 = -1
    var time: OplogPosition
    /// Index of the pre-image's operation within its entry.
    var operation: Int64 = 0
    var namespace = ByteRange()
    var databaseLength: Int32 = 0
    /// The document key, as a BSON document.
    var key = ByteRange()
    /// 16 bytes, or empty.
    var uuid = ByteRange()
  }

  /// A range of `bytes`.
  struct ByteRange {
    var start: Int32 = 0
    var count: Int32 = 0

    var range: Range<Int> { Int(start)..<Int(start) + Int(count) }
  }

  private(set) var records: [Record] = []
  private(set) var bytes: [UInt8] = []
  /// The number of requested images.
  public private(set) var count = 0
  /// Bytes of names and document keys. The caller must keep this well below 2 GiB.
  public var byteCount: Int { bytes.count }

  public init() {}

  /// Empties the request and keeps its memory.
  public mutating func removeAll() {
    records.removeAll(keepingCapacity: true)
    bytes.removeAll(keepingCapacity: true)
    count = 0
  }

  /// Adds an event, in oplog order. With `wanted`, the post-image of an update is requested; other
  /// events have their document in the oplog.
  /// - Returns: the image's number, if one is requested.
  @discardableResult
  public mutating func add(_ event: ChangeEvent, wanted: Bool) -> Int? {
    switch event.operation {
    case .insert, .update, .replace, .delete:
      guard let key = event.documentKey else { return nil }
      var record = record(.document, event, event.namespace)
      record.key = store(key.bytes)
      let asked = wanted && event.operation == .update
      if asked { record.image = next() }
      records.append(record)
      return asked ? Int(record.image) : nil
    case .drop:
      records.append(record(.collection, event, event.namespace))
    case .rename:
      records.append(record(.collection, event, event.namespace))
      if let to = event.to { records.append(record(.collection, event, to)) }
    case .dropDatabase:
      records.append(record(.database, event, event.namespace))
    case .create, .createIndexes, .dropIndexes, .modify: break
    }
    return nil
  }

  /// Marks the position at which a transaction was prepared. Its writes become visible at some later
  /// time that only the commit entry gives, so no image of an earlier event may be read after the mark.
  public mutating func addPrepare(at position: OplogPosition) {
    records.append(Record(kind: .everything, time: position))
  }

  /// Requests the document before an update, replacement or delete. Servers from 6.0 on keep it for
  /// collections with `changeStreamPreAndPostImages`.
  /// - Parameters:
  ///   - collection: the UUID in the entry: 16 bytes.
  ///   - entry: the entry that holds the operation. In a transaction with several entries that isn't
  ///     the commit, and `operation` starts at 0 in each.
  ///   - operation: the operation's index in the entry's `applyOps`; 0 without one.
  /// - Returns: the image's number.
  public mutating func addPreImage(
    collection: UnsafeRawBufferPointer, entry: OplogPosition, operation: Int64
  ) -> Int {
    var record = Record(kind: .preImage, image: next(), time: entry, operation: operation)
    record.uuid = store(collection)
    records.append(record)
    return Int(record.image)
  }

  /// What an image is of: the entry of its change, and the document's key; of a pre-image, the operation's
  /// index instead of a key.
  package func subject(ofImage number: Int) -> (
    entry: OplogPosition, key: [UInt8], operation: Int64?
  )? {
    guard let record = records.first(where: { $0.image == Int32(number) }) else { return nil }
    return (
      record.time, Array(bytes[record.key.range]),
      record.kind == .preImage ? record.operation : nil
    )
  }

  /// The same section with only the images from `first` on, renumbered from 0.
  public func remaining(from first: Int) -> ImageRequest {
    var rest = self
    rest.records.removeAll { $0.kind == .preImage && $0.image < Int32(first) }
    for at in rest.records.indices where rest.records[at].image >= 0 {
      rest.records[at].image = max(rest.records[at].image - Int32(first), -1)
    }
    rest.count = count - first
    return rest
  }

  private mutating func next() -> Int32 {
    count += 1
    return Int32(count - 1)
  }

  private mutating func record(
    _ kind: Record.Kind, _ event: ChangeEvent, _ namespace: UnsafeRawBufferPointer
  ) -> Record {
    var record = Record(kind: kind, time: event.position.entry)
    // Events come in runs of one collection.
    if let last = records.last, last.kind != .preImage, equals(last.namespace, namespace) {
      record.namespace = last.namespace
    } else {
      record.namespace = store(namespace)
    }
    record.databaseLength = Int32(namespace.firstIndex(of: UInt8(ascii: ".")) ?? namespace.count)
    guard let uuid = event.collectionUUID else { return record }
    if let last = records.last, equals(last.uuid, uuid) {
      record.uuid = last.uuid
    } else {
      record.uuid = store(uuid)
    }
    return record
  }

  private mutating func store(_ source: UnsafeRawBufferPointer) -> ByteRange {
    let start = bytes.count
    bytes.append(contentsOf: source)
    return ByteRange(start: Int32(start), count: Int32(source.count))
  }

  private func equals(_ part: ByteRange, _ other: UnsafeRawBufferPointer) -> Bool {
    guard Int(part.count) == other.count else { return false }
    return bytes.withUnsafeBytes {
      UnsafeRawBufferPointer(rebasing: $0[part.range]).equals(other)
    }
  }
}
