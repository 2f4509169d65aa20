public import Logging

/// Reads a change stream on its own thread, a bounded number of batches ahead. The counterpart of
/// `OplogReader` for servers whose oplog can't be read.
///
/// Start it with `restart(at:after:)` and take batches with `next()`. After any error except a lost
/// position, the stream is reopened after the last queued batch, so the batches of one generation
/// have no gaps and no duplicates. All methods are thread-safe; only `stop` blocks.
public final class ChangeStreamReader: Sendable {
  private let mailbox: ChangeStreamTail.Mailbox

  /// - Parameter onChange: as `OplogReader`'s.
  public init(
    options: MongoSourceOptions, stream: ChangeStreamOptions = ChangeStreamOptions(),
    logger: Logger, onChange: @escaping @Sendable () -> Void
  ) {
    mailbox = ChangeStreamTail.Mailbox(
      options: options, logger: logger, thread: "change-stream", onChange: onChange
    ) { mailbox, generation, start, kept in
      var tail = ChangeStreamTail(mailbox, stream.scope, generation: generation, from: start)
      tail.run(&kept)
    }
  }

  deinit { mailbox.requestStop() }

  /// Clears the queue and any failure, and reads every event from `point` on. No oplog entry needs to
  /// exist at `point`, and its term is ignored: the server only checks that its oplog reaches back to
  /// that time.
  ///
  /// - Parameter token: a token of the same stream, at or before `point`. If it is an event's token,
  ///   the server verifies that the event is in its history, which detects a restored or wrong replica
  ///   set. The token is only a check: if the oplog has rolled over past it, reading starts at `point`
  ///   without it.
  /// - Returns: the new generation. Batches of earlier generations are stale.
  @discardableResult
  public func restart(at point: ResumePoint, after token: ResumeToken? = nil) -> UInt64 {
    mailbox.restart(at: ChangeStreamTail.Start(point: point, token: token))
  }

  /// The next queued batch, if any.
  public func next() -> ChangeStreamBatch? { mailbox.take() }

  /// Why reading has stopped until the next `restart`; nil while it is running.
  public var failure: SourceFailure? { mailbox.failure }

  /// Here `entriesRead` counts documents, and `lastRead` is the latest batch's `last`.
  public var status: SourceStatus { mailbox.status }

  /// See `OplogReader.stop`.
  public func stop(waiting limit: Duration = .seconds(2)) { mailbox.stop(waiting: limit) }
}
