import Bridge
import BridgeConfiguration
import DeadLetters
import JSON
import JetStream
import Mapping
import MongoSource
import NATS
import NIOCore
import Oplog
public import Parity

/// A message that should be stored and is not, ready to be published.
public struct MissingMessage: Sendable {
  public var mismatch: Mismatch
  public var headers: [(name: String, value: String)]
  public var body: [UInt8]
}

/// The second pass over all streams: suspects become findings, and findings mismatches.
struct VerifyJudge {
  let verification: EventVerification
  let plan: VerifyPlan
  let jetStream: JetStreamClient
  let changes: any ChangeSource
  let eventLoop: any EventLoop
  let book: VerifyBook
  let makeDeriver: @Sendable () -> ExpectedMessages
  let settled: LedgerPass.Settled
  let each: @Sendable (Mismatch) -> Void
  private(set) var keptMissing: [MissingMessage] = []
  private var toldMissing: [String] = []
  /// Differing messages whose every detail is still looked up: each costs a question to the server.
  private var detailsLeft = 20_000
  private var keptBytes = 0

  /// Findings that wait for their counterparts, on one stream.
  private static let mostWaiting = 50_000
  private static let mostKeptBytes = 256 << 20
  private var heldOfSubject: [String: Int] = [:]
  /// Of keys of buckets: the sequence of the purge that their entries begin with; 0: they begin with none.
  var purgeOfSubject: [String: UInt64] = [:]
  /// Events that are in the dead-letter stream for reasons that only the server had.
  private var serverLetters: [EventOfRule: ServerReason] = [:]
  /// Events whose dead letters an operator has dropped; nil until something is missing.
  private var dropped: Set<EventOfRule>?
  var doubtful = DoubtfulFindings()
  var otherLimits = OtherLimits()
  /// By stream: what no change explains, where a change stream tells of the changes.
  private var unexplained: [Int: [RunJoin.Observed]] = [:]
  /// By stream: where it began when it was last asked.
  private var fronts: [String: (first: UInt64, at: ContinuousClock.Instant)] = [:]

  /// What is known of one stream.
  struct Course {
    let ledger: StreamLedger
    var reconciliation: Reconciliation
  }
  /// Findings in doubt wait for those of other streams.
  private static let mostDoubtful = 200_000

  init(
    verification: EventVerification, plan: VerifyPlan, jetStream: JetStreamClient,
    changes: any ChangeSource, eventLoop: any EventLoop, book: VerifyBook,
    makeDeriver: @escaping @Sendable () -> ExpectedMessages, settled: LedgerPass.Settled,
    each: @escaping @Sendable (Mismatch) -> Void
  ) {
    self.verification = verification
    self.plan = plan
    self.jetStream = jetStream
    self.changes = changes
    self.eventLoop = eventLoop
    self.book = book
    self.makeDeriver = makeDeriver
    self.settled = settled
    self.each = each
  }

