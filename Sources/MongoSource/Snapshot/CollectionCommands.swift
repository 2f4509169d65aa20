internal import BSON
public import Oplog

extension MongoAdmin {
  /// How long the server may scan its oplog.
  private static let oplogScanTimeout = Duration.seconds(120)

  private static let commands: [StaticString] = [
    "o.drop", "o.renameCollection", "o.dropDatabase", "o.applyOps.o.drop",
    "o.applyOps.o.renameCollection", "o.applyOps.o.dropDatabase",
  ]

  /// The oplog entries after `position` that drop or rename collections, or drop databases, as BSON.
  ///
  /// - Throws: also if the scan takes too long.
  public static func collectionCommands(
    _ options: MongoSourceOptions, after position: OplogPosition
  ) async throws(MongoError) -> [[UInt8]] {
    try await ask(options, replyTimeout: oplogScanTimeout) {
      connection, server throws(MongoError) in
      var entries: [[UInt8]] = []
      try connection.entries(
        after: position, majority: options.readConcernMajority, on: server,
        filter: { Self.write(commands, into: &$0) },
        each: { entries.append(Array($0)) })
      return entries
    }
  }

  /// The oplog's entries behind `position` that have changes of documents marked `fromMigrate`, of which there
  /// are no events: without the documents, but with their keys, and at most `limit` of them.
  public static func silentWrites(
    _ options: MongoSourceOptions, after position: OplogPosition, limit: Int
  ) async throws(MongoError) -> [[UInt8]] {
    try await ask(options, replyTimeout: oplogScanTimeout) {
      connection, server throws(MongoError) in
      var entries: [[UInt8]] = []
      try connection.entries(
        after: position, majority: options.readConcernMajority, limit: limit, on: server,
        fields: ["ts", "t", "v", "op", "ns", "ui", "o2", "o._id", "o.applyOps", "fromMigrate"],
        filter: { filter in
          let choices = filter.beginArray(key: "$or")
          for (index, path) in (["fromMigrate", "o.applyOps.fromMigrate"] as [StaticString])
            .enumerated()
          {
            let choice = filter.beginDocument(index: index)
            filter.append(key: path, bool: true)
            filter.endDocument(choice)
          }
          filter.endDocument(choices)
        },
        each: { entries.append(Array($0)) })
      return entries
    }
  }

  /// Writes the condition that an entry is one of these commands.
  fileprivate static func write(_ commands: [StaticString], into filter: inout ByteWriter) {
    filter.append(key: "op", string: "c")
    let choices = filter.beginArray(key: "$or")
    for (index, path) in commands.enumerated() {
      let choice = filter.beginDocument(index: index)
      let exists = filter.beginDocument(key: path)
      filter.append(key: "$exists", bool: true)
      filter.endDocument(exists)
      filter.endDocument(choice)
    }
    filter.endDocument(choices)
  }

  /// Whether there are writes to user collections after `position`.
  public static func hasWrites(
    _ options: MongoSourceOptions, after position: OplogPosition
  ) async throws(MongoError) -> Bool {
    try await ask(options, replyTimeout: oplogScanTimeout) {
      connection, server throws(MongoError) in
      var found = false
      try connection.entries(
        after: position, majority: false, limit: 1, on: server,
        filter: { filter in
          let operation = filter.beginDocument(key: "op")
          filter.append(key: "$ne", string: "n")
          filter.endDocument(operation)
          let namespace = filter.beginDocument(key: "ns")
          let pattern = filter.beginDocument(key: "$not")
          filter.append(key: "$regex", string: "^(config|local|admin)[.](?![$]cmd$)")
          filter.endDocument(pattern)
          filter.endDocument(namespace)
        },
        each: { _ in found = true })
      return found
    }
  }
}

extension MongoConnection {
  /// The collections created and renamed after `position`, including changes that aren't replicated yet.
  func collectionNames(
    since position: OplogPosition, on server: Server
  ) throws(MongoError) -> CollectionNames {
    var found: [[UInt8]] = []
    try entries(
      after: position, majority: false, on: server,
      filter: { MongoAdmin.write(CollectionNames.fields, into: &$0) },
      each: { found.append(Array($0)) })
    return try Self.decode("find on local.oplog.rs") { () throws(BSONError) in
      var names = CollectionNames()
      for entry in found {
        var error: BSONError?
        entry.withUnsafeBytes { bytes in
          do throws(BSONError) {
            try names.note(BSONView(bytes))
          } catch let failure {
            error = failure
          }
        }
        if let error { throw error }
      }
      return names
    }
  }

  /// Calls `each` for the oplog entries after `position` that match `filter`, in order.
  fileprivate func entries(
    after position: OplogPosition, majority: Bool, limit: Int? = nil, on server: Server,
    fields: [StaticString] = [], filter: (inout ByteWriter) -> Void,
    each: (UnsafeRawBufferPointer) -> Void
  ) throws(MongoError) {
    let place = "find on local.oplog.rs"
    var command = ByteWriter(capacity: 512)
    let document = command.beginDocument()
    command.append(key: "find", string: "oplog.rs")
    let conditions = command.beginDocument(key: "filter")
    let time = command.beginDocument(key: "ts")
    command.append(key: "$gt", timestamp: position.seconds, increment: position.increment)
    command.endDocument(time)
    filter(&command)
    command.endDocument(conditions)
    if !fields.isEmpty {
      let projection = command.beginDocument(key: "projection")
      for field in fields { command.append(key: field, bool: true) }
      command.endDocument(projection)
    }
    if majority {
      let concern = command.beginDocument(key: "readConcern")
      command.append(key: "level", string: "majority")
      command.endDocument(concern)
    }
    if let limit {
      command.append(key: "limit", int32: Int32(limit))
      command.append(key: "singleBatch", bool: limit == 1)
    }
    command.endDocument(document)
    var page = try page(command, database: "local", on: server, place: place)
    while true {
      try page.decode(place) { documents throws(BSONError) in
        var walk = documents.elements()
        while let element = try walk.next() {
          if element.type == .document { each(element.value) }
        }
      }
      guard page.reply.cursor != 0 else { return }
      page = try next(
        page.reply.cursor, of: Array("oplog.rs".utf8), database: "local", batchSize: 1000,
        on: server, place: place)
    }
  }
}
