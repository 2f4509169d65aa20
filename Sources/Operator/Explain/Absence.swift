package import Bridge
import JSON
package import JetStream
package import Oplog

/// Why a stream has no message where the rules make one. A pure value: what was found out is given.
package struct Absence: Sendable, Equatable {
  package enum State: String, Sendable {
    /// Nothing is to be there.
    case notDue = "not_due"
    /// It is not there yet.
    case pending
    /// It was there, or may have been, and is gone as configured.
    case gone
    /// It can't be said whether it has to be there.
    case unknown
    /// It has to be there.
    case missing
  }
  package var state: State
  /// As in JSON.
  package var code: String
  package var reason: String

  package init(_ state: State, _ code: String, _ reason: String) {
    self.state = state
    self.code = code
    self.reason = reason
  }
}

/// What is known of the bridge and of the stream.
package struct AbsenceFacts: Sendable {
  package var bridge = ""
  /// Nil: there is none.
  package var checkpoint: Checkpoint?
  /// The hash of the rules that are asked about.
  package var configurationHash = ""
  /// Of the rule's group; nil: the bridge publishes it.
  package var cutover: CutoverRecord?
  /// Nil: there is no such stream.
  package var stream: StreamInfo?
  /// The first message of this bridge in it.
  package var firstOwn: EventPosition?
  /// A later message on the message's subject.
  package var laterOnSubject: UInt64?
  /// The stream has messages of later events: it is past this one, whatever the checkpoint says yet.
  package var isPassed = false
  /// An operator dropped the event's dead letter.
  package var isDroppedLetter = false
  /// Seconds since 1970.
  package var now = 0

  package init() {}
}

extension Absence {
  package static func judge(
    _ outcome: DerivedOutcome, at position: EventPosition, _ facts: AbsenceFacts
  ) -> Absence {
    if let absence = byRule(outcome) { return absence }
    guard let checkpoint = facts.checkpoint else {
      return Absence(
        .pending, "no_checkpoint",
        "bridge \(facts.bridge) has no checkpoint: it has not run yet, or its state was deleted")
    }
    let origin = checkpoint.origin
    if position.entry < origin.position || (position.entry == origin.position && !origin.inclusive)
    {
      return Absence(
        .notDue, "before_origin",
        "it happened before the bridge began: what comes \(origin.inclusive ? "from" : "behind") \(origin.position) on is published (a snapshot shows what was there)"
      )
    }
    if facts.isDroppedLetter {
      return Absence(.gone, "letter_dropped", "an operator dropped its dead letter")
    }
    if let absence = byGroup(outcome, position, checkpoint, facts) { return absence }
    if let absence = byProgress(outcome, position, checkpoint, facts) { return absence }
    guard let stream = facts.stream else {
      return Absence(.missing, "no_stream", "there is no stream \(outcome.stream ?? "")")
    }
    if let absence = byLimits(outcome, position, stream, facts) { return absence }
    if let absence = byConfiguration(position, checkpoint, facts) { return absence }
    if case .deadLetter = outcome.kind {
      return Absence(
        .missing, "missing",
        "its dead letter is not in the stream: it was replayed, deleted by hand, or is lost (tailrace verify says which)"
      )
    }
    return Absence(
      .missing, "missing",
      "it has to be there and is not: tailrace verify names all that are missing"
        + deletions(stream))
  }

  private static func byRule(_ outcome: DerivedOutcome) -> Absence? {
    switch outcome.kind {
    case .message, .deadLetter: nil
    case .signal:
      Absence(
        .notDue, "core",
        "the rule publishes signals (delivery: core) to whoever listens; no stream holds them")
    case .dropped(let code, let detail):
      Absence(
        .notDue, "dropped", "it is invalid, and the rule drops such events: \(code): \(detail)")
    case .filtered:
      Absence(
        .notDue, "filtered",
        "the update changes nothing that the rule's include and exclude leave (skip_empty_updates)")
    case .unmatched:
      Absence(.notDue, "unmatched", "no rule takes it, and the configuration ignores such events")
    case .halt(let why):
      Absence(.missing, "halt", "the bridge halts at it, with exit code 70: \(why)")
    }
  }

