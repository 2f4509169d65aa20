import Oplog
import Parity
import TestRandom

/// The messages of a synthetic oplog, a stream of them for injecting faults, and a complete verification
/// of both, as `VerifyJudge` does with servers.
struct SyntheticStream {
  struct Message: Equatable {
    var id: String
    var position: EventPosition
    var rule: String
    var subject: String
    var headers: String
    var body: String

    var digests: PartDigests {
      func digest(_ text: String) -> MessageDigest {
        var text = text
        return text.withUTF8 { MessageDigest(UnsafeRawBufferPointer($0)) }
      }
      return PartDigests(
        subject: digest(subject), headers: digest(headers), body: digest(body))
    }
  }

  struct Stored {
    var sequence: UInt64
    var message: Message
    var kind = ObservedRecord.Kind.own
    /// The position in its header; a fault may change or remove it.
    var position: EventPosition?
  }

  var expected: [Message] = []
  var stored: [Stored] = []
  var lastSequence: UInt64 = 0
  var bucketSize: Int

  /// Entries with one event, transactions with many, events that match several rules.
  init(_ random: inout SeededRandom, count: Int) {
    bucketSize = Int.random(in: 4...64, using: &random)
    var entry = OplogPosition(seconds: 1000, increment: 1)
    while expected.count < count {
      entry.increment += UInt32.random(in: 1...3, using: &random)
      if Int.random(in: 0..<20, using: &random) == 0 {
        entry = OplogPosition(seconds: entry.seconds + 1, increment: 1)
      }
      let events =
        Int.random(in: 0..<10, using: &random) == 0 ? Int.random(in: 2...40, using: &random) : 1
      for index in 0..<events {
        let position = EventPosition(entry: entry, index: UInt32(index))
        for match in 0..<(Int.random(in: 0..<8, using: &random) == 0 ? 2 : 1) {
          let suffix = match > 0 ? ":second" : ""
          let id = "rs0:\(position)\(suffix)"
          expected.append(
            Message(
              id: id, position: position, rule: match > 0 ? "second" : "first",
              subject: "s.\(Int.random(in: 0..<9, using: &random))",
              headers: "Nats-Msg-Id: \(id)\r\nTailrace-Position: \(position)\r\n",
              body: "{\"n\":\(UInt64.random(in: 0...UInt64.max, using: &random))}"))
        }
      }
    }
    for message in expected { append(message) }
  }

  mutating func append(_ message: Message) {
    lastSequence += 1
    stored.append(
      Stored(sequence: lastSequence, message: message, position: message.position))
  }

  /// Renumbers the messages: removed ones were never published.
  mutating func renumber() {
    for index in stored.indices { stored[index].sequence = UInt64(index + 1) }
    lastSequence = UInt64(stored.count)
  }

  var range: ClosedRange<EventPosition> {
    EventPosition(
      entry: .init(seconds: 0, increment: 0), index: 0)...EventPosition(
        entry: expected.last?.position.entry ?? .init(seconds: 1, increment: 0), index: .max)
  }

  struct Verdict: Equatable {
    var counts = MismatchCounts()
    var pending = 0
    var ids: [String: MismatchClass] = [:]
  }

  func verify(isSettled: Bool = true) -> Verdict {
    var ledger = StreamLedger(range, bucketSize: bucketSize)
    // Interleaved, as with two readers of different speed.
    var next = 0
    func observe(_ ledger: inout StreamLedger) {
      while next < stored.count, ledger.observe(record(stored[next])) { next += 1 }
    }
    for message in expected {
      let digests = message.digests
      ledger.expect(
        message.position,
        MessageDigest(subject: digests.subject, headers: digests.headers, body: digests.body))
      observe(&ledger)
    }
    ledger.endExpected()
    observe(&ledger)
    precondition(next == stored.count)
    ledger.endOfStream(at: lastSequence)
    return judge(&ledger, isSettled)
  }

  private func record(_ one: Stored) -> ObservedRecord {
    let digests = one.message.digests
    return ObservedRecord(
      sequence: one.sequence, kind: one.kind, position: one.position,
      digest: MessageDigest(
        subject: digests.subject, headers: digests.headers, body: digests.body))
  }

  private func judge(_ ledger: inout StreamLedger, _ isSettled: Bool) -> Verdict {
    let (suspects, extra) = ledger.finish()
    var verdict = Verdict()
    func tell(_ kind: MismatchClass, _ id: String) {
      verdict.counts[kind] += 1
      verdict.ids[id] = kind
    }
    var missing: [Message] = []
    var surplus: [RunJoin.Surplus] = []
    for run in StreamLedger.runs(of: suspects) {
      let there = stored.filter { one in
        run.suspects.contains { suspect in
          suspect.strays.contains(one.sequence)
            || (suspect.sequences?.contains(one.sequence) == true
              && (one.kind != .own || one.position.map { run.contains($0) } ?? false))
        }
      }
      var join = RunJoin(there.map(detail), apart: run.apart)
      for message in expected where run.contains(message.position) {
        switch join.expect(id: message.id, message.position, message.digests) {
        case .equal: break
        case .missing, .open: missing.append(message)
        case .differs: tell(.payloadMismatch, message.id)
        }
      }
      surplus += join.surplus()
      for message in join.reordered() { tell(.reordered, message.id) }
    }
    surplus += stored.filter { extra.contains($0.sequence) }
      .map { RunJoin.Surplus(observed: detail($0), repeats: nil) }
    var reconciliation = Reconciliation(holes: ledger.holes)
    let rulings = reconciliation.rule(
      missing: missing.map { message in
        Reconciliation.Missing(
          id: message.id, position: message.position, digests: message.digests,
          isSettled: isSettled || ledger.lastPosition.map { message.position < $0 } ?? false)
      }, surplus: surplus)
    for ruling in rulings {
      switch ruling {
      case .reordered(let message): tell(.reordered, message.id)
      case .differs(let message, _): tell(.payloadMismatch, message.id)
      case .duplicate(let message, _): tell(.duplicate, message.id)
      case .extra(let message): tell(.extra, message.id)
      case .gap(let index, _): tell(.gap, missing[index].id)
      case .missing(let index): tell(.missing, missing[index].id)
      case .pending: verdict.pending += 1
      }
    }
    return verdict
  }

  private func detail(_ one: Stored) -> RunJoin.Observed {
    RunJoin.Observed(
      sequence: one.sequence, kind: one.kind, id: one.message.id, position: one.position,
      rule: one.message.rule, subject: one.message.subject, digests: one.message.digests)
  }
}
