import Bridge
import BridgeConfiguration
import DeadLetters
import Foundation
import JSON
import JetStream
import Mapping
import NATS
import Oplog

/// What the streams and the bridge's state say of an event.
struct StreamSide: Sendable {
  private let configuration: BridgeConfiguration
  private let jetStream: JetStreamClient
  private var search: StoredSearch
  private var facts = AbsenceFacts()
  private var groups: [String: CutoverRecord] = [:]
  private var infos: [String: StreamInfo] = [:]
  private var dropped: Set<EventOfRule> = []
  /// The configuration's streams, and the dead letters'.
  private let names: [String]

  var maximumPayload: Int { jetStream.connection.info.maxPayload }

  init(
    _ configuration: BridgeConfiguration, _ jetStream: JetStreamClient
  ) async throws(JetStreamError) {
    self.configuration = configuration
    self.jetStream = jetStream
    search = StoredSearch(jetStream: jetStream, ownership: MessageOwnership(configuration))
    names = TapFilter().streams(of: configuration)
    facts.bridge = configuration.bridge.name
    facts.now = Int(Date.now.timeIntervalSince1970)
    let bucket = configuration.bridge.stateBucket
    do {
      facts.checkpoint = try await CheckpointStore(
        jetStream, bucket: bucket, bridge: configuration.bridge.name
      ).load().checkpoint
      let store = CutoverStore(jetStream, bucket: bucket, bridge: configuration.bridge.name)
      for group in configuration.groups { groups[group] = try await store.load(group).record }
      dropped = Set(
        try await DroppedLetters(jetStream, configuration).load().map(\.event))
    } catch let error as JetStreamError {
      throw error
    } catch {
      throw JetStreamError(
        code: 0, operation: "reading bucket \(bucket)", message: "\(error)",
        remedy: .operatorMustAct)
    }
    for name in names { infos[name] = try await jetStream.stream(name) }
  }

  /// As it is in positional ids.
  mutating func use(source: String) {
    search = StoredSearch(
      jetStream: jetStream, ownership: MessageOwnership(configuration, source: source))
    facts.configurationHash = configuration.hash(sourceName: source)
  }

  // MARK: - Messages

  /// The bridge's messages of that position, in all streams.
  func messages(at position: EventPosition) async throws(JetStreamError) -> [StoredSearch.Found] {
    var found: [StoredSearch.Found] = []
    for name in names {
      guard let info = infos[name] else { continue }
      let near = try await search.neighbours(of: position, in: name, info)
      found +=
        near.isOpen
        ? try await search.scan(name, info, id: nil, position: position) : near.found
    }
    return found
  }

  /// Messages of that id, whoever published them.
  func messages(named id: String) async throws(JetStreamError) -> [StoredSearch.Found] {
    var found: [StoredSearch.Found] = []
    for name in names {
      guard let info = infos[name] else { continue }
      found += try await search.scan(name, info, id: id, position: nil)
    }
    return found
  }

  /// Where an outcome's message is, or why nowhere.
  func place(
    _ outcome: DerivedOutcome, of event: DerivedEvent, _ note: (String) -> Void
  ) async throws(JetStreamError) -> Explanation.Outcome {
    var result = Explanation.Outcome(derived: outcome)
    guard outcome.isStored else {
      result.absence = Absence.judge(outcome, at: event.position, facts)
      return result
    }
    let rule = outcome.rule.flatMap { name in configuration.rules.first { $0.name == name } }
    // A message may have become a dead letter, and a letter been replayed.
    var streams = [configuration.deadLetter.stream]
    if let index = rule?.streamIndex { streams.insert(configuration.streams[index].name, at: 0) }
    var seen: Set<String> = []
    streams = streams.filter { seen.insert($0).inserted }
    var isPassed = false
    for name in streams {
      guard let info = infos[name] else { continue }
      let near = try await search.neighbours(of: event.position, in: name, info)
      if name == outcome.stream, near.behind != nil { isPassed = true }
      let found =
        near.isOpen
        ? try await search.scan(name, info, id: nil, position: event.position) : near.found
      result.stored += found.filter { isOf(outcome, $0) }.map { Explanation.Stored($0) }
    }
    if result.stored.isEmpty {
      var facts = try await facts(outcome, event, rule)
      facts.isPassed = isPassed
      result.absence = Absence.judge(outcome, at: event.position, facts)
    }
    // What was published late, or by a producer, comes out of the order.
    if let absence = result.absence,
      [.missing, .unknown, .pending].contains(absence.state) || absence.code == "finalized",
      absence.code != "no_checkpoint",
      absence.code != "not_published_yet" || groups[outcome.group ?? ""]?.hasRanges == true
    {
      note("reading the streams' headers for \(outcome.id)")
      for name in streams {
        guard let info = infos[name] else { continue }
        let found = try await search.scan(
          name, info, id: DeadLetterID.wouldBe(outcome.id), position: event.position)
        result.stored += found.filter { isOf(outcome, $0) || isProducers($0, outcome) }
          .map { Explanation.Stored($0) }
      }
      if !result.stored.isEmpty { result.absence = nil }
    }
    compare(&result, event.position)
    return result
  }

