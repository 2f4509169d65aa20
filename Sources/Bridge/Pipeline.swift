import BSON
import BridgeConfiguration
import JetStream
import Logging
import Mapping
import MongoSource
import NATS
import NIOCore
import Oplog

/// The hot path: takes batches of oplog entries, maps each event, writes the messages into their
/// lanes' buffers and hands those to the socket; takes the acks and keeps the low-water mark.
///
/// Sendable invariant: every stored property is touched on `eventLoop` only, which is also the
/// connection's. `pump` is the one loop; everything else just makes it run again. Nothing calls back
/// into the pipeline while one of its properties is being changed, which is why the hot ones go
/// without the dynamic exclusivity check (a tenth of the time otherwise).
final class Pipeline: NATSRawHandler, @unchecked Sendable {
  let eventLoop: any EventLoop
  private let reader: OplogReader
  private let logger: Logger
  private let deadLetterSubject: DeadLetterSubject
  private let unmatchedPolicy: Unmatched

  @exclusivity(unchecked) fileprivate var decoder = OplogDecoder()
  @exclusivity(unchecked) private var mapper: Mapper
  private let rules: [Rule]

  // This epoch.
  private var epoch: Epoch?
  @exclusivity(unchecked) fileprivate var lanes: [Lane] = []
  private var inboxPrefixLength = 0
  private var subscription: UInt64 = 0
  private var pumpScheduled = false

  // What is being read.
  private var batch: OplogBatch?
  @exclusivity(unchecked) private var entries: BSONElements?
  @exclusivity(unchecked) private var entryOpen = false
  @exclusivity(unchecked) private var header: OplogEntryHeader?
  @exclusivity(unchecked) private var lastEntry: (position: OplogPosition, term: Int64)?
  @exclusivity(unchecked) private var pending: Pending?

  // Across epochs.
  @exclusivity(unchecked) private(set) var counters: PipelineCounters
  @exclusivity(unchecked) private var derivedUpTo: EventPosition?
  private var counted: [String: Lane.Horizon] = [:]
  private var until: OplogPosition?
  private var draining = false

  /// An event that has been derived and not yet (for all its rules) been sent or settled.
  private struct Pending {
    var event: ChangeEvent
    /// The rule to serve next; nil: nothing takes the event.
    var rule: Int?
    /// How many rules took it before.
    var match: Int
    /// Set when the rule's message could not be made: what goes to the dead-letter stream.
    var invalid: MappingError?
    var isNew: Bool
  }

  /// What an epoch works with.
  struct Epoch: Sendable {
    var connection: NATSConnection
    /// The reader's generation whose batches belong to this epoch.
    var generation: UInt64
    var origin: Checkpoint.Origin
    var start: OplogPosition
    var startTerm: Int64
    /// Largest message the server takes, headers and body.
    var maximumPayload: Int
    /// Acks arrive under it: `<inbox>.<lane>.<token>`.
    var inbox: String
    /// Lane of each rule.
    var laneOfRule: [Int]
    var deadLetterLane: Int
    var ackTimeout: TimeAmount
    var onEnd: @Sendable (EpochEnd, PipelineMark?) -> Void
  }

  init(
    eventLoop: any EventLoop, reader: OplogReader, rules: [Rule], sourceName: String,
    deadLetterSubject: DeadLetterSubject, unmatched: Unmatched, logger: Logger
  ) {
    self.eventLoop = eventLoop
    self.reader = reader
    self.rules = rules
    self.mapper = Mapper(rules: rules, sourceName: sourceName)
    self.deadLetterSubject = deadLetterSubject
    self.unmatchedPolicy = unmatched
    self.logger = logger
    self.counters = PipelineCounters(rules: rules.map(\.name))
  }

  // MARK: - Epochs

  /// Starts publishing. The reader must have been restarted with `epoch.generation`.
  func begin(_ epoch: Epoch, lanes specifications: [LaneSpecification]) {
    eventLoop.preconditionInEventLoop()
    self.epoch = epoch
    lanes = specifications.map { Lane($0) }
    inboxPrefixLength = epoch.inbox.utf8.count + 1
    subscription = epoch.connection.subscribeRaw("\(epoch.inbox).>", handler: self)
    epoch.connection.onWritabilityChange { [weak self] writable in
      if writable { self?.schedulePump() }
    }
    batch = nil
    entries = nil
    entryOpen = false
    header = nil
    pending = nil
    lastEntry = nil
    for lane in lanes where counted[lane.name] == nil { counted[lane.name] = lane.horizon }
    schedulePump()
  }

