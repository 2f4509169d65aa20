import Bridge
import JSON
import Oplog
import TestRandom

/// What follows the group: attempts that read the oplog and the stream, decide, publish, and write down what they know.
extension CutoverCourse {
  func follow() {
    if follower == nil {
      guard now >= restsUntil, record.isFollowed else { return }
      beginAttempt()
    }
    guard var one = follower else { return }
    follower = nil
    if step(&one) {
      if !isQuiet, chance(60) {
        tell("the attempt ends")
        restsUntil = now + Int64.random(in: 0...2000, using: &random)
        return
      }
      follower = one
    } else {
      restsUntil = now + 100
    }
  }

  func beginAttempt() {
    attempts += 1
    guard var known = CutoverProgress(continuing: progress, record, epoch: epoch) else {
      return fail("no position of the group is known")
    }
    if record.rewind != nil, progress?.generation != known.generation { rewinds += 1 }
    if record.phase == .bridge, let end = record.end, known.position.entry >= end { return }
    let place: CutoverProgress.Place
    if let old = known.streams[Self.name] {
      place = old
    } else {
      let time = Int64(known.position.entry.seconds) * 1000 - Self.window - 5000
      let first =
        messages.indices.first { $0 + 1 >= Int(firstSequence) && messages[$0].at >= time }
        ?? messages.count
      var lostUntil: Int64?
      if firstSequence > 1 {
        let next = Int(firstSequence) - 1
        lostUntil = next < messages.count ? messages[next].at / 1000 * 1000 + 1000 : now
        if case .age(let age) = limit { lostUntil = min(lostUntil ?? now, now - age + 1000) }
      }
      place = CutoverProgress.Place(
        created: "c", readTo: UInt64(flaw == .streamsFromTheirEnd ? messages.count : first),
        open: SequenceSet(), lostUntil: flaw == .removalsUnnoticed ? nil : lostUntil)
      known.streams[Self.name] = place
    }
    known.epoch = epoch
    progressRevision += 1
    progress = known
    let decisions = GroupDecisions(
      streams: [
        GroupDecisions.Stream(
          name: Self.name, place: place,
          reading: StreamReading(
            from: place.next, last: UInt64(messages.count), removal: removal,
            lostUntil: place.lostUntil, window: Self.window))
      ], record: record, position: known.position, findings: known.findings,
      missed: Set(known.findings.filter { $0.kind == .missed }.map(\.id)), grace: Self.grace)
    follower = Follower(
      number: attempts, epoch: epoch, record: record, revision: revision, progress: known,
      progressRevision: progressRevision, decisions: decisions,
      next: events.firstIndex { $0.position.entry >= known.resume } ?? events.count, readAt: now)
    tell("an attempt begins at \(known.position), sequence \(place.next)")
  }

  /// False: the attempt is over.
  func step(_ one: inout Follower) -> Bool {
    if now - one.readAt > 400 {
      one.readAt = now
      guard readRecord(&one) else { return false }
    }
    takeEvents(&one)
    readStream(&one)
    takeAcks(&one)
    fill(&one)
    compare(&one)
    let outcome = one.decisions.settle(frontier: one.frontier)
    count(outcome, &one)
    one.progress.position = max(one.progress.position, outcome.settled)
    one.progress.resume = min(
      one.progress.position.entry, one.frontier ?? one.progress.position.entry)
    taken = [taken, one.frontier].compactMap { $0 }.max()
    let mustSave = one.record.phase == .committing && outcome.isDrained
    if mustSave || chance(8) { guard save(&one) else { return false } }
    if outcome.isDrained, one.record.phase == .committing, !one.record.isDrained,
      let fence = one.record.fence
    {
      one.progress.position = max(one.progress.position, EventPosition(entry: fence, index: .max))
      guard save(&one) else { return false }
      if !isQuiet, chance(8) { return false }
      report(.drained, &one)
    }
    if outcome.isOver, let end = one.record.end {
      one.progress.position = max(one.progress.position, EventPosition(entry: end, index: .max))
      _ = save(&one)
      tell("the follower has nothing left to do")
      return false
    }
    return true
  }

  func report(_ report: CutoverReport, _ one: inout Follower) {
    guard let next = one.record.told(report, by: "follower", reason: "", now: now),
      one.revision == revision
    else { return }
    write(next)
    (one.record, one.revision) = (record, revision)
    one.decisions.use(record)
  }

  func readRecord(_ one: inout Follower) -> Bool {
    guard record.epoch <= one.epoch else { return false }
    if revision != one.revision {
      let before = one.record
      (one.record, one.revision) = (record, revision)
      switch record.continuation(of: before) {
      case .over, .again: return false
      case .counting(let generation): one.progress.begin(generation)
      case .same: break
      }
      one.decisions.use(record)
    }
    guard one.record.phase == .committing else { return true }
    if commitSeen?.number != one.record.number { commitSeen = (one.record.number, now) }
    if let seen = commitSeen, now - seen.at > Self.timeout {
      report(.failed, &one)
    } else if one.record.fence == nil {
      report(
        .fence(
          flaw == .fenceWhereTheFollowerIs
            ? one.progress.position.entry
            : max(newest, one.progress.position.entry, one.frontier ?? newest)), &one)
    }
    return true
  }

