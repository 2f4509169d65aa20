internal import BSON

extension MongoAdmin {
  /// Hands out all documents of a collection, as BSON that is valid within the call, in the order in which the
  /// server has them. What is written meanwhile may be among them or not.
  ///
  /// - Parameter take: called on a thread of its own; false ends it.
  public static func documents(
    _ options: MongoSourceOptions, database: String, collection: String,
    _ take: @escaping @Sendable (UnsafeRawBufferPointer) -> Bool
  ) async throws(MongoError) {
    try await ask(options, replyTimeout: .seconds(30)) { connection, server throws(MongoError) in
      var command = ByteWriter(capacity: 128)
      let document = command.beginDocument()
      Array(collection.utf8).withUnsafeBytes { command.append(key: "find", string: $0) }
      command.append(key: "batchSize", int32: 1_000)
      command.endDocument(document)
      let place = "find on \(database).\(collection)"
      var page = try connection.page(command, database: database, on: server, place: place)
      while true {
        let mayContinue = try page.decode(place) { documents throws(BSONError) in
          var walk = documents.elements()
          while let element = try walk.next() {
            if let document = element.document, !take(document.bytes) { return false }
          }
          return true
        }
        guard mayContinue, page.reply.cursor != 0 else { return }
        page = try connection.next(
          page.reply.cursor, of: Array(collection.utf8), database: database, batchSize: 1_000,
          on: server, place: place)
      }
    }
  }
}
