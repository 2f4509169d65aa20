import Bridge
import BridgeConfiguration
import Mapping
import NIOCore
import Oplog
import Parity

// Dead letters for reasons that only the server had. Which events they are of is read from the stream; what
// they hold is derived, and compared like everything else.
extension VerifyJudge {
  mutating func judgeServerLetters(_ report: inout VerifyReport) async throws {
    let letters = try await eventLoop.submit { [book] in book.storedServerLetters }.get()
    guard let stream = plan.streams.firstIndex(where: \.isDeadLetter),
      let first = letters.map(\.event.position).min(),
      let last = letters.map(\.event.position).max()
    else { return }
    let ledger = try await eventLoop.submit { [book] in book.ledgers[stream] }.get()
    let stored = try await inspection(of: stream, ledger, by: changes)
      .messages(at: letters.map { $0.sequence...$0.sequence }).found
    var outcome = try await compare(stored, first...last, stream, with: changes)
    if isSecondReader, !outcome.extra.isEmpty {
      try await judge(unexplained: outcome.extra, first...last, stream, &report)
      outcome.extra = []
    }
    try await tell(outcome, stream, &report)
  }

  private func compare(
    _ letters: [RunJoin.Observed], _ range: ClosedRange<EventPosition>, _ stream: Int,
    with changes: any ChangeSource
  ) async throws -> ServerLetterJoin.Outcome {
    let join = ServerLetterJoin(
      letters, name: plan.streams[stream].name, verification.configuration, makeDeriver())
    try await changes.walk(range, on: eventLoop, mayContinue: { true }, { join.expect($0) })
    return try await eventLoop.submit { join.finish() }.get()
  }

  private mutating func tell(
    _ outcome: ServerLetterJoin.Outcome, _ stream: Int, _ report: inout VerifyReport
  ) async throws {
    for finding in outcome.differing { try await tell(differing: finding, stream, &report) }
    for message in outcome.extra { tell(extra: message, stream, &report) }
    for (message, first) in outcome.doubled {
      tell(
        mismatch(.duplicate, message, stream, "sequence \(first) has the same id already"),
        &report)
    }
    report.imagesNotCompared &+= outcome.unknown
  }

  /// Change streams leave out what a user's own `applyOps` did: the oplog tells of those.
  private mutating func judge(
    unexplained letters: [RunJoin.Observed], _ range: ClosedRange<EventPosition>, _ stream: Int,
    _ report: inout VerifyReport
  ) async throws {
    let oplog = LiveChanges(
      verification.configuration, reader: .oplog, logger: verification.logger,
      patience: verification.options.timeout)
    defer { oplog.stop() }
    var hidden: [RunJoin.Observed] = []
    var kinds: [OplogPosition: Bool] = [:]
    do {
      for letter in letters {
        if let entry = letter.position?.entry, try await isApplyOps(entry, &kinds) {
          hidden.append(letter)
        } else {
          tell(extra: letter, stream, &report)
        }
      }
      guard !hidden.isEmpty else { return }
      try await tell(compare(hidden, range, stream, with: oplog), stream, &report)
      report.addNote(Self.note(hidden: UInt64(hidden.count), on: plan.streams[stream].name))
    } catch {
      report.addReason(Self.reason(hidden: error))
    }
  }
}

/// Compares such letters with those that the bridge makes of their events.
///
/// Sendable invariant: touched on one event loop only.
final class ServerLetterJoin: @unchecked Sendable {
  struct Outcome: Sendable {
    var differing: [Finding] = []
    /// Of events of which the rule makes no message, so that the server can't have refused one.
    var extra: [RunJoin.Observed] = []
    /// With the sequence of the first one.
    var doubled: [(RunJoin.Observed, UInt64)] = []
    /// Of events whose documents can't be read any more: whether there was a message can't be told.
    var unknown: UInt64 = 0
  }

  private var waiting: [EventPosition: [RunJoin.Observed]] = [:]
  private let name: String
  private let configuration: BridgeConfiguration
  private let deriver: ExpectedMessages
  private var outcome = Outcome()
  private var bytesLeft = 32 << 20

  init(
    _ letters: [RunJoin.Observed], name: String, _ configuration: BridgeConfiguration,
    _ deriver: ExpectedMessages
  ) {
    self.name = name
    self.configuration = configuration
    self.deriver = deriver
    var first: [EventOfRule: UInt64] = [:]
    for letter in letters.sorted(by: { $0.sequence < $1.sequence }) {
      guard let position = letter.position else { continue }
      let event = EventOfRule(position: position, rule: letter.rule)
      if let known = first[event] {
        outcome.doubled.append((letter, known))
      } else {
        first[event] = letter.sequence
        waiting[position, default: []].append(letter)
      }
    }
  }

  func expect(_ event: ChangeEvent) {
    guard var letters = waiting.removeValue(forKey: event.position) else { return }
    let doubt = deriver.doubt(event)
    deriver.derive(event) { message in
      // A message that would be too large by now was not when the server refused it.
      guard let rule = message.rule, message.error.map({ $0.code == .payloadTooLarge }) ?? true,
        let index = letters.firstIndex(where: { $0.rule == configuration.rules[rule].name })
      else { return }
      compare(letters.remove(at: index), event, rule, message.match, doubt)
    }
    for letter in letters {
      if let rule = configuration.rules.firstIndex(where: { $0.name == letter.rule }),
        let doubt, doubt.concerns(rule)
      {
        compare(letter, event, rule, doubt.number(rule), doubt)
      } else {
        outcome.extra.append(letter)
      }
    }
  }

  private func compare(
    _ letter: RunJoin.Observed, _ event: ChangeEvent, _ rule: Int, _ match: Int,
    _ doubt: ImageDoubt?
  ) {
    // Which reason the server had, and in which words, only the letter says.
    guard let reason = letter.letter, let code = MappingErrorCode(rawValue: reason.code) else {
      outcome.extra.append(letter)
      return
    }
    let expected = deriver.alternatives.letter(
      event, rule: rule, match: match, error: MappingError(code, reason.detail))
    guard expected.digests != letter.digests else { return }
    var finding = Finding(
      mismatch: Mismatch(
        kind: .payloadMismatch, id: letter.id, position: event.position, rule: letter.rule,
        subject: expected.subject, stream: name, sequence: letter.sequence,
        detail: "differs from the dead letter of its event"), digests: expected.digests, rule: rule)
    finding.isServerLetter = true
    let size = expected.headers.utf8.count + expected.body.count
    if bytesLeft >= size {
      bytesLeft -= size
      finding.expected = expected
    }
    if let doubt, doubt.concerns(rule) {
      guard finding.expected != nil else {
        outcome.unknown &+= 1
        return
      }
      finding.doubt = doubt
      finding.open = deriver.open(
        event, rule: rule, match: match, doubt, on: deriver.deadLetterStream)
    }
    outcome.differing.append(finding)
  }

  func finish() -> Outcome {
    outcome.extra += waiting.values.flatMap { $0 }.sorted { $0.sequence < $1.sequence }
    waiting = [:]
    return outcome
  }
}
