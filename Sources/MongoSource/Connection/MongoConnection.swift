internal import BSON
internal import CMongoC
internal import Oplog

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// A libmongoc client.
///
/// libmongoc clients block and are not thread-safe: a connection is created, used and released on one
/// thread, and every call checks that. After an error, its owner discards it and creates another: that
/// is cheap, and avoids libmongoc's wait of five seconds before it contacts a failed server again.
final class MongoConnection {
  private let uri: MongoURI
  private let client: OpaquePointer
  private var session: OpaquePointer?
  private let owner = pthread_self()

  /// How long the server may hold a getMore.
  var awaitTime: Duration { uri.awaitTime }
  /// Only the primary may be read from.
  var primaryOnly: Bool { uri.primaryOnly }

  init(_ options: MongoSourceOptions, replyTimeout: Duration? = nil) throws(MongoError) {
    uri = try MongoURI(options, replyTimeout: replyTimeout ?? options.replyTimeout)
    var error = bson_error_t()
    guard let client = mongoc_client_new_from_uri_with_error(uri.pointer, &error) else {
      throw MongoError(error, place: "creating a client", redaction: uri.redaction)
    }
    self.client = client
    // Version 2: server errors have their own domain and the server's code.
    mongoc_client_set_error_api(client, MONGOC_ERROR_API_VERSION_2)
  }

  deinit {
    precondition(pthread_equal(owner, pthread_self()) != 0, "a MongoConnection left its thread")
    if let session { mongoc_client_session_destroy(session) }
    mongoc_client_destroy(client)
  }

  /// A server to send commands to.
  struct Server {
    var id: UInt32
    /// `host:port`, as the replica set's configuration names it.
    var host: String
    var hello: Hello
  }

  /// Selects a server by the read preference.
  func selectServer() throws(MongoError) -> Server {
    checkThread()
    var error = bson_error_t()
    guard
      let description = mongoc_client_select_server(
        client, false, mongoc_client_get_read_prefs(client), &error)
    else {
      var failure = MongoError(error, place: "server selection", redaction: uri.redaction)
      if let advice = MongoAdvice.closed(failure.message, uri.encryption) {
        failure.message += "; \(advice)"
      }
      throw failure
    }
    defer { mongoc_server_description_destroy(description) }
    return try Self.server(description)
  }

  /// All members with data, as known since the last server selection.
  func members() throws(MongoError) -> [Server] {
    checkThread()
    var count = 0
    guard let descriptions = mongoc_client_get_server_descriptions(client, &count) else {
      return []
    }
    defer { mongoc_server_descriptions_destroy_all(descriptions, count) }
    var servers: [Server] = []
    for i in 0..<count {
      guard let description = descriptions[i],
        let type = mongoc_server_description_type(description)
      else { continue }
      switch String(cString: type) {
      case "RSPrimary", "RSSecondary": servers.append(try Self.server(description))
      default: break
      }
    }
    return servers
  }

  /// The server with this host name.
  func server(at host: String) throws(MongoError) -> Server {
    let selected = try selectServer()
    if selected.host == host { return selected }
    if let member = try members().first(where: { $0.host == host }) { return member }
    throw MongoError(
      domain: .selection, message: "\(host) is no longer a reachable member",
      place: "server selection",
      isTransient: true)
  }

  private static func server(_ description: OpaquePointer) throws(MongoError) -> Server {
    let host = String(cString: tailrace_server_host(description))
    // The document belongs to the description; `Hello` copies what it needs from it.
    guard let reply = mongoc_server_description_hello_response(description),
      let bytes = bson_get_data(reply)
    else {
      throw MongoError(
        domain: .reply, message: "\(host) did not answer hello", place: "hello",
        isTransient: true)
    }
    // A BSON document starts with its length.
    let length = Int(
      Int32(littleEndian: UnsafeRawPointer(bytes).loadUnaligned(as: Int32.self)))
    let hello = try decode("hello of \(host)") { () throws(BSONError) in
      try Hello(BSONView(UnsafeRawBufferPointer(start: bytes, count: max(length, 0))))
    }
    return Server(id: mongoc_server_description_id(description), host: host, hello: hello)
  }

  /// Runs all further commands in a session: a cursor belongs to the session that opened it.
  func startSession() throws(MongoError) {
    checkThread()
    guard session == nil else { return }
    var error = bson_error_t()
    session = tailrace_session_new(client, &error)
    if session == nil {
      throw MongoError(error, place: "starting a session", redaction: uri.redaction)
    }
  }

  /// Opens a tailable cursor on the oplog, from the first entry at or after `position`.
  func tail(
    from position: OplogPosition, majority: Bool, batch: Int, on server: Server
  ) throws(MongoError) -> MongoReply {
    try run(
      tailrace_command_tail(
        position.seconds, position.increment, majority, Int32(clamping: batch)),
      database: "local", on: server, place: "find on local.oplog.rs")
  }

