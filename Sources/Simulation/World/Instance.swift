import Bridge
import BridgeConfiguration
import Logging
import MongoSource
import NATS
import NIOCore
import SimulatedJetStream

/// What a bridge of the simulated world runs on.
///
/// Sendable invariant: the simulator has one thread.
final class SimulatedSurroundings: Surroundings, @unchecked Sendable {
  var servesCutover: Bool { world.scenario.cutover != nil }
  private let world: World
  private let process: SimulatedProcess
  private let mongo: MongoEnd
  /// Of its life's messages, but for the epoch.
  private let publisher: Publishers.Publisher
  private let bridge: Int
  let instance: String
  var eventLoop: any EventLoop { process.eventLoop }
  let transport: NATSTransport
  var reportInterval: TimeAmount { .seconds(1) }
  private(set) var reader: SimulatedOplogReader?
  /// By which this process leads, as it has said itself.
  private(set) var epoch: UInt64?
  /// How often it has led.
  private(set) var tenures = 0

  init(
    _ world: World, _ process: SimulatedProcess, _ mongo: MongoEnd, _ uplink: Uplink,
    _ publisher: Publishers.Publisher, bridge: Int
  ) {
    self.world = world
    self.process = process
    self.mongo = mongo
    self.publisher = publisher
    self.bridge = bridge
    instance = process.name
    transport = world.network.transport(of: process, uplink)
    process.origin = world.publishers.add(publisher)
  }

  func noteLeadership(epoch: UInt64?) {
    guard !process.isGhost, epoch != self.epoch else { return }
    self.epoch = epoch
    if epoch != nil { tenures += 1 }
    var publisher = publisher
    publisher.epoch = epoch
    publisher.bucket = world.jetStream.streams["KV_TAILRACE"]?.created ?? 0
    process.origin = world.publishers.add(publisher)
    world.history.note(world.now, 21, UInt64(publisher.instance), epoch ?? 0)
    world.history.note(
      world.now, "\(process.name) \(epoch.map { "leads by epoch \($0)" } ?? "leads no longer")")
    world.reached.note(epoch == nil ? .lost : .taken)
    if epoch != nil { world.atLeadership.removeAll { $0(process) } }
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
    SimulatedMonitor(mongo, tellsTime: servesCutover)
  }
  func makeFollowerLoops() -> any EventLoopGroup { SimulatedLoopGroup(process.eventLoop) }
  func noteEpoch(_ decision: EpochDecision) {
    guard !process.isGhost else { return }
    world.reached.note(decision)
    guard case .tail(let plan) = decision.mode else { return }
    for doubt in plan.doubts { world.onDoubt(bridge, doubt) }
  }

  func noteEpoch(endedBy end: EpochEnd) {
    guard !process.isGhost else { return }
    world.reached.note(end)
  }

  func shutDown() async throws {}
}

/// A bridge's process under a supervisor, on a machine of its own: it is started again after its end.
final class Instance {
  private let world: World
  private let configuration: BridgeConfiguration
  /// Of its processes: the bridge's, with a letter where the bridge has several.
  let name: String
  /// Of the world.
  let number: Int
  /// The bridge's.
  let bridge: Int
  let uplink: Uplink
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
    let surroundings: SimulatedSurroundings
    let began: Int64
    /// When it was last let run again.
    fileprivate(set) var resumedAt: Int64 = 0
    fileprivate var pausedAt: Int64 = 0
    fileprivate(set) var end: Result<Void, any Error>?
    /// Ends the present pause.
    fileprivate var resume: (() -> Void)?
    init(
      _ process: SimulatedProcess, _ mongo: MongoEnd, _ service: BridgeService,
      _ surroundings: SimulatedSurroundings, _ began: Int64
    ) {
      self.process = process
      self.mongo = mongo
      self.service = service
      self.surroundings = surroundings
      self.began = began
    }
  }

  /// - Parameter number: the first machine's clocks are right; each other one has its own.
  init(
    _ world: World, _ name: String, _ number: Int, bridge: Int, _ configuration: BridgeConfiguration
  ) {
    self.world = world
    self.configuration = configuration
    self.name = name
    self.number = number
    self.bridge = bridge
    uplink = Uplink(nodes: world.scenario.nodes)
    var chance = Chance(world.scenario.seed, 20 + UInt64(number))
    let isRight = number == 0
    let ahead = chance.skewed(0, 600 * Nano.second) * (chance.one(in: 2) ? 1 : -1)
    clock = SimulatedClock(
      world: world.now,
      local: isRight ? 1_000 * Nano.second : chance.between(Nano.second, 1_000_000 * Nano.second),
      wall: World.epoch + world.now + (isRight ? 0 : ahead),
      drift: isRight ? 0 : chance.between(-300, 300))
  }

  func start() {
    guard life == nil, !isHeldDown else { return }
    lives += 1
    let process = SimulatedProcess("\(name).\(lives)", clock: clock, at: world.now)
    let mongo = MongoEnd(world, process, uplink, number * 1000 + lives)
    world.history.note(world.now, 20, UInt64(number), UInt64(lives))
    world.history.note(world.now, "start \(process.name)")
    let life = process.enter(at: world.now) {
      let surroundings = SimulatedSurroundings(
        world, process, mongo, uplink,
        Publishers.Publisher(instance: number, bridge: bridge, process: process.name),
        bridge: bridge)
      let service = BridgeService(
        configuration: configuration, options: RunOptions(), logger: logger(process),
        on: surroundings)
      let life = Life(process, mongo, service, surroundings, world.now)
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
    life.resume = nil
    clock = life.process.clock
    world.remove(life.process)
    world.network.abandon(life.process)
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

  var isPaused: Bool { life?.process.isPaused ?? false }

  /// SIGSTOP. It runs again after `duration`, or with `resume`.
  ///
  /// - Parameter isSuspended: the whole machine sleeps.
  func pause(for duration: Int64, isSuspended: Bool = false) {
    guard let life, !life.process.isPaused else { return }
    let name = life.process.name
    world.history.note(
      world.now, "\(isSuspended ? "suspend" : "pause") \(name) for \(Nano.text(duration)) s")
    let began = world.now
    life.process.isPaused = true
    life.resume = { [world] in
      if isSuspended { life.process.clock.suspend(from: began, to: world.now) }
      life.resume = nil
      life.process.isPaused = false
      life.resumedAt = world.now
      world.history.note(world.now, "\(name) runs again")
      world.network.resumed(life.process)
    }
    world.schedule(in: duration) {
      // It may have been let run, and have been paused again, meanwhile.
      if life.pausedAt == began { life.resume?() }
    }
    life.pausedAt = began
  }

  /// SIGCONT.
  func resume() { life?.resume?() }

  func change(_ change: (inout SimulatedClock) -> Void) {
    if let life { change(&life.process.clock) } else { change(&clock) }
  }

  /// By which it leads, as it says itself; nil: it doesn't, or bridges don't say.
  var epoch: UInt64? { life?.surroundings.epoch }

  /// The present process has led without a break, or not at all.
  var hasOneTenure: Bool {
    guard let surroundings = life?.surroundings else { return true }
    return surroundings.tenures == (surroundings.epoch == nil ? 0 : 1)
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
    logLevel = world.history.keepsLines || History.tellsStory ? .debug : .critical
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