  /// - Returns: the ids that were told to be missing.
  mutating func judge(_ report: inout VerifyReport) async throws -> [String] {
    serverLetters = try await eventLoop.submit { [book] in
      book.endExpected()
      return book.serverLetters
    }.get()
    try await judgeServerLetters(&report)
    var courses: [Int: Course] = [:]
    // Dead letters first: they replace messages.
    let order = plan.streams.indices.sorted {
      (plan.streams[$0].isDeadLetter ? 0 : 1, $0) < (plan.streams[$1].isDeadLetter ? 0 : 1, $1)
    }
    for index in order {
      let (suspects, extra) = try await eventLoop.submit { [book] in book.finish(index) }.get()
      let ledger = try await eventLoop.submit { [book] in book.ledgers[index] }.get()
      var course = Course(ledger: ledger, reconciliation: Reconciliation(holes: ledger.holes))
      try await judge(index, suspects, extra, &course, &report)
      courses[index] = course
    }
    for index in plan.streams.indices {
      let ledger = try await eventLoop.submit { [book] in book.ledgers[index] }.get()
      let shared = try await eventLoop.submit { [book] in book.shared[index] }.get()
      report.add(plan.streams[index], ledger, shared)
    }
    var left = doubtful.settle()
    report.imagesNotCompared &+= doubtful.setAside
    var uncut: [DoubtfulFindings.Missing] = []
    for one in left.missing {
      if try await isElsewhere(one, &courses, &report) { continue }
      uncut.append(one)
    }
    left.missing = uncut
    let (extra, letters) = settleOtherLimits(&report)
    for index in order {
      guard var course = courses[index] else { continue }
      var missing = left.missing.filter { $0.stream == index }.map(\.finding)
      if plan.streams[index].isDeadLetter { missing += letters }
      var surplus = left.surplus.filter { $0.stream == index }.map(\.surplus)
      surplus += extra.filter { $0.stream == index }
        .map { RunJoin.Surplus(observed: $0.observed, repeats: nil) }
      guard missing.count + surplus.count > 0 else { continue }
      try await reconcile(index, missing, surplus, &course, &report)
      courses[index] = course
    }
    for (index, messages) in unexplained.sorted(by: { $0.key < $1.key }) {
      guard let ledger = courses[index]?.ledger else { continue }
      try await judge(unexplained: messages, index, ledger, &report)
    }
    let (rules, notHeld, deriver, halts) = try await eventLoop.submit { [book] in
      (
        book.expectedByRule, book.notHeld,
        (book.deriver.events, book.deriver.unmatched, book.deriver.dropped), book.deriver.halts
      )
    }.get()
    report.add(rules: rules, notHeld: notHeld, derived: deriver)
    if halts > 0 {
      report.addNote(
        "nothing is expected of \(halts) events for which the bridge halts by today's rules (on_invalid, unmatched)"
      )
    }
    return toldMissing
  }

  private mutating func judge(
    _ stream: Int, _ suspects: [StreamLedger.Suspect], _ extra: [UInt64], _ course: inout Course,
    _ report: inout VerifyReport
  ) async throws {
    let inspection = inspection(of: stream, course.ledger, by: changes)
    var missing: [Finding] = []
    var surplus: [RunJoin.Surplus] = []
    var vanished: [StreamLedger.Hole] = []
    for run in StreamLedger.runs(of: suspects) {
      let outcome = try await inspection.inspect(run)
      let told = try await take(outcome, stream, &report)
      missing += outcome.missing.filter { !setAside($0, stream) && !otherLimits.settles($0) }
      surplus += outcome.surplus.filter { !setAside($0, stream, outcome, told) }
      vanished += outcome.vanished
      for finding in outcome.differing { try await tell(differing: finding, stream, &report) }
      for finding in outcome.reordered { tell(finding.mismatch, &report) }
      guard doubtful.count <= Self.mostDoubtful else {
        throw RangeFailure(
          description:
            "more than \(Self.mostDoubtful) messages depend on documents that can't be read any more as they were: compare smaller ranges"
        )
      }
      if missing.count + surplus.count > Self.mostWaiting {
        course.reconciliation.note(vanished: vanished)
        try await reconcile(stream, missing, surplus, &course, &report)
        missing = []
        surplus = []
        vanished = []
      }
    }
    if !extra.isEmpty {
      let outcome = try await inspection.lookAt(extra)
      let told = try await take(outcome, stream, &report)
      surplus += outcome.surplus.filter { !setAside($0, stream, outcome, told) }
      for finding in outcome.differing { try await tell(differing: finding, stream, &report) }
      for finding in outcome.reordered { tell(finding.mismatch, &report) }
    }
    course.reconciliation.note(vanished: vanished)
    try await reconcile(stream, missing, surplus, &course, &report)
    for record in course.ledger.late { try await judge(late: record, stream, inspection, &report) }
  }

