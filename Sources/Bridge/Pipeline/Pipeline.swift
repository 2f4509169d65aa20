import BSON
import BridgeConfiguration
import DeliberateErrors
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
final class Pipeline: @unchecked Sendable {
  let eventLoop: any EventLoop
  let feed: EventFeed
  /// The part of it that this epoch publishes.
  private let walk: EventWalk
  let logger: Logger

  // The rule set in use.
  @exclusivity(unchecked) private(set) var ruleSet: RuleSet
  @exclusivity(unchecked) private(set) var rules: [Rule]
  @exclusivity(unchecked) var maker: MessageMaker
  private(set) var ownership: MessageOwnership

  // This epoch.
  var epoch: Epoch?
  /// Acks can arrive, so that something may be sent.
  private var isOpen = false
  @exclusivity(unchecked) var lanes: [Lane] = []
  /// Of rules that publish signals; nil where there are none.
  @exclusivity(unchecked) var signals: SignalLane?
  var inboxPrefixLength = 0
  var subscription: UInt64 = 0
  var pumpScheduled = false

  @exclusivity(unchecked) var pending: Pending?
  /// The pending event's current match.
  @exclusivity(unchecked) var cursor = MatchCursor(rule: nil)
  /// The epoch looks up what earlier rules have published.
  private(set) var usesEarlierRules = false
  /// The pending event is a dead letter that waits for the acks of what was sent before it.
  @exclusivity(unchecked) var letterWaits = false
  /// An id to be looked up.
  @exclusivity(unchecked) var identity = ByteWriter(capacity: 256)

  /// The messages without an ack when the last epoch ended.
  private(set) var flightAtEnd: RefusalBook.Flight?

  // Across epochs.
  @exclusivity(unchecked) var counters: PipelineCounters
  @exclusivity(unchecked) var measures = PublishMeasures()
  /// Milliseconds by which MongoDB's clock (since 1970) is ahead of this machine's uptime; nil: not known yet.
  @exclusivity(unchecked) var mongoAhead: Int64?
  /// Dead letters to be logged.
  var letterLog = DeadLetterLog()
  /// Bodies that schemas refuse, whatever happens to their events.
  var schemaRefusals = SchemaRefusalLog()
  @exclusivity(unchecked) var derivedUpTo: EventPosition?
  /// The first event that this process derived in order. What is read again from before, for a stream that lost it,
  /// was an earlier process's to count.
  @exclusivity(unchecked) private(set) var derivedFrom: EventPosition?
  /// The event at which the last epoch ended, the match up to which it was counted without an outcome, and
  /// whether that was counted as invalid.
  private var interrupted: (position: EventPosition, match: Int, isInvalid: Bool)?
  /// By stream: what this process has counted.
  private var counted: [String: CountedMessages] = [:]
  /// By stream: everything up to here was stored before this process began.
  private(set) var inherited: [String: Lane.StoredWatermark] = [:]
  private var hasInherited = false
  /// Messages of events that earlier rules may have published, sent by this process and not counted yet:
  /// they may be sent late, so that what was counted last doesn't tell.
  @exclusivity(unchecked) var uncounted: Set<Lane.StoredWatermark> = []
  /// Events whose ids their streams hold for other events.
  @exclusivity(unchecked) var conflicts = IDConflicts()
  /// Streams whose messages are read from the leader only, and until when.
  var leaderReads: [String: NIODeadline] = [:]
  var until: OplogPosition?
  var draining = false
  /// Nothing behind this entry is derived in this epoch.
  var settleAfter: OplogPosition?
  /// Called when an epoch ends, while its unsettled events can still be seen.
  var beforeEnd: (() -> Void)?

  /// An event that has been derived and not yet (for all its rules) been sent or settled.
  ///
  /// Safety invariant: it is sent or dropped before the feed takes its next step, and until then the feed
  /// keeps the event's bytes alive.
  struct Pending {
    var event: ChangeEvent
    /// The first match whose outcome this process has not counted; `Int.max`: all were counted.
    var newFrom: Int
    /// The match that was last counted as invalid.
    var invalidMatch: Int?

