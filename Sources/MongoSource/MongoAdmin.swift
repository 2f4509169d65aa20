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
    _ options: MongoSourceOptions,
    _ question:
      @escaping @Sendable (MongoConnection, MongoConnection.Server) throws(MongoError) -> T
  ) async throws(MongoError) -> T {
    let result = await withCheckedContinuation {
      (continuation: CheckedContinuation<Result<T, MongoError>, Never>) in
      let started = OSThread.start("mongo-admin") {
        continuation.resume(returning: answer(options, question))
      }
      if !started {
        continuation.resume(
          returning: .failure(
            MongoError(
              domain: .client, message: "the system refuses to start a thread",
              place: "asking MongoDB", isTransient: true)))
      }
    }
    return try result.get()
  }

  private static func answer<T>(
    _ options: MongoSourceOptions,
    _ question: (MongoConnection, MongoConnection.Server) throws(MongoError) -> T
  ) -> Result<T, MongoError> {
    var options = options
    options.awaitTime = .zero
    do {
      let connection = try MongoConnection(options, replyTimeout: .seconds(5))
      return .success(try question(connection, connection.selectServer()))
    } catch {
      return .failure(error)
    }
  }
}
