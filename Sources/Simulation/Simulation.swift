import Bridge
import BridgeConfiguration
import CSimulation
import SimulatedJetStream
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
        + (stream.history.map { " history \($0)" } ?? "")
    }
    return
      "\(scenario.length / Nano.minute) min, \(faults.count) faults, \(scenario.server), R\(scenario.streams[0].replicas), \(streams.joined(separator: ", "))"
      + (scenario.removes ? ", emptied" : "") + (scenario.endsWithRestore ? ", restored" : "")
      + (scenario.keepsWindow ? "" : ", window rolls")
      + (scenario.instances == 1 ? "" : ", \(scenario.instances) instances")
      + (scenario.bridges == 1 ? "" : ", \(scenario.bridges) bridges")
      + (scenario.cutover.map { ", \($0.summary)" } ?? "")
      + ", without \(scenario.without.map(\.rawValue).joined(separator: " "))"
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
    let bridges: [Fleet]
    do {
      bridges = try makeBridges(world)
    } catch {
      outcome.failure = "the configuration of the scenario is wrong: \(error)"
      return outcome
    }
    let judges = bridges.map(\.judge)
    let instances = bridges.flatMap(\.instances)
    world.onStored = { for judge in judges { judge.look() } }
    let workload = Workload(world)
    let injector = FaultInjector(world, workload, instances)
    connect(world, injector, judges)
    workload.start()
    StreamConsumers(world).start()
    let operators = operators(world, bridges, workload)
    injector.plan(faults)
    start(instances, world)
    watch(world, bridges)
    world.run(until: scenario.length)
    operators?.finish()
    settle(world, bridges, workload, injector)
    for judge in judges where world.failure == nil { judge.lookAtEnd() }
    if world.failure == nil, scenario.endsWithRestore {
      RestoredSet(world: world, workload: workload).run(
        bridges.map { ($0.judge.checkpointPosition, $0.instances) })
    }
    for instance in instances { instance.end() }
    operators?.end()
    outcome.failure = world.failure?.text
    outcome.failedAt = world.failure?.time ?? 0
    outcome.digest = history.digest
    outcome.faults = injector.tally
    outcome.length = world.now
    for judge in judges {
      outcome.messages += judge.tally.messages
      outcome.checkpoints += judge.tally.checkpoints
      outcome.health.merge(judge.tally.health, uniquingKeysWith: +)
      world.reached.note(.handedOver, judge.handovers)
    }
    outcome.writes = workload.writes
    outcome.rollbacks = world.mongo.rolledBackEntries
    outcome.elections = world.mongo.elections
    for instance in instances { outcome.ends.merge(instance.ends, uniquingKeysWith: +) }
    outcome.reached = world.reached
    if keepingLines {
      outcome.lines = history.last(lines).map { "\(Nano.text($0.time)) \($0.text)" }
    }
    world.close()
    return outcome
  }

  /// Of the group that is cut over: its applications, and its operators.
  private func operators(
    _ world: World, _ bridges: [Fleet], _ workload: Workload
  ) -> CutoverOperators? {
    guard let cutover = scenario.cutover, let fleet = bridges.first,
      let judge = fleet.judge.cutover
    else { return nil }
    world.onWritten = { workload.replicateAll() }
    let applications = CutoverApplications(world, cutover, judge)
    let operators = CutoverOperators(world, cutover, fleet.configuration, judge, applications)
    applications.start()
    operators.start()
    return operators
  }

  /// One bridge, and its instances.
  private struct Fleet {
    let configuration: BridgeConfiguration
    let judge: Judge
    let instances: [Instance]
  }

  private func makeBridges(_ world: World) throws -> [Fleet] {
    var count = 0
    return try (0..<scenario.bridges).map { bridge in
      let name = Scenario.name(ofBridge: bridge)
      let configuration = try BridgeConfiguration.parse(
        yaml: scenario.yaml(bridge: bridge), file: "seed \(scenario.seed)", environment: [:])
      let instances = (0..<scenario.instances).map { index in
        let letter = scenario.instances == 1 ? "" : ["a", "b", "c"][index % 3]
        defer { count += 1 }
        return Instance(world, name + letter, count, bridge: bridge, configuration)
      }
      return Fleet(
        configuration: configuration, judge: Judge(world, configuration), instances: instances)
    }
  }

  private func connect(_ world: World, _ injector: FaultInjector, _ judges: [Judge]) {
    world.onDoubt = { bridge, doubt in judges[bridge].note(doubt: doubt) }
    world.jetStream.onStored = { stream, message in
      for judge in judges { judge.arrive(message, in: stream) }
    }
    injector.forgetIDs = { stream in for judge in judges { judge.forgetIDs(of: stream) } }
    injector.windowBefore = {
      let positions = judges.map(\.checkpointPosition)
      let ofGroups = judges.compactMap { $0.cutover?.needsFrom }
      return positions.contains(nil) ? nil : (positions.compactMap { $0 } + ofGroups).min()
    }
    injector.lastPublisher = { judges[$0].lastOrigin }
    injector.haveMessagesEverywhere = { judges.allSatisfy(\.hasMessagesEverywhere) }
  }

  /// The first one at once, the others within a minute.
  private func start(_ instances: [Instance], _ world: World) {
    var chance = Chance(scenario.seed, 8)
    for (index, instance) in instances.enumerated() {
      let delay = index == 0 ? 0 : chance.skewed(0, Nano.minute)
      if delay == 0 {
        instance.start()
      } else {
        world.schedule(in: delay) { instance.start() }
      }
    }
  }

  /// From here on nothing breaks, and everything has to come to its end.
  private func settle(
    _ world: World, _ bridges: [Fleet], _ workload: Workload, _ injector: FaultInjector
  ) {
    injector.mendAll()
    workload.finish()
    let deadline = world.now + Self.settleWithin
    var unsettled: String?
    while world.failure == nil, world.now < deadline {
      world.run(until: world.now + Nano.second)
      workload.finish()
      for bridge in bridges { bridge.judge.look() }
      unsettled = bridges.lazy.compactMap { $0.judge.unsettled($0.instances) }.first
      if unsettled == nil { break }
    }
    guard world.failure == nil, let unsettled else { return }
    world.fail(
      "not caught up within \(Nano.text(Self.settleWithin)) s after the last fault: \(unsettled)")
  }

  /// Every second: the supervisor, and health.
  private func watch(_ world: World, _ bridges: [Fleet]) {
    world.schedule(in: Nano.second) {
      for bridge in bridges {
        for instance in bridge.instances {
          instance.supervise()
          if let life = instance.life {
            bridge.judge.look(at: instance, life, of: bridge.instances)
          }
        }
      }
      watch(world, bridges)
    }
  }
}
