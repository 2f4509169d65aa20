import Bridge
import BridgeConfiguration
import Logging
import NATS
import NIOCore
import Operator
import SimulatedJetStream
import SimulatedNATS

/// Operators of a group that is cut over: they give commands at any moment, repeat them, and kill them. Each command is
/// a process with the command's own code.
final class CutoverOperators {
  private enum Kind: String, CaseIterable {
    case dual, commit, cancel, rollback, finalize
  }

  private final class Command {
    let process: SimulatedProcess
    let mongo: MongoEnd
    let kind: Kind
    var end: Result<CutoverOperator.Outcome, any Error>?

    init(_ process: SimulatedProcess, _ mongo: MongoEnd, _ kind: Kind) {
      self.process = process
      self.mongo = mongo
      self.kind = kind
    }
  }

  private let world: World
  private let scenario: CutoverScenario
  private let configuration: BridgeConfiguration
  private let judge: CutoverJudge
  private let applications: CutoverApplications
  private var chance: Chance
  private var commands: [Command] = []
  private var count = 0
  private var isFinishing = false

  init(
    _ world: World, _ scenario: CutoverScenario, _ configuration: BridgeConfiguration,
    _ judge: CutoverJudge, _ applications: CutoverApplications
  ) {
    self.world = world
    self.scenario = scenario
    self.configuration = configuration
    self.judge = judge
    self.applications = applications
    chance = Chance(scenario.seed, 32)
  }

  func start() {
    // Producers are switched on once the group is in dual, and off once it is back.
    judge.onPhase = { [unowned self] phase in
      if phase == .committing { world.onCommitting() }
      world.schedule(in: chance.skewed(0, 5 * Nano.second)) { [self] in
        applications.isPublishing = judge.phase != .bridge || scenario.startsEarly
      }
    }
    next()
    if scenario.deletes { delete() }
  }

  /// Somebody deletes a message that a producer has just published.
  private func delete() {
    world.schedule(in: chance.between(10 * Nano.second, 100 * Nano.second)) { [self] in
      guard !isFinishing else { return }
      if let stream = world.jetStream.streams[CutoverScenario.stream],
        case let newest = judge.newestOfProducer, !newest.isEmpty
      {
        let sequence = chance.pick(newest)
        world.jetStream.receive(
          Publication(
            "$JS.API.STREAM.MSG.DELETE.\(CutoverScenario.stream)", reply: ReplyTo(subject: ""),
            payload: Array("{\"seq\":\(sequence)}".utf8)))
        world.network.nats.advance()
        world.network.handled()
        expect(deletionOf: sequence, from: stream)
      }
      delete()
    }
  }

  /// Replicas take a while.
  private func expect(deletionOf sequence: UInt64, from stream: SimulatedStream, tries: Int = 100) {
    guard stream.store[sequence] == nil else {
      guard tries > 0 else { return }
      return world.schedule(in: 50 * Nano.milli) { [self] in
        expect(deletionOf: sequence, from: stream, tries: tries - 1)
      }
    }
    judge.noteDeletion(of: sequence)
    world.history.note(world.now, 63, sequence)
    world.history.note(world.now, "message \(sequence) of the group is deleted")
  }

  /// No further commands: a commit whose command was killed comes to its end by itself.
  func finish() {
    isFinishing = true
    applications.finish()
  }

  /// The world ends.
  func end() {
    for command in commands { bury(command) }
    judge.onPhase = { _ in }
  }

  private func next() {
    world.schedule(in: chance.skewed(scenario.commandPause / 10, scenario.commandPause * 3)) {
      [self] in
      guard !isFinishing else { return }
      run(choice)
      next()
    }
  }

  /// Mostly what leads on.
  private var choice: Kind {
    guard !chance.one(in: 5) else {
      return chance.pick([.dual, .commit, .commit, .cancel, .rollback])
    }
    switch judge.phase {
    case .bridge: return .dual
    case .dual, .committing: return chance.one(in: 12) ? .cancel : .commit
    case .committed:
      return scenario.mayFinalize && chance.one(in: 6)
        ? .finalize : chance.one(in: 2) ? .rollback : .commit
    case .finalized: return chance.pick(Kind.allCases)
    }
  }

  // MARK: - Commands

