import Bridge
import Oplog
import Testing

@Suite struct RefusalTests {
  private let began = ContinuousClock.now
  private let here = EventPosition(entry: OplogPosition(seconds: 7, increment: 1), index: 0)
  private let further = EventPosition(entry: OplogPosition(seconds: 8, increment: 1), index: 0)

  private func at(_ seconds: Double) -> ContinuousClock.Instant {
    began + .milliseconds(Int(seconds * 1000))
  }

  @Test func `a cause is logged once a minute, with its count`() {
    var refusals = Refusals()
    var logged: [Int] = []
    for second in 0..<121 {
      let times = refusals.note(
        .stream("A"), "no ack for 3 s; \(second) messages wait", frontier: here,
        at: at(Double(second)))
      if let times { logged.append(times) }
    }
    #expect(logged == [1, 60, 60])
    #expect(refusals[.stream("A")]?.count == 121)
  }

  @Test func `one refused subject after the other is one cause`() {
    var refusals = Refusals()
    let logged = (0..<50).compactMap { room in
      refusals.note(
        .stream("A"), "the server says 'Permissions Violation for Publish to \"chat.r\(room)\"'",
        frontier: here, at: at(0.1))
    }
    #expect(logged == [1])
  }

  @Test func `another cause, stream or code is logged, and shown`() {
    var refusals = Refusals()
    #expect(refusals.note(.stream("A"), "full", code: 10077, frontier: here, at: at(0)) == 1)
    #expect(refusals.note(.stream("B"), "full", code: 10077, frontier: here, at: at(0)) == 1)
    #expect(refusals.note(.stream("A"), "sealed", code: 10109, frontier: here, at: at(1)) == 1)
    // Alternating causes stay as quiet as repeated ones.
    #expect(refusals.note(.stream("A"), "full", code: 10077, frontier: here, at: at(2)) == nil)
    #expect(refusals.all.map(\.reason) == ["full", "full"])
    #expect(refusals.all.map(\.scope) == [.stream("A"), .stream("B")])
    #expect(refusals[.stream("A")]?.since == at(0))
    #expect(refusals[.stream("A")]?.count == 3)
  }

  @Test func `it lasts until what was refused is settled`() {
    var refusals = Refusals()
    _ = refusals.note(.stream("A"), "full", frontier: here, at: at(0))
    func clear(_ frontier: EventPosition?, unsettled: Bool, _ publishing: Double?) -> Int {
      refusals.clear(
        frontier: frontier, isUnsettled: unsettled, publishing: publishing, at: at(5)
      ).count
    }
    #expect(clear(here, unsettled: true, nil) == 0)  // between two epochs
    #expect(clear(here, unsettled: true, 0.1) == 0)  // in the next
    #expect(clear(here, unsettled: true, 2.5) == 0)  // its acks do not come
    #expect(clear(further, unsettled: true, 0.1) == 1)
    #expect(refusals.all.isEmpty)
  }

  @Test func `with nothing to publish it lasts until the streams have been open for a second`() {
    var refusals = Refusals()
    _ = refusals.note(.jetStream, "no leader", frontier: nil, at: at(0))
    _ = refusals.note(.nats, "connection refused", frontier: here, at: at(0))
    let early = refusals.clear(frontier: here, isUnsettled: true, publishing: nil, at: at(1))
    #expect(early.isEmpty && refusals.all.count == 2)
    let late = refusals.clear(frontier: here, isUnsettled: true, publishing: 1.1, at: at(3))
    #expect(late.map(\.scope) == [.nats, .jetStream])
  }

  @Test func `once it is over it is logged again, unless it flaps`() {
    var refusals = Refusals()
    #expect(refusals.note(.jetStream, "no leader", frontier: nil, at: at(0)) == 1)
    _ = refusals.clear(frontier: here, isUnsettled: false, publishing: 2, at: at(3))
    #expect(refusals.note(.jetStream, "no leader", frontier: nil, at: at(4)) == nil)
    let quiet = refusals.clear(frontier: here, isUnsettled: false, publishing: 2, at: at(20))
    #expect(quiet.isEmpty)  // whose beginning was not logged
    #expect(refusals.note(.jetStream, "no leader", frontier: nil, at: at(21)) != nil)
  }
}
