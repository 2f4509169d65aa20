public import Logging

/// Reads a server's change stream on a thread of its own, a bounded number of batches ahead: what
/// `OplogReader` is to the oplog, for servers whose oplog can't be read.
///
/// Start it with `restart(at:after:)`, take batches with `next()`. Any error short of a lost
/// position is overcome by reopening after the last batch queued, so the batches of one generation
/// follow each other without gap or repetition. All methods are thread-safe and, but for `stop`,
/// don't block.
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

  /// Forgets what is queued and failed, and reads every event from `point` on. That an entry
  /// stands there isn't needed, nor is its term: the server only sees to it that its oplog reaches
  /// back to that time.
  ///
  /// - Parameter token: a place in the same stream, at or before `point`. If it is an event's, the
  ///   server proves that this event is in its history, which a replica set that was restored or
  ///   mixed up can't. It is only a proof: once the oplog has grown past it, `point` alone decides.
  /// - Returns: the generation that batches from here on carry; batches taken earlier are stale.
  @discardableResult
  public func restart(at point: ResumePoint, after token: ResumeToken? = nil) -> UInt64 {
    mailbox.restart(at: ChangeStreamTail.Start(point: point, token: token))
  }

  /// The next batch, or nil if none is queued.
  public func next() -> ChangeStreamBatch? { mailbox.take() }

  /// Why reading has ended until the next `restart`; nil while it goes on.
  public var failure: SourceFailure? { mailbox.failure }

  /// `entriesRead` counts documents, `lastRead` is the latest batch's `last`.
  public var status: SourceStatus { mailbox.status }

  /// As `OplogReader.stop()`.
  public func stop(waiting limit: Duration = .seconds(2)) { mailbox.stop(waiting: limit) }
}
