import JetStream
import MongoSource
import Oplog

extension EpochMachine {
  /// What an epoch left behind.
  package struct Remains: Sendable {
    /// At least as new as the last one that was written.
    package var checkpoint: Checkpoint
    /// The part of it that was read back from the streams that the epoch began with.
    package var proven: [String: Checkpoint.Stream]
    /// By stream: how many messages were sent without an answer; nil: unknown.
    package var unanswered: [String: Int]?
    package var flight: RefusalBook.Flight?

    package init(
      checkpoint: Checkpoint, proven: [String: Checkpoint.Stream],
      unanswered: [String: Int]? = nil, flight: RefusalBook.Flight? = nil
    ) {
      self.checkpoint = checkpoint
      self.proven = proven
      self.unanswered = unanswered
      self.flight = flight
    }
  }

  /// Learns how an epoch that published ended.
  ///
  /// - Returns: the message that was just found to be refused because of its content.
  package mutating func ended(_ end: EpochEnd, _ remains: Remains) -> RefusalBook.Key? {
    let found = memory.refusals.noteEnd(refusal: end.refusal, remains.flight)
    // No foreign message precedes what was acknowledged since.
    memory.intruded = memory.intruded.filter { stream in
      remains.checkpoint.streams[stream]?.sequence == memory.checkpoint?.streams[stream]?.sequence
    }
    memory.checkpoint = remains.checkpoint
    memory.proven = remains.proven
    memory.unanswered = remains.unanswered
    memory.cautious = []
    memory.endedCleanly = end.isClean
    memory.answered = nil
    if case .publishFailed(let lane, let error) = end {
      if error.code != 0 || error.meansDuplicate, !error.meansFenceMoved { memory.answered = lane }
      if error.meansDuplicate { memory.cautious = [lane] }
      // Where a fence is gone, it has to be moved: another that asserts none could be on its way.
      if error.code == JetStreamCode.wrongLastSequence, !error.meansFenceMoved {
        if remains.checkpoint.states[lane]?.mayLeaveGaps ?? false {
          memory.intruded.insert(lane)
        } else {
          // It was refused, and with it everything sent after it.
          memory.unanswered?[lane] = 0
        }
      }
    }
    return found
  }

  /// Decides what follows an epoch, by how it ended.
  package mutating func next(
    after end: EpochEnd, isStopping: Bool, _ facts: EpochFacts
  ) throws(Undecided) -> EpochOutcome {
    switch end {
    case .settled: return EpochOutcome(isStopping ? .stop : .another, resetsPause: true)
    case .finished:
      guard let point = memory.catchUp, !isStopping else { return EpochOutcome(.stop) }
      memory.snapshotAt = point
      return EpochOutcome(.another, resetsPause: true)
    case .snapshotFinished:
      return EpochOutcome(settings.options.snapshot ? .stop : .another, resetsPause: true)
    case .halted(let failure): return EpochOutcome(.fail(.halted(failure.description)))
    case .sourceFailed(let failure): return try next(after: failure, facts)
    case .publishFailed(let lane, let error) where error.meansFenceMoved:
      return EpochOutcome(
        .another,
        .info(
          "the stream's fence was removed, or moved by another instance; it is moved again",
          ["stream": lane, "why": "\(error)"]))
    case .publishFailed(let lane, let error):
      guard !error.meansDuplicate else {
        return EpochOutcome(
          .another, resetsPause: true,
          .info("ids are looked up before publishing", ["stream": lane, "why": "\(error)"]))
      }
      return EpochOutcome(
        .another,
        .refused(
          .stream(lane), "publishing stopped; the stream's tail is read again", reason: "\(error)",
          code: error.code))
    case .acksRefused(let why):
      return EpochOutcome(
        .another, .refused(.jetStream, "publishing stopped", reason: why, code: 0))
    case .connectionLost(let why):
      return EpochOutcome(
        .another, .natsUnreachable(why),
        .refused(.nats, "NATS connection lost", reason: why, code: 0))
    case .blocked(let why):
      return EpochOutcome(
        .another, .warning("waiting for a missing resource of this machine", reason: why))
    case .needsEarlier(let previous): return try next(afterMissing: previous, facts)
    case .leaseLapsed:
      return EpochOutcome(
        .another, resetsPause: true,
        .warning(
          "publishing stopped: the lease was not renewed in time",
          reason: "this process, its machine or its connection did not respond for too long"))
    case .abandoned(let why):
      return EpochOutcome(
        .stop,
        .warning(
          "stopped before everything was acknowledged; the next start resumes exactly", reason: why)
      )
    }
  }

