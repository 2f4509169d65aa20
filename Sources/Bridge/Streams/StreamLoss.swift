import BridgeConfiguration
package import JSON
import JetStream

/// What a change of an existing stream or consumer takes away for good. Pure.
///
/// A start leaves out every change that loses something stored; `streams apply --allow-destructive` makes it.
package struct StreamLoss: Sendable, Equatable {
  package enum Cause: Sendable, Equatable {
    /// A lower limit of the stream, by its field: messages beyond it are deleted at once.
    case limit(String)
    /// The stream deletes what no consumer awaits.
    case retention
    /// The stream takes this subject no longer.
    case subject(String)
    /// A consumer is deleted, or made again, and loses its place in the stream.
    case consumer(String)

    /// The field of the configuration; nil for consumers.
    package var field: String? {
      switch self {
      case .limit(let field): field
      case .retention: "retention"
      case .subject: "subjects"
      case .consumer: nil
      }
    }

    package var word: String {
      switch self {
      case .limit: "limit"
      case .retention: "retention"
      case .subject: "subject"
      case .consumer: "consumer"
      }
    }
  }

  package var cause: Cause
  /// How many stored messages are concerned, at most; nil: that can't be told.
  package var messages: UInt64?
  /// For people: what is lost.
  package var detail: String
  /// False: nothing stored is concerned, only what would be published later.
  package var losesStored: Bool

  package init(_ cause: Cause, messages: UInt64?, losesStored: Bool = true, _ detail: String) {
    self.cause = cause
    self.messages = messages
    self.losesStored = losesStored
    self.detail = detail
  }

  // MARK: What a change may lose

  /// Limits that delete stored messages, whatever `discard` says.
  private static let strictLimits = ["max_age", "max_msgs_per_subject"]
  /// Limits that delete the oldest messages with `discard: old` alone.
  private static let roomLimits = ["max_msgs", "max_bytes"]

  /// By the two configurations alone: whether anything is lost depends on what the stream holds.
  package static func possible(from present: JSONValue, to wanted: JSONValue) -> [Cause] {
    var causes: [Cause] = []
    let discardsOld = wanted["discard"]?.stringValue != "new"
    for field in strictLimits + (discardsOld ? roomLimits : [])
    where isLower(field, present, wanted) {
      causes.append(.limit(field))
    }
    let retentions = [present, wanted].map { $0["retention"]?.stringValue ?? "limits" }
    if retentions[0] == "limits", retentions[1] != "limits" { causes.append(.retention) }
    let kept = subjects(wanted)
    for subject in subjects(present)
    where !kept.contains(where: { subjectIsCovered(subject, by: $0) }) {
      causes.append(.subject(subject))
    }
    return causes
  }

  private static func isLower(_ field: String, _ present: JSONValue, _ wanted: JSONValue) -> Bool {
    guard let limit = wanted.streamLimit(field) else { return false }
    return present.streamLimit(field).map { limit < $0 } ?? true
  }

  static func subjects(_ config: JSONValue) -> [String] {
    config["subjects"]?.arrayValue?.compactMap(\.stringValue) ?? []
  }

  // MARK: Without losing anything

  /// The wanted configuration with the present values of everything that would lose something stored.
  package static func withholding(
    _ losses: [StreamLoss], from present: JSONValue, to wanted: JSONValue
  ) -> JSONValue {
    var config = wanted
    for loss in losses where loss.losesStored {
      switch loss.cause {
      case .limit(let field): config[field] = present[field]
      case .retention: config["retention"] = present["retention"]
      case .subject(let subject):
        let all = SharedSubjects.union(subjects(config), [subject])
        config["subjects"] = .array(all.map { .string($0) })
      case .consumer: break
      }
    }
    return config
  }
}

extension StreamLoss {
  /// For a start, which leaves it.
  var warning: String {
    """
    the stream keeps its \(cause.field ?? "consumer"), because another would lose something: \(detail); \
    tailrace streams apply --allow-destructive makes it as configured
    """
  }

  package var json: JSONValue {
    [
      "cause": .string(cause.word), "setting": cause.field.map { .string($0) } ?? .null,
      "messages": messages.map { .int($0) } ?? .null, "stored": .bool(losesStored),
      "detail": .string(detail),
    ]
  }
}

extension JSONValue {
  private static let limits = [
    "max_msgs", "max_bytes", "max_msgs_per_subject", "max_msg_size", "max_consumers",
  ]

  /// Stream settings with no limit as servers write it: -1 in place of 0.
  var withUnlimited: JSONValue {
    var settings = self
    for key in Self.limits where settings[key] == .number("0") { settings[key] = -1 }
    return settings
  }
}
