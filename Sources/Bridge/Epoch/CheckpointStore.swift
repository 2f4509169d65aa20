import DeliberateErrors
import JSON
package import JetStream
import Oplog

/// The checkpoint's place in KV: one key, every write a compare-and-set.
package struct CheckpointStore: CheckpointServer {
  package let bucket: KeyValueBucket
  package let key: String
  /// Of the bucket, where it has to be made.
  package let replicas: Int

  package init(_ jetStream: JetStreamClient, bucket: String, bridge: String, replicas: Int = 1) {
    self.bucket = KeyValueBucket(jetStream, name: bucket)
    self.key = "\(bridge).checkpoint"
    self.replicas = replicas
  }

  /// Makes the bucket, if it is missing.
  package func ensure() async throws(JetStreamError) {
    do {
      try await bucket.ensure(replicas: replicas)
    } catch {
      throw await SubjectOverlap.naming(
        error, ["$KV.\(bucket.name).>"], of: "KV_\(bucket.name)", bucket.jetStream)
    }
  }

  /// The stored checkpoint and the revision to assert when replacing it.
  package func load() async throws -> (checkpoint: Checkpoint?, revision: UInt64) {
    let (entry, revision) = try await bucket.read(key)
    return (try entry.map { try Checkpoint(parsing: $0.value) }, revision)
  }

  /// Replaces it; code 10071 when somebody else did first.
  package func save(_ checkpoint: Checkpoint, expecting revision: UInt64)
    async throws(JetStreamError)
    -> UInt64
  {
    let revision =
      DeliberateError.isOn(.checkpointNotFenced) ? try await bucket.revision(key) : revision
    return try await bucket.put(key, checkpoint.json.utf8, expecting: revision)
  }

  package var name: String { "KV bucket \(bucket.name)" }

  package func revision() async throws(JetStreamError) -> UInt64 {
    try await bucket.revision(key)
  }

  package func exists() async throws(JetStreamError) -> Bool { try await bucket.exists }

  package func stream(_ name: String) async throws(JetStreamError) -> StreamInfo? {
    try await bucket.jetStream.stream(name)
  }

  package func message(in stream: String, at sequence: UInt64) async throws(JetStreamError)
    -> StoredMessage?
  {
    try await bucket.jetStream.message(in: stream, at: sequence)
  }
}
