import BSON
import BridgeConfiguration
import JSON
import JetStream
import Mapping
import NATS
import NIOCore
import Oplog

/// A follower's part on its event loop: makes the group's messages, joins them with what its streams hold, publishes
/// what is missing, and takes the acks.
///
/// Sendable invariant: every stored property is touched on the connection's event loop only. Nothing calls back into it
/// while one of its properties is being changed.
final class DualWork: @unchecked Sendable {
  /// One of the group's streams.
  struct Stream: Sendable {
    var name: String
    /// What has been read of it before.
    var place: CutoverProgress.Place
    /// Subjects of messages that can only be the group's.
    var patterns: [String]
    /// How large its messages may be.
    var limits: MessageLimits
    /// What each message asserts.
    var fence: LaneOptions.Fence?
    var isReplicated: Bool
    /// Messages that were stored earlier may belong to events that aren't looked at. By the server's clock.
    var judgedFrom: Int64
    /// How far it was read.
    var reading: StreamReading
  }

  struct Setup: Sendable {
    var configuration: BridgeConfiguration
    var rules: RuleSet
    var group: String
    var streams: [Stream]
    var connection: NATSConnection
    var record: CutoverRecord
    var position: EventPosition
    /// The newest of what was found before.
    var findings: [CutoverFinding]
    /// Ids that nobody had published when the group was committed.
    var missed: Set<String>
    /// Asked before anything is published.
    var tenure: Tenure
    /// Milliseconds since 1970, by MongoDB's clock.
    var now: @Sendable () -> Int64
  }

  let setup: Setup
  let connection: NATSConnection
  let streams: [Stream]
  private let ownership: [MessageOwnership.InStream]
  private let streamOfRule: [Int]
  private let ownRules: Set<[UInt8]>
  let grace: Int64
  private var maker: MessageMaker
  private var sink: BufferSink
  var table = DualTable()
  private var memory = SettledMemory()
  private(set) var record: CutoverRecord
  /// Everything up to here has left the table.
  private var settled: EventPosition
  /// By stream.
  var readings: [StreamReading]
  /// By stream: messages that were taken and not released to the scan.
  private var held: [Int]
  /// Sequences that were found by looking for an event's message, before reading came to them.
  private var foundAhead: [Set<UInt64>]

  let inbox: String
  private var subscription: UInt64?
  /// By number: what was published and has no ack, and since when.
  var inFlight: [UInt64: ContinuousClock.Instant] = [:]
  /// Acks that name a message of somebody else: it has to be compared.
  var toCompare: [(number: UInt64, stream: Int, sequence: UInt64)] = []
  /// Messages of events that were missed.
  private var late: [(id: String, isRight: Bool)] = []
  /// Messages of events that the bridge had filled in, with the sequences of those.
  private var doubled: [(stream: Int, id: String, message: DualTable.Stored, first: UInt64)] = []
  var refusal: String?
  var hasMovedFence = false
  private var sliceEnd: NIODeadline?

  static let mostEvents = 65_536
  static let mostBytes = 64 << 20
  static let mostStrangers = 100_000

  init(_ setup: Setup) {
    self.setup = setup
    connection = setup.connection
    streams = setup.streams
    record = setup.record
    settled = setup.position
    let configuration = setup.configuration
    let names = setup.streams.map(\.name)
    let owner = MessageOwnership(configuration)
    ownership = names.map { owner.of($0) }
    streamOfRule = configuration.rules.map { rule in
      rule.streamIndex.flatMap { names.firstIndex(of: configuration.streams[$0].name) } ?? 0
    }
    ownRules = Set(
      configuration.rules.filter { $0.group == setup.group }.map { Array($0.name.utf8) })
    grace = configuration.cutover.grace.milliseconds
    maker = MessageMaker(setup.rules)
    let ofStreams = setup.streams.map(\.limits)
    let letters = configuration.limits(
      rule: nil, maximumPayload: setup.connection.info.maxPayload)
    // As the pipeline has them, so that both agree on what can be published.
    sink = BufferSink(
      rules: streamOfRule.map { ofStreams.indices.contains($0) ? ofStreams[$0] : letters },
      letters: letters)
    sink.leftOut = configuration.rules.map { $0.group != setup.group }
    readings = setup.streams.map(\.reading)
    held = names.map { _ in 0 }
    foundAhead = names.map { _ in [] }
    inbox = setup.connection.newInbox()
    for finding in setup.findings { remember(finding, names) }
  }