  /// The next entries; possibly none after `awaitTime`.
  func more(_ cursor: Int64, batch: Int, on server: Server) throws(MongoError) -> MongoReply {
    try run(
      tailrace_command_more(cursor, Int32(clamping: batch), Int64(awaitTime.milliseconds)),
      database: "local", on: server, place: "getMore on local.oplog.rs")
  }

  func killCursor(_ cursor: Int64, on server: Server) throws(MongoError) {
    _ = try run(
      tailrace_command_kill_cursor(cursor), database: "local", on: server,
      place: "killCursors on local.oplog.rs")
  }

  /// Sends a new `hello`.
  func hello(_ server: Server) throws(MongoError) -> Hello {
    let reply = try run(
      tailrace_command_hello(), database: "admin", on: server, place: "hello")
    defer { withExtendedLifetime(reply) {} }
    return try Self.decode("hello of \(server.host)") { () throws(BSONError) in
      try Hello(BSONView(reply.bytes))
    }
  }

  /// The server's version, e.g. "6.0.5".
  func version(_ server: Server) throws(MongoError) -> String {
    let reply = try run(
      tailrace_command_build_info(), database: "admin", on: server, place: "buildInfo")
    defer { withExtendedLifetime(reply) {} }
    return try Self.decode("buildInfo of \(server.host)") { () throws(BSONError) in
      try BSONView(reply.bytes).first("version")?.text ?? ""
    }
  }

  /// An oplog entry's position, time and link.
  struct EntryHead {
    var point: ResumePoint
    /// Milliseconds since 1970, by the primary's clock.
    var wallTime: Int64?
    /// The previous entry of the transaction or session (`prevOpTime`).
    var previous: OplogPosition?
  }

  /// The first entry at or after `position`; nil if the server has none yet.
  func firstEntry(
    from position: OplogPosition, majority: Bool, on server: Server
  ) throws(MongoError) -> EntryHead? {
    try entryHead(
      run(
        tailrace_command_entry(position.seconds, position.increment, majority),
        database: "local", on: server, place: "find on local.oplog.rs"))
  }

  /// The server's oldest entry; nil if its oplog is empty.
  func oldestEntry(on server: Server) throws(MongoError) -> EntryHead? {
    try entryHead(
      run(
        tailrace_command_oldest(), database: "local", on: server, place: "find on local.oplog.rs"))
  }

  func isApplyOps(
    at position: OplogPosition, majority: Bool, on server: Server
  ) throws(MongoError) -> Bool {
    try entryHead(
      run(
        tailrace_command_apply_ops(position.seconds, position.increment, majority),
        database: "local", on: server, place: "find on local.oplog.rs")) != nil
  }

  private func entryHead(_ reply: MongoReply) throws(MongoError) -> EntryHead? {
    defer { withExtendedLifetime(reply) {} }
    let parsed: CursorReply
    do {
      parsed = try CursorReply(reply.bytes)
    } catch {
      throw MongoError(
        domain: .reply, message: error.description, place: "find on local.oplog.rs",
        isTransient: true)
    }
    return try Self.decode("find on local.oplog.rs") { () throws(BSONError) in
      var walk = parsed.documents.elements()
      guard let element = try walk.next() else { return nil }
      let entry = try BSONView(element.value)
      guard let point = try ResumePoint(entry) else { return nil }
      let link = try entry.first("prevOpTime")?.document.flatMap { view throws(BSONError) in
        try ResumePoint(view)
      }
      return EntryHead(
        point: point, wallTime: try entry.first("wall")?.date,
        previous: link.flatMap { $0.position.value == 0 ? nil : $0.position })
    }
  }

  func run(
    _ command: OpaquePointer, database: String, on server: Server, place: String
  ) throws(MongoError) -> MongoReply {
    checkThread()
    var reply = tailrace_reply()
    var error = bson_error_t()
    guard tailrace_run(client, session, server.id, database, command, &reply, &error) else {
      throw MongoError(error, place: "\(place) at \(server.host)", redaction: uri.redaction)
    }
    return MongoReply(taking: reply)
  }

  private func checkThread() {
    precondition(
      pthread_equal(owner, pthread_self()) != 0, "a MongoConnection is used on two threads")
  }

  static func decode<T>(
    _ place: @autoclosure () -> String, _ body: () throws(BSONError) -> T
  ) throws(MongoError) -> T {
    do {
      return try body()
    } catch {
      throw MongoError(
        domain: .reply, message: error.description, place: place(), isTransient: true)
    }
  }
}
