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
  static let name = "S"
  static let events = 120
  static let faultsEnd: Int64 = 50_000
  static let end: Int64 = 110_000

  var random: SeededRandom
  var story: [String] = []
  let isTold: Bool
  let flaw: Flaw?
  var fault: String?
  var now: Int64 = 0

  // The oplog, the application and the server
  var events: [Event] = []
  var messages: [Message] = []
  var ids: [Int: (sequence: Int, at: Int64)] = [:]
  /// What the stream keeps.
  enum Limit {
    case all
    case count(Int)
    case age(Int64)
  }
  let limit: Limit
  var removal: StreamReading.Removal {
    switch limit {
    case .all: .nothing
    case .count: .oldest
    case .age(let age): .byAge(age)
    }
  }
  var publishes: [Publish] = []
  var acks: [Ack] = []

  // The state bucket
  var record = CutoverRecord(group: "g")
  var revision = 1
  var progress: CutoverProgress?
  var progressRevision = 1

  // The leader
  var epoch: UInt64 = 1
  var leadsAgainAt: Int64 = 0
  var leftOut: [HandedRange] = []
  var piped = 0
  var checkpoint = 0

  // Its follower
  var attempts = 0
  var follower: Follower?
  var restsUntil: Int64 = 0
  /// What it knew last, of all attempts of this leader.
  var taken: OplogPosition?
  var commitSeen: (number: UInt64, at: Int64)?

  var operation: Operation?
  var changes: [CutoverPhase: Int] = [:]
  var fills = 0
  var rewinds = 0

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

  var written = 0

  // MARK: - The application and the server

  /// Producers are asked to publish what is written while the group is neither the bridge's nor on its way there.
  var producersAreOn: Bool {
    record.phase != .bridge && record.lastRange?.until == nil && record.hasRanges
  }

  /// Events whose producers publish, the next one first.
  lazy var plan: [(at: Int64, event: Int)] = events.indices.compactMap { number in
    events[number].producedAt.map { ($0, number) }
  }.sorted { $0.at < $1.at }
  var produced = 0

  func produce() {
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
  func store(_ number: Int, _ author: Author, isRight: Bool = true) -> (
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
  var firstSequence: UInt64 {
    switch limit {
    case .all: return 1
    case .count(let count): return UInt64(max(messages.count - count, 0)) + 1
    case .age(let age):
      while removed < messages.count, messages[removed].at < now - age { removed += 1 }
      return UInt64(removed) + 1
    }
  }
  var removed = 0

  func arrive() {
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
  func restart() {
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

  func kill() {
    tell("the leader is killed")
    follower = nil
    taken = nil
    commitSeen = nil
    epoch += 1
    leadsAgainAt = now + Int64.random(in: 0...4000, using: &random)
    piped = checkpoint
    isBegun = false
  }

  var isBegun = false
  var slowUntil: Int64 = 0
  /// Events whose messages the pipeline has stored, or met.
  var met: Set<Int> = []

  func lead() {
    if !isBegun { begin() }
    pipe()
    if record.needsBoundary, chance(4) { settle() }
    follow()
  }

  /// An epoch of the pipeline begins.
  func begin() {
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

  func pipe() {
    // MongoDB, or one of the streams, may be slow.
    if !isQuiet, chance(400) { slowUntil = now + Int64.random(in: 0...40_000, using: &random) }
    guard now >= slowUntil || isQuiet else { return }
    var most = isQuiet ? 50 : Int.random(in: 0...6, using: &random)
    while piped < written, most > 0 {
      most -= 1
      let position = events[piped].position
      // What the stream holds of what it has sent, it finds out again after a crash: that is `EmptiedStreamTests`' matter.
      if !leftOut.contains(where: { $0.contains(position) }), !met.contains(piped) {
        store(piped, .pipeline)
        met.insert(piped)
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
  func settle() {
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

  // MARK: - The end

  func judge() {
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
