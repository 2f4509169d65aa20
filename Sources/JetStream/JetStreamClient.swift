import Bytes
import DeliberateErrors
public import JSON
public import NATS
import NIOCore

/// JetStream's request API over one connection. Every request goes to the stream's (or the meta)
/// leader; nothing here uses Direct Get, whose answers may be stale (ADR-31).
///
/// Configuration travels as raw JSON, so that fields this version doesn't know survive an update.
public struct JetStreamClient: Sendable {
  public let connection: NATSConnection
  public var prefix: String
  /// For one answer. A request that falls into a leader's election is never answered, so a short
  /// wait and another try come through sooner than a long wait.
  public var timeout: Duration
  /// How often a question is put before its timeout counts.
  public var attempts: Int

  public init(
    _ connection: NATSConnection, prefix: String = "$JS.API", timeout: Duration = .seconds(1),
    attempts: Int = 5
  ) {
    self.connection = connection
    self.prefix = prefix
    self.timeout = timeout
    self.attempts = attempts
  }

  /// Sends one API request; an `error` in the answer becomes a `JetStreamError`.
  public func request(_ operation: String, _ body: JSONValue? = nil) async throws(JetStreamError)
    -> JSONValue
  {
    let message = try await ask(operation, body?.utf8 ?? [])
    let answer: JSONValue
    do {
      answer = try JSONValue(parsing: message.payload.readableBytesView)
    } catch {
      throw JetStreamError(
        code: 0, operation: operation, message: "the answer is \(error)", remedy: .backOff)
    }
    if let failure = answer["error"] {
      throw JetStreamError(operation, refusedWith: failure)
    }
    return answer
  }

  /// All of the API's requests here can be repeated without harm.
  private func ask(_ operation: String, _ body: [UInt8]) async throws(JetStreamError) -> NATSMessage
  {
    var left = attempts
    while true {
      left -= 1
      do {
        return try await connection.request(
          "\(prefix).\(operation)", payload: body, timeout: timeout)
      } catch {
        if error.code == .timeout, left > 0 { continue }
        throw JetStreamError(
          code: 0, operation: operation,
          message: error.code == .noResponders
            ? "JetStream does not answer: is it enabled, and is there a leader?"
            : error.description,
          remedy: .backOff)
      }
    }
  }

  // MARK: - Streams

  /// The stream's configuration and state, or nil when there is no such stream.
  public func stream(_ name: String) async throws(JetStreamError) -> StreamInfo? {
    let info: StreamInfo
    do {
      info = StreamInfo(try await request("STREAM.INFO.\(name)"))
    } catch {
      if error.code == JetStreamCode.streamNotFound { return nil }
      throw error
    }
    guard max(info.firstSequence, info.lastSequence) <= StreamInfo.highestSequence else {
      var error = JetStreamError(
        code: 0, operation: "STREAM.INFO.\(name)",
        message: """
          the stream is between \(info.firstSequence) and \(info.lastSequence): sequences above \
          2^63 are not supported. Create it again, with a smaller first_seq
          """, remedy: .operatorMustAct)
      error.isUnsupported = true
      throw error
    }
    return info
  }

  /// What `ensureStream` found or did.
  public enum Ensured: Sendable, Equatable {
    case created
    case updated([String])
    case unchanged
  }

  /// Makes the stream hold `settings`: creates it, or merges them over what the server has and
  /// updates only if that changes something. Fields not named in `settings` are left as they are.
  public func ensureStream(_ name: String, settings: JSONValue) async throws(JetStreamError)
    -> (Ensured, StreamInfo)
  {
    if let present = try await stream(name) {
      let (merged, changed) = present.config.merging(settings)
      if changed.isEmpty { return (.unchanged, present) }
      let answer = try await request("STREAM.UPDATE.\(name)", merged)
      return (.updated(changed), StreamInfo(answer))
    }
    var wanted = settings
    wanted["name"] = .string(name)
    let answer = try await request("STREAM.CREATE.\(name)", wanted)
    return (.created, StreamInfo(answer))
  }

  /// The consumer's configuration, or nil when there is no such consumer (or stream).
  public func consumer(_ name: String, of stream: String) async throws(JetStreamError) -> JSONValue?
  {
    do {
      return try await request("CONSUMER.INFO.\(stream).\(name)")["config"]
    } catch {
      switch error.code {
      case JetStreamCode.consumerNotFound, JetStreamCode.streamNotFound: return nil
      default: throw error
      }
    }
  }

  /// Creates the durable consumer, or makes `config` the configuration of the one there is.
  public func makeConsumer(_ name: String, of stream: String, _ config: JSONValue)
    async throws(JetStreamError)
  {
    var config = config
    config["durable_name"] = .string(name)
    _ = try await request(
      "CONSUMER.DURABLE.CREATE.\(stream).\(name)",
      ["stream_name": .string(stream), "config": config])
  }

