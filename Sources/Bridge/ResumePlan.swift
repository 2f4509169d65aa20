package import Oplog

/// What was found at the end of one stream, by leader reads, before anything is published.
package struct StreamObservation: Sendable, Equatable {
  /// One of our messages, as stored.
  package struct Own: Sendable, Equatable {
    package var sequence: UInt64
    package var position: EventPosition
    package var rule: String
    package var id: String

    package init(sequence: UInt64, position: EventPosition, rule: String, id: String) {
      self.sequence = sequence
      self.position = position
      self.rule = rule
      self.id = id
    }
  }

  package var name: String
  package var created: String
  package var firstSequence: UInt64
  package var lastSequence: UInt64
  /// Nobody but the bridge publishes here.
  package var exclusive: Bool
  /// Dead letters wait for their ack before anything else is sent, so an empty dead-letter stream
  /// proves that none is missing.
  package var isDeadLetter: Bool
  /// Our last message in the stream, if there is one. Searched from the stream's end down to the
  /// checkpoint's sequence; through the whole stream where that sequence is beyond the end or holds
  /// something else.
  package var tail: Own?
  /// The checkpoint's sequence holds a message that isn't the one that was acknowledged.
  package var checkpointOverwritten = false

  package init(
    name: String, created: String, firstSequence: UInt64, lastSequence: UInt64, exclusive: Bool,
    isDeadLetter: Bool, tail: Own?
  ) {
    self.name = name
    self.created = created
    self.firstSequence = firstSequence
    self.lastSequence = lastSequence
    self.exclusive = exclusive
    self.isDeadLetter = isDeadLetter
    self.tail = tail
  }
}

/// Where to begin reading, and what each stream has already.
package struct ResumePlan: Sendable, Equatable {
  /// Everything at or before this is stored on that stream.
  package struct Horizon: Sendable, Equatable {
    package var position: EventPosition
    package var rule: String

    package init(position: EventPosition, rule: String) {
      self.position = position
      self.rule = rule
    }
  }

  /// Acknowledged messages that a stream no longer has.
  package struct Loss: Sendable, Equatable, CustomStringConvertible {
    package var stream: String
    package var from: EventPosition?
    package var to: EventPosition
    package var acknowledgedSequence: UInt64
    package var lastSequence: UInt64

    package var description: String {
      """
      stream \(stream) lost acknowledged messages: it ends at sequence \(lastSequence), \
      \(acknowledgedSequence) was acknowledged; refilling \
      \(from.map { "after \($0)" } ?? "from the bridge's origin") up to \(to)
      """
    }
  }

  package var start: OplogPosition
  package var term: Int64?
  package var origin: Checkpoint.Origin
  package var horizons: [String: Horizon]
  package var losses: [Loss]
  package var note: String
  /// By stream: what it lacks before its horizon, because a foreign message came between.
  package var missing: [String: [Horizon]] = [:]
  /// Our last message in each stream, as found there just now. That is worth more than what was
  /// remembered: acknowledgements in between say how many messages are stored, and where only if
  /// nobody else published.
  package var found: [String: Checkpoint.Stream] = [:]
}

extension StreamObservation {
  /// Our last message, as checkpoints have it.
  var found: Checkpoint.Stream? {
    tail.map { tail in
      Checkpoint.Stream(
        sequence: tail.sequence, id: tail.id, position: tail.position, rule: tail.rule,
        created: created)
    }
  }
}

/// What a stream may hold behind the last acknowledged message, if its protocol can leave gaps.
struct SuspectTail: Sendable {
  var stream: String
  var acknowledged: Checkpoint.Stream?
  /// What was sent and not acknowledged, in order.
  var unanswered: [ResumePlan.Horizon]

  /// The messages that are missing although a later one, `end` at the latest, is stored.
  func missing(_ stored: [StreamObservation.Own], end: EventPosition) -> [ResumePlan.Horizon] {
    let found = Set(stored.map { "\($0.position) \($0.rule)" })
    return unanswered.filter {
      $0.position < end && !found.contains("\($0.position) \($0.rule)")
    }
  }

  func replacing(_ unanswered: [ResumePlan.Horizon]) -> SuspectTail {
    var copy = self
    copy.unanswered = unanswered
    return copy
  }

  /// With what a later epoch left unanswered.
  func adding(_ later: [ResumePlan.Horizon]) -> SuspectTail {
    var sum = self
    sum.unanswered = unanswered.filter { !later.contains($0) } + later
    return sum
  }
}

package enum ResumeDecision: Sendable, Equatable {
  case resume(ResumePlan)
  /// No trace of this bridge anywhere: begin as `source.start` says.
  case fresh
  /// Going on would be guessing. Exit 75 with this explanation.
  case refuse(String)
  /// Messages of a snapshot are gone, which no oplog brings back: only another snapshot helps.
  case needsSnapshot(String)
}

