internal import BSON

extension MongoAdmin {
  /// Random documents of a collection (`$sample`), as BSON.
  ///
  /// The server gives up after 20 seconds.
  ///
  /// - Parameters:
  ///   - count: at most this many; limited to 10,000.
  ///   - maximumBytes: no more are asked for once there are so many; 0: nothing.
  public static func sample(
    _ options: MongoSourceOptions, database: String, collection: String, count: Int,
    maximumBytes: Int = 32 << 20
  ) async throws(MongoError) -> [[UInt8]] {
    let size = Int32(clamping: min(max(count, 1), 10_000))
    return try await ask(options, replyTimeout: .seconds(30)) {
      connection, server throws(MongoError) in
      var command = ByteWriter(capacity: 256)
      let document = command.beginDocument()
      Array(collection.utf8).withUnsafeBytes { command.append(key: "aggregate", string: $0) }
      let pipeline = command.beginArray(key: "pipeline")
      let stage = command.beginDocument(index: 0)
      let sample = command.beginDocument(key: "$sample")
      command.append(key: "size", int32: size)
      command.endDocument(sample)
      command.endDocument(stage)
      command.endDocument(pipeline)
      let cursor = command.beginDocument(key: "cursor")
      command.append(key: "batchSize", int32: 1_000)
      command.endDocument(cursor)
      command.append(key: "maxTimeMS", int32: 20_000)
      command.endDocument(document)
      let place = "aggregate on \(database).\(collection)"
      var page = try connection.page(command, database: database, on: server, place: place)
      var documents: [[UInt8]] = []
      var bytes = 0
      while true {
        let batch = try page.decode(place) { documents throws(BSONError) in
          var found: [[UInt8]] = []
          var walk = documents.elements()
          while let element = try walk.next() {
            if let document = element.document { found.append(Array(document.bytes)) }
          }
          return found
        }
        documents += batch
        bytes += batch.reduce(0) { $0 + $1.count }
        guard page.reply.cursor != 0 else { return documents }
        guard bytes < maximumBytes else {
          connection.kill(
            page.reply.cursor, of: Array(collection.utf8), database: database, on: server)
          return documents
        }
        page = try connection.next(
          page.reply.cursor, of: Array(collection.utf8), database: database, batchSize: 1_000,
          on: server, place: place)
      }
    }
  }
}
