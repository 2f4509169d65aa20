import Bridge
import BridgeConfiguration
import Oplog
import Testing

// A little world: two data streams and the dead-letter stream, a handful of events, a crash, and
// everything that can happen to each stream and to the checkpoint before the bridge comes back. Each
// decision is carried out as the pipeline does, and what the streams then hold is judged.

/// What happened to a stream while the bridge was away.
private enum Fate: CaseIterable {
  case intact
  /// Deleted and made again, empty.
  case recreated
  /// The same long before, while the bridge ran and had nothing for it.
  case recreatedMidway
  /// The same, and the bridge published on to it before it noticed.
  case recreatedUnnoticed
  /// It lost all it had; its settings (and metadata) survived.
  case wiped
  /// It ends before messages that it had acknowledged, or an older copy was put back.
  case truncated
  /// Everything was removed, its sequence stays.
  case purged
  /// Limits took the first message.
  case expiredFront
  /// A consumer took the last message.
  case consumedLast
}

private struct World {
  static let published = 4
  static let all = 6
  static let names = ["A", "B", "Q"]

  /// Stream of each event, from 1 on.
  var destination: [Int]
  /// The last event that the checkpoint knows; nil: it is lost.
  var checkpointAt: Int?
  /// The stream whose last message was on its way.
  var lagging: Int?
  var fates: [Fate]
  var hasMarks: Bool
  /// The event at which the bridge was last started, as marks of unused streams say it; nil: they are
  /// of an older version.
  var startedAt: Int?
  var onLoss: [StreamSpec.OnLoss] = [.refill, .refill, .refill]
  /// The oplog's first event.
  var oldest = 0
  var startsAtOldest = false

  static func position(_ event: Int) -> EventPosition {
    EventPosition(entry: OplogPosition(seconds: 1000 + UInt32(event), increment: 1), index: 0)
  }

  /// When it was stored: a minute after the one before.
  static func time(_ event: Double) -> String {
    let seconds = Int(event * 60)
    return "2026-01-01T00:0\(seconds / 60):\(seconds % 60 < 10 ? "0" : "")\(seconds % 60).5Z"
  }

  static let origin = Checkpoint.Origin(position: position(0).entry, inclusive: false)

  func events(of stream: Int, upTo last: Int = published) -> [Int] {
    (1...Self.all).filter { destination[$0 - 1] == stream && $0 <= last }
  }

  /// What the stream had stored when the bridge was killed.
  func stored(_ stream: Int) -> [Int] {
    var events = events(of: stream)
    if lagging == stream { events.removeLast() }
    return events
  }

  /// Whether the bridge can have left things so.
  var isPossible: Bool {
    if let lagging {
      let events = events(of: lagging)
      guard let last = events.last, last > (checkpointAt ?? 0) else { return false }
      // A first message and a dead letter are awaited.
      if lagging == 2 || events.count == 1, last != Self.published { return false }
    }
    for (stream, fate) in fates.enumerated() {
      let stored = stored(stream)
      switch fate {
      case .intact, .recreated: break
      case .recreatedMidway: if stored.contains(where: { $0 > 2 }) { return false }
      case .recreatedUnnoticed:
        // Who is alone in a stream notices at once, and whose checkpoint is lost has nothing to compare.
        if stream < 2 || checkpointAt == nil || !stored.contains(where: { $0 > 2 }) { return false }
      case .wiped, .truncated, .purged, .expiredFront, .consumedLast:
        if stored.isEmpty { return false }
      }
      if fate == .truncated, stored.count < 2 { return false }
    }
    return true
  }
}

/// A stream when the bridge comes back: messages by sequence, from 1 on; nil: removed.
private struct Remains {
  var messages: [Int?] = []
  var created: String
  var mark: StreamMark?
  var isMemory = false

