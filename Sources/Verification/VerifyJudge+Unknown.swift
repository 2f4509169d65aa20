import Bridge
import BridgeConfiguration
import JetStream
import Mapping
import MongoSource
import NATS
import NIOCore
import Oplog
import Parity

/// What one side can't know: documents that are gone, and what change streams leave out.
extension VerifyJudge {
  // MARK: Events in doubt

  mutating func setAside(_ finding: Finding, _ stream: Int) -> Bool {
    guard let doubt = finding.doubt, doubt.concerns(finding.rule) else { return false }
    doubtful.add(
      DoubtfulFindings.Missing(finding: finding, rule: finding.rule, stream: stream, doubt: doubt))
    return true
  }

  /// Compares what can be known of them, and reports those that differ.
  /// - Returns: their sequences.
  mutating func tell(
    alternatives: [UInt64: Finding], _ stream: Int, _ report: inout VerifyReport
  ) async throws -> Set<UInt64> {
    var told: Set<UInt64> = []
    for (sequence, finding) in alternatives.sorted(by: { $0.key < $1.key }) {
      if try await tell(differing: finding, stream, &report) { told.insert(sequence) }
    }
    return told
  }

  mutating func setAside(
    _ surplus: RunJoin.Surplus, _ stream: Int, _ outcome: RunInspection.Outcome,
    _ told: Set<UInt64>
  ) -> Bool {
    let sequence = surplus.observed.sequence
    if let finding = outcome.alternatives[sequence], let doubt = finding.doubt,
      let position = finding.mismatch.position
    {
      doubtful.add(
        DoubtfulFindings.Surplus(
          surplus: surplus, position: position, rule: finding.rule, stream: stream, doubt: doubt,
          isTold: told.contains(sequence)))
      return true
    }
    guard surplus.observed.kind == .own, let position = surplus.observed.position,
      let doubt = outcome.doubts[position], let rule = rule(of: surplus.observed),
      doubt.concerns(rule)
    else { return false }
    doubtful.add(
      DoubtfulFindings.Surplus(
        surplus: surplus, position: position, rule: rule, stream: stream, doubt: doubt))
    return true
  }

  /// Its index; nil within: no rule's, since none took the event. Nil: one that the configuration lacks.
  func rule(of message: RunJoin.Observed) -> Int?? {
    if let index = verification.configuration.rules.firstIndex(where: { $0.name == message.rule }) {
      return .some(index)
    }
    return message.rule == DeadLetterSubject.unmatchedRule ? .some(nil) : nil
  }

  /// Of an event whose documents are gone: what is not of them has to be right.
  mutating func tell(
    open finding: Finding, _ stream: Int, _ report: inout VerifyReport
  ) async throws -> Bool {
    guard let open = finding.open, let sequence = finding.mismatch.sequence,
      let stored = try await jetStream.message(in: plan.streams[stream].name, at: sequence)
    else { return false }
    let difference = OpenDifference(
      open, stored: stored, rule: finding.rule.map { verification.configuration.rules[$0] })
    guard difference.details.isEmpty else {
      var told = finding.mismatch
      told.detail = difference.details.joined(separator: "; ")
      told.pointer = difference.pointer
      tell(told, &report)
      return true
    }
    // What is elsewhere than derived is counted with its counterpart.
    if finding.isExpectedThere { report.imagesNotCompared &+= 1 }
    return false
  }

  /// Whether what is missing of an event in doubt was something else, in another stream, and was removed
  /// there: a message instead of its dead letter, or the reverse.
  mutating func isElsewhere(
    _ one: DoubtfulFindings.Missing, _ courses: inout [Int: Course], _ report: inout VerifyReport
  ) async throws -> Bool {
    guard let rule = one.rule, one.doubt.concerns(rule),
      let position = one.finding.mismatch.position,
      // Where its own stream has lost something, it is judged there.
      courses[one.stream]?.reconciliation.hasHole(at: position) != true
    else { return false }
    guard let home = verification.configuration.rules[rule].streamIndex else { return false }
    let letters = verification.configuration.indexOfDeadLetterStream
    let other = one.stream == letters ? home : letters
    guard other != one.stream, plan.streams.indices.contains(other) else { return false }
    let place = plan.streams[other]
    if let floor = place.floor, position < floor {
      report.imagesNotCompared &+= 1
      return true
    }
    if place.isShared, try await isOfAnotherProducer(one.finding, other) {
      report.imagesNotCompared &+= 1
      return true
    }
    guard let hole = courses[other]?.reconciliation.takeHole(at: position) else { return false }
    var finding = one.finding
    finding.mismatch.stream = place.name
    finding.isLetter = other == letters
    if other == home, let message = finding.open?.message {
      finding.mismatch.subject = message.subject
      finding.expected = nil
      if place.perSubject > 0, message.subject.contains(OpenText.mark) {
        // Which subject it had, the document said.
        report.imagesNotCompared &+= 1
        return true
      }
    }
    try await tell(removed: finding, hole, place, 0, &report)
    return true
  }

