public import Logging

/// Reads a replica set's oplog on its own thread, a bounded number of batches ahead.
///
/// Start it with `restart(at:)` and take batches with `next()`. After any error except a lost position,
/// the cursor is reopened at the last queued entry, so the batches of one generation have no gaps and
/// no duplicates. All methods are thread-safe; only `stop` blocks.
public final class OplogReader: Sendable {
  private let mailbox: OplogTail.Mailbox

  /// - Parameter onChange: called on the reader's thread when the queue becomes non-empty, on failure,
  ///   and when the phase of `status` changes. It must not block or call `stop`.
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

  /// Clears the queue and any failure, and reads from `point` on.
  ///
  /// The first batch starts with the entry at `point`. If the oplog no longer holds that entry,
  /// `failure` is set instead.
  ///
  /// - Returns: the new generation. Batches of earlier generations are stale.
  @discardableResult
  public func restart(at point: ResumePoint) -> UInt64 {
    mailbox.restart(at: point)
  }

  /// The next queued batch, if any.
  public func next() -> OplogBatch? { mailbox.take() }

  /// Why reading has stopped until the next `restart`; nil while it is running.
  public var failure: SourceFailure? { mailbox.failure }

  public var status: SourceStatus { mailbox.status }

  /// Stops reading and waits for the thread, normally up to `MongoSourceOptions.awaitTime`, at most
  /// `limit`. A thread blocked in a dead connection is abandoned and ends when the connection times
  /// out. No `restart` afterwards.
  public func stop(waiting limit: Duration = .seconds(2)) { mailbox.stop(waiting: limit) }
}