  init(_ world: World, _ stream: Int) {
    let stored = world.stored(stream)
    created = World.time(0)
    messages = stored.map { $0 }
    if world.hasMarks {
      let used = StreamMark.used(from: World.origin.position, inclusive: World.origin.inclusive)
      let unused = StreamMark.unused(
        world.startedAt.flatMap { .init(at: World.position($0).entry, of: World.origin) })
      let wasUsed = stored.contains { $0 < world.startedAt ?? 0 }
      mark = stored.isEmpty ? unused : wasUsed ? used : used.replacing(unused, .repeated)
    }
    switch world.fates[stream] {
    case .intact: break
    case .recreated:
      (messages, created, mark) = ([], World.time(4.5), nil)
    case .recreatedMidway:
      (messages, created, mark) = ([], World.time(2.5), nil)
    case .recreatedUnnoticed:
      (messages, created, mark) = (stored.filter { $0 > 2 }, World.time(2.5), nil)
      // Another bridge's are there as well.
      messages.insert(nil, at: 0)
    case .wiped:
      messages = []
      // Without metadata a file that lost everything can't be told from a new one.
      isMemory = !world.hasMarks
    case .truncated: messages.removeLast()
    case .purged: messages = messages.map { _ in nil }
    case .expiredFront: messages[0] = nil
    case .consumedLast: messages[messages.count - 1] = nil
    }
  }

  func observation(_ world: World, _ stream: Int) -> StreamObservation {
    let first = messages.firstIndex { $0 != nil }.map { UInt64($0) + 1 }
    let tail = messages.lastIndex { $0 != nil }
    var observation = StreamObservation(
      name: World.names[stream], created: created,
      firstSequence: first ?? UInt64(messages.count) + (messages.isEmpty ? 0 : 1),
      lastSequence: UInt64(messages.count), exclusive: stream < 2, isDeadLetter: stream == 2,
      tail: tail.flatMap { index in
        messages[index].map { event in
          StreamObservation.Own(
            sequence: UInt64(index) + 1, position: World.position(event), rule: "r", id: "")
        }
      })
    if world.fates[stream] == .recreatedUnnoticed {
      observation.wasMadeAgain = true
      let held = messages.indices.compactMap { index in
        messages[index].map {
          StreamObservation.Own(
            sequence: UInt64(index) + 1, position: World.position($0), rule: "r", id: "")
        }
      }
      observation.patchwork = StreamObservation.Patchwork(before: nil, behind: held)
    }
    observation.messages = UInt64(messages.count { $0 != nil })
    observation.isMemory = isMemory
    observation.mark = mark
    observation.onLoss = world.onLoss[stream]
    observation.firstIsOurs = first == 1
    return observation
  }
}

extension World {
  private var checkpoint: Checkpoint? {
    guard let checkpointAt else { return nil }
    var checkpoint = Checkpoint(
      bridge: "b", source: "rs0", instance: "i", version: 7,
      resume: Self.position(checkpointAt).entry, term: nil, origin: Self.origin, streams: [:],
      configurationHash: "h")
    checkpoint.settled = EventPosition(entry: Self.position(checkpointAt).entry, index: .max)
    for (stream, name) in Self.names.enumerated() {
      let acknowledged = events(of: stream, upTo: checkpointAt)
      var state = Checkpoint.StreamState(created: Self.time(0))
      state.base = 0
      checkpoint.states[name] = state
      if let last = acknowledged.last {
        checkpoint.streams[name] = Checkpoint.Stream(
          sequence: UInt64(acknowledged.count), id: "", position: Self.position(last), rule: "r",
          created: Self.time(0))
      }
    }
    return checkpoint
  }

