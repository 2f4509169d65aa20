import Bridge
import JetStream
import MongoSource
import NIOCore
import Oplog
import Parity

/// The first pass: ledgers of all streams, filled from both sides.
///
/// Sendable invariant: every stored property is touched on one event loop only.
final class VerifyBook: @unchecked Sendable {
  let deriver: ExpectedMessages
  private let plan: VerifyPlan
  private let rules: [String]
  private(set) var ledgers: [StreamLedger]
  private(set) var shared: [SharedIDs]
  private let sharesIDs: [Bool]
  private var queues: [Queue]
  private(set) var derived: EventPosition?
  private(set) var expectedByRule: [UInt64]
  /// Expected before a stream's floor.
  private(set) var notHeld: UInt64 = 0
  /// Events that have dead letters for reasons that only the server had.
  private(set) var serverLetters: [EventOfRule: ServerReason] = [:]
  /// The letters themselves, as far as their events are of the range.
  private(set) var storedServerLetters: [ServerLetter] = []
  /// The rule of what is expected last; by stream.
  private var lastRules: [Int?]
  /// Of rules that drop such events; by stream.
  private var recentIDs: [RecentIDs]
  private var isAbandoned = false

  private struct Queue {
    var records: [(record: ObservedRecord, isShared: Bool)] = []
    var head = 0
    var consumed: (@Sendable (Int) -> Void)?
    var stop: (@Sendable () -> Void)?
  }

  init(_ plan: VerifyPlan, _ deriver: ExpectedMessages, rules: [String]) {
    self.rules = rules
    self.plan = plan
    self.deriver = deriver
    ledgers = plan.streams.map {
      StreamLedger(
        plan.range, firstSequence: $0.first == $0.info.firstSequence ? 1 : $0.first,
        earliest: plan.earliest)
    }
    shared = plan.streams.map { _ in SharedIDs() }
    sharesIDs = plan.streams.map(\.isShared)
    recentIDs = plan.streams.map { _ in RecentIDs() }
    queues = plan.streams.map { _ in Queue() }
    lastRules = plan.streams.map { _ in nil }
    expectedByRule = Array(repeating: 0, count: rules.count)
  }

  // MARK: Expected

  func expect(_ event: ChangeEvent) {
    derived = event.position
    deriver.derive(event) { message in
      if let floor = plan.streams[message.stream].floor, message.position < floor {
        notHeld &+= 1
        return
      }
      if let rule = message.rule {
        expectedByRule[rule] &+= 1
        if let name = deriver.nameOfRuleDroppingConflicts(rule), let id = message.id,
          recentIDs[message.stream].add(MessageDigest(id))
        {
          serverLetters[EventOfRule(position: message.position, rule: name)] = .idConflict
        }
      }
      lastRules[message.stream] = message.rule
      let body = MessageDigest(message.body)
      let subject = MessageDigest(message.subject)
      let digest = MessageDigest(
        subject: subject, headers: MessageDigest(message.headers), body: body)
      if message.isShared {
        guard let id = message.id else { return }
        shared[message.stream].expect(
          MessageDigest(id), message.position, digest, subject: subject,
          body: MessageDigest(valueOf: message.body))
      } else {
        ledgers[message.stream].expect(message.position, digest)
      }
    }
    if let doubt = deriver.doubt(event) {
      for stream in Set(doubt.open.flatMap { deriver.streams(of: $0) }) {
        if let floor = plan.streams[stream].floor, event.position < floor { continue }
        ledgers[stream].cover(event.position)
      }
    }
    if deriver.events & 63 == 0, waiting { for stream in queues.indices { drain(stream) } }
  }

  private var waiting: Bool { queues.contains { $0.head < $0.records.count } }

  func endExpected() {
    for index in ledgers.indices {
      ledgers[index].endExpected()
      drain(index)
    }
  }

  // MARK: Observed

  func attach(_ stream: Int, _ scan: StreamScan) {
    queues[stream].consumed = { scan.consumed($0) }
    queues[stream].stop = { scan.stopReading() }
    if isAbandoned { scan.stopReading() }
  }

  /// Something failed: nothing more is read.
  func abandon() {
    isAbandoned = true
    for queue in queues { queue.stop?() }
  }

  func note(_ letters: [ServerLetter]) {
    for letter in letters {
      serverLetters[letter.event] = letter.reason
      guard plan.range.contains(letter.event.position), !letter.isOfSnapshot else { continue }
      storedServerLetters.append(letter)
    }
  }

  func take(_ stream: Int, _ records: [(record: ObservedRecord, isShared: Bool)]) {
    queues[stream].records += records
    drain(stream)
  }

