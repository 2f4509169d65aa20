/// What one nats-server version does differently from another.
///
/// Every rule was measured (docs/simulation.md). Tests change one to see that the comparison with a real server
/// finds it; nothing else should.
public struct ServerRules: Sendable, Equatable {
  /// Of a single message on a stream with one replica, sequences are compared before its id is looked up.
  public var comparesSequencesBeforeIDs: Bool
  /// A message's size comes before everything else.
  public var checksSizeFirst: Bool
  /// Requests with settings that the server does not know are refused.
  public var refusesUnknownSettings: Bool
  /// `Nats-Expected-Last-Subject-Sequence-Subject` is understood; before 2.11 it is ignored.
  public var knowsSequenceSubject: Bool
  /// `Nats-TTL` is understood: refused on streams that don't allow it.
  public var knowsMessageTTL: Bool
  public var knowsAtomicBatches: Bool
  public var knowsFastBatches: Bool
  /// An atomic batch may end with a message that is not stored (`Nats-Batch-Commit: eob`).
  public var knowsEndOfBatch: Bool
  /// Too many open batches have a code of their own; before, the batch was said to be incomplete.
  public var namesTooManyBatches: Bool
  /// With `discard: new`, a message that would fill `max_bytes` to the byte is refused already.
  public var refusesExactFit: Bool
  /// Purging what is below sequence 1 purges everything.
  public var purgesAllBelowOne: Bool
  /// A message that replaces all others of its subject may exceed `discard_new_per_subject`.
  public var rollupPassesSubjectLimit: Bool
  /// A rollup that nobody is interested in, and that is not stored therefore, removes all the same.
  public var rollsUpWithoutInterest: Bool
  /// A rollup of an unknown kind is dropped without an answer.
  public var dropsUnknownRollups: Bool
  /// Streams with several replicas compare expectations before they replicate, not when they apply.
  public var checksBeforeReplicating: Bool
  /// A replica refuses what exceeds the limits of `discard: new` when it applies it, too.
  public var checksLimitsWhenApplying: Bool
  /// A stream that begins to keep messages by interest removes what nobody is interested in.
  public var dropsUnwantedAtOnce: Bool
  /// A first limit of messages per subject is enforced when it is set, not only for what comes later.
  public var enforcesNewSubjectLimit: Bool
  /// `Nats-Stream-Source` is refused from publishers.
  public var refusesSourceHeader: Bool
  /// A durable consumer's settings have its name twice.
  public var namesDurables: Bool
  /// A consumer may begin behind the stream's end.
  public var startsBeyondTheEnd: Bool
  /// A pull that does not wait ends with 408 where it got messages, not 404.
  public var endsNoWaitAsTimeout: Bool
  /// That nobody takes a subject is said with that subject.
  public var namesUnansweredSubject: Bool
  /// A client's first PING is answered by INFO, too.
  public var confirmsConnect: Bool
  /// Acks have a blank more.
  public var spacesAcks: Bool
  /// Ids are forgotten after the window. (A deliberate error keeps them, or forgets them at once.)
  public var duplicateWindowPercent = 100

  /// The rules of `version`. What lies between measured versions takes the older one's.
  public init(_ version: ServerVersion) {
    let since11 = version >= ServerVersion(2, 11, 0)
    let since12 = version >= ServerVersion(2, 12, 1)
    let since14 = version >= ServerVersion(2, 14, 0)
    let since15 = version >= ServerVersion(2, 15, 0)
    comparesSequencesBeforeIDs = since12
    checksSizeFirst = since15
    refusesUnknownSettings = since12
    knowsSequenceSubject = since11
    knowsMessageTTL = since11
    knowsAtomicBatches = since12
    knowsFastBatches = since14
    knowsEndOfBatch = since14
    namesTooManyBatches = since14
    refusesExactFit = !since15
    purgesAllBelowOne = !since15
    rollupPassesSubjectLimit = since15
    rollsUpWithoutInterest = since11
    dropsUnknownRollups = !since11
    checksBeforeReplicating = since12
    checksLimitsWhenApplying = !since15
    refusesSourceHeader = since15
    dropsUnwantedAtOnce = since15
    enforcesNewSubjectLimit = since15
    namesDurables = since12
    startsBeyondTheEnd = since11
    endsNoWaitAsTimeout = !since11
    namesUnansweredSubject = since12
    spacesAcks = !since12
    confirmsConnect = since12
  }

  /// Open batches of each kind that one stream, and one server, has room for.
  static let atomicBatchesPerStream = 50
  static let atomicBatchesPerServer = 1000
  static let fastBatchesPerStream = 1000
  static let fastBatchesPerServer = 50_000
  static let largestAtomicBatch = 1000
  static let longestBatchID = 64
  static let longestHeaders = 65535
  /// A batch without traffic for so long is abandoned.
  static let batchPatience: Int64 = 10_000_000_000
}

public struct ServerVersion: Sendable, Hashable, Comparable, CustomStringConvertible {
  public var major: Int
  public var minor: Int
  public var patch: Int

  public init(_ major: Int, _ minor: Int, _ patch: Int) {
    self.major = major
    self.minor = minor
    self.patch = patch
  }

  /// From text like `2.15.1`.
  public init?(_ text: String) {
    let parts = text.split(separator: ".").map { Int($0) }
    guard parts.count == 3, let major = parts[0], let minor = parts[1], let patch = parts[2] else {
      return nil
    }
    self.init(major, minor, patch)
  }

  public static func < (one: Self, other: Self) -> Bool {
    (one.major, one.minor, one.patch) < (other.major, other.minor, other.patch)
  }

  public var description: String { "\(major).\(minor).\(patch)" }
}
