import Bridge
import BridgeConfiguration
import Mapping
import Oplog
import Parity

/// One run of suspects against the changes that are derived again for it.
///
/// Sendable invariant: touched on one event loop only.
final class JoinRun: @unchecked Sendable {
  private var join: RunJoin
  private let run: StreamLedger.Run
  private let stream: Int
  private let name: String
  private let configuration: BridgeConfiguration
  private let deriver: ExpectedMessages
  private let keepsMissing: Bool
  /// Messages are judged wherever they stand.
  private let isShared: Bool
  private let rules: Set<String>
  private var bytesLeft: Int
  private var openBytesLeft = JoinRun.mostOpenBytes
  private var outcome = RunInspection.Outcome()
  private var doubts: [EventPosition: ImageDoubt] = [:]
  /// Answers that depend on what is expected later.
  private var postponed: [Postponed] = []
  private var postponedExcuses: [(rank: Int, id: String, finding: Finding)] = []

  private struct Postponed {
    var one: RunJoin.Postponed
    var finding: Finding
    /// What it is compared with if it is there after all.
    var open: OpenExpectation?
    var isOpen: Bool
  }

  private static let mostOpenBytes = 256 << 20

  init(
    _ observed: [RunJoin.Observed], _ run: StreamLedger.Run, apart: Set<UInt64>, stream: Int,
    name: String, configuration: BridgeConfiguration, deriver: ExpectedMessages,
    keepsMissing: Bool, mostBytes: Int, isShared: Bool
  ) {
    self.isShared = isShared
    join = RunJoin(observed, apart: apart)
    self.run = run
    self.stream = stream
    self.name = name
    self.configuration = configuration
    self.deriver = deriver
    self.keepsMissing = keepsMissing
    bytesLeft = mostBytes
    rules = Set(configuration.rules.map(\.name) + [DeadLetterSubject.unmatchedRule])
  }

  func expect(_ event: ChangeEvent) {
    guard run.contains(event.position) else { return }
    let doubt = deriver.doubt(event)
    doubts[event.position] = doubt
    var open = doubt?.open[...] ?? []
    deriver.derive(event) { message in
      if doubt != nil { doubts[event.position]?.derived.insert(message.rule) }
      while let next = open.first, Self.isBefore(next, message.rule) {
        excuse(event, rule: next, doubt, nil)
        open.removeFirst()
      }
      let isOpen = doubt?.concerns(message.rule) ?? false
      if !isOpen, expectOfOtherLimits(event, message) { return }
      if message.stream == stream {
        expect(event, message, isOpen ? doubt : nil)
      } else if isOpen {
        excuse(event, rule: message.rule, doubt, message)
      }
      if isOpen, open.first == message.rule { open.removeFirst() }
    }
    for rule in open { excuse(event, rule: rule, doubt, nil) }
  }

  private static func isBefore(_ one: Int?, _ other: Int?) -> Bool {
    guard let one else { return false }
    return other.map { one < $0 } ?? true
  }

  private func expect(_ event: ChangeEvent, _ message: DerivedMessage, _ doubt: ImageDoubt?) {
    let digests = PartDigests(
      subject: MessageDigest(message.subject), headers: MessageDigest(message.headers),
      body: MessageDigest(message.body),
      value: message.isShared ? MessageDigest(valueOf: message.body) : nil)
    let id = message.id.map { String(decoding: $0, as: UTF8.self) } ?? ""
    switch answer(to: message, id, digests, doubt) {
    case .equal: noteReplay(message)
    case .missing:
      outcome.missing.append(missing(event, message, id, digests, doubt, keeps: keepsMissing))
    case .open(let one):
      let open = doubt.flatMap {
        kept(deriver.open(event, rule: message.rule, match: message.match, $0, on: stream))
      }
      postponed.append(
        Postponed(
          one: one, finding: missing(event, message, id, digests, doubt, keeps: true), open: open,
          isOpen: !isShared && doubt != nil))
    case .differs(let sequence, let subject, let headers, let body):
      noteReplay(message)
      var found = finding(.payloadMismatch, message, id, digests, sequence: sequence, keeps: true)
      found.mismatch.detail = Self.words(subject, headers, body)
      if let doubt {
        found.doubt = doubt
        found.open = kept(
          deriver.open(event, rule: message.rule, match: message.match, doubt, on: stream))
      }
      outcome.differing.append(found)
    }
  }