  func takeEvents(_ one: inout Follower) {
    var most = isQuiet ? 50 : Int.random(in: 0...5, using: &random)
    while one.next < written, most > 0 {
      let event = events[one.next]
      if one.decisions.isOpen(event.position) {
        let right = digest(one.next, isRight: true)
        let expected = DualTable.Event(
          stream: 0, id: "\(one.next)", rule: 0, position: event.position, subject: "s",
          digest: right, due: event.time + Self.grace)
        if let early = one.decisions.expect(expected) { one.compares.append(early) }
      }
      one.frontier = event.position.entry
      one.next += 1
      most -= 1
    }
    if one.next == written, written == 0 || chance(2) { one.frontier = newest }
  }

  func digest(_ number: Int, isRight: Bool) -> JSONDigest? {
    JSONDigest(Array("{\"n\":\(isRight ? number : -1)}".utf8))
  }

  func stored(_ sequence: UInt64) -> DualTable.Stored {
    let message = messages[Int(sequence) - 1]
    let isOwn = message.author != .producer
    return DualTable.Stored(
      sequence: sequence, subject: "s",
      digest: isOwn ? nil : digest(message.event, isRight: message.isRight), isOwn: isOwn,
      horizon: max(message.at, now) + Self.grace + 1000, mayBePhantom: !isOwn)
  }

  func readStream(_ one: inout Follower) {
    let answer = one.question
    if let answer, chance(2) {
      one.question = nil
      one.decisions.noteEnd(
        of: 0, first: answer.first, last: answer.last, removal: removal, at: answer.at,
        known: answer.known)
      let next = one.decisions.readings[0].next
      if next <= answer.last, firstSequence > answer.last {
        one.decisions.noteHole(
          in: 0, from: next, through: answer.last,
          storedAt: min(messages[Int(answer.last) - 1].at + 1000, answer.at), at: answer.at)
      }
    }
    var most = isQuiet ? 100 : Int.random(in: 0...6, using: &random)
    while most > 0 {
      let next = max(one.decisions.readings[0].next, firstSequence)
      guard next <= messages.count else { break }
      most -= 1
      let message = messages[Int(next) - 1]
      guard one.decisions.read(next, in: 0, storedAt: message.at) else { continue }
      one.decisions.observe(stored(next), id: "\(message.event)", in: 0)
    }
    if one.question == nil {
      one.question = (
        firstSequence, UInt64(messages.count), now, one.decisions.readings[0].gaps
      )
    }
  }

  func takeAcks(_ one: inout Follower) {
    guard !acks.isEmpty else { return }
    for ack in acks where ack.at <= now && ack.attempt == one.number {
      guard one.inFlight.removeValue(forKey: ack.number) != nil else { continue }
      if ack.isDuplicate {
        one.compares.append((ack.number, ack.sequence))
      } else {
        one.decisions.decide(ack.number, .filled, ack.sequence)
      }
    }
    acks.removeAll { $0.at <= now }
  }

  func compare(_ one: inout Follower) {
    for (number, sequence) in one.compares {
      guard let event = one.decisions.table.undecidedEvent(number) else { continue }
      if sequence < firstSequence {
        one.decisions.decide(number, .byProducer, sequence)
      } else {
        one.decisions.decide(number, event, found: stored(sequence), isAhead: false)
      }
    }
    one.compares = []
  }

  func fill(_ one: inout Follower) {
    for (number, since) in one.inFlight where now - since > 5000 {
      one.inFlight[number] = nil
      one.decisions.ask(again: number, afterReadingThrough: now)
    }
    // A leader that has been replaced doesn't publish.
    guard one.epoch == epoch else { return }
    for (number, event) in one.decisions.due(at: now, most: 20) {
      one.inFlight[number] = now
      publishes.append(
        Publish(
          number: number, event: event,
          arrivesAt: now + Int64.random(in: 0...(isQuiet ? 100 : 2500), using: &random),
          attempt: one.number))
    }
  }

  func count(_ outcome: GroupDecisions.Outcome, _ one: inout Follower) {
    for decided in outcome.decided {
      guard let number = Int(decided.event.id) else { continue }
      tell("\(number) is \(decided.verdict)")
      switch decided.verdict {
      case .handedBack: break
      case .expired:
        events[number].isExpired = true
        if firstSequence == 1 { fail("event \(number) is given up, and nothing was removed") }
      case .byProducer: one.progress.counts.byProducer += 1
      case .filled:
        one.progress.counts.filled += 1
        note(.filled, number, decided, &one)
      case .mismatched: one.progress.counts.mismatched += 1
      case .missed:
        one.progress.counts.missed += 1
        note(.missed, number, decided, &one)
      }
    }
    for (id, isRight) in outcome.late { one.progress.noteLate(id, isRight: isRight) }
    for phantom in outcome.phantoms where events[Int(phantom.id) ?? 0].position <= outcome.settled {
      one.progress.counts.phantom += 1
    }
  }

  func note(
    _ kind: CutoverFinding.Kind, _ number: Int, _ decided: DualTable.Decided, _ one: inout Follower
  ) {
    one.progress.note(
      CutoverFinding(
        kind, id: "\(number)", position: decided.event.position, stream: Self.name,
        sequence: decided.sequence, at: now))
  }

  func save(_ one: inout Follower) -> Bool {
    guard one.progressRevision == progressRevision else { return false }
    one.progress.streams = one.decisions.places
    progressRevision += 1
    progress = one.progress
    one.progressRevision = progressRevision
    return true
  }
}
