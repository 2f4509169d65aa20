import Bridge
import BridgeConfiguration
import CSimulation
import SimulatedMongo

/// One history: a world from a seed, faults for a while, then none, and a judgement.
package struct Simulation: Sendable {
  package let scenario: Scenario
  package let faults: [PlannedFault]

  package init(seed: UInt64) {
    scenario = Scenario(seed: seed)
    faults = scenario.plan()
  }

  init(_ scenario: Scenario, _ faults: [PlannedFault]) {
    self.scenario = scenario
    self.faults = faults
  }

  /// What the history is made of, in a line.
  package var summary: String {
    let streams = scenario.streams.map { stream in
      "\(stream.name) \(stream.mode)\(stream.isExclusive ? "" : " shared") \(stream.duplicateWindow)s"
        + (stream.removal == .none ? "" : " \(stream.removal)")
    }
    return
      "\(scenario.length / Nano.minute) min, \(faults.count) faults, \(scenario.server), R\(scenario.streams[0].replicas), \(streams.joined(separator: ", "))"
      + (scenario.removes ? ", emptied" : "") + (scenario.endsWithRestore ? ", restored" : "")
      + (scenario.keepsWindow ? "" : ", window rolls")
      + ", without \(Fault.allCases.filter { !scenario.faults.contains($0) }.map(\.rawValue).joined(separator: " "))"
  }

  package struct Outcome: Sendable {
    package var failure: String?
    package var failedAt: Int64 = 0
    /// Of everything that happened.
    package var digest: UInt64 = 0
    package var faults: [Fault: Int] = [:]
    /// Virtual time, in nanoseconds.
    package var length: Int64 = 0
    package var messages = 0
    package var checkpoints = 0
    package var writes = 0
    package var rollbacks = 0
    package var elections = 0
    package var health: [String: Int] = [:]
    package var ends: [String: Int] = [:]
    package var reached = ReachedStates()
    /// Of a history that was kept.
    package var lines: [String] = []
  }

  /// After the last fault everything is stored within so much time.
  private static let settleWithin = 3 * Nano.minute

  package func run(keepingLines: Bool = false, lines: Int = 200) -> Outcome {
    SimulatedProcess.takeTasks()
    simulation_seed_random(scenario.seed)
    let history = History(keepsLines: keepingLines)
    let world = World(scenario, history)
    var outcome = Outcome()
    let configuration: BridgeConfiguration
    do {
      configuration = try BridgeConfiguration.parse(
        yaml: scenario.yaml(bridge: "b0"), file: "seed \(scenario.seed)", environment: [:])
    } catch {
      outcome.failure = "the configuration of the scenario is wrong: \(error)"
      return outcome
    }
    let judge = Judge(world, configuration)
    world.onStored = { [unowned judge] in judge.look() }
    let workload = Workload(world)
    let instance = Instance(world, "b0", 0, configuration)
    let injector = FaultInjector(world, workload, [instance])
    injector.windowBefore = { [unowned judge] in judge.checkpointPosition }
    injector.forgetIDs = { [unowned judge] in judge.forgetIDs(of: $0) }
    workload.start()
    StreamConsumers(world).start()
    injector.plan(faults)
    instance.start()
    watch(world, instance, judge)
    world.run(until: scenario.length)
    // From here on nothing breaks.
    injector.mendAll()
    workload.finish()
    let deadline = world.now + Self.settleWithin
    while world.failure == nil, world.now < deadline {
      world.run(until: world.now + Nano.second)
      workload.finish()
      judge.look()
      if judge.isSettled(on: instance) { break }
    }
    if world.failure == nil, !judge.isSettled(on: instance) {
      world.fail(
        "not caught up within \(Nano.text(Self.settleWithin)) s after the last fault: \(judge.unsettled(instance)), health \(instance.health?.status.rawValue ?? "unknown")"
      )
    }
    if world.failure == nil { judge.lookAtEnd() }
    if world.failure == nil, scenario.endsWithRestore {
      RestoredSet(world: world, workload: workload, judge: judge).run([instance])
    }
    instance.end()
    outcome.failure = world.failure?.text
    outcome.failedAt = world.failure?.time ?? 0
    outcome.digest = history.digest
    outcome.faults = injector.tally
    outcome.length = world.now
    outcome.messages = judge.tally.messages
    outcome.checkpoints = judge.tally.checkpoints
    outcome.health = judge.tally.health
    outcome.writes = workload.writes
    outcome.rollbacks = world.mongo.rolledBackEntries
    outcome.elections = world.mongo.elections
    outcome.ends = instance.ends
    outcome.reached = world.reached
    if keepingLines {
      outcome.lines = history.last(lines).map { "\(Nano.text($0.time)) \($0.text)" }
    }
    world.close()
    return outcome
  }

  /// Every second: the supervisor, and health.
  private func watch(_ world: World, _ instance: Instance, _ judge: Judge) {
    world.schedule(in: Nano.second) {
      instance.supervise()
      if let life = instance.life { judge.look(at: instance, life) }
      watch(world, instance, judge)
    }
  }
}
