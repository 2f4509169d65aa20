import Bridge
public import BridgeConfiguration
import JSON
import JetStream
public import Logging
import MongoSource
import NATS
import Oplog
public import Parity

/// `tailrace verify --level state`: what a stream's messages come to, document by document, is what the
/// collections hold, at one moment and in the shape that the rules give. See docs/verify.md.
///
/// In parts of all keys, so that memory is bounded; documents that differ are compared again at a later
/// moment, as often as there is time, since what can't be read at one moment may be of another.
public final class StateVerification: Sendable {
  private let configuration: BridgeConfiguration
  private let options: VerifyOptions
  private let logger: Logger
  private let progress: (@Sendable (String) -> Void)?

  /// Documents of one part may take so much memory, about.
  private static let partBytes = 64 << 20
  /// So many documents are looked at with all readings of their updates' paths.
  private static let mostThorough = 10_000

  public init(
    configuration: BridgeConfiguration, options: VerifyOptions, logger: Logger,
    progress: (@Sendable (String) -> Void)? = nil
  ) {
    self.configuration = configuration
    self.options = options
    self.logger = logger
    self.progress = progress
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
    if let note = try await planner.shortened(checkpoint) { report.addNote(note) }
    report.unproven = checkpoint.foundAgainAt.flatMap { found in
      // A whole snapshot since then shows all documents by the present rules.
      if let whole = checkpoint.wholeSnapshot(by: configuration.rules), whole >= found {
        return nil
      }
      return UnprovenRange(through: nil, at: found, events.streams)
    }
    guard report.reasons.isEmpty else { return }
    let majority = try await MongoAdmin.majorityPosition(configuration.mongoSourceOptions).position
    guard let moment = StateMoment(checkpoint, majority: majority) else { return }
    var plan = FoldPlan(configuration)
    let fitness = StateFitness(configuration, events, checkpoint)
    plan.unfitStreams = fitness.unfit
    for why in fitness.lost { report.addReason(why) }
    for index in fitness.unfit.keys.sorted() {
      report.notes.append(
        "\(fitness.unfit[index] ?? ""): what its rules take is not compared")
    }
    let letters = StateLetters(configuration, DocumentNaming(plan).key)
    try await letters.read(jetStream)
    let deadline = ContinuousClock.now + options.timeout
    var course = StateCourse(moment, plan, checkpoint, letters)
    course.letters = letters.documents
    var unequal = try await generation(jetStream, events, &course, only: nil, &report)
    if !unequal.isEmpty || course.hasAlike {
      unequal = try await explained(unequal, jetStream, events, &course, &report)
    }
    while !unequal.isEmpty, ContinuousClock.now < deadline {
      // Later, the same must still be unequal.
      let later = try await planner.moment(
        after: course.moment, isExact: !course.isInexact, until: deadline)
      guard let later else { break }
      course.moment = later
      progress?("\(unequal.count) documents differ: once more, at \(later.position.entry)")
      try await letters.read(jetStream)
      course.letters = letters.documents
      course.facts = try await facts(course)
      unequal = try await generation(
        jetStream, events, &course, only: Set(unequal.keys), &report)
    }
    report.to = course.moment.position
    report.settledTo = course.moment.position.entry
    let buckets = BucketVerification(
      configuration: configuration, jetStream: jetStream, planner: planner,
      streams: events.streams, deadline: deadline, logger: logger, progress: progress)
    try await buckets.run(course, fitness.unfit, &report, each)
    try await conclude(unequal, course, fitness, &report, each)
  }

  /// Looks again at documents that differ, with what the oplog tells of whole collections, and with all
  /// readings of their updates.
  private func explained(
    _ unequal: [DocumentKey: Mismatch], _ jetStream: JetStreamClient, _ events: VerifyPlan,
    _ course: inout StateCourse, _ report: inout VerifyReport
  ) async throws -> [DocumentKey: Mismatch] {
    course.facts = try await facts(course)
    // Where more differ than are kept, all have to be looked at again; and documents of two collections
    // that had one name, one after the other, look alike only without those facts.
    let keys = course.tooMany || course.hasAlike ? nil : Set(unequal.keys)
    course.tooMany = false
    let rest = try await generation(jetStream, events, &course, only: keys, &report)
    guard !rest.isEmpty, rest.count <= Self.mostThorough, !course.tooMany else { return rest }
    course.isThorough = true
    return try await generation(jetStream, events, &course, only: Set(rest.keys), &report)
  }

  private func facts(_ course: StateCourse) async throws -> CollectionFacts {
    let first = course.first?.entry ?? OplogPosition(seconds: 0, increment: 0)
    return try await CollectionFacts.read(
      configuration, DocumentNaming(course.plan), after: first)
  }

