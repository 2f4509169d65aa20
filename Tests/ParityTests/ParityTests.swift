import JSON
import Oplog
import Parity
import TestRandom
import Testing

@Suite("Digests, sums and differences")
struct ParityTests {
  private func digest(_ text: String) -> MessageDigest {
    Array(text.utf8).withUnsafeBytes { MessageDigest($0) }
  }

  @Test("a digest changes with every bit, and with the length") func bits() {
    var random = SeededRandom(seed: 1)
    for length in [0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 500] {
      let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
      let whole = bytes.withUnsafeBytes { MessageDigest($0) }
      var seen: Set<MessageDigest> = [whole]
      for at in 0..<length * 8 {
        var other = bytes
        other[at / 8] ^= 1 << UInt8(at % 8)
        seen.insert(other.withUnsafeBytes { MessageDigest($0) })
      }
      seen.insert((bytes + [0]).withUnsafeBytes { MessageDigest($0) })
      #expect(seen.count == length * 8 + 2)
    }
  }

  @Test("zero bytes change a digest") func zeros() {
    let all = (0...200).map {
      [UInt8](repeating: 0, count: $0).withUnsafeBytes { MessageDigest($0) }
    }
    #expect(Set(all).count == all.count)
  }

  @Test("a digest depends on the boundaries of parts") func parts() {
    let a = MessageDigest(subject: digest("ab"), headers: digest("c"), body: digest("d"))
    let b = MessageDigest(subject: digest("a"), headers: digest("bc"), body: digest("d"))
    let c = MessageDigest(subject: digest("c"), headers: digest("ab"), body: digest("d"))
    #expect(Set([a, b, c]).count == 3)
  }

  @Test("duplicates don't cancel; a different order changes only the chain") func sums() {
    func sum(_ texts: [String]) -> BucketSum {
      var sum = BucketSum()
      for text in texts { sum.add(digest(text)) }
      return sum
    }
    #expect(!sum(["a", "b", "b"]).holdsSame(as: sum(["a", "c", "c"])))
    #expect(!sum(["a", "a", "b", "b"]).holdsSame(as: sum(["c", "c", "d", "d"])))
    #expect(sum(["a", "b"]).holdsSame(as: sum(["b", "a"])))
    #expect(sum(["a", "b"]) != sum(["b", "a"]))
    #expect(sum(["a", "b"]) == sum(["a", "b"]))
  }

  @Test(
    "the first difference, as a pointer",
    arguments: [
      ("{\"a\":1}", "{\"a\":1}", nil), ("{\"a\":1}", "{\"a\":2}", "/a"),
      ("{\"a\":{\"b\":[1,2]}}", "{\"a\":{\"b\":[1,3]}}", "/a/b/1"),
      ("{\"a\":[1]}", "{\"a\":[1,2]}", "/a/1"), ("{\"a\":[1,2]}", "{\"a\":[1]}", "/a/1"),
      ("{\"a\":1,\"b\":2}", "{\"a\":1}", "/b"), ("{\"a\":1}", "{\"a\":1,\"b/c~\":2}", "/b~1c~0"),
      ("{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", "/a"), ("1", "2", ""),
      ("{\"b\":1,\"c\":2}", "{\"a\":1,\"b\":1}", "/c"),
      ("{\"a\":1}", "{\"a\":1.0}", "/a"),
    ])
  func pointer(_ expected: String, _ found: String, _ pointer: String?) throws {
    let difference = JSONDifference.first(
      expected: try JSONValue(parsing: expected), found: try JSONValue(parsing: found))
    #expect(difference?.pointer == pointer)
  }

  private func position(_ n: Int) -> EventPosition {
    EventPosition(entry: .init(seconds: 1, increment: UInt32(n)), index: 0)
  }

