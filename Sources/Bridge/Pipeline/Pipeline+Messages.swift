import BSON
import BridgeConfiguration
import JetStream
import Logging
import Mapping
import NATS
import NIOCore
import Oplog

/// The dead-letter stream, or the server, takes messages of a few hundred bytes alone: no event's fault.
struct DeadLetterTooLarge: Error {
  var stream: String
  var limit: Int
  var size: Int
}

/// From one event to its messages: rules, lanes, dead letters.
extension Pipeline {
  /// Sends, skips or settles the pending event for its next rule. False: a lane is full.
  func settlePending(_ epoch: Epoch) throws -> Bool {
    guard let event = pending?.event else { return true }
    guard let rule = pending?.rule else {
      if pending?.match == 0, pending?.invalid == nil { return try settleUnmatched(event, epoch) }
      pending = nil
      return true
    }
    if pending?.invalid != nil { return try settleInvalid(event, rule, epoch) }
    let isLeftOut = !epoch.snapshotRules.isEmpty && !epoch.snapshotRules[rule]
    if isLeftOut || mapper.skips(event, rule: rule) {
      if pending?.isNew == true { counters.rules[rule].outcomes.filtered &+= 1 }
      advance(event, rule)
      return true
    }
    let lane = lanes[epoch.laneOfRule[rule]]
    if lanes[epoch.deadLetterLane].holdsBackOthers { return false }
    if settleEarlier(event, rule, lane, epoch) { return true }
    if conflicts.mayConcern(event.position), try settleConflict(event, rule, lane) { return true }
    if lane.holds(event.position, rule: rule) || isStored(event, rule, lane) {
      return try settleHeld(event, rule, lane, epoch)
    }
    if lane.unseen > 0 { boundUnseen(lane, event.position.entry, epoch) }
    let isSent = !lane.isHalted && lane.unseen == 0
    guard !isSent || (lane.publisher.canSend && mayFollow(event, epoch)) else { return false }
    if let error = refusal(event, rule, epoch) ?? write(event, rule, into: lane, keep: isSent) {
      return try refuse(event, rule, error)
    }
    if isSent {
      sent(event, rule: UInt16(rule), lane, epoch)
    } else if !lane.isHalted {
      lane.metUnseen(event.position, rule: ruleSet.id(rule))
      countStored(lane, event.position, rule)
    }
    advance(event, rule)
    return true
  }

  /// What happened after the stream's end was read can't be among what it had stored by then.
  private func boundUnseen(_ lane: Lane, _ entry: OplogPosition, _ epoch: Epoch) {
    guard let last = epoch.observedAt, entry > last else { return }
    let left = lane.forgetUnseen()
    logger.error(
      """
      stream \(lane.name) has stored \(left) messages more than there were events: somebody else \
      published to it, and what it held is gone. Events may be missing from it: tailrace verify
      """)
  }

  /// The event's message can't be made: what the rule says of such events.
  private func refuse(_ event: ChangeEvent, _ rule: Int, _ error: MappingError) throws -> Bool {
    // Not the event's trouble but the source's.
    if error.code == .corrupt {
      throw PipelineFailure.invalid(event.position, rules[rule].name, error)
    }
    counters.rules[rule].lastError = error.detail
    if let match = pending?.match, pending?.isNew == true, pending?.invalidMatch != match {
      pending?.invalidMatch = match
      counters.rules[rule].invalid &+= 1
      if error.code == .schemaInvalid { counters.rules[rule].schemaInvalid &+= 1 }
    }
    switch rules[rule].onInvalid {
    case .halt: throw PipelineFailure.invalid(event.position, rules[rule].name, error)
    case .drop:
      if pending?.isNew == true { counters.rules[rule].outcomes.dropped &+= 1 }
      advance(event, rule)
    case .deadLetter: pending?.invalid = error
    }
    return true
  }