  /// Whether it is the outcome's, by its rule: several rules' messages of one event may be in one stream.
  private func isOf(_ outcome: DerivedOutcome, _ found: StoredSearch.Found) -> Bool {
    guard found.owner == .thisBridge else { return false }
    return found.own.rule == outcome.rule ?? DeadLetterSubject.unmatchedRule
  }

  /// Whether a new producer has published it under the outcome's id.
  private func isProducers(_ found: StoredSearch.Found, _ outcome: DerivedOutcome) -> Bool {
    found.owner == .nobody && found.own.storedID == DeadLetterID.wouldBe(outcome.id)
  }

  private func compare(_ result: inout Explanation.Outcome, _ position: EventPosition) {
    guard let stored = result.stored.first else { return }
    result.differences = Explanation.Outcome.differences(result.derived, stored)
    let copies = result.stored.filter { $0.own.error == nil }
    if copies.count > 1 {
      result.differences.append("it is stored \(copies.count) times")
      result.isWrong = true
    }
    guard !result.differences.isEmpty else { return }
    // A refusal of the server, or an id conflict, is no matter of the rules; nor are letters from before.
    if stored.own.error != nil { return }
    let isReplayed = stored.headers.contains { $0.name == "\(HeaderName.replayed)" }
    let hasOtherRules =
      facts.checkpoint.map {
        $0.configurationHash != facts.configurationHash
          || $0.configurationSince.map { position.entry < $0 } ?? false
      } ?? true
    if isReplayed || hasOtherRules {
      result.differences.append("it was made by other rules than these")
    } else {
      result.isWrong = true
    }
  }

  private func facts(
    _ outcome: DerivedOutcome, _ event: DerivedEvent, _ rule: Rule?
  ) async throws(JetStreamError) -> AbsenceFacts {
    var facts = facts
    facts.cutover = rule.flatMap { groups[$0.group] }
    facts.isDroppedLetter = dropped.contains(
      EventOfRule(
        position: event.position, rule: outcome.rule ?? DeadLetterSubject.unmatchedRule))
    guard let name = outcome.stream, let info = infos[name] else { return facts }
    facts.stream = info
    facts.firstOwn = try await search.first(in: name, info)
    if info.config.streamLimit("max_msgs_per_subject") != nil {
      let last = try await jetStream.lastMessage(in: name, subject: outcome.subject)
      if let last, last.own.position.map({ $0 > event.position }) ?? true {
        facts.laterOnSubject = last.sequence
      }
    }
    return facts
  }

  // MARK: - Where nothing is found

  /// How far back the streams reach.
  func reach() async throws(JetStreamError) -> String {
    var parts: [String] = []
    for name in names {
      guard let info = infos[name] else { continue }
      if let first = try await search.first(in: name, info) {
        parts.append("\(name) begins with \(first)")
      } else {
        parts.append("\(name) has no message of this bridge")
      }
    }
    return parts.isEmpty
      ? "none of the streams exists" : "the streams: \(parts.joined(separator: ", "))"
  }

  func beforeOrigin(_ entry: OplogPosition) -> String? {
    guard let origin = facts.checkpoint?.origin, entry < origin.position else { return nil }
    return "it is before the bridge began, at \(origin.position): nothing of it was published"
  }
}
