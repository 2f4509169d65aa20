import BSON
import BridgeConfiguration
import JetStream
import Mapping
import NATS
import NIOCore
import Oplog

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
    let lane = lanes[epoch.laneOfRule[rule]]
    if lane.holds(event.position, rule: rule) || isStored(event, rule, lane) {
      countStored(lane, event.position, rule)
      advance(event, rule)
      return true
    }
    guard lane.publisher.canSend else { return false }
    if let error = write(
      event, rule, into: lane, limit: min(epoch.maximumPayload, lane.maximumMessage))
    {
      counters.rules[rule].lastError = error.detail
      counters.rules[rule].invalid &+= 1
      if error.code == .schemaInvalid { counters.rules[rule].schemaInvalid &+= 1 }
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
  private func write(_ event: ChangeEvent, _ rule: Int, into lane: Lane, limit: Int)
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
        rule: rule, event: event, match: pending?.match ?? 0, into: &publisher.output)
      try judge.check(rule: rule, event: event, body: publisher.body)
      try MessageLimit.check(publisher.ownSize, limit: limit)
      // The predecessor's id, among the protocol's headers, can be longer than is allowed for.
      try MessageLimit.check(publisher.messageSize - MessageLimit.allowance, limit: limit)
    } catch {
      publisher.cancelMessage()
      return error
    }
    publisher.endMessage()
    return nil
  }

  private func sent(_ event: ChangeEvent, rule: UInt16, _ lane: Lane, _ epoch: Epoch) {
    if lane.inFlight.isEmpty { lane.waitingSince = .now() }
    lane.lastSent = event.position.entry
    lane.inFlight.append(
      InFlightEvent(position: event.position, term: feed.header?.term ?? -1, rule: rule))
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
      event: event, limit: limit - MessageLimit.allowance - publisher.ownSize,
      into: &publisher.output)
    guard publisher.messageSize <= limit else {
      publisher.cancelMessage()
      throw PipelineFailure.invalid(event.position, rule.map { rules[$0].name } ?? "", error)
    }
    publisher.endMessage()
  }
}