  /// Decides, carries it out and judges. Nil: all is well.
  func fault(_ tally: inout [String: Int]) -> String? {
    let remains = (0..<3).map { Remains(self, $0) }
    let streams = remains.enumerated().map { $1.observation(self, $0) }
    let oldest = Self.position(oldest).entry
    let decision = ResumePlan.decide(
      checkpoint: checkpoint, streams: streams,
      oplog: ResumePlan.Oplog(oldest: oldest, newest: Self.position(Self.all).entry),
      refillFrom: startsAtOldest && checkpoint == nil
        ? Checkpoint.Origin(position: oldest, inclusive: true) : nil)
    switch decision {
    case .refuse:
      tally["refused", default: 0] += 1
      return mayRefuse ? nil : "refused without need: \(decision)"
    case .needsSnapshot: return "there was no snapshot"
    case .fresh:
      tally["fresh", default: 0] += 1
      let isTraced = streams.contains { stream in
        stream.tail != nil || stream.mark.map { $0 != .unused(nil) } ?? false
      }
      return isTraced ? "a first start in spite of traces" : nil
    case .resume(let plan):
      // Reading from a place that the oplog no longer holds ends with 75.
      if plan.start < oldest {
        tally["position lost", default: 0] += 1
        return nil
      }
      tally["resumed", default: 0] += 1
      return judge(plan, remains)
    }
  }

  /// With its checkpoint and an oplog that reaches far enough, nothing stops a bridge.
  private var mayRefuse: Bool {
    checkpointAt == nil || oldest > 0 || onLoss.contains(.halt)
  }

  private func judge(_ plan: ResumePlan, _ remains: [Remains]) -> String? {
    var added: [[Int]] = [[], [], []]
    var unseen = plan.unseen.mapValues(\.count)
    for event in 1...Self.all {
      let position = Self.position(event)
      if position.entry < plan.start || position.entry < plan.origin.position { continue }
      if position.entry == plan.origin.position, !plan.origin.inclusive { continue }
      let stream = destination[event - 1]
      if stream >= Self.names.count { continue }
      let name = Self.names[stream]
      if plan.halted[name] != nil { continue }
      if let floor = plan.floors[name], position < floor { continue }
      if plan.held[name]?.contains(where: { $0.position == position }) ?? false { continue }
      if let watermark = plan.watermarks[name], position <= watermark.position { continue }
      if let left = unseen[name], left > 0 {
        unseen[name] = left - 1
        continue
      }
      added[stream].append(event)
    }
    for stream in 0..<3 {
      let name = Self.names[stream]
      if plan.halted[name] != nil {
        guard added[stream].isEmpty else { return "\(name) is halted and gets messages" }
        continue
      }
      // What the present stream got once, whether it is still there or not, and what it gets now.
      var got =
        remains[stream].messages.isEmpty
        ? [] : stored(stream).prefix(remains[stream].messages.count).map { $0 }
      if fates[stream] == .recreatedUnnoticed { got = remains[stream].messages.compactMap(\.self) }
      got += added[stream]
      let wanted = events(of: stream, upTo: Self.all)
      let missing = wanted.filter { !got.contains($0) }
      if let lost = missing.first(where: { !isGivenUp($0, stream) }) {
        return "\(name) lost event \(lost)"
      }
      if let doubled = wanted.first(where: { event in got.count { $0 == event } > 1 }),
        !mayDouble(doubled, stream)
      {
        return "\(name) has event \(doubled) twice"
      }
      if added[stream] != added[stream].sorted() { return "\(name) is out of order" }
    }
    return nil
  }

  /// By configuration.
  private func isGivenUp(_ event: Int, _ stream: Int) -> Bool {
    // What a memory stream had, and the oplog has no more.
    if fates[stream] == .wiped, !hasMarks, event < oldest { return true }
    return onLoss[stream] == .continue && event <= Self.published
      && [.recreated, .recreatedMidway, .recreatedUnnoticed, .wiped, .truncated].contains(
        fates[stream])
  }

  /// Of a stream that others publish to, nobody can say how many of ours were removed behind the last
  /// one that is known (docs/guarantees.md).
  private func mayDouble(_ event: Int, _ stream: Int) -> Bool {
    stream == 2 && [.purged, .consumedLast, .expiredFront].contains(fates[stream])
      && event > (checkpointAt ?? 0)
  }
}