  /// - Returns: sequences of messages in doubt that are wrong in themselves, which is reported.
  private mutating func take(
    _ outcome: RunInspection.Outcome, _ stream: Int, _ report: inout VerifyReport
  ) async throws -> Set<UInt64> {
    otherLimits.add(outcome.otherLimits)
    if outcome.notCompared > 0 {
      report.addReason(
        "more documents are gone than can be compared without at once: compare smaller ranges")
    }
    return try await tell(alternatives: outcome.alternatives, stream, &report)
  }

  func inspection(
    of stream: Int, _ ledger: StreamLedger, by changes: any ChangeSource
  ) -> RunInspection {
    RunInspection(
      configuration: verification.configuration, plan: plan, stream: stream, jetStream: jetStream,
      changes: changes, eventLoop: eventLoop, makeDeriver: makeDeriver,
      keepsMissing: verification.options.keepsMissing, holes: ledger.holes)
  }

  func tell(extra message: RunJoin.Observed, _ stream: Int, _ report: inout VerifyReport) {
    tell(mismatch(.extra, message, stream, "no oplog entry explains it"), &report)
  }

  /// A message of a stretch that has been judged: it was told to be missing there, or it was there.
  private mutating func judge(
    late record: ObservedRecord, _ stream: Int, _ inspection: RunInspection,
    _ report: inout VerifyReport
  ) async throws {
    guard let position = record.position else { return }
    let suspect = StreamLedger.Suspect(
      range: .init(after: position.previous, last: position), expected: 0, sequences: nil,
      strays: [record.sequence])
    let outcome = try await inspection.inspect(StreamLedger.Run(suspects: [suspect]))
    for one in outcome.surplus {
      if let doubt = outcome.doubts[position], let rule = rule(of: one.observed),
        doubt.mayExplain(rule)
      {
        report.imagesNotCompared &+= 1
      } else {
        tell(extra: one.observed, stream, &report)
      }
    }
    for finding in outcome.differing { try await tell(differing: finding, stream, &report) }
    for finding in outcome.reordered {
      var told = finding.mismatch
      if !plan.toldMissing.contains(told.id) {
        told.kind = .duplicate
        told.detail = "an earlier message of the stream has the same id"
      }
      tell(told, &report)
    }
  }

  private mutating func reconcile(
    _ stream: Int, _ missing: [Finding], _ surplus: [RunJoin.Surplus], _ course: inout Course,
    _ report: inout VerifyReport
  ) async throws {
    let ledger = course.ledger
    let place = plan.streams[stream]
    let missing = try await unexplained(missing, &report)
    let successors = place.perSubject > 0 ? Self.successors(missing) : []
    let rulings = course.reconciliation.rule(
      missing: missing.map { finding in
        let position = finding.mismatch.position ?? plan.range.lowerBound
        let isPassed = ledger.lastPosition.map { position < $0 } ?? false
        return Reconciliation.Missing(
          id: finding.mismatch.id, position: position, digests: finding.digests,
          isSettled: isPassed || settled.covers(position, on: place.name))
      }, surplus: surplus)
    for ruling in rulings {
      switch ruling {
      case .reordered(let message):
        tell(
          mismatch(.reordered, message, stream, "it follows messages of later changes"),
          &report)
      case .differs(let message, let index):
        var finding = missing[index]
        finding.mismatch.kind = .payloadMismatch
        finding.mismatch.sequence = message.sequence
        finding.mismatch.detail = "it is elsewhere, and in other form"
        try await tell(differing: finding, stream, &report)
      case .duplicate(let message, let first):
        tell(
          mismatch(.duplicate, message, stream, "sequence \(first) has the same id already"),
          &report)
      case .extra(let message):
        if isSecondReader, message.position != nil,
          unexplained[stream, default: []].count < Self.mostWaiting
        {
          unexplained[stream, default: []].append(message)
        } else {
          tell(extra: message, stream, &report)
        }
      case .gap(let index, let hole):
        let later = successors.isEmpty ? 0 : successors[index]
        try await tell(removed: missing[index], hole, place, later, &report)
      case .missing(let index):
        if place.givesAway, mayHaveBeenConsumed(place, ledger) {
          report.notHeld &+= 1
          continue
        }
        var lost = missing[index].mismatch
        lost.detail = "no message has this id"
        if toldMissing.count < 10_000 { toldMissing.append(lost.id) }
        tell(lost, &report)
        keep(missing[index])
      case .pending: report.pending &+= 1
      }
    }
  }

