/// How messages reach a stream in order and without gaps. See docs/publish-protocols.md.
public enum PublishProtocol: String, Sendable, CaseIterable {
  /// Each message names the stream sequence it expects to follow; one ack a message. Any server.
  case chain
  /// Batches of up to 1,000, stored whole or not at all. nats-server 2.12.1, `allow_atomic`.
  case atomic
  /// Fast ingest with `gap=fail`; the server acks every few hundred. nats-server 2.14, `allow_batched`.
  case fast
  /// One message at a time. For streams that others publish to on older servers.
  case single
}

/// Where a lane writes: one per stream and connection epoch.
public struct LaneOptions: Sendable {
  public var stream: String
  public var mode: PublishProtocol
  /// True: we are the stream's only publisher, and each message (or batch) asserts the sequence
  /// it follows, so that anything unexpected is refused instead of interleaved.
  public var exclusive: Bool
  /// The chain also names the id that each message follows, so that a foreign message can't lead to
  /// a gap. Not for replicated streams: a follower that had to catch up does not know the last id,
  /// refuses what its leader stored and never becomes current again (seen on nats-server 2.15.1).
  public var assertsPredecessor: Bool
  /// The stream's last sequence when the epoch began.
  public var baseSequence: UInt64
  /// Subject prefix that this lane's acks arrive under, without a dot at its end.
  public var inbox: String
  /// Unique among all batches ever sent to the stream; at most 40 characters.
  public var batchPrefix: String
  /// Most unacknowledged messages.
  public var window: Int
  /// Most unacknowledged bytes.
  public var windowBytes: Int
  /// The stream has more than one replica.
  public var isReplicated = false
  /// Whether ids are looked up before anything is published (`PublishLane+Screening`).
  public var screening: Screening
  /// The stream lets any server that has its messages answer for one (`allow_direct`).
  public var readsDirectly = false
  /// Tells an event that is stored already from another one under the same id. Nil: ids say all, and
  /// what the stream has under one is the event.
  public var judge: DuplicateJudge?
  /// What the stream was found to hold before the lane began (`PublishLane.takesKnownIDs`).
  public var known: StoredIDs?
  /// Of a stream that others publish to as well: each message (in an atomic batch, the first) asserts it.
  public var fence: Fence?

  /// The last message on a subject of the stream: whoever moves it shuts out all who assert an earlier one.
  public struct Fence: Sendable, Equatable {
    public var subject: String
    /// 0: there has been no message.
    public var sequence: UInt64

    public init(subject: String, sequence: UInt64) {
      self.subject = subject
      self.sequence = sequence
    }
  }

  /// When a lane asks the stream which ids it holds before it publishes them.
  public enum Screening: Sendable {
    /// Not at all. A duplicate that this protocol can't settle in passing ends the epoch.
    case never
    /// Until no duplicate was met for a long while.
    case whileNeeded
    /// Where the protocol does not tell duplicates.
    case always
  }

  public init(
    stream: String, mode: PublishProtocol, exclusive: Bool, baseSequence: UInt64, inbox: String,
    batchPrefix: String, assertsPredecessor: Bool = true, window: Int = 4096,
    windowBytes: Int = 8 << 20, screening: Screening = .never, judge: DuplicateJudge? = nil
  ) {
    self.stream = stream
    self.mode = mode
    self.exclusive = exclusive
    self.assertsPredecessor = assertsPredecessor
    self.baseSequence = baseSequence
    self.inbox = inbox
    self.batchPrefix = batchPrefix
    self.window = window
    self.windowBytes = windowBytes
    self.screening = screening
    self.judge = judge
  }
}

extension LaneOptions.Fence {
  /// The header lines of a message that asserts it (nats-server 2.11 and later).
  var assertion: [UInt8] {
    Array(
      """
      Nats-Expected-Last-Subject-Sequence: \(sequence)\r
      Nats-Expected-Last-Subject-Sequence-Subject: \(subject)\r

      """.utf8)
  }
}
