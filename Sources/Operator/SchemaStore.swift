public import Bridge
public import BridgeConfiguration
import JSON
public import JSONSchema
import JetStream
public import Logging
import NATS
public import SchemaCatalog

/// Published schemas, in a KV bucket: `tailrace schema publish|list|show|pull`.
///
/// A version is a key that is written once, by a compare-and-set against its never having been written. Nothing
/// here changes or removes one. The highest number is kept beside them, so that it isn't given again even if somebody
/// else removes the key and all that is left of it.
public struct SchemaStore: Sendable {
  public static let bucket = PublishedContracts.bucket

  private let configuration: BridgeConfiguration
  private let logger: Logger

  public init(_ configuration: BridgeConfiguration, logger: Logger) {
    self.configuration = configuration
    self.logger = logger
  }

  /// A version as it is stored.
  public struct Version: Sendable {
    public var name: SchemaName
    public var version: Int
    public var bytes: [UInt8]
    /// When it was published, RFC 3339.
    public var time: String

    public var hash: String { PublishedSchema.hash(of: bytes) }
  }

  /// All versions of a name, and what they owe to each other.
  public struct History: Sendable {
    public var name: SchemaName
    /// Where it isn't understood, the one that counts without any; `policyFault` says so.
    public var policy: SchemaPolicy
    public var policyFault: String?
    public var versions: [Version]
    /// The highest number that was ever given.
    public var highest: Int
  }

  public enum Published: Sendable {
    case new(Version, PolicyChange?)
    case already(Version, PolicyChange?)
    case refused(PublishDecision)
  }

  /// What a name's policy was, and is.
  public struct PolicyChange: Sendable {
    /// Nil: it was not understood.
    public var before: SchemaPolicy?
    public var now: SchemaPolicy
  }

  /// Why a schema can't be published that is otherwise fine.
  public enum Failure: Error, Sendable {
    case bridge(BridgeError)
    case schema(SchemaError)
  }

  /// So often somebody else may publish under the same name at the same moment.
  private static let attempts = 5

  // MARK: Publishing