  /// Deletes the consumer, and with it its place in the stream; one that is gone already is no error.
  public func deleteConsumer(_ name: String, of stream: String) async throws(JetStreamError) {
    do {
      _ = try await request("CONSUMER.DELETE.\(stream).\(name)")
    } catch {
      if error.code != JetStreamCode.consumerNotFound { throw error }
    }
  }

  /// Streams that take a subject which `subject` overlaps.
  public func streams(overlapping subject: String) async throws(JetStreamError) -> [String] {
    let answer = try await request("STREAM.NAMES", ["subject": .string(subject)])
    return answer["streams"]?.arrayValue?.compactMap(\.stringValue) ?? []
  }

  /// The message at `sequence`, read from the stream's leader; nil when it is not there.
  public func message(in stream: String, at sequence: UInt64) async throws(JetStreamError)
    -> StoredMessage?
  {
    try await message(in: stream, query: ["seq": .int(sequence)])
  }

  /// The last message on a subject (wildcards allowed), read from the leader.
  public func lastMessage(in stream: String, subject: String) async throws(JetStreamError)
    -> StoredMessage?
  {
    try await message(in: stream, query: ["last_by_subj": .string(subject)])
  }

  /// The first message at or after `sequence` on a subject (wildcards allowed), from the leader.
  public func nextMessage(in stream: String, from sequence: UInt64, subject: String = ">")
    async throws(JetStreamError) -> StoredMessage?
  {
    try await message(in: stream, query: ["seq": .int(sequence), "next_by_subj": .string(subject)])
  }

  private func message(in stream: String, query: JSONValue) async throws(JetStreamError)
    -> StoredMessage?
  {
    if DeliberateError.isOn(.staleTailRead), !stream.hasPrefix("KV_") {
      return try await anyReplica(stream, query)
    }
    let answer: JSONValue
    do {
      answer = try await request("STREAM.MSG.GET.\(stream)", query)
    } catch {
      if error.code == JetStreamCode.noMessage { return nil }
      throw error
    }
    guard let message = answer["message"], let stored = StoredMessage(message) else {
      throw JetStreamError(
        code: 0, operation: "STREAM.MSG.GET.\(stream)", message: "the answer holds no message",
        remedy: .backOff)
    }
    return stored
  }

  /// A direct get, whose answer may be stale: `DeliberateError.staleTailRead`.
  private func anyReplica(
    _ stream: String, _ query: JSONValue
  ) async throws(JetStreamError) -> StoredMessage? {
    guard
      let answer = try? await connection.request(
        "\(prefix).DIRECT.GET.\(stream)", payload: query.utf8),
      let headers = answer.headers, let sequence = headers["Nats-Sequence"].flatMap({ UInt64($0) })
    else { return nil }
    var block = ByteBuffer()
    headers.encode(into: &block)
    var json: JSONValue = [
      "subject": .string(headers["Nats-Subject"] ?? ""), "seq": .int(sequence),
    ]
    json["time"] = .string(headers["Nats-Time-Stamp"] ?? "")
    json["hdrs"] = .string(base64(block))
    json["data"] = .string(base64(answer.payload))
    return StoredMessage(json)
  }

  private func base64(_ bytes: ByteBuffer) -> String {
    var text = ByteWriter()
    bytes.withUnsafeReadableBytes { text.appendBase64($0) }
    return String(decoding: text.bytes, as: UTF8.self)
  }
}

/// Codes that are answers rather than failures.
public enum JetStreamCode {
  public static let streamNotFound = 10059
  public static let consumerNotFound = 10014
  public static let noMessage = 10037
  public static let wrongLastSequence = 10071
  static let wrongLastID = 10070
  /// A message of a fast batch was refused, or came after one that was.
  static let endsFastBatch = [wrongLastSequence, 10208]
  public static let nameInUse = 10058
  public static let subjectOverlap = 10065
  public static let consumerDoesNotExist = 10149
  public static let nameMismatch = 10056
  public static let otherStream = 10060
}

/// STREAM.INFO as the server sent it, with the fields that are asked for often.
public struct StreamInfo: Sendable {
  public let raw: JSONValue
  public init(_ raw: JSONValue) { self.raw = raw }

  /// The highest that is worked with, so that adding to one never overflows. Streams get beyond only by
  /// `first_seq`, or by an error that makes the server say 2^64 - 1.
  public static let highestSequence = UInt64(Int64.max)

