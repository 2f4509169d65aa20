import BSON
import BridgeConfiguration
import JetStream
import Logging
import Mapping
import NATS
import NIOCore
import Oplog

/// The dead-letter stream, or the server, accepts only messages of a few hundred bytes: not an event's fault.
struct DeadLetterTooLarge: Error {
  var stream: String
  var limit: Int
  var size: Int
}

/// From one event to its messages, and how each outcome is counted.
extension Pipeline {
  /// Brings the pending event to its next outcome. False: a lane is full.
  func settlePending(_ epoch: Epoch, _ sink: inout LaneSink) throws -> Bool {
    guard let event = pending?.event else { return true }
    let match = cursor.match
    let step = maker.step(event, &cursor, into: &sink)
    let isNew = pending?.isNew(match) ?? false
    switch step {
    case .sent:
      if sink.isSignal { flushSignalsIfMany(epoch) } else { flushIfLarge(sink.lane, epoch) }
    case .full: return false
    case .filtered(let rule): if isNew { counters.rules[rule].outcomes.filtered &+= 1 }
    case .unmatched: if isNew { counters.unmatched &+= 1 }
    case .passed(let message): settlePassed(message, event, isNew, sink)
    case .invalid(let rule, let error):
      noteInvalid(rule, match, error, event.position, sink)
      // Its policy is applied while the sink still knows the message's lane.
      return try settlePending(epoch, &sink)
    case .deadLetter(let rule, let error):
      noteLetter(rule, error, event, isNew, epoch, sink)
      flushIfLarge(sink.lane, epoch)
    case .dropped(let rule, let error):
      if isDropped(rule, error, event, isNew, sink) {
        counters.rules[rule].outcomes.dropped &+= 1
      }
    case .halt(let halt): throw failure(halt, event, sink)
    }
    if cursor.isDone {
      pending = nil
    } else if isNew, cursor.match != match {
      counters.derived &+= 1
    }
    return true
  }

  /// Nothing was sent: the stream has the message, or is halted.
  private func settlePassed(
    _ message: PlannedMessage, _ event: borrowing ChangeEvent, _ isNew: Bool,
    _ sink: borrowing LaneSink
  ) {
    let rule = message.rule ?? Int(InFlightEvent.noRule)
    switch sink.standing {
    case .halted, .open, .pastSignal: return
    case .handedOver:
      // Counted when it is decided.
      if isNew { counters.derived &-= 1 }
      return
    case .lateSignal:
      counters.rules[rule].outcomes.dropped &+= 1
      return
    case .takenEarlier:
      if isNew { counters.unmatched &+= 1 }
      return
    case .storedEarlier:
      // Somewhere before the end that the stream had when they were looked up.
      sink.lane.met(event.position, at: sink.lane.publisher.options.baseSequence)
      return countEarlier(sink.lane, event.position, rule, isNew: isNew, duplicate: nil)
    case .held: sink.lane.metHeld(event.position, rule: rule)
    case .unseen: sink.lane.metUnseen(event.position, rule: ruleSet.id(rule))
    }
    countStored(sink.lane, event.position, rule)
  }

  /// The event's message can't be made or sent.
  private func noteInvalid(
    _ rule: Int, _ match: Int, _ error: MappingError, _ position: EventPosition,
    _ sink: borrowing LaneSink
  ) {
    // Conflicts were counted when they were found; events that the stream is past, by an earlier process.
    guard error.code != .idConflict, sink.standing != .held else { return }
    counters.rules[rule].lastError = (error.detail, error.outline)
    counters.rules[rule].lastErrorAt = position
    guard pending?.isNew(match) == true, pending?.invalidMatch != match else { return }
    pending?.invalidMatch = match
    counters.rules[rule].invalid &+= 1
    guard error.code == .schemaInvalid else { return }
    counters.rules[rule].schemaInvalid &+= 1
    schemaRefusals.note(rule: rules[rule].name, keyword: error.keyword, position)
  }

  private func noteLetter(
    _ rule: Int?, _ error: MappingError, _ event: borrowing ChangeEvent, _ isNew: Bool,
    _ epoch: Epoch, _ sink: borrowing LaneSink
  ) {
    if isNew {
      letterLog.note(
        rule: rule.map { rules[$0].name } ?? DeadLetterSubject.unmatchedRule,
        error: error.code.rawValue, detail: error.detail, event.position)
    }
    if error.code == .idConflict || error.code == .refused, let rule,
      lanes[epoch.laneOfRule[rule]] !== sink.lane
    {
      sink.lane.holdsBackOthers = true
    }
  }

  /// Whether a dropped event is counted: each one once.
  private func isDropped(
    _ rule: Int, _ error: MappingError, _ event: borrowing ChangeEvent, _ isNew: Bool,
    _ sink: borrowing LaneSink
  ) -> Bool {
    guard error.code == .idConflict else { return isNew }
    // The sink looked for the conflict by this id.
    return conflicts.drop(
      sink.lane.name, ruleSet.id(rule), event.position, id: Array(identity.bytes))
  }

  private func failure(
    _ halt: MessageMaker.Halt, _ event: borrowing ChangeEvent, _ sink: borrowing LaneSink
  ) -> any Error {
    if case .letterTooLarge(let size, let limit) = halt {
      return DeadLetterTooLarge(stream: sink.lane.name, limit: limit, size: size)
    }
    return PipelineFailure(halt, event, rules: rules.map(\.name))
  }

  /// What happened after the stream's end was read can't have been stored by then.
  func boundUnseen(_ lane: Lane, _ entry: OplogPosition, _ epoch: Epoch) {
    guard let last = epoch.observedAt, entry > last else { return }
    let left = lane.forgetUnseen()
    logger.error(
      """
      stream \(lane.name) has stored \(left) messages more than there were events: somebody else \
      published to it, and what it held is gone. Events may be missing from it: tailrace verify
      """)
  }

  /// The message is in the lane's output.
  func sent(_ event: borrowing ChangeEvent, rule: UInt16, _ lane: Lane) {
    if lane.inFlight.isEmpty {
      lane.waitingSince = .now()
      lane.openSince = .now()
    }
    lane.lastSent = event.position.entry
    lane.inFlight.append(
      InFlightEvent(
        position: event.position, term: feed.header?.term ?? -1, rule: rule,
        wallTime: event.wallTime ?? 0, receivedAt: feed.receivedAt))
    if lane.timed == nil { lane.timed = (.now(), lane.inFlight.count) }
  }

  private func flushSignalsIfMany(_ epoch: Epoch) {
    guard let signals, signals.output.count > Self.flushBytes, holdsLease(epoch) else { return }
    if flushSignals(epoch) { epoch.connection.flushWrites() }
  }

  /// Not while a message is being made: the socket may call back.
  private func flushIfLarge(_ lane: Lane, _ epoch: Epoch) {
    if lane.publisher.output.count > Self.flushBytes, lane.publisher.mayFlush, holdsLease(epoch) {
      write(lane, epoch)
      epoch.connection.flushWrites()
    }
  }
}
