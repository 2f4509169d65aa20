import BSON
import Bridge
import BridgeConfiguration
import JSON
import JetStream
import MongoSource
import Oplog
import Synchronization
import Testing

@Suite("The keeper of checkpoints") struct CheckpointKeeperTests {
  /// A KV bucket and one stream, without a server.
  private final class Server: CheckpointServer {
    struct State {
      var stored: Checkpoint?
      var revision: UInt64 = 0
      var hasBucket = true
      var created: String? = "c1"
      var lastSequence: UInt64 = 0
      var messages: [UInt64: StoredMessage] = [:]
      /// Somebody deletes the stream just before the next message is read.
      var vanishes = false
      var failure: JetStreamError?
      /// The next write is stored, and its answer lost.
      var losesAnswer = false
      /// What was asked, in order.
      var asked: [String] = []
    }

    let state = Mutex(State())
    var name: String { "KV bucket test" }

    func change(_ body: @Sendable (inout State) -> Void) { state.withLock { body(&$0) } }
    /// What was asked since the last time.
    func asked() -> [String] {
      state.withLock { state in
        defer { state.asked = [] }
        return state.asked
      }
    }

    func ensure() async throws(JetStreamError) {
      change {
        $0.asked.append("ensure")
        if !$0.hasBucket { ($0.hasBucket, $0.stored, $0.revision) = (true, nil, 0) }
      }
    }

    func load() async throws -> (checkpoint: Checkpoint?, revision: UInt64) {
      state.withLock { state in
        state.asked.append("load")
        return (state.stored, state.revision)
      }
    }

    func save(_ checkpoint: Checkpoint, expecting revision: UInt64) async throws(JetStreamError)
      -> UInt64
    {
      let result = state.withLock { state -> Result<UInt64, JetStreamError> in
        state.asked.append("save")
        if let failure = state.failure { return .failure(failure) }
        guard state.hasBucket else { return .failure(Self.unanswered) }
        guard state.revision == revision else {
          return .failure(
            JetStreamError(code: JetStreamCode.wrongLastSequence, operation: "put"))
        }
        state.stored = checkpoint
        state.revision += 1
        if state.losesAnswer {
          state.losesAnswer = false
          return .failure(Self.unanswered)
        }
        return .success(state.revision)
      }
      return try result.get()
    }

    func revision() async throws(JetStreamError) -> UInt64 {
      state.withLock { state in
        state.asked.append("revision")
        return state.hasBucket ? state.revision : 0
      }
    }

    func exists() async throws(JetStreamError) -> Bool { state.withLock { $0.hasBucket } }

    func stream(_ name: String) async throws(JetStreamError) -> StreamInfo? {
      state.withLock { state in
        state.asked.append("stream")
        guard let created = state.created else { return nil }
        return StreamInfo([
          "created": .string(created),
          "state": ["last_seq": .int(state.lastSequence)],
        ])
      }
    }

    func message(in stream: String, at sequence: UInt64) async throws(JetStreamError)
      -> StoredMessage?
    {
      state.withLock { state in
        state.asked.append("message")
        if state.vanishes { (state.created, state.messages) = (nil, [:]) }
        return state.messages[sequence]
      }
    }

    static let unanswered = JetStreamError(
      code: 0, operation: "put", message: "no answer", remedy: .reread)
  }

  /// Takes note of marks.
  private final class Marks: StreamMarking {
    let written = Mutex<[String]>([])

    func set(_ mark: StreamMark, on stream: String, _ occasion: StreamMark.Occasion) async {
      written.withLock { $0.append("\(stream): \(mark)") }
    }

    func renew(_ stream: String, at resume: OplogPosition, isNews: Bool) async {
      written.withLock { $0.append("\(stream): unused since \(resume)\(isNews ? ", news" : "")") }
    }
  }

  /// A keeper at position 10, its server, and a clock that the test moves.
  private final class Kept {
    let server = Server()
    let marks = Marks()
    var keeper: CheckpointWriter<Server>

