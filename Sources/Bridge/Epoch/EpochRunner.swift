import BridgeConfiguration
import DeliberateErrors
import JetStream
import Logging
import Mapping
import MongoSource
import NATS
import NIOCore
import Oplog
import Synchronization

/// One epoch: connect, make the streams ready, look at them, decide, publish until something ends it.
/// The decisions are `EpochMachine`'s.
struct EpochRunner: Sendable {
  let service: BridgeService
  let pipeline: Pipeline
  let sourceName: String
  let number: UInt64
  /// What this epoch publishes by.
  let rules: RuleSet
  let leadership: Leadership
  let seat: Seat
  /// Before anything was looked at.
  let began = ContinuousClock.now

  /// How this epoch comes to lead.
  enum Seat: Sendable {
    /// It takes the lease.
    case vacant(Leadership.Vacancy)
    /// An earlier epoch of this process took it.
    case held(Tenure)
  }

  var configuration: BridgeConfiguration { service.configuration }
  var board: StatusBoard { service.board }
  var logger: Logger { service.logger }

  func run(_ machine: inout EpochMachine) async throws -> EpochEnd {
    var kind = EpochEnd.Kind.notBegun
    defer { board.update { $0.epochEnds[kind, default: 0] += 1 } }
    let end = try await connectAndPublish(&machine)
    kind = end.kind
    return end
  }

  private func connectAndPublish(_ machine: inout EpochMachine) async throws -> EpochEnd {
    let kept = service.keptConnection.withLock { kept in
      defer { kept = nil }
      return kept
    }
    board.update {
      $0.epoch = number
      $0.phase = kept == nil ? "connecting" : "reloading"
    }
    let connection: NATSConnection
    if let kept {
      connection = kept
    } else {
      connection = try await connect(machine.memory.servers)
      noteConnected(connection)
    }
    do {
      let end = try await run(on: connection, &machine)
      if case .settled = end {
        // Nothing is wrong with it: the next epoch publishes by other rules, and that is all.
        service.keptConnection.withLock { $0 = connection }
        return end
      }
      noteDisconnected()
      await connection.close()
      return end
    } catch {
      noteDisconnected()
      await connection.close()
      throw error
    }
  }

  private func run(on connection: NATSConnection, _ machine: inout EpochMachine) async throws
    -> EpochEnd
  {
    machine.memory.servers = connection.discoveredServers
    let jetStream = JetStreamClient(connection)
    let setup = StreamSetup(configuration, jetStream, logger: logger)
    let survey = EpochSurvey(
      configuration: configuration, sourceName: sourceName, jetStream: jetStream, mongo: service,
      rules: rules.identity)
    let bucket = KeyValueBucket(jetStream, name: configuration.bridge.stateBucket)
    do {
      if case .vacant = seat { try await service.cutover.examine(configuration, jetStream) }
      var judged: JudgedStart?
      if case .vacant(let vacancy) = seat, !machine.memory.hasBegun, !vacancy.hasWaited,
        !leadership.hasLed
      {
        judged = try await judge(survey, setup, machine)
      }
      let plan = if let judged { judged.setup } else { try await setup.plan() }
      let store = CheckpointStore(
        jetStream, bucket: bucket.name, bridge: configuration.bridge.name, replicas: plan.replicas)
      if !plan.hasBucket { try await store.ensure() }
      return try await run(
        on: connection, survey, store, Start(setup: setup, plan: plan, judged: judged), &machine)
    } catch let refusal as StartRefusal {
      throw refusal.error
    }
  }

  /// What an epoch begins with.
  private struct Start {
    var setup: StreamSetup
    var plan: SetupPlan
    /// Of the process's first epoch.
    var judged: JudgedStart?
  }