  /// Forgets what was in flight: the next epoch reads it again.
  func end() {
    eventLoop.preconditionInEventLoop()
    guard let ended = epoch else { return }
    epoch = nil
    ended.connection.unsubscribeRaw(subscription)
    batch = nil
    entries = nil
    pending = nil
    entryOpen = false
  }

  private func fail(_ end: EpochEnd) {
    guard let epoch else { return }
    let mark = mark()
    self.end()
    epoch.onEnd(end, mark)
  }

  /// Gives up waiting for acks while draining.
  func abandon(_ why: String) {
    eventLoop.preconditionInEventLoop()
    fail(.abandoned(why))
  }

  /// The reader has something new: entries, or a failure.
  func sourceChanged() {
    eventLoop.preconditionInEventLoop()
    pump()
  }

  /// Reads no further than the entry at `position`; the epoch then ends with `.finished`.
  func stop(after position: OplogPosition) {
    eventLoop.preconditionInEventLoop()
    until = position
  }

  /// Takes nothing new; the epoch ends with `.finished` once all that was sent is acknowledged.
  func drain() {
    eventLoop.preconditionInEventLoop()
    draining = true
    schedulePump()
  }

  // MARK: - The loop

  /// Runs `pump` once after the present callbacks, however often it is asked.
  func schedulePump() {
    eventLoop.preconditionInEventLoop()
    guard !pumpScheduled else { return }
    pumpScheduled = true
    eventLoop.execute {
      self.pumpScheduled = false
      self.pump()
    }
  }

  /// Why `pump` stopped.
  private enum Pause { case noInput, blocked, socketFull }

  private func pump() {
    guard let epoch else { return }
    do {
      let pause = try run(epoch)
      flush(epoch, pause)
      if draining || reachedEnd {
        finishIfSettled(.finished)
      } else if pause == .noInput, reader.failure != nil {
        finishIfSettled(.sourceFailed)
      }
    } catch let failure as PipelineFailure {
      flush(epoch, .noInput)
      fail(.halted(failure))
    } catch {
      fail(.halted(.unexpected("\(error)")))
    }
  }

  private func run(_ epoch: Epoch) throws -> Pause {
    while true {
      guard epoch.connection.isWritable else { return .socketFull }
      if pending == nil {
        if !entryOpen, lanes.contains(where: \.isBarrier) { return .blocked }
        guard try derive(epoch) else { return .noInput }
        continue
      }
      guard try settlePending(epoch) else { return .blocked }
    }
  }

  /// Brings the next event into `pending` (or finds that there is none: false).
  private func derive(_ epoch: Epoch) throws -> Bool {
    while true {
      if entryOpen {
        if let event = try nextEvent() {
          if isBeforeOrigin(event.position.entry, epoch) { continue }
          let isNew = derivedUpTo.map { event.position > $0 } ?? true
          if isNew {
            derivedUpTo = event.position
            counters.derived &+= 1
          }
          pending = Pending(
            event: event, rule: mapper.firstMatch(event), match: 0, invalid: nil, isNew: isNew)
          return true
        }
        entryOpen = false
        if let header { lastEntry = (header.position, header.term) }
        continue
      }
      if draining || reachedEnd { return false }
      guard let element = try nextEntry(epoch) else {
        guard let next = takeBatch(epoch) else { return false }
        batch = next
        entries = next.entries()
        continue
      }
      try open(element)
    }
  }

  private func takeBatch(_ epoch: Epoch) -> OplogBatch? {
    batch = nil
    entries = nil
    while let next = reader.next() {
      if next.generation == epoch.generation { return next }
    }
    return nil
  }

  private func nextEntry(_ epoch: Epoch) throws -> BSONElement? {
    do {
      return try entries?.next()
    } catch {
      throw PipelineFailure.corrupt(after: lastEntry?.position, "\(error)")
    }
  }

  private func open(_ element: BSONElement) throws {
    do {
      let opened = try decoder.begin(try BSONView(element.value))
      header = opened
      entryOpen = true
      counters.entries &+= 1
    } catch let error as OplogError {
      throw PipelineFailure.oplog(error)
    } catch {
      throw PipelineFailure.corrupt(after: lastEntry?.position, "\(error)")
    }
  }