    init(_ base: Checkpoint = CheckpointKeeperTests.base) throws {
      let configuration = try BridgeConfiguration.parse(
        yaml: """
          source: { uri: "mongodb://h/?replicaSet=rs0", name: rs0 }
          bridge: { name: b }
          streams: [{ name: S, subjects: [s.>] }]
          rules: [{ name: r, match: { namespace: a.b }, subject: s.x }]
          """, file: "t.yaml", environment: [:])
      let clock = Clock()
      time = clock
      keeper = CheckpointWriter(
        store: server, board: StatusBoard(instance: "me"),
        ownership: MessageOwnership(configuration, source: "rs0"), base: base, revision: 0,
        marks: marks, now: { clock.now })
    }

    let time: Clock

    final class Clock: Sendable {
      private let at = Mutex(ContinuousClock.now)
      var now: ContinuousClock.Instant { at.withLock { $0 } }
      func advance(_ duration: Duration) { at.withLock { $0 += duration } }
    }

    var stored: Checkpoint? { server.state.withLock { $0.stored } }
  }

  private static func at(_ seconds: UInt32) -> OplogPosition {
    OplogPosition(seconds: seconds, increment: 1)
  }

  private static let origin = Checkpoint.Origin(position: at(5), inclusive: true)

  private static var base: Checkpoint {
    var base = Checkpoint(
      bridge: "b", source: "rs0", instance: "before", version: 7, resume: at(10), term: 1,
      origin: origin, streams: [:], configurationHash: "00")
    base.states = ["S": Checkpoint.StreamState(created: "c1")]
    return base
  }

  /// Everything before `seconds` is settled, and the stream has acknowledged `sequence` for the event at
  /// `event` (by default that at `seconds`).
  private static func mark(
    _ seconds: UInt32, acked sequence: UInt64? = nil, of event: UInt32? = nil
  ) -> PipelineMark {
    let position = EventPosition(entry: at(seconds), index: 0)
    let acked = EventPosition(entry: at(event ?? seconds), index: 0)
    return PipelineMark(
      resume: at(seconds), term: 1, settled: position, origin: origin,
      lanes: [
        (
          "S", "c1",
          sequence.map { AcknowledgedMessage(sequence: $0, position: acked, rule: "r") }
        )
      ])
  }

  /// The stream holds a message of the event at `seconds`.
  private static func store(
    _ server: Server, _ sequence: UInt64, of seconds: UInt32, bridge: String = "b"
  ) {
    var block = ByteWriter()
    block.append(
      Array(
        """
        NATS/1.0\r\nNats-Msg-Id: rs0:\(seconds).1.0\r\nTailrace-Position: \(seconds).1.0\r\n\
        Tailrace-Rule: r\r\nTailrace-Bridge: \(bridge)\r\n\r\n
        """.utf8))
    var text = ByteWriter()
    text.appendBase64(block.bytes)
    let json: JSONValue = [
      "subject": "s", "seq": .int(sequence),
      "hdrs": .string(String(decoding: text.bytes, as: UTF8.self)),
    ]
    let message = StoredMessage(json)
    server.change {
      $0.messages[sequence] = message
      $0.lastSequence = max($0.lastSequence, sequence)
    }
  }

  @Test func `the base is written before anything is published`() async throws {
    let kept = try Kept()
    try await kept.keeper.save(nil)
    var wanted = Self.base
    wanted.version = 8
    wanted.instance = "me"
    #expect(kept.stored == wanted)
    #expect(kept.keeper.current == wanted)
  }

  @Test func `nothing new is not written`() async throws {
    let kept = try Kept()
    try await kept.keeper.save(Self.mark(11))
    _ = kept.server.asked()
    try await kept.keeper.save(Self.mark(11))
    #expect(kept.server.asked() == [])
    // Yet it is checked, every few seconds, that stream and checkpoint are still there.
    kept.time.advance(.seconds(6))
    try await kept.keeper.save(Self.mark(11))
    #expect(kept.server.asked() == ["stream", "revision"])
    // Somebody removed it: it is written again.
    kept.time.advance(.seconds(6))
    kept.server.change { ($0.stored, $0.revision) = (nil, 9) }
    try await kept.keeper.save(Self.mark(11))
    #expect(kept.stored?.resume == Self.at(11))
  }

