package import BSON
internal import Oplog

/// The collections and documents of a request. A document is identified by the bytes of its document
/// key: through a router, several documents of a sharded collection may have the same `_id`.
package struct ImageCatalog {
  struct Collection {
    var database: String
    /// The name within the database.
    var name: [UInt8]
    /// 16 bytes, if an event named it. A namespace that several collections had in turn is several
    /// entries here.
    var uuid: [UInt8]?
    /// By `_id` (type and value): index in `ids`.
    var ids: [[UInt8]: Int] = [:]
    /// By the bytes of the document key: index in `documents`.
    var documents: [[UInt8]: Int] = [:]
  }

  /// All documents of a collection with the same `_id`. A change of one ends the readable interval of
  /// all: they may be the same document, before and after its shard key was refined.
  struct ID {
    var collection: Int
    var documents: [Int]
  }

  struct Document {
    var collection: Int
    /// Type and value of `_id`.
    var id: [UInt8]
    /// The document key, if it has more fields than `_id`: the shard key.
    var key: [UInt8]?
    /// Index in `ids`.
    var number: Int
  }

  struct PreImage {
    var uuid: [UInt8]
    var entry: OplogPosition
    var operation: Int64
    var image: Int
  }

  private(set) var collections: [Collection] = []
  private(set) var documents: [Document] = []
  private(set) var ids: [ID] = []
  /// Scopes refer to `ids`, not to `documents`.
  private(set) var changes: [ImagePlan.Change] = []
  /// The document of each change; nil for changes of a collection or more.
  package private(set) var documentOf: [Int?] = []
  /// The requested image of each change, if any.
  private(set) var imageOf: [Int?] = []
  private(set) var preImages: [PreImage] = []

  /// By namespace and UUID: index in `collections`.
  private var numbers: [[UInt8]: Int] = [:]

  /// - Parameter limit: only images with smaller numbers are read.
  package init(_ request: ImageRequest, limit: Int) {
    // First all documents, so that an event of a collection or database applies to all of them.
    var numberOf = [Int](repeating: -1, count: request.records.count)
    for (index, record) in request.records.enumerated() where record.kind == .document {
      numberOf[index] = document(record, request.bytes)
    }
    for (index, record) in request.records.enumerated() {
      let image = record.image >= 0 && Int(record.image) < limit ? Int(record.image) : nil
      switch record.kind {
      case .document:
        // A key without an `_id` can't be queried; it gets no image.
        guard numberOf[index] >= 0 else { continue }
        add(
          record.time, .document(documents[numberOf[index]].number), image,
          document: numberOf[index])
      case .collection, .database: addBarriers(record, request.bytes)
      case .everything: add(record.time, .everything, nil)
      case .preImage:
        guard let image else { continue }
        preImages.append(
          PreImage(
            uuid: Array(request.bytes[record.uuid.range]), entry: record.time,
            operation: record.operation, image: image))
      }
    }
  }

  /// The documents with this `_id`.
  package func documents(in collection: Int, id: BSONElement) -> [Int] {
    collections[collection].ids[id.identity].map { ids[$0].documents } ?? []
  }

  /// Whether a document found by its `_id` has the event's shard key.
  package func matches(_ document: Int, _ found: BSONView) -> Bool {
    guard let key = documents[document].key else { return true }
    return key.withUnsafeBytes { bytes in
      (try? Self.holds(found, BSONView(bytes))) ?? false
    }
  }

  private mutating func add(
    _ time: OplogPosition, _ scope: ImagePlan.Change.Scope, _ image: Int?, document: Int? = nil
  ) {
    changes.append(ImagePlan.Change(time: time, scope: scope, isWanted: image != nil))
    imageOf.append(image)
    documentOf.append(document)
  }

  private mutating func addBarriers(_ record: ImageRequest.Record, _ bytes: [UInt8]) {
    let namespace = bytes[record.namespace.range]
    let (database, name) = Self.split(namespace, Int(record.databaseLength))
    for (index, collection) in collections.enumerated()
    where collection.database == database
      && (record.kind == .database || collection.name.elementsEqual(name))
    {
      add(record.time, .collection(index), nil)
    }
  }

  private mutating func document(_ record: ImageRequest.Record, _ bytes: [UInt8]) -> Int {
    let collection = collection(record, bytes)
    let key = bytes[record.key.range]
    let found = key.withUnsafeBytes { raw -> (id: [UInt8], isAll: Bool)? in
      guard let view = try? BSONView(raw), let id = try? view.first("_id") else { return nil }
      // Length, type, "_id" with its NUL, value, NUL.
      return (id.identity, view.bytes.count == id.value.count + 10)
    }
    guard let found else { return -1 }
    let bytes = Array(key)
    if let known = collections[collection].documents[bytes] { return known }
    let id = collections[collection].ids[found.id] ?? ids.count
    if id == ids.count {
      collections[collection].ids[found.id] = id
      ids.append(ID(collection: collection, documents: []))
    }
    let number = documents.count
    documents.append(
      Document(collection: collection, id: found.id, key: found.isAll ? nil : bytes, number: id))
    ids[id].documents.append(number)
    collections[collection].documents[bytes] = number
    return number
  }

  private mutating func collection(_ record: ImageRequest.Record, _ bytes: [UInt8]) -> Int {
    let namespace = bytes[record.namespace.range]
    let uuid = bytes[record.uuid.range]
    let identity = Array(namespace) + [0] + Array(uuid)
    if let known = numbers[identity] { return known }
    let (database, name) = Self.split(namespace, Int(record.databaseLength))
    numbers[identity] = collections.count
    collections.append(
      Collection(database: database, name: Array(name), uuid: uuid.isEmpty ? nil : Array(uuid)))
    return collections.count - 1
  }

  private static func split(
    _ namespace: ArraySlice<UInt8>, _ databaseLength: Int
  ) -> (database: String, name: ArraySlice<UInt8>) {
    (
      String(decoding: namespace.prefix(databaseLength), as: UTF8.self),
      namespace.dropFirst(databaseLength + 1)
    )
  }

  /// Whether `document` has all values of `key`; null in `key` matches a missing field.
  private static func holds(_ document: BSONView, _ key: BSONView) throws(BSONError) -> Bool {
    var walk = key.elements()
    while let wanted = try walk.next() {
      if let found = try value(in: document, at: wanted.key) {
        guard found.type == wanted.type, found.value.equals(wanted.value) else { return false }
      } else if wanted.type != .null {
        return false
      }
    }
    return true
  }

  /// A field by its dotted path. A field whose name is the whole path takes precedence.
  private static func value(
    in document: BSONView, at path: UnsafeRawBufferPointer
  ) throws(BSONError) -> BSONElement? {
    var walk = document.elements()
    while let element = try walk.next() {
      if element.key.equals(path) { return element }
      let length = element.key.count
      guard let inner = element.document, path.count > length, path[length] == UInt8(ascii: "."),
        path.prefix(length).elementsEqual(element.key)
      else { continue }
      let rest = UnsafeRawBufferPointer(rebasing: path[(length + 1)...])
      if let found = try value(in: inner, at: rest) { return found }
    }
    return nil
  }
}
