package import MongoSource
package import NATS
package import Oplog

/// What one epoch passes to the next within a process.
package struct EpochMemory: Sendable {
  /// Servers that the last connection's cluster has announced, besides those configured.
  package var servers: [NATSServerAddress] = []
  /// At least as new as the one in KV.
  package var checkpoint: Checkpoint?
  /// What of it was seen to be in the very streams that it names; the rest was only acknowledged.
  package var proven: [String: Checkpoint.Stream] = [:]
  /// Streams that met an id they had already: the next epoch looks ids up there before it publishes.
  package var cautious: Set<String> = []
  /// Streams that may leave gaps, and refused a message for its sequence: somebody else's message is, or was,
  /// among those behind the last acknowledged one.
  package var intruded: Set<String> = []
  /// The first entry of a transaction that began before the resume position.
  package var transactionStart: OplogPosition?
  /// By stream: how many messages the last epoch sent without learning whether they were stored; nil
  /// before the first.
  package var unanswered: [String: Int]?
  /// Which messages the server refuses for their own sake.
  package var refusals = RefusalBook()
  /// When the process before this one last gave a sign of life, by the servers' clock.
  package var heardAt: ServerTime?
  /// The first epoch has written its checkpoint: where this run begins is decided.
  package var hasBegun = false
  /// The last epoch published documents, not changes.
  package var isSnapshot = false
  /// A snapshot is to be made here.
  package var snapshotAt: ResumePoint?
  /// … once everything up to here has been published.
  package var catchUp: ResumePoint?

  package init() {}
}

/// What was looked at before an epoch is decided.
package struct EpochSituation: Sendable {
  /// The one to continue from.
  package var checkpoint: Checkpoint?
  package var streams: [StreamObservation]
  /// The rules that the epoch is to publish by; nil: those of the checkpoint.
  package var rules: RuleSet.Identity?

  package init(
    checkpoint: Checkpoint?, streams: [StreamObservation], rules: RuleSet.Identity? = nil
  ) {
    self.rules = rules
    self.checkpoint = checkpoint
    self.streams = streams
  }
}

/// What an epoch publishes.
package enum EpochMode: Sendable {
  case tail(ResumePlan)
  case snapshot(SnapshotPlan)
}

/// An epoch, decided.
package struct EpochDecision: Sendable {
  package var mode: EpochMode
  /// What the operator should know about it, in order.
  package var remarks: [EpochRemark] = []
  /// The snapshot that was asked for is made once everything up to here is published.
  package var catchUp: ResumePoint?

  /// Why a snapshot begins that nobody asked for.
  package var reason: String? {
    for case .warning(_, let reason) in remarks { return reason }
    return nil
  }

  init(_ mode: EpochMode, _ remarks: [EpochRemark] = []) {
    self.mode = mode
    self.remarks = remarks
  }
}

/// What happens after an epoch.
package struct EpochOutcome: Sendable {
  package enum Next: Sendable {
    /// Another epoch, after a pause.
    case another
    /// The run is over, and all is well.
    case stop
    case fail(BridgeError)
  }
  package var next: Next
  /// The pause is the shortest again: this is no failure that repeats.
  package var resetsPause = false
  package var remarks: [EpochRemark] = []

  init(_ next: Next, resetsPause: Bool = false, _ remarks: EpochRemark...) {
    self.next = next
    self.resetsPause = resetsPause
    self.remarks = remarks
  }
}

/// What a decision has to say to the log, health and `/status`.
package enum EpochRemark: Sendable, Equatable {
  /// For the log.
  case info(String, [String: String])
  /// For the log, once: not for each attempt at what is refused again.
  case starting([String: String])
  /// Something that an operator should know of: log and `/status`.
  case warning(String, reason: String)
  case error(String, reason: String?)
  /// A cause that may repeat: logged once a minute with its count, and in health meanwhile.
  case refused(Refusals.Scope, String, reason: String, code: Int)
  case natsUnreachable(String)
  case positionLost(String)
  case resuming(ResumePlan)
}
