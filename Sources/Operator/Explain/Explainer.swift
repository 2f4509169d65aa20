public import Bridge
public import BridgeConfiguration
import DeadLetters
import JSON
import JetStream
public import Logging
import Mapping
import MongoSource
import NATS
import NIOPosix
public import Oplog
import Synchronization

/// What `tailrace explain` is asked for.
public enum ExplainQuestion: Sendable {
  /// All events of an entry.
  case entry(OplogPosition)
  case event(EventPosition)
  case id(String)
  case document(WantedDocument)

  /// A position, else an id.
  public init(_ text: String) {
    if let position = EventPosition(text) {
      self = .event(position)
    } else if let position = OplogPosition(text) {
      self = .entry(position)
    } else {
      self = .id(text)
    }
  }

  var text: String {
    switch self {
    case .entry(let position): "\(position)"
    case .event(let position): "\(position)"
    case .id(let id): id
    case .document(let document): "\(document.namespace) \(document.id)"
    }
  }
}

/// Answers "where is my event?": `tailrace explain`. Changes nothing.
public struct Explainer: Sendable {
  let configuration: BridgeConfiguration
  let logger: Logger
  let note: @Sendable (String) -> Void
  /// How many of an entry's or a document's events are explained.
  let limit: Int

  /// How long MongoDB may send nothing.
  static let patience = Duration.seconds(10)

  /// - Parameter note: what takes long.
  public init(
    _ configuration: BridgeConfiguration, limit: Int, logger: Logger,
    note: @escaping @Sendable (String) -> Void
  ) {
    self.configuration = configuration
    self.limit = limit
    self.logger = logger
    self.note = note
  }

