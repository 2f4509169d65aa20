public import Oplog

/// Questions that are asked now and then. Each runs on a thread and a client of its own and takes
/// at most the options' connect timeout and a few seconds. Nothing is retried: while a server is
/// down or the set has no primary yet, an error with `isTransient` says so. Cancellation doesn't cut
/// them short.
public enum MongoAdmin {
  public struct Identity: Sendable {
    public var setName: String
    /// e.g. "6.0.5"
    public var version: String
    /// The member that answered, `host:port`.
    public var host: String
  }

  /// Who is there. Throws if it is nothing that has an oplog.
  public static func identify(
    _ options: MongoSourceOptions
  ) async throws(MongoError) -> Identity {
    try await ask(options) { connection, server throws(MongoError) in
      guard let setName = server.hello.setName else {
        throw MongoError(
          domain: .selection,
          message: server.unsupported
            ?? "\(server.host) belongs to a replica set that is not initiated yet",
          place: "identify", isTransient: server.hello.awaitsInitiation)
      }
      return Identity(
        setName: setName, version: try connection.version(server), host: server.host)
    }
  }

  /// The newest entry that a majority of the members has: a position to start at "now".
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

  /// The entry that stands exactly at `position`, with its term; nil if there is none.
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

  /// The first entry at `position` or behind it; nil if there is none yet.
  public static func entry(
    _ options: MongoSourceOptions, atOrAfter position: OplogPosition
  ) async throws(MongoError) -> ResumePoint? {
    try await ask(options) { connection, server throws(MongoError) in
      try connection.firstEntry(
        from: position, majority: options.readConcernMajority, on: server)?.point
    }
  }

  /// Where reading from a mark on begins: a mark is any point in time, and need not be an entry's.
  public enum MarkPlace: Sendable, Equatable {
    /// The first entry at the mark or behind it.
    case entry(ResumePoint)
    /// A majority has nothing there yet, only entries up to this one.
    case ahead(newest: ResumePoint)
    /// The oplog begins behind it, with this entry.
    case lost(oldest: ResumePoint)
  }

  public static func place(
    _ options: MongoSourceOptions, of mark: OplogPosition
  ) async throws(MongoError) -> MarkPlace {
    try await ask(options) { connection, server throws(MongoError) in
      let entry = try connection.firstEntry(
        from: mark, majority: options.readConcernMajority, on: server)
      // Asked last: if the oplog reaches back to the mark now, it did when the entry was read.
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

  /// Why no member can be read from a mark on, in the reader's words; nil where one reaches back to it.
  public static func loss(
    _ options: MongoSourceOptions, of mark: OplogPosition
  ) async throws(MongoError) -> String? {
    try await ask(options) { connection, server throws(MongoError) -> String? in
      guard let oldest = try connection.oldestEntry(on: server) else { return nil }
      guard oldest.point.position > mark else { return nil }
      for member in try connection.members() where member.host != server.host {
        // Who can't be asked now may have it, and can't be read now.
        let reach = try? connection.oldestEntry(on: member)
        if let reach, reach.point.position <= mark { return nil }
      }
      return PositionLost(
        reason: .rolledOver, expected: ResumePoint(position: mark, term: nil), found: nil,
        oldest: oldest.point, newest: try connection.hello(server).majority, host: server.host
      ).description
    }
  }

  /// Whether the entry at `position` is a user's own `applyOps` command, and no transaction.
  public static func isApplyOps(
    _ options: MongoSourceOptions, at position: OplogPosition
  ) async throws(MongoError) -> Bool {
    try await ask(options) { connection, server throws(MongoError) in
      try connection.isApplyOps(at: position, majority: options.readConcernMajority, on: server)
    }
  }

  /// Whether an entry stands exactly at `position`.
  public static func entryExists(
    _ options: MongoSourceOptions, at position: OplogPosition
  ) async throws(MongoError) -> Bool {
    try await entry(options, at: position) != nil
  }

  /// The first entry of the transaction that the entry at `position` belongs to: follows
  /// `prevOpTime` back. Nil if one of them is no longer in the oplog.
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
              place: "asking MongoDB", isTransient: true)))
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
