import Bridge
import JSON
import Oplog
import TestRandom

/// A group on its way from the bridge to its producers and back: operators ask for anything at any time and are killed
/// between two steps; leaders, epochs and attempts to follow end at any moment; publishes and acks are late or lost; the
/// stream may be a small one. Records, boundaries, decisions and what is written down are production code; the pipeline,
/// the server and the application are what is here.
final class CutoverCourse {
  struct Event {
    var time: Int64
    var position: EventPosition
    /// When its producer publishes, if producers are asked to; nil: never.
    var producedAt: Int64?
    var isWrong = false
    /// Who has stored it, in this order.
    var stored: [Author] = []
    /// It was given up, as the stream no longer held what was stored at the time.
    var isExpired = false
  }

  enum Author { case pipeline, follower, producer }

  /// What can be wrong on purpose, to see that it is found.
  enum Flaw: CaseIterable {
    case rollbackWithoutOverlap, confirmationBeforeTheDrain, returnWhereThePipelineIs
    case fenceWhereTheFollowerIs, streamsFromTheirEnd, removalsUnnoticed
  }

  struct Message {
    var event: Int
    var author: Author
    var isRight: Bool
    var at: Int64
  }

  struct Publish {
    var number: UInt64
    var event: DualTable.Event
    var arrivesAt: Int64
    /// Nil: its attempt is over.
    var attempt: Int
  }

  struct Ack {
    var number: UInt64
    var sequence: UInt64
    var isDuplicate: Bool
    var at: Int64
    var attempt: Int
  }

  static let grace: Int64 = 2000
  static let window: Int64 = 20_000
  static let timeout: Int64 = 6000
  private static let name = "S"
  private static let events = 120
  private static let faultsEnd: Int64 = 50_000
  private static let end: Int64 = 110_000

  var random: SeededRandom
  private(set) var story: [String] = []
  private let isTold: Bool
  let flaw: Flaw?
  var fault: String?
  var now: Int64 = 0

  // The oplog, the application and the server
  var events: [Event] = []
  var messages: [Message] = []
  private var ids: [Int: (sequence: Int, at: Int64)] = [:]
  /// What the stream keeps.
  private enum Limit {
    case all
    case count(Int)
    case age(Int64)
  }
  private let limit: Limit
  private var removal: StreamReading.Removal {
    switch limit {
    case .all: .nothing
    case .count: .oldest
    case .age(let age): .byAge(age)
    }
  }
  private var publishes: [Publish] = []
  private var acks: [Ack] = []

  // The state bucket
  var record = CutoverRecord(group: "g")
  var revision = 1
  private var progress: CutoverProgress?
  private var progressRevision = 1

  // The leader
  private var epoch: UInt64 = 1
  private var leadsAgainAt: Int64 = 0
  private var leftOut: [HandedRange] = []
  private var piped = 0
  private var checkpoint = 0

  // Its follower
  private var attempts = 0
  private var follower: Follower?
  private var restsUntil: Int64 = 0
  /// What it knew last, of all attempts of this leader.
  private var taken: OplogPosition?
  private var commitSeen: (number: UInt64, at: Int64)?

  var operation: Operation?
  private(set) var changes: [CutoverPhase: Int] = [:]
  private(set) var fills = 0
  private(set) var rewinds = 0

  struct Follower {
    var number: Int
    var epoch: UInt64
    var record: CutoverRecord
    var revision: Int
    var progress: CutoverProgress
    var progressRevision: Int
    var decisions: GroupDecisions
    /// The next event to be read.
    var next: Int
    var frontier: OplogPosition?
    var readAt: Int64
    var inFlight: [UInt64: Int64] = [:]
    var compares: [(number: UInt64, sequence: UInt64)] = []
    var question: (first: UInt64, last: UInt64, at: Int64, known: Int)?
  }