  private func missing(
    _ event: ChangeEvent, _ message: DerivedMessage, _ id: String, _ digests: PartDigests,
    _ doubt: ImageDoubt?, keeps: Bool
  ) -> Finding {
    // What is there under another id may be it: ids, too, may be made of documents.
    if doubt != nil { excuse(event, rule: message.rule, doubt, message) }
    var found = finding(.missing, message, id, digests, sequence: nil, keeps: keeps)
    found.doubt = doubt
    found.isTooLarge = message.error?.code == .payloadTooLarge
    found.isLetter = message.error != nil
    if let doubt {
      found.open = deriver.open(
        event, rule: message.rule, match: message.match, doubt,
        on: message.rule.flatMap { configuration.rules[$0].streamIndex } ?? stream)
    }
    return found
  }

  private func answer(
    to message: DerivedMessage, _ id: String, _ digests: PartDigests, _ doubt: ImageDoubt?
  ) -> RunJoin.Answer {
    // Where it is open how many rules took the event before, another rule's message may have this id.
    if let doubt, doubt.hasOpenNumber(message.rule), let rule = message.rule,
      join.unexplained(message.position, rule: configuration.rules[rule].name)?.id != id
    {
      return .missing
    }
    return join.expect(
      id: id, message.position, digests, isOpen: !isShared && doubt != nil,
      isShared: message.isShared)
  }

  private func noteReplay(_ message: DerivedMessage) {
    guard join.lastKind == .replayed, let rule = message.rule else { return }
    outcome.otherLimits.replayed.insert(
      OtherLimits.Key(position: message.position, rule: rule))
  }

  // MARK: Documents that are gone

  /// What the rule made of the event may rightly be there although another message, or none, is derived
  /// now, or one in another stream.
  private func excuse(
    _ event: ChangeEvent, rule: Int?, _ doubt: ImageDoubt?, _ derived: DerivedMessage?
  ) {
    guard let doubt, deriver.streams(of: rule).contains(stream) else { return }
    let open = deriver.open(
      event, rule: rule, match: derived?.match ?? doubt.number(rule), doubt, on: stream)
    let name = rule.map { configuration.rules[$0].name } ?? DeadLetterSubject.unmatchedRule
    var finding = Finding(
      mismatch: Mismatch(
        kind: .payloadMismatch, id: "", position: event.position, rule: name, subject: "",
        stream: self.name, sequence: nil, detail: ""),
      digests: PartDigests(
        subject: MessageDigest(), headers: MessageDigest(), body: MessageDigest()),
      rule: rule, doubt: doubt, isExpectedThere: false)
    if let message = join.excuse(event.position, rule: name) {
      finding.open = kept(open)
      note(alternative: message, finding)
    } else if let id = open.id, join.mayHold(id) {
      finding.open = kept(open)
      postponedExcuses.append((join.nextRank(), id, finding))
    }
  }

  private func note(alternative message: RunJoin.Observed, _ finding: Finding) {
    var finding = finding
    finding.mismatch.id = message.id
    finding.mismatch.subject = message.subject
    finding.mismatch.sequence = message.sequence
    finding.digests = message.digests
    outcome.alternatives[message.sequence] = finding
  }

  private func kept(_ open: OpenExpectation) -> OpenExpectation? {
    guard openBytesLeft >= open.size else {
      outcome.notCompared += 1
      return nil
    }
    openBytesLeft -= open.size
    return open
  }

  // MARK: Limits that have changed