  private func nextEvent() throws -> ChangeEvent? {
    do {
      return try decoder.next()
    } catch {
      throw PipelineFailure.oplog(error)
    }
  }

  private func isBeforeOrigin(_ position: OplogPosition, _ epoch: Epoch) -> Bool {
    position < epoch.origin.position
      || (position == epoch.origin.position && !epoch.origin.inclusive)
  }

  private var reachedEnd: Bool {
    guard let until, let lastEntry else { return false }
    return lastEntry.position >= until
  }

  // MARK: - One event

  /// Sends, skips or settles the pending event for its next rule. False: a lane is full.
  private func settlePending(_ epoch: Epoch) throws -> Bool {
    guard let event = pending?.event else { return true }
    guard let rule = pending?.rule else {
      if pending?.match == 0, pending?.invalid == nil { return try settleUnmatched(event, epoch) }
      pending = nil
      return true
    }
    if pending?.invalid != nil { return try settleInvalid(event, rule, epoch) }
    let lane = lanes[epoch.laneOfRule[rule]]
    if lane.holds(event.position, rule: rule) {
      countStored(lane, event.position, rule)
      advance(event, rule)
      return true
    }
    guard lane.publisher.canSend else { return false }
    if let error = write(event, rule, into: lane, limit: min(epoch.maximumPayload, lane.maximumMessage)) {
      counters.rules[rule].lastError = error.detail
      counters.rules[rule].invalid &+= 1
      switch rules[rule].onInvalid {
      case .halt: throw PipelineFailure.invalid(event.position, rules[rule].name, error)
      case .drop:
        if pending?.isNew == true { counters.rules[rule].outcomes.dropped &+= 1 }
        advance(event, rule)
      case .deadLetter: pending?.invalid = error
      }
      return true
    }
    sent(event, rule: UInt16(rule), lane, epoch)
    advance(event, rule)
    return true
  }

  private func settleUnmatched(_ event: ChangeEvent, _ epoch: Epoch) throws -> Bool {
    switch unmatchedPolicy {
    case .ignore:
      if pending?.isNew == true { counters.unmatched &+= 1 }
      pending = nil
      return true
    case .halt: throw PipelineFailure.unmatched(event.position, String(decoding: event.namespace, as: UTF8.self))
    case .deadLetter:
      let error = MappingError(.unmatched, "no rule takes this event")
      return try sendDeadLetter(event, nil, error, epoch)
    }
  }

  private func settleInvalid(_ event: ChangeEvent, _ rule: Int, _ epoch: Epoch) throws -> Bool {
    guard let error = pending?.invalid else { return true }
    guard try sendDeadLetter(event, rule, error, epoch) else { return false }
    pending?.invalid = nil
    return true
  }

  /// The event's next matching rule becomes the pending one, or the event is done.
  private func advance(_ event: ChangeEvent, _ rule: Int) {
    guard let next = mapper.nextMatch(event, after: rule) else {
      pending = nil
      return
    }
    if pending?.isNew == true { counters.derived &+= 1 }
    pending?.rule = next
    pending?.match += 1
    pending?.invalid = nil
  }

  /// Writes the message into the lane's buffer; on an error nothing of it stays.
  private func write(_ event: ChangeEvent, _ rule: Int, into lane: Lane, limit: Int) -> MappingError? {
    let publisher = lane.publisher
    publisher.beginMessage()
    do {
      try mapper.writeSubject(rule: rule, event: event, into: &publisher.output)
      publisher.beginHeaders()
      try mapper.writeHeaders(
        rule: rule, event: event, match: pending?.match ?? 0, into: &publisher.output)
      publisher.beginBody()
      try mapper.writeBody(rule: rule, event: event, into: &publisher.output)
    } catch {
      publisher.cancelMessage()
      return error
    }
    guard publisher.messageSize <= limit else {
      let size = publisher.messageSize
      publisher.cancelMessage()
      return MappingError(
        .payloadTooLarge, "the message has \(size) bytes with its headers, the limit is \(limit)")
    }
    publisher.endMessage()
    return nil
  }

