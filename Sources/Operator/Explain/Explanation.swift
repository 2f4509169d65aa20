package import Bridge
import BridgeConfiguration
import JSON
import JetStream
package import Oplog

/// The answer to "where is my event?", from the oplog, the streams, or both.
public struct Explanation: Sendable {
  /// One event, or a message whose event the oplog no longer holds.
  package struct Event: Sendable {
    package var position: EventPosition?
    /// Nil: neither the oplog nor a dead letter has it.
    package var derived: DerivedEvent?
    /// What it was derived from: `oplog` or `dead_letter`.
    package var source = "oplog"
    package var outcomes: [Outcome] = []
    /// Messages of it in the streams that no outcome explains.
    package var others: [Stored] = []
    /// A stream has messages of it, and the oplog has entries before and behind it, but none there: it was rolled
    /// back, or the messages are of another history.
    package var isOrphan = false
  }

  /// What a rule makes of an event, and where that is.
  package struct Outcome: Sendable {
    package var derived: DerivedOutcome
    package var stored: [Stored] = []
    /// Where nothing is stored: why; nil: NATS could not be asked.
    package var absence: Absence?
    /// How what is stored differs from what the rules make.
    package var differences: [String] = []
    /// They differ, and must not.
    package var isWrong = false
  }

  /// A message that a stream holds.
  package struct Stored: Sendable {
    package var stream: String
    package var sequence: UInt64
    package var subject: String
    package var time: String
    package var own: OwnMessage
    package var isOurs: Bool
    package var headers: [(name: String, value: String)]
    package var body: [UInt8]
  }

  package var question: String
  package var events: [Event] = []
  /// What else is to be said, such as what could not be asked.
  package var notes: [String] = []
  /// The oplog has an entry there, or may; it is no position of one else.
  package var isNothingDue = false
  /// A server that could not be asked, and without which there is no answer.
  package var isUnavailable = false

  package init(_ question: String) { self.question = question }

  /// 0: found, and as it should be; 1: something that has to be there is missing, or differs; 2: neither side says;
  /// 69: a server that would say is unavailable.
  public var exitCode: Int32 {
    let outcomes = events.flatMap(\.outcomes)
    if events.contains(where: \.isOrphan) { return 1 }
    if outcomes.contains(where: { $0.isWrong || $0.absence?.state == .missing }) { return 1 }
    if isUnavailable { return 69 }
    if outcomes.contains(where: { $0.absence?.state == .unknown }) { return 2 }
    return events.isEmpty && !isNothingDue ? 2 : 0
  }
}

extension DerivedOutcome {
  package var kindName: String {
    switch kind {
    case .message: "message"
    case .signal: "signal"
    case .deadLetter: "dead_letter"
    case .dropped: "dropped"
    case .filtered: "filtered"
    case .unmatched: "unmatched"
    case .halt: "halt"
    }
  }

  package var error: (code: String, detail: String)? {
    switch kind {
    case .deadLetter(let code, let detail), .dropped(let code, let detail): (code, detail)
    case .halt(let why): ("halt", why)
    case .message, .signal, .filtered, .unmatched: nil
    }
  }
}

// MARK: - Text

extension Explanation {
  /// For people; each line fit for a terminal.
  public var lines: [String] {
    var lines: [String] = []
    for event in events {
      if !lines.isEmpty { lines.append("") }
      lines += event.lines
    }
    if !events.isEmpty, !notes.isEmpty { lines.append("") }
    lines += notes
    return lines.map { TerminalText.printable($0) }
  }
}

extension Explanation.Event {
  fileprivate var lines: [String] {
    var lines: [String] = []
    if let derived {
      lines.append(
        "\(derived.position)  \(derived.operation)  \(derived.namespace)  \(derived.documentKey ?? "")"
      )
      let when = derived.wallTime.map { "written \(CutoverTime.text($0)), " } ?? ""
      lines.append(
        "  \(when)read from \(source == "oplog" ? "the oplog" : "its dead letter")")
      lines.append("  event     \(derived.text)")
      lines.append("  rules")
      let width = derived.rules.map(\.name.count).max() ?? 0
      for (number, rule) in derived.rules.enumerated() {
        let gap = String(repeating: " ", count: width - rule.name.count)
        lines.append(
          "    \(number + 1) \(rule.name)\(gap)  \(rule.takes ? "" : "no: ")\(rule.reason)")
      }
    } else {
      lines.append("\(position?.description ?? "no position")  the oplog does not show its event")
    }
    if isOrphan {
      lines.append(
        "  WRONG  the oplog has no entry there, only before and behind it: rolled back, or of another history"
      )
    }
    for outcome in outcomes { lines += outcome.lines }
    for message in others {
      lines.append("  \(message.summary)")
      lines += message.details
    }
    return lines
  }
}

