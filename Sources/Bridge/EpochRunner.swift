import BridgeConfiguration
import JetStream
import Logging
import Mapping
import MongoSource
import NATS
import NIOCore
import Oplog

/// What one epoch leaves to the next within a process.
struct EpochMemory: Sendable {
  /// At least as new as KV.
  var checkpoint: Checkpoint?
  /// Streams that met an id they had already: the next epoch goes there one by one.
  var cautious: Set<String> = []
  /// Servers learned from INFO, besides those configured.
  var servers: [NATSServerAddress] = []
  /// A stream that may hold later events without an earlier one.
  var suspect: SuspectTail?
  /// The first entry of a transaction that began before the place that was resumed at.
  var transactionStart: OplogPosition?
  /// Whether any epoch came as far as publishing.
  var hasPublished = false
  /// Whether it was decided where this run begins, and written down.
  var hasBegun = false
  /// A snapshot is to be made, at this place.
  var snapshotAt: ResumePoint?
  /// … once everything up to here has been published.
  var catchUp: ResumePoint?
}

/// What an epoch publishes.
enum EpochCourse: Sendable {
  case tail(ResumePlan)
  case snapshot(SnapshotPlan)
}

/// One epoch: connect, make the streams ready, find the place, publish until something ends it.
struct EpochRunner: Sendable {
  let service: BridgeService
  let pipeline: Pipeline
  let sourceName: String
  let number: UInt64

  var configuration: BridgeConfiguration { service.configuration }
  var board: StatusBoard { service.board }
  var logger: Logger { service.logger }

  func run(_ memory: inout EpochMemory) async throws -> EpochEnd {
    board.update {
      $0.epoch = number
      $0.phase = "connecting"
    }
    let connection = try await connect(memory.servers)
    noteConnected(connection)
    defer { noteDisconnected() }
    do {
      let end = try await run(on: connection, &memory)
      await connection.close()
      return end
    } catch {
      await connection.close()
      throw error
    }
  }

  private func run(on connection: NATSConnection, _ memory: inout EpochMemory) async throws
    -> EpochEnd
  {
    memory.servers = connection.knownServers
    let jetStream = JetStreamClient(connection)
    let streams = try await StreamSetup(configuration: configuration, logger: logger)
      .prepare(jetStream, version: connection.info.version, cautious: memory.cautious)
    let store = CheckpointStore(
      jetStream, bucket: configuration.bridge.stateBucket, bridge: configuration.bridge.name)
    try await store.bucket.ensure(replicas: streams.map(\.info.replicas).max() ?? 1)
    let (stored, revision) = try await load(store)
    let checkpoint = try newest(memory.checkpoint, stored)
    let kept = KeptState(
      store: store, revision: revision, version: max(checkpoint?.version ?? 0, stored?.version ?? 0)
    )
    switch try await course(jetStream, streams, checkpoint, &memory) {
    case .tail(let plan):
      return try await tail(on: connection, streams, plan, checkpoint, kept, &memory)
    case .snapshot(let plan):
      return try await snapshot(on: connection, streams, plan, checkpoint, kept, &memory)
    }
  }

  /// Where the checkpoint is kept, and what was found there.
  struct KeptState {
    var store: CheckpointStore
    var revision: UInt64
    var version: UInt64
  }

  private func tail(
    on connection: NATSConnection, _ streams: [PreparedStream], _ decided: ResumePlan,
    _ checkpoint: Checkpoint?, _ kept: KeptState, _ memory: inout EpochMemory
  ) async throws -> EpochEnd {
    var plan = decided
    memory.suspect = memory.suspect.flatMap { suspect in
      // Until a later epoch finds them stored.
      plan.missing[suspect.stream].map { suspect.replacing($0) }
    }
    let floor = plan.start
    if let first = memory.transactionStart {
      plan.moveBack(to: first)
      memory.transactionStart = nil
    }
    var base = Checkpoint(
      bridge: configuration.bridge.name, source: sourceName, instance: board.instance,
      version: kept.version, resume: plan.start, term: plan.term, origin: plan.origin,
      streams: surviving(checkpoint, plan),
      configurationHash: configuration.hash(sourceName: sourceName))
    base.inheritConfiguration(from: checkpoint)
    base.resumeToken = checkpoint?.resumeToken
    base.snapshot = checkpoint?.snapshot.flatMap { $0.isOver ? $0 : nil }
    let end = try await publish(
      on: connection, streams, base, kept, .tail(plan, floor: floor), &memory)
    if case .publishFailed(let lane, let error, let unanswered) = end {
      if error.meansDuplicate { memory.cautious = [lane] }
      if error.code == JetStreamCode.wrongLastSequence, !unanswered.isEmpty {
        let fresh = SuspectTail(
          stream: lane, acknowledged: memory.checkpoint?.streams[lane], unanswered: [])
        memory.suspect = (memory.suspect ?? fresh).adding(unanswered)
      }
    }
    return end
  }

