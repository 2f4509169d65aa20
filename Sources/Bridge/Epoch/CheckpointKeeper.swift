import DeliberateErrors
package import JetStream
package import MongoSource
import Oplog

/// The keeper of a running bridge.
typealias CheckpointKeeper = CheckpointWriter<CheckpointStore>

/// What a checkpoint is written to, and the streams that it is about.
package protocol CheckpointServer: Sendable {
  /// For messages about the place.
  var name: String { get }
  /// Makes the place, if it is missing.
  func ensure() async throws(JetStreamError)
  /// The stored checkpoint and the revision to assert when replacing it.
  func load() async throws -> (checkpoint: Checkpoint?, revision: UInt64)
  /// Replaces it; code 10071 if somebody else did first.
  func save(_ checkpoint: Checkpoint, expecting revision: UInt64) async throws(JetStreamError)
    -> UInt64
  func revision() async throws(JetStreamError) -> UInt64
  /// Whether the place is there.
  func exists() async throws(JetStreamError) -> Bool
  /// Nil where there is no stream of that name.
  func stream(_ name: String) async throws(JetStreamError) -> StreamInfo?
  /// Nil where the stream has no message at that sequence, or there is none.
  func message(in stream: String, at sequence: UInt64) async throws(JetStreamError)
    -> StoredMessage?
}

