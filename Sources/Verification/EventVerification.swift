import BSON
import Bridge
public import BridgeConfiguration
import JSON
import JetStream
public import Logging
import Mapping
import MongoSource
import NATS
import NIOCore
import NIOPosix
import Oplog
public import Parity
import Synchronization

/// `tailrace verify --level events`: derives what the streams must hold over a range, reads what they
/// do hold, and tells every difference.
///
/// Two passes. The first sums both sides up in buckets and costs no memory to speak of; the second
/// looks into the buckets that differ, message by message. See docs/verify.md.
public final class EventVerification: Sendable {
  let configuration: BridgeConfiguration
  let options: VerifyOptions
  let logger: Logger
  let progress: (@Sendable (VerifyProgress) -> Void)?
  private let kept = Mutex<[MissingMessage]>([])

  public init(
    configuration: BridgeConfiguration, options: VerifyOptions, logger: Logger,
    progress: (@Sendable (VerifyProgress) -> Void)? = nil
  ) {
    self.configuration = configuration
    self.options = options
    self.logger = logger
    self.progress = progress
  }

  /// What is missing, where `keepsMissing` was asked for.
  public var missing: [MissingMessage] { kept.withLock { $0 } }

  /// Never throws: what keeps it from an answer makes the verdict INCONCLUSIVE, with the reason.
  ///
  /// `each` is given every mismatch.
  public func run(_ each: @escaping @Sendable (Mismatch) -> Void = { _ in }) async -> VerifyReport {
    var report = VerifyReport(level: "events", configuration: configuration)
    do {
      let connection = try await NATSConnection.connect(
        to: configuration.natsServers, options: try configuration.natsOptions(), logger: logger)
      let live = LiveChanges(
        configuration, reader: options.reader ?? configuration.source.reader, logger: logger,
        patience: max(options.timeout, .seconds(15)))
      do {
        try await run(JetStreamClient(connection), live, &report, each)
      } catch {
        report.addReason(Self.words(error))
      }
      live.stop()
      await connection.close()
    } catch {
      report.addReason(Self.words(error))
    }
    report.finish()
    return report
  }

  private func run(
    _ jetStream: JetStreamClient, _ changes: LiveChanges, _ report: inout VerifyReport,
    _ each: @escaping @Sendable (Mismatch) -> Void
  ) async throws {
    var planner = VerifyPlanner(
      configuration: configuration, options: options, jetStream: jetStream)
    let saved = try options.progressFile.flatMap { try SavedSession($0) }
    if let saved { planner.options.from = .after(saved.done.entry) }
    let plan = try await planner.plan()
    report.begin(plan)
    var session = VerifySession(plan, report)
    if let saved {
      session = try saved.session(plan, report, from: options.from)
      report = session.report
    }
    session.stretch = Double(options.stretch)
    let deadline = ContinuousClock.now + options.timeout
    do {
      while let part = session.next(plan) {
        var found = VerifyReport(level: "events", configuration: configuration)
        let end = try await compare(
          part, jetStream, changes, planner, until: deadline, &found, each)
        session.advance(part, found, end)
        if found.pending == 0, let file = options.progressFile { try session.save(file) }
      }
    } catch {
      report = session.report
      throw error
    }
    report = session.report
  }

  static func words(_ error: any Error) -> String {
    switch error {
    case let error as NATSError: "NATS: \(error)"
    case let error as MongoError: MongoError.words(of: error)
    case let error as JetStreamError: "JetStream: \(error)"
    default: "\(error)"
    }
  }

  /// One stretch. `planner`: nil where there is no bridge to wait for.
  func compare(
    _ plan: VerifyPlan, _ jetStream: JetStreamClient, _ changes: any ChangeSource,
    _ planner: VerifyPlanner?, until deadline: ContinuousClock.Instant,
    _ report: inout VerifyReport, _ each: @escaping @Sendable (Mismatch) -> Void
  ) async throws -> StretchEnd {
    report.begin(plan)
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let limits = plan.streams.map {
      $0.limits(maximumPayload: jetStream.connection.info.maxPayload)
    }
    let makeDeriver: @Sendable () -> ExpectedMessages = { [configuration] in
      ExpectedMessages(configuration, sourceName: plan.sourceName, limits: limits)
    }
    do {
      let book = try await group.next().submit { [configuration] in
        VerifyBook(plan, makeDeriver(), rules: configuration.rules.map(\.name))
      }.get()
      var pass = LedgerPass(
        verification: self, plan: plan, jetStream: jetStream, changes: changes,
        eventLoop: group.next(), book: book)
      try await pass.run(planner, until: deadline)
      report.settledTo = try await pass.settledTo
      try await group.next().submit { [pass] in pass.noteEnds() }.get()
      var judge = VerifyJudge(
        verification: self, plan: plan, jetStream: jetStream, changes: changes,
        eventLoop: group.next(), book: book, makeDeriver: makeDeriver, settled: pass.settled,
        each: each)
      var end = try await group.next().submit { [pass] in pass.end() }.get()
      end.missing = try await judge.judge(&report)
      kept.withLock { $0 += judge.keptMissing }
      try await group.shutdownGracefully()
      return end
    } catch {
      try? await group.shutdownGracefully()
      throw error
    }
  }
}