    func isNew(_ match: Int) -> Bool { match >= newFrom }
  }

  init(
    eventLoop: any EventLoop, feed: EventFeed, configuration: BridgeConfiguration,
    rules: RuleSet, logger: Logger
  ) {
    self.eventLoop = eventLoop
    self.feed = feed
    self.walk = EventWalk(feed)
    self.ruleSet = rules
    self.rules = rules.rules
    self.maker = MessageMaker(rules)
    self.ownership = MessageOwnership(configuration, source: rules.sourceName)
    self.logger = logger
    self.counters = PipelineCounters(rules: rules.ids)
  }

  // MARK: - Epochs

  /// Listens for acks; `open` starts publishing. The reader must have been restarted with
  /// `epoch.generation`.
  func begin(_ epoch: Epoch, lanes specifications: [LaneSpecification]) {
    eventLoop.preconditionInEventLoop()
    self.epoch = epoch
    usesEarlierRules = epoch.earlierRules != nil
    lanes = specifications.map { specification in
      var specification = specification
      if readsFromLeader(specification.name) { specification.publisher.readsDirectly = false }
      let counted = counted[specification.name] ?? CountedMessages()
      self.counted[specification.name] = counted
      return Lane(specification, maximumPayload: epoch.maximumPayload, counted: counted)
    }
    signals =
      epoch.laneOfRule.contains { $0 < 0 }
      ? SignalLane(
        rules: rules, maximumPayload: epoch.maximumPayload, floor: epoch.signalFloor) : nil
    inboxPrefixLength = epoch.inbox.utf8.count + 1
    subscription = epoch.connection.subscribeRaw("\(epoch.inbox).>", handler: self)
    epoch.connection.onWritabilityChange { [weak self] writable in
      if writable { self?.schedulePump() }
    }
    settleAfter = nil
    walk.begin(range(of: epoch))
    feed.begin(epoch.source, generation: epoch.generation, firstIndex: epoch.firstIndex)
    pending = nil
    letterWaits = false
    conflicts.forget(before: epoch.start, isSnapshot: epoch.snapshot != nil)
    guard !hasInherited else { return }
    hasInherited = true
    for lane in lanes {
      inherited[lane.name] = lane.lacksUpTo ?? lane.watermark
      if let floor = lane.floor, lane.watermark.map({ $0.position < floor }) ?? true {
        inherited[lane.name] = Lane.StoredWatermark(position: floor, rule: -1)
      }
    }
  }

  /// The server has accepted the subscription: what is published from now on is answered.
  func open(on connection: NATSConnection) {
    eventLoop.preconditionInEventLoop()
    guard epoch?.connection === connection else { return }
    isOpen = true
    schedulePump()
  }

  /// Forgets what was in flight: the next epoch reads it again.
  func end() {
    eventLoop.preconditionInEventLoop()
    guard let ended = epoch else { return }
    flightAtEnd = flight
    abandonSignals()
    beforeEnd?()
    epoch = nil
    isOpen = false
    ended.connection.unsubscribeRaw(subscription)
    feed.end()
    if let pending, pending.isNew(cursor.match) {
      interrupted = (
        pending.event.position, cursor.match, pending.invalidMatch == cursor.match
      )
    }
    pending = nil
  }

  private var flight: RefusalBook.Flight? {
    var flight: RefusalBook.Flight?
    var count = 0
    for lane in lanes {
      guard let first = lane.inFlight.first, let last = lane.inFlight.elements.last else {
        continue
      }
      count += lane.inFlight.count
      let newest = max(flight?.newest ?? last.position, last.position)
      let key = RefusalBook.Key(position: first.position, rule: ruleSet.id(Int(first.rule)))
      if let known = flight?.oldest, known.position <= first.position {
        flight?.newest = newest
      } else {
        flight = RefusalBook.Flight(
          oldest: key, count: 0, newest: newest, isDeadLetter: lane.isDeadLetter)
      }
    }
    flight?.count = count
    return flight
  }

  func fail(_ end: EpochEnd) {
    guard let epoch else { return }
    let mark = mark()
    self.end()
    epoch.onEnd(end, mark)
  }

