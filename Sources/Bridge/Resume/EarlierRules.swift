package import Oplog

/// Events that other rules than the present ones may have published: those between the checkpoint and the
/// newest message that any stream had when the rules changed.
///
/// For these events, a stream's end doesn't show which messages are stored: under the present rules another
/// event, or another rule's message, may belong there. So the streams are read, and each message of these
/// events is looked up by itself. An event that is stored nowhere is published by the present rules; one
/// that any rule published to any stream is not published again.
package struct EarlierRules: Sendable, Equatable {
  /// One stored message.
  package struct Published: Sendable, Hashable {
    package var stream: String
    package var rule: RuleID
    package var id: String

    package init(stream: String, rule: RuleID, id: String) {
      self.stream = stream
      self.rule = rule
      self.id = id
    }
  }

  /// What a stream holds of a message that the present rules make.
  package enum Finding: Sendable, Equatable {
    /// It is stored, as this message.
    case stored(Published)
    /// The same event's message for another rule has its id: the server would take it for that one.
    case idTaken(by: RuleID)
    case missing
  }

  /// The last event that they may have published.
  package let to: EventPosition
  /// Streams that were read. The others are judged by their ends.
  package let streams: Set<String>
  private let published: [EventPosition: [Published]]
  /// Rules that published messages and no longer exist.
  package let gone: Set<RuleID>

  package init(
    to: EventPosition, streams: Set<String>, published: [EventPosition: [Published]],
    rules: RuleSet.Identity
  ) {
    self.to = to
    self.streams = streams
    self.published = published
    gone = Set(published.values.joined().map(\.rule).filter { !rules.has($0) })
  }

  /// How many messages were found.
  package var count: Int { published.values.reduce(0) { $0 + $1.count } }

  /// Whether the event's message for the rule is stored.
  ///
  /// A rule that still exists is known by its name, whatever its index is now. A rule that no longer exists
  /// may have been renamed: its message counts as the one that has its id. `id` makes the id of the message
  /// that would be published to `stream`; it is called only if needed.
  package func find(
    _ position: EventPosition, rule: RuleID, stream: String, id: () -> String
  ) -> Finding {
    guard let messages = published[position] else { return .missing }
    if let own = messages.first(where: { $0.rule == rule }) { return .stored(own) }
    let id = id()
    guard let same = messages.first(where: { $0.id == id }) else { return .missing }
    if gone.contains(same.rule) { return .stored(same) }
    return same.stream == stream ? .idTaken(by: same.rule) : .missing
  }

  /// Whether some rule took the event.
  func hasTaken(_ position: EventPosition) -> Published? { published[position]?.first }
}

extension ResumePlan {
  /// Finds out what was published by earlier rules, if they wrote the checkpoint.
  mutating func noteEarlierRules(
    _ checkpoint: Checkpoint, _ streams: [StreamObservation], _ rules: RuleSet.Identity,
    _ facts: EpochFacts
  ) throws(Undecided) {
    let since = checkpoint.settled ?? EventPosition(entry: checkpoint.resume, index: 0)
    let read = streams.filter {
      refilling[$0.name] == nil && halted[$0.name] == nil
        && (held[$0.name] == nil || lacksUpTo[$0.name] != nil)
    }
    // A checkpoint of the same rules covers only what was published with them.
    let isOver = checkpoint.configurationHash == rules.hash
    var to = checkpoint.earlierRulesTo
    if !isOver {
      for stream in read {
        guard let end = (lacksUpTo[stream.name] ?? watermarks[stream.name])?.position else {
          continue
        }
        to = max(to ?? end, end)
      }
    }
    guard let to, to > since else { return }
    var published: [EventPosition: [EarlierRules.Published]] = [:]
    var found: Set<String> = []
    for stream in read {
      forgetUnseen(stream)
      let acked = checkpoint.streams[stream.name].flatMap {
        $0.created == stream.created ? $0.sequence : nil
      }
      let base = checkpoint.states[stream.name]?.base
      let messages = try facts.messages(
        in: stream, since: since, behind: min(acked ?? base ?? 0, stream.lastSequence))
      guard let messages else {
        doubts.append(
          """
          the rules have changed, and stream \(stream.name) holds more messages behind the checkpoint than \
          are looked up. Which of them are of events that go elsewhere now is not known: tailrace verify \
          shows what is missing or doubled
          """)
        continue
      }
      found.insert(stream.name)
      if let end = lacksUpTo[stream.name] {
        watermarks[stream.name] = end
        held[stream.name] = nil
      }
      for message in messages where message.position > since && message.position <= to {
        published[message.position, default: []].append(
          EarlierRules.Published(stream: stream.name, rule: message.rule, id: message.id))
      }
    }
    earlierRules = EarlierRules(to: to, streams: found, published: published, rules: rules)
  }

  /// With changed rules, the events of removed messages are unknown.
  private mutating func forgetUnseen(_ stream: StreamObservation) {
    guard let gone = unseen[stream.name] else { return }
    unseen[stream.name] = nil
    uncounted[stream.name] = gone.after + gone.count
    doubts.append(
      """
      stream \(stream.name): \(gone.count) messages behind sequence \(gone.after) are gone, and the rules \
      have changed since: which events they were of is not known. What was published since the last \
      checkpoint is published again, and may be doubled
      """)
  }

  /// Reports a stream that ends with the message of a removed rule, if that leaves a doubt.
  mutating func noteUnknownRules(_ rules: RuleSet.Identity) {
    for (stream, end) in watermarks.sorted(by: { $0.key < $1.key }) where !rules.has(end.rule) {
      if let floor = floors[stream], end.position < floor { continue }
      if let earlierRules, earlierRules.streams.contains(stream), end.position <= earlierRules.to {
        continue
      }
      doubts.append(
        """
        stream \(stream) ends with a message of event \(end.position) by rule \(end.rule), which the \
        configuration does not have. Which other messages of that event it has is not known: they are \
        published again, and may be doubled
        """)
    }
  }
}
