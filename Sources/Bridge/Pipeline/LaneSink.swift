import BSON
import JetStream
import Mapping
import Oplog

/// Publishes what the pipeline's maker makes: decides, by what each stream holds and has in flight, whether
/// the stream needs the message and whether it may be sent now.
///
/// Made for one run of the pipeline's loop, and used on its event loop only. The maker is being changed
/// while it asks here, so nothing here touches the pipeline's `maker` or `cursor`.
struct LaneSink: LaneWriting, ~Copyable {
  private let pipeline: Pipeline
  private let epoch: Pipeline.Epoch
  /// Of the admitted message.
  private(set) var lane: Lane
  private(set) var publisher: PublishLane
  /// Where that one is among the pipeline's; -1: not looked up by its index.
  private var index: Int
  /// Of dead letters.
  private let letters: Lane
  private(set) var standing = Standing.open
  /// The admitted message is a signal, of which no stream knows.
  private(set) var isSignal = false
  private let signals: SignalLane?

  /// The stream's state regarding the message.
  enum Standing {
    /// It needs to be sent.
    case open
    /// The stream has it.
    case held
    /// The stream had it, and has removed it since.
    case unseen
    /// Publishing to the stream is halted until an operator decides.
    case halted
    /// Earlier rules have published it.
    case storedEarlier
    /// No present rule takes the event, but an earlier one has published it.
    case takenEarlier
    /// A follower decides about it.
    case handedOver
    /// A signal that was counted before.
    case pastSignal
    /// A signal that would come too late.
    case lateSignal
  }

  init(_ pipeline: Pipeline, _ epoch: Pipeline.Epoch) {
    self.pipeline = pipeline
    self.epoch = epoch
    index = epoch.deadLetterLane
    letters = pipeline.lanes[index]
    lane = letters
    publisher = lane.publisher
    signals = pipeline.signals
  }

  var limits: MessageLimits { isSignal ? signals?.limits ?? lane.limits : lane.limits }

  /// A snapshot is published by some of the rules only.
  func leavesOut(rule: Int) -> Bool {
    !epoch.snapshotRules.isEmpty && !epoch.snapshotRules[rule]
  }

  mutating func admit(
    _ message: PlannedMessage, of event: borrowing ChangeEvent, _ mapper: inout Mapper
  ) -> Admission {
    guard let rule = message.rule, !message.isLetter else {
      return admitLetter(message, of: event, &mapper)
    }
    let index = epoch.laneOfRule[rule]
    isSignal = index < 0
    if isSignal { return admitSignal(rule, message, event) }
    use(index)
    let position = event.position
    if letters.holdsBackOthers { return .full }
    if !epoch.handedOver.isEmpty,
      let range = epoch.handedOver[rule].first(where: { $0.contains(position) })
    {
      standing = .handedOver
      // What can't be made is a dead letter all the same.
      return range.isFinal ? .pass : .check
    }
    if let earlier = epoch.earlierRules, isStored(earlier, message, rule, event, &mapper) {
      return .pass
    }
    if pipeline.conflicts.mayConcern(position),
      let detail = conflict(message, rule, event, &mapper)
    {
      return .refuse(MappingError(.idConflict, detail))
    }
    if holds(message, rule, event, &mapper) {
      standing = .held
      guard mayBeLetter(position, rule, letters) else { return .pass }
      return refusal(position, rule).map { .refuse($0) } ?? .check
    }
    if lane.unseen > 0 { pipeline.boundUnseen(lane, position.entry, epoch) }
    standing = lane.isHalted ? .halted : lane.unseen > 0 ? .unseen : .open
    guard standing != .open || (publisher.canSend && mayFollow(position)) else { return .full }
    if let error = refusal(position, rule) { return .refuse(error) }
    return standing == .open ? .write : .check
  }

  /// Most events go where the one before went: nothing is counted up and down then.
  @inline(__always)
  private mutating func use(_ index: Int) {
    guard index != self.index else { return }
    self.index = index
    lane = pipeline.lanes[index]
    publisher = lane.publisher
  }

