import BSON
import BridgeConfiguration
import Logging
import MongoSource
import Oplog

/// The reader that the configuration names. Both give the same events at the same positions.
enum EventReader: Sendable {
  case oplog(OplogReader)
  case changeStream(ChangeStreamReader)

  /// - Parameter onChange: called when there are batches, or a failure; on the reader's thread.
  init(
    _ kind: SourceSettings.Reader, _ options: MongoSourceOptions, logger: Logger,
    onChange: @escaping @Sendable () -> Void
  ) {
    self =
      switch kind {
      case .oplog: .oplog(OplogReader(options: options, logger: logger, onChange: onChange))
      case .changeStream:
        .changeStream(ChangeStreamReader(options: options, logger: logger, onChange: onChange))
      }
  }

  /// Forgets what is queued, and reads from `point` on; the generation of the batches from there.
  /// `token`, at or before the point, proves to a change stream that the history is the same.
  func restart(at point: ResumePoint, after token: ResumeToken?) -> UInt64 {
    switch self {
    case .oplog(let reader): reader.restart(at: point)
    case .changeStream(let reader): reader.restart(at: point, after: token)
    }
  }

  /// As the configuration spells it.
  var name: String {
    switch self {
    case .oplog: "oplog"
    case .changeStream: "change_stream"
    }
  }

  func next() -> EventBatch? {
    switch self {
    case .oplog(let reader): reader.next().map { .oplog($0) }
    case .changeStream(let reader): reader.next().map { .changeStream($0) }
    }
  }

  var failure: SourceFailure? {
    switch self {
    case .oplog(let reader): reader.failure
    case .changeStream(let reader): reader.failure
    }
  }

  var status: SourceStatus {
    switch self {
    case .oplog(let reader): reader.status
    case .changeStream(let reader): reader.status
    }
  }

  func stop(waiting limit: Duration = .seconds(2)) {
    switch self {
    case .oplog(let reader): reader.stop(waiting: limit)
    case .changeStream(let reader): reader.stop(waiting: limit)
    }
  }
}

/// What the feed takes its batches from in one epoch.
enum EventSource: Sendable {
  case tail(EventReader)
  case snapshot(SnapshotReader)

  func next() -> EventBatch? {
    switch self {
    case .tail(let reader): reader.next()
    case .snapshot(let reader): reader.next().map { .snapshot($0) }
    }
  }

  var failure: SourceFailure? {
    switch self {
    case .tail(let reader): reader.failure
    case .snapshot(let reader): reader.failure
    }
  }

  /// Of a snapshot whose last batch has been taken: where to tail from.
  var tailFrom: ResumePoint? {
    switch self {
    case .tail: nil
    case .snapshot(let reader): reader.status.tailFrom
    }
  }
}

/// One reply of the server: oplog entries, the documents of a change stream, or those of a collection.
enum EventBatch: Sendable {
  case oplog(OplogBatch)
  case changeStream(ChangeStreamBatch)
  case snapshot(SnapshotBatch)

  var generation: UInt64 {
    switch self {
    case .oplog(let batch): batch.generation
    case .changeStream(let batch): batch.generation
    case .snapshot(let batch): batch.generation
    }
  }

  /// A walk over its documents, which point into this batch.
  func entries() -> BSONElements {
    switch self {
    case .oplog(let batch): batch.entries()
    case .changeStream(let batch): batch.entries()
    case .snapshot(let batch): batch.elements()
    }
  }

  /// Where one of its documents is in the oplog; nil for a collection's.
  func position(of element: BSONElement) throws(BSONError) -> OplogPosition? {
    let time: BSONElement?
    switch self {
    case .oplog: time = try element.document?.first("ts")
    case .changeStream: time = try element.document?.first("clusterTime")
    case .snapshot: return nil
    }
    guard let time = time?.timestamp else { return nil }
    return OplogPosition(seconds: time.seconds, increment: time.increment)
  }

  /// How far a change stream is after the batch, even if no event was in it.
  var reached: OplogPosition? {
    switch self {
    case .oplog, .snapshot: nil
    case .changeStream(let batch): batch.last.position
    }
  }

  /// Whether everything at `reached` has been seen; else a transaction's events may go on.
  var isDrained: Bool {
    switch self {
    case .oplog, .snapshot: true
    case .changeStream(let batch): batch.isDrained
    }
  }

  /// Where a snapshot goes on.
  var marker: SnapshotMarker? {
    switch self {
    case .oplog, .changeStream: nil
    case .snapshot(let batch): batch.marker
    }
  }

  /// Where a change stream goes on.
  var resumeToken: ResumeToken? {
    switch self {
    case .oplog, .snapshot: nil
    case .changeStream(let batch): batch.resumeToken
    }
  }
}
