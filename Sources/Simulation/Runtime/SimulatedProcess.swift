import CSimulation
import NIOCore

/// One process of the simulated world: an event loop, the tasks that are ready to run, and a clock.
///
/// Everything that runs on its behalf runs between `enter` and `leave`, so that clocks show its time and tasks that
/// become ready are its own.
///
/// Sendable invariant: the simulator has one thread.
final class SimulatedProcess: @unchecked Sendable {
  let name: String
  var clock: SimulatedClock
  let eventLoop: SimulatedEventLoop
  /// Of what it publishes at present: a number of `Publishers`.
  var origin = 0
  private var tasks = CircularBuffer<UnsafeMutableRawPointer>()
  /// Stopped by a signal: nothing runs, and time passes.
  var isPaused = false
  /// Killed. It is unwound in a time of its own, and the world sees nothing of that.
  private(set) var isGhost = false

  nonisolated(unsafe) private(set) static var current: SimulatedProcess?

  init(_ name: String, clock: SimulatedClock, at world: Int64) {
    self.name = name
    self.clock = clock
    eventLoop = SimulatedEventLoop(local: clock.monotonic(at: world))
  }

  /// Tasks of the whole process program go to the simulated process on whose behalf they became ready.
  static func takeTasks() {
    simulation_enter()
    simulation_take_tasks { task in
      guard let task else { return }
      guard let process = SimulatedProcess.current else {
        preconditionFailure("a task became ready outside of all simulated processes")
      }
      process.tasks.append(task)
    }
  }

  /// How much waits to run, now or later.
  var waiting: Int { tasks.count + eventLoop.waiting }

  var isReady: Bool { !isPaused && (!tasks.isEmpty || eventLoop.hasReady) }

  /// The next moment of the world at which this process has something to do by itself.
  func nextWake(after world: Int64) -> Int64? {
    if isPaused { return nil }
    if isReady { return world }
    return eventLoop.nextDeadline.map { max(clock.world(when: $0), world) }
  }

  /// Does something on this process's behalf.
  func enter<T>(at world: Int64, _ body: () throws -> T) rethrows -> T {
    let outer = Self.current
    Self.current = self
    setClock(world)
    defer {
      Self.current = outer
    }
    return try body()
  }

  /// Runs what is ready, at most `limit` steps.
  ///
  /// - Parameter choose: which goes first where a callback and a task are ready: true, the callback.
  /// - Returns: how many steps were taken.
  func run(at world: Int64, limit: Int, choose: () -> Bool) -> Int {
    enter(at: world) {
      eventLoop.fireTimers()
      var steps = 0
      while steps < limit, !tasks.isEmpty || eventLoop.hasReady {
        step(choose)
        steps += 1
      }
      return steps
    }
  }

  private func step(_ choose: () -> Bool) {
    if eventLoop.hasReady, tasks.isEmpty || choose() {
      eventLoop.runOne()
    } else if let task = tasks.popFirst() {
      simulation_run_task(task)
    }
  }

  private func setClock(_ world: Int64) {
    if !isGhost { eventLoop.local = clock.monotonic(at: world) }
    let local = eventLoop.local
    simulation_set_clock(local, local + clock.suspended, local + clock.wallOffset)
  }

  /// After its death: runs what is left, in a time of its own, until `isDone` or nothing is left.
  ///
  /// - Parameter begin: closes its ends.
  /// - Returns: false if it did not come to an end.
  func unwind(at world: Int64, _ begin: () -> Void, _ isDone: () -> Bool) -> Bool {
    isPaused = false
    return enter(at: world) {
      isGhost = true
      begin()
      for _ in 0..<200_000 {
        if tasks.isEmpty, !eventLoop.hasReady {
          if isDone() { break }
          guard let next = eventLoop.nextDeadline else { break }
          eventLoop.local = max(eventLoop.local, next)
          setClock(world)
          eventLoop.fireTimers()
        } else {
          step { true }
        }
      }
      let hasEnded = isDone()
      eventLoop.discard()
      // Whoever waited for a timer learns that there is none.
      for _ in 0..<10_000 where !tasks.isEmpty { step { true } }
      return hasEnded && tasks.isEmpty
    }
  }
}
