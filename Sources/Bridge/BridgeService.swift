public import BridgeConfiguration
import JetStream
public import Logging
import Mapping
import MongoSource
import NATS
import NIOCore
public import Oplog
public import ServiceLifecycle
import Synchronization

/// Where a run begins and how far it goes, from the command line.
public struct RunOptions: Sendable {
  public enum Start: Sendable, Equatable {
    case now, oldest, snapshot
    case at(OplogPosition)
  }
  public enum Until: Sendable, Equatable {
    case forever, now
    case at(OplogPosition)
  }

  /// Overrides `source.start`; where there is a place to resume at, only together with `force`.
  public var from: Start?
  public var until: Until = .forever
  /// Ends the run, as SIGTERM does, once every group is finalized.
  public var endsWhenFinalized = false
  public var force = false
  /// Publishes the documents that are there, after what the tail still has to, and ends. With
  /// `force` at once, from the beginning, and whatever the checkpoint says.
  public var snapshot = false
  /// What that snapshot is of.
  public var selection = SnapshotSelection()
  /// False: give up with exit code 69 when a server can't be reached at the start.
  public var waitForServers = true

  public init() {}
}

/// The bridge as a service: finds its place, runs epoch after epoch until it is stopped,
/// reaches its end, or meets something that an operator must decide.
///
/// An epoch is one NATS connection with its lanes. Whatever goes wrong on that side ends it, and the
/// next one reads the streams' tails and resumes exactly. The MongoDB side repairs itself inside the
/// reader and ends the run only when the position is lost.
public final class BridgeService: Service {
  /// What is in use. Changes between epochs only.
  var configuration: BridgeConfiguration { live.withLock { $0 } }
  let live: Mutex<BridgeConfiguration>
  let pendingRules = PendingRules()
  let setLogLevel: @Sendable (LogSettings.Level) -> Void
  /// Of an epoch that ended for its rules alone: the next one continues with it.
  let keptConnection = Mutex<NATSConnection?>(nil)
  let options: RunOptions
  let logger: Logger
  let board: StatusBoard
  let stopRequest: StopRequest
  let surroundings: any Surroundings
  let mongo: any MongoAnswering
  let reader: any ChangeReader
  let snapshotReader: SnapshotReader
  let snapshotChoice = SnapshotChoice()
  let monitor: any MongoWatching
  let cutover: CutoverDesk
  var eventLoop: any EventLoop { surroundings.eventLoop }
  let sourceOptions: MongoSourceOptions
  private let trigger = PumpTrigger()
  /// Of the present tenure, by its epoch.
  let signalFloor = Mutex<(epoch: UInt64, floor: EventFloor)?>(nil)
  private let unmarked = Mutex<Set<String>>([])
  private let claims = Mutex<[String: ProducerClaims]>([:])
  let fences = FenceBook()

  /// - Parameter setLogLevel: called when the configuration is reloaded with another level.
  public convenience init(
    configuration: BridgeConfiguration, options: RunOptions, logger: Logger,
    setLogLevel: @escaping @Sendable (LogSettings.Level) -> Void = { _ in }
  ) {
    self.init(
      configuration: configuration, options: options, logger: logger, on: SystemSurroundings(),
      setLogLevel: setLogLevel)
  }

  package init(
    configuration: BridgeConfiguration, options: RunOptions, logger: Logger,
    on surroundings: any Surroundings,
    setLogLevel: @escaping @Sendable (LogSettings.Level) -> Void = { _ in }
  ) {
    self.surroundings = surroundings
    stopRequest = StopRequest(on: surroundings.eventLoop)
    live = Mutex(configuration)
    self.setLogLevel = setLogLevel
    self.options = options
    self.logger = logger
    board = StatusBoard(instance: surroundings.instance)
    sourceOptions = configuration.mongoSourceOptions
    mongo = surroundings.answers(sourceOptions)
    reader = surroundings.reader(configuration.source.reader, sourceOptions, logger: logger) {
      [trigger] in trigger.fire()
    }
    snapshotReader = SnapshotReader(
      options: sourceOptions,
      databases: { [snapshotChoice] in snapshotChoice.mayRead(database: $0) },
      filter: { [snapshotChoice] database, collection in
        snapshotChoice.reads("\(database).\(collection)")
      }, logger: logger, onChange: { [trigger] in trigger.fire() })
    monitor = surroundings.monitor(sourceOptions, logger: logger)
    cutover = CutoverDesk(
      on: surroundings, board: board, monitor: monitor, mongo: mongo, logger: logger)
    snapshotChoice.rules = configuration.rules
  }

  /// As configured.
  public var name: String { configuration.bridge.name }

  /// How the last snapshot of this run ended; nil if none did.
  public var finishedSnapshot: SnapshotReport? {
    let facts = board.snapshot
    return facts.finishedSnapshot.map {
      SnapshotReport(
        status: $0, outcomes: facts.snapshotOutcomes, selection: snapshotChoice.current,
        unmatched: snapshotChoice.unmatched)
    }
  }