  // MARK: - Connect

  private func connect(_ learned: [NATSServerAddress]) async throws -> NATSConnection {
    var servers = configuration.natsServers
    for server in learned where !servers.contains(server) { servers.append(server) }
    return try await NATSConnection.connect(
      to: servers, options: try configuration.natsOptions(), on: service.eventLoop, logger: logger)
  }

  private func noteConnected(_ connection: NATSConnection) {
    let name = "\(connection.info.serverName), nats-server \(connection.info.version)"
    board.update {
      $0.natsConnected = true
      $0.natsServer = name
      $0.natsDetail = "connected to \(name)"
      $0.natsSince = .now
      $0.phase = "resuming"
    }
  }

  private func noteDisconnected() {
    board.update {
      $0.natsConnected = false
      $0.natsDetail = "not connected"
      $0.natsSince = .now
      $0.publishing = false
      $0.phase = "reconnecting"
    }
  }

  // MARK: - Find the place

  private func load(_ store: CheckpointStore) async throws -> (Checkpoint?, UInt64) {
    do {
      return try await store.load()
    } catch let error as CheckpointError {
      throw BridgeError.positionLost(
        """
        \(error). Look at key \(store.key) of KV bucket \(configuration.bridge.stateBucket); once it \
        is deleted, the place is found again from the streams' last messages
        """)
    }
  }

  /// Within a process, memory is at least as new as KV. Another instance's newer checkpoint means
  /// that this one has been replaced.
  private func newest(_ remembered: Checkpoint?, _ stored: Checkpoint?) throws -> Checkpoint? {
    if let stored, stored.source != sourceName {
      throw BridgeError.configuration(
        """
        the checkpoint of bridge \(configuration.bridge.name) belongs to source \(stored.source), \
        not \(sourceName): give this bridge another bridge.name
        """)
    }
    guard let remembered else { return stored }
    if let stored, stored.instance != board.instance, stored.version > remembered.version {
      throw BridgeError.displaced(
        "instance \(stored.instance) has taken over bridge \(configuration.bridge.name)")
    }
    return remembered
  }

  /// What a stream lost can't stay in the checkpoint as acknowledged, and what it holds stands there as
  /// it was found.
  private func surviving(_ checkpoint: Checkpoint?, _ plan: ResumePlan) -> [String: Checkpoint
    .Stream]
  {
    var streams = checkpoint?.streams ?? [:]
    for loss in plan.losses { streams[loss.stream] = nil }
    return streams.merging(plan.found) { _, found in found }
  }