  private func remember(_ finding: CutoverFinding, _ names: [String]) {
    guard let stream = names.firstIndex(of: finding.stream), !finding.id.isEmpty else { return }
    switch (finding.kind, finding.sequence) {
    case (.phantom, let sequence?):
      memory.note(.phantom(sequence: sequence), stream: stream, id: finding.id)
    case (.filled, let sequence?):
      memory.note(.filled(sequence: sequence), stream: stream, id: finding.id)
    case (.missed, _):
      memory.note(.missed(subject: "", digest: nil), stream: stream, id: finding.id)
    default: break
    }
  }

  func begin() { subscription = connection.subscribeRaw("\(inbox).>", handler: self) }

  func end() {
    if let subscription { connection.unsubscribeRaw(subscription) }
    subscription = nil
  }

  // MARK: - Events

  /// Asked before each event.
  func mayContinue() -> Bool {
    guard table.events < Self.mostEvents, table.bytes < Self.mostBytes else { return false }
    let now = NIODeadline.now()
    let end = sliceEnd ?? now + Self.slice
    sliceEnd = end
    return now < end
  }

  /// For how long events are taken at once: acks and messages come on the same loop.
  private static let slice = TimeAmount.milliseconds(20)

  /// The next event begins another slice.
  func endSlice() { sliceEnd = nil }

  func take(_ event: ChangeEvent) {
    guard event.position > settled, record.isHandedOver(event.position) else { return }
    var cursor = maker.begin(event)
    while !cursor.isDone {
      switch maker.step(event, &cursor, buffer: &sink) {
      case .sent(let rule): expect(event, rule)
      // What can't be made is the pipeline's to report.
      case .halt: maker.skip(event, &cursor)
      case .deadLetter, .invalid, .dropped, .filtered, .passed, .unmatched, .full: break
      }
    }
  }

  private func expect(_ event: ChangeEvent, _ rule: Int) {
    let marks = MessageMarks(sink.headers)
    guard let id = marks.storedID else { return }
    let expected = DualTable.Event(
      stream: streamOfRule[rule], id: String(decoding: id, as: UTF8.self), rule: rule,
      position: event.position, subject: String(decoding: sink.subject, as: UTF8.self),
      digest: JSONDigest(sink.body),
      due: (event.wallTime ?? Int64(event.position.entry.seconds) * 1000 + 999) + grace,
      headers: Array(sink.headers), body: Array(sink.body))
    guard let number = table.expect(expected),
      case .phantom(let sequence) = memory.fact(stream: expected.stream, id: expected.id)
    else { return }
    // It was no phantom, but very early.
    memory.forget(stream: expected.stream, id: expected.id)
    table.markAsked(number)
    toCompare.append((number, expected.stream, sequence))
  }

  // MARK: - Stored messages

  func observe(_ view: borrowing NATSMessageView, _ sequence: UInt64, in stream: Int) {
    held[stream] += 1
    let storedAt = StreamScan.storedAt(view) ?? CutoverTime.now
    let now = setup.now()
    readings[stream].read(sequence, storedAt: storedAt + 1000)
    let place = streams[stream].place
    guard !place.isDone(sequence), foundAhead[stream].remove(sequence) == nil else { return }
    let marks = MessageMarks(view.headers)
    let owner = ownership[stream].owner(of: marks)
    let isOwn = owner == .thisBridge
    // Of another group: nothing of this one waits for it.
    if isOwn, let rule = marks.rule, !ownRules.contains(Array(rule)) { return }
    if view.subject.starts(with: Self.fencePrefix) { return }
    let subject = String(decoding: view.subject, as: UTF8.self)
    let isOfGroup = streams[stream].patterns.contains { subjectIsCovered(subject, by: $0) }
    let message = DualTable.Stored(
      sequence: sequence, subject: subject, digest: isOwn ? nil : JSONDigest(view.payload),
      isOwn: isOwn,
      // Clocks differ: what is read as it is stored is judged by MongoDB's.
      horizon: max(storedAt, min(now, storedAt + 60_000)) + grace + 1000,
      mayBePhantom: owner == .nobody && isOfGroup && storedAt >= streams[stream].judgedFrom
        && !place.isInDoubt(sequence))
    let id = marks.storedID.map { String(decoding: $0, as: UTF8.self) }
    if !isOwn, let id, isLate(message, id, stream) { return }
    table.observe(message, id: id, in: stream)
  }