  /// Whether a waiting rule set takes over before the next epoch.
  ///
  /// It does once everything derived is settled, so that each event is published by either the old or the new
  /// rules. After a failed epoch, the next one first settles what the old rules derived, unless the old rules
  /// may have caused the failure, which the change may be meant to fix. Then the streams' messages are looked
  /// up one by one (`EarlierRules`), as after a crash.
  ///
  /// - Parameter end: of the epoch before; nil: none could begin, or it ended with an error.
  package func admitsRules(after end: EpochEnd?) -> Bool {
    // Nothing was published by this process.
    guard memory.hasBegun else { return true }
    switch end {
    case .settled, .finished, .snapshotFinished: return true
    // A snapshot ends with the rules that it began with.
    case .publishFailed, .acksRefused: return !memory.isSnapshot
    case .blocked, .halted, .connectionLost, .sourceFailed, .needsEarlier, .abandoned,
      .leaseLapsed, nil:
      return false
    }
  }

  private mutating func next(
    after failure: SourceFailure, _ facts: EpochFacts
  ) throws(Undecided) -> EpochOutcome {
    switch failure {
    case .positionLost(let lost) where memory.isSnapshot:
      position(lost: Self.outlived(lost.description))
    case .positionLost(let lost): try next(afterLoss: lost.description, facts)
    case .unsupported(let why): EpochOutcome(.fail(.configuration(why)))
    case .corruptReply(let why): EpochOutcome(.fail(.halted(why)))
    case .refused(let why):
      EpochOutcome(.another, .warning("MongoDB is not read yet", reason: why))
    }
  }

  /// A transaction's entries are linked backwards; the first one is where reading has to begin.
  private mutating func next(
    afterMissing previous: OplogPosition, _ facts: EpochFacts
  ) throws(Undecided) -> EpochOutcome {
    guard let first = try facts.transactionStart(previous) else {
      return try next(
        afterLoss: """
          a transaction that commits after the resume position has earlier entries, of which the \
          one at \(previous) or those before it are no longer in the oplog. Decide where to \
          continue: run --from <position>|oldest|now --force
          """, facts)
    }
    memory.transactionStart = first
    return EpochOutcome(
      .another, resetsPause: true,
      .info("reading from further back, for a transaction that began there", ["at": "\(first)"]))
  }

  /// Only a snapshot can continue from here. An operator decides, in advance by configuration, or now.
  private mutating func next(
    afterLoss why: String, _ facts: EpochFacts
  ) throws(Undecided) -> EpochOutcome {
    guard settings.options.snapshot || settings.snapshotsOnLoss else {
      return position(lost: why)
    }
    try refusePartialSnapshot(why)
    memory.snapshotAt = try facts.newestEntry()
    memory.catchUp = nil
    return EpochOutcome(
      .another, resetsPause: true, .error("a snapshot closes the gap", reason: why))
  }

  /// The error for a snapshot whose position the oplog no longer holds.
  static func outlived(_ lost: String) -> String {
    """
    the snapshot took longer than the oplog reaches back, so reading can't continue from its position. \
    Enlarge the oplog (replSetResizeOplog) and begin again: tailrace snapshot --force. \(lost)
    """
  }

  private func position(lost why: String) -> EpochOutcome {
    EpochOutcome(.fail(.positionLost(why)), .positionLost(why))
  }
}
