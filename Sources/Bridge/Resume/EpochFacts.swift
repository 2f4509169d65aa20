package import MongoSource
package import Oplog

/// A question to a server that a decision depends on, besides what every epoch reads.
package enum EpochQuestion: Hashable, Sendable {
  /// The newest entry that a majority has.
  case newestEntry
  case oldestEntry
  /// The entry at a position that an operator or the configuration names.
  case markedEntry(OplogPosition)
  /// Why no member can be read from a position on.
  case loss(of: OplogPosition)
  /// The first entry at or after a position.
  case firstEntry(from: OplogPosition)
  /// Where the transaction began that has an entry at this position.
  case transactionStart(OplogPosition)
  /// When the stored checkpoint was written, by the servers' clock.
  case checkpointTime
  /// Why a first start at `now` may not be a first start.
  case unnamedTrace
  /// The bridge's own messages of events behind a position: all behind a sequence, and before that
  /// sequence those that are reached without meeting an earlier event.
  case messages(
    stream: String, since: EventPosition, behind: UInt64, first: UInt64, through: UInt64)
  /// Ids of the bridge's own messages of a snapshot.
  case snapshotIDs(
    stream: String, snapshot: OplogPosition, floor: UInt32, first: UInt64, last: UInt64)
}

/// The answer to an `EpochQuestion`.
package enum EpochAnswer: Sendable {
  case entry(ResumePoint?)
  case mark(MongoAdmin.MarkPlace)
  /// Nil: the servers don't report times.
  case time(CheckpointTime?)
  /// Nil: there is none.
  case reason(String?)
  /// Nil: too many.
  case messages([StreamObservation.Own]?)
  case ids(Set<[UInt8]>)
}

/// When the stored checkpoint was written, and what the servers' clock says now.
package struct CheckpointTime: Sendable, Equatable {
  package var written: ServerTime
  package var now: ServerTime

  package init(written: ServerTime, now: ServerTime) {
    self.written = written
    self.now = now
  }

  /// Rounded up.
  func age(since moment: ServerTime) -> Duration {
    .seconds(max(now.seconds - moment.seconds, 0) + 1)
  }
}

/// Why there is no decision yet, or can't be one.
package enum Undecided: Error, Sendable {
  /// It depends on this question: answer it and decide again.
  case asks(EpochQuestion)
  /// An operator must decide.
  case refused(BridgeError)

  /// Answers a question. Throws if an operator must decide.
  var question: EpochQuestion {
    get throws(BridgeError) {
      switch self {
      case .asks(let question): return question
      case .refused(let why): throw why
      }
    }
  }
}

/// The answers that a decision has so far.
///
/// A decision is a pure function of the situation and of these. It asks by throwing, so its code reads as if it
/// knew everything, only questions that matter are asked, and tests can give any answers.
package struct EpochFacts: Sendable {
  private var answers: [EpochQuestion: EpochAnswer] = [:]

  package init() {}

  /// How many questions were answered.
  package var count: Int { answers.count }

  package subscript(question: EpochQuestion) -> EpochAnswer? {
    get { answers[question] }
    set { answers[question] = newValue }
  }

  private func answer(_ question: EpochQuestion) throws(Undecided) -> EpochAnswer {
    guard let answer = answers[question] else { throw .asks(question) }
    return answer
  }

  func newestEntry() throws(Undecided) -> ResumePoint {
    try entry(.newestEntry)
  }

  func oldestEntry() throws(Undecided) -> ResumePoint {
    try entry(.oldestEntry)
  }

  func firstEntry(from position: OplogPosition) throws(Undecided) -> ResumePoint? {
    guard case .entry(let entry) = try answer(.firstEntry(from: position)) else {
      throw .asks(.firstEntry(from: position))
    }
    return entry
  }

  func transactionStart(_ previous: OplogPosition) throws(Undecided) -> OplogPosition? {
    guard case .entry(let entry) = try answer(.transactionStart(previous)) else {
      throw .asks(.transactionStart(previous))
    }
    return entry?.position
  }

  func place(of mark: OplogPosition) throws(Undecided) -> MongoAdmin.MarkPlace {
    guard case .mark(let place) = try answer(.markedEntry(mark)) else {
      throw .asks(.markedEntry(mark))
    }
    return place
  }

  func checkpointTime() throws(Undecided) -> CheckpointTime? {
    guard case .time(let time) = try answer(.checkpointTime) else { throw .asks(.checkpointTime) }
    return time
  }

  func unnamedTrace() throws(Undecided) -> String? {
    try reason(.unnamedTrace)
  }

  func loss(of mark: OplogPosition) throws(Undecided) -> String? {
    try reason(.loss(of: mark))
  }

  private func reason(_ question: EpochQuestion) throws(Undecided) -> String? {
    guard case .reason(let reason) = try answer(question) else { throw .asks(question) }
    return reason
  }

  /// Nil: there are too many.
  func messages(
    in stream: StreamObservation, since position: EventPosition, behind sequence: UInt64
  ) throws(Undecided) -> [StreamObservation.Own]? {
    guard stream.lastSequence > 0 else { return [] }
    let question = EpochQuestion.messages(
      stream: stream.name, since: position, behind: sequence,
      first: min(max(stream.firstSequence, 1), stream.lastSequence), through: stream.lastSequence)
    guard case .messages(let messages) = try answer(question) else { throw .asks(question) }
    return messages
  }

  func snapshotIDs(
    in stream: StreamObservation, ofSnapshotAt position: OplogPosition, from floor: UInt32
  ) throws(Undecided) -> Set<[UInt8]> {
    let question = EpochQuestion.snapshotIDs(
      stream: stream.name, snapshot: position, floor: floor,
      first: min(max(stream.firstSequence, 1), stream.lastSequence), last: stream.lastSequence)
    guard case .ids(let ids) = try answer(question) else { throw .asks(question) }
    return ids
  }

  private func entry(_ question: EpochQuestion) throws(Undecided) -> ResumePoint {
    guard case .entry(let entry?) = try answer(question) else { throw .asks(question) }
    return entry
  }
}
