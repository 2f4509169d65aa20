import JetStream
package import Oplog

/// Decides a group's events: joins them with what its streams hold, says which ones the bridge has to publish, and
/// remembers those that have left. Pure: a follower reads, publishes and writes down around it.
package struct GroupDecisions: Sendable {
  /// One of the group's streams.
  package struct Stream: Sendable {
    package var name: String
    /// What has been read of it before.
    package var place: CutoverProgress.Place
    package var reading: StreamReading

    package init(name: String, place: CutoverProgress.Place, reading: StreamReading) {
      self.name = name
      self.place = place
      self.reading = reading
    }
  }

  private let streams: [Stream]
  /// Milliseconds for which a producer may be late.
  package let grace: Int64
  /// Ids that nobody had published when the group was committed.
  private let missed: Set<String>

  package private(set) var table = DualTable()
  private var memory = SettledMemory()
  package private(set) var record: CutoverRecord
  /// Everything up to here has left the table.
  private var settled: EventPosition
  /// By stream.
  package private(set) var readings: [StreamReading]
  /// By stream: sequences that were found by looking for an event's message, before reading came to them.
  private var foundAhead: [Set<UInt64>]
  /// Messages of events that were missed.
  private var late: [(id: String, isRight: Bool)] = []
  /// Messages of events that the bridge had filled in, with the sequences of those.
  private var doubled: [(stream: Int, id: String, message: DualTable.Stored, first: UInt64)] = []

  /// - Parameters:
  ///   - position: everything up to there is decided.
  ///   - findings: the newest of what was found before.
  package init(
    streams: [Stream], record: CutoverRecord, position: EventPosition,
    findings: [CutoverFinding], missed: Set<String>, grace: Int64
  ) {
    self.streams = streams
    self.grace = grace
    self.missed = missed
    self.record = record
    settled = position
    readings = streams.map(\.reading)
    foundAhead = streams.map { _ in [] }
    for finding in findings { remember(finding) }
  }

  private mutating func remember(_ finding: CutoverFinding) {
    guard let stream = streams.firstIndex(where: { $0.name == finding.stream }),
      !finding.id.isEmpty
    else { return }
    switch (finding.kind, finding.sequence) {
    case (.phantom, let sequence?):
      memory.note(.phantom(sequence: sequence), stream: stream, id: finding.id)
    case (.filled, let sequence?):
      memory.note(.filled(sequence: sequence), stream: stream, id: finding.id)
    case (.missed, _):
      memory.note(.missed(subject: "", digest: nil), stream: stream, id: finding.id)
    default: break
    }
  }

  // MARK: - What is read

  /// Whether an event at this position is to be expected.
  package func isOpen(_ position: EventPosition) -> Bool {
    position > settled && record.isHandedOver(position)
  }

  /// The next event, in the order of the oplog.
  ///
  /// - Returns: its number and the sequence of a message that was read long before, which has to be compared.
  package mutating func expect(_ event: DualTable.Event) -> (number: UInt64, sequence: UInt64)? {
    guard let number = table.expect(event),
      case .phantom(let sequence) = memory.fact(stream: event.stream, id: event.id)
    else { return nil }
    // It was no phantom, but very early.
    memory.forget(stream: event.stream, id: event.id)
    table.markAsked(number)
    return (number, sequence)
  }

  /// A stream's next message was delivered. False: it was dealt with before.
  ///
  /// - Parameter time: when it was stored; milliseconds since 1970, by the server's clock.
  package mutating func read(_ sequence: UInt64, in stream: Int, storedAt time: Int64) -> Bool {
    // Up to a second later, as the other times of a stream are read in whole ones.
    readings[stream].read(sequence, storedAt: time + 1000)
    return !streams[stream].place.isDone(sequence) && foundAhead[stream].remove(sequence) == nil
  }

  /// A message that may be of the group.
  package mutating func observe(_ message: DualTable.Stored, id: String?, in stream: Int) {
    var message = message
    if streams[stream].place.isInDoubt(message.sequence) { message.mayBePhantom = false }
    if !message.isOwn, let id, isLate(message, id, stream) { return }
    table.observe(message, id: id, in: stream)
  }

  /// Whether the message's event has left already: its producer came after the grace.
  private mutating func isLate(_ message: DualTable.Stored, _ id: String, _ stream: Int) -> Bool {
    switch memory.fact(stream: stream, id: id) {
    case .missed(let subject, let digest):
      let isRight = digest.map { $0 == message.digest && subject == message.subject } ?? true
      late.append((id, isRight))
    case .filled(let sequence) where sequence < message.sequence:
      doubled.append((stream, id, message, sequence))
    case .filled, .phantom, nil: return false
    }
    memory.forget(stream: stream, id: id)
    return true
  }

  /// The server's answer to the question where a stream's end is (`StreamReading.noteEnd`).
  package mutating func noteEnd(
    of stream: Int, first: UInt64, last: UInt64, removal: StreamReading.Removal, at time: Int64,
    known: Int
  ) {
    readings[stream].noteEnd(first: first, last: last, removal: removal, at: time, known: known)
  }

  /// The stream holds nothing from `next` to `last`, its end at that time (`StreamReading.noteHole`).
  package mutating func noteHole(
    in stream: Int, from next: UInt64, through last: UInt64, storedAt stored: Int64, at time: Int64
  ) {
    guard readings[stream].next == next else { return }
    readings[stream].noteHole(through: last, storedAt: stored, at: time)
  }

  package mutating func noteInterruption(of stream: Int) { readings[stream].noteInterruption() }

  /// A message was looked for from `searched` on, and the stream begins at `first` now (`StreamReading.noteSearched`).
  package mutating func noteSearched(
    in stream: Int, from searched: UInt64, first: UInt64, at time: Int64
  ) {
    readings[stream].noteSearched(from: searched, first: first, at: time)
  }

  package mutating func use(_ record: CutoverRecord) {
    self.record = record
    // Also in `dual`, while the next range has not begun.
    if let end = record.end { table.handBack(after: end) }
  }

  // MARK: - Events without a message

  /// Events behind it are kept back.
  package var limit: OplogPosition? {
    switch record.phase {
    case .committing: record.fence
    // The pipeline takes over again, at a boundary that isn't known yet.
    case .bridge: record.end ?? OplogPosition(seconds: 0, increment: 0)
    case .dual, .committed, .finalized: nil
    }
  }

  private var readThrough: [Int64] { readings.map(\.readThrough) }

  /// Events that the bridge has to publish now; each is handed out once, until it is asked for again. Those that end
  /// without a message are decided.
  package mutating func due(at now: Int64, most: Int) -> [(number: UInt64, event: DualTable.Event)]
  {
    let due = table.due(at: now, readThrough: readThrough, limit: limit, most: most)
    return due.filter { number, event in
      guard let verdict = verdict(missing: event, at: now) else { return true }
      table.decide(number, verdict, nil)
      return false
    }
  }

  /// The oldest event, if it is due and reading does not come to its message.
  package func stuck(at now: Int64) -> (number: UInt64, event: DualTable.Event)? {
    guard let found = table.stuck(at: now, readThrough: readThrough, limit: limit),
      // Searching begins behind it.
      !readings[found.event.stream].hasOpenGap
    else { return nil }
    return found
  }

  package mutating func markAsked(_ number: UInt64) { table.markAsked(number) }

  package mutating func ask(again number: UInt64, afterReadingThrough time: Int64 = 0) {
    table.ask(again: number, afterReadingThrough: time)
  }

  package mutating func decide(
    _ number: UInt64, _ verdict: DualTable.Verdict, _ sequence: UInt64?
  ) {
    table.decide(number, verdict, sequence)
  }

  /// An event's message was found in its stream, perhaps before reading comes to it.
  package mutating func decide(
    _ number: UInt64, _ event: DualTable.Event, found message: DualTable.Stored, isAhead: Bool
  ) {
    table.decide(number, DualTable.verdict(event, message), message.sequence)
    if isAhead, message.sequence >= readings[event.stream].next {
      foundAhead[event.stream].insert(message.sequence)
    }
  }

  /// How an event ends that has no message; nil: the bridge publishes it.
  package func verdict(missing event: DualTable.Event, at now: Int64) -> DualTable.Verdict? {
    if record.phase == .committed || record.phase == .finalized, let fence = record.fence,
      event.position.entry > fence
    {
      return .missed
    }
    // Its message may have been there, and published again it would be delivered twice.
    if readings[event.stream].mayHaveLost(event.due - grace, now: now), !missed.contains(event.id) {
      return .expired
    }
    return nil
  }

  // MARK: - What leaves

  /// What came out of one look.
  package struct Outcome: Sendable {
    package var decided: [DualTable.Decided] = []
    package var phantoms: [(stream: Int, id: String, message: DualTable.Stored)] = []
    /// Events that were missed, and have a message after all.
    package var late: [(id: String, isRight: Bool)] = []
    /// Messages that were stored although the bridge had filled in their events.
    package var doubled: [(stream: Int, id: String, message: DualTable.Stored, first: UInt64)] = []
    /// Everything up to here is decided.
    package var settled: EventPosition
    /// Nothing up to the fence is undecided.
    package var isDrained = false
    /// Nothing is left to be decided, ever.
    package var isOver = false
  }

  /// Takes what is decided.
  ///
  /// - Parameter frontier: all events up to there were expected; nil: unknown.
  package mutating func settle(frontier: OplogPosition?) -> Outcome {
    var outcome = Outcome(settled: settled)
    (outcome.late, outcome.doubled) = (late, doubled)
    (late, doubled) = ([], [])
    while let decided = table.next() {
      remember(decided)
      outcome.decided.append(decided)
    }
    if let newest = table.settled { settled = max(settled, newest) }
    // What is behind the end is read again if another range begins there: the pipeline may not have come as far.
    if let frontier = frontier.map({ min($0, record.end ?? $0) }) {
      let passed = Int64(frontier.seconds) * 1000
      while let (stream, id, message) = table.nextStranger(passed: passed) {
        if !id.isEmpty, !message.isOwn {
          memory.note(.phantom(sequence: message.sequence), stream: stream, id: id)
        }
        if message.mayBePhantom { outcome.phantoms.append((stream, id, message)) }
      }
      let whole = EventPosition(entry: frontier, index: .max)
      if table.events == 0, whole > settled { settled = whole }
      if let fence = record.fence { outcome.isDrained = isSettled(through: fence, frontier) }
      if record.phase == .bridge, let end = record.end {
        outcome.isOver = isSettled(through: end, frontier)
      }
    }
    outcome.settled = settled
    return outcome
  }

  private mutating func remember(_ decided: DualTable.Decided) {
    let event = decided.event
    switch (decided.verdict, decided.sequence) {
    case (.missed, _):
      memory.note(
        .missed(subject: event.subject, digest: event.digest), stream: event.stream, id: event.id)
    case (.filled, let sequence?):
      memory.note(.filled(sequence: sequence), stream: event.stream, id: event.id)
    default: break
    }
  }

  private func isSettled(through place: OplogPosition, _ frontier: OplogPosition) -> Bool {
    frontier >= place && (table.oldest.map { $0.position.entry > place } ?? true)
  }

  // MARK: - What is written down

  /// How far the streams are read, by name.
  package var places: [String: CutoverProgress.Place] {
    var found: [String: CutoverProgress.Place] = [:]
    for (index, stream) in streams.enumerated() {
      let readTo = max(readings[index].next, 1) - 1
      let isRereading = readTo < stream.place.readTo
      var open = SequenceSet(table.openSequences(in: index))
      var isPartial = stream.place.isPartial && isRereading
      if isRereading {
        // What was open and has not been read again stays open.
        var sequences = open.sequences
        for run in stream.place.open.runs where run.upperBound > readTo {
          sequences += Array(max(run.lowerBound, readTo + 1)...run.upperBound)
        }
        open = SequenceSet(sequences)
      }
      if open.runs.count > Self.mostRuns {
        isPartial = true
        open = open.prefix(Self.mostRuns)
      }
      found[stream.name] = CutoverProgress.Place(
        created: stream.place.created, readTo: max(readTo, stream.place.readTo), open: open,
        isPartial: isPartial, lostUntil: readings[index].lost)
    }
    return found
  }

  /// Runs of open sequences that are written down.
  private static let mostRuns = 8192
}
