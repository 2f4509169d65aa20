package import MongoSource

/// The source of the feed's batches in one epoch.
package enum EventSource: Sendable {
  case tail(any ChangeReader)
  case snapshot(SnapshotReader)

  func next() -> EventBatch? {
    switch self {
    case .tail(let reader): reader.nextBatch()
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
  package var tailFrom: ResumePoint? {
    switch self {
    case .tail: nil
    case .snapshot(let reader): reader.status.tailFrom
    }
  }
}
