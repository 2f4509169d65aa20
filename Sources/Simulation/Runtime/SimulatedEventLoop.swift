import Dispatch
import NIOCore

/// An event loop in virtual time: it runs when its process is let run, and its clock is its process's.
///
/// Sendable invariant: the simulator has one thread.
final class SimulatedEventLoop: EventLoop, @unchecked Sendable {
  private final class Timer {
    var body: (() -> Void)?
    /// The loop has ended before.
    let discard: () -> Void
    init(_ body: @escaping () -> Void, orElse discard: @escaping () -> Void = {}) {
      self.body = body
      self.discard = discard
    }
  }

  private var ready = CircularBuffer<() -> Void>()
  private var timers = TimeHeap<Timer>()
  /// The process's monotonic clock, in nanoseconds.
  var local: Int64
  private(set) var isShutDown = false
  /// Called when something became ready while the process was not running.
  var onReady: () -> Void = {}

  init(local: Int64) { self.local = local }

  var hasReady: Bool { !ready.isEmpty }
  /// What is ready, and timers, those that were cancelled included.
  var waiting: Int { ready.count + timers.count }

  /// When the next timer is due, by the process's clock.
  var nextDeadline: Int64? {
    while let first = timers.first, first.body == nil { _ = timers.removeFirst() }
    return timers.firstTime
  }

  /// What is due by now becomes ready.
  func fireTimers() {
    while let deadline = nextDeadline, deadline <= local {
      if let body = timers.removeFirst()?.value.body { ready.append(body) }
    }
  }

  func runOne() { ready.popFirst()?() }

  /// Of a process that is no more.
  func discard() {
    isShutDown = true
    while let timer = timers.removeFirst()?.value {
      guard timer.body != nil else { continue }
      timer.body = nil
      timer.discard()
    }
    ready.removeAll()
  }

  // MARK: - For the simulator itself

  /// As `execute`.
  func later(_ body: @escaping () -> Void) {
    guard !isShutDown else { return }
    ready.append(body)
    onReady()
  }

  /// After `delay` nanoseconds of the process's time.
  func later(in delay: Int64, _ body: @escaping () -> Void) {
    guard !isShutDown else { return }
    let deadline = local + max(delay, 0)
    timers.insert(Timer(body), at: deadline)
    onReady()
  }

  // MARK: - EventLoop

  var inEventLoop: Bool { true }
  var now: NIODeadline { .uptimeNanoseconds(UInt64(max(local, 0))) }

  func execute(_ task: @escaping @Sendable () -> Void) {
    guard !isShutDown else { return }
    ready.append(task)
    onReady()
  }

  @preconcurrency
  func scheduleTask<T>(
    deadline: NIODeadline, _ task: @escaping @Sendable () throws -> T
  ) -> Scheduled<T> {
    let promise = makePromise(of: T.self)
    guard !isShutDown else {
      promise.fail(EventLoopError.shutdown)
      return Scheduled(promise: promise, cancellationTask: {})
    }
    let timer = Timer(
      {
        do {
          promise.assumeIsolated().succeed(try task())
        } catch {
          promise.fail(error)
        }
      }, orElse: { promise.fail(EventLoopError.shutdown) })
    timers.insert(timer, at: Int64(deadline.uptimeNanoseconds))
    onReady()
    let bound = NIOLoopBound(timer, eventLoop: self)
    return Scheduled(promise: promise, cancellationTask: { bound.value.body = nil })
  }

  @preconcurrency
  func scheduleTask<T>(in time: TimeAmount, _ task: @escaping @Sendable () throws -> T)
    -> Scheduled<T>
  {
    scheduleTask(deadline: now + time, task)
  }

  func shutdownGracefully(
    queue: DispatchQueue, _ callback: @escaping @Sendable ((any Error)?) -> Void
  ) {
    discard()
    callback(nil)
  }
}