  private mutating func admitSignal(
    _ rule: Int, _ message: PlannedMessage, _ event: borrowing ChangeEvent
  ) -> Admission {
    switch pipeline.admitSignal(rule, match: message.match, of: event) {
    case .send:
      standing = .open
      return .write
    case .past:
      standing = .pastSignal
      return .pass
    case .late:
      standing = .lateSignal
      return .pass
    case .wait: return .full
    }
  }

  private mutating func admitLetter(
    _ message: PlannedMessage, of event: borrowing ChangeEvent, _ mapper: inout Mapper
  ) -> Admission {
    isSignal = false
    use(epoch.deadLetterLane)
    let position = event.position
    if message.rule == nil, let earlier = epoch.earlierRules, position <= earlier.to,
      lane.isLookedUp(position), earlier.hasTaken(position) != nil
    {
      standing = .takenEarlier
      return .pass
    }
    let rule = message.rule ?? Int(InFlightEvent.noRule)
    if holds(message, rule, event, &mapper) {
      standing = .held
      return .pass
    }
    if lane.unseen > 0 { pipeline.boundUnseen(lane, position.entry, epoch) }
    standing = lane.unseen > 0 ? .unseen : lane.isHalted ? .halted : .open
    guard standing == .open else { return .pass }
    // A message in flight elsewhere may be refused, or its id be another event's: then its own letter
    // has to be stored before this one, or it would look as if it had been written.
    pipeline.letterWaits = pipeline.lanes.contains { $0 !== lane && !$0.inFlight.isEmpty }
    guard !pipeline.letterWaits, publisher.canSend, !lane.isConfirming, mayFollow(position) else {
      return .full
    }
    return .write
  }

  mutating func commit(_ message: PlannedMessage, of event: borrowing ChangeEvent) {
    if isSignal, let signals, let rule = message.rule { return signals.endMessage(rule: rule) }
    publisher.endMessage()
    let rule = message.rule ?? Int(InFlightEvent.noRule)
    if pipeline.usesEarlierRules {
      pipeline.noteSent(event.position, rule, match: message.match, lane)
    }
    if lane.lacksUpTo != nil { pipeline.noteLate(event.position, rule, lane) }
    pipeline.sent(event, rule: UInt16(clamping: rule), lane)
  }

  // MARK: - A signal's output, or the stream's

  var output: ByteWriter {
    _read {
      if isSignal, let signals { yield signals.output } else { yield publisher.output }
    }
    _modify {
      if isSignal, let signals { yield &signals.output } else { yield &publisher.output }
    }
  }

  mutating func begin(_ message: PlannedMessage) {
    if isSignal, let signals { signals.beginMessage() } else { publisher.beginMessage() }
  }

  mutating func beginHeaders() {
    if isSignal, let signals { signals.beginHeaders() } else { publisher.beginHeaders() }
  }

  mutating func beginBody() {
    if isSignal, let signals { signals.beginBody() } else { publisher.beginBody() }
  }

  var size: Int { if isSignal, let signals { signals.size } else { publisher.ownSize } }

  var body: UnsafeRawBufferPointer {
    if isSignal, let signals { signals.body } else { publisher.body }
  }

  mutating func cancel() {
    if isSignal, let signals { signals.cancelMessage() } else { cancelInLane() }
  }

  // MARK: - What the stream has

  /// The rule's stream is past the event. That proves nothing if the event can't become a message: then it
  /// belongs to the dead-letter stream, which may be behind. So unless that is past it, too, and its outcome
  /// has been counted, the message is built once more, only to see whether it can be.
  private func mayBeLetter(_ position: EventPosition, _ rule: Int, _ letters: Lane) -> Bool {
    pipeline.rules[rule].onInvalid != .halt && epoch.snapshot == nil && lane !== letters
      && (!letters.covers(position) || pipeline.isUncounted(lane, position, rule))
  }

