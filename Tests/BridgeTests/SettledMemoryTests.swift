import Bridge
import Testing

@Suite("What a follower remembers") struct SettledMemoryTests {
  @Test func `the newest fact of an id, until it is forgotten`() {
    var memory = SettledMemory()
    memory.note(.phantom(sequence: 3), stream: 0, id: "a")
    #expect(memory.fact(stream: 1, id: "a") == nil && memory.fact(stream: 0, id: "b") == nil)
    memory.note(.filled(sequence: 9), stream: 0, id: "a")
    #expect(memory.fact(stream: 0, id: "a") == .filled(sequence: 9) && memory.count == 1)
    memory.forget(stream: 0, id: "a")
    #expect(memory.fact(stream: 0, id: "a") == nil && memory.count == 0)
  }

  @Test func `the oldest are forgotten first, and those that were taken don't count`() {
    var memory = SettledMemory(most: 100)
    for number in 0..<9_999 {
      memory.note(.missed(subject: "s", digest: nil), stream: 0, id: "\(number)")
      if number % 3 == 0 { memory.forget(stream: 0, id: "\(number)") }
      #expect(memory.count <= 100)
    }
    #expect(memory.count == 100)
    let kept = (0..<9_999).filter { memory.fact(stream: 0, id: "\($0)") != nil }
    #expect(kept == (0..<9_999).filter { $0 % 3 != 0 }.suffix(100))
  }

  @Test func `one that is noted again is as new as then`() {
    var memory = SettledMemory(most: 3)
    for id in ["a", "b", "c", "a", "d", "e"] {
      memory.note(.filled(sequence: 1), stream: 0, id: id)
    }
    let kept = ["a", "b", "c", "d", "e"].filter { memory.fact(stream: 0, id: $0) != nil }
    #expect(kept == ["a", "d", "e"])
  }
}