/// How far a verification is.
public struct VerifyProgress: Sendable {
  public var expected: UInt64
  public var observed: UInt64
  /// 0 to 1, by the time between the range's ends.
  public var fraction: Double
  public var elapsed: Duration
  public var phase: String

  public var remaining: Duration? {
    guard fraction > 0.01, fraction < 1 else { return nil }
    return elapsed * ((1 - fraction) / fraction)
  }

  public var line: String {
    let left = remaining.map { ", about \($0.components.seconds) s left" } ?? ""
    return
      "\(phase): \(expected) expected, \(observed) read back, \(Int(fraction * 100)) %\(left)"
  }
}

/// The first pass: both sides into the ledgers, and again what is not settled yet.
struct LedgerPass: Sendable {
  let verification: EventVerification
  let plan: VerifyPlan
  let jetStream: JetStreamClient
  let changes: any ChangeSource
  let eventLoop: any EventLoop
  let book: VerifyBook
  private(set) var settled: Settled
  private var heads: [UInt64]

  /// What the bridge says to have had acknowledged.
  struct Settled: Sendable {
    /// Everything before this entry …
    var before: OplogPosition?
    /// … and on a stream up to this position.
    var streams: [String: EventPosition] = [:]
    /// Events before this, whether they have a message or not …
    var events: EventPosition?
    /// … except on these streams, which are being refilled.
    var refilling: Set<String> = []
    /// There is no bridge: everything is.
    var isAll = false

    func covers(_ position: EventPosition, on stream: String) -> Bool {
      if isAll { return true }
      if let before, position.entry < before { return true }
      if let events, position < events, !refilling.contains(stream) { return true }
      return streams[stream].map { position <= $0 } ?? false
    }
  }

  init(
    verification: EventVerification, plan: VerifyPlan, jetStream: JetStreamClient,
    changes: any ChangeSource, eventLoop: any EventLoop, book: VerifyBook
  ) {
    self.verification = verification
    self.plan = plan
    self.jetStream = jetStream
    self.changes = changes
    self.eventLoop = eventLoop
    self.book = book
    settled = Settled()
    heads = plan.streams.map(\.info.lastSequence)
  }

