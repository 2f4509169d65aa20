import Synchronization

/// The end of an epoch, for work that must not outlast it. Thread-safe.
package final class EpochLatch: Sendable {
  private struct State {
    var isOver = false
    var waiting: [UInt64: @Sendable () -> Void] = [:]
    var next: UInt64 = 0
  }
  private let state = Mutex(State())

  package init() {}

  /// The epoch is over: whoever waits is released.
  package func end() {
    let waiting = state.withLock { state in
      state.isOver = true
      defer { state.waiting = [:] }
      return Array(state.waiting.values)
    }
    for release in waiting { release() }
  }

  /// The result of `work`; nil as soon as the epoch is over. The work is cancelled then, and may still
  /// finish by itself.
  package func unlessOver<T: Sendable>(
    _ work: @escaping @Sendable () async throws -> T
  ) async throws -> T? {
    let attempt = Attempt(work)
    let (number, isOver) = state.withLock { state in
      state.next += 1
      if !state.isOver { state.waiting[state.next] = { attempt.abandon() } }
      return (state.next, state.isOver)
    }
    if isOver { attempt.abandon() }
    defer { state.withLock { $0.waiting[number] = nil } }
    return try await attempt.value
  }
}

/// Work under way whose result somebody waits for, until it is abandoned. Thread-safe.
struct Attempt<T: Sendable>: Sendable {
  private let answer = FirstAnswer<T?>()
  private let task: Task<Void, Never>

  init(_ work: @escaping @Sendable () async throws -> T) {
    task = Task { [answer] in
      do {
        answer.give(.success(try await work()))
      } catch {
        answer.give(.failure(error))
      }
    }
  }

  /// Nobody waits any longer. The work is cancelled, and may still finish by itself.
  func abandon() {
    answer.give(.success(nil))
    task.cancel()
  }

  /// Nil if it was abandoned before it had a result. One task asks for it.
  var value: T? { get async throws { try await answer.value } }
}

/// The first of several answers to one question. Thread-safe; one task asks for it.
private final class FirstAnswer<T: Sendable>: Sendable {
  private enum State {
    case open
    case asked(CheckedContinuation<T, any Error>)
    case given(Result<T, any Error>)
    case over
  }
  private let state = Mutex(State.open)

  func give(_ answer: Result<T, any Error>) {
    let continuation = state.withLock { state -> CheckedContinuation<T, any Error>? in
      switch state {
      case .open: state = .given(answer)
      case .asked(let continuation):
        state = .over
        return continuation
      case .given, .over: break
      }
      return nil
    }
    continuation?.resume(with: answer)
  }

  var value: T {
    get async throws {
      try await withCheckedThrowingContinuation { continuation in
        let answer = state.withLock { state -> Result<T, any Error>? in
          if case .given(let answer) = state {
            state = .over
            return answer
          }
          state = .asked(continuation)
          return nil
        }
        if let answer { continuation.resume(with: answer) }
      }
    }
  }
}
