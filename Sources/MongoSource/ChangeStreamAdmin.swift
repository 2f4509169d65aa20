public import Oplog

extension MongoAdmin {
  /// A position to start at "now": every change from here on is in the change stream. Asks for no
  /// more than reading the stream does, and works on routers of sharded clusters.
  public static func changeStreamPosition(
    _ options: MongoSourceOptions, stream: ChangeStreamOptions = ChangeStreamOptions()
  ) async throws(MongoError) -> OplogPosition {
    try await ask(options) { connection, server throws(MongoError) in
      if let reason = server.withoutChangeStreams {
        throw MongoError(
          domain: .selection, message: reason, place: "looking for a server", isTransient: false)
      }
      try connection.startSession()
      let opened = try connection.openStream(stream.scope, .present, expanded: false, on: server)
      defer { withExtendedLifetime(opened) {} }
      guard let reply = try? CursorReply(opened.bytes),
        let position = reply.resumeToken.flatMap({ ResumeToken($0) })?.position
      else {
        throw MongoError(
          domain: .reply, message: "\(server.host) doesn't say where its change stream is",
          place: "aggregate on a change stream", isTransient: false)
      }
      // So that the server need not keep it for ten minutes. If it can't be told: no matter.
      try? connection.killCursor(reply.cursor, of: stream.scope, on: server)
      return position
    }
  }
}
