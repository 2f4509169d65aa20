import BSON
package import BridgeConfiguration
package import Mapping
package import Oplog

/// An event's progress through the rules.
package struct MatchCursor {
  /// Nil: no rule takes the event.
  fileprivate private(set) var taken: RuleMatch?
  /// The rule to serve next; nil: no rule takes the event.
  package var rule: Int? { taken?.rule }
  /// How many rules took it before.
  package private(set) var match: Int
  /// Why that rule's message can't be made or sent: its policy is applied next.
  package private(set) var invalid: MappingError?
  /// Every outcome of the event is known.
  package private(set) var isDone = false

  package init(rule taken: RuleMatch?, match: Int = 0) {
    self.taken = taken
    self.match = match
  }

  fileprivate mutating func refuse(_ error: MappingError) { invalid = error }

  fileprivate mutating func advance(to next: RuleMatch?) {
    invalid = nil
    guard let next else {
      isDone = true
      return
    }
    taken = next
    match += 1
  }
}

/// Makes messages of change events: the only code that decides the outcome of an event under the rules,
/// and assembles subject, headers and body within the limits and against the schema. The pipeline, dry
/// run, verification, `decode`, samples and replay all use it, each with its own sink.
///
/// Owned by one event loop, or one command.
package struct MessageMaker: ~Copyable {
  private var mapper: Mapper
  private let judge: BodyValidator
  private let policies: [Policy]
  private let unmatched: Unmatched
  private let letterSubject: DeadLetterSubject

  private struct Policy {
    var onInvalid: OnInvalid
    var onIDConflict: OnInvalid
  }

  /// One outcome. An event leads to one for each rule that takes it, and to `invalid` before the outcome
  /// of a rule whose message can't be made.
  package enum Step: Sendable, Equatable {
    /// The sink has the message.
    case sent(rule: Int)
    /// The sink has the event's dead letter.
    case deadLetter(rule: Int?, MappingError)
    /// The message can't be made or sent. The rule's policy follows with the next step.
    case invalid(rule: Int, MappingError)
    case dropped(rule: Int, MappingError)
    /// An update of which the rule's filter leaves nothing, or the sink leaves the rule out.
    case filtered(rule: Int)
    /// The sink doesn't need the message.
    case passed(PlannedMessage)
    /// No rule takes the event, and the configuration ignores that.
    case unmatched
    /// The bridge stops here; the cursor stays.
    case halt(Halt)
    /// The sink accepts nothing now; the cursor stays.
    case full
  }

  package enum Halt: Error, Sendable, Equatable {
    case invalid(rule: Int, MappingError)
    case unmatched
    /// Not even the smallest dead letter fits the limit.
    case letterTooLarge(size: Int, limit: Int)
  }

  package init(_ rules: RuleSet) {
    mapper = rules.mapper
    judge = BodyValidator(rules)
    policies = rules.rules.map {
      Policy(onInvalid: $0.onInvalid, onIDConflict: $0.onIDConflict)
    }
    unmatched = rules.unmatched
    letterSubject = rules.deadLetterSubject
  }

  /// How long bodies take to validate.
  var validationTimes: Histogram {
    get { judge.durations }
    nonmutating set { judge.durations = newValue }
  }

  package init(_ configuration: BridgeConfiguration, sourceName: String) {
    self.init(configuration.ruleSet(sourceName: sourceName))
  }

  /// Whether dead letters get ids of their own, rather than those of the messages that they replace.
  package var qualifiesLetterIDs: Bool {
    get { mapper.qualifiesLetterIDs }
    set { mapper.qualifiesLetterIDs = newValue }
  }

  // MARK: - Event by event

  /// The cursor before the first rule that takes the event.
  package mutating func begin(_ event: borrowing ChangeEvent) -> MatchCursor {
    MatchCursor(rule: mapper.firstMatch(event))
  }

  /// The event's next outcome. Not to be called once the cursor is done.
  package mutating func step<Sink: MessageSink & ~Copyable>(
    _ event: borrowing ChangeEvent, _ cursor: inout MatchCursor, into sink: inout Sink
  ) -> Step {
    guard let taken = cursor.taken else { return settleUnmatched(event, &cursor, into: &sink) }
    let rule = taken.rule
    if cursor.invalid != nil { return settleInvalid(event, rule, &cursor, into: &sink) }
    var isFiltered = sink.leavesOut(rule: rule)
    if !isFiltered, taken.isDecided { isFiltered = mapper.skips(event, rule: rule) }
    if isFiltered {
      skip(event, &cursor)
      return .filtered(rule: rule)
    }
    let message = PlannedMessage(rule: rule, match: cursor.match, isLetter: false)
    let isKept: Bool
    switch sink.admit(message, of: event, &mapper) {
    case .full: return .full
    case .pass:
      skip(event, &cursor)
      return .passed(message)
    case .refuse(let error):
      cursor.refuse(error)
      return .invalid(rule: rule, error)
    case .write: isKept = true
    case .check: isKept = false
    }
    guard taken.isDecided else {
      cursor.refuse(Mapper.undecided)
      return .invalid(rule: rule, Mapper.undecided)
    }
    do throws(MappingError) {
      try write(event, rule, message, into: &sink)
    } catch {
      sink.cancel()
      // A fault of the source, not of the event.
      if error.code == .corrupt { return .halt(.invalid(rule: rule, error)) }
      cursor.refuse(error)
      return .invalid(rule: rule, error)
    }
    if isKept { sink.commit(message, of: event) } else { sink.cancel() }
    skip(event, &cursor)
    return isKept ? .sent(rule: rule) : .passed(message)
  }

  /// Moves to the next rule that takes the event, whatever the outcome for this one.
  package mutating func skip(_ event: borrowing ChangeEvent, _ cursor: inout MatchCursor) {
    let next: RuleMatch? =
      if let taken = cursor.taken { mapper.nextMatch(event, after: taken) } else { nil }
    cursor.advance(to: next)
  }

  private mutating func settleUnmatched<Sink: MessageSink & ~Copyable>(
    _ event: borrowing ChangeEvent, _ cursor: inout MatchCursor, into sink: inout Sink
  ) -> Step {
    switch unmatched {
    case .ignore:
      cursor.advance(to: nil)
      return .unmatched
    case .halt: return .halt(.unmatched)
    case .deadLetter:
      let error = MappingError(.unmatched, "no rule takes this event")
      return settleLetter(event, nil, error, &cursor, into: &sink)
    }
  }

  private mutating func settleInvalid<Sink: MessageSink & ~Copyable>(
    _ event: borrowing ChangeEvent, _ rule: Int, _ cursor: inout MatchCursor, into sink: inout Sink
  ) -> Step {
    guard let error = cursor.invalid else { return .full }
    let policy = policies[rule]
    switch error.code == .idConflict ? policy.onIDConflict : policy.onInvalid {
    case .halt: return .halt(.invalid(rule: rule, error))
    case .drop:
      skip(event, &cursor)
      return .dropped(rule: rule, error)
    case .deadLetter: return settleLetter(event, rule, error, &cursor, into: &sink)
    }
  }

  private mutating func settleLetter<Sink: MessageSink & ~Copyable>(
    _ event: borrowing ChangeEvent, _ rule: Int?, _ error: MappingError,
    _ cursor: inout MatchCursor, into sink: inout Sink
  ) -> Step {
    let letter = PlannedMessage(rule: rule, match: cursor.match, isLetter: true)
    switch sink.admit(letter, of: event, &mapper) {
    case .full: return .full
    case .pass, .refuse, .check:
      skip(event, &cursor)
      return .passed(letter)
    case .write: break
    }
    writeLetter(event, letter, error, into: &sink)
    let limit = sink.limits.size
    guard sink.size <= limit - MessageLimits.allowance else {
      let size = sink.size
      sink.cancel()
      return .halt(.letterTooLarge(size: size, limit: limit))
    }
    sink.commit(letter, of: event)
    skip(event, &cursor)
    return .deadLetter(rule: rule, error)
  }

  // MARK: - One message

  @inline(__always)
  private mutating func write<Sink: MessageSink & ~Copyable>(
    _ event: borrowing ChangeEvent, _ rule: Int, _ message: PlannedMessage, into sink: inout Sink
  ) throws(MappingError) {
    sink.begin(message)
    try mapper.writeSubject(rule: rule, event: event, into: &sink.output)
    sink.beginHeaders()
    try mapper.writeHeaders(rule: rule, event: event, match: message.match, into: &sink.output)
    sink.beginBody()
    if mapper.purges(rule: rule, event: event) {
      try sink.limits.check(message: sink.size)
      return
    }
    try mapper.writeBody(
      rule: rule, event: event, match: message.match, room: sink.limits.room(after: sink.size),
      into: &sink.output)
    try sink.limits.check(message: sink.size)
    try judge.check(rule: rule, event: event, body: sink.body)
  }

  /// Writes the rule's message of the event, even if another rule would take it; if that fails, the sink has no
  /// part of it.
  package mutating func make<Sink: MessageSink & ~Copyable>(
    _ event: borrowing ChangeEvent, rule: Int, match: Int, into sink: inout Sink
  ) throws(MappingError) {
    let message = PlannedMessage(rule: rule, match: match, isLetter: false)
    do throws(MappingError) {
      try write(event, rule, message, into: &sink)
    } catch {
      sink.cancel()
      throw error
    }
    sink.commit(message, of: event)
  }

  /// Writes its subject and headers alone.
  package mutating func makeHead<Sink: MessageSink & ~Copyable>(
    _ event: borrowing ChangeEvent, rule: Int, match: Int, into sink: inout Sink
  ) throws(MappingError) {
    let message = PlannedMessage(rule: rule, match: match, isLetter: false)
    do throws(MappingError) {
      sink.begin(message)
      try mapper.writeSubject(rule: rule, event: event, into: &sink.output)
      sink.beginHeaders()
      try mapper.writeHeaders(rule: rule, event: event, match: match, into: &sink.output)
    } catch {
      sink.cancel()
      throw error
    }
    sink.beginBody()
    sink.commit(message, of: event)
  }

  /// Writes the event's dead letter.
  package mutating func makeLetter<Sink: MessageSink & ~Copyable>(
    _ event: borrowing ChangeEvent, rule: Int?, match: Int, error: MappingError,
    into sink: inout Sink
  ) {
    let letter = PlannedMessage(rule: rule, match: match, isLetter: true)
    writeLetter(event, letter, error, into: &sink)
    sink.commit(letter, of: event)
  }

  /// A dead letter carries the change event. Documents that are too large for it are left out and named:
  /// the position in the headers is enough to read them from the oplog.
  private mutating func writeLetter<Sink: MessageSink & ~Copyable>(
    _ event: borrowing ChangeEvent, _ letter: PlannedMessage, _ error: MappingError,
    into sink: inout Sink
  ) {
    sink.begin(letter)
    let limits = sink.limits
    mapper.writeDeadLetterSubject(
      letterSubject, rule: letter.rule, event: event, error: error, into: &sink.output)
    sink.beginHeaders()
    let start = sink.output.count
    mapper.writeDeadLetterHeaders(
      rule: letter.rule, event: event, match: letter.match, error: error,
      limit: limits.deadLetterHeaders, into: &sink.output)
    let headers = sink.output.count - start
    sink.beginBody()
    mapper.writeDeadLetterBody(
      event: event, limit: limits.deadLetterBody(headers: headers), into: &sink.output)
  }

  // MARK: - Questions

  /// The id of the event's message, or of its dead letter.
  package mutating func identity(_ event: borrowing ChangeEvent, rule: Int, match: Int) -> String {
    var id = ByteWriter(capacity: 256)
    mapper.writeIdentity(rule: rule, event: event, match: match, into: &id)
    return String(decoding: id.bytes, as: UTF8.self)
  }

  /// The first rule that takes the event and fulfils the condition; nil: none does.
  package mutating func match(
    _ event: borrowing ChangeEvent, where condition: (Int) -> Bool
  ) -> RuleMatch? {
    var taken = mapper.firstMatch(event)
    while let match = taken, !condition(match.rule) {
      taken = mapper.nextMatch(event, after: match)
    }
    return taken
  }

  /// Whether the rule makes no message of the event: an update of which its filter leaves nothing.
  package mutating func skips(_ event: borrowing ChangeEvent, rule: Int) -> Bool {
    mapper.skips(event, rule: rule)
  }

  /// Documents that the event's rules want and that could not be read in their state at that time: the message
  /// may have been different when it was published.
  package mutating func lackedImages(_ event: borrowing ChangeEvent) -> Mapper.WantedImages {
    guard mapper.wantsImages else { return [] }
    var lacked = mapper.wantedImages(event)
    if event.image == .post { lacked.remove(.after) }
    if event.fullDocumentBeforeChange != nil { lacked.remove(.before) }
    return lacked
  }

  /// Rules that may take an event that lacks those.
  package mutating func possibleMatches(
    _ event: borrowing ChangeEvent, lacking: Mapper.WantedImages
  ) -> [PossibleMatch] {
    mapper.possibleMatches(event, lacksDocument: lacking.contains(.after))
  }

  /// The violations of the rule's schema in a body; nil if there are none.
  package func violation(rule: Int, body: [UInt8]) -> String? {
    judge.violation(rule: rule, body: body)
  }
}