  /// Whether a message that no hole explains may have been there: another producer's may have stood anywhere.
  private func mayHaveBeenConsumed(_ place: VerifyStream, _ ledger: StreamLedger) -> Bool {
    (place.isShared && !ledger.holes.isEmpty) || ledger.holes.count >= StreamLedger.mostHoles
  }

  /// Those without a dead letter, there or dropped.
  private mutating func unexplained(
    _ missing: [Finding], _ report: inout VerifyReport
  ) async throws -> [Finding] {
    let rest = missing.filter { !isServerLetter($0.mismatch, &report) }
    guard !rest.isEmpty else { return rest }
    if dropped == nil {
      let letters = DroppedLetters(jetStream, verification.configuration)
      dropped = Set(try await letters.load().map(\.event))
    }
    guard let dropped, !dropped.isEmpty else { return rest }
    return rest.filter { finding in
      guard let position = finding.mismatch.position,
        dropped.contains(EventOfRule(position: position, rule: finding.mismatch.rule))
      else { return true }
      report.resolvedDeadLetters &+= 1
      return false
    }
  }

  /// Whether the event is where it belongs when the server did not take its message, or had its id for
  /// another event: in the dead-letter stream.
  private func isServerLetter(_ mismatch: Mismatch, _ report: inout VerifyReport) -> Bool {
    guard let position = mismatch.position,
      let reason = serverLetters[EventOfRule(position: position, rule: mismatch.rule)]
    else { return false }
    switch reason {
    case .idConflict: report.idConflicts &+= 1
    case .refused: report.refused &+= 1
    }
    return true
  }

  func mismatch(
    _ kind: MismatchClass, _ message: RunJoin.Observed, _ stream: Int, _ detail: String
  ) -> Mismatch {
    Mismatch(
      kind: kind, id: message.id, position: message.position, rule: message.rule,
      subject: message.subject, stream: plan.streams[stream].name, sequence: message.sequence,
      detail: detail)
  }

  func tell(_ mismatch: Mismatch, _ report: inout VerifyReport) {
    each(mismatch)
    report.add(mismatch)
  }

  mutating func tell(
    removed finding: Finding, _ hole: StreamLedger.Hole, _ place: VerifyStream,
    _ successors: Int, _ report: inout VerifyReport
  ) async throws {
    if place.givesAway {
      report.notHeld &+= 1
    } else if place.isDeadLetter, finding.isLetter {
      report.resolvedDeadLetters &+= 1
    } else if place.perSubject > 0, try await isSuperseded(finding, place, by: successors) {
      report.superseded &+= 1
    } else if try await isPurged(finding, hole, place) {
      report.superseded &+= 1
    } else if hasExpired(finding) {
      report.notHeld &+= 1
    } else if place.mayBeCut, try await isAtFront(hole, of: place) {
      report.notHeld &+= 1
      if case .at = verification.options.from {
        report.addReason("stream \(place.name) no longer holds all of the range")
      }
    } else {
      var gap = finding.mismatch
      gap.kind = .gap
      gap.detail =
        "it was removed: sequences \(hole.sequences.lowerBound) to \(hole.sequences.upperBound) hold nothing"
      tell(gap, &report)
      keep(finding)
    }
  }

