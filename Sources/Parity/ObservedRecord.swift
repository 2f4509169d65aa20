public import Oplog

/// What is kept of a stored message while the stream is read: no bytes of it.
public struct ObservedRecord: Sendable {
  public enum Kind: Sendable {
    /// The bridge's own message of a change.
    case own
    /// The bridge's, of a document in a snapshot: no oplog entry tells of it.
    case snapshot
    /// A dead letter that became a message later, under its old id.
    case replayed
    /// A dead letter for a reason that only the server had (it had the id for another event, or did not take
    /// the message): which events those are no oplog tells, so none is expected.
    case serverLetter
    /// Somebody else's.
    case foreign
  }

  public var sequence: UInt64
  public var kind: Kind
  /// Nil for what has none that can be read.
  public var position: EventPosition?
  /// Of subject, headers (the protocol's own left out) and body.
  public var digest: MessageDigest
  /// Of `Nats-Msg-Id`; nil where there is none.
  public var id: MessageDigest?
  public var subject: MessageDigest
  /// Of the body alone.
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
