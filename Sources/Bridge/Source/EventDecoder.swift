import BSON
import MongoSource
import Oplog

/// The decoder for any kind of batch.
struct EventDecoder: ~Copyable {
  private var oplog = OplogDecoder()
  private var changes = ChangeStreamDecoder()
  private var documents = SnapshotDecoder()
  private var batch = BatchKind.oplog

  private enum BatchKind {
    case oplog
    case changeStream(generation: UInt64)
    case snapshot
  }

  /// Both as `OplogDecoder` has them.
  init(
    isUpdateWanted: (@Sendable (UnsafeRawBufferPointer) -> Bool)? = nil,
    disambiguatesPaths: Bool = false
  ) {
    oplog.isUpdateWanted = isUpdateWanted
    oplog.disambiguatesPaths = disambiguatesPaths
    changes.disambiguatesPaths = disambiguatesPaths
  }

  /// Applies the wishes of other rules.
  mutating func use(
    isUpdateWanted: (@Sendable (UnsafeRawBufferPointer) -> Bool)?, disambiguatesPaths: Bool
  ) {
    oplog.isUpdateWanted = isUpdateWanted
    oplog.disambiguatesPaths = disambiguatesPaths
    changes.disambiguatesPaths = disambiguatesPaths
  }

  /// The next documents come from this batch.
  mutating func begin(_ batch: EventBatch) {
    switch batch {
    case .oplog: self.batch = .oplog
    case .changeStream(let batch): self.batch = .changeStream(generation: batch.generation)
    case .snapshot(let batch):
      self.batch = .snapshot
      documents.begin(batch)
    }
  }

  /// The index of the next document's event, of a snapshot.
  var snapshotIndex: UInt32 {
    get { documents.nextIndex }
    set { documents.nextIndex = newValue }
  }

  @inline(__always)
  mutating func begin(_ entry: BSONView) throws(OplogError) -> OplogEntryHeader {
    switch batch {
    case .oplog: try oplog.begin(entry)
    case .changeStream(let generation): try changes.begin(entry, generation: generation)
    case .snapshot: try documents.begin(entry)
    }
  }

  @inline(__always)
  mutating func next() throws(OplogError) -> ChangeEvent? {
    switch batch {
    case .oplog: try oplog.next()
    case .changeStream: try changes.next()
    case .snapshot: documents.next()
    }
  }

  /// The first entry of the transaction that the present entry commits, if it has several. A change
  /// stream shows transactions at their commit alone.
  var transactionStart: OpTime? {
    switch batch {
    case .oplog: oplog.transactionStart
    case .changeStream, .snapshot: nil
    }
  }

  /// The place of the event handed out last: its entry, which in a transaction need not be the one
  /// that commits, and its operation there. Nil if a change stream doesn't say.
  var operationPlace: (entry: OplogPosition, operation: Int64)? {
    switch batch {
    case .oplog: oplog.operationPlace
    case .changeStream: changes.operationPlace
    case .snapshot: nil
    }
  }

  var oldestOpenTransaction: OpTime? { oplog.oldestOpenTransaction }
  mutating func forgetTransactions() { oplog.forgetTransactions() }
  var openTransactions: Int { oplog.openTransactions }
  var transactionBytes: (held: Int, spilled: Int) {
    (oplog.transactionBytesHeld, oplog.transactionBytesSpilled)
  }
  var unsupportedTimeSeries: UInt64 { oplog.unsupportedTimeSeries }
  var timeSeriesCounts: [TimeSeriesCount] { oplog.unsupportedTimeSeriesByCollection }
}
