import JetStream
import NIOCore
import Oplog

/// A message that was written and is not acknowledged yet.
struct InFlightEvent: BitwiseCopyable {
  var position: EventPosition
  /// Term of the oplog entry, for the exact resume.
  var term: Int64
  /// Index of the rule; of a dead letter, the rule that refused it, or `noRule`.
  var rule: UInt16

  static let noRule = UInt16.max
}

/// What a lane is made from at the start of an epoch.
struct LaneSpecification: Sendable {
  var name: String
  var isDeadLetter: Bool
  var publisher: LaneOptions
  var maximumMessage: Int
  var created: String
  var horizon: Lane.Horizon?
  var missing: [Lane.Horizon]
  /// In a snapshot: ids of messages that the stream holds although the snapshot's marker is before
  /// their documents.
  var stored: Set<[UInt8]> = []
  var acked: Lane.Acked?
}

/// One stream as the pipeline sees it: the publisher of this epoch, what is in flight, and how far
/// the stream is. Owned by the pipeline's event loop.
final class Lane {
  let name: String
  let isDeadLetter: Bool
  var publisher: PublishLane
  /// Largest message the stream takes, headers and body.
  let maximumMessage: Int
  let created: String
  @exclusivity(unchecked) var inFlight = FIFO<InFlightEvent>()
  /// Everything up to here is stored: by an earlier epoch or an earlier life.
  let horizon: Horizon?
  /// What the stream lacks before its horizon: sent late.
  private var missing: [Horizon]
  /// Of a snapshot that is resumed: what the stream holds already, until it is met.
  @exclusivity(unchecked) var stored: Set<[UInt8]>
  /// The last of our messages known to be stored.
  var acked: Acked?
  /// No message of ours was ever stored here: the first is awaited before the next entry begins.
  var awaitsFirst: Bool
  /// The entry of the message written last.
  var lastSent: OplogPosition?
  /// When the oldest unacknowledged message last saw progress.
  var waitingSince: NIODeadline?

  struct Horizon: Sendable, Equatable {
    var position: EventPosition
    /// Rules up to this index have had their message of the event at `position`.
    var rule: Int
  }

  struct Acked: Sendable {
    var sequence: UInt64
    var position: EventPosition
    var rule: String
  }

  init(_ specification: LaneSpecification) {
    name = specification.name
    isDeadLetter = specification.isDeadLetter
    publisher = PublishLane(specification.publisher)
    maximumMessage = specification.maximumMessage
    created = specification.created
    horizon = specification.horizon
    missing = specification.missing
    stored = specification.stored
    acked = specification.acked
    awaitsFirst = specification.acked == nil && specification.horizon == nil
  }

  /// A message from before the horizon, which the stream lacked, is on its way.
  func isLate(_ position: EventPosition) -> Bool {
    horizon.map { position <= $0.position && !missing.isEmpty } ?? false
  }

  /// Whether the next oplog entry has to wait for this lane's acks.
  var isBarrier: Bool { (isDeadLetter || awaitsFirst) && !inFlight.isEmpty }

  /// Whether the stream has this event's message for this rule already.
  func holds(_ position: EventPosition, rule: Int) -> Bool {
    guard let horizon else { return false }
    if !missing.isEmpty, missing.contains(Horizon(position: position, rule: rule)) { return false }
    if position < horizon.position { return true }
    return position == horizon.position && rule <= horizon.rule
  }
}