  public var config: JSONValue { raw["config"] ?? .object([]) }
  public var firstSequence: UInt64 { raw["state"]?["first_seq"]?.integer() ?? 0 }
  public var lastSequence: UInt64 { raw["state"]?["last_seq"]?.integer() ?? 0 }
  public var messages: UInt64 { raw["state"]?["messages"]?.integer() ?? 0 }
  public var subjects: [String] { config["subjects"]?.arrayValue?.compactMap(\.stringValue) ?? [] }
  public var replicas: Int { config["num_replicas"]?.integer() ?? 1 }
  public var allowsAtomic: Bool { config["allow_atomic"]?.boolValue ?? false }
  public var allowsBatched: Bool { config["allow_batched"]?.boolValue ?? false }
  /// Any server that has the stream's messages answers for one (`DIRECT.GET`).
  public var allowsDirect: Bool { config["allow_direct"]?.boolValue ?? false }
  /// Largest message the stream takes, headers included; nil when it sets no limit.
  public var maximumMessageSize: Int? { config.streamLimit("max_msg_size") }
  /// What the stream may hold altogether; nil where that has no limit.
  public var maximumBytes: Int? { config.streamLimit("max_bytes") }
  /// How long messages are kept, in whole seconds and at least one; nil where age sets no limit.
  public var maxAgeSeconds: UInt32? {
    config.streamLimit("max_age").map { UInt32(clamping: max($0 / 1_000_000_000, 1)) }
  }
  /// When the server answered, RFC 3339; nil before 2.10.
  public var answeredAt: String? { raw["ts"]?.stringValue }
  /// When the stream got its last message, RFC 3339, whether it still holds it or not.
  public var lastAt: String? { raw["state"]?["last_ts"]?.stringValue }
  /// For how long the server knows ids.
  public var duplicateWindow: Duration {
    .nanoseconds(config["duplicate_window"]?.integer(Int64.self) ?? 0)
  }
  /// The server stores messages of its own, which tell that others are gone.
  public var hasDeleteMarkers: Bool { config.streamLimit("subject_delete_marker_ttl") != nil }
  /// The sequence of the first message that the stream ever got.
  public var beginning: UInt64 { max(config["first_seq"]?.integer() ?? 1, 1) }
  /// When the stream was created, as the server wrote it: another value means another stream.
  public var created: String { raw["created"]?.stringValue ?? "" }
  /// The leader's name in a cluster; nil without one (or without a cluster).
  public var leader: String? { raw["cluster"]?["leader"]?.stringValue }
}

extension JSONValue {
  /// A limit among a stream's settings; nil where there is none, which servers also write as 0 or -1.
  public func streamLimit(_ key: String) -> Int? {
    guard let limit = self[key]?.integer(Int.self), limit > 0 else { return nil }
    return limit
  }
}

/// One stored message.
public struct StoredMessage: Sendable {
  public var subject: String
  public var sequence: UInt64
  public var headers: [(name: String, value: String)]
  /// The same as bytes, with the version line and the empty line; empty where there are none.
  public var headerBlock: [UInt8]
  public var payload: [UInt8]
  /// When the server stored it, RFC 3339.
  public var time: String

  package init?(_ json: JSONValue) {
    guard let subject = json["subject"]?.stringValue,
      let sequence = json["seq"]?.integer(UInt64.self)
    else { return nil }
    self.subject = subject
    self.sequence = sequence
    self.time = json["time"]?.stringValue ?? ""
    self.payload = json["data"]?.stringValue.flatMap { Base64.decode($0) } ?? []
    self.headers = []
    headerBlock = json["hdrs"]?.stringValue.flatMap { Base64.decode($0) } ?? []
    if !headerBlock.isEmpty {
      let text = String(decoding: headerBlock, as: UTF8.self)
      for line in text.split(separator: "\r\n").dropFirst() {
        guard let colon = line.firstIndex(of: ":") else { continue }
        let value = line[line.index(after: colon)...].drop { $0 == " " }
        headers.append((String(line[..<colon]), String(value)))
      }
    }
  }

  /// The first header of that name.
  public func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }
}

extension JSONValue {
  /// This object with `changes` laid over it (objects merge, everything else is replaced), and the
  /// names of the members that differ afterwards.
  public func merging(_ changes: JSONValue) -> (JSONValue, changed: [String]) {
    guard case .object(let members) = changes else { return (self, []) }
    var merged = self
    var changed: [String] = []
    for member in members {
      let present = merged[member.key]
      if case .object = member.value, let inner = present, case .object = inner {
        let (value, differs) = inner.merging(member.value)
        if !differs.isEmpty {
          merged[member.key] = value
          changed += differs.map { "\(member.key).\($0)" }
        }
      } else if !JSONValue.same(present, member.value) {
        merged[member.key] = member.value
        changed.append(member.key)
      }
    }
    return (merged, changed)
  }

  /// The server leaves out members that hold their zero value.
  private static func same(_ present: JSONValue?, _ wanted: JSONValue) -> Bool {
    if let present { return present == wanted }
    switch wanted {
    case .null, .bool(false), .number("0"), .string(""), .array([]): return true
    default: return false
    }
  }
}
