public import Bridge
public import BridgeConfiguration
import Foundation
import JSON
import JetStream
public import Logging
import Mapping
import MongoSource
package import NATS
package import NIOCore
public import Oplog

/// Cut-overs in an operator's hands: `tailrace cutover`. Every command may be repeated, and ended at any time: the group
/// is always in one of its phases, and what a bridge has to do about it is in its record.
public struct CutoverOperator: Sendable {
  /// What a command came to.
  public enum Outcome: Sendable {
    case done(String)
    /// Nothing was changed, or the group is back in `dual`.
    case blocked([CutoverBlocker])
  }

  /// Whether the messages of a range are what they have to be, for a group's rules.
  public typealias Verifier =
    @Sendable (_ group: String, _ after: OplogPosition, _ to: OplogPosition) async -> (
      isPass: Bool, detail: String
    )

  public let configuration: BridgeConfiguration
  public let logger: Logger
  let by: String
  var reason: String
  private let ends: Ends

  /// How the command reaches its servers.
  package struct Ends: Sendable {
    /// Nil: one of the system's.
    var eventLoop: (any EventLoop)?
    var transport: NATSTransport
    var mongo: any MongoAnswering

    package init(
      eventLoop: (any EventLoop)? = nil, transport: NATSTransport, mongo: any MongoAnswering
    ) {
      self.eventLoop = eventLoop
      self.transport = transport
      self.mongo = mongo
    }
  }

  /// - Parameter reason: why, for the audit.
  public init(_ configuration: BridgeConfiguration, reason: String, logger: Logger) {
    self.init(
      configuration, reason: reason, by: "\(NSUserName())@\(ProcessInfo.processInfo.hostName)",
      logger: logger,
      Ends(transport: .tcp, mongo: MongoServerAnswers(configuration.mongoSourceOptions)))
  }

  /// - Parameter by: user and host, for the audit.
  package init(
    _ configuration: BridgeConfiguration, reason: String, by: String, logger: Logger, _ ends: Ends
  ) {
    self.configuration = configuration
    self.logger = logger
    self.reason = reason
    self.by = by
    self.ends = ends
  }

  // MARK: - Status

  /// - Parameter group: nil: all.
  public func status(_ group: String?) async throws(BridgeError) -> CutoverReport {
    if let group { try check(group) }
    let names = group.map { [$0] } ?? configuration.groups
    return try await withStore { store throws(BridgeError) in
      try await asking {
        var records: [String: CutoverRecord] = [:]
        for name in configuration.groups { records[name] = try await store.load(name).record }
        let other = records.values.first { $0.phase == .committing }?.group
        var groups: [CutoverGroupReport] = []
        for name in names {
          let record = records[name] ?? CutoverRecord(group: name)
          groups.append(try await report(record, store, other == name ? nil : other))
        }
        return CutoverReport(groups: groups)
      }
    }
  }

  private func report(
    _ record: CutoverRecord, _ store: CutoverStore, _ otherCommit: String?
  ) async throws -> CutoverGroupReport {
    let eligibility = CutoverEligibility(record.group, in: configuration)
    let progress = try await store.progress(record.group).0
    let blockers = try await blockers(record, progress, store, otherCommit)
    let isCurrent = progress?.generation == record.generation && record.number > 0
    return CutoverGroupReport(
      group: record.group, phase: record.phase,
      since: record.number > 0 ? record.change.at : nil, rules: eligibility.rules,
      fence: record.fence, canCommit: blockers.isEmpty, blockers: blockers,
      counts: isCurrent ? progress?.counts ?? CutoverCounts() : CutoverCounts(),
      findings: isCurrent ? progress?.findings ?? [] : [],
      lag: record.phase == .bridge ? nil : progress?.lag, reasons: eligibility.reasons,
      change: record.number > 0 ? record.change : nil)
  }

  func blockers(
    _ record: CutoverRecord, _ progress: CutoverProgress?, _ store: CutoverStore,
    _ otherCommit: String?
  ) async throws -> [CutoverBlocker] {
    var facts = CutoverFacts(
      record: record, progress: progress, grace: configuration.cutover.grace,
      window: configuration.cutover.window, now: CutoverTime.now)
    facts.otherCommit = otherCommit
    if record.phase == .dual {
      let jetStream = store.bucket.jetStream
      facts.deadLetters = try await deadLetters(record.group, jetStream)
      for rule in configuration.rules where rule.group == record.group {
        guard let index = rule.streamIndex else { continue }
        let name = configuration.streams[index].name
        guard let window = try await jetStream.stream(name)?.duplicateWindow else { continue }
        facts.duplicateWindow = min(facts.duplicateWindow ?? window, window)
      }
    }
    return facts.blockers
  }

  /// Those of the group's rules; all, where the subject doesn't name the rule.
  private func deadLetters(_ group: String, _ jetStream: JetStreamClient) async throws -> UInt64 {
    let settings = configuration.deadLetter
    guard try await jetStream.stream(settings.stream) != nil else { return 0 }
    var patterns: Set<String> = []
    for rule in configuration.rules where rule.group == group {
      patterns.insert(
        settings.subject.patterns(ofRules: [rule.name]).first ?? settings.subject.pattern)
    }
    var count: UInt64 = 0
    for pattern in patterns {
      let answer = try await jetStream.request(
        "STREAM.INFO.\(settings.stream)", ["subjects_filter": .string(pattern)])
      for subject in answer["state"]?["subjects"]?.objectValue ?? [] {
        count += subject.value.integer() ?? 0
      }
    }
    return count
  }

  // MARK: - Phases