  /// Decides what this epoch publishes, and from where.
  private func course(
    _ jetStream: JetStreamClient, _ streams: [PreparedStream], _ checkpoint: Checkpoint?,
    _ memory: inout EpochMemory
  ) async throws -> EpochCourse {
    let tail = StreamTail(jetStream: jetStream)
    var observations: [StreamObservation] = []
    for stream in streams {
      observations.append(
        try await tail.observe(
          stream: stream.name, info: stream.info, exclusive: stream.exclusive,
          isDeadLetter: stream.isDeadLetter, checkpoint: checkpoint?.streams[stream.name]))
    }
    let isForced = !memory.hasBegun && service.options.force
    if let point = memory.snapshotAt {
      return try await newSnapshot(
        at: point, since: memory.catchUp == nil ? nil : checkpoint?.origin, tail, observations,
        checkpoint)
    }
    if isForced, service.options.snapshot {
      return try await newSnapshot(at: nil, tail, observations, checkpoint)
    }
    if isForced, let from = service.options.from {
      return .tail(try await startPlan(from, observations))
    }
    if let checkpoint, let snapshot = checkpoint.snapshot, !snapshot.isOver {
      try refuseFrom(memory, "a snapshot at \(snapshot.position) that is not over")
      logger.info("a snapshot goes on", metadata: ["at": "\(snapshot.position)"])
      return .snapshot(
        try await SnapshotPlan(snapshot, checkpoint.origin, tail, observations, checkpoint))
    }
    switch ResumePlan.decide(checkpoint: checkpoint, streams: observations) {
    case .resume(var plan):
      if let suspect = memory.suspect { try await repair(&plan, suspect, tail, observations) }
      try refuseFrom(memory, "a place to resume at (\(plan.start), \(plan.note))")
      report(plan)
      if service.options.snapshot, memory.catchUp == nil {
        memory.catchUp = try await service.askMongo { try await MongoAdmin.majorityPosition($0) }
      }
      return .tail(plan)
    case .fresh:
      let start = service.options.from ?? configuration.start
      if service.options.snapshot || start == .snapshot {
        return try await newSnapshot(at: nil, tail, observations, nil)
      }
      return .tail(try await startPlan(start, observations))
    case .needsSnapshot(let why):
      guard service.options.snapshot || configuration.source.onPositionLost == .snapshot else {
        throw BridgeError.positionLost(why)
      }
      note("a snapshot begins", why)
      return try await newSnapshot(at: nil, tail, observations, checkpoint)
    case .refuse(let why):
      guard service.options.snapshot else { throw BridgeError.positionLost(why) }
      note("a snapshot begins", why)
      return try await newSnapshot(at: nil, tail, observations, checkpoint)
    }
  }

  private func note(_ what: String, _ why: String) {
    board.note(error: "\(what): \(why)")
    logger.warning("\(what)", metadata: ["reason": "\(why)"])
  }

  private func refuseFrom(_ memory: EpochMemory, _ place: String) throws {
    guard !memory.hasBegun, service.options.from != nil else { return }
    throw BridgeError.configuration(
      "--from is given, but there is \(place): add --force to leave it")
  }

  /// Somebody else's message in an exclusive stream may have kept out some of ours and let later ones
  /// in: those are sent late, and it is said so.
  private func repair(
    _ plan: inout ResumePlan, _ suspect: SuspectTail, _ tail: StreamTail,
    _ observations: [StreamObservation]
  ) async throws {
    guard let stream = observations.first(where: { $0.name == suspect.stream }) else { return }
    let stored = try await tail.own(
      in: stream.name, after: suspect.acknowledged?.sequence ?? 0, through: stream.lastSequence)
    guard let end = plan.horizons[stream.name]?.position else { return }
    let missing = suspect.missing(stored, end: end)
    guard let first = missing.first else { return }
    let what = """
      stream \(stream.name) is exclusive, but somebody else published to it: \(missing.count) events \
      from \(first.position) on were refused while later ones were stored. They are sent now, behind \
      those: out of order
      """
    board.note(error: what)
    logger.error("\(what)")
    plan.missing[stream.name] = missing
    plan.moveBack(to: first.position.entry)
  }

  /// A first start (or a forced one): what the streams hold already is still not sent again.
  private func startPlan(
    _ start: RunOptions.Start, _ observations: [StreamObservation]
  ) async throws -> ResumePlan {
    let point: ResumePoint
    switch start {
    case .now: point = try await service.askMongo { try await MongoAdmin.majorityPosition($0) }
    case .oldest: point = try await service.askMongo { try await MongoAdmin.oldestPosition($0) }
    case .at(let position): point = ResumePoint(position: position, term: nil)
    case .snapshot: throw BridgeError.halted("a snapshot is no place in the oplog")
    }
    var plan = ResumePlan(
      start: point.position, term: point.term,
      origin: Checkpoint.Origin(position: point.position, inclusive: start != .now), horizons: [:],
      losses: [], note: "a first start")
    for stream in observations {
      if let tail = stream.tail {
        plan.horizons[stream.name] = ResumePlan.Horizon(position: tail.position, rule: tail.rule)
      }
    }
    logger.info(
      "starting", metadata: ["after": "\(plan.start)", "inclusive": "\(plan.origin.inclusive)"])
    return plan
  }

