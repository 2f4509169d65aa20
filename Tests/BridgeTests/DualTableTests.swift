import Bridge
import JSON
import Oplog
import SeededNumbers
import Testing

@Suite("Events and stored messages, joined by id") struct DualTableTests {
  private static func digest(_ text: String) -> JSONDigest? { JSONDigest(Array(text.utf8)) }

  private func event(_ number: UInt32, id: String? = nil, body: String = "{}") -> DualTable.Event {
    DualTable.Event(
      stream: 0, id: id ?? "\(number)", rule: 0,
      position: EventPosition(entry: OplogPosition(seconds: number, increment: 1), index: 0),
      subject: "s", digest: Self.digest(body), due: Int64(number) * 1000 + 2000)
  }

  private func stored(
    _ sequence: UInt64, body: String = "{}", subject: String = "s", isOwn: Bool = false,
    horizon: Int64 = 0
  ) -> DualTable.Stored {
    DualTable.Stored(
      sequence: sequence, subject: subject, digest: Self.digest(body), isOwn: isOwn,
      horizon: horizon, mayBePhantom: !isOwn)
  }

  @Test func `either side may be first`() {
    var table = DualTable()
    table.observe(stored(1), id: "1", in: 0)
    table.expect(event(1))
    table.expect(event(2))
    table.observe(stored(2), id: "2", in: 0)
    #expect(table.next()?.verdict == .byProducer)
    #expect(table.next()?.sequence == 2)
    #expect(table.next() == nil && table.events == 0 && table.strangers == 0 && table.bytes == 0)
  }

