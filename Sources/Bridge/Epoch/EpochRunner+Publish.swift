import BridgeConfiguration
import DeliberateErrors
import JetStream
import Logging
import Mapping
import MongoSource
import NATS
import NIOCore
import Oplog

/// The last part of an epoch: lanes for its streams, and publishing until something ends it.
extension EpochRunner {
  private func lanes(
    _ streams: [PreparedStream], _ mode: EpochMode, _ checkpoint: Checkpoint, inbox: String,
    known: [String: StoredIDs]
  )
    -> [LaneSpecification]
  {
    streams.enumerated().map { index, stream in
      var lane = LaneSpecification(
        name: stream.name, isDeadLetter: stream.isDeadLetter,
        publisher: LaneOptions(
          stream: stream.name, mode: stream.mode,
          exclusive: stream.exclusive && !DeliberateError.isOn(.sequenceNotAsserted),
          baseSequence: stream.info.lastSequence, inbox: "\(inbox).\(index)",
          batchPrefix: "\(board.instance)-\(number)",
          assertsPredecessor: stream.assertsPredecessor, screening: stream.screening,
          judge: stream.mayRepeatIDs ? identity(stream).judge : nil),
        maximumMessage: stream.info.maximumMessageSize ?? Int.max,
        maximumBytes: stream.info.maximumBytes, created: stream.info.created,
        watermark: nil,
        acked: checkpoint.streams[stream.name].map {
          Lane.Acked(sequence: $0.sequence, position: $0.position, rule: $0.rule)
        })
      lane.publisher.isReplicated = stream.info.replicas > 1
      lane.publisher.readsDirectly = stream.info.allowsDirect
      lane.publisher.known = known[stream.name]
      lane.publisher.fence = stream.fence
      switch mode {
      case .tail(let plan):
        lane.watermark = plan.watermarks[stream.name].map(watermark)
        lane.floor = plan.floors[stream.name]
        lane.unseen = plan.unseen[stream.name]?.count ?? 0
        lane.unseenAfter = plan.unseen[stream.name]?.after ?? 0
        lane.isRefilling = plan.refilling[stream.name] != nil
        lane.isHalted = plan.halted[stream.name] != nil
        for held in plan.held[stream.name] ?? [] {
          let place = ResumePlan.StoredWatermark(position: held.position, rule: held.rule)
          lane.held[watermark(place)] = held.sequence
        }
        if service.configuration.isBucket(stream.name) {
          lane.entries = Lane.entries(plan.held[stream.name] ?? [])
        }
        lane.lacksUpTo = plan.lacksUpTo[stream.name].map(watermark)
        lane.hasEarlierRules = plan.earlierRules?.streams.contains(stream.name) ?? false
      case .snapshot(let plan): lane.stored = plan.stored[stream.name] ?? []
      }
      return lane
    }
  }

  private func identity(_ stream: PreparedStream) -> EventIdentity {
    EventIdentity(
      exclusive: stream.exclusive,
      claims: service.claims(on: "\(stream.name) \(stream.info.created)"))
  }

  /// In the order of the present rules. A rule that no longer exists comes before all others: nothing of its
  /// event is taken for stored (`ResumePlan.noteUnknownRules` says so).
  private func watermark(_ place: ResumePlan.StoredWatermark) -> Lane.StoredWatermark {
    let unknown = place.rule == .unmatched ? Int(InFlightEvent.noRule) : -1
    return Lane.StoredWatermark(
      position: place.position, rule: rules.index(of: place.rule) ?? unknown)
  }

