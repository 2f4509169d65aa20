import Bridge
import Oplog
import Testing

@Suite struct RefusalBookTests {
  private static func key(_ n: UInt32, rule: RuleID = "r") -> RefusalBook.Key {
    RefusalBook.Key(
      position: EventPosition(entry: OplogPosition(seconds: 7, increment: n), index: 0), rule: rule)
  }

  private static func flight(_ first: UInt32, _ count: Int = 1, dead: Bool = false)
    -> RefusalBook.Flight
  {
    RefusalBook.Flight(
      oldest: key(first), count: count, newest: key(first + UInt32(count) - 1).position,
      isDeadLetter: dead)
  }

  @Test func `a refused batch is sent again one by one, and what is refused alone is found`() {
    var book = RefusalBook()
    #expect(book.noteEnd(refusal: "too long", Self.flight(10, 5)) == nil)
    #expect(book.alone == Self.key(14).position && book.separatesEvents)
    // 10 and 11 were stored.
    #expect(book.noteEnd(refusal: "too long", Self.flight(12)) == nil)
    #expect(book.noteEnd(refusal: "too long", Self.flight(12)) == nil)
    #expect(book.alone == Self.key(14).position && book.refused.isEmpty)
    #expect(book.noteEnd(refusal: "too long", Self.flight(12)) == Self.key(12))
    #expect(book.refused == [Self.key(12): "too long"] && book.alone == nil)
    // The next one has to be refused as often.
    #expect(book.noteEnd(refusal: "too long", Self.flight(13)) == nil)
    #expect(book.refused.count == 1)
  }

  @Test func `several in flight prove nothing, however often`() {
    var book = RefusalBook()
    for _ in 0..<20 { #expect(book.noteEnd(refusal: "too long", Self.flight(10, 2)) == nil) }
  }

  @Test func `what may pass never counts`() {
    var book = RefusalBook()
    for _ in 0..<100 { #expect(book.noteEnd(refusal: nil, Self.flight(10)) == nil) }
    #expect(book.refused.isEmpty)
    // It is asked for alone, so that a refusal that does count would be certain; a transaction stays whole until then.
    #expect(book.alone == Self.key(10).position && !book.separatesEvents)
  }

  @Test func `an interruption neither counts nor clears`() {
    var book = RefusalBook()
    for refusal in ["too long", nil, "too long", nil, nil] {
      #expect(book.noteEnd(refusal: refusal, Self.flight(10)) == nil)
    }
    #expect(book.noteEnd(refusal: "too long", Self.flight(10)) == Self.key(10))
  }

  @Test func `another reason, another event, or an ack starts the count again`() {
    var book = RefusalBook()
    for refusal in ["a", "a", "b", "b", "a", "a"] {
      #expect(book.noteEnd(refusal: refusal, Self.flight(10)) == nil)
    }
    for event: UInt32 in [10, 11, 11, 10, 10] {
      #expect(book.noteEnd(refusal: "c", Self.flight(event)) == nil)
    }
    #expect(book.noteEnd(refusal: nil, nil) == nil && book.alone == nil)
    for _ in 0..<2 { #expect(book.noteEnd(refusal: "c", Self.flight(10)) == nil) }
    #expect(book.noteEnd(refusal: "c", Self.flight(10)) == Self.key(10))
  }

  @Test func `a dead letter is never given up`() {
    var book = RefusalBook()
    for _ in 0..<20 {
      #expect(book.noteEnd(refusal: "too long", Self.flight(10, dead: true)) == nil)
    }
  }
}
