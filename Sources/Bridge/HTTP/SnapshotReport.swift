public import JSON
import MongoSource

/// A snapshot's course, for /status and for `tailrace snapshot --json`.
public struct SnapshotReport: Sendable {
  let status: SnapshotStatus

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
    return value
  }

  /// One line for people: how far, how fast, how long still.
  public var line: String {
    let progress = status.progress
    let now = ContinuousClock.now
    var text = progress.fraction.map { "\(Int($0 * 100)) %, " } ?? ""
    text += "\(progress.documents) of about \(progress.estimatedDocuments) documents"
    if let rate = progress.rate(at: now) { text += ", \(Int(rate.documents))/s" }
    if let left = progress.remaining(at: now) { text += ", about \(Int(left.seconds)) s left" }
    if let namespace = progress.namespace { text += ", reading \(namespace)" }
    return text
  }
}
