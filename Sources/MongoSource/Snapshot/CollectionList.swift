internal import BSON
internal import Oplog

extension MongoConnection {
  /// All user collections of databases that `lists` is true for, without views, time series and system collections.
  ///
  /// - Throws: a transient error if the server has not reached `position` yet. A collection that
  ///   exists at `position` is found unless it was dropped since.
  func collections(
    in lists: (String) -> Bool, notBefore position: OplogPosition, on server: Server
  ) throws(MongoError) -> [SnapshotCollection] {
    var found: [SnapshotCollection] = []
    for database in try databases(on: server)
    where !["admin", "config", "local"].contains(database) && lists(database) {
      try listCollections(of: database, notBefore: position, on: server) { collection in
        if !collection.name.starts(with: "system.".utf8) { found.append(collection) }
      }
    }
    return found
  }

  /// The names of all databases.
  func databases(on server: Server) throws(MongoError) -> [String] {
    var command = ByteWriter(capacity: 128)
    let document = command.beginDocument()
    command.append(key: "listDatabases", int32: 1)
    command.append(key: "nameOnly", bool: true)
    command.endDocument(document)
    let reply = try run(command, database: "admin", on: server, place: "listDatabases")
    defer { withExtendedLifetime(reply) {} }
    return try Self.decode("listDatabases") { () throws(BSONError) in
      var names: [String] = []
      guard let list = try BSONView(reply.bytes).first("databases")?.document else { return [] }
      var walk = list.elements()
      while let element = try walk.next() {
        if let name = try element.document?.first("name")?.text { names.append(name) }
      }
      return names
    }
  }

  private func listCollections(
    of database: String, notBefore position: OplogPosition, on server: Server,
    _ body: (SnapshotCollection) -> Void
  ) throws(MongoError) {
    var command = ByteWriter(capacity: 256)
    let document = command.beginDocument()
    command.append(key: "listCollections", int32: 1)
    let filter = command.beginDocument(key: "filter")
    command.append(key: "type", string: "collection")
    command.endDocument(filter)
    command.endDocument(document)
    let place = "listCollections on \(database)"
    var page = try page(command, database: database, on: server, place: place)
    if let time = page.reply.operationTime, time < position {
      throw MongoError(
        domain: .reply, message: "the server has not reached \(position) yet",
        place: "\(place) at \(server.host)", isTransient: true)
    }
    while true {
      try page.decode(place) { documents throws(BSONError) in
        var walk = documents.elements()
        while let element = try walk.next() {
          guard let view = element.document,
            let name = try view.first("name")?.string.map(Array.init),
            let uuid = try view.first("info")?.document?.first("uuid")?.uuid.map(Array.init)
          else { continue }
          body(SnapshotCollection(database: database, name: name, reportedName: name, uuid: uuid))
        }
      }
      guard page.reply.cursor != 0 else { return }
      page = try next(
        page.reply.cursor, of: Array("$cmd.listCollections".utf8), database: database,
        batchSize: 1000, on: server, place: place)
    }
  }

  /// The server's count of documents and bytes; nil if it isn't available.
  func size(
    of collection: SnapshotCollection, on server: Server
  ) throws(MongoError) -> (documents: UInt64, bytes: UInt64)? {
    var command = ByteWriter(capacity: 256)
    let document = command.beginDocument()
    collection.name.withUnsafeBytes { command.append(key: "collStats", string: $0) }
    command.endDocument(document)
    let reply: MongoReply
    do {
      reply = try run(
        command, database: collection.database, on: server, place: "collStats")
    } catch {
      // Dropped meanwhile, or not permitted. This is only an estimate.
      if error.domain == .server { return nil }
      throw error
    }
    defer { withExtendedLifetime(reply) {} }
    return try Self.decode("collStats") { () throws(BSONError) in
      let view = try BSONView(reply.bytes)
      func number(_ key: StaticString) throws(BSONError) -> UInt64 {
        guard let element = try view.first(key) else { return 0 }
        return UInt64(clamping: element.integer ?? Int64(element.double ?? 0))
      }
      return (try number("count"), try number("size"))
    }
  }
}
