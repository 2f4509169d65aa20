import DeliberateErrors
import JetStream
import Logging
import Mapping
import NATS
import NIOCore
import Oplog

/// Acks, what they settle, and the low-water mark.
extension Pipeline: NATSRawHandler {
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
        token: token, headers: message.headers, payload: message.payload, status: message.status)
      if progress.duplicates > 0, lane.isDeadLetter,
        case .stored(let sequence, true, _) = AckFrame(payload: message.payload)
      {
        confirmLetter(index, progress, storedAt: sequence)
      } else if progress.acked > 0 {
        settle(lane, progress)
        schedulePump()
      } else if progress.moved {
        lane.waitingSince = .now()
        schedulePump()
      } else if !progress.conflicts.isEmpty {
        note(progress.conflicts, lane)
      }
    } catch {
      fail(.publishFailed(lane: lane.name, error))
    }
  }

  /// One look at the clock for each ack, whatever number of messages it is for.
  private func measure(_ lane: Lane, _ progress: LaneProgress, at now: NIODeadline) {
    if let timed = lane.timed {
      if timed.left > progress.acked {
        lane.timed = (timed.at, timed.left - progress.acked)
      } else {
        measures.publishAck.add(Double((now - timed.at).nanoseconds) / 1e9)
        lane.timed = nil
      }
    }
    guard !lane.isDeadLetter else { return }
    measures.acknowledged.add(Double(progress.acked))
    let new = progress.acked - progress.duplicates
    guard new > 0, let oldest = lane.inFlight.first else { return }
    if oldest.receivedAt > 0 {
      let nanoseconds = Int64(bitPattern: now.uptimeNanoseconds &- oldest.receivedAt)
      measures.receivedToStored.add(max(0, Double(nanoseconds) / 1e9), times: UInt64(new))
    }
    guard let mongoAhead, oldest.wallTime > 0 else { return }
    let milliseconds = Int64(now.uptimeNanoseconds / 1_000_000) &+ mongoAhead &- oldest.wallTime
    measures.writeToStored.add(max(0, Double(milliseconds) / 1000), times: UInt64(new))
  }

  func settle(_ lane: Lane, _ progress: LaneProgress) {
    let now = NIODeadline.now()
    measure(lane, progress, at: now)
    var duplicates = progress.duplicates
    let lookedUpTo = usesEarlierRules ? epoch?.earlierRules?.to : nil
    for offset in 0..<progress.acked {
      guard let event = lane.inFlight.first else { break }
      lane.inFlight.removeFirst()
      let rule = Int(event.rule)
      let isDuplicate =
        progress.wereStored.isEmpty ? duplicates > 0 : progress.wereStored[offset]
      // A message that the stream had already, or gets late, doesn't show where its end is.
      if isDuplicate {
        lane.met(event.position, at: progress.originals)
      } else if lane.isLate(event.position) {
        lane.met(event.position, at: progress.sequence)
      } else if offset == progress.lastStored {
        lane.acknowledge(
          Lane.Acked(
            sequence: progress.sequence, position: event.position, rule: ruleSet.id(rule)))
      }
      if let lookedUpTo, event.position <= lookedUpTo, lane.isLookedUp(event.position) {
        countEarlier(lane, event.position, rule, isNew: false, duplicate: isDuplicate)
        if duplicates > 0 { duplicates -= 1 }
        continue
      }
      guard takeUncounted(lane, event.position, rule) else { continue }
      count(lane, rule, at: event.position, duplicate: isDuplicate)
      if duplicates > 0 { duplicates -= 1 }
    }
    lane.awaitsFirst = false
    lane.openSince = now
    lane.waitingSince = lane.inFlight.isEmpty ? nil : lane.openSince
    if lane.inFlight.isEmpty { lane.holdsBackOthers = false }
  }

  /// Ids that the stream has for other events. No message in flight was published: the next epoch reads them
  /// again, and `on_id_conflict` decides about these events.
  private func note(_ conflicts: [LaneProgress.Conflict], _ lane: Lane) {
    let events = lane.inFlight.elements
    for conflict in conflicts where conflict.offset < events.count {
      let event = events[conflict.offset]
      let rule = Int(event.rule)
      guard rule < rules.count,
        self.conflicts.add(
          lane.name, ruleSet.id(rule), event.position, id: conflict.id, conflict.detail)
      else { continue }
      counters.rules[rule].idConflicts &+= 1
      counters.rules[rule].lastError = (
        conflict.detail, "the stream has the id of an event for another event"
      )
      counters.rules[rule].lastErrorAt = event.position
      counters.lastConflict = .now
      // Once per rule, and then more and more rarely.
      let count = counters.rules[rule].idConflicts
      guard count & (count &- 1) == 0 else { continue }
      logger.warning(
        "an event's id is taken by another event",
        metadata: [
          "rule": "\(rules[rule].name)", "position": "\(event.position)",
          "detail": "\(conflict.detail)", "conflicts": "\(count)",
          "on_id_conflict": "\(rules[rule].onIDConflict.rawValue)",
        ])
    }
    fail(
      .publishFailed(
        lane: lane.name,
        .duplicates(in: lane.name, "\(conflicts.count) ids are in the stream for other events")))
  }

  func isUncounted(_ lane: Lane, _ position: EventPosition, _ rule: Int) -> Bool {
    if let derivedFrom, position < derivedFrom { return false }
    return !lane.counted.contains(position, rule)
  }

  /// Whether the event's message was not counted yet. From now on it is.
  private func takeUncounted(_ lane: Lane, _ position: EventPosition, _ rule: Int) -> Bool {
    let message = Lane.StoredWatermark(position: position, rule: rule)
    if !uncounted.isEmpty, uncounted.remove(message) != nil {
      if isUncounted(lane, position, rule) { lane.counted.last = message }
      return true
    }
    guard isUncounted(lane, position, rule) else { return false }
    lane.counted.last = message
    return true
  }

  private func isSentLate(_ position: EventPosition, _ rule: Int) -> Bool {
    !uncounted.isEmpty
      && uncounted.contains(Lane.StoredWatermark(position: position, rule: rule))
  }

  /// An event that the stream holds already: from an earlier epoch, whose ack was lost, or an earlier
  /// process. It was derived, so it has an outcome.
  func countStored(_ lane: Lane, _ position: EventPosition, _ rule: Int) {
    let wasSent = isSentLate(position, rule)
    guard takeUncounted(lane, position, rule) else { return }
    let isInherited = inherited[lane.name]?.covers(position, rule) ?? false
    count(lane, rule, at: position, duplicate: isInherited && !wasSent)
  }

  /// What followers have decided.
  func count(decided: [RuleID: Outcomes]) {
    eventLoop.preconditionInEventLoop()
    for (id, outcomes) in decided {
      counters.derived &+= outcomes.total
      if let rule = ruleSet.index(of: id) {
        counters.rules[rule].outcomes += outcomes
      } else if let rule = counters.removed.firstIndex(where: { $0.id == id }) {
        counters.removed[rule].outcomes += outcomes
      } else {
        var removed = PipelineCounters.Rule(id: id)
        removed.outcomes = outcomes
        counters.removed.append(removed)
      }
    }
  }

  func count(_ lane: Lane, _ rule: Int, at position: EventPosition, duplicate: Bool) {
    guard rule < rules.count else {
      counters.unmatchedDeadLettered &+= 1
      return
    }
    // Not the highest one: after a snapshot, or for a replay, it is the last that counts.
    counters.rules[rule].newest = position
    if lane.isDeadLetter {
      counters.rules[rule].outcomes.deadLettered &+= 1
    } else if duplicate {
      counters.rules[rule].outcomes.duplicate &+= 1
    } else {
      counters.rules[rule].outcomes.published &+= 1
    }
  }

  // MARK: - What others ask

  /// The low-water mark: where a new process would have to resume, and what each stream holds.
  func mark() -> PipelineMark? {
    eventLoop.preconditionInEventLoop()
    guard let epoch else { return nil }
    if let snapshot = epoch.snapshot { return mark(epoch, snapshot) }
    var done = OpTime(position: epoch.start, term: epoch.startTerm)
    var isWhole = false
    if let lastEntry = feed.lastEntry {
      done = lastEntry
      isWhole = true
    }
    if feed.entryOpen, let header = feed.header {
      done = OpTime(position: header.position, term: header.term)
      isWhole = false
    }
    if DeliberateError.isOn(.openEntryClaimed) { isWhole = true }
    for lane in lanes where !DeliberateError.isOn(.checkpointBeforeAck) {
      if let oldest = lane.inFlight.first, oldest.position.entry <= done.position {
        done = OpTime(position: oldest.position.entry, term: oldest.term)
        isWhole = false
      }
    }
    let resume = feed.resume(from: done)
    var mark = PipelineMark(
      resume: resume.position, term: resume.term < 0 ? nil : resume.term,
      settled: EventPosition(entry: done.position, index: isWhole ? .max : 0),
      token: feed.token(notBehind: resume.position), origin: epoch.origin,
      lanes: settledLanes, had: had,
      unanswered: Dictionary(
        lanes.map { ($0.name, $0.unanswered) },
        uniquingKeysWith: { first, _ in first }),
      inFlight: lanes.reduce(0) { $0 + $1.inFlight.count },
      read: feed.lastEntry?.position)
    mark.hasHeldLeft = lanes.contains { $0.hasHeld(behind: feed.lastEntry?.position) }
    return mark
  }

  /// What streams had already behind the last acknowledged message.
  private var had: [String: MetMessages] {
    var all: [String: MetMessages] = [:]
    for lane in lanes where !lane.isHalted { all[lane.name] = lane.had }
    return all
  }

  /// A halted stream keeps its last state.
  private var settledLanes: [(name: String, created: String, acked: Lane.Acked?)] {
    lanes.filter { !$0.isHalted }.map { ($0.name, $0.created, $0.acked) }
  }

  /// The same in a snapshot: the oplog's position stays, the snapshot's moves.
  private func mark(_ epoch: Epoch, _ snapshot: Checkpoint.Snapshot) -> PipelineMark {
    var settled = pending?.event.position.index ?? feed.snapshotIndex
    for lane in lanes {
      if let oldest = lane.inFlight.first { settled = min(settled, oldest.position.index) }
    }
    if let (index, marker) = feed.marker(settledBefore: settled) {
      self.epoch?.snapshot?.marker = marker
      // What a stream holds from before a restart has lower numbers, until all of it was met.
      if lanes.allSatisfy(\.stored.isEmpty) { self.epoch?.snapshot?.floor = index }
    }
    return PipelineMark(
      resume: epoch.start, term: epoch.startTerm < 0 ? nil : epoch.startTerm,
      snapshot: self.epoch?.snapshot ?? snapshot, origin: epoch.origin,
      lanes: settledLanes, had: had, inFlight: lanes.reduce(0) { $0 + $1.inFlight.count },
      read: feed.lastEntry?.position)
  }

  /// Ends the epoch when a lane has waited for an ack for too long. Called by a timer.
  func checkTimeouts() {
    eventLoop.preconditionInEventLoop()
    guard let epoch else { return }
    // Also where nothing is to be written, which would find out by itself.
    if epoch.tenure.endedBy != nil { return fail(.leaseLapsed) }
    guard !endsAsIDsAreForgotten(epoch), !DeliberateError.isOn(.ackTimeoutIgnored) else { return }
    let limit = NIODeadline.now() - epoch.ackTimeout
    let directLimit = NIODeadline.now() - Self.directLimit
    for lane in lanes {
      if let since = lane.waitingSince, since < directLimit, lane.publisher.awaitsDirectReads {
        readFromLeader(lane, "they are not answered within 1 s")
      } else if let since = lane.waitingSince, since < limit {
        fail(
          .publishFailed(
            lane: lane.name,
            JetStreamError(
              code: 0, operation: "publish to \(lane.name)",
              message:
                "no ack for \(epoch.ackTimeout.nanoseconds / 1_000_000_000) s; \(lane.inFlight.count) messages are waiting",
              remedy: .reread)))
        return
      }
    }
  }

  /// Of messages that a stream stored and removed, ids were to tell which events they are of, and events up to the last of
  /// them are still to be read: the next epoch decides without the ids.
  func endsAsIDsAreForgotten(_ epoch: Epoch) -> Bool {
    guard let ids = epoch.reliance, ContinuousClock.now > ids.until,
      feed.lastEntry.map({ $0.position < ids.through }) ?? true
    else { return false }
    fail(
      .publishFailed(
        lane: ids.stream,
        JetStreamError(
          code: 0, operation: "publish to \(ids.stream)",
          message:
            "by now the server may have forgotten the ids of what it had stored, and not all of those events were read",
          remedy: .reread)))
    return true
  }

  func finishIfSettled(_ end: EpochEnd) {
    guard pending == nil, !feed.entryOpen, lanes.allSatisfy(\.inFlight.isEmpty) else { return }
    fail(end)
  }

  /// Each stream's state, for the board.
  func streams() -> [StatusBoard.Stream] {
    lanes.map { lane in
      StatusBoard.Stream(
        name: lane.name, mode: lane.publisher.mode.rawValue, inFlight: lane.inFlight.count,
        sequence: lane.publisher.lastSequence, position: lane.acked?.position,
        waitingSince: lane.waitingSince.map { since in
          ContinuousClock.now - .nanoseconds((NIODeadline.now() - since).nanoseconds)
        })
    }
  }
}