  private static func byGroup(
    _ outcome: DerivedOutcome, _ position: EventPosition, _ checkpoint: Checkpoint,
    _ facts: AbsenceFacts
  ) -> Absence? {
    guard let record = facts.cutover, record.isHandedOver(position) else { return nil }
    let group = "group \(record.group)"
    let isBehindFence = record.fence.map { position.entry > $0 } ?? false
    switch record.phase {
    case .finalized where isBehindFence:
      return Absence(
        .notDue, "finalized", "\(group) is finalized: its producers publish, the bridge does not")
    case .committed where isBehindFence:
      return Absence(
        .missing, "producers",
        "\(group) is committed: its producers have to publish it under the id \(outcome.id), and have not"
      )
    case .committing where isBehindFence:
      return Absence(.pending, "committing", "\(group) is being committed at this moment")
    case .dual, .committing:
      guard Int(position.entry.seconds) + 60 > facts.now || position.entry >= checkpoint.resume
      else { return nil }
      return Absence(
        .pending, "dual",
        "\(group) is in phase \(record.phase.rawValue): no producer has published it yet, and the bridge does after the grace"
      )
    case .bridge, .committed, .finalized: return nil
    }
  }

  private static func byProgress(
    _ outcome: DerivedOutcome, _ position: EventPosition, _ checkpoint: Checkpoint,
    _ facts: AbsenceFacts
  ) -> Absence? {
    if let name = outcome.stream, let state = checkpoint.states[name] {
      if let halted = state.halted, position.entry >= halted {
        return Absence(
          .missing, "stream_halted",
          "stream \(name) is halted since \(halted) (on_loss): see docs/runbooks.md, gap")
      }
      if let refill = state.refillTo, position <= refill {
        return Absence(.pending, "refilling", "stream \(name) is being refilled up to \(refill)")
      }
    }
    let isSettled = checkpoint.settled.map { position < $0 } ?? (position.entry < checkpoint.resume)
    guard !isSettled, !facts.isPassed else { return nil }
    return Absence(
      .pending, "not_published_yet",
      "the bridge has not come to it: it resumes at \(checkpoint.resume) (tailrace status says what holds it)"
    )
  }

  private static func byLimits(
    _ outcome: DerivedOutcome, _ position: EventPosition, _ stream: StreamInfo,
    _ facts: AbsenceFacts
  ) -> Absence? {
    let name = stream.config["name"]?.stringValue ?? ""
    if let age = stream.maxAgeSeconds, Int(position.entry.seconds) + Int(age) <= facts.now {
      return Absence(
        .gone, "expired",
        "stream \(name) keeps messages for \(HealthReport.duration(Double(age))) (max_age), and it is older"
      )
    }
    if let time = outcome.timeToLive, Int(position.entry.seconds) + time <= facts.now {
      return Absence(
        .gone, "expired",
        "the rule's entries live for \(HealthReport.duration(Double(time))) (kv.ttl), and it is older"
      )
    }
    if let retention = stream.config["retention"]?.stringValue, retention != "limits" {
      return Absence(
        .gone, "consumed",
        "stream \(name) has retention \(retention): consumers remove what they have dealt with")
    }
    if let limit = stream.config.streamLimit("max_msgs_per_subject"),
      let later = facts.laterOnSubject
    {
      return Absence(
        .gone, "replaced",
        "stream \(name) keeps \(limit) messages a subject, and sequence \(later) is a later one on this"
      )
    }
    let isCut = stream.firstSequence > stream.beginning
    if isCut, facts.firstOwn.map({ $0 > position }) ?? true {
      let first = facts.firstOwn.map { ", at \($0)" } ?? ""
      let limits = ["max_msgs", "max_bytes", "max_msgs_per_subject"].filter {
        stream.config.streamLimit($0) != nil
      }
      return Absence(
        .gone, "before_stream",
        "stream \(name) begins with sequence \(stream.firstSequence)\(first): what came before was removed by its limits (\(limits.isEmpty ? "none is set" : limits.joined(separator: ", "))), or purged"
      )
    }
    return nil
  }

  private static func byConfiguration(
    _ position: EventPosition, _ checkpoint: Checkpoint, _ facts: AbsenceFacts
  ) -> Absence? {
    if !facts.configurationHash.isEmpty, facts.configurationHash != checkpoint.configurationHash {
      return Absence(
        .unknown, "other_rules",
        "the bridge runs with other rules than this file's, by which the event may have had another outcome"
      )
    }
    if let since = checkpoint.configurationSince, position.entry < since {
      return Absence(
        .unknown, "earlier_rules",
        "these rules are in use since \(since): by earlier ones the event may have had another outcome"
      )
    }
    return nil
  }

  private static func deletions(_ stream: StreamInfo) -> String {
    guard let count = stream.raw["state"]?["num_deleted"]?.integer(UInt64.self), count > 0 else {
      return ""
    }
    return " (\(count) messages were deleted from within the stream; this may be one of them)"
  }
}
