import Bridge
import BridgeConfiguration
import JSON
import JetStream
import MongoSource
import Oplog
import TestRandom

/// A work queue, or a stream with small limits: what the bridge stores there is removed at any time, and the server may
/// forget the ids of what is gone. Processes and epochs follow each other, each ends at any moment, and the next one
/// has to find out what was stored. Decisions, checkpoints and memory are production code; the lane and the server
/// are what is here.
final class EmptiedStreamCourse {
  struct Sent {
    var event: Int
    /// Where the server stored it, or has it; nil: it has not arrived yet.
    var sequence: UInt64?
    var isDuplicate = false
  }

  private static let name = "A"
  private static let created = "c1"

  private var random: SeededRandom
  private(set) var story: [String] = []
  private let isTold: Bool

  // The server
  private var now = 1000
  private var last: UInt64 = 0
  private var lastAt = 0
  private var present: [UInt64: Int] = [:]
  private var ids: [Int: (sequence: UInt64, at: Int)] = [:]
  private let window: Int
  /// Nobody else publishes there.
  private let isExclusive: Bool
  private let idsProve: Bool
  /// Its messages are looked at one by one, as its protocol may leave some out.
  private let mayLeaveGaps: Bool
  private var stored: [Int: Int] = [:]

  // The oplog
  private var newest = 3
  /// The first entry of an open transaction.
  private var open: Int?
  /// An event whose message in another stream is not acknowledged.
  private var elsewhere: Int?

  // The bridge
  private var machine = EmptiedStreamCourse.machine
  private var checkpoint: Checkpoint
  private var checkpointAt = 1000
  private var heardAt = 1000

  // An epoch
  private var current: Checkpoint
  private var acked: AcknowledgedMessage?
  private var had: MetMessages?
  private var unseen: UInt64 = 0
  private var unseenSequence: UInt64 = 0
  private var sent: [Sent] = [] {
    didSet {
      waitingSince = sent.isEmpty ? nil : sent.count < oldValue.count ? now : waitingSince ?? now
    }
  }
  private var waitingSince: Int?
  private var read = 0
  /// Sent by an earlier epoch, and still on its way: the server takes it if the stream ends where it has to.
  private var late: (events: [Int], after: UInt64) = ([], 0)
  /// Something came in between: the server refuses what is sent.
  private var isRefused = false

  // The judge
  /// Events that may be doubled, as the server has forgotten their ids.
  private var forgotten: Set<Int> = []
  private var isInDoubt = false
  private var fault: String?
  private(set) var doubts = 0
  private(set) var lookUps = 0
  private(set) var counts = 0

  init(seed: UInt64, isTold: Bool = false) {
    var random = SeededRandom(seed: seed)
    window = random.pick([2, 10, 120])
    isExclusive = !random.chance(1, in: 4)
    idsProve = random.chance(3, in: 4)
    mayLeaveGaps = random.chance(1, in: 3)
    happenings = Self.happenings(&random)
    self.random = random
    self.isTold = isTold
    var checkpoint = Checkpoint(
      bridge: "b", source: "rs0", instance: "i", version: 7, resume: Self.position(0).entry,
      term: nil, origin: Checkpoint.Origin(position: Self.position(0).entry, inclusive: false),
      streams: [:], configurationHash: "h")
    checkpoint.settled = EventPosition(entry: Self.position(0).entry, index: .max)
    var state = Checkpoint.StreamState(created: Self.created)
    state.base = 0
    checkpoint.states[Self.name] = state
    self.checkpoint = checkpoint
    current = checkpoint
  }

  private static var machine: EpochMachine {
    EpochMachine(EpochMachine.Settings(options: RunOptions(), start: .now))
  }

  private static func position(_ event: Int) -> EventPosition {
    EventPosition(entry: OplogPosition(seconds: 1000 + UInt32(event), increment: 1), index: 0)
  }

  private static func event(_ position: OplogPosition) -> Int { Int(position.seconds) - 1000 }

  /// Every fourth event is another stream's.
  private static func isWanted(_ event: Int) -> Bool { event > 0 && event % 4 != 0 }

  private func tell(_ what: @autoclosure () -> String) {
    if isTold { story.append("\(now): \(what())") }
  }

  // MARK: - The whole course

