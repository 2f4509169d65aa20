import BridgeConfiguration
import DeliberateErrors
package import Oplog

/// Where to begin reading, and what each stream has already.
package struct ResumePlan: Sendable, Equatable {
  /// Everything at or before this is stored on that stream.
  package struct StoredWatermark: Sendable, Equatable {
    package var position: EventPosition
    package var rule: RuleID

    package init(position: EventPosition, rule: RuleID) {
      self.position = position
      self.rule = rule
    }
  }

  /// Messages behind a watermark that were stored and removed since: `count` of them, behind `after`.
  package struct Unseen: Sendable, Equatable {
    package var after: UInt64
    package var count: UInt64
    /// Some of them may be of events that were met by their ids and are derived once more: they can't be counted.
    package var isPartlyMet = false
    /// An earlier epoch could not count them (`InheritedMessages.isInDoubt`).
    package var isInDoubt = false
  }

  /// Ids tell which events are stored, as long as the server knows them.
  package struct IDReliance: Sendable, Equatable {
    /// The stream whose ids are forgotten first.
    package var stream: String
    /// From when the plan was decided.
    package var left: Duration
    /// By then, everything up to here has to be sent.
    package var through: OplogPosition
  }

  /// Acknowledged messages that a stream no longer has.
  package struct Loss: Sendable, Equatable, CustomStringConvertible {
    /// How the loss is handled.
    package enum Remedy: Sendable, Equatable {
      case refill
      case accepted
      case halted(String)
    }
    package var stream: String
    package var from: EventPosition?
    package var to: EventPosition
    package var acknowledgedSequence: UInt64
    package var lastSequence: UInt64
    package var remedy = Remedy.refill
    /// The stream was deleted and made again.
    package var isMadeAgain = false
    /// The stream was deleted.
    package var isMissing = false
    /// What of it can't or need not be published again.
    package var limit: String?

    /// The maximum number of lost messages, including foreign ones in a shared stream.
    package var count: UInt64 {
      isMadeAgain
        ? acknowledgedSequence
        : acknowledgedSequence &- min(acknowledgedSequence, lastSequence)
    }

    package var description: String {
      guard acknowledgedSequence > 0 || remedy != .refill || isMadeAgain || isMissing else {
        return "stream \(stream) is behind the others; it gets what it lacks up to \(to)"
          + (limit.map { ". \($0)" } ?? "")
      }
      let end =
        isMissing
        ? "it does not exist"
        : "it \(isMadeAgain ? "was made again and " : "")ends at sequence \(lastSequence)"
      let lost =
        acknowledgedSequence == 0 && (isMadeAgain || isMissing)
        ? "stream \(stream) lost the messages that it had: \(end)"
        : """
        stream \(stream) lost acknowledged messages: \(end), and \(acknowledgedSequence) was acknowledged
        """
      switch remedy {
      case .refill:
        return """
          \(lost); refilling \(from.map { "after \($0)" } ?? "from the bridge's origin") up to \(to)
          """ + (limit.map { ". \($0)" } ?? "")
      case .accepted:
        return "\(lost); it continues behind \(to) without them, as on_loss: continue says"
      case .halted(let why): return "\(lost). \(why)"
      }
    }
  }

  /// The oplog as it is now.
  package struct Oplog: Sendable, Equatable {
    package var oldest: OplogPosition
    package var newest: OplogPosition

    package init(oldest: OplogPosition, newest: OplogPosition) {
      self.oldest = oldest
      self.newest = newest
    }
  }

  package var start: OplogPosition
  /// `start` is a time: reading begins at the first entry from there on.
  package var startsAtMoment = false
  package var term: Int64?
  /// Nothing from before is published: reading may begin earlier, for a transaction that began there.
  package var floor: OplogPosition
  package var origin: Checkpoint.Origin
  /// The checkpoint was lost: what streams hold up to here may be of another configuration.
  package var foundAgainAt: OplogPosition?
  /// Decided by an operator or the configuration, which overrides what was known before.
  package var isFresh = false
  /// What the checkpoint says is settled, if that can be relied on.
  package var settled: EventPosition?
  package var watermarks: [String: StoredWatermark] = [:]
  /// By stream: everything before this is stored there, or not wanted there.
  package var floors: [String: EventPosition] = [:]
  package var unseen: [String: Unseen] = [:]
  /// By stream: up to where sequences are not counted, see `trust`.
  package var uncounted: [String: UInt64] = [:]
  /// Streams of whose removed messages the ids tell which events they are of.
  package var toldByIDs: Set<String> = []
  /// Those of them whose messages can't be counted when the server has forgotten the ids.
  var inDoubt: Set<String> = []
  /// For how long ids can be relied on, if they are.
  package var reliance: IDReliance?
  /// By stream: what the epoch's checkpoints have to say of such messages, however they are dealt with.
  package var inherited: [String: InheritedMessages] = [:]
  /// Why not.
  package var remarks: [String] = []
  /// The newest entry when the streams were looked at, where something is unseen.
  var observedAt: OplogPosition?
  package var losses: [Loss] = []
  package var note: String
  /// What is uncertain, and must be reported.
  package var doubts: [String] = []
  /// By stream: up to where events are being written again, in order.
  package var refilling: [String: EventPosition] = [:]
  /// By stream: what it holds behind its watermark, if a later message doesn't prove the earlier ones.
  package var held: [String: [StreamObservation.Own]] = [:]
  /// By stream: the last of those messages, if its protocol may have left some out.
  package var lacksUpTo: [String: StoredWatermark] = [:]
  /// By stream: since when nothing is published there.
  package var halted: [String: OplogPosition] = [:]
  /// Events that other rules may have published, and what streams hold of them.
  package var earlierRules: EarlierRules?
  /// Our last message in each stream, as just read. More reliable than what was remembered: acknowledgements
  /// show how many messages are stored, but their sequences only if no other producer published.
  package var found: [String: Checkpoint.Stream] = [:]

  package init(
    start: OplogPosition, term: Int64?, origin: Checkpoint.Origin, note: String
  ) {
    self.start = start
    self.floor = start
    self.term = term
    self.origin = origin
    self.note = note
  }

  /// The last entry that may have been published in part.
  package var reach: OplogPosition? {
    let held = held.values.joined().map(\.position)
    let known = watermarks.values.map(\.position) + refilling.values + held
    return (known + (earlierRules.map { [$0.to] } ?? [])).max()?.entry
  }

  /// Begins reading at `position`, if that is earlier.
  mutating func moveBack(to position: OplogPosition, isMoment: Bool = false) {
    guard position < start else { return }
    start = position
    startsAtMoment = isMoment
    term = nil
  }
}

