import BSON
import DeliberateErrors
import MongoSource
package import Oplog

/// What the pipeline reads: a reader's batches, entry by entry and event by event, and the progress. Owned by
/// the pipeline's event loop.
///
/// Safety invariant: `entries`, `beyond` and the decoder's views point into `batch`, which is kept until the
/// next one replaces all of them. An event is valid until the next call of `next`. No method calls back into
/// the feed while it changes a property, so the hot ones go without the dynamic exclusivity check.
package final class EventFeed {
  package enum Input {
    case event(ChangeEvent)
    /// There is nothing at the moment.
    case nothing
    /// Documents are being fetched for events that are there.
    case waiting
  }

  /// Nil before the first epoch.
  package private(set) var source: EventSource?
  @exclusivity(unchecked) private var images: FullDocumentPrefetcher?
  /// `images`, in epochs whose events may need them; a snapshot's don't.
  @exclusivity(unchecked) private var stage: FullDocumentPrefetcher?
  @exclusivity(unchecked) private var decoder: EventDecoder

  /// The reader's generation whose batches belong to this epoch.
  private var generation: UInt64 = 0
  private var batch: EventBatch?
  @exclusivity(unchecked) private var entries: BSONElements?
  /// The last entry of `batch`, if known.
  @exclusivity(unchecked) private var batchEnd: OplogPosition?

  /// When the current batch came, in nanoseconds of the monotonic clock; 0: not known.
  @exclusivity(unchecked) private(set) var receivedAt: UInt64 = 0

  /// The last position whose entry may be opened; nil: no end.
  @exclusivity(unchecked) package var limit: OplogPosition?
  /// The next entry is behind `limit`, which need not be the position of an entry.
  @exclusivity(unchecked) private(set) var hasMetLimit = false
  /// This next entry.
  @exclusivity(unchecked) private var beyond: BSONElement?

  /// Tokens and markers hold a document's key, whatever its length, and a checkpoint must fit into KV. Longer
  /// ones are not kept: an earlier one, or the position alone, is sufficient.
  private static let longestPlace = 16 << 10

  /// The current entry.
  @exclusivity(unchecked) private(set) var header: OplogEntryHeader?
  @exclusivity(unchecked) private(set) var entryOpen = false
  /// The last entry that was read completely.
  @exclusivity(unchecked) package private(set) var lastEntry: OpTime?
  /// Entries read, those without events included, since the process began.
  @exclusivity(unchecked) package private(set) var count: UInt64 = 0
  /// Transactions over several entries, in the order of their commits, until they are acknowledged.
  @exclusivity(unchecked) private var transactions: [EmittedTransaction] = []
  /// Whether progress is queried (`resume`, `token`, `marker`), which also frees what is kept for the answers;
  /// else nothing may be kept.
  private let tellsPlaces: Bool
  /// Resume tokens behind finished batches of a change stream.
  private var tokens: [(position: OplogPosition, token: ResumeToken)] = []
  /// Markers behind finished batches of a snapshot: every event before `index` precedes the marker.
  private var markers: [(index: UInt32, marker: SnapshotMarker)] = []

  /// - Parameter tellsPlaces: whether tokens and markers are queried.
  package init(_ wishes: FeedWishes, tellsPlaces: Bool = true) {
    images = wishes.images(nil)
    self.tellsPlaces = tellsPlaces
    decoder = EventDecoder(
      isUpdateWanted: wishes.isUpdateWanted, disambiguatesPaths: wishes.disambiguatesPaths)
  }

  /// A transaction over several entries whose events aren't all acknowledged.
  private struct EmittedTransaction {
    /// The entry its events belong to.
    var commit: OplogPosition
    /// Its first entry, where reading has to begin to read it again.
    var begin: OpTime
  }

  /// Applies the wishes of other rules. Between epochs.
  func use(_ wishes: FeedWishes) {
    decoder.use(
      isUpdateWanted: wishes.isUpdateWanted, disambiguatesPaths: wishes.disambiguatesPaths)
    images = wishes.images(images)
    stage = nil
  }

  /// Begins a new epoch, and discards what was read before. A snapshot's events are numbered from
  /// `firstIndex` on.
  package func begin(_ source: EventSource, generation: UInt64, firstIndex: UInt32) {
    end()
    self.source = source
    stage = if case .snapshot = source { nil } else { images }
    self.generation = generation
    decoder.snapshotIndex = firstIndex
    markers = []
    header = nil
    lastEntry = nil
    hasMetLimit = false
    transactions = []
    tokens = []
    decoder.forgetTransactions()
    stage?.begin()
  }

  package func end() {
    batch = nil
    entries = nil
    beyond = nil
    entryOpen = false
    images?.end()
  }

  /// The next event. `mayOpen`: whether another entry may be begun.
  ///
  /// Throws `PipelineFailure`, and `MissingEntries` if a transaction's earlier entries were not
  /// read; after `passOver()` it continues behind that entry.
  package func next(mayOpen: () -> Bool) throws -> Input {
    while true {
      if entryOpen {
        guard stage?.mayStep() ?? true else { return .waiting }
        stage?.step()
        if let event = try nextEvent() {
          return .event(stage?.complete(event) ?? event)
        }
        entryOpen = false
        // A change stream shows a transaction's events one by one: the next entry shows which was
        // the last.
        if let header, batch?.reached == nil {
          lastEntry = OpTime(position: header.position, term: header.term)
        }
        continue
      }
      guard mayOpen() else { return .nothing }
      guard stage?.mayStep() ?? true else { return .waiting }
      guard let element = try beyond ?? nextEntry() else {
        guard takeBatch() else { return .nothing }
        continue
      }
      // Most batches end before the limit: then no entry of theirs is looked at for that.
      if let limit, hasMetLimit || batchEnd.map({ $0 > limit }) ?? true,
        try isBehind(limit, element)
      {
        return .nothing
      }
      stage?.step()
      try open(element)
    }
  }

  private func takeBatch() -> Bool {
    // After its last event, a change stream reports how far it has read.
    if let batch, let reached = batch.reached {
      if batch.isDrained {
        noteDone(reached)
      } else if let header, header.position < reached {
        noteDone(header.position)
      }
    }
    if tellsPlaces {
      if let reached = batch?.reached, let token = batch?.resumeToken,
        token.bytes.count <= Self.longestPlace
      {
        tokens.append((reached, token))
      }
      if let marker = batch?.marker, marker.lastID?.count ?? 0 <= Self.longestPlace {
        markers.append((decoder.snapshotIndex, marker))
      }
    }
    batch = nil
    entries = nil
    while let next = source?.next() {
      guard next.generation == generation else { continue }
      batch = next
      batchEnd = next.last
      receivedAt = next.receivedAt ?? 0
      entries = next.entries()
      decoder.begin(next)
      stage?.begin(next)
      return true
    }
    return false
  }

  /// A change stream has no further event at or before `position`.
  private func noteDone(_ position: OplogPosition) {
    guard lastEntry.map({ $0.position < position }) ?? true else { return }
    lastEntry = OpTime(position: position, term: -1)
  }

  private func nextEntry() throws -> BSONElement? {
    do {
      return try entries?.next()
    } catch {
      throw PipelineFailure.corrupt(after: lastEntry?.position, "\(error)")
    }
  }

  /// Whether an entry is behind the limit. It stays the next one.
  private func isBehind(_ limit: OplogPosition, _ element: BSONElement) throws -> Bool {
    if hasMetLimit { return true }
    let position: OplogPosition?
    do {
      position = try batch?.position(of: element)
    } catch {
      throw PipelineFailure.corrupt(after: lastEntry?.position, "\(error)")
    }
    guard let position, position > limit else { return false }
    hasMetLimit = true
    beyond = element
    // In a change stream, a later event shows that the previous entry is complete.
    if batch?.reached != nil, let header, header.position < position { noteDone(header.position) }
    return true
  }

  private func open(_ element: BSONElement) throws {
    guard decoder.snapshotIndex < .max else {
      throw PipelineFailure.unexpected("a snapshot of more than four billion documents")
    }
    do {
      let opened = try decoder.begin(try BSONView(element.value))
      if batch?.reached != nil, let header, header.position < opened.position {
        noteDone(header.position)
      }
      header = opened
      entryOpen = true
      count &+= 1
      if tellsPlaces, let first = decoder.transactionStart {
        transactions.append(EmittedTransaction(commit: opened.position, begin: first))
      }
    } catch let error as OplogError {
      guard case .missingEarlierEntries(let previous) = error.reason, let position = error.position
      else { throw PipelineFailure.oplog(error) }
      let point = try? ResumePoint(BSONView(element.value))
      throw MissingEntries(
        previous: previous, entry: OpTime(position: position, term: point?.term ?? -1))
    } catch {
      throw PipelineFailure.corrupt(after: lastEntry?.position, "\(error)")
    }
  }

  /// Continues behind an entry whose events aren't needed.
  func passOver(_ missing: MissingEntries) {
    lastEntry = missing.entry
    count &+= 1
  }

  private func nextEvent() throws -> ChangeEvent? {
    do {
      return try decoder.next()
    } catch {
      throw PipelineFailure.oplog(error)
    }
  }

  // MARK: - Progress

  /// Where reading would have to begin if everything before `acknowledged` is acknowledged: a transaction's
  /// entries are needed until its last event is.
  package func resume(from acknowledged: OpTime) -> OpTime {
    var place = acknowledged
    if DeliberateError.isOn(.openTransactionForgotten) { return place }
    transactions.removeAll { $0.commit < acknowledged.position }
    for transaction in transactions where transaction.begin.position < place.position {
      place = transaction.begin
    }
    if let open = decoder.oldestOpenTransaction, open.position < place.position { place = open }
    return place
  }

  /// The newest resume token that is not behind `position`.
  func token(notBehind position: OplogPosition) -> ResumeToken? {
    guard let newest = tokens.lastIndex(where: { $0.position <= position }) else { return nil }
    tokens.removeFirst(newest)
    return tokens.first?.token
  }

  /// The furthest marker that is preceded only by events before `index`; nil if there is no new one.
  func marker(settledBefore index: UInt32) -> (index: UInt32, marker: SnapshotMarker)? {
    guard let last = markers.lastIndex(where: { $0.index <= index }) else { return nil }
    let found = markers[last]
    markers.removeFirst(last + 1)
    return found
  }

  /// The index of the next event, of a snapshot.
  var snapshotIndex: UInt32 { decoder.snapshotIndex }

  /// Documents are being fetched for events that are there.
  var isWaiting: Bool { stage?.isWaiting ?? false }

  var facts: FeedFacts {
    var facts = FeedFacts()
    facts.openTransactions = decoder.openTransactions
    facts.oldestOpenTransaction = decoder.oldestOpenTransaction?.position
    (facts.transactionBytesHeld, facts.transactionBytesSpilled) = decoder.transactionBytes
    facts.timeSeriesSkipped = decoder.unsupportedTimeSeries
    if facts.timeSeriesSkipped > 0 { facts.timeSeries = decoder.timeSeriesCounts }
    facts.images = images?.status
    return facts
  }
}

/// The state of reading, for status and metrics.
struct FeedFacts: Sendable {
  /// Transactions of several entries that have begun and not ended; the checkpoint waits for them.
  var openTransactions = 0
  var oldestOpenTransaction: OplogPosition?
  var transactionBytesHeld = 0
  var transactionBytesSpilled = 0
  var timeSeriesSkipped: UInt64 = 0
  var timeSeries: [TimeSeriesCount] = []
  var images: ImageStatus?

  /// Nobody waits for them here any more.
  mutating func endTransactions() { (openTransactions, oldestOpenTransaction) = (0, nil) }
}

/// Not a failure: a transaction commits whose entries begin before the position that was read from.
package struct MissingEntries: Error {
  /// The newest entry that was not read.
  package var previous: OplogPosition
  /// The one that commits.
  package var entry: OpTime
}
