import Bridge
import BridgeConfiguration
import JetStream
import MongoSource
import Oplog
import TestRandom
import Testing

// A little world for what a chain does on replicated streams: two streams, somebody else who publishes to
// them, connections that are lost with messages on their way, which the server may store much later, and
// processes that are killed. Each decision is the epoch machine's, and is carried out as the pipeline does.

/// One stream of the server. It compares ids first, then sequences.
private struct Server {
  /// By sequence, from 1 on; nil: somebody else's.
  var messages: [Int?] = []
  /// Ids within the duplicate window.
  var known: Set<Int> = []
  var last: UInt64 { UInt64(messages.count) }

  struct Sent {
    var event: Int
    var expected: UInt64
  }

  enum Answer {
    case stored(UInt64)
    case duplicate(UInt64)
    case refused
  }

  mutating func take(_ sent: Sent) -> Answer {
    if known.contains(sent.event), let original = messages.firstIndex(of: sent.event) {
      return .duplicate(UInt64(original + 1))
    }
    guard sent.expected == last else { return .refused }
    messages.append(sent.event)
    known.insert(sent.event)
    return .stored(last)
  }
}

/// What the bridge does with a plan: the part of a pipeline's lane that decides.
private struct ModelLane {
  var watermark: ResumePlan.StoredWatermark?
  var floor: EventPosition?
  var held: Set<EventPosition> = []
  var lacksUpTo: EventPosition?
  var acked: Checkpoint.Stream?
  var awaitsFirst: Bool
  var isCautious: Bool
  var last: UInt64
  var expected: UInt64
  var inFlight: [Int] = []
  /// On their way to the server, and back.
  var wire: [Server.Sent] = []
  var answers: [Server.Answer] = []

  func holds(_ position: EventPosition) -> Bool {
    if let floor, position < floor { return true }
    if held.contains(position) { return true }
    return watermark.map { position <= $0.position } ?? false
  }

  mutating func take(_ event: Int, at sequence: UInt64, isDuplicate: Bool) {
    inFlight.removeFirst()
    awaitsFirst = false
    let position = ChainWorld.position(event)
    guard !isDuplicate, lacksUpTo.map({ position > $0 }) ?? true else { return }
    acked = Checkpoint.Stream(
      sequence: sequence, id: "", position: position, rule: "r", created: "c1")
  }
}

private struct ChainWorld {
  static let events = 14
  static let names = ["A", "B"]
  static let window = 5

  /// Two or three events are one entry.
  static func position(_ event: Int) -> EventPosition {
    EventPosition(entry: entry(1001 + UInt32(event / 3)), index: UInt32(event % 3))
  }
  static func isLastOfEntry(_ event: Int) -> Bool { event % 3 == 2 || event == events - 1 }

  var random: SeededRandom
  /// As if each message proved those before it.
  var believesEnds = false
  /// As if it did where there is no checkpoint.
  var believesLost = false
  /// The checkpoint is lost with some of the kills.
  var losesCheckpoints = false
  var lost = 0
  /// As if what is sent late were the stream's end.
  var forgetsGaps = false
  var servers = [Server(), Server()]
  var orphans: [(stream: Int, wire: [Server.Sent])] = []
  var machine: EpochMachine
  /// In KV.
  var stored: Checkpoint?
  // The epoch.
  var base: Checkpoint?
  var lanes: [ModelLane] = []
  var next = 0
  var foreign = [0, 0]
  var kills = 0
  var epochs = 0

  init(seed: UInt64) {
    random = SeededRandom(seed: seed)
    machine = Self.process
  }

  static var process: EpochMachine {
    Bridge.EpochMachine(.init(options: RunOptions(), start: .now))
  }

  mutating func pick(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }

  static func stream(of event: Int) -> Int { [0, 0, 1, 0, 1][event % 5] }

  // MARK: - Epochs