/// Turns low-water marks into checkpoints: reads each stream's last acknowledged message back from
/// its leader, and writes the result with a compare-and-set.
package struct CheckpointWriter<Store: CheckpointServer>: Sendable {
  let store: Store
  let board: StatusBoard
  let ownership: MessageOwnership
  package private(set) var current: Checkpoint
  /// What each stream had when it was last seen to be the one that the epoch began with.
  package private(set) var proven: [String: Checkpoint.Stream]
  /// Of the last mark, by stream: messages that were sent and not acknowledged.
  private(set) var unanswered: [String: Int]?
  private var revision: UInt64
  private var everSaved = false
  private var marks: any StreamMarking
  private let now: @Sendable () -> ContinuousClock.Instant
  private var seenAt: ContinuousClock.Instant
  private var lookedAt: ContinuousClock.Instant

  package init(
    store: Store, board: StatusBoard, ownership: MessageOwnership, base: Checkpoint,
    revision: UInt64, marks: any StreamMarking,
    now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
  ) {
    self.marks = marks
    self.store = store
    self.board = board
    self.ownership = ownership
    self.current = base
    self.now = now
    proven = base.streams
    self.revision = revision
    seenAt = now()
    lookedAt = seenAt
  }

  /// Writes what `mark` says (nil: the base as it is), unless KV has it already.
  ///
  /// Throws `JetStreamError` with remedy `reread` when a stream does not hold what it acknowledged,
  /// `BridgeError.displaced` when another instance writes this checkpoint.
  ///
  /// - Parameters:
  ///   - place: the snapshot is over, and all of it acknowledged; the tail continues from there.
  ///   - isFinal: nothing is sent behind the mark.
  ///   - others: ends of exclusive streams that have nothing of ours behind what is acknowledged.
  package mutating func save(
    _ mark: PipelineMark?, finishingSnapshotAt place: ResumePoint? = nil, isFinal: Bool = false,
    others: [String: UInt64] = [:]
  ) async throws {
    var next = mark.map(current.applying) ?? current
    try await lookAtStreams(next)
    next.isFinal = isFinal && next.canBeFinal(mark)
    next.note(others: others)
    if let place {
      next.resume = place.position
      next.term = place.term
      next.snapshot?.marker = nil
    }
    if next == current, everSaved, try await isStillThere() {
      board.update { [now] in $0.checkpointAt = now() }
      return
    }
    for (name, stream) in next.streams
    where (stream.id.isEmpty || current.streams[name] != stream) && next.states[name]?.halted == nil
    {
      next.streams[name]?.id = try await readBack(name, stream)
    }
    let mark: StreamMark =
      next.snapshot?.isOver == false
      ? .snapshot : .used(from: next.origin.position, inclusive: next.origin.inclusive)
    for (name, stream) in next.streams where current.streams[name] != stream {
      await marks.set(mark, on: name, .repeated)
    }
    for (name, state) in next.states where state.hadTo != nil && current.states[name]?.hadTo == nil
    {
      await marks.set(mark, on: name, .repeated)
    }
    if next.snapshot?.isOver ?? true, next.resume >= next.origin.position {
      for (name, state) in next.states
      where next.streams[name] == nil && state.halted == nil && state.refillTo == nil
        && state.hadTo == nil
      {
        await marks.renew(name, at: next.resume, isNews: place != nil)
      }
    }
    next.version &+= 1
    next.instance = board.instance
    do {
      revision = try await store.save(next, expecting: revision)
    } catch {
      if error.code == JetStreamCode.wrongLastSequence {
        try await adopt(next)
      } else {
        // Only if the bucket is absent was it deleted: an unanswered write may mean that there is no leader.
        guard try await !store.exists() else { throw error }
        try await store.ensure()
        // Another instance may have been as quick.
        try await adopt(next)
        board.note(error: "\(store.name) was deleted; it is created again")
      }
    }
    current = next
    proven = next.streams
    everSaved = true
    seenAt = now()
    board.update { [seenAt] in
      $0.checkpoint = next
      $0.checkpointAt = seenAt
      $0.checkpointError = nil
    }
  }

  /// Takes the mark over without asking the servers: the epoch has ended.
  package mutating func remember(_ mark: PipelineMark) {
    current = current.applying(mark)
    if DeliberateError.isOn(.memoryTrusted), let read = mark.read {
      current.resume = read
      current.term = nil
      current.settled = EventPosition(entry: read, index: .max)
    }
    unanswered = mark.unanswered
  }

  /// The id of what we believe to be at that sequence. Empty when a limit removed it since.
  private func readBack(_ name: String, _ stream: Checkpoint.Stream) async throws -> String {
    guard let message = try await store.message(in: name, at: stream.sequence) else {
      guard let info = try await store.stream(name) else {
        throw mismatch(
          name, "sequence \(stream.sequence) was acknowledged, and the stream was deleted")
      }
      guard info.lastSequence >= stream.sequence else {
        throw mismatch(
          name,
          "sequence \(stream.sequence) was acknowledged, the stream ends at \(info.lastSequence)")
      }
      return ""
    }
    guard let own = ownership.own(message, in: name, acknowledged: current.streams[name]),
      own.position == stream.position
    else {
      throw mismatch(
        name,
        "sequence \(stream.sequence) was acknowledged for \(stream.position), it holds \(Self.words(message))"
      )
    }
    return own.id
  }

  private static func words(_ message: StoredMessage) -> String {
    let own = message.own
    guard let position = own.positionText else {
      return "a message of another producer"
    }
    return own.bridge.map { "\(position) of bridge \($0)" } ?? position
  }

  private func mismatch(_ name: String, _ what: String) -> JetStreamError {
    JetStreamError(code: 0, operation: "checkpoint of \(name)", message: what, remedy: .reread)
  }

  /// Checks every few seconds that each stream is the one that the epoch began with, even while nothing is
  /// published: a stream that somebody deleted is created again and refilled.
  ///
  /// A new acknowledgement is believed only after this check: if the stream was deleted and created again
  /// during the epoch, it came from the new stream, which lacks what the old one held.
  private mutating func lookAtStreams(_ next: Checkpoint) async throws(JetStreamError) {
    let isDue = now() - lookedAt > Self.interval
    if isDue { lookedAt = now() }
    for (name, state) in current.states where state.halted == nil {
      guard
        isDue || next.streams[name] != current.streams[name]
          || next.states[name]?.had != state.had
      else { continue }
      guard let info = try await store.stream(name) else {
        throw mismatch(name, "the stream was deleted")
      }
      guard info.created == state.created else {
        throw mismatch(
          name,
          "the stream created at \(state.created) was deleted, and another one created at \(info.created)"
        )
      }
      if let acked = current.streams[name], acked.created == info.created,
        info.lastSequence < acked.sequence
      {
        throw mismatch(
          name,
          "sequence \(acked.sequence) was acknowledged, the stream ends at \(info.lastSequence)")
      }
      if let had = next.states[name]?.had, info.lastSequence < had.sequence {
        throw mismatch(
          name,
          "it had messages up to sequence \(had.sequence), the stream ends at \(info.lastSequence)")
      }
    }
  }

  /// Checks every few seconds that the saved checkpoint is still there, even while nothing changes.
  private mutating func isStillThere() async throws(JetStreamError) -> Bool {
    guard now() - seenAt > Self.keyInterval else { return true }
    do {
      guard try await store.revision() == revision else { return false }
    } catch {
      guard error.code == JetStreamCode.streamNotFound else { throw error }
      return false
    }
    seenAt = now()
    return true
  }

  /// How often the servers are asked while nothing changes.
  private static var interval: Duration { .seconds(5) }
  /// Whether the checkpoint is there: its bucket holds the lease as well, which must not lapse.
  private static var keyInterval: Duration { .seconds(2) }

  /// The compare-and-set failed: either our own write of unknown outcome was stored, or another instance
  /// writes.
  private mutating func adopt(_ next: Checkpoint) async throws {
    let (stored, found) = try await store.load()
    if let stored, stored.instance != board.instance {
      guard let mine = next.epoch, let other = stored.epoch, other < mine else {
        throw BridgeError.displaced(
          "instance \(stored.instance) writes the checkpoint of bridge \(next.bridge) now")
      }
      // An earlier leader's last write came between reading the checkpoint and this.
      throw mismatch(
        "the checkpoint",
        "instance \(stored.instance) wrote it in epoch \(other), after this leader had read it")
    }
    // A write of an epoch that has ended must not replace a later one.
    try Task.checkCancellation()
    revision = try await store.save(next, expecting: found)
  }
}
