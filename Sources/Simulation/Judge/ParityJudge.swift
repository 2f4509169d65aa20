import BSON
import Bridge
import BridgeConfiguration
import Bytes
import Oplog
import Parity
import SimulatedJetStream
import SimulatedMongo
import Verification

/// What `verify` does, on the streams as they are at the end: the same ledgers, joins and rulings, fed from the
/// committed oplog and from the streams' stores.
struct ParityJudge {
  struct Finding: Equatable, CustomStringConvertible {
    var kind: MismatchClass
    var position: EventPosition?
    var sequence: UInt64?

    var description: String {
      "\(kind.rawValue)\(position.map { " of \($0)" } ?? "")\(sequence.map { " at \($0)" } ?? "")"
    }
  }

  private struct Expected {
    var position: EventPosition
    var id: String
    var digests: PartDigests
  }

  private let names: [String]
  private let isExclusive: [Bool]
  private let bridge: String
  private let expected: [[Expected]]

  /// Derives everything that the committed oplog has.
  init(_ configuration: BridgeConfiguration, _ set: SimulatedReplicaSet) throws {
    names = Truth.names(configuration)
    isExclusive = names.map { configuration.isExclusive($0) }
    bridge = configuration.bridge.name
    let deriver = Truth.deriver(configuration)
    var decoder = OplogDecoder()
    var expected: [[Expected]] = names.map { _ in [] }
    var scratch = ByteWriter(capacity: 512)
    for entry in set.committed {
      try set.withBytes(of: entry.number) { bytes in
        _ = try decoder.begin(BSONView(bytes))
        while let event = try decoder.next() {
          deriver.derive(event) { message in
            let marks = Self.marks(message.headers, &scratch)
            expected[message.stream].append(
              Expected(
                position: message.position, id: marks.id,
                digests: PartDigests(
                  subject: MessageDigest(message.subject), headers: marks.digest,
                  body: MessageDigest(message.body))))
          }
        }
      }
    }
    self.expected = expected
  }

  private static func marks(
    _ headers: UnsafeRawBufferPointer, _ scratch: inout ByteWriter
  ) -> (id: String, digest: MessageDigest) {
    scratch.removeAll()
    let marks = MessageMarks(headers, appendingEventLinesTo: &scratch)
    let id = marks.id.map { String(decoding: $0, as: UTF8.self) } ?? ""
    return (id, MessageDigest(scratch.bytes))
  }

  // MARK: - Comparing

  /// Everything that is wrong with a stream.
  func compare(
    _ stream: String, _ messages: [StoredMessage], lastSequence: UInt64
  ) -> [Finding] {
    guard let index = names.firstIndex(of: stream) else { return [] }
    return compare(expected[index][...], observed(messages, index), 1, lastSequence)
  }

  private func observed(_ messages: [StoredMessage], _ stream: Int) -> [RunJoin.Observed] {
    var scratch = ByteWriter(capacity: 512)
    return messages.map { observed($0, stream, &scratch) }
  }

  private func observed(
    _ message: StoredMessage, _ stream: Int, _ scratch: inout ByteWriter
  ) -> RunJoin.Observed {
    message.headers.withUnsafeBytes { headers in
      let marks = MessageMarks(headers)
      let isOwn =
        marks.isOfBridge
        && (isExclusive[stream] || marks.bridge?.elementsEqual(bridge.utf8) ?? false)
      let (id, digest) = Self.marks(headers, &scratch)
      var subject = message.subject
      return RunJoin.Observed(
        sequence: message.sequence, kind: isOwn ? .own : .foreign, id: id,
        position: isOwn ? marks.position : nil, rule: "", subject: subject,
        digests: PartDigests(
          subject: subject.withUTF8 { MessageDigest(UnsafeRawBufferPointer($0)) }, headers: digest,
          body: message.payload.withUnsafeBytes { MessageDigest($0) }))
    }
  }

  private func compare(
    _ expected: ArraySlice<Expected>, _ observed: [RunJoin.Observed], _ firstSequence: UInt64,
    _ lastSequence: UInt64
  ) -> [Finding] {
    guard let first = expected.first, let last = expected.last else {
      return observed.filter { $0.kind == .own }
        .map { Finding(kind: .extra, position: $0.position, sequence: $0.sequence) }
    }
    var ledger = StreamLedger(
      first.position...last.position, firstSequence: firstSequence, bucketSize: 512)
    for one in expected { ledger.expect(one.position, Self.digest(one.digests)) }
    ledger.endExpected()
    for message in observed {
      _ = ledger.observe(
        ObservedRecord(
          sequence: message.sequence, kind: message.kind, position: message.position,
          digest: Self.digest(message.digests)))
    }
    ledger.endOfStream(at: lastSequence)
    let (suspects, extra) = ledger.finish()
    var findings: [Finding] = []
    var missing: [Reconciliation.Missing] = []
    var surplus: [RunJoin.Surplus] = []
    for run in StreamLedger.runs(of: suspects) {
      inspect(run, expected, observed, &findings, &missing, &surplus)
    }
    surplus += observed.filter { extra.contains($0.sequence) }
      .map { RunJoin.Surplus(observed: $0, repeats: nil) }
    var reconciliation = Reconciliation(holes: ledger.holes)
    for ruling in reconciliation.rule(missing: missing, surplus: surplus) {
      findings.append(Self.finding(ruling, missing))
    }
    return findings
  }

