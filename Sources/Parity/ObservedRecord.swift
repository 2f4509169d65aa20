public import Oplog

/// What is kept of a stored message while the stream is read, without its bytes.
public struct ObservedRecord: Sendable {
  public enum Kind: Sendable {
    /// A message of the bridge for a change.
    case own
    /// A message of the bridge for a document in a snapshot, without an oplog entry.
    case snapshot
    /// A replayed dead letter, under its old id.
    case replayed
    /// A dead letter for a reason that only the server had: it had the id for another event, or refused the
    /// message. The oplog doesn't show which events these are, so none is expected.
    case serverLetter
    /// Another producer's message.
    case foreign
  }

  public var sequence: UInt64
  public var kind: Kind
  /// Nil if missing or unreadable.
  public var position: EventPosition?
  /// Of subject, headers (without the protocol's) and body.
  public var digest: MessageDigest
  /// Of `Nats-Msg-Id`, if present.
  public var id: MessageDigest?
  public var subject: MessageDigest
  /// Of the body alone; of another producer's message, as a JSON value.
  public var body: MessageDigest

  public init(
    sequence: UInt64, kind: Kind, position: EventPosition?, digest: MessageDigest,
    id: MessageDigest? = nil, subject: MessageDigest = MessageDigest(),
    body: MessageDigest = MessageDigest()
  ) {
    self.sequence = sequence
    self.kind = kind
    self.position = position
    self.digest = digest
    self.id = id
    self.subject = subject
    self.body = body
  }
}