@Suite struct ResumeWorldTests {
  /// All ways to send four events to three streams; the two that follow go to A and to Q.
  private static let destinations: [[Int]] = (0..<81).map { code in
    [code % 3, code / 3 % 3, code / 9 % 3, code / 27, 0, 2]
  }

  private static let fates: [[Fate]] = Fate.allCases.flatMap { a in
    Fate.allCases.flatMap { b in Fate.allCases.map { [a, b, $0] } }
  }

  private func walk(
    _ destinations: [[Int]], _ fates: [[Fate]], _ checkpoints: [Int?],
    _ change: (inout World) -> Void
  ) -> [String: Int] {
    var tally: [String: Int] = [:]
    for destination in destinations {
      for fate in fates {
        for checkpoint in checkpoints {
          for lagging in [nil, 0, 1, 2] {
            // With a checkpoint, nobody asks for them.
            for hasMarks in checkpoint == nil ? [true, false] : [true] {
              var world = World(
                destination: destination, checkpointAt: checkpoint, lagging: lagging, fates: fate,
                hasMarks: hasMarks)
              change(&world)
              guard world.isPossible else { continue }
              if let fault = world.fault(&tally) {
                Issue.record("\(fault)\n\(world)")
                tally["faults", default: 0] += 1
                if tally["faults", default: 0] > 5 { return tally }
              }
            }
          }
        }
      }
    }
    return tally
  }

  @Test func `every loss of streams and checkpoint ends exactly, or is refused`() {
    let tally = walk(Self.destinations, Self.fates, [nil, 0, 1, 2, 4]) { _ in }
    // The walk has seen what it is for.
    #expect(tally["resumed", default: 0] > 50_000)
    #expect(tally["refused", default: 0] > 1_000)
    #expect(tally["fresh", default: 0] > 10)
  }

  @Test func `the same where the configured start is the oldest entry`() {
    let tally = walk(Self.destinations, Self.fates, [nil]) { $0.startsAtOldest = true }
    #expect(tally["resumed", default: 0] > 5_000)
  }

  @Test func `the same where the oplog no longer reaches back`() {
    let tally = walk(Self.destinations, Self.fates, [nil, 2, 4]) { $0.oldest = 3 }
    #expect(tally["refused", default: 0] + tally["position lost", default: 0] > 1_000)
    #expect(tally["resumed", default: 0] > 1_000)
  }

  @Test(arguments: [0, 1, 3])
  func `the same where marks say where unused streams begin`(startedAt: Int) {
    let tally = walk(Self.destinations, Self.fates, [nil, 4]) { $0.startedAt = startedAt }
    #expect(tally["resumed", default: 0] > 10_000)
    let unpublished = Self.fates.filter { $0.allSatisfy { $0 == .intact } }
    // Events that nobody wants: nothing was published when the checkpoint was lost.
    let none = walk([[3, 3, 3, 3, 0, 2], [3, 3, 3, 3, 2, 1]], unpublished, [nil]) {
      $0.startedAt = startedAt
      $0.hasMarks = true
    }
    #expect(none["resumed", default: 0] > 0 && none["fresh"] == nil)
  }

  @Test func `each stream as its on_loss says, the others exactly`() {
    let some = Self.destinations.enumerated().filter { $0.offset % 6 == 1 }.map(\.element)
    for (a, q) in [
      (StreamSpec.OnLoss.continue, StreamSpec.OnLoss.refill), (.halt, .refill),
      (.refill, .continue), (.continue, .continue), (.halt, .halt),
    ] {
      let tally = walk(some, Self.fates, [nil, 1, 4]) { $0.onLoss = [a, .refill, q] }
      #expect(tally["resumed", default: 0] > 1_000)
    }
  }
}
