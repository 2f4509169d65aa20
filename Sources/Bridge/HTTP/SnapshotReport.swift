public import JSON
import MongoSource

/// A snapshot's progress, for /status and for `tailrace snapshot --json`.
public struct SnapshotReport: Sendable {
  let status: SnapshotStatus
  /// The outcomes of its documents in this process.
  var outcomes: Outcomes?
  var selection = SnapshotSelection()
  /// Requested namespaces without a collection.
  public var unmatched: [String] = []

  public var json: JSONValue {
    let progress = status.progress
    let now = ContinuousClock.now
    var value: JSONValue = [
      "phase": .string(status.summary), "documents": .int(progress.documents),
      "bytes": .int(progress.bytes), "estimated_documents": .int(progress.estimatedDocuments),
      "estimated_bytes": .int(progress.estimatedBytes), "collections": .int(progress.collections),
      "collections_done": .int(progress.collectionsDone), "exact": .bool(status.isExact),
    ]
    value["position"] = status.position.map { .string("\($0.position)") } ?? .null
    value["namespace"] = progress.namespace.map { .string($0) } ?? .null
    value["documents_per_second"] =
      progress.rate(at: now).map { .number(HealthReport.rounded($0.documents)) } ?? .null
    value["remaining_seconds"] =
      progress.remaining(at: now).map { .number(HealthReport.rounded($0.seconds)) } ?? .null
    value["dropped"] = .array(status.dropped.map { .string($0) })
    if let outcomes {
      value["outcomes"] = .object(
        outcomes.named.filter { $0.name != "dry_run" }.map { .init($0.name, .int($0.count)) })
      value["dead_letters"] = .int(outcomes.deadLettered)
    }
    if !selection.isWhole { value["selection"] = selection.json }
    if !unmatched.isEmpty {
      value["unmatched_namespaces"] = .array(unmatched.map { .string($0) })
    }
    return value
  }

  /// The number of its collections.
  public var collections: Int { Int(status.progress.collections) }

  /// One line for people: progress, rate, remaining time.
  public var line: String {
    let progress = status.progress
    let now = ContinuousClock.now
    var text = progress.fraction.map { "\(Int($0 * 100)) %, " } ?? ""
    text += "\(progress.documents) of about \(progress.estimatedDocuments) documents"
    if let rate = progress.rate(at: now) { text += ", \(Int(rate.documents))/s" }
    if let left = progress.remaining(at: now) { text += ", about \(Int(left.seconds)) s left" }
    if let namespace = progress.namespace { text += ", reading \(namespace)" }
    if let outcomes, outcomes.deadLettered > 0 { text += ", \(outcomes.deadLettered) dead letters" }
    if !selection.isWhole { text += ", of \(selection.line)" }
    return text
  }
}
