/// Errors of the protocols, made on purpose: each has to be found by the simulator, which proves that it can fail.
///
/// None is ever on in the service. The simulator's command switches one on before anything else runs.
package enum DeliberateError: String, CaseIterable, Sendable {
  // Checkpoints
  /// The checkpoint says what was read, not what was acknowledged.
  case checkpointBeforeAck = "checkpoint_before_ack"
  /// Everything before the open entry is claimed, and the entry itself as well.
  case openEntryClaimed = "open_entry_claimed"
  /// The first entry of an open transaction does not hold the checkpoint back.
  case openTransactionForgotten = "open_transaction_forgotten"
  /// What a process has read is believed to be stored by its next epoch.
  case memoryTrusted = "memory_trusted"

  // Resuming
  /// The stream's end is not read: what the checkpoint says is believed.
  case noReadBack = "no_read_back"
  /// The stream's end is asked of any replica.
  case staleTailRead = "stale_tail_read"
  /// What is behind the checkpoint is published again: the server knows the ids.
  case dedupWindowTrusted = "dedup_window_trusted"
  /// A stream that ends before what was acknowledged is taken for complete.
  case lossUnnoticed = "loss_unnoticed"
  /// A stream that was made again is taken for the one before.
  case recreationUnnoticed = "recreation_unnoticed"
  /// Another bridge's message is taken for one of this bridge's.
  case othersMessageTaken = "others_message_taken"
  /// What a work queue's consumers have removed is published again.
  case consumedRepublished = "consumed_republished"
  /// An entry that its key's history has removed is put again, behind a newer one.
  case evictedEntryPut = "evicted_entry_put"
  /// A transaction whose first entries were not read is passed over.
  case cutTransactionSkipped = "cut_transaction_skipped"

  // Reading
  /// An entry of another term is taken for the expected one.
  case termNotCompared = "term_not_compared"
  /// Reading begins behind the resume position.
  case startsBehind = "starts_behind"
  /// What no majority has is read.
  case readsUncommitted = "reads_uncommitted"

  // Publishing
  /// Messages do not say which sequence they follow.
  case sequenceNotAsserted = "sequence_not_asserted"
  /// A batch ends in the middle of a transaction.
  case transactionSplit = "transaction_split"
  /// What follows a dead letter is sent before that is acknowledged.
  case letterNotAwaited = "letter_not_awaited"
  /// A refusal is counted as an ack.
  case refusalCounted = "refusal_counted"
  /// An ack without a sequence counts: the server has the id, and has not stored the message yet.
  case zeroAckCounted = "zero_ack_counted"
  /// A refused batch is passed over.
  case refusedBatchSkipped = "refused_batch_skipped"
  /// A fast batch continues behind a gap.
  case gapIgnored = "gap_ignored"
  /// An ack that does not come is waited for without end.
  case ackTimeoutIgnored = "ack_timeout_ignored"

  // Leadership
  /// Only the first message of a fast batch says which sequence it follows.
  case firstOfBatchAsserts = "first_of_batch_asserts"
  /// A process that has slept publishes on without looking at its lease.
  case lapsedLeaseIgnored = "lapsed_lease_ignored"
  /// Nothing is asserted on shared streams.
  case noFence = "no_fence"
  /// Fences are moved when the streams' ends have been read.
  case fenceAfterTail = "fence_after_tail"
  /// A standby compares the time of the lease with its wall clock.
  case leaseByWallClock = "lease_by_wall_clock"
  /// A checkpoint replaces whatever is there.
  case checkpointNotFenced = "checkpoint_not_fenced"

  // Cut-over
  /// The fence is the newest entry of the member that is asked, whether a majority has it or not, and whatever was read.
  case fenceFromLocalOptime = "fence_from_local_optime"
  /// A group is committed without a look at its messages.
  case verificationLeftOut = "verification_left_out"
  /// A group is committed as soon as its fence is known.
  case phaseBeforeDrain = "phase_before_drain"
  /// After a rollback deciding continues where it was, and not before the fence.
  case rollbackWithoutOverlap = "rollback_without_overlap"

  // Health
  /// Reading counts as progress.
  case readingIsProgress = "reading_is_progress"

  // Leadership, once more
  /// Standbys find the leader on its lease's connection alone, and not on the one that publishes.
  case answersOnLeaseOnly = "answers_on_lease_only"

  /// Invariant: written between histories, by the simulator's one thread.
  nonisolated(unsafe) private static var active: DeliberateError?

  /// For the simulator's command, before a history; nil: none is on.
  package static func switchOn(_ error: DeliberateError?) { active = error }

  @inline(__always)
  package static func isOn(_ error: DeliberateError) -> Bool { active == error }
}
