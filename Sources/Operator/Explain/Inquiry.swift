import Bridge
import BridgeConfiguration
import JetStream
import Mapping
import Oplog

/// One question on its way to its answer: asks both sides, and puts together what they say.
struct Inquiry {
  let configuration: BridgeConfiguration
  let oplog: OplogSide
  /// Nil: NATS can't be asked.
  let streams: StreamSide?
  /// The identity in positional ids.
  let sourceName: String
  let limit: Int
  let note: @Sendable (String) -> Void
  var explanation: Explanation

  // MARK: - Positions

  /// All events of the range, which is of one entry.
  mutating func look(at range: ClosedRange<EventPosition>) async throws(JetStreamError) {
    let answer = await oplog.events(range, sourceName: sourceName, streams?.maximumPayload)
    if let note = answer.note { explanation.notes.append(note) }
    for derived in answer.events {
      explanation.events.append(try await placed(derived, source: "oplog"))
    }
    if answer.count > answer.events.count {
      explanation.notes.append(
        "\(answer.count - answer.events.count) more events of the entry are not shown: name one as <seconds>.<increment>.<index>, or give --limit"
      )
    }
    guard answer.events.isEmpty else { return }
    let before = explanation.events.count
    try await lookInStreams(at: range)
    if explanation.events.count > before {
      guard answer.place == .noEntry else { return }
      for index in explanation.events.indices.dropFirst(before) {
        explanation.events[index].isOrphan = true
      }
      return
    }
    switch answer.place {
    case .noEvents, .ahead: explanation.isNothingDue = true
    case .unavailable: explanation.isUnavailable = true
    case .noEntry, .found: break
    case .lost:
      guard let streams else { break }
      explanation.notes.append(try await streams.reach())
      if let why = streams.beforeOrigin(range.upperBound.entry) {
        explanation.notes.append(why)
        explanation.isNothingDue = true
      }
    }
  }

  /// So many indices of an entry are looked for where the oplog does not say how many it has.
  private static let mostIndices: UInt32 = 20

  private mutating func lookInStreams(
    at range: ClosedRange<EventPosition>
  ) async throws(JetStreamError) {
    guard let streams else { return }
    let first = range.lowerBound
    let more = min(range.upperBound.index - first.index, Self.mostIndices)
    for index in first.index...(first.index + more) {
      let position = EventPosition(entry: first.entry, index: index)
      let found = try await streams.messages(at: position)
      if found.isEmpty { break }
      try await show(found, at: position)
    }
  }

  /// From the headers alone, and where there is one from the dead letter.
  private mutating func show(
    _ stored: [StoredSearch.Found], at position: EventPosition?
  ) async throws(JetStreamError) {
    var event = Explanation.Event(position: position)
    for found in stored where found.own.error != nil {
      guard let position = found.own.position,
        let derived = OplogSide.derive(
          found, at: position, configuration, sourceName, streams?.maximumPayload ?? 1 << 20)
      else { continue }
      event = try await placed(derived, source: "dead_letter")
      break
    }
    for found in stored where !event.holds(found) {
      event.others.append(Explanation.Stored(found))
    }
    explanation.events.append(event)
  }

  /// Finds the messages of a derived event.
  private func placed(
    _ derived: DerivedEvent, source: String
  ) async throws(JetStreamError) -> Explanation.Event {
    var event = Explanation.Event(position: derived.position, derived: derived)
    event.source = source
    for outcome in derived.outcomes {
      guard let streams else {
        var one = Explanation.Outcome(derived: outcome)
        // What nothing is due of needs no stream.
        if !outcome.isStored {
          one.absence = Absence.judge(outcome, at: derived.position, AbsenceFacts())
        }
        event.outcomes.append(one)
        continue
      }
      event.outcomes.append(try await streams.place(outcome, of: derived, note))
    }
    guard let streams else { return event }
    for found in try await streams.messages(at: derived.position) where !event.holds(found) {
      event.others.append(Explanation.Stored(found))
    }
    return event
  }

  // MARK: - Ids

  mutating func look(forID id: String) async throws(JetStreamError) {
    // A positional id tells where its event is.
    if let position = Self.position(in: id, of: sourceName) {
      try await look(at: position...position)
      if explanation.events.isEmpty || explanation.events.contains(where: { $0.has(id) }) { return }
      // A rule's own id may look like one.
      explanation = Explanation(explanation.question)
    }
    if streams != nil {
      try await lookInHeaders(forID: id)
      if !explanation.events.isEmpty { return }
    }
    try await lookInOplog(forID: id)
    if explanation.events.isEmpty {
      explanation.notes.append("no event of the oplog makes a message of that id")
    }
  }

  private mutating func lookInHeaders(forID id: String) async throws(JetStreamError) {
    guard let streams else { return }
    note("reading the streams' headers for that id")
    let stored = try await streams.messages(named: id)
    if !stored.isEmpty, stored.allSatisfy({ $0.owner == .nobody }) {
      // Its producer does not say of which change it is.
      try await lookInOplog(forID: id)
    }
    let isSnapshot = stored.contains(where: \.own.isSnapshot)
    if !isSnapshot {
      let positions = Set(stored.filter { $0.owner == .thisBridge }.compactMap(\.own.position))
      for position in positions.sorted() { try await look(at: position...position) }
    }
    let events = explanation.events
    let rest = stored.filter { found in !events.contains { $0.holds(found) } }
    guard !rest.isEmpty else { return }
    try await show(rest, at: rest.first?.own.position)
    if isSnapshot {
      explanation.notes.append(
        "it is of a snapshot: its document was read from the collection, not from the oplog")
    }
  }

  private mutating func lookInOplog(forID id: String) async throws(JetStreamError) {
    note("reading the oplog for an event whose message has that id")
    try await take(await oplog.find(.id(id, sourceName: sourceName), most: limit))
  }

  /// The position in a positional id, or in the id of its dead letter.
  static func position(in id: String, of source: String) -> EventPosition? {
    guard id.hasPrefix("\(source):") else { return nil }
    let rest = id.dropFirst(source.count + 1)
    return EventPosition(rest.prefix { $0 != ":" && $0 != "%" })
  }

  // MARK: - Documents

  mutating func look(for document: WantedDocument) async throws(JetStreamError) {
    note("reading the oplog for changes of that document")
    try await take(await oplog.find(.document(document), most: limit))
    if explanation.events.isEmpty, !explanation.isUnavailable {
      explanation.notes.append(
        "the oplog holds no change of \(document.namespace) with _id \(document.id)")
    }
  }

  private mutating func take(_ answer: OplogSide.Search) async throws(JetStreamError) {
    if let note = answer.note { explanation.notes.append(note) }
    if answer.isUnavailable { explanation.isUnavailable = true }
    for position in answer.positions { try await look(at: position...position) }
    if answer.count > answer.positions.count {
      explanation.notes.append(
        "\(answer.count - answer.positions.count) earlier events are not shown: give --limit")
    }
  }
}

extension Explanation.Event {
  fileprivate func has(_ id: String) -> Bool {
    outcomes.contains { outcome in
      outcome.derived.id == id || DeadLetterID.wouldBe(outcome.derived.id) == id
        || outcome.stored.contains { $0.own.id == id || $0.own.storedID == id }
    } || others.contains { $0.own.id == id || $0.own.storedID == id }
  }

  fileprivate func holds(_ found: StoredSearch.Found) -> Bool {
    (outcomes.flatMap(\.stored) + others).contains {
      $0.stream == found.stream && $0.sequence == found.message.sequence
    }
  }
}
