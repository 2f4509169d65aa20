public import Oplog

/// One-off queries. Each uses its own thread and client, and takes at most the connect timeout plus a
/// few seconds unless noted. Nothing is retried: if a server is down or the set has no primary, the
/// error is `isTransient`. Cancellation has no effect.
public enum MongoAdmin {
  public struct Identity: Sendable {
    public var setName: String
    /// e.g. "6.0.5"
    public var version: String
    /// The member that answered, `host:port`.
    public var host: String
  }

  /// Identifies the server. Throws if it has no oplog.
  public static func identify(
    _ options: MongoSourceOptions
  ) async throws(MongoError) -> Identity {
    try await ask(options) { connection, server throws(MongoError) in
      guard let setName = server.hello.setName else {
        throw MongoError(
          domain: .selection,
          message: server.unsupported
            ?? "\(server.host) belongs to a replica set that is not initiated yet; run rs.initiate()",
          place: "identify", isTransient: server.hello.awaitsInitiation)
      }
      return Identity(
        setName: setName, version: try connection.version(server), host: server.host)
    }
  }

  /// The newest majority-committed entry: a position to start at "now".
  public static func majorityPosition(
    _ options: MongoSourceOptions
  ) async throws(MongoError) -> ResumePoint {
    try await ask(options) { connection, server throws(MongoError) in
      let hello = try connection.hello(server)
      guard let majority = hello.majority else {
        throw MongoError(
          domain: .reply,
          message: "\(server.host) doesn't know yet what a majority of its replica set has",
          place: "hello", isTransient: true)
      }
      return majority
    }
  }

  /// The newest entry, whether a majority has it or not.
  public static func newestPosition(
    _ options: MongoSourceOptions
  ) async throws(MongoError) -> ResumePoint {
    try await ask(options) { connection, server throws(MongoError) in
      let hello = try connection.hello(server)
      guard let newest = hello.lastWrite ?? hello.majority else {
        throw MongoError(
          domain: .reply, message: "\(server.host) doesn't say what it wrote last",
          place: "hello", isTransient: true)
      }
      return newest
    }
  }

  /// The oldest entry of the oplog.
  public static func oldestPosition(
    _ options: MongoSourceOptions
  ) async throws(MongoError) -> ResumePoint {
    try await ask(options) { connection, server throws(MongoError) in
      guard let oldest = try connection.oldestEntry(on: server) else {
        throw MongoError(
          domain: .reply, message: "the oplog of \(server.host) is empty",
          place: "find on local.oplog.rs", isTransient: true)
      }
      return oldest.point
    }
  }

  /// The entry at exactly `position`, with its term; nil if there is none.
  public static func entry(
    _ options: MongoSourceOptions, at position: OplogPosition
  ) async throws(MongoError) -> ResumePoint? {
    try await ask(options) { connection, server throws(MongoError) in
      let entry = try connection.firstEntry(
        from: position, majority: options.readConcernMajority, on: server)
      guard let entry, entry.point.position == position else { return nil }
      return entry.point
    }
  }

  /// The first entry at or after `position`; nil if there is none yet.
  public static func entry(
    _ options: MongoSourceOptions, atOrAfter position: OplogPosition
  ) async throws(MongoError) -> ResumePoint? {
    try await ask(options) { connection, server throws(MongoError) in
      try connection.firstEntry(
        from: position, majority: options.readConcernMajority, on: server)?.point
    }
  }

  /// Where reading from a mark starts. A mark is any point in time; no entry needs to exist at it.
  public enum MarkPlace: Sendable, Equatable {
    /// The first entry at or after the mark.
    case entry(ResumePoint)
    /// The mark is after the newest majority-committed entry, this one.
    case ahead(newest: ResumePoint)
    /// The mark is before the oldest entry, this one.
    case lost(oldest: ResumePoint)
  }