  private func run(_ kind: Kind) {
    count += 1
    let clock = SimulatedClock(
      world: world.now, local: 1_000 * Nano.second + world.now, wall: World.epoch + world.now)
    let process = SimulatedProcess("\(kind.rawValue).\(count)", clock: clock, at: world.now)
    let uplink = Uplink(nodes: world.scenario.nodes)
    let mongo = MongoEnd(world, process, uplink, 900_000 + count)
    let command = Command(process, mongo, kind)
    world.history.note(world.now, 62, UInt64(count))
    world.history.note(world.now, "command \(process.name)")
    let timeout = Duration.seconds(chance.pick([3, 10, 30]))
    let delay = Duration.milliseconds(chance.pick([0, 100, 3_000]))
    process.enter(at: world.now) {
      let desk = CutoverOperator(
        configuration, reason: "", by: "operator@desk", logger: logger(process),
        CutoverOperator.Ends(
          eventLoop: process.eventLoop, transport: world.network.transport(of: process, uplink),
          mongo: mongo))
      let box = Unchecked((command, judge))
      Task {
        let (command, judge) = box.value
        do {
          command.end = .success(try await Self.perform(command, desk, timeout, delay, judge))
        } catch {
          command.end = .failure(error)
        }
      }
    }
    world.add(process)
    commands.append(command)
    watch(command)
    if chance.one(in: 4) {
      world.schedule(in: chance.skewed(Nano.milli, 10 * Nano.second)) { [self] in kill(command) }
    }
    if chance.one(in: 5) {
      world.schedule(in: chance.skewed(Nano.milli, 5 * Nano.second)) { [self] in
        if !isFinishing { run(kind) }
      }
    }
  }

  private static func perform(
    _ command: Command, _ desk: CutoverOperator, _ timeout: Duration, _ delay: Duration,
    _ judge: CutoverJudge
  ) async throws -> CutoverOperator.Outcome {
    let group = CutoverScenario.group
    switch command.kind {
    case .dual: return try await desk.dual(group)
    case .cancel: return try await desk.cancel(group)
    case .rollback: return try await desk.rollback(group)
    case .finalize: return try await desk.finalize(group)
    case .commit:
      let box = Unchecked((command.process.eventLoop, judge))
      return try await desk.commit(
        group, timeout: timeout,
        verify: { _, after, end in
          let (eventLoop, judge) = box.value
          try? await eventLoop.sleep(for: delay)
          return judge.verify(after: after, through: end)
        }, step: { _ in })
    }
  }

  /// Sendable invariant: the simulator has one thread.
  private struct Unchecked<Value>: @unchecked Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
  }

  private func logger(_ process: SimulatedProcess) -> Logger {
    Logger(label: process.name) { [world] _ in HistoryLogHandler(world, process) }
  }

  private func watch(_ command: Command) {
    world.schedule(in: 100 * Nano.milli) { [self] in
      guard commands.contains(where: { $0 === command }) else { return }
      guard let end = command.end else { return watch(command) }
      switch end {
      case .success(.done(let words)):
        world.reached.note(.commandDone)
        world.history.note(world.now, "\(command.process.name): \(words)")
      case .success(.blocked(let blockers)):
        world.reached.note(.commandBlocked)
        let words = blockers.map { "\($0.code): \($0.detail)" }.joined(separator: "; ")
        world.history.note(world.now, "\(command.process.name) is blocked: \(words)")
      case .failure(let error):
        world.reached.note(.commandFailed)
        world.history.note(world.now, "\(command.process.name) fails: \(error)")
      }
      bury(command)
    }
  }

  private func kill(_ command: Command) {
    guard commands.contains(where: { $0 === command }), command.end == nil else { return }
    world.reached.note(.commandKilled)
    world.history.note(world.now, "kill \(command.process.name)")
    bury(command)
  }

  private func bury(_ command: Command) {
    commands.removeAll { $0 === command }
    world.remove(command.process)
    world.network.abandon(command.process)
    let isUnwound = command.process.unwind(at: world.now) {
      world.network.close(command.process)
      command.mongo.abandon()
    } _: {
      command.end != nil
    }
    if !isUnwound {
      world.fail("\(command.process.name) does not come to an end when its servers are gone")
    }
  }
}