package enum ResumeDecision: Sendable, Equatable {
  case resume(ResumePlan)
  /// No trace of this bridge anywhere: begin according to `source.start`.
  case fresh
  /// To continue would be a guess. Exit 75 with this explanation.
  case refuse(String)
  /// Messages of a snapshot are lost, which the oplog can't restore: only another snapshot can.
  case needsSnapshot(String)
}

extension ResumePlan {
  /// Decides from the checkpoint (if there is one) and what the streams hold. Pure.
  ///
  /// Messages of one stream are published in order and without gaps, so our last message in a
  /// stream shows which of its messages are stored: those up to it. Which stream an event's message belongs
  /// to is another question (it may have become a dead letter); if streams end at different positions, the
  /// pipeline answers it event by event. The checkpoint adds the resume position and what had been
  /// acknowledged, so that messages which the server lost are noticed.
  ///
  /// - Parameters:
  ///   - oplog: nil while it wasn't asked for. A plan with losses is final only with it.
  ///   - refillFrom: the position of `source.start`, if that is one.
  package static func decide(
    checkpoint: Checkpoint?, streams: [StreamObservation], oplog: Oplog? = nil,
    refillFrom: Checkpoint.Origin? = nil
  ) -> ResumeDecision {
    var decision: ResumeDecision
    if let checkpoint {
      decision = resume(checkpoint, streams, oplog)
    } else {
      decision = recover(streams, oplog, refillFrom)
    }
    guard case .resume(var plan) = decision else { return decision }
    for stream in streams where plan.halted[stream.name] == nil {
      plan.found[stream.name] = stream.found
    }
    let served = streams.filter { !$0.isDeadLetter && plan.halted[$0.name] == nil }
    if served.isEmpty, let why = plan.losses.compactMap(\.haltedBecause).first {
      decision = .refuse(why)
    } else {
      decision = .resume(plan)
    }
    return decision
  }