  /// What went wrong; nil: nothing.
  func run() -> String? {
    let steps = 20 + random.below(100)
    var isRunning = false
    for step in 0..<steps {
      if !isRunning {
        if let fault = begin() { return fault }
        isRunning = true
      }
      isRunning = disturb()
      if step == steps - 1, isRunning { endEpoch(arriving: 0) }
    }
    // Nothing breaks any more.
    (open, elsewhere, late.events) = (nil, nil, [])
    for _ in 0..<3 {
      machine = Self.machine
      if let fault = begin() { return fault }
      readAll()
      arrive(sent.count)
      acknowledge(sent.count)
      save(isIdle: true)
    }
    return judge()
  }

  private func judge() -> String? {
    if let fault { return fault }
    for event in 1...newest where Self.isWanted(event) {
      let count = stored[event, default: 0]
      if count == 0 { return "event \(event) is lost" }
      // Of a shared stream nobody can say how many of what is gone were the bridge's.
      if count > 1, isExclusive, !isInDoubt, !forgotten.contains(event) {
        return "event \(event) is doubled"
      }
    }
    return nil
  }

  private enum Happening: CaseIterable {
    case write, read, arrive, arriveLate, acknowledge, remove, removeAll, wait, waitLong,
      transaction, elsewhere,
      save, saveIdle, restart, end, kill, stop
  }

  /// What happens, as often as this course has it.
  private let happenings: [Happening]

  private static func happenings(_ random: inout SeededRandom) -> [Happening] {
    let some = Happening.allCases.flatMap { happening in
      [Happening](repeating: happening, count: random.pick([0, 1, 2, 5]))
    }
    return some + [.write, .read, .arrive, .acknowledge, .removeAll, .kill]
  }

  /// One thing that happens. False: the epoch has ended.
  private func disturb() -> Bool {
    switch random.pick(happenings) {
    case .write:
      newest += 1
      readSome(1 + random.below(3))
    case .read: readSome(1 + random.below(6))
    case .arrive: arrive(random.below(4))
    case .acknowledge:
      arrive(random.below(3))
      acknowledge(random.below(5))
    case .remove: remove(isWhole: false)
    case .removeAll: remove(isWhole: true)
    case .wait:
      guard wait(random.pick([1, 3])) else { return false }
    case .waitLong:
      guard wait(random.pick([20, 200])) else { return false }
    case .transaction: open = open == nil ? newest : nil
    case .elsewhere: elsewhere = elsewhere == nil && read > 0 ? read : nil
    case .arriveLate: arriveLate(1 + random.below(3))
    case .save: save(isIdle: false)
    case .saveIdle: save(isIdle: true)
    case .restart: restartServer()
    case .end:
      endEpoch(arriving: random.below(sent.count + 1))
      return false
    case .kill:
      kill(arriving: random.below(sent.count + 1))
      return false
    case .stop:
      stop()
      return false
    }
    heardAt = now
    guard isRefused else { return true }
    refuse()
    return false
  }

  private func wait(_ seconds: Int) -> Bool {
    // An ack that does not come ends the epoch.
    guard seconds <= waitLeft || sent.isEmpty else {
      endEpoch(arriving: random.below(sent.count + 1))
      return false
    }
    pass(seconds)
    return true
  }

  // MARK: - The server

  private var waitLeft: Int { 3 - (now - (waitingSince ?? now)) }

  private func pass(_ seconds: Int) {
    now += seconds
    ids = ids.filter { now - $0.value.at <= window }
    tell("\(seconds) s pass")
  }

  private func remove(isWhole: Bool) {
    for sequence in present.keys.sorted() where isWhole || random.chance(1, in: 2) {
      present[sequence] = nil
      tell("\(sequence) is removed")
    }
  }

  /// Ids of what is gone are forgotten.
  private func restartServer() {
    tell("the server restarts")
    for (event, id) in ids where present[id.sequence] == nil {
      ids[event] = nil
      forgotten.insert(event)
    }
  }

