public import Oplog

extension MongoConnection {
  /// Opens a change stream of everything, as its reader does, and closes it again. Needs only the
  /// privileges for reading it.
  func changeStreamPosition(on server: Server) throws(MongoError) -> OplogPosition {
    if let reason = server.withoutChangeStreams {
      throw MongoError(
        domain: .selection, message: reason, place: "server selection", isTransient: false)
    }
    let scope = ChangeStreamOptions().scope
    try startSession()
    let opened = try openStream(scope, .present, expanded: false, on: server)
    defer { withExtendedLifetime(opened) {} }
    guard let reply = try? CursorReply(opened.bytes),
      let position = reply.resumeToken.flatMap({ ResumeToken($0) })?.position
    else {
      throw MongoError(
        domain: .reply, message: "\(server.host) returned no resume token",
        place: "aggregate on a change stream", isTransient: false)
    }
    // Best effort: the server drops an idle cursor after ten minutes.
    try? killCursor(reply.cursor, of: scope, on: server)
    return position
  }
}

extension MongoAdmin {
  /// The `PositionLost` text if the server's history no longer reaches back to `position`; nil if a
  /// change stream can start there.
  public static func changeStreamLoss(
    _ options: MongoSourceOptions, at position: OplogPosition,
    stream: ChangeStreamOptions = ChangeStreamOptions()
  ) async throws(MongoError) -> String? {
    try await ask(options) { connection, server throws(MongoError) -> String? in
      try connection.startSession()
      do throws(MongoError) {
        let opened = try connection.openStream(
          stream.scope, .at(position), expanded: false, on: server)
        defer { withExtendedLifetime(opened) {} }
        guard let reply = try? CursorReply(opened.bytes) else { return nil }
        // Servers report a lost position only when they look for the first event.
        let first = try connection.more(reply.cursor, of: stream.scope, batch: 1, on: server)
        defer { withExtendedLifetime(first) {} }
        try? connection.killCursor(reply.cursor, of: stream.scope, on: server)
        return nil
      } catch {
        let refusal = ChangeStreamRefusal(
          error, opening: true, isFirst: true, afterToken: false)
        guard case .lost(let reason) = refusal else { throw error }
        return PositionLost(
          reason: reason, expected: ResumePoint(position: position, term: nil), found: nil,
          oldest: nil, newest: try? connection.hello(server).majority, host: server.host
        ).description
      }
    }
  }
}