  private static func resume(
    _ checkpoint: Checkpoint, _ streams: [StreamObservation], _ oplog: Oplog?
  ) -> ResumeDecision {
    var plan = ResumePlan(
      start: checkpoint.resume, term: checkpoint.term, origin: checkpoint.origin,
      note: "from the checkpoint")
    plan.settled = checkpoint.settled
    plan.foundAgainAt = checkpoint.foundAgainAt
    for stream in streams {
      let state = checkpoint.states[stream.name]
      let known = [checkpoint.streams[stream.name], state?.had].compactMap(\.self)
      let unseen = known.isEmpty ? stream.lostUnseen(state, checkpoint) : nil
      if let acked = known.first(where: stream.hasLost) ?? unseen?.message {
        let isKept = stream.isMemory || stream.onLoss != .refill
        if !isKept, let why = lostSnapshot(checkpoint, stream, acked) {
          return .needsSnapshot(why)
        }
        plan.addLoss(of: stream, acked, since: unseen?.since, state, checkpoint, oplog)
      } else {
        plan.addIntact(stream, checkpoint.streams[stream.name], state, checkpoint, oplog)
      }
    }
    return .resume(plan)
  }

  /// A stream that holds everything acknowledged.
  private mutating func addIntact(
    _ stream: StreamObservation, _ acked: Checkpoint.Stream?, _ state: Checkpoint.StreamState?,
    _ checkpoint: Checkpoint, _ oplog: Oplog?
  ) {
    let name = stream.name
    var known: UInt64?
    if stream.patchwork != nil {
      hold(stream)
    } else if let tail = stream.tail, acked.map({ tail.position >= $0.position }) ?? true,
      acked == nil || !DeliberateError.isOn(.dedupWindowTrusted)
    {
      watermarks[name] = StoredWatermark(position: tail.position, rule: tail.rule)
      known = tail.sequence
    } else if let acked {
      // Limits or consumers removed our messages; the sequence proves that they were there.
      watermarks[name] = StoredWatermark(position: acked.position, rule: acked.rule)
      known = acked.sequence
    } else if let state, state.created == stream.created {
      known = state.base
    }
    // What is settled on others says nothing of a stream that is being refilled.
    let settled = state?.refillTo == nil ? checkpoint.settled : nil
    if let known { count(stream, after: known, state, settled) }
    refilling[name] = state?.refillTo
    if let since = state?.halted {
      resumeHalted(stream, since, checkpoint, oplog)
    } else if state?.refillTo == nil {
      floors[name] = checkpoint.settled
    }
  }

  /// A stream that was halted and has lost nothing since: it gets what came since.
  private mutating func resumeHalted(
    _ stream: StreamObservation, _ since: OplogPosition, _ checkpoint: Checkpoint,
    _ oplog: Oplog?
  ) {
    let name = stream.name
    guard let oplog, since < oplog.oldest, stream.onLoss != .continue else {
      floors[name] = EventPosition(entry: since, index: 0)
      let behind = EventPosition(entry: checkpoint.resume, index: .max)
      refilling[name] = max(checkpoint.settled ?? behind, behind)
      moveBack(to: max(since, oplog?.oldest ?? since))
      return
    }
    halted[name] = since
    losses.append(
      Loss(
        stream: name, from: nil, to: EventPosition(entry: since, index: 0), acknowledgedSequence: 0,
        lastSequence: stream.lastSequence,
        remedy: .halted(
          """
          It was halted at \(since), and the oplog now begins at \(oplog.oldest), so what came \
          between can't be published. on_loss: continue on this stream continues without it
          """)))
  }

