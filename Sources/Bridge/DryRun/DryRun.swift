import BSON
public import BridgeConfiguration
import JetStream
public import Logging
import Mapping
import MongoSource
import NIOCore
import NIOPosix
import Oplog
public import ServiceLifecycle
import Synchronization

/// `tailrace run --dry-run`: reads as a bridge would, maps and judges every event, publishes nothing. NATS
/// is not so much as connected to.
public final class DryRun: Service {
  private let configuration: BridgeConfiguration
  private let options: RunOptions
  private let maximumPayload: Int
  private let logger: Logger
  private let progress: (@Sendable (CoverageReport) -> Void)?
  private let stopRequest = StopRequest()
  private let result = Mutex<CoverageReport?>(nil)

  /// How long MongoDB may send nothing of a range that has an end.
  private static let patience = Duration.seconds(20)

  /// - Parameters:
  ///   - maximumPayload: what the server would take, headers and body; its default is 1 MiB.
  ///   - progress: is given what was found so far, every second or so.
  public init(
    configuration: BridgeConfiguration, options: RunOptions, maximumPayload: Int, logger: Logger,
    progress: (@Sendable (CoverageReport) -> Void)? = nil
  ) {
    self.configuration = configuration
    self.options = options
    self.maximumPayload = maximumPayload
    self.logger = logger
    self.progress = progress
  }

  /// Set when `run` has returned.
  public var report: CoverageReport? { result.withLock { $0 } }

  public func run() async throws {
    try await withGracefulShutdownHandler {
      try await self.read()
    } onGracefulShutdown: {
      self.stopRequest.request()
    }
  }

  private func read() async throws {
    let source = configuration.mongoSourceOptions
    let bounds = try await stopRequest.unlessStopped { [self] in
      let start = try await startPoint(source)
      let end = try await endPoint(source)
      if let name = configuration.source.name { return (start, end, name) }
      return (start, end, try await ask { try await MongoAdmin.identify(source).setName })
    }
    guard let (start, end, sourceName) = bounds else { return }
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let (signals, signal) = AsyncStream.makeStream(
      of: Void.self, bufferingPolicy: .bufferingNewest(1))
    let reader: EventReader =
      switch configuration.source.reader {
      case .oplog: .oplog(OplogReader(options: source, logger: logger) { signal.yield() })
      case .changeStream:
        .changeStream(ChangeStreamReader(options: source, logger: logger) { signal.yield() })
      }
    let worker = DryRunWorker(
      configuration, sourceName: sourceName, reader: reader, maximumPayload: maximumPayload,
      eventLoop: group.next(), logger: logger, start: start, end: end
    ) { signal.yield() }
    try await group.next().submit { worker.begin() }.get()
    let ticker = Task {
      while !Task.isCancelled {
        try? await Task.sleep(for: .milliseconds(200))
        signal.yield()
      }
    }
    var told = ContinuousClock.now
    var patience = Patience(Self.patience)
    for await _ in signals {
      let isOver = try await group.next().submit { worker.pump() }.get()
      if isOver || stopRequest.isRequested { break }
      // Without an end, a server that is gone is waited for.
      if end != nil {
        let (mark, silence) = try await group.next().submit { worker.course }.get()
        do {
          try patience.check(mark) { silence }
        } catch {
          try await group.next().submit { worker.giveUp("\(error)") }.get()
          break
        }
      }
      if let progress, ContinuousClock.now - told > .seconds(1) {
        told = .now
        let coverage = try await group.next().submit { worker.coverage }.get()
        progress(report(coverage, start.mark, sourceName, failure: nil))
      }
    }
    ticker.cancel()
    reader.stop()
    let (coverage, failure) = try await group.next().submit { worker.finish() }.get()
    try await group.shutdownGracefully()
    let report = report(coverage, start.mark, sourceName, failure: failure)
    result.withLock { $0 = report }
  }

  private func report(
    _ coverage: Coverage, _ start: OplogPosition, _ sourceName: String, failure: String?
  ) -> CoverageReport {
    CoverageReport(
      coverage: coverage, from: "\(start)", until: "\(coverage.last ?? start)", failure: failure,
      configurationHash: configuration.hash(sourceName: sourceName),
      maximumPayload: maximumPayload, unmatchedMatters: configuration.unmatched != .ignore,
      drops: configuration.rules.map { $0.onInvalid == .drop })
  }

  private func startPoint(
    _ source: MongoSourceOptions
  ) async throws -> DryRunStart {
    switch options.from ?? configuration.start {
    case .now, .snapshot:
      return DryRunStart(
        point: try await ask { try await MongoAdmin.majorityPosition(source) }, isInclusive: false)
    case .oldest:
      return DryRunStart(point: try await ask { try await MongoAdmin.oldestPosition(source) })
    case .at(let mark):
      var start = DryRunStart(point: ResumePoint(position: mark, term: nil))
      // Change streams begin at any time, and need no right to read the oplog.
      guard configuration.source.reader == .oplog else { return start }
      switch try await ask({ try await MongoAdmin.place(source, of: mark) }) {
      case .entry(let entry): start.point = entry
      case .ahead(let newest): start.point = newest
      case .lost: break  // The reader asks other members before it says so.
      }
      return start
    }
  }

