import BridgeConfiguration
package import JSON
package import JetStream
import Mapping
package import Oplog
import Synchronization

/// Whether a message that a stream has under an id is the event that is to be published under it.
///
/// Positional ids say so themselves. Ids from templates and outboxes may be shared with producers, and
/// may by mistake come again for another event: then the server would drop that one without a word.
package struct EventIdentity: Sendable {
  /// Nobody but the bridge publishes to the stream.
  package var exclusive: Bool
  /// Which events producers' messages were taken for.
  package var claims: ProducerClaims

  package init(exclusive: Bool, claims: ProducerClaims) {
    self.exclusive = exclusive
    self.claims = claims
  }

  /// A message as far as it is compared.
  package struct Message: Sendable {
    private let content: DuplicateJudge.Content

    init(_ content: DuplicateJudge.Content) { self.content = content }

    package init(_ stored: StoredMessage) {
      self.init(headers: stored.headers, payload: stored.payload, sequence: stored.sequence)
    }

    package init(
      headers: [(name: String, value: String)], payload: [UInt8], sequence: UInt64
    ) {
      let lines = headers.map { "\($0.name): \($0.value)\r\n" }.joined()
      content = DuplicateJudge.Content(
        headers: Array(lines.utf8), payload: payload, sequence: sequence)
    }

    package var payload: [UInt8] { content.payload }
    /// Where it stands; 0 for what is not stored yet.
    package var sequence: UInt64 { content.sequence }
    package var own: OwnMessage { OwnMessage(content.headers) }

    /// Without a copy of anything.
    func withMarks<Result>(_ body: (borrowing MessageMarks) -> Result) -> Result {
      content.headers.withUnsafeBytes { body(MessageMarks($0)) }
    }
  }

  package var judge: DuplicateJudge {
    DuplicateJudge(
      difference: { difference(Message($0), original: $1.map { Message($0) }) },
      mark: { Self.mark(MessageMarks($0)) })
  }

  /// Alike for two messages that `isPlainlySame` finds to be the same.
  private static func mark(_ marks: borrowing MessageMarks) -> StoredIDs.Mark {
    guard let position = marks.positionText else { return StoredIDs.foreign }
    guard marks.error == nil, let rule = marks.rule, let bridge = marks.bridge else {
      return StoredIDs.unclear
    }
    var hasher = Hasher()
    for part in [position, rule, bridge] {
      hasher.combine(part.count)
      hasher.combine(bytes: part)
    }
    return max(UInt64(bitPattern: Int64(hasher.finalize())), StoredIDs.foreign + 1)
  }

  /// Nil: it is the same event.
  package func difference(
    _ message: Message, original: Message?
  ) -> String? {
    if let original, isPlainlySame(message, original) { return nil }
    let mine = message.own
    let id = mine.storedID
    guard let original else {
      if mine.isNamedByEvent { return nil }
      // On a stream of producers it was theirs, and consumed; on our own it was another event of ours.
      return exclusive
        ? "id \(id) is taken within the dedup window, by a message that the stream no longer holds"
        : nil
    }
    let place = original.sequence > 0 ? " at sequence \(original.sequence)" : ""
    let theirs = original.own
    guard let position = theirs.positionText else {
      // A producer's: the same business event, by the id alone; but no second one.
      guard !mine.isSnapshot, let event = mine.position,
        let other = claims.claim(original.sequence, for: event)
      else { return nil }
      return "id \(id) is in the stream\(place), by another producer, for event \(other)"
    }
    let rule = theirs.rule ?? ""
    let other = "id \(id) is in the stream\(place) for event \(position) of rule \(rule)"
    if theirs.error != nil { return "\(other): its dead letter" }
    // Positions of two replica sets can be alike, and nothing of another bridge counts as this one's.
    if let bridge = theirs.bridge, let own = mine.bridge, bridge != own {
      return "\(other) of bridge \(bridge): give the bridges different source.names"
    }
    // Each id says by itself which event it is of, and they are alike.
    if mine.isNamedByEvent, theirs.isNamedByEvent { return nil }
    guard rule == mine.rule else { return other }
    if position == mine.positionText { return nil }
    let isSnapshot = theirs.isSnapshot || mine.isSnapshot
    guard isSnapshot else { return other }
    // A document as it is, and what was told of it before: the same, unless it has changed since.
    return Self.document(original.payload) == Self.document(message.payload)
      ? nil : "\(other), and the document is another one since"
  }

  /// What most originals are: the message of the same event by the same rule, or the only one that a
  /// producer has for it. Makes no strings; false leaves it to be compared in full.
  private func isPlainlySame(_ message: Message, _ original: Message) -> Bool {
    message.withMarks { mine in
      original.withMarks { theirs in
        guard let position = theirs.positionText else {
          guard !mine.isSnapshot, let event = mine.position else { return false }
          return claims.claim(original.sequence, for: event) == nil
        }
        guard theirs.error == nil, let own = mine.positionText, own.elementsEqual(position),
          let rule = theirs.rule, let ownRule = mine.rule, ownRule.elementsEqual(rule)
        else { return false }
        guard let bridge = theirs.bridge, let ownBridge = mine.bridge else { return true }
        return ownBridge.elementsEqual(bridge)
      }
    }
  }

  /// The document that a body tells of, whatever the envelope; the whole body where it has none.
  package static func document(_ body: [UInt8]) -> JSONValue {
    guard let json = try? JSONValue(parsing: body) else {
      return .string(String(decoding: body, as: UTF8.self))
    }
    let data = json["specversion"] != nil ? json["data"] ?? json : json
    if let document = data["fullDocument"] { return document }
    if data["op"] != nil, let text = data["after"]?.stringValue,
      let after = try? JSONValue(parsing: text.utf8)
    {
      return after
    }
    return data
  }
}

