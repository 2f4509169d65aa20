public import Logging

/// Reads the documents of collections on its own thread, a bounded number of batches ahead. A bridge
/// publishes them before it tails. See `docs/snapshot.md`.
///
/// Start it with `restart(from:)` and take batches with `next()` until there is none and the phase of
/// `status` is `finished`, which has the position to tail from. Errors are retried; only a lost position
/// stops the reading. All methods are thread-safe; only `stop` blocks.
public final class SnapshotReader: Sendable {
  private let mailbox: SnapshotScan.Mailbox

  /// - Parameters:
  ///   - databases: false for those of which no collection is to be read; they are not listed, which the
  ///     user may not be permitted to do.
  ///   - filter: selects the collections to read (database, name). Called on the reader's thread, but not
  ///     for system collections, views and time series.
  ///   - leadsToTail: the oplog will be tailed from the snapshot's position, so the oplog must keep it.
  ///     False: only the documents are needed, and no entry needs to exist at the position.
  ///   - onChange: called on the reader's thread when the queue becomes non-empty, on failure, and when
  ///     the phase of `status` changes. It must not block or call `stop`.
  public init(
    options: MongoSourceOptions, databases: @escaping @Sendable (String) -> Bool = { _ in true },
    filter: @escaping @Sendable (String, String) -> Bool, leadsToTail: Bool = true, logger: Logger,
    onChange: @escaping @Sendable () -> Void
  ) {
    var options = options
    // No tailing.
    options.awaitTime = .zero
    let scope = SnapshotScope(
      lists: databases, includes: filter, leadsToTail: leadsToTail)
    mailbox = SnapshotScan.Mailbox(
      options: options, logger: logger, thread: "snapshot-reader", onChange: onChange
    ) { mailbox, generation, marker, _ in
      var scan = SnapshotScan(mailbox, scope, generation: generation, from: marker)
      scan.run()
    }
  }

  deinit { mailbox.requestStop() }

  /// Clears the queue and any failure, and continues after `marker`, or starts a new snapshot.
  /// - Returns: the new generation. Batches of earlier generations are stale.
  @discardableResult
  public func restart(from marker: SnapshotMarker? = nil) -> UInt64 {
    mailbox.restart(at: marker)
  }

  /// The next queued batch, if any.
  public func next() -> SnapshotBatch? { mailbox.take() }

  /// Why reading has stopped until the next `restart`; nil while it is running.
  public var failure: SourceFailure? { mailbox.failure }

  public var status: SnapshotStatus { mailbox.status }

  /// Stops reading and waits for the thread, at most `limit`. A thread blocked in a dead connection is
  /// abandoned and ends when the connection times out. No `restart` afterwards.
  public func stop(waiting limit: Duration = .seconds(2)) { mailbox.stop(waiting: limit) }
}

/// What a snapshot is to read, and for what.
struct SnapshotScope: Sendable {
  /// By database.
  var lists: @Sendable (String) -> Bool
  /// By database and name.
  var includes: @Sendable (String, String) -> Bool
  /// The oplog will be tailed from the snapshot's position, so it must keep it.
  var leadsToTail: Bool
}
