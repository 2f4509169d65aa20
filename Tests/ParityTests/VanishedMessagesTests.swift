import Oplog
import Parity
import TestRandom
import Testing

@Suite struct VanishedMessagesTests {
  private func at(_ number: UInt64) -> EventPosition {
    EventPosition(entry: OplogPosition(seconds: UInt32(number), increment: 1), index: 0)
  }

  /// Exactly the sequences that were read again, not found, and no holes before; each between its neighbors.
  @Test func whatIsGoneBetweenTwoLooks() {
    var random = SeededRandom(seed: 11)
    for _ in 0..<2_000 {
      let size = UInt64.random(in: 1...60, using: &random)
      let stored = (1...size).filter { _ in Int.random(in: 0..<4, using: &random) > 0 }
      let left = stored.filter { _ in Int.random(in: 0..<3, using: &random) > 0 }
      let looked = (0..<Int.random(in: 0...4, using: &random)).map { _ in
        let first = UInt64.random(in: 1...size, using: &random)
        return first...UInt64.random(in: first...size, using: &random)
      }
      let foreign = Set(left.filter { _ in Int.random(in: 0..<4, using: &random) == 0 })
      let found = left.map { (sequence: $0, position: foreign.contains($0) ? nil : at($0)) }
      let holes = VanishedMessages.holes(
        looked: looked, found: found, known: known(Set(1...size).subtracting(stored)))
      let wanted = Set(looked.flatMap { Array($0) }).intersection(stored).subtracting(left)
      let told = holes.flatMap { Array($0.sequences) }
      #expect(Set(told) == wanted && told.count == wanted.count)
      #expect(told == told.sorted())
      for hole in holes {
        let own = left.filter { !foreign.contains($0) }
        #expect(hole.before == own.last { $0 < hole.sequences.lowerBound }.map { at($0) })
        #expect(hole.after == own.first { $0 > hole.sequences.upperBound }.map { at($0) })
      }
    }
  }

  private func known(_ sequences: Set<UInt64>) -> [StreamLedger.Hole] {
    var holes: [StreamLedger.Hole] = []
    for sequence in sequences.sorted() {
      if let last = holes.last, last.sequences.upperBound + 1 == sequence {
        holes[holes.count - 1].sequences = last.sequences.lowerBound...sequence
      } else {
        holes.append(
          StreamLedger.Hole(sequences: sequence...sequence, before: nil, after: nil))
      }
    }
    return holes
  }

  /// A message that was found at first and not when read again was removed; otherwise it is missing.
  @Test func whatVanishedIsAGap() {
    let digest = MessageDigest(low: 1, high: 2)
    let parts = PartDigests(subject: digest, headers: digest, body: digest)
    let lost = Reconciliation.Missing(id: "a", position: at(5), digests: parts, isSettled: true)
    var without = Reconciliation(holes: [])
    let missing = without.rule(missing: [lost], surplus: [])
    guard case .missing = missing.first else {
      Issue.record("it is missing")
      return
    }
    var with = Reconciliation(holes: [])
    with.note(vanished: [StreamLedger.Hole(sequences: 7...7, before: at(4), after: at(6))])
    let removed = with.rule(missing: [lost], surplus: [])
    guard case .gap(0, _) = removed.first else {
      Issue.record("it was removed")
      return
    }
    // One vanished message explains one missing message.
    let again = with.rule(missing: [lost], surplus: [])
    guard case .missing = again.first else {
      Issue.record("the hole was used up")
      return
    }
  }

  /// The next range starts after the last message before the first one beyond this range: a hole there may
  /// belong to it.
  @Test func theNextRangeBeginsBehindWhatWasSeen() {
    let digest = MessageDigest(low: 1, high: 2)
    func record(_ sequence: UInt64, _ position: UInt64) -> ObservedRecord {
      ObservedRecord(sequence: sequence, kind: .own, position: at(position), digest: digest)
    }
    var ledger = StreamLedger(at(1)...at(10), firstSequence: 1)
    #expect(ledger.nextSequence == 1)
    ledger.expect(at(3), digest)
    ledger.endExpected()
    var isTaken = ledger.observe(record(4, 3))
    #expect(isTaken)
    #expect(ledger.nextSequence == 5)
    // 5 and 6 are gone; 7 belongs to the next range.
    isTaken = ledger.observe(record(7, 12))
    #expect(isTaken)
    #expect(ledger.nextSequence == 5)
    ledger.endOfStream(at: 9)
    #expect(ledger.nextSequence == 5)
    var short = StreamLedger(at(1)...at(10), firstSequence: 1)
    short.endExpected()
    isTaken = short.observe(record(4, 3))
    #expect(isTaken)
    // The removed messages after it may belong to the next range.
    short.endOfStream(at: 9)
    #expect(short.nextSequence == 5)
  }
}
