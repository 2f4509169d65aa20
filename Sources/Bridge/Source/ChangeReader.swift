import BridgeConfiguration
import Logging
package import MongoSource

/// What reads changes in oplog order, batch by batch, in the background. All readers give the same events
/// at the same positions. Thread-safe.
package protocol ChangeReader: AnyObject, Sendable {
  /// As in the configuration.
  var name: String { get }
  /// It needs a readable oplog that holds what is read.
  var readsOplog: Bool { get }
  /// Discards what is queued, and reads from `point` on; the generation of the batches from there.
  /// `token`, at or before the point, lets a change stream verify that the history is the same.
  func restart(at point: ResumePoint, after token: ResumeToken?) -> UInt64
  /// The oldest batch that has not been taken.
  func nextBatch() -> EventBatch?
  /// Why reading has ended; nil while it continues or is retried.
  var failure: SourceFailure? { get }
  var status: SourceStatus { get }
  /// - Parameter limit: how long to wait for the reader's thread.
  func stop(waiting limit: Duration)
}

extension OplogReader: ChangeReader {
  package var name: String { "oplog" }
  package var readsOplog: Bool { true }

  package func restart(at point: ResumePoint, after token: ResumeToken?) -> UInt64 {
    restart(at: point)
  }

  package func nextBatch() -> EventBatch? { next().map { .oplog($0) } }
}

extension ChangeStreamReader: ChangeReader {
  package var name: String { "change_stream" }
  package var readsOplog: Bool { false }
  package func nextBatch() -> EventBatch? { next().map { .changeStream($0) } }
}

/// The reader that a configuration names.
///
/// - Parameter onChange: called when there are batches, or a failure; on the reader's thread.
func makeReader(
  _ kind: SourceSettings.Reader, _ options: MongoSourceOptions, logger: Logger,
  onChange: @escaping @Sendable () -> Void
) -> any ChangeReader {
  switch kind {
  case .oplog: OplogReader(options: options, logger: logger, onChange: onChange)
  case .changeStream: ChangeStreamReader(options: options, logger: logger, onChange: onChange)
  }
}
