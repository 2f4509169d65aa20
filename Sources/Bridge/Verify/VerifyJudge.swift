import BridgeConfiguration
import JSON
import JetStream
import Mapping
import NIOCore
import Oplog
import Parity

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
  let makeDeriver: @Sendable () -> MessageDeriver
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
  private var superseded: [String: Bool] = [:]

  init(
    verification: EventVerification, plan: VerifyPlan, jetStream: JetStreamClient,
    changes: any ChangeSource, eventLoop: any EventLoop, book: VerifyBook,
    makeDeriver: @escaping @Sendable () -> MessageDeriver, settled: LedgerPass.Settled,
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
    try await eventLoop.submit { [book] in book.endExpected() }.get()
    for index in plan.streams.indices {
      let (suspects, extra) = try await eventLoop.submit { [book] in book.finish(index) }.get()
      let ledger = try await eventLoop.submit { [book] in book.ledgers[index] }.get()
      let shared = try await eventLoop.submit { [book] in book.shared[index] }.get()
      report.add(plan.streams[index], ledger, shared)
      try await judge(index, suspects, extra, ledger, &report)
    }
    let (rules, notHeld, deriver) = try await eventLoop.submit { [book] in
      (
        book.expectedByRule, book.notHeld,
        (book.deriver.events, book.deriver.unmatched, book.deriver.dropped)
      )
    }.get()
    report.add(rules: rules, notHeld: notHeld, derived: deriver)
    return toldMissing
  }

  private mutating func judge(
    _ stream: Int, _ suspects: [StreamLedger.Suspect], _ extra: [UInt64], _ ledger: StreamLedger,
    _ report: inout VerifyReport
  ) async throws {
    let inspection = RunInspection(
      configuration: verification.configuration, plan: plan, stream: stream, jetStream: jetStream,
      changes: changes, eventLoop: eventLoop, makeDeriver: makeDeriver,
      keepsMissing: verification.options.keepsMissing)
    var reconciliation = Reconciliation(holes: ledger.holes)
    var missing: [Finding] = []
    var surplus: [RunJoin.Surplus] = []
    for run in StreamLedger.runs(of: suspects) {
      let outcome = try await inspection.inspect(run)
      missing += outcome.missing
      surplus += outcome.surplus
      for finding in outcome.differing { try await tell(differing: finding, stream, &report) }
      for finding in outcome.reordered { tell(finding.mismatch, &report) }
      if missing.count + surplus.count > Self.mostWaiting {
        try await reconcile(stream, missing, surplus, ledger, &reconciliation, &report)
        missing = []
        surplus = []
      }
    }
    if !extra.isEmpty {
      surplus += try await inspection.messages(at: extra.map { $0...$0 })
        .map { RunJoin.Surplus(observed: $0, repeats: nil) }
    }
    try await reconcile(stream, missing, surplus, ledger, &reconciliation, &report)
    for record in ledger.late { try await judge(late: record, stream, inspection, &report) }
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
      tell(mismatch(.extra, one.observed, stream, "no oplog entry explains it"), &report)
    }
    for finding in outcome.differing { try await tell(differing: finding, stream, &report) }
    for finding in outcome.reordered {
      var told = finding.mismatch
      if !plan.toldMissing.contains(told.id) {
        told.kind = .duplicate
        told.detail = "the same id stands further ahead in the stream already"
      }
      tell(told, &report)
    }
  }

  private mutating func reconcile(
    _ stream: Int, _ missing: [Finding], _ surplus: [RunJoin.Surplus], _ ledger: StreamLedger,
    _ reconciliation: inout Reconciliation, _ report: inout VerifyReport
  ) async throws {
    let place = plan.streams[stream]
    let rulings = reconciliation.rule(
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
          mismatch(.reordered, message, stream, "it stands behind messages of later changes"),
          &report)
      case .differs(let message, let index):
        var finding = missing[index]
        finding.mismatch.kind = .payloadMismatch
        finding.mismatch.sequence = message.sequence
        finding.mismatch.detail = "it stands elsewhere, and in other form"
        try await tell(differing: finding, stream, &report)
      case .duplicate(let message, let first):
        tell(
          mismatch(.duplicate, message, stream, "the same id stands at sequence \(first) already"),
          &report)
      case .extra(let message):
        tell(mismatch(.extra, message, stream, "no oplog entry explains it"), &report)
      case .gap(let index, let hole):
        try await tell(removed: missing[index], hole, place, &report)
      case .missing(let index):
        var lost = missing[index].mismatch
        lost.detail = "no message has this id"
        if toldMissing.count < 10_000 { toldMissing.append(lost.id) }
        tell(lost, &report)
        keep(missing[index])
      case .pending: report.pending &+= 1
      }
    }
  }

  private func mismatch(
    _ kind: MismatchClass, _ message: RunJoin.Observed, _ stream: Int, _ detail: String
  ) -> Mismatch {
    Mismatch(
      kind: kind, id: message.id, position: message.position, rule: message.rule,
      subject: message.subject, stream: plan.streams[stream].name, sequence: message.sequence,
      detail: detail)
  }

  private func tell(_ mismatch: Mismatch, _ report: inout VerifyReport) {
    each(mismatch)
    report.add(mismatch)
  }

  private mutating func tell(
    removed finding: Finding, _ hole: StreamLedger.Hole, _ place: VerifyStream,
    _ report: inout VerifyReport
  ) async throws {
    if place.isDeadLetter {
      report.resolvedDeadLetters &+= 1
    } else if try await isSuperseded(finding.mismatch.subject, place) {
      report.superseded &+= 1
    } else if place.hasLimits, hole.before == nil {
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

  private mutating func keep(_ finding: Finding) {
    guard let bytes = finding.expected, keptBytes < Self.mostKeptBytes else { return }
    keptBytes += bytes.headers.utf8.count + bytes.body.count
    keptMissing.append(
      MissingMessage(
        mismatch: finding.mismatch, headers: HeaderLines.fields(bytes.headers),
        body: bytes.body))
  }

  /// Whether newer messages of its subject have pushed it out.
  private mutating func isSuperseded(
    _ subject: String, _ stream: VerifyStream
  ) async throws -> Bool {
    guard stream.perSubject > 0 else { return false }
    if let known = superseded[subject] { return known }
    let answer = try await jetStream.request(
      "STREAM.INFO.\(stream.name)", ["subjects_filter": .string(subject)])
    let held = answer["state"]?["subjects"]?[subject]?.integer(Int.self) ?? 0
    let isFull = held >= stream.perSubject
    superseded[subject] = isFull
    return isFull
  }

  private mutating func tell(
    differing finding: Finding, _ stream: Int, _ report: inout VerifyReport
  ) async throws {
    var told = finding.mismatch
    detailsLeft -= 1
    if detailsLeft >= 0, let expected = finding.expected, let sequence = finding.mismatch.sequence,
      let stored = try await jetStream.message(in: plan.streams[stream].name, at: sequence)
    {
      let rule = verification.configuration.rules.firstIndex { $0.name == told.rule }
      let violation = try await eventLoop.submit { [book] in
        rule.flatMap { book.deriver.violation(rule: $0, body: stored.payload) }
      }.get()
      let isDeadLetter = plan.streams[stream].isDeadLetter
      let difference = MessageDifference(
        expected: expected, stored: stored, isForeign: stored.header("Tailrace-Position") == nil,
        violation: isDeadLetter ? nil : violation)
      if difference.isOfImages {
        report.imagesNotCompared &+= 1
        return
      }
      told.kind = difference.kind
      if !difference.detail.isEmpty { told.detail = difference.detail }
      told.pointer = difference.pointer
    }
    tell(told, &report)
  }
}
