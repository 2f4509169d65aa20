import BridgeConfiguration
import Oplog

/// The checkpoint is gone: derives the resume position from what the streams hold, or refuses.
///
/// Our last message in a stream is the resume position for that stream. A stream without one is ambiguous:
/// it may never have had a message, or have lost all of them. It is considered complete only if the mark
/// in its metadata or its age proves that. A stream's first message, and every dead letter, is acknowledged
/// before anything else is sent; so a stream that never had a message misses none up to the newest message
/// elsewhere. If no stream ever had one, their marks say from where on each is to be filled.
extension ResumePlan {
  static func recover(
    _ streams: [StreamObservation], _ oplog: Oplog?, _ refillFrom: Checkpoint.Origin?
  ) -> ResumeDecision {
    let tails = streams.compactMap(\.tail)
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
    var lost: [(stream: StreamObservation, origin: Checkpoint.Origin)] = []
    var unproven: [StreamObservation] = []
    var untraceable: StreamObservation?
    for stream in streams where stream.tail == nil && !(stream.mark?.isUnused ?? false) {
      // Abandoned, if there was one.
      if stream.onLoss == .continue, stream.hasNothingYet { continue }
      switch stream.mark {
      case .used(let from, let inclusive):
        guard stream.onLoss == .refill, stream.hasNothingOfOurs else {
          return .refuse(lostTrack(stream, tails))
        }
        lost.append((stream, Checkpoint.Origin(position: from, inclusive: inclusive)))
      case .snapshot:
        return .needsSnapshot(
          """
          there is no checkpoint, and stream \(stream.name) has lost its messages, those of a \
          snapshot among them, which the oplog can't bring back. Publish another one: tailrace snapshot
          """)
      case .unused, nil:
        if stream.exclusive, !stream.hasNothingOfOurs { return .refuse(lostTrack(stream, tails)) }
        if !stream.neverHeldOurs { untraceable = stream }
        if !stream.isOlderThanAnyLoss(streams) { unproven.append(stream) }
      }
    }
    if tails.isEmpty, streams.contains(where: { $0.mark == .unused(.snapshot) }) {
      return .needsSnapshot(
        """
        there is no checkpoint, and a snapshot had begun of which the streams hold no message, so it \
        can't be told how far it came. Publish another one: tailrace snapshot
        """)
    }
    let beginnings = streams.compactMap(\.unusedSince)
    let hasLived =
      !tails.isEmpty || !beginnings.isEmpty
      || streams.contains { $0.mark.map { !$0.isUnused } ?? false }
    if !hasLived { return .fresh }
    if tails.isEmpty, lost.isEmpty, unproven.isEmpty, beginnings.isEmpty { return .fresh }
    if let untraceable { return .refuse(lostTrack(untraceable, tails)) }
    for stream in unproven {
      guard let refillFrom, stream.onLoss == .refill else {
        return .refuse(lacksProof(stream, tails, beginnings))
      }
      lost.append((stream, refillFrom))
    }
    return recover(streams, lost, oplog)
  }

  private static func recover(
    _ streams: [StreamObservation],
    _ lost: [(stream: StreamObservation, origin: Checkpoint.Origin)], _ oplog: Oplog?
  ) -> ResumeDecision {
    let tails = streams.compactMap { stream in stream.tail.map { (stream, $0) } }
    let newest = tails.map(\.1.position).max()
    var startsAtMoment = false
    var plan = ResumePlan(
      start: OplogPosition(seconds: 0, increment: 0), term: nil,
      origin: Checkpoint.Origin(position: OplogPosition(seconds: 0, increment: 0), inclusive: true),
      note: "the checkpoint was lost; found again from the streams' last messages")
    var begin = tails.map { plan.readFrom($0, $1, oplog) }.min().map {
      Checkpoint.Origin(position: $0, inclusive: true)
    }
    for (stream, origin) in lost {
      let to = newest ?? EventPosition(entry: oplog?.newest ?? origin.position, index: .max)
      var loss = Loss(
        stream: stream.name, from: nil, to: to, acknowledgedSequence: 0, lastSequence: 0)
      switch reach(origin.position, stream, oplog) {
      case .from(let position, _, let limit):
        loss.limit = limit
        let isWhole = limit == nil && !origin.inclusive
        plan.floors[stream.name] = EventPosition(entry: position, index: isWhole ? .max : 0)
        plan.refilling[stream.name] = to
        plan.losses.append(loss)
        if begin.map({ position < $0.position }) ?? true {
          begin = Checkpoint.Origin(position: position, inclusive: !isWhole)
          // Neither a bridge's origin nor a time need be an entry's position.
          startsAtMoment = true
        }
      case .outOfReach(let oldest):
        return .refuse(
          """
          there is no checkpoint, and stream \(stream.name) has lost its messages; the oplog begins \
          at \(oldest) and no longer reaches back to \(origin.position), so they can't all be \
          published again. Decide: on_loss: continue on that stream, or \
          run --from <position>|oldest|now --force
          """)
      }
    }
    for stream in streams {
      guard let origin = stream.unusedSince else { continue }
      plan.floors[stream.name] = origin.first
      if newest == nil, begin.map({ origin.precedes($0) }) ?? true {
        begin = origin
        startsAtMoment = false
      }
    }
    guard let begin else { return .fresh }
    if tails.isEmpty, lost.isEmpty {
      plan.note =
        "the checkpoint was lost before anything was published; the streams say since when"
    }
    plan.start = begin.position
    plan.startsAtMoment = startsAtMoment
    plan.origin = ([begin] + streams.compactMap(\.origin)).min() ?? begin
    // Where nothing was published, nothing was by other rules.
    plan.foundAgainAt = newest?.entry ?? (lost.isEmpty ? nil : begin.position)
    for (stream, tail) in tails {
      plan.watermarks[stream.name] = StoredWatermark(position: tail.position, rule: tail.rule)
      plan.count(stream, after: tail.sequence, nil, nil)
    }
    if let newest {
      // A stream that never had a message misses none before the newest message elsewhere.
      for stream in streams where stream.tail == nil && plan.refilling[stream.name] == nil {
        let floor = EventPosition(entry: newest.entry, index: 0)
        plan.floors[stream.name] = max(floor, stream.unusedSince.map(\.first) ?? floor)
      }
    }
    return .resume(plan)
  }

