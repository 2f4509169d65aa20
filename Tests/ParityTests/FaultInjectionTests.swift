import Oplog
import Parity
import TestRandom
import Testing

/// Every kind of fault, a thousand times at random positions of random streams.
@Suite("Faults injected into synthetic streams")
struct FaultInjectionTests {
  /// A fault in a stream, and its expected classification.
  enum Fault: String, CaseIterable {
    case droppedOne, droppedMany, truncatedTail, removed, removedTail
    case doubled, doubledFarAway, doubledPair
    case swapped, movedBack, movedForward
    case bodyByte, headerByte, subject, positionHeader, unreadablePosition
    case phantom, phantomAtEnd
  }

  static let rounds = 1000

  @Test("every fault is found and classified", arguments: Fault.allCases)
  func found(_ fault: Fault) throws {
    var random = SeededRandom(seed: fault.rawValue.utf8.reduce(7) { $0 &* 31 &+ UInt64($1) })
    for round in 0..<Self.rounds {
      var stream = SyntheticStream(&random, count: Int.random(in: 20...400, using: &random))
      let wanted = inject(fault, into: &stream, &random)
      let verdict = stream.verify()
      if fault == .swapped {
        // Either of the two may be reported as out of order.
        let named = Set(verdict.ids.keys)
        let pair = Set(wanted.ids.keys)
        #expect(
          verdict.counts[.reordered] == 1 && verdict.counts.total == 1 && named.isSubset(of: pair))
        continue
      }
      #expect(
        verdict.ids == wanted.ids && verdict.counts.total == wanted.total, "\(fault) \(round)")
      if verdict.ids != wanted.ids || verdict.counts.total != wanted.total { return }
    }
  }

  @Test("a correct stream has no findings") func clean() {
    var random = SeededRandom(seed: 99)
    for _ in 0..<Self.rounds {
      let stream = SyntheticStream(&random, count: Int.random(in: 1...600, using: &random))
      #expect(stream.verify() == SyntheticStream.Verdict())
    }
  }

  @Test("unacknowledged messages are pending, not missing") func pending() {
    var random = SeededRandom(seed: 5)
    for _ in 0..<Self.rounds {
      var stream = SyntheticStream(&random, count: Int.random(in: 20...300, using: &random))
      let cut = Int.random(in: 1..<stream.stored.count, using: &random)
      let last = stream.stored[stream.stored.count - cut - 1].position
      stream.stored.removeLast(cut)
      stream.renumber()
      let verdict = stream.verify(isSettled: false)
      // Messages of the event at the stream's end may still be in flight.
      #expect(
        verdict.counts.total == 0 && verdict.pending == cut, "after \(last.map { "\($0)" } ?? "")")
    }
  }

  @Test("messages of other producers and of snapshots are ignored") func others() {
    var random = SeededRandom(seed: 6)
    for _ in 0..<Self.rounds / 10 {
      var stream = SyntheticStream(&random, count: 200)
      for kind in [ObservedRecord.Kind.foreign, .snapshot, .foreign] {
        var other = stream.stored[0]
        other.kind = kind
        other.message.id = "other"
        if kind == .foreign { other.position = nil }
        stream.stored.insert(other, at: Int.random(in: 0...stream.stored.count, using: &random))
      }
      stream.renumber()
      #expect(stream.verify() == SyntheticStream.Verdict())
    }
  }

  @Test("a replayed dead letter may be out of order") func replayed() {
    var random = SeededRandom(seed: 8)
    for _ in 0..<Self.rounds / 10 {
      var stream = SyntheticStream(&random, count: 300)
      var late = stream.stored.remove(at: Int.random(in: 0..<200, using: &random))
      late.kind = .replayed
      stream.stored.insert(late, at: Int.random(in: 200...stream.stored.count, using: &random))
      stream.renumber()
      #expect(stream.verify() == SyntheticStream.Verdict())
    }
  }

  /// As where a server has forgotten the ids of what a consumer took, and the stream is emptied once more.
  @Test("what was stored twice and then removed is not missing") func repeatedAndRemoved() {
    var random = SeededRandom(seed: 12)
    for _ in 0..<Self.rounds / 2 {
      var stream = SyntheticStream(&random, count: 100)
      stream.stored = []
      stream.lastSequence = 0
      var next = 0
      while next < stream.expected.count {
        let end = min(next + Int.random(in: 1...30, using: &random), stream.expected.count)
        for message in stream.expected[next..<end] { stream.append(message) }
        let isRepeated = end < stream.expected.count && random.chance(1, in: 3)
        next = isRepeated ? max(0, end - Int.random(in: 1...10, using: &random)) : end
      }
      let share = Int.random(in: 1...9, using: &random)
      stream.stored.removeAll { _ in random.chance(share, in: 10) }
      #expect(stream.verify().counts[.missing] == 0)
    }
  }

  @Test("several faults at once are all found") func mixed() {
    var random = SeededRandom(seed: 11)
    for _ in 0..<Self.rounds {
      var stream = SyntheticStream(&random, count: 400)
      var dropped: Set<String> = []
      var spoilt: Set<String> = []
      for _ in 0..<Int.random(in: 1...20, using: &random) {
        let index = Int.random(in: 0..<stream.stored.count, using: &random)
        if Bool.random(using: &random) {
          let id = stream.stored.remove(at: index).message.id
          spoilt.remove(id)
          dropped.insert(id)
        } else {
          stream.stored[index].message.body += " "
          spoilt.insert(stream.stored[index].message.id)
        }
      }
      stream.renumber()
      let verdict = stream.verify()
      #expect(verdict.counts[.missing] == UInt64(dropped.count))
      #expect(verdict.counts[.payloadMismatch] == UInt64(spoilt.count))
      #expect(verdict.counts.total == UInt64(dropped.count + spoilt.count))
    }
  }

  struct Wanted {
    var ids: [String: MismatchClass]
    var total: UInt64
    init(_ ids: [String: MismatchClass], total: Int? = nil) {
      self.ids = ids
      self.total = UInt64(total ?? ids.count)
    }
  }

  private func inject(
    _ fault: Fault, into stream: inout SyntheticStream, _ random: inout SeededRandom
  ) -> Wanted {
    let count = stream.stored.count
    let at = Int.random(in: 0..<count, using: &random)
    let id = stream.stored[at].message.id
    switch fault {
    case .droppedOne:
      stream.stored.remove(at: at)
      stream.renumber()
      return Wanted([id: .missing])
    case .droppedMany:
      let end = Int.random(in: at...min(count - 1, at + 100), using: &random)
      let gone = stream.stored[at...end].map(\.message.id)
      stream.stored.removeSubrange(at...end)
      stream.renumber()
      return Wanted(Dictionary(uniqueKeysWithValues: gone.map { ($0, .missing) }))
    case .truncatedTail:
      let gone = stream.stored[at...].map(\.message.id)
      stream.stored.removeSubrange(at...)
      stream.renumber()
      return Wanted(Dictionary(uniqueKeysWithValues: gone.map { ($0, .missing) }))
    case .removed:
      let end = Int.random(in: at...min(count - 1, at + 30), using: &random)
      let gone = stream.stored[at...end].map(\.message.id)
      stream.stored.removeSubrange(at...end)
      return Wanted(Dictionary(uniqueKeysWithValues: gone.map { ($0, .gap) }))
    case .removedTail:
      let gone = stream.stored[at...].map(\.message.id)
      stream.stored.removeSubrange(at...)
      return Wanted(Dictionary(uniqueKeysWithValues: gone.map { ($0, .gap) }))
    case .doubled:
      stream.stored.insert(stream.stored[at], at: at)
      stream.renumber()
      return Wanted([id: .duplicate])
    case .doubledFarAway:
      stream.stored.insert(
        stream.stored[at], at: Int.random(in: 0...count, using: &random))
      stream.renumber()
      // The first one is the expected message; the other is surplus, and reported once, even if it is
      // also out of order.
      return Wanted([id: .duplicate])
    case .doubledPair:
      // Two duplicates, which exclusive or would not detect.
      stream.stored.insert(stream.stored[at], at: at)
      stream.stored.insert(stream.stored[at], at: at)
      stream.renumber()
      return Wanted([id: .duplicate], total: 2)
    case .swapped:
      let first = min(at, count - 2)
      stream.stored.swapAt(first, first + 1)
      stream.renumber()
      return Wanted([
        stream.stored[first].message.id: .reordered,
        stream.stored[first + 1].message.id: .reordered,
      ])
    case .movedBack:
      let from = Int.random(in: 0..<count - 3, using: &random)
      let moved = stream.stored.remove(at: from)
      stream.stored.insert(moved, at: Int.random(in: (from + 2)...(count - 1), using: &random))
      stream.renumber()
      return Wanted([moved.message.id: .reordered])
    case .movedForward:
      let from = Int.random(in: 3..<count, using: &random)
      let moved = stream.stored.remove(at: from)
      stream.stored.insert(moved, at: Int.random(in: 0..<(from - 1), using: &random))
      stream.renumber()
      return Wanted([moved.message.id: .reordered])
    case .bodyByte:
      stream.stored[at].message.body = String(stream.stored[at].message.body.dropLast()) + "]"
      return Wanted([id: .payloadMismatch])
    case .headerByte:
      stream.stored[at].message.headers += "x"
      return Wanted([id: .payloadMismatch])
    case .subject:
      stream.stored[at].message.subject += "x"
      return Wanted([id: .payloadMismatch])
    case .positionHeader:
      let other = stream.stored[Int.random(in: 0..<count, using: &random)].position
      guard other != stream.stored[at].position else { return Wanted([:]) }
      stream.stored[at].position = other
      stream.stored[at].message.headers += " other position"
      return Wanted([id: .payloadMismatch])
    case .unreadablePosition:
      stream.stored[at].position = nil
      stream.stored[at].message.headers += " no position"
      return Wanted([id: .payloadMismatch])
    case .phantom, .phantomAtEnd:
      var phantom = stream.stored[at]
      phantom.message.id = "phantom"
      stream.stored.insert(phantom, at: fault == .phantom ? at : count)
      stream.renumber()
      return Wanted(["phantom": .extra])
    }
  }
}
