import JSON
import JetStream
import Logging
import NATS
import NIOCore
import Synchronization

/// One instance of a bridge at a time: the running one renews a key in KV, and one that starts looks
/// whether somebody does.
///
/// This keeps two of them from displacing each other for ever; it is no fence. That is what the
/// checkpoint's compare-and-set and the streams' sequences are. Judged by the observer's own clock:
/// what counts is that the key changes, not when it says it was written.
struct InstanceClaim: Sendable {
  let bucket: KeyValueBucket
  let key: String
  let instance: String

  static let renewal = Duration.milliseconds(500)
  /// Unchanged for so long, the key is nobody's.
  static let silence = Duration.milliseconds(1700)
  private static let step = Duration.milliseconds(50)

  private var eventLoop: any EventLoop { bucket.jetStream.connection.eventLoop }

  init(_ bucket: KeyValueBucket, bridge: String, instance: String) {
    self.bucket = bucket
    self.key = "\(bridge).instance"
    self.instance = instance
  }

  private struct Holder {
    var instance: String
    var isStopped: Bool
    var revision: UInt64
    var at: String
  }

  /// The key is ours.
  struct Taken {
    var revision: UInt64
    /// When another instance last wrote it, by the servers' clock.
    var heardAt: ServerTime?
    /// Nobody has written it since the vacancy was seen.
    var isAsSeen = false
  }

  /// What the key holds while no instance renews it.
  struct Vacancy {
    var revision: UInt64
    var heardAt: ServerTime?
  }

  /// Looks whether another instance is running; waits where one that was killed has left the key. Changes
  /// nothing.
  ///
  /// Throws `BridgeError.displaced` when another instance renews it.
  func vacancy(_ isStopping: @Sendable () -> Bool) async throws -> Vacancy {
    while true {
      let first = try await holder()
      guard let first, !first.isStopped, first.instance != instance else {
        let revision =
          if let first { first.revision } else { try await bucket.revision(key) }
        let other = first.flatMap { $0.instance != instance ? ServerTime($0.at) : nil }
        return Vacancy(revision: revision, heardAt: other)
      }
      let clock = ContinuousClock.now
      while ContinuousClock.now - clock < Self.silence {
        if isStopping() { throw CancellationError() }
        try? await eventLoop.sleep(for: Self.step)
        let now = try await holder()
        if now?.isStopped ?? true { break }
        guard now?.revision == first.revision else { throw running(now?.instance ?? "?") }
      }
      let last = try await holder()
      guard let last, !last.isStopped, last.revision == first.revision else { continue }
      return Vacancy(revision: last.revision, heardAt: ServerTime(last.at))
    }
  }

  /// Takes the key, which was found vacant, or is now.
  ///
  /// Throws `BridgeError.displaced` when another instance renews it.
  func take(_ seen: Vacancy?, _ isStopping: @Sendable () -> Bool) async throws -> Taken {
    if let seen, let taken = try await write(isStopped: false, expecting: seen.revision) {
      return Taken(revision: taken, heardAt: seen.heardAt, isAsSeen: true)
    }
    while true {
      let vacancy = try await vacancy(isStopping)
      if let taken = try await write(isStopped: false, expecting: vacancy.revision) {
        return Taken(revision: taken, heardAt: vacancy.heardAt)
      }
    }
  }

  private func running(_ other: String) -> BridgeError {
    .displaced(
      """
      instance \(other) of this bridge is running: it renews \(key) in KV bucket \(bucket.name). Two \
      instances of one bridge must not run together; stop that one first, or give this one another \
      bridge.name
      """)
  }

  private func holder() async throws -> Holder? {
    guard let entry = try await bucket.get(key) else { return nil }
    let value = try? JSONValue(parsing: entry.value)
    return Holder(
      instance: value?["instance"]?.stringValue ?? "?",
      isStopped: value?["stopped"]?.boolValue ?? false, revision: entry.revision,
      at: entry.time)
  }

  /// Nil: somebody else wrote first.
  private func write(isStopped: Bool, expecting revision: UInt64) async throws(JetStreamError)
    -> UInt64?
  {
    let value: JSONValue = ["instance": .string(instance), "stopped": .bool(isStopped)]
    do {
      return try await bucket.put(key, value.utf8, expecting: revision)
    } catch {
      if error.code == JetStreamCode.wrongLastSequence { return nil }
      throw error
    }
  }

  /// Keeps renewing until cancelled. Returns when another instance has taken the key: who.
  func renew(from revision: UInt64) async -> String? {
    var revision = revision
    while !Task.isCancelled {
      try? await eventLoop.sleep(for: Self.renewal)
      guard !Task.isCancelled else { return nil }
      do {
        if let written = try await write(isStopped: false, expecting: revision) {
          revision = written
          continue
        }
        // A write of ours whose answer was lost, a bucket made again, or somebody else.
        let found = try await holder()
        if let found, found.instance != instance { return found.instance }
        revision = if let found { found.revision } else { try await bucket.revision(key) }
      } catch {
        // NATS is away: the epoch notices by itself.
      }
    }
    return nil
  }

  /// So that the next one need not wait.
  func release() async {
    // A renewal may be on its way.
    for _ in 0..<3 {
      guard let found = try? await holder(), found.instance == instance else { return }
      if (try? await write(isStopped: true, expecting: found.revision)) ?? nil != nil { return }
    }
  }
}

/// Renews an instance's key beside an epoch. Thread-safe.
final class ClaimRenewal: Sendable {
  private final class Found: Sendable {
    let other = Mutex<String?>(nil)
  }

  private let task: Task<Void, Never>
  private let found: Found

  /// - Parameter onTaken: called when another instance has taken the key.
  init(_ claim: InstanceClaim, revision: UInt64, onTaken: @escaping @Sendable () async -> Void) {
    let found = Found()
    self.found = found
    task = Task {
      guard let other = await claim.renew(from: revision) else { return }
      found.other.withLock { $0 = other }
      await onTaken()
    }
  }

  func stop() { task.cancel() }

  /// Throws if another instance has taken over.
  func check(_ bridge: String) throws {
    guard let other = found.other.withLock({ $0 }) else { return }
    throw BridgeError.displaced("instance \(other) has taken over bridge \(bridge)")
  }
}