  init(seed: UInt64, isTold: Bool = false, flaw: Flaw? = nil) {
    random = SeededRandom(seed: seed)
    self.flaw = flaw
    self.isTold = isTold
    switch Int.random(in: 0..<6, using: &random) {
    case 0: limit = .count(Int.random(in: 5...40, using: &random))
    case 1: limit = .age(Int64.random(in: 3000...30_000, using: &random))
    default: limit = .all
    }
    var time: Int64 = 3000
    for number in 0..<Self.events {
      time += Int64.random(in: 1...760, using: &random)
      var event = Event(time: time, position: Self.position(time, number))
      switch Int.random(in: 0..<20, using: &random) {
      case 0: break
      case 1: event.producedAt = time - Int64.random(in: 1...2000, using: &random)
      case 2: event.producedAt = time + Int64.random(in: 1500...9000, using: &random)
      case 3:
        event.producedAt = time + 300
        event.isWrong = true
      default: event.producedAt = time + Int64.random(in: 0...1200, using: &random)
      }
      events.append(event)
    }
  }

  private static func position(_ time: Int64, _ number: Int) -> EventPosition {
    EventPosition(
      entry: OplogPosition(seconds: UInt32(time / 1000), increment: UInt32(number + 1)), index: 0)
  }

  func chance(_ one: Int) -> Bool { Int.random(in: 0..<one, using: &random) == 0 }
  var isQuiet: Bool { now >= Self.faultsEnd }

  func tell(_ line: @autoclosure () -> String) {
    if isTold { story.append("\(now) \(line())") }
  }

  /// What went wrong; nil: nothing.
  func run() -> String? {
    while now < Self.end, fault == nil {
      now += 100
      while written < events.count, events[written].time <= now { written += 1 }
      produce()
      arrive()
      if now >= leadsAgainAt { lead() }
      operate()
      if !isQuiet, chance(150) { kill() }
      if !isQuiet, chance(300) { restart() }
    }
    if fault == nil { judge() }
    return fault
  }

  // MARK: - The oplog

  /// The newest entry that a majority has. Something is written all the time.
  var newest: OplogPosition {
    OplogPosition(seconds: UInt32(now / 1000), increment: UInt32(written))
  }

  private(set) var written = 0

  // MARK: - The application and the server

  /// Producers are asked to publish what is written while the group is neither the bridge's nor on its way there.
  private var producersAreOn: Bool {
    record.phase != .bridge && record.lastRange?.until == nil && record.hasRanges
  }

  /// Events whose producers publish, the next one first.
  private lazy var plan: [(at: Int64, event: Int)] = events.indices.compactMap { number in
    events[number].producedAt.map { ($0, number) }
  }.sorted { $0.at < $1.at }
  private var produced = 0

  private func produce() {
    while produced < plan.count, plan[produced].at <= now {
      let number = plan[produced].event
      produced += 1
      // Where the write is older than the range, its message is the pipeline's.
      guard producersAreOn, record.isHandedOver(events[number].position) else { continue }
      store(number, .producer, isRight: !events[number].isWrong)
      if chance(10) { store(number, .producer, isRight: !events[number].isWrong) }
    }
  }

  /// As the server does it: the message's sequence, and whether it was there.
  @discardableResult
  private func store(_ number: Int, _ author: Author, isRight: Bool = true) -> (
    Int, isDuplicate: Bool
  ) {
    if let known = ids[number], now - known.at < Self.window {
      tell("\(author) publishes \(number): a duplicate of \(known.sequence)")
      return (known.sequence, true)
    }
    messages.append(Message(event: number, author: author, isRight: isRight, at: now))
    ids[number] = (messages.count, now)
    tell("\(author) stores \(number) as \(messages.count)")
    if author != .producer {
      if !events[number].stored.isEmpty {
        fail("\(author) stores event \(number) again: \(events[number].stored)")
      }
      if record.phase == .committed || record.phase == .finalized, let fence = record.fence,
        events[number].position.entry > fence
      {
        fail("\(author) stores event \(number), which is behind the fence \(fence)")
      }
    }
    events[number].stored.append(author)
    return (messages.count, false)
  }

