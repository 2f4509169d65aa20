public import Logging

/// Watches how far the replica set has come, and how far back its oplog reaches, with a client and
/// a thread of its own, so that health stays known while reading is stuck. Thread-safe.
public final class MongoMonitor: Sendable {
  private let poller: Poller

  /// - Parameter interval: the pause between polls.
  public init(
    options: MongoSourceOptions, interval: Duration = .seconds(1), logger: Logger
  ) {
    poller = Poller(options: options, interval: interval, logger: logger)
  }

  deinit { poller.requestStop() }

  public var snapshot: MongoSnapshot { poller.snapshot }

  /// Begins polling; without effect if it has begun.
  public func start() { poller.start() }

  /// Ends polling and waits for the thread, at most `limit`. No `start` afterwards.
  public func stop(waiting limit: Duration = .seconds(2)) { poller.stop(waiting: limit) }
}

private final class Poller: Sendable {
  private let options: MongoSourceOptions
  private let interval: Duration
  private let logger: Logger
  private let shared = Guarded(Shared())

  private struct Shared {
    var snapshot = MongoSnapshot()
    var threadRuns = false
    var stopping = false
    /// When the system last refused a thread; asked again a second later.
    var refusedAt: ContinuousClock.Instant?
  }

  /// A poll asks for little: silence of this length means that nobody is there.
  private static let replyTimeout = Duration.seconds(4)

  init(options: MongoSourceOptions, interval: Duration, logger: Logger) {
    var options = options
    options.awaitTime = .zero
    self.options = options
    self.interval = interval
    self.logger = logger
  }

  var snapshot: MongoSnapshot {
    let (snapshot, refusedAt) = shared.withLock { ($0.snapshot, $0.refusedAt) }
    if let refusedAt, ContinuousClock.now - refusedAt > .seconds(1) { start() }
    return snapshot
  }

  func start() {
    let begin = shared.withLock { shared in
      if shared.threadRuns || shared.stopping { return false }
      shared.threadRuns = true
      shared.refusedAt = nil
      return true
    }
    guard begin, !OSThread.start("mongo-monitor", { [self] in run() }) else { return }
    let error = MongoError(
      domain: .client, message: OSThread.refusal("mongo-monitor"), place: "monitor",
      isTransient: true)
    logger.warning("\(error)")
    shared.withLock { shared in
      shared.threadRuns = false
      shared.refusedAt = .now
      shared.snapshot.reachable = false
      shared.snapshot.error = error
      shared.snapshot.at = .now
    }
  }

  func requestStop() {
    shared.withLock { $0.stopping = true }
    shared.signal()
  }

  func stop(waiting limit: Duration) {
    requestStop()
    _ = shared.wait(atMost: limit) { $0.threadRuns ? nil : true }
  }

  private func run() {
    var connection: MongoConnection?
    while !shared.withLock({ $0.stopping }) {
      var snapshot = shared.withLock { $0.snapshot }
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
      shared.withLock { $0.snapshot = result }
      // After telling, as this may take a while: libmongoc tries to say goodbye.
      if !result.reachable { connection = nil }
      _ = shared.wait(atMost: interval) { $0.stopping ? true : nil }
    }
    connection = nil
    shared.withLock { $0.threadRuns = false }
    shared.signal()
  }

  private func poll(
    _ connection: inout MongoConnection?, _ snapshot: inout MongoSnapshot
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
    let oldest = try current.oldestEntry(on: server)
    snapshot.oldest = oldest?.point
    snapshot.oldestWallTime = oldest?.wallTime
  }
}