  /// Where a stream's end does not prove what comes before it, events are read from what is proven.
  private mutating func readFrom(
    _ stream: StreamObservation, _ tail: StreamObservation.Own, _ oplog: Oplog?
  ) -> OplogPosition {
    let end = tail.position.entry
    guard let firm = stream.unproven?.firm?.position.entry, firm < end else { return end }
    guard let oplog, firm < oplog.oldest else { return firm }
    doubts.append(
      """
      stream \(stream.name) is exclusive, but somebody else published to it, behind sequence \
      \(stream.unproven?.after ?? 0), and the checkpoint is lost: what may be missing since \(firm) can't \
      be looked up, since the oplog begins at \(oplog.oldest). It is taken for complete
      """)
    return end
  }

  /// Its messages have expired, were purged or consumed.
  private static func lostTrack(
    _ stream: StreamObservation, _ tails: [StreamObservation.Own]
  ) -> String {
    let others =
      tails.map(\.position).min().map { "The other streams end at \($0). " } ?? ""
    let place = tails.map(\.position.entry).min().map { "\($0)" } ?? "<position>|oldest|now"
    return """
      there is no checkpoint, and stream \(stream.name) no longer holds the bridge's last message \
      (first sequence \(stream.firstSequence), last \(stream.lastSequence)), so what it misses can't be \
      told. \(others)Decide where to continue: run --from \(place) --force
      """
  }

  /// It is empty, and may have been created again or emptied.
  private static func lacksProof(
    _ stream: StreamObservation, _ tails: [StreamObservation.Own],
    _ beginnings: [Checkpoint.Origin]
  ) -> String {
    let known = tails.map(\.position.entry).min() ?? beginnings.map(\.position).min()
    let place = known.map { "\($0)" } ?? "<position>|oldest|now"
    let what =
      stream.isMissing
      ? "stream \(stream.name), which does not exist, never held a message of the bridge"
      : """
      stream \(stream.name), which holds no message of the bridge, never lost one (it was created at \
      \(stream.created))
      """
    return """
      there is no checkpoint, and nothing proves that \(what). Decide: run --from oldest --force \
      publishes again what the oplog still has of it; run --from \(place) --force continues behind what \
      the other streams hold
      """
  }
}

extension StreamObservation {
  /// From where on the stream, which never had a message of ours, is to be filled.
  fileprivate var unusedSince: Checkpoint.Origin? {
    guard tail == nil, case .unused(.position(let origin)) = mark else { return nil }
    return origin
  }

  /// Nothing of ours is in it, or has been in it since it was made. On an exclusive stream what others have published
  /// against the rules does not hide that; on a shared one, messages may be ours that name nobody.
  fileprivate var hasNothingOfOurs: Bool { hasNothingYet || (exclusive && neverHeldOurs) }

  /// Where the bridge began, by the stream's mark, or else by its first message of ours.
  fileprivate var origin: Checkpoint.Origin? {
    if case .used(let from, let inclusive) = mark {
      return Checkpoint.Origin(position: from, inclusive: inclusive)
    }
    return firstOwn.map { first in
      // A snapshot shows what came before its position.
      Checkpoint.Origin(
        position: first.entry, inclusive: first.index < SnapshotDecoder.firstIndex)
    }
  }

  /// Whether the stream, which holds nothing of ours, was made together with one that still has its
  /// first message: the bridge creates them one after the other at its first start. Everything published to
  /// it since would be in it; and if the other one had been created again later, the epoch that began then
  /// would have noticed this one's loss.
  func isOlderThanAnyLoss(_ others: [StreamObservation]) -> Bool {
    // If others are marked, this one would be, too.
    guard neverHeldOurs, !isMemory, !others.contains(where: { $0.mark != nil }),
      let made = ServerTime(created)
    else { return false }
    return others.contains { other in
      guard other.name != name, other.firstIsOurs, let otherMade = ServerTime(other.created) else {
        return false
      }
      return made.seconds <= otherMade.seconds + Self.firstStartSeconds
    }
  }

  /// How long the first start may take to create all streams.
  private static var firstStartSeconds: Int { 5 }
}

extension Checkpoint.Origin: Comparable {
  public static func < (one: Self, other: Self) -> Bool {
    one.position == other.position
      ? one.inclusive && !other.inclusive : one.position < other.position
  }
}