  /// Whether the stream has the message: it is past it, or an earlier process published it for the
  /// same snapshot.
  @inline(__always)
  private func holds(
    _ message: PlannedMessage, _ rule: Int, _ event: borrowing ChangeEvent, _ mapper: inout Mapper
  ) -> Bool {
    if lane.holds(event.position, rule: rule) { return true }
    if lane.mayBeSuperseded(event.position) { return isSuperseded(rule, event, &mapper) }
    guard !lane.stored.isEmpty else { return false }
    return lane.stored.remove(id(of: message, event, &mapper)) != nil
  }

  /// Whether the event's key holds something newer.
  private func isSuperseded(
    _ rule: Int, _ event: borrowing ChangeEvent, _ mapper: inout Mapper
  ) -> Bool {
    pipeline.identity.removeAll()
    do {
      try mapper.writeSubject(rule: rule, event: event, into: &pipeline.identity)
    } catch {
      return false  // It is a dead letter.
    }
    return lane.isSuperseded(event.position, rule: rule, key: Array(pipeline.identity.bytes))
  }

  /// What the event's id belongs to in its stream, if that is another event.
  private func conflict(
    _ message: PlannedMessage, _ rule: Int, _ event: borrowing ChangeEvent, _ mapper: inout Mapper
  ) -> String? {
    pipeline.conflicts.detail(
      lane.name, pipeline.ruleSet.id(rule), event.position, id: id(of: message, event, &mapper))
  }

  /// Whether earlier rules have published the event's message, as one or as a dead letter: `lane` is then
  /// that of the stream that has it.
  private mutating func isStored(
    _ earlier: EarlierRules, _ message: PlannedMessage, _ rule: Int,
    _ event: borrowing ChangeEvent, _ mapper: inout Mapper
  ) -> Bool {
    let position = event.position
    guard position <= earlier.to, lane.isLookedUp(position) else { return false }
    let id = id(of: message, event, &mapper)
    let ruleID = pipeline.ruleSet.id(rule)
    let found = earlier.find(position, rule: ruleID, stream: lane.name) {
      String(decoding: id, as: UTF8.self)
    }
    switch found {
    case .missing: return false
    case .idTaken(let other):
      // `on_id_conflict` decides about it next.
      if pipeline.conflicts.add(
        lane.name, ruleID, position, id: id,
        "the stream holds this event's message of rule \(other) under this id")
      {
        pipeline.counters.rules[rule].idConflicts &+= 1
        pipeline.counters.lastConflict = .now
      }
      return false
    case .stored(let stored):
      lane = pipeline.lanes.first { $0.name == stored.stream } ?? lane
      index = -1
      publisher = lane.publisher
      standing = .storedEarlier
      return true
    }
  }

  private func id(
    of message: PlannedMessage, _ event: borrowing ChangeEvent, _ mapper: inout Mapper
  ) -> [UInt8] {
    pipeline.identity.removeAll()
    mapper.writeIdentity(
      rule: message.rule, event: event, match: message.match, into: &pipeline.identity)
    return Array(pipeline.identity.bytes)
  }

  // MARK: - The server's refusals

  /// Whether an event that is to be sent alone may be sent now.
  private func mayFollow(_ position: EventPosition) -> Bool {
    guard let alone = epoch.alone, position <= alone else { return true }
    return pipeline.lanes.allSatisfy { lane in
      guard let last = lane.inFlight.last else { return true }
      return !epoch.separatesEvents && last.position.entry == position.entry
    }
  }

  /// The event's message was refused by the server again and again.
  private func refusal(_ position: EventPosition, _ rule: Int) -> MappingError? {
    guard !epoch.refused.isEmpty else { return nil }
    return epoch.refused[RefusalBook.Key(position: position, rule: pipeline.ruleSet.id(rule))]
      .map { MappingError(.refused, $0) }
  }
}
