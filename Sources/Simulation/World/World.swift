import NIOCore
import SimulatedJetStream
import SimulatedMongo
import SimulatedNATS

/// The simulated world: a replica set, NATS with JetStream, the network between them and the bridges, and time, which
/// passes from event to event.
///
/// One thread, which is the invariant behind Sendable. The same seed makes the same world.
final class World: @unchecked Sendable {
  /// Nanoseconds since the world began.
  private(set) var now: Int64 = 0
  let scenario: Scenario
  let history: History
  let mongo: SimulatedReplicaSet
  let jetStream: SimulatedServer
  private(set) var network: Network!
  let publishers = Publishers()
  private var events = TimeHeap<() -> Void>()
  private(set) var processes: [SimulatedProcess] = []
  private var waiters: [Waiter] = []
  private var scheduling: Chance
  /// Called after JetStream may have changed.
  var onStored: () -> Void = {}
  /// Called when somebody besides the workload has written to the replica set: members replicate it.
  var onWritten: () -> Void = {}
  /// Called with what a bridge reports that it can't know when an epoch begins.
  var onDoubt: (_ bridge: Int, _ doubt: String) -> Void = { _, _ in }
  /// Called when a process comes to lead, until true is returned.
  var atLeadership: [(SimulatedProcess) -> Bool] = []
  /// Called when a group begins to be committed.
  var onCommitting: () -> Void = {}
  /// How often states of the bridge were reached.
  var reached = ReachedStates()
  /// Why the history has failed.
  private(set) var failure: Failure?

  struct Failure: Error {
    var time: Int64
    var text: String
  }

  /// 2026-01-01, when every world begins.
  static let epoch: Int64 = 1_767_225_600 * Nano.second

  init(_ scenario: Scenario, _ history: History) {
    self.scenario = scenario
    self.history = history
    mongo = SimulatedReplicaSet(seed: scenario.seed, now: Self.epoch)
    jetStream = SimulatedServer(
      scenario.server, isClustered: scenario.nodes > 1, now: Self.epoch)
    jetStream.commitsAtOnce = false
    scheduling = Chance(scenario.seed, 2)
    network = Network(self)
  }

  func fail(_ text: String) {
    guard failure == nil else { return }
    failure = Failure(time: now, text: text)
    history.note(now, "FAILURE: \(text)")
  }

  /// Nothing refers to the world any more.
  func close() {
    events.removeAll()
    waiters = []
    processes = []
    onStored = {}
    onWritten = {}
    onDoubt = { _, _ in }
    atLeadership = []
    onCommitting = {}
    jetStream.onStored = nil
  }

  // MARK: - MongoDB

  private final class Waiter {
    let isReady: () -> Bool
    var resume: (() -> Void)?

    init(_ isReady: @escaping () -> Bool, _ resume: @escaping () -> Void) {
      self.isReady = isReady
      self.resume = resume
    }

    func end() {
      let resume = resume
      self.resume = nil
      resume?()
    }
  }

  /// Calls `resume` as soon as the replica set has changed so that `isReady`, or after `limit`.
  func waitForEntries(
    _ isReady: @escaping () -> Bool, atMost limit: Int64, _ resume: @escaping () -> Void
  ) {
    let waiter = Waiter(isReady, resume)
    waiters.append(waiter)
    schedule(in: limit) { waiter.end() }
  }

  /// Something was written, replicated, elected or broken.
  func mongoChanged() {
    guard !waiters.isEmpty else { return }
    var left: [Waiter] = []
    let all = waiters
    waiters = []
    for waiter in all where waiter.resume != nil {
      if waiter.isReady() { waiter.end() } else { left.append(waiter) }
    }
    waiters += left
  }

  // MARK: - Time

  func schedule(in delay: Int64, _ body: @escaping () -> Void) {
    events.insert(body, at: now + max(delay, 0))
  }

  func add(_ process: SimulatedProcess) { processes.append(process) }

  func remove(_ process: SimulatedProcess) { processes.removeAll { $0 === process } }

  /// Runs until `end`, or a failure.
  func run(until end: Int64) {
    while failure == nil {
      var next = events.firstTime ?? .max
      var due: SimulatedProcess?
      for process in processes {
        guard let wake = process.nextWake(after: now) else { continue }
        if wake < next || wake == next && due == nil {
          next = wake
          due = process
        }
      }
      if let change = network.nats.nextChange.map({ max($0 - Self.epoch, now) }), change < next {
        next = change
        due = nil
        events.insert({}, at: change)
      }
      guard next <= end else { break }
      advance(to: next)
      if let due {
        let steps = due.run(at: now, limit: 1 + scheduling.below(40)) { scheduling.below(2) == 0 }
        history.note(now, UInt64(steps))
      } else if let event = events.removeFirst() {
        event.value()
      }
    }
    if failure == nil { advance(to: end) }
  }

  private func advance(to time: Int64) {
    guard time > now else { return }
    now = time
    mongo.now = Self.epoch + now
    guard let change = network.nats.nextChange, change <= Self.epoch + now else {
      return jetStream.advance(to: Self.epoch + now)
    }
    jetStream.advance(to: Self.epoch + now)
    network.nats.advance()
    network.deliver()
    onStored()
  }
}
