import BSON
import Logging
import MongoSource
import Oplog

/// The reader that the configuration names. Both give the same events at the same positions.
enum EventReader: Sendable {
  case oplog(OplogReader)
  case changeStream(ChangeStreamReader)

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

  func stop() {
    switch self {
    case .oplog(let reader): reader.stop()
    case .changeStream(let reader): reader.stop()
    }
  }
}

/// One reply of the server: oplog entries, or the documents of a change stream.
enum EventBatch: Sendable {
  case oplog(OplogBatch)
  case changeStream(ChangeStreamBatch)

  var generation: UInt64 {
    switch self {
    case .oplog(let batch): batch.generation
    case .changeStream(let batch): batch.generation
    }
  }

  /// A walk over its documents, which point into this batch.
  func entries() -> BSONElements {
    switch self {
    case .oplog(let batch): batch.entries()
    case .changeStream(let batch): batch.entries()
    }
  }

  /// How far a change stream is after the batch, even if no event was in it.
  var reached: OplogPosition? {
    switch self {
    case .oplog: nil
    case .changeStream(let batch): batch.last.position
    }
  }

  /// Where a change stream goes on.
  var resumeToken: ResumeToken? {
    switch self {
    case .oplog: nil
    case .changeStream(let batch): batch.resumeToken
    }
  }
}