  private func conclude(
    _ unequal: [DocumentKey: Mismatch], _ course: StateCourse, _ fitness: StateFitness,
    _ report: inout VerifyReport, _ each: (Mismatch) -> Void
  ) async throws {
    let position = course.moment.position
    for mismatch in course.doubled {
      each(mismatch)
      report.add(mismatch)
    }
    report.notHeld &+= course.beforeBridge
    course.note(&report)
    if course.isInexact, !unequal.isEmpty,
      try await MongoAdmin.hasWrites(
        configuration.mongoSourceOptions, after: course.moment.time)
    {
      let example = unequal.min { $0.key < $1.key }?.value
      report.addReason(
        "\(unequal.count) documents differ, such as \(example?.id ?? ""), and could not be read as they were at \(position.entry), where the bridge is (the server keeps its history for 300 s, and from MongoDB 5.0 on): the differences may be newer changes"
      )
    } else {
      for mismatch in course.unreadable {
        each(mismatch)
        report.add(mismatch)
      }
      for (_, mismatch) in unequal.sorted(by: { $0.key < $1.key }) {
        each(mismatch)
        report.add(mismatch)
      }
    }
    if course.tooMany { report.addReason("more documents differ than are kept") }
    for (stream, count) in fitness.removed.sorted(by: { $0.key < $1.key }) {
      let what = "stream \(stream) lacks \(count) messages that none of its limits has removed"
      if course.beforeBridge > 0 {
        report.addReason(
          "\(what): documents that no message tells of may be theirs (--level events names them)")
      } else {
        report.notes.append("\(what)")
      }
    }
    guard report.expected == 0, report.observed == 0, report.counts.total == 0 else { return }
    for index in fitness.unfit.keys.sorted() { report.addReason(fitness.unfit[index] ?? "") }
    if !course.notFoldable.isEmpty { report.addReason("no collection can be compared") }
  }

  /// Compares at one moment: everything, or certain documents. Those that differ, by key.
  private func generation(
    _ jetStream: JetStreamClient, _ events: VerifyPlan, _ course: inout StateCourse,
    only keys: Set<DocumentKey>?, _ report: inout VerifyReport
  ) async throws -> [DocumentKey: Mismatch] {
    var unequal: [DocumentKey: Mismatch] = [:]
    var parts = [DocumentPart(keys: keys)]
    if keys == nil {
      // What the collections come to, by the server's own count.
      let bytes = try await collections(course).estimatedBytes()
      let needed = max(1, bytes / UInt64(Self.partBytes))
      parts = DocumentPart.all(bits: min(20, 64 - (needed - 1).leadingZeroBitCount)).reversed()
      course.beginAll()
      (report.events, report.expected, report.observed) = (0, 0, 0)
    }
    var done = 0
    while let next = parts.popLast() {
      let fold = StateFold(
        course.plan, next, range: course.range, mostBytes: Self.partBytes,
        isThorough: course.isThorough, facts: course.facts)
      for index in configuration.streams.indices where course.plan.unfitStreams[index] == nil {
        try await read(jetStream, index, events.streams[index].name, into: fold)
      }
      // Documents that are gone by now may have needed more than the collections do.
      parts += fold.left.reversed()
      progress?("part \(done + 1) of \(done + 1 + parts.count): \(fold.messages) messages folded")
      let judge = StateJudge(configuration, course.plan, fold, course.knowledge)
      let compared = try await collections(course).compare(judge)
      let found = compared.found
      course.absorb(compared, isFirst: done == 0)
      if keys == nil {
        if done == 0 {
          report.events = fold.messages
          course.first = fold.first
          course.unreadable = fold.unreadable
        }
        course.doubled += fold.doubled
        course.beforeBridge &+= found.beforeBridge
        report.expected &+= found.documents
        report.observed &+= found.folded
      }
      for (key, var mismatch) in found.unequal {
        guard unequal.count < StateJudge.mostUnequal else {
          course.tooMany = true
          break
        }
        mismatch.stream = found.streams[key].map { configuration.streams[$0].name } ?? ""
        unequal[key] = mismatch
      }
      done += 1
    }
    return unequal
  }

  private func read(
    _ jetStream: JetStreamClient, _ index: Int, _ name: String, into fold: StateFold
  ) async throws {
    fold.begin(stream: index)
    defer { fold.end(stream: index) }
    guard let info = try await jetStream.stream(name), info.messages > 0 else { return }
    let ownership = MessageOwnership(configuration).of(name)
    try await StreamScan(
      jetStream, stream: name, from: 1, through: info.lastSequence,
      take: { view, sequence in
        fold.take(view, sequence, stream: index, name, ownership)
      }
    ).run()
  }

  private func collections(_ course: StateCourse) -> CollectionState {
    let plan = course.plan
    return CollectionState(
      configuration,
      CollectionState.Selection(
        database: { plan.isMatched(database: $0) }, collection: { plan.isMatched($0, $1) }),
      at: course.moment.time, patience: max(options.timeout, .seconds(15)), logger)
  }
}
