package import JetStream
package import Mapping
package import MongoSource
package import Oplog

/// Why an epoch ended.
package enum EpochEnd: Sendable {
  /// Everything up to the wanted end is acknowledged.
  case finished
  /// Everything up to a boundary between two entries is acknowledged: other rules can take over.
  case settled
  /// A stream refused, or didn't answer; the next epoch reads its tail again.
  case publishFailed(lane: String, JetStreamError)
  /// Something outside of the data is missing, such as room for temporary files: tried again.
  case blocked(String)
  /// The server does not let the acks come back.
  case acksRefused(String)
  /// Going on would skip or invent something.
  case halted(PipelineFailure)
  case connectionLost(String)
  /// The reader stopped.
  case sourceFailed(SourceFailure)
  /// Everything of the snapshot is acknowledged.
  case snapshotFinished(tailFrom: ResumePoint)
  /// A transaction commits whose entries begin before the place that was read from: the one before
  /// those that were seen is there.
  case needsEarlier(OplogPosition)
  /// Told to stop, and the last acks did not come in time.
  case abandoned(String)
}

/// What stops the bridge: an operator must look.
package enum PipelineFailure: Error, Sendable, CustomStringConvertible {
  case oplog(OplogError)
  case corrupt(after: OplogPosition?, String)
  case invalid(EventPosition, String, MappingError)
  case unmatched(EventPosition, String)
  case letterTooLarge(EventPosition, size: Int, limit: Int)
  case unexpected(String)

  package init(_ halt: MessageMaker.Halt, _ event: borrowing ChangeEvent, rules: [String]) {
    switch halt {
    case .invalid(let rule, let error): self = .invalid(event.position, rules[rule], error)
    case .unmatched:
      self = .unmatched(event.position, String(decoding: event.namespace, as: UTF8.self))
    case .letterTooLarge(let size, let limit):
      self = .letterTooLarge(event.position, size: size, limit: limit)
    }
  }

  /// The machine's trouble, not the data's.
  var maySucceedLater: Bool {
    guard case .oplog(let error) = self, case .spillFailed = error.reason else { return false }
    return true
  }

  package var description: String {
    switch self {
    case .oplog(let error): error.description
    case .corrupt(let position, let what):
      "the oplog entry \(position.map { "after \($0)" } ?? "at the start") can't be read: \(what)"
    case .invalid(let position, let rule, let error):
      "event \(position) is invalid for rule \(rule): \(error.code.rawValue): \(error.detail)"
    case .unmatched(let position, let namespace):
      "event \(position) in \(namespace) matches no rule, and unmatched is 'halt'"
    case .letterTooLarge(let position, let size, let limit):
      """
      the dead letter of event \(position), \(size) bytes with all left out that can be, does not fit \
      the limit of \(limit): raise max_msg_size or max_payload to 8 KiB at least
      """
    case .unexpected(let what): "internal error: \(what)"
    }
  }
}

/// Counted since the process began. Owned by the pipeline; copied out for status and metrics.
struct PipelineCounters: Sendable {
  struct Rule: Sendable {
    var id: RuleID
    var name: String { id.name }
    var outcomes = Outcomes()
    var invalid: UInt64 = 0
    /// Of those, refused by the rule's schema.
    var schemaInvalid: UInt64 = 0
    /// Events whose id their stream had for another event.
    var idConflicts: UInt64 = 0
    var lastError: String?
  }

  /// Oplog entries read, those without events included.
  var entries: UInt64 = 0
  /// Events derived; a further match of one event counts again.
  var derived: UInt64 = 0
  var unmatched: UInt64 = 0
  var unmatchedDeadLettered: UInt64 = 0
  /// When an id was last found to be another event's.
  var lastConflict: ContinuousClock.Instant?
  /// Of the rule set in use, in its order.
  var rules: [Rule]
  /// Of rules that there were before.
  var removed: [Rule] = []

  init(rules: [RuleID]) { self.rules = rules.map { Rule(id: $0) } }

  var all: [Rule] { rules + removed }

  /// Goes on with the rules of another rule set, by their names.
  mutating func use(_ ids: [RuleID]) {
    var known = Dictionary(
      (rules + removed).map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
    rules = ids.map { known.removeValue(forKey: $0) ?? Rule(id: $0) }
    removed = known.values.sorted { $0.name < $1.name }
  }

  var outcomes: Outcomes {
    var sum = Outcomes()
    for rule in rules { sum += rule.outcomes }
    for rule in removed { sum += rule.outcomes }
    sum.unmatched &+= unmatched
    sum.deadLettered &+= unmatchedDeadLettered
    return sum
  }
}

/// The low-water mark at one moment.
struct PipelineMark: Sendable {
  var resume: OplogPosition
  var term: Int64?
  /// Every event before this is settled on each stream; nil in a snapshot.
  var settled: EventPosition?
  /// Of a change stream.
  var token: ResumeToken?
  /// In a snapshot.
  var snapshot: Checkpoint.Snapshot?
  var origin: Checkpoint.Origin
  var lanes: [(name: String, created: String, acked: Lane.Acked?)]
  /// By stream: messages that it may hold behind the last one that is known to be stored.
  var unanswered: [String: Int] = [:]
  var inFlight: Int
  var read: OplogPosition?

  /// Nothing that was sent is without its ack.
  var isIdle: Bool { inFlight == 0 && unanswered.values.allSatisfy { $0 == 0 } }

  /// Of two idle moments.
  func hasSentNothing(since earlier: PipelineMark) -> Bool {
    zip(lanes, earlier.lanes).allSatisfy { $0.acked == $1.acked }
      && lanes.count == earlier.lanes.count
  }
}
