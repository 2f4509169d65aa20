public import Logging

/// Reads a replica set's oplog on a thread of its own, a bounded number of batches ahead.
///
/// Start it with `restart(at:)`, take batches with `next()`. Any error short of a lost position is
/// overcome by reopening at the last entry queued, so the batches of one generation follow each
/// other without gap or repetition. All methods are thread-safe and, but for `stop`, don't block.
public final class OplogReader: Sendable {
  private let mailbox: OplogTail.Mailbox

  /// - Parameter onChange: called on the reader's thread when the queue stops being empty, on
  ///   failure, and when the phase of `status` changes. It must not block, nor call `stop`.
  public init(
    options: MongoSourceOptions, logger: Logger, onChange: @escaping @Sendable () -> Void
  ) {
    mailbox = OplogTail.Mailbox(
      options: options, logger: logger, thread: "oplog-reader", onChange: onChange
    ) { mailbox, generation, point, kept in
      var tail = OplogTail(mailbox, generation: generation, from: point)
      tail.run(&kept)
    }
  }

  deinit { mailbox.requestStop() }

  /// Forgets what is queued and failed, and reads from `point` on.
  ///
  /// The first batch begins with the very entry `point` names; if that entry is gone, `failure`
  /// says so instead.
  ///
  /// - Returns: the generation that batches from here on carry; batches taken earlier are stale.
  @discardableResult
  public func restart(at point: ResumePoint) -> UInt64 {
    mailbox.restart(at: point)
  }

  /// The next batch, or nil if none is queued.
  public func next() -> OplogBatch? { mailbox.take() }

  /// Why reading has ended until the next `restart`; nil while it goes on.
  public var failure: SourceFailure? { mailbox.failure }

  public var status: SourceStatus { mailbox.status }

  /// Ends reading and waits for the thread: as long as the server may hold a request
  /// (`MongoSourceOptions.awaitTime`), at most `limit`. A thread still stuck in a dead
  /// connection by then is left behind and ends with it. No `restart` afterwards.
  public func stop(waiting limit: Duration = .seconds(2)) { mailbox.stop(waiting: limit) }
}
