import Bridge
import BridgeConfiguration
import Foundation
public import JSON
import Mapping
public import Oplog
public import Parity

/// What a verification has found.
public struct VerifyReport: Sendable {
  public enum Verdict: String, Sendable {
    case pass = "PASS"
    case fail = "FAIL"
    case inconclusive = "INCONCLUSIVE"
  }

  struct Stream: Sendable {
    var name: String
    var expected: UInt64
    var observed: UInt64
    var foreign: UInt64
    var foreignMatched: UInt64
    var snapshot: UInt64
    var replayed: UInt64
    var firstSequence: UInt64
    var lastSequence: UInt64
    var floor: EventPosition?
    var mismatches = MismatchCounts()
  }

  struct Rule: Sendable {
    var name: String
    var group: String
    var stream: String
    var expected: UInt64 = 0
    var mismatches = MismatchCounts()
  }

  public let level: String
  public private(set) var verdict = Verdict.inconclusive
  /// Why it is INCONCLUSIVE.
  public internal(set) var reasons: [String] = []
  /// The range holds no events and no messages, which is the only reason.
  public internal(set) var foundNothing = false
  /// What else there is to know.
  public internal(set) var notes: [String] = []
  public internal(set) var counts = MismatchCounts()
  public internal(set) var expected: UInt64 = 0
  public internal(set) var observed: UInt64 = 0
  /// Expected and not there yet, beyond what the bridge has had acknowledged.
  public internal(set) var pending: UInt64 = 0
  /// The first hundred.
  public internal(set) var mismatches: [Mismatch] = []

  var from: EventPosition?
  var to: EventPosition?
  public internal(set) var settledTo: OplogPosition?
  var streams: [Stream] = []
  var rules: [Rule]
  var configurationHash = ""
  var events: UInt64 = 0
  var unmatched: UInt64 = 0
  var dropped: UInt64 = 0
  /// Removed by a stream's limits, and not judged.
  var notHeld: UInt64 = 0
  /// Pushed out by newer messages of their subjects.
  var superseded: UInt64 = 0
  /// Dead letters that were taken out of their stream.
  var resolvedDeadLetters: UInt64 = 0
  /// Events in the dead-letter stream because their ids were other events'.
  var idConflicts: UInt64 = 0
  /// Events in the dead-letter stream because the server did not take their messages.
  var refused: UInt64 = 0
  /// Messages that differ in nothing but documents read afterwards.
  var imagesNotCompared: UInt64 = 0
  var isOtherConfiguration = false
  var unproven: UnprovenRange?
  /// Differences that other rules may explain.
  var unprovenCount: UInt64 = 0
  let started = Date()
  private var finished = Date()

  static let mostMismatches = 100

  init(level: String, configuration: BridgeConfiguration) {
    self.level = level
    rules = configuration.rules.map { rule in
      Rule(
        name: rule.name, group: rule.group, stream: configuration.destination(of: rule))
    }
    configurationHash = configuration.hash
  }

  mutating func begin(_ plan: VerifyPlan) {
    from = plan.range.lowerBound
    to = plan.range.upperBound
    configurationHash = plan.configurationHash
    reasons += plan.reasons
    notes = plan.notes
    isOtherConfiguration = plan.isOtherConfiguration
    unproven = plan.unproven
  }

  /// How many messages of these rules were expected.
  public func expected(of names: Set<String>) -> UInt64 {
    rules.filter { names.contains($0.name) }.reduce(0) { $0 &+ $1.expected }
  }

  /// Whether there are differences that nothing but a fault explains.
  var hasFailed: Bool { counts.total > unprovenCount && !isOtherConfiguration }

  mutating func add(_ stream: VerifyStream, _ ledger: StreamLedger, _ shared: SharedIDs) {
    streams.append(
      Stream(
        name: stream.name, expected: ledger.expectedCount &+ shared.expectedCount,
        observed: ledger.observedCount &+ shared.observedCount,
        foreign: ledger.foreignCount &- shared.foreignMatchedEarly,
        foreignMatched: shared.foreignMatched, snapshot: ledger.snapshotCount,
        replayed: ledger.replayedCount, firstSequence: stream.first,
        lastSequence: ledger.lastSequence, floor: stream.floor))
    expected &+= ledger.expectedCount &+ shared.expectedCount
    observed &+= ledger.observedCount &+ shared.observedCount
    if shared.givenUp > 0 {
      addReason(
        "stream \(stream.name): more ids are shared with other producers than can be kept in memory (\(shared.givenUp) given up): compare smaller ranges"
      )
    }
  }

  mutating func add(
    rules expected: [UInt64], notHeld: UInt64, derived: (UInt64, UInt64, UInt64)
  ) {
    for index in rules.indices where index < expected.count {
      rules[index].expected = expected[index]
    }
    self.notHeld &+= notHeld
    (events, unmatched, dropped) = derived
  }

