import BridgeConfiguration
import JSON
import JetStream
import Logging
import MongoSource
import NATS
import NIOCore
package import Oplog
import Synchronization

/// Follows one group that is handed over: reads the oplog and the group's streams beside the pipeline, with connections
/// of its own, and decides every event by its id. Runs while this process leads.
///
/// What it knows is written down with what it has counted, so it continues anywhere. Whatever goes wrong ends an
/// attempt, and the next one begins from there.
final class DualFollower: Sendable {
  struct Setup: Sendable {
    var group: String
    var configuration: BridgeConfiguration
    var rules: RuleSet
    var tenure: Tenure
    var surroundings: any Surroundings
    var monitor: any MongoWatching
    var mongo: any MongoAnswering
    var logger: Logger
    var memory: ProgressMemory
    /// Called with what the group's state is, now and then.
    var report: @Sendable (CutoverGroupFacts) -> Void
    /// Called with the group's record, as it was read or written.
    var read: @Sendable (CutoverRecord) -> Void
    /// Called with decided events, by rule.
    var count: @Sendable ([RuleID: Outcomes]) -> Void
  }

  let setup: Setup
  private let task = Mutex<Task<Void, Never>?>(nil)
  private let hasEnded = Atomic(false)
  private let commitTimer = CommitTimer()
  /// The entry up to which everything is decided, as written down.
  private let reached = Mutex<OplogPosition?>(nil)
  /// The newest entry whose events were read.
  private let taken = Mutex<OplogPosition?>(nil)

  init(_ setup: Setup) { self.setup = setup }

  /// It has nothing left to do.
  var isOver: Bool { hasEnded.load(ordering: .relaxed) }
  var position: OplogPosition? { reached.withLock { $0 } }
  /// Nothing behind it was published.
  var frontier: OplogPosition? { taken.withLock { $0 } }

  func start() {
    let started = Task { [self] in await run() }
    task.withLock { $0 = started }
  }

  /// Writes down what is decided, and ends.
  func stop(within limit: Duration) async {
    guard let task = task.withLock({ $0 }) else { return }
    task.cancel()
    // Not by a task group: that waits for all of its tasks, and a task's end can't be cancelled.
    let eventLoop = setup.surroundings.eventLoop
    let over = eventLoop.makePromise(of: Void.self)
    let timer = eventLoop.scheduleTask(in: TimeAmount(limit)) { over.succeed() }
    Task {
      await task.value
      over.succeed()
    }
    try? await over.futureResult.get()
    timer.cancel()
  }

  private func run() async {
    let loops = setup.surroundings.makeFollowerLoops()
    let eventLoop = loops.next()
    var pause = Duration.milliseconds(200)
    var last = ""
    while !Task.isCancelled, setup.tenure.endedBy == nil {
      let began = ContinuousClock.now
      do {
        let attempt = DualAttempt(
          setup, on: eventLoop, commitTimer,
          onTaken: { [self] place in taken.withLock { $0 = max($0 ?? place, place) } },
          onReached: { [self] place in reached.withLock { $0 = place } })
        if try await attempt.run() == .over {
          hasEnded.store(true, ordering: .relaxed)
          break
        }
        pause = .milliseconds(200)
        continue
      } catch is CancellationError {
        break
      } catch {
        if Task.isCancelled { break }
        let why = "\(error)"
        if why != last {
          setup.logger.warning(
            "the group's cut-over is interrupted",
            metadata: ["group": "\(setup.group)", "reason": "\(why)"])
          last = why
        }
        setup.report(CutoverGroupFacts(group: setup.group, problem: why))
      }
      if ContinuousClock.now - began > .seconds(5) { pause = .milliseconds(200) }
      try? await eventLoop.sleep(for: pause)
      pause = min(pause * 2, .seconds(5))
    }
    // Nobody follows the group here any more, so what the last attempt met is over.
    setup.report(CutoverGroupFacts(group: setup.group))
    try? await loops.shutdownGracefully()
  }
}

/// The progress of groups as this process wrote it down last: a state bucket that is deleted doesn't take it along.
/// Thread-safe.
final class ProgressMemory: Sendable {
  private let known = Mutex<[String: CutoverProgress]>([:])

  subscript(group: String) -> CutoverProgress? {
    get { known.withLock { $0[group] } }
    set { known.withLock { $0[group] = newValue } }
  }

  /// Another process leads.
  func clear() { known.withLock { $0 = [:] } }
}

/// What status, metrics and health show of a group.
package struct CutoverGroupFacts: Sendable {
  package var group: String
  package var phase = CutoverPhase.bridge
  package var since: Int64 = 0
  package var fence: OplogPosition?
  package var position: EventPosition?
  package var counts = CutoverCounts()
  package var lag: Double?
  /// Why it is not followed at present.
  package var problem: String?

  package init(group: String, problem: String? = nil) {
    self.group = group
    self.problem = problem
  }
}
