public import BridgeConfiguration
import JetStream
public import Logging
import Mapping
import MongoSource
import NIOCore
import NIOPosix
public import Oplog
public import ServiceLifecycle

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
  public var force = false
  /// Publishes the documents that are there, after what the tail still has to, and ends. With
  /// `force` at once, anew, and whatever the checkpoint says.
  public var snapshot = false
  /// False: give up with exit code 69 when a server can't be reached at the start.
  public var waitForServers = true

  public init() {}
}

/// The bridge as a service: finds its place, runs epoch after epoch until it is told to stop,
/// reaches its end, or meets something that an operator must decide.
///
/// An epoch is one NATS connection with its lanes. Whatever goes wrong on that side ends it, and the
/// next one reads the streams' tails and resumes exactly. The MongoDB side repairs itself inside the
/// reader and ends the run only when the position is lost.
public final class BridgeService: Service {
  let configuration: BridgeConfiguration
  let options: RunOptions
  let logger: Logger
  let board: StatusBoard
  let stopRequest = StopRequest()
  let reader: EventReader
  let snapshotReader: SnapshotReader
  let monitor: MongoMonitor
  let eventLoop: any EventLoop
  let sourceOptions: MongoSourceOptions
  private let group: MultiThreadedEventLoopGroup
  private let trigger = PumpTrigger()

  public init(configuration: BridgeConfiguration, options: RunOptions, logger: Logger) {
    self.configuration = configuration
    self.options = options
    self.logger = logger
    var random = SystemRandomNumberGenerator()
    board = StatusBoard(instance: String(random.next(), radix: 36))
    group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    eventLoop = group.next()
    sourceOptions = configuration.mongoSourceOptions
    switch configuration.source.reader {
    case .oplog:
      reader = .oplog(
        OplogReader(options: sourceOptions, logger: logger) { [trigger] in trigger.fire() })
    case .changeStream:
      reader = .changeStream(
        ChangeStreamReader(options: sourceOptions, logger: logger) { [trigger] in trigger.fire() })
    }
    let rules = configuration.rules.filter { $0.operations.contains(.insert) }
    snapshotReader = SnapshotReader(
      options: sourceOptions,
      filter: { database, collection in
        rules.contains { $0.namespace.matches("\(database).\(collection)") }
      }, logger: logger, onChange: { [trigger] in trigger.fire() })
    monitor = MongoMonitor(options: sourceOptions, interval: .seconds(1), logger: logger)
  }

  /// As configured.
  public var name: String { configuration.bridge.name }

  /// How the last snapshot of this run ended; nil if none did.
  public var finishedSnapshot: SnapshotReport? {
    board.snapshot.finishedSnapshot.map { SnapshotReport(status: $0) }
  }

  public func run() async throws {
    monitor.start()
    let outcome: Result<Void, any Error>
    do {
      try await withGracefulShutdownHandler {
        try await self.runEpochs()
      } onGracefulShutdown: {
        self.logger.info("stopping: waiting for outstanding acks")
        self.stopRequest.request()
      }
      outcome = .success(())
    } catch {
      board.update {
        $0.phase = "failed"
        $0.failure = "\(error)"
      }
      outcome = .failure(error)
    }
    monitor.stop()
    reader.stop()
    snapshotReader.stop()
    try await group.shutdownGracefully()
    try outcome.get()
  }