  /// - Parameter policy: to be the name's policy from now on; nil leaves it.
  public func publish(
    _ schema: PublishedSchema, as name: SchemaName, policy: SchemaPolicy?
  ) async throws(Failure) -> Published {
    // Before anything is asked or made.
    let compiled: CompiledSchema
    do throws(SchemaError) { compiled = try schema.compiled() } catch { throw .schema(error) }
    do throws(BridgeError) {
      return try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
        let size = schema.bytes.count
        if let reason = SchemaBucket.refusal(
          ofSize: size, maximum: jetStream.connection.info.maxPayload, "max_payload of the server")
        {
          throw .configuration(reason)
        }
        let bucket = try await self.bucket(jetStream, toWrite: size)
        try await ask { () throws(JetStreamError) in try await bucket.ensure(replicas: replicas) }
        return try await publish(schema, compiled, name, policy, bucket)
      }
    } catch {
      throw .bridge(error)
    }
  }

  private func publish(
    _ schema: PublishedSchema, _ compiled: CompiledSchema, _ name: SchemaName,
    _ policy: SchemaPolicy?, _ bucket: KeyValueBucket
  ) async throws(BridgeError) -> Published {
    for _ in 0..<Self.attempts {
      let history = try await self.history(name, bucket)
      if let fault = history.policyFault, policy == nil {
        throw .configuration("\(fault). Say what it is to be: --compatibility")
      }
      let highest = try await self.highest(name, atLeast: history.highest, bucket)
      guard highest < Self.mostVersions else {
        throw .configuration(
          "\(name) has a version \(highest) in the bucket \(Self.bucket), and the highest number is \(Self.mostVersions). "
            + "Remove that key, and \(name.highestKey), if nobody has published it; or publish under another name"
        )
      }
      let decision: PublishDecision
      do throws(StoredVersionError) {
        decision = try PublishDecision(
          schema, after: history.versions.map { ($0.version, $0.bytes) },
          next: highest + 1, policy ?? history.policy,
          compiled: compiled)
      } catch {
        throw .configuration(
          "\(name.key(version: error.version)) in the bucket \(Self.bucket) can't be compared with, it is no "
            + "schema: \(error.reason.message). Put back what was published, or publish once with "
            + "--compatibility none")
      }
      switch decision {
      case .refused: return .refused(decision)
      case .isPublished(let version):
        guard let present = history.versions.first(where: { $0.version == version }) else {
          continue
        }
        return .already(present, try await change(policy, of: history, bucket))
      case .mayPublish(let version):
        guard try await write(schema.bytes, name.key(version: version), 0, bucket) else {
          continue
        }
        _ = try await self.highest(name, atLeast: version, bucket)
        let change = try await change(policy, of: history, bucket)
        let entry = try await ask { () throws(JetStreamError) in
          try await bucket.get(name.key(version: version))
        }
        return .new(
          Version(name: name, version: version, bytes: schema.bytes, time: entry?.time ?? ""),
          change)
      }
    }
    throw .unavailable("others publish \(name) all the time")
  }

  /// The highest number that was given, which is remembered from now on.
  ///
  /// - Parameter least: the highest of those that there are.
  private func highest(
    _ name: SchemaName, atLeast least: Int, _ bucket: KeyValueBucket
  ) async throws(BridgeError) -> Int {
    for _ in 0..<Self.attempts {
      let found = try await ask { () throws(JetStreamError) in
        try await bucket.read(name.highestKey)
      }
      var known = 0
      if let entry = found.entry {
        guard let highest = HighestVersion(entry.value) else {
          throw .configuration(
            "\(name.highestKey) in the bucket \(Self.bucket) is not understood here: it should be the highest "
              + "number that was given to a version, such as {\"version\":3}")
        }
        known = highest.number
      }
      if known >= least { return known }
      let record = HighestVersion(least).bytes
      if try await write(record, name.highestKey, found.revision, bucket) { return least }
    }
    throw .unavailable("others publish \(name) all the time")
  }

  /// Makes a policy the name's, if it is another one.
  private func change(
    _ policy: SchemaPolicy?, of history: History, _ bucket: KeyValueBucket
  ) async throws(BridgeError) -> PolicyChange? {
    let before = history.policyFault == nil ? history.policy : nil
    guard let policy, policy != before else { return nil }
    try await save(policy, history.name, bucket)
    return PolicyChange(before: before, now: policy)
  }

  /// False if somebody else has written the key meanwhile.
  private func write(
    _ bytes: [UInt8], _ key: String, _ revision: UInt64, _ bucket: KeyValueBucket
  ) async throws(BridgeError) -> Bool {
    do {
      _ = try await bucket.put(key, bytes, expecting: revision)
      return true
    } catch {
      if error.code == Self.wrongRevision { return false }
      throw .unavailable("\(error)")
    }
  }

  private static let wrongRevision = 10071
  private static let mostVersions = 1_000_000_000

  private func save(
    _ policy: SchemaPolicy, _ name: SchemaName, _ bucket: KeyValueBucket
  ) async throws(BridgeError) {
    let revision = try await ask { () throws(JetStreamError) in
      try await bucket.revision(name.policyKey)
    }
    guard try await write(policy.bytes, name.policyKey, revision, bucket) else {
      throw .unavailable("somebody else has changed the policy of \(name) at the same moment")
    }
  }

  private var replicas: Int {
    configuration.streams.compactMap { $0.settings["num_replicas"]?.integer(Int.self) }.max() ?? 1
  }

  // MARK: The bucket

  /// - Parameter size: of a value that is to be written; nil: none is.
  /// - Throws: if a stream of that name can't hold the catalogue.
  private func bucket(
    _ jetStream: JetStreamClient, toWrite size: Int? = nil
  ) async throws(BridgeError) -> KeyValueBucket {
    let bucket = KeyValueBucket(jetStream, name: Self.bucket)
    let info = try await ask { () throws(JetStreamError) in
      try await jetStream.stream("KV_\(bucket.name)")
    }
    guard let info else { return bucket }
    let present = SchemaBucket(name: bucket.name, config: info.config)
    if let reason = present.refusal(toWrite: size) { throw .configuration(reason) }
    if let warning = present.warning { logger.warning("\(warning)") }
    return bucket
  }

  // MARK: Reading

  /// All names; empty where nothing was published.
  public func list() async throws(BridgeError) -> [History] {
    try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
      let bucket = try await bucket(jetStream)
      var found: [History] = []
      let names = Set(try await keys(bucket, "").compactMap { SchemaName.version(ofKey: $0)?.name })
      for name in names.sorted(by: { $0.description < $1.description }) {
        found.append(try await history(name, bucket))
      }
      return found
    }
  }

  /// One name; without versions where nothing was published under it.
  public func history(_ name: SchemaName) async throws(BridgeError) -> History {
    try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
      try await history(name, bucket(jetStream))
    }
  }

  private func history(
    _ name: SchemaName, _ bucket: KeyValueBucket
  ) async throws(BridgeError) -> History {
    var history = History(name: name, policy: SchemaPolicy(), versions: [], highest: 0)
    var numbers: [Int] = []
    for key in try await keys(bucket, "\(name).") {
      guard let found = SchemaName.version(ofKey: key), found.name == name else { continue }
      numbers.append(found.version)
    }
    history.highest = numbers.max() ?? 0
    for number in numbers.sorted() {
      let key = name.key(version: number)
      let entry = try await ask { () throws(JetStreamError) in try await bucket.get(key) }
      guard let entry else { continue }
      history.versions.append(
        Version(name: name, version: number, bytes: entry.value, time: entry.time))
    }
    let policy = try await ask { () throws(JetStreamError) in
      try await bucket.get(name.policyKey)
    }
    if let policy {
      if let known = SchemaPolicy(policy.value) {
        history.policy = known
      } else {
        history.policyFault =
          "\(name.policyKey) in the bucket \(Self.bucket) is no policy that is understood here, such as "
          + String(decoding: SchemaPolicy().bytes, as: UTF8.self)
      }
    }
    return history
  }

  /// Keys that begin with a text, deleted ones too.
  private func keys(
    _ bucket: KeyValueBucket, _ start: String
  ) async throws(BridgeError) -> [String] {
    let subjects = "$KV.\(bucket.name)."
    do {
      let info = try await bucket.jetStream.request(
        "STREAM.INFO.KV_\(bucket.name)", ["subjects_filter": .string("\(subjects)\(start)>")])
      let found = info["state"]?["subjects"]?.objectValue ?? []
      return found.map { String($0.key.dropFirst(subjects.count)) }
    } catch {
      if error.code == JetStreamCode.streamNotFound { return [] }
      throw .unavailable("\(error)")
    }
  }

  private func ask<T>(
    _ question: () async throws(JetStreamError) -> T
  ) async throws(BridgeError) -> T {
    do {
      return try await question()
    } catch {
      throw .unavailable("\(error)")
    }
  }
}