  /// Of the first message that is left, or would be the next.
  private var firstSequence: UInt64 {
    switch limit {
    case .all: return 1
    case .count(let count): return UInt64(max(messages.count - count, 0)) + 1
    case .age(let age):
      while removed < messages.count, messages[removed].at < now - age { removed += 1 }
      return UInt64(removed) + 1
    }
  }
  private var removed = 0

  private func arrive() {
    guard !publishes.isEmpty else { return }
    for publish in publishes where publish.arrivesAt <= now {
      guard let number = Int(publish.event.id) else { continue }
      let (sequence, isDuplicate) = store(number, .follower)
      if !isDuplicate { fills += 1 }
      guard isQuiet || !chance(12) else { continue }
      acks.append(
        Ack(
          number: publish.number, sequence: UInt64(sequence), isDuplicate: isDuplicate,
          at: now + Int64.random(in: 0...300, using: &random), attempt: publish.attempt))
    }
    publishes.removeAll { $0.arrivesAt <= now }
  }

  /// The server knows ids by the messages that it has, then. Connections are lost.
  private func restart() {
    tell("the server restarts")
    for (number, known) in ids where known.sequence < firstSequence { ids[number] = nil }
    follower = nil
    publishes = []
    restsUntil = now + Int64.random(in: 0...2000, using: &random)
  }

  func fail(_ why: String) {
    if fault == nil { fault = "\(now): \(why)" }
  }

  // MARK: - Leaders

  private func kill() {
    tell("the leader is killed")
    follower = nil
    taken = nil
    commitSeen = nil
    epoch += 1
    leadsAgainAt = now + Int64.random(in: 0...4000, using: &random)
    piped = checkpoint
    isBegun = false
  }

  private var isBegun = false
  private var slowUntil: Int64 = 0

  private func lead() {
    if !isBegun { begin() }
    pipe()
    if record.needsBoundary, chance(4) { settle() }
    follow()
  }

  /// An epoch of the pipeline begins.
  private func begin() {
    isBegun = true
    // Adopted by compare-and-set: whoever led before can't change it any more.
    if record.epoch != epoch, record.number > 0 {
      record.epoch = epoch
      revision += 1
    }
    leftOut = record.hasRanges ? record.leftOut : []
    // The desk lets a follower follow.
    if follower == nil, record.isFollowed { restsUntil = min(restsUntil, now) }
    tell(
      "an epoch begins: \(record.phase), left out \(leftOut.map { "\($0.from!)…\($0.until.map { "\($0)" } ?? "")" })"
    )
  }

  private func pipe() {
    // MongoDB, or one of the streams, may be slow.
    if !isQuiet, chance(400) { slowUntil = now + Int64.random(in: 0...40_000, using: &random) }
    guard now >= slowUntil || isQuiet else { return }
    var most = isQuiet ? 50 : Int.random(in: 0...6, using: &random)
    while piped < written, most > 0 {
      most -= 1
      let position = events[piped].position
      // What it has stored itself, reading the stream has shown it.
      if !leftOut.contains(where: { $0.contains(position) }),
        !events[piped].stored.contains(.pipeline)
      {
        store(piped, .pipeline)
      }
      piped += 1
    }
    if chance(5) { checkpoint = piped }
    // The watch of the desk: a change that the pipeline has to know ends its epoch.
    if record.phase == .finalized || (record.hasRanges && follower == nil), chance(4),
      leftOut != (record.hasRanges ? record.leftOut : [])
    {
      begin()
    }
  }

  /// The epoch ends at a boundary between two entries, and the next one begins.
  private func settle() {
    checkpoint = piped
    let place =
      piped == 0
      ? OplogPosition(seconds: 1, increment: 1)
      : piped < written ? events[piped - 1].position.entry : newest
    let (before, known) = (record, revision)
    // Between what was read and what is written, an operator may be faster.
    if !isQuiet, chance(6) { return begin() }
    guard known == revision else { return begin() }
    var boundary = before.boundary(
      settled: place, newest: before.isGivenBack ? newest : nil, taken: taken)
    if flaw == .returnWhereThePipelineIs { boundary = place }
    if var next = before.told(
      .boundary(boundary, resume: boundary), by: "leader", reason: "", now: now)
    {
      next.epoch = epoch
      write(next)
    }
    begin()
  }