  private func report(_ plan: ResumePlan) {
    logger.info("resuming", metadata: ["at": "\(plan.start)", "how": "\(plan.note)"])
    board.update { $0.losses = plan.losses }
    for loss in plan.losses {
      let lost = loss.acknowledgedSequence &- min(loss.acknowledgedSequence, loss.lastSequence)
      board.update { $0.lostMessages &+= lost }
      board.note(error: "\(loss)")
      logger.error("\(loss)")
    }
  }

  // MARK: - Publish

  /// What one epoch publishes, decided in full.
  enum Work {
    case tail(ResumePlan, floor: OplogPosition)
    case snapshot(SnapshotPlan)
  }

  private func lanes(
    _ streams: [PreparedStream], _ work: Work, _ checkpoint: Checkpoint, inbox: String
  )
    -> [LaneSpecification]
  {
    streams.enumerated().map { index, stream in
      var lane = LaneSpecification(
        name: stream.name, isDeadLetter: stream.isDeadLetter,
        publisher: LaneOptions(
          stream: stream.name, mode: stream.mode, exclusive: stream.exclusive,
          baseSequence: stream.info.lastSequence, inbox: "\(inbox).\(index)",
          batchPrefix: "\(board.instance)-\(number)",
          assertsPredecessor: stream.info.replicas == 1),
        maximumMessage: stream.info.maximumMessageSize ?? Int.max, created: stream.info.created,
        horizon: nil, missing: [],
        acked: checkpoint.streams[stream.name].map {
          Lane.Acked(sequence: $0.sequence, position: $0.position, rule: $0.rule)
        })
      switch work {
      case .tail(let plan, _):
        lane.horizon = plan.horizons[stream.name].map(horizon)
        lane.missing = (plan.missing[stream.name] ?? []).map(horizon)
      case .snapshot(let plan): lane.stored = plan.stored[stream.name] ?? []
      }
      return lane
    }
  }

  private func horizon(_ place: ResumePlan.Horizon) -> Lane.Horizon {
    Lane.Horizon(
      position: place.position,
      rule: configuration.rules.firstIndex { $0.name == place.rule } ?? Int.max)
  }

  /// Has the source read from the epoch's place on.
  private func epoch(
    _ work: Work, _ checkpoint: Checkpoint, on connection: NATSConnection,
    _ streams: [PreparedStream], inbox: String,
    onEnd: @escaping @Sendable (EpochEnd, PipelineMark?) -> Void
  ) -> Pipeline.Epoch {
    let source: EventSource
    let generation: UInt64
    let floor: OplogPosition
    switch work {
    case .tail(let plan, let lowest):
      let token = checkpoint.resumeToken.flatMap { ResumeToken(bytes: $0) }
        .flatMap { token in token.position.map { $0 <= plan.start } ?? false ? token : nil }
      source = .tail(service.reader)
      generation = service.reader.restart(
        at: ResumePoint(position: plan.start, term: plan.term), after: token)
      floor = lowest
    case .snapshot(let plan):
      source = .snapshot(service.snapshotReader)
      generation = service.snapshotReader.restart(from: plan.snapshot.marker)
      floor = plan.snapshot.position
    }
    return Pipeline.Epoch(
      connection: connection, source: source, generation: generation, origin: checkpoint.origin,
      start: checkpoint.resume, startTerm: checkpoint.term ?? -1, floor: floor,
      maximumPayload: connection.info.maxPayload, inbox: inbox,
      laneOfRule: configuration.rules.map { rule in
        streams.firstIndex { $0.name == configuration.streams[rule.streamIndex].name } ?? 0
      },
      deadLetterLane: streams.firstIndex { $0.name == configuration.deadLetter.stream } ?? 0,
      ackTimeout: .seconds(3), onEnd: onEnd)
  }

  func publish(
    on connection: NATSConnection, _ streams: [PreparedStream], _ base: Checkpoint,
    _ kept: KeptState, _ work: Work, _ memory: inout EpochMemory
  ) async throws -> EpochEnd {
    var keeper = CheckpointKeeper(
      store: kept.store, board: board, base: base, revision: kept.revision)
    // Before anything is published: a crash from now on must come back to this very place.
    try await keeper.save(nil)
    memory.checkpoint = keeper.current
    memory.hasBegun = true
    memory.snapshotAt = nil
    let end = try await publish(on: connection, streams, work, stopAfter: memory.catchUp, &keeper)
    memory.checkpoint = keeper.current
    memory.hasPublished = true
    memory.cautious = []
    return end
  }

