internal import BSON
internal import CMongoC
internal import Oplog

/// Where a change stream starts.
enum ChangeStreamStart {
  /// Now.
  case present
  /// With the first event at or after it.
  case at(OplogPosition)
  /// After a token of the same stream.
  case after(ResumeToken)
}

extension ChangeStreamOptions.Scope {
  /// The database that the stream's commands are sent to.
  var target: String {
    switch self {
    case .cluster, .databases: "admin"
    case .database(let name): name
    }
  }
}

/// The commands of a change stream, written as BSON.
extension MongoConnection {
  /// Opens a cursor with an empty first batch: looking for the first event can take long, and
  /// `aggregate` can't bound it.
  func openStream(
    _ scope: ChangeStreamOptions.Scope, _ start: ChangeStreamStart, expanded: Bool,
    on server: Server
  ) throws(MongoError) -> MongoReply {
    try run(scope, "aggregate", on: server) { command in
      command.append(key: "aggregate", int32: 1)
      let pipeline = command.beginArray(key: "pipeline")
      let stage = command.beginDocument(index: 0)
      let stream = command.beginDocument(key: "$changeStream")
      if scope.target == "admin" { command.append(key: "allChangesForCluster", bool: true) }
      if expanded { command.append(key: "showExpandedEvents", bool: true) }
      switch start {
      case .present: break
      case .at(let position):
        command.append(
          key: "startAtOperationTime", timestamp: position.seconds, increment: position.increment)
      case .after(let token):
        // `resumeAfter` rejects the token of an invalidate event.
        Array("startAfter".utf8).withUnsafeBytes { key in
          token.bytes.withUnsafeBytes {
            command.appendElement(type: .document, key: key, value: $0)
          }
        }
      }
      command.endDocument(stream)
      command.endDocument(stage)
      if case .databases(let names) = scope { Self.append(matching: names, to: &command) }
      command.endDocument(pipeline)
      let cursor = command.beginDocument(key: "cursor")
      command.append(key: "batchSize", int32: 0)
      command.endDocument(cursor)
      let concern = command.beginDocument(key: "readConcern")
      command.append(key: "level", string: "majority")
      command.endDocument(concern)
    }
  }

  /// `{$match: {"ns.db": {$in: [names]}}}` as the pipeline's second stage.
  private static func append(matching names: [String], to command: inout ByteWriter) {
    let stage = command.beginDocument(index: 1)
    let match = command.beginDocument(key: "$match")
    let field = command.beginDocument(key: "ns.db")
    let list = command.beginArray(key: "$in")
    for (index, name) in names.enumerated() {
      var name = name
      name.withUTF8 { command.append(index: index, string: UnsafeRawBufferPointer($0)) }
    }
    command.endDocument(list)
    command.endDocument(field)
    command.endDocument(match)
    command.endDocument(stage)
  }

  /// The next events; possibly none after `awaitTime`.
  func more(
    _ cursor: Int64, of scope: ChangeStreamOptions.Scope, batch: Int, on server: Server
  ) throws(MongoError) -> MongoReply {
    let wait = Int64(awaitTime.milliseconds)
    return try run(scope, "getMore", on: server) { command in
      command.append(key: "getMore", int64: cursor)
      command.append(key: "collection", string: "$cmd.aggregate")
      command.append(key: "batchSize", int32: Int32(clamping: batch))
      command.append(key: "maxTimeMS", int64: wait)
    }
  }

  func killCursor(
    _ cursor: Int64, of scope: ChangeStreamOptions.Scope, on server: Server
  ) throws(MongoError) {
    _ = try run(scope, "killCursors", on: server) { command in
      command.append(key: "killCursors", string: "$cmd.aggregate")
      let cursors = command.beginArray(key: "cursors")
      command.appendHeader(.int64, index: 0)
      command.append(littleEndian: cursor)
      command.endDocument(cursors)
    }
  }

  private func run(
    _ scope: ChangeStreamOptions.Scope, _ name: String, on server: Server,
    _ write: (inout ByteWriter) -> Void
  ) throws(MongoError) -> MongoReply {
    let place = "\(name) on the change stream of \(Self.name(scope))"
    var writer = ByteWriter(capacity: 512)
    let document = writer.beginDocument()
    write(&writer)
    writer.endDocument(document)
    let bytes = writer.bytes
    guard let start = bytes.assumingMemoryBound(to: UInt8.self).baseAddress,
      let command = tailrace_command_from(start, UInt32(bytes.count))
    else {
      throw MongoError(
        domain: .client, message: "the command is not valid BSON", place: place, isTransient: false)
    }
    return try run(command, database: scope.target, on: server, place: place)
  }

  private static func name(_ scope: ChangeStreamOptions.Scope) -> String {
    switch scope {
    case .cluster: "all databases"
    case .databases(let names): names.joined(separator: ", ")
    case .database(let name): name
    }
  }
}

extension MongoConnection.Server {
  /// Why this server has no change streams, and what to do; nil if it has them.
  var withoutChangeStreams: String? { hello.isRouter ? nil : unsupported }
}
