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
final class DualWork: NATSRawHandler, @unchecked Sendable {
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
  }

  struct Setup: Sendable {
    var configuration: BridgeConfiguration
    var rules: RuleSet
    var group: String
    var streams: [Stream]
    var connection: NATSConnection
    var record: CutoverRecord
    var position: EventPosition
    /// Asked before anything is published.
    var tenure: Tenure
    /// Milliseconds since 1970, by MongoDB's clock.
    var now: @Sendable () -> Int64
  }

  private let setup: Setup
  private let connection: NATSConnection
  private let streams: [Stream]
  private let ownership: [MessageOwnership.InStream]
  private let streamOfRule: [Int]
  private let ruleNames: [String]
  private let ownRules: Set<[UInt8]>
  private let grace: Int64
  private var maker: MessageMaker
  private var sink: BufferSink
  private var table = DualTable()
  private(set) var record: CutoverRecord
  /// Everything up to here has left the table.
  private var settled: EventPosition
  /// By stream: everything that was stored before this time was observed.
  private var readThrough: [Int64]
  private(set) var nextSequences: [UInt64]
  /// By stream: messages that were taken and not released to the scan.
  private var held: [Int]
  /// Sequences that were found by looking for an event's message, before reading came to them.
  private var foundAhead: [Set<UInt64>]

  private let inbox: String
  private var subscription: UInt64?
  /// By number: what was published and has no ack, and since when.
  private var inFlight: [UInt64: ContinuousClock.Instant] = [:]
  /// Acks that name a message of somebody else: it has to be compared.
  private var toCompare: [(number: UInt64, stream: Int, sequence: UInt64)] = []
  private(set) var refusal: String?
  private var hasMovedFence = false
  private var sliceEnd: NIODeadline?

  static let mostEvents = 65_536
  static let mostBytes = 64 << 20
  static let mostStrangers = 100_000
  /// A replicated stream refuses an assertion of a subject while one like it is under way (10164).
  private var mostInFlight: Int {
    streams.contains { $0.fence != nil && $0.isReplicated } ? 1 : 1024
  }
  private static let ackLimit = Duration.seconds(5)

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
    ruleNames = configuration.rules.map(\.name)
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
    readThrough = names.map { _ in 0 }
    nextSequences = setup.streams.map(\.place.next)
    held = names.map { _ in 0 }
    foundAhead = names.map { _ in [] }
    inbox = setup.connection.newInbox()
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
    table.expect(
      DualTable.Event(
        stream: streamOfRule[rule], id: String(decoding: id, as: UTF8.self), rule: rule,
        position: event.position, subject: String(decoding: sink.subject, as: UTF8.self),
        digest: JSONDigest(sink.body),
        due: (event.wallTime ?? Int64(event.position.entry.seconds) * 1000 + 999) + grace,
        headers: Array(sink.headers), body: Array(sink.body)))
  }

  // MARK: - Stored messages

  func observe(_ view: borrowing NATSMessageView, _ sequence: UInt64, in stream: Int) {
    held[stream] += 1
    nextSequences[stream] = sequence + 1
    let place = streams[stream].place
    guard !place.isDone(sequence), foundAhead[stream].remove(sequence) == nil else { return }
    let marks = MessageMarks(view.headers)
    let owner = ownership[stream].owner(of: marks)
    let isOwn = owner == .thisBridge
    // Of another group: nothing of this one waits for it.
    if isOwn, let rule = marks.rule, !ownRules.contains(Array(rule)) { return }
    if view.subject.starts(with: Self.fencePrefix) { return }
    let storedAt = StreamScan.storedAt(view) ?? CutoverTime.now
    let now = setup.now()
    let subject = String(decoding: view.subject, as: UTF8.self)
    let isOfGroup = streams[stream].patterns.contains { subjectIsCovered(subject, by: $0) }
    table.observe(
      DualTable.Stored(
        sequence: sequence, subject: subject, digest: isOwn ? nil : JSONDigest(view.payload),
        isOwn: isOwn,
        // Clocks differ: what is read as it is stored is judged by MongoDB's.
        horizon: max(storedAt, min(now, storedAt + 60_000)) + grace + 1000,
        mayBePhantom: owner == .nobody && isOfGroup && storedAt >= streams[stream].judgedFrom
          && !place.isInDoubt(sequence)),
      id: marks.storedID.map { String(decoding: $0, as: UTF8.self) }, in: stream)
  }

  private static let fencePrefix = Array("tailrace.fence.".utf8)

  /// So many messages may be read on. By stream.
  func release() -> [Int] {
    guard table.strangers < Self.mostStrangers else { return held.map { _ in 0 } }
    defer { held = held.map { _ in 0 } }
    return held
  }

  /// The stream's last message was `last` at that time.
  func noteEnd(of stream: Int, _ last: UInt64, at time: Int64) {
    if nextSequences[stream] > last { readThrough[stream] = max(readThrough[stream], time) }
  }

  /// The stream holds nothing between what was read and `last`, which it had at that time: its newest messages are gone.
  func noteHole(in stream: Int, from next: UInt64, through last: UInt64, at time: Int64) {
    guard nextSequences[stream] == next else { return }
    nextSequences[stream] = last + 1
    noteEnd(of: stream, last, at: time)
  }

  // MARK: - Decisions

  /// What came out of one cycle.
  struct Cycle: Sendable {
    var decided: [DualTable.Decided] = []
    var phantoms: [(stream: Int, id: String, message: DualTable.Stored)] = []
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
    if let end = record.end, record.phase == .bridge { table.handBack(after: end) }
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
    if let stuck = table.stuck(at: now, readThrough: readThrough, limit: limit),
      held[stuck.event.stream] > 0, table.strangers >= Self.mostStrangers
    {
      cycle.search = (stuck.number, stuck.event, nextSequences[stuck.event.stream])
      table.markAsked(stuck.number)
    }
    while let decided = table.next() {
      settled = decided.event.position
      cycle.decided.append(decided)
    }
    if let frontier {
      let passed = Int64(frontier.seconds) * 1000
      while let (stream, id, message) = table.nextStranger(passed: passed) {
        cycle.phantoms.append((stream, id, message))
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

  private func isSettled(through place: OplogPosition, _ frontier: OplogPosition) -> Bool {
    frontier >= place && (table.oldest.map { $0.position.entry > place } ?? true)
  }

  /// Events behind it are kept back.
  private var limit: OplogPosition? {
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
      let readTo = max(nextSequences[index], 1) - 1
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
        isPartial: isPartial)
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
    if isAhead, message.sequence >= nextSequences[event.stream] {
      foundAhead[event.stream].insert(message.sequence)
    }
  }

  /// No message of its stream has the event's id.
  func decide(missing number: UInt64, mayPublish: Bool) {
    guard let event = table.undecidedEvent(number) else { return }
    if isMissed(event) {
      table.decide(number, .missed, nil)
    } else if mayPublish {
      publish(number, event)
    } else {
      table.ask(again: number)
    }
  }

  func ask(again number: UInt64) { table.ask(again: number) }

  private func isMissed(_ event: DualTable.Event) -> Bool {
    guard record.phase == .committed || record.phase == .finalized, let fence = record.fence else {
      return false
    }
    return event.position.entry > fence
  }

  // MARK: - Publishing

  private func fill(_ now: Int64) {
    let limitOfAcks = ContinuousClock.now - Self.ackLimit
    for (number, since) in inFlight where since < limitOfAcks {
      inFlight[number] = nil
      table.ask(again: number)
    }
    let room = mostInFlight - inFlight.count
    guard room > 0, setup.tenure.mayPublish else { return }
    for (number, event) in table.due(
      at: now, readThrough: readThrough, limit: limit, most: room)
    {
      if isMissed(event) { table.decide(number, .missed, nil) } else { publish(number, event) }
    }
    connection.flushWrites()
  }

  /// Stored at most once, by its id: whoever else publishes it meanwhile, the server tells which was first.
  private func publish(_ number: UInt64, _ event: DualTable.Event) {
    var headers = NATSHeaders(HeaderLines.fields(String(decoding: event.headers, as: UTF8.self)))
    headers.append("\(HeaderName.filled)", "1")
    headers.append("Nats-Expected-Stream", streams[event.stream].name)
    if let fence = streams[event.stream].fence {
      headers.append("Nats-Expected-Last-Subject-Sequence", String(fence.sequence))
      headers.append("Nats-Expected-Last-Subject-Sequence-Subject", fence.subject)
    }
    do throws(NATSError) {
      try connection.enqueue(
        event.subject, reply: "\(inbox).\(number)", headers: headers, payload: event.body)
      inFlight[number] = .now
    } catch {
      refusal = "\(error)"
      table.ask(again: number)
    }
  }

  func received(_ message: borrowing NATSMessageView) {
    let token = message.subject.dropFirst(inbox.utf8.count + 1)
    guard let number = UInt64(String(decoding: token, as: UTF8.self)),
      inFlight.removeValue(forKey: number) != nil
    else { return }
    guard message.status == nil else {
      refusal = "no stream takes the message"
      return askLater(number)
    }
    switch AckFrame(payload: message.payload) {
    case .stored(let sequence, false, _):
      refusal = nil
      table.decide(number, .filled, sequence)
    case .stored(let sequence, true, _):
      refusal = nil
      guard let event = table.undecidedEvent(number) else { return }
      toCompare.append((number, event.stream, sequence))
    case .refused(JetStreamCode.wrongLastSequence, _):
      // By the pipeline's next epoch, by a later leader, or it was removed.
      hasMovedFence = true
      table.ask(again: number)
    case .refused:
      refusal =
        (try? JSONValue(parsing: message.payload))?["error"]?["description"]?.stringValue
        ?? "refused"
      askLater(number)
    case .flow, .gap, .receipt, .unknown:
      refusal = "the stream's answer can't be read"
      askLater(number)
    }
  }

  private func askLater(_ number: UInt64) {
    connection.eventLoop.scheduleTask(in: .seconds(1)) {
      self.table.ask(again: number)
    }
  }

  func ruleName(_ rule: Int) -> String { ruleNames[rule] }
}