extension ResumePlan {
  /// Decides from the checkpoint (if there is one) and what the streams hold. Pure.
  ///
  /// Messages of one stream are published in order and without gaps, so our last message in a
  /// stream says all: what is not after it is stored. The checkpoint adds where to read on and what
  /// had been acknowledged, so that messages the server lost are noticed.
  package static func decide(checkpoint: Checkpoint?, streams: [StreamObservation])
    -> ResumeDecision
  {
    switch place(checkpoint: checkpoint, streams: streams) {
    case .resume(var plan):
      for stream in streams { plan.found[stream.name] = stream.found }
      return .resume(plan)
    case let other: return other
    }
  }

  private static func place(
    checkpoint: Checkpoint?, streams: [StreamObservation]
  ) -> ResumeDecision {
    guard let checkpoint else { return recover(streams) }
    var plan = ResumePlan(
      start: checkpoint.resume, term: checkpoint.term, origin: checkpoint.origin, horizons: [:],
      losses: [], note: "from the checkpoint")
    for stream in streams {
      let acked = checkpoint.streams[stream.name]
      guard let acked else {
        if let tail = stream.tail {
          plan.horizons[stream.name] = Horizon(position: tail.position, rule: tail.rule)
        }
        continue
      }
      let recreated = acked.created != stream.created
      if let tail = stream.tail, tail.position >= acked.position {
        plan.horizons[stream.name] = Horizon(position: tail.position, rule: tail.rule)
      } else if !recreated, stream.lastSequence >= acked.sequence, stream.tail == nil,
        !stream.checkpointOverwritten
      {
        // Limits or consumers removed our messages; the sequence proves that they were there.
        plan.horizons[stream.name] = Horizon(position: acked.position, rule: acked.rule)
      } else if let why = lostSnapshot(checkpoint, stream, acked) {
        return .needsSnapshot(why)
      } else {
        plan.losses.append(
          Loss(
            stream: stream.name, from: stream.tail?.position, to: acked.position,
            acknowledgedSequence: acked.sequence, lastSequence: stream.lastSequence))
        if let tail = stream.tail {
          plan.horizons[stream.name] = Horizon(position: tail.position, rule: tail.rule)
          plan.moveBack(to: tail.position.entry)
        } else {
          plan.moveBack(to: checkpoint.origin.position)
        }
      }
    }
    return .resume(plan)
  }

  /// Explains a loss that reaches into what a snapshot that is over has published.
  private static func lostSnapshot(
    _ checkpoint: Checkpoint, _ stream: StreamObservation, _ acked: Checkpoint.Stream
  ) -> String? {
    guard let snapshot = checkpoint.snapshot, snapshot.isOver,
      acked.position.entry >= snapshot.position,
      stream.tail.map({ $0.position.entry <= snapshot.position }) ?? true
    else { return nil }
    return """
      stream \(stream.name) lost acknowledged messages (it ends at sequence \(stream.lastSequence), \
      \(acked.sequence) was acknowledged), among them some of the snapshot at \(snapshot.position), \
      which the oplog can't bring back. Publish another one: tailrace snapshot --force
      """
  }

  /// Begins reading at `position`, if that is earlier.
  mutating func moveBack(to position: OplogPosition) {
    guard position < start else { return }
    start = position
    term = nil
  }

  /// The checkpoint is gone: find the place again from our last messages, or refuse.
  ///
  /// A stream's first message, and every dead letter, is acknowledged before anything else is sent.
  /// So a stream that never had a message misses none up to the newest message elsewhere.
  private static func recover(_ streams: [StreamObservation]) -> ResumeDecision {
    let tails = streams.compactMap(\.tail)
    guard let oldest = tails.min(by: { $0.position < $1.position }) else {
      if let used = streams.first(where: { $0.exclusive && $0.lastSequence > 0 }) {
        return .refuse(
          """
          there is no checkpoint, and stream \(used.name) has held \(used.lastSequence) messages \
          of which none of the bridge's is left to tell where it was. Decide where to go on: \
          run --from <position>|oldest|now --force
          """)
      }
      return .fresh
    }
    if let newest = tails.max(by: { $0.position < $1.position }),
      newest.position.index >= SnapshotDecoder.firstIndex
    {
      return .needsSnapshot(
        """
        there is no checkpoint, and the bridge's last messages are of the snapshot at \
        \(newest.position.entry), so it can't be told how far that came. Publish another one: \
        tailrace snapshot
        """)
    }
    for stream in streams where stream.tail == nil && stream.exclusive && stream.lastSequence > 0 {
      return .refuse(
        """
        there is no checkpoint, and stream \(stream.name) no longer holds the bridge's last \
        message (first sequence \(stream.firstSequence), last \(stream.lastSequence)), so what it \
        misses can't be told. The other streams end at \(oldest.position). Decide where to go on: \
        run --from \(oldest.position.entry) --force
        """)
    }
    var plan = ResumePlan(
      start: oldest.position.entry, term: nil,
      origin: Checkpoint.Origin(position: oldest.position.entry, inclusive: true), horizons: [:],
      losses: [], note: "the checkpoint was lost; found again from the streams' last messages")
    for stream in streams {
      if let tail = stream.tail {
        plan.horizons[stream.name] = Horizon(position: tail.position, rule: tail.rule)
      }
    }
    return .resume(plan)
  }
}
