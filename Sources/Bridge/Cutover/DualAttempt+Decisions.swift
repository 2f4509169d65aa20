import BridgeConfiguration
import DeliberateErrors
import JSON
import JetStream
import Logging
import Mapping
import MongoSource
import NIOCore
import Oplog

/// What an attempt does about single events, and about the group's record.
extension DualAttempt {
  /// The stream had the id already: somebody was faster, or was long before what is read.
  func compare(
    _ one: (number: UInt64, event: DualTable.Event, sequence: UInt64), _ work: DualWork,
    _ jetStream: JetStreamClient
  ) async throws {
    let stream = streamName(one.event)
    guard let message = try await jetStream.message(in: stream, at: one.sequence) else {
      // Removed since. Its id is known, so it was there.
      return try await eventLoop.submit {
        work.decisions.decide(one.number, .byProducer, one.sequence)
      }.get()
    }
    try await eventLoop.submit {
      work.decide(one.number, one.event, found: message, isAhead: false)
    }.get()
  }

  /// Looks through the subject's messages that were not read yet.
  func look(
    for search: (number: UInt64, event: DualTable.Event, from: UInt64), _ work: DualWork,
    _ state: State
  ) async throws {
    let jetStream = state.store.bucket.jetStream
    let stream = streamName(search.event)
    var next = search.from
    while let message = try await jetStream.nextMessage(
      in: stream, from: next, subject: search.event.subject)
    {
      next = message.sequence + 1
      guard message.own.storedID == search.event.id else { continue }
      return try await eventLoop.submit {
        work.decide(search.number, search.event, found: message, isAhead: true)
      }.get()
    }
    // Behind the search: what limits had removed by then was not seen.
    let info = try await jetStream.stream(stream)
    let mayPublish = setup.tenure.mayPublish
    try await eventLoop.submit {
      if let info, let kept = info.keptSince {
        work.decisions.noteSearched(
          in: search.event.stream, from: search.from, first: info.firstSequence, at: kept)
      }
      work.decide(missing: search.number, mayPublish: mayPublish)
    }.get()
  }

  private func streamName(_ event: DualTable.Event) -> String {
    configuration.rules[event.rule].streamIndex.map { configuration.streams[$0].name } ?? ""
  }

  // MARK: - Counting

  func note(_ found: GroupDecisions.Outcome, _ state: inout State) async throws {
    let hasFound = !found.phantoms.isEmpty || !found.late.isEmpty || !found.doubled.isEmpty
    guard !found.decided.isEmpty || hasFound else { return }
    let now = CutoverTime.now
    var outcomes: [RuleID: Outcomes] = [:]
    for decided in found.decided {
      let rule = setup.rules.id(decided.event.rule)
      var outcome = outcomes[rule] ?? Outcomes()
      switch decided.verdict {
      case .handedBack: continue
      case .expired:
        outcome.dropped += 1
        noteExpired(decided.event, &state)
      case .byProducer:
        state.progress.counts.byProducer += 1
        state.progress.lastByProducer = now
        outcome.duplicate += 1
      case .filled:
        state.progress.counts.filled += 1
        outcome.published += 1
        state.progress.note(finding(.filled, decided, now))
      case .missed:
        state.progress.counts.missed += 1
        outcome.dropped += 1
        state.progress.note(finding(.missed, decided, now))
        // More and more rarely.
        let count = state.progress.counts.missed
        guard count & (count &- 1) == 0 else { break }
        setup.logger.error(
          "no producer has published an event's message",
          metadata: [
            "group": "\(setup.group)", "id": "\(decided.event.id)",
            "position": "\(decided.event.position)", "missed": "\(count)",
          ])
      case .mismatched:
        state.progress.counts.mismatched += 1
        outcome.duplicate += 1
        var finding = finding(.mismatched, decided, now)
        try await explain(&finding, decided, &state)
        state.progress.note(finding)
      }
      outcomes[rule] = outcome
    }
    for (id, isRight) in found.late { state.progress.noteLate(id, isRight: isRight) }
    for (stream, id, message, first) in found.doubled {
      state.progress.counts.phantom += 1
      state.progress.note(
        CutoverFinding(
          .phantom, id: id, stream: streamNames[stream], sequence: message.sequence, at: now,
          detail:
            "it is stored twice: the bridge had filled it in (sequence \(first)), and its producer published it later than the server knows ids for"
        ))
    }
    for (stream, id, message) in found.phantoms {
      state.progress.counts.phantom += 1
      state.progress.note(
        CutoverFinding(
          .phantom, id: id, stream: streamNames[stream], sequence: message.sequence, at: now,
          detail: id.isEmpty
            ? "it has no Nats-Msg-Id (subject \(message.subject))"
            : "no change explains it (subject \(message.subject))"))
    }
    for (rule, outcome) in outcomes { state.uncounted[rule, default: Outcomes()] += outcome }
  }

  /// Logged more and more rarely.
  private func noteExpired(_ event: DualTable.Event, _ state: inout State) {
    state.expired += 1
    guard state.expired & (state.expired &- 1) == 0 else { return }
    setup.logger.error(
      "an event is too old to be filled in: its stream no longer holds what was stored at the time",
      metadata: [
        "group": "\(setup.group)", "id": "\(event.id)", "position": "\(event.position)",
        "stream": "\(streamName(event))", "events": "\(state.expired)",
      ])
  }

  private var streamNames: [String] {
    Set(configuration.rules.filter { $0.group == setup.group }.compactMap(\.streamIndex)).sorted()
      .map { configuration.streams[$0].name }
  }

