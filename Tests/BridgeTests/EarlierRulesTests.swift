import Bridge
import JSON
import JetStream
import Oplog
import Testing

private func own(_ sequence: UInt64, _ seconds: UInt32, _ rule: RuleID, id: String)
  -> StreamObservation.Own
{
  StreamObservation.Own(sequence: sequence, position: event(seconds), rule: rule, id: id)
}

/// The bridge was killed under rules of hash `h` (the checkpoint's), and comes back with others.
@Suite struct EarlierRulesTests {
  private static func rules(_ names: RuleID...) -> RuleSet.Identity {
    RuleSet.Identity(hash: "other", ids: Set(names))
  }

  /// Behind the checkpoint at 500, stream A got 510 and 520.
  private static let ahead: StreamObservation = {
    var stream = streamFound(last: 12, tail: 520)
    stream.tail?.rule = "r"
    return stream
  }()

  private static func situation(_ rules: RuleSet.Identity?, _ known: Checkpoint = checkpointFound())
    -> EpochSituation
  {
    EpochSituation(checkpoint: known, streams: [ahead], rules: rules)
  }

  private static let stored = EpochAnswers(
    stored: ["A": [own(11, 510, "r", id: "510"), own(12, 520, "r", id: "520")]])

  @Test func `the same rules ask for nothing`() throws {
    var asked: [EpochQuestion] = []
    let same = RuleSet.Identity(hash: "h", ids: ["r"])
    let plan = try #require(
      try decide(machine(), Self.situation(same), Self.stored, asked: &asked).tail)
    #expect(plan.earlierRules == nil && plan.doubts.isEmpty && asked.isEmpty)
  }

  @Test func `with other rules, what is stored is looked up message by message`() throws {
    var asked: [EpochQuestion] = []
    let plan = try #require(
      try decide(machine(), Self.situation(Self.rules("r", "s")), Self.stored, asked: &asked).tail)
    let earlier = try #require(plan.earlierRules)
    #expect(asked.count == 1 && earlier.to == event(520) && earlier.streams == ["A"])
    func find(_ seconds: UInt32, _ rule: RuleID, _ stream: String = "A", id: String? = nil)
      -> EarlierRules.Finding
    {
      earlier.find(event(seconds), rule: rule, stream: stream) { id ?? "\(seconds):\(rule)" }
    }
    let message = EarlierRules.Published(stream: "A", rule: "r", id: "510")
    #expect(find(510, "r") == .stored(message))
    // Wherever it would go now.
    #expect(find(510, "r", "B") == .stored(message))
    // An event between those that no stream has: it was lost on its way, or no rule took it.
    #expect(find(515, "r") == .missing)
    // Another rule that takes the event as well.
    #expect(find(510, "s") == .missing)
    // … and that would publish it under the other's id.
    #expect(find(510, "s", id: "510") == .idTaken(by: "r"))
    #expect(find(510, "s", "B", id: "510") == .missing)
    #expect(earlier.gone.isEmpty && plan.doubts.isEmpty)
  }

  @Test func `a rule that was renamed is known by the ids of its messages`() throws {
    let plan = try #require(
      try decide(machine(), Self.situation(Self.rules("renamed")), Self.stored).tail)
    let earlier = try #require(plan.earlierRules)
    #expect(earlier.gone == ["r"])
    guard
      case .stored(let found) = earlier.find(
        event(520), rule: "renamed", stream: "A", id: { "520" })
    else {
      Issue.record("it would be published again")
      return
    }
    #expect(found.rule == "r")
    #expect(
      earlier.find(event(520), rule: "renamed", stream: "A", id: { "520:renamed" }) == .missing)
    #expect(plan.doubts.isEmpty)
  }

  @Test func `that stays so until everything before is settled, whatever happens meanwhile`() throws
  {
    // The first epoch with the new rules wrote its checkpoint, and was killed.
    var known = checkpointFound()
    known.configurationHash = "other"
    known.earlierRulesTo = event(520)
    let plan = try #require(
      try decide(machine(), Self.situation(Self.rules("r"), known), Self.stored).tail)
    #expect(plan.earlierRules?.to == event(520))
    known.settled = EventPosition(entry: entry(520), index: .max)
    let later = try #require(
      try decide(machine(), Self.situation(Self.rules("r"), known), Self.stored).tail)
    #expect(later.earlierRules == nil)
    let copy = try Checkpoint(parsing: known.json.utf8)
    #expect(copy.earlierRulesTo == event(520))
  }

  @Test func `where too much is stored, that is said`() throws {
    let plan = try #require(
      try decide(
        machine(), Self.situation(Self.rules("s")), EpochAnswers(stored: nil)
      ).tail)
    #expect(plan.earlierRules?.streams.isEmpty == true)
    // … and so is that the end itself is of a rule that no longer exists.
    #expect(plan.doubts.count == 2, "\(plan.doubts)")
  }

  @Test func `messages that are gone are of no known event under other rules`() throws {
    var consumed = streamFound(last: 12, tail: nil)
    consumed.firstSequence = 13
    consumed.messages = 0
    let situation = EpochSituation(
      checkpoint: checkpointFound(), streams: [consumed, streamFound("B", last: 3, tail: 520)],
      rules: Self.rules("r"))
    let plan = try #require(try decide(machine(), situation, EpochAnswers(stored: [:])).tail)
    #expect(plan.unseen.isEmpty && plan.uncounted["A"] == 12)
    #expect(plan.doubts.contains { $0.contains("stream A: 2 messages") })
  }

  @Test func `a stop with everything acknowledged leaves nothing to look up`() throws {
    var asked: [EpochQuestion] = []
    let known = EpochSituation(
      checkpoint: checkpointFound(), streams: [streamFound()], rules: Self.rules("s"))
    let plan = try #require(try decide(machine(), known, Self.stored, asked: &asked).tail)
    #expect(plan.earlierRules == nil && plan.doubts.isEmpty && asked.isEmpty)
  }

  @Test func `configuration_since is behind what the earlier rules published`() {
    var base = checkpointFound()
    base.configurationHash = "other"
    base.earlierRulesTo = event(520)
    base.inheritConfiguration(from: checkpointFound())
    #expect(base.configurationSince == entry(520))
  }
}