  /// Finds where reading from `mark` starts.
  public static func place(
    _ options: MongoSourceOptions, of mark: OplogPosition
  ) async throws(MongoError) -> MarkPlace {
    try await ask(options) { connection, server throws(MongoError) in
      let entry = try connection.firstEntry(
        from: mark, majority: options.readConcernMajority, on: server)
      // Read last: if the oplog reaches back to the mark now, it did when the entry was read.
      guard let oldest = try connection.oldestEntry(on: server) else {
        throw MongoError(
          domain: .reply, message: "the oplog of \(server.host) is empty",
          place: "find on local.oplog.rs", isTransient: true)
      }
      guard oldest.point.position <= mark else { return .lost(oldest: oldest.point) }
      if let entry { return .entry(entry.point) }
      guard let newest = try connection.hello(server).majority else {
        throw MongoError(
          domain: .reply,
          message: "\(server.host) doesn't know yet what a majority of its replica set has",
          place: "hello", isTransient: true)
      }
      return .ahead(newest: newest)
    }
  }

  /// The `PositionLost` text if no member's oplog reaches back to `mark`; nil if one does.
  public static func loss(
    _ options: MongoSourceOptions, of mark: OplogPosition
  ) async throws(MongoError) -> String? {
    try await ask(options) { connection, server throws(MongoError) -> String? in
      guard let oldest = try connection.oldestEntry(on: server) else { return nil }
      guard oldest.point.position > mark else { return nil }
      for member in try connection.members() where member.host != server.host {
        // An unreachable member may have it, but can't be read either.
        let reach = try? connection.oldestEntry(on: member)
        if let reach, reach.point.position <= mark { return nil }
      }
      return PositionLost(
        reason: .rolledOver, expected: ResumePoint(position: mark, term: nil), found: nil,
        oldest: oldest.point, newest: try connection.hello(server).majority, host: server.host
      ).description
    }
  }

  /// Whether the entry at `position` is a user's `applyOps` command, not a transaction.
  public static func isApplyOps(
    _ options: MongoSourceOptions, at position: OplogPosition
  ) async throws(MongoError) -> Bool {
    try await ask(options) { connection, server throws(MongoError) in
      try connection.isApplyOps(at: position, majority: options.readConcernMajority, on: server)
    }
  }

  /// Whether there is an entry at exactly `position`.
  public static func entryExists(
    _ options: MongoSourceOptions, at position: OplogPosition
  ) async throws(MongoError) -> Bool {
    try await entry(options, at: position) != nil
  }

  /// The first entry of the transaction that the entry at `position` belongs to, by following
  /// `prevOpTime`. Nil if the oplog no longer holds one of its entries.
  public static func transactionStart(
    _ options: MongoSourceOptions, from position: OplogPosition
  ) async throws(MongoError) -> OplogPosition? {
    try await ask(options) { connection, server throws(MongoError) in
      var position = position
      while true {
        let entry = try connection.firstEntry(
          from: position, majority: options.readConcernMajority, on: server)
        guard let entry, entry.point.position == position else { return nil }
        guard let previous = entry.previous, previous < position else { return position }
        position = previous
      }
    }
  }

  static func ask<T: Sendable>(
    _ options: MongoSourceOptions, replyTimeout: Duration = .seconds(5),
    _ question:
      @escaping @Sendable (MongoConnection, MongoConnection.Server) throws(MongoError) -> T
  ) async throws(MongoError) -> T {
    let result = await withCheckedContinuation {
      (continuation: CheckedContinuation<Result<T, MongoError>, Never>) in
      let started = OSThread.start("mongo-admin") {
        continuation.resume(returning: answer(options, replyTimeout, question))
      }
      if !started {
        continuation.resume(
          returning: .failure(
            MongoError(
              domain: .client, message: OSThread.refusal("mongo-admin"),
              place: "one-off query", isTransient: true)))
      }
    }
    return try result.get()
  }

  private static func answer<T>(
    _ options: MongoSourceOptions, _ replyTimeout: Duration,
    _ question: (MongoConnection, MongoConnection.Server) throws(MongoError) -> T
  ) -> Result<T, MongoError> {
    var options = options
    options.awaitTime = .zero
    do {
      let connection = try MongoConnection(options, replyTimeout: replyTimeout)
      return .success(try question(connection, connection.selectServer()))
    } catch {
      return .failure(error)
    }
  }
}