  /// Stops waiting for acks while draining.
  func abandon(_ why: String) {
    eventLoop.preconditionInEventLoop()
    fail(.abandoned(why))
  }

  /// The reader has something new: entries, or a failure.
  func sourceChanged() {
    eventLoop.preconditionInEventLoop()
    pump()
  }

  /// Reads no further than `position`, whether an entry has it or not; the epoch then ends with
  /// `.finished`.
  func stop(after position: OplogPosition) {
    eventLoop.preconditionInEventLoop()
    until = position
    if let epoch { walk.end(after: range(of: epoch).last) }
  }

  /// Reads no further events; the epoch ends with `.finished` once all that was sent is acknowledged.
  func drain() {
    eventLoop.preconditionInEventLoop()
    draining = true
    schedulePump()
  }

  /// Ends the epoch with `.settled` at the next boundary between two oplog entries, once everything before
  /// it is acknowledged. A transaction is on one side of it, and so is what may be published already. A
  /// snapshot continues.
  func settle() {
    eventLoop.preconditionInEventLoop()
    guard let epoch, epoch.snapshot == nil, settleAfter == nil else { return }
    var place = max(epoch.start, epoch.reach ?? epoch.start)
    for known in [feed.header?.position, feed.lastEntry?.position, derivedUpTo?.entry] {
      place = max(place, known ?? place)
    }
    settleAfter = place
    walk.end(after: range(of: epoch).last)
    schedulePump()
  }

  /// The part of the oplog that an epoch publishes. A snapshot is published whole.
  private func range(of epoch: Epoch) -> WalkRange {
    guard epoch.snapshot == nil else { return .everything }
    let origin = epoch.origin
    var range = WalkRange(
      from: origin.position, isInclusive: origin.inclusive,
      through: [until, epoch.stopAfter, settleAfter].compactMap(\.self).min())
    range.first = max(range.first, EventPosition(entry: epoch.floor, index: 0))
    return range
  }

  /// Publishes by these rules from the next epoch on. Between epochs.
  func use(_ rules: RuleSet, _ wishes: FeedWishes) {
    eventLoop.preconditionInEventLoop()
    precondition(epoch == nil, "rules change between epochs")
    let qualifies = maker.qualifiesLetterIDs
    ruleSet = rules
    self.rules = rules.rules
    let times = maker.validationTimes
    maker = MessageMaker(rules)
    maker.validationTimes = times
    if qualifies { maker.qualifiesLetterIDs = true }
    ownership.use(rules.rules)
    feed.use(wishes)
    counters.use(rules.ids)
    // Indices of rules belong to the previous rule set, whose events are all counted.
    for messages in counted.values { messages.last?.rule = .max }
    inherited = inherited.mapValues { Lane.StoredWatermark(position: $0.position, rule: .max) }
    interrupted = nil
    uncounted = []
  }

  /// Forgets what earlier tenures counted: another instance has published since, and what streams hold when the
  /// next epoch begins isn't this process's. Between epochs.
  func beginTenure() {
    eventLoop.preconditionInEventLoop()
    precondition(epoch == nil, "a tenure begins between epochs")
    counted = [:]
    inherited = [:]
    hasInherited = false
    interrupted = nil
    uncounted = []
    derivedUpTo = nil
    conflicts = IDConflicts()
    flightAtEnd = nil
    // What was on its way when the tenure ended is the next leader's, and counted there.
    counters.derived = counters.outcomes.total
  }

  // MARK: - The loop

  /// Runs `pump` once after the current callbacks, however often this is called.
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
  enum Pause { case noInput, blocked, socketFull, breath }

  /// For how long events are dealt with at once. Servers are answered on the same loop, acks taken, and
  /// stops heard of; and each event may take some of its 50 ms.
  private static let mostAtOnce = TimeAmount.milliseconds(20)
  /// A task for at once would have its turn before sockets have theirs.
  private static let breath = TimeAmount.microseconds(50)