  private func publish(
    on connection: NATSConnection, _ streams: [PreparedStream], _ work: Work,
    stopAfter: ResumePoint?, _ keeper: inout CheckpointKeeper
  ) async throws -> EpochEnd {
    let inbox = "_TAILRACE.\(board.instance).\(number)"
    let lanes = lanes(streams, work, keeper.current, inbox: inbox)
    let (signals, continuation) = AsyncStream.makeStream(of: EpochSignal.self)
    var prepared = epoch(work, keeper.current, on: connection, streams, inbox: inbox) {
      continuation.yield(.ended($0, $1))
    }
    var interval = configuration.bridge.checkpointInterval
    switch work {
    case .tail: prepared.stopAfter = stopAfter?.position
    case .snapshot(let plan):
      prepared.snapshot = plan.snapshot
      prepared.firstIndex = plan.firstIndex
      // What is behind a checkpoint has to be looked up in the streams, message by message.
      interval = min(interval, .milliseconds(200))
    }
    let epoch = prepared
    try await service.eventLoop.submit { [pipeline] in pipeline.begin(epoch, lanes: lanes) }.get()
    connection.closed.whenComplete { result in
      let why = (try? result.get())?.description ?? "the connection was closed"
      continuation.yield(.ended(.connectionLost(why), nil))
    }
    service.stopRequest.attach(continuation)
    let ticker = Task { [interval] in
      while !Task.isCancelled {
        try? await Task.sleep(for: interval)
        continuation.yield(.tick)
      }
    }
    board.update {
      $0.phase = "running"
      $0.publishing = true
    }
    defer {
      ticker.cancel()
      service.stopRequest.detach()
      continuation.finish()
    }
    do {
      let end = try await follow(signals, connection, &keeper)
      try await service.eventLoop.submit { [pipeline] in pipeline.end() }.get()
      return end
    } catch {
      try await service.eventLoop.submit { [pipeline] in pipeline.end() }.get()
      throw error
    }
  }

  /// Writes checkpoints until the epoch ends.
  private func follow(
    _ signals: AsyncStream<EpochSignal>, _ connection: NATSConnection,
    _ keeper: inout CheckpointKeeper
  ) async throws -> EpochEnd {
    var progress = SnapshotProgressLog()
    for await signal in signals {
      switch signal {
      case .ended(.finished, let mark):
        try await keeper.save(mark)
        return .finished
      case .ended(.snapshotFinished(let place), let mark):
        try await keeper.save(mark, finishingSnapshotAt: place)
        return .snapshotFinished(tailFrom: place)
      case .ended(let end, let mark):
        if let mark = try await self.mark() ?? mark { keeper.remember(mark) }
        if case .sourceFailed = end { try? await keeper.save(mark) }
        return end
      case .stop:
        board.update { $0.phase = "draining" }
        service.eventLoop.execute { [pipeline] in pipeline.drain() }
        service.eventLoop.scheduleTask(in: .seconds(10)) { [pipeline] in
          pipeline.abandon("the outstanding acks did not come within 10 s")
        }
      case .tick:
        progress.tell(board, logger)
        if connection.info.lameDuck {
          if let mark = try await self.mark() { keeper.remember(mark) }
          return .connectionLost("the server is shutting down (lame duck)")
        }
        if let end = try await checkpoint(&keeper) { return end }
      }
    }
    return .connectionLost("the epoch's signals ended")
  }

  private func mark() async throws -> PipelineMark? {
    try await service.eventLoop.submit { [pipeline] in pipeline.mark() }.get()
  }

  private func checkpoint(_ keeper: inout CheckpointKeeper) async throws -> EpochEnd? {
    guard let mark = try await mark() else { return nil }
    do {
      try await keeper.save(mark)
      return nil
    } catch let error as JetStreamError {
      if error.remedy == .reread {
        return .publishFailed(lane: "checkpoint", error, unanswered: [])
      }
      if board.snapshot.checkpointError == nil {
        logger.warning("checkpoint not written", metadata: ["error": "\(error)"])
      }
      board.update { $0.checkpointError = "\(error)" }
      return nil
    }
  }
}
