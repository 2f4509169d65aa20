import BSON
package import MongoSource
import Oplog

/// One reply of the server: oplog entries, the documents of a change stream, or those of a collection.
package enum EventBatch: Sendable {
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

  /// The last of its documents, where that is known without a look.
  var last: OplogPosition? {
    switch self {
    case .oplog(let batch): batch.last.position
    case .changeStream, .snapshot: nil
    }
  }

  /// How far a change stream is after the batch, even if no event was in it.
  var reached: OplogPosition? {
    switch self {
    case .oplog, .snapshot: nil
    case .changeStream(let batch): batch.last.position
    }
  }

  /// Whether everything at `reached` has been seen; else a transaction's events may follow.
  var isDrained: Bool {
    switch self {
    case .oplog, .snapshot: true
    case .changeStream(let batch): batch.isDrained
    }
  }

  /// When MongoDB's reply came, in nanoseconds of the monotonic clock; nil: no matter, as of a snapshot.
  var receivedAt: UInt64? {
    switch self {
    case .oplog(let batch): batch.receivedAt
    case .changeStream(let batch): batch.receivedAt
    case .snapshot: nil
    }
  }

  /// Where a snapshot continues.
  var marker: SnapshotMarker? {
    switch self {
    case .oplog, .changeStream: nil
    case .snapshot(let batch): batch.marker
    }
  }

  /// Where a change stream continues.
  var resumeToken: ResumeToken? {
    switch self {
    case .oplog, .snapshot: nil
    case .changeStream(let batch): batch.resumeToken
    }
  }
}