  /// Whether the message's event has left already: its producer came after the grace.
  private func isLate(_ message: DualTable.Stored, _ id: String, _ stream: Int) -> Bool {
    switch memory.fact(stream: stream, id: id) {
    case .missed(let subject, let digest):
      let isRight = digest.map { $0 == message.digest && subject == message.subject } ?? true
      late.append((id, isRight))
    case .filled(let sequence) where sequence < message.sequence:
      doubled.append((stream, id, message, sequence))
    case .filled, .phantom, nil: return false
    }
    memory.forget(stream: stream, id: id)
    return true
  }

  private static let fencePrefix = Array("tailrace.fence.".utf8)

  /// So many messages may be read on. By stream.
  func release() -> [Int] {
    guard table.strangers < Self.mostStrangers else { return held.map { _ in 0 } }
    defer { held = held.map { _ in 0 } }
    return held
  }

  // MARK: - Decisions

  /// What came out of one cycle.
  struct Cycle: Sendable {
    var decided: [DualTable.Decided] = []
    var phantoms: [(stream: Int, id: String, message: DualTable.Stored)] = []
    /// Events that were missed, and have a message after all.
    var late: [(id: String, isRight: Bool)] = []
    /// Messages that were stored although the bridge had filled in their events.
    var doubled: [(stream: Int, id: String, message: DualTable.Stored, first: UInt64)] = []
    /// Messages of others under the ids of events, to be compared.
    var compare: [(number: UInt64, event: DualTable.Event, sequence: UInt64)] = []
    /// Its message has to be looked for in its stream, from there on.
    var search: (number: UInt64, event: DualTable.Event, from: UInt64)?
    /// Everything up to here is decided.
    var settled: EventPosition
    var places: [String: CutoverProgress.Place] = [:]
    /// Nothing up to the fence is undecided.
    var isDrained = false
    /// Nothing is left to be decided, ever.
    var isOver = false
    /// A fence isn't the last one any more: the attempt has to begin again.
    var hasMovedFence = false
  }

  func use(_ record: CutoverRecord) {
    self.record = record
    // Also in `dual`, while the next range has not begun.
    if let end = record.end { table.handBack(after: end) }
  }

  /// - Parameters:
  ///   - frontier: all events up to there were taken.
  ///   - mayPublish: this process leads.
  func cycle(frontier: OplogPosition?, mayPublish: Bool, savesPlaces: Bool) -> Cycle {
    let now = setup.now()
    if mayPublish { fill(now) }
    var cycle = Cycle(settled: settled)
    cycle.hasMovedFence = hasMovedFence
    for one in toCompare {
      guard let event = table.undecidedEvent(one.number) else { continue }
      cycle.compare.append((one.number, event, one.sequence))
    }
    toCompare = []
    (cycle.late, cycle.doubled) = (late, doubled)
    (late, doubled) = ([], [])
    if let stuck = table.stuck(at: now, readThrough: readThrough, limit: limit),
      held[stuck.event.stream] > 0, table.strangers >= Self.mostStrangers
    {
      cycle.search = (stuck.number, stuck.event, readings[stuck.event.stream].next)
      table.markAsked(stuck.number)
    }
    while let decided = table.next() {
      remember(decided)
      cycle.decided.append(decided)
    }
    if let newest = table.settled { settled = max(settled, newest) }
    // What is behind the end is read again if another range begins there: the pipeline may not have come as far.
    if let frontier = frontier.map({ min($0, record.end ?? $0) }) {
      let passed = Int64(frontier.seconds) * 1000
      while let (stream, id, message) = table.nextStranger(passed: passed) {
        if !id.isEmpty, !message.isOwn {
          memory.note(.phantom(sequence: message.sequence), stream: stream, id: id)
        }
        if message.mayBePhantom { cycle.phantoms.append((stream, id, message)) }
      }
      let whole = EventPosition(entry: frontier, index: .max)
      if table.events == 0, whole > settled { settled = whole }
      if let fence = record.fence { cycle.isDrained = isSettled(through: fence, frontier) }
      if record.phase == .bridge, let end = record.end {
        cycle.isOver = isSettled(through: end, frontier)
      }
    }
    cycle.settled = settled
    if savesPlaces { cycle.places = places }
    return cycle
  }