  /// Nothing is made unless all of it is as it has to be.
  private func judge(
    _ survey: EpochSurvey, _ setup: StreamSetup, _ machine: EpochMachine
  ) async throws -> JudgedStart {
    let store = CheckpointStore(
      survey.jetStream, bucket: configuration.bridge.stateBucket, bridge: configuration.bridge.name)
    do {
      return try await StartJudge(survey: survey, setup: setup, store: store).judge(machine)
    } catch BridgeError.positionLost(let why) {
      service.report(.positionLost(why))
      throw BridgeError.positionLost(why)
    }
  }

  /// The lease, and what was judged, unless it may have changed since.
  private func lead(
    _ start: Start, _ connection: NATSConnection
  ) async throws -> (Tenure, Start) {
    switch seat {
    case .held(let tenure):
      await leadership.resume(tenure, for: connection) { service.stopRequest.isRequested }
      return (tenure, start)
    case .vacant(let vacancy):
      await leadership.answer(on: connection)
      guard let tenure = try await leadership.take(vacancy, replicas: start.plan.replicas) else {
        throw LeaseTaken()
      }
      var start = start
      // The previous leader may have stored something since.
      if vacancy.reason == .expired || vacancy.reason == .connectionGone { start.judged = nil }
      return (tenure, start)
    }
  }

  /// Another instance was faster.
  struct LeaseTaken: Error {}

  private func run(
    on connection: NATSConnection, _ survey: EpochSurvey, _ store: CheckpointStore,
    _ begin: Start, _ machine: inout EpochMachine
  ) async throws -> EpochEnd {
    let (tenure, start) = try await lead(begin, connection)
    var streams = try await start.setup.make(start.plan, cautious: machine.memory.cautious)
    let fences = StreamFences(
      bridge: configuration.bridge.name, instance: board.instance, number: number,
      jetStream: survey.jetStream, logger: logger, book: service.fences,
      board: board)
    let memory = machine.memory
    func mayHaveStragglers(_ stream: String) -> Bool {
      guard let endedCleanly = memory.endedCleanly else { return !tenure.followsCleanEnd }
      return !endedCleanly && memory.answered != stream
        && (memory.unanswered.map { $0[stream] != 0 } ?? true)
    }
    var hasMoved = false
    do {
      // Before the streams' ends are read: what a predecessor stores in between would not be seen.
      if !DeliberateError.isOn(.fenceAfterTail) {
        (streams, hasMoved) = try await fences.raise(
          streams, tenure, mayHaveStragglers: mayHaveStragglers)
      }
    } catch is StreamFences.LeaseLapsed {
      return .leaseLapsed
    }
    let handedOver = try await service.cutover.begin(
      configuration, rules, tenure, survey.jetStream,
      count: { [pipeline] decided in
        pipeline.eventLoop.execute { pipeline.count(decided: decided) }
      })
    // What was decided holds where nothing has been made or changed since.
    let judged = start.plan.isSettled && !hasMoved ? start.judged : nil
    let stored: Checkpoint?
    let revision: UInt64
    if let judged {
      (stored, revision) = (judged.checkpoint, judged.revision)
    } else {
      (stored, revision) = try await survey.load(store)
    }
    let checkpoint = try newest(machine.memory.checkpoint, stored, tenure)
    var kept = KeptState(
      tenure: tenure, store: store, revision: revision,
      version: max(checkpoint?.version ?? 0, stored?.version ?? 0),
      marks: StreamMarks(
        bridge: configuration.bridge.name, survey.jetStream,
        isSupported: connection.info.version >= StreamMarks.firstServer, logger: logger,
        known: marks(streams), isFirst: { [service] in service.isFirstUnmarked($0) },
        mayWrite: { tenure.mayPublish }),
      handedOver: handedOver)
    if !machine.memory.hasBegun { warnOfUncountable(streams) }
    let decision: EpochDecision
    if let judged {
      decision = judged.decision
    } else {
      decision = try await survey.decide(machine, streams, checkpoint)
    }
    if DeliberateError.isOn(.fenceAfterTail) {
      (streams, _) = try await fences.raise(streams, tenure, mayHaveStragglers: mayHaveStragglers)
    }
    machine.adopt(decision)
    service.surroundings.noteEpoch(decision)
    for remark in decision.remarks { service.report(remark) }
    switch decision.mode {
    case .tail(let plan):
      return try await tail(on: connection, streams, plan, checkpoint, &kept, &machine)
    case .snapshot(let plan):
      return try await snapshot(on: connection, streams, plan, checkpoint, &kept, &machine)
    }
  }

