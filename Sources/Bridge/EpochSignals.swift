import Synchronization

/// What wakes the task that runs an epoch.
enum EpochSignal: Sendable {
  /// The epoch is over. The mark, where there is one, says how far it came.
  case ended(EpochEnd, PipelineMark?)
  /// Time for a checkpoint.
  case tick
  /// The bridge was told to stop.
  case stop
}

/// The wish to stop, remembered, and the epoch that must hear of it. Thread-safe.
final class StopRequest: Sendable {
  private struct State {
    var requested = false
    var epoch: AsyncStream<EpochSignal>.Continuation?
  }
  private let state = Mutex(State())

  var isRequested: Bool { state.withLock { $0.requested } }

  func request() {
    let epoch = state.withLock { state in
      state.requested = true
      return state.epoch
    }
    epoch?.yield(.stop)
  }

  /// From now on this epoch is told; at once, if the wish was there before.
  func attach(_ epoch: AsyncStream<EpochSignal>.Continuation) {
    let requested = state.withLock { state in
      state.epoch = epoch
      return state.requested
    }
    if requested { epoch.yield(.stop) }
  }

  func detach() { state.withLock { $0.epoch = nil } }

  /// Sleeps; false if a stop was asked for before or meanwhile.
  func sleep(_ duration: Duration) async -> Bool {
    var left = duration
    while left > .zero, !isRequested {
      let step = min(left, .milliseconds(50))
      try? await Task.sleep(for: step)
      left -= step
    }
    return !isRequested
  }
}

/// Exponential, with jitter, from 20 ms to 2 s.
struct Backoff: Sendable {
  private var attempt = 0

  mutating func next() -> Duration {
    let ceiling = min(2000, 20 << min(attempt, 10))
    attempt += 1
    return .milliseconds(Int.random(in: (ceiling / 2)...ceiling))
  }

  mutating func reset() { attempt = 0 }
}

/// Lets the reader wake a pipeline that is made after it. Thread-safe.
final class PumpTrigger: Sendable {
  private let action = Mutex<(@Sendable () -> Void)?>(nil)
  func set(_ action: @escaping @Sendable () -> Void) { self.action.withLock { $0 = action } }
  func fire() { action.withLock { $0 }?() }
}
