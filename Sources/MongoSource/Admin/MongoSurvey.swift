internal import BSON

extension MongoAdmin {
  /// A collection as its server describes it.
  public struct SurveyedCollection: Sendable {
    public var database: String
    public var name: String
    /// The server's own counts; nil if it doesn't tell (`collStats` is not permitted, say).
    public var documents: UInt64?
    public var bytes: UInt64?
    /// The `$jsonSchema` of the collection's validator, as BSON.
    public var validator: [UInt8]?
    /// The names of what the validator has beside it: fields and operators of query conditions.
    public var conditions: [String] = []
  }

  /// The user collections of these databases, or of all, by name; without views, time series and system
  /// collections, and without names that are not UTF-8. Reads no document.
  public static func survey(
    _ options: MongoSourceOptions, databases: [String] = []
  ) async throws(MongoError) -> [SurveyedCollection] {
    try await ask(options) { connection, server throws(MongoError) in
      var found: [SurveyedCollection] = []
      var names = databases
      if names.isEmpty {
        names = try connection.databases(on: server)
          .filter { !["admin", "config", "local"].contains($0) }
      }
      for database in names {
        for var collection in try connection.described(in: database, on: server) {
          let size = try connection.size(
            of: SnapshotCollection(
              database: database, name: Array(collection.name.utf8),
              reportedName: Array(collection.name.utf8), uuid: []), on: server)
          collection.documents = size?.documents
          collection.bytes = size?.bytes
          found.append(collection)
        }
      }
      return found.sorted { ($0.database, $0.name) < ($1.database, $1.name) }
    }
  }

  /// One collection, without the server's counts; nil if there is none of this name.
  public static func survey(
    _ options: MongoSourceOptions, database: String, collection: String
  ) async throws(MongoError) -> SurveyedCollection? {
    try await ask(options) { connection, server throws(MongoError) in
      try connection.described(in: database, named: collection, on: server).first
    }
  }
}

extension MongoConnection {
  /// - Parameter named: only this one.
  fileprivate func described(
    in database: String, named: String? = nil, on server: Server
  ) throws(MongoError) -> [MongoAdmin.SurveyedCollection] {
    var command = ByteWriter(capacity: 256)
    let document = command.beginDocument()
    command.append(key: "listCollections", int32: 1)
    let filter = command.beginDocument(key: "filter")
    command.append(key: "type", string: "collection")
    if let named {
      Array(named.utf8).withUnsafeBytes { command.append(key: "name", string: $0) }
    }
    command.endDocument(filter)
    command.endDocument(document)
    let place = "listCollections on \(database)"
    var page = try page(command, database: database, on: server, place: place)
    var found: [MongoAdmin.SurveyedCollection] = []
    while true {
      found += try page.decode(place) { documents throws(BSONError) in
        var some: [MongoAdmin.SurveyedCollection] = []
        var walk = documents.elements()
        while let element = try walk.next() {
          guard let view = element.document, let bytes = try view.first("name")?.string,
            let name = String(validating: bytes, as: UTF8.self), !name.hasPrefix("system.")
          else { continue }
          var collection = MongoAdmin.SurveyedCollection(database: database, name: name)
          let validator = try view.first("options")?.document?.first("validator")?.document
          var conditions = validator?.elements()
          while let condition = try conditions?.next() {
            let key = String(decoding: condition.key, as: UTF8.self)
            if key == "$jsonSchema", let schema = condition.document {
              collection.validator = Array(schema.bytes)
            } else {
              collection.conditions.append(key)
            }
          }
          some.append(collection)
        }
        return some
      }
      guard page.reply.cursor != 0 else { return found }
      page = try next(
        page.reply.cursor, of: Array("$cmd.listCollections".utf8), database: database,
        batchSize: 1000, on: server, place: place)
    }
  }
}
