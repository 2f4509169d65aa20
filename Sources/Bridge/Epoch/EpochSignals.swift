import NATS
package import NIOCore
import Synchronization

/// What wakes the task that runs an epoch.
enum EpochSignal: Sendable {
  /// The epoch is over. The mark, where there is one, says how far it came.
  case ended(EpochEnd, PipelineMark?)
  /// Time for a checkpoint.
  case tick
}

/// The wish to stop, remembered, and those who must hear of it. Thread-safe.
///
/// A stop takes no longer than `limit`, whatever is frozen: while an epoch publishes, acks are waited
/// for; everything else is left where it is, as a crash would leave it.
package final class StopRequest: Sendable {
  private struct State {
    var requested = false
    /// Of the epoch that publishes: lets it send nothing new.
    var drain: (@Sendable () -> Void)?
    /// Of work that must not outlast the stop.
    var waiting: [UInt64: @Sendable () -> Void] = [:]
    var next: UInt64 = 0
  }
  private let state = Mutex(State())

  private let eventLoop: any EventLoop

  /// - Parameter eventLoop: its clock measures the limits.
  package init(on eventLoop: any EventLoop) { self.eventLoop = eventLoop }

  /// For acks that are outstanding …
  static let ackLimit = Duration.milliseconds(6500)
  /// … and for the checkpoint of what they brought besides.
  package static let limit = Duration.seconds(8)

  package var isRequested: Bool { state.withLock { $0.requested } }

  package func request() {
    let told = state.withLock { state in
      guard !state.requested else { return [@Sendable () -> Void]() }
      state.requested = true
      return (state.drain.map { [$0] } ?? []) + state.waiting.values
    }
    for tell in told { tell() }
  }

  /// From now on a stop request calls this epoch; at once, if there was one before.
  package func attach(_ drain: @escaping @Sendable () -> Void) {
    let requested = state.withLock { state in
      state.drain = drain
      return state.requested
    }
    if requested { drain() }
  }

  func detach() { state.withLock { $0.drain = nil } }

  /// What `work` comes to; nil once a stop is asked for, before or meanwhile: at once, or after
  /// `limit` while an epoch publishes. Work that is not over by then is cancelled and left behind.
  package func unlessStopped<T: Sendable>(
    _ work: @escaping @Sendable () async throws -> T
  ) async throws -> T? {
    if isRequested { return nil }
    let attempt = Attempt(work)
    let stop: @Sendable () -> Void = { [self] in
      let isPublishing = state.withLock { $0.drain != nil }
      Task {
        if isPublishing { try? await eventLoop.sleep(for: Self.limit) }
        attempt.abandon()
      }
    }
    let (number, requested) = state.withLock { state in
      state.next += 1
      state.waiting[state.next] = stop
      return (state.next, state.requested)
    }
    if requested { stop() }
    defer { state.withLock { $0.waiting[number] = nil } }
    return try await attempt.value
  }

  /// Sleeps; false if a stop was asked for before or meanwhile.
  package func sleep(_ duration: Duration) async -> Bool {
    var left = duration
    while left > .zero, !isRequested {
      let step = min(left, .milliseconds(50))
      try? await eventLoop.sleep(for: step)
      left -= step
    }
    return !isRequested
  }
}

/// Lets the reader wake a pipeline that is made after it. Thread-safe.
package final class PumpTrigger: Sendable {
  /// Not the function itself: a generic value that is one is wrapped once more by every look at it, and each call goes
  /// through all wrappers.
  private struct State {
    var action: (@Sendable () -> Void)?
  }
  private let state = Mutex(State())

  package init() {}

  package func set(_ action: @escaping @Sendable () -> Void) {
    state.withLock { $0.action = action }
  }
  package func fire() { state.withLock { $0.action }?() }
}