  /// Where the checkpoint is kept, and what was found there.
  struct KeptState {
    /// Everything is written under its epoch.
    var tenure: Tenure
    var store: CheckpointStore
    var revision: UInt64
    var version: UInt64
    var marks: StreamMarks
    /// By rule: what followers decide instead of the pipeline.
    var handedOver: [[HandedRange]] = []
  }

  private func tail(
    on connection: NATSConnection, _ streams: [PreparedStream], _ plan: ResumePlan,
    _ checkpoint: Checkpoint?, _ kept: inout KeptState, _ machine: inout EpochMachine
  ) async throws -> EpochEnd {
    var base = Checkpoint(
      bridge: configuration.bridge.name, source: sourceName, instance: board.instance,
      version: kept.version, resume: plan.start, term: plan.term, origin: plan.origin,
      streams: plan.surviving(checkpoint),
      configurationHash: rules.hash)
    base.epoch = kept.tenure.epoch
    base.settled = plan.settled
    base.earlierRulesTo = plan.earlierRules?.to
    base.states = plan.states(
      checkpoint,
      streams.map {
        StreamEnd(
          name: $0.name, created: $0.info.created, last: $0.info.lastSequence,
          isExclusive: $0.exclusive, mayLeaveGaps: $0.mayLeaveGaps)
      })
    base.inheritConfiguration(from: checkpoint)
    base.foundAgainAt = plan.foundAgainAt
    noteConfiguration(checkpoint, base, plan)
    await mark(
      streams, base, plan, since: checkpoint, isFirst: !machine.memory.hasBegun, &kept)
    base.resumeToken = checkpoint?.resumeToken
    base.snapshot = checkpoint?.snapshot.flatMap { $0.isOver ? $0 : nil }
    return try await publish(on: connection, streams, base, kept, .tail(plan), &machine)
  }

  // MARK: - Connect

  /// Ends at once on a stop request.
  private func connect(_ discovered: [NATSServerAddress]) async throws -> NATSConnection {
    let options = try configuration.natsOptions()
    let attempt = Task { [service] in
      try await service.connect(options, discovered: discovered)
    }
    let stop = Task { [service] in
      while !Task.isCancelled {
        guard await service.stopRequest.sleep(.seconds(1)) else { return attempt.cancel() }
      }
    }
    defer { stop.cancel() }
    do {
      return try await attempt.value
    } catch {
      board.noteUnreachable("\(error)")
      throw error
    }
  }

  private func noteConnected(_ connection: NATSConnection) {
    board.noteReachable(connection)
    board.update {
      $0.natsConnected = true
      $0.phase = "resuming"
    }
  }

  /// That an epoch has ended says nothing about NATS: `noteUnreachable` does.
  private func noteDisconnected() {
    board.update {
      $0.natsConnected = false
      $0.publishing = false
      $0.phase = "reconnecting"
    }
  }

  // MARK: - Checkpoint

  /// Within a tenure, memory is at least as new as KV. A newer checkpoint of a later leader means that this one
  /// has been replaced.
  private func newest(
    _ remembered: Checkpoint?, _ stored: Checkpoint?, _ tenure: Tenure
  ) throws -> Checkpoint? {
    if let stored, let epoch = stored.epoch, stored.instance != board.instance,
      epoch > tenure.epoch
    {
      leadership.note(epoch: epoch)
      throw BridgeError.displaced(
        "instance \(stored.instance) has taken over bridge \(configuration.bridge.name)")
    }
    return remembered ?? stored
  }
}
