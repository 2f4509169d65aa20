/// A thread that works for its users, and what both sides share (`State`).
///
/// Work belongs to a generation, which `restart` begins: the thread gives up what it is doing for an earlier
/// one as soon as it notices.
final class WorkThread<State: Sendable>: Sendable {
  private struct Shared {
    var state: State
    var generation: UInt64 = 0
    var runs = false
    var isStopping = false

    func isCurrent(_ generation: UInt64) -> Bool { self.generation == generation && !isStopping }
  }

  let name: String
  private let shared: ConditionLock<Shared>

  init(_ name: String, _ state: State) {
    self.name = name
    shared = ConditionLock(Shared(state: state))
  }

  // MARK: The users' side

  /// Reads or changes the state, in whatever generation.
  func withState<R>(_ body: (inout State) -> R) -> R { shared.withLock { body(&$0.state) } }

  /// Begins a generation. `body` gets its number, and whether the thread is to stop for good.
  func restart(_ body: (inout State, _ generation: UInt64, _ isStopping: Bool) -> Void) -> UInt64 {
    let generation = shared.withLock { shared in
      shared.generation += 1
      body(&shared.state, shared.generation, shared.isStopping)
      return shared.generation
    }
    shared.signal()
    return generation
  }

  /// Wakes the thread: the state has something for it, or room.
  func wake() { shared.signal() }

  /// Starts the thread, unless it runs or is to stop. False if the system refuses one.
  func start(_ run: @escaping @Sendable () -> Void) -> Bool {
    let starts = shared.withLock { shared in
      guard !shared.runs, !shared.isStopping else { return false }
      shared.runs = true
      return true
    }
    guard starts else { return true }
    let isStarted = OSThread.start(name) { [shared] in
      run()
      shared.withLock { $0.runs = false }
      shared.signal()
    }
    if !isStarted { shared.withLock { $0.runs = false } }
    return isStarted
  }

  func requestStop(_ body: (inout State) -> Void) {
    shared.withLock { shared in
      shared.isStopping = true
      body(&shared.state)
    }
    shared.signal()
  }

  /// Waits until the thread has ended, at most `limit`.
  func waitForEnd(atMost limit: Duration) {
    _ = shared.wait(atMost: limit) { $0.runs ? nil : true }
  }

  // MARK: The thread's side

  /// Waits until there is work; nil when the thread is to stop.
  func next<Work>(_ take: (inout State, _ generation: UInt64) -> Work?) -> Work? {
    shared.wait { shared -> Work?? in
      if shared.isStopping { return .some(nil) }
      return take(&shared.state, shared.generation).map { .some($0) }
    } ?? nil
  }

  /// False after the next `restart` or `requestStop`.
  func isCurrent(_ generation: UInt64) -> Bool { shared.withLock { $0.isCurrent(generation) } }

  /// Sleeps until the generation ends, at most `duration`.
  func pause(_ duration: Duration, generation: UInt64) {
    _ = shared.wait(atMost: duration) { $0.isCurrent(generation) ? nil : true }
  }

  /// Waits until `body` returns a value; nil once the generation has ended.
  func wait<R>(generation: UInt64, until body: (inout State) -> R?) -> R? {
    shared.wait { shared -> R?? in
      guard shared.isCurrent(generation) else { return .some(nil) }
      return body(&shared.state).map { .some($0) }
    } ?? nil
  }

  /// Nil if the generation has ended.
  func ifCurrent<R>(_ generation: UInt64, _ body: (inout State) -> R) -> R? {
    shared.withLock { shared in
      shared.isCurrent(generation) ? body(&shared.state) : nil
    }
  }
}