  public func run() async throws {
    if options.endsWhenFinalized { cutover.onAllFinalized { [weak self] in self?.stop() } }
    monitor.start()
    let outcome: Result<Void, any Error>
    do {
      try await withGracefulShutdownHandler {
        try await self.runEpochs()
      } onGracefulShutdown: {
        self.stop()
      }
      outcome = .success(())
    } catch {
      board.update {
        $0.phase = "failed"
        $0.failure = "\(error)"
      }
      outcome = .failure(error)
    }
    if let kept = keptConnection.withLock({ $0 }) { Task { await kept.close() } }
    // A thread that is stuck in a dead connection ends with the process.
    monitor.stop(waiting: .milliseconds(500))
    reader.stop(waiting: .milliseconds(500))
    snapshotReader.stop(waiting: .milliseconds(500))
    // The last lines of the log are written there.
    try? await eventLoop.submit {}.get()
    // After a stop something may still be under way on the loop.
    if !stopRequest.isRequested { try await surroundings.shutDown() }
    try outcome.get()
  }

  /// Ends the run as SIGTERM does.
  package func stop() {
    logger.info("stopping: waiting for outstanding acks")
    stopRequest.request()
  }

  /// What /healthz says.
  package var health: HealthReport {
    HealthProbe(board: board, reader: reader, monitor: monitor).report()
  }

  /// SIGTERM or SIGINT came.
  public var isStopping: Bool { stopRequest.isRequested }

  private func runEpochs() async throws {
    do {
      try sourceOptions.validate()
    } catch {
      throw BridgeError.configuration("source.uri: \(error.message)")
    }
    guard let (sourceName, end) = try await bounds() else { return }
    var rules = configuration.ruleSet(sourceName: sourceName)
    board.note(rules)
    let pipeline = Pipeline(
      eventLoop: eventLoop, feed: EventFeed(wishes(configuration)), configuration: configuration,
      rules: rules, logger: logger)
    trigger.set { [eventLoop] in eventLoop.execute { pipeline.sourceChanged() } }
    let reporter = PipelineReporter(
      pipeline: pipeline, board: board, monitor: monitor, interval: surroundings.reportInterval,
      logger: logger)
    reporter.start()
    defer { reporter.stop() }
    if let end {
      try await eventLoop.submit { pipeline.stop(after: end) }.get()
    }
    if !options.waitForServers {
      // The reader itself would wait for ever.
      _ = try await askMongo { try await $0.majorityPosition() }
    }
    var machine = EpochMachine(configuration.epochSettings(options))
    let leadership = makeLeadership(rules)
    var isDrained = true
    do {
      try await lead(pipeline, sourceName, &rules, &machine, leadership, &isDrained)
      if let end, !stopRequest.isRequested {
        await cutover.finish(
          through: end, within: configuration.cutover.grace * 2 + .seconds(30), eventLoop)
      }
      await cutover.stop()
      await leadership.release(isDrained: isDrained)
    } catch {
      await cutover.stop()
      await leadership.release(isDrained: isDrained)
      throw error
    }
  }

  /// Leads whenever no other instance does, epoch after epoch.
  ///
  /// - Parameter isDrained: everything that was sent is acknowledged.
  private func lead(
    _ pipeline: Pipeline, _ sourceName: String, _ rules: inout RuleSet,
    _ machine: inout EpochMachine, _ leadership: Leadership, _ isDrained: inout Bool
  ) async throws {
    var backoff = Backoff(longest: .seconds(2))
    var number: UInt64 = 0
    rules = try await adoptPendingRules(after: rules, pipeline)
    while !stopRequest.isRequested {
      number += 1
      board.update { [number] in
        $0.epoch = number
        // Found by one that did not lead any more.
        $0.positionLost = nil
      }
      var last: EpochEnd?
      var before = (at: ContinuousClock.now, frontier: board.snapshot.settlement.frontier)
      do {
        guard
          let seat = try await seat(leadership, pipeline, &rules, &machine)
        else { return }
        let epoch = EpochRunner(
          service: self, pipeline: pipeline, sourceName: sourceName, number: number, rules: rules,
          leadership: leadership, seat: seat)
        before = (at: ContinuousClock.now, frontier: board.snapshot.settlement.frontier)
        isDrained = false
        let (result, left) = try await run(epoch, machine)
        machine = left
        let end = try result.get()
        last = end
        isDrained = end.isClean
        surroundings.noteEpoch(endedBy: end)
        let outcome = try await next(after: end, &machine)
        for remark in outcome.remarks { report(remark) }
        switch outcome.next {
        case .another: if outcome.resetsPause { backoff.reset() }
        case .stop: return
        case .fail(let error): throw error
        }
      } catch is EpochRunner.LeaseTaken {
        continue
      } catch is StartJudge.Outdated {
        continue
      } catch {
        if case BridgeError.displaced(let why) = error, isContinuous {
          if stopRequest.isRequested { return }
          await standDown(leadership, because: why)
          continue
        }
        if let last = ending(error, machine, leadership) {
          // Who has slept judges by what has passed meanwhile, and another instance may long have followed.
          guard let tenure = leadership.tenure, !tenure.mayPublish, isContinuous else { throw last }
        }
        if stopRequest.isRequested { return }
        report(
          .refused(
            scope(of: error), "not publishing yet", reason: "\(error)", code: code(of: error)))
        if !options.waitForServers, !machine.memory.hasBegun, !leadership.hasLed {
          throw BridgeError.unavailable("\(error)")
        }
      }
      if machine.admitsRules(after: last) {
        rules = try await adoptPendingRules(after: rules, pipeline)
        leadership.use(configurationHash: rules.hash)
      }
      if case .settled = last { continue }
      // What ends at once again and again is tried more and more seldom, whatever ends it.
      if ContinuousClock.now - before.at > .seconds(5)
        || board.snapshot.settlement.frontier != before.frontier
      {
        backoff.reset()
      }
      guard await stopRequest.sleep(backoff.next()) else { return }
    }
  }

