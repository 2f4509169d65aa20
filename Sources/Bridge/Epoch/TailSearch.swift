import JetStream
import NATS
import Oplog

/// What is found in a stretch of a stream. Sendable invariant: changed on the connection's event loop
/// while a scan runs, read when it is over.
final class TailSearch: @unchecked Sendable {
  private let tail: StreamTail
  private let stream: String
  /// Where our messages are parted; nil: they aren't wanted.
  private let border: EventPosition??
  /// Ours, the last up to the border, and all behind it.
  private(set) var before: StreamObservation.Own?
  private(set) var behind: [StreamObservation.Own] = []
  /// Ours, of the highest position.
  private(set) var newest: StreamObservation.Own?
  private(set) var count: UInt64 = 0
  private(set) var lastSequence: UInt64 = 0
  /// Nil: it isn't wanted.
  private(set) var unproven: UnprovenTail?

  init(_ tail: StreamTail, _ stream: String, unproven: UnprovenTail? = nil) {
    self.tail = tail
    self.stream = stream
    self.unproven = unproven
    border = nil
  }

  init(_ tail: StreamTail, _ stream: String, behind position: EventPosition?) {
    self.tail = tail
    self.stream = stream
    border = .some(position)
  }

  func take(_ view: borrowing NATSMessageView, _ sequence: UInt64) {
    count += 1
    lastSequence = sequence
    var found = tail.ownership.own(
      view.headers, sequence: sequence, in: stream, acknowledged: tail.acknowledged[stream])
    if found != nil, MessageOwnership.mayBeBucket(stream) {
      found?.subject = String(decoding: view.subject, as: UTF8.self)
    }
    note(sequence, found)
  }

  func take(_ message: StoredMessage) {
    count += 1
    lastSequence = message.sequence
    note(message.sequence, tail.own(message, in: stream))
  }

  private func note(_ sequence: UInt64, _ found: StreamObservation.Own?) {
    unproven?.take(sequence, found)
    guard let found else { return }
    if newest.map({ $0.position < found.position }) ?? true { newest = found }
    guard let border else { return }
    if let border, found.position <= border {
      if before.map({ $0.position < found.position }) ?? true { before = found }
    } else {
      behind.append(found)
    }
  }
}
