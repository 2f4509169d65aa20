import Bridge
import BridgeConfiguration
import Logging
import MongoSource
import NATS
import NIOCore

/// What a bridge of the simulated world runs on.
///
/// Sendable invariant: the simulator has one thread.
final class SimulatedSurroundings: Surroundings, @unchecked Sendable {
  private let world: World
  private let process: SimulatedProcess
  private let mongo: MongoEnd
  let instance: String
  var eventLoop: any EventLoop { process.eventLoop }
  let transport: NATSTransport
  var reportInterval: TimeAmount { .seconds(1) }
  private(set) var reader: SimulatedOplogReader?

  init(_ world: World, _ process: SimulatedProcess, _ mongo: MongoEnd, instance: String) {
    self.world = world
    self.process = process
    self.mongo = mongo
    self.instance = instance
    transport = world.network.transport(of: process)
  }

  func reader(
    _ kind: SourceSettings.Reader, _ options: MongoSourceOptions, logger: Logger,
    onChange: @escaping @Sendable () -> Void
  ) -> any ChangeReader {
    let reader = SimulatedOplogReader(mongo, world, options, logger: logger, onChange: onChange)
    self.reader = reader
    return reader
  }

  func answers(_ options: MongoSourceOptions) -> any MongoAnswering { mongo }
  func monitor(_ options: MongoSourceOptions, logger: Logger) -> any MongoWatching {
    SimulatedMonitor(mongo)
  }
  func noteEpoch(_ decision: EpochDecision) {
    guard !process.isGhost else { return }
    world.reached.note(decision)
    guard case .tail(let plan) = decision.mode else { return }
    for doubt in plan.doubts { world.onDoubt(doubt) }
  }

  func noteEpoch(endedBy end: EpochEnd) {
    guard !process.isGhost else { return }
    world.reached.note(end)
  }

  func shutDown() async throws {}
}

/// A bridge's process under a supervisor: it is started again after its end.
final class Instance {
  private let world: World
  private let configuration: BridgeConfiguration
  let name: String
  private let number: Int
  /// How many processes there were.
  private(set) var lives = 0
  private var clock: SimulatedClock
  private(set) var life: Life?
  /// Told not to run.
  private var isHeldDown = false
  /// How the processes that ended by themselves did.
  private(set) var ends: [String: Int] = [:]
  private(set) var lastEnd: String?

  /// One process.
  final class Life {
    let process: SimulatedProcess
    let mongo: MongoEnd
    let service: BridgeService
    let began: Int64
    /// When it was last let run again.
    fileprivate(set) var resumedAt: Int64 = 0
    fileprivate(set) var end: Result<Void, any Error>?
    init(_ process: SimulatedProcess, _ mongo: MongoEnd, _ service: BridgeService, _ began: Int64) {
      self.process = process
      self.mongo = mongo
      self.service = service
      self.began = began
    }
  }

  init(_ world: World, _ name: String, _ number: Int, _ configuration: BridgeConfiguration) {
    self.world = world
    self.configuration = configuration
    self.name = name
    self.number = number
    clock = SimulatedClock(
      world: world.now, local: 1_000 * Nano.second, wall: World.epoch + world.now)
  }

  func start() {
    guard life == nil, !isHeldDown else { return }
    lives += 1
    let process = SimulatedProcess("\(name).\(lives)", clock: clock, at: world.now)
    let mongo = MongoEnd(world, process, number * 1000 + lives)
    world.history.note(world.now, 20, UInt64(number), UInt64(lives))
    world.history.note(world.now, "start \(process.name)")
    let life = process.enter(at: world.now) {
      let surroundings = SimulatedSurroundings(world, process, mongo, instance: process.name)
      let service = BridgeService(
        configuration: configuration, options: RunOptions(), logger: logger(process),
        on: surroundings)
      let life = Life(process, mongo, service, world.now)
      let box = Unchecked(life)
      Task {
        do {
          try await box.value.service.run()
          box.value.end = .success(())
        } catch {
          box.value.end = .failure(error)
        }
      }
      return life
    }
    self.life = life
    world.add(process)
  }

  /// Sendable invariant: the simulator has one thread.
  private struct Unchecked<Value>: @unchecked Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
  }

  private func logger(_ process: SimulatedProcess) -> Logger {
    Logger(label: process.name) { [world] _ in HistoryLogHandler(world, process) }
  }

  /// The supervisor looks: what ended by itself is started again after two seconds.
  func supervise() {
    guard let life, let end = life.end else { return }
    let text: String
    switch end {
    case .success: text = "stopped"
    case .failure(let error):
      text = (error as? BridgeError).map { "exit code \($0.exitCode)" } ?? "error"
      world.history.note(world.now, "\(life.process.name) ended: \(error)")
    }
    ends[text, default: 0] += 1
    lastEnd = text
    bury(life)
    world.schedule(in: 2 * Nano.second) { [self] in start() }
  }

  func kill() {
    guard let life else { return }
    world.history.note(world.now, "kill \(life.process.name)")
    bury(life)
  }

  private func bury(_ life: Life) {
    self.life = nil
    clock = life.process.clock
    world.remove(life.process)
    world.network.abandon(life.process, keepingSent: true)
    let isUnwound = life.process.unwind(at: world.now) {
      life.service.stop()
      world.network.close(life.process)
      life.mongo.abandon()
    } _: {
      life.end != nil
    }
    if !isUnwound {
      world.fail("\(life.process.name) does not come to an end when its servers are gone")
    }
  }

  /// The world ends.
  func end() {
    isHeldDown = true
    if let life { bury(life) }
  }

  /// SIGTERM.
  func stop() {
    guard let life, !life.process.isPaused else { return }
    world.history.note(world.now, "stop \(life.process.name)")
    life.process.enter(at: world.now) { life.service.stop() }
  }

  func pause(for duration: Int64) {
    guard let life else { return }
    world.history.note(world.now, "pause \(life.process.name) for \(Nano.text(duration)) s")
    life.process.isPaused = true
    world.schedule(in: duration) { [world] in
      life.process.isPaused = false
      life.resumedAt = world.now
    }
  }

  func change(_ change: (inout SimulatedClock) -> Void) {
    if let life { change(&life.process.clock) } else { change(&clock) }
  }

  /// What /healthz would say; nil while no process answers.
  var health: HealthReport? {
    guard let life, !life.process.isPaused, life.end == nil else { return nil }
    return life.process.enter(at: world.now) { life.service.health }
  }
}

extension Instance {
  /// How a process has ended that nobody stopped: whatever breaks, the bridge is to live through it.
  var wrongEnd: String? { ends.keys.filter { $0 != "stopped" }.min() }

  /// What the process has counted; nil while none answers.
  var accounts: BridgeAccounts? {
    guard let life, !life.process.isPaused, life.end == nil else { return nil }
    return life.process.enter(at: world.now) { life.service.accounts }
  }
}

/// Lines of a bridge's log become lines of the history.
struct HistoryLogHandler: LogHandler {
  private let world: World
  private let process: SimulatedProcess
  var metadata: Logger.Metadata = [:]
  var logLevel: Logger.Level = .info

  init(_ world: World, _ process: SimulatedProcess) {
    self.world = world
    self.process = process
    logLevel = world.history.keepsLines ? .debug : .critical
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let name = process.isGhost ? "(\(process.name), killed)" : process.name
    world.history.note(
      world.now, "\(name) \(event.level): \(event.message) \(event.metadata ?? [:])")
  }
}