  func wishes(_ configuration: BridgeConfiguration) -> FeedWishes {
    FeedWishes(
      configuration, isUpdateWanted: configuration.isUpdateWanted, eventLoop: eventLoop,
      logger: logger, onAnswer: { [trigger] in trigger.fire() })
  }

  /// What follows an epoch, with the answers that this depends on.
  private func next(
    after end: EpochEnd, _ machine: inout EpochMachine
  ) async throws -> EpochOutcome {
    var facts = EpochFacts()
    while true {
      do {
        return try machine.next(after: end, isStopping: stopRequest.isRequested, facts)
      } catch {
        let question = try error.question
        facts[question] = try await answer(question)
      }
    }
  }

  /// The error to end with; nil where the same may succeed another time.
  private func ending(
    _ error: any Error, _ machine: EpochMachine, _ leadership: Leadership
  ) -> BridgeError? {
    let refused = (error as? JetStreamError).flatMap { StartRefusal($0)?.error }
    guard let error = refused ?? error as? BridgeError else { return nil }
    return RunDecision.after(error, hasSucceeded: hasSucceeded(machine, leadership)) == .end
      ? error : nil
  }

  /// Whether this run has done what a start has to: its position is written down, and the source read.
  private func hasSucceeded(_ machine: EpochMachine, _ leadership: Leadership) -> Bool {
    guard machine.memory.hasBegun || leadership.hasLedBefore else { return false }
    return reader.status.lastReplyAt != nil || (board.snapshot.counters?.derived ?? 0) > 0
  }

  /// Of one stream (by its name and when it was created), for the life of the process.
  func claims(on stream: String) -> ProducerClaims {
    claims.withLock { all in
      let known = all[stream] ?? ProducerClaims()
      all[stream] = known
      return known
    }
  }

  /// Whether it wasn't said of the stream yet that its metadata can't be written.
  func isFirstUnmarked(_ stream: String) -> Bool {
    unmarked.withLock { $0.insert(stream).inserted }
  }

  /// Of what kept an epoch from publishing.
  private func scope(of error: any Error) -> Refusals.Scope {
    guard board.snapshot.natsReachable else { return .nats }
    guard let error = error as? JetStreamError else { return .jetStream }
    let streams = configuration.streams.map(\.name) + [configuration.deadLetter.stream]
    let named = streams.first { name in
      error.operation.split(separator: ".").contains { $0 == name }
    }
    return named.map { .stream($0) } ?? .jetStream
  }

  private func code(of error: any Error) -> Int { (error as? JetStreamError)?.code ?? 0 }

  /// One epoch, and what it leaves to the next. Throws `CancellationError` where a stop can't wait for
  /// its end.
  private func run(_ epoch: EpochRunner, _ machine: EpochMachine) async throws
    -> (Result<EpochEnd, any Error>, EpochMachine)
  {
    let run = try await stopRequest.unlessStopped {
      var machine = machine
      do {
        return (Result<EpochEnd, any Error>.success(try await epoch.run(&machine)), machine)
      } catch {
        return (.failure(error), machine)
      }
    }
    if let run { return run }
    logger.warning("stopped without waiting for a server; the next start resumes exactly")
    throw CancellationError()
  }

  /// Identity in message ids (configured, or the replica set's name), and where to end. Nil: told to
  /// stop meanwhile.
  private func bounds() async throws -> (sourceName: String, end: OplogPosition?)? {
    do {
      return (try await sourceName(), try await endPosition())
    } catch is CancellationError {
      return nil
    }
  }

  private func sourceName() async throws -> String {
    if let name = configuration.source.name { return name }
    return try await askMongo { try await $0.setName() }
  }

  private func endPosition() async throws -> OplogPosition? {
    switch options.until {
    case .forever: nil
    case .at(let position): position
    case .now: try await askMongo { try await $0.majorityPosition().position }
    }
  }
}
