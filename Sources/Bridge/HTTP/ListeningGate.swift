public import ServiceLifecycle
import Synchronization

/// Whether the HTTP server listens, and the tasks that wait for it. Thread-safe.
public final class ListeningGate: Sendable {
  private struct State {
    var isOpen = false
    var isClosed = false
    var waiting: [CheckedContinuation<Bool, Never>] = []
  }
  private let state = Mutex(State())

  public init() {}

  public var isOpen: Bool { state.withLock { $0.isOpen } }

  public func open() { settle(true) }

  /// It will not listen, or need not any more.
  public func close() { settle(false) }

  private func settle(_ open: Bool) {
    let waiting = state.withLock { state in
      if open { state.isOpen = true } else { state.isClosed = true }
      defer { state.waiting = [] }
      return state.waiting
    }
    for continuation in waiting { continuation.resume(returning: open) }
  }

  /// True once it listens; false if it will not, or a graceful shutdown comes first.
  public func wait() async -> Bool {
    await withGracefulShutdownHandler {
      await withCheckedContinuation { continuation in
        let known = state.withLock { state -> Bool? in
          if state.isOpen { return true }
          if state.isClosed { return false }
          state.waiting.append(continuation)
          return nil
        }
        if let known { continuation.resume(returning: known) }
      }
    } onGracefulShutdown: {
      self.close()
    }
  }
}

/// A service that begins only once its HTTP server listens: if the address is taken, nothing else may have
/// begun.
public struct BehindHTTP<Inner: Service>: Service {
  private let inner: Inner
  private let gate: ListeningGate

  public init(_ inner: Inner, _ gate: ListeningGate) {
    self.inner = inner
    self.gate = gate
  }

  public func run() async throws {
    guard await gate.wait() else { return }
    try await inner.run()
  }
}
