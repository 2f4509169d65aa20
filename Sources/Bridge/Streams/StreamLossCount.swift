import BridgeConfiguration
import Foundation
package import JSON
package import JetStream

/// Counts what a change of a stream would lose, by questions to its leader. Changes nothing.
package struct StreamLossCount: Sendable {
  private let jetStream: JetStreamClient
  private let info: StreamInfo
  private let wanted: JSONValue

  /// - Parameter wanted: the stream's complete configuration after the change.
  package init(_ jetStream: JetStreamClient, _ info: StreamInfo, wanted: JSONValue) {
    self.jetStream = jetStream
    self.info = info
    self.wanted = wanted
  }

  /// What is lost; empty if nothing is.
  package func losses() async throws(JetStreamError) -> [StreamLoss] {
    var losses: [StreamLoss] = []
    for cause in StreamLoss.possible(from: info.config, to: wanted) {
      if let loss = try await loss(cause) { losses.append(loss) }
    }
    return losses
  }

  private func loss(_ cause: StreamLoss.Cause) async throws(JetStreamError) -> StreamLoss? {
    switch cause {
    case .limit("max_age"): return try await older(cause)
    case .limit("max_msgs"):
      let most = UInt64(wanted.streamLimit("max_msgs") ?? 0)
      guard info.messages > most else { return nil }
      return StreamLoss(
        cause, messages: info.messages - most, "the oldest \(info.messages - most) messages")
    case .limit("max_bytes"):
      let most = UInt64(wanted.streamLimit("max_bytes") ?? 0)
      let bytes = info.raw["state"]?["bytes"]?.integer(UInt64.self) ?? 0
      guard bytes > most else { return nil }
      let share = Double(bytes - most) / Double(bytes)
      let count = min(info.messages, UInt64(share * Double(info.messages)) + 1)
      return StreamLoss(
        cause, messages: count,
        "the oldest \(bytes - most) of \(bytes) bytes, about \(count) messages")
    case .limit(let field): return try await bySubject(cause, field)
    case .retention:
      guard info.messages > 0 else { return nil }
      let consumers = info.raw["state"]?["consumer_count"]?.integer(Int.self) ?? 0
      return StreamLoss(
        cause, messages: consumers == 0 ? info.messages : nil,
        consumers == 0
          ? "all \(info.messages) messages: the stream has no consumer"
          : "every message that no consumer awaits any more")
    case .subject(let subject):
      let kept = StreamLoss.subjects(wanted)
      let count = try await counts(subject).reduce(0) { sum, one in
        kept.contains { subjectIsCovered(one.subject, by: $0) } ? sum : sum + one.messages
      }
      return StreamLoss(
        cause, messages: count, losesStored: count > 0,
        "\(subject) is taken no longer"
          + (count > 0
            ? ": \(count) messages are stored under it, and later ones would not be"
            : "; no message is stored under it"))
    case .consumer: return nil
    }
  }

  /// Messages beyond the limit of their subjects.
  private func bySubject(
    _ cause: StreamLoss.Cause, _ field: String
  ) async throws(JetStreamError) -> StreamLoss? {
    let most = UInt64(wanted.streamLimit(field) ?? 0)
    guard info.messages > most else { return nil }
    var messages: UInt64 = 0
    var subjects = 0
    for one in try await counts(">") where one.messages > most {
      messages += one.messages - most
      subjects += 1
    }
    guard messages > 0 else { return nil }
    return StreamLoss(
      cause, messages: messages, "the oldest \(messages) messages of \(subjects) subjects")
  }

  /// Messages by subject, page by page.
  private func counts(
    _ filter: String
  ) async throws(JetStreamError) -> [(subject: String, messages: UInt64)] {
    var found: [(subject: String, messages: UInt64)] = []
    while true {
      let answer = try await jetStream.request(
        "STREAM.INFO.\(info.name)",
        ["subjects_filter": .string(filter), "offset": .int(found.count)])
      let page = answer["state"]?["subjects"]?.objectValue ?? []
      found += page.map { ($0.key, $0.value.integer(UInt64.self) ?? 0) }
      let total = answer["total"]?.integer(Int.self) ?? found.count
      if page.isEmpty || found.count >= total { return found }
    }
  }

  /// Messages that are older than the wanted limit, found by bisection.
  private func older(_ cause: StreamLoss.Cause) async throws(JetStreamError) -> StreamLoss? {
    guard let age = wanted.streamLimit("max_age"), info.messages > 0 else { return nil }
    let now =
      info.answeredAt.flatMap { ServerTime($0) }?.seconds ?? Int(Date.now.timeIntervalSince1970)
    let limit = now - age / 1_000_000_000
    func isOld(_ text: String) -> Bool { ServerTime(text).map { $0.seconds < limit } ?? false }
    guard let first = info.raw["state"]?["first_ts"]?.stringValue, isOld(first) else { return nil }
    // Everything before `low` is old, nothing from `high` on.
    var low = info.firstSequence
    var high = info.lastSequence + 1
    while low < high {
      let middle = low + (high - low) / 2
      guard let message = try await jetStream.nextMessage(in: info.name, from: middle) else {
        high = middle
        continue
      }
      if isOld(message.time) { low = message.sequence + 1 } else { high = middle }
    }
    let count = min(info.messages, low - info.firstSequence)
    guard count > 0 else { return nil }
    let isExact = (info.raw["state"]?["num_deleted"]?.integer(Int.self) ?? 0) == 0
    return StreamLoss(
      cause, messages: count,
      "\(isExact ? "" : "up to ")\(count) messages, the oldest of \(first)")
  }
}

extension StreamInfo {
  fileprivate var name: String { config["name"]?.stringValue ?? "" }
}
