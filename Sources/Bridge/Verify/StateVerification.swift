import BSON
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

/// `tailrace verify --level state`: what a stream's messages come to, document by document, is what the
/// collections hold, at one moment and in the shape that the rules give. See docs/verify.md.
///
/// In parts of all keys, so that memory is bounded; documents that differ are compared anew at a later
/// moment, as often as there is time, since what can't be read at one moment may be of another.
public final class StateVerification: Sendable {
  private let configuration: BridgeConfiguration
  private let options: VerifyOptions
  private let logger: Logger
  private let progress: (@Sendable (String) -> Void)?
  private let plan: FoldPlan

  /// Documents of one part may take so much memory, about.
  private static let partBytes: UInt64 = 64 << 20
  private static let mostUnequal = 100_000

  public init(
    configuration: BridgeConfiguration, options: VerifyOptions, logger: Logger,
    progress: (@Sendable (String) -> Void)? = nil
  ) {
    self.configuration = configuration
    self.options = options
    self.logger = logger
    self.progress = progress
    plan = FoldPlan(configuration)
  }

  /// Never throws; see `EventVerification.run`.
  public func run(_ each: (Mismatch) -> Void = { _ in }) async -> VerifyReport {
    var report = VerifyReport(level: "state", configuration: configuration)
    do {
      let connection = try await NATSConnection.connect(
        to: configuration.natsServers, options: try configuration.natsOptions(), logger: logger)
      do {
        try await compare(JetStreamClient(connection), &report, each)
      } catch {
        report.addReason(EventVerification.words(error))
      }
      await connection.close()
    } catch {
      report.addReason(EventVerification.words(error))
    }
    report.finish()
    return report
  }

  private func compare(
    _ jetStream: JetStreamClient, _ report: inout VerifyReport, _ each: (Mismatch) -> Void
  ) async throws {
    var planner = VerifyPlanner(
      configuration: configuration, options: options, jetStream: jetStream)
    // The oplog is not asked: only streams and collections.
    planner.options.from = .after(OplogPosition(seconds: 0, increment: 0))
    planner.options.to = .acknowledged
    let events = try await planner.plan()
    report.begin(events)
    guard let checkpoint = try await planner.checkpoint() else { return }
    for stream in events.streams where stream.info.firstSequence > 1 || stream.perSubject > 0 {
      guard configuration.streams.contains(where: { $0.name == stream.name }) else { continue }
      report.addReason(
        "stream \(stream.name) does not hold all its messages any more, so that documents can't be made of them"
      )
    }
    guard report.reasons.isEmpty else { return }
    var course = StateCourse(
      upTo: events.range.upperBound, hasSnapshot: checkpoint.snapshot?.isOver == true)
    let deadline = ContinuousClock.now + options.timeout
    var unequal = try await generation(
      jetStream, events, &course, part: nil, &report)
    while !unequal.isEmpty, ContinuousClock.now < deadline {
      // Later, the same must still be unequal.
      guard let later = try await laterMoment(planner, than: course.upTo, until: deadline) else {
        break
      }
      course.upTo = later
      progress?("\(unequal.count) documents differ: once more, at \(later.entry)")
      unequal = try await generation(
        jetStream, events, &course, part: .keys(Set(unequal.keys)), &report)
    }
    report.to = course.upTo
    report.settledTo = course.upTo.entry
    for (_, mismatch) in unequal.sorted(by: { $0.key < $1.key }) {
      each(mismatch)
      report.add(mismatch)
    }
    if course.tooMany { report.addReason("more documents differ than are kept") }
    if course.isInexact, !unequal.isEmpty {
      report.addReason(
        "documents could not be read at one moment (the server keeps its history for 300 s): differences may be newer changes"
      )
    }
    for (namespace, why) in course.notFoldable.sorted(by: { $0.key < $1.key }) {
      report.notes.append("\(namespace) is not compared: \(why)")
    }
    if !course.notFoldable.isEmpty, report.expected == 0, report.observed == 0 {
      report.addReason("no collection can be compared")
    }
    report.notHeld = course.beforeBridge
  }

  /// A moment that the bridge has come to since, if one comes before the time is up.
  private func laterMoment(
    _ planner: VerifyPlanner, than before: EventPosition, until deadline: ContinuousClock.Instant
  ) async throws -> EventPosition? {
    while ContinuousClock.now < deadline {
      if let resume = try await planner.checkpoint()?.resume,
        let end = EventPosition(entry: resume, index: 0).previous, end > before
      {
        return end
      }
      try await Task.sleep(for: .milliseconds(200))
    }
    return nil
  }

