internal import BSON

/// The names that collections had at a snapshot's position.
///
/// Collections are listed after that position, much later if the snapshot was interrupted. The oplog
/// after the position repeats the renames, so a document must be reported under the old name: under
/// the new one it would be removed when the oplog reuses that name.
struct CollectionNames {
  private struct Name: Hashable {
    var database: String
    var collection: [UInt8]
  }

  private var created: Set<[UInt8]> = []
  /// By UUID: the name before the first rename.
  private var first: [[UInt8]: Name] = [:]
  /// By name: the collections that had it before a rename.
  private var renamed: [Name: Set<[UInt8]>] = [:]

  /// The fields that mark the oplog entries for `note`.
  static let fields: [StaticString] = [
    "o.create", "o.renameCollection", "o.applyOps.o.create", "o.applyOps.o.renameCollection",
  ]

  /// Takes an oplog entry, or an operation in one, in oplog order.
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
      created.insert(uuid)
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

  /// The collection with the name to report its documents under. Nil if the snapshot must skip it: the
  /// oplog after the position has all of it, and another collection had the name at the position.
  func atPosition(_ collection: SnapshotCollection) -> SnapshotCollection? {
    var result = collection
    if created.contains(collection.uuid) {
      let name = Name(database: collection.database, collection: collection.name)
      return (renamed[name] ?? []).subtracting([collection.uuid]).isEmpty ? result : nil
    }
    guard let name = first[collection.uuid], name.database == collection.database else {
      return result
    }
    result.reportedName = name.collection
    return result
  }
}
