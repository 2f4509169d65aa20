import Bridge
import BridgeConfiguration
import JSON
import JetStream
import Logging
import Mapping
import MongoSource
import Oplog
import Parity

/// The part of `tailrace verify --level state` for buckets: the last entry under each key is the document that the
/// collection holds, at one moment and in the shape that the rule gives. See docs/verify.md.
struct BucketVerification {
  let configuration: BridgeConfiguration
  let jetStream: JetStreamClient
  let planner: VerifyPlanner
  let streams: [VerifyStream]
  let deadline: ContinuousClock.Instant
  let logger: Logger
  let progress: (@Sendable (String) -> Void)?

  private static let partBytes = 64 << 20

  /// What one comparison of all keys, and those of keys that differ, have found.
  private struct Course {
    var moment: StateMoment
    var state: StateCourse
    var plan: BucketPlan
    var facts: CollectionFacts?
    var letters: [DocumentKey: EventPosition] = [:]
    var whole = BucketJudge.Found()
    /// Of the last comparison of keys that differed.
    var again = BucketJudge.Found()
    var images = StateJudge.Tally()
    var isInexact = false
  }

  /// Compares all buckets of rules, and adds to the report what is found.
  func run(
    _ state: StateCourse, _ unfit: [Int: String], _ report: inout VerifyReport,
    _ each: (Mismatch) -> Void
  ) async throws {
    var plan = BucketPlan(configuration)
    guard !plan.buckets.isEmpty else { return }
    plan.unfit = unfit
    plan.expiring = Set(
      plan.buckets.filter { index in
        streams.first { $0.name == configuration.streams[index].name }?
          .info.config.streamLimit("max_age") != nil
      })
    let letters = StateLetters(configuration, DocumentNaming(plan).key)
    var course = Course(moment: state.moment, state: state, plan: plan)
    try await letters.read(jetStream)
    course.letters = letters.documents
    var unequal = try await compare(&course, only: nil, &report)
    if !unequal.isEmpty {
      course.facts = try await facts(course)
      unequal = try await confirmed(unequal, &course, &report)
    }
    while !unequal.isEmpty, ContinuousClock.now < deadline {
      // Later, the same must still be unequal.
      let later = try await planner.moment(
        after: course.moment, isExact: !course.isInexact, until: deadline)
      guard let later else { break }
      course.moment = later
      course.state.moment = later
      progress?("\(unequal.count) entries differ: once more, at \(later.position.entry)")
      try await letters.read(jetStream)
      course.letters = letters.documents
      course.facts = try await facts(course)
      unequal = try await confirmed(unequal, &course, &report)
    }
    try await conclude(unequal, course, &report, each)
  }

  private func facts(_ course: Course) async throws -> CollectionFacts {
    try await CollectionFacts.read(
      configuration, DocumentNaming(course.plan), after: course.state.range.lowerBound.entry)
  }

  /// Compares keys that differ once more, and takes out what a later image explains.
  private func confirmed(
    _ unequal: [DocumentKey: BucketJudge.Difference], _ course: inout Course,
    _ report: inout VerifyReport
  ) async throws -> [DocumentKey: BucketJudge.Difference] {
    course.again = BucketJudge.Found()
    course.images = StateJudge.Tally()
    var left = try await compare(&course, only: Set(unequal.keys), &report)
    let entries = left.filter { $0.value.mismatch.kind == .payloadMismatch }
    guard !entries.isEmpty else { return left }
    // A document that was fetched for an update may be newer than the moment.
    let now = try await MongoAdmin.majorityPosition(configuration.mongoSourceOptions).position
    guard now > course.moment.time else { return left }
    let present = try await found(course, DocumentPart(keys: entries.keys), at: now).found
    for (key, difference) in entries {
      let later = present.unequal[key]
      if let later, later.mismatch.kind == .payloadMismatch, later.wanted == difference.wanted {
        continue
      }
      left[key] = nil
      // The entry may be what the document is now, or was in between.
      if later != nil { course.images.note(difference.mismatch.subject) }
    }
    return left
  }

  /// Compares at one moment: everything, or certain keys. Those that differ.
  private func compare(
    _ course: inout Course, only keys: Set<DocumentKey>?, _ report: inout VerifyReport
  ) async throws -> [DocumentKey: BucketJudge.Difference] {
    var parts = [DocumentPart(keys: keys)]
    if keys == nil {
      let bytes = course.plan.buckets.reduce(UInt64(0)) { sum, index in
        let stream = streams.first { $0.name == configuration.streams[index].name }
        return sum &+ UInt64(stream?.info.raw["state"]?["bytes"]?.integer() ?? 0)
      }
      let needed = max(1, bytes / UInt64(Self.partBytes))
      parts = DocumentPart.all(bits: min(20, 64 - (needed - 1).leadingZeroBitCount)).reversed()
    }
    var unequal: [DocumentKey: BucketJudge.Difference] = [:]
    while let part = parts.popLast() {
      let compared = try await found(course, part, at: course.moment.time)
      parts += compared.left.reversed()
      course.isInexact = course.isInexact || !compared.isExact
      if keys == nil {
        course.whole.absorb(compared.found)
        report.events &+= compared.entries
        report.expected &+= compared.found.documents
        report.observed &+= compared.found.entries
      } else {
        course.again.absorb(compared.found)
      }
      unequal.merge(compared.found.unequal) { first, _ in first }
    }
    return unequal
  }