private struct Numbers {
  var state: UInt64

  mutating func below(_ limit: Int) -> Int {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int(state >> 33) % limit
  }
}

/// A rule of a small world: which of six events it takes.
private struct SmallRule: Equatable {
  var id: RuleID
  var takes: Set<Int>
  var continues: Bool
  var stream: String
}

/// Rules change between a kill and the next start, in every way at once; nothing is skipped or doubled.
@Suite struct ChangedRulesTests {
  private struct Message: Hashable {
    var event: Int
    var rule: RuleID
    var id: String
  }

  private static func place(_ event: Int) -> EventPosition {
    EventPosition(
      entry: OplogPosition(seconds: 500 + UInt32(event), increment: 1), index: 0)
  }

  private static func messages(of event: Int, _ rules: [SmallRule]) -> [(String, Message)] {
    var found: [(String, Message)] = []
    for rule in rules where rule.takes.contains(event) {
      let id = found.isEmpty ? "\(event)" : "\(event):\(rule.id)"
      found.append((rule.stream, Message(event: event, rule: rule.id, id: id)))
      if !rule.continues { break }
    }
    return found
  }

  private static func some(_ random: inout Numbers, _ count: Int) -> [SmallRule] {
    (0..<count).map { number in
      SmallRule(
        id: RuleID("r\(number)"),
        takes: Set((1...6).filter { _ in random.below(3) > 0 }), continues: random.below(3) > 0,
        stream: ["A", "B"][random.below(2)])
    }
  }

  private static func changed(_ rules: [SmallRule], _ random: inout Numbers) -> [SmallRule] {
    var rules = rules
    if random.below(2) == 0 { rules.remove(at: random.below(rules.count)) }
    if random.below(2) == 0 {
      var added = some(&random, 1)[0]
      added.id = "added"
      rules.insert(added, at: random.below(rules.count + 1))
    }
    if random.below(2) == 0, rules.count > 1 { rules.swapAt(0, random.below(rules.count)) }
    if random.below(3) == 0, !rules.isEmpty { rules[random.below(rules.count)].id = "renamed" }
    if random.below(3) == 0, !rules.isEmpty { rules[random.below(rules.count)].stream = "B" }
    return rules
  }

