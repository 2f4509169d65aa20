public import JSON

/// Who publishes to a stream.
public enum StreamOwnership: String, Sendable, CaseIterable {
  /// The bridge is the only publisher.
  case exclusive
  /// Others publish too.
  case shared
}

/// How messages are published; `auto` chooses by server version, stream flags and ownership.
public enum PublishProtocol: String, Sendable, CaseIterable {
  case auto, chain, atomic, fast, single
}

/// A stream as the configuration wants it.
public struct StreamSpec: Sendable, Equatable {
  /// What to do if a server lost acknowledged messages.
  public enum OnLoss: String, Sendable, CaseIterable {
    /// They are published again, as far as the stream would still hold them.
    case refill
    /// They are abandoned; the stream continues with the next events.
    case `continue`
    /// Nothing more is published to the stream until an operator decides.
    case halt
  }

  public var name: String
  /// The KV bucket that this stream is; nil for an ordinary stream.
  public var bucket: String?
  public var subjects: [String]
  public var ownership: StreamOwnership
  public var publish: PublishProtocol
  public var onLoss: OnLoss
  /// An object: JetStream's own fields, durations in nanoseconds and sizes in bytes, in the order
  /// of the file; without `name` and `subjects`.
  public var settings: JSONValue
  /// Objects: JetStream's consumer configurations.
  public var consumers: [JSONValue]

  public init(
    name: String, subjects: [String], ownership: StreamOwnership = .exclusive,
    publish: PublishProtocol = .auto, onLoss: OnLoss = .refill,
    settings: JSONValue = .object([]), consumers: [JSONValue] = []
  ) {
    self.name = name
    self.subjects = subjects
    self.ownership = ownership
    self.publish = publish
    self.onLoss = onLoss
    self.settings = settings
    self.consumers = consumers
  }
}
