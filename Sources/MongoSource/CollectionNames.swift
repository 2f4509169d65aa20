internal import BSON

/// Under which names documents of collections belong before the oplog behind a snapshot's position, which
/// renames them as the collections were renamed.
///
/// Collections are listed some time behind that position, long behind it after an interruption. A document
/// told under a name that its collection has got since would go when the oplog gives the name away.
struct CollectionNames {
  private struct Name: Hashable {
    var database: String
    var collection: [UInt8]
  }

  private var made: Set<[UInt8]> = []
  /// By UUID: what it was called before it was renamed for the first time.
  private var first: [[UInt8]: Name] = [:]
  /// By name: the collections that were renamed from it.
  private var renamed: [Name: Set<[UInt8]>] = [:]

  /// The fields by which the oplog's entries are found that `note` wants.
  static let fields: [StaticString] = [
    "o.create", "o.renameCollection", "o.applyOps.o.create", "o.applyOps.o.renameCollection",
  ]

  /// An entry of the oplog, or an operation in one; in the oplog's order.
  mutating func note(_ entry: BSONView) throws(BSONError) {
    guard let command = try entry.first("o")?.document else { return }
    if let operations = try command.first("applyOps")?.document {
      var walk = operations.elements()
      while let element = try walk.next() {
        if let operation = element.document { try note(operation) }
      }
      return
    }
    guard let uuid = try entry.first("ui")?.uuid.map(Array.init) else { return }
    if try command.first("create") != nil {
      made.insert(uuid)
    } else if let namespace = try command.first("renameCollection")?.string.map(Array.init),
      let dot = namespace.firstIndex(of: UInt8(ascii: "."))
    {
      let name = Name(
        database: String(decoding: namespace[..<dot], as: UTF8.self),
        collection: Array(namespace[(dot + 1)...]))
      if first[uuid] == nil { first[uuid] = name }
      renamed[name, default: []].insert(uuid)
    }
  }

  /// The collection under the name that its documents are to be told by. Nil: the oplog has all of it, and
  /// before gives documents of that name to another one.
  func told(_ collection: SnapshotCollection) -> SnapshotCollection? {
    var told = collection
    if made.contains(collection.uuid) {
      let name = Name(database: collection.database, collection: collection.name)
      return (renamed[name] ?? []).subtracting([collection.uuid]).isEmpty ? told : nil
    }
    guard let name = first[collection.uuid], name.database == collection.database else {
      return told
    }
    told.listedName = name.collection
    return told
  }
}
