public import Logging

/// Polls the majority commit point and the oplog window with its own client and thread, so that they
/// stay known while the reader is blocked. Thread-safe.
public final class MongoMonitor: Sendable {
  private let poller: Poller

  /// - Parameter interval: the pause between polls.
  public init(
    options: MongoSourceOptions, interval: Duration = .seconds(1), logger: Logger
  ) {
    poller = Poller(options: options, interval: interval, logger: logger)
  }

  deinit { poller.requestStop() }

  /// The result of the latest poll.
  public var snapshot: MongoStatus { poller.snapshot }

  /// Starts polling; no effect if it is already started.
  public func start() { poller.start() }

  /// Stops polling and waits for the thread, at most `limit`. No `start` afterwards.
  public func stop(waiting limit: Duration = .seconds(2)) { poller.stop(waiting: limit) }
}

private final class Poller: Sendable {
  private let options: MongoSourceOptions
  private let interval: Duration
  private let logger: Logger
  private let thread = WorkThread("mongo-monitor", State())

  private struct State {
    var snapshot = MongoStatus()
    /// When the system last refused a thread; retried after a second.
    var refusedAt: ContinuousClock.Instant?
  }

  /// The only one: polling is never restarted.
  private static let generation: UInt64 = 0

  /// A poll is cheap: a server that takes longer counts as unreachable.
  private static let replyTimeout = Duration.seconds(4)

  init(options: MongoSourceOptions, interval: Duration, logger: Logger) {
    var options = options
    options.awaitTime = .zero
    self.options = options
    self.interval = interval
    self.logger = logger
  }

  var snapshot: MongoStatus {
    let (snapshot, refusedAt) = thread.withState { ($0.snapshot, $0.refusedAt) }
    if let refusedAt, ContinuousClock.now - refusedAt > .seconds(1) { start() }
    return snapshot
  }

  func start() {
    guard !thread.start({ [self] in run() }) else {
      thread.withState { $0.refusedAt = nil }
      return
    }
    let error = MongoError(
      domain: .client, message: OSThread.refusal(thread.name), place: "monitor", isTransient: true)
    logger.warning("\(error)")
    thread.withState { state in
      state.refusedAt = .now
      state.snapshot.reachable = false
      state.snapshot.error = error
      state.snapshot.at = .now
    }
  }

  func requestStop() { thread.requestStop { _ in } }

  func stop(waiting limit: Duration) {
    requestStop()
    thread.waitForEnd(atMost: limit)
  }

  private func run() {
    var connection: MongoConnection?
    while thread.isCurrent(Self.generation) {
      var snapshot = thread.withState { $0.snapshot }
      do {
        try poll(&connection, &snapshot)
        if snapshot.error != nil { logger.info("MongoDB answers again") }
        snapshot.reachable = true
        snapshot.error = nil
        snapshot.reachedAt = .now
      } catch {
        if snapshot.error == nil { logger.debug("\(error)") }
        snapshot.reachable = false
        snapshot.error = error
      }
      snapshot.at = .now
      let result = snapshot
      thread.withState { $0.snapshot = result }
      // Last, as this may block: libmongoc sends endSessions.
      if !result.reachable { connection = nil }
      thread.pause(interval, generation: Self.generation)
    }
  }

  private func poll(
    _ connection: inout MongoConnection?, _ snapshot: inout MongoStatus
  ) throws(MongoError) {
    let current: MongoConnection
    if let connection {
      current = connection
    } else {
      current = try MongoConnection(options, replyTimeout: Self.replyTimeout)
    }
    let server = try current.selectServer()
    if connection == nil {
      snapshot.version = try current.version(server)
      connection = current
    }
    let hello = try current.hello(server)
    snapshot.host = server.host
    snapshot.setName = hello.setName
    snapshot.lastWrite = hello.lastWrite
    snapshot.majority = hello.majority
    snapshot.majorityWallTime = hello.majorityWallTime
    snapshot.localTime = hello.localTime
    do {
      let oldest = try current.oldestEntry(on: server)
      snapshot.oldest = oldest?.point
      snapshot.oldestWallTime = oldest?.wallTime
    } catch {
      // A change stream needs no privilege for the oplog; then its window is unknown.
      guard error.domain == .server, error.code == ServerCode.unauthorized else { throw error }
      snapshot.oldest = nil
      snapshot.oldestWallTime = nil
    }
  }
}
