import Bridge
import Oplog
import Testing

@Suite struct DeadLetterLogTests {
  private let start = ContinuousClock.now

  private func position(_ index: UInt32) -> EventPosition {
    EventPosition(entry: OplogPosition(seconds: 10, increment: 1), index: index)
  }

  @Test func `each cause is logged at once, and then once a minute with its count`() {
    var log = DeadLetterLog()
    for index in 0..<3 {
      log.note(rule: "a", error: "path_missing", detail: "d\(index)", position(UInt32(index)))
    }
    log.note(rule: "a", error: "schema_invalid", detail: "s", position(3))
    let first = log.due(at: start)
    #expect(first.map(\.count) == [3, 1])
    #expect(first.map(\.error) == ["path_missing", "schema_invalid"])
    #expect(first.first?.first == position(0) && first.first?.detail == "d0")
    #expect(log.due(at: start + .seconds(1)) == [])
    for index in 4..<9 {
      log.note(rule: "a", error: "path_missing", detail: "x\(index)", position(UInt32(index)))
    }
    #expect(log.due(at: start + .seconds(59)) == [])
    let second = log.due(at: start + .seconds(60))
    #expect(second.map(\.count) == [5] && second.first?.detail == "x4")
    #expect(log.due(at: start + .seconds(300)) == [])
    log.note(rule: "b", error: "path_missing", detail: "b", position(9))
    #expect(log.due(at: start + .seconds(61)).map(\.rule) == ["b"])
  }

  @Test func `causes are counted whatever was logged`() {
    var log = DeadLetterLog()
    for index in [UInt32(4), 6, 5] {
      log.note(rule: "a", error: "e", detail: "", position(index))
      _ = log.due(at: start + .seconds(Int(index) * 100))
    }
    log.note(rule: "b", error: "e", detail: "", position(9))
    _ = log.rest()
    #expect(
      log.totals == [
        .init(rule: "a", error: "e", count: 3, first: position(4), newest: position(6)),
        .init(rule: "b", error: "e", count: 1, first: position(9), newest: position(9)),
      ])
  }

  @Test func `what was not logged yet is logged at the end`() {
    var log = DeadLetterLog()
    log.note(rule: "a", error: "e", detail: "", position(0))
    _ = log.due(at: start)
    log.note(rule: "a", error: "e", detail: "", position(1))
    #expect(log.rest().map(\.count) == [1])
    #expect(log.rest() == [])
  }
}
