public import BridgeConfiguration
import JetStream
public import Logging
import MongoSource
import NATS
import NIOCore
import NIOPosix

/// Work of an operator's command beside which no instance of the bridge may publish.
///
/// The command takes the bridge's lease as an instance does: it waits while one leads, instances stand by while it works,
/// and one of them takes over when it is done. Where the command dies, they wait until its lease expires.
public struct OperatorLease: Sendable {
  private let tenure: Tenure
  private let period: Duration

  /// Whether something may still be published: not where another instance leads, after a sleep that was longer than the
  /// lease. Waits while the lease is being renewed on another connection, up to four periods.
  public func confirm() async -> Bool {
    let end = ContinuousClock.now + period * 4
    while !tenure.mayPublish {
      guard tenure.endedBy == nil, ContinuousClock.now < end else { return false }
      guard (try? await Task.sleep(for: .milliseconds(50))) != nil else { return false }
    }
    return true
  }

  /// Takes the lease for the time of `body`.
  ///
  /// - Parameter onWaiting: called once with the instance that leads, before its end is waited for.
  /// - Throws: `BridgeError`, and what `body` throws.
  public static func hold<T: Sendable>(
    of configuration: BridgeConfiguration, _ logger: Logger,
    onWaiting: @escaping @Sendable (_ leader: String) -> Void,
    _ body: (OperatorLease) async throws -> T
  ) async throws -> T {
    var random = SystemRandomNumberGenerator()
    let board = StatusBoard(instance: "operator-\(String(random.next(), radix: 36))")
    let eventLoop = MultiThreadedEventLoopGroup.singleton.any()
    let leadership = Leadership(
      Leadership.Settings(
        bridge: configuration.bridge.name, bucket: configuration.bridge.stateBucket,
        period: configuration.bridge.lease, instance: board.instance, isOperator: true),
      on: eventLoop, board: board, logger: logger,
      connect: {
        try await NATSConnection.connect(
          to: configuration.natsServers, options: try configuration.natsOptions(), on: eventLoop,
          logger: logger)
      })
    leadership.use(
      configurationHash: configuration.hash(sourceName: try await sourceName(configuration)))
    do {
      let tenure = try await take(leadership, configuration, logger, board, onWaiting)
      let result = try await body(OperatorLease(tenure: tenure, period: configuration.bridge.lease))
      // Nothing is known of what the instance before it had under way.
      await leadership.release(isDrained: false)
      return result
    } catch {
      await leadership.release(isDrained: false)
      throw error
    }
  }

  private static func take(
    _ leadership: Leadership, _ configuration: BridgeConfiguration, _ logger: Logger,
    _ board: StatusBoard, _ onWaiting: @escaping @Sendable (String) -> Void
  ) async throws -> Tenure {
    while true {
      let found: Leadership.Vacancy?
      do {
        // Where there is no lease, its bucket may have been deleted under a leader, which renews it soon.
        found = try await leadership.vacancy(
          { false }, onStandby: { onWaiting(board.snapshot.leadership.holder ?? "?") },
          traces: { _ in true })
        if let vacancy = found {
          if vacancy.reading.record == nil { try await makeBucket(configuration, logger) }
          if let tenure = try await leadership.take(
            vacancy, replicas: configuration.mostReplicas)
          {
            return tenure
          }
        }
      } catch let error as BridgeError {
        throw error
      } catch {
        throw BridgeError.unavailable("the bridge's lease was not taken: \(error)")
      }
    }
  }

  private static func makeBucket(
    _ configuration: BridgeConfiguration, _ logger: Logger
  ) async throws {
    try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
      let store = CheckpointStore(
        jetStream, bucket: configuration.bridge.stateBucket, bridge: configuration.bridge.name)
      do {
        if try await !store.bucket.exists {
          try await store.bucket.ensure(replicas: configuration.mostReplicas)
        }
      } catch {
        throw .unavailable("\(error)")
      }
    }
  }

  private static func sourceName(_ configuration: BridgeConfiguration) async throws -> String {
    if let name = configuration.source.name { return name }
    do {
      return try await MongoAdmin.identify(configuration.mongoSourceOptions).setName
    } catch {
      throw BridgeError.unavailable(MongoError.words(of: error))
    }
  }
}