  @Test func `what differs, and what is the bridge's own`() {
    var table = DualTable()
    for number in 1...4 { table.expect(event(UInt32(number), body: #"{"a":1}"#)) }
    table.observe(stored(1, body: #"{"a":2}"#), id: "1", in: 0)
    table.observe(stored(2, body: #"{"a":1}"#, subject: "t"), id: "2", in: 0)
    table.observe(stored(3, body: "no JSON"), id: "3", in: 0)
    table.observe(stored(4, isOwn: true), id: "4", in: 0)
    let wanted: [DualTable.Verdict] = [.mismatched, .mismatched, .mismatched, .filled]
    #expect((1...4).map { _ in table.next()?.verdict } == wanted)
  }

  @Test func `events leave in their order`() {
    var table = DualTable()
    for number in 1...3 { table.expect(event(UInt32(number))) }
    table.observe(stored(1), id: "2", in: 0)
    #expect(table.next() == nil && table.oldest?.id == "1")
    table.observe(stored(2), id: "1", in: 0)
    #expect(table.next()?.event.id == "1" && table.next()?.event.id == "2")
    #expect(table.openSequences(in: 0) == [])
  }

  @Test func `an event is due when its time is over and its stream is read that far`() {
    var table = DualTable()
    table.expect(event(1))
    table.expect(event(2))
    #expect(table.due(at: 2999, readThrough: [9999], most: 9).isEmpty)
    #expect(table.due(at: 3000, readThrough: [2999], most: 9).isEmpty)
    #expect(table.stuck(at: 3000, readThrough: [2999], limit: nil)?.event.id == "1")
    #expect(table.due(at: 3000, readThrough: [3000], most: 9).map(\.event.id) == ["1"])
    #expect(table.due(at: 9000, readThrough: [9000], most: 9).map(\.event.id) == ["2"])
    // Each once, until it is asked for again.
    #expect(table.due(at: 9000, readThrough: [9000], most: 9).isEmpty)
    table.ask(again: 0, afterReadingThrough: 9500)
    #expect(table.due(at: 9499, readThrough: [9499], most: 9).isEmpty)
    let again = table.due(at: 9500, readThrough: [9500], most: 9)
    #expect(again.map(\.number) == [0])
    // Its time is what it was.
    #expect(again.map(\.event.due) == [3000])
    table.decide(0, .filled, 7)
    table.ask(again: 0)
    #expect(table.due(at: 9000, readThrough: [9000], most: 9).isEmpty)
    #expect(table.next()?.sequence == 7)
  }

  @Test func `events behind a fence are kept back`() {
    var table = DualTable()
    table.expect(event(1))
    table.expect(event(2))
    let fence = OplogPosition(seconds: 1, increment: 1)
    #expect(
      table.due(at: 9000, readThrough: [9000], limit: fence, most: 9).map(\.event.id) == ["1"])
    #expect(table.due(at: 9000, readThrough: [9000], most: 9).map(\.event.id) == ["2"])
  }

  @Test func `events that are given back leave without a verdict`() {
    var table = DualTable()
    for number in 1...3 { table.expect(event(UInt32(number))) }
    table.handBack(after: OplogPosition(seconds: 1, increment: 1))
    #expect(table.due(at: 9000, readThrough: [9000], most: 9).map(\.event.id) == ["1"])
    table.decide(0, .filled, 1)
    #expect((1...3).map { _ in table.next()?.verdict } == [.filled, .handedBack, .handedBack])
  }

  /// The pipeline may not have come as far when another range begins: those events are decided from there.
  @Test func `what is given back is not decided, and its messages stay open`() {
    var table = DualTable()
    for number in 1...4 { table.expect(event(UInt32(number))) }
    table.observe(stored(7), id: "1", in: 0)
    table.observe(stored(8), id: "3", in: 0)
    table.handBack(after: OplogPosition(seconds: 2, increment: 1))
    #expect(table.next()?.verdict == .byProducer)
    #expect(table.settled == event(1).position)
    // The second is the group's still, and waits for its message.
    #expect(table.next() == nil)
    #expect(table.openSequences(in: 0) == [8])
    table.observe(stored(9), id: "2", in: 0)
    #expect((2...4).map { _ in table.next()?.verdict } == [.byProducer, .handedBack, .handedBack])
    #expect(table.settled == event(2).position)
    #expect(table.openSequences(in: 0) == [8] && table.openSequences(in: 1) == [])
  }

  @Test func `messages without a change, without an id, and twice`() {
    var table = DualTable()
    table.expect(event(1))
    table.observe(stored(1, horizon: 5000), id: "1", in: 0)
    table.observe(stored(2, horizon: 5000), id: "1", in: 0)
    table.observe(stored(3, horizon: 5000), id: nil, in: 0)
    table.observe(stored(4, horizon: 6000), id: "9", in: 0)
    table.observe(stored(5, isOwn: true, horizon: 5000), id: "8", in: 0)
    #expect(table.nextStranger(passed: 4999) == nil)
    #expect(table.nextStranger(passed: 5000)?.2.sequence == 2)
    #expect(table.nextStranger(passed: 5000)?.id == "")
    #expect(table.nextStranger(passed: 5000) == nil)
    table.expect(event(9))
    #expect(table.nextStranger(passed: 9000)?.2.mayBePhantom == false)
    #expect(table.nextStranger(passed: 9000) == nil && table.strangers == 0)
  }

  /// A follower that is killed again and again, beside producers that are early, late, silent, wrong, and repeat
  /// themselves: each event is stored once and counted once, and so is each message that no change explains.
  @Test(arguments: 0..<60) func `random courses`(seed: UInt64) throws {
    var world = DualWorld(seed: seed)
    try world.run()
  }
}

/// A stream that knows every id, an oplog, and a follower between them in whole seconds.
private struct DualWorld {
  struct Message {
    var id: String
    var body: String
    var isOwn: Bool
    var at: Int64
  }

  var random: SeededRandom
  var stream: [Message] = []
  var bodies: [String] = []
  /// By event: when its producer publishes, and what; nil: never.
  var plans: [(at: Int64, body: String)?] = []
  var phantoms: [(id: String, at: Int64)] = []
  var time: Int64 = 0

  // What survives a kill.
  var progress: CutoverProgress
  // What doesn't.
  var table = DualTable()
  var place: CutoverProgress.Place
  var next: UInt64 = 1
  var readThrough: Int64 = 0
  var taken = 0
  var settled: EventPosition
  var counted: CutoverCounts
  var fills: [UInt64: DualTable.Event] = [:]

  static let grace: Int64 = 2000

  init(seed: UInt64) {
    random = SeededRandom(seed: seed)
    let start = EventPosition(entry: OplogPosition(seconds: 0, increment: 0), index: .max)
    progress = CutoverProgress(
      generation: 1, epoch: 1, position: start, resume: start.entry)
    place = CutoverProgress.Place(created: "", readTo: 0, open: SequenceSet())
    settled = start
    counted = CutoverCounts()
    for number in 0..<60 {
      let time = Int64(number) * 300
      bodies.append("{\"n\":\(number)}")
      switch Int.random(in: 0..<10, using: &random) {
      case 0: plans.append(nil)
      case 1: plans.append((time + 900, "{\"n\":-1}"))
      case 2: plans.append((time - 800, bodies[number]))
      case 3: plans.append((time + 6000, bodies[number]))
      default: plans.append((time + Int64.random(in: 0..<1500, using: &random), bodies[number]))
      }
      if Int.random(in: 0..<12, using: &random) == 0 { phantoms.append(("p\(number)", time + 100)) }
    }
  }

  /// The server's answer to a publish: the sequence, and whether it had the id.
  mutating func publish(_ id: String, _ body: String, isOwn: Bool) -> (UInt64, Bool) {
    if let known = stream.firstIndex(where: { $0.id == id }) { return (UInt64(known) + 1, true) }
    stream.append(Message(id: id, body: body, isOwn: isOwn, at: time))
    return (UInt64(stream.count), false)
  }

  mutating func run() throws {
    while time < 60 * 300 + 20_000 {
      time += 100
      for number in plans.indices where plans[number]?.at == time - time % 100 || due(number) {
        if let plan = plans[number], plan.at <= time {
          _ = publish("e\(number)", plan.body, isOwn: false)
          plans[number] = nil
        }
      }
      for phantom in phantoms where phantom.at == time {
        _ = publish(phantom.id, "{}", isOwn: false)
      }
      step()
      if Int.random(in: 0..<40, using: &random) == 0 { restart() }
    }
    #expect(progress.counts.byProducer + progress.counts.filled + progress.counts.mismatched == 60)
    #expect(Set(stream.map(\.id)).count == stream.count)
    for number in 0..<60 { #expect(stream.contains { $0.id == "e\(number)" }) }
    let own = stream.count { $0.isOwn }
    #expect(progress.counts.filled == UInt64(own))
    let wrong = stream.count { $0.id.hasPrefix("e") && !$0.isOwn && $0.body == "{\"n\":-1}" }
    #expect(progress.counts.mismatched == UInt64(wrong))
    #expect(progress.counts.phantom == UInt64(phantoms.count))
  }

  private func due(_ number: Int) -> Bool { plans[number].map { $0.at <= time } ?? false }

  mutating func step() {
    // The oplog, now and then in a lot.
    if Int.random(in: 0..<3, using: &random) == 0 {
      while taken < 60, Int64(taken) * 300 <= time {
        let position = EventPosition(
          entry: OplogPosition(seconds: UInt32(taken + 1), increment: 1), index: 0)
        if position > progress.position {
          table.expect(
            DualTable.Event(
              stream: 0, id: "e\(taken)", rule: 0, position: position, subject: "s",
              digest: JSONDigest(Array(bodies[taken].utf8)), due: Int64(taken) * 300 + Self.grace))
        }
        taken += 1
      }
    }
    // The stream.
    if Bool.random(using: &random) {
      while next <= stream.count {
        let message = stream[Int(next) - 1]
        if !place.isDone(next) {
          table.observe(
            DualTable.Stored(
              sequence: next, subject: "s", digest: JSONDigest(Array(message.body.utf8)),
              isOwn: message.isOwn, horizon: max(message.at, time) + Self.grace,
              mayBePhantom: !message.isOwn),
            id: message.id, in: 0)
        }
        next += 1
      }
      readThrough = time
    }
    // Fills, whose acks come later, or never.
    for (number, event) in fills where Bool.random(using: &random) {
      fills[number] = nil
      let (sequence, isKnown) = publish(event.id, "{}", isOwn: true)
      if !isKnown {
        table.decide(number, .filled, sequence)
      } else {
        let message = stream[Int(sequence) - 1]
        table.decide(
          number,
          DualTable.verdict(
            event,
            DualTable.Stored(
              sequence: sequence, subject: "s", digest: JSONDigest(Array(message.body.utf8)),
              isOwn: message.isOwn, horizon: 0, mayBePhantom: false)), sequence)
      }
    }
    for (number, event) in table.due(at: time, readThrough: [readThrough], most: 5) {
      fills[number] = event
    }
    while let decided = table.next() {
      settled = decided.event.position
      switch decided.verdict {
      case .byProducer: counted.byProducer += 1
      case .filled: counted.filled += 1
      case .mismatched: counted.mismatched += 1
      case .missed, .expired, .handedBack: break
      }
    }
    // Everything up to the newest event is here.
    let passed = Int64(taken) * 300 - 300 + (taken == 60 ? 50_000 : 0)
    while let (_, id, message) = table.nextStranger(passed: passed) {
      guard message.mayBePhantom else { continue }
      #expect(id.hasPrefix("p"), "\(id) has a change")
      counted.phantom += 1
    }
    if Int.random(in: 0..<5, using: &random) == 0 { save() }
  }

  mutating func save() {
    progress.position = max(progress.position, settled)
    progress.counts = counted
    // What has not been read again stays as it was.
    var open = table.openSequences(in: 0)
    let readTo = next - 1
    if readTo < place.readTo {
      open += place.open.sequences.filter { $0 > readTo }
    }
    progress.streams["S"] = CutoverProgress.Place(
      created: "", readTo: max(readTo, place.readTo), open: SequenceSet(open))
  }

  mutating func restart() {
    table = DualTable()
    fills = [:]
    taken = 0
    counted = progress.counts
    settled = progress.position
    place =
      progress.streams["S"]
      ?? CutoverProgress.Place(created: "", readTo: 0, open: SequenceSet())
    next = place.next
    readThrough = 0
  }
}