  private func endPoint(_ source: MongoSourceOptions) async throws -> OplogPosition? {
    switch options.until {
    case .forever: nil
    case .at(let position): position
    case .now: try await ask { try await MongoAdmin.majorityPosition(source).position }
    }
  }

  private func ask<T>(_ question: () async throws -> T) async throws -> T {
    do {
      return try await question()
    } catch let error as MongoError {
      throw error.isTransient
        ? BridgeError.unavailable("MongoDB: \(error)") : .configuration("MongoDB: \(error)")
    }
  }
}

/// Where a dry run begins.
struct DryRunStart: Sendable {
  /// Reading begins with this entry.
  var point: ResumePoint
  /// What is before here is not looked at.
  let mark: OplogPosition
  let isInclusive: Bool

  init(point: ResumePoint, isInclusive: Bool = true) {
    self.point = point
    self.mark = point.position
    self.isInclusive = isInclusive
  }
}

/// The part on the event loop.
///
/// Sendable invariant: every stored property is touched on `eventLoop` only.
final class DryRunWorker: @unchecked Sendable {
  private let configuration: BridgeConfiguration
  private let feed: EventFeed
  private let reader: EventReader
  private let start: DryRunStart
  private let end: OplogPosition?
  private var events: EventCoverage
  private var failure: String?
  var coverage: Coverage { events.coverage }
  private let began = ContinuousClock.now

  init(
    _ configuration: BridgeConfiguration, sourceName: String, reader: EventReader,
    maximumPayload: Int, eventLoop: any EventLoop, logger: Logger,
    start: DryRunStart, end: OplogPosition?,
    onImages: @escaping @Sendable () -> Void
  ) {
    self.configuration = configuration
    self.reader = reader
    self.start = start
    self.end = end
    events = EventCoverage(
      configuration, sourceName: sourceName, maximumPayload: maximumPayload)
    feed = EventFeed(
      reader: reader,
      images: FullDocumentPrefetcher(
        configuration, eventLoop: eventLoop, logger: logger, onAnswer: onImages),
      isUpdateWanted: configuration.isUpdateWanted,
      disambiguatesPaths: configuration.rules.disambiguatePaths, tellsPlaces: false)
  }

  func begin() {
    let generation = reader.restart(at: start.point, after: nil)
    feed.limit = end
    feed.begin(.tail(reader), generation: generation, firstIndex: SnapshotDecoder.firstIndex)
  }

  /// Takes what is there. True: the end is reached, or there is no going on.
  func pump() -> Bool {
    if failure != nil { return true }
    do {
      while true {
        do {
          let input = try feed.next(mayOpen: { !reachedEnd })
          note()
          guard case .event(let event) = input else {
            if reachedEnd { return true }
            if case .nothing = input, let lost = reader.failure {
              failure = lost.description
              return true
            }
            return false
          }
          if isBeforeStart(event.position.entry) { continue }
          events.take(event)
        } catch let missing as MissingEntries {
          feed.passOver(missing)
          events.coverage.cutTransactions &+= 1
        }
      }
    } catch {
      failure = "\(error)"
      return true
    }
  }

  /// Another mark whenever MongoDB has sent or answered something, if only that there is nothing more; and
  /// what is waited for.
  var course: (mark: UInt64, silence: String) {
    let images = feed.isWaiting ? feed.facts.images : nil
    let status = reader.status
    let answered = status.lastReplyAt.map { UInt64(max(0, ($0 - began) / .microseconds(1))) } ?? 0
    return (
      feed.count ^ answered ^ (images?.roundTrips ?? 0) << 40, images?.silence ?? status.silence
    )
  }

  func giveUp(_ why: String) { failure = failure ?? why }

  func finish() -> (Coverage, String?) {
    feed.end()
    if failure == nil, let end, !reachedEnd, start.point.position < end {
      failure = "stopped before \(end)"
    }
    return (coverage, failure)
  }

  private var reachedEnd: Bool {
    guard let end else { return false }
    return feed.hasMetLimit || feed.lastEntry.map { $0.position >= end } ?? false
  }

  private func isBeforeStart(_ position: OplogPosition) -> Bool {
    position < start.mark || (position == start.mark && !start.isInclusive)
  }

  private func note() {
    events.coverage.entries = feed.count
    if coverage.first == nil {
      events.coverage.first = feed.header?.position ?? feed.lastEntry?.position
    }
    if let last = feed.lastEntry?.position { events.coverage.last = last }
  }
}