  private struct Compared {
    var found: BucketJudge.Found
    var left: [DocumentPart]
    var entries: UInt64
    var isExact: Bool
  }

  private func found(
    _ course: Course, _ part: DocumentPart, at time: OplogPosition
  ) async throws -> Compared {
    let table = BucketTable(part, range: course.state.range, mostBytes: Self.partBytes)
    for index in course.plan.buckets where course.plan.unfit[index] == nil {
      let name = configuration.streams[index].name
      guard let info = try await jetStream.stream(name), info.messages > 0 else { continue }
      let ownership = MessageOwnership(configuration).of(name)
      try await StreamScan(
        jetStream, stream: name, from: 1, through: info.lastSequence,
        take: { view, sequence in table.take(view, sequence, stream: index, ownership) }
      ).run()
    }
    var knowledge = BucketJudge.Knowledge(moment: course.moment.position)
    knowledge.snapshot = course.state.lastSnapshot
    knowledge.facts = course.facts
    knowledge.deadLetters = course.letters
    let plan = course.plan
    let collections = CollectionState(
      configuration,
      CollectionState.Selection(
        database: { plan.isMatched(database: $0) }, collection: { plan.isMatched($0, $1) }),
      at: time, patience: .seconds(30), logger)
    let compared = try await collections.compare(
      BucketJudge(configuration, plan, table, knowledge))
    return Compared(
      found: compared.found, left: table.left, entries: table.entries, isExact: compared.isExact)
  }

  private func conclude(
    _ unequal: [DocumentKey: BucketJudge.Difference], _ course: Course,
    _ report: inout VerifyReport, _ each: (Mismatch) -> Void
  ) async throws {
    report.notHeld &+= course.whole.beforeBridge
    for (namespace, why) in course.whole.notComparable.sorted(by: { $0.key < $1.key }) {
      report.addNote("entries of \(namespace) are not compared: \(why)")
    }
    for why in BucketJudge.Undecided.allCases {
      var tally = course.whole.undecided[why] ?? StateJudge.Tally()
      if let again = course.again.undecided[why] { tally.absorb(again) }
      if why == .images { tally.absorb(course.images) }
      guard tally.count > 0 else { continue }
      report.addNote("\(tally.count) keys, such as \(tally.example ?? ""), \(why.words)")
    }
    if course.whole.tooMany { report.addReason("more entries differ than are kept") }
    guard !unequal.isEmpty else { return }
    if course.isInexact,
      try await MongoAdmin.hasWrites(
        configuration.mongoSourceOptions, after: course.moment.time)
    {
      report.addReason(
        "\(unequal.count) entries differ, such as \(unequal.values.first?.mismatch.subject ?? ""), and the documents could not be read as they were at \(course.moment.position.entry), where the bridge is (the server keeps its history for 300 s, and from MongoDB 5.0 on): the differences may be newer changes"
      )
      return
    }
    for (_, difference) in unequal.sorted(by: { $0.key < $1.key }) {
      var mismatch = difference.mismatch
      mismatch.stream = configuration.streams[difference.stream].name
      each(mismatch)
      report.add(mismatch)
    }
  }
}

extension BucketJudge.Found {
  /// Another part's findings on top of these, but for those that differ.
  mutating func absorb(_ other: Self) {
    documents &+= other.documents
    entries &+= other.entries
    beforeBridge &+= other.beforeBridge
    for (why, tally) in other.undecided {
      undecided[why, default: StateJudge.Tally()].absorb(tally)
    }
    notComparable.merge(other.notComparable) { first, _ in first }
    tooMany = tooMany || other.tooMany
  }
}

extension BucketJudge.Undecided {
  /// What follows the number of keys.
  var words: String {
    switch self {
    case .expired: "have a document and no entry, which may have expired (ttl)"
    case .alike: "are not compared: several documents have the same key"
    case .foreign: "are not compared: somebody else wrote them last, or the server (expiry)"
    case .newer: "are not compared: their entries are of later changes"
    case .before: "are not compared: their entries are from before the bridge began"
    case .deadLetters: "are not compared: a change of them is a dead letter"
    case .unmappable: "are not compared: the rule can't publish the document"
    case .dropped: "have no entry, and need not have one: the rule drops what is invalid"
    case .silent:
      "are not compared: their documents were written without a change event (fromMigrate)"
    case .collections:
      "are not compared: their collection was dropped, made or renamed since, which changes no entry, or the oplog does not reach back to their entry"
    case .images:
      "are not compared: the document has changed since, and an entry may hold a document that was read later than its change"
    }
  }
}