  /// The rule's stream is past the event. That says nothing of an event that can't become a message:
  /// it belongs to the dead-letter stream, which may be behind. So unless that is past it too, and its
  /// outcome has been counted, the message is made again, only to see whether it can be.
  private func settleHeld(
    _ event: ChangeEvent, _ rule: Int, _ lane: Lane, _ epoch: Epoch
  ) throws -> Bool {
    let letters = lanes[epoch.deadLetterLane]
    if rules[rule].onInvalid != .halt, epoch.snapshot == nil, lane !== letters,
      !letters.covers(event.position) || isUncounted(lane, event.position, rule),
      let error = refusal(event, rule, epoch) ?? write(event, rule, into: lane, keep: false)
    {
      if error.code == .corrupt {
        throw PipelineFailure.invalid(event.position, rules[rule].name, error)
      }
      if rules[rule].onInvalid == .drop {
        if pending?.isNew == true { counters.rules[rule].outcomes.dropped &+= 1 }
        advance(event, rule)
      } else {
        pending?.invalid = error
      }
      return true
    }
    countStored(lane, event.position, rule)
    advance(event, rule)
    return true
  }

  /// Whether an event that is to be sent alone may be sent now.
  private func mayFollow(_ event: ChangeEvent, _ epoch: Epoch) -> Bool {
    guard let alone = epoch.alone, event.position <= alone else { return true }
    return lanes.allSatisfy(\.inFlight.isEmpty)
  }

  /// The event's message was refused by the server again and again.
  private func refusal(_ event: ChangeEvent, _ rule: Int, _ epoch: Epoch) -> MappingError? {
    guard !epoch.refused.isEmpty else { return nil }
    return epoch.refused[RefusalBook.Key(position: event.position, rule: ruleSet.id(rule))]
      .map { MappingError(.refused, $0) }
  }

  /// The event's id belongs to another event in its stream: what the rule says of that. False: it
  /// doesn't.
  private func settleConflict(_ event: ChangeEvent, _ rule: Int, _ lane: Lane) throws -> Bool {
    identity.removeAll()
    mapper.writeIdentity(rule: rule, event: event, match: pending?.match ?? 0, into: &identity)
    let id = Array(identity.bytes)
    guard
      let detail = conflicts.detail(
        lane.name, ruleSet.id(rule), event.position, id: id)
    else {
      return false
    }
    let error = MappingError(.idConflict, detail)
    switch rules[rule].onIDConflict {
    case .halt: throw PipelineFailure.invalid(event.position, rules[rule].name, error)
    case .drop:
      if conflicts.drop(lane.name, ruleSet.id(rule), event.position, id: id) {
        counters.rules[rule].outcomes.dropped &+= 1
      }
      advance(event, rule)
    case .deadLetter: pending?.invalid = error
    }
    return true
  }

  /// Whether the stream got this event's message when an earlier life of the snapshot came by.
  private func isStored(_ event: ChangeEvent, _ rule: Int?, _ lane: Lane) -> Bool {
    guard !lane.stored.isEmpty else { return false }
    identity.removeAll()
    mapper.writeIdentity(rule: rule, event: event, match: pending?.match ?? 0, into: &identity)
    return lane.stored.remove(Array(identity.bytes)) != nil
  }

