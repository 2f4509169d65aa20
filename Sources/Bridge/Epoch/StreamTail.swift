package import BridgeConfiguration
import DeliberateErrors
import JSON
package import JetStream
import NATS
import NIOCore
package import Oplog

/// Reads, from a stream's leader, what the bridge left at its end.
package struct StreamTail: Sendable {
  package let jetStream: JetStreamClient
  package var ownership: MessageOwnership
  /// What the checkpoint says to be acknowledged, by stream.
  package var acknowledged: [String: Checkpoint.Stream] = [:]
  /// Of that, what was seen to be in the stream of that name; nil: all of it.
  var proven: [String: Checkpoint.Stream]?

  package init(
    jetStream: JetStreamClient, ownership: MessageOwnership,
    acknowledged: [String: Checkpoint.Stream] = [:], proven: [String: Checkpoint.Stream]? = nil
  ) {
    self.jetStream = jetStream
    self.ownership = ownership
    self.acknowledged = acknowledged
    self.proven = proven
  }

  /// How many messages are asked for at once while walking back over other publishers' ones.
  private static let stride = 32
  /// How many messages of others are looked at before our first one.
  private static let mostBefore: UInt64 = 4096

  /// - Parameter checkpoint: nil: it is lost, and the stream's beginning counts, too.
  package func observe(
    _ stream: PreparedStream, onLoss: StreamSpec.OnLoss, bridge: String, checkpoint: Checkpoint?
  ) async throws(JetStreamError) -> StreamObservation {
    let info = stream.info
    var observation = StreamObservation(
      name: stream.name, created: info.created, firstSequence: info.firstSequence,
      lastSequence: info.lastSequence, exclusive: stream.exclusive,
      isDeadLetter: stream.isDeadLetter, tail: nil)
    observation.messages = info.messages
    observation.isMissing = stream.isMissing
    observation.isMemory = info.config["storage"]?.stringValue == "memory"
    observation.maxAgeSeconds = info.maxAgeSeconds
    observation.onLoss = onLoss
    observation.mark = StreamMarks.mark(of: bridge, in: info)
    observation.beginning = info.beginning
    observation.lastAt = info.lastAt.flatMap { ServerTime($0) }
    observation.hasDeleteMarkers = info.hasDeleteMarkers
    observation.duplicateWindow = info.duplicateWindow
    if !stream.mayRepeatIDs { observation.idsProveFor = info.duplicateWindow }
    // Of a stream that had nothing, or is being refilled, the state alone says which one it was.
    let created =
      proven?[stream.name]?.created ?? checkpoint?.streams[stream.name]?.created
      ?? checkpoint?.states[stream.name]?.created
    if let created { observation.wasMadeAgain = created != info.created }
    let state = checkpoint?.states[stream.name].flatMap { $0.created == info.created ? $0 : nil }
    if DeliberateError.isOn(.noReadBack), checkpoint != nil { return observation }
    guard info.messages > 0, info.lastSequence > 0 else {
      observation.unproven = try await unproven(stream, observation, checkpoint, state)
      return observation
    }
    var floor = max(info.firstSequence, 1)
    var known = state?.base ?? info.lastSequence
    if let acked = checkpoint?.streams[stream.name], acked.created == info.created,
      acked.sequence <= info.lastSequence
    {
      if acked.sequence >= floor,
        let there = try await jetStream.message(in: stream.name, at: acked.sequence),
        own(there, in: stream.name)?.position != acked.position
      {
        observation.checkpointOverwritten = true
      } else {
        floor = max(floor, acked.sequence)
        known = acked.sequence
        if !stream.exclusive { floor = max(floor, behind(state?.searched)) }
      }
    } else if checkpoint?.streams[stream.name] == nil, !stream.exclusive {
      floor = max(floor, behind(state?.searched))
    }
    if floor <= info.lastSequence {
      observation.tail = try await lastOwn(in: stream.name, from: info.lastSequence, downTo: floor)
    }
    let acked = checkpoint?.streams[stream.name]
    if let had = state?.had, info.lastSequence < had.sequence,
      acked.map({ $0.sequence <= info.lastSequence }) ?? true
    {
      // Messages were sent late: of what is left behind the acknowledged one, none proves another.
      observation.patchwork = try await patchwork(
        in: stream.name, first: info.firstSequence, last: info.lastSequence,
        behind: acked?.position
      ).found
    } else if let known = acked ?? checkpoint?.states[stream.name]?.had {
      observation.patchwork = try await patchwork(observation, known, state)
    } else if observation.wasMadeAgain || state?.hasLater ?? false {
      observation.patchwork = try await patchwork(
        in: stream.name, first: info.firstSequence, last: info.lastSequence, behind: nil
      ).found
    }
    observation.unproven = try await unproven(stream, observation, checkpoint, state)
    if let unproven = observation.unproven, let newest = unproven.newest ?? unproven.firm,
      observation.tail.map({ $0.position < newest.position }) ?? true,
      newest.sequence >= info.firstSequence
    {
      observation.tail = newest
    }
    if let firm = observation.firm { known = firm.sequence }
    known = max(known, min(state?.uncounted ?? 0, info.lastSequence))
    if stream.exclusive, known < info.lastSequence {
      observation.survivors = try await survivors(
        in: stream.name, after: known, through: info.lastSequence)
    }
    if checkpoint == nil, observation.tail != nil {
      let first = try await firstOwn(
        in: stream.name, from: max(info.firstSequence, 1), through: info.lastSequence)
      observation.firstOwn = first?.position
      observation.firstIsOurs = first?.sequence == info.beginning
    }
    return observation
  }

  /// What is behind the last acknowledged message, where the protocol that sent it can leave gaps. Nil: it
  /// can't, or the stream isn't what it was then.
  private func unproven(
    _ stream: PreparedStream, _ observation: StreamObservation, _ checkpoint: Checkpoint?,
    _ state: Checkpoint.StreamState?
  ) async throws(JetStreamError) -> UnprovenTail? {
    guard let checkpoint else { return try await unprovenEnd(stream, observation) }
    guard stream.mayLeaveGaps || state?.mayLeaveGaps ?? false,
      var tail = UnprovenTail(of: observation, checkpoint)
    else { return nil }
    let last = stream.info.lastSequence
    let first = max(tail.after + 1, stream.info.firstSequence)
    if stream.info.messages > 0, first <= last {
      let search = TailSearch(self, stream.name, unproven: tail)
      if last - first < UInt64(Self.stride) {
        for message in try await messages(in: stream.name, first...last) { search.take(message) }
      } else {
        try await read(stream.name, first, through: last, into: search)
      }
      tail = search.unproven ?? tail
    }
    tail.end(at: last)
    return tail
  }

  /// The same without a checkpoint: from where so many of ours follow one another that what comes before is
  /// proven, else from the first. Nil: nobody else has published there, so that no gap can be.
  private func unprovenEnd(
    _ stream: PreparedStream, _ observation: StreamObservation
  ) async throws(JetStreamError) -> UnprovenTail? {
    guard stream.exclusive, stream.mayLeaveGaps, observation.tail != nil else { return nil }
    let (first, last) = (max(stream.info.firstSequence, 1), stream.info.lastSequence)
    var size = UInt64(3 * UnprovenTail.window)
    while true {
      let start = last - min(size - 1, last - first)
      let isFirst = start == first || size > Self.mostMessages
      let search = TailSearch(
        self, stream.name, unproven: UnprovenTail(from: start, isFirst: isFirst))
      try await read(stream.name, start, through: last, into: search)
      guard isFirst || search.unproven?.firm != nil, var tail = search.unproven else {
        size *= 8
        continue
      }
      tail.end(at: last)
      return tail.others > 0 ? tail : nil
    }
  }

  /// Our first message, unless too many of others stand before it.
  private func firstOwn(
    in stream: String, from first: UInt64, through last: UInt64
  ) async throws(JetStreamError) -> StreamObservation.Own? {
    var next = first
    var size: UInt64 = 1
    while next <= last, next - first < Self.mostBefore {
      let end = next + min(size - 1, last - next)
      if let found = try await own(in: stream, next...end).first { return found }
      guard end < last else { return nil }
      next = end + 1
      size = UInt64(Self.stride)
    }
    return nil
  }

  /// Whether our last message says nothing of those before it: where the stream isn't what it was when
  /// `acked` was, and has newer ones of ours. Nil: it does.
  private func patchwork(
    _ stream: StreamObservation, _ acked: Checkpoint.Stream, _ state: Checkpoint.StreamState?
  ) async throws(JetStreamError) -> StreamObservation.Patchwork? {
    let isMended = state?.hasLater ?? false
    let isAnother =
      stream.wasMadeAgain || acked.created != stream.created || stream.lastSequence < acked.sequence
      // A sequence that was counted may be another's next to somebody else's message.
      || (stream.checkpointOverwritten && !stream.exclusive)
    // What was acknowledged and not read back may be in this stream, and not in the one before.
    let known: EventPosition? =
      if let proven, stream.wasMadeAgain { proven[stream.name]?.position } else { acked.position }
    let isBehind = stream.tail.map { tail in known.map { tail.position > $0 } ?? true } ?? false
    guard isMended || (isAnother && isBehind) else { return nil }
    let (found, holdsKnown) = try await patchwork(
      in: stream.name, first: stream.firstSequence, last: stream.lastSequence, behind: known)
    // A copy, with everything.
    return known != nil && holdsKnown && !isMended ? nil : found
  }

  /// All of our messages in the stream, in two parts.
  private func patchwork(
    in stream: String, first: UInt64, last: UInt64, behind position: EventPosition?
  ) async throws(JetStreamError) -> (found: StreamObservation.Patchwork, holdsKnown: Bool) {
    let search = TailSearch(self, stream, behind: position)
    try await read(stream, max(first, 1), through: last, into: search)
    return (
      StreamObservation.Patchwork(before: search.before, behind: search.behind),
      search.before?.position == position
    )
  }

  private func behind(_ searched: UInt64?) -> UInt64 {
    searched.map { $0 < .max ? $0 + 1 : $0 } ?? 1
  }

  /// Our last message in the stream, wherever it is.
  package func last(
    in stream: String, _ info: StreamInfo
  ) async throws(JetStreamError) -> StreamObservation.Own? {
    let first = max(info.firstSequence, 1)
    guard info.messages > 0, info.lastSequence >= first else { return nil }
    return try await lastOwn(in: stream, from: info.lastSequence, downTo: first)
  }

  /// Beyond this, messages are not looked up one by one.
  static let mostMessages: UInt64 = 500_000

  /// Our messages of events behind `position`: all behind `sequence`, where some may have been sent late,
  /// and those before it up to the first of an earlier event. Nil: there are too many.
  package func messages(
    in stream: String, since position: EventPosition, behind sequence: UInt64, first: UInt64,
    through last: UInt64
  ) async throws(JetStreamError) -> [StreamObservation.Own]? {
    let border = min(sequence, last)
    guard last - border <= Self.mostMessages else { return nil }
    var found: [StreamObservation.Own] = []
    if border < last {
      let search = TailSearch(self, stream, behind: position)
      try await read(stream, max(border + 1, first), through: last, into: search)
      found = search.behind
    }
    var high = border
    var size = UInt64(Self.stride)
    while high >= max(first, 1) {
      guard border - high <= Self.mostMessages else { return nil }
      let low = high - min(size - 1, high - max(first, 1))
      let search = TailSearch(self, stream, behind: position)
      try await read(stream, low, through: high, into: search)
      found += search.behind
      if search.before != nil { break }
      high = low - 1
      size = min(size * 4, 50_000)
    }
    return found
  }

  /// Ids of our messages of the snapshot at `position` that have an index of `floor` or more: from the
  /// stream's end back to the first message of ours that comes before those.
  func identities(
    in stream: String, ofSnapshotAt position: OplogPosition, from floor: UInt32,
    _ sequences: ClosedRange<UInt64>
  ) async throws(JetStreamError) -> Set<[UInt8]> {
    let bound = EventPosition(entry: position, index: floor)
    var found: Set<[UInt8]> = []
    var high = sequences.upperBound
    while high >= sequences.lowerBound {
      let low = high - min(UInt64(Self.stride * 4) - 1, high - sequences.lowerBound)
      let messages = try await own(in: stream, low...high)
      for message in messages where message.position >= bound {
        found.insert(Array(message.id.utf8))
      }
      guard messages.allSatisfy({ $0.position >= bound }), low > 0 else { break }
      high = low - 1
    }
    return found
  }

  /// Our last message between the two sequences.
  ///
  /// Where it isn't near the end, whole stretches are read, each larger than the one behind it. The
  /// consumer that reads them may be served by a replica that lags; what a sequence holds is the same
  /// everywhere, and the leader says whether there is more.
  private func lastOwn(in stream: String, from last: UInt64, downTo floor: UInt64)
    async throws(JetStreamError)
    -> StreamObservation.Own?
  {
    let near = last - min(UInt64(Self.stride) - 1, last - floor)
    // The newest is the last, but for messages that were sent late.
    let newest = try await own(in: stream, near...last).max { $0.position < $1.position }
    if let newest { return newest }
    var end = near
    var size: UInt64 = 50_000
    while end > floor {
      let start = end - min(size, end - floor)
      let found = TailSearch(self, stream)
      try await read(stream, start, through: end - 1, into: found)
      if let newest = found.newest { return newest }
      end = start
      size = size < 1 << 40 ? size * 4 : size
    }
    return nil
  }

  /// How many messages lie between, whoever published them.
  private func survivors(in stream: String, after floor: UInt64, through last: UInt64)
    async throws(JetStreamError) -> UInt64
  {
    let found = TailSearch(self, stream)
    try await read(stream, floor + 1, through: last, into: found)
    return found.count
  }

  /// Hands all of a stretch to `search`, headers only.
  private func read(
    _ stream: String, _ first: UInt64, through last: UInt64, into search: TailSearch
  ) async throws(JetStreamError) {
    // No consumer was seen to deliver anything from there on.
    guard last <= UInt64(Int64.max) else {
      return try await step(stream, first, through: last, search)
    }
    var first = first
    for attempt in 1... {
      let scan = StreamScan(
        jetStream, stream: stream, from: first, through: last, headersOnly: true
      ) { view, sequence in search.take(view, sequence) }
      do {
        try await scan.run()
      } catch {
        // The right to make a consumer may lack. The leader's single answers are slower, and do.
        return try await step(stream, max(first, search.lastSequence &+ 1), through: last, search)
      }
      first = max(first, search.lastSequence &+ 1)
      guard first <= last, first > 0,
        let more = try await jetStream.nextMessage(in: stream, from: first),
        more.sequence <= last
      else { return }
      guard attempt < 20 else { break }
      try? await jetStream.connection.eventLoop.sleep(for: .milliseconds(50))
    }
    throw JetStreamError(
      code: 0, operation: "reading stream \(stream)",
      message: "the replica that serves the consumer lags behind the leader at \(first)",
      remedy: .backOff)
  }

  /// The same by single questions to the leader, one for each message that is there.
  private func step(
    _ stream: String, _ first: UInt64, through last: UInt64, _ search: TailSearch
  ) async throws(JetStreamError) {
    var next = first
    while next <= last, next > 0,
      let message = try await jetStream.nextMessage(in: stream, from: next),
      message.sequence <= last
    {
      search.take(message)
      next = message.sequence &+ 1
    }
  }

  /// Our messages among those sequences, oldest first.
  private func own(in stream: String, _ range: ClosedRange<UInt64>) async throws(JetStreamError)
    -> [StreamObservation.Own]
  {
    try await messages(in: stream, range).compactMap { own($0, in: stream) }
  }

  /// What those sequences hold, oldest first; all are asked for at once.
  private func messages(
    in stream: String, _ range: ClosedRange<UInt64>
  ) async throws(JetStreamError) -> [StoredMessage] {
    do {
      return try await withThrowingTaskGroup(of: StoredMessage?.self) { group in
        for sequence in range {
          group.addTask { try await jetStream.message(in: stream, at: sequence) }
        }
        var all: [StoredMessage] = []
        for try await one in group { if let one { all.append(one) } }
        return all.sorted { $0.sequence < $1.sequence }
      }
    } catch let error as JetStreamError {
      throw error
    } catch {
      throw JetStreamError(
        code: 0, operation: "STREAM.MSG.GET.\(stream)", message: "\(error)", remedy: .backOff)
    }
  }

  /// The message as one of ours; nil if it is somebody else's.
  package func own(_ message: StoredMessage, in stream: String) -> StreamObservation.Own? {
    ownership.own(message, in: stream, acknowledged: acknowledged[stream])
  }
}