  @Test func `what was acknowledged is read back`() async throws {
    let kept = try Kept()
    Self.store(kept.server, 3, of: 11)
    try await kept.keeper.save(Self.mark(11, acked: 3))
    #expect(kept.server.asked() == ["stream", "message", "save"])
    #expect(kept.stored?.streams["S"]?.id == "rs0:11.1.0")
    #expect(kept.stored?.streams["S"]?.sequence == 3)
    #expect(kept.keeper.proven == kept.stored?.streams)
    #expect(kept.marks.written.withLock { $0 } == ["S: from 5.1"])
    // It is read once.
    try await kept.keeper.save(Self.mark(12, acked: 3, of: 11))
    #expect(!kept.server.asked().contains("message"))
  }

  @Test func `a stream that had all messages is remembered until it stores one`() async throws {
    let kept = try Kept()
    kept.server.change { $0.lastSequence = 2 }
    var mark = Self.mark(11)
    mark.had = ["S": MetMessages(to: EventPosition(entry: Self.at(11), index: 0), through: 2)]
    try await kept.keeper.save(mark)
    #expect(kept.server.asked() == ["stream", "save"])
    #expect(kept.stored?.states["S"]?.had?.position == mark.had["S"]?.to)
    #expect(kept.stored?.streams.isEmpty == true)
    #expect(kept.marks.written.withLock { $0 } == ["S: from 5.1"])
    // Nothing newer, from a lane that met none.
    try await kept.keeper.save(Self.mark(12))
    #expect(kept.stored?.states["S"]?.had?.position == mark.had["S"]?.to)
    Self.store(kept.server, 3, of: 13)
    try await kept.keeper.save(Self.mark(13, acked: 3))
    #expect(kept.stored?.states["S"]?.hadTo == nil)
    #expect(kept.stored?.streams["S"]?.sequence == 3)
    // One that was made again is not believed, nor one that ends before them.
    for (created, last) in [("c2", UInt64(2)), ("c1", 1)] {
      let other = try Kept()
      other.server.change { ($0.created, $0.lastSequence) = (created, last) }
      await #expect(throws: JetStreamError.self) { try await other.keeper.save(mark) }
    }
  }

  /// What the stream holds where it acknowledged sequence 3 for the event at 11.
  private static let mismatches: [@Sendable (Server) -> Void] = [
    { store($0, 3, of: 12) },
    { store($0, 3, of: 11, bridge: "other") },
    { store($0, 2, of: 11) },
    {
      store($0, 3, of: 11)
      $0.change { $0.created = "c2" }
    },
    {
      store($0, 3, of: 11)
      $0.change { $0.created = nil }
    },
  ]

