import JSON
import JetStream
import NATS

/// The lease's key in the state bucket: read from the bucket's leader, and written by compare-and-set.
struct LeaseStore: Sendable {
  let bridge: String
  let bucket: String
  let period: Duration

  var key: String { "\(bridge).lease" }

  private func bucket(_ connection: NATSConnection) -> KeyValueBucket {
    var jetStream = JetStreamClient(connection)
    jetStream.attempts = 1
    return KeyValueBucket(jetStream, name: bucket)
  }

  /// The lease, and when it was written by the server's clock.
  func read(
    _ connection: NATSConnection
  ) async throws -> (StandbyMachine.Reading, ServerTime?) {
    let (entry, revision) = try await bucket(connection).read(key)
    return (
      StandbyMachine.Reading(
        revision: revision, record: entry.flatMap { LeaseRecord(parsing: $0.value) }),
      entry.flatMap { ServerTime($0.time) }
    )
  }

  /// - Returns: the new revision; nil: somebody else wrote first.
  func write(
    _ record: LeaseRecord, expecting revision: UInt64, _ connection: NATSConnection
  ) async throws -> UInt64? {
    do {
      return try await bucket(connection).put(
        key, record.json.utf8, expecting: revision, timeout: max(period / 4, .seconds(1)))
    } catch {
      if error.code == JetStreamCode.wrongLastSequence { return nil }
      throw error
    }
  }

  /// A bucket that was deleted under a running bridge is made again; the checkpoint is written again by its keeper.
  ///
  /// - Returns: whether it was.
  func makeBucketAgain(replicas: Int, _ connection: NATSConnection) async -> Bool {
    let bucket = bucket(connection)
    do {
      guard try await !bucket.exists else { return false }
      try await bucket.ensure(replicas: replicas)
      return true
    } catch {
      return false
    }
  }
}