  mutating func count(
    _ stream: StreamObservation, after sequence: UInt64, _ state: Checkpoint.StreamState?,
    _ settled: EventPosition?
  ) {
    if let state, state.created == stream.created, let inherited = state.inherited,
      inherited.areSettled(settled)
        ? inherited.areAsked && sequence <= inherited.through
          && stream.lastSequence > max(inherited.through, state.uncounted ?? 0)
        : inherited.isInDoubt || (inherited.areAsked && inherited.through <= sequence)
    {
      // Their numbers say nothing: what was stored once more has a later one than events that come behind it.
      guard stream.exclusive else { return }
      unseen[stream.name] = Unseen(
        after: sequence, count: stream.lastSequence - sequence, isInDoubt: true)
      return
    }
    var sequence = sequence
    if let state, state.created == stream.created, let uncounted = state.uncounted {
      sequence = max(sequence, uncounted)
    }
    var isPartlyMet = false
    if let state, state.created == stream.created, let had = state.had {
      isPartlyMet = had.sequence == 0 || settled.map { had.position >= $0 } ?? true
      if !isPartlyMet { sequence = max(sequence, had.sequence) }
    }
    guard stream.exclusive, stream.lastSequence > sequence,
      !DeliberateError.isOn(.consumedRepublished)
    else { return }
    let removed = stream.removed(after: sequence)
    if removed > 0 {
      unseen[stream.name] = Unseen(after: sequence, count: removed, isPartlyMet: isPartlyMet)
    } else if stream.survivors < stream.lastSequence - sequence {
      doubts.append(
        """
        stream \(stream.name) is exclusive, but behind sequence \(sequence) it holds messages of \
        somebody else, and others that are gone: how many of those were the bridge's can't be told. \
        They are published again, and may be doubled
        """)
      // Once the others' are gone as well, they would be counted for events.
      uncounted[stream.name] = stream.lastSequence
    }
  }

  private mutating func addLoss(
    of stream: StreamObservation, _ acked: Checkpoint.Stream, since: OplogPosition?,
    _ state: Checkpoint.StreamState?, _ checkpoint: Checkpoint, _ oplog: Oplog?
  ) {
    let name = stream.name
    // What is settled on the others isn't proven to be settled here.
    let to = max(acked.position, checkpoint.settled ?? acked.position)
    var loss = Loss(
      stream: name, from: stream.firm?.position, to: to, acknowledgedSequence: acked.sequence,
      lastSequence: stream.lastSequence)
    loss.isMissing = stream.isMissing
    loss.isMadeAgain = stream.wasMadeAgain || acked.created != stream.created
    defer { losses.append(loss) }
    switch stream.onLoss {
    case .continue:
      loss.remedy = .accepted
      if acked.sequence > 0 {
        watermarks[name] = StoredWatermark(position: acked.position, rule: acked.rule)
      }
      if let tail = stream.tail, tail.position > acked.position {
        watermarks[name] = StoredWatermark(position: tail.position, rule: tail.rule)
      }
      if let since = state?.halted {
        resumeHalted(stream, since, checkpoint, oplog)
      } else {
        floors[name] = checkpoint.settled
      }
    case .halt:
      loss.remedy = .halted("Nothing is published to it until on_loss says refill or continue")
      halted[name] = state?.halted ?? checkpoint.resume
    case .refill:
      let from = stream.firm?.position.entry ?? since ?? checkpoint.origin.position
      switch Self.reach(from, stream, oplog) {
      case .from(let position, let isMoment, let limit):
        loss.limit = limit
        if stream.patchwork != nil {
          hold(stream)
          loss.to = max(to, held[name]?.map(\.position).max() ?? to)
        } else if let tail = stream.tail {
          watermarks[name] = StoredWatermark(position: tail.position, rule: tail.rule)
          if acked.created == stream.created { count(stream, after: tail.sequence, state, nil) }
        }
        if limit != nil { floors[name] = EventPosition(entry: position, index: 0) }
        // A bridge may begin at a position that has no entry.
        moveBack(to: position, isMoment: isMoment || stream.firm == nil)
        refilling[name] = loss.to
      case .outOfReach(let oldest):
        loss.remedy = .halted(
          """
          The oplog begins at \(oldest) and no longer reaches back to \(from), so they can't all be \
          published again. Nothing is published to the stream until that is decided: on_loss: \
          continue on it continues without them
          """)
        halted[name] = state?.halted ?? checkpoint.resume
      }
    }
  }

