package import BridgeConfiguration
package import Logging
package import MongoSource
package import NATS
package import NIOCore
import NIOPosix

/// What a bridge runs on: an event loop, whose clock is the bridge's, and both of its ends. The system's, or
/// a simulator's.
package protocol Surroundings: Sendable {
  /// The pipeline's, and the connections'.
  var eventLoop: any EventLoop { get }
  /// How NATS is reached.
  var transport: NATSTransport { get }
  /// Names this process's life: another one has another.
  var instance: String { get }
  /// How often the pipeline's numbers are copied for status, health and metrics.
  var reportInterval: TimeAmount { get }

  /// - Parameter onChange: called when there are batches, or a failure; on any thread.
  func reader(
    _ kind: SourceSettings.Reader, _ options: MongoSourceOptions, logger: Logger,
    onChange: @escaping @Sendable () -> Void
  ) -> any ChangeReader
  func answers(_ options: MongoSourceOptions) -> any MongoAnswering
  func monitor(_ options: MongoSourceOptions, logger: Logger) -> any MongoWatching

  /// Groups can be cut over.
  var servesCutover: Bool { get }
  /// For one follower: a loop beside the pipeline's. Its user shuts it down.
  func makeFollowerLoops() -> any EventLoopGroup

  /// An epoch begins as decided, …
  func noteEpoch(_ decision: EpochDecision)
  /// … and has ended.
  func noteEpoch(endedBy end: EpochEnd)
  /// This process leads, by that epoch of leadership; nil: no longer.
  func noteLeadership(epoch: UInt64?)

  /// Whether the servers' streams are compared with the configuration while the bridge runs.
  var watchesDrift: Bool { get }

  /// After the bridge's end.
  func shutDown() async throws
}

extension Surroundings {
  package var servesCutover: Bool { true }
  package func noteEpoch(_ decision: EpochDecision) {}
  package func noteEpoch(endedBy end: EpochEnd) {}
  package func noteLeadership(epoch: UInt64?) {}
  package var watchesDrift: Bool { false }
}

/// What watches the replica set beside the reader. Thread-safe.
package protocol MongoWatching: AnyObject, Sendable {
  /// What is known at present.
  var snapshot: MongoStatus { get }
  func start()
  /// - Parameter limit: how long to wait for its thread.
  func stop(waiting limit: Duration)
}

extension MongoMonitor: MongoWatching {}

/// A thread of its own, TCP and libmongoc.
struct SystemSurroundings: Surroundings {
  private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  let eventLoop: any EventLoop
  var transport: NATSTransport { .tcp }
  let instance: String
  var reportInterval: TimeAmount { .milliseconds(100) }
  var watchesDrift: Bool { true }

  init() {
    eventLoop = group.next()
    var random = SystemRandomNumberGenerator()
    instance = String(random.next(), radix: 36)
  }

  func reader(
    _ kind: SourceSettings.Reader, _ options: MongoSourceOptions, logger: Logger,
    onChange: @escaping @Sendable () -> Void
  ) -> any ChangeReader {
    makeReader(kind, options, logger: logger, onChange: onChange)
  }

  func answers(_ options: MongoSourceOptions) -> any MongoAnswering { MongoServerAnswers(options) }

  func monitor(_ options: MongoSourceOptions, logger: Logger) -> any MongoWatching {
    MongoMonitor(options: options, interval: .seconds(1), logger: logger)
  }

  func makeFollowerLoops() -> any EventLoopGroup {
    MultiThreadedEventLoopGroup(numberOfThreads: 1)
  }

  func shutDown() async throws { try await group.shutdownGracefully() }
}