  private func sent(_ event: ChangeEvent, rule: UInt16, _ lane: Lane, _ epoch: Epoch) {
    if lane.inFlight.isEmpty { lane.waitingSince = .now() }
    lane.inFlight.append(
      InFlightEvent(position: event.position, term: header?.term ?? -1, rule: rule))
    if lane.publisher.output.count > Self.flushBytes, lane.publisher.mayFlush {
      write(lane, epoch)
      epoch.connection.flushWrites()
    }
  }

  private func sendDeadLetter(
    _ event: ChangeEvent, _ rule: Int?, _ error: MappingError, _ epoch: Epoch
  ) throws -> Bool {
    let lane = lanes[epoch.deadLetterLane]
    let ruleIndex = rule ?? Int(InFlightEvent.noRule)
    if lane.holds(event.position, rule: ruleIndex) {
      countStored(lane, event.position, ruleIndex)
    } else {
      guard lane.publisher.canSend else { return false }
      try writeDeadLetter(event, rule, error, lane, epoch)
      sent(event, rule: UInt16(clamping: ruleIndex), lane, epoch)
    }
    if let rule { advance(event, rule) } else { pending = nil }
    return true
  }

  /// A dead letter carries the change event; documents too large for it are left out and named, and
  /// the position in the headers is enough to fetch them from the oplog.
  private func writeDeadLetter(
    _ event: ChangeEvent, _ rule: Int?, _ error: MappingError, _ lane: Lane, _ epoch: Epoch
  ) throws {
    let limit = min(epoch.maximumPayload, lane.maximumMessage)
    let publisher = lane.publisher
    publisher.beginMessage()
    mapper.writeDeadLetterSubject(
      deadLetterSubject, rule: rule, event: event, error: error, into: &publisher.output)
    publisher.beginHeaders()
    mapper.writeDeadLetterHeaders(
      rule: rule, event: event, match: pending?.match ?? 0, error: error, into: &publisher.output)
    publisher.beginBody()
    mapper.writeDeadLetterBody(
      event: event, limit: limit - publisher.messageSize, into: &publisher.output)
    guard publisher.messageSize <= limit else {
      publisher.cancelMessage()
      throw PipelineFailure.invalid(event.position, rule.map { rules[$0].name } ?? "", error)
    }
    publisher.endMessage()
  }

  // MARK: - The socket

  private static let flushBytes = 64 << 10

  private func flush(_ epoch: Epoch, _ pause: Pause) {
    // A transaction of MongoDB stays in one batch where it fits: nothing is sealed inside one.
    let mayFinishBatches = !entryOpen
    var wrote = false
    for lane in lanes {
      let publisher = lane.publisher
      // Full with nothing on its way back: only the batch's end brings the ack that goes on.
      let stuck = pause == .blocked && !publisher.canSend && publisher.waitsForSeal
      if publisher.hasOpenBatch, stuck || (mayFinishBatches && (pause == .noInput || lane.isBarrier)) {
        publisher.seal()
      }
      guard lane.publisher.output.count > 0, lane.publisher.mayFlush else { continue }
      write(lane, epoch)
      wrote = true
    }
    if wrote { epoch.connection.flushWrites() }
  }

  private func write(_ lane: Lane, _ epoch: Epoch) {
    let bytes = lane.publisher.output.bytes
    var buffer = ByteBufferAllocator().buffer(capacity: bytes.count)
    buffer.writeBytes(bytes)
    lane.publisher.output.removeAll()
    epoch.connection.writeRaw(buffer)
  }

  // MARK: - Acks

  func received(_ message: borrowing NATSMessageView) {
    guard epoch != nil else { return }
    let subject = message.subject
    guard subject.count > inboxPrefixLength else { return }
    // <inbox prefix>.<lane>.<token>
    var at = inboxPrefixLength
    var index = 0
    while at < subject.count, subject[at] != UInt8(ascii: ".") {
      let digit = subject[at]
      guard digit >= 48, digit <= 57, index < 10_000 else { return }
      index = index * 10 + Int(digit - 48)
      at += 1
    }
    guard index < lanes.count, at < subject.count else { return }
    let lane = lanes[index]
    let token = UnsafeRawBufferPointer(rebasing: subject[(at + 1)...])
    do {
      let progress = try lane.publisher.received(
        token: token, payload: message.payload, status: message.status)
      if progress.acked > 0 {
        settle(lane, progress)
        schedulePump()
      }
    } catch {
      fail(.publishFailed(lane: lane.name, error))
    }
  }

