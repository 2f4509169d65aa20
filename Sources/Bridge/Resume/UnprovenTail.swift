package import Oplog

/// What a stream holds behind its last acknowledged message, where its protocol can leave gaps: in a chain on
/// a replicated stream a foreign message takes the sequence that one of ours expected, in fast ingest the id
/// of one, and later ones are stored without it. So its last message doesn't prove that the ones before it
/// are stored, and each one is looked up.
///
/// This needs no knowledge of what was sent, or of why it was not acknowledged: it works after a kill, and for
/// messages of a lost connection that the server stores late. A pure value, filled in order.
package struct UnprovenTail: Sendable, Equatable {
  /// Everything up to this message is stored, and ours behind it are in `own`. Nil: none is known.
  package private(set) var firm: StreamObservation.Own?
  /// Our messages behind it, in the stream's order.
  package private(set) var own: [StreamObservation.Own] = []
  /// Foreign messages before our last one: each may have displaced one of ours.
  package private(set) var others: UInt64 = 0
  /// Sequences behind `firm` whose messages were removed.
  package private(set) var gone: UInt64 = 0
  /// The sequence that it begins behind.
  package private(set) var after: UInt64
  /// Where it ends.
  package private(set) var last: UInt64
  private var othersBehind: UInt64 = 0
  /// Everything before this is stored, regardless of the stream's order.
  private let settled: EventPosition?
  /// The checkpoint is lost, and this begins with the first message that is there.
  private var isFromFirst = false
  /// How many of the last in `own` follow one another without anything between.
  private var run = 0

  /// More than a lane has in flight at once.
  package static let window = 8192

  /// - Parameters:
  ///   - acknowledged: nil: nothing of ours is known; the tail begins behind `sequence` all the same.
  ///   - settled: the checkpoint's value; nil if it doesn't apply to this stream.
  package init(
    behind sequence: UInt64, acknowledged: StreamObservation.Own?, settled: EventPosition?
  ) {
    after = sequence
    last = sequence
    firm = acknowledged
    self.settled = settled
  }

  /// Without a checkpoint, from `sequence` on. Firm is then what `isFirst` allows, or a long run proves.
  ///
  /// - Parameter isFirst: no message of ours is before it. The first is acknowledged before anything else is
  ///   sent, so that nothing before it is missing; nor behind it, up to the first message of others.
  package init(from sequence: UInt64, isFirst: Bool) {
    self.init(behind: sequence &- 1, acknowledged: nil, settled: nil)
    isFromFirst = isFirst
  }

  /// What `stream` may hold behind what `checkpoint` says of it, to be filled. Nil: the stream isn't what it was
  /// then, or nothing is known of it.
  package init?(of stream: StreamObservation, _ checkpoint: Checkpoint) {
    guard stream.patchwork == nil, !stream.wasMadeAgain, !stream.checkpointOverwritten else {
      return nil
    }
    let known = checkpoint.states[stream.name]
    let state = known.flatMap { $0.created == stream.created ? $0 : nil }
    // For a stream that is being refilled, or was halted, it doesn't apply.
    let settled = known?.refillTo == nil && known?.halted == nil ? checkpoint.settled : nil
    let searched = min(state?.searched ?? 0, stream.lastSequence)
    if let acked = checkpoint.streams[stream.name] {
      guard acked.created == stream.created, acked.sequence <= stream.lastSequence else {
        return nil
      }
      let firm = StreamObservation.Own(
        sequence: acked.sequence, position: acked.position, rule: acked.rule, id: acked.id)
      self.init(
        behind: max(acked.sequence, searched), acknowledged: firm, settled: settled)
    } else if let base = state?.base, base <= stream.lastSequence {
      self.init(behind: max(base, searched), acknowledged: nil, settled: settled)
    } else {
      return nil
    }
  }

  /// The next message that is there; `found`: nil if it is foreign.
  package mutating func take(_ sequence: UInt64, _ found: StreamObservation.Own?) {
    let follows = sequence == last + 1 && othersBehind == 0
    end(at: sequence &- 1)
    last = sequence
    guard let found else {
      othersBehind += 1
      return
    }
    if isFromFirst, own.isEmpty,
      firm.map({ follows && $0.position <= found.position }) ?? true
    {
      return begin(behind: found)
    }
    // It was sent late, and is proven by what was acknowledged behind it.
    if let firm, found.position < firm.position { return }
    if let settled, found.position < settled {
      if own.isEmpty { begin(behind: found) }
      return
    }
    others += othersBehind
    othersBehind = 0
    let isNext = follows && own.last.map { $0.position <= found.position } ?? true
    own.append(found)
    run = isNext ? run + 1 : 1
    if run == 2 * Self.window { prove() }
  }

  /// There is no other message up to this sequence.
  package mutating func end(at sequence: UInt64) {
    guard sequence > last else { return }
    gone += sequence - last
    last = sequence
  }

  /// The one of the highest position.
  package var newest: StreamObservation.Own? {
    own.max { $0.position < $1.position }
  }

  private mutating func begin(behind proven: StreamObservation.Own) {
    firm = proven
    after = proven.sequence
    others = 0
    othersBehind = 0
    gone = 0
  }

  /// This many in a row can't have been sent while an earlier one lacked its ack: each epoch sends that first.
  private mutating func prove() {
    run = Self.window
    let early = own.dropLast(Self.window)
    guard let proven = early.last, early.allSatisfy({ $0.position <= proven.position }) else {
      return
    }
    own.removeFirst(early.count)
    begin(behind: proven)
  }
}

extension ResumePlan {
  /// Takes the stream's messages behind `tail.firm` one by one: what is not among them is published.
  ///
  /// - Parameter byIDs: the server still knows the ids of those that are gone.
  mutating func lookUp(_ stream: StreamObservation, _ tail: UnprovenTail, byIDs: Bool) {
    let name = stream.name
    // What an earlier epoch could not count may be of any event.
    unseen[name] = unseen[name].flatMap { $0.isInDoubt ? $0 : nil }
    if tail.gone > 0, stream.exclusive {
      if byIDs { toldByIDs.insert(name) } else { uncounted[name] = tail.last }
    }
    watermarks[name] = tail.firm.map { StoredWatermark(position: $0.position, rule: $0.rule) }
    found[name] = tail.firm.map { Checkpoint.Stream($0, created: stream.created) }
    guard let newest = tail.newest else { return }
    held[name] = tail.own
    lacksUpTo[name] = StoredWatermark(position: newest.position, rule: newest.rule)
  }
}

extension Checkpoint.Stream {
  init(_ own: StreamObservation.Own, created: String) {
    self.init(
      sequence: own.sequence, id: own.id, position: own.position, rule: own.rule, created: created)
  }
}