  private func settleUnmatched(_ event: ChangeEvent, _ epoch: Epoch) throws -> Bool {
    switch unmatchedPolicy {
    case .ignore:
      if pending?.isNew == true { counters.unmatched &+= 1 }
      pending = nil
      return true
    case .halt:
      throw PipelineFailure.unmatched(
        event.position, String(decoding: event.namespace, as: UTF8.self))
    case .deadLetter:
      if settleTakenEarlier(event, epoch) { return true }
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
  func advance(_ event: ChangeEvent, _ rule: Int) {
    guard let next = mapper.nextMatch(event, after: rule) else {
      pending = nil
      return
    }
    if pending?.isNew == true { counters.derived &+= 1 }
    pending?.rule = next
    pending?.match += 1
    pending?.invalid = nil
  }

  /// Writes the message into the lane's buffer; on an error nothing of it stays, and neither without
  /// `keep`.
  private func write(_ event: ChangeEvent, _ rule: Int, into lane: Lane, keep: Bool)
    -> MappingError?
  {
    let publisher = lane.publisher
    publisher.beginMessage()
    do {
      try mapper.writeSubject(rule: rule, event: event, into: &publisher.output)
      publisher.beginHeaders()
      try mapper.writeHeaders(
        rule: rule, event: event, match: pending?.match ?? 0, into: &publisher.output)
      publisher.beginBody()
      try mapper.writeBody(
        rule: rule, event: event, match: pending?.match ?? 0,
        room: lane.limits.room(after: publisher.ownSize), into: &publisher.output)
      try lane.limits.check(message: publisher.ownSize)
      try judge.check(rule: rule, event: event, body: publisher.body)
    } catch {
      publisher.cancelMessage()
      // What was too large is not kept room for.
      publisher.output.shrink(to: Self.keptOutput)
      return error
    }
    if keep { publisher.endMessage() } else { publisher.cancelMessage() }
    return nil
  }

  private func sent(_ event: ChangeEvent, rule: UInt16, _ lane: Lane, _ epoch: Epoch) {
    if lane.inFlight.isEmpty {
      lane.waitingSince = .now()
      lane.openSince = .now()
    }
    if epoch.earlierRules != nil { noteSent(event.position, Int(rule), lane, epoch) }
    lane.lastSent = event.position.entry
    lane.inFlight.append(
      InFlightEvent(
        position: event.position, term: feed.header?.term ?? -1, rule: rule,
        wallTime: event.wallTime ?? 0))
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
    if lane.holds(event.position, rule: ruleIndex) || isStored(event, rule, lane) {
      countStored(lane, event.position, ruleIndex)
      if let rule { advance(event, rule) } else { pending = nil }
      return true
    }
    if lane.unseen > 0 { boundUnseen(lane, event.position.entry, epoch) }
    if lane.unseen > 0 {
      lane.metUnseen(event.position, rule: ruleSet.id(ruleIndex))
      countStored(lane, event.position, ruleIndex)
    } else if !lane.isHalted {
      // What is in flight elsewhere may come back as refused, or its id as another event's: its own letter
      // has to stand before this one, or it would look as if it had been written.
      letterWaits = lanes.contains { $0 !== lane && !$0.inFlight.isEmpty }
      guard !letterWaits, lane.publisher.canSend, !lane.isConfirming, mayFollow(event, epoch) else {
        return false
      }
      try writeDeadLetter(event, rule, error, lane, epoch)
      if pending?.isNew == true {
        letterLog.note(
          rule: rule.map { rules[$0].name } ?? DeadLetterSubject.unmatchedRule,
          error: error.code.rawValue, detail: error.detail, event.position)
      }
      if error.code == .idConflict || error.code == .refused,
        rule.map({ lanes[epoch.laneOfRule[$0]] !== lane }) ?? false
      {
        lane.holdsBackOthers = true
      }
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
    let limits = lane.limits
    let publisher = lane.publisher
    publisher.beginMessage()
    mapper.writeDeadLetterSubject(
      deadLetterSubject, rule: rule, event: event, error: error, into: &publisher.output)
    publisher.beginHeaders()
    let start = publisher.output.count
    mapper.writeDeadLetterHeaders(
      rule: rule, event: event, match: pending?.match ?? 0, error: error,
      limit: limits.deadLetterHeaders, into: &publisher.output)
    let headers = publisher.output.count - start
    publisher.beginBody()
    mapper.writeDeadLetterBody(
      event: event, limit: limits.deadLetterBody(headers: headers), into: &publisher.output)
    guard publisher.ownSize <= limits.size - MessageLimits.allowance else {
      let size = publisher.ownSize
      publisher.cancelMessage()
      throw DeadLetterTooLarge(stream: lane.name, limit: limits.size, size: size)
    }
    publisher.endMessage()
  }
}