  /// Whether a message is there that was made when messages could be larger, or less large, than now, in
  /// this stream in place of what is derived.
  private func expectOfOtherLimits(_ event: ChangeEvent, _ message: DerivedMessage) -> Bool {
    let isTooLarge = message.error?.code == .payloadTooLarge
    guard let rule = message.rule, message.error == nil || isTooLarge,
      let stored = join.unexplained(event.position, rule: configuration.rules[rule].name)
    else { return false }
    guard let home = configuration.rules[rule].streamIndex else { return false }
    let alternatives = deriver.alternatives
    var now = OtherLimits.Stored(
      key: OtherLimits.Key(position: event.position, rule: rule), observed: stored, stream: stream,
      home: home, isInPlace: message.stream == stream)
    let expected: ExpectedBytes
    if let letter = stored.letter {
      guard stream == deriver.deadLetterStream,
        letter.code == MappingErrorCode.payloadTooLarge.rawValue,
        letter.detail != message.error?.detail
      else { return false }
      var (headers, body) = (message.headers.count, message.body.count)
      if isTooLarge {
        guard let whole = alternatives.unlimited(event, rule: rule, match: message.match) else {
          return false
        }
        (headers, body) = (whole.headers.utf8.count, whole.body.count)
      }
      guard let limit = MessageLimits.limit(by: letter.detail, headers: headers, body: body) else {
        return false
      }
      now.limit = limit
      expected = alternatives.letter(
        event, rule: rule, match: message.match,
        error: MappingError(.payloadTooLarge, letter.detail))
    } else {
      guard isTooLarge, home == stream,
        let whole = alternatives.unlimited(event, rule: rule, match: message.match)
      else { return false }
      expected = whole
    }
    let digests = expected.digests
    switch join.expect(id: expected.id, event.position, digests) {
    case .missing, .open: return false
    case .equal: break
    case .differs(let sequence, let subject, let headers, let body):
      var found = Finding(
        mismatch: Mismatch(
          kind: .payloadMismatch, id: expected.id, position: event.position, rule: stored.rule,
          subject: expected.subject, stream: name, sequence: sequence,
          detail: Self.words(subject, headers, body)), digests: digests, rule: rule)
      if bytesLeft >= expected.body.count {
        bytesLeft -= expected.body.count
        found.expected = expected
      }
      outcome.differing.append(found)
    }
    outcome.otherLimits.stored.append(now)
    return message.stream == stream
  }

  // MARK: Findings

  private static func words(_ subject: Bool, _ headers: Bool, _ body: Bool) -> String {
    let parts = [subject ? "subject" : nil, headers ? "headers" : nil, body ? "body" : nil]
    return "differs in \(parts.compactMap { $0 }.joined(separator: ", "))"
  }

  private func finding(
    _ kind: MismatchClass, _ message: DerivedMessage, _ id: String, _ digests: PartDigests,
    sequence: UInt64?, keeps: Bool
  ) -> Finding {
    let subject = String(decoding: message.subject, as: UTF8.self)
    var found = Finding(
      mismatch: Mismatch(
        kind: kind, id: id, position: message.position,
        rule: message.rule.map { configuration.rules[$0].name } ?? "", subject: subject,
        stream: name, sequence: sequence, detail: ""), digests: digests, rule: message.rule)
    let size = message.headers.count + message.body.count
    if keeps, bytesLeft >= size {
      bytesLeft -= size
      found.expected = ExpectedBytes(
        subject: subject, headers: String(decoding: message.headers, as: UTF8.self),
        body: Array(message.body))
    }
    return found
  }

  /// What is stored under the id of several events, and is none of theirs as it should be.
  private func settlePostponed() {
    for later in postponed {
      var finding = later.finding
      guard
        case .differs(let sequence, let subject, let headers, let body) = join.settle(
          later.one, isOpen: later.isOpen)
      else {
        outcome.missing.append(finding)
        continue
      }
      finding.open = later.open
      finding.mismatch.kind = .payloadMismatch
      finding.mismatch.sequence = sequence
      finding.mismatch.detail = Self.words(subject, headers, body)
      outcome.differing.append(finding)
    }
    for (rank, id, finding) in postponedExcuses {
      let others = rules.subtracting([finding.mismatch.rule])
      if let message = join.excuse(id: id, rank: rank, others: others) {
        note(alternative: message, finding)
      }
    }
    (postponed, postponedExcuses) = ([], [])
  }

  func finish() -> RunInspection.Outcome {
    settlePostponed()
    outcome.surplus = join.surplus()
    for one in outcome.surplus {
      if let position = one.observed.position { outcome.doubts[position] = doubts[position] }
    }
    outcome.reordered = join.reordered().map { message in
      Finding(
        mismatch: Mismatch(
          kind: .reordered, id: message.id, position: message.position, rule: message.rule,
          subject: message.subject, stream: name, sequence: message.sequence,
          detail: "it follows messages of later changes"), digests: message.digests)
    }
    return outcome
  }
}

extension ExpectedBytes {
  /// The value of the first header.
  var id: String { OwnMessage(lines: headers).storedID }
}

extension OpenExpectation {
  /// Nil where it is not known as a whole.
  fileprivate var id: String? {
    guard otherID == nil, let id = (message ?? letter)?.id, !id.contains(OpenText.mark) else {
      return nil
    }
    return id
  }
}