  private func inspect(
    _ run: StreamLedger.Run, _ expected: ArraySlice<Expected>, _ observed: [RunJoin.Observed],
    _ findings: inout [Finding], _ missing: inout [Reconciliation.Missing],
    _ surplus: inout [RunJoin.Surplus]
  ) {
    let strays = Set(run.suspects.flatMap(\.strays))
    let found = observed.filter { message in
      message.kind == .own && (message.position.map { run.contains($0) } ?? false)
        && (strays.contains(message.sequence)
          || run.suspects.contains { $0.sequences?.contains(message.sequence) ?? false })
    }
    var join = RunJoin(found, apart: run.apart)
    var postponed: [(RunJoin.Postponed, Expected)] = []
    func take(_ answer: RunJoin.Answer, _ one: Expected) {
      switch answer {
      case .equal: break
      case .missing:
        missing.append(
          Reconciliation.Missing(
            id: one.id, position: one.position, digests: one.digests, isSettled: true))
      case .open(let rest): postponed.append((rest, one))
      case .differs(let sequence, _, _, _):
        findings.append(
          Finding(kind: .payloadMismatch, position: one.position, sequence: sequence))
      }
    }
    for one in expected where run.contains(one.position) {
      take(join.expect(id: one.id, one.position, one.digests), one)
    }
    let left = postponed
    for (rest, one) in left { take(join.settle(rest), one) }
    surplus += join.surplus()
    findings += join.reordered()
      .map { Finding(kind: .reordered, position: $0.position, sequence: $0.sequence) }
  }

  private static func finding(
    _ ruling: Reconciliation.Ruling, _ missing: [Reconciliation.Missing]
  ) -> Finding {
    switch ruling {
    case .reordered(let message):
      Finding(kind: .reordered, position: message.position, sequence: message.sequence)
    case .differs(let message, let index):
      Finding(
        kind: .payloadMismatch, position: missing[index].position, sequence: message.sequence)
    case .duplicate(let message, _):
      Finding(kind: .duplicate, position: message.position, sequence: message.sequence)
    case .extra(let message):
      Finding(kind: .extra, position: message.position, sequence: message.sequence)
    case .gap(let index, _): Finding(kind: .gap, position: missing[index].position)
    case .missing(let index), .pending(let index):
      Finding(kind: .missing, position: missing[index].position)
    }
  }

  private static func digest(_ parts: PartDigests) -> MessageDigest {
    MessageDigest(subject: parts.subject, headers: parts.headers, body: parts.body)
  }

  // MARK: - Whether it can fail

  /// Damages copies of a stream's last messages; the damage that is not found and named, or nil.
  func selftest(
    _ stream: String, _ messages: [StoredMessage], lastSequence: UInt64
  ) -> String? {
    guard let index = names.firstIndex(of: stream) else { return nil }
    let observed = Array(observed(messages, index).suffix(2_000))
    let own = observed.indices.filter { observed[$0].kind == .own }
    guard own.count >= 4, let first = observed.first,
      let low = own.compactMap({ observed[$0].position }).min()
    else { return nil }
    let expected = expected[index].drop { $0.position < low }
    let before = compare(expected, observed, first.sequence, lastSequence)
    let (one, other) = (own[own.count / 2 - 1], own[own.count / 2])
    for damage in Damage.allCases {
      let damaged = damage.done(to: observed, one, other)
      let found = compare(expected, damaged, first.sequence, lastSequence &+ 1)
      let isNamed = found.contains { finding in
        damage.kinds.contains(finding.kind) && !before.contains(finding)
          && (finding.position == observed[one].position
            || finding.position == observed[other].position)
      }
      if !isNamed {
        return "message \(observed[one].sequence) of \(stream) is \(damage.rawValue): \(found)"
      }
    }
    return nil
  }

  private enum Damage: String, CaseIterable {
    case removed, doubled, changed, swapped

    /// As which it may be found.
    var kinds: Set<MismatchClass> {
      switch self {
      case .removed: [.missing, .gap]
      case .doubled: [.duplicate, .extra]
      case .changed: [.payloadMismatch]
      case .swapped: [.reordered]
      }
    }

    func done(
      to messages: [RunJoin.Observed], _ one: Int, _ other: Int
    ) -> [RunJoin.Observed] {
      var messages = messages
      switch self {
      case .removed: messages.remove(at: one)
      case .doubled:
        var copy = messages[one]
        copy.sequence = (messages.last?.sequence ?? 0) &+ 1
        messages.append(copy)
      case .changed: messages[one].digests.body.low ^= 1
      case .swapped:
        let sequence = messages[one].sequence
        messages.swapAt(one, other)
        messages[other].sequence = messages[one].sequence
        messages[one].sequence = sequence
      }
      return messages
    }
  }
}
