public import Oplog

/// A member of a `SimulatedReplicaSet`, as others see it.
public struct SimulatedMember: Sendable {
  /// The process runs.
  public internal(set) var isUp = true
  /// Clients can reach it.
  public internal(set) var isReachable = true
  /// It takes itself for the primary. Two members can, for a while.
  public internal(set) var isPrimary = false
  /// It lags too far behind or has no data: it answers no reads until `resync`.
  public internal(set) var isRecovering = false
  /// The latest election it has heard of.
  public internal(set) var term: Int64 = 0
  /// Nanoseconds that its clock is ahead of the world's.
  public internal(set) var clockOffset: Int64 = 0
  /// Its oplog.
  var log = MemberLog()
  /// It knows that so many entries of the history are committed.
  var knownCommitted = 0
  var cursors: [Cursor] = []

  /// How many entries its oplog holds.
  public var entryCount: Int { log.end - log.start }
  /// How many entries its history has, with those that its oplog no longer holds.
  public var historyLength: Int { log.end }
  public var openCursors: Int { cursors.count }
  /// How many entries of its history it gives to majority reads.
  var committedEnd: Int { min(knownCommitted, log.end) }
}

/// A tailable cursor on the oplog.
struct Cursor: Sendable {
  var id: Int64
  var from: OplogPosition
  var majority: Bool
  /// The index of the entry to look at next.
  var next: Int
  var hasLooked = false

  /// The oplog no longer has what it looked at last, or was to look at next.
  func isLost(in log: MemberLog) -> Bool { log.start > (hasLooked ? next - 1 : next) }
}

/// What a member answers instead of entries.
public enum ServerAnswer: Error, Equatable, Sendable {
  /// It doesn't answer.
  case unreachable
  /// The server's code and text.
  case error(code: UInt32, message: String)

  public static func cursorNotFound(_ id: Int64) -> ServerAnswer {
    .error(code: 43, message: "cursor id \(id) not found")
  }

  public static let positionLost = ServerAnswer.error(
    code: 136,
    message: "CollectionScan died due to position in capped collection being deleted.")
  public static let recovering = ServerAnswer.error(
    code: 13436, message: "node is not in primary or recovering state")
}

/// What `replicate` did.
public enum Replication: Equatable, Sendable {
  case applied(Int)
  /// It had entries that the primary doesn't have, and removed them.
  case rolledBack(Int)
  /// No connection between the two, or no primary.
  case unconnected
  /// The primary no longer holds what it needs.
  case tooStale
}

/// An entry that a majority had, so that it can't be rolled back.
public struct CommittedEntry: Sendable {
  public var position: OplogPosition
  public var term: Int64
  /// Its number, for `bytes`.
  public var number: Int
}