  /// Whether nothing of the stream is left before what is gone, as limits leave it. (That the comparison
  /// has read nothing before it says less: it need not have begun at the stream's beginning.)
  private mutating func isAtFront(
    _ hole: StreamLedger.Hole, of place: VerifyStream
  ) async throws -> Bool {
    if let front = fronts[place.name] {
      if hole.sequences.upperBound < front.first { return true }
      if ContinuousClock.now - front.at < .seconds(1) { return false }
    }
    let first = try await jetStream.stream(place.name)?.firstSequence ?? 0
    fronts[place.name] = (first, .now)
    return hole.sequences.upperBound < first
  }

  private mutating func keep(_ finding: Finding) {
    guard let bytes = finding.expected, keptBytes < Self.mostKeptBytes else { return }
    keptBytes += bytes.headers.utf8.count + bytes.body.count
    keptMissing.append(
      MissingMessage(
        mismatch: finding.mismatch, headers: HeaderLines.fields(bytes.headers),
        body: bytes.body))
  }

  /// Of each, how many of the others have the same subject and come later.
  private static func successors(_ missing: [Finding]) -> [Int] {
    var seen: [String: Int] = [:]
    var counts = [Int](repeating: 0, count: missing.count)
    let byPosition = missing.indices.sorted { one, other in
      guard let a = missing[one].mismatch.position, let b = missing[other].mismatch.position else {
        return one > other
      }
      return a > b
    }
    for index in byPosition {
      counts[index] = seen[missing[index].mismatch.subject, default: 0]
      seen[missing[index].mismatch.subject] = counts[index] + 1
    }
    return counts
  }

  /// Whether newer messages of its subject have pushed it out: those that are there, and those that are
  /// gone themselves.
  private mutating func isSuperseded(
    _ finding: Finding, _ stream: VerifyStream, by successors: Int
  ) async throws -> Bool {
    if successors >= stream.perSubject { return true }
    let subject = finding.mismatch.subject
    let held: Int
    if let known = heldOfSubject[subject] {
      held = known
    } else {
      let answer = try await jetStream.request(
        "STREAM.INFO.\(stream.name)", ["subjects_filter": .string(subject)])
      held = answer["state"]?["subjects"]?[subject]?.integer(Int.self) ?? 0
      heldOfSubject[subject] = held
    }
    return held + successors >= stream.perSubject
  }

  /// - Returns: whether it is a mismatch.
  @discardableResult
  mutating func tell(
    differing finding: Finding, _ stream: Int, _ report: inout VerifyReport
  ) async throws -> Bool {
    var told = finding.mismatch
    if !finding.isServerLetter, isServerLetter(told, &report) { return false }
    if finding.doubt?.concerns(finding.rule) ?? false {
      return try await tell(open: finding, stream, &report)
    }
    detailsLeft -= 1
    if detailsLeft >= 0, let expected = finding.expected, let sequence = finding.mismatch.sequence,
      let stored = try await jetStream.message(in: plan.streams[stream].name, at: sequence)
    {
      let rule = finding.rule
      let violation = try await eventLoop.submit { [book] in
        rule.flatMap { book.deriver.violation(rule: $0, body: stored.payload) }
      }.get()
      let isDeadLetter = plan.streams[stream].isDeadLetter
      let owner = MessageOwnership(verification.configuration)
        .of(plan.streams[stream].name)
        .owner(of: stored)
      let difference = MessageDifference(
        expected: expected, stored: stored, isForeign: owner != .thisBridge,
        violation: isDeadLetter ? nil : violation,
        rule: rule.map { verification.configuration.rules[$0] })
      if difference.isOfImages {
        report.imagesNotCompared &+= 1
        return false
      }
      if difference.isOfOmitted {
        report.addNote(
          "stream \(plan.streams[stream].name): dead letters lack other documents than the limits of today make them lack"
        )
        return false
      }
      told.kind = difference.kind
      if !difference.detail.isEmpty { told.detail = difference.detail }
      told.pointer = difference.pointer
    }
    tell(told, &report)
    return true
  }
}
