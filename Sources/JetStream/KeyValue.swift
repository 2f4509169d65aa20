public import JSON
import NATS
import NIOCore

/// A KV bucket (ADR-8), raw: writes are publishes that assert the key's revision, and the real
/// error code of a lost compare-and-set is seen. Reads go to the leader.
public struct KeyValueBucket: Sendable {
  public let jetStream: JetStreamClient
  public let name: String

  public init(_ jetStream: JetStreamClient, name: String) {
    self.jetStream = jetStream
    self.name = name
  }

  public struct Entry: Sendable {
    public var value: [UInt8]
    public var revision: UInt64
    /// When the server stored it, RFC 3339.
    public var time: String
  }

  var stream: String { "KV_\(name)" }

  /// Whether the bucket has been created.
  public var exists: Bool {
    get async throws(JetStreamError) { try await jetStream.stream(stream) != nil }
  }

  /// Creates the bucket if it is missing; an existing one keeps its settings.
  public func ensure(replicas: Int, history: Int = 1, settings: JSONValue = .object([]))
    async throws(JetStreamError)
  {
    if try await jetStream.stream(stream) != nil { return }
    let (config, _) = configuration(replicas: replicas, history: history).merging(settings)
    _ = try await jetStream.ensureStream(stream, settings: config)
  }

  /// Its stream, where it has to be created.
  public func configuration(replicas: Int, history: Int = 1) -> JSONValue {
    [
      "subjects": [.string("$KV.\(name).>")],
      "max_msgs_per_subject": .int(history),
      "storage": "file", "retention": "limits", "discard": "new",
      "num_replicas": .int(replicas), "allow_rollup_hdrs": true, "deny_delete": true,
      "allow_direct": false, "duplicate_window": .int(120_000_000_000),
    ]
  }

  /// The latest value, or nil when the key was never written or is deleted.
  public func get(_ key: String) async throws(JetStreamError) -> Entry? {
    try await read(key).entry
  }

  /// The latest value, as `get`, and the key's revision, by one request: who asks for the revision of a missing key later
  /// may get that of a value which he has not seen, and replace it.
  package func read(
    _ key: String
  ) async throws(JetStreamError) -> (entry: Entry?, revision: UInt64) {
    do {
      guard let message = try await jetStream.lastMessage(in: stream, subject: subject(key)) else {
        return (nil, 0)
      }
      if let operation = message.header("KV-Operation"), operation != "PUT" {
        return (nil, message.sequence)
      }
      let entry = Entry(value: message.payload, revision: message.sequence, time: message.time)
      return (entry, message.sequence)
    } catch {
      if error.code == JetStreamCode.streamNotFound { return (nil, 0) }
      throw error
    }
  }

  /// The key's present revision, deleted or not; 0 when it was never written, or there is no bucket.
  public func revision(_ key: String) async throws(JetStreamError) -> UInt64 {
    do {
      return try await jetStream.lastMessage(in: stream, subject: subject(key))?.sequence ?? 0
    } catch {
      if error.code == JetStreamCode.streamNotFound { return 0 }
      throw error
    }
  }

  /// Writes the value if the key's revision is still `expecting` (0: never written).
  /// Throws code 10071 when somebody else wrote first.
  public func put(
    _ key: String, _ value: [UInt8], expecting revision: UInt64, timeout: Duration = .seconds(3)
  ) async throws(JetStreamError) -> UInt64 {
    let headers = NATSHeaders(["Nats-Expected-Last-Subject-Sequence": String(revision)])
    let answer: NATSMessage
    do {
      answer = try await jetStream.connection.request(
        subject(key), headers: headers, payload: value, timeout: timeout)
    } catch {
      throw JetStreamError(
        code: 0, operation: "KV put \(name)/\(key)", message: error.description, remedy: .backOff)
    }
    let frame = answer.payload.withUnsafeReadableBytes { AckFrame(payload: $0) }
    switch frame {
    case .stored(let sequence, _, _) where sequence > 0: return sequence
    case .refused(let code, _):
      throw JetStreamError(
        code: code, operation: "KV put \(name)/\(key)",
        serverSays: answer.payload.withUnsafeReadableBytes { RefusalText.words($0) })
    default:
      throw JetStreamError(
        code: 0, operation: "KV put \(name)/\(key)", message: "no ack came back", remedy: .backOff)
    }
  }

  private func subject(_ key: String) -> String { "$KV.\(name).\(key)" }
}