/// Messages of other producers in one stream, and the events that they were taken for: two events under
/// one id are distinguished although neither of them is the bridge's message. Bounded: the oldest are
/// forgotten. Thread-safe.
package final class ProducerClaims: Sendable {
  private struct State {
    var events: [UInt64: EventPosition] = [:]
    var order: [UInt64] = []
    var first = 0
  }
  private let state = Mutex(State())
  private let most: Int

  package init(most: Int = 200_000) { self.most = most }

  /// The event that has claimed the message before, if that is another one.
  package func claim(_ sequence: UInt64, for event: EventPosition) -> EventPosition? {
    state.withLock { state in
      if let known = state.events[sequence] { return known == event ? nil : known }
      state.events[sequence] = event
      state.order.append(sequence)
      if state.events.count > most {
        state.events[state.order[state.first]] = nil
        state.first += 1
        if state.first > most {
          state.order.removeFirst(state.first)
          state.first = 0
        }
      }
      return nil
    }
  }
}

extension BridgeConfiguration {
  /// Whether ids of messages in the stream can come again, or be shared with producers: some rule's are
  /// not positional.
  package func mayRepeatIDs(_ stream: String) -> Bool {
    rules.contains { rule in
      streams[rule.streamIndex].name == stream && (rule.id != .positional || rule.outbox != nil)
    }
  }
}

/// Events whose ids their streams hold for other events: they go where `on_id_conflict` says. Kept across
/// epochs, until they are settled.
struct IDConflicts {
  private struct Key: Hashable {
    var stream: String
    var rule: RuleID
    /// Of an event: a snapshot's documents have other positions each time.
    var position: EventPosition?
    var id: [UInt8]
  }
  private struct Finding {
    var detail: String
    var isDropped = false
  }
  private var found: [Key: Finding] = [:]
  /// The last position among them.
  private var last: EventPosition?

  /// False: not the event at `position`, surely.
  func mayConcern(_ position: EventPosition) -> Bool {
    guard let last else { return false }
    return position <= last || position.index >= SnapshotDecoder.firstIndex
  }

  /// True: it was not known.
  mutating func add(
    _ stream: String, _ rule: RuleID, _ position: EventPosition, id: [UInt8], _ detail: String
  ) -> Bool {
    last = max(last ?? position, position)
    let key = key(stream, rule, position, id)
    guard found[key] == nil else { return false }
    found[key] = Finding(detail: detail)
    return true
  }

  func detail(_ stream: String, _ rule: RuleID, _ position: EventPosition, id: [UInt8]) -> String? {
    found[key(stream, rule, position, id)]?.detail
  }

  /// Once for each: whether it is dropped just now.
  mutating func drop(
    _ stream: String, _ rule: RuleID, _ position: EventPosition, id: [UInt8]
  ) -> Bool {
    let key = key(stream, rule, position, id)
    guard found[key]?.isDropped == false else { return false }
    found[key]?.isDropped = true
    return true
  }

  /// What is before the entry will not be read again; snapshots that are over neither.
  mutating func forget(before entry: OplogPosition, isSnapshot: Bool) {
    guard !found.isEmpty else { return }
    found = found.filter { key, _ in
      key.position.map { $0.entry >= entry } ?? isSnapshot
    }
    if found.isEmpty { last = nil }
  }

  private func key(
    _ stream: String, _ rule: RuleID, _ position: EventPosition, _ id: [UInt8]
  ) -> Key {
    let isSnapshot = position.index >= SnapshotDecoder.firstIndex
    return Key(stream: stream, rule: rule, position: isSnapshot ? nil : position, id: id)
  }
}
