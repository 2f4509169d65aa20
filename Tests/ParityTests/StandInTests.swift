import Oplog
import Parity
import Testing

/// Valid alternatives to derived messages, and replayed dead letters.
@Suite("Alternative messages")
struct StandInTests {
  private func at(_ number: UInt32) -> EventPosition {
    EventPosition(entry: OplogPosition(seconds: number, increment: 1), index: 0)
  }

  private func digests(_ text: String) -> PartDigests {
    let digest = Array(text.utf8).withUnsafeBytes { MessageDigest($0) }
    return PartDigests(subject: digest, headers: digest, body: digest)
  }

  private func message(
    _ number: UInt32, at sequence: UInt64, _ kind: ObservedRecord.Kind = .own, id: String? = nil
  ) -> RunJoin.Observed {
    RunJoin.Observed(
      sequence: sequence, kind: kind, id: id ?? "\(number)", position: at(number), rule: "r",
      subject: "s", digests: digests("\(number)"))
  }

  @Test("they have a rank in the order, and are not their own duplicates")
  func order() {
    for swapped in [false, true] {
      var join = RunJoin([
        message(1, at: 1), message(2, at: swapped ? 3 : 2), message(3, at: swapped ? 2 : 3),
        message(4, at: 4),
      ])
      for number in 1...4 as ClosedRange<UInt32> {
        if number == 1 || number == 4 {
          let answer = join.expect(id: "\(number)", at(number), digests("\(number)"))
          #expect(answer == .equal)
        } else {
          let found = join.excuse(at(number), rule: "r")
          #expect(found?.id == "\(number)")
          let other = join.excuse(at(number), rule: "other")
          #expect(other?.id == nil)
        }
      }
      #expect(join.surplus().map(\.observed.id).sorted() == ["2", "3"])
      #expect(join.surplus().allSatisfy { $0.repeats == nil })
      #expect(join.reordered().count == (swapped ? 1 : 0))
    }
  }

  @Test("a second copy is a duplicate; one at another position is found by its id")
  func doubled() {
    var join = RunJoin([message(1, at: 1), message(1, at: 2), message(7, at: 3, id: "2")])
    let first = join.excuse(at(1), rule: "r")
    let none = join.excuse(at(2), rule: "r")
    #expect(none?.id == nil && join.mayHold("2") && !join.mayHold("3"))
    let rank = join.nextRank()
    let others = join.excuse(id: "2", rank: rank, others: ["r"])
    #expect(others?.id == nil)
    let second = join.excuse(id: "2", rank: rank)
    #expect(first?.sequence == 1 && second?.sequence == 3)
    #expect(join.surplus().first { $0.observed.sequence == 2 }?.repeats == 1)
  }

  @Test("a replayed dead letter explains itself once", arguments: [1, 2, 3])
  func replayed(times: Int) {
    let surplus = (0..<times).map {
      RunJoin.Surplus(observed: message(1, at: UInt64($0) + 10, .replayed), repeats: nil)
    }
    for missing in [false, true] {
      var reconciliation = Reconciliation(holes: [])
      let wanted = Reconciliation.Missing(
        id: "1", position: at(1), digests: digests("1"), isSettled: true)
      // Runs may overlap: a message is not its own duplicate.
      let rulings = reconciliation.rule(
        missing: missing ? [wanted] : [], surplus: surplus + surplus.prefix(1))
      var duplicates: [UInt64] = []
      for case .duplicate(let message, let first) in rulings {
        #expect(first == 10)
        duplicates.append(message.sequence)
      }
      #expect(rulings.count == times - 1 && duplicates == (1..<times).map { UInt64($0) + 10 })
    }
  }

  @Test("a covered position is examined only if it has a message")
  func covered() {
    for hasMessage in [false, true] {
      var ledger = StreamLedger(at(0)...at(100), bucketSize: 4)
      for number in 1...20 as ClosedRange<UInt32> { ledger.cover(at(number)) }
      if hasMessage {
        let digest = digests("7").body
        let record = ObservedRecord(sequence: 1, kind: .own, position: at(7), digest: digest)
        let isTaken = ledger.observe(record)
        #expect(isTaken)
      }
      let (suspects, extra) = ledger.finish()
      #expect(extra.isEmpty && suspects.count == (hasMessage ? 1 : 0))
      #expect(suspects.allSatisfy { $0.range.contains(at(7)) && !$0.range.contains(at(12)) })
      #expect(ledger.expectedCount == 0)
    }
  }
}