  /// Compares at one moment: everything, or certain documents. Those that differ, by key.
  private func generation(
    _ jetStream: JetStreamClient, _ events: VerifyPlan, _ course: inout StateCourse,
    part only: StateFold.Part?, _ report: inout VerifyReport
  ) async throws -> [String: Mismatch] {
    var unequal: [String: Mismatch] = [:]
    var part: UInt64 = 0
    var parts: UInt64 = 1
    repeat {
      let documents = CollectionState(
        configuration, plan, upTo: course.upTo, patience: max(options.timeout, .seconds(15)), logger
      )
      if only == nil, part == 0 {
        // What the collections come to, by the server's own count.
        parts = max(1, try await documents.estimatedBytes() / Self.partBytes)
      }
      let fold = StateFold(plan, only ?? .hashed(part, of: parts), upTo: course.upTo)
      for index in configuration.streams.indices {
        let stream = events.streams[index]
        guard let info = try await jetStream.stream(stream.name), info.messages > 0 else {
          continue
        }
        try await StreamScan(
          jetStream, stream: stream.name, from: 1, through: info.lastSequence,
          take: { view, sequence in fold.take(view, sequence) }
        ).run()
      }
      progress?("part \(part + 1) of \(parts): \(fold.messages) messages folded")
      let found = try await documents.compare(
        fold, only ?? .hashed(part, of: parts), hasSnapshot: course.hasSnapshot)
      course.isInexact = !found.isExact
      course.notFoldable.merge(found.notFoldable) { first, _ in first }
      if only == nil {
        course.beforeBridge &+= found.beforeBridge
        report.expected &+= found.documents
        report.observed &+= found.folded
        report.events &+= fold.messages
      }
      for (key, var mismatch) in found.unequal {
        guard unequal.count < Self.mostUnequal else {
          course.tooMany = true
          break
        }
        mismatch.stream = found.streams[key].map { configuration.streams[$0].name } ?? ""
        unequal[key] = mismatch
      }
      part += 1
    } while part < parts && only == nil
    return unequal
  }
}

/// What a comparison of states has learned on its way.
private struct StateCourse {
  var upTo: EventPosition
  var hasSnapshot: Bool
  var isInexact = false
  var tooMany = false
  var notFoldable: [String: String] = [:]
  /// Documents that have not changed since the bridge began, which published no snapshot.
  var beforeBridge: UInt64 = 0
}

/// What the collections hold at one moment, in the shape of the rules.
private struct CollectionState {
  struct Found: Sendable {
    var documents: UInt64 = 0
    var folded: UInt64 = 0
    var beforeBridge: UInt64 = 0
    var unequal: [String: Mismatch] = [:]
    var streams: [String: Int] = [:]
    var notFoldable: [String: String] = [:]
    var isExact = true
  }

  private let configuration: BridgeConfiguration
  private let plan: FoldPlan
  private let upTo: EventPosition
  private let reader: SnapshotReader
  private let changes: AsyncStream<Void>
  private let signal: AsyncStream<Void>.Continuation
  private let patience: Duration
  private let logger: Logger

  init(
    _ configuration: BridgeConfiguration, _ plan: FoldPlan, upTo: EventPosition,
    patience: Duration, _ logger: Logger
  ) {
    self.patience = patience
    self.logger = logger
    let (changes, signal) = AsyncStream.makeStream(
      of: Void.self, bufferingPolicy: .bufferingNewest(1))
    self.configuration = configuration
    self.plan = plan
    self.upTo = upTo
    self.changes = changes
    self.signal = signal
    reader = SnapshotReader(
      options: configuration.mongoSourceOptions, filter: { plan.isMatched($0, $1) },
      logger: logger, onChange: { signal.yield() })
  }

  func estimatedBytes() async throws -> UInt64 {
    let probe = CollectionState(
      configuration, plan, upTo: upTo, patience: patience, logger)
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
        status.lastError.map { "\($0)" } ?? "no error is known"
      }
      _ = await signals.next()
    }
  }

  private var marker: SnapshotMarker {
    SnapshotMarker(beginningAt: ResumePoint(position: upTo.entry, term: nil))
  }

  func compare(
    _ fold: StateFold, _ part: StateFold.Part, hasSnapshot: Bool
  ) async throws -> Found {
    defer { reader.stop() }
    let walk = DocumentWalk(
      configuration, plan, fold, part, hasSnapshot: hasSnapshot, reader, logger)
    let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
    try await eventLoop.submit { [marker] in walk.begin(marker) }.get()
    return try await waiting { _ in
      guard try await eventLoop.submit({ try walk.pump() }).get() else { return nil }
      return try await eventLoop.submit { walk.finish() }.get()
    }
  }
}