  /// Nothing is behind this.
  func endOfStream(_ stream: Int, at sequence: UInt64) { ledgers[stream].endOfStream(at: sequence) }

  private func drain(_ stream: Int) {
    var queue = queues[stream]
    queues[stream].records = []
    let before = queue.head
    while queue.head < queue.records.count {
      let (record, isShared) = queue.records[queue.head]
      if plan.taken.indices.contains(stream), plan.taken[stream].contains(record.sequence) {
        ledgers[stream].pass(record.sequence)
      } else if record.kind == .serverLetter {
        let isBeyond = record.position.map { $0 > plan.range.upperBound } ?? false
        ledgers[stream].pass(record.sequence, isBeyond: isBeyond)
      } else if sharesIDs[stream], record.kind != .snapshot, isShared || record.kind == .foreign {
        if !shared[stream].observe(record), record.kind == .foreign {
          _ = ledgers[stream].observe(record)
        } else {
          ledgers[stream].pass(record.sequence)
        }
      } else if !ledgers[stream].observe(record) {
        break
      }
      queue.head += 1
    }
    let taken = queue.head - before
    if queue.head == queue.records.count {
      queue.records.removeAll(keepingCapacity: true)
      queue.head = 0
    } else if queue.head > 65_536 {
      queue.records.removeFirst(queue.head)
      queue.head = 0
    }
    queues[stream] = queue
    if taken > 0 { queue.consumed?(taken) }
    if let margin = plan.margin, ledgers[stream].beyond > margin { queue.stop?() }
  }

  /// Whether expecting may continue: ids that wait for other producers are kept in memory.
  var hasRoom: Bool { shared.allSatisfy { $0.waitingCount < 400_000 } }

  var agrees: Bool {
    !waiting && ledgers.allSatisfy(\.agrees) && shared.allSatisfy(\.agrees)
  }

  /// Whether nothing more is to come: streams have passed what is expected last, or its ack is known, or its
  /// dead letter is there.
  func isComplete(_ settled: LedgerPass.Settled) -> Bool {
    plan.streams.indices.allSatisfy { index in
      let isPassed =
        ledgers[index].lastExpected.map { last in
          isDecided(last, index, settled)
            || ledgers[index].lastPosition.map { last <= $0 } ?? false
        } ?? true
      return isPassed
        && (shared[index].lastExpected.map { isDecided($0, index, settled) } ?? true)
    }
  }

  private func isDecided(
    _ position: EventPosition, _ stream: Int, _ settled: LedgerPass.Settled
  ) -> Bool {
    if settled.covers(position, on: plan.streams[stream].name) { return true }
    guard let rule = lastRules[stream] else { return false }
    return serverLetters[EventOfRule(position: position, rule: rules[rule])] != nil
  }

  var observedCount: UInt64 {
    ledgers.reduce(0) { $0 &+ $1.observedCount } &+ shared.reduce(0) { $0 &+ $1.observedCount }
  }

  var expectedCount: UInt64 {
    ledgers.reduce(0) { $0 &+ $1.expectedCount } &+ shared.reduce(0) { $0 &+ $1.expectedCount }
  }

  /// What has to be looked into on one stream.
  func finish(_ stream: Int) -> (suspects: [StreamLedger.Suspect], extra: [UInt64]) {
    var (suspects, extra) = ledgers[stream].finish()
    let (wrong, unexpected) = shared[stream].finish()
    var byPosition: [EventPosition: Set<UInt64>] = [:]
    for suspect in wrong {
      byPosition[suspect.position, default: []].formUnion(suspect.sequences)
    }
    for (position, sequences) in byPosition.sorted(by: { $0.key < $1.key }) {
      suspects.append(
        StreamLedger.Suspect(
          range: .init(after: position.previous, last: position), expected: 1, sequences: nil,
          strays: sequences.sorted()))
    }
    for record in unexpected {
      guard let position = record.position, plan.range.contains(position) else { continue }
      if byPosition[position] == nil { extra.append(record.sequence) }
    }
    return (suspects, extra)
  }
}

extension EventPosition {
  /// Any position before this one and not before what comes before it; nil at the very beginning.
  var previous: EventPosition? {
    if index > 0 { return EventPosition(entry: entry, index: index - 1) }
    guard entry.value > 0 else { return nil }
    let value = entry.value - 1
    return EventPosition(
      entry: OplogPosition(
        seconds: UInt32(truncatingIfNeeded: value >> 32),
        increment: UInt32(truncatingIfNeeded: value)),
      index: .max)
  }
}

extension DerivedMessage {
  var id: UnsafeRawBufferPointer? { MessageMarks(headers).storedID }
}
