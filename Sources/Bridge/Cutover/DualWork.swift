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
  private var maker: MessageMaker
  private var sink: BufferSink
  var decisions: GroupDecisions
  /// By stream: messages that were taken and not released to the scan.
  private var held: [Int]

  let inbox: String
  private var subscription: UInt64?
  /// By number: what was published and has no ack, and since when.
  var inFlight: [UInt64: ContinuousClock.Instant] = [:]
  /// Acks that name a message of somebody else: it has to be compared.
  var toCompare: [(number: UInt64, stream: Int, sequence: UInt64)] = []
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
    let configuration = setup.configuration
    let names = setup.streams.map(\.name)
    let owner = MessageOwnership(configuration)
    ownership = names.map { owner.of($0) }
    streamOfRule = configuration.rules.map { rule in
      rule.streamIndex.flatMap { names.firstIndex(of: configuration.streams[$0].name) } ?? 0
    }
    ownRules = Set(
      configuration.rules.filter { $0.group == setup.group }.map { Array($0.name.utf8) })
    decisions = GroupDecisions(
      streams: setup.streams.map {
        GroupDecisions.Stream(name: $0.name, place: $0.place, reading: $0.reading)
      }, record: setup.record, position: setup.position, findings: setup.findings,
      missed: setup.missed, grace: configuration.cutover.grace.milliseconds)
    maker = MessageMaker(setup.rules)
    let ofStreams = setup.streams.map(\.limits)
    let letters = configuration.limits(
      rule: nil, maximumPayload: setup.connection.info.maxPayload)
    // As the pipeline has them, so that both agree on what can be published.
    sink = BufferSink(
      rules: streamOfRule.map { ofStreams.indices.contains($0) ? ofStreams[$0] : letters },
      letters: letters)
    sink.leftOut = configuration.rules.map { $0.group != setup.group }
    held = names.map { _ in 0 }
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
    guard decisions.table.events < Self.mostEvents, decisions.table.bytes < Self.mostBytes else {
      return false
    }
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
    guard decisions.isOpen(event.position) else { return }
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
      due: (event.wallTime ?? Int64(event.position.entry.seconds) * 1000 + 999) + decisions.grace,
      headers: Array(sink.headers), body: Array(sink.body))
    guard let (number, sequence) = decisions.expect(expected) else { return }
    toCompare.append((number, expected.stream, sequence))
  }

  // MARK: - Stored messages

  func observe(_ view: borrowing NATSMessageView, _ sequence: UInt64, in stream: Int) {
    held[stream] += 1
    let storedAt = StreamScan.storedAt(view) ?? CutoverTime.now
    guard decisions.read(sequence, in: stream, storedAt: storedAt) else { return }
    let now = setup.now()
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
      horizon: max(storedAt, min(now, storedAt + 60_000)) + decisions.grace + 1000,
      mayBePhantom: owner == .nobody && isOfGroup && storedAt >= streams[stream].judgedFrom)
    decisions.observe(
      message, id: marks.storedID.map { String(decoding: $0, as: UTF8.self) }, in: stream)
  }

  private static let fencePrefix = Array("tailrace.fence.".utf8)

  /// So many messages may be read on. By stream.
  func release() -> [Int] {
    guard decisions.table.strangers < Self.mostStrangers else { return held.map { _ in 0 } }
    defer { held = held.map { _ in 0 } }
    return held
  }

  // MARK: - Decisions

  /// What came out of one cycle.
  struct Cycle: Sendable {
    var outcome: GroupDecisions.Outcome
    /// Messages of others under the ids of events, to be compared.
    var compare: [(number: UInt64, event: DualTable.Event, sequence: UInt64)] = []
    /// Its message has to be looked for in its stream, from there on.
    var search: (number: UInt64, event: DualTable.Event, from: UInt64)?
    var places: [String: CutoverProgress.Place] = [:]
    /// A fence isn't the last one any more: the attempt has to begin again.
    var hasMovedFence = false
  }

  func use(_ record: CutoverRecord) { decisions.use(record) }

  /// - Parameters:
  ///   - frontier: all events up to there were taken.
  ///   - mayPublish: this process leads.
  func cycle(frontier: OplogPosition?, mayPublish: Bool, savesPlaces: Bool) -> Cycle {
    let now = setup.now()
    if mayPublish { fill(now) }
    var compare: [(number: UInt64, event: DualTable.Event, sequence: UInt64)] = []
    for one in toCompare {
      guard let event = decisions.table.undecidedEvent(one.number) else { continue }
      compare.append((one.number, event, one.sequence))
    }
    toCompare = []
    var search: (number: UInt64, event: DualTable.Event, from: UInt64)?
    if let stuck = decisions.stuck(at: now), held[stuck.event.stream] > 0,
      decisions.table.strangers >= Self.mostStrangers
    {
      search = (stuck.number, stuck.event, decisions.readings[stuck.event.stream].next)
      decisions.markAsked(stuck.number)
    }
    let outcome = decisions.settle(frontier: frontier)
    return Cycle(
      outcome: outcome, compare: compare, search: search,
      places: savesPlaces ? decisions.places : [:], hasMovedFence: hasMovedFence)
  }

  /// An event's message was found in its stream.
  func decide(
    _ number: UInt64, _ event: DualTable.Event, found message: StoredMessage, isAhead: Bool
  ) {
    let isOwn = ownership[event.stream].owner(of: message) == .thisBridge
    decisions.decide(
      number, event,
      found: DualTable.Stored(
        sequence: message.sequence, subject: message.subject,
        digest: isOwn ? nil : JSONDigest(message.payload), isOwn: isOwn, horizon: 0,
        mayBePhantom: false), isAhead: isAhead)
  }

  /// No message of its stream has the event's id.
  func decide(missing number: UInt64, mayPublish: Bool) {
    guard let event = decisions.table.undecidedEvent(number) else { return }
    if let verdict = decisions.verdict(missing: event, at: setup.now()) {
      decisions.decide(number, verdict, nil)
    } else if mayPublish {
      publish(number, event)
    } else {
      decisions.ask(again: number)
    }
  }
}