/// Sendable invariant: every stored property is touched on one event loop only.
private final class DocumentWalk: @unchecked Sendable {
  private let feed: EventFeed
  private let reader: SnapshotReader
  private var mapper: Mapper
  private let rules: [Rule]
  private let plan: FoldPlan
  private let fold: StateFold
  private let part: StateFold.Part
  private let hasSnapshot: Bool
  private var answers: [String: FoldPlan.Answer] = [:]
  private var found = CollectionState.Found()
  private var body = ByteWriter(capacity: 4096)

  init(
    _ configuration: BridgeConfiguration, _ plan: FoldPlan, _ fold: StateFold,
    _ part: StateFold.Part, hasSnapshot: Bool, _ reader: SnapshotReader, _ logger: Logger
  ) {
    self.plan = plan
    self.fold = fold
    self.part = part
    self.hasSnapshot = hasSnapshot
    self.reader = reader
    rules = configuration.rules
    mapper = configuration.mapper(sourceName: "")
    // The oplog's reader is never started: only the snapshot is read.
    feed = EventFeed(
      reader: .oplog(
        OplogReader(options: configuration.mongoSourceOptions, logger: logger) {}
      ),
      images: nil)
  }

  func begin(_ marker: SnapshotMarker) {
    feed.begin(
      .snapshot(reader), generation: reader.restart(from: marker),
      firstIndex: SnapshotDecoder.firstIndex)
  }

  /// True at the end.
  func pump() throws -> Bool {
    while case .event(let event) = try feed.next(mayOpen: { true }) { try take(event) }
    if let failure = reader.failure { throw RangeFailure(description: "\(failure)") }
    return feed.source.tailFrom != nil
  }

  private func take(_ event: ChangeEvent) throws {
    let namespace = String(decoding: event.namespace, as: UTF8.self)
    let answer = answers[namespace] ?? plan.answer(namespace)
    answers[namespace] = answer
    guard case .foldable(let stream) = answer else {
      if case .not(let why) = answer { found.notFoldable[namespace] = why }
      return
    }
    guard let rule = mapper.firstMatch(event) else { return }
    body.removeAll()
    do throws(MappingError) {
      try mapper.writeBody(rule: rule, event: event, match: 0, into: &body)
    } catch {
      // Such a document is a dead letter, not a message.
      return
    }
    let shown = FoldPlan.event(try JSONValue(parsing: body.bytes))
    guard let documentKey = shown["documentKey"], let document = shown["fullDocument"] else {
      return
    }
    let key = StateFold.key(namespace, documentKey)
    guard part.contains(key) else { return }
    found.documents &+= 1
    var mismatch = Mismatch(
      kind: .missing, id: key, position: nil, rule: rules[rule].name, subject: namespace,
      stream: "", sequence: nil, detail: "no message tells of this document")
    guard let folded = fold.remove(key) else {
      if hasSnapshot {
        found.unequal[key] = mismatch
        found.streams[key] = stream
      } else {
        found.beforeBridge &+= 1
      }
      return
    }
    found.folded &+= 1
    guard let text = folded.text else {
      found.beforeBridge &+= 1
      return
    }
    let made = DocumentFold.sorted(try JSONValue(parsing: text))
    guard
      let difference = JSONDifference.first(expected: DocumentFold.sorted(document), found: made)
    else { return }
    mismatch.kind = .payloadMismatch
    mismatch.position = folded.position
    mismatch.sequence = folded.sequence
    mismatch.pointer = difference.pointer
    mismatch.detail =
      "the document at \(difference.pointer.isEmpty ? "its root" : difference.pointer): \(difference.detail)"
    found.unequal[key] = mismatch
    found.streams[key] = stream
  }

  func finish() -> CollectionState.Found {
    feed.end()
    for (key, document) in fold.rest {
      let namespace = String(key.prefix { $0 != " " })
      let answer = answers[namespace] ?? plan.answer(namespace)
      answers[namespace] = answer
      guard case .foldable(let stream) = answer else {
        if case .not(let why) = answer { found.notFoldable[namespace] = why }
        continue
      }
      // Changes of a document that was there before the bridge, and is gone: nothing to be said.
      guard document.text != nil else { continue }
      found.unequal[key] = Mismatch(
        kind: .extra, id: key, position: document.position, rule: document.rule,
        subject: namespace, stream: "", sequence: document.sequence,
        detail: "messages tell of a document that the collection does not hold")
      found.streams[key] = stream
    }
    found.isExact = reader.status.isExact
    return found
  }
}
