import BSON
public import Bridge
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
  private let stopRequest = StopRequest(on: MultiThreadedEventLoopGroup.singleton.next())
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
    let changes = LiveChanges(
      configuration, reader: configuration.source.reader, logger: logger, patience: Self.patience)
    defer { changes.stop() }
    let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
    let events = DryRunEvents(
      EventCoverage(configuration, sourceName: sourceName, maximumPayload: maximumPayload))
    let stopRequest = stopRequest
    let walker = ChangeWalker(
      changes.reader,
      WalkRange(from: start.mark, isInclusive: start.isInclusive, through: end),
      changes.wishes(on: eventLoop, isUpdateWanted: configuration.isUpdateWanted),
      passesOverCut: true, mayContinue: { !stopRequest.isRequested }, events.take)
    var failure: String?
    do {
      var reportedAt = ContinuousClock.now
      // Without an end, a server that is gone is waited for.
      let outcome = try await changes.follow(
        walker, from: start.point, on: eventLoop, end == nil ? .none : .answers
      ) {
        guard !stopRequest.isRequested else { return false }
        if let progress, ContinuousClock.now - reportedAt > .seconds(1) {
          reportedAt = .now
          let coverage = try await eventLoop.submit { events.coverage(walker) }.get()
          progress(self.report(coverage, start.mark, sourceName, failure: nil))
        }
        return true
      }
      if case .stopped = outcome, let end, start.point.position < end {
        failure = "stopped before \(end)"
      }
    } catch let error as RangeFailure {
      failure = error.description
    }
    let coverage = try await eventLoop.submit { events.coverage(walker) }.get()
    let report = self.report(coverage, start.mark, sourceName, failure: failure)
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
        ? BridgeError.unavailable(MongoError.words(of: error))
        : .configuration(MongoError.words(of: error))
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

/// What has been counted so far.
///
/// Sendable invariant: every stored property is touched on the walk's event loop only.
private final class DryRunEvents: @unchecked Sendable {
  private var events: EventCoverage

  init(_ events: consuming EventCoverage) { self.events = events }

  @Sendable func take(_ event: ChangeEvent) { events.take(event) }

  func coverage(_ walker: ChangeWalker) -> Coverage {
    var coverage = events.coverage
    let extent = walker.extent
    coverage.entries = extent.entries
    coverage.first = extent.first
    coverage.last = extent.last
    coverage.cutTransactions = walker.cutTransactions
    return coverage
  }
}
