import Foundation
import JSON
package import JetStream
import NATS
import Oplog

/// Where the cut-over's state is kept: two keys a group in the state bucket, and the audit stream.
package struct CutoverStore: Sendable {
  package let bucket: KeyValueBucket
  package let bridge: String
  private let replicas: Int

  /// The stream that gets an event for every change of phase.
  package static let auditStream = "TAILRACE_AUDIT"
  private static let auditSubjects = "tailrace.audit.>"

  /// - Parameter replicas: of the audit stream, where it has to be made.
  package init(_ jetStream: JetStreamClient, bucket: String, bridge: String, replicas: Int = 1) {
    self.bucket = KeyValueBucket(jetStream, name: bucket)
    self.bridge = bridge
    self.replicas = replicas
  }

  private func recordKey(_ group: String) -> String { "\(bridge).cutover.\(group)" }
  private func progressKey(_ group: String) -> String { "\(bridge).cutover-progress.\(group)" }

  // MARK: - Records

  /// A group's record, and the revision to assert when it is replaced.
  package struct Loaded: Sendable {
    package var record: CutoverRecord
    package var revision: UInt64
  }

  /// A group without a record is in phase `bridge`.
  package func load(_ group: String) async throws -> Loaded {
    let (entry, revision) = try await bucket.read(recordKey(group))
    guard let entry else { return Loaded(record: CutoverRecord(group: group), revision: revision) }
    return Loaded(record: try CutoverRecord(parsing: entry.value), revision: entry.revision)
  }

  package func revision(of group: String) async throws(JetStreamError) -> UInt64 {
    try await bucket.revision(recordKey(group))
  }

  /// Names of the groups that have a record.
  package func groups() async throws(JetStreamError) -> Set<String> {
    let prefix = "$KV.\(bucket.name).\(bridge).cutover."
    do {
      let answer = try await bucket.jetStream.request(
        "STREAM.INFO.KV_\(bucket.name)", ["subjects_filter": .string("\(prefix)>")])
      let subjects = answer["state"]?["subjects"]?.objectValue ?? []
      return Set(subjects.map { String($0.key.dropFirst(prefix.count)) })
    } catch {
      if error.code == JetStreamCode.streamNotFound { return [] }
      throw error
    }
  }

  /// Replaces a record. Nil: somebody else did first.
  ///
  /// A change of phase is in the audit stream before this returns, unless that fails; then the next one who reads the
  /// record makes up for it (`audit`).
  package func save(_ record: CutoverRecord, expecting revision: UInt64) async throws -> Loaded? {
    let next: UInt64
    do {
      next = try await bucket.put(
        recordKey(record.group), record.json.utf8, expecting: revision)
    } catch {
      if error.code == JetStreamCode.wrongLastSequence { return nil }
      throw error
    }
    try? await audit(record)
    return Loaded(record: record, revision: next)
  }

  // MARK: - Progress

  package func progress(_ group: String) async throws -> (CutoverProgress?, revision: UInt64) {
    let (entry, revision) = try await bucket.read(progressKey(group))
    guard let entry else { return (nil, revision) }
    return (try CutoverProgress(parsing: entry.value), revision)
  }

  /// Nil: somebody else wrote first.
  package func save(
    _ progress: CutoverProgress, of group: String, expecting revision: UInt64
  ) async throws(JetStreamError) -> UInt64? {
    do {
      return try await bucket.put(progressKey(group), progress.json.utf8, expecting: revision)
    } catch {
      if error.code == JetStreamCode.wrongLastSequence { return nil }
      throw error
    }
  }

  // MARK: - Audit

  private func auditSubject(_ group: String) -> String {
    "tailrace.audit.\(bridge).cutover.\(group)"
  }

  /// Brings the record's last change of phase into the audit stream, unless it is there. Makes the stream, if it is
  /// missing.
  package func audit(_ record: CutoverRecord) async throws {
    guard record.number > 0 else { return }
    let jetStream = bucket.jetStream
    if try await jetStream.stream(Self.auditStream) == nil {
      _ = try await jetStream.ensureStream(
        Self.auditStream,
        settings: [
          "subjects": [.string(Self.auditSubjects)], "storage": "file", "retention": "limits",
          "discard": "old", "num_replicas": .int(replicas),
          "duplicate_window": .int(120_000_000_000),
        ])
    }
    let subject = auditSubject(record.group)
    let last = try await jetStream.lastMessage(in: Self.auditStream, subject: subject)
    if let last, let known = try? JSONValue(parsing: last.payload),
      known["number"]?.integer(UInt64.self) ?? 0 >= record.number
    {
      return
    }
    let headers = NATSHeaders([
      "Nats-Msg-Id": "\(bridge).\(record.group).\(record.number).\(record.change.at)"
    ])
    _ = try await jetStream.publish(subject, headers: headers, payload: Self.event(record).utf8)
  }

  /// The phase that the group's last audited change led to; nil: none is known.
  package func auditedPhase(_ group: String) async -> CutoverPhase? { await audited(group)?.phase }

  /// The group's last audited change: the phase that it led to, and its number; nil: none is known.
  func audited(_ group: String) async -> (phase: CutoverPhase, number: UInt64)? {
    let last = try? await bucket.jetStream.lastMessage(
      in: Self.auditStream, subject: auditSubject(group))
    guard let last, let event = try? JSONValue(parsing: last.payload),
      let phase = event["to"]?.stringValue.flatMap({ CutoverPhase(rawValue: $0) })
    else { return nil }
    return (phase, event["number"]?.integer() ?? 0)
  }

  private static func event(_ record: CutoverRecord) -> JSONValue {
    let change = record.change
    let position = record.fence ?? record.begin
    return [
      "group": .string(record.group), "from": .string(change.from.rawValue),
      "to": .string(change.to.rawValue), "at": .string(CutoverTime.text(change.at)),
      "by": .string(change.by), "reason": .string(change.reason),
      "position": position.map { .string($0.description) } ?? .null,
      "number": .int(record.number),
    ]
  }
}

/// Times of the cut-over, which several machines read: wall-clock time.
package enum CutoverTime {
  /// Milliseconds since 1970.
  package static var now: Int64 { Int64((Date.now.timeIntervalSince1970 * 1000).rounded()) }

  /// RFC 3339 in UTC, with milliseconds.
  package static func text(_ milliseconds: Int64) -> String {
    // Half of one more: what is not exact in binary is cut off.
    Date(timeIntervalSince1970: (Double(milliseconds) + 0.5) / 1000)
      .formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
  }
}