  private func remember(_ decided: DualTable.Decided) {
    let event = decided.event
    switch (decided.verdict, decided.sequence) {
    case (.missed, _):
      memory.note(
        .missed(subject: event.subject, digest: event.digest), stream: event.stream, id: event.id)
    case (.filled, let sequence?):
      memory.note(.filled(sequence: sequence), stream: event.stream, id: event.id)
    default: break
    }
  }

  private func isSettled(through place: OplogPosition, _ frontier: OplogPosition) -> Bool {
    frontier >= place && (table.oldest.map { $0.position.entry > place } ?? true)
  }

  var readThrough: [Int64] { readings.map(\.readThrough) }

  /// Events behind it are kept back.
  var limit: OplogPosition? {
    switch record.phase {
    case .committing: record.fence
    // The pipeline takes over again, at a boundary that isn't known yet.
    case .bridge: record.end ?? OplogPosition(seconds: 0, increment: 0)
    case .dual, .committed, .finalized: nil
    }
  }

  private var places: [String: CutoverProgress.Place] {
    var found: [String: CutoverProgress.Place] = [:]
    for (index, stream) in streams.enumerated() {
      let readTo = max(readings[index].next, 1) - 1
      let isRereading = readTo < stream.place.readTo
      var open = SequenceSet(table.openSequences(in: index))
      var isPartial = stream.place.isPartial && isRereading
      if isRereading {
        // What was open and has not been read again stays open.
        var sequences = open.sequences
        for run in stream.place.open.runs where run.upperBound > readTo {
          sequences += Array(max(run.lowerBound, readTo + 1)...run.upperBound)
        }
        open = SequenceSet(sequences)
      }
      if open.runs.count > Self.mostRuns {
        isPartial = true
        open = open.prefix(Self.mostRuns)
      }
      found[stream.name] = CutoverProgress.Place(
        created: stream.place.created, readTo: max(readTo, stream.place.readTo), open: open,
        isPartial: isPartial, lostUntil: readings[index].lost)
    }
    return found
  }

  /// Runs of open sequences that are written down.
  private static let mostRuns = 8192

  func decide(_ number: UInt64, _ verdict: DualTable.Verdict, _ sequence: UInt64?) {
    table.decide(number, verdict, sequence)
  }

  /// An event's message was found in its stream.
  func decide(
    _ number: UInt64, _ event: DualTable.Event, foundAhead message: StoredMessage, isAhead: Bool
  ) {
    let isOwn = ownership[event.stream].owner(of: message) == .thisBridge
    let verdict = DualTable.verdict(
      event,
      DualTable.Stored(
        sequence: message.sequence, subject: message.subject,
        digest: isOwn ? nil : JSONDigest(message.payload), isOwn: isOwn, horizon: 0,
        mayBePhantom: false))
    table.decide(number, verdict, message.sequence)
    if isAhead, message.sequence >= readings[event.stream].next {
      foundAhead[event.stream].insert(message.sequence)
    }
  }

  /// No message of its stream has the event's id.
  func decide(missing number: UInt64, mayPublish: Bool) {
    guard let event = table.undecidedEvent(number) else { return }
    if let verdict = verdict(missing: event) {
      table.decide(number, verdict, nil)
    } else if mayPublish {
      publish(number, event)
    } else {
      table.ask(again: number)
    }
  }

  func ask(again number: UInt64) { table.ask(again: number) }

  /// How an event ends that has no message; nil: the bridge publishes it.
  func verdict(missing event: DualTable.Event) -> DualTable.Verdict? {
    if record.phase == .committed || record.phase == .finalized, let fence = record.fence,
      event.position.entry > fence
    {
      return .missed
    }
    // Its message may have been there, and published again it would be delivered twice.
    if readings[event.stream].mayHaveLost(event.due - grace, now: setup.now()),
      !setup.missed.contains(event.id)
    {
      return .expired
    }
    return nil
  }
}