  private func observe(_ stream: Int, _ checkpoint: Checkpoint?) -> StreamObservation {
    let server = servers[stream]
    let name = Self.names[stream]
    var found = StreamObservation(
      name: name, created: "c1", firstSequence: server.last > 0 ? 1 : 0,
      lastSequence: server.last, exclusive: true, isDeadLetter: false, tail: nil)
    let own = server.messages.enumerated().map { index, event in
      event.map {
        StreamObservation.Own(
          sequence: UInt64(index + 1), position: Self.position($0), rule: "r", id: "\($0)")
      }
    }
    found.tail = own.compactMap(\.self).max { $0.position < $1.position }
    found.survivors = server.last - (found.tail?.sequence ?? 0)
    if kills > 0 {
      let origin = Checkpoint.Origin(position: entry(1000), inclusive: false)
      found.mark =
        found.tail == nil
        ? .unused(.position(origin)) : .used(from: origin.position, inclusive: origin.inclusive)
    }
    guard !believesEnds else { return found }
    if let checkpoint {
      found.unproven = UnprovenTail(of: found, checkpoint)
    } else if found.tail != nil, !believesLost {
      found.unproven = UnprovenTail(from: 1, isFirst: true)
    }
    for sequence in (found.unproven?.after ?? server.last)..<server.last {
      found.unproven?.take(sequence + 1, own[Int(sequence)])
    }
    found.unproven?.end(at: server.last)
    if checkpoint == nil, found.unproven?.others == 0 { found.unproven = nil }
    return found
  }

  mutating func begin() throws {
    epochs += 1
    let checkpoint = machine.memory.checkpoint ?? stored
    let observed = [observe(0, checkpoint), observe(1, checkpoint)]
    var answers = EpochAnswers()
    answers.newest = 1000
    let result = try decide(
      machine, EpochSituation(checkpoint: checkpoint, streams: observed), answers)
    guard case .decided(let decision) = result, case .tail(let plan) = decision.mode else {
      throw Wrong("no plan: \(result)")
    }
    let cautious = machine.memory.cautious
    machine.adopt(decision)
    var base = Checkpoint(
      bridge: "b", source: "s", instance: "i", version: 1, resume: plan.start, term: plan.term,
      origin: plan.origin,
      streams: plan.isFresh
        ? plan.found : (checkpoint?.streams ?? [:]).merging(plan.found) { $1 },
      configurationHash: "h")
    base.settled = plan.settled
    for stream in observed {
      var state = checkpoint?.states[stream.name] ?? Checkpoint.StreamState(created: "c1")
      if state.base == nil, checkpoint?.streams[stream.name] == nil,
        plan.found[stream.name] == nil
      {
        state.base = stream.lastSequence
      }
      state.mayLeaveGaps = true
      base.states[stream.name] = state
    }
    machine.began(base)
    stored = base
    self.base = base
    lanes = observed.map { stream in
      ModelLane(
        watermark: plan.watermarks[stream.name], floor: plan.floors[stream.name],
        held: Set((plan.held[stream.name] ?? []).map(\.position)),
        lacksUpTo: forgetsGaps ? nil : plan.lacksUpTo[stream.name]?.position,
        acked: base.streams[stream.name],
        awaitsFirst: base.streams[stream.name] == nil && plan.watermarks[stream.name] == nil,
        isCautious: cautious.contains(stream.name), last: stream.lastSequence,
        expected: stream.lastSequence)
    }
    next = (0..<Self.events).first { Self.position($0).entry >= plan.start } ?? Self.events
  }

  /// As the keeper makes it of the low-water mark.
  private func current() -> Checkpoint? {
    guard var current = base else { return nil }
    var done = base?.resume ?? entry(1000)
    var isWhole = false
    if next > 0, Self.position(next - 1).entry >= done {
      done = Self.position(next - 1).entry
      isWhole = Self.isLastOfEntry(next - 1)
    }
    for event in lanes.compactMap(\.inFlight.first) where Self.position(event).entry <= done {
      done = Self.position(event).entry
      isWhole = false
    }
    current.resume = done
    let settled = EventPosition(entry: done, index: isWhole ? .max : 0)
    current.settled = max(current.settled ?? settled, settled)
    for (stream, lane) in lanes.enumerated() {
      if let acked = lane.acked { current.streams[Self.names[stream]] = acked }
    }
    return current
  }