  @Test(arguments: mismatches.indices) func `a stream that holds something else`(number: Int)
    async throws
  {
    let kept = try Kept()
    try await kept.keeper.save(nil)
    Self.mismatches[number](kept.server)
    let error = await #expect(throws: JetStreamError.self) {
      try await kept.keeper.save(Self.mark(11, acked: 3))
    }
    #expect(error?.remedy == .reread)
    // Nothing of it is believed.
    #expect(kept.stored?.resume == Self.at(10))
    #expect(kept.keeper.current.streams.isEmpty)
    #expect(kept.keeper.proven.isEmpty)
  }

  @Test func `a stream that is deleted before its message is read back`() async throws {
    let kept = try Kept()
    Self.store(kept.server, 3, of: 11)
    kept.server.change { $0.vanishes = true }
    let error = await #expect(throws: JetStreamError.self) {
      try await kept.keeper.save(Self.mark(11, acked: 3))
    }
    #expect(error?.message == "sequence 3 was acknowledged, and the stream was deleted")
    #expect(kept.stored == nil)
  }

  @Test func `a stream that ends before what it acknowledged`() async throws {
    let kept = try Kept()
    Self.store(kept.server, 2, of: 11)
    let error = await #expect(throws: JetStreamError.self) {
      try await kept.keeper.save(Self.mark(11, acked: 3))
    }
    #expect(error?.message == "sequence 3 was acknowledged, the stream ends at 2")
  }

  @Test func `a limit has removed what was acknowledged`() async throws {
    let kept = try Kept()
    kept.server.change { $0.lastSequence = 5 }
    try await kept.keeper.save(Self.mark(11, acked: 3))
    #expect(kept.stored?.streams["S"]?.id == "")
    #expect(kept.stored?.streams["S"]?.sequence == 3)
  }

  @Test func `a stream that vanishes while nothing is published`() async throws {
    let kept = try Kept()
    Self.store(kept.server, 3, of: 11)
    try await kept.keeper.save(Self.mark(11, acked: 3))
    kept.server.change { $0.lastSequence = 2 }
    // Not asked yet …
    try await kept.keeper.save(Self.mark(11, acked: 3))
    kept.time.advance(.seconds(6))
    // … and now.
    await #expect(throws: JetStreamError.self) {
      try await kept.keeper.save(Self.mark(11, acked: 3))
    }
    // A halted stream is not looked at.
    var base = Self.base
    base.states["S"]?.halted = Self.at(9)
    let halted = try Kept(base)
    halted.server.change { $0.created = nil }
    try await halted.keeper.save(Self.mark(11))
    halted.time.advance(.seconds(6))
    try await halted.keeper.save(Self.mark(11))
  }

  @Test func `a write whose answer was lost`() async throws {
    let kept = try Kept()
    kept.server.change { $0.losesAnswer = true }
    await #expect(throws: JetStreamError.self) { try await kept.keeper.save(Self.mark(11)) }
    // The next one finds that of this instance, and replaces it.
    try await kept.keeper.save(Self.mark(12))
    #expect(kept.stored?.resume == Self.at(12))
    try await kept.keeper.save(Self.mark(13))
    #expect(kept.stored?.resume == Self.at(13))
  }

  @Test func `another instance writes`() async throws {
    let kept = try Kept()
    try await kept.keeper.save(Self.mark(11))
    var theirs = Self.base
    theirs.instance = "other"
    theirs.resume = Self.at(20)
    kept.server.change { [theirs] in ($0.stored, $0.revision) = (theirs, $0.revision + 1) }
    let error = await #expect(throws: BridgeError.self) {
      try await kept.keeper.save(Self.mark(12))
    }
    guard case .displaced = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(kept.stored == theirs)
  }

  @Test func `the write of an epoch that has ended replaces nothing`() async throws {
    let kept = try Kept()
    try await kept.keeper.save(Self.mark(11))
    // A later epoch of this instance has written meanwhile.
    var later = try #require(kept.stored)
    later.resume = Self.at(30)
    kept.server.change { [later] in ($0.stored, $0.revision) = (later, $0.revision + 1) }
    let writing = Task { [keeper = kept.keeper] in
      var keeper = keeper
      withUnsafeCurrentTask { $0?.cancel() }
      try await keeper.save(Self.mark(12))
    }
    await #expect(throws: CancellationError.self) { try await writing.value }
    #expect(kept.stored == later)
  }

  @Test func `a bucket that was deleted is created again`() async throws {
    let kept = try Kept()
    try await kept.keeper.save(Self.mark(11))
    kept.server.change { $0.hasBucket = false }
    try await kept.keeper.save(Self.mark(12))
    #expect(kept.stored?.resume == Self.at(12))
    // A write that fails while the bucket exists is an error, and nothing is counted as saved.
    kept.server.change { $0.failure = Server.unanswered }
    _ = kept.server.asked()
    await #expect(throws: JetStreamError.self) { try await kept.keeper.save(Self.mark(13)) }
    #expect(!kept.server.asked().contains("ensure"))
    #expect(kept.keeper.current.resume == Self.at(12))
  }

  @Test func `a refill ends with what is settled`() async throws {
    var base = Self.base
    base.states["S"]?.refillTo = EventPosition(entry: Self.at(12), index: 0)
    base.states["S"]?.hasLater = true
    base.earlierRulesTo = EventPosition(entry: Self.at(13), index: 0)
    let kept = try Kept(base)
    try await kept.keeper.save(Self.mark(11))
    #expect(kept.stored?.states["S"]?.refillTo != nil)
    // A stream that is being refilled is not marked as one that lacks nothing.
    #expect(kept.marks.written.withLock { $0 } == [])
    try await kept.keeper.save(Self.mark(12))
    #expect(kept.stored?.states["S"] == Checkpoint.StreamState(created: "c1"))
    #expect(kept.stored?.earlierRulesTo != nil)
    try await kept.keeper.save(Self.mark(13))
    #expect(kept.stored?.earlierRulesTo == nil)
    // What is settled never moves back.
    try await kept.keeper.save(Self.mark(12))
    #expect(kept.stored?.settled == EventPosition(entry: Self.at(13), index: 0))
  }

  @Test func `a finished snapshot`() async throws {
    var base = Self.base
    base.snapshot = Checkpoint.Snapshot(at: ResumePoint(position: Self.at(10)))
    let kept = try Kept(base)
    Self.store(kept.server, 3, of: 10)
    try await kept.keeper.save(Self.mark(10, acked: 3))
    #expect(kept.marks.written.withLock { $0 } == ["S: snapshot"])
    try await kept.keeper.save(
      Self.mark(10, acked: 3), finishingSnapshotAt: ResumePoint(position: Self.at(10), term: 4))
    #expect(kept.stored?.snapshot?.isOver == true)
    #expect(kept.stored?.term == 4)
  }

  @Test func `messages of others at a stream's end are not ours`() async throws {
    let kept = try Kept()
    Self.store(kept.server, 3, of: 11)
    try await kept.keeper.save(Self.mark(11, acked: 3), others: ["S": 3, "T": 9])
    #expect(kept.stored?.states["S"]?.uncounted == nil)
    try await kept.keeper.save(Self.mark(11, acked: 3), isFinal: true, others: ["S": 8])
    #expect(kept.stored?.states["S"]?.uncounted == 8)
    #expect(kept.stored?.states.count == 1)
    #expect(kept.stored?.isFinal == true)
  }

  @Test(arguments: [true, false])
  func `a final checkpoint keeps what is to be met`(bySequence: Bool) async throws {
    var base = Self.base
    base.states["S"]?.inherited = InheritedMessages(
      through: 4, until: Self.at(12), since: ServerTime(seconds: 1_700_000_000), byIDs: false)
    let kept = try Kept(base)
    Self.store(kept.server, 3, of: 11)
    try await kept.keeper.save(Self.mark(11, acked: 3), isFinal: true)
    #expect(kept.stored?.isFinal == true && kept.stored?.states["S"]?.inherited != nil)
    if bySequence {
      Self.store(kept.server, 4, of: 12)
      try await kept.keeper.save(Self.mark(12, acked: 4), isFinal: true)
    } else {
      // Fewer of them were the bridge's than could be.
      try await kept.keeper.save(Self.mark(13, acked: 3, of: 11), isFinal: true)
    }
    #expect(kept.stored?.isFinal == true && kept.stored?.states["S"]?.inherited == nil)
  }

  @Test func `an epoch that has ended asks nobody`() async throws {
    let kept = try Kept()
    try await kept.keeper.save(nil)
    _ = kept.server.asked()
    kept.keeper.remember(Self.mark(11, acked: 3))
    #expect(kept.server.asked() == [])
    #expect(kept.keeper.current.resume == Self.at(11))
    #expect(kept.keeper.current.streams["S"]?.sequence == 3)
    // It was not read back.
    #expect(kept.keeper.proven.isEmpty)
    #expect(kept.stored?.resume == Self.at(10))
  }
}