  private func isOfAnotherProducer(_ finding: Finding, _ stream: Int) async throws -> Bool {
    var text = finding.mismatch.id
    let id = text.withUTF8 { MessageDigest(UnsafeRawBufferPointer($0)) }
    return try await eventLoop.submit { [book] in book.shared[stream].hasUnexpected(id) }.get()
  }

  // MARK: Limits that have changed

  mutating func settleOtherLimits(
    _ report: inout VerifyReport
  ) -> (extra: [OtherLimits.Stored], missing: [Finding]) {
    let rules = verification.configuration.rules
    let (extra, letters) = otherLimits.finish { [plan] home, position in
      plan.streams[home].floor.map { position >= $0 } ?? true
    }
    let missing = letters.filter { letter in
      guard let rule = letter.rule, let position = letter.mismatch.position,
        let home = rules[rule].streamIndex, let floor = plan.streams[home].floor, position < floor
      else { return true }
      // It may have been a message, and would be gone.
      report.notHeld &+= 1
      return false
    }
    let maximumPayload = jetStream.connection.info.maxPayload
    for note in otherLimits.notes(
      name: { [plan] in plan.streams[$0].name },
      limit: { [plan] in plan.streams[$0].limits(maximumPayload: maximumPayload).size })
    {
      report.addNote(note)
    }
    return (extra, missing)
  }

  // MARK: What change streams don't tell

  /// Change streams leave out what a user's own `applyOps` did. Those messages are compared with the oplog.
  mutating func judge(
    unexplained messages: [RunJoin.Observed], _ stream: Int, _ ledger: StreamLedger,
    _ report: inout VerifyReport
  ) async throws {
    let configuration = verification.configuration
    let oplog = LiveChanges(
      configuration, reader: .oplog, logger: verification.logger,
      patience: max(verification.options.timeout, .seconds(15)))
    defer { oplog.stop() }
    let inspection = inspection(of: stream, ledger, by: oplog)
    var hidden: UInt64 = 0
    do {
      let outcome = try await inspection.lookAt(messages.map(\.sequence))
      let unknown = Set(outcome.surplus.map(\.observed.sequence))
      let differing = Dictionary(
        outcome.differing.compactMap { finding in finding.mismatch.sequence.map { ($0, finding) } },
        uniquingKeysWith: { first, _ in first })
      var kinds: [OplogPosition: Bool] = [:]
      for message in messages {
        guard !unknown.contains(message.sequence), let entry = message.position?.entry,
          try await isApplyOps(entry, &kinds)
        else {
          tell(extra: message, stream, &report)
          continue
        }
        hidden &+= 1
        if let finding = differing[message.sequence] {
          try await tell(differing: finding, stream, &report)
        }
      }
    } catch {
      for message in messages { tell(extra: message, stream, &report) }
      report.addReason(Self.reason(hidden: error))
      return
    }
    guard hidden > 0 else { return }
    report.addNote(Self.note(hidden: hidden, on: plan.streams[stream].name))
  }

  static func note(hidden count: UInt64, on stream: String) -> String {
    "stream \(stream): \(count) messages are of a user's own applyOps, which change streams leave out: they were compared by the oplog"
  }

  static func reason(hidden error: any Error) -> String {
    "messages that no change stream explains could not be looked up in the oplog: \(EventVerification.words(error))"
  }

  func isApplyOps(
    _ entry: OplogPosition, _ known: inout [OplogPosition: Bool]
  ) async throws -> Bool {
    if let answer = known[entry] { return answer }
    let answer = try await MongoAdmin.isApplyOps(
      verification.configuration.mongoSourceOptions, at: entry)
    known[entry] = answer
    return answer
  }

  /// Whether the expected changes come from a change stream, while the bridge reads the oplog.
  var isSecondReader: Bool {
    verification.options.reader == .changeStream
      && verification.configuration.source.reader == .oplog
  }
}