  private func arriveLate(_ count: Int) {
    guard isExclusive, last == late.after else { return }
    for event in late.events.prefix(count) where ids[event] == nil {
      store(event)
      tell("event \(event) is late, and stored at \(last)")
      isStale = true
      // Where it is consumed before its event is read again, the checkpoint takes it for somebody else's
      // (docs/simulation.md, what is open).
      forgotten.insert(event)
    }
    late = (Array(late.events.dropFirst(count)), last)
  }
  /// Nothing of the epoch can be stored any more.
  private var isStale = false

  private func store(_ event: Int) {
    last += 1
    lastAt = now
    present[last] = event
    ids[event] = (last, now)
    stored[event, default: 0] += 1
  }

  /// The next of what was sent arrives.
  private func arrive(_ count: Int) {
    for index in sent.indices.filter({ sent[$0].sequence == nil }).prefix(count) {
      let event = sent[index].event
      guard !isStale || ids[event] != nil else {
        isRefused = true
        return
      }
      if let known = ids[event] {
        sent[index].sequence = known.sequence
        sent[index].isDuplicate = true
        tell("the server has event \(event) at \(known.sequence)")
      } else {
        store(event)
        sent[index].sequence = last
        tell("event \(event) is stored at \(last)")
      }
    }
  }

  private func observation(_ checkpoint: Checkpoint) -> StreamObservation {
    let acked = checkpoint.streams[Self.name]
    let floor = max(present.keys.min() ?? last + 1, acked?.sequence ?? 1)
    let tail = present.filter { $0.key >= floor }.max { $0.key < $1.key }
    var found = StreamObservation(
      name: Self.name, created: Self.created, firstSequence: present.keys.min() ?? last + 1,
      lastSequence: last, exclusive: isExclusive, isDeadLetter: false,
      tail: tail.map { own($0.value, at: $0.key) })
    found.messages = UInt64(present.count)
    found.duplicateWindow = .seconds(window)
    if idsProve { found.idsProveFor = .seconds(window) }
    found.lastAt = ServerTime(seconds: lastAt)
    lookAtEach(&found, checkpoint)
    if isExclusive {
      let state = checkpoint.states[Self.name]
      let known = max(
        found.tail?.sequence ?? acked?.sequence ?? state?.base ?? 0,
        min(state?.uncounted ?? 0, last))
      found.survivors = UInt64(present.keys.count { $0 > known })
    }
    return found
  }

  private func lookAtEach(_ found: inout StreamObservation, _ checkpoint: Checkpoint) {
    guard mayLeaveGaps || checkpoint.states[Self.name]?.mayLeaveGaps ?? false,
      var tail = UnprovenTail(of: found, checkpoint)
    else { return }
    for (sequence, event) in present.sorted(by: { $0.key < $1.key }) where sequence > tail.after {
      tail.take(sequence, own(event, at: sequence))
    }
    tail.end(at: last)
    found.unproven = tail
    if let newest = tail.newest ?? tail.firm, newest.sequence >= found.firstSequence,
      found.tail.map({ $0.position < newest.position }) ?? true
    {
      found.tail = newest
    }
  }

  private func own(_ event: Int, at sequence: UInt64) -> StreamObservation.Own {
    StreamObservation.Own(
      sequence: sequence, position: Self.position(event), rule: "r", id: "")
  }

  // MARK: - The bridge