  mutating func addReason(_ reason: String) {
    if !reasons.contains(reason) { reasons.append(reason) }
  }

  mutating func addNote(_ note: String) {
    if !notes.contains(note) { notes.append(note) }
  }

  mutating func add(_ mismatch: Mismatch) {
    counts[mismatch.kind] &+= 1
    if unproven?.mayExplain(mismatch) ?? false { unprovenCount &+= 1 }
    if mismatches.count < Self.mostMismatches { mismatches.append(mismatch) }
    if let index = streams.firstIndex(where: { $0.name == mismatch.stream }) {
      streams[index].mismatches[mismatch.kind] &+= 1
    }
    if let index = rules.firstIndex(where: { $0.name == mismatch.rule }) {
      rules[index].mismatches[mismatch.kind] &+= 1
    }
  }

  /// Another range's findings on top of these.
  mutating func absorb(_ other: VerifyReport) {
    counts += other.counts
    mismatches = Array((mismatches + other.mismatches).prefix(Self.mostMismatches))
    expected &+= other.expected
    observed &+= other.observed
    events &+= other.events
    unmatched &+= other.unmatched
    dropped &+= other.dropped
    notHeld &+= other.notHeld
    superseded &+= other.superseded
    resolvedDeadLetters &+= other.resolvedDeadLetters
    idConflicts &+= other.idConflicts
    refused &+= other.refused
    imagesNotCompared &+= other.imagesNotCompared
    pending &+= other.pending
    unprovenCount &+= other.unprovenCount
    for reason in other.reasons { addReason(reason) }
    for note in other.notes { addNote(note) }
    settledTo = other.settledTo ?? settledTo
    if from == nil { from = other.from }
    for stream in other.streams {
      if let index = streams.firstIndex(where: { $0.name == stream.name }) {
        streams[index].absorb(stream)
      } else {
        streams.append(stream)
      }
    }
    for (index, rule) in other.rules.enumerated() where index < rules.count {
      rules[index].expected &+= rule.expected
      rules[index].mismatches += rule.mismatches
    }
  }

  /// Differences are a FAIL whatever could not be judged besides, unless the configuration is another
  /// one, which explains them.
  mutating func finish() {
    finished = Date()
    if pending > 0 {
      addReason(
        "\(pending) messages are not settled: the bridge has not acknowledged that far within the time"
      )
    }
    if expected == 0, observed == 0, reasons.isEmpty, counts.total == 0 {
      foundNothing = true
      addReason("nothing happened in the range: there was nothing to compare")
    }
    if unprovenCount > 0, let unproven {
      addReason(
        "the checkpoint was lost, and was found again at \(unproven.at): nothing says whether the bridge published with this configuration before. \(unprovenCount) of the differences may be of other rules; if the rules are the same since, they are faults"
      )
    }
    if hasFailed {
      verdict = .fail
    } else if !reasons.isEmpty {
      verdict = .inconclusive
    } else {
      verdict = .pass
    }
  }

  public var exitCode: Int32 {
    switch verdict {
    case .pass: 0
    case .fail: 1
    case .inconclusive: 2
    }
  }

  var seconds: Double { finished.timeIntervalSince(started) }
  var startedAt: String { Self.time(started) }
  var finishedAt: String { Self.time(finished) }

  private static func time(_ date: Date) -> String {
    date.formatted(
      .iso8601.year().month().day().time(includingFractionalSeconds: true).timeZone(
        separator: .omitted))
  }
}

extension VerifyReport.Stream {
  mutating func absorb(_ other: VerifyReport.Stream) {
    expected &+= other.expected
    observed &+= other.observed
    foreign &+= other.foreign
    foreignMatched &+= other.foreignMatched
    snapshot &+= other.snapshot
    replayed &+= other.replayed
    firstSequence = min(firstSequence, other.firstSequence)
    lastSequence = max(lastSequence, other.lastSequence)
    mismatches += other.mismatches
  }
}

extension Mismatch {
  /// As in reports and files of mismatches.
  public var json: JSONValue {
    [
      "class": .string(kind.rawValue), "msg_id": .string(id),
      "position": position.map { .string($0.description) } ?? .null, "rule": .string(rule),
      "subject": .string(subject), "stream": .string(stream),
      "stream_seq": sequence.map { .int($0) } ?? .null, "detail": .string(detail),
      "pointer": pointer.map { .string($0) } ?? .null,
    ]
  }
}