  private mutating func abandonWires() {
    for (stream, lane) in lanes.enumerated() where !lane.wire.isEmpty {
      orphans.append((stream, lane.wire))
    }
    lanes = []
    base = nil
  }

  mutating func end(_ end: EpochEnd) {
    guard let current = current() else { return }
    _ = machine.ended(
      end,
      EpochMachine.Remains(
        checkpoint: current, proven: current.streams,
        unanswered: [
          "A": lanes[0].inFlight.count, "B": lanes[1].inFlight.count,
        ]))
    abandonWires()
  }

  /// So much time passes that nothing is on its way any more, and no id is known.
  private mutating func outlastWindow() {
    orphans = []
    for stream in 0..<2 { servers[stream].known = [] }
  }

  mutating func kill() {
    kills += 1
    abandonWires()
    machine = Self.process
    if losesCheckpoints, pick(2) == 0 {
      lost += 1
      stored = nil
    }
  }

  // MARK: - Steps

  /// Reads on and sends, as far as lanes take it. False: there was nothing to do.
  mutating func send(atMost limit: Int) -> Bool {
    var didSomething = false
    for _ in 0..<limit where next < Self.events {
      // The entry behind a stream's first message waits for its ack.
      let opensEntry = next == 0 || Self.isLastOfEntry(next - 1)
      if opensEntry, lanes.contains(where: { $0.awaitsFirst && !$0.inFlight.isEmpty }) { break }
      let stream = Self.stream(of: next)
      if !lanes[stream].holds(Self.position(next)) {
        if lanes[stream].isCautious {
          guard lanes[stream].inFlight.isEmpty else { break }
          if servers[stream].known.contains(next) {
            next += 1
            continue
          }
        }
        guard lanes[stream].inFlight.count < Self.window else { break }
        lanes[stream].wire.append(
          Server.Sent(event: next, expected: lanes[stream].expected))
        lanes[stream].expected += 1
        lanes[stream].inFlight.append(next)
      }
      next += 1
      didSomething = true
    }
    return didSomething
  }

  mutating func deliver(_ stream: Int) -> Bool {
    guard !lanes.isEmpty, !lanes[stream].wire.isEmpty else { return false }
    lanes[stream].answers.append(servers[stream].take(lanes[stream].wire.removeFirst()))
    return true
  }

  mutating func deliverOrphan() {
    guard !orphans.isEmpty else { return }
    let index = pick(orphans.count)
    _ = servers[orphans[index].stream].take(orphans[index].wire.removeFirst())
    // The rest may get lost at any point.
    if orphans[index].wire.isEmpty || pick(8) == 0 { orphans.remove(at: index) }
  }

  /// Takes the next ack of a stream; ends the epoch where a lane does.
  mutating func acknowledge(_ stream: Int) -> Bool {
    guard !lanes.isEmpty, !lanes[stream].answers.isEmpty, let event = lanes[stream].inFlight.first
    else { return false }
    let name = Self.names[stream]
    let last = lanes[stream].last
    switch lanes[stream].answers.removeFirst() {
    case .refused:
      end(
        .publishFailed(
          lane: name,
          JetStreamError(code: JetStreamCode.wrongLastSequence, operation: "publish")))
    case .stored(let sequence):
      guard sequence == last + 1 else {
        end(
          .publishFailed(
            lane: name,
            JetStreamError(code: 0, operation: "publish", message: "?", remedy: .reread)))
        return true
      }
      lanes[stream].last = sequence
      lanes[stream].take(event, at: sequence, isDuplicate: false)
    case .duplicate(let sequence):
      guard sequence == last + 1 || lanes[stream].inFlight.count == 1 else {
        end(.publishFailed(lane: name, .duplicates(in: name, "met")))
        return true
      }
      lanes[stream].last = max(last, sequence)
      lanes[stream].expected = max(lanes[stream].expected, lanes[stream].last)
      lanes[stream].take(event, at: sequence, isDuplicate: true)
    }
    return true
  }