  private func begin() -> String? {
    let known = machine.memory.checkpoint ?? checkpoint
    let stream = observation(known)
    let situation = EpochSituation(checkpoint: known, streams: [stream])
    let decision: EpochDecision
    switch decide(situation) {
    case .failure(let fault): return fault.description
    case .success(let made): decision = made
    }
    guard case .tail(let plan) = decision.mode else { return "a snapshot without a reason" }
    guard plan.losses.isEmpty else { return "a loss without a reason: \(plan.losses)" }
    machine.adopt(decision)
    if !plan.doubts.isEmpty {
      isInDoubt = true
      doubts += 1
    }
    if !plan.toldByIDs.isEmpty { lookUps += 1 }
    if !plan.unseen.isEmpty { counts += 1 }
    tell(
      """
      epoch: reads from \(Self.event(plan.start)), behind \
      \(plan.watermarks[Self.name].map { "\(Self.event($0.position.entry))" } ?? "-"), unseen \
      \(plan.unseen[Self.name].map { "\($0)" } ?? "-"), ids \(plan.toldByIDs), uncounted \(plan.uncounted), \
      doubts \(plan.doubts), inherited \(plan.inherited)
      """)
    var base = Checkpoint(
      bridge: known.bridge, source: known.source, instance: known.instance, version: known.version,
      resume: plan.start, term: plan.term, origin: plan.origin, streams: plan.surviving(known),
      configurationHash: known.configurationHash)
    base.settled = plan.settled
    base.states = plan.states(
      known,
      [
        StreamEnd(
          name: Self.name, created: Self.created, last: last, isExclusive: isExclusive,
          mayLeaveGaps: mayLeaveGaps)
      ])
    current = base
    if let fault = write() { return fault }
    machine.began(current)
    acked = current.streams[Self.name].map {
      AcknowledgedMessage(sequence: $0.sequence, position: $0.position, rule: $0.rule)
    }
    had = nil
    unseen = plan.unseen[Self.name]?.count ?? 0
    unseenSequence = plan.unseen[Self.name]?.after ?? 0
    self.plan = plan
    observed = newest
    heldLeft = plan.held[Self.name]?.count ?? 0
    idsUntil = now + Int((plan.reliance?.left ?? .zero).components.seconds)
    sent = []
    (isStale, isRefused) = (false, false)
    read = max(Self.event(plan.start), 1) - 1
    return nil
  }
  private var plan: ResumePlan?
  private var observed = 0
  private var heldLeft = 0
  private var idsUntil = 0

  private struct Fault: Error { var description: String }

  private func decide(_ situation: EpochSituation) -> Result<EpochDecision, Fault> {
    var facts = EpochFacts()
    while true {
      do {
        return .success(try machine.decide(situation, facts))
      } catch {
        switch error {
        case .refused(let why): return .failure(Fault(description: "refused: \(why)"))
        case .asks(let question):
          guard facts[question] == nil else {
            return .failure(Fault(description: "asks \(question) twice"))
          }
          facts[question] = answer(question)
        }
      }
    }
  }

  private func answer(_ question: EpochQuestion) -> EpochAnswer {
    switch question {
    case .newestEntry: .entry(ResumePoint(position: Self.position(newest).entry, term: 1))
    case .oldestEntry: .entry(ResumePoint(position: Self.position(0).entry, term: 1))
    case .firstEntry(let position): .entry(ResumePoint(position: position, term: 1))
    case .checkpointTime:
      .time(
        CheckpointTime(
          written: ServerTime(seconds: checkpointAt), now: ServerTime(seconds: now)))
    case .messages(_, let since, _, _, let through):
      .messages(
        present.sorted { $0.key < $1.key }
          .filter { Self.position($0.value) > since && $0.key <= through }
          .map { own($0.value, at: $0.key) })
    case .markedEntry(let mark): .mark(.entry(ResumePoint(position: mark, term: 1)))
    case .transactionStart: .entry(nil)
    case .unnamedTrace, .loss: .reason(nil)
    case .snapshotIDs: .ids([])
    }
  }

  /// The next events, as a lane takes them.
  private func readSome(_ count: Int) {
    if let ids = plan?.reliance, now > idsUntil, Self.position(read).entry < ids.through {
      endEpoch(arriving: random.below(sent.count + 1))
      fault = begin() ?? fault
    }
    for _ in 0..<count where read < newest {
      read += 1
      if Self.isWanted(read) { take(read) }
    }
  }

  private func readAll() { readSome(newest - read) }

  private func take(_ event: Int) {
    guard let plan else { return }
    let position = Self.position(event)
    if let floor = plan.floors[Self.name], position < floor { return }
    if let held = plan.held[Self.name]?.first(where: { $0.position == position }) {
      heldLeft -= 1
      return meet(position, at: held.sequence)
    }
    if let mark = plan.watermarks[Self.name], position <= mark.position { return }
    // No more of them can be behind what there was when the stream was read.
    if event > observed { unseen = 0 }
    guard unseen == 0 else {
      unseen -= 1
      unseenSequence += 1
      acknowledge(at: unseenSequence, position)
      tell("event \(event) counts as \(unseenSequence)")
      return
    }
    sent.append(Sent(event: event))
    tell("event \(event) is sent")
  }

