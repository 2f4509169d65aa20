import BridgeConfiguration
package import JSON
package import JetStream
import Mapping
package import Oplog
import Synchronization

/// Whether the message that a stream has under an id is the event that is to be published under it.
///
/// Positional ids prove it by themselves. Ids from templates and outboxes may be shared with producers, and
/// may by mistake repeat for another event, which the server would then silently drop.
package struct EventIdentity: Sendable {
  /// Only the bridge publishes to the stream.
  package var exclusive: Bool
  /// The events that messages of other producers were counted for.
  package var claims: ProducerClaims

  package init(exclusive: Bool, claims: ProducerClaims) {
    self.exclusive = exclusive
    self.claims = claims
  }

  /// The compared parts of a message.
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
    /// Its sequence; 0 if it is not stored yet.
    package var sequence: UInt64 { content.sequence }
    package var own: OwnMessage { OwnMessage(content.headers) }

    /// Copies nothing.
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
      // On a shared stream it was a producer's, and consumed; on an exclusive one, another event of ours.
      return exclusive
        ? "id \(id) is taken within the dedup window, by a message that the stream no longer holds"
        : nil
    }
    let place = original.sequence > 0 ? " at sequence \(original.sequence)" : ""
    let theirs = original.own
    guard let position = theirs.positionText else {
      // A producer's message: the same business event, by its id alone, but only once.
      guard !mine.isSnapshot, let event = mine.position,
        let other = claims.claim(original.sequence, for: event)
      else { return nil }
      return "id \(id) is in the stream\(place), by another producer, for event \(other)"
    }
    let rule = theirs.rule ?? ""
    let other = "id \(id) is in the stream\(place) for event \(position) of rule \(rule)"
    if theirs.error != nil { return "\(other): its dead letter" }
    // Positions of two replica sets can be equal, and another bridge's message never counts as ours.
    if let bridge = theirs.bridge, let own = mine.bridge, bridge != own {
      return "\(other) of bridge \(bridge): give the bridges different source.names"
    }
    // Each id identifies its event by itself, and they are equal.
    if mine.isNamedByEvent, theirs.isNamedByEvent { return nil }
    guard rule == mine.rule else { return other }
    if position == mine.positionText { return nil }
    let isSnapshot = theirs.isSnapshot || mine.isSnapshot
    guard isSnapshot else { return other }
    // A current document and an earlier message about it are equal unless it has changed since.
    return Self.document(original.payload) == Self.document(message.payload)
      ? nil : "\(other), and the document is another one since"
  }

  /// The common cases: the message of the same event by the same rule, or a producer's only message for it.
  /// Makes no strings. False: compare in full.
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

  /// The document in a body, whatever the envelope; the whole body if it has none.
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

/// Messages of other producers in one stream, and the events that they were counted for: two events under
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

  /// The event that claimed the message before, if it is another one.
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
  /// Whether ids in the stream can repeat, or be shared with producers: some rule's aren't positional.
  package func mayRepeatIDs(_ stream: String) -> Bool {
    rules.contains { rule in
      rule.streamIndex.map { streams[$0].name } == stream
        && (rule.id != .positional || rule.outbox != nil)
    }
  }
}

/// Events whose ids their streams hold for other events; `on_id_conflict` decides about them. Kept across
/// epochs, until they are settled.
struct IDConflicts {
  private struct Key: Hashable {
    var stream: String
    var rule: RuleID
    /// Of an event; a snapshot's documents have other positions each time.
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

  /// False: certainly not the event at `position`.
  func mayConcern(_ position: EventPosition) -> Bool {
    guard let last else { return false }
    return position <= last || position.index >= SnapshotDecoder.firstIndex
  }

  /// True if it was unknown.
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

  /// True once per conflict: it is dropped now.
  mutating func drop(
    _ stream: String, _ rule: RuleID, _ position: EventPosition, id: [UInt8]
  ) -> Bool {
    let key = key(stream, rule, position, id)
    guard found[key]?.isDropped == false else { return false }
    found[key]?.isDropped = true
    return true
  }

  /// Entries before this one, and finished snapshots, will not be read again.
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