  @Test func `nothing is skipped and nothing doubled`() throws {
    var random = Numbers(state: 11)
    var lookedUp = 0
    var late = 0
    for _ in 0..<4_000 {
      let before = Self.some(&random, 1 + random.below(4))
      let after = Self.changed(before, &random)
      // What each stream had been sent, and how much of that it stored. Up to 2 all was settled.
      var streams: [String: [Message]] = ["A": [], "B": []]
      for event in 1...6 {
        for (stream, message) in Self.messages(of: event, before) {
          streams[stream, default: []].append(message)
        }
      }
      for (name, sent) in streams {
        let settled = sent.count { $0.event <= 2 }
        let kept = settled + random.below(sent.count - settled + 1)
        streams[name] = Array(sent[..<kept])
      }
      let found = try Self.restart(streams, before, after)
      if found.lookedUp { lookedUp += 1 }
      if found.late { late += 1 }
      try Self.judge(streams, found.streams, after, dead: found.dead)
    }
    #expect(lookedUp > 1_000 && late > 200)
  }

  private struct Outcome {
    var streams: [String: [Message]]
    var dead: Set<Message> = []
    var lookedUp = false
    var late = false
  }

  /// Decides, and publishes what the pipeline would.
  private static func restart(
    _ streams: [String: [Message]], _ before: [SmallRule], _ after: [SmallRule]
  ) throws -> Outcome {
    var known = checkpointFound(at: 502, [:])
    known.settled = EventPosition(entry: place(2).entry, index: .max)
    var observed: [StreamObservation] = []
    var answers = EpochAnswers(stored: [:])
    for (name, messages) in streams.sorted(by: { $0.key < $1.key }) {
      let all = messages.enumerated().map { number, message in
        StreamObservation.Own(
          sequence: UInt64(number + 1), position: place(message.event), rule: message.rule,
          id: message.id)
      }
      answers.stored?[name] = all
      if let acked = all.last(where: { $0.position <= place(2) }) {
        known.streams[name] = Checkpoint.Stream(
          sequence: acked.sequence, id: acked.id, position: acked.position, rule: acked.rule,
          created: "c1")
      }
      var state = Checkpoint.StreamState(created: "c1")
      state.base = 0
      known.states[name] = state
      var stream = streamFound(name, last: UInt64(all.count), tail: nil)
      stream.tail = all.last
      stream.survivors = UInt64(all.count)
      observed.append(stream)
    }
    let rules = RuleSet.Identity(
      hash: before == after ? "h" : "other", ids: Set(after.map(\.id)))
    let plan = try #require(
      try decide(
        machine(), EpochSituation(checkpoint: known, streams: observed, rules: rules), answers
      ).tail)
    var outcome = Outcome(streams: streams, lookedUp: plan.earlierRules != nil)
    for event in 1...6 {
      for (stream, message) in messages(of: event, after) {
        let position = place(event)
        if let floor = plan.floors[stream], position < floor { continue }
        if let earlier = plan.earlierRules, position <= earlier.to {
          switch earlier.find(position, rule: message.rule, stream: stream, id: { message.id }) {
          case .stored: continue
          case .idTaken: outcome.dead.insert(message)
          case .missing:
            if plan.watermarks[stream].map({ position < $0.position }) ?? false {
              outcome.late = true
            }
            outcome.streams[stream, default: []].append(message)
          }
          continue
        }
        if let end = plan.watermarks[stream] {
          let place = after.firstIndex { $0.id == end.rule } ?? -1
          let own = after.firstIndex { $0.id == message.rule } ?? -1
          if position < end.position || (position == end.position && own <= place) { continue }
        }
        outcome.streams[stream, default: []].append(message)
      }
    }
    return outcome
  }

  private static func judge(
    _ before: [String: [Message]], _ after: [String: [Message]], _ rules: [SmallRule],
    dead: Set<Message>
  ) throws {
    let stored = after.values.joined()
    let ids = Set(rules.map(\.id))
    var seen: Set<String> = []
    for (stream, messages) in after {
      for message in messages {
        // One message a rule and event, and one an id in each stream.
        if !seen.insert("\(message.event) \(message.rule)").inserted {
          Issue.record("\(message) is doubled: \(after), \(rules)")
        }
        if !seen.insert("\(stream) \(message.id)").inserted {
          Issue.record("id \(message.id) is doubled in \(stream): \(after), \(rules)")
        }
      }
    }
    for event in 3...6 {
      for (_, message) in messages(of: event, rules) {
        let isThere = stored.contains { found in
          found.event == event
            && (found.rule == message.rule || (!ids.contains(found.rule) && found.id == message.id))
        }
        if !isThere, !dead.contains(message) {
          Issue.record("\(message) is skipped: \(before), \(after), \(rules)")
        }
      }
    }
  }
}
