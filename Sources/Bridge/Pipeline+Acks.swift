import JetStream
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
        token: token, payload: message.payload, status: message.status)
      if progress.acked > 0 {
        settle(lane, progress)
        schedulePump()
      }
    } catch {
      fail(
        .publishFailed(
          lane: lane.name, error,
          unanswered: lane.publisher.mayLeaveGaps ? unanswered(lane) : []))
    }
  }

  private func unanswered(_ lane: Lane) -> [ResumePlan.Horizon] {
    lane.inFlight.elements.map { event in
      let rule = Int(event.rule)
      return ResumePlan.Horizon(
        position: event.position, rule: rule < rules.count ? rules[rule].name : "")
    }
  }

  private func settle(_ lane: Lane, _ progress: LaneProgress) {
    var duplicates = progress.duplicates
    for _ in 0..<progress.acked {
      guard let event = lane.inFlight.first else { break }
      lane.inFlight.removeFirst()
      let rule = Int(event.rule)
      // What the stream had already, or gets late, says nothing of where its end is.
      if !(progress.acked == 1 && duplicates == 1), !lane.isLate(event.position) {
        lane.acked = Lane.Acked(
          sequence: lane.publisher.lastSequence, position: event.position,
          rule: rule < rules.count ? rules[rule].name : "")
      }
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
  func countStored(_ lane: Lane, _ position: EventPosition, _ rule: Int) {
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
    if let snapshot = epoch.snapshot { return mark(epoch, snapshot) }
    var done = OpTime(position: epoch.start, term: epoch.startTerm)
    if let lastEntry = feed.lastEntry { done = lastEntry }
    if feed.entryOpen, let header = feed.header {
      done = OpTime(position: header.position, term: header.term)
    }
    for lane in lanes {
      if let oldest = lane.inFlight.first, oldest.position.entry <= done.position {
        done = OpTime(position: oldest.position.entry, term: oldest.term)
      }
    }
    let resume = feed.resume(from: done)
    return PipelineMark(
      resume: resume.position, term: resume.term < 0 ? nil : resume.term,
      token: feed.token(notBehind: resume.position), origin: epoch.origin,
      lanes: lanes.map { ($0.name, $0.created, $0.acked) },
      inFlight: lanes.reduce(0) { $0 + $1.inFlight.count },
      read: feed.lastEntry?.position)
  }

  /// The same in a snapshot: the oplog's place stays, the snapshot's moves.
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
      lanes: lanes.map { ($0.name, $0.created, $0.acked) },
      inFlight: lanes.reduce(0) { $0 + $1.inFlight.count }, read: feed.lastEntry?.position)
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
              message:
                "no ack for \(epoch.ackTimeout.nanoseconds / 1_000_000_000) s; \(lane.inFlight.count) messages wait",
              remedy: .reread), unanswered: []))
        return
      }
    }
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
        sequence: lane.publisher.lastSequence, position: lane.acked?.position)
    }
  }
}
