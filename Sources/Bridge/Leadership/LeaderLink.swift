import NATS
import Synchronization

/// The connection that an instance's leadership has of its own, so that an epoch that ends does not end the lease.
/// Thread-safe.
final class LeaderLink: Sendable {
  private struct State {
    var connection: NATSConnection?
    var connectedAt = ContinuousClock.now
  }

  private let state = Mutex(State())
  private let connect: @Sendable () async throws -> NATSConnection

  init(connect: @escaping @Sendable () async throws -> NATSConnection) {
    self.connect = connect
  }

  /// When the present connection was made.
  var connectedAt: ContinuousClock.Instant { state.withLock { $0.connectedAt } }
  /// The present connection, if there is one.
  var present: NATSConnection? { state.withLock { $0.connection } }
  var isLost: Bool { present?.hasEnded ?? false }

  /// The present connection, or a new one.
  func connection() async throws -> NATSConnection {
    if let present, !present.hasEnded { return present }
    let made = try await connect()
    let before = state.withLock { state in
      defer {
        state.connection = made
        state.connectedAt = .now
      }
      return state.connection
    }
    if let before { await before.close() }
    return made
  }

  /// Closes the present connection, and with it the subscription to the leader's subject.
  func drop() async {
    let connection = state.withLock { state in
      defer { state.connection = nil }
      return state.connection
    }
    if let connection { await connection.close() }
  }
}
