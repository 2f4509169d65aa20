import Bridge
import BridgeConfiguration
import Logging
import MongoSource
import NIOCore
import NIOPosix
import Oplog
import Parity

/// Reads what the collections hold at one moment, and has it judged.
struct CollectionState {
  /// Which collections.
  struct Selection: Sendable {
    var database: @Sendable (String) -> Bool
    var collection: @Sendable (String, String) -> Bool
  }

  private let configuration: BridgeConfiguration
  private let selection: Selection
  private let moment: OplogPosition
  private let reader: SnapshotReader
  private let changes: AsyncStream<Void>
  private let signal: AsyncStream<Void>.Continuation
  private let patience: Duration
  private let logger: Logger

  init(
    _ configuration: BridgeConfiguration, _ selection: Selection, at moment: OplogPosition,
    patience: Duration, _ logger: Logger
  ) {
    self.patience = patience
    self.logger = logger
    let (changes, signal) = AsyncStream.makeStream(
      of: Void.self, bufferingPolicy: .bufferingNewest(1))
    self.configuration = configuration
    self.selection = selection
    self.moment = moment
    self.changes = changes
    self.signal = signal
    reader = SnapshotReader(
      options: configuration.mongoSourceOptions, databases: selection.database,
      filter: selection.collection,
      leadsToTail: false, logger: logger, onChange: { signal.yield() })
  }

  func estimatedBytes() async throws -> UInt64 {
    let probe = CollectionState(
      configuration, selection, at: moment, patience: patience, logger)
    defer { probe.reader.stop() }
    _ = probe.reader.restart(from: marker)
    return try await probe.waiting { probe in
      if let failure = probe.reader.failure { throw RangeFailure(description: "\(failure)") }
      let status = probe.reader.status
      if status.queuedBatches > 0 || status.tailFrom != nil || status.phase == .failed {
        return status.progress.estimatedBytes
      }
      return nil
    }
  }

  /// Asks again whenever something has changed, and gives up when nothing does.
  private func waiting<T: Sendable>(
    _ ask: (CollectionState) async throws -> T?
  ) async throws -> T {
    let ticker = Task { [signal] in
      while !Task.isCancelled {
        try? await Task.sleep(for: .milliseconds(200))
        signal.yield()
      }
    }
    defer { ticker.cancel() }
    var signals = changes.makeAsyncIterator()
    var patience = Patience(patience)
    while true {
      if let answer = try await ask(self) { return answer }
      let status = reader.status
      try patience.check(status.progress.documents) {
        status.lastError.map { "\($0)" }
          ?? "the documents of \(status.progress.namespace ?? "the collections") were asked for, \(status.host ?? "no server") has not answered"
      }
      _ = await signals.next()
    }
  }

  private var marker: SnapshotMarker {
    SnapshotMarker(beginningAt: ResumePoint(position: moment, term: nil))
  }

  struct Compared<Found: Sendable>: Sendable {
    var found: Found
    /// All documents were read as they were at the moment.
    var isExact: Bool
  }

  func compare<Judge: DocumentJudge>(
    _ judge: sending Judge
  ) async throws -> Compared<Judge.Found> {
    defer { reader.stop() }
    let walk = DocumentWalk(judge, reader)
    let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
    try await eventLoop.submit { [marker] in walk.begin(marker) }.get()
    return try await waiting { _ in
      guard try await eventLoop.submit({ try walk.pump() }).get() else { return nil }
      return try await eventLoop.submit { walk.finish() }.get()
    }
  }
}

/// Sendable invariant: every stored property is touched on one event loop only.
private final class DocumentWalk<Judge: DocumentJudge>: @unchecked Sendable {
  private let feed: EventFeed
  private let reader: SnapshotReader
  private let judge: Judge

  init(_ judge: sending Judge, _ reader: SnapshotReader) {
    self.reader = reader
    self.judge = judge
    feed = EventFeed(.entriesAlone, tellsPlaces: false)
  }

  func begin(_ marker: SnapshotMarker) {
    feed.begin(
      .snapshot(reader), generation: reader.restart(from: marker),
      firstIndex: SnapshotDecoder.firstIndex)
  }

  /// True at the end.
  func pump() throws -> Bool {
    while case .event(let event) = try feed.next(mayOpen: { true }) { try judge.take(event) }
    if let failure = reader.failure { throw RangeFailure(description: "\(failure)") }
    return feed.source?.tailFrom != nil
  }

  func finish() -> CollectionState.Compared<Judge.Found> {
    feed.end()
    return CollectionState.Compared(found: judge.finish(), isExact: reader.status.isExact)
  }
}