  private func runEpochs() async throws {
    guard let sourceName = try await sourceName() else { return }
    let pipeline = Pipeline(
      eventLoop: eventLoop,
      feed: EventFeed(
        reader: reader,
        images: ImageStage(
          configuration, eventLoop: eventLoop, logger: logger,
          onAnswer: { [trigger] in trigger.fire() })),
      configuration: configuration, sourceName: sourceName, logger: logger)
    trigger.set { [eventLoop] in eventLoop.execute { pipeline.sourceChanged() } }
    let reporter = PipelineReporter(pipeline: pipeline, board: board)
    reporter.start()
    if let end = try await endPosition() {
      try await eventLoop.submit { pipeline.stop(after: end) }.get()
    }
    var memory = EpochMemory()
    var backoff = Backoff()
    var number: UInt64 = 0
    while !stopRequest.isRequested {
      number += 1
      let epoch = EpochRunner(
        service: self, pipeline: pipeline, sourceName: sourceName, number: number)
      do {
        switch try await epoch.run(&memory) {
        case .finished:
          guard let place = memory.catchUp, !stopRequest.isRequested else { return }
          memory.snapshotAt = place
          backoff.reset()
        case .snapshotFinished:
          if options.snapshot { return }
          backoff.reset()
        case .halted(let failure): throw BridgeError.halted(failure.description)
        case .sourceFailed(let failure):
          try await overcome(failure, &memory)
          backoff.reset()
        case .publishFailed(let lane, let error, _):
          note("publishing stopped; the stream's tail is read again", "stream \(lane): \(error)")
          if error.remedy == .reread { backoff.reset() }
        case .connectionLost(let why):
          note("NATS connection lost", why)
          backoff.reset()
        case .needsEarlier(let previous):
          try await goBack(before: previous, &memory)
          backoff.reset()
        case .abandoned(let why):
          note("stopped before everything was acknowledged; the next start resumes exactly", why)
          return
        }
      } catch let error as BridgeError {
        throw error
      } catch {
        note("not publishing yet", "\(error)")
        board.update { if !$0.natsConnected { $0.natsDetail = "\(error)" } }
        if !options.waitForServers, !memory.hasPublished {
          throw BridgeError.unavailable("\(error)")
        }
      }
      guard await stopRequest.sleep(backoff.next()) else { return }
    }
  }

  private func note(_ what: String, _ why: String) {
    board.note(error: "\(what): \(why)")
    logger.warning("\(what)", metadata: ["reason": "\(why)"])
  }

  /// A transaction's entries are linked backwards; the first one is where reading has to begin.
  private func goBack(before previous: OplogPosition, _ memory: inout EpochMemory) async throws {
    let first = try await askMongo { try await MongoAdmin.transactionStart($0, from: previous) }
    guard let first else {
      return try await positionLost(
        """
        a transaction that commits after the place to resume at has earlier entries, of which the \
        one at \(previous) or those before it are no longer in the oplog. Decide where to go on: \
        run --from <position>|oldest|now --force
        """, &memory)
    }
    memory.transactionStart = first
    logger.info(
      "reading from further back, for a transaction that began there",
      metadata: ["at": "\(first)"])
  }

  private func overcome(_ failure: SourceFailure, _ memory: inout EpochMemory) async throws {
    switch failure {
    case .positionLost(let lost): try await positionLost(lost.description, &memory)
    case .unsupported(let why): throw BridgeError.configuration(why)
    case .corruptReply(let why): throw BridgeError.halted(why)
    }
  }

  /// Only a snapshot leads on from here. An operator decides, by configuration or afterwards.
  private func positionLost(_ why: String, _ memory: inout EpochMemory) async throws {
    guard options.snapshot || configuration.source.onPositionLost == .snapshot else {
      board.update { $0.positionLost = why }
      throw BridgeError.positionLost(why)
    }
    board.note(error: "a snapshot closes the gap: \(why)")
    logger.error("a snapshot closes the gap", metadata: ["reason": "\(why)"])
    memory.catchUp = nil
    memory.snapshotAt = try await askMongo { try await MongoAdmin.majorityPosition($0) }
  }

  /// Identity in message ids: configured, or the replica set's name. Nil: told to stop meanwhile.
  private func sourceName() async throws -> String? {
    if let name = configuration.source.name { return name }
    do {
      return try await askMongo { try await MongoAdmin.identify($0).setName }
    } catch is CancellationError {
      return nil
    }
  }

  private func endPosition() async throws -> OplogPosition? {
    switch options.until {
    case .forever: nil
    case .at(let position): position
    case .now: try await askMongo { try await MongoAdmin.majorityPosition($0).position }
    }
  }

  /// Asks MongoDB something; keeps asking until it answers, unless told not to wait.
  func askMongo<T: Sendable>(
    _ question: @Sendable (MongoSourceOptions) async throws -> T
  ) async throws -> T {
    var backoff = Backoff()
    while true {
      do {
        return try await question(sourceOptions)
      } catch let error as MongoError {
        if !error.isTransient { throw BridgeError.configuration("MongoDB: \(error)") }
        if !options.waitForServers { throw BridgeError.unavailable("MongoDB: \(error)") }
        note("MongoDB does not answer yet", "\(error)")
      }
      guard await stopRequest.sleep(backoff.next()) else { throw CancellationError() }
    }
  }
}
