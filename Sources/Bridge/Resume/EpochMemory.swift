package import MongoSource
package import NATS
package import Oplog

/// What one epoch passes to the next within a process.
package struct EpochMemory: Sendable {
  /// Servers that the last connection's cluster has announced, besides those configured.
  package var servers: [NATSServerAddress] = []
  /// At least as new as the one in KV.
  package var checkpoint: Checkpoint?
  /// The part that was read back from the streams it names; the rest was only acknowledged. Nil before the first epoch
  /// that published: all of it was.
  package var proven: [String: Checkpoint.Stream]?
  /// Streams that already had an id: the next epoch looks ids up there before it publishes.
  package var cautious: Set<String> = []
  /// Streams that may have gaps and refused a message because of its sequence: a foreign message is or was
  /// behind the last acknowledged one.
  package var intruded: Set<String> = []
  /// The first entry of a transaction that began before the resume position.
  package var transactionStart: OplogPosition?
  /// By stream: how many messages the last epoch sent without learning whether they were stored; nil
  /// before the first.
  package var unanswered: [String: Int]?
  /// Messages that the server refuses because of their content.
  package var refusals = RefusalBook()
  /// When the process before this one was last active, by the servers' clock.
  package var heardAt: ServerTime?
  /// The stream whose answer ended the last epoch: what was sent there is stored or refused by now, since a batch is
  /// refused as a whole, and what came after it with it.
  package var answered: String?
  /// Everything that the last epoch sent is acknowledged; nil before the first that published.
  package var endedCleanly: Bool?
  /// The first epoch has written its checkpoint, so this run's beginning is decided.
  package var hasBegun = false
  /// The last epoch published documents, not changes.
  package var isSnapshot = false
  /// A snapshot is to be made here.
  package var snapshotAt: ResumePoint?
  /// … once everything up to here has been published.
  package var catchUp: ResumePoint?

  package init() {}
}

/// What was read before an epoch is decided.
package struct EpochSituation: Sendable {
  /// The one to continue from.
  package var checkpoint: Checkpoint?
  package var streams: [StreamObservation]
  /// The rules of the epoch; nil: the checkpoint's.
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

/// The decision about an epoch.
package struct EpochDecision: Sendable {
  package var mode: EpochMode
  /// What the operator should know about it, in order.
  package var remarks: [EpochRemark] = []
  /// The snapshot that was asked for is made once everything up to here is published.
  package var catchUp: ResumePoint?

  /// Why a snapshot begins that no operator asked for.
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
    /// The run is complete.
    case stop
    case fail(BridgeError)
  }
  package var next: Next
  /// The pause is the shortest again: this failure doesn't repeat an earlier one.
  package var resetsPause = false
  package var remarks: [EpochRemark] = []

  init(_ next: Next, resetsPause: Bool = false, _ remarks: EpochRemark...) {
    self.next = next
    self.resetsPause = resetsPause
    self.remarks = remarks
  }
}

/// What a decision reports to the log, health and `/status`.
package enum EpochRemark: Sendable, Equatable {
  /// For the log.
  case info(String, [String: String])
  /// For the log, once, not for each retry of a refused request.
  case starting([String: String])
  /// For an operator: log and `/status`.
  case warning(String, reason: String)
  case error(String, reason: String?)
  /// A cause that may repeat: logged once a minute with its count, and in health meanwhile.
  case refused(Refusals.Scope, String, reason: String, code: Int)
  case natsUnreachable(String)
  case positionLost(String)
  case resuming(ResumePlan)
}