  func write(_ next: CutoverRecord) {
    if next.phase != record.phase { changes[next.phase, default: 0] += 1 }
    tell(
      "\(record.phase) → \(next.phase): fence \(next.fence.map { "\($0)" } ?? "none"), generation \(next.generation), rewind \(next.rewind.map { "\($0)" } ?? "none"), ranges \(next.ranges.map { "\($0.from.map { "\($0)" } ?? "?")…\($0.until.map { "\($0)" } ?? "")" })"
    )
    record = next
    revision += 1
  }

  // MARK: - The follower

  private func follow() {
    if follower == nil {
      guard now >= restsUntil, record.isFollowed else { return }
      beginAttempt()
    }
    guard var one = follower else { return }
    follower = nil
    if step(&one) {
      if !isQuiet, chance(60) {
        tell("the attempt ends")
        restsUntil = now + Int64.random(in: 0...2000, using: &random)
        return
      }
      follower = one
    } else {
      restsUntil = now + 100
    }
  }

  private func beginAttempt() {
    attempts += 1
    guard var known = CutoverProgress(continuing: progress, record, epoch: epoch) else {
      return fail("no position of the group is known")
    }
    if record.rewind != nil, progress?.generation != known.generation { rewinds += 1 }
    if record.phase == .bridge, let end = record.end, known.position.entry >= end { return }
    let place: CutoverProgress.Place
    if let old = known.streams[Self.name] {
      place = old
    } else {
      let time = Int64(known.position.entry.seconds) * 1000 - Self.window - 5000
      let first =
        messages.indices.first { $0 + 1 >= Int(firstSequence) && messages[$0].at >= time }
        ?? messages.count
      var lostUntil: Int64?
      if firstSequence > 1 {
        let next = Int(firstSequence) - 1
        lostUntil = next < messages.count ? messages[next].at / 1000 * 1000 + 1000 : now
        if case .age(let age) = limit { lostUntil = min(lostUntil ?? now, now - age + 1000) }
      }
      place = CutoverProgress.Place(
        created: "c", readTo: UInt64(flaw == .streamsFromTheirEnd ? messages.count : first),
        open: SequenceSet(), lostUntil: flaw == .removalsUnnoticed ? nil : lostUntil)
      known.streams[Self.name] = place
    }
    known.epoch = epoch
    progressRevision += 1
    progress = known
    let decisions = GroupDecisions(
      streams: [
        GroupDecisions.Stream(
          name: Self.name, place: place,
          reading: StreamReading(
            from: place.next, last: UInt64(messages.count), removal: removal,
            lostUntil: place.lostUntil, window: Self.window))
      ], record: record, position: known.position, findings: known.findings,
      missed: Set(known.findings.filter { $0.kind == .missed }.map(\.id)), grace: Self.grace)
    follower = Follower(
      number: attempts, epoch: epoch, record: record, revision: revision, progress: known,
      progressRevision: progressRevision, decisions: decisions,
      next: events.firstIndex { $0.position.entry >= known.resume } ?? events.count, readAt: now)
    tell("an attempt begins at \(known.position), sequence \(place.next)")
  }

  /// False: the attempt is over.
  private func step(_ one: inout Follower) -> Bool {
    if now - one.readAt > 400 {
      one.readAt = now
      guard readRecord(&one) else { return false }
    }
    takeEvents(&one)
    readStream(&one)
    takeAcks(&one)
    fill(&one)
    compare(&one)
    let outcome = one.decisions.settle(frontier: one.frontier)
    count(outcome, &one)
    one.progress.position = max(one.progress.position, outcome.settled)
    one.progress.resume = min(
      one.progress.position.entry, one.frontier ?? one.progress.position.entry)
    taken = [taken, one.frontier].compactMap { $0 }.max()
    let mustSave = one.record.phase == .committing && outcome.isDrained
    if mustSave || chance(8) { guard save(&one) else { return false } }
    if outcome.isDrained, one.record.phase == .committing, !one.record.isDrained,
      let fence = one.record.fence
    {
      one.progress.position = max(one.progress.position, EventPosition(entry: fence, index: .max))
      guard save(&one) else { return false }
      if !isQuiet, chance(8) { return false }
      report(.drained, &one)
    }
    if outcome.isOver, let end = one.record.end {
      one.progress.position = max(one.progress.position, EventPosition(entry: end, index: .max))
      _ = save(&one)
      tell("the follower has nothing left to do")
      return false
    }
    return true
  }

