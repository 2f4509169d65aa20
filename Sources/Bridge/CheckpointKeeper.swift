import JetStream
import MongoSource
import Oplog

/// Turns low-water marks into checkpoints: reads each stream's last acknowledged message back from
/// its leader, and writes the result with a compare-and-set.
struct CheckpointKeeper: Sendable {
  let store: CheckpointStore
  let board: StatusBoard
  private(set) var current: Checkpoint
  private var revision: UInt64
  private var everSaved = false

  init(store: CheckpointStore, board: StatusBoard, base: Checkpoint, revision: UInt64) {
    self.store = store
    self.board = board
    self.current = base
    self.revision = revision
  }

  /// Writes what `mark` says (nil: the base as it is), unless KV has it already.
  ///
  /// Throws `JetStreamError` with remedy `reread` when a stream does not hold what it acknowledged,
  /// `BridgeError.displaced` when another instance writes this checkpoint.
  ///
  /// `place`: the snapshot is over, and all of it acknowledged; the tail goes on from there.
  mutating func save(
    _ mark: PipelineMark?, finishingSnapshotAt place: ResumePoint? = nil
  ) async throws {
    var next = mark.map(applying) ?? current
    if let place {
      next.resume = place.position
      next.term = place.term
      next.snapshot?.marker = nil
    }
    guard next != current || !everSaved else {
      board.update { $0.checkpointAt = .now }
      return
    }
    for (name, stream) in next.streams where stream.id.isEmpty || current.streams[name] != stream {
      next.streams[name]?.id = try await readBack(name, stream)
    }
    next.version &+= 1
    next.instance = board.instance
    do {
      revision = try await store.save(next, expecting: revision)
    } catch {
      guard error.code == JetStreamCode.wrongLastSequence else { throw error }
      try await adopt(next)
    }
    current = next
    everSaved = true
    board.update {
      $0.checkpoint = next
      $0.checkpointAt = .now
      $0.checkpointError = nil
    }
  }

  /// Takes the mark over without a word to the servers: the epoch ended under us.
  mutating func remember(_ mark: PipelineMark) { current = applying(mark) }

  private func applying(_ mark: PipelineMark) -> Checkpoint {
    var next = current
    next.resume = mark.resume
    next.term = mark.term
    if let token = mark.token { next.resumeToken = token.bytes }
    if let snapshot = mark.snapshot { next.snapshot = snapshot }
    for lane in mark.lanes {
      guard let acked = lane.acked else { continue }
      if let known = next.streams[lane.name], known.sequence == acked.sequence,
        known.position == acked.position
      {
        continue
      }
      next.streams[lane.name] = Checkpoint.Stream(
        sequence: acked.sequence, id: "", position: acked.position, rule: acked.rule,
        created: lane.created)
    }
    return next
  }

  /// The id of what we believe to be at that sequence. Empty when a limit removed it since.
  private func readBack(_ name: String, _ stream: Checkpoint.Stream) async throws -> String {
    let jetStream = store.bucket.jetStream
    guard let message = try await jetStream.message(in: name, at: stream.sequence) else {
      let info = try await jetStream.stream(name)
      guard let info, info.lastSequence >= stream.sequence else {
        throw mismatch(
          name,
          "sequence \(stream.sequence) was acknowledged, the stream ends at \(info?.lastSequence ?? 0)"
        )
      }
      return ""
    }
    guard message.header("Tailrace-Position") == stream.position.description else {
      throw mismatch(
        name,
        "sequence \(stream.sequence) was acknowledged for \(stream.position), it holds \(message.header("Tailrace-Position") ?? "a message of somebody else")"
      )
    }
    return message.header("Nats-Msg-Id") ?? ""
  }

  private func mismatch(_ name: String, _ what: String) -> JetStreamError {
    JetStreamError(code: 0, operation: "checkpoint of \(name)", message: what, remedy: .reread)
  }

  /// The compare-and-set failed: either our own write of unknown outcome was stored, or somebody
  /// else writes.
  private mutating func adopt(_ next: Checkpoint) async throws {
    let (stored, found) = try await store.load()
    if let stored, stored.instance != board.instance {
      throw BridgeError.displaced(
        "instance \(stored.instance) writes the checkpoint of bridge \(next.bridge) now; two instances of one bridge must not run together"
      )
    }
    revision = try await store.save(next, expecting: found)
  }
}