extension Explanation.Outcome {
  fileprivate var lines: [String] {
    var lines: [String] = []
    let by = derived.rule.map { " by rule \($0)" } ?? ""
    switch derived.kind {
    case .message: lines.append("  message\(by)")
    case .signal: lines.append("  signal\(by)")
    case .deadLetter(let code, let detail): lines.append("  dead letter\(by): \(code): \(detail)")
    case .dropped, .filtered, .unmatched, .halt: lines.append("  no message\(by)")
    }
    if !derived.subject.isEmpty {
      lines.append("    subject  \(derived.subject)")
      for header in derived.headers { lines.append("    header   \(header.name): \(header.value)") }
    }
    switch derived.schema {
    case nil: break
    case .valid(let path): lines.append("    schema   valid by \(path)")
    case .invalid(let path, let detail): lines.append("    schema   invalid by \(path): \(detail)")
    }
    if derived.kind == .message || derived.kind == .signal {
      let body = String(decoding: derived.body, as: UTF8.self)
      lines.append("    body     \(body.isEmpty ? "none" : body)")
    }
    for message in stored { lines.append("    stored   \(message.summary)") }
    for difference in differences {
      lines.append("    \(isWrong ? "WRONG   " : "differs ") \(difference)")
    }
    if let absence {
      let word =
        switch absence.state {
        case .notDue: "not due  "
        case .pending: "pending  "
        case .gone: "gone     "
        case .unknown: "unknown  "
        case .missing: "MISSING  "
        }
      lines.append("    \(word)\(absence.reason)")
    } else if stored.isEmpty, derived.isStored {
      lines.append("    unknown  NATS can't be asked for it")
    }
    return lines
  }
}

extension Explanation.Stored {
  fileprivate var summary: String {
    var text = "stream \(stream), sequence \(sequence), at \(time)"
    if let error = own.error { text += ", as a dead letter: \(error): \(own.errorDetail ?? "")" }
    if !isOurs { text += own.bridge.map { ", by bridge \($0)" } ?? ", by another producer" }
    return text
  }

  fileprivate var details: [String] {
    var lines = ["    subject  \(subject)"]
    for header in headers { lines.append("    header   \(header.name): \(header.value)") }
    let text = String(decoding: body, as: UTF8.self)
    lines.append("    body     \(text.isEmpty ? "none" : text)")
    return lines
  }
}

extension Explanation.Stored {
  init(_ found: StoredSearch.Found) {
    stream = found.stream
    sequence = found.message.sequence
    subject = found.message.subject
    time = found.message.time
    own = found.own
    isOurs = found.owner == .thisBridge
    headers = found.message.headers
    body = found.message.payload
  }
}

extension Explanation.Outcome {
  /// How the stored message differs from the derived one.
  static func differences(_ derived: DerivedOutcome, _ stored: Explanation.Stored) -> [String] {
    if stored.own.error != nil {
      if case .deadLetter = derived.kind { return [] }
      return ["these rules make a message of it, and a dead letter is stored"]
    }
    guard case .message = derived.kind else {
      return ["these rules make a dead letter of it, and a message is stored"]
    }
    var found: [String] = []
    if stored.subject != derived.subject {
      found.append("the stored subject is \(stored.subject)")
    }
    if stored.own.storedID != derived.id { found.append("the stored id is \(stored.own.storedID)") }
    if !derived.isUncertain, let text = difference(derived.body, stored.body) { found.append(text) }
    return found
  }

  /// Of bodies that are JSON, as values: producers write them in a form of their own.
  private static func difference(_ derived: [UInt8], _ stored: [UInt8]) -> String? {
    if derived == stored { return nil }
    guard let wanted = try? JSONValue(parsing: derived), let found = try? JSONValue(parsing: stored)
    else { return "the stored body is \(String(decoding: stored.prefix(500), as: UTF8.self))" }
    return BodyDifference(expected: wanted, found: found).map { difference in
      "the stored body has \(difference.found ?? "nothing") at '\(difference.pointer)', not \(difference.expected ?? "nothing")"
    }
  }
}