  private func report(_ report: CutoverReport, _ one: inout Follower) {
    guard let next = one.record.told(report, by: "follower", reason: "", now: now),
      one.revision == revision
    else { return }
    write(next)
    (one.record, one.revision) = (record, revision)
    one.decisions.use(record)
  }

  private func readRecord(_ one: inout Follower) -> Bool {
    guard record.epoch <= one.epoch else { return false }
    if revision != one.revision {
      let before = one.record
      (one.record, one.revision) = (record, revision)
      switch record.continuation(of: before) {
      case .over, .again: return false
      case .counting(let generation): one.progress.begin(generation)
      case .same: break
      }
      one.decisions.use(record)
    }
    guard one.record.phase == .committing else { return true }
    if commitSeen?.number != one.record.number { commitSeen = (one.record.number, now) }
    if let seen = commitSeen, now - seen.at > Self.timeout {
      report(.failed, &one)
    } else if one.record.fence == nil {
      report(
        .fence(
          flaw == .fenceWhereTheFollowerIs
            ? one.progress.position.entry
            : max(newest, one.progress.position.entry, one.frontier ?? newest)), &one)
    }
    return true
  }

  private func takeEvents(_ one: inout Follower) {
    var most = isQuiet ? 50 : Int.random(in: 0...5, using: &random)
    while one.next < written, most > 0 {
      let event = events[one.next]
      if one.decisions.isOpen(event.position) {
        let right = digest(one.next, isRight: true)
        let expected = DualTable.Event(
          stream: 0, id: "\(one.next)", rule: 0, position: event.position, subject: "s",
          digest: right, due: event.time + Self.grace)
        if let early = one.decisions.expect(expected) { one.compares.append(early) }
      }
      one.frontier = event.position.entry
      one.next += 1
      most -= 1
    }
    if one.next == written, written == 0 || chance(2) { one.frontier = newest }
  }

  private func digest(_ number: Int, isRight: Bool) -> JSONDigest? {
    JSONDigest(Array("{\"n\":\(isRight ? number : -1)}".utf8))
  }

  private func stored(_ sequence: UInt64) -> DualTable.Stored {
    let message = messages[Int(sequence) - 1]
    let isOwn = message.author != .producer
    return DualTable.Stored(
      sequence: sequence, subject: "s",
      digest: isOwn ? nil : digest(message.event, isRight: message.isRight), isOwn: isOwn,
      horizon: max(message.at, now) + Self.grace + 1000, mayBePhantom: !isOwn)
  }

  private func readStream(_ one: inout Follower) {
    let answer = one.question
    if let answer, chance(2) {
      one.question = nil
      one.decisions.noteEnd(
        of: 0, first: answer.first, last: answer.last, removal: removal, at: answer.at,
        known: answer.known)
      let next = one.decisions.readings[0].next
      if next <= answer.last, firstSequence > answer.last {
        one.decisions.noteHole(
          in: 0, from: next, through: answer.last,
          storedAt: min(messages[Int(answer.last) - 1].at + 1000, answer.at), at: answer.at)
      }
    }
    var most = isQuiet ? 100 : Int.random(in: 0...6, using: &random)
    while most > 0 {
      let next = max(one.decisions.readings[0].next, firstSequence)
      guard next <= messages.count else { break }
      most -= 1
      let message = messages[Int(next) - 1]
      guard one.decisions.read(next, in: 0, storedAt: message.at) else { continue }
      one.decisions.observe(stored(next), id: "\(message.event)", in: 0)
    }
    if one.question == nil {
      one.question = (
        firstSequence, UInt64(messages.count), now, one.decisions.readings[0].gaps
      )
    }
  }