  /// The messages behind a gap, one by one.
  private mutating func hold(_ stream: StreamObservation) {
    guard let patchwork = stream.patchwork else { return }
    watermarks[stream.name] = patchwork.before.map {
      StoredWatermark(position: $0.position, rule: $0.rule)
    }
    held[stream.name] = patchwork.behind
  }

  enum Reach: Equatable {
    case from(OplogPosition, isMoment: Bool, limit: String?)
    case outOfReach(oldest: OplogPosition)
  }

  /// From where on a stream's messages can be published again and would not expire at once.
  static func reach(
    _ from: OplogPosition, _ stream: StreamObservation, _ oplog: Oplog?
  ) -> Reach {
    guard let oplog else { return .from(from, isMoment: false, limit: nil) }
    var first = from
    var limit: String?
    if let age = stream.maxAgeSeconds {
      let moment = OplogPosition(
        seconds: oplog.newest.seconds - min(age, oplog.newest.seconds), increment: 0)
      if moment > first {
        first = moment
        limit = "What is older than its max_age is left out"
      }
    }
    if first >= oplog.oldest { return .from(first, isMoment: limit != nil, limit: limit) }
    guard stream.isMemory else { return .outOfReach(oldest: oplog.oldest) }
    return .from(
      oplog.oldest, isMoment: false,
      limit:
        "Its storage is memory, and the oplog begins at \(oplog.oldest): what came before is gone")
  }

  /// Explains a loss of messages that a finished snapshot published.
  private static func lostSnapshot(
    _ checkpoint: Checkpoint, _ stream: StreamObservation, _ acked: Checkpoint.Stream
  ) -> String? {
    guard let snapshot = checkpoint.snapshot, snapshot.isOver,
      acked.position.entry >= snapshot.position,
      stream.tail.map({ $0.position.entry <= snapshot.position }) ?? true
    else { return nil }
    return """
      stream \(stream.name) lost acknowledged messages (\
      \(stream.isMissing ? "it does not exist" : "it ends at sequence \(stream.lastSequence)"), and \
      \(acked.sequence) was acknowledged), among them some of the snapshot at \(snapshot.position), \
      which the oplog can't bring back. Publish another one: tailrace snapshot --force
      """
  }
}

extension ResumePlan.Loss {
  fileprivate var haltedBecause: String? {
    guard case .halted = remedy else { return nil }
    return description
  }
}

extension StreamObservation {
  /// Whether acknowledged messages are gone for other reasons than limits and consumers.
  func hasLost(_ acked: Checkpoint.Stream) -> Bool {
    guard contradicts(acked) else { return false }
    // A later message proves the earlier ones only within the same stream.
    return patchwork != nil || tail.map { $0.position < acked.position } ?? true
  }

  /// What is lost with a stream of which the checkpoint has no message, and that was made again since: what it was
  /// being refilled with; or what came since the checkpoint, where the new stream has later messages, which prove
  /// nothing of it.
  ///
  /// - Returns: what represents it, and since when it came; nil: since the beginning.
  func lostUnseen(
    _ state: Checkpoint.StreamState?, _ checkpoint: Checkpoint
  ) -> (message: Checkpoint.Stream, since: OplogPosition?)? {
    guard let state, state.created != created, !DeliberateError.isOn(.recreationUnnoticed),
      state.refillTo != nil || !(patchwork?.behind.isEmpty ?? true)
    else { return nil }
    let to =
      state.refillTo ?? checkpoint.settled ?? EventPosition(entry: checkpoint.resume, index: 0)
    let message = Checkpoint.Stream(
      sequence: 0, id: "", position: to, rule: RuleID(""), created: state.created)
    return (message, state.refillTo == nil ? checkpoint.resume : nil)
  }

  /// Whether the stream can't be the one that acknowledged the message.
  func contradicts(_ acked: Checkpoint.Stream) -> Bool {
    if lastSequence < acked.sequence, DeliberateError.isOn(.lossUnnoticed) { return false }
    if DeliberateError.isOn(.recreationUnnoticed) { return false }
    return created != acked.created || wasMadeAgain || lastSequence < acked.sequence
      || checkpointOverwritten
  }
}