  mutating func run(_ planner: VerifyPlanner?, until deadline: ContinuousClock.Instant) async throws
  {
    settled = try await settlement(planner)
    for index in plan.streams.indices { heads[index] = try await head(index) }
    let began = ContinuousClock.now
    let teller = Task { [self] in
      while !Task.isCancelled {
        try? await Task.sleep(for: .seconds(1))
        guard let tell = verification.progress, !Task.isCancelled else { return }
        if let now = try? await eventLoop.submit({ self.progress(since: began) }).get() {
          tell(now)
        }
      }
    }
    defer { teller.cancel() }
    let firsts = plan.streams.map(\.first)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { [self] in
        try await endingAll {
          try await changes.walk(
            plan.range, on: eventLoop, mayContinue: { book.hasRoom }, { book.expect($0) })
          try await eventLoop.submit { book.endExpected() }.get()
        }
      }
      for index in plan.streams.indices {
        group.addTask { [self] in
          try await endingAll {
            try await read(index, from: firsts[index], through: heads[index])
          }
        }
      }
      try await group.waitForAll()
    }
    try await settle(planner, until: deadline)
  }

  /// Sides wait for each other: where one fails, none continues.
  private func endingAll(_ body: () async throws -> Void) async throws {
    do {
      try await body()
    } catch {
      try? await eventLoop.submit { [book] in book.abandon() }.get()
      throw error
    }
  }

  private func progress(since began: ContinuousClock.Instant) -> VerifyProgress {
    let from = Double(plan.range.lowerBound.entry.seconds)
    let span = max(1, Double(plan.range.upperBound.entry.seconds) - from)
    let done = book.derived.map { (Double($0.entry.seconds) - from) / span } ?? 0
    let read = Double(book.observedCount) / Double(max(1, book.expectedCount))
    return VerifyProgress(
      expected: book.expectedCount, observed: book.observedCount,
      fraction: min(1, max(0, done * min(1, read))), elapsed: .now - began, phase: "comparing")
  }

  /// Waits, while the bridge has not acknowledged all of the range, for what isn't there yet.
  private mutating func settle(_ planner: VerifyPlanner?, until deadline: ContinuousClock.Instant)
    async throws
  {
    guard planner != nil else { return }
    while ContinuousClock.now < deadline {
      let isDone = try await eventLoop.submit { [book, settled] in
        book.agrees || book.isComplete(settled)
      }.get()
      if isDone { return }
      try await Task.sleep(for: .milliseconds(150))
      settled = try await settlement(planner)
      for index in plan.streams.indices {
        let known = heads[index]
        heads[index] = try await head(index)
        if heads[index] > known { try await read(index, from: known + 1, through: heads[index]) }
      }
    }
  }

  private func settlement(_ planner: VerifyPlanner?) async throws -> Settled {
    guard let planner else { return Settled(isAll: true) }
    guard let checkpoint = try await planner.checkpoint() else { return Settled() }
    return Settled(
      before: checkpoint.resume, streams: checkpoint.streams.mapValues(\.position),
      events: checkpoint.settled,
      refilling: Set(checkpoint.states.filter { $0.value.refillTo != nil }.keys))
  }

  private func head(_ stream: Int) async throws -> UInt64 {
    let name = plan.streams[stream].name
    guard let info = try await jetStream.stream(name) else {
      throw RangeFailure(description: "stream \(name) is gone")
    }
    guard info.created == plan.streams[stream].info.created else {
      throw RangeFailure(description: "stream \(name) was created again meanwhile")
    }
    return info.lastSequence
  }

  /// How far everything is judged: the end of the range, or before what is pending.
  var settledTo: OplogPosition {
    get async throws {
      if try await eventLoop.submit({ [book, settled] in
        book.agrees || book.isComplete(settled)
      }).get() {
        return plan.range.upperBound.entry
      }
      return min(settled.before ?? plan.range.lowerBound.entry, plan.range.upperBound.entry)
    }
  }

  func noteEnds() {
    for (index, head) in heads.enumerated() where head > 0 && !wasStopped(index) {
      book.endOfStream(index, at: head)
    }
  }

  private func wasStopped(_ stream: Int) -> Bool {
    plan.margin.map { book.ledgers[stream].beyond > $0 } ?? false
  }

  /// Where the next stretch begins.
  func end() -> StretchEnd {
    var end = StretchEnd()
    for index in heads.indices {
      let next = max(book.ledgers[index].nextSequence, plan.streams[index].first)
      end.next.append(next)
      // What an earlier stretch took from behind there stays taken.
      let before = plan.taken.indices.contains(index) ? plan.taken[index] : []
      end.taken.append(book.ledgers[index].takenBehind.union(before.filter { $0 >= next }))
    }
    return end
  }

  private func read(_ stream: Int, from first: UInt64, through last: UInt64) async throws {
    guard first <= last, !plan.streams[stream].isQueue else { return }
    let collector = RecordCollector(
      stream, book, eventLoop,
      StoredMessageParser(
        MessageOwnership(verification.configuration).of(plan.streams[stream].name),
        readsLetters: plan.streams[stream].isDeadLetter),
      sharedRules: plan.streams[stream].isShared ? sharedRules : [])
    let scan = StreamScan(
      jetStream, stream: plan.streams[stream].name, from: first, through: last, isGated: true,
      onRest: { collector.handOn() }, take: { view, sequence in collector.take(view, sequence) })
    try await eventLoop.submit { [book] in book.attach(stream, scan) }.get()
    try await scan.run()
  }

  /// Names of rules whose ids other producers may use.
  private var sharedRules: Set<[UInt8]> {
    Set(
      verification.configuration.rules.filter { $0.id != .positional || $0.outbox != nil }
        .map { Array($0.name.utf8) })
  }
}

/// Makes records of messages on the connection's event loop, and hands them on in lots.
///
/// Sendable invariant: every stored property is touched on the connection's event loop only. Its methods don't
/// call back, so accesses can't overlap: the hot ones go without the dynamic exclusivity check.
private final class RecordCollector: @unchecked Sendable {
  private let stream: Int
  private let book: VerifyBook
  private let eventLoop: any EventLoop
  private let sharedRules: Set<[UInt8]>
  @exclusivity(unchecked) private var parser: StoredMessageParser
  @exclusivity(unchecked) private var records: [(record: ObservedRecord, isShared: Bool)] = []
  private var letters: [ServerLetter] = []

  init(
    _ stream: Int, _ book: VerifyBook, _ eventLoop: any EventLoop,
    _ parser: consuming StoredMessageParser, sharedRules: Set<[UInt8]>
  ) {
    self.parser = parser
    self.stream = stream
    self.book = book
    self.eventLoop = eventLoop
    self.sharedRules = sharedRules
    records.reserveCapacity(1024)
  }

  func take(_ view: borrowing NATSMessageView, _ sequence: UInt64) {
    let (record, rule, reason) = parser.record(view, sequence: sequence)
    var isShared = false
    if let reason {
      if let rule, let position = record.position {
        letters.append(
          ServerLetter(
            event: EventOfRule(position: position, rule: String(decoding: rule, as: UTF8.self)),
            reason: reason, sequence: sequence))
      }
    } else if !sharedRules.isEmpty, let rule {
      isShared = sharedRules.contains(Array(rule))
    }
    records.append((record, isShared))
  }

  func handOn() {
    guard !records.isEmpty else { return }
    let lot = records
    records = []
    records.reserveCapacity(1024)
    let letters = letters
    self.letters = []
    eventLoop.execute { [book, stream] in
      book.note(letters)
      book.take(stream, lot)
    }
  }
}