  mutating func step() throws {
    if lanes.isEmpty {
      // Late ones may arrive before the streams are looked at, or behind that.
      if pick(2) == 0 { return deliverOrphan() }
      if pick(4) == 0 { outlastWindow() }
      return try begin()
    }
    let stream = pick(2)
    switch pick(20) {
    case 0...4: _ = send(atMost: 1 + pick(8))
    case 5...8: _ = deliver(stream)
    case 9...11: _ = acknowledge(stream)
    case 12, 13: deliverOrphan()
    case 14, 15:
      // One before the first message of all may keep others of the same entry out: that can't be proven.
      guard foreign[stream] < 3,
        !losesCheckpoints || servers[stream].messages.contains(where: { $0 != nil })
      else { return }
      foreign[stream] += 1
      servers[stream].messages.append(nil)
    case 16: stored = current()
    case 17: end(.connectionLost("cut"))
    case 18:
      end(
        .publishFailed(
          lane: Self.names[stream],
          JetStreamError(code: 0, operation: "publish", message: "no ack", remedy: .reread)))
    default: if pick(2) == 0 { kill() }
    }
  }

  /// Nothing fails any more, but for what is on its way still.
  mutating func finish() throws {
    for _ in 0..<2000 {
      if lanes.isEmpty {
        try begin()
        continue
      }
      deliverOrphan()
      var moved = send(atMost: Self.events)
      for stream in 0..<2 where !lanes.isEmpty {
        moved = deliver(stream) || moved
        moved = acknowledge(stream) || moved
      }
      if !lanes.isEmpty, !moved, next == Self.events, lanes.allSatisfy(\.inFlight.isEmpty) {
        return
      }
    }
    throw Wrong("it does not come to an end: \(self)")
  }

  /// Nil: all is well.
  var fault: String? {
    for stream in 0..<2 {
      let wanted = (0..<Self.events).filter { Self.stream(of: $0) == stream }
      let ours = servers[stream].messages.compactMap(\.self)
      if Set(ours).count < ours.count { return "doubled: \(ours)" }
      if ours.sorted() != wanted { return "lost: \(ours) of \(wanted)" }
      if foreign[stream] == 0, ours != wanted { return "out of order: \(ours)" }
    }
    return nil
  }
}

private struct Wrong: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

@Suite struct ChainWorldTests {
  private func walk(
    _ seed: UInt64, believesEnds: Bool = false, forgetsGaps: Bool = false,
    losesCheckpoints: Bool = false, believesLost: Bool = false
  ) throws -> ChainWorld {
    var world = ChainWorld(seed: seed)
    world.losesCheckpoints = losesCheckpoints
    world.believesLost = believesLost
    world.believesEnds = believesEnds
    world.forgetsGaps = forgetsGaps
    for _ in 0..<(20 + Int(seed % 100)) { try world.step() }
    try world.finish()
    return world
  }

  @Test func `whatever comes between, each event is stored once`() throws {
    var kills = 0
    var epochs = 0
    var foreign = 0
    for seed in 0..<1500 as Range<UInt64> {
      let world = try walk(seed)
      if let fault = world.fault {
        Issue.record("seed \(seed): \(fault)")
        return
      }
      kills += world.kills
      epochs += world.epochs
      foreign += world.foreign[0] + world.foreign[1]
    }
    #expect(kills > 300 && epochs > 3000 && foreign > 2000)
  }

  @Test func `the same where checkpoints are lost besides`() throws {
    var lost = 0
    for seed in 0..<1500 as Range<UInt64> {
      let world = try walk(seed, losesCheckpoints: true)
      if let fault = world.fault {
        Issue.record("seed \(seed): \(fault)")
        return
      }
      lost += world.lost
    }
    #expect(lost > 150)
  }

  @Test func `the world is one where a stream's end proves nothing`() throws {
    let faults = try (0..<200 as Range<UInt64>).compactMap {
      try walk($0, believesEnds: true).fault
    }
    #expect(faults.contains { $0.hasPrefix("lost") })
    let found = try (0..<500 as Range<UInt64>).compactMap {
      try walk($0, losesCheckpoints: true, believesLost: true).fault
    }
    #expect(found.contains { $0.hasPrefix("lost") })
    let doubled = try (0..<1500 as Range<UInt64>).compactMap {
      try walk($0, forgetsGaps: true).fault
    }
    #expect(doubled.contains { $0.hasPrefix("doubled") })
  }
}
