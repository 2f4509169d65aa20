import Oplog
import TestRandom
import Testing

/// Positions as text: of messages that are read back, of commands and of headers that anybody can write.
@Suite struct PositionTests {
  @Test(arguments: [
    ("1.2.3", 1, 2, 3), ("0.0.0", 0, 0, 0), ("007.08.9", 7, 8, 9),
    ("4294967295.4294967295.4294967295", UInt32.max, UInt32.max, UInt32.max),
  ])
  func `a position is three numbers`(
    text: String, seconds: UInt32, increment: UInt32, index: UInt32
  ) {
    let entry = OplogPosition(seconds: seconds, increment: increment)
    #expect(EventPosition(text) == EventPosition(entry: entry, index: index))
  }

  @Test(arguments: [
    "", ".", "..", "1", "1.2", "1.2.", ".1.2", "1..2", "1.2.3.", "1.2.3.4", "+1.2.3", "-0.1.2",
    " 1.2.3",
    "1.2.3 ", "1.2.4294967296", "99999999999999999999999.1.2", "1.2.x", "1.2.٣", "1,2,3", "0x1.2.3",
    "1.2.3\0",
  ])
  func `anything else is none`(text: String) {
    #expect(EventPosition(text) == nil)
  }

  @Test(arguments: ["", "1", "1.", ".1", "1.2.3", "1.2.", "4294967296.1", "1.-2"])
  func `an entry's position is two numbers`(text: String) {
    #expect(OplogPosition(text) == nil)
    #expect(OplogPosition("5.6") == OplogPosition(seconds: 5, increment: 6))
  }

  @Test func `what is written is read`() {
    var random = SeededRandom(seed: 20)
    func number() -> UInt32 {
      UInt32(truncatingIfNeeded: random.next()) >> UInt32(random.below(32))
    }
    for _ in 0..<2_000 {
      let position = EventPosition(
        entry: OplogPosition(seconds: number(), increment: number()), index: number())
      #expect(EventPosition(position.description) == position)
      #expect(OplogPosition(position.entry.description) == position.entry)
    }
  }
}
