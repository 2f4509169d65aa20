import Bridge
import JetStream

/// How an epoch begins, by what is special about the decision: the tally of states reached has all of them.
package enum EpochBeginning: String, CaseIterable, Sendable {
  case first
  case checkpoint
  case checkpointLost = "checkpoint lost"
  case losses
  case refilling
  case haltedStream = "halted stream"
  case removedMessages = "removed messages"
  case messagesBehindGap = "messages behind a gap"
  case lateMessages = "late messages"
  case earlierRules = "earlier rules"
  case snapshot

  /// Why no history reaches it; nil: histories do.
  package var isMissing: String? {
    switch self {
    case .snapshot: "snapshots are not simulated"
    case .earlierRules: "rules do not change: reloads are not simulated"
    case .haltedStream: "every stream refills, and windows roll over only behind the checkpoint"
    case .first, .checkpoint, .checkpointLost, .losses, .refilling, .removedMessages,
      .messagesBehindGap, .lateMessages:
      nil
    }
  }

  static func all(in decision: EpochDecision) -> [EpochBeginning] {
    guard case .tail(let plan) = decision.mode else { return [.snapshot] }
    var states: [EpochBeginning] = []
    func add(_ state: EpochBeginning, _ isSo: Bool) { if isSo { states.append(state) } }
    add(.first, plan.isFresh)
    add(.checkpointLost, plan.foundAgainAt != nil)
    add(.losses, !plan.losses.isEmpty)
    add(.refilling, !plan.refilling.isEmpty)
    add(.haltedStream, !plan.halted.isEmpty)
    add(.removedMessages, !plan.unseen.isEmpty || !plan.uncounted.isEmpty)
    add(.messagesBehindGap, !plan.held.isEmpty)
    add(.lateMessages, !plan.lacksUpTo.isEmpty)
    add(.earlierRules, plan.earlierRules != nil)
    return states.isEmpty ? [.checkpoint] : states
  }
}

/// How an epoch ends.
package enum EpochEnding: String, CaseIterable, Sendable {
  case finished
  case settled
  case notAnswered = "publish failed, no answer"
  case sequenceRefused = "publish failed, 10071"
  case refusedOtherwise = "publish failed, refused otherwise"
  case blocked
  case acksRefused = "acks refused"
  case halted
  case connectionLost = "connection lost"
  case sourceFailed = "source failed"
  case snapshotFinished = "snapshot finished"
  case needsEarlier = "needs earlier"
  case abandoned
  case leaseLapsed = "lease lapsed"

  package var isMissing: String? {
    switch self {
    case .settled: "rules do not change: reloads are not simulated"
    case .blocked: "transactions stay in memory"
    case .acksRefused: "permissions are not simulated"
    case .halted: "no entry is beyond understanding, and no rule halts"
    case .snapshotFinished: "snapshots are not simulated"
    case .finished, .notAnswered, .sequenceRefused, .refusedOtherwise, .connectionLost,
      .sourceFailed, .needsEarlier, .abandoned, .leaseLapsed:
      nil
    }
  }

  init(_ end: EpochEnd) {
    switch end {
    case .finished: self = .finished
    case .settled: self = .settled
    case .publishFailed(_, let error):
      self =
        error.code == 0
        ? .notAnswered
        : error.code == JetStreamCode.wrongLastSequence ? .sequenceRefused : .refusedOtherwise
    case .blocked: self = .blocked
    case .acksRefused: self = .acksRefused
    case .halted: self = .halted
    case .connectionLost: self = .connectionLost
    case .sourceFailed: self = .sourceFailed
    case .snapshotFinished: self = .snapshotFinished
    case .needsEarlier: self = .needsEarlier
    case .abandoned: self = .abandoned
    case .leaseLapsed: self = .leaseLapsed
    }
  }
}

/// What happens to a bridge's leadership.
package enum LeadershipChange: String, CaseIterable, Sendable {
  case taken
  case lost
  /// A stream has a message of another process than the one before.
  case handedOver = "handed over"
}

/// What happens to a group that is cut over.
package enum CutoverState: String, CaseIterable, Sendable {
  case dual
  case committing
  case committed
  case finalized
  case cancelled = "cancelled in dual"
  case commitCancelled = "commit cancelled"
  case commitFailed = "commit given up"
  case rolledBack = "rolled back"
  case ranOut = "commit ended by the leader"
  case commandDone = "command done"
  case commandBlocked = "command blocked"
  case commandFailed = "command failed"
  case commandKilled = "command killed"
  case byProducer = "message of the producer"
  case filled = "message filled in"
  case byPipeline = "message of the pipeline"
  case late = "producer late"
  case doubled = "producer's message doubled"
  case doubledByPipeline = "producer's message doubled by the pipeline"
  case wrong = "producer's message wrong"
  case phantom = "message of a write that was rolled back"
  case missed = "event without a message"
}

/// How often histories reached each state.
package struct ReachedStates: Sendable {
  package private(set) var beginnings: [EpochBeginning: Int] = [:]
  package private(set) var endings: [EpochEnding: Int] = [:]
  package private(set) var leadership: [LeadershipChange: Int] = [:]
  package private(set) var cutover: [CutoverState: Int] = [:]

  mutating func note(_ decision: EpochDecision) {
    for state in EpochBeginning.all(in: decision) { beginnings[state, default: 0] += 1 }
  }

  mutating func note(_ end: EpochEnd) { endings[EpochEnding(end), default: 0] += 1 }

  mutating func note(_ change: LeadershipChange, _ count: Int = 1) {
    leadership[change, default: 0] += count
  }

  mutating func note(_ state: CutoverState, _ count: Int = 1) {
    cutover[state, default: 0] += count
  }

  /// Of histories with a group that is cut over.
  var cutoverLines: [(state: String, count: Int, isMissing: String?)] {
    CutoverState.allCases.map { ("cut-over: \($0.rawValue)", cutover[$0] ?? 0, nil) }
  }

  mutating func add(_ other: ReachedStates) {
    cutover.merge(other.cutover, uniquingKeysWith: +)
    beginnings.merge(other.beginnings, uniquingKeysWith: +)
    endings.merge(other.endings, uniquingKeysWith: +)
    leadership.merge(other.leadership, uniquingKeysWith: +)
  }

  /// Each state, how often it was reached, and why it need not be.
  var lines: [(state: String, count: Int, isMissing: String?)] {
    EpochBeginning.allCases.map { ("begin: \($0.rawValue)", beginnings[$0] ?? 0, $0.isMissing) }
      + EpochEnding.allCases.map { ("end: \($0.rawValue)", endings[$0] ?? 0, $0.isMissing) }
      + LeadershipChange.allCases.map { ("leadership: \($0.rawValue)", leadership[$0] ?? 0, nil) }
  }

  /// States that histories should reach and did not, and those that they did although it is said that they can't.
  var surprises: [String] {
    lines.compactMap { line in
      switch (line.count, line.isMissing) {
      case (0, nil): "\(line.state) was never reached"
      case (1..., let reason?): "\(line.state) was reached: \(reason)"
      default: nil
      }
    }
  }
}
