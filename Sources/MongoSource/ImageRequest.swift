internal import BSON
public import Oplog

/// Which documents are wanted for the events of one stretch of the oplog, with everything that
/// decides when they can be read.
///
/// An update's post-image is what a read shows between the update and the next change of the same
/// document. So a request holds every change of documents in the collections concerned, wanted or
/// not, and every event that takes a whole collection away, in oplog order:
///
///     var request = ImageRequest()
///     while let event = try decoder.next() {
///       let number = request.add(event, wanted: takesFullDocument(event))
///     }
///
/// Images are numbered from 0 in the order they are asked for; the answer has them by number.
public struct ImageRequest: Sendable {
  /// One change, or one pre-image.
  struct Record {
    enum Kind: UInt8 {
      /// A document is written.
      case document
      /// A collection is dropped, or goes or comes by renaming.
      case collection
      /// A database is dropped.
      case database
      /// Anything may become visible: a transaction was prepared.
      case everything
      /// Not a change but a pre-image to be fetched.
      case preImage
    }

    var kind: Kind
    /// The number of the image; -1 if none is wanted.
    var image: Int32 = -1
    var time: OplogPosition
    /// Of the pre-image within its entry.
    var operation: Int64 = 0
    var namespace = Stretch()
    var databaseLength: Int32 = 0
    /// The document key, a whole document.
    var key = Stretch()
    /// Sixteen bytes, or none.
    var uuid = Stretch()
  }

  /// A part of `bytes`.
  struct Stretch {
    var start: Int32 = 0
    var count: Int32 = 0

    var range: Range<Int> { Int(start)..<Int(start) + Int(count) }
  }

  private(set) var records: [Record] = []
  private(set) var bytes: [UInt8] = []
  /// How many images are asked for.
  public private(set) var count = 0
  /// Bytes of names and document keys. Whoever fills a request keeps this well below 2 GiB.
  public var byteCount: Int { bytes.count }

  public init() {}

  /// Empties it for the next stretch and keeps its memory.
  public mutating func removeAll() {
    records.removeAll(keepingCapacity: true)
    bytes.removeAll(keepingCapacity: true)
    count = 0
  }

  /// Adds an event, in oplog order. With `wanted` its post-image is asked for, if the event has a
  /// document that is not in the oplog: an update.
  /// - Returns: the image's number; nil if none is asked for.
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

  /// Marks where a transaction was prepared: what it wrote becomes visible from there on, at a time
  /// that only its commit tells, so no image of an earlier event may be read later than that.
  public mutating func addPrepare(at position: OplogPosition) {
    records.append(Record(kind: .everything, time: position))
  }

  /// Asks for the document as it was before an update, replacement or delete, kept by servers from
  /// 6.0 on for collections with `changeStreamPreAndPostImages`.
  /// - Parameters:
  ///   - collection: the UUID the entry names: sixteen bytes.
  ///   - entry: the entry that holds the operation. In a transaction of several entries not the
  ///     one that commits it, and `operation` starts at 0 in each.
  ///   - operation: the operation's index in that entry's `applyOps`; 0 outside of one.
  /// - Returns: the image's number.
  public mutating func addPreImage(
    collection: UnsafeRawBufferPointer, entry: OplogPosition, operation: Int64
  ) -> Int {
    var record = Record(kind: .preImage, image: next(), time: entry, operation: operation)
    record.uuid = store(collection)
    records.append(record)
    return Int(record.image)
  }

  /// Takes back the wish for the first images: what an answer brought only a part of is asked for
  /// again like this. Those left are numbered from 0.
  public mutating func removeImages(first taken: Int) {
    for index in records.indices where records[index].image >= 0 {
      records[index].image = max(records[index].image - Int32(clamping: taken), -1)
    }
    count = max(count - taken, 0)
  }

  /// The same stretch, asking only for the images from `first` on; they are numbered anew.
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

  private mutating func store(_ source: UnsafeRawBufferPointer) -> Stretch {
    let start = bytes.count
    bytes.append(contentsOf: source)
    return Stretch(start: Int32(start), count: Int32(source.count))
  }

  private func equals(_ stretch: Stretch, _ other: UnsafeRawBufferPointer) -> Bool {
    guard Int(stretch.count) == other.count else { return false }
    return bytes.withUnsafeBytes {
      UnsafeRawBufferPointer(rebasing: $0[stretch.range]).equals(other)
    }
  }
}
