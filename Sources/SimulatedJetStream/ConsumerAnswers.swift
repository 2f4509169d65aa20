import Bytes
import JSON

/// CONSUMER.INFO as a value.
public struct ConsumerState: Sendable, Equatable {
  public var stream: String
  public var name: String
  public var created: Int64
  public var asked: Int64
  public var configuration: ConsumerConfiguration
  public var delivered: UInt64
  public var deliveredThrough: UInt64
  public var pending: Int
  public var waiting: Int
  public var unacknowledged: Int

  var json: JSONValue {
    let place: JSONValue = [
      "consumer_seq": .int(delivered), "stream_seq": .int(deliveredThrough),
    ]
    return [
      "stream_name": .string(stream), "name": .string(name),
      "created": .string(Timestamp.text(created)), "config": configuration.members,
      "delivered": place, "ack_floor": place, "num_ack_pending": .int(unacknowledged),
      "num_redelivered": 0, "num_waiting": .int(waiting), "num_pending": .int(pending),
      "ts": .string(Timestamp.text(asked)),
    ]
  }
}

/// A message as a consumer gets it: on the subject that it has in the stream, not the one it is sent to.
public struct Delivery: Sendable, Equatable {
  public var subject: String
  /// Tells the message's place, and is where to acknowledge it.
  public var reply: String
  public var headers: [UInt8]
  public var payload: [UInt8]
  /// The consumer's own sequence.
  public var count: UInt64 = 0

  init(_ message: StoredMessage, headersOnly: Bool, reply: String) {
    subject = message.subject
    self.reply = reply
    headers = message.headers
    payload = message.payload
    if headersOnly {
      headers = headers.isEmpty ? Array("NATS/1.0\r\n".utf8) : Array(headers.dropLast(2))
      headers.append(contentsOf: "Nats-Msg-Size: \(payload.count)\r\n\r\n".utf8)
      payload = []
    }
  }

  /// As `max_bytes` counts it.
  var size: Int { subject.utf8.count + reply.utf8.count + headers.count + payload.count }
}

/// Why a pull request got no (more) messages.
public struct PullEnd: Sendable, Equatable {
  public var status: Int
  public var text: String
  /// What was asked for and not delivered; nil where the server does not tell.
  public var messages: Int?
  public var bytes = 0

  var headers: [UInt8] {
    var block = "NATS/1.0 \(status) \(text)\r\n"
    if let messages {
      block += "Nats-Pending-Messages: \(messages)\r\nNats-Pending-Bytes: \(bytes)\r\n"
    }
    return Array((block + "\r\n").utf8)
  }
}

extension Answer {
  static func ended(_ status: Int, _ text: String, messages: Int? = nil, bytes: Int = 0) -> Answer {
    .pullEnded(PullEnd(status: status, text: text, messages: messages, bytes: bytes))
  }
}

/// `$JS.API.INFO` as a value: what the account holds and may hold (-1: no limit).
public struct AccountState: Sendable, Equatable {
  public var memory: Int64
  public var storage: Int64
  public var reservedMemory: Int64
  public var reservedStorage: Int64
  public var streams: Int
  public var consumers: Int
  public var limits: AccountLimits

  var json: JSONValue {
    [
      "memory": .int(memory), "storage": .int(storage), "reserved_memory": .int(reservedMemory),
      "reserved_storage": .int(reservedStorage), "streams": .int(streams),
      "consumers": .int(consumers),
      "limits": [
        "max_memory": .int(limits.maxMemory), "max_storage": .int(limits.maxStorage),
        "max_streams": .int(limits.maxStreams), "max_consumers": .int(limits.maxConsumers),
        "max_ack_pending": -1, "memory_max_stream_bytes": -1, "storage_max_stream_bytes": -1,
        "max_bytes_required": false,
      ],
      "api": ["total": 0, "errors": 0],
    ]
  }
}

/// -1: no limit. Of these the model enforces `maxStreams` and, for what streams reserve, `maxStorage`.
public struct AccountLimits: Sendable, Equatable {
  public var maxMemory: Int64 = -1
  public var maxStorage: Int64 = -1
  public var maxStreams: Int64 = -1
  public var maxConsumers: Int64 = -1

  public init() {}
}
