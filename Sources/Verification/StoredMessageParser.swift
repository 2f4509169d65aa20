import BSON
import Bridge
import NATS
import Oplog
import Parity

/// Takes a stored message apart: what of it is the event's, and what belongs to the way it was
/// published.
struct StoredMessageParser: ~Copyable {
  private let ownership: MessageOwnership.InStream
  /// Of the stream of dead letters: nowhere else is a dead letter where it belongs.
  private let readsLetters: Bool
  private var lines = ByteWriter(capacity: 1024)

  /// Its pointers lead into the view's header block, and are valid only while the view is borrowed.
  struct Parsed {
    var kind = ObservedRecord.Kind.foreign
    var position: EventPosition?
    var id: UnsafeRawBufferPointer?
    var rule: UnsafeRawBufferPointer?
    /// Of a dead letter: why it is one.
    var error: UnsafeRawBufferPointer?
    var errorDetail: UnsafeRawBufferPointer?
    var reason: ServerReason?
    var digests: PartDigests
  }

  init(_ ownership: MessageOwnership.InStream, readsLetters: Bool) {
    self.ownership = ownership
    self.readsLetters = readsLetters
  }

  mutating func parse(_ view: borrowing NATSMessageView) -> Parsed {
    lines.removeAll()
    let marks = MessageMarks(view.headers, appendingEventLinesTo: &lines)
    var parsed = Parsed(
      position: marks.position, id: marks.id, rule: marks.rule, error: marks.error,
      errorDetail: marks.errorDetail,
      digests: PartDigests(
        subject: MessageDigest(view.subject), headers: MessageDigest(lines.bytes),
        body: MessageDigest(view.payload)))
    switch ownership.owner(of: marks) {
    case .thisBridge:
      // Filled-in messages, too, are out of order.
      parsed.kind =
        marks.isReplayed || marks.isFilled ? .replayed : marks.isSnapshot ? .snapshot : .own
    case .anotherBridge:
      // What another bridge publishes is no answer to anything, whatever its id.
      parsed.id = nil
    case .unnamed, .nobody: parsed.digests.body = MessageDigest(valueOf: view.payload)
    }
    if readsLetters, parsed.kind == .own || parsed.kind == .snapshot, parsed.position != nil,
      let reason = ServerReason(marks)
    {
      parsed.kind = .serverLetter
      parsed.reason = reason
    }
    return parsed
  }

  /// With the rule whose message it is; a dead letter is no rule's message, but one for a reason of the
  /// server says whose it would have been.
  mutating func record(_ view: borrowing NATSMessageView, sequence: UInt64) -> (
    record: ObservedRecord, rule: UnsafeRawBufferPointer?, reason: ServerReason?
  ) {
    let parsed = parse(view)
    let digests = parsed.digests
    return (
      ObservedRecord(
        sequence: sequence, kind: parsed.kind, position: parsed.position,
        digest: MessageDigest(
          subject: digests.subject, headers: digests.headers, body: digests.body),
        id: parsed.id.map { MessageDigest($0) }, subject: digests.subject, body: digests.body),
      parsed.error != nil && parsed.reason == nil ? nil : parsed.rule, parsed.reason
    )
  }

  mutating func detail(_ view: borrowing NATSMessageView, sequence: UInt64) -> RunJoin.Observed {
    let parsed = parse(view)
    func text(_ bytes: UnsafeRawBufferPointer?) -> String {
      bytes.map { String(decoding: $0, as: UTF8.self) } ?? ""
    }
    return RunJoin.Observed(
      sequence: sequence, kind: parsed.kind, id: text(parsed.id), position: parsed.position,
      rule: text(parsed.rule), subject: text(view.subject), digests: parsed.digests,
      letter: parsed.error.map {
        RunJoin.Letter(code: text($0), detail: text(parsed.errorDetail))
      })
  }
}