  private func meet(_ position: EventPosition, at sequence: UInt64) {
    if let acked, sequence <= acked.sequence { return }
    let through = max(had?.through ?? 0, sequence)
    had = MetMessages(to: max(had?.to ?? position, position), through: through)
  }

  private func acknowledge(at sequence: UInt64, _ position: EventPosition) {
    acked = AcknowledgedMessage(sequence: sequence, position: position, rule: "r")
    had = nil
  }

  /// The acks of the first messages in flight come back.
  private func acknowledge(_ count: Int) {
    for _ in 0..<count {
      guard let first = sent.first, let sequence = first.sequence else { return }
      sent.removeFirst()
      let position = Self.position(first.event)
      let isLate = plan?.lacksUpTo[Self.name].map { position <= $0.position } ?? false
      if first.isDuplicate || isLate {
        meet(position, at: sequence)
      } else {
        acknowledge(at: sequence, position)
      }
      tell("event \(first.event) is acknowledged at \(sequence)")
    }
  }

  private var mark: PipelineMark {
    let start = plan?.start ?? Self.position(0).entry
    var isWhole = read >= max(Self.event(start), 1)
    var done = isWhole ? Self.position(read).entry : start
    for oldest in [sent.first?.event, elsewhere].compactMap(\.self)
    where Self.position(oldest).entry <= done && oldest <= read {
      done = Self.position(oldest).entry
      isWhole = false
    }
    let resume = open.map { min(done, Self.position($0).entry) } ?? done
    var mark = PipelineMark(
      resume: resume, settled: EventPosition(entry: done, index: isWhole ? .max : 0),
      origin: current.origin, lanes: [(name: Self.name, created: Self.created, acked: acked)],
      had: had.map { [Self.name: $0] } ?? [:],
      unanswered: [Self.name: sent.count + Int(clamping: unseen)], inFlight: sent.count)
    let heldTo = plan?.held[Self.name]?.map(\.position).max()
    let hasRead = read >= max(Self.event(start), 1)
    mark.hasHeldLeft =
      heldLeft > 0 && (!hasRead || heldTo.map { Self.position(read) < $0 } ?? false)
    return mark
  }

  /// - Parameter isIdle: the stream's end is looked at, if nothing is in flight.
  private func save(isIdle: Bool, isFinal: Bool = false) {
    let mark = mark
    current = current.applying(mark)
    current.isFinal = isFinal && current.canBeFinal(mark)
    if isIdle, isExclusive, current.canBeFinal(mark) { current.note(others: [Self.name: last]) }
    _ = write()
  }

  private func write() -> String? {
    guard let read = try? Checkpoint(parsing: current.json.utf8) else {
      return "a checkpoint that can't be read: \(current.json)"
    }
    checkpoint = read
    checkpointAt = now
    tell("checkpoint: \(current.json)")
    return nil
  }

  // MARK: - Ends

  /// The connection is lost, or the server refuses something; the process stays.
  private func endEpoch(arriving: Int, by end: EpochEnd = .connectionLost("cut")) {
    tell("the epoch ends")
    let unanswered = mark.unanswered
    current = current.applying(mark)
    _ = machine.ended(
      end,
      EpochMachine.Remains(
        checkpoint: current, proven: current.streams,
        unanswered: unanswered))
    arrive(arriving)
    leaveBehind()
  }

  private func refuse() {
    let error = JetStreamError(
      code: 10071, operation: "publish", message: "wrong last sequence", remedy: .reread)
    endEpoch(arriving: 0, by: .publishFailed(lane: Self.name, error))
    late.events = []
  }

  /// What has not arrived may come later.
  private func leaveBehind() {
    let hasRepeated = sent.contains(where: \.isDuplicate)
    late = (hasRepeated || isStale ? [] : sent.filter { $0.sequence == nil }.map(\.event), last)
    sent = []
    elsewhere = nil
  }

  private func kill(arriving: Int) {
    arrive(arriving)
    tell("the process is killed")
    end()
  }

  /// It has the time to have everything acknowledged.
  private func stop() {
    arrive(sent.count)
    acknowledge(sent.count)
    save(isIdle: false, isFinal: true)
    tell("the process stops")
    end()
  }

  private func end() {
    leaveBehind()
    machine = Self.machine
    machine.memory.heardAt = ServerTime(seconds: heardAt)
  }
}
