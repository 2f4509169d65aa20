public import Logging

/// Reads the documents that collections hold, on a thread of its own, a bounded number of batches
/// ahead: what a bridge publishes before it begins to tail. See `docs/snapshot.md`.
///
/// Start it with `restart(from:)`, take batches with `next()`, until there is none and the phase of
/// `status` is `finished`, which names the position to tail from. Errors are overcome by trying
/// again; only a lost position ends the reading. All methods are thread-safe and, but for `stop`,
/// don't block.
public final class SnapshotReader: Sendable {
  private let mailbox: SnapshotMailbox

  /// - Parameters:
  ///   - filter: which collections (database, name) are to be read. Called on the reader's thread.
  ///     The server's own, views and time series are never offered.
  ///   - leadsToTail: the oplog is to be read from the position afterwards, so it has to stay there. Else
  ///     nothing but documents is wanted, and the position need not even be an entry's.
  ///   - onChange: called on the reader's thread when the queue stops being empty, and when the
  ///     phase of `status` changes. It must not block, nor call `stop`.
  public init(
    options: MongoSourceOptions, filter: @escaping @Sendable (String, String) -> Bool,
    leadsToTail: Bool = true, logger: Logger, onChange: @escaping @Sendable () -> Void
  ) {
    mailbox = SnapshotMailbox(
      options: options, filter: filter, leadsToTail: leadsToTail, logger: logger,
      onChange: onChange)
  }

  deinit { mailbox.requestStop() }

  /// Forgets what is queued and failed, and reads on after `marker`, or everything anew.
  /// - Returns: the generation that batches from here on carry; batches taken earlier are stale.
  @discardableResult
  public func restart(from marker: SnapshotMarker? = nil) -> UInt64 {
    mailbox.restart(from: marker)
  }

  /// The next batch, or nil if none is queued.
  public func next() -> SnapshotBatch? { mailbox.take() }

  /// Why reading has ended until the next `restart`; nil while it goes on.
  public var failure: SourceFailure? { mailbox.failure }

  public var status: SnapshotStatus { mailbox.status }

  /// Ends reading and waits for the thread, at most `limit`. One stuck in a dead connection is
  /// left behind and ends with it. No `restart` afterwards.
  public func stop(waiting limit: Duration = .seconds(2)) { mailbox.stop(waiting: limit) }
}