  @Test("ids shared with other producers: either may be first") func shared() {
    var ids = SharedIDs()
    func record(_ n: Int, _ kind: ObservedRecord.Kind, body: String) -> ObservedRecord {
      ObservedRecord(
        sequence: UInt64(n), kind: kind, position: kind == .own ? position(n) : nil,
        digest: digest("own \(body)"), id: digest("id \(n)"), subject: digest("s"),
        body: digest(body))
    }
    func expect(_ n: Int, body: String) {
      ids.expect(
        digest("id \(n)"), position(n), digest("own \(body)"), subject: digest("s"),
        body: digest(body))
    }
    func observe(_ record: ObservedRecord) -> Bool { ids.observe(record) }
    // The producer's message came before the change was read, and after it.
    #expect(observe(record(1, .foreign, body: "a")) == false)
    expect(1, body: "a")
    expect(2, body: "b")
    #expect(observe(record(2, .foreign, body: "b")) == true)
    expect(3, body: "c")
    #expect(observe(record(3, .own, body: "c")) == true)
    #expect(ids.agrees && ids.foreignMatched == 2)
    // Another body.
    expect(4, body: "d")
    #expect(observe(record(4, .foreign, body: "e")) == true)
    #expect(!ids.agrees)
    #expect(ids.finish().suspects == [.init(position: position(4), sequences: [4])])
    // Stored twice.
    var again = record(3, .foreign, body: "c")
    again.sequence = 9
    #expect(observe(again) == true)
    #expect(ids.finish().suspects.first == .init(position: position(3), sequences: [3, 9]))
    // Never published; not expected.
    expect(5, body: "f")
    #expect(observe(record(6, .foreign, body: "g")) == false)
    #expect(observe(record(7, .own, body: "h")) == false)
    let (suspects, extra) = ids.finish()
    #expect(suspects.last == .init(position: position(5), sequences: []))
    #expect(suspects.count == 3 && extra.map(\.sequence) == [7] && ids.waitingCount == 1)
  }

  @Test(
    "a reused id: each event has a message, in any order of reading",
    arguments: [true, false])
  func again(_ isExpectedFirst: Bool) {
    // The stored messages by position; nil: a producer's message, without a position.
    func suspects(_ stored: [(Int?, String)]) -> [SharedIDs.Suspect] {
      var ids = SharedIDs()
      func expect() {
        for (n, body) in [(10, "a"), (20, "b"), (30, "a")] {
          ids.expect(
            digest("id"), position(n), digest("\(n) \(body)"), subject: digest("s"),
            body: digest(body))
        }
      }
      if isExpectedFirst { expect() }
      for (index, (n, body)) in stored.enumerated() {
        _ = ids.observe(
          ObservedRecord(
            sequence: UInt64(index + 1), kind: n == nil ? .foreign : .own,
            position: n.map(position), digest: digest("\(n ?? 0) \(body)"), id: digest("id"),
            subject: digest(body == "x" ? "other" : "s"), body: digest(body == "x" ? "a" : body)))
      }
      if !isExpectedFirst { expect() }
      let found = ids.finish()
      #expect(found.extra.isEmpty && ids.agrees == found.suspects.isEmpty)
      return found.suspects
    }
    func suspect(_ n: Int, _ sequences: UInt64...) -> SharedIDs.Suspect {
      .init(position: position(n), sequences: sequences)
    }
    #expect(suspects([(10, "a"), (20, "b"), (30, "a")]) == [])
    #expect(suspects([(nil, "a"), (20, "b"), (nil, "a")]) == [])
    #expect(suspects([(20, "b"), (30, "a")]) == [suspect(10)])
    #expect(suspects([(10, "a"), (30, "a")]) == [suspect(20)])
    #expect(suspects([(10, "a"), (nil, "b")]) == [suspect(30)])
    #expect(suspects([(10, "a"), (nil, "x"), (20, "b")]) == [suspect(30, 2)])
    #expect(suspects([(10, "a"), (20, "b"), (30, "a"), (nil, "b")]) == [suspect(20, 2, 4)])
    #expect(suspects([(10, "a"), (20, "b"), (30, "a"), (30, "a")]) == [suspect(30, 3, 4)])
    #expect(suspects([(10, "a"), (20, "x"), (30, "a")]) == [suspect(20, 2)])
  }

  @Test("a ledger's memory does not grow with the stream") func memory() {
    let range = position(1)...position(200_000)
    var ledger = StreamLedger(range, bucketSize: 64)
    var most = 0
    for n in 1...200_000 {
      let digest = MessageDigest(low: UInt64(n), high: 7)
      ledger.expect(position(n), digest)
      if n > 1 {
        let taken = ledger.observe(
          ObservedRecord(
            sequence: UInt64(n - 1), kind: .own, position: position(n - 1),
            digest: MessageDigest(low: UInt64(n - 1), high: 7)))
        #expect(taken)
      }
      most = max(most, ledger.openBuckets)
    }
    #expect(most <= 2)
  }
}