  private func takeAcks(_ one: inout Follower) {
    guard !acks.isEmpty else { return }
    for ack in acks where ack.at <= now && ack.attempt == one.number {
      guard one.inFlight.removeValue(forKey: ack.number) != nil else { continue }
      if ack.isDuplicate {
        one.compares.append((ack.number, ack.sequence))
      } else {
        one.decisions.decide(ack.number, .filled, ack.sequence)
      }
    }
    acks.removeAll { $0.at <= now }
  }

  private func compare(_ one: inout Follower) {
    for (number, sequence) in one.compares {
      guard let event = one.decisions.table.undecidedEvent(number) else { continue }
      if sequence < firstSequence {
        one.decisions.decide(number, .byProducer, sequence)
      } else {
        one.decisions.decide(number, event, found: stored(sequence), isAhead: false)
      }
    }
    one.compares = []
  }

  private func fill(_ one: inout Follower) {
    for (number, since) in one.inFlight where now - since > 5000 {
      one.inFlight[number] = nil
      one.decisions.ask(again: number, afterReadingThrough: now)
    }
    // A leader that has been replaced doesn't publish.
    guard one.epoch == epoch else { return }
    for (number, event) in one.decisions.due(at: now, most: 20) {
      one.inFlight[number] = now
      publishes.append(
        Publish(
          number: number, event: event,
          arrivesAt: now + Int64.random(in: 0...(isQuiet ? 100 : 2500), using: &random),
          attempt: one.number))
    }
  }

  private func count(_ outcome: GroupDecisions.Outcome, _ one: inout Follower) {
    for decided in outcome.decided {
      guard let number = Int(decided.event.id) else { continue }
      tell("\(number) is \(decided.verdict)")
      switch decided.verdict {
      case .handedBack: break
      case .expired:
        events[number].isExpired = true
        if firstSequence == 1 { fail("event \(number) is given up, and nothing was removed") }
      case .byProducer: one.progress.counts.byProducer += 1
      case .filled:
        one.progress.counts.filled += 1
        note(.filled, number, decided, &one)
      case .mismatched: one.progress.counts.mismatched += 1
      case .missed:
        one.progress.counts.missed += 1
        note(.missed, number, decided, &one)
      }
    }
    for (id, isRight) in outcome.late { one.progress.noteLate(id, isRight: isRight) }
    for phantom in outcome.phantoms where events[Int(phantom.id) ?? 0].position <= outcome.settled {
      one.progress.counts.phantom += 1
    }
  }

  private func note(
    _ kind: CutoverFinding.Kind, _ number: Int, _ decided: DualTable.Decided, _ one: inout Follower
  ) {
    one.progress.note(
      CutoverFinding(
        kind, id: "\(number)", position: decided.event.position, stream: Self.name,
        sequence: decided.sequence, at: now))
  }

  private func save(_ one: inout Follower) -> Bool {
    guard one.progressRevision == progressRevision else { return false }
    one.progress.streams = one.decisions.places
    progressRevision += 1
    progress = one.progress
    one.progressRevision = progressRevision
    return true
  }

  // MARK: - The end

  private func judge() {
    for (number, event) in events.enumerated() where event.stored.isEmpty && !event.isExpired {
      if record.phase == .committed || record.phase == .finalized, let fence = record.fence,
        event.position.entry > fence
      {
        continue
      }
      return fail(
        "event \(number) is lost (\(event.position), written at \(event.time)); the group is in \(record.phase)"
      )
    }
    guard record.phase == .committed, let fence = record.fence, let progress, case .all = limit
    else {
      return
    }
    let missing = events.count { $0.stored.isEmpty && $0.position.entry > fence }
    if progress.counts.missed != missing {
      fail("\(progress.counts.missed) events are counted as missed, \(missing) are")
    }
  }
}