  /// Has the source read from the epoch's place on.
  private func epoch(
    _ mode: EpochMode, _ checkpoint: Checkpoint, on connection: NATSConnection,
    _ streams: [PreparedStream], _ tenure: Tenure, inbox: String,
    onEnd: @escaping @Sendable (EpochEnd, PipelineMark?) -> Void
  ) -> Pipeline.Epoch {
    let source: EventSource
    let generation: UInt64
    let floor: OplogPosition
    switch mode {
    case .tail(let plan):
      let token = checkpoint.resumeToken.flatMap { ResumeToken(bytes: $0) }
        .flatMap { token in token.position.map { $0 <= plan.start } ?? false ? token : nil }
      source = .tail(service.reader)
      generation = service.reader.restart(
        at: ResumePoint(position: plan.start, term: plan.term), after: token)
      floor = plan.floor
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
        guard let index = rule.streamIndex else { return -1 }
        return streams.firstIndex { $0.name == configuration.streams[index].name } ?? 0
      },
      deadLetterLane: streams.firstIndex { $0.name == configuration.deadLetter.stream } ?? 0,
      ackTimeout: TimeAmount(ResumePlan.ackLimit), tenure: tenure, onEnd: onEnd)
  }

  func publish(
    on connection: NATSConnection, _ streams: [PreparedStream], _ base: Checkpoint,
    _ kept: KeptState, _ mode: EpochMode, _ machine: inout EpochMachine
  ) async throws -> EpochEnd {
    var keeper = CheckpointKeeper(
      store: kept.store, board: board,
      ownership: MessageOwnership(configuration, source: sourceName), base: base,
      revision: kept.revision, marks: kept.marks)
    // Before anything is published: a crash from now on must come back to this very place.
    try await keeper.save(nil)
    leadership.hasWrittenCheckpoint()
    machine.began(keeper.current)
    let end = try await publish(
      on: connection, streams, mode, kept, stopAfter: machine.memory.catchUp,
      machine.memory.refusals, &keeper)
    if case .settled = end, let settled = keeper.current.settled {
      await service.cutover.settled(
        at: settled.entry, resume: keeper.current.resume, configuration, kept.tenure,
        JetStreamClient(connection))
    }
    let flight = try await service.eventLoop.submit { [pipeline] in pipeline.flightAtEnd }.get()
    let remains = EpochMachine.Remains(
      checkpoint: keeper.current, proven: keeper.proven, unanswered: keeper.unanswered,
      flight: flight)
    if case .publishFailed(let lane, let error) = end, error.meansFenceMoved {
      service.fences.noteRemoval(from: lane)
    }
    if let message = machine.ended(end, remains) { note(message, refusedBy: end) }
    return end
  }

  /// One event keeps ending epochs: the next one treats it as invalid.
  private func note(_ message: RefusalBook.Key, refusedBy end: EpochEnd) {
    let rule = configuration.rules.first { $0.name == message.rule.name }
    service.report(
      .warning(
        """
        the server refuses the message of event \(message.position) (rule \(message.rule)) again \
        and again; by on_invalid it is \(rule?.onInvalid.rawValue ?? "dead_letter")
        """, reason: end.refusal ?? ""))
  }

  private func publish(
    on connection: NATSConnection, _ streams: [PreparedStream], _ mode: EpochMode,
    _ kept: KeptState, stopAfter: ResumePoint?, _ refusals: RefusalBook,
    _ keeper: inout CheckpointKeeper
  ) async throws -> EpochEnd {
    let inbox = "\(connection.inboxPrefix).\(board.instance).\(number)"
    var known: [String: StoredIDs] = [:]
    for stream in streams {
      known[stream.name] = await KnownIDs(jetStream: JetStreamClient(connection))
        .read(stream, stream.mayRepeatIDs ? identity(stream).judge : nil)
    }
    let lanes = lanes(streams, mode, keeper.current, inbox: inbox, known: known)
    let (signals, continuation) = AsyncStream.makeStream(of: EpochSignal.self)
    let latch = EpochLatch()
    var prepared = epoch(mode, keeper.current, on: connection, streams, kept.tenure, inbox: inbox) {
      continuation.yield(.ended($0, $1))
      latch.end()
    }
    prepared.signalFloor = try await signalFloor(kept.tenure)
    prepared.alone = refusals.alone
    prepared.separatesEvents = refusals.separatesEvents
    prepared.refused = refusals.refused
    var interval = configuration.bridge.checkpointInterval
    switch mode {
    case .tail(let plan):
      prepared.stopAfter = stopAfter?.position
      prepared.observedAt = plan.observedAt
      prepared.reliance = plan.reliance.map {
        (stream: $0.stream, until: began + $0.left, through: $0.through)
      }
      prepared.earlierRules = plan.earlierRules
      prepared.reach = plan.reach
      prepared.handedOver = kept.handedOver
    case .snapshot(let plan):
      prepared.snapshot = plan.snapshot
      prepared.firstIndex = plan.firstIndex
      prepared.snapshotRules = configuration.rules.map { plan.snapshot.selection.takes($0) }
      // What is behind a checkpoint has to be looked up in the streams, message by message.
      interval = min(interval, .milliseconds(200))
    }
    let epoch = prepared
    // Before anything is sent that may be refused.
    connection.onServerError { [service, pipeline, weak connection] error in
      guard let connection, !pipeline.refusedDirectRead(error, on: connection) else { return }
      if let end = EpochEnd(error, streams: streams, inbox: inbox) {
        // At once: behind it come the refusals of what was sent after, which say less.
        pipeline.refused(end, on: connection)
      } else if error.refused != nil {
        noteRefusedSignal(error)
      } else {
        // A refused request gets the refusal as its answer.
        service.refused(.nats, "the server refuses something", "\(error)")
      }
    }
    try await service.eventLoop.submit { [pipeline] in pipeline.begin(epoch, lanes: lanes) }.get()
    connection.closed.whenComplete { result in
      let why = (try? result.get())?.description ?? "the connection was closed"
      continuation.yield(.ended(.connectionLost(why), nil))
      latch.end()
    }
    service.stopRequest.attach { [service, pipeline] in
      // Not by a signal: that would wait for a checkpoint that is being written.
      service.board.update { $0.phase = "draining" }
      service.eventLoop.execute { pipeline.drain() }
      service.eventLoop.scheduleTask(in: TimeAmount(StopRequest.ackLimit)) {
        pipeline.abandon("the outstanding acks did not come within \(StopRequest.ackLimit)")
      }
    }
    service.pendingRules.attach { [service, pipeline] in
      service.eventLoop.execute { pipeline.settle() }
    }
    service.cutover.attach { [service, pipeline] in
      service.eventLoop.execute { pipeline.settle() }
    }
    let watch = service.cutover.watch(configuration, JetStreamClient(connection))
    let ticker = Task { [interval, eventLoop = service.eventLoop] in
      while !Task.isCancelled {
        try? await eventLoop.sleep(for: interval)
        continuation.yield(.tick)
      }
    }
    defer {
      ticker.cancel()
      watch.cancel()
      service.cutover.detach()
      service.stopRequest.detach()
      service.pendingRules.detach()
      continuation.finish()
    }
    do {
      // The server reports a refused subscription before this returns. What is published without acks would
      // be stored now and then, and no better known.
      try await connection.flush(timeout: .seconds(5))
      try await service.eventLoop.submit { [pipeline] in pipeline.open(on: connection) }.get()
      logger.log(
        level: service.attemptLevel, "publishing",
        metadata: [
          "config_hash": "\(rules.hash)", "epoch": "\(kept.tenure.epoch)",
          "streams":
            "\(streams.map { "\($0.name) (\($0.mode.rawValue))" }.joined(separator: ", "))",
        ])
      board.update {
        $0.phase = "running"
        $0.publishing = true
      }
      let count = countLetters(on: connection)
      let drift = watchDrift(on: connection)
      let storage = watchStorage(on: connection)
      defer {
        count.cancel()
        storage?.cancel()
        drift?.cancel()
      }
      let end = try await follow(signals, latch, connection, &keeper)
      try await service.eventLoop.submit { [pipeline] in pipeline.end() }.get()
      return end
    } catch {
      try await service.eventLoop.submit { [pipeline] in pipeline.end() }.get()
      throw error
    }
  }

  /// Writes checkpoints until the epoch ends.
  private func follow(
    _ signals: AsyncStream<EpochSignal>, _ latch: EpochLatch, _ connection: NATSConnection,
    _ keeper: inout CheckpointKeeper
  ) async throws -> EpochEnd {
    var progress = SnapshotProgressLog()
    for await signal in signals {
      switch signal {
      case .ended(.finished, let mark):
        try await keeper.save(mark, isFinal: true)
        return .finished
      case .ended(.settled, let mark):
        try await keeper.save(mark, isFinal: true)
        return .settled
      case .ended(.snapshotFinished(let place), let mark):
        try await keeper.save(mark, finishingSnapshotAt: place)
        return .snapshotFinished(tailFrom: place)
      case .ended(let end, let mark):
        if let mark = try await self.mark() ?? mark { keeper.remember(mark) }
        if case .sourceFailed = end { try? await keeper.save(mark) }
        return end
      case .tick:
        progress.tell(board, logger)
        if connection.info.lameDuck {
          if let mark = try await self.mark() { keeper.remember(mark) }
          return .connectionLost("the server is shutting down (lame duck)")
        }
        if let end = try await checkpoint(&keeper, latch) { return end }
      }
    }
    return .connectionLost("the epoch's signals ended")
  }

  /// By exclusive stream: its end, where nothing of ours was on its way when it was asked for. What it
  /// got behind our last message came from elsewhere: a replayed dead letter, a delete marker.
  private func others(
    _ mark: PipelineMark, _ keeper: CheckpointKeeper
  ) async throws -> [String: UInt64] {
    guard mark.isIdle else { return [:] }
    var ends: [String: UInt64] = [:]
    for stream in configuration.streams where stream.ownership == .exclusive {
      let info = try await keeper.store.bucket.jetStream.stream(stream.name)
      if let info, info.created == keeper.current.states[stream.name]?.created {
        ends[stream.name] = info.lastSequence
      }
    }
    guard let after = try await self.mark(), after.isIdle, after.hasSentNothing(since: mark) else {
      return [:]
    }
    return ends
  }

  private func mark() async throws -> PipelineMark? {
    try await service.eventLoop.submit { [pipeline] in pipeline.mark() }.get()
  }

  /// Not for longer than the epoch lasts: the answer may be missing for the reason that ended it.
  private func checkpoint(
    _ keeper: inout CheckpointKeeper, _ latch: EpochLatch
  ) async throws -> EpochEnd? {
    // Whoever reads it takes it that nothing stored before was without an ack for longer than that limit
    // (`ResumePlan.longestUnanswered`): not, where a process was stopped meanwhile.
    let found = try await service.eventLoop.submit { [pipeline] in
      pipeline.checkTimeouts()
      return pipeline.mark()
    }.get()
    guard let mark = found else { return nil }
    do {
      let before = keeper
      let saved = try await latch.unlessOver {
        var keeper = before
        // Worth knowing, and not worth a checkpoint.
        let others = (try? await others(mark, keeper)) ?? [:]
        try await keeper.save(mark, others: others)
        return keeper
      }
      if let saved { keeper = saved }
      return nil
    } catch let error as JetStreamError {
      if error.remedy == .reread {
        return .publishFailed(lane: "checkpoint", error)
      }
      if board.snapshot.checkpointError == nil {
        logger.warning("checkpoint not written", metadata: ["error": "\(error)"])
      }
      board.update { $0.checkpointError = "\(error)" }
      return nil
    }
  }
}