  private func pump() {
    guard isOpen, let epoch, !endsAsIDsAreForgotten(epoch) else { return }
    do {
      let pause = try run(epoch)
      flush(epoch, pause)
      if pause == .breath {
        eventLoop.scheduleTask(in: Self.breath) { self.schedulePump() }
      }
      if draining || walk.hasEnded {
        finishIfSettled(ending(of: epoch))
      } else if pause == .noInput, !feed.isWaiting {
        if let failure = feed.source?.failure {
          finishIfSettled(.sourceFailed(failure))
        } else if let place = feed.source?.tailFrom {
          finishIfSettled(.snapshotFinished(tailFrom: place))
        }
      }
    } catch let missing as MissingEntries {
      fail(.needsEarlier(missing.previous))
    } catch let failure as PipelineFailure where failure.maySucceedLater {
      flush(epoch, .noInput)
      fail(.blocked(failure.description))
    } catch let letter as DeadLetterTooLarge {
      flush(epoch, .noInput)
      fail(
        .publishFailed(
          lane: letter.stream,
          JetStreamError(
            code: 0, operation: "publish to \(letter.stream)",
            message:
              "a dead letter of \(letter.size) bytes, with everything optional left out, does not "
              + "fit the limit of \(letter.limit): raise max_msg_size or max_payload to 8 KiB at least",
            remedy: .operatorMustAct)))
    } catch let failure as PipelineFailure {
      flush(epoch, .noInput)
      fail(.halted(failure))
    } catch {
      fail(.halted(.unexpected("\(error)")))
    }
  }

  private func run(_ epoch: Epoch) throws -> Pause {
    var sink = LaneSink(self, epoch)
    let end = NIODeadline.now() + Self.mostAtOnce
    var turns = 0
    while true {
      // Only what is written here fills the socket, at most a message of 64 KiB or more each turn.
      if turns & 3 == 0 {
        if turns > 0, NIODeadline.now() > end { return .breath }
        guard epoch.connection.isWritable else { return .socketFull }
      }
      turns &+= 1
      if pending == nil {
        guard try derive() else { return isBarred ? .blocked : .noInput }
        continue
      }
      guard try settlePending(epoch, &sink) else { return .blocked }
    }
  }

  /// Brings the next event into `pending` (or finds that there is none: false).
  private func derive() throws -> Bool {
    let step = try walk.next(
      mayOpen: { !draining && !isBarred },
      mayOmit: {
        isStored($0.entry.position) || DeliberateError.isOn(.cutTransactionSkipped)
      })
    guard case .event(let event) = step else { return false }
    var newFrom = Int.max
    var invalidMatch: Int?
    if derivedUpTo.map({ event.position > $0 }) ?? true {
      if derivedUpTo == nil { derivedFrom = event.position }
      derivedUpTo = event.position
      counters.derived &+= 1
      newFrom = 0
    } else if let left = interrupted, left.position == event.position {
      newFrom = left.match
      invalidMatch = left.isInvalid ? left.match : nil
      interrupted = nil
    }
    cursor = maker.begin(event)
    pending = Pending(event: event, newFrom: newFrom, invalidMatch: invalidMatch)
    return true
  }

  /// Whether the next entry has to wait for acks: what follows a dead letter or a stream's first
  /// message must not be stored before it, or the streams' ends would no longer prove what is stored.
  private var isBarred: Bool { lanes.contains(where: \.isBarrier) }

  /// Whether the events of the transaction that commits there are stored on every stream.
  private func isStored(_ commit: OplogPosition) -> Bool {
    lanes.allSatisfy { lane in
      // If nothing shows what is settled, a letter missing in its lane proves nothing.
      (lane.isDeadLetter && lane.floor == nil && !lane.isRefilling)
        || (lane.isHalted && !lane.isDeadLetter)
        || lane.covers(EventPosition(entry: commit, index: .max))
    }
  }

  /// How an epoch that has reached an end ends: by the end that comes first.
  private func ending(of epoch: Epoch) -> EpochEnd {
    guard !draining, let settleAfter else { return .finished }
    let ends = [until, epoch.stopAfter].compactMap(\.self)
    return ends.contains { $0 <= settleAfter } ? .finished : .settled
  }
}
