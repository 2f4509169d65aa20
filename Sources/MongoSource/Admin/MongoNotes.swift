internal import BSON

extension MongoAdmin {
  /// Has the primary write a note into the oplog: an entry that changes nothing. Returns when a majority has it, or
  /// after two seconds. Needs the privilege `appendOplogNote` on the cluster.
  public static func appendNote(
    _ options: MongoSourceOptions, _ text: String
  ) async throws(MongoError) {
    try await ask(options) { connection, selected throws(MongoError) in
      let members = selected.hello.isPrimary ? [selected] : try connection.members()
      guard let primary = members.first(where: { $0.hello.isPrimary }) else {
        throw MongoError(
          domain: .selection, message: "no primary is known", place: "appendOplogNote",
          isTransient: true)
      }
      var command = ByteWriter(capacity: 256)
      let document = command.beginDocument()
      command.append(key: "appendOplogNote", int32: 1)
      let data = command.beginDocument(key: "data")
      Array(text.utf8).withUnsafeBytes { command.append(key: "msg", string: $0) }
      command.endDocument(data)
      let concern = command.beginDocument(key: "writeConcern")
      command.append(key: "w", string: "majority")
      command.append(key: "wtimeout", int32: 2_000)
      command.endDocument(concern)
      command.endDocument(document)
      _ = try connection.run(command, database: "admin", on: primary, place: "appendOplogNote")
    }
  }
}