extension VerifyReport {
  public var json: JSONValue {
    [
      "verdict": .string(verdict.rawValue), "reasons": .array(reasons.map { .string($0) }),
      "notes": .array(notes.map { .string($0) }), "level": .string(level), "from": text(from),
      "to": text(to),
      "settled_to": settledTo.map { .string($0.description) } ?? .null, "counts": countsJSON,
      "events": .int(events), "unmatched": .int(unmatched), "dropped": .int(dropped),
      "not_held": .int(notHeld), "superseded": .int(superseded),
      "dead_letters_resolved": .int(resolvedDeadLetters),
      "id_conflicts": .int(idConflicts), "refused": .int(refused),
      "unproven": .int(unprovenCount),
      "images_not_compared": .int(imagesNotCompared), "streams": .array(streams.map(json)),
      "rules": .array(rules.map(json)), "config_hash": .string(configurationHash),
      "started_at": .string(startedAt), "finished_at": .string(finishedAt),
      "mismatches": .array(mismatches.map(\.json)),
    ]
  }

  private func text(_ position: EventPosition?) -> JSONValue {
    position.map { .string($0.entry.description) } ?? .null
  }

  private var countsJSON: JSONValue {
    var value: JSONValue = ["expected": .int(expected), "observed": .int(observed)]
    for kind in MismatchClass.allCases { value[kind.rawValue] = .int(counts[kind]) }
    value["pending"] = .int(pending)
    return value
  }

  private func json(_ counts: MismatchCounts) -> JSONValue {
    var value = JSONValue.object([])
    for kind in MismatchClass.allCases { value[kind.rawValue] = .int(counts[kind]) }
    return value
  }

  private func json(_ stream: Stream) -> JSONValue {
    var value: JSONValue = [
      "name": .string(stream.name), "expected": .int(stream.expected),
      "observed": .int(stream.observed), "other_producers": .int(stream.foreign),
      "shared_with_other_producers": .int(stream.foreignMatched),
      "snapshot": .int(stream.snapshot), "replayed": .int(stream.replayed),
      "first_seq": .int(stream.firstSequence), "last_seq": .int(stream.lastSequence),
    ]
    value["held_from"] = text(stream.floor)
    value["counts"] = json(stream.mismatches)
    return value
  }

  private func json(_ rule: Rule) -> JSONValue {
    [
      "name": .string(rule.name), "group": .string(rule.group), "stream": .string(rule.stream),
      "expected": .int(rule.expected), "counts": json(rule.mismatches),
    ]
  }

  /// For people.
  public var text: String {
    var lines: [String] = []
    if level == "state", let to {
      lines.append(
        "at \(to.entry): \(expected) documents, \(observed) of them told by \(events) messages, \(HealthReport.rounded(seconds)) s"
      )
    } else if let from, let to {
      lines.append(
        "\(from.entry) to \(to.entry): \(events) changes, \(expected) messages expected, \(observed) read back, \(HealthReport.rounded(seconds)) s"
      )
    }
    for stream in streams {
      var line = "stream \(stream.name): \(stream.expected) expected, \(stream.observed) found"
      if stream.foreign > 0 { line += ", \(stream.foreign) of others" }
      if stream.foreignMatched > 0 {
        line += ", \(stream.foreignMatched) by others under shared ids"
      }
      if stream.snapshot > 0 { line += ", \(stream.snapshot) of snapshots" }
      if stream.replayed > 0 { line += ", \(stream.replayed) replayed" }
      lines.append(line + Self.words(stream.mismatches))
    }
    for rule in rules where rule.mismatches.total > 0 {
      lines.append("rule \(rule.name): \(rule.expected) expected" + Self.words(rule.mismatches))
    }
    for (count, what) in [
      (superseded, "pushed out by newer messages of their subjects"),
      (resolvedDeadLetters, "dead letters were taken out of their stream"),
      (idConflicts, "events are dead letters because their streams had their ids for other events"),
      (refused, "events are dead letters because the server refused their messages"),
      (notHeld, "no longer held (limits of the stream, consumed), not judged"),
      (imagesNotCompared, "differ in documents only that were read afterwards, not judged"),
      (pending, "pending"),
    ] where count > 0 {
      lines.append("\(count) \(what)")
    }
    for mismatch in mismatches.prefix(20) {
      lines.append(
        "  \(mismatch.kind.rawValue)  \(mismatch.position.map { "\($0)" } ?? "-")  \(mismatch.id)  \(mismatch.subject)"
          + "\(mismatch.sequence.map { "  \(mismatch.stream) \($0)" } ?? "  \(mismatch.stream)"): \(mismatch.detail)"
      )
    }
    if counts.total > 20 { lines.append("  … \(counts.total - 20) more") }
    for note in notes { lines.append("note: \(note)") }
    for reason in reasons { lines.append("because: \(reason)") }
    lines.append(verdict.rawValue)
    return lines.joined(separator: "\n")
  }

  private static func words(_ counts: MismatchCounts) -> String {
    MismatchClass.allCases.filter { counts[$0] > 0 }
      .map { ", \(counts[$0]) \($0.rawValue)" }.joined()
  }
}