  public func dual(_ group: String) async throws(BridgeError) -> Outcome {
    try check(group)
    let eligibility = CutoverEligibility(group, in: configuration)
    guard eligibility.isEligible else {
      let why = eligibility.reasons.map { "rule \($0.rule): \($0.detail) (\($0.remedy))" }
      throw .configuration(
        "group \(group) can't leave phase bridge: \(why.joined(separator: "; "))")
    }
    return try await change(group, .dual, "producers may publish")
  }

  public func cancel(_ group: String) async throws(BridgeError) -> Outcome {
    try check(group)
    return try await change(group, .cancel, "cancelled")
  }

  public func finalize(_ group: String) async throws(BridgeError) -> Outcome {
    try check(group)
    return try await change(group, .finalize, "the bridge derives the group's messages no longer")
  }

  /// - Throws: `positionLost` if the oplog no longer reaches back to the fence.
  public func rollback(_ group: String) async throws(BridgeError) -> Outcome {
    try check(group)
    let record = try await withStore { store throws(BridgeError) in
      try await asking { try await store.load(group).record }
    }
    guard record.phase == .committed, let fence = record.fence else {
      return try await change(
        group, .rollback(to: OplogPosition(seconds: 0, increment: 0)), "rolled back")
    }
    var place = OplogPosition(
      seconds: fence.seconds - min(fence.seconds, margin), increment: 0)
    // Before that, the pipeline has published.
    if let from = record.ranges.last?.from { place = max(place, from) }
    do {
      if let why = try await ends.mongo.loss(of: place) {
        throw BridgeError.positionLost(
          "group \(group) was committed at \(fence), and what was missed since can't be derived any more: \(why)"
        )
      }
    } catch let error as BridgeError {
      throw error
    } catch {
      throw .unavailable(MongoError.words(of: error))
    }
    return try await change(
      group, .rollback(to: place),
      "events since \(place) are decided once more\(try await expiry(group, place))")
  }

  /// What a rollback can't do, for people.
  private func expiry(
    _ group: String, _ place: OplogPosition
  ) async throws(BridgeError) -> String {
    let indices = Set(configuration.rules.filter { $0.group == group }.compactMap(\.streamIndex))
    return try await withStore { store throws(BridgeError) in
      try await asking {
        var words = ""
        for name in indices.sorted().map({ configuration.streams[$0].name }) {
          guard let since = try await store.bucket.jetStream.stream(name)?.keptSince,
            since > Int64(place.seconds) * 1000
          else { continue }
          words +=
            "; stream \(name) no longer holds what was stored before \(CutoverTime.text(since)): of older events, only those that are known to be missed are filled in"
        }
        return words
      }
    }
  }

  /// Seconds before the fence, for what was decided at the time.
  private var margin: UInt32 {
    UInt32(clamping: max(10, 2 * configuration.cutover.grace.components.seconds))
  }

  /// Repeats until nobody else was faster.
  func change(
    _ group: String, _ request: CutoverRequest, _ words: String
  ) async throws(BridgeError) -> Outcome {
    try await withStore { store throws(BridgeError) in
      try await asking {
        while true {
          let found = try await store.load(group)
          // What somebody else did not live to write.
          try? await store.audit(found.record)
          let next: CutoverRecord?
          do throws(CutoverRefusal) {
            next = try found.record.asked(
              request, by: by, reason: reason.isEmpty ? words : reason, now: CutoverTime.now)
          } catch {
            return .blocked([CutoverBlocker(error.code, error.description)])
          }
          if request == .cancel, found.revision == 0, let lost = await store.auditedPhase(group),
            lost != .bridge
          {
            // Its record is gone; an operator decides that the bridge publishes.
            var fresh = found.record
            fresh.number = 1_000_000 + UInt64(CutoverTime.now / 1000)
            fresh.change = CutoverChange(
              from: lost, to: .bridge, at: CutoverTime.now, by: by,
              reason: reason.isEmpty ? "the record was lost" : reason)
            guard let saved = try await store.save(fresh, expecting: 0) else { continue }
            return .done("group \(group) is in phase \(saved.record.phase.rawValue) again")
          }
          guard let next else {
            return .done("group \(group) is in phase \(found.record.phase.rawValue) already")
          }
          guard let saved = try await store.save(next, expecting: found.revision) else { continue }
          return .done("group \(group) is in phase \(saved.record.phase.rawValue): \(words)")
        }
      }
    }
  }

  // MARK: - Servers

  private func check(_ group: String) throws(BridgeError) {
    guard configuration.groups.contains(group) else {
      throw .configuration(
        "no rule has group \(group); there are \(configuration.groups.joined(separator: ", "))")
    }
  }

  func withStore<T: Sendable>(
    _ body: (CutoverStore) async throws(BridgeError) -> T
  ) async throws(BridgeError) -> T {
    try await configuration.withJetStream(logger, on: ends.eventLoop, by: ends.transport) {
      jetStream throws(BridgeError) in
      let store = CutoverStore(
        jetStream, bucket: configuration.bridge.stateBucket, bridge: configuration.bridge.name,
        replicas: configuration.mostReplicas)
      let exists = try await asking { try await store.bucket.exists }
      guard exists else {
        throw .unavailable(
          "the bridge has never run: its state bucket \(store.bucket.name) does not exist")
      }
      return try await body(store)
    }
  }

  func asking<T>(_ body: () async throws -> T) async throws(BridgeError) -> T {
    do {
      return try await body()
    } catch let error as BridgeError {
      throw error
    } catch let error as CutoverRecord.Unreadable {
      throw .halted("\(error)")
    } catch {
      throw .unavailable("\(error)")
    }
  }
}