  private func settle(_ lane: Lane, _ progress: LaneProgress) {
    var duplicates = progress.duplicates
    for _ in 0..<progress.acked {
      guard let event = lane.inFlight.first else { break }
      lane.inFlight.removeFirst()
      let rule = Int(event.rule)
      lane.acked = Lane.Acked(
        sequence: lane.publisher.lastSequence, position: event.position,
        rule: rule < rules.count ? rules[rule].name : "")
      guard isUncounted(lane, event.position, rule) else { continue }
      counted[lane.name] = Lane.Horizon(position: event.position, rule: rule)
      count(lane, rule, duplicate: duplicates > 0)
      if duplicates > 0 { duplicates -= 1 }
    }
    lane.awaitsFirst = false
    lane.waitingSince = lane.inFlight.isEmpty ? nil : .now()
  }

  private func isUncounted(_ lane: Lane, _ position: EventPosition, _ rule: Int) -> Bool {
    guard let last = counted[lane.name] else { return true }
    return position > last.position || (position == last.position && rule > last.rule)
  }

  /// An event that the stream holds already: of an earlier epoch whose ack we never saw.
  private func countStored(_ lane: Lane, _ position: EventPosition, _ rule: Int) {
    guard isUncounted(lane, position, rule) else { return }
    counted[lane.name] = Lane.Horizon(position: position, rule: rule)
    count(lane, rule, duplicate: false)
  }

  private func count(_ lane: Lane, _ rule: Int, duplicate: Bool) {
    guard rule < rules.count else {
      counters.unmatchedDeadLettered &+= 1
      return
    }
    if lane.isDeadLetter {
      counters.rules[rule].outcomes.deadLettered &+= 1
    } else if duplicate {
      counters.rules[rule].outcomes.duplicate &+= 1
    } else {
      counters.rules[rule].outcomes.published &+= 1
    }
  }

  // MARK: - What others ask

  /// The low-water mark: where a new life would have to read on, and what each stream holds.
  func mark() -> PipelineMark? {
    eventLoop.preconditionInEventLoop()
    guard let epoch else { return nil }
    var resume = epoch.start
    var term = epoch.startTerm
    if let lastEntry { (resume, term) = (lastEntry.position, lastEntry.term) }
    if entryOpen, let header { (resume, term) = (header.position, header.term) }
    for lane in lanes {
      if let oldest = lane.inFlight.first, oldest.position.entry <= resume {
        (resume, term) = (oldest.position.entry, oldest.term)
      }
    }
    return PipelineMark(
      resume: resume, term: term < 0 ? nil : term, origin: epoch.origin,
      lanes: lanes.map { ($0.name, $0.created, $0.acked) },
      inFlight: lanes.reduce(0) { $0 + $1.inFlight.count },
      read: lastEntry?.position)
  }

  /// Ends the epoch when a lane has waited for an ack for too long. Called by a timer.
  func checkTimeouts() {
    eventLoop.preconditionInEventLoop()
    guard let epoch else { return }
    let limit = NIODeadline.now() - epoch.ackTimeout
    for lane in lanes {
      if let since = lane.waitingSince, since < limit {
        fail(
          .publishFailed(
            lane: lane.name,
            JetStreamError(
              code: 0, operation: "publish to \(lane.name)",
              message: "no ack for \(epoch.ackTimeout.nanoseconds / 1_000_000_000) s; \(lane.inFlight.count) messages wait",
              remedy: .reread)))
        return
      }
    }
  }

  private func finishIfSettled(_ end: EpochEnd) {
    guard pending == nil, !entryOpen, lanes.allSatisfy(\.inFlight.isEmpty) else { return }
    fail(end)
  }
}

extension Pipeline {
  /// Each stream's state, for the board.
  func streams() -> [StatusBoard.Stream] {
    lanes.map { lane in
      StatusBoard.Stream(
        name: lane.name, mode: lane.publisher.mode.rawValue, inFlight: lane.inFlight.count,
        sequence: lane.publisher.lastSequence, position: lane.acked?.position)
    }
  }

  /// Entries of time-series buckets, which carry no events.
  var unsupportedTimeSeries: UInt64 { decoder.unsupportedTimeSeries }
}
