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
  /// Something other than data is missing, such as room for temporary files: retried.
  case blocked(String)
  /// The server refuses the subscription to acks.
  case acksRefused(String)
  /// To continue would skip or invent events.
  case halted(PipelineFailure)
  case connectionLost(String)
  /// The reader stopped.
  case sourceFailed(SourceFailure)
  /// Everything of the snapshot is acknowledged.
  case snapshotFinished(tailFrom: ResumePoint)
  /// A transaction commits whose entries begin before the position that was read from; the newest
  /// unread one is at this position.
  case needsEarlier(OplogPosition)
  /// Asked to stop, and the last acks did not come in time.
  case abandoned(String)
  /// The lease was not renewed in time: another instance may have it by now.
  case leaseLapsed
}

extension EpochEnd {
  /// Everything that was sent is acknowledged.
  var isClean: Bool {
    switch self {
    case .finished, .settled, .snapshotFinished: true
    default: false
    }
  }
}

/// Why the bridge halts until an operator acts.
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

  /// The cause is the machine, not the data.
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
      """
      event \(position) is invalid for rule \(rule): \(error.code.rawValue): \(error.detail); correct the rule\
      \(error.code == .schemaInvalid ? " or its schema" : ""), or set its \
      \(error.code == .idConflict ? "on_id_conflict" : "on_invalid") to dead_letter
      """
    case .unmatched(let position, let namespace):
      """
      event \(position) in \(namespace) matches no rule, and unmatched is 'halt': give it a rule, or set \
      unmatched to ignore
      """
    case .letterTooLarge(let position, let size, let limit):
      """
      the dead letter of event \(position), \(size) bytes with everything optional left out, does not fit \
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
    /// How many of those were refused by the rule's schema.
    var schemaInvalid: UInt64 = 0
    /// Events whose id their stream had for another event.
    var idConflicts: UInt64 = 0
    /// The last one's text, which may quote documents, and the same without their values.
    var lastError: (detail: String, outline: String)?
    /// Where that was.
    var lastErrorAt: EventPosition?
    /// The newest event whose message or dead letter a stream holds.
    var newest: EventPosition?
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
  /// The counts of former rules.
  var removed: [Rule] = []

  init(rules: [RuleID]) { self.rules = rules.map { Rule(id: $0) } }

  var all: [Rule] { rules + removed }

  /// Continues with the rules of another rule set, matched by name.
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

/// A message of ours that a stream has stored.
package struct AcknowledgedMessage: Sendable, Equatable {
  package var sequence: UInt64
  var position: EventPosition
  var rule: RuleID

  package init(sequence: UInt64, position: EventPosition, rule: RuleID) {
    self.sequence = sequence
    self.position = position
    self.rule = rule
  }
}

/// The low-water mark at one moment.
package struct PipelineMark: Sendable {
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
  /// By stream: what it had already behind `lanes`' last acknowledged message.
  package var had: [String: MetMessages] = [:]
  /// By stream: messages that it may hold behind the last one that is known to be stored.
  package var unanswered: [String: Int] = [:]
  var inFlight: Int
  /// A stream holds messages of events that were not read again yet.
  package var hasHeldLeft = false
  var read: OplogPosition?

  package init(
    resume: OplogPosition, term: Int64? = nil, settled: EventPosition? = nil,
    token: ResumeToken? = nil, snapshot: Checkpoint.Snapshot? = nil, origin: Checkpoint.Origin,
    lanes: [(name: String, created: String, acked: AcknowledgedMessage?)],
    had: [String: MetMessages] = [:], unanswered: [String: Int] = [:], inFlight: Int = 0,
    read: OplogPosition? = nil
  ) {
    self.resume = resume
    self.term = term
    self.settled = settled
    self.token = token
    self.snapshot = snapshot
    self.origin = origin
    self.lanes = lanes
    self.had = had
    self.unanswered = unanswered
    self.inFlight = inFlight
    self.read = read
  }

  /// Nothing that was sent is without its ack.
  var isIdle: Bool {
    inFlight == 0 && !hasHeldLeft && unanswered.values.allSatisfy { $0 == 0 }
  }

  /// Of two idle moments.
  func hasSentNothing(since earlier: PipelineMark) -> Bool {
    zip(lanes, earlier.lanes).allSatisfy { $0.acked == $1.acked }
      && lanes.count == earlier.lanes.count
  }
}