  public func explain(_ question: ExplainQuestion) async throws(BridgeError) -> Explanation {
    // Without NATS there is the oplog's side.
    let failure: BridgeError
    do throws(BridgeError) {
      return try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
        do throws(JetStreamError) {
          return try await explain(question, try await StreamSide(configuration, jetStream))
        } catch {
          throw .unavailable("NATS: \(error)")
        }
      }
    } catch {
      failure = error
    }
    guard case .unavailable = failure else { throw failure }
    var explanation: Explanation
    do throws(JetStreamError) {
      explanation = try await explain(question, nil)
    } catch {
      throw failure
    }
    explanation.notes.append("\(failure): what the streams hold is not known")
    explanation.isUnavailable = true
    return explanation
  }

  private func explain(
    _ question: ExplainQuestion, _ streams: StreamSide?
  ) async throws(JetStreamError) -> Explanation {
    var explanation = Explanation(question.text)
    let oplog = OplogSide(configuration, logger: logger, limit: limit, note: note)
    let name = await oplog.sourceName()
    var streams = streams
    streams?.use(source: name)
    switch question {
    case .event(let position):
      try await explain(position...position, oplog, streams, name, &explanation)
    case .entry(let entry):
      let range = EventPosition(entry: entry, index: 0)...EventPosition(entry: entry, index: .max)
      try await explain(range, oplog, streams, name, &explanation)
    case .id(let id): try await explain(id: id, oplog, streams, name, &explanation)
    case .document(let document):
      try await explain(document, oplog, streams, name, &explanation)
    }
    return explanation
  }

  // MARK: - Positions

  private func explain(
    _ range: ClosedRange<EventPosition>, _ oplog: OplogSide, _ streams: StreamSide?,
    _ name: String, _ explanation: inout Explanation
  ) async throws(JetStreamError) {
    let answer = await oplog.events(range, sourceName: name, streams?.maximumPayload)
    if let note = answer.note { explanation.notes.append(note) }
    for derived in answer.events {
      explanation.events.append(try await placed(derived, source: "oplog", streams))
    }
    if answer.count > answer.events.count {
      explanation.notes.append(
        "\(answer.count - answer.events.count) more events of the entry are not shown: name one as <seconds>.<increment>.<index>, or give --limit"
      )
    }
    guard answer.events.isEmpty else { return }
    // What the streams hold of that position.
    if let streams {
      let isOne = range.lowerBound == range.upperBound
      let positions =
        isOne
        ? [range.lowerBound]
        : (0..<20).map { index in
          EventPosition(entry: range.lowerBound.entry, index: index)
        }
      for position in positions {
        let found = try await streams.messages(at: position)
        if found.isEmpty { break }
        try await explain(stored: found, at: position, streams, name, &explanation)
      }
    }
    guard explanation.events.isEmpty else {
      if answer.place == .noEntry {
        for index in explanation.events.indices { explanation.events[index].markRolledBack() }
        explanation.notes.append(
          "MongoDB has no entry at that position, but for what is before and behind it: it was rolled back, or the message is of another history"
        )
      }
      return
    }
    switch answer.place {
    case .noEvents, .ahead: explanation.isNothingDue = true
    case .unavailable: explanation.isUnavailable = true
    case .noEntry, .lost, .found: break
    }
    if let streams, answer.place == .lost {
      explanation.notes.append(try await streams.reach())
      if let why = streams.beforeOrigin(range.upperBound.entry) {
        explanation.notes.append(why)
        explanation.isNothingDue = true
      }
    }
  }

  /// From the headers alone, and where there is one from the dead letter.
  private func explain(
    stored: [StoredSearch.Found], at position: EventPosition?, _ streams: StreamSide,
    _ name: String, _ explanation: inout Explanation
  ) async throws(JetStreamError) {
    var event = Explanation.Event(position: position)
    for found in stored {
      guard event.derived == nil, found.own.error != nil, let position = found.own.position,
        let derived = OplogSide.derive(
          found, at: position, configuration, name, streams.maximumPayload)
      else { continue }
      event = try await placed(derived, source: "dead_letter", streams)
      break
    }
    let known = Set(event.outcomes.flatMap(\.stored).map { "\($0.stream) \($0.sequence)" })
    for found in stored {
      let message = Explanation.Stored(found)
      if !known.contains("\(message.stream) \(message.sequence)"),
        !event.others.contains(where: {
          $0.stream == message.stream && $0.sequence == message.sequence
        })
      {
        event.others.append(message)
      }
    }
    explanation.events.append(event)
  }

  /// Finds the messages of a derived event.
  private func placed(
    _ derived: DerivedEvent, source: String, _ streams: StreamSide?
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
    let known = Set(event.outcomes.flatMap(\.stored).map { "\($0.stream) \($0.sequence)" })
    for found in try await streams.messages(at: derived.position)
    where !known.contains("\(found.stream) \(found.message.sequence)") {
      event.others.append(Explanation.Stored(found))
    }
    return event
  }

  // MARK: - Ids

  private func explain(
    id: String, _ oplog: OplogSide, _ streams: StreamSide?, _ name: String,
    _ explanation: inout Explanation
  ) async throws(JetStreamError) {
    // A positional id tells where its event is.
    if let position = Self.position(in: id, of: name) {
      var found = Explanation(id)
      try await explain(position...position, oplog, streams, name, &found)
      if found.events.contains(where: { $0.has(id) }) || streams == nil {
        explanation = found
        return
      }
      if found.isUnavailable || found.exitCode == 2 || found.isNothingDue {
        // Nothing there has another id either.
        if found.events.isEmpty {
          explanation = found
          return
        }
      }
    }
    if let streams {
      note("reading the streams' headers for that id")
      let stored = try await streams.messages(named: id)
      if !stored.isEmpty, stored.allSatisfy({ $0.owner == .nobody }) {
        // Its producer does not say of which change it is.
        try await search(id, oplog, streams, name, &explanation)
      }
      let positions = Set(stored.filter { $0.owner == .thisBridge }.compactMap(\.own.position))
      for position in positions.sorted() where !stored.contains(where: \.own.isSnapshot) {
        try await explain(position...position, oplog, streams, name, &explanation)
      }
      let rest = stored.filter { found in
        !explanation.events.contains { $0.holds(found) }
      }
      if !rest.isEmpty {
        try await explain(
          stored: rest, at: rest.first?.own.position, streams, name, &explanation)
        if rest.contains(where: \.own.isSnapshot) {
          explanation.notes.append(
            "it is of a snapshot: its document was read from the collection, not from the oplog")
        }
      }
      if !explanation.events.isEmpty { return }
    }
    try await search(id, oplog, streams, name, &explanation)
    if explanation.events.isEmpty {
      explanation.notes.append("no event of the oplog makes a message of that id")
    }
  }

  private func search(
    _ id: String, _ oplog: OplogSide, _ streams: StreamSide?, _ name: String,
    _ explanation: inout Explanation
  ) async throws(JetStreamError) {
    note("reading the oplog for an event whose message has that id")
    let answer = await oplog.find(.id(id, sourceName: name), most: limit)
    try await explain(answer, oplog, streams, name, &explanation)
  }

  /// The position in a positional id, or in the id of its dead letter.
  static func position(in id: String, of source: String) -> EventPosition? {
    guard id.hasPrefix("\(source):") else { return nil }
    let rest = id.dropFirst(source.count + 1)
    return EventPosition(rest.prefix { $0 != ":" && $0 != "%" })
  }

  private func explain(
    _ document: WantedDocument, _ oplog: OplogSide, _ streams: StreamSide?, _ name: String,
    _ explanation: inout Explanation
  ) async throws(JetStreamError) {
    note("reading the oplog for changes of that document")
    let answer = await oplog.find(.document(document), most: limit)
    try await explain(answer, oplog, streams, name, &explanation)
    if explanation.events.isEmpty, !explanation.isUnavailable {
      explanation.notes.append(
        "the oplog holds no change of \(document.namespace) with _id \(document.id)")
    }
  }

  private func explain(
    _ answer: OplogSide.Search, _ oplog: OplogSide, _ streams: StreamSide?, _ name: String,
    _ explanation: inout Explanation
  ) async throws(JetStreamError) {
    if let note = answer.note { explanation.notes.append(note) }
    if answer.isUnavailable { explanation.isUnavailable = true }
    for position in answer.positions {
      try await explain(position...position, oplog, streams, name, &explanation)
    }
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

  /// The stream has a message of what the oplog never had, or no longer has.
  fileprivate mutating func markRolledBack() {
    guard let first = others.first else { return }
    var outcome = Explanation.Outcome(
      derived: DerivedOutcome(.message), stored: [],
      differences: ["stream \(first.stream) has a message of an entry that is not in the oplog"])
    outcome.isWrong = true
    outcomes.append(outcome)
  }
}