  private func finding(
    _ kind: CutoverFinding.Kind, _ decided: DualTable.Decided, _ now: Int64
  ) -> CutoverFinding {
    CutoverFinding(
      kind, id: decided.event.id, rule: configuration.rules[decided.event.rule].name,
      position: decided.event.position, stream: streamName(decided.event),
      sequence: decided.sequence, at: now,
      detail: kind == .missed ? "no message has this id (subject \(decided.event.subject))" : "")
  }

  /// So many are explained between two writings of what is known.
  private static let mostExplained = 20

  private func explain(
    _ finding: inout CutoverFinding, _ decided: DualTable.Decided, _ state: inout State
  ) async throws {
    guard let sequence = decided.sequence, state.explained < Self.mostExplained else { return }
    state.explained += 1
    let event = decided.event
    guard
      let stored = try await state.store.bucket.jetStream.message(
        in: streamName(event), at: sequence)
    else {
      finding.detail = "it is gone from the stream"
      return
    }
    var details: [String] = []
    if stored.subject != event.subject {
      details.append("subject: expected \(event.subject), found \(stored.subject)")
    }
    if let wanted = try? JSONValue(parsing: event.body) {
      if let found = try? JSONValue(parsing: stored.payload) {
        let hidden = hiddenNames(event.rule)
        if let difference = BodyDifference(expected: wanted, found: found, hidden: hidden) {
          finding.pointer = difference.pointer
          details.append(
            "body at \(difference.pointer.isEmpty ? "its root" : difference.pointer): expected \(difference.expected ?? "nothing"), found \(difference.found ?? "nothing")"
          )
          if hidden.isEmpty, let why = violation(event.rule, stored.payload) {
            details.append("it breaks the rule's schema: \(why)")
          }
        }
      } else {
        finding.pointer = ""
        details.append("the body is no JSON")
      }
    }
    finding.detail = details.joined(separator: "; ")
  }

  private func violation(_ rule: Int, _ body: [UInt8]) -> String? {
    guard setup.rules.schemas[rule] != nil else { return nil }
    return MessageMaker(setup.rules).violation(rule: rule, body: body)
  }

  /// Names of members that the rule redacts, as they are and as they are renamed.
  private func hiddenNames(_ rule: Int) -> Set<String> {
    let changes = configuration.rules[rule].changes
    var names: Set<String> = []
    for redacted in changes.redactions {
      let path = redacted.path
      if let last = path.text.split(separator: ".").last { names.insert(String(last)) }
      for rename in changes.renames where rename.path == path { names.insert(rename.name) }
    }
    return names
  }

  // MARK: - The record

  /// Follows what operators and the pipeline have written. Nil: the attempt continues.
  func readRecord(_ work: DualWork, _ state: inout State) async throws -> End? {
    let found = try await state.store.load(setup.group)
    guard found.record.epoch <= setup.tenure.epoch else {
      throw RangeFailure(description: "another instance leads")
    }
    guard found.record.number > 0 else {
      // The leader writes it again.
      throw RangeFailure(description: "the group's record is gone from the state bucket")
    }
    if found.revision != state.loaded.revision {
      let before = state.loaded.record
      state.loaded = found
      setup.read(found.record)
      try? await state.store.audit(found.record)
      switch found.record.continuation(of: before) {
      case .over: return .over
      case .again: return .again
      case .counting(let generation): state.progress.begin(generation)
      case .same: break
      }
      let record = found.record
      try await eventLoop.submit { work.use(record) }.get()
      setup.logger.notice(
        "the group's cut-over has changed",
        metadata: ["group": "\(setup.group)", "phase": "\(record.phase.rawValue)"])
    }
    let record = state.loaded.record
    guard record.phase == .committing else { return nil }
    let now = CutoverTime.now
    if commitTimer.isOver(record) {
      try await write(
        record.told(
          .failed, by: by, reason: "the commit was not completed in time", now: now), work, &state)
    } else if record.fence == nil {
      let fence = try await fence(state)
      try await write(
        record.told(.fence(fence), by: by, reason: "", now: now), work, &state)
    }
    return nil
  }

  /// The newest entry that a majority has, and nothing before what was taken: a new primary may know less than was read.
  private func fence(_ state: State) async throws -> OplogPosition {
    // The oplog shows where it was, and moves even where nobody writes.
    await setup.mongo.appendNote(
      "tailrace \(configuration.bridge.name): fence of group \(setup.group)")
    if DeliberateError.isOn(.fenceFromLocalOptime) {
      return try await setup.mongo.newestPosition().position
    }
    let newest = try await setup.mongo.majorityPosition().position
    return max(newest, state.progress.position.entry, state.frontier ?? newest)
  }

  func reportDrained(_ state: inout State) async throws {
    guard let fence = state.loaded.record.fence else { return }
    state.progress.position = max(
      state.progress.position, EventPosition(entry: fence, index: .max))
    try await saveProgress(&state)
    guard
      let next = state.loaded.record.told(.drained, by: by, reason: "", now: CutoverTime.now)
    else { return }
    if let saved = try await state.store.save(next, expecting: state.loaded.revision) {
      state.loaded = saved
      setup.read(saved.record)
    }
  }

  private var by: String { "instance \(setup.surroundings.instance)" }

  /// Not written where somebody else was faster: what that was is read next.
  private func write(
    _ next: CutoverRecord?, _ work: DualWork, _ state: inout State
  ) async throws {
    guard let next,
      let saved = try await state.store.save(next, expecting: state.loaded.revision)
    else { return }
    state.loaded = saved
    setup.read(saved.record)
    try await eventLoop.submit { work.use(saved.record) }.get()
  }
}
